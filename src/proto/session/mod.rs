//! End-to-end sessions: the three-message handshake, keys for each direction, replay protection.
//!
//! ```text
//! initiator                                  responder
//!   AwaitAck ──M1 handshake──────────────▶ Verifying ──(signatures hold)──▶ HalfOpen
//!   Verifying ◀─────────M2 handshake_ack──
//!   AwaitReady ──M3 handshake_confirm────▶ live
//!   live ◀──────────────────sealed ready──
//! ```
//! M1 and M2 are one exchange, M3 and the ready another. The initiator checks M2's signatures and
//! the key confirmation before it sends M3; the responder's session is live only after M3.
//! Keys and sequence numbers never touch the disk: a restart ends every session.
//!
//! Transcript: `th1 = H(M1)`, `th2 = H(th1, M2 body)`, `sig2 = Sign_R(th2)`,
//! `PRK = Extract(th2, X25519)`, `tag2 = HMAC(conf r, th2 ‖ sig2)`, `th3 = H(th2, sig2, tag2, M3
//! body)`, `sig3 = Sign_I(th3)`, `tag3 = HMAC(conf i, th3 ‖ sig3)`, `th4 = H(th3, sig3, tag3)`.
//!
//! # Invariants
//! - **S1** A sequence number is sealed once per session and direction.
//! - **S2** A message is opened at most once; one that fails to open moves no counter.
//! - **S3** The authenticated PeerId of a session is one its entity's signed entry names.
//! - **S4** No table grows past its bound in [`crate::types::limits`]; only what passed its
//!   signatures fills a table in somebody's name.
//! - **S5** Of two sessions with one peer the newer is used for sending; there is at most one
//!   handshake of ours under way per peer.

mod channel;
mod epochs;
mod handshake;
mod keys;
mod lane;
mod live;
mod record;
mod replay;
mod streams;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use channel::{ChannelIn, ChannelOut, Room};
pub use epochs::EpochLimits;
pub use handshake::{AckOutcome, Attempt, Confirmed, Failed, HandshakeOutcome, Ticket, read_m1};
pub use lane::TrafficSecret;
pub use live::{Opened, SealedRef};
pub use record::{Opener, RECORD_HEADER_BYTES, RECORD_OVERHEAD_BYTES, Sealer, record_layer};
pub use streams::{
    OPENING_MAX_BYTES, Opened as OpenedStream, Opening, StreamKeys, StreamSecrets, parse_opening,
    refusal,
};

use self::handshake::{Cookies, HalfOpenTable, KnownEntries, Outgoing, Verifying};
use self::live::{Live, Outbound};
use self::replay::ReplayCache;
use crate::crypto::suite::{self, Suite};
use crate::crypto::{Identity, KeyPair};
use crate::proto::Violation;
use crate::types::limits::{
    HALF_OPEN_MAX, HANDSHAKE_TIMEOUT_MS, PEERS_MAX, REPLAY_MAX, SESSION_LIFE_MS, SESSIONS_MAX,
};
use crate::types::{EntityId, Mono, Multiaddr, Nonce, Now, PeerId, Prefix, SessionId};
use crate::wire::{
    Envelope, ErrorBody, Header, MsgType, PROTOCOL_VERSION, Seal, VERSIONS, WireError, cbor,
};

/// What a header may say; a session holds its messages to the version it was made with.
const KNOWN_VERSIONS: &[&str] = match cfg!(test) {
    true => &["1.2", PROTOCOL_VERSION],
    false => VERSIONS,
};
/// How long a replaced session still opens what was under way.
const REPLACED_KEEP_MS: u64 = 30_000;

/// How often the other side is asked to acknowledge an epoch that is due.
const ASK_AGAIN_MS: u64 = 10_000;

/// How long sessions and their epochs last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionConfig {
    pub life_ms: u64,
    pub epochs: EpochLimits,
}

impl Default for SessionConfig {
    fn default() -> SessionConfig {
        SessionConfig {
            life_ms: SESSION_LIFE_MS,
            epochs: EpochLimits::default(),
        }
    }
}

impl SessionConfig {
    /// When a session is replaced: its initiator goes first, after five sixths of its life; where
    /// that did not come about (the other side may count a longer life), the responder follows
    /// after eleven twelfths.
    fn renew_after_ms(&self, initiator: bool) -> u64 {
        match initiator {
            true => self.life_ms / 6 * 5,
            false => self.life_ms / 12 * 11,
        }
    }
}

/// A session as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionInfo {
    pub peer: PeerId,
    pub entity: EntityId,
}

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// The other side says that it did not act on it.
    Refused(WireError),
    /// What came cannot be read as its answer: it may have been acted on.
    Unreadable(WireError),
}

/// What a handshake's messages came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    /// The transport vouches for the PeerId.
    Exchange,
    /// Anybody can write any PeerId: nothing is counted in its name before the signatures hold.
    Http,
}

/// Every session of a node, and every handshake under way.
pub struct Sessions {
    entity: EntityId,
    peer: PeerId,
    key: KeyPair,
    config: SessionConfig,
    /// Ours, the best first.
    versions: Vec<&'static str>,
    suites: Vec<&'static dyn Suite>,
    carrier: Carrier,
    outgoing: BTreeMap<PeerId, Outgoing>,
    half_open: HalfOpenTable,
    verifying: BTreeMap<Ticket, Verifying>,
    next_ticket: u64,
    live: BTreeMap<SessionId, Live>,
    newest: BTreeMap<PeerId, SessionId>,
    replay: ReplayCache,
    /// Handshakes each peer began since the last tick.
    begun: BTreeMap<PeerId, u32>,
    /// Where the connected peers are, as far as it counts.
    prefixes: BTreeMap<PeerId, Prefix>,
    cookies: Cookies,
    known: KnownEntries,
    /// Sessions that were in use and are over, until they are asked for.
    ended: Vec<(PeerId, SessionId)>,
}

impl Sessions {
    /// No session yet.
    pub fn new(identity: &Identity) -> Sessions {
        Sessions::carried(identity, Carrier::Exchange)
    }

    /// Those that are made over HTTP: none yet. Their PeerId is the first that the other side's
    /// entry names; nobody but its own signature in that entry vouches for it.
    pub fn over_http(identity: &Identity) -> Sessions {
        Sessions::carried(identity, Carrier::Http)
    }

    fn carried(identity: &Identity, carrier: Carrier) -> Sessions {
        Sessions {
            carrier,
            entity: identity.entity_id,
            peer: identity.peer_id,
            key: identity.key().clone(),
            config: SessionConfig::default(),
            versions: VERSIONS.to_vec(),
            suites: suite::all(),
            outgoing: BTreeMap::new(),
            half_open: HalfOpenTable::default(),
            verifying: BTreeMap::new(),
            next_ticket: 1,
            live: BTreeMap::new(),
            newest: BTreeMap::new(),
            replay: ReplayCache::default(),
            begun: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            cookies: Cookies::default(),
            known: KnownEntries::default(),
            ended: Vec::new(),
        }
    }

    /// Whom a session is with.
    pub fn peer_of(&self, session: SessionId) -> Option<PeerId> {
        self.live.get(&session).map(|live| live.info.peer)
    }

    /// What the streams of the session with `peer` are made from.
    pub fn stream_secrets(&self, peer: &PeerId) -> Option<StreamSecrets> {
        let live = self.newest.get(peer).and_then(|id| self.live.get(id))?;
        Some(live.stream_secrets(self.entity))
    }

    /// The sessions that ended without a successor since this was last asked.
    pub fn ended(&mut self) -> Vec<(PeerId, SessionId)> {
        std::mem::take(&mut self.ended)
    }

    /// The same with other times.
    #[must_use]
    pub fn configured(self, config: SessionConfig) -> Sessions {
        Sessions { config, ..self }
    }

    /// There is a connection to `peer`, whose far end is `addr`.
    pub fn connected(&mut self, peer: PeerId, addr: &Multiaddr) {
        if let Some(prefix) = Prefix::of(addr) {
            self.prefixes.insert(peer, prefix);
        }
    }

    /// There is no connection to `peer` any more; its session stays.
    pub fn disconnected(&mut self, peer: &PeerId) {
        self.prefixes.remove(peer);
    }

    /// The session messages to `peer` go through.
    pub fn with(&self, peer: &PeerId) -> Option<SessionInfo> {
        self.newest
            .get(peer)
            .and_then(|id| self.live.get(id))
            .map(|live| live.info)
    }

    /// Every peer with a live session.
    pub fn peers(&self) -> impl Iterator<Item = SessionInfo> {
        self.newest
            .values()
            .filter_map(|id| self.live.get(id))
            .map(|live| live.info)
    }

    /// How many peers have a live session.
    pub fn len(&self) -> usize {
        self.newest.len()
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.newest.is_empty()
    }

    /// Whether a handshake of ours with `peer` is under way.
    pub fn is_opening(&self, peer: &PeerId) -> bool {
        self.outgoing.contains_key(peer)
    }

    /// Our key was rotated. What is live or under way goes on with the key it began with, and is
    /// due for replacement.
    pub fn rekey(&mut self, key: &KeyPair) {
        self.key = key.clone();
    }

    /// Sessions made under an older key of theirs than is known by now are due for replacement,
    /// and over in 30 s. `rotations` says how often an entity's key was rotated.
    pub fn outdate(&mut self, rotations: impl Fn(&EntityId) -> u32, now: Mono) {
        for live in self.live.values_mut() {
            if live.outdated.is_none() && rotations(&live.info.entity) > live.their_rotations {
                live.outdated = Some(now);
            }
        }
    }

    /// Whether the session with `peer` was made under a key, ours or theirs, that was rotated
    /// since: either side replaces it.
    pub fn has_old_key(&self, peer: &PeerId) -> bool {
        let live = self.newest.get(peer).and_then(|id| self.live.get(id));
        let key = self.key.public();
        live.is_some_and(|live| live.our_key.public() != key || live.outdated.is_some())
    }

    /// Whether it is our turn to replace the session with `peer`.
    pub fn wants_renewal(&self, peer: &PeerId, now: Mono) -> bool {
        let live = self.newest.get(peer).and_then(|id| self.live.get(id));
        live.is_some_and(|live| now.since(live.since) >= self.config.renew_after_ms(live.initiator))
    }

    /// The peers that are to be asked something, because our next epoch waits for an answer.
    pub fn wanting_acknowledgement(&mut self, now: Mono) -> Vec<PeerId> {
        let mut peers = Vec::new();
        for (peer, id) in &self.newest {
            if let Some(live) = self.live.get_mut(id)
                && live.wants_acknowledgement(now)
                && live.asked_at.is_none_or(|at| now.since(at) >= ASK_AGAIN_MS)
            {
                live.asked_at = Some(now);
                peers.push(*peer);
            }
        }
        peers
    }

    /// A session with `peer` is of no use (it said that it does not know it). Another that took
    /// its place meanwhile, and a handshake under way, stay.
    pub fn forget(&mut self, peer: &PeerId, session: SessionId) {
        self.live.remove(&session);
        if self.newest.get(peer) == Some(&session) {
            self.newest.remove(peer);
            self.ended.push((*peer, session));
        }
    }

    /// The session in use with `peer` is over.
    pub fn forget_newest(&mut self, peer: &PeerId) {
        if let Some(id) = self.newest.remove(peer) {
            self.live.remove(&id);
            self.ended.push((*peer, id));
        }
    }

    /// Nothing more is to be had of `peer`.
    pub fn forget_all(&mut self, peer: &PeerId) {
        self.outgoing.remove(peer);
        self.forget_newest(peer);
        self.live.retain(|_, live| live.info.peer != *peer);
    }

    /// Seals a request to `peer`; none without a live session.
    pub fn seal_request(
        &mut self,
        peer: &PeerId,
        msg_type: MsgType,
        body: &[u8],
        now: Now,
        nonce: Nonce,
    ) -> Option<(Vec<u8>, SealedRef)> {
        let id = *self.newest.get(peer)?;
        let life_ms = self.config.life_ms;
        let live = self
            .live
            .get_mut(&id)
            .filter(|live| !live.is_expired(now.mono, life_ms))?;
        let seq = live.next_seq;
        let message = Outbound {
            from: self.entity,
            msg_type,
            re: None,
            body,
            nonce,
        };
        let bytes = live.seal(message, now);
        Some((bytes, SealedRef { session: id, seq }))
    }

    /// Seals the response to a request that [`Sessions::open_request`] opened.
    pub fn seal_response(
        &mut self,
        to: SealedRef,
        msg_type: MsgType,
        body: &[u8],
        now: Now,
        nonce: Nonce,
    ) -> Option<Vec<u8>> {
        let life_ms = self.config.life_ms;
        let live = self
            .live
            .get_mut(&to.session)
            .filter(|live| !live.is_expired(now.mono, life_ms))?;
        let message = Outbound {
            from: self.entity,
            msg_type,
            re: Some(to.seq),
            body,
            nonce,
        };
        Some(live.seal(message, now))
    }

    /// Opens a request that came from `peer`.
    ///
    /// # Errors
    /// The code to answer with.
    pub fn open_request(
        &mut self,
        peer: &PeerId,
        envelope: &Envelope,
        header: &Header,
        now: Now,
    ) -> Result<Opened, WireError> {
        if header.re.is_some() {
            return Err(WireError::InvalidState);
        }
        self.open(peer, envelope, header, now)
    }

    /// Opens the response to what [`Sessions::seal_request`] sealed.
    ///
    /// # Errors
    /// [`NoAnswer`]: that it was refused, or that what came is no answer to it.
    pub fn open_response(
        &mut self,
        peer: &PeerId,
        asked: SealedRef,
        bytes: &[u8],
        now: Now,
    ) -> Result<Opened, NoAnswer> {
        let (envelope, header) = parse(bytes).map_err(NoAnswer::Unreadable)?;
        if header.msg_type == MsgType::Error {
            return Err(match error_code(&envelope) {
                Ok(code) => NoAnswer::Refused(code),
                Err(code) => NoAnswer::Unreadable(code),
            });
        }
        if header.re != Some(asked.seq) || header.session_id != Some(asked.session) {
            return Err(NoAnswer::Unreadable(WireError::InvalidState));
        }
        let opened = self
            .open(peer, &envelope, &header, now)
            .map_err(NoAnswer::Unreadable)?;
        if let Some(live) = self.live.get_mut(&asked.session) {
            live.acknowledge(asked.seq);
        }
        Ok(opened)
    }

    fn open(
        &mut self,
        peer: &PeerId,
        envelope: &Envelope,
        header: &Header,
        now: Now,
    ) -> Result<Opened, WireError> {
        if header.seal != Seal::Session {
            return Err(WireError::EncryptionRequired);
        }
        let id = header.session_id.ok_or(WireError::Malformed)?;
        if header.recipient_id != Some(self.entity) {
            return Err(WireError::WrongRecipient);
        }
        if let Some(early) = self.open_early(peer, id, envelope, header, now) {
            return early;
        }
        let live = self.live.get_mut(&id).ok_or(WireError::SessionNotFound)?;
        if live.info.peer != *peer {
            return Err(WireError::SessionNotFound);
        }
        if header.sender_id != live.info.entity {
            return Err(WireError::UnknownSender);
        }
        if live.is_expired(now.mono, self.config.life_ms) {
            return Err(WireError::SessionExpired);
        }
        live.open(id, envelope, header, now.mono)
    }

    /// The responder's first messages may overtake its ready: one that opens proves as well that
    /// M3 arrived. None when no handshake of ours waits for that session.
    fn open_early(
        &mut self,
        peer: &PeerId,
        id: SessionId,
        envelope: &Envelope,
        header: &Header,
        now: Now,
    ) -> Option<Result<Opened, WireError>> {
        let live = self
            .outgoing
            .get_mut(peer)
            .filter(|out| out.id == id)?
            .awaiting_ready()?;
        if header.sender_id != live.info.entity {
            return Some(Err(WireError::UnknownSender));
        }
        let opened = match live.open(id, envelope, header, now.mono) {
            Ok(opened) => opened,
            Err(code) => return Some(Err(code)),
        };
        let live = self.outgoing.remove(peer)?.into_live()?;
        let info = self.install(id, live, now.mono);
        Some(Ok(Opened {
            established: Some(info),
            ..opened
        }))
    }

    /// An error message, signed, for who cannot be answered in a session.
    pub fn error(&self, code: WireError, now: Now, nonce: Nonce) -> Vec<u8> {
        self.error_message(&ErrorBody::from(code), now, nonce)
    }

    fn error_message(&self, body: &ErrorBody, now: Now, nonce: Nonce) -> Vec<u8> {
        let header = self.clear_header(MsgType::Error, None, now, nonce);
        self.sign_clear(header, cbor::encode(body), "error")
            .to_bytes()
    }

    /// Drops what has run out of time.
    pub fn tick(&mut self, now: Now) {
        let mono = now.mono;
        let fresh = |since: Mono| mono.since(since) < HANDSHAKE_TIMEOUT_MS;
        // Ours end with their exchange; this is the backstop.
        self.outgoing
            .retain(|_, out| mono.since(out.since) < 3 * HANDSHAKE_TIMEOUT_MS);
        self.half_open.expire(mono);
        self.verifying
            .retain(|_, verifying| fresh(verifying.since()));
        self.replay.expire(mono);
        self.begun.clear();
        let (newest, life_ms) = (&self.newest, self.config.life_ms);
        self.live.retain(|id, live| {
            live.tick(mono);
            let kept_ms = match newest.get(&live.info.peer) == Some(id) {
                true => life_ms,
                false => live
                    .replaced
                    .map_or(0, |at| at.since(live.since) + REPLACED_KEEP_MS),
            };
            let cut = live
                .outdated
                .is_some_and(|at| mono.since(at) >= REPLACED_KEEP_MS);
            mono.since(live.since) < kept_ms && !cut
        });
        let live = &self.live;
        let ended = self.newest.extract_if(.., |_, id| !live.contains_key(id));
        self.ended.extend(ended);
    }

    /// When [`Sessions::tick`] is next worth calling.
    pub fn next_deadline(&self) -> Option<Mono> {
        let half = self.half_open.next_deadline();
        let live = self
            .live
            .values()
            .map(|live| live.since + self.config.life_ms)
            .min();
        [half, live].into_iter().flatten().min()
    }

    /// Makes a session the one for sending; the one before stays open for what is under way.
    fn install(&mut self, id: SessionId, live: Live, now: Mono) -> SessionInfo {
        let info = live.info;
        if let Some(old) = self.newest.insert(info.peer, id)
            && let Some(old) = self.live.get_mut(&old)
        {
            old.replaced = Some(now);
        }
        self.live.insert(id, live);
        if self.live.len() > SESSIONS_MAX {
            let oldest = self
                .live
                .iter()
                .min_by_key(|(_, live)| (live.replaced.is_none(), live.since))
                .map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                self.live.remove(&oldest);
                let ended = self.newest.extract_if(.., |_, id| *id == oldest);
                self.ended.extend(ended);
            }
        }
        info
    }

    fn clear_header(
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

    fn sign_clear(&self, header: Header, data: Vec<u8>, purpose: &'static str) -> Envelope {
        let mut envelope = Envelope {
            header: cbor::encode(&header),
            data,
            signature: None,
            tag: None,
        };
        envelope.signature = Some(self.key.sign(purpose, &envelope.digest()));
        envelope
    }

    /// Checks S3, S4 and S5.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&self) -> Result<(), Violation> {
        Violation::unless(
            self.half_open.is_bounded()
                && self.verifying.len() <= HALF_OPEN_MAX + self.outgoing.len()
                && self.begun.len() <= PEERS_MAX
                && self.live.len() <= SESSIONS_MAX
                && self.replay.len() <= REPLAY_MAX,
            "S4",
            || "a session table is over its bound".into(),
        )?;
        for live in self.live.values() {
            Violation::unless(live.bound, "S3", || {
                format!("{} does not speak for {}", live.info.peer, live.info.entity)
            })?;
            live.check()?;
        }
        for (peer, id) in &self.newest {
            let fits = self
                .live
                .get(id)
                .is_some_and(|live| live.info.peer == *peer);
            Violation::unless(fits, "S5", || format!("{peer} has no such session {id}"))?;
        }
        Ok(())
    }
}

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
fn error_code(envelope: &Envelope) -> Result<WireError, WireError> {
    error_body(envelope).map(|body| body.code)
}

fn error_body(envelope: &Envelope) -> Result<ErrorBody, WireError> {
    cbor::decode(&envelope.data, 256).map_err(|_| WireError::Malformed)
}
