//! Files that are parts of tasks.

use super::*;
use crate::types::{BulkId, FencingToken, TaskId};
use crate::wire::{ChunkOffer, OfferAnswer, Purpose, RefusedFile};

struct Bench {
    disk: Disk,
    rng: Rng,
    sends: Sends,
    receives: Receives,
}

fn bench() -> Bench {
    Bench {
        disk: Disk::default(),
        rng: Rng::seed_from_u64(1),
        sends: Sends::new(1),
        receives: Receives::new(ReceivesConfig {
            // A part of a task has its own limit.
            max_bytes: 0,
            first_revision: 1,
        }),
    }
}

fn input_of(task: u128) -> Purpose {
    Purpose::TaskInput {
        task_id: TaskId(uuid::Uuid::from_u128(task)),
        token: FencingToken(1),
    }
}

fn offer(n: u128, task: u128) -> ChunkOffer {
    let manifest = manifest(2);
    ChunkOffer {
        transfer_id: id(n),
        name: "task".into(),
        size: manifest.size,
        chunk_bytes: manifest.chunk_bytes,
        root: manifest.root,
        chunks: manifest.list(),
        purpose: Some(input_of(task)),
    }
}

impl Bench {
    fn receive<T>(&mut self, f: impl FnOnce(&mut Receives, &mut Step<'_>) -> T) -> T {
        let receives = &mut self.receives;
        let result = self
            .disk
            .step(&mut self.rng, at(0), |step| f(receives, step));
        self.receives.check().expect("every invariant holds");
        result
    }

    fn send<T>(&mut self, f: impl FnOnce(&mut Sends, &mut Step<'_>) -> T) -> T {
        let sends = &mut self.sends;
        self.disk.step(&mut self.rng, at(0), |step| f(sends, step))
    }

    fn rows(&mut self) -> usize {
        self.disk.flush();
        self.disk.rows().len()
    }

    /// A part is offered, and its stream asks.
    fn begin(&mut self, n: u128, task: u128) {
        let offered = self.receive(|r, step| r.offered(SENDER, &offer(n, task), true, step));
        assert_eq!(offered, Offered::Prepare);
        let prepared = self.receive(|r, step| r.prepared(id(n), Ok(()), step));
        let have_bytes = 0;
        assert_eq!(
            prepared.expect("offered").0,
            OfferAnswer::Accepted { have_bytes }
        );
        self.receive(|r, _| r.stream_asked(BulkId(1), SENDER, id(n)));
    }

    fn finish(&mut self, n: u128) {
        self.receive(|r, step| r.arrived(id(n), BulkId(1), &[0, 1], 1, step));
    }

    fn submit(&mut self, n: u128, task: u128) {
        let new = NewFile {
            id: id(n),
            to: RECEIVER,
            path: "/f".into(),
            name: "task".into(),
        };
        let taken = self.send(|s, step| s.submit_part(new, input_of(task), step));
        assert!(matches!(taken, Submitted::Taken(_)));
        self.send(|s, step| s.hashed(id(n), Ok((manifest(2), 1)), step));
        self.send(|s, step| s.tick(step));
    }

    fn brought(&mut self) -> Vec<bool> {
        let effects = self.sends.effects().into_iter();
        let brought = |effect| match effect {
            SendEffect::Brought { arrived, .. } => Some(arrived),
            _ => None,
        };
        effects.filter_map(brought).collect()
    }
}

/// The file that room was made for.
fn prepared(effects: &[ReceiveEffect]) -> Option<uuid::Uuid> {
    effects.iter().find_map(|effect| match effect {
        ReceiveEffect::Prepare { partial, .. } => Some(partial.file),
        _ => None,
    })
}

#[test]
fn a_part_under_the_id_of_one_that_is_here_gets_a_file_of_its_own() {
    let mut bench = bench();
    bench.begin(1, 7);
    bench.finish(1);
    let effects = bench.receives.effects();
    let first = prepared(&effects).expect("it was offered");
    let part = |effect: &ReceiveEffect| matches!(effect, ReceiveEffect::Part { file, .. } if *file == first);
    assert!(effects.iter().any(part), "{effects:?}");
    // Nothing is known of the transfer any more, so its id is free.
    bench.begin(1, 8);
    bench.receive(|r, step| r.canceled_by(SENDER, id(1), step));
    for effect in bench.receives.effects() {
        let (ReceiveEffect::Prepare { partial, .. }
        | ReceiveEffect::Discard { partial }
        | ReceiveEffect::Receive {
            plan: ReceivePlan { partial, .. },
            ..
        }) = effect
        else {
            continue;
        };
        assert_ne!(partial.file, first);
    }
}

#[test]
fn a_part_of_a_task_is_handed_on_with_its_last_chunk_and_forgotten() {
    let mut bench = bench();
    bench.begin(1, 7);
    let effects = bench.receives.effects();
    let begun = prepared(&effects).expect("it was offered");
    let payload = |effect: &ReceiveEffect| matches!(effect, ReceiveEffect::Receive { plan, .. } if plan.partial.payload);
    assert!(effects.iter().any(payload), "{effects:?}");
    bench.receive(|r, step| r.arrived(id(1), BulkId(1), &[0], 1, step));
    let recorded = |effect: &ReceiveEffect| matches!(effect, ReceiveEffect::Recorded { .. });
    assert!(bench.receives.effects().iter().any(recorded));
    bench.receive(|r, step| r.arrived(id(1), BulkId(1), &[1], 1, step));
    let effects = bench.receives.effects();
    let part = |effect: &ReceiveEffect| matches!(effect, ReceiveEffect::Part { file, .. } if *file == begun);
    let finished = |effect: &ReceiveEffect| matches!(effect, ReceiveEffect::Finished { .. });
    assert!(
        effects.iter().any(part) && effects.iter().any(finished),
        "{effects:?}"
    );
    assert_eq!(bench.rows(), 0, "nothing stays of the transfer");
    assert!(bench.receives.file(id(1)).is_none());
}

#[test]
fn the_same_content_for_another_task_waits_until_it_is_here() {
    let mut bench = bench();
    bench.begin(1, 7);
    let busy = Offered::Answer(OfferAnswer::Refused(RefusedFile::Busy), BatchId::NONE);
    let again = bench.receive(|r, step| r.offered(SENDER, &offer(2, 8), true, step));
    assert_eq!(again, busy);
    // Another requester's is no business of the first.
    let other = bench.receive(|r, step| r.offered(OTHER, &offer(3, 7), true, step));
    assert_eq!(other, Offered::Prepare);
}

#[test]
fn the_same_part_under_another_transfer_goes_on_where_it_was() {
    let mut bench = bench();
    bench.begin(1, 7);
    bench.receive(|r, step| r.arrived(id(1), BulkId(1), &[0], 1, step));
    let again = bench.receive(|r, step| r.offered(SENDER, &offer(2, 7), true, step));
    let Offered::Answer(OfferAnswer::Accepted { have_bytes }, _) = again else {
        panic!("{again:?}");
    };
    assert_eq!(have_bytes, 1 << 20);
    let discards = |effect: &ReceiveEffect| matches!(effect, ReceiveEffect::Discard { .. });
    assert!(
        !bench.receives.effects().iter().any(discards),
        "it goes on in the same file"
    );
}

#[test]
fn a_part_that_is_not_wanted_any_more_leaves_nothing() {
    let mut bench = bench();
    bench.begin(1, 7);
    let canceled = bench.receive(|r, step| r.cancel(id(1), step));
    assert!(canceled.is_some());
    let discards = |effect: &ReceiveEffect| matches!(effect, ReceiveEffect::Discard { partial } if partial.payload);
    assert!(bench.receives.effects().iter().any(discards));
    assert_eq!(bench.rows(), 0);
}

#[test]
fn a_sender_hears_what_became_of_a_part_and_keeps_nothing_of_it() {
    let mut bench = bench();
    bench.submit(1, 7);
    assert!(bench.brought().is_empty());
    bench.send(|s, step| s.answered(id(1), OfferAnswer::Complete, step));
    assert_eq!(bench.brought(), [true]);
    bench.submit(2, 8);
    let refused = OfferAnswer::Refused(RefusedFile::TooLarge);
    bench.send(|s, step| s.answered(id(2), refused, step));
    assert_eq!(bench.brought(), [false]);
    assert_eq!(bench.rows(), 0);
}

#[test]
fn the_same_content_for_two_tasks_is_two_parts_for_their_sender() {
    let mut bench = bench();
    bench.submit(1, 7);
    bench.submit(2, 8);
    assert!(bench.brought().is_empty(), "neither took the other's place");
    assert_eq!(bench.sends.files().count(), 2);
}

#[test]
fn an_input_that_its_worker_does_not_wait_for_any_more_is_no_loss() {
    for (why, arrived) in [
        (RefusedFile::Unexpected, true),
        (RefusedFile::TooLarge, false),
    ] {
        let mut bench = bench();
        bench.submit(1, 7);
        bench.send(|s, step| s.answered(id(1), OfferAnswer::Refused(why), step));
        assert_eq!(bench.brought(), [arrived], "{why:?}");
        assert!(bench.sends.file(id(1)).is_none());
    }
}
