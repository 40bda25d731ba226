//! A live session: sealing and opening.

use super::SessionInfo;
use super::epochs::{EpochLimits, Receiving, Sending};
use super::keys::{Secrets, Side};
use super::replay::Window;
use super::streams::{Parts, StreamSecrets};
use crate::crypto::suite::Suite;
use crate::crypto::{Digest, KeyPair, Prk, PublicKey, hash};
use crate::proto::Violation;
use crate::types::limits::{BODY_MAX_BYTES, FRAME_MAX_BYTES};
use crate::types::{EntityId, Mono, Nonce, Now, SessionId};
use crate::wire::{Envelope, Header, MsgType, Seal, SealedPlain, WireError, cbor};

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
    /// The key that our side of the handshake was signed with: it signs to the session's end.
    pub(super) our_key: KeyPair,
    /// How often theirs had been rotated then.
    pub(super) their_rotations: u32,
    /// Since when a newer key of theirs is known.
    pub(super) outdated: Option<Mono>,
    their_key: PublicKey,
    terms: Terms,
    th4: Digest,
    master: Prk,
    send: Sending,
    receive: Receiving,
    /// When an acknowledgement was last asked for.
    pub(super) asked_at: Option<Mono>,
    window: Window,
    opened: u64,
}

/// What a finished handshake hands over.
pub(super) struct Established {
    pub(super) id: SessionId,
    pub(super) info: SessionInfo,
    pub(super) side: Side,
    pub(super) bound: bool,
    pub(super) our_key: KeyPair,
    pub(super) their_key: PublicKey,
    pub(super) their_rotations: u32,
    pub(super) th4: Digest,
    pub(super) terms: Terms,
    pub(super) epochs: EpochLimits,
}

/// What a handshake settled on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) version: &'static str,
    pub(super) suite: &'static dyn Suite,
}

/// What goes into the header of a message of ours.
pub(super) struct Outbound<'a> {
    pub(super) from: EntityId,
    pub(super) msg_type: MsgType,
    pub(super) re: Option<u64>,
    pub(super) body: &'a [u8],
    pub(super) nonce: Nonce,
}

impl Live {
    pub(super) fn new(established: Established, secrets: &Secrets, now: Mono) -> Live {
        let Established {
            id,
            info,
            side,
            bound,
            our_key,
            their_key,
            their_rotations,
            th4,
            terms,
            epochs,
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
            our_key,
            their_rotations,
            outdated: None,
            their_key,
            terms,
            master: secrets.master(),
            send: Sending::new(secrets.traffic(side, &th4), epochs, now),
            receive: Receiving::new(secrets.traffic(other, &th4)),
            asked_at: None,
            th4,
            window: Window::default(),
            opened: 0,
        }
    }

    /// What the session's streams are made from.
    pub(super) fn stream_secrets(&self, ours: EntityId) -> StreamSecrets {
        let parts = Parts {
            session: self.id,
            peer: self.info.peer,
            ours,
            theirs: self.info.entity,
            key: self.our_key.clone(),
            their_key: self.their_key,
            th4: self.th4,
            initiator: self.initiator,
        };
        StreamSecrets::new(parts, self.master.clone())
    }

    pub(super) fn is_expired(&self, now: Mono, life_ms: u64) -> bool {
        now.since(self.since) >= life_ms || self.send.is_worn_out() || self.next_seq == u64::MAX
    }

    /// Signs, then seals; uses up one sequence number.
    pub(super) fn seal(&mut self, message: Outbound<'_>, now: Now) -> Vec<u8> {
        let seq = self.next_seq;
        let header = Header {
            version: self.terms.version.into(),
            msg_type: message.msg_type,
            sender_id: message.from,
            recipient_id: Some(self.info.entity),
            session_id: Some(self.id),
            epoch: Some(self.send.epoch_for(seq, now.mono)),
            sequence_num: Some(seq),
            re: message.re,
            timestamp: now.wall,
            nonce: message.nonce,
            seal: Seal::Session,
        };
        let header = cbor::encode(&header);
        let digest = self.digest(&header, message.body);
        let signature = self.terms.suite.sign(&self.our_key, PURPOSE, &digest);
        let plain = cbor::encode(&SealedPlain {
            body: message.body.to_vec(),
            signature,
        });
        let data = self.send.seal(seq, &self.aad(&header), &plain);
        self.next_seq += 1;
        Envelope {
            header,
            data,
            signature: None,
            tag: None,
        }
        .to_bytes()
    }

    /// What its handshake settled on.
    #[cfg(test)]
    pub(super) fn terms(&self) -> Terms {
        self.terms
    }

    /// Our message `seq` was answered.
    pub(super) fn acknowledge(&mut self, seq: u64) {
        self.send.acknowledge(seq);
    }

    /// Whether our next epoch waits for an answer of the other side.
    pub(super) fn wants_acknowledgement(&self, now: Mono) -> bool {
        self.send.wants_acknowledgement(now)
    }

    pub(super) fn tick(&mut self, now: Mono) {
        self.receive.tick(now);
    }

    pub(super) fn open(
        &mut self,
        id: SessionId,
        envelope: &Envelope,
        header: &Header,
        now: Mono,
    ) -> Result<Opened, WireError> {
        if header.version != self.terms.version {
            return Err(WireError::InvalidVersion);
        }
        let seq = header.sequence_num.ok_or(WireError::Malformed)?;
        let epoch = header.epoch.ok_or(WireError::Malformed)?;
        self.window.admits(seq)?;
        let aad = self.aad(&envelope.header);
        let plain = self.receive.open(epoch, seq, &aad, &envelope.data, now)?;
        let plain: SealedPlain =
            cbor::decode(&plain, FRAME_MAX_BYTES).map_err(|_| WireError::Malformed)?;
        if plain.body.len() > BODY_MAX_BYTES {
            return Err(WireError::PayloadTooLarge);
        }
        let digest = self.digest(&envelope.header, &plain.body);
        let suite = self.terms.suite;
        let check = suite.check(self.their_key, PURPOSE, digest, plain.signature);
        if !check.verify() {
            return Err(WireError::InvalidSignature);
        }
        self.window.mark(seq);
        self.receive.verified(epoch, now);
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
