//! What went to and fro: messages, bytes, errors; of all together by type, of each peer by class.
//!
//! Only peers in the address book are counted one by one, so there are never more of them than
//! that holds. Bytes are those of whole frames. What travels on streams of its own is not here.

use std::collections::BTreeMap;

use super::stats::{CountView, PeerTraffic};
use crate::types::PeerId;
use crate::wire::{MsgClass, MsgType, WireError};

/// Messages of one kind, and their bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    messages: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }
}

/// Both directions.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    sent: Count,
    received: Count,
}

impl Counts {
    fn add(&mut self, direction: Direction, bytes: usize) {
        match direction {
            Direction::Sent => self.sent.add(bytes),
            Direction::Received => self.received.add(bytes),
        }
    }

    fn view(&self) -> CountView {
        CountView {
            messages_sent: self.sent.messages,
            bytes_sent: self.sent.bytes,
            messages_received: self.received.messages,
            bytes_received: self.received.bytes,
        }
    }
}

/// Which way something went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Sent,
    Received,
}

/// One peer.
#[derive(Debug, Clone, Default)]
struct PeerTally {
    classes: BTreeMap<MsgClass, Counts>,
    sessions: u64,
    errors_sent: u64,
    errors_received: u64,
    unanswered: u64,
    penalties: u64,
}

/// See the module's header.
#[derive(Debug, Default)]
pub(super) struct Tally {
    types: BTreeMap<MsgType, Counts>,
    errors_sent: BTreeMap<WireError, u64>,
    errors_received: BTreeMap<WireError, u64>,
    pub(super) sessions: u64,
    pub(super) unanswered: u64,
    peers: BTreeMap<PeerId, PeerTally>,
}

impl Tally {
    /// Counts `peer` by itself from now on.
    pub(super) fn know(&mut self, peer: PeerId) {
        self.peers.entry(peer).or_default();
    }

    /// Forgets whoever is known no longer.
    pub(super) fn retain(&mut self, known: impl Fn(&PeerId) -> bool) {
        self.peers.retain(|peer, _| known(peer));
    }

    pub(super) fn message(
        &mut self,
        direction: Direction,
        peer: &PeerId,
        msg_type: MsgType,
        bytes: usize,
    ) {
        let all = self.types.entry(msg_type).or_default();
        all.add(direction, bytes);
        if let Some(tally) = self.peers.get_mut(peer) {
            let class = tally.classes.entry(msg_type.class()).or_default();
            class.add(direction, bytes);
        }
    }

    pub(super) fn error(&mut self, direction: Direction, peer: &PeerId, code: WireError) {
        let tally = self.peers.get_mut(peer);
        match direction {
            Direction::Sent => {
                *self.errors_sent.entry(code).or_default() += 1;
                if let Some(tally) = tally {
                    tally.errors_sent += 1;
                }
            }
            Direction::Received => {
                *self.errors_received.entry(code).or_default() += 1;
                if let Some(tally) = tally {
                    tally.errors_received += 1;
                }
            }
        }
    }

    pub(super) fn session(&mut self, peer: &PeerId) {
        self.sessions += 1;
        if let Some(tally) = self.peers.get_mut(peer) {
            tally.sessions += 1;
        }
    }

    pub(super) fn unanswered(&mut self, peer: &PeerId) {
        self.unanswered += 1;
        if let Some(tally) = self.peers.get_mut(peer) {
            tally.unanswered += 1;
        }
    }

    pub(super) fn penalty(&mut self, peer: &PeerId, points: u32) {
        if let Some(tally) = self.peers.get_mut(peer) {
            tally.penalties += u64::from(points);
        }
    }

    /// What went to and fro with `peer`.
    pub(super) fn of(&self, peer: &PeerId) -> PeerTraffic {
        let Some(tally) = self.peers.get(peer) else {
            return PeerTraffic::default();
        };
        let sum = |count: fn(&Counts) -> u64| tally.classes.values().map(count).sum();
        PeerTraffic {
            sessions: tally.sessions,
            errors_sent: tally.errors_sent,
            errors_received: tally.errors_received,
            unanswered: tally.unanswered,
            penalty_points: tally.penalties,
            messages_sent: sum(|counts| counts.sent.messages),
            bytes_sent: sum(|counts| counts.sent.bytes),
            messages_received: sum(|counts| counts.received.messages),
            bytes_received: sum(|counts| counts.received.bytes),
            classes: tally
                .classes
                .iter()
                .map(|(class, counts)| (class.as_str().to_owned(), counts.view()))
                .collect(),
        }
    }

    /// All messages, by their type.
    pub(super) fn types(&self) -> BTreeMap<String, CountView> {
        let named = |(t, counts): (&MsgType, &Counts)| (t.as_str().to_owned(), counts.view());
        self.types.iter().map(named).collect()
    }

    /// Errors by code: those we sent, and those we received.
    pub(super) fn errors(&self) -> [BTreeMap<String, u64>; 2] {
        [&self.errors_sent, &self.errors_received].map(|errors| {
            // The text of a code begins with its name.
            let name = |code: &WireError| code.to_string().split(':').next().map(str::to_owned);
            let named = |(code, n): (&WireError, &u64)| Some((name(code)?, *n));
            errors.iter().filter_map(named).collect()
        })
    }
}
