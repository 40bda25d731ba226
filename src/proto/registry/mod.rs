//! The registry: the newest signed entry of every entity, merged from wherever it came.
//!
//! The set of entries is a join semilattice: of two entries of one entity that with more
//! rotations of its key stays, then the one with the higher sequence number, then the greater
//! bytes; so the order and the repetition of merges do not matter. (Two different rotations of
//! one key are the exception: the first seen stays.) Only entries whose signatures were checked
//! are merged; the core says which need checking and remembers what it knows.
//!
//! # Invariants
//! - **R1** An entity's sequence number never falls while its entry lives and its key stays; with
//!   each key it counts from 1.
//! - **R2** Our own entry is published under a number that is on our disk.
//! - **R3** No expired entry is taken or handed out; at most `REGISTRY_MAX_ENTRIES` are kept.
//! - **R4** Once a rotation of an entity's key was seen, nothing that an older key signed is taken,
//!   also after the entry has expired and after a restart.

mod heads;
mod own;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_bytes::ByteBuf;

pub use heads::KeyNews;
pub use own::Announcement;

use self::heads::Heads;
use crate::crypto::{Identity, SigCheck, Standing};
use crate::proto::{Step, Violation};
use crate::types::limits::{HEADS_MAX, REGISTRY_MAX_ENTRIES, SYNC_MAX_BYTES};
use crate::types::{
    BatchId, Capability, EntityId, Keyspace, Multiaddr, NodeName, Now, PeerId, Row, Wall,
};
use crate::wire::{
    EntryBody, EntryError, Offer, RegistryEntries, RegistryHave, RegistrySync, SignedEntry,
};

/// An entry may be dated this far ahead of our clock.
const AHEAD_MAX_MS: u64 = 10 * 60 * 1000;

/// A stored entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub body: EntryBody,
    pub bytes: Vec<u8>,
    /// Its entity proved itself to us in a handshake: not crowded out by hearsay.
    proven: bool,
    written: BatchId,
}

impl Entry {
    /// What makes one entry of an entity newer than another.
    fn rank(&self) -> (usize, u64) {
        (self.body.rotations.len(), self.body.seq)
    }
}

/// What to do with an entry that came in.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// News, if these signatures hold.
    Check(Vec<SigCheck>),
    /// We have exactly this one.
    Known,
    /// It breaks a rule: whoever sent it is at fault.
    Bad(EntryError),
    /// We have a newer one, it is out of date, or there is no room; nobody is at fault.
    Ignored,
}

/// The registry of one node.
pub struct Registry {
    me: EntityId,
    announcement: Announcement,
    entries: BTreeMap<EntityId, Entry>,
    by_peer: BTreeMap<PeerId, EntityId>,
    heads: Heads,
    key_news: Vec<KeyNews>,
    /// Whether it was told that the network knows newer keys of ours.
    outdated: bool,
    /// When our own entry is to be issued again.
    renew_at: Option<Wall>,
    /// Rises with every entry that comes or goes.
    revision: u64,
}

impl Registry {
    /// Only what `announcement` says of ourselves, and that not yet signed.
    pub fn new(announcement: Announcement) -> Registry {
        Registry {
            me: announcement.identity.entity_id,
            announcement,
            entries: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            heads: Heads::default(),
            key_news: Vec::new(),
            outdated: false,
            renew_at: None,
            revision: 0,
        }
    }

    /// Takes a stored entry back. It was checked before it was stored; one that no longer reads
    /// is left out, for the network has it too.
    pub fn load(&mut self, row: &Row, now: Now) {
        if row.space == Keyspace::Head {
            self.heads.load(row);
        }
        if row.space != Keyspace::Entry {
            return;
        }
        if let Ok((body, _)) = SignedEntry::parse(&row.value)
            && (body.expires > now.wall || body.entity_id == self.me)
        {
            self.keep(Entry {
                body,
                bytes: row.value.clone(),
                proven: false,
                written: BatchId::NONE,
            });
        }
    }

    /// Judges an entry before its signatures.
    pub fn arrived(&self, bytes: &[u8], now: Now) -> Arrival {
        let (body, checks) = match SignedEntry::parse(bytes) {
            Ok(parsed) => parsed,
            Err(error) => return Arrival::Bad(error),
        };
        if !self.is_news(&body, bytes) {
            // Only the very bytes we checked are known to be good; another's older word may be
            // a forgery, and is not worth finding out.
            let have = self.entries.get(&body.entity_id);
            let same = have.is_some_and(|have| have.bytes == bytes);
            if same {
                return Arrival::Known;
            }
            // A fork is told once, if it is one: the signatures say.
            let fork = self.standing(&body) == Standing::Forked;
            if !fork || self.heads.told_fork(&body.entity_id) {
                return Arrival::Ignored;
            }
        }
        if self.has_place_for(&body, now) {
            Arrival::Check(checks)
        } else {
            Arrival::Ignored
        }
    }

    /// Whether the entry is of this time, and there is room for it (R3).
    fn has_place_for(&self, body: &EntryBody, now: Now) -> bool {
        let full = self.entries.len() >= REGISTRY_MAX_ENTRIES;
        let of_now = body.expires > now.wall && body.issued <= now.wall + AHEAD_MAX_MS;
        of_now && (!full || self.entries.contains_key(&body.entity_id))
    }

    fn is_news(&self, body: &EntryBody, bytes: &[u8]) -> bool {
        match self.standing(body) {
            Standing::Older | Standing::Forked => false,
            Standing::Newer => true,
            Standing::Same => self
                .entries
                .get(&body.entity_id)
                .is_none_or(|have| (body.seq, bytes) > (have.body.seq, &have.bytes[..])),
        }
    }

    /// How the keys of an entry stand to those we know of its entity.
    fn standing(&self, body: &EntryBody) -> Standing {
        if body.entity_id != self.me {
            return self.heads.standing(body);
        }
        let ours = self.announcement.identity.chain().head();
        body.chain()
            .map_or(Standing::Forked, |chain| chain.standing(&ours))
    }

    /// Whether the key that signed an entry is the newest that we know of its entity, or newer
    /// (R4). The entry's signatures are another matter.
    pub fn admits(&self, bytes: &[u8]) -> bool {
        SignedEntry::parse(bytes)
            .is_ok_and(|(body, _)| matches!(self.standing(&body), Standing::Same | Standing::Newer))
    }

    /// How often the key of another entity was rotated, as far as is known.
    pub fn rotations(&self, entity: &EntityId) -> u32 {
        self.heads.rotations(entity)
    }

    /// What became known of somebody's keys since the last time.
    pub fn take_key_news(&mut self) -> Vec<KeyNews> {
        std::mem::take(&mut self.key_news)
    }

    /// An entity proved itself in a handshake: its entry has a place, if need be that of one
    /// that we know from hearsay only.
    pub fn prove(&mut self, bytes: &[u8], step: &mut Step<'_>) -> bool {
        let Ok((body, _)) = SignedEntry::parse(bytes) else {
            return false;
        };
        if !self.admits(bytes) {
            return false;
        }
        if self.entries.len() >= REGISTRY_MAX_ENTRIES && !self.entries.contains_key(&body.entity_id)
        {
            let hearsay = self.entries.values().filter(|entry| !entry.proven);
            let victim = hearsay
                .min_by_key(|entry| entry.body.issued)
                .map(|e| e.body.entity_id);
            if let Some(victim) = victim {
                self.remove(&victim, step);
            }
        }
        let news = self.merge(bytes, step);
        if let Some(entry) = self.entries.get_mut(&body.entity_id) {
            entry.proven = true;
        }
        news
    }

    /// Remembers the keys of an entity that proved itself, and whose entry is not for others: what
    /// it signed with before is not taken again (R4).
    pub fn remember_keys(&mut self, bytes: &[u8], step: &mut Step<'_>) -> BatchId {
        let Ok((body, _)) = SignedEntry::parse(bytes) else {
            return BatchId::NONE;
        };
        match (self.standing(&body), body.chain()) {
            (Standing::Newer, Ok(chain)) if body.entity_id != self.me => {
                self.heads.heard_aside(&chain, step)
            }
            _ => BatchId::NONE,
        }
    }

    fn remove(&mut self, entity: &EntityId, step: &mut Step<'_>) {
        if let Some(entry) = self.entries.remove(entity) {
            self.revision += 1;
            for binding in &entry.body.peers {
                self.by_peer.remove(&binding.peer_id);
            }
            step.delete(Keyspace::Entry, entity.0.to_vec());
        }
    }

    /// Merges an entry whose signatures hold. Returns whether it was news.
    pub fn merge(&mut self, bytes: &[u8], step: &mut Step<'_>) -> bool {
        let Ok((body, _)) = SignedEntry::parse(bytes) else {
            return false;
        };
        let standing = self.standing(&body);
        if standing == Standing::Forked && body.entity_id != self.me {
            self.key_news.extend(self.heads.tell_fork(body.entity_id));
        }
        if body.entity_id == self.me {
            self.merge_own(&body, bytes, standing, step);
            return false;
        }
        if !self.is_news(&body, bytes) || !self.has_place_for(&body, step.now) {
            return false;
        }
        if let Ok(chain) = body.chain() {
            // In the same batch as the entry.
            let _ = self.heads.heard(&chain, step);
            if standing == Standing::Newer && self.entries.contains_key(&body.entity_id) {
                self.key_news.push(KeyNews::Rotated {
                    entity: body.entity_id,
                    rotations: chain.head().rotations,
                });
            }
        }
        let key = body.entity_id.0.to_vec();
        let written = step.put(Keyspace::Entry, key, bytes.to_vec());
        let proven = self
            .entries
            .get(&body.entity_id)
            .is_some_and(|have| have.proven);
        self.keep(Entry {
            body,
            bytes: bytes.to_vec(),
            proven,
            written,
        });
        true
    }

    /// An entry of our own that others had.
    fn merge_own(
        &mut self,
        body: &EntryBody,
        bytes: &[u8],
        standing: Standing,
        step: &mut Step<'_>,
    ) {
        match standing {
            // An older life of ours had a higher number (the store was lost): go past it.
            Standing::Same if self.is_news(body, bytes) && self.has_place_for(body, step.now) => {
                self.announcement.seq = self.announcement.seq.max(body.seq);
                self.renew_at = Some(step.now.wall);
            }
            Standing::Newer | Standing::Forked if !self.outdated => {
                self.outdated = true;
                self.key_news.push(KeyNews::Outdated);
            }
            _ => {}
        }
    }

    /// Our key was rotated: announces the new one. Its entries count from 1 again, so a thief of
    /// the old key cannot have used up the numbers.
    pub fn rekey(&mut self, identity: Identity, step: &mut Step<'_>) {
        self.announcement.identity = identity;
        self.announcement.seq = 0;
        self.issue(step);
    }

    fn keep(&mut self, entry: Entry) {
        let entity = entry.body.entity_id;
        // What an older key of ours signed counts for nothing.
        if entity == self.me && self.standing(&entry.body) == Standing::Same {
            self.announcement.seq = self.announcement.seq.max(entry.body.seq);
        }
        if let Some(old) = self.entries.get(&entity) {
            for binding in &old.body.peers {
                self.by_peer.remove(&binding.peer_id);
            }
        }
        for binding in &entry.body.peers {
            self.by_peer.insert(binding.peer_id, entity);
        }
        self.entries.insert(entity, entry);
        self.revision += 1;
    }

    /// Another number means that entries came or went.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Our addresses changed. Returns whether a new entry was issued.
    pub fn addresses_changed(&mut self, addresses: Vec<Multiaddr>, step: &mut Step<'_>) -> bool {
        if self.announcement.addresses == addresses && self.entries.contains_key(&self.me) {
            return false;
        }
        self.announcement.addresses = addresses;
        self.issue(step);
        true
    }

    /// Signs a fresh entry of our own and stores it under the next number.
    pub fn issue(&mut self, step: &mut Step<'_>) {
        let (body, bytes, renew_at) = self.announcement.sign(step.now);
        let written = step.put(Keyspace::Entry, self.me.0.to_vec(), bytes.clone());
        self.renew_at = Some(renew_at);
        self.keep(Entry {
            body,
            bytes,
            proven: true,
            written,
        });
    }

    /// Our own entry and the batch that makes its number durable.
    pub fn own(&self) -> Option<(&Entry, BatchId)> {
        self.entries
            .get(&self.me)
            .map(|entry| (entry, entry.written))
    }

    /// The entry of an entity.
    pub fn entry(&self, entity: &EntityId) -> Option<&Entry> {
        self.entries.get(entity)
    }

    /// The entity that speaks through `peer`.
    pub fn entity_of(&self, peer: &PeerId) -> Option<EntityId> {
        self.by_peer.get(peer).copied()
    }

    /// Every entry, our own included.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// How many entries there are, our own included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entities that go by `name`.
    pub fn named<'a>(&'a self, name: &'a NodeName) -> impl Iterator<Item = &'a Entry> {
        self.entries
            .values()
            .filter(move |entry| entry.body.name == *name)
    }

    /// The entities other than ours that offer `capability`, and how many slots.
    pub fn offering<'a>(
        &'a self,
        capability: &'a Capability,
    ) -> impl Iterator<Item = (&'a Entry, u32)> {
        self.entries
            .values()
            .filter(|entry| entry.body.entity_id != self.me)
            .filter_map(|entry| Some((entry, entry.body.slots(capability)?)))
    }

    /// What we have, to be compared by another.
    pub fn digest(&self, now: Now) -> Vec<RegistryHave> {
        self.fresh(now)
            .map(|entry| RegistryHave {
                entity_id: entry.body.entity_id,
                seq: entry.body.seq,
                rotations: u32::try_from(entry.body.rotations.len()).unwrap_or(u32::MAX),
            })
            .collect()
    }

    fn fresh(&self, now: Now) -> impl Iterator<Item = &Entry> {
        self.entries
            .values()
            .filter(move |entry| entry.body.expires > now.wall)
    }

    /// Answers a digest: what the other lacks, and what we want of it.
    pub fn compare(&self, sync: &RegistrySync, now: Now) -> RegistryEntries {
        let mut answer = RegistryEntries {
            entries: Vec::new(),
            want: Vec::new(),
            more: false,
        };
        let Some(have) = &sync.have else {
            return answer;
        };
        let theirs: BTreeMap<EntityId, (usize, u64)> = have
            .iter()
            .map(|have| (have.entity_id, (have.rotations as usize, have.seq)))
            .collect();
        let mut bytes = 0;
        for entry in self.fresh(now) {
            let lacks = theirs
                .get(&entry.body.entity_id)
                .is_none_or(|rank| *rank < entry.rank());
            if lacks && bytes + entry.bytes.len() > SYNC_MAX_BYTES {
                answer.more = true;
                break;
            }
            if lacks {
                bytes += entry.bytes.len();
                answer.entries.push(ByteBuf::from(entry.bytes.clone()));
            }
        }
        answer.want = theirs
            .into_iter()
            .filter(|(entity, rank)| {
                let outdated = rank.0 < self.heads.rotations(entity) as usize;
                let have = self.entries.get(entity);
                !outdated && have.is_none_or(|have| have.rank() < *rank)
            })
            .map(|(entity, _)| entity)
            .take(REGISTRY_MAX_ENTRIES)
            .collect();
        answer
    }

    /// The entries another asked for, as far as one message takes them.
    pub fn wanted(&self, want: &[EntityId], now: Now) -> Vec<ByteBuf> {
        let mut bytes = 0;
        want.iter()
            .filter_map(|entity| self.entries.get(entity))
            .filter(|entry| entry.body.expires > now.wall)
            .take_while(|entry| {
                bytes += entry.bytes.len();
                bytes <= SYNC_MAX_BYTES
            })
            .map(|entry| ByteBuf::from(entry.bytes.clone()))
            .collect()
    }

    /// Drops what expired and renews our own. Returns whether a new entry was issued.
    pub fn tick(&mut self, step: &mut Step<'_>) -> bool {
        let now = step.now.wall;
        let dead: Vec<EntityId> = self
            .entries
            .values()
            .filter(|entry| entry.body.expires <= now && entry.body.entity_id != self.me)
            .map(|entry| entry.body.entity_id)
            .collect();
        for entity in dead {
            self.remove(&entity, step);
        }
        // A clock that was ahead when we signed has been set right: nobody else takes our entry.
        let ahead = |entry: &Entry| entry.body.issued > now + AHEAD_MAX_MS;
        if self.entries.get(&self.me).is_some_and(ahead) {
            self.renew_at = Some(now);
        }
        let renew = self.renew_at.is_some_and(|at| at <= now);
        if renew {
            self.issue(step);
        }
        renew
    }

    /// The capabilities we announce.
    pub fn own_capabilities(&self) -> &[Offer] {
        &self.announcement.capabilities
    }

    /// Checks R1, R3 and R4.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&self) -> Result<(), Violation> {
        Violation::unless(self.entries.len() <= REGISTRY_MAX_ENTRIES + 1, "R3", || {
            format!("{} entries", self.entries.len())
        })?;
        for (peer, entity) in &self.by_peer {
            let named = self
                .entries
                .get(entity)
                .is_some_and(|e| e.body.speaks_through(peer));
            Violation::unless(named, "R3", || format!("{peer} is listed for no entry"))?;
        }
        Violation::unless(self.heads.len() <= HEADS_MAX, "R4", || {
            format!("{} heads", self.heads.len())
        })?;
        for entry in self.entries.values() {
            let entity = &entry.body.entity_id;
            let known = self.heads.rotations(entity) as usize;
            let newest = entry.body.rotations.len() >= known || *entity == self.me;
            Violation::unless(newest, "R4", || {
                format!("{entity} speaks with an older key")
            })?;
        }
        if let Some((own, _)) = self.own() {
            let same_key = self.standing(&own.body) == Standing::Same;
            let counted = own.body.seq <= self.announcement.seq;
            Violation::unless(counted || !same_key, "R1", || {
                format!("own entry {} of {}", own.body.seq, self.announcement.seq)
            })?;
        }
        Ok(())
    }
}
