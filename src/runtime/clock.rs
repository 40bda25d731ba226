//! The only place where a clock is read.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::types::{Mono, Now, Wall};

/// Both clocks, now. The monotonic one runs while the machine sleeps.
pub(super) fn now() -> Now {
    let mono = clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map(|at| {
            let secs = u64::try_from(at.tv_sec()).unwrap_or(0);
            let nanos = u64::try_from(at.tv_nsec()).unwrap_or(0);
            secs * 1_000_000 + nanos / 1_000
        })
        .expect("CLOCK_BOOTTIME exists since Linux 2.6.39");
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    Now {
        mono: Mono::from_micros(mono),
        wall: Wall(u64::try_from(wall).unwrap_or(u64::MAX)),
    }
}
