//! Which processes are looked at, and which are hit.

use super::*;

const NUMBERS: Numbers = Numbers {
    last: 100,
    max: 32_768,
};

#[test]
fn numbers_begin_again_behind_the_last() {
    assert_eq!(NUMBERS.next(99), 100);
    assert_eq!(NUMBERS.next(32_766), 32_767);
    assert_eq!(NUMBERS.next(32_767), 1);
    assert_eq!(NUMBERS.next(i32::MAX), 1);
    assert_eq!(NUMBERS.since(100), 0);
    assert_eq!(NUMBERS.since(90), 10);
    // Around the end: 32,760 to 32,767, and 1 to 100.
    assert_eq!(NUMBERS.since(32_760), 108);
}

fn began(pid: i32, seconds_ago: u64, count: Option<u64>) -> Began {
    let mark = Mark {
        text: String::from("x"),
        at: Instant::now() - Duration::from_secs(seconds_ago),
        count,
    };
    Began { mark, pid }
}

#[test]
fn only_the_processes_since_the_run_began_are_looked_at_unless_numbers_may_have_gone_around() {
    let now = born().unwrap();
    let count = |ago: u64| Some(now - ago.min(now));
    let earliest = |runs: &[Began]| NUMBERS.earliest(&runs.iter().collect::<Vec<_>>());
    let soon = began(97, 0, None);
    assert_eq!(earliest(std::slice::from_ref(&soon)), Some((97, 3)));
    let around = began(32_760, 0, None);
    assert_eq!(earliest(&[soon.clone(), around]), Some((32_760, 108)));
    // A long one, by what the kernel counted.
    let long = began(95, 600, count(500));
    assert_eq!(earliest(std::slice::from_ref(&long)), Some((95, 5)));
    let with_count = began(97, 0, count(3));
    assert_eq!(earliest(&[with_count, long.clone()]), Some((95, 5)));
    // Whose count is unknown, too low to be one, or too high.
    assert_eq!(earliest(&[soon, long]), None);
    assert_eq!(earliest(&[began(95, 600, None)]), None);
    assert_eq!(earliest(&[began(95, 600, Some(now + (1 << 40)))]), None);
    let many = NUMBERS.max.unsigned_abs().into();
    assert_eq!(
        earliest(&[began(95, 600, Some(now.saturating_sub(many)))]),
        None
    );
}

#[test]
fn every_way_of_looking_finds_a_stray() {
    let numbers = Numbers::read().unwrap();
    for (name, way) in [("walk", 0), ("new", 1), ("all", 2)] {
        let mark = format!("test-{:032x}", rand::random::<u128>());
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .env(VARIABLE, &mark)
            .spawn()
            .unwrap();
        let mut scan = Scan::new(|found: &[u8]| found == mark.as_bytes());
        match way {
            0 => {
                scan.walked = Some(numbers.last);
                scan.walk();
            }
            1 => scan.all(Some(numbers.last)),
            _ => scan.all(None),
        }
        scan.await_beginning();
        let found = scan.found.killed;
        let _ = child.kill();
        child.wait().unwrap();
        let expected = BTreeSet::from([i32::try_from(child.id()).unwrap()]);
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn only_the_whole_mark_in_its_own_variable_counts() {
    let mut scan = Scan::new(|mark: &[u8]| mark == b"abc-1");
    for (environ, expected) in [
        (&b"JUNTO_RUN=abc-1"[..], true),
        (b"A=1\0JUNTO_RUN=abc-1\0B=2\0", true),
        (b"", false),
        (b"JUNTO_RUN=", false),
        (b"JUNTO_RUN=abc-12\0", false),
        (b"JUNTO_RUN=abc\0", false),
        (b"XJUNTO_RUN=abc-1\0", false),
        (b"JUNTO_RUNS=abc-1\0", false),
        (b"A=JUNTO_RUN=abc-1\0", false),
    ] {
        scan.environ = environ.to_vec();
        assert_eq!(scan.bears_mark(), expected, "{environ:?}");
    }
}

#[test]
fn nobody_who_shows_an_environment_is_beginning() {
    assert!(!is_beginning(Pid::this().as_raw()));
    let mut bare = std::process::Command::new("sleep")
        .arg("1000")
        .env_clear()
        .spawn()
        .unwrap();
    let pid = i32::try_from(bare.id()).unwrap();
    let beginning = is_beginning(pid);
    bare.kill().and_then(|()| bare.wait()).unwrap();
    assert!(!beginning, "an empty environment is one");
    assert!(!is_beginning(pid), "gone");
}
