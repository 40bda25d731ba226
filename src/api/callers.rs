//! How much each caller may send to `POST /message`, which asks for no token.
//!
//! A caller is an address: the whole one for IPv4, the /64 for IPv6. Each may send
//! [`PER_SECOND`] messages a second and [`BURST`] at once; one that was refused counts as
//! [`REFUSED_COST`]. What comes over HTTP is held against nobody else: the ids in a message are
//! whatever its sender wrote.
//!
//! Bounds: [`CALLERS_MAX`] addresses; when all of them have been busy lately, others must wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const PER_SECOND: u32 = 100;
const BURST: u32 = 200;
const REFUSED_COST: u32 = 20;
const CALLERS_MAX: usize = 4_096;

/// What one message costs, in time.
const EACH: Duration = Duration::from_millis(1_000 / PER_SECOND as u64);

/// Who sent how much lately.
#[derive(Debug, Default)]
pub(super) struct Callers {
    /// When each will have paid for what it sent; in the past: nothing is owed.
    paid_at: Mutex<HashMap<IpAddr, Instant>>,
}

impl Callers {
    /// Takes one message of `from`; false when it has sent too many.
    pub(super) fn admit(&self, from: IpAddr, now: Instant) -> bool {
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let key = group(from);
        if !paid_at.contains_key(&key) && paid_at.len() >= CALLERS_MAX {
            paid_at.retain(|_, paid_at| *paid_at > now);
            if paid_at.len() >= CALLERS_MAX {
                return false;
            }
        }
        let owed = paid_at.entry(key).or_insert(now);
        let from = (*owed).max(now);
        if from - now > EACH * (BURST - 1) {
            return false;
        }
        *owed = from + EACH;
        true
    }

    /// A message of `from` was refused.
    pub(super) fn refused(&self, from: IpAddr, now: Instant) {
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owed) = paid_at.get_mut(&group(from)) {
            // No debt beyond what the burst takes: it is over as soon as for anybody.
            *owed = ((*owed).max(now) + EACH * (REFUSED_COST - 1)).min(now + EACH * BURST);
        }
    }
}

/// One customer of one provider, as far as an address tells.
fn group(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(v6) => {
            let mut octets = v6.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_burst_is_taken_and_then_so_many_a_second() {
        let (callers, a, now) = (Callers::default(), addr("192.0.2.1"), Instant::now());
        assert!((0..BURST).all(|_| callers.admit(a, now)));
        assert!(!callers.admit(a, now));
        assert!(
            callers.admit(addr("192.0.2.2"), now),
            "others are not slowed"
        );
        let later = now + Duration::from_secs(1);
        let taken = (0..BURST).filter(|_| callers.admit(a, later)).count();
        assert_eq!(taken, PER_SECOND as usize);
    }

    #[test]
    fn a_refused_message_counts_many_times_and_the_debt_has_an_end() {
        let (callers, a, now) = (Callers::default(), addr("192.0.2.1"), Instant::now());
        let tries = (0..1_000)
            .take_while(|_| {
                let admitted = callers.admit(a, now);
                callers.refused(a, now);
                admitted
            })
            .count();
        assert_eq!(tries, (BURST / REFUSED_COST) as usize);
        assert!(callers.admit(a, now + EACH * BURST));
    }

    #[test]
    fn neighbours_in_one_ipv6_network_count_as_one() {
        let (callers, now) = (Callers::default(), Instant::now());
        for _ in 0..BURST {
            assert!(callers.admit(addr("2001:db8::1"), now));
        }
        assert!(!callers.admit(addr("2001:db8::2"), now));
        assert!(callers.admit(addr("2001:db8:0:1::1"), now));
        assert_eq!(group(addr("::ffff:192.0.2.1")), addr("192.0.2.1"));
    }

    #[test]
    fn the_table_has_a_bound_and_forgets_who_owes_nothing() {
        let (callers, now) = (Callers::default(), Instant::now());
        let nth = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        let all = u32::try_from(CALLERS_MAX).expect("small");
        assert!((0..all).all(|n| callers.admit(nth(n), now)));
        assert!(!callers.admit(nth(all), now));
        assert!(callers.admit(nth(all), now + EACH * 2));
    }
}
