//! The CDDL of the specification, read from its pages, as a source of arbitrary messages.
//!
//! Only the part of CDDL (RFC 8610) that the pages use: maps with named members, lists with an
//! occurrence, choices, ranges, literals, `bstr`, `tstr`, `uint`, `bool`, and the controls `.size`,
//! `.cbor`, `.regexp`. What a rule cannot say is drawn by the name of the rule: [`Spec::draw`] knows
//! `peer-id` and `multiaddr`.

mod parse;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use serde_cbor_2::Value;

/// What a rule allows.
#[derive(Debug, Clone)]
pub enum Type {
    Name(String),
    Text(String),
    Number(u64),
    Range(u64, u64),
    Bytes {
        min: usize,
        max: usize,
    },
    Embedded(Box<Type>),
    AnyText,
    Regexp(String),
    Bool,
    /// The word `true`.
    Yes,
    List {
        min: usize,
        max: usize,
        of: Box<Type>,
    },
    Map(Vec<Member>),
    Choice(Vec<Type>),
}

/// One member of a map.
#[derive(Debug, Clone)]
pub struct Member {
    pub key: String,
    pub optional: bool,
    pub value: Type,
}

/// All rules.
pub struct Spec {
    rules: BTreeMap<String, Type>,
}

/// Every page of the specification.
fn pages() -> Vec<PathBuf> {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut pages = vec![docs.join("protocol.md")];
    if let Ok(folder) = std::fs::read_dir(docs.join("protocol")) {
        pages.extend(folder.map(|entry| entry.unwrap().path()));
    }
    pages
}

impl Spec {
    /// The rules in the pages' `cddl` blocks.
    pub fn read() -> Spec {
        let mut rules = BTreeMap::new();
        for page in pages() {
            let text = std::fs::read_to_string(&page).unwrap();
            for block in text.split("```cddl\n").skip(1) {
                let block = block.split("```").next().unwrap();
                for (name, rule) in parse::rules(block) {
                    let twice = rules.insert(name.clone(), rule);
                    assert!(twice.is_none(), "{}: {name} twice", page.display());
                }
            }
        }
        let spec = Spec { rules };
        for rule in spec.rules.values() {
            spec.complete(rule);
        }
        spec
    }

    /// The names of the rules.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.keys().map(String::as_str)
    }

    /// What a rule allows.
    pub fn rule(&self, name: &str) -> &Type {
        &self.rules[name]
    }

    /// The members of a rule that is a map.
    pub fn members(&self, rule: &str) -> &[Member] {
        match &self.rules[rule] {
            Type::Map(members) => members,
            other => panic!("{rule} is no map but {other:?}"),
        }
    }

    /// The keys of every map that a rule leads to.
    pub fn keys(&self, rule: &str) -> BTreeSet<String> {
        let (mut keys, mut seen) = (BTreeSet::new(), BTreeSet::from([rule.to_owned()]));
        let mut left = vec![&self.rules[rule]];
        while let Some(of) = left.pop() {
            match of {
                Type::Name(name) if seen.insert(name.clone()) => left.push(&self.rules[name]),
                Type::Embedded(of) | Type::List { of, .. } => left.push(of),
                Type::Choice(of) => left.extend(of),
                Type::Map(members) => {
                    keys.extend(members.iter().map(|member| member.key.clone()));
                    left.extend(members.iter().map(|member| &member.value));
                }
                _ => {}
            }
        }
        keys
    }

    fn complete(&self, rule: &Type) {
        match rule {
            Type::Name(name) => assert!(self.rules.contains_key(name), "no rule {name}"),
            Type::Embedded(of) | Type::List { of, .. } => self.complete(of),
            Type::Map(members) => members.iter().for_each(|m| self.complete(&m.value)),
            Type::Choice(of) => of.iter().for_each(|one| self.complete(one)),
            _ => {}
        }
    }

    /// A value that the rule allows, by a seed.
    pub fn draw(&self, rule: &str, seed: u64) -> Value {
        let mut rng = StdRng::seed_from_u64(seed);
        self.value(&Type::Name(rule.to_owned()), &mut rng)
    }

    fn value(&self, rule: &Type, rng: &mut StdRng) -> Value {
        match rule {
            Type::Name(name) => match name.as_str() {
                "peer-id" => Value::Bytes(peer_id(rng)),
                "multiaddr" => Value::Bytes(multiaddr(rng)),
                _ => self.value(&self.rules[name], rng),
            },
            Type::Text(text) => Value::Text(text.clone()),
            Type::Number(number) => Value::Integer(i128::from(*number)),
            Type::Range(low, high) => Value::Integer(i128::from(number(*low, *high, rng))),
            Type::Bytes { min, max } => Value::Bytes(bytes(length(*min, *max, rng), rng)),
            Type::Embedded(of) => {
                let inner = self.value(of, rng);
                Value::Bytes(serde_cbor_2::to_vec(&inner).unwrap())
            }
            Type::AnyText => Value::Text(text(".{0,40}", rng)),
            Type::Regexp(pattern) => Value::Text(text(pattern, rng)),
            Type::Bool => Value::Bool(rng.random()),
            Type::Yes => Value::Bool(true),
            Type::List { min, max, of } => {
                let count = length(*min, (*max).min(min + 4), rng);
                Value::Array((0..count).map(|_| self.value(of, rng)).collect())
            }
            Type::Map(members) => {
                let mut pairs = BTreeMap::new();
                for member in members {
                    if !member.optional || rng.random() {
                        let value = self.value(&member.value, rng);
                        pairs.insert(Value::Text(member.key.clone()), value);
                    }
                }
                Value::Map(pairs)
            }
            Type::Choice(of) => self.value(&of[rng.random_range(0..of.len())], rng),
        }
    }
}

/// Numbers near the ends of every width come more often than others.
fn number(low: u64, high: u64, rng: &mut StdRng) -> u64 {
    let number = match rng.random_range(0..4) {
        0 => rng.random_range(0..30),
        1 => (1u64 << rng.random_range(0..64)).wrapping_sub(rng.random_range(0..2)),
        2 => high.wrapping_sub(rng.random_range(0..2)),
        _ => rng.random(),
    };
    match low <= number && number <= high {
        true => number,
        false => rng.random_range(low..=high),
    }
}

fn length(min: usize, max: usize, rng: &mut StdRng) -> usize {
    rng.random_range(min..=max.min(min + 300))
}

fn bytes(length: usize, rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rng.fill_bytes(&mut bytes);
    bytes
}

fn text(pattern: &str, rng: &mut StdRng) -> String {
    let strategy = proptest::string::string_regex(pattern).unwrap();
    let config = proptest::test_runner::Config::default();
    let seed = proptest::test_runner::TestRng::from_seed(
        proptest::test_runner::RngAlgorithm::ChaCha,
        &bytes(32, rng),
    );
    let mut runner = TestRunner::new_with_rng(config, seed);
    strategy.new_tree(&mut runner).unwrap().current()
}

/// The key must be a point, so it is a real one.
fn peer_id(rng: &mut StdRng) -> Vec<u8> {
    let seed = bytes(32, rng).try_into().unwrap();
    let key = junto::crypto::KeyPair::from_seed(&seed).public();
    [&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20][..], &key.0].concat()
}

fn multiaddr(rng: &mut StdRng) -> Vec<u8> {
    let ip: [u8; 4] = rng.random();
    let port: [u8; 2] = rng.random();
    // ip4 is code 4, tcp 6, udp 273, quic-v1 460.
    match rng.random() {
        true => [&[4][..], &ip, &[6], &port].concat(),
        false => [&[4][..], &ip, &[0x91, 0x02], &port, &[0xcc, 0x03]].concat(),
    }
}
