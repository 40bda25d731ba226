//! The three messages. Checks come cheapest first; signatures are checked outside the core, and a
//! ticket names what waits for them.

use super::keys::{Secrets, Side, th1, th2, th3, th4};
use super::live::{Established, Live};
use super::{SessionInfo, Sessions, error_code, parse};
use crate::crypto::{Digest, EphemeralSecret, PublicKey, Rng, SigCheck};
use crate::types::limits::{CLOCK_SKEW_MAX_MS, HALF_OPEN_MAX, HALF_OPEN_PER_PEER_MAX};
use crate::types::{EntityId, Mono, Nonce, Now, PeerId, SessionId};
use crate::wire::{
    Confirm, EntryBody, Envelope, Handshake, HandshakeAck, Header, MsgType, PROTOCOL_VERSION,
    Ready, SUITE, SignedEntry, WireError, cbor,
};

const BODY_MAX: usize = 8 * 1024;
const PURPOSE_M1: &str = "m1";
const PURPOSE_M2: &str = "m2";
const PURPOSE_M3: &str = "m3";

/// Names a handshake message whose signatures are being checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What became of an M1.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandshakeOutcome {
    /// Have these checked and come back with the verdict.
    Verify {
        ticket: Ticket,
        checks: Vec<SigCheck>,
    },
    Refused(WireError),
}

/// What became of an M2.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AckOutcome {
    Verify {
        ticket: Ticket,
        checks: Vec<SigCheck>,
    },
    /// This handshake is over; the code is theirs or what we found.
    Failed(WireError),
    /// It is no longer ours: another took its place.
    Stale,
}

/// A handshake of ours.
pub(super) struct Outgoing {
    pub(super) id: SessionId,
    pub(super) since: Mono,
    secret: EphemeralSecret,
    m1: Envelope,
    stage: Stage,
}

enum Stage {
    AwaitAck,
    Verifying,
    AwaitReady(Box<Live>),
}

/// A handshake of theirs that passed its signatures and awaits M3.
pub(super) struct HalfOpen {
    pub(super) since: Mono,
    peer: PeerId,
    theirs: Theirs,
    nonce: Nonce,
    th2: Digest,
    m2: Envelope,
    secrets: Secrets,
}

/// What a verified entry says of the other side.
#[derive(Clone)]
pub(super) struct Theirs {
    entity: EntityId,
    key: PublicKey,
    bound: bool,
    entry: Vec<u8>,
}

pub(super) enum Verifying {
    M1 {
        since: Mono,
        peer: PeerId,
        theirs: Theirs,
        m1: Box<(Envelope, Header, Handshake)>,
    },
    M2 {
        since: Mono,
        peer: PeerId,
        theirs: Theirs,
        m2: Box<(Envelope, HandshakeAck, Digest)>,
    },
}

impl Verifying {
    pub(super) fn since(&self) -> Mono {
        match self {
            Verifying::M1 { since, .. } | Verifying::M2 { since, .. } => *since,
        }
    }
}

impl Sessions {
    /// Begins a handshake with `peer`: M1. None while one is under way.
    pub fn initiate(
        &mut self,
        peer: PeerId,
        known_as: Option<EntityId>,
        entry: &[u8],
        now: Now,
        rng: &mut Rng,
    ) -> Option<(SessionId, Vec<u8>)> {
        use rand::RngExt as _;
        if self.outgoing.contains_key(&peer) || peer == self.peer {
            return None;
        }
        let secret = EphemeralSecret::generate(rng);
        let id = SessionId(uuid::Builder::from_random_bytes(rng.random()).into_uuid());
        let body = Handshake {
            versions: vec![PROTOCOL_VERSION.into()],
            suites: vec![SUITE],
            session_id: id,
            to_peer: peer,
            entry: entry.to_vec(),
            share: secret.share(),
        };
        let header = self.clear_header(MsgType::Handshake, known_as, now, Nonce(rng.random()));
        let m1 = self.sign_clear(header, cbor::encode(&body), PURPOSE_M1);
        let bytes = m1.to_bytes();
        let since = now.mono;
        self.outgoing.insert(
            peer,
            Outgoing {
                id,
                since,
                secret,
                m1,
                stage: Stage::AwaitAck,
            },
        );
        Some((id, bytes))
    }

    /// Our handshake with `peer` came to nothing (only if it is still this one).
    pub fn abandon(&mut self, peer: &PeerId, id: SessionId) {
        if self.outgoing.get(peer).is_some_and(|out| out.id == id) {
            self.outgoing.remove(peer);
        }
    }

    /// M1 came from `peer`.
    pub fn on_handshake(
        &mut self,
        peer: PeerId,
        envelope: Envelope,
        header: Header,
        now: Now,
    ) -> HandshakeOutcome {
        match self.judge_m1(peer, &envelope, &header, now) {
            Err(code) => HandshakeOutcome::Refused(code),
            Ok((body, theirs, checks)) => {
                let m1 = Box::new((envelope, header, body));
                let since = now.mono;
                let ticket = self.wait(Verifying::M1 {
                    since,
                    peer,
                    theirs,
                    m1,
                });
                HandshakeOutcome::Verify { ticket, checks }
            }
        }
    }

    fn judge_m1(
        &self,
        peer: PeerId,
        envelope: &Envelope,
        header: &Header,
        now: Now,
    ) -> Result<(Handshake, Theirs, Vec<SigCheck>), WireError> {
        let body: Handshake =
            cbor::decode(&envelope.data, BODY_MAX).map_err(|_| WireError::Malformed)?;
        if !body.versions.iter().any(|v| v == PROTOCOL_VERSION) || !body.suites.contains(&SUITE) {
            return Err(WireError::InvalidVersion);
        }
        let to_us = header.recipient_id.is_none_or(|to| to == self.entity);
        if body.to_peer != self.peer || !to_us {
            return Err(WireError::WrongRecipient);
        }
        if header.sender_id == self.entity {
            return Err(WireError::InvalidState);
        }
        if header.timestamp.abs_diff(now.wall) > CLOCK_SKEW_MAX_MS {
            return Err(WireError::HandshakeTimeout);
        }
        if self.half_open_of(&peer) >= HALF_OPEN_PER_PEER_MAX
            || self.verifying.len() >= HALF_OPEN_MAX
        {
            return Err(WireError::Busy);
        }
        if self.half_open.contains_key(&body.session_id) || self.live.contains_key(&body.session_id)
        {
            return Err(WireError::ReplayDetected);
        }
        if self.replay.contains(&header.sender_id, &header.nonce) {
            return Err(WireError::ReplayDetected);
        }
        // Of two handshakes under way at once the lower entity's wins.
        if self.outgoing.contains_key(&peer) && self.entity < header.sender_id {
            return Err(WireError::InvalidState);
        }
        let (theirs, mut checks) = read_entry(&body.entry, &header.sender_id, &peer, now)?;
        let signature = envelope.signature.ok_or(WireError::Malformed)?;
        let digest = envelope.digest();
        checks.push(SigCheck {
            key: theirs.key,
            purpose: PURPOSE_M1,
            digest,
            signature,
        });
        Ok((body, theirs, checks))
    }

    /// M1's signatures were checked: M2, and the entry that is now verified.
    ///
    /// # Errors
    /// The code to answer with; `None` when nobody waits for it any more.
    pub fn handshake_verified(
        &mut self,
        ticket: Ticket,
        good: bool,
        entry: &[u8],
        now: Now,
        rng: &mut Rng,
    ) -> Result<(Vec<u8>, Vec<u8>), Option<WireError>> {
        use rand::RngExt as _;
        let Some(Verifying::M1 {
            peer, theirs, m1, ..
        }) = self.verifying.remove(&ticket)
        else {
            return Err(None);
        };
        let (m1, m1_header, body) = *m1;
        if !good {
            return Err(Some(WireError::InvalidSignature));
        }
        self.replay
            .insert(theirs.entity, m1_header.nonce, now.mono)
            .map_err(Some)?;
        if self.outgoing.contains_key(&peer) {
            if self.entity < theirs.entity {
                return Err(Some(WireError::InvalidState));
            }
            self.outgoing.remove(&peer);
        }
        let secret = EphemeralSecret::generate(rng);
        let nonce = Nonce(rng.random());
        if secret.share() == body.share || nonce == m1_header.nonce {
            return Err(Some(WireError::InvalidState));
        }
        let header = self.clear_header(MsgType::HandshakeAck, Some(theirs.entity), now, nonce);
        let ack = HandshakeAck {
            version: PROTOCOL_VERSION.into(),
            suite: SUITE,
            session_id: body.session_id,
            entry: entry.to_vec(),
            share: secret.share(),
        };
        let mut m2 = Envelope {
            header: cbor::encode(&header),
            data: cbor::encode(&ack),
            signature: None,
            tag: None,
        };
        let th2 = th2(&th1(&m1), &m2);
        let secrets = Secrets::derive(&secret, &body.share, &th2)
            .map_err(|_| Some(WireError::InvalidSignature))?;
        let signature = self.key.sign(PURPOSE_M2, &th2);
        m2.tag = Some(secrets.tag(Side::Responder, &th2, &signature));
        m2.signature = Some(signature);
        let bytes = m2.to_bytes();
        self.make_room_half_open();
        let their_entry = theirs.entry.clone();
        let since = now.mono;
        let half = HalfOpen {
            since,
            peer,
            theirs,
            nonce,
            th2,
            m2,
            secrets,
        };
        self.half_open.insert(body.session_id, half);
        Ok((bytes, their_entry))
    }

    /// M2 (or an error) came in answer to our M1.
    pub fn on_ack(&mut self, peer: PeerId, id: SessionId, bytes: &[u8], now: Now) -> AckOutcome {
        let Some(out) = self.outgoing.get(&peer) else {
            return AckOutcome::Stale;
        };
        if out.id != id || !matches!(out.stage, Stage::AwaitAck) {
            return AckOutcome::Stale;
        }
        match self.judge_m2(peer, id, bytes, now) {
            Err(code) => {
                self.outgoing.remove(&peer);
                AckOutcome::Failed(code)
            }
            Ok((m2, theirs, checks)) => {
                if let Some(out) = self.outgoing.get_mut(&peer) {
                    out.stage = Stage::Verifying;
                }
                let since = now.mono;
                let ticket = self.wait(Verifying::M2 {
                    since,
                    peer,
                    theirs,
                    m2: Box::new(m2),
                });
                AckOutcome::Verify { ticket, checks }
            }
        }
    }

    #[allow(
        clippy::type_complexity,
        reason = "three parts of one message, taken apart at once"
    )]
    fn judge_m2(
        &self,
        peer: PeerId,
        id: SessionId,
        bytes: &[u8],
        now: Now,
    ) -> Result<((Envelope, HandshakeAck, Digest), Theirs, Vec<SigCheck>), WireError> {
        let out = &self.outgoing[&peer];
        let (envelope, header) = parse(bytes)?;
        match header.msg_type {
            MsgType::HandshakeAck => {}
            MsgType::Error => return Err(error_code(&envelope)?),
            _ => return Err(WireError::InvalidState),
        }
        let body: HandshakeAck =
            cbor::decode(&envelope.data, BODY_MAX).map_err(|_| WireError::Malformed)?;
        if body.version != PROTOCOL_VERSION || body.suite != SUITE {
            return Err(WireError::InvalidVersion);
        }
        if header.recipient_id != Some(self.entity) {
            return Err(WireError::WrongRecipient);
        }
        let reflected = header.sender_id == self.entity || body.share == out.secret.share();
        if body.session_id != id || reflected {
            return Err(WireError::InvalidState);
        }
        let m1_header: Header =
            cbor::decode(&out.m1.header, 1024).expect("our own message reads back");
        if m1_header
            .recipient_id
            .is_some_and(|to| to != header.sender_id)
        {
            return Err(WireError::UnknownSender);
        }
        let (theirs, mut checks) = read_entry(&body.entry, &header.sender_id, &peer, now)?;
        let th2 = th2(&th1(&out.m1), &envelope);
        let signature = envelope.signature.ok_or(WireError::Malformed)?;
        checks.push(SigCheck {
            key: theirs.key,
            purpose: PURPOSE_M2,
            digest: th2,
            signature,
        });
        Ok(((envelope, body, th2), theirs, checks))
    }

    /// M2's signatures were checked: M3, and the entry that is now verified.
    ///
    /// # Errors
    /// Why the handshake failed, and with whom; `None` when it is no longer ours.
    pub fn ack_verified(
        &mut self,
        ticket: Ticket,
        good: bool,
        now: Now,
        nonce: Nonce,
    ) -> Result<(PeerId, SessionId, Vec<u8>, Vec<u8>), Option<(PeerId, SessionId, WireError)>> {
        let Some(Verifying::M2 {
            peer, theirs, m2, ..
        }) = self.verifying.remove(&ticket)
        else {
            return Err(None);
        };
        let (m2, body, th2) = *m2;
        let id = body.session_id;
        let ours = self.outgoing.get(&peer).is_some_and(|out| out.id == id);
        if !ours {
            return Err(None);
        }
        let result = self.confirm(peer, theirs, &m2, &body, th2, good, now, nonce);
        match result {
            Ok((m3, entry)) => Ok((peer, id, m3, entry)),
            Err(code) => {
                self.outgoing.remove(&peer);
                Err(Some((peer, id, code)))
            }
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the whole state of a handshake at its end"
    )]
    fn confirm(
        &mut self,
        peer: PeerId,
        theirs: Theirs,
        m2: &Envelope,
        body: &HandshakeAck,
        th2: Digest,
        good: bool,
        now: Now,
        nonce: Nonce,
    ) -> Result<(Vec<u8>, Vec<u8>), WireError> {
        let out = self.outgoing.get(&peer).expect("the caller found it");
        if !good {
            return Err(WireError::InvalidSignature);
        }
        let secrets = Secrets::derive(&out.secret, &body.share, &th2)
            .map_err(|_| WireError::InvalidSignature)?;
        if !secrets.tag_holds(Side::Responder, &th2, m2) {
            return Err(WireError::DecryptionFailed);
        }
        let id = out.id;
        let m2_header: Header = cbor::decode(&m2.header, 1024).map_err(|_| WireError::Malformed)?;
        let header = self.clear_header(MsgType::HandshakeConfirm, Some(theirs.entity), now, nonce);
        let confirm = Confirm {
            session_id: id,
            answers: m2_header.nonce,
        };
        let mut m3 = Envelope {
            header: cbor::encode(&header),
            data: cbor::encode(&confirm),
            signature: None,
            tag: None,
        };
        let th3 = th3(&th2, m2, &m3);
        let signature = self.key.sign(PURPOSE_M3, &th3);
        m3.tag = Some(secrets.tag(Side::Initiator, &th3, &signature));
        m3.signature = Some(signature);
        let established = Established {
            id,
            info: SessionInfo {
                peer,
                entity: theirs.entity,
            },
            side: Side::Initiator,
            bound: theirs.bound,
            their_key: theirs.key,
            th4: th4(&th3, &m3),
        };
        let live = Live::new(established, &secrets, now.mono);
        let out = self.outgoing.get_mut(&peer).expect("the caller found it");
        out.stage = Stage::AwaitReady(Box::new(live));
        Ok((m3.to_bytes(), theirs.entry))
    }

    /// M3 came from `peer`: the session is live. Returns who it is with, and the sealed ready.
    ///
    /// # Errors
    /// The code to answer with.
    pub fn on_confirm(
        &mut self,
        peer: PeerId,
        m3: &Envelope,
        header: &Header,
        now: Now,
        nonce: Nonce,
    ) -> Result<(SessionInfo, Vec<u8>), WireError> {
        let body: Confirm = cbor::decode(&m3.data, BODY_MAX).map_err(|_| WireError::Malformed)?;
        let half = self
            .half_open
            .get(&body.session_id)
            .ok_or(WireError::SessionNotFound)?;
        if half.peer != peer {
            return Err(WireError::SessionNotFound);
        }
        if header.recipient_id != Some(self.entity) || header.sender_id != half.theirs.entity {
            return Err(WireError::UnknownSender);
        }
        let th3 = th3(&half.th2, &half.m2, m3);
        if body.answers != half.nonce || !half.secrets.tag_holds(Side::Initiator, &th3, m3) {
            return Err(WireError::DecryptionFailed);
        }
        let signature = m3.signature.ok_or(WireError::Malformed)?;
        let key = half.theirs.key;
        if !(SigCheck {
            key,
            purpose: PURPOSE_M3,
            digest: th3,
            signature,
        })
        .verify()
        {
            return Err(WireError::InvalidSignature);
        }
        let half = self
            .half_open
            .remove(&body.session_id)
            .expect("it was there a moment ago");
        let established = Established {
            id: body.session_id,
            info: SessionInfo {
                peer,
                entity: half.theirs.entity,
            },
            side: Side::Responder,
            bound: half.theirs.bound,
            their_key: half.theirs.key,
            th4: th4(&th3, m3),
        };
        let mut live = Live::new(established, &half.secrets, now.mono);
        let ready_header = live.header(self.entity, MsgType::Ready, Some(0), now, nonce);
        let ready = live.seal(&self.key, ready_header, &cbor::encode(&Ready {}));
        let info = self.install(body.session_id, live, now.mono);
        Ok((info, ready))
    }

    /// The sealed ready (or an error) came in answer to our M3.
    ///
    /// # Errors
    /// Why the handshake failed; `None` when it is no longer ours.
    pub fn on_ready(
        &mut self,
        peer: PeerId,
        id: SessionId,
        bytes: &[u8],
        now: Now,
    ) -> Result<SessionInfo, Option<WireError>> {
        let ours = self
            .outgoing
            .get(&peer)
            .is_some_and(|out| out.id == id && matches!(out.stage, Stage::AwaitReady(_)));
        if !ours {
            return Err(None);
        }
        let Some(Outgoing {
            stage: Stage::AwaitReady(mut live),
            ..
        }) = self.outgoing.remove(&peer)
        else {
            unreachable!("checked above")
        };
        let (envelope, header) = parse(bytes).map_err(Some)?;
        if header.msg_type == MsgType::Error {
            return Err(Some(error_code(&envelope).unwrap_or(WireError::Malformed)));
        }
        if header.session_id != Some(id) || header.msg_type != MsgType::Ready {
            return Err(Some(WireError::InvalidState));
        }
        let opened = live.open(id, &envelope, &header).map_err(Some)?;
        cbor::decode::<Ready>(&opened.body, 256).map_err(|_| Some(WireError::Malformed))?;
        Ok(self.install(id, *live, now.mono))
    }

    fn wait(&mut self, verifying: Verifying) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.verifying.insert(ticket, verifying);
        ticket
    }

    fn half_open_of(&self, peer: &PeerId) -> usize {
        let half = self
            .half_open
            .values()
            .filter(|half| half.peer == *peer)
            .count();
        let verifying = self
            .verifying
            .values()
            .filter(|v| matches!(v, Verifying::M1 { peer: of, .. } if of == peer))
            .count();
        half + verifying
    }

    /// When all are taken, the oldest of whoever holds most goes.
    fn make_room_half_open(&mut self) {
        if self.half_open.len() < HALF_OPEN_MAX {
            return;
        }
        let mut held: std::collections::BTreeMap<PeerId, usize> = Default::default();
        for half in self.half_open.values() {
            *held.entry(half.peer).or_default() += 1;
        }
        let victim = self
            .half_open
            .iter()
            .max_by_key(|(_, half)| (held[&half.peer], std::cmp::Reverse(half.since)))
            .map(|(id, _)| *id);
        if let Some(victim) = victim {
            self.half_open.remove(&victim);
        }
    }
}

/// Reads the entry of a handshake and checks that it is the sender's and names the peer.
fn read_entry(
    bytes: &[u8],
    sender: &EntityId,
    peer: &PeerId,
    now: Now,
) -> Result<(Theirs, Vec<SigCheck>), WireError> {
    let (body, checks): (EntryBody, _) =
        SignedEntry::parse(bytes).map_err(|_| WireError::Malformed)?;
    let bound = body.speaks_through(peer);
    if body.entity_id != *sender || !bound {
        return Err(WireError::UnknownSender);
    }
    if body.expires <= now.wall {
        return Err(WireError::HandshakeTimeout);
    }
    let entity = body.entity_id;
    Ok((
        Theirs {
            entity,
            key: body.key,
            bound,
            entry: bytes.to_vec(),
        },
        checks,
    ))
}
