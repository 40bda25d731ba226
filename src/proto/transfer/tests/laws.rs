//! What must hold whatever happens.

use proptest::prelude::*;

use super::world::Faults;
use super::*;
use crate::types::limits::CHUNK_ERRORS_MAX;

const CALM: Faults = Faults {
    message_lost: 0,
    stream_breaks: 0,
    chunk_bad: 0,
    life_ends: 0,
    partial_lost: 0,
};

fn sent_state(world: &World, n: u128) -> SentState {
    world.sends.file(id(n)).expect("it is known").record.state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_file_arrives_whole_or_the_transfer_says_why(
        seed in any::<u64>(),
        chunks in 1..24_u32,
        faults in (0..30_u32, 0..15_u32, 0..3_u32, 0..12_u32, 0..20_u32),
    ) {
        let (message_lost, stream_breaks, chunk_bad, life_ends, partial_lost) = faults;
        let faults = Faults { message_lost, stream_breaks, chunk_bad, life_ends, partial_lost };
        let mut world = World::new(seed, chunks, faults);
        world.submit(1);
        world.run(400);
        // The faults are over: what can still come must come.
        world.faults = CALM;
        world.run(200);
        let sent = &world.sends.file(id(1)).expect("it is known").record;
        match sent.state {
            SentState::Completed => {
                prop_assert!(world.told_complete);
                prop_assert!(world.folder.stored.contains_key("f"));
                prop_assert_eq!(world.folder.stored.len(), 1);
            }
            SentState::Failed => {
                prop_assert!(sent.reason.is_some());
                prop_assert!(world.bad_chunks > CHUNK_ERRORS_MAX);
            }
            other => prop_assert!(false, "it is {other:?}"),
        }
    }

    #[test]
    fn what_was_recorded_is_not_sent_again(
        seed in any::<u64>(),
        chunks in 4..40_u32,
        stream_breaks in 0..20_u32,
        life_ends in 0..10_u32,
    ) {
        let faults = Faults { stream_breaks, life_ends, ..CALM };
        let mut world = World::new(seed, chunks, faults);
        world.submit(1);
        world.run(600);
        world.faults = CALM;
        world.run(100);
        prop_assert_eq!(sent_state(&world, 1), SentState::Completed);
        // Each life of the receiver may lose what it had not flushed yet: one chunk here.
        prop_assert!(world.moved <= u64::from(chunks) + u64::from(world.lives));
    }

    #[test]
    fn the_same_file_sent_again_goes_on_where_the_first_stopped(seed in any::<u64>()) {
        let mut world = World::new(seed, 12, CALM);
        world.submit(1);
        while world.told_bytes < 5 << 20 {
            world.run(1);
        }
        world.submit(2);
        world.run(50);
        prop_assert_eq!(sent_state(&world, 1), SentState::Canceled);
        prop_assert_eq!(sent_state(&world, 2), SentState::Completed);
        prop_assert!(world.moved <= 13, "{} chunks moved", world.moved);
        prop_assert_eq!(world.folder.stored.len(), 1);
    }
}

#[test]
fn a_lying_sender_is_given_up() {
    let faults = Faults {
        chunk_bad: 100,
        ..CALM
    };
    let mut world = World::new(1, 4, faults);
    world.submit(1);
    world.run(100);
    assert_eq!(sent_state(&world, 1), SentState::Failed);
    assert_eq!(world.bad_chunks, CHUNK_ERRORS_MAX + 1);
    assert!(world.folder.partial.is_empty() && world.folder.stored.is_empty());
}
