//! Messages that came by another way than an exchange's session: over HTTP, or in clear from a
//! peer of version 1.0.
//!
//! Sessions made over HTTP are kept apart from those of the network: no message of ours goes
//! through them, and nothing that comes over HTTP is held against a PeerId, which whoever sent it
//! need not have. Whoever sends too much of it is slowed down by its address, where that is known:
//! at the HTTP server.

use super::Node;
use super::answers::decode;
use super::command::Reply;
use super::gossip::Job;
use super::inbound::Answer;
use super::io::Output;
use crate::crypto::SigCheck;
use crate::proto::Step;
use crate::proto::clear::{Claim, Known};
use crate::proto::session::{self, HandshakeOutcome, Ticket};
use crate::types::{BatchId, CommandId, EntityId, InboundId, Nonce, PeerId};
use crate::wire::{
    Envelope, Header, Heartbeat, HeartbeatAck, MsgType, SignedEntry, StatusReport, VERSION_1_0,
    WireError, cbor,
};

/// Messages in clear whose signatures are being checked, or whose nonces are being stored.
const CLEAR_UNDER_WAY_MAX: usize = 256;

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    Exchange { id: InboundId, peer: PeerId },
    Http { id: CommandId },
}

/// A message in clear that is acted on once its nonce is durable.
pub(super) struct Held {
    after: BatchId,
    asker: Asker,
    claim: Claim,
}

/// A handshake that came over HTTP, while its signatures are checked.
#[derive(Debug)]
pub(super) struct HttpHandshake {
    pub(super) id: CommandId,
    pub(super) ticket: Ticket,
    entity: EntityId,
    nonce: Nonce,
}

impl Node {
    /// A message came over HTTP.
    pub(super) fn envelope(&mut self, id: CommandId, bytes: &[u8], step: &mut Step<'_>) {
        let asker = Asker::Http { id };
        let taken = session::read(bytes).and_then(|(envelope, header)| {
            if header.version == VERSION_1_0 {
                return self.clear_message(asker, envelope, &header, step);
            }
            session::check_version(&header)?;
            match header.msg_type {
                MsgType::Handshake => self.http_handshake(id, envelope, header, step),
                MsgType::HandshakeConfirm => self.http_confirm(id, &envelope, &header, step),
                _ => self.http_request(id, &envelope, &header, step),
            }
        });
        if let Err(code) = taken {
            self.refuse_asker(asker, code, step);
        }
    }

    fn http_handshake(
        &mut self,
        id: CommandId,
        envelope: Envelope,
        header: Header,
        step: &mut Step<'_>,
    ) -> Result<(), WireError> {
        let (entity, nonce) = (header.sender_id, header.nonce);
        self.clear
            .is_fresh(&entity, &nonce, header.timestamp, step.now)?;
        let peer = named_peer(&envelope)?;
        match self.http.on_handshake(peer, envelope, header, step.now) {
            HandshakeOutcome::Refused(code) => Err(code),
            HandshakeOutcome::Challenge(attempt) => {
                let bytes = self.http.challenge(&attempt, step.now, step.rng);
                self.tell(Asker::Http { id }, bytes, BatchId::NONE);
                Ok(())
            }
            HandshakeOutcome::Verify { ticket, checks } => {
                let handshake = HttpHandshake {
                    id,
                    ticket,
                    entity,
                    nonce,
                };
                self.compute(Job::HttpHandshake(handshake), vec![checks]);
                Ok(())
            }
        }
    }

    /// The signatures of an M1 that came over HTTP were judged.
    pub(super) fn http_handshake_verified(
        &mut self,
        handshake: HttpHandshake,
        good: bool,
        step: &mut Step<'_>,
    ) {
        let HttpHandshake {
            id,
            ticket,
            entity,
            nonce,
        } = handshake;
        let Some((own, written)) = self.registry.own() else {
            return;
        };
        let entry = own.bytes.clone();
        let made = self
            .http
            .handshake_verified(ticket, good, &entry, step.now, step.rng);
        let answered = made.and_then(|(bytes, their_entry)| {
            // A key that its entity has given up.
            if !self.registry.admits(&their_entry) {
                return Err(Some(WireError::InvalidState));
            }
            let stored = self.clear.remember(entity, nonce, step).map_err(Some)?;
            Ok((bytes, their_entry, stored))
        });
        match answered {
            Ok((bytes, their_entry, stored)) => {
                // A node is told to the network, as after any handshake. Who has no address is not
                // one that others could do anything with.
                let is_node = SignedEntry::parse(&their_entry)
                    .is_ok_and(|(body, _)| !body.addresses.is_empty());
                if is_node {
                    self.merge_verified(&their_entry, step);
                } else {
                    // In the batch of the nonce, which the answer waits for.
                    let _ = self.registry.remember_keys(&their_entry, step);
                }
                self.tell(Asker::Http { id }, bytes, written.max(stored));
            }
            Err(Some(code)) => self.refuse_asker(Asker::Http { id }, code, step),
            Err(None) => {}
        }
    }

    fn http_confirm(
        &mut self,
        id: CommandId,
        envelope: &Envelope,
        header: &Header,
        step: &mut Step<'_>,
    ) -> Result<(), WireError> {
        let nonce = step.nonce();
        let peer = self.http.half_open_peer(envelope)?;
        let (_, ready) = self
            .http
            .on_confirm(peer, envelope, header, step.now, nonce)?;
        self.tell(Asker::Http { id }, ready, BatchId::NONE);
        Ok(())
    }

    fn http_request(
        &mut self,
        id: CommandId,
        envelope: &Envelope,
        header: &Header,
        step: &mut Step<'_>,
    ) -> Result<(), WireError> {
        let session = header.session_id.ok_or(WireError::EncryptionRequired)?;
        let peer = self
            .http
            .peer_of(session)
            .ok_or(WireError::SessionNotFound)?;
        let opened = self.http.open_request(&peer, envelope, header, step.now)?;
        let (msg_type, body, after) =
            self.answer_carried(peer, opened.entity, opened.msg_type, &opened.body, step)?;
        let nonce = step.nonce();
        let sealed = self
            .http
            .seal_response(opened.reference, msg_type, &body, step.now, nonce)
            .ok_or(WireError::SessionExpired)?;
        self.tell(Asker::Http { id }, sealed, after);
        Ok(())
    }

    /// A message of version 1.0.
    pub(super) fn clear_message(
        &mut self,
        asker: Asker,
        envelope: Envelope,
        header: &Header,
        step: &mut Step<'_>,
    ) -> Result<(), WireError> {
        let through = match asker {
            Asker::Exchange { peer, .. } => Some(peer),
            Asker::Http { .. } => None,
        };
        let sender = &header.sender_id;
        let known = match self.registry.entry(sender) {
            Some(entry) => Some(Known::Entry {
                key: entry.body.key,
                versions: &entry.body.versions,
                speaks_through: through.is_none_or(|peer| entry.body.speaks_through(&peer)),
            }),
            None => (self.registry.rotations(sender) > 0).then_some(Known::Rotated),
        };
        let (claim, check) = self.clear.judge(envelope, header, known, step.now)?;
        self.check_clear(asker, claim, check)
    }

    fn check_clear(
        &mut self,
        asker: Asker,
        claim: Claim,
        check: SigCheck,
    ) -> Result<(), WireError> {
        let is_clear = |job: &&Job| matches!(job, Job::Clear { .. });
        let under_way = self.jobs.values().filter(is_clear).count() + self.held_clear.len();
        if under_way >= CLEAR_UNDER_WAY_MAX {
            return Err(WireError::Busy);
        }
        self.compute(Job::Clear { asker, claim }, vec![vec![check]]);
        Ok(())
    }

    /// The signature of a message in clear was judged: its nonce is stored before anything is
    /// done, so that it cannot be repeated after a crash either.
    pub(super) fn clear_verified(
        &mut self,
        asker: Asker,
        claim: Claim,
        good: bool,
        step: &mut Step<'_>,
    ) {
        let remembered = match good {
            true => self.clear.remember(claim.entity, claim.nonce, step),
            false => Err(WireError::InvalidSignature),
        };
        match remembered {
            Ok(after) => self.held_clear.push_back(Held {
                after,
                asker,
                claim,
            }),
            Err(code) => self.refuse_asker(asker, code, step),
        }
    }

    /// Acts on the messages in clear whose nonces are durable.
    pub(super) fn release_clear(&mut self, upto: BatchId, step: &mut Step<'_>) {
        while let Some(held) = self.held_clear.pop_front_if(|held| held.after <= upto) {
            let Held { asker, claim, .. } = held;
            let peer = match asker {
                Asker::Exchange { peer, .. } => peer,
                Asker::Http { .. } => self
                    .peer_of_entity(&claim.entity)
                    .unwrap_or(self.identity.peer_id),
            };
            let answer = self.answer_carried(peer, claim.entity, claim.msg_type, &claim.body, step);
            match answer {
                Ok((msg_type, body, after)) => {
                    let nonce = step.nonce();
                    let bytes = self.clear.answer(&claim, msg_type, body, step.now, nonce);
                    self.tell(asker, bytes, after);
                }
                Err(code) => self.refuse_asker(asker, code, step),
            }
        }
    }

    /// Acts on a request that came over HTTP or in clear. What keeps the network's own books, the
    /// registry and the peers' health, is left to those whom the transport vouches for.
    fn answer_carried(
        &mut self,
        peer: PeerId,
        from: EntityId,
        msg_type: MsgType,
        body: &[u8],
        step: &mut Step<'_>,
    ) -> Result<Answer, WireError> {
        match msg_type {
            MsgType::RegistrySync => Err(WireError::NotAllowed),
            MsgType::Heartbeat => {
                let Heartbeat { seq, .. } = decode(body).ok_or(WireError::Malformed)?;
                let ack = cbor::encode(&HeartbeatAck { seq });
                Ok((MsgType::HeartbeatAck, ack, BatchId::NONE))
            }
            MsgType::StatusReport => {
                let _: StatusReport = decode(body).ok_or(WireError::Malformed)?;
                let status = self.own_status(step.now.mono);
                let body = cbor::encode(&StatusReport { status });
                Ok((MsgType::StatusReport, body, BatchId::NONE))
            }
            _ => self.answer(peer, from, msg_type, body, step),
        }
    }

    /// Answers once `after` is durable.
    fn tell(&mut self, asker: Asker, bytes: Vec<u8>, after: BatchId) {
        match asker {
            Asker::Exchange { id, .. } => {
                let response = Output::Respond { id, bytes };
                self.gate.pass(after, response, &mut self.out);
            }
            Asker::Http { id } => self.reply_after(id, Ok(Reply::Envelope(bytes)), after),
        }
    }

    pub(super) fn refuse_asker(&mut self, asker: Asker, code: WireError, step: &mut Step<'_>) {
        match asker {
            Asker::Exchange { id, peer } => self.respond_error(id, peer, code, step),
            Asker::Http { .. } => {
                let nonce = step.nonce();
                let bytes = self.sessions.error(code, step.now, nonce);
                self.tell(asker, bytes, BatchId::NONE);
            }
        }
    }
}

/// The PeerId that the sender of an M1 is dialled at: the first that its entry names.
fn named_peer(m1: &Envelope) -> Result<PeerId, WireError> {
    let body = session::read_m1(m1)?;
    let (entry, _) = SignedEntry::parse(&body.entry).map_err(|_| WireError::Malformed)?;
    Ok(entry.peer_id())
}
