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
//!
//! Where to look: `handshake` makes sessions, `live` is one, `sealing` finds the one a message goes
//! through, `epochs` and `replay` guard it, `renewal` and `lifetime` replace and end it; `carrier`
//! tells those over HTTP apart; `streams`, `record` and `channel` are its long-lived streams.

mod carrier;
mod channel;
mod envelope;
mod epochs;
mod handshake;
mod keys;
mod lane;
mod lifetime;
mod live;
mod record;
mod renewal;
mod replay;
mod sealing;
mod streams;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use channel::{ChannelIn, ChannelOut, Room};
pub use envelope::{check_version, parse, read};
pub use epochs::EpochLimits;
pub use handshake::{AckOutcome, Attempt, Confirmed, Failed, HandshakeOutcome, Ticket, read_m1};
pub use lane::TrafficSecret;
pub use live::{Opened, SealedRef};
pub use record::{Opener, RECORD_HEADER_BYTES, RECORD_OVERHEAD_BYTES, Sealer, record_layer};
pub use renewal::SessionConfig;
pub use sealing::NoAnswer;
pub use streams::{
    OPENING_MAX_BYTES, Opened as OpenedStream, Opening, StreamKeys, StreamSecrets, parse_opening,
    refusal,
};

use self::carrier::Carrier;
use self::handshake::{Cookies, HalfOpenTable, KnownEntries, Outgoing, Verifying};
use self::live::Live;
use self::replay::ReplayCache;
use crate::crypto::suite::{self, Suite};
use crate::crypto::{Identity, KeyPair};
use crate::proto::Violation;
use crate::types::limits::{HALF_OPEN_MAX, PEERS_MAX, REPLAY_MAX, SESSIONS_MAX};
use crate::types::{EntityId, PeerId, Prefix, SessionId};
use crate::wire::VERSIONS;

/// A session as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionInfo {
    pub peer: PeerId,
    pub entity: EntityId,
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
        let live = self.newest(peer)?;
        Some(live.stream_secrets(self.entity))
    }

    fn newest(&self, peer: &PeerId) -> Option<&Live> {
        self.live.get(self.newest.get(peer)?)
    }

    /// The session messages to `peer` go through.
    pub fn with(&self, peer: &PeerId) -> Option<SessionInfo> {
        self.newest(peer).map(|live| live.info)
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
