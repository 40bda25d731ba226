//! Facts about webhooks.

use rand::SeedableRng;

use super::*;
use crate::crypto::Rng;
use crate::types::limits::TERMINAL_KEEP_MS;
use crate::types::{Now, Wall, WriteBatch, WriteOp};

/// A core, a clock, and the rows it wrote.
struct Bench {
    core: Webhooks,
    now: Now,
    rng: Rng,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            core: Webhooks::new(1),
            now: Now {
                mono: Mono::from_micros(1),
                wall: Wall(1_700_000_000_000),
            },
            rng: Rng::seed_from_u64(7),
            rows: BTreeMap::new(),
        }
    }

    fn step<T>(&mut self, act: impl FnOnce(&mut Webhooks, &mut Step<'_>) -> T) -> T {
        let mut writes = WriteBatch::default();
        let mut step = Step {
            now: self.now,
            rng: &mut self.rng,
            batch: BatchId(1),
            writes: &mut writes,
        };
        let out = act(&mut self.core, &mut step);
        self.core.check().expect("W1");
        for op in writes.ops {
            match op {
                WriteOp::Put { key, value, .. } => drop(self.rows.insert(key, value)),
                WriteOp::Delete { key, .. } => drop(self.rows.remove(&key)),
            }
        }
        out
    }

    fn add(&mut self, n: u64) -> TaskId {
        let task = TaskId(uuid::Uuid::from_u128(u128::from(n)));
        let target = Target::new("http://127.0.0.1:9/done".into(), Some("s".into()));
        let target = target.expect("an address");
        let added = self.step(|core, step| core.add(task, target, step));
        assert!(matches!(added, Added::Kept(_)));
        task
    }

    fn has_no_secret(&self) {
        for row in self.rows.values() {
            let text = String::from_utf8_lossy(row);
            assert!(
                !text.contains("127.0.0.1") && !text.contains("secret"),
                "W3: {text}"
            );
        }
    }

    /// The calls of now; the clock stands where the first of them was due.
    fn calls(&mut self) -> Vec<Call> {
        if let Some(at) = self.core.next_deadline() {
            self.now.mono = self.now.mono.max(at);
        }
        let now = self.now.mono;
        self.core.tick(now)
    }

    fn restart(&mut self, over: Option<bool>) {
        // As a node's: the numbers of one life are not those of another.
        self.core = Webhooks::new(self.core.next + 1_000);
        for (key, value) in &self.rows {
            let row = Row {
                space: Keyspace::Webhook,
                key: key.clone(),
                value: value.clone(),
            };
            self.core.load(&row).expect("our own rows");
        }
        self.step(|core, step| core.resume(step, |_| over));
    }
}

fn not_now() -> Result<(), String> {
    Err(String::from("the answer was 500"))
}

#[test]
fn how_far_a_webhook_is_is_told_also_after_a_restart() {
    let mut bench = Bench::new();
    let (heard, given_up) = (bench.add(1), bench.add(2));
    let told = |bench: &Bench, task: TaskId| {
        let (standing, _) = bench.core.standing(task).expect("it has one");
        (
            standing.stage,
            standing.tries,
            standing.answer.map(str::to_owned),
        )
    };
    assert_eq!(told(&bench, heard), (Stage::Waiting, 0, None));
    bench.core.ended(heard, bench.now.mono);
    assert_eq!(told(&bench, heard), (Stage::Calling, 0, None));
    for answer in [not_now(), Ok(())] {
        let call = bench.calls().remove(0);
        let _ = bench.step(|core, step| core.called(call.number, answer.clone(), step));
        if let Err(why) = answer {
            assert_eq!(told(&bench, heard), (Stage::Calling, 1, Some(why)));
        }
    }
    bench.core.ended(given_up, bench.now.mono);
    for _ in 0..TRIES_MAX {
        let call = bench.calls().remove(0);
        let long = format!("the answer was 500{}", "!".repeat(9_000));
        let _ = bench.step(|core, step| core.called(call.number, Err(long), step));
    }
    let at = bench.now.wall;
    for _ in 0..2 {
        assert_eq!(told(&bench, heard), (Stage::Heard(at), 2, None));
        let (stage, tries, why) = told(&bench, given_up);
        assert_eq!((stage, tries), (Stage::GivenUp(at), TRIES_MAX));
        let why = why.expect("it was not heard");
        assert!(why.starts_with("the answer was 500!") && why.len() == ANSWER_MAX_CHARS);
        bench.has_no_secret();
        bench.restart(Some(true));
    }
    assert!(bench.calls().is_empty(), "both are over");
    bench.restart(None);
    assert!(bench.rows.is_empty(), "their tasks are forgotten");
}

#[test]
fn what_is_over_is_forgotten_with_time_and_their_number_is_bounded() {
    let mut bench = Bench::new();
    let first = bench.add(0);
    let end = |bench: &mut Bench, task: TaskId| {
        bench.core.ended(task, bench.now.mono);
        let call = bench.calls().remove(0);
        let _ = bench.step(|core, step| core.called(call.number, Ok(()), step));
    };
    end(&mut bench, first);
    for n in 1..=WEBHOOKS_MAX as u64 {
        bench.now.wall = bench.now.wall + 1;
        let task = bench.add(n);
        end(&mut bench, task);
    }
    assert_eq!(bench.rows.len(), WEBHOOKS_MAX);
    assert!(bench.core.standing(first).is_none(), "the oldest");
    bench.now.wall = bench.now.wall + (TERMINAL_KEEP_MS + 1);
    let last = bench.add(u64::MAX);
    end(&mut bench, last);
    assert_eq!(bench.rows.len(), 1);
    // What was heard may be asked for again.
    bench.add(u64::MAX);
    let (standing, _) = bench.core.standing(last).expect("it has one");
    assert_eq!((standing.stage, bench.rows.len()), (Stage::Waiting, 1));
}

#[test]
fn a_webhook_takes_the_place_of_one_of_a_forgotten_task() {
    let mut bench = Bench::new();
    let task = bench.add(1);
    bench.core.ended(task, bench.now.mono);
    let call = bench.calls().remove(0);
    let other = Target::new("http://127.0.0.1:10/".into(), None).expect("an address");
    let _ = bench.step(|core, step| core.begin(task, other.clone(), step));
    let late = bench.step(|core, step| core.called(call.number, Ok(()), step));
    assert_eq!((late, bench.rows.len()), (Called::Fine, 1));
    bench.core.ended(task, bench.now.mono);
    assert_eq!(bench.calls().remove(0).target, other);
}

#[test]
fn a_webhook_is_called_once_its_task_has_ended() {
    let mut bench = Bench::new();
    let task = bench.add(1);
    assert!(bench.calls().is_empty(), "W2");
    bench.core.ended(task, bench.now.mono);
    bench.core.ended(task, bench.now.mono);
    let calls = bench.calls();
    assert_eq!((calls.len(), calls[0].task), (1, task));
    assert!(bench.calls().is_empty(), "it is being called");
    let number = calls[0].number;
    assert_eq!(
        bench.step(|core, step| core.called(number, Ok(()), step)),
        Called::Fine
    );
    assert!(bench.core.next_deadline().is_none());
    bench.has_no_secret();
}

#[test]
fn nobody_who_answers_is_tried_again_after_growing_pauses_and_then_given_up() {
    let mut bench = Bench::new();
    let task = bench.add(1);
    bench.core.ended(task, bench.now.mono);
    let (mut last, mut pauses) = (bench.now.mono, Vec::new());
    for tries in 1..=TRIES_MAX {
        let call = bench.calls().remove(0);
        pauses.push(bench.now.mono.since(last));
        last = bench.now.mono;
        assert_eq!(bench.rows.len(), 1, "W1: kept until it is over");
        let called = bench.step(|core, step| core.called(call.number, not_now(), step));
        let given_up = tries == TRIES_MAX;
        assert_eq!(called == Called::GivenUp(task), given_up, "{tries}");
    }
    assert!(
        pauses[1] >= PAUSE_MS && pauses[11] >= 512 * PAUSE_MS,
        "{pauses:?}"
    );
    assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX_MS));
    assert!(bench.calls().is_empty());
    bench.has_no_secret();
}

#[test]
fn a_restart_calls_again_what_was_not_heard() {
    let mut bench = Bench::new();
    let task = bench.add(1);
    bench.restart(Some(false));
    assert!(bench.calls().is_empty(), "its task goes on");
    bench.core.ended(task, bench.now.mono);
    let before = bench.calls().remove(0);
    bench.restart(Some(true));
    let again = bench.calls().remove(0);
    assert_eq!((again.task, &again.target), (task, &before.target));
    let late = bench.step(|core, step| core.called(before.number, Ok(()), step));
    assert_eq!(
        (late, bench.rows.len()),
        (Called::Fine, 1),
        "a word of another life"
    );
    bench.restart(None);
    assert!(bench.rows.is_empty(), "its task is forgotten");
}

#[test]
fn a_task_has_one_webhook_and_their_number_is_bounded() {
    let mut bench = Bench::new();
    let task = bench.add(0);
    bench.add(0);
    assert_eq!(bench.rows.len(), 1);
    let other = Target::new("http://127.0.0.1:10/".into(), None).expect("an address");
    let added = bench.step(|core, step| core.add(task, other.clone(), step));
    assert_eq!(added, Added::Other);
    for n in 1..WEBHOOKS_MAX as u64 {
        bench.core.insert(
            TaskId(uuid::Uuid::from_u128(u128::from(n))),
            other.clone(),
            BatchId::NONE,
        );
    }
    let one_more = TaskId(uuid::Uuid::max());
    let added = bench.step(|core, step| core.add(one_more, other, step));
    assert_eq!(added, Added::Full);
}

#[test]
fn only_so_many_are_called_at_once() {
    let mut bench = Bench::new();
    for n in 0..CALLS_MAX as u64 + 3 {
        let task = bench.add(n);
        bench.core.ended(task, bench.now.mono);
    }
    let calls = bench.calls();
    assert_eq!(calls.len(), CALLS_MAX);
    assert!(bench.core.next_deadline().is_none(), "there is no room");
    let _ = bench.step(|core, step| core.called(calls[0].number, Ok(()), step));
    assert_eq!(bench.calls().len(), 1);
}

#[test]
fn a_row_that_does_not_read_is_an_error() {
    for (key, value) in [(vec![0; 3], vec![]), (vec![0; 16], vec![0xff])] {
        let space = Keyspace::Webhook;
        let row = Row { space, key, value };
        assert!(Webhooks::new(1).load(&row).is_err());
    }
}
