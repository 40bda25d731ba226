//! The registry's ways in and out: handshakes, exchanges, gossip, the DHT.

use std::collections::BTreeSet;

use super::Node;
use super::io::{Output, Verdict};
use super::message::{Asker, HttpHandshake};
use crate::crypto::WorkOutput;
use crate::proto::Step;
use crate::proto::clear::Claim;
use crate::proto::registry::Arrival;
use crate::proto::session::Ticket;
use crate::types::limits::{ENTRY_MAX_LIFE_MS, SYNC_MAX_BYTES};
use crate::types::{EntityId, GossipId, InboundId, JobId, PeerId};
use crate::wire::{RegistryEntries, RegistrySync, WireError};

/// How often one capability is looked for in the DHT.
const SEEK_MS: u64 = 10_000;
/// Lists of entries of one peer whose signatures are being checked.
const CHECKS_PER_PEER_MAX: usize = 16;
const DHT_ENTRY_PREFIX: &str = "/junto-entry/";

/// What waits for signatures to be checked.
#[derive(Debug)]
pub(super) enum Job {
    Handshake {
        ticket: Ticket,
        inbound: InboundId,
        peer: PeerId,
    },
    Ack {
        ticket: Ticket,
    },
    HttpHandshake(HttpHandshake),
    /// A message of version 1.0.
    Clear {
        asker: Asker,
        claim: Claim,
    },
    Entries {
        source: PeerId,
        entries: Vec<Vec<u8>>,
        way: Way,
    },
}

/// How entries came in.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// In answer to a digest, of which there may be `more`.
    Exchange {
        more: bool,
    },
    Gossip(GossipId),
    Dht {
        key: Vec<u8>,
    },
}

/// The DHT key of an entity's entry.
fn dht_key(entity: &EntityId) -> Vec<u8> {
    format!("{DHT_ENTRY_PREFIX}{entity}").into_bytes()
}

impl Node {
    pub(super) fn computed(&mut self, job: JobId, output: WorkOutput, step: &mut Step<'_>) {
        let WorkOutput::Verified { good } = output;
        let all_good = good.iter().all(|good| *good);
        match self.jobs.remove(&job) {
            None => {}
            Some(Job::Handshake {
                ticket,
                inbound,
                peer,
            }) => {
                self.handshake_verified(ticket, all_good, inbound, peer, step);
            }
            Some(Job::Ack { ticket }) => self.ack_verified(ticket, all_good, step),
            Some(Job::HttpHandshake(handshake)) => {
                self.http_handshake_verified(handshake, all_good, step);
            }
            Some(Job::Clear { asker, claim }) => {
                self.clear_verified(asker, claim, all_good, step);
            }
            Some(Job::Entries {
                source,
                entries,
                way,
            }) => {
                self.entries_verified(source, entries, &good, way, step);
            }
        }
    }

    /// Entries came from `source`: has those checked that are news.
    pub(super) fn take_entries(
        &mut self,
        source: PeerId,
        entries: impl IntoIterator<Item = Vec<u8>>,
        way: Way,
        step: &mut Step<'_>,
    ) {
        let (mut news, mut groups) = (BTreeSet::new(), Vec::new());
        let mut left = match self.checks_under_way(&source) < CHECKS_PER_PEER_MAX {
            true => SYNC_MAX_BYTES,
            false => 0,
        };
        for bytes in entries {
            // What is left out comes with a later sync; a flood does not come at all.
            left = left.saturating_sub(bytes.len());
            if left == 0 {
                self.verdict(&way, source, Verdict::Ignore);
                break;
            }
            if news.contains(&bytes) {
                continue;
            }
            match self.registry.arrived(&bytes, step.now) {
                Arrival::Check(checks) => {
                    news.insert(bytes);
                    groups.push(checks);
                }
                Arrival::Known => {
                    self.verdict(&way, source, Verdict::Accept);
                    self.keep_in_dht(&way, &bytes);
                }
                Arrival::Ignored => self.verdict(&way, source, Verdict::Ignore),
                Arrival::Bad(_) => {
                    self.verdict(&way, source, Verdict::Reject);
                    self.penalize(source, WireError::Malformed, step);
                }
            }
        }
        if !news.is_empty() {
            let entries = news.into_iter().collect();
            self.compute(
                Job::Entries {
                    source,
                    entries,
                    way,
                },
                groups,
            );
        }
    }

    fn checks_under_way(&self, peer: &PeerId) -> usize {
        let of_peer = |job: &&Job| matches!(job, Job::Entries { source, .. } if source == peer);
        self.jobs.values().filter(of_peer).count()
    }

    fn verdict(&mut self, way: &Way, source: PeerId, verdict: Verdict) {
        if let Way::Gossip(id) = way {
            self.out.push(Output::GossipVerdict {
                id: *id,
                source,
                verdict,
            });
        }
    }

    fn entries_verified(
        &mut self,
        source: PeerId,
        entries: Vec<Vec<u8>>,
        good: &[bool],
        way: Way,
        step: &mut Step<'_>,
    ) {
        for (bytes, good) in entries.into_iter().zip(good) {
            if !good {
                self.verdict(&way, source, Verdict::Reject);
                self.penalize(source, WireError::InvalidSignature, step);
                continue;
            }
            // What an older key signed, or another branch of the chain, is not passed on.
            if !self.registry.admits(&bytes) {
                self.verdict(&way, source, Verdict::Ignore);
                self.merge_news(&bytes, step);
                continue;
            }
            self.verdict(&way, source, Verdict::Accept);
            let news = self.merge_news(&bytes, step);
            match &way {
                Way::Exchange { .. } if news => self.out.push(Output::Publish { bytes }),
                way => self.keep_in_dht(way, &bytes),
            }
        }
        if let Way::Exchange { more: true } = way {
            self.sync_with(source, step);
        }
    }

    /// Keeps a record that another put here: the entry was checked, now or before.
    fn keep_in_dht(&mut self, way: &Way, bytes: &[u8]) {
        if let Way::Dht { key } = way {
            self.out.push(Output::DhtPut {
                key: key.clone(),
                value: bytes.to_vec(),
                life_ms: ENTRY_MAX_LIFE_MS,
                local_only: true,
            });
        }
    }

    /// An entry whose signatures were checked in a handshake.
    pub(super) fn merge_verified(&mut self, bytes: &[u8], step: &mut Step<'_>) {
        if self.registry.prove(bytes, step) {
            self.learn_addresses(bytes, step);
            self.out.push(Output::Publish {
                bytes: bytes.to_vec(),
            });
        }
    }

    fn merge_news(&mut self, bytes: &[u8], step: &mut Step<'_>) -> bool {
        let news = self.registry.merge(bytes, step);
        if news {
            self.learn_addresses(bytes, step);
        }
        news
    }

    fn learn_addresses(&mut self, bytes: &[u8], step: &Step<'_>) {
        if let Ok((body, _)) = crate::wire::SignedEntry::parse(bytes) {
            for binding in &body.peers {
                self.learned(binding.peer_id, &body.addresses, step);
            }
        }
    }

    pub(super) fn gossip(
        &mut self,
        id: GossipId,
        source: PeerId,
        bytes: Vec<u8>,
        step: &mut Step<'_>,
    ) {
        self.take_entries(source, [bytes], Way::Gossip(id), step);
    }

    /// Somebody wants to store a record with us: only an entry under its own key is kept.
    pub(super) fn dht_record(
        &mut self,
        source: PeerId,
        key: Vec<u8>,
        value: Vec<u8>,
        step: &mut Step<'_>,
    ) {
        let fits = crate::wire::SignedEntry::parse(&value)
            .is_ok_and(|(body, _)| dht_key(&body.entity_id) == key);
        if fits {
            self.take_entries(source, [value], Way::Dht { key }, step);
        } else {
            self.penalize(source, WireError::Malformed, step);
        }
    }

    /// The other side's answer to our digest.
    pub(super) fn registry_answer(
        &mut self,
        peer: PeerId,
        answer: RegistryEntries,
        step: &mut Step<'_>,
    ) {
        let entries = answer
            .entries
            .into_iter()
            .map(serde_bytes::ByteBuf::into_vec);
        self.take_entries(peer, entries, Way::Exchange { more: answer.more }, step);
        if !answer.want.is_empty() {
            let entries = self.registry.wanted(&answer.want, step.now);
            if !entries.is_empty() {
                self.send_sync(
                    peer,
                    &RegistrySync {
                        have: None,
                        entries,
                    },
                    step,
                );
            }
        }
    }

    pub(super) fn sync_with_somebody(&mut self, step: &mut Step<'_>) {
        use rand::RngExt as _;
        let peers: Vec<PeerId> = self
            .sessions
            .peers()
            .map(|info| info.peer)
            .filter(|peer| self.peers.is_up(peer))
            .collect();
        if !peers.is_empty() {
            let peer = peers[step.rng.random_range(0..peers.len())];
            self.sync_with(peer, step);
        }
    }

    /// Tells the network of our entry, once its number is durable.
    pub(super) fn publish_own(&mut self) {
        let Some((own, written)) = self.registry.own() else {
            return;
        };
        let bytes = own.bytes.clone();
        let put = Output::DhtPut {
            key: dht_key(&self.identity.entity_id),
            value: bytes.clone(),
            life_ms: ENTRY_MAX_LIFE_MS,
            local_only: false,
        };
        self.gate
            .pass(written, Output::Publish { bytes }, &mut self.out);
        self.gate.pass(written, put, &mut self.out);
    }

    /// The DHT takes announcements only once somebody is there to take them.
    pub(super) fn announce_once(&mut self) {
        if self.provided {
            return;
        }
        self.provided = true;
        self.publish_own();
        for offer in self.registry.own_capabilities().to_vec() {
            self.out.push(Output::DhtProvide {
                capability: offer.name,
            });
        }
    }

    /// Looks in the DHT, and asks some peers, for who offers what our tasks wait for and nobody
    /// known offers.
    pub(super) fn seek_workers(&mut self, step: &mut Step<'_>) {
        let now = step.now.mono;
        self.sought.retain(|_, at| now.since(*at) < SEEK_MS);
        for capability in self.requester.wanted() {
            self.ask_unattended(&capability, step);
            let known = self.registry.offering(&capability).next().is_some();
            if !known && !self.sought.contains_key(&capability) {
                self.sought.insert(capability.clone(), now);
                self.discover(&capability, step);
                self.out.push(Output::DhtFind { capability });
            }
        }
    }
}
