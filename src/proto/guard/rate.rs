//! One limiter, on the clock of the steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;

use crate::types::Mono;

/// The time as the last step had it.
#[derive(Debug, Clone, Default)]
pub(super) struct StepClock(Arc<AtomicU64>);

impl StepClock {
    pub(super) fn set(&self, now: Mono) {
        self.0.store(now.as_micros(), Ordering::Relaxed);
    }
}

impl Clock for StepClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(Duration::from_micros(self.0.load(Ordering::Relaxed)))
    }
}

/// A limiter for one class of one peer's requests.
pub(super) struct Limiter(RateLimiter<NotKeyed, InMemoryState, StepClock, NoOpMiddleware<Nanos>>);

impl Limiter {
    /// `per_s` requests a second, `burst` at once.
    pub(super) fn new(per_s: u32, burst: u32, clock: &StepClock) -> Limiter {
        let at_least_one = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(per_s)).allow_burst(at_least_one(burst));
        Limiter(RateLimiter::direct_with_clock(quota, clock.clone()))
    }

    /// Takes one place; none if there is none.
    pub(super) fn admits(&self) -> bool {
        self.0.check().is_ok()
    }
}
