//! Envelopes: reading them, and what of ours is signed without being sealed (the messages of a
//! handshake, errors).

use super::Sessions;
use crate::types::{EntityId, Nonce, Now};
use crate::wire::{
    Envelope, ErrorBody, Header, MsgType, PROTOCOL_VERSION, Seal, VERSIONS, WireError, cbor,
};

/// What a header may say; a session holds its messages to the version it was made with.
const KNOWN_VERSIONS: &[&str] = match cfg!(test) {
    true => &["1.2", PROTOCOL_VERSION],
    false => VERSIONS,
};

/// Reads an envelope of our version.
///
/// # Errors
/// The code for what is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<(Envelope, Header), WireError> {
    let (envelope, header) = read(bytes)?;
    check_version(&header)?;
    Ok((envelope, header))
}

/// Reads an envelope, whatever version it says.
///
/// # Errors
/// The code for what is wrong with it.
pub fn read(bytes: &[u8]) -> Result<(Envelope, Header), WireError> {
    Envelope::from_bytes(bytes).map_err(|error| match error {
        cbor::CborError::TooLarge { .. } => WireError::PayloadTooLarge,
        _ => WireError::Malformed,
    })
}

/// Whether it is a version that sessions are spoken in.
///
/// # Errors
/// `INVALID_VERSION`.
pub fn check_version(header: &Header) -> Result<(), WireError> {
    if KNOWN_VERSIONS.contains(&header.version.as_str()) {
        Ok(())
    } else {
        Err(WireError::InvalidVersion)
    }
}

/// The code that an error message carries. A hint: whoever holds the connection may say it.
pub(super) fn error_code(envelope: &Envelope) -> Result<WireError, WireError> {
    error_body(envelope).map(|body| body.code)
}

pub(super) fn error_body(envelope: &Envelope) -> Result<ErrorBody, WireError> {
    cbor::decode(&envelope.data, 256).map_err(|_| WireError::Malformed)
}

impl Sessions {
    /// An error message, signed, for who cannot be answered in a session.
    pub fn error(&self, code: WireError, now: Now, nonce: Nonce) -> Vec<u8> {
        self.error_message(&ErrorBody::from(code), now, nonce)
    }

    pub(super) fn error_message(&self, body: &ErrorBody, now: Now, nonce: Nonce) -> Vec<u8> {
        let header = self.clear_header(MsgType::Error, None, now, nonce);
        self.sign_clear(header, cbor::encode(body), "error")
            .to_bytes()
    }

    pub(super) fn clear_header(
        &self,
        msg_type: MsgType,
        recipient_id: Option<EntityId>,
        now: Now,
        nonce: Nonce,
    ) -> Header {
        Header {
            version: PROTOCOL_VERSION.into(),
            msg_type,
            sender_id: self.entity,
            recipient_id,
            session_id: None,
            epoch: None,
            sequence_num: None,
            re: None,
            timestamp: now.wall,
            nonce,
            seal: Seal::None,
        }
    }

    pub(super) fn sign_clear(
        &self,
        header: Header,
        data: Vec<u8>,
        purpose: &'static str,
    ) -> Envelope {
        let mut envelope = Envelope {
            header: cbor::encode(&header),
            data,
            signature: None,
            tag: None,
        };
        envelope.signature = Some(self.key.sign(purpose, &envelope.digest()));
        envelope
    }
}
