//! The corpus: small inputs of each kind, from the specification and the vectors.
//!
//! `JUNTO_CORPUS=write cargo test --release --test fuzz_corpus` writes the files that are missing,
//! `JUNTO_BENT=100` tries so many times as many bent inputs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use junto::crypto::hash;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use serde_cbor_2::Value;

use crate::agreement::SPEC;
use crate::fuzz;

/// How many messages of each kind are drawn until every member was in one.
const DRAWS: u64 = 300;

type Target = fn(&[u8]);

/// Each target, and how many bent inputs are tried: a script of sessions takes a while.
const TARGETS: &[(&str, Target, usize)] = &[
    ("wire", fuzz::wire::run, 20_000),
    ("session", fuzz::session::run, 500),
    ("stream", fuzz::stream::run, 5_000),
    ("transfer", fuzz::transfer::run, 5_000),
    ("json", fuzz::json::run, 10_000),
];

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target)
}

/// Every file of a target's corpus.
fn files(target: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder(target)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        files.insert(name, std::fs::read(&path).unwrap());
    }
    files
}

/// `seed` with a few bytes changed, cut out, put in or taken from `other`.
fn bent(seed: &[u8], other: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..5) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..6) {
            0 => bytes.insert(at, rng.random()),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 if at < bytes.len() => bytes[at] = rng.random(),
            3 => bytes.truncate(at),
            4 => bytes.extend_from_slice(&other[rng.random_range(0..=other.len())..]),
            _ if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            _ => {}
        }
    }
    bytes
}

/// How many times as many bent inputs are tried: `JUNTO_BENT=100`. Where there is no fuzzer.
pub fn times() -> usize {
    let wish = std::env::var("JUNTO_BENT").ok();
    wish.map_or(1, |wish| wish.parse().expect("JUNTO_BENT is a number"))
}

fn run_bent(target: &str, run: Target, count: usize) {
    let files: Vec<Vec<u8>> = files(target).into_values().collect();
    let mut rng = StdRng::seed_from_u64(7);
    for _ in 0..count * times() {
        let seed = &files[rng.random_range(0..files.len())];
        let other = &files[rng.random_range(0..files.len())];
        run(&bent(seed, other, &mut rng));
    }
}

fn run_whole(target: &str, run: Target) {
    let files = files(target);
    assert!(files.len() >= 8, "{target}: {} files", files.len());
    for (name, bytes) in files {
        println!("{target}/{name}");
        run(&bytes);
    }
}

/// Whether `key` is the key of a map somewhere in `bytes`, as it is written.
fn has_key(bytes: &[u8], key: &str) -> bool {
    let key = serde_cbor_2::to_vec(&Value::Text(key.to_owned())).unwrap();
    bytes.windows(key.len()).any(|part| part == key)
}

/// A fuzzer begins with every member of every message, hints among them: it would hardly guess one.
#[test]
fn every_member_of_every_message_is_in_the_corpus() {
    let files = files("wire");
    for (rule, _) in fuzz::wire::MESSAGES {
        let selector = fuzz::wire::selector(rule).unwrap();
        let of_rule = files.values().filter(|bytes| bytes[0] == selector);
        let of_rule: Vec<&Vec<u8>> = of_rule.collect();
        for key in SPEC.keys(rule) {
            let found = of_rule.iter().any(|bytes| has_key(bytes, &key));
            assert!(found, "no file of {rule} has {key}: JUNTO_CORPUS=write");
        }
    }
}

/// What `cargo fuzz` can be told to run.
#[test]
fn every_target_is_run_here() {
    let manifest = include_str!("../fuzz/Cargo.toml");
    let names = manifest
        .split("[[bin]]\nname = \"")
        .skip(1)
        .filter_map(|bin| bin.split_once('"'))
        .map(|(name, _)| name);
    let here = TARGETS.iter().map(|(target, ..)| *target);
    assert_eq!(names.collect::<Vec<_>>(), here.collect::<Vec<_>>());
}

#[test]
fn every_file_of_the_corpus_passes() {
    for (target, run, _) in TARGETS {
        run_whole(target, *run);
    }
}

#[test]
fn bent_inputs_pass() {
    for (target, run, count) in TARGETS {
        run_bent(target, *run, *count);
    }
}

#[test]
fn the_first_session_scripts_get_far() {
    let opened: Vec<usize> = fuzz::session::samples()
        .iter()
        .map(|script| fuzz::session::opened_by(script))
        .collect();
    assert_eq!(opened, [0, 0, 4, 48, 4, 0]);
}

/// What the corpus begins with: a byte for the reader, and a message it accepts.
fn wire_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (rule, reads) in fuzz::wire::MESSAGES {
        // A few, and those that have what no earlier one has.
        let mut missing = SPEC.keys(rule);
        for seed in 0..DRAWS {
            let message = serde_cbor_2::to_vec(&SPEC.draw(rule, seed)).unwrap();
            assert!(reads(&message), "{rule}");
            let before = missing.len();
            missing.retain(|key| !has_key(&message, key));
            if seed >= 3 && missing.len() == before {
                continue;
            }
            let selector = fuzz::wire::selector(rule).unwrap();
            seeds.push([&[selector][..], &message].concat());
        }
    }
    let samples = fuzz::wire::samples().into_iter().zip(fuzz::wire::OTHERS);
    assert_eq!(samples.len(), fuzz::wire::OTHERS.len());
    for (selector, (sample, reads)) in fuzz::wire::other_selectors().zip(samples) {
        assert!(
            reads(&sample),
            "{}",
            data_encoding::HEXLOWER.encode(&sample)
        );
        seeds.push([&[selector][..], &sample].concat());
    }
    seeds
}

/// What a bulk stream may say, and scripts.
fn transfer_seeds() -> Vec<Vec<u8>> {
    let mut seeds = fuzz::transfer::samples();
    for seed in 0..8 {
        let word = serde_cbor_2::to_vec(&SPEC.draw("bulk-word", seed)).unwrap();
        seeds.push([&[0, 0][..], &word].concat());
    }
    let mut rng = StdRng::seed_from_u64(2);
    for _ in 0..4 {
        let mut script = vec![5; 400];
        rng.fill_bytes(&mut script[1..]);
        seeds.push(script);
    }
    seeds
}

fn session_seeds() -> Vec<Vec<u8>> {
    let mut seeds = fuzz::session::samples();
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..8 {
        let mut script = vec![0; 120];
        rng.fill_bytes(&mut script);
        seeds.push(script);
    }
    seeds
}

#[test]
fn the_corpus_can_be_made() {
    let seeds = [
        ("wire", wire_seeds()),
        ("session", session_seeds()),
        ("stream", fuzz::stream::samples()),
        ("transfer", transfer_seeds()),
        ("json", fuzz::json::samples()),
    ];
    if std::env::var_os("JUNTO_CORPUS").is_none_or(|wish| wish != "write") {
        return;
    }
    for (target, seeds) in seeds {
        std::fs::create_dir_all(folder(target)).unwrap();
        for seed in seeds {
            let name = data_encoding::HEXLOWER.encode(&hash("corpus", &[&seed])[..8]);
            std::fs::write(folder(target).join(name), seed).unwrap();
        }
    }
}
