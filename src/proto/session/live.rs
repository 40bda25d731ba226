//! A live session: sealing and opening.

use super::SessionInfo;
use super::keys::{Secrets, Side};
use super::replay::Window;
use super::streams::{Parts, StreamSecrets};
use crate::crypto::{AeadKey, Digest, KeyPair, Prk, PublicKey, SigCheck, hash};
use crate::proto::Violation;
use crate::types::limits::{BODY_MAX_BYTES, FRAME_MAX_BYTES, SESSION_LIFE_MS};
use crate::types::{EntityId, Mono, Nonce, Now, SessionId};
use crate::wire::{
    Envelope, Header, MsgType, PROTOCOL_VERSION, Seal, SealedPlain, WireError, cbor,
};

const PURPOSE: &str = "sealed message";

/// Names a sealed request, so that its response can be told from any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SealedRef {
    pub session: SessionId,
    pub seq: u64,
}

/// A message that opened: authentic, fresh, and from the session's peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    pub entity: EntityId,
    pub msg_type: MsgType,
    pub body: Vec<u8>,
    pub reference: SealedRef,
    /// Set where this message was what made the session live.
    pub established: Option<SessionInfo>,
}

pub(super) struct Live {
    pub(super) id: SessionId,
    pub(super) info: SessionInfo,
    pub(super) initiator: bool,
    /// Whether the entity's entry names the peer; checked in the handshake, kept for the checker.
    pub(super) bound: bool,
    pub(super) since: Mono,
    pub(super) replaced: Option<Mono>,
    /// The next sequence number of ours (S1).
    pub(super) next_seq: u64,
    their_key: PublicKey,
    th4: Digest,
    master: Prk,
    send: AeadKey,
    receive: AeadKey,
    window: Window,
    opened: u64,
}

/// What a finished handshake hands over.
pub(super) struct Established {
    pub(super) id: SessionId,
    pub(super) info: SessionInfo,
    pub(super) side: Side,
    pub(super) bound: bool,
    pub(super) their_key: PublicKey,
    pub(super) th4: Digest,
}

impl Live {
    pub(super) fn new(established: Established, secrets: &Secrets, now: Mono) -> Live {
        let Established {
            id,
            info,
            side,
            bound,
            their_key,
            th4,
        } = established;
        let other = match side {
            Side::Initiator => Side::Responder,
            Side::Responder => Side::Initiator,
        };
        Live {
            id,
            info,
            initiator: side == Side::Initiator,
            bound,
            since: now,
            replaced: None,
            next_seq: 0,
            their_key,
            master: secrets.master(),
            send: secrets.traffic(side, &th4),
            receive: secrets.traffic(other, &th4),
            th4,
            window: Window::default(),
            opened: 0,
        }
    }

    pub(super) fn is_expired(&self, now: Mono) -> bool {
        now.since(self.since) >= SESSION_LIFE_MS
    }

    /// What the session's streams are made from.
    pub(super) fn stream_secrets(&self, ours: EntityId) -> StreamSecrets {
        let parts = Parts {
            session: self.id,
            peer: self.info.peer,
            ours,
            theirs: self.info.entity,
            their_key: self.their_key,
            th4: self.th4,
            initiator: self.initiator,
        };
        StreamSecrets::new(parts, self.master.clone())
    }

    /// The header of our next message.
    pub(super) fn header(
        &self,
        from: EntityId,
        msg_type: MsgType,
        re: Option<u64>,
        now: Now,
        nonce: Nonce,
    ) -> Header {
        Header {
            version: PROTOCOL_VERSION.into(),
            msg_type,
            sender_id: from,
            recipient_id: Some(self.info.entity),
            session_id: Some(self.id),
            epoch: Some(0),
            sequence_num: Some(self.next_seq),
            re,
            timestamp: now.wall,
            nonce,
            seal: Seal::Session,
        }
    }

    /// Signs, then seals; uses up one sequence number.
    pub(super) fn seal(&mut self, key: &KeyPair, header: Header, body: &[u8]) -> Vec<u8> {
        let header = cbor::encode(&header);
        let signature = key.sign(PURPOSE, &self.digest(&header, body));
        let plain = cbor::encode(&SealedPlain {
            body: body.to_vec(),
            signature,
        });
        let data = self.send.seal(self.next_seq, &self.aad(&header), &plain);
        self.next_seq += 1;
        Envelope {
            header,
            data,
            signature: None,
            tag: None,
        }
        .to_bytes()
    }

    pub(super) fn open(
        &mut self,
        id: SessionId,
        envelope: &Envelope,
        header: &Header,
    ) -> Result<Opened, WireError> {
        let seq = header.sequence_num.ok_or(WireError::Malformed)?;
        if header.epoch != Some(0) {
            return Err(WireError::SequenceError);
        }
        self.window.admits(seq)?;
        let plain = self
            .receive
            .open(seq, &self.aad(&envelope.header), &envelope.data)
            .map_err(|_| WireError::DecryptionFailed)?;
        let plain: SealedPlain =
            cbor::decode(&plain, FRAME_MAX_BYTES).map_err(|_| WireError::Malformed)?;
        if plain.body.len() > BODY_MAX_BYTES {
            return Err(WireError::PayloadTooLarge);
        }
        let check = SigCheck {
            key: self.their_key,
            purpose: PURPOSE,
            digest: self.digest(&envelope.header, &plain.body),
            signature: plain.signature,
        };
        if !check.verify() {
            return Err(WireError::InvalidSignature);
        }
        self.window.mark(seq);
        self.opened += 1;
        Ok(Opened {
            entity: self.info.entity,
            msg_type: header.msg_type,
            body: plain.body,
            reference: SealedRef { session: id, seq },
            established: None,
        })
    }

    fn aad(&self, header: &[u8]) -> Vec<u8> {
        [header, &self.th4].concat()
    }

    fn digest(&self, header: &[u8], body: &[u8]) -> Digest {
        hash(PURPOSE, &[header, body, &self.th4])
    }

    /// Checks S1 and S2 as far as one side can see them: no more opened than the other numbered.
    pub(super) fn check(&self) -> Result<(), Violation> {
        Violation::unless(self.window.count_upto() >= self.opened, "S2", || {
            format!(
                "session {}: {} opened of {}",
                self.id,
                self.opened,
                self.window.count_upto()
            )
        })
    }
}
