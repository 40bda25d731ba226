//! L0: what the shell counts: the disk's flushes, and whatever else happens outside the core.
//! Shared and lock-free: whoever counts holds a clone, `GET /metrics` reads them all.
//!
//! The cores count for themselves, in plain numbers, and are asked for them when metrics are read.
//! Names end in their unit. No label holds a peer, a task or a text from outside: the number of
//! series is fixed by this file and `api::routes::metrics`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Everything the shell counts. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub store: StoreMetrics,
}

impl Metrics {
    /// Adds all of them to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        self.store.register(registry);
    }
}

/// The thread of the store.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    /// Write batches that became durable.
    pub batches: Counter,
    /// Flushes that made them so: many batches share one.
    pub flushes: Counter,
    /// How long each flush took.
    pub flush_seconds: Histogram,
    /// The same added up, for benchmarks: a histogram does not tell.
    pub flush_us: Counter,
    /// Writes that the disk refused.
    pub failures: Counter,
}

impl Default for StoreMetrics {
    fn default() -> StoreMetrics {
        StoreMetrics {
            batches: Counter::default(),
            flushes: Counter::default(),
            flush_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 14)),
            flush_us: Counter::default(),
            failures: Counter::default(),
        }
    }
}

impl StoreMetrics {
    fn register(&self, registry: &mut Registry) {
        let store = registry.sub_registry_with_prefix("store");
        store.register(
            "batches",
            "Write batches made durable",
            self.batches.clone(),
        );
        store.register(
            "flushes",
            "Flushes that made batches durable",
            self.flushes.clone(),
        );
        store.register(
            "flush_seconds",
            "Time for one flush to disk",
            self.flush_seconds.clone(),
        );
        store.register(
            "failures",
            "Writes that the disk refused",
            self.failures.clone(),
        );
    }
}
