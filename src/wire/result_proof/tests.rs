use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const PARTIES: ResultParties = ResultParties {
    requester: EntityId([1; 32]),
    worker: EntityId([2; 32]),
};

fn key(n: u8) -> KeyPair {
    KeyPair::from_seed(&[n; 32])
}

fn agree() -> AgreePart {
    AgreePart {
        parent: TaskId(Uuid::max()),
        round: u32::MAX,
    }
}

fn item(n: u128, outcome: TaskOutcome) -> ResultItem {
    ResultItem {
        task_id: TaskId(Uuid::from_u128(n)),
        token: FencingToken(u64::MAX - n as u64),
        outcome,
        spent: u64::MAX * (n as u64 % 2),
    }
}

fn outcome() -> impl Strategy<Value = TaskOutcome> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        bytes
            .clone()
            .prop_map(|result| TaskOutcome::Completed { result }),
        any::<([u8; 32], u64)>().prop_map(|(root, size)| TaskOutcome::CompletedFile {
            file: FileRef { root, size }
        }),
        any::<(String, bool)>().prop_map(|(reason, poison)| TaskOutcome::Failed { reason, poison }),
        Just(TaskOutcome::Released),
        proptest::collection::vec(any::<[u8; 32]>(), 0..4).prop_map(|ids| {
            let suggest = ids.into_iter().map(EntityId).collect();
            TaskOutcome::HandedOver { suggest }
        }),
        any::<[u8; 32]>().prop_map(|commitment| TaskOutcome::Committed {
            commitment,
            agree: agree()
        }),
        (any::<[u8; 32]>(), bytes)
            .prop_map(|(salt, result)| TaskOutcome::Revealed { salt, result }),
    ]
}

fn list(outcomes: Vec<TaskOutcome>) -> TaskResult {
    let items = (1..).zip(outcomes).map(|(n, outcome)| item(n, outcome));
    TaskResult::sign(items.collect(), &PARTIES, &key(7), [9; 32])
}

fn completed(result: &[u8]) -> TaskOutcome {
    let result = result.to_vec();
    TaskOutcome::Completed { result }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn each_outcome_of_a_list_is_shown_by_its_proof(
        outcomes in proptest::collection::vec(outcome(), 1..9),
    ) {
        let list = list(outcomes);
        let bytes = cbor::encode(&list);
        let read: TaskResult = cbor::decode(&bytes, bytes.len()).expect("our own");
        let told = read.open(&PARTIES).expect("it is signed");
        prop_assert_eq!(told.len(), list.items.len());
        for (told, item) in told.into_iter().zip(list.items) {
            let kept = ResultProof::from_bytes(&told.proof.to_bytes()).expect("our own");
            prop_assert_eq!(&kept, &told.proof);
            prop_assert_eq!(kept.verify(), Ok(()));
            prop_assert_eq!(kept.outcome, Stated::of(&item.outcome));
            prop_assert_eq!((kept.task, kept.token), (item.task_id, item.token));
            prop_assert_eq!(told.item, item);
        }
    }

    #[test]
    fn a_proof_with_another_byte_anywhere_shows_nothing(
        outcomes in proptest::collection::vec(outcome(), 3..6),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let told = list(outcomes).open(&PARTIES).expect("it is signed");
        let mut bytes = told[1].proof.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let holds = ResultProof::from_bytes(&bytes).is_ok_and(|proof| proof.verify().is_ok());
        prop_assert!(!holds, "byte {at}");
    }
}

#[test]
fn a_list_that_was_changed_is_refused() {
    let list = list(vec![completed(b"1"), completed(b"2"), completed(b"3")]);
    let refused = |changed: TaskResult| {
        let opened = changed.open(&PARTIES);
        assert_eq!(opened, Err(WireError::InvalidSignature));
    };
    let changes: [fn(&mut TaskResult); 9] = [
        |list| list.items[1].spent += 1,
        |list| list.items[1].outcome = completed(b"9"),
        |list| list.items[1].outcome = TaskOutcome::Released,
        |list| list.items[1].token.0 -= 1,
        |list| list.items[1].task_id = TaskId(Uuid::nil()),
        |list| list.items.swap(0, 1),
        |list| drop(list.items.pop()),
        |list| list.proof.seed[0] ^= 1,
        |list| list.proof.key = key(8).public(),
    ];
    for change in changes {
        let mut changed = list.clone();
        change(&mut changed);
        refused(changed);
    }
    for parties in [
        ResultParties {
            requester: EntityId([3; 32]),
            ..PARTIES
        },
        ResultParties {
            worker: EntityId([3; 32]),
            ..PARTIES
        },
    ] {
        let opened = list.clone().open(&parties);
        assert_eq!(opened, Err(WireError::InvalidSignature), "{parties:?}");
    }
    assert!(list.open(&PARTIES).is_ok());
}

#[test]
fn a_proof_is_good_for_nothing_else() {
    let told = list(vec![completed(b"1"), completed(b"2"), completed(b"3")]);
    let proof = told.open(&PARTIES).expect("it is signed")[1].proof.clone();
    assert_eq!(proof.verify(), Ok(()));
    type Change = fn(&mut ResultProof);
    let changes: [(Change, ProofError); 10] = [
        (|of| of.spent += 1, ProofError::Signature),
        (|of| of.requester.0[0] ^= 1, ProofError::Signature),
        (|of| of.worker.0[0] ^= 1, ProofError::Signature),
        (|of| of.task = TaskId(Uuid::nil()), ProofError::Signature),
        (|of| of.token.0 += 1, ProofError::Signature),
        (
            |of| of.outcome = Stated::of(&completed(b"3")),
            ProofError::Signature,
        ),
        (|of| of.salt.0[0] ^= 1, ProofError::Signature),
        (|of| of.index = 0, ProofError::Signature),
        (|of| of.index = 2, ProofError::Path),
        (|of| of.count = 5, ProofError::Path),
    ];
    for (at, (change, why)) in changes.into_iter().enumerate() {
        let mut changed = proof.clone();
        change(&mut changed);
        assert_eq!(changed.verify(), Err(why), "change {at}");
    }
}

#[test]
fn the_largest_proof_is_within_its_bound() {
    let revealed = TaskOutcome::Revealed {
        salt: [1; 32],
        result: vec![0; 70_000],
    };
    let told = list(vec![revealed; LIST_MAX_ITEMS]);
    let told = told.open(&PARTIES).expect("it is signed");
    for told in &told {
        let bytes = told.proof.to_bytes();
        assert!(bytes.len() <= RESULT_PROOF_MAX_BYTES, "{}", bytes.len());
        assert!(ResultProof::from_bytes(&bytes).is_ok());
    }
    assert_eq!(told[0].proof.path.len(), PATH_MAX);
}

#[test]
fn a_sibling_says_nothing_of_what_it_stands_for() {
    let same = list(vec![completed(b"1"), completed(b"1")]);
    let told = same.clone().open(&PARTIES).expect("it is signed");
    // Whoever has the first proof guesses the second outcome right, and cannot tell.
    let guessed = Stated::of(&same.items[1].outcome);
    let (task, token) = (same.items[1].task_id, same.items[1].token);
    let blind = leaf(&PARTIES, task, token, 0, &guessed, &told[0].proof.salt.0);
    assert_ne!(told[0].proof.path[0].0, blind);
    let known = leaf(&PARTIES, task, token, 0, &guessed, &told[1].proof.salt.0);
    assert_eq!(told[0].proof.path[0].0, known);
}

#[test]
fn a_reveal_is_held_against_the_commitment_of_the_same_attempt() {
    let salt = [5; 32];
    let promised = Promised {
        requester: PARTIES.requester,
        worker: PARTIES.worker,
        task: TaskId(Uuid::from_u128(1)),
        token: FencingToken(u64::MAX - 1),
        agree: agree(),
    };
    let commitment = promised.commitment(&salt, b"144");
    let one = |n: u128, outcome| {
        let list = TaskResult::sign(vec![item(n, outcome)], &PARTIES, &key(7), [3; 32]);
        list.open(&PARTIES).expect("it is signed")[0].proof.clone()
    };
    let agree = agree();
    let committed = one(1, TaskOutcome::Committed { commitment, agree });
    let revealed = |n, result: &[u8]| {
        let result = result.to_vec();
        one(n, TaskOutcome::Revealed { salt, result })
    };
    assert_eq!(revealed(1, b"144").opens(&committed), Some(true));
    assert_eq!(revealed(1, b"666").opens(&committed), Some(false));
    assert_eq!(revealed(2, b"144").opens(&committed), None, "another task");
    assert_eq!(committed.opens(&committed), None);
}
