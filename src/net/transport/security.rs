//! Which encryption a TCP connection has: TLS where both sides have it, Noise otherwise. As
//! dialler we propose TLS first, as listener we take either.

use std::{array, io};

use futures::future::{BoxFuture, Either, FutureExt};
use futures::{AsyncRead, AsyncWrite};
use futures_rustls::TlsStream;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::identity::Keypair;
use libp2p::noise;

use super::tls::Tls;
use crate::net::NetError;
use crate::types::PeerId;

pub(super) const TLS: &str = "/tls/1.0.0";
pub(super) const NOISE: &str = "/noise";

/// The upgrade from a socket to an encrypted connection with a proven PeerId.
#[derive(Clone)]
pub(super) struct Security {
    tls: Tls,
    noise: noise::Config,
}

/// An encrypted connection, of either kind.
pub(super) type Secured<S> = Either<TlsStream<S>, noise::Output<S>>;

/// Why there is no encrypted connection. What the system said stays findable beneath.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecurityError {
    #[error("{0}")]
    Io(#[source] io::Error),
    #[error("Noise: {0}")]
    Noise(#[source] noise::Error),
}

impl Security {
    pub(super) fn new(keypair: &Keypair) -> Result<Security, NetError> {
        let noise = noise::Config::new(keypair).map_err(|error| NetError::Setup {
            what: error.to_string(),
        })?;
        Ok(Security {
            tls: Tls::new(keypair)?,
            noise,
        })
    }
}

impl UpgradeInfo for Security {
    type Info = &'static str;
    type InfoIter = array::IntoIter<&'static str, 2>;

    fn protocol_info(&self) -> Self::InfoIter {
        [TLS, NOISE].into_iter()
    }
}

impl<S> InboundConnectionUpgrade<S> for Security
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = (PeerId, Secured<S>);
    type Error = SecurityError;
    type Future = BoxFuture<'static, Result<Self::Output, SecurityError>>;

    fn upgrade_inbound(self, socket: S, protocol: &'static str) -> Self::Future {
        async move {
            if protocol == TLS {
                secured_tls(self.tls.accept(socket).await)
            } else {
                secured_noise(self.noise.upgrade_inbound(socket, protocol).await)
            }
        }
        .boxed()
    }
}

impl<S> OutboundConnectionUpgrade<S> for Security
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = (PeerId, Secured<S>);
    type Error = SecurityError;
    type Future = BoxFuture<'static, Result<Self::Output, SecurityError>>;

    fn upgrade_outbound(self, socket: S, protocol: &'static str) -> Self::Future {
        async move {
            if protocol == TLS {
                secured_tls(self.tls.connect(socket).await)
            } else {
                secured_noise(self.noise.upgrade_outbound(socket, protocol).await)
            }
        }
        .boxed()
    }
}

fn secured_tls<S>(
    outcome: io::Result<(PeerId, TlsStream<S>)>,
) -> Result<(PeerId, Secured<S>), SecurityError> {
    let (peer, stream) = outcome.map_err(SecurityError::Io)?;
    Ok((peer, Either::Left(stream)))
}

fn secured_noise<S>(
    outcome: Result<(PeerId, noise::Output<S>), noise::Error>,
) -> Result<(PeerId, Secured<S>), SecurityError> {
    // The library's error hides the system's from whoever asks for its source.
    let (peer, stream) = outcome.map_err(|error| match error {
        noise::Error::Io(error) => SecurityError::Io(error),
        error => SecurityError::Noise(error),
    })?;
    Ok((peer, Either::Right(stream)))
}
