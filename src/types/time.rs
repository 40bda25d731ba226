//! Time as the cores see it: passed in, never asked for.

use std::ops::Add;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A reading of a clock that never jumps and runs while the machine sleeps (`CLOCK_BOOTTIME`).
///
/// Held in microseconds, counted with in milliseconds. Comparable within one process only; leases
/// and deadlines are counted on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mono(u64);

impl Mono {
    /// The reading `micros` after the clock's start.
    pub const fn from_micros(micros: u64) -> Mono {
        Mono(micros)
    }

    /// Microseconds since the clock's start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Milliseconds from `earlier` to `self`, 0 when `earlier` is later.
    pub fn since(self, earlier: Mono) -> u64 {
        self.0.saturating_sub(earlier.0) / 1000
    }

    /// Milliseconds from `self` to `later`, rounded up, 0 when that is past.
    pub fn until(self, later: Mono) -> u64 {
        later.0.saturating_sub(self.0).div_ceil(1000)
    }
}

impl Add<u64> for Mono {
    type Output = Mono;

    fn add(self, by_ms: u64) -> Mono {
        Mono(self.0.saturating_add(by_ms.saturating_mul(1000)))
    }
}

/// Milliseconds since 1970 by the wall clock: for people, expiries and handshakes, never for leases.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Wall(pub u64);

impl Wall {
    /// RFC 3339 in milliseconds, UTC; the epoch where the value is outside what that format holds.
    pub fn to_rfc3339(self) -> String {
        let ms = i128::from(self.0);
        OffsetDateTime::from_unix_timestamp_nanos(ms * 1_000_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
            .format(&Rfc3339)
            .unwrap_or_else(|_| String::from("1970-01-01T00:00:00Z"))
    }

    /// Reads RFC 3339, with any offset from UTC; none for what is no time since 1970.
    pub fn from_rfc3339(text: &str) -> Option<Wall> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let ms = at.unix_timestamp_nanos() / 1_000_000;
        Some(Wall(u64::try_from(ms).ok()?))
    }

    /// The distance between two times in milliseconds, whichever is later.
    pub fn abs_diff(self, other: Wall) -> u64 {
        self.0.abs_diff(other.0)
    }
}

impl Add<u64> for Wall {
    type Output = Wall;

    fn add(self, by_ms: u64) -> Wall {
        Wall(self.0.saturating_add(by_ms))
    }
}

/// Both clocks, read once for one step of the core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    pub mono: Mono,
    pub wall: Wall,
}
