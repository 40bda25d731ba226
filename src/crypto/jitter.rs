//! Verification with a random delay behind it, so that how long a verdict took tells little.
//!
//! What a verification works on (keys, digests, signatures) is public, and its arithmetic is not
//! meant to be constant in time. What an observer could still learn from the time is *where* a
//! message was refused, and whose message was being checked. The delay hides both: it is drawn
//! anew for every verdict and does not depend on it. A batch is checked in a shuffled order, to
//! its end whatever was found, and has one delay.
//!
//! Nothing here sleeps by itself: the caller says how, and brings the dice.

use std::time::Duration;

use rand::RngExt as _;
use rand::seq::SliceRandom as _;

use super::Rng;
use super::sign::SigCheck;

/// How long a delay may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JitterRange {
    min_us: u32,
    max_us: u32,
}

/// The longest delay that can be asked for.
pub const JITTER_MAX_US: u32 = 100_000;

impl JitterRange {
    /// From `min_us` to `max_us` microseconds; none when they are the wrong way round, or over
    /// [`JITTER_MAX_US`].
    pub fn new(min_us: u32, max_us: u32) -> Option<JitterRange> {
        (min_us <= max_us && max_us <= JITTER_MAX_US).then_some(JitterRange { min_us, max_us })
    }

    /// A delay within the range.
    pub fn draw(self, rng: &mut Rng) -> Duration {
        let micros = rng.random_range(self.min_us..=self.max_us);
        Duration::from_micros(micros.into())
    }
}

impl Default for JitterRange {
    /// 100 to 500 µs.
    fn default() -> JitterRange {
        JitterRange {
            min_us: 100,
            max_us: 500,
        }
    }
}

/// Which verifications are followed by a delay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum JitterScope {
    Off,
    /// Those of handshakes.
    #[default]
    Handshake,
    /// Every one whose outcome a peer gets to see.
    All,
}

/// When a verdict is delayed, and for how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Jitter {
    pub scope: JitterScope,
    pub range: JitterRange,
}

/// The strict check, then a delay on this thread: `sleep` is called once, good or not.
pub fn verify_with_jitter(
    check: &SigCheck,
    range: JitterRange,
    rng: &mut Rng,
    sleep: impl FnOnce(Duration),
) -> bool {
    let good = check.verify();
    sleep(range.draw(rng));
    good
}

/// As [`verify_with_jitter`], for a caller that awaits its delay.
pub async fn verify_with_jitter_async<F: Future<Output = ()>>(
    check: &SigCheck,
    range: JitterRange,
    rng: &mut Rng,
    sleep: impl FnOnce(Duration) -> F,
) -> bool {
    let good = check.verify();
    sleep(range.draw(rng)).await;
    good
}

/// The strict check of each, in a shuffled order and none left out, then one delay. The verdicts
/// stand in the order of the checks.
pub fn batch_verify_with_jitter(
    checks: &[SigCheck],
    range: JitterRange,
    rng: &mut Rng,
    sleep: impl FnOnce(Duration),
) -> Vec<bool> {
    let mut order: Vec<usize> = (0..checks.len()).collect();
    order.shuffle(rng);
    let mut good = vec![false; checks.len()];
    for at in order {
        good[at] = checks[at].verify();
    }
    sleep(range.draw(rng));
    good
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Instant;

    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;
    use crate::crypto::{KeyPair, Rng};

    fn check(n: u8, good: bool) -> SigCheck {
        let key = KeyPair::from_seed(&[n; 32]);
        let mut signature = key.sign("jitter", &[n; 32]);
        signature.0[5] ^= u8::from(!good);
        SigCheck {
            key: key.public(),
            purpose: "jitter",
            digest: [n; 32],
            signature,
        }
    }

    fn rng() -> Rng {
        Rng::seed_from_u64(7)
    }

    #[test]
    fn good_and_bad_are_delayed_alike_and_within_the_range() {
        let mut rng = rng();
        let mean_us = |good: bool, rng: &mut Rng| {
            let mut sum = Duration::ZERO;
            for _ in 0..2_000 {
                let slept = Cell::new(None);
                let verdict =
                    verify_with_jitter(&check(1, good), JitterRange::default(), rng, |delay| {
                        slept.set(Some(delay));
                    });
                assert_eq!(verdict, good);
                let slept = slept.get().expect("one delay for each verdict");
                assert!((100..=500).contains(&slept.as_micros()), "{slept:?}");
                sum += slept;
            }
            sum.as_micros() / 2_000
        };
        // 300 µs, the standard error of 2,000 being below 3 µs.
        for good in [true, false] {
            let mean = mean_us(good, &mut rng);
            assert!((285..=315).contains(&mean), "{good}: {mean} µs");
        }
    }

    #[test]
    fn the_delay_is_really_waited_for() {
        let mut rng = rng();
        let range = JitterRange::new(2_000, 3_000).expect("a range");
        let before = Instant::now();
        assert!(verify_with_jitter(
            &check(1, true),
            range,
            &mut rng,
            std::thread::sleep
        ));
        assert!(before.elapsed() >= Duration::from_millis(2));
    }

    #[tokio::test]
    async fn the_async_form_waits_without_holding_its_thread() {
        let mut rng = rng();
        let range = JitterRange::new(20_000, 30_000).expect("a range");
        let before = Instant::now();
        let mut ticks = 0;
        let (good, bad) = (check(1, true), check(2, false));
        let mut other = self::rng();
        let both = async {
            tokio::join!(
                verify_with_jitter_async(&good, range, &mut rng, tokio::time::sleep),
                verify_with_jitter_async(&bad, range, &mut other, tokio::time::sleep),
            )
        };
        tokio::pin!(both);
        let verdicts = loop {
            tokio::select! {
                verdicts = &mut both => break verdicts,
                () = tokio::time::sleep(Duration::from_millis(2)) => ticks += 1,
            }
        };
        assert_eq!(verdicts, (true, false));
        let took = before.elapsed();
        assert!(took >= Duration::from_millis(20), "{took:?}");
        assert!(ticks > 0, "others ran meanwhile");
    }

    #[test]
    fn a_range_the_wrong_way_round_is_none() {
        assert!(JitterRange::new(2, 1).is_none());
        assert!(JitterRange::new(0, JITTER_MAX_US + 1).is_none());
        assert!(JitterRange::new(0, 0).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The order it is done in does not show in the verdicts, and none is skipped.
        #[test]
        fn a_batch_says_of_each_what_the_strict_check_says(
            wanted in prop::collection::vec(any::<bool>(), 0..20), seed: u64
        ) {
            let checks: Vec<SigCheck> = wanted
                .iter()
                .enumerate()
                .map(|(n, good)| check(u8::try_from(n).expect("below 20"), *good))
                .collect();
            let slept = Cell::new(0);
            let verdicts = batch_verify_with_jitter(
                &checks,
                JitterRange::default(),
                &mut Rng::seed_from_u64(seed),
                |_| slept.set(slept.get() + 1),
            );
            prop_assert_eq!(verdicts, wanted);
            prop_assert_eq!(slept.get(), 1);
        }
    }
}
