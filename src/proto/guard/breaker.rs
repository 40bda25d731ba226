//! The circuit breaker of one peer.
//!
//! ```text
//! closed ──failures in a row──▶ open ──its time is over──▶ half-open ──an answer──▶ closed
//!                                ▲                             │
//!                                └──────────a failure──────────┘ (for twice as long)
//! ```

use crate::types::Mono;
use crate::types::limits::EXCHANGE_TIMEOUT_MS;

/// A try whose end is not heard of is over after this.
const TRY_LIMIT_MS: u64 = 3 * EXCHANGE_TIMEOUT_MS;

/// What a breaker shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    Open,
    HalfOpen,
}

impl BreakerState {
    /// The state's name.
    pub fn as_str(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }
}

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct BreakerRules {
    pub(super) failures: u32,
    pub(super) open_ms: u64,
    pub(super) open_max_ms: u64,
}

/// See the module's header.
#[derive(Debug, Clone, Copy)]
pub(super) enum Breaker {
    Closed { failures: u32 },
    Open { until: Mono, times: u32 },
    HalfOpen { since: Mono, times: u32 },
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker::Closed { failures: 0 }
    }
}

impl Breaker {
    /// Whether a request may pass; a half-open one is then being tried.
    pub(super) fn permit(&mut self, now: Mono) -> bool {
        if self.wait_ms(now).is_some() {
            return false;
        }
        if let Breaker::Open { times, .. } | Breaker::HalfOpen { times, .. } = *self {
            *self = Breaker::HalfOpen { since: now, times };
        }
        true
    }

    /// How long it is until a request may pass; none when it may now.
    pub(super) fn wait_ms(&self, now: Mono) -> Option<u64> {
        let until = match *self {
            Breaker::Closed { .. } => return None,
            Breaker::Open { until, .. } => until,
            Breaker::HalfOpen { since, .. } => since + TRY_LIMIT_MS,
        };
        (until > now).then(|| now.until(until))
    }

    pub(super) fn succeeded(&mut self) {
        *self = Breaker::default();
    }

    /// Returns whether it opened.
    pub(super) fn failed(&mut self, rules: BreakerRules, jitter_ms: u64, now: Mono) -> bool {
        let times = match *self {
            Breaker::Closed { failures } if failures + 1 < rules.failures => {
                *self = Breaker::Closed {
                    failures: failures + 1,
                };
                return false;
            }
            Breaker::Closed { .. } => 0,
            Breaker::HalfOpen { times, .. } => times.saturating_add(1),
            // It was under way when the breaker opened.
            Breaker::Open { .. } => return false,
        };
        let open_ms = rules.open_ms.saturating_mul(1 << times.min(16));
        let until = now + (open_ms.min(rules.open_max_ms) + jitter_ms);
        *self = Breaker::Open { until, times };
        true
    }

    /// Lets the next request try at once.
    pub(super) fn try_again(&mut self, now: Mono) {
        if let Breaker::Open { until, .. } = self {
            *until = (*until).min(now);
        }
    }

    pub(super) fn state(&self, now: Mono) -> BreakerState {
        match self {
            Breaker::Closed { .. } => BreakerState::Closed,
            Breaker::Open { until, .. } if *until > now => BreakerState::Open,
            Breaker::Open { .. } | Breaker::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}
