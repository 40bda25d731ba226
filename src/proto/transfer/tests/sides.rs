//! One side at a time.

use super::*;
use crate::types::BulkId;
use crate::types::limits::{TRANSFER_IDLE_MS, TRANSFERS_KEPT, TRANSFERS_MAX};
use crate::wire::{ChunkOffer, OfferAnswer, RefusedFile};

struct Bench {
    disk: Disk,
    rng: Rng,
    receives: Receives,
}

fn bench() -> Bench {
    Bench {
        disk: Disk::default(),
        rng: Rng::seed_from_u64(1),
        receives: Receives::new(ReceivesConfig {
            max_bytes: 8 << 20,
            first_revision: 1,
        }),
    }
}

fn offer(n: u128, chunks: u32) -> ChunkOffer {
    let manifest = manifest(chunks);
    ChunkOffer {
        transfer_id: id(n),
        name: format!("../a\nb{n}"),
        size: manifest.size,
        chunk_bytes: manifest.chunk_bytes,
        root: manifest.root,
        chunks: manifest.list(),
        purpose: None,
    }
}

impl Bench {
    fn on<T>(&mut self, ms: u64, f: impl FnOnce(&mut Receives, &mut Step<'_>) -> T) -> T {
        let receives = &mut self.receives;
        let result = self
            .disk
            .step(&mut self.rng, at(ms), |step| f(receives, step));
        self.receives.check().expect("every invariant holds");
        result
    }

    fn offered(&mut self, from: EntityId, offer: &ChunkOffer, allowed: bool) -> Offered {
        self.on(1, |r, step| r.offered(from, offer, allowed, step))
    }

    fn take(&mut self, n: u128, chunks: u32) {
        let offered = self.offered(SENDER, &offer(n, chunks), true);
        assert_eq!(offered, Offered::Prepare);
        let answer = self.on(1, |r, step| r.prepared(id(n), Ok(()), step));
        assert!(matches!(
            answer,
            Some((OfferAnswer::Accepted { have_bytes: 0 }, _))
        ));
    }
}

fn refused(why: RefusedFile) -> Offered {
    Offered::Answer(OfferAnswer::Refused(why), BatchId::NONE)
}

#[test]
fn an_offer_is_refused_for_what_it_is() {
    let mut bench = bench();
    let good = offer(1, 3);
    assert_eq!(
        bench.offered(SENDER, &good, false),
        refused(RefusedFile::NotAllowed)
    );
    let large = ChunkOffer {
        size: (8 << 20) + 1,
        ..good.clone()
    };
    assert_eq!(
        bench.offered(SENDER, &large, true),
        refused(RefusedFile::TooLarge)
    );
    let mut bent = good.clone();
    bent.chunks[0] ^= 1;
    let other_size = ChunkOffer {
        size: good.size + 1,
        ..good.clone()
    };
    let odd_chunks = ChunkOffer {
        chunk_bytes: 3 << 19,
        ..good.clone()
    };
    for (n, bad) in [&bent, &odd_chunks].into_iter().enumerate() {
        let refusal = bench.offered(SENDER, bad, true);
        assert_eq!(refusal, refused(RefusedFile::BadManifest), "{n}");
    }
    bench.take(1, 3);
    // What was said under an id stays, and stays its sender's.
    assert_eq!(
        bench.offered(OTHER, &good, true),
        refused(RefusedFile::BadManifest)
    );
    assert_eq!(
        bench.offered(SENDER, &other_size, true),
        refused(RefusedFile::BadManifest)
    );
    assert_eq!(
        bench.receives.file(id(1)).expect("taken").record.name,
        "a_b1"
    );
}

#[test]
fn a_disk_without_room_refuses_and_nothing_is_kept() {
    let mut bench = bench();
    assert_eq!(bench.offered(SENDER, &offer(1, 2), true), Offered::Prepare);
    let no_space = Err(RefusedFile::NoSpace);
    let answer = bench.on(1, |r, step| r.prepared(id(1), no_space, step));
    let refusal = OfferAnswer::Refused(RefusedFile::NoSpace);
    assert_eq!(answer, Some((refusal, BatchId::NONE)));
    assert!(bench.receives.file(id(1)).is_none());
    assert!(bench.disk.pending.is_empty());
}

#[test]
fn one_peer_cannot_take_all_the_room() {
    let mut bench = bench();
    for n in 0..TRANSFERS_MAX as u128 / 4 {
        bench.take(n, 2 + n as u32 % 6);
    }
    let one_more = offer(1_000, 8);
    assert_eq!(
        bench.offered(SENDER, &one_more, true),
        refused(RefusedFile::Busy)
    );
    assert_eq!(bench.offered(OTHER, &one_more, true), Offered::Prepare);
}

#[test]
fn a_stream_of_somebody_else_gets_nothing() {
    let mut bench = bench();
    bench.take(1, 3);
    bench.receives.effects();
    bench.receives.stream_asked(BulkId(1), OTHER, id(1));
    let closed = |bulk| vec![ReceiveEffect::Close { bulk: BulkId(bulk) }];
    assert_eq!(bench.receives.effects(), closed(1));
    bench.receives.stream_asked(BulkId(2), SENDER, id(9));
    assert_eq!(bench.receives.effects(), closed(2));
    bench.receives.stream_asked(BulkId(3), SENDER, id(1));
    assert!(matches!(
        bench.receives.effects()[..],
        [ReceiveEffect::Receive {
            bulk: BulkId(3),
            ..
        }]
    ));
    // Its sender knows before us that a stream broke: the newer one counts.
    bench.receives.stream_asked(BulkId(4), SENDER, id(1));
    assert!(matches!(
        bench.receives.effects()[..],
        [
            ReceiveEffect::Close { bulk: BulkId(3) },
            ReceiveEffect::Receive {
                bulk: BulkId(4),
                ..
            }
        ]
    ));
}

/// What deletes the unfinished file of a transfer.
fn discards(bench: &Bench, n: u128) -> ReceiveEffect {
    let record = &bench.receives.file(id(n)).expect("taken").record;
    let partial = Partial {
        file: record.partial,
        payload: false,
    };
    ReceiveEffect::Discard { partial }
}

#[test]
fn what_stands_still_for_a_week_is_given_up_and_its_room_freed() {
    let mut bench = bench();
    bench.take(1, 3);
    let discard = discards(&bench, 1);
    let deadline = bench.receives.next_deadline();
    assert_eq!(deadline, Some(at(1).mono + TRANSFER_IDLE_MS));
    bench.receives.effects();
    bench.on(TRANSFER_IDLE_MS, Receives::tick);
    assert!(bench.receives.effects().is_empty());
    bench.on(TRANSFER_IDLE_MS + 1, Receives::tick);
    assert!(bench.receives.effects().contains(&discard));
    assert_eq!(bench.receives.next_deadline(), None);
}

#[test]
fn transfers_that_are_over_are_forgotten_in_the_end() {
    let mut bench = bench();
    let many = TRANSFERS_KEPT as u128 + 10;
    for n in 0..many {
        bench.take(n, 2);
        bench.on(1, |r, step| r.cancel(id(n), step));
    }
    assert_eq!(bench.receives.files().count(), TRANSFERS_KEPT);
    bench.disk.flush();
    assert_eq!(bench.disk.rows().len(), TRANSFERS_KEPT);
}

#[test]
fn a_canceled_file_is_refused_from_then_on() {
    let mut bench = bench();
    bench.take(1, 3);
    bench.receives.effects();
    let discard = discards(&bench, 1);
    bench.on(2, |r, step| r.cancel(id(1), step)).expect("known");
    let effects = bench.receives.effects();
    let cancel = ReceiveEffect::Cancel {
        id: id(1),
        to: SENDER,
    };
    assert!(effects.contains(&cancel));
    assert!(effects.contains(&discard));
    let again = bench.offered(SENDER, &offer(1, 3), true);
    let Offered::Answer(OfferAnswer::Refused(RefusedFile::Canceled), _) = again else {
        panic!("{again:?}")
    };
    // Chunks that were still under way change nothing.
    bench.on(3, |r, step| r.arrived(id(1), BulkId(1), &[0], 1, step));
    let state = bench.receives.file(id(1)).expect("kept").record.state;
    assert_eq!(state, ReceivedState::Canceled);
}

#[test]
fn a_file_that_cannot_be_read_fails_with_the_reason() {
    let (mut disk, mut rng, mut sends) = (Disk::default(), Rng::seed_from_u64(1), Sends::new(1));
    let new = NewFile {
        id: id(1),
        to: RECEIVER,
        path: "/f".into(),
        name: "f".into(),
    };
    let taken = disk.step(&mut rng, at(1), |step| sends.submit(new.clone(), step));
    assert_eq!(taken, Submitted::Taken(BatchId(1)));
    let known = disk.step(&mut rng, at(1), |step| sends.submit(new, step));
    assert_eq!(known, Submitted::Known(BatchId(1)));
    let gone = Err(String::from("gone"));
    disk.step(&mut rng, at(1), |step| sends.hashed(id(1), gone, step));
    let record = &sends.file(id(1)).expect("known").record;
    assert_eq!(record.state, SentState::Failed);
    assert_eq!(record.reason.as_deref(), Some("gone"));
    assert_eq!(sends.next_deadline(), None);
}

#[test]
fn no_more_than_four_go_to_one_receiver_at_once() {
    let (mut disk, mut rng, mut sends) = (Disk::default(), Rng::seed_from_u64(1), Sends::new(1));
    for n in 0..6 {
        let new = NewFile {
            id: id(n),
            to: RECEIVER,
            path: "/f".into(),
            name: format!("f{n}"),
        };
        let taken = disk.step(&mut rng, at(1), |step| sends.submit(new, step));
        assert!(matches!(taken, Submitted::Taken(_)));
        let hashed = Ok((manifest(2), 1));
        disk.step(&mut rng, at(1), |step| sends.hashed(id(n), hashed, step));
    }
    disk.step(&mut rng, at(2), |step| sends.tick(step));
    let is_offer = |effect: &SendEffect| matches!(effect, SendEffect::Offer { .. });
    assert_eq!(sends.effects().iter().filter(|e| is_offer(e)).count(), 4);
    // The others' time has come long ago: they must not make the node spin.
    assert_eq!(sends.next_deadline(), Some(at(1).mono + TRANSFER_IDLE_MS));
    let complete = OfferAnswer::Complete;
    disk.step(&mut rng, at(3), |step| {
        sends.answered(id(0), complete, step);
        sends.tick(step);
    });
    assert_eq!(sends.effects().iter().filter(|e| is_offer(e)).count(), 1);
}
