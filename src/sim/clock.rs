//! A node's clocks: a monotonic one with its own origin and a rate that is a little off, and a
//! wall clock that is some seconds off and can be set wrong.

use rand::RngExt as _;

use crate::crypto::Rng;
use crate::types::{Mono, Now, Wall};

/// The wall time at which the world begins, in milliseconds since 1970.
const EPOCH_MS: u64 = 1_750_000_000_000;
const SKEW_MAX_MS: i64 = 5_000;
/// A machine has been up for as much as 11 days when the world begins.
const ORIGIN_MAX_US: u64 = 1_000_000_000_000;
/// Clocks run up to 2 % fast or slow: the margin of a lease is 10 %.
const DRIFT_MAX_PPM: i64 = 20_000;

/// One machine's clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    origin_us: u64,
    drift_ppm: i64,
    skew_ms: i64,
    jumped_ms: i64,
}

impl Clock {
    pub(super) fn draw(rng: &mut Rng) -> Clock {
        Clock {
            origin_us: rng.random_range(0..ORIGIN_MAX_US),
            drift_ppm: rng.random_range(-DRIFT_MAX_PPM..=DRIFT_MAX_PPM),
            skew_ms: rng.random_range(-SKEW_MAX_MS..=SKEW_MAX_MS),
            jumped_ms: 0,
        }
    }

    /// The machine started anew: the monotonic clock counts from elsewhere.
    pub(super) fn restart(&mut self, rng: &mut Rng) {
        self.origin_us = rng.random_range(0..ORIGIN_MAX_US);
    }

    /// Sets the wall clock forward or back.
    pub(super) fn jump(&mut self, by_ms: i64) {
        self.jumped_ms += by_ms;
    }

    /// Both clocks at the world's time.
    pub(super) fn read(&self, world_us: u64) -> Now {
        let wall = EPOCH_MS + world_us / 1000;
        let wall = wall.saturating_add_signed(self.skew_ms + self.jumped_ms);
        Now {
            mono: Mono::from_micros(self.mono_us(world_us)),
            wall: Wall(wall),
        }
    }

    fn mono_us(&self, world_us: u64) -> u64 {
        let drift = i128::from(world_us) * i128::from(self.drift_ppm) / 1_000_000;
        let drift = i64::try_from(drift).expect("2 % of a simulated time");
        self.origin_us + world_us.saturating_add_signed(drift)
    }

    /// The first time of the world at which the monotonic clock shows `mono` or more.
    pub(super) fn when(&self, mono: Mono) -> u64 {
        let elapsed = mono.as_micros().saturating_sub(self.origin_us);
        let rate = 1_000_000 + self.drift_ppm.unsigned_abs();
        // Too early by the drift at most; then upwards to the very microsecond.
        let exact = i128::from(elapsed) * 1_000_000 / i128::from(1_000_000 + self.drift_ppm);
        let mut at = u64::try_from(exact)
            .unwrap_or(0)
            .saturating_sub(rate / 1_000_000 + 1);
        while self.mono_us(at) < mono.as_micros() {
            at += 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn when_is_the_first_moment_the_clock_shows_the_time() {
        let mut rng = Rng::seed_from_u64(1);
        for _ in 0..200 {
            let clock = Clock::draw(&mut rng);
            let at = rng.random_range(1..600_000_000);
            let mono = clock.read(at).mono;
            let first = clock.when(mono);
            assert!(first <= at);
            assert!(clock.read(first).mono >= mono);
            assert!(clock.read(first - 1).mono < mono);
        }
    }
}
