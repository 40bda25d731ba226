//! The address book: whom we know, whom we are connected to, whom to dial next and when, and who
//! behaves badly.
//!
//! # Invariants
//! - **P1** A banned peer, or one of another network, is not dialled before its time is over.
//! - **P2** At most one dial per peer is under way, and the wait before the next grows with each
//!   failure, with jitter, up to a minute.
//! - **P4** A connection that did not last is a failure, too: who hangs up at once is dialled ever
//!   less often.
//! - **P3** At most `PEERS_MAX` peers are kept, 16 addresses each.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use libp2p::multiaddr::Protocol;

use crate::proto::{Step, Violation};
use crate::types::limits::{ADDRESSES_MAX, CONNECTIONS_KEPT, PEERS_MAX, TARGET_PEERS};
use crate::types::{Mono, Multiaddr, PeerId};

const BACKOFF_MS: u64 = 500;
const BACKOFF_MAX_MS: u64 = 60_000;
/// Somebody we need (a bootstrap peer, a partner in work) is tried at least this often.
const BACKOFF_NEEDED_MAX_MS: u64 = 10_000;
const WRONG_NETWORK_MS: u64 = 10 * 60 * 1000;
const BAN_MS: u64 = 10 * 60 * 1000;
/// A dial whose end we never hear of is over after this.
const DIAL_LIMIT_MS: u64 = 30_000;
/// A connection that lasts so long was of use: the next dial is as the first.
const STABLE_MS: u64 = 10_000;
/// Connections that carried nothing but signs of life for so long may be closed.
const IDLE_MS: u64 = 60_000;
/// Points of penalty at which a peer is banned, and how long one point lasts.
const PENALTY_MAX: u32 = 100;
const PENALTY_POINT_MS: u64 = 3_000;

/// Whether we have a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Up,
    Dialing { since: Mono },
    Down,
}

/// What the address book says of a peer.
#[derive(Debug, Clone)]
pub struct Peer {
    pub addrs: Vec<Multiaddr>,
    pub link: Link,
    /// Connections are kept up by ourselves: a bootstrap peer, or one we owe work.
    needed: bool,
    tries: u32,
    next_try: Mono,
    /// When the connection came up, whether they made it, and when it last carried more than a
    /// sign of life.
    up_since: Mono,
    incoming: bool,
    used: Mono,
    shunned_until: Mono,
    penalty: u32,
    penalty_at: Mono,
}

impl Peer {
    fn new(now: Mono) -> Peer {
        Peer {
            addrs: Vec::new(),
            link: Link::Down,
            needed: false,
            tries: 0,
            next_try: now,
            up_since: now,
            incoming: false,
            used: now,
            shunned_until: Mono::default(),
            penalty: 0,
            penalty_at: now,
        }
    }

    fn backoff_max_ms(&self) -> u64 {
        if self.needed {
            BACKOFF_NEEDED_MAX_MS
        } else {
            BACKOFF_MAX_MS
        }
    }

    /// The points that have not worn off.
    fn points(&self, now: Mono) -> u32 {
        let worn = now.since(self.penalty_at) / PENALTY_POINT_MS;
        self.penalty
            .saturating_sub(u32::try_from(worn).unwrap_or(u32::MAX))
    }
}

/// An address to start from, whose peer may not be known yet.
#[derive(Debug, Clone)]
struct Bootstrap {
    addr: Multiaddr,
    peer: Option<PeerId>,
    dialing: Option<Mono>,
    tries: u32,
    next_try: Mono,
}

/// A dial that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    pub peer: Option<PeerId>,
    pub addrs: Vec<Multiaddr>,
}

/// What a peer's misdeed leads to.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sentence {
    None,
    /// Close its connections; it is not dialled for `for_ms`.
    Ban {
        for_ms: u64,
    },
}

/// The address book.
pub struct Peers {
    me: PeerId,
    peers: BTreeMap<PeerId, Peer>,
    bootstrap: Vec<Bootstrap>,
}

impl Peers {
    /// Knows the bootstrap addresses only.
    pub fn new(me: PeerId, bootstrap: Vec<Multiaddr>) -> Peers {
        let bootstrap = bootstrap
            .into_iter()
            .map(|addr| Bootstrap {
                peer: peer_of(&addr),
                addr,
                dialing: None,
                tries: 0,
                next_try: Mono::default(),
            })
            .filter(|bootstrap| bootstrap.peer != Some(me))
            .collect();
        Peers {
            me,
            peers: BTreeMap::new(),
            bootstrap,
        }
    }

    /// Addresses at which `peer` may be found; the newest go first.
    pub fn learned(&mut self, peer: PeerId, addrs: &[Multiaddr], now: Mono) {
        if peer == self.me {
            return;
        }
        if !self.peers.contains_key(&peer) && !self.make_room(now) {
            return;
        }
        let known = self.peers.entry(peer).or_insert_with(|| Peer::new(now));
        for addr in addrs.iter().rev() {
            let addr = without_peer(addr);
            known.addrs.retain(|have| *have != addr);
            known.addrs.insert(0, addr);
        }
        known.addrs.truncate(ADDRESSES_MAX);
    }

    /// Forgets a peer that is down and not needed, if there is no room. Returns whether there is.
    fn make_room(&mut self, now: Mono) -> bool {
        if self.peers.len() < PEERS_MAX {
            return true;
        }
        let of_no_use = |peer: &Peer| {
            peer.link == Link::Down
                && !peer.needed
                && peer.points(now) == 0
                && peer.shunned_until <= now
        };
        let idle = self.peers.iter().filter(|(_, peer)| of_no_use(peer));
        let victim = idle.max_by_key(|(_, peer)| peer.tries).map(|(id, _)| *id);
        victim.is_some_and(|victim| self.peers.remove(&victim).is_some())
    }

    /// A connection stands. Returns whether the peer is one we do not talk to now, or have no
    /// place for.
    pub fn connected(&mut self, peer: PeerId, addr: &Multiaddr, dialer: bool, now: Mono) -> bool {
        if !self.peers.contains_key(&peer) && !self.make_room(now) {
            return true;
        }
        let known = self.peers.entry(peer).or_insert_with(|| Peer::new(now));
        known.link = Link::Up;
        known.up_since = now;
        known.incoming = !dialer;
        known.used = now;
        if dialer {
            self.learned(peer, std::slice::from_ref(addr), now);
            for bootstrap in &mut self.bootstrap {
                let same = without_peer(&bootstrap.addr) == without_peer(addr);
                if same && bootstrap.peer.is_none_or(|known| known == peer) {
                    bootstrap.peer = Some(peer);
                    bootstrap.dialing = None;
                }
            }
        }
        self.is_shunned(&peer, now)
    }

    /// The last connection is gone.
    pub fn disconnected(&mut self, peer: &PeerId, step: &mut Step<'_>) {
        let now = step.now.mono;
        let mut lasted = true;
        if let Some(known) = self.peers.get_mut(peer) {
            known.link = Link::Down;
            lasted = now.since(known.up_since) >= STABLE_MS;
            let max_ms = known.backoff_max_ms();
            known.next_try = next_try(&mut known.tries, lasted, max_ms, step);
            let of_use = !known.addrs.is_empty() || known.needed || known.points(now) > 0;
            if !of_use && known.shunned_until <= now {
                self.peers.remove(peer);
            }
        }
        for bootstrap in &mut self.bootstrap {
            if bootstrap.peer == Some(*peer) {
                let max_ms = BACKOFF_NEEDED_MAX_MS;
                bootstrap.next_try = next_try(&mut bootstrap.tries, lasted, max_ms, step);
            }
        }
    }

    /// A dial failed. Returns the bootstrap address it was for, the first time it fails.
    pub fn dial_failed(
        &mut self,
        peer: Option<PeerId>,
        addrs: &[Multiaddr],
        step: &mut Step<'_>,
    ) -> Option<Multiaddr> {
        let now = step.now.mono;
        if let Some(known) = peer.and_then(|peer| self.peers.get_mut(&peer))
            && known.link != Link::Up
        {
            known.link = Link::Down;
            let max_ms = known.backoff_max_ms();
            let wait = BACKOFF_MS + step.backoff_ms(known.tries, BACKOFF_MS, max_ms);
            known.next_try = now + wait;
            known.tries = known.tries.saturating_add(1);
        }
        let mut first = None;
        for bootstrap in &mut self.bootstrap {
            let by_peer = bootstrap.peer.is_some() && bootstrap.peer == peer;
            let by_addr = addrs
                .iter()
                .any(|addr| without_peer(addr) == without_peer(&bootstrap.addr));
            if bootstrap.dialing.is_some() && (by_peer || by_addr) {
                bootstrap.dialing = None;
                if bootstrap.tries == 0 {
                    first = Some(bootstrap.addr.clone());
                }
                let wait = BACKOFF_MS
                    + step.backoff_ms(bootstrap.tries, BACKOFF_MS, BACKOFF_NEEDED_MAX_MS);
                bootstrap.next_try = now + wait;
                bootstrap.tries = bootstrap.tries.saturating_add(1);
            }
        }
        first
    }

    /// `peer` speaks another network's protocols: leave it alone for a while.
    pub fn wrong_network(&mut self, peer: PeerId, now: Mono) {
        if self.peers.contains_key(&peer) || self.make_room(now) {
            let known = self.peers.entry(peer).or_insert_with(|| Peer::new(now));
            known.shunned_until = now + WRONG_NETWORK_MS;
        }
    }

    /// `peer` did something that costs `points`. They wear off, one in three seconds.
    pub fn penalize(&mut self, peer: PeerId, points: u32, now: Mono) -> Sentence {
        if points == 0 || !(self.peers.contains_key(&peer) || self.make_room(now)) {
            return Sentence::None;
        }
        let known = self.peers.entry(peer).or_insert_with(|| Peer::new(now));
        known.penalty = known.points(now).saturating_add(points);
        known.penalty_at = now;
        if known.penalty < PENALTY_MAX {
            return Sentence::None;
        }
        known.penalty = 0;
        known.shunned_until = now + BAN_MS;
        Sentence::Ban { for_ms: BAN_MS }
    }

    /// Whether `peer` is banned or of another network.
    pub fn is_shunned(&self, peer: &PeerId, now: Mono) -> bool {
        self.peers
            .get(peer)
            .is_some_and(|known| known.shunned_until > now)
    }

    /// Keep a connection to exactly these (and to bootstrap peers).
    pub fn need(&mut self, needed: impl Fn(&PeerId) -> bool, now: Mono) {
        for (id, peer) in &mut self.peers {
            let now_needed = needed(id);
            if now_needed && !peer.needed && peer.link == Link::Down {
                peer.tries = peer.tries.min(2);
                peer.next_try = peer.next_try.min(now + BACKOFF_NEEDED_MAX_MS);
            }
            peer.needed = now_needed;
        }
    }

    /// The dials that are due, marked as under way.
    pub fn dials(&mut self, step: &mut Step<'_>) -> Vec<Dial> {
        let now = step.now.mono;
        let mut dials = Vec::new();
        for at in 0..self.bootstrap.len() {
            if self.bootstrap_due(&self.bootstrap[at], now) {
                let bootstrap = &mut self.bootstrap[at];
                bootstrap.dialing = Some(now);
                // One dial for the address and for the peer it is known to lead to.
                if let Some(known) = bootstrap.peer.and_then(|peer| self.peers.get_mut(&peer)) {
                    known.link = Link::Dialing { since: now };
                }
                dials.push(Dial {
                    peer: bootstrap.peer,
                    addrs: vec![bootstrap.addr.clone()],
                });
            }
        }
        let mut room = TARGET_PEERS.saturating_sub(self.active());
        for (id, peer) in &mut self.peers {
            let due = peer.next_try <= now && peer.shunned_until <= now && !peer.addrs.is_empty();
            let dialing =
                matches!(peer.link, Link::Dialing { since } if now.since(since) < DIAL_LIMIT_MS);
            if peer.link == Link::Up || dialing || !due || !(peer.needed || room > 0) {
                continue;
            }
            room = room.saturating_sub(1);
            peer.link = Link::Dialing { since: now };
            dials.push(Dial {
                peer: Some(*id),
                addrs: peer.addrs.clone(),
            });
        }
        dials
    }

    fn bootstrap_due(&self, bootstrap: &Bootstrap, now: Mono) -> bool {
        let known = bootstrap.peer.and_then(|peer| self.peers.get(&peer));
        let taken = |since: Mono| now.since(since) < DIAL_LIMIT_MS;
        let up = known.is_some_and(|peer| match peer.link {
            Link::Up => true,
            Link::Dialing { since } => taken(since),
            Link::Down => false,
        });
        let shunned = known.is_some_and(|peer| peer.shunned_until > now);
        let dialing = bootstrap
            .dialing
            .is_some_and(|since| now.since(since) < DIAL_LIMIT_MS);
        !up && !shunned && !dialing && bootstrap.next_try <= now
    }

    fn active(&self) -> usize {
        self.peers
            .values()
            .filter(|peer| peer.link != Link::Down)
            .count()
    }

    /// When [`Peers::dials`] may next return something.
    pub fn next_deadline(&self, now: Mono) -> Option<Mono> {
        let room = self.active() < TARGET_PEERS;
        let peers = self
            .peers
            .values()
            .filter(|peer| !peer.addrs.is_empty() && (peer.needed || room))
            .filter_map(|peer| match peer.link {
                Link::Up => None,
                Link::Dialing { since } => Some(since + DIAL_LIMIT_MS),
                Link::Down => Some(peer.next_try.max(peer.shunned_until)),
            });
        let bootstrap = self.bootstrap.iter().filter_map(|bootstrap| {
            let known = bootstrap.peer.and_then(|peer| self.peers.get(&peer));
            if known.is_some_and(|peer| peer.link == Link::Up) {
                return None;
            }
            let shunned = known.map_or(now, |peer| peer.shunned_until);
            let dialing = bootstrap.dialing.map_or(now, |since| since + DIAL_LIMIT_MS);
            Some(bootstrap.next_try.max(shunned).max(dialing))
        });
        peers.chain(bootstrap).min()
    }

    /// The connection to `peer` carried more than a sign of life.
    pub fn used(&mut self, peer: &PeerId, now: Mono) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.used = now;
        }
    }

    /// Peers whose connections are closed for want of room: above `CONNECTIONS_KEPT`, those that
    /// nobody needs and that carried nothing for a while, the longest idle first.
    pub fn idle(&self, now: Mono) -> Vec<PeerId> {
        let too_many = self.connected_count().saturating_sub(CONNECTIONS_KEPT);
        if too_many == 0 {
            return Vec::new();
        }
        let bootstrap: Vec<PeerId> = self.bootstrap.iter().filter_map(|b| b.peer).collect();
        let mut idle: Vec<(Mono, PeerId)> = self
            .peers
            .iter()
            .filter(|(id, peer)| {
                let wanted = peer.needed || bootstrap.contains(id);
                peer.link == Link::Up && !wanted && now.since(peer.used) >= IDLE_MS
            })
            .map(|(id, peer)| (peer.used, *id))
            .collect();
        idle.sort_unstable();
        idle.into_iter().take(too_many).map(|(_, id)| id).collect()
    }

    /// What is known of `peer`.
    pub fn peer(&self, peer: &PeerId) -> Option<&Peer> {
        self.peers.get(peer)
    }

    /// Whether there is a connection to `peer`.
    pub fn is_up(&self, peer: &PeerId) -> bool {
        self.peers
            .get(peer)
            .is_some_and(|known| known.link == Link::Up)
    }

    /// Since when there is a connection to `peer`, if it was the one that made it.
    pub fn came_to_us(&self, peer: &PeerId) -> Option<Mono> {
        let known = self.peers.get(peer)?;
        (known.link == Link::Up && known.incoming).then_some(known.up_since)
    }

    /// The addresses of `peer`.
    pub fn addrs(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.peers
            .get(peer)
            .map(|known| known.addrs.clone())
            .unwrap_or_default()
    }

    /// Everybody, in order of peer id.
    pub fn all(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.peers.iter()
    }

    /// How many peers have a connection.
    pub fn connected_count(&self) -> usize {
        self.peers
            .values()
            .filter(|peer| peer.link == Link::Up)
            .count()
    }

    /// Checks P3.
    ///
    /// # Errors
    /// The violation.
    pub fn check(&self) -> Result<(), Violation> {
        let fits = self
            .peers
            .values()
            .all(|peer| peer.addrs.len() <= ADDRESSES_MAX);
        Violation::unless(fits && self.peers.len() <= PEERS_MAX, "P3", || {
            format!("{} peers", self.peers.len())
        })
    }
}

/// When to dial after a connection has ended: soon if it lasted, or else later each time.
fn next_try(tries: &mut u32, lasted: bool, max_ms: u64, step: &mut Step<'_>) -> Mono {
    *tries = if lasted { 0 } else { tries.saturating_add(1) };
    let wait_ms = step.backoff_ms(*tries, BACKOFF_MS, max_ms);
    step.now.mono + BACKOFF_MS + wait_ms
}

/// The peer an address ends in, if it names one.
pub fn peer_of(addr: &Multiaddr) -> Option<PeerId> {
    match addr.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// The address without the peer it ends in.
pub fn without_peer(addr: &Multiaddr) -> Multiaddr {
    let mut addr = addr.clone();
    if peer_of(&addr).is_some() {
        addr.pop();
    }
    addr
}
