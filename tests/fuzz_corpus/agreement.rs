//! The specification, this implementation and an independent CBOR library agree on every message.
//!
//! Messages are drawn from the CDDL of the specification and written by the other library. Ours
//! reads each, and both read the same value and write the same bytes (`fuzz::wire`).

use std::collections::BTreeSet;
use std::sync::LazyLock;

use junto::wire::{MsgType, WakeStatus, WireError};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_cbor_2::Value;

use crate::cddl::{self, Spec};
use crate::fuzz::wire::{self, MESSAGES};
use crate::fuzz::{json, transfer};

pub static SPEC: LazyLock<Spec> = LazyLock::new(Spec::read);

fn bytes(value: &Value) -> Vec<u8> {
    serde_cbor_2::to_vec(value).unwrap()
}

/// The texts that a rule allows.
fn documented(rule: &str) -> BTreeSet<String> {
    let cddl::Type::Choice(of) = SPEC.rule(rule) else {
        panic!("{rule} is a choice")
    };
    let text = |one: &cddl::Type| match one {
        cddl::Type::Text(text) => text.clone(),
        other => panic!("{rule}: {other:?} is no text"),
    };
    of.iter().map(text).collect()
}

/// The texts that an enum of the code is read from.
fn known<T: DeserializeOwned + std::fmt::Debug>() -> BTreeSet<String> {
    // The error of an unknown variant lists all.
    let error = serde_json::from_value::<T>(serde_json::json!("?")).unwrap_err();
    let error = error.to_string();
    error
        .split('`')
        .skip(3)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// What travels and is no message of its own: by the name of its rule, too.
fn others() -> impl Iterator<Item = &'static (&'static str, wire::Reader)> {
    transfer::MESSAGES.iter().chain(json::MESSAGES)
}

#[test]
fn every_message_type_is_documented_has_a_rule_and_a_reader() {
    assert_eq!(documented("msg-type"), known::<MsgType>());
    let rules: BTreeSet<&str> = SPEC.names().collect();
    let readers: BTreeSet<&str> = MESSAGES.iter().map(|(rule, _)| *rule).collect();
    for name in documented("msg-type") {
        let rule = name.replace('_', "-");
        assert!(rules.contains(&*rule), "{name}: no rule {rule}");
        assert!(readers.contains(&*rule), "{name}: no reader {rule}");
    }
}

#[test]
fn the_words_of_the_specification_are_those_of_the_code() {
    assert_eq!(documented("error-code"), known::<WireError>());
    assert_eq!(documented("wake-status"), known::<WakeStatus>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256 * crate::corpus::times() as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_message_of_the_specification_is_read_by_both_alike(seed: u64) {
        for (rule, reads) in MESSAGES.iter().chain(others()) {
            let message = SPEC.draw(rule, seed);
            prop_assert!(reads(&bytes(&message)), "{rule} is refused: {message:?}");
        }
    }

    #[test]
    fn a_message_without_what_it_must_have_or_with_more_is_refused(seed: u64) {
        for (rule, reads) in MESSAGES {
            let Value::Map(whole) = SPEC.draw(rule, seed) else { continue };
            for member in SPEC.members(rule) {
                let mut cut = whole.clone();
                let there = cut.remove(&Value::Text(member.key.clone())).is_some();
                if there {
                    let accepted = reads(&bytes(&Value::Map(cut)));
                    prop_assert_eq!(accepted, member.optional, "{} without {}", rule, member.key);
                }
            }
            let mut more = whole.clone();
            more.insert(Value::Text("unknown".into()), Value::Bool(true));
            prop_assert!(!reads(&bytes(&Value::Map(more))), "{rule} with an unknown key");
            let mut hint = whole.clone();
            hint.insert(Value::Text("_unknown".into()), Value::Bool(true));
            prop_assert!(reads(&bytes(&Value::Map(hint))), "{rule} with a hint");
        }
    }

    #[test]
    fn whatever_we_accept_of_bent_messages_the_other_library_reads_alike(
        seed: u64, bends in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..4)
    ) {
        for (rule, reads) in MESSAGES {
            let mut message = bytes(&SPEC.draw(rule, seed));
            for (at, byte, how) in &bends {
                let at = at.index(message.len());
                match how {
                    0 => message[at] = *byte,
                    1 => message[at] ^= 1 << (byte % 8),
                    2 => message.insert(at, *byte),
                    _ if message.len() > 1 => drop(message.remove(at)),
                    _ => {}
                }
            }
            // The reader itself compares; what it says does not matter.
            reads(&message);
        }
    }
}

/// What is optional in the code and not in the specification would not be seen above.
#[test]
fn the_members_of_a_message_are_those_of_the_specification() {
    for (rule, fields) in wire::fields() {
        let documented: BTreeSet<&str> = SPEC.members(rule).iter().map(|m| &*m.key).collect();
        let known: BTreeSet<&str> = fields.iter().copied().collect();
        assert_eq!(documented, known, "{rule}");
    }
}
