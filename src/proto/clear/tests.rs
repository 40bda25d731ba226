//! Nonces are taken once, also across a restart; version 1.0 is for those who are allowed it.

use std::collections::BTreeMap;

use rand::SeedableRng;

use super::*;
use crate::crypto::{Rng, Seeds};
use crate::types::{WriteBatch, WriteOp};
use crate::wire::{PROTOCOL_VERSION, Ping};

fn identity(n: u64) -> Identity {
    Identity::from_seeds(&Seeds::generate(&mut Rng::seed_from_u64(n)))
}

/// The node under test, with its disk.
struct Side {
    clear: Clear,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    now: Now,
}

impl Side {
    fn new(allowed: Vec<Allowed>) -> Side {
        let now = Now {
            mono: Mono::from_micros(1),
            wall: Wall(1_700_000_000_000),
        };
        Side {
            clear: Clear::new(&identity(0), allowed),
            rows: BTreeMap::new(),
            now,
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono = self.now.mono + ms;
        self.now.wall = self.now.wall + ms;
    }

    fn step<T>(&mut self, act: impl FnOnce(&mut Clear, &mut Step<'_>) -> T) -> T {
        let (mut writes, mut rng) = (WriteBatch::default(), Rng::seed_from_u64(1));
        let mut step = Step {
            now: self.now,
            rng: &mut rng,
            batch: BatchId(1),
            writes: &mut writes,
        };
        let done = act(&mut self.clear, &mut step);
        for op in writes.ops {
            match op {
                WriteOp::Put { key, value, .. } => {
                    self.rows.insert(key, value);
                }
                WriteOp::Delete { key, .. } => {
                    self.rows.remove(&key);
                }
            }
        }
        assert_eq!(self.clear.check(), Ok(()));
        done
    }

    fn remember(&mut self, entity: u8, nonce: u64) -> Result<BatchId, WireError> {
        self.step(|clear, step| clear.remember(EntityId([entity; 32]), nth(nonce), step))
    }

    fn is_known(&self, entity: u8, nonce: u64) -> bool {
        let fresh = self.clear.is_fresh(
            &EntityId([entity; 32]),
            &nth(nonce),
            self.now.wall,
            self.now,
        );
        fresh == Err(WireError::ReplayDetected)
    }

    /// Starts again from the disk; the monotonic clock begins anew.
    fn restart(&mut self) {
        self.clear = Clear::new(&identity(0), Vec::new());
        self.now.mono = Mono::from_micros(5);
        for (key, value) in &self.rows {
            let row = Row {
                space: Keyspace::Seen,
                key: key.clone(),
                value: value.clone(),
            };
            self.clear.load(&row, self.now);
        }
    }
}

fn nth(n: u64) -> Nonce {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    Nonce(bytes)
}

#[test]
fn a_nonce_is_refused_until_its_time_is_over_also_after_a_restart() {
    let mut side = Side::new(Vec::new());
    assert!(side.remember(1, 1).is_ok());
    side.pass(REPLAY_KEEP_MS / 2);
    side.restart();
    assert!(side.is_known(1, 1));
    assert_eq!(side.remember(1, 1), Err(WireError::ReplayDetected));
    assert!(
        !side.is_known(2, 1),
        "another entity's nonce is another nonce"
    );
    side.pass(REPLAY_KEEP_MS / 2 - 1);
    side.step(Clear::tick);
    assert!(side.is_known(1, 1));
    side.pass(1);
    side.step(Clear::tick);
    assert!(!side.is_known(1, 1));
    assert!(side.rows.is_empty(), "what has expired is cleaned away");
}

#[test]
fn a_clock_set_back_over_a_restart_forgets_nothing() {
    let mut side = Side::new(Vec::new());
    side.remember(1, 1).expect("room");
    side.now.wall = Wall(side.now.wall.0 - 3_600_000);
    side.restart();
    side.pass(REPLAY_KEEP_MS - 1);
    side.step(Clear::tick);
    assert!(side.is_known(1, 1));
}

#[test]
fn a_row_that_does_not_read_counts_as_new() {
    let mut side = Side::new(Vec::new());
    side.remember(1, 1).expect("room");
    for value in side.rows.values_mut() {
        *value = vec![9];
    }
    side.restart();
    assert!(side.is_known(1, 1));
}

#[test]
fn a_full_table_refuses_and_forgets_nobody() {
    let mut side = Side::new(Vec::new());
    let share = u64::try_from(REPLAY_PER_ENTITY_MAX).expect("small");
    for n in 0..share {
        assert!(side.remember(1, n).is_ok());
    }
    assert_eq!(side.remember(1, share), Err(WireError::Busy));
    assert!(side.is_known(1, 0), "the oldest is still there");
    assert!(side.remember(2, 0).is_ok(), "another has its own share");
}

/// A message of version 1.0 by `from`, changed by `bend` before it is signed.
fn message(side: &Side, from: &Identity, bend: impl FnOnce(&mut Header)) -> (Envelope, Header) {
    let mut header = Header {
        version: VERSION_1_0.into(),
        msg_type: MsgType::Ping,
        sender_id: from.entity_id,
        recipient_id: Some(identity(0).entity_id),
        session_id: None,
        epoch: None,
        sequence_num: None,
        re: None,
        timestamp: side.now.wall,
        nonce: nth(7),
        seal: Seal::None,
    };
    bend(&mut header);
    let mut envelope = Envelope {
        header: cbor::encode(&header),
        data: cbor::encode(&Ping {}),
        signature: None,
        tag: None,
    };
    envelope.signature = Some(from.key().sign(PURPOSE, &envelope.digest()));
    (envelope, header)
}

fn judged(
    side: &Side,
    (envelope, header): (Envelope, Header),
    known: Option<Known<'_>>,
) -> Result<bool, WireError> {
    let judged = side.clear.judge(envelope, &header, known, side.now);
    judged.map(|(_, check)| check.verify())
}

#[test]
fn who_is_allowed_may_say_in_clear_what_anybody_may_read() {
    let bob = identity(1);
    let side = Side::new(vec![Allowed::Inception(Box::new(bob.inception))]);
    assert_eq!(judged(&side, message(&side, &bob, |_| ()), None), Ok(true));
    let say = |msg_type| message(&side, &bob, move |h| h.msg_type = msg_type);
    assert_eq!(judged(&side, say(MsgType::WakeUp), None), Ok(true));
    for sealed_only in [
        MsgType::TaskDelegate,
        MsgType::TaskResult,
        MsgType::RegistrySync,
    ] {
        assert_eq!(
            judged(&side, say(sealed_only), None),
            Err(WireError::EncryptionRequired)
        );
    }
    for handshake in [
        MsgType::Handshake,
        MsgType::HandshakeConfirm,
        MsgType::Ready,
    ] {
        assert_eq!(
            judged(&side, say(handshake), None),
            Err(WireError::InvalidVersion)
        );
    }
}

#[test]
fn everybody_else_is_told_to_encrypt() {
    let (bob, carol) = (identity(1), identity(2));
    let side = Side::new(vec![Allowed::Entity(bob.entity_id)]);
    let known = Known::Entry {
        key: carol.inception.key,
        versions: &[String::from(VERSION_1_0)],
        speaks_through: true,
    };
    assert_eq!(
        judged(&side, message(&side, &carol, |_| ()), Some(known)),
        Err(WireError::EncryptionRequired)
    );
}

#[test]
fn an_entity_that_offers_1_1_is_held_to_it_allowed_or_not() {
    let bob = identity(1);
    let side = Side::new(vec![Allowed::Inception(Box::new(bob.inception))]);
    let offers = |versions: &[&str]| {
        let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
        let known = Known::Entry {
            key: bob.inception.key,
            versions: &versions,
            speaks_through: true,
        };
        judged(&side, message(&side, &bob, |_| ()), Some(known))
    };
    assert_eq!(offers(&[VERSION_1_0]), Ok(true));
    assert_eq!(
        offers(&[VERSION_1_0, PROTOCOL_VERSION]),
        Err(WireError::EncryptionRequired)
    );
}

#[test]
fn a_sender_whose_key_nobody_knows_or_whose_connection_is_anothers_is_unknown() {
    let bob = identity(1);
    let side = Side::new(vec![Allowed::Entity(bob.entity_id)]);
    let said = || message(&side, &bob, |_| ());
    assert_eq!(judged(&side, said(), None), Err(WireError::UnknownSender));
    let known = Known::Entry {
        key: bob.inception.key,
        versions: &[],
        speaks_through: false,
    };
    assert_eq!(
        judged(&side, said(), Some(known)),
        Err(WireError::UnknownSender)
    );
}

#[test]
fn a_message_for_another_or_of_another_time_or_bent_is_refused() {
    let bob = identity(1);
    let side = Side::new(vec![Allowed::Inception(Box::new(bob.inception))]);
    let elsewhere = message(&side, &bob, |h| h.recipient_id = Some(EntityId([9; 32])));
    assert_eq!(
        judged(&side, elsewhere, None),
        Err(WireError::WrongRecipient)
    );
    let nobody = message(&side, &bob, |h| h.recipient_id = None);
    assert_eq!(judged(&side, nobody, None), Err(WireError::WrongRecipient));
    for off_ms in [CLOCK_SKEW_MAX_MS, CLOCK_SKEW_MAX_MS + 1] {
        let old = message(&side, &bob, |h| h.timestamp = Wall(h.timestamp.0 - off_ms));
        let expected = match off_ms {
            CLOCK_SKEW_MAX_MS => Ok(true),
            _ => Err(WireError::HandshakeTimeout),
        };
        assert_eq!(judged(&side, old, None), expected);
    }
    let (mut bent, header) = message(&side, &bob, |_| ());
    bent.data.push(0);
    assert_eq!(judged(&side, (bent, header), None), Ok(false));
}

#[test]
fn an_answer_fits_its_request_only() {
    let bob = identity(1);
    let side = Side::new(vec![Allowed::Inception(Box::new(bob.inception))]);
    let claim = |nonce| {
        let (envelope, header) = message(&side, &bob, |h| h.nonce = nth(nonce));
        let judged = side.clear.judge(envelope, &header, None, side.now);
        judged.expect("allowed").0
    };
    let (asked, other) = (claim(1), claim(2));
    let bytes = side
        .clear
        .answer(&asked, MsgType::Pong, vec![0xa0], side.now, nth(3));
    let (envelope, header) = Envelope::from_bytes(&bytes).expect("an envelope");
    assert_eq!(header.version, VERSION_1_0);
    assert_eq!(header.recipient_id, Some(bob.entity_id));
    let holds = |to: &Claim| {
        SigCheck {
            key: identity(0).inception.key,
            purpose: PURPOSE_ANSWER,
            digest: hash(
                PURPOSE_ANSWER,
                &[&to.digest, &envelope.header, &envelope.data],
            ),
            signature: envelope.signature.expect("signed"),
        }
        .verify()
    };
    assert!(holds(&asked));
    assert!(!holds(&other));
}
