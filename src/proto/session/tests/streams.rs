//! Two ends of a session's streams.

use proptest::prelude::*;

use super::super::record::{Opener, RECORD_HEADER_BYTES, Sealer, record_layer};
use super::super::streams::{Parts, StreamKeys, StreamSecrets, parse_opening, refusal};
use crate::crypto::{EphemeralSecret, KeyPair, Prk, Rng};
use crate::types::limits::{EPOCH_MAX_MS, RECORD_MAX_BYTES};
use crate::types::{EntityId, Mono, PeerId, SessionId, StreamKind};
use crate::wire::WireError;

fn master() -> Prk {
    use rand::SeedableRng;
    let mut rng = Rng::seed_from_u64(7);
    let (a, b) = (
        EphemeralSecret::generate(&mut rng),
        EphemeralSecret::generate(&mut rng),
    );
    a.agree(&b.share(), &[0; 32]).expect("an honest share")
}

/// Both ends of one session.
fn ends() -> (StreamSecrets, StreamSecrets) {
    let end = |initiator: bool| {
        let parts = Parts {
            session: SessionId(uuid::Uuid::from_u128(5)),
            peer: PeerId::random(),
            ours: EntityId([u8::from(initiator); 32]),
            theirs: EntityId([u8::from(!initiator); 32]),
            key: KeyPair::from_seed(&[8; 32]),
            their_key: KeyPair::from_seed(&[9; 32]).public(),
            th4: [4; 32],
            initiator,
        };
        StreamSecrets::new(parts, master())
    };
    (end(true), end(false))
}

fn connect(
    opener: &mut StreamSecrets,
    acceptor: &mut StreamSecrets,
    kind: StreamKind,
) -> (StreamKeys, StreamKeys) {
    let (frame, opened) = opener.open(kind, 3);
    let opening = parse_opening(&frame).expect("ours reads");
    let (theirs, answer, have) = acceptor.accept(kind, &opening, 8).expect("it is honest");
    assert_eq!(have, 3);
    let (ours, have) = opened.answered(&answer).expect("it is honest");
    assert_eq!(have, 8);
    (ours, theirs)
}

fn pair() -> ((Sealer, Opener), (Sealer, Opener)) {
    let (mut a, mut b) = ends();
    let (ours, theirs) = connect(&mut a, &mut b, StreamKind::Channel);
    (
        record_layer(ours, Mono::default()),
        record_layer(theirs, Mono::default()),
    )
}

fn seal(sealer: &mut Sealer, content: &[u8], now: Mono) -> Vec<u8> {
    let mut frame = Vec::new();
    Sealer::begin(&mut frame);
    frame.extend_from_slice(content);
    sealer.seal(&mut frame, now);
    let length = u32::from_be_bytes(frame[..4].try_into().expect("4 bytes"));
    assert_eq!(length as usize + 4, frame.len());
    frame.split_off(4)
}

fn open(opener: &mut Opener, mut record: Vec<u8>) -> Result<Vec<u8>, WireError> {
    let at = opener.open(&mut record)?;
    Ok(record.split_off(at))
}

#[test]
fn either_side_opens_streams_of_every_kind() {
    let (mut a, mut b) = ends();
    for kind in StreamKind::ALL {
        for _ in 0..3 {
            connect(&mut a, &mut b, kind);
            connect(&mut b, &mut a, kind);
        }
    }
}

#[test]
fn an_opening_is_taken_once() {
    let (mut a, mut b) = ends();
    let (frame, _) = a.open(StreamKind::Channel, 0);
    let opening = parse_opening(&frame).expect("ours reads");
    assert!(b.accept(StreamKind::Channel, &opening, 0).is_ok());
    let again = b.accept(StreamKind::Channel, &opening, 0).err();
    assert_eq!(again, Some(WireError::ReplayDetected));
    let reflected = a.accept(StreamKind::Channel, &opening, 0).err();
    assert_eq!(reflected, Some(WireError::DecryptionFailed));
    let elsewhere = b.accept(StreamKind::Bulk, &opening, 0).err();
    assert_eq!(elsewhere, Some(WireError::DecryptionFailed));
}

#[test]
fn an_opening_that_was_bent_changes_nothing() {
    let (mut a, mut b) = ends();
    let (frame, opened) = a.open(StreamKind::Bulk, 1);
    let opening = parse_opening(&frame).expect("ours reads");
    let mut bent = opening.clone();
    bent.have += 1;
    assert_eq!(
        b.accept(StreamKind::Bulk, &bent, 0).err(),
        Some(WireError::DecryptionFailed)
    );
    bent = opening.clone();
    bent.number += 1;
    assert_eq!(
        b.accept(StreamKind::Bulk, &bent, 0).err(),
        Some(WireError::DecryptionFailed)
    );
    bent = opening.clone();
    bent.session_id = SessionId(uuid::Uuid::from_u128(6));
    assert_eq!(
        b.accept(StreamKind::Bulk, &bent, 0).err(),
        Some(WireError::SessionNotFound)
    );
    let (_, mut answer, _) = b
        .accept(StreamKind::Bulk, &opening, 0)
        .expect("it is honest");
    *answer.last_mut().expect("not empty") ^= 1;
    assert_eq!(
        opened.answered(&answer).err(),
        Some(WireError::DecryptionFailed)
    );
}

#[test]
fn a_refusal_names_its_code() {
    let (mut a, _) = ends();
    let (_, opened) = a.open(StreamKind::Channel, 0);
    let refused = opened.answered(&refusal(WireError::SessionNotFound)).err();
    assert_eq!(refused, Some(WireError::SessionNotFound));
    let (_, opened) = a.open(StreamKind::Channel, 0);
    assert_eq!(
        opened.answered(b"nonsense").err(),
        Some(WireError::Malformed)
    );
}

#[test]
fn a_million_corrupt_records_do_not_close_a_stream() {
    let ((mut sealer, _), (_, mut opener)) = pair();
    let good = seal(&mut sealer, b"still here", Mono::default());
    let mut bent = good.clone();
    for n in 0..1_000_000_usize {
        let at = n % bent.len();
        bent.copy_from_slice(&good);
        bent[at] ^= 1 << (n % 8);
        assert!(opener.open(&mut bent).is_err());
        bent.resize(good.len(), 0);
    }
    assert_eq!(open(&mut opener, good).as_deref(), Ok(&b"still here"[..]));
}

#[test]
fn a_record_left_out_ends_the_stream_and_a_repeated_one_is_skipped() {
    let ((mut sealer, _), (_, mut opener)) = pair();
    let records: Vec<_> = (0..4)
        .map(|n| seal(&mut sealer, &[n], Mono::default()))
        .collect();
    assert_eq!(open(&mut opener, records[0].clone()), Ok(vec![0]));
    assert_eq!(
        open(&mut opener, records[0].clone()),
        Err(WireError::SequenceError)
    );
    assert_eq!(
        open(&mut opener, records[2].clone()),
        Err(WireError::InvalidState)
    );
    assert_eq!(open(&mut opener, records[1].clone()), Ok(vec![1]));
    assert_eq!(open(&mut opener, records[2].clone()), Ok(vec![2]));
}

#[test]
fn an_epoch_begins_after_an_acknowledgement_and_not_before() {
    let ((mut sealer, _), (_, mut opener)) = pair();
    let epoch_of = |record: &[u8]| record[3];
    let first = seal(&mut sealer, b"a", Mono::default());
    let late = Mono::default() + EPOCH_MAX_MS;
    let second = seal(&mut sealer, b"b", late);
    assert_eq!((epoch_of(&first), epoch_of(&second)), (0, 0));
    sealer.acknowledged();
    let third = seal(&mut sealer, b"c", late);
    assert_eq!(epoch_of(&third), 1);
    let fourth = seal(&mut sealer, b"d", late + EPOCH_MAX_MS);
    assert_eq!(epoch_of(&fourth), 1, "nothing of epoch 1 was acknowledged");
    for (record, content) in [(first, b"a"), (second, b"b"), (third, b"c"), (fourth, b"d")] {
        assert_eq!(open(&mut opener, record).as_deref(), Ok(&content[..]));
    }
}

#[test]
fn a_forged_epoch_opens_nothing_and_moves_nothing() {
    let ((mut sealer, _), (_, mut opener)) = pair();
    let good = seal(&mut sealer, b"a", Mono::default());
    for epoch in [1_u32, 2, u32::MAX] {
        let mut forged = good.clone();
        forged[..4].copy_from_slice(&epoch.to_be_bytes());
        assert!(open(&mut opener, forged).is_err());
    }
    assert_eq!(open(&mut opener, good).as_deref(), Ok(&b"a"[..]));
}

#[test]
fn the_largest_record_passes() {
    let ((mut sealer, _), (_, mut opener)) = pair();
    let content = vec![7; RECORD_MAX_BYTES + 4 - RECORD_HEADER_BYTES - 16];
    let record = seal(&mut sealer, &content, Mono::default());
    assert_eq!(record.len(), RECORD_MAX_BYTES);
    assert_eq!(open(&mut opener, record), Ok(content));
}

proptest! {
    #[test]
    fn what_is_not_the_next_record_never_opens(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let ((mut sealer, _), (_, mut opener)) = pair();
        let good = seal(&mut sealer, b"a", Mono::default());
        prop_assume!(bytes != good);
        prop_assert!(open(&mut opener, bytes).is_err());
        prop_assert_eq!(open(&mut opener, good), Ok(b"a".to_vec()));
    }
}
