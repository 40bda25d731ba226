//! What the machine gives: room on the disk, open files, the time.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::output::show_bytes;
use super::Check;
use crate::config::Home;

const DISK_FAIL_BYTES: u64 = 64 << 20;
const DISK_WARN_BYTES: u64 = 1 << 30;
/// A node of a few hundred peers holds as many sockets and a few dozen files.
const OPEN_FILES_WARN: u64 = 1_024;
/// No clock that is right shows an earlier time: 2026-01-01.
const TIME_MIN: Duration = Duration::from_secs(1_767_225_600);
/// Nor a later one: 2100-01-01.
const TIME_MAX: Duration = Duration::from_secs(4_102_444_800);
/// What the clock may lie behind the files of the home.
const BEHIND_MAX: Duration = Duration::from_secs(120);

pub(super) fn disk(home: &Home) -> Check {
    const NAME: &str = "disk";
    let there = home
        .path()
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    let advice = "make room: a node that cannot write accepts no more work";
    match nix::sys::statvfs::statvfs(there) {
        // The types of these numbers differ between systems.
        #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
        Ok(stat) => {
            let free = (stat.blocks_available() as u64).saturating_mul(stat.fragment_size() as u64);
            let detail = format!("{} free", show_bytes(free));
            if free < DISK_FAIL_BYTES {
                Check::fail(NAME, detail, advice)
            } else if free < DISK_WARN_BYTES {
                Check::warn(NAME, detail, advice)
            } else {
                Check::ok(NAME, detail)
            }
        }
        Err(error) => Check::warn(NAME, format!("unknown: {error}"), "look with `df`"),
    }
}

/// Where the system tells the limit in a file.
pub(super) fn open_files() -> Option<Check> {
    const NAME: &str = "open files";
    let limit = soft_limit(&fs::read_to_string("/proc/self/limits").ok()?)?;
    let detail = format!("at most {limit} in one process");
    if limit < OPEN_FILES_WARN {
        let advice = "raise it for large networks: ulimit -n 4096";
        return Some(Check::warn(NAME, detail, advice));
    }
    Some(Check::ok(NAME, detail))
}

fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    match line.split_whitespace().nth(3)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

pub(super) fn clock(home: &Home) -> Check {
    let modified = |path| {
        fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .ok()
    };
    let newest = [home.key_file(), home.lock_file(), home.store_dir()]
        .into_iter()
        .filter_map(modified)
        .max();
    judge_clock(SystemTime::now(), newest)
}

fn judge_clock(now: SystemTime, newest: Option<SystemTime>) -> Check {
    const NAME: &str = "clock";
    let advice = "set the clock: peers refuse a handshake whose time is off by over two minutes";
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    if !(TIME_MIN..TIME_MAX).contains(&since_epoch) {
        return Check::fail(NAME, "the clock shows an impossible time", advice);
    }
    if newest.is_some_and(|newest| newest > now + BEHIND_MAX) {
        return Check::warn(NAME, "the clock is behind the files of this home", advice);
    }
    Check::ok(NAME, "plausible")
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn the_soft_limit_is_read() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\n\
            Max processes             1 2 processes\n\
            Max open files            1024                 524288               files\n";
        assert_eq!(soft_limit(limits), Some(1_024));
        assert_eq!(
            soft_limit("Max open files unlimited unlimited files"),
            Some(u64::MAX)
        );
        assert_eq!(soft_limit(""), None);
    }

    #[test]
    fn an_impossible_time_fails_and_an_early_one_warns() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let now = at(1_800_000_000);
        assert_eq!(judge_clock(at(0), None).level, Level::Fail);
        assert_eq!(judge_clock(at(5_000_000_000), None).level, Level::Fail);
        assert_eq!(judge_clock(now, Some(at(1_800_001_000))).level, Level::Warn);
        assert_eq!(judge_clock(now, Some(at(1_800_000_100))).level, Level::Ok);
    }

    #[test]
    fn room_is_measured_even_where_the_home_is_not_there_yet() {
        let home = Home::locate(Some(Path::new("/nowhere/at/all"))).expect("a path");
        assert!(disk(&home).detail.ends_with("free"));
    }
}
