//! The form of our DHT keys, and who may announce how much with us.
//!
//! A provider record says *this peer offers that capability* under `/junto-cap/<capability>`. The
//! DHT takes such a record only from the peer that it names, and we keep at most
//! [`CAPABILITIES_MAX`] of one peer and records of at most [`PROVIDERS_MAX`] peers, each until it
//! expires.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use libp2p::kad::RecordKey;

use crate::types::limits::CAPABILITIES_MAX;
use crate::types::{Capability, PeerId};

const CAPABILITY_PREFIX: &str = "/junto-cap/";

/// Peers whose announcements we keep.
const PROVIDERS_MAX: usize = 1_024;

/// The key under which the providers of a capability are found.
pub(super) fn capability_key(capability: &Capability) -> RecordKey {
    RecordKey::new(&format!("{CAPABILITY_PREFIX}{capability}"))
}

/// The capability that a provider key names; `None` for any other key.
fn capability_of(key: &RecordKey) -> Option<Capability> {
    let text = std::str::from_utf8(key.as_ref()).ok()?;
    text.strip_prefix(CAPABILITY_PREFIX)?.parse().ok()
}

/// Counts what each peer has announced with us.
#[derive(Default)]
pub(super) struct ProviderQuota {
    expiries: HashMap<PeerId, BTreeMap<Capability, Instant>>,
}

impl ProviderQuota {
    /// Whether an announcement is well formed and within bounds; if so it is counted until it
    /// expires.
    #[must_use]
    pub(super) fn admit(
        &mut self,
        peer: PeerId,
        key: &RecordKey,
        expires: Instant,
        now: Instant,
    ) -> bool {
        let Some(capability) = capability_of(key) else {
            return false;
        };
        if !self.expiries.contains_key(&peer) && self.expiries.len() >= PROVIDERS_MAX {
            self.forget_expired(now);
            if self.expiries.len() >= PROVIDERS_MAX {
                return false;
            }
        }
        let of_peer = self.expiries.entry(peer).or_default();
        if !of_peer.contains_key(&capability) && of_peer.len() >= CAPABILITIES_MAX {
            of_peer.retain(|_, expires| *expires > now);
            if of_peer.len() >= CAPABILITIES_MAX {
                return false;
            }
        }
        of_peer.insert(capability, expires);
        true
    }

    fn forget_expired(&mut self, now: Instant) {
        self.expiries.retain(|_, of_peer| {
            of_peer.retain(|_, expires| *expires > now);
            !of_peer.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn key(n: usize) -> RecordKey {
        capability_key(&format!("cap-{n}").parse().expect("a valid capability"))
    }

    #[test]
    fn a_capability_comes_back_out_of_its_key() {
        let wc: Capability = "wc".parse().expect("a valid capability");
        assert_eq!(capability_key(&wc).as_ref(), b"/junto-cap/wc");
        assert_eq!(capability_of(&capability_key(&wc)), Some(wc));
        assert_eq!(capability_of(&RecordKey::new(&"/junto-cap/")), None);
        assert_eq!(capability_of(&RecordKey::new(&"/other/wc")), None);
        assert_eq!(capability_of(&RecordKey::new(&[0xff, 0xfe])), None);
    }

    #[test]
    fn one_peer_announces_a_bounded_number_of_capabilities() {
        let (mut quota, peer, now) = (ProviderQuota::default(), PeerId::random(), Instant::now());
        let later = now + Duration::from_secs(60);
        for n in 0..CAPABILITIES_MAX {
            assert!(quota.admit(peer, &key(n), later, now));
        }
        assert!(!quota.admit(peer, &key(CAPABILITIES_MAX), later, now));
        assert!(
            quota.admit(peer, &key(0), later, now),
            "a known one is renewed"
        );
        assert!(quota.admit(PeerId::random(), &key(CAPABILITIES_MAX), later, now));
        let much_later = later + Duration::from_secs(1);
        let expires = much_later + Duration::from_secs(60);
        assert!(quota.admit(peer, &key(CAPABILITIES_MAX), expires, much_later));
    }

    #[test]
    fn expired_peers_make_room_for_new_ones() {
        let (mut quota, now) = (ProviderQuota::default(), Instant::now());
        let later = now + Duration::from_secs(60);
        for _ in 0..PROVIDERS_MAX {
            assert!(quota.admit(PeerId::random(), &key(0), later, now));
        }
        assert!(!quota.admit(PeerId::random(), &key(0), later, now));
        assert!(quota.admit(
            PeerId::random(),
            &key(0),
            later + Duration::from_secs(60),
            later
        ));
    }
}
