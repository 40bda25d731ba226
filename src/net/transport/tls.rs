//! TLS as libp2p has it (`/tls/1.0.0`), with AES-256-GCM first.
//!
//! The certificates, and what they say about a peer, are libp2p's. Its own configuration offers
//! ChaCha20-Poly1305 first, which costs three times as much on a processor with AES
//! instructions, and cannot be told otherwise; so the two configurations are made here. They
//! also differ in what a node has no use for: no tickets (each connection is authenticated by
//! itself) and no key log, which would hand the keys to whoever sets an environment variable.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use futures::{AsyncRead, AsyncWrite};
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use libp2p::identity::Keypair;
use libp2p::tls::{self, certificate};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};

use crate::net::NetError;
use crate::types::PeerId;

const ALPN: &[u8] = b"libp2p";

/// The two sides of a TLS handshake with one identity.
#[derive(Clone)]
pub(super) struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Tls {
    pub(super) fn new(keypair: &Keypair) -> Result<Tls, NetError> {
        let setup = |what: String| NetError::Setup { what };
        let provider = Arc::new(provider());
        let versions = &[&TLS13];
        let server_cert = tls::make_server_config(keypair)
            .map_err(|error| setup(error.to_string()))?
            .cert_resolver;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(|error| setup(error.to_string()))?
            .with_client_cert_verifier(Arc::new(Libp2pCertificate))
            .with_cert_resolver(server_cert);
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.send_tls13_tickets = 0;
        let client_cert = tls::make_client_config(keypair, None)
            .map_err(|error| setup(error.to_string()))?
            .client_auth_cert_resolver;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| setup(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Libp2pCertificate))
            .with_client_cert_resolver(client_cert);
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        Ok(Tls {
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }

    pub(super) async fn accept<S>(self, socket: S) -> io::Result<(PeerId, TlsStream<S>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = TlsAcceptor::from(self.server).accept(socket).await?;
        Ok((peer_id(stream.get_ref().1)?, stream.into()))
    }

    pub(super) async fn connect<S>(self, socket: S) -> io::Result<(PeerId, TlsStream<S>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // The specification wants no name sent; an address never is.
        let nobody = ServerName::from(IpAddr::from(Ipv4Addr::UNSPECIFIED));
        let stream = TlsConnector::from(self.client)
            .connect(nobody, socket)
            .await?;
        Ok((peer_id(stream.get_ref().1)?, stream.into()))
    }
}

/// AES first; key exchange as the library prefers it, with ML-KEM beside X25519.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..default_provider()
    }
}

/// Makes the library seed its generator, which is slow once per process.
pub(super) fn gather_randomness() {
    if default_provider().secure_random.fill(&mut [0; 32]).is_err() {
        tracing::warn!("the TLS library finds no randomness: peers will be reached without it");
    }
}

/// Whose certificate it was; the handshake has ended, so it has been verified.
fn peer_id(session: &CommonState) -> io::Result<PeerId> {
    let certificate = match session.peer_certificates() {
        Some([certificate]) => certificate,
        _ => return Err(io::Error::other(Error::NoCertificatesPresented)),
    };
    let parsed = certificate::parse(certificate).map_err(io::Error::other)?;
    Ok(parsed.peer_id())
}

/// Accepts exactly what libp2p does: one certificate, signed by itself, in date, with a PeerId's
/// key in it that has signed the certificate's. Which PeerId it is, the swarm judges.
#[derive(Debug)]
struct Libp2pCertificate;

impl Libp2pCertificate {
    fn check(end_entity: &CertificateDer, others: &[CertificateDer]) -> Result<(), Error> {
        if !others.is_empty() {
            return Err(Error::General(String::from(
                "a libp2p peer has exactly one certificate",
            )));
        }
        certificate::parse(end_entity)?;
        Ok(())
    }
}

/// What both verifiers say of signatures: rustls asks each of them.
macro_rules! judges_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General(String::from("only TLS 1.3 is spoken")))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            certificate::parse(certificate)?.verify_signature(
                signed.scheme,
                message,
                signed.signature(),
            )?;
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![
                SignatureScheme::ECDSA_NISTP256_SHA256,
                SignatureScheme::ECDSA_NISTP384_SHA384,
                SignatureScheme::ED25519,
                SignatureScheme::RSA_PSS_SHA512,
                SignatureScheme::RSA_PSS_SHA384,
                SignatureScheme::RSA_PSS_SHA256,
            ]
        }
    };
}

impl ServerCertVerifier for Libp2pCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Libp2pCertificate::check(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    judges_signatures!();
}

impl ClientCertVerifier for Libp2pCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Libp2pCertificate::check(end_entity, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    judges_signatures!();
}
