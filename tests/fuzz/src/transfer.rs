//! Files: what is said on a bulk stream, manifests and sets of chunks, stored rows, and both cores
//! under a script.
//!
//! The first byte says which of these the others are, or are a script for.
//!
//! - None panics.
//! - What is read is written again byte for byte, and an independent CBOR library agrees.
//! - A receiver keeps its invariants (`Receives::check`), has never more than the file, and calls
//!   nothing complete that did not get its name.
//! - Rows that a core wrote are read by the next life; other rows do no harm.

use std::collections::{BTreeMap, BTreeSet};

use junto::crypto::{ChunkHasher, Rng};
use junto::proto::Step;
use junto::proto::transfer::{
    ChunkSet, Manifest, NewFile, Offered, ReceiveEffect, ReceivedState, Receives, ReceivesConfig,
    SendEffect, SendEnd, Sends, StoreOutcome, Submitted, numbered_name, safe_name,
};
use junto::types::{
    BatchId, BulkId, EntityId, Keyspace, Mono, Now, Row, TransferId, Wall, WriteBatch, WriteOp,
};
use junto::wire::{BulkContent, BulkWord, ChunkOffer, OfferAnswer, RefusedFile, cbor};
use rand::SeedableRng as _;

use super::wire::{self, Reader};

const STEPS_MAX: usize = 200;
/// A set of more is not asked for by any file.
const SET_MAX: u32 = 20_000;
const ROWS: [Keyspace; 4] = [
    Keyspace::SentFile,
    Keyspace::SentChunks,
    Keyspace::ReceivedFile,
    Keyspace::ReceivedChunks,
];

/// The rules of the specification that are read here.
pub const MESSAGES: &[(&str, Reader)] = &[("bulk-word", wire::agree::<BulkWord>)];

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else {
        return;
    };
    match which % 6 {
        0 => content(bytes),
        1 => drop(wire::file_offer(bytes)),
        2 => set(bytes),
        3 => names(bytes),
        4 => rows(bytes),
        _ => drop(script(bytes)),
    }
}

// ---- what is read -------------------------------------------------------------------------------

fn content(bytes: &[u8]) {
    let Ok(read) = BulkContent::read(bytes) else {
        return;
    };
    let mut again = Vec::new();
    match read {
        BulkContent::Word(word) => {
            assert!(wire::agree::<BulkWord>(&bytes[1..]));
            if let BulkWord::Want { chunks } = &word {
                let count = u32::try_from(chunks.len() * 8).expect("a word is bounded");
                assert!(ChunkSet::from_bytes(chunks, count).is_some());
            }
            word.write(&mut again);
        }
        BulkContent::Data { chunk, bytes } => {
            BulkContent::begin_piece(chunk, &mut again);
            again.extend_from_slice(bytes);
        }
    }
    // A hint in a word is not written again.
    if bytes[0] != 0 || again.len() == bytes.len() {
        assert_eq!(again, bytes);
    }
}

/// How many chunks, then the set; then pairs that change it.
fn set(bytes: &[u8]) {
    let Some((count, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let count = u32::from(u16::from_be_bytes(*count)).min(SET_MAX);
    let length = (count.div_ceil(8) as usize).min(rest.len());
    let (bits, changes) = rest.split_at(length);
    let Some(mut set) = ChunkSet::from_bytes(bits, count) else {
        return;
    };
    assert_eq!(set.as_bytes(), bits);
    for change in changes.chunks_exact(3) {
        let index = u32::from_be_bytes([0, 0, change[0], change[1]]);
        let there = change[2] & 1 == 1;
        set.set(index, there);
        assert_eq!(set.has(index), there && index < count);
    }
    let (has, lacks) = (set.iter(true).count(), set.iter(false).count());
    assert_eq!(has + lacks, count as usize);
    assert_eq!(set.is_full(), lacks == 0);
    assert!(set.iter(true).all(|index| set.has(index)));
    let again = ChunkSet::from_bytes(set.as_bytes(), count);
    assert_eq!(again.as_ref(), Some(&set), "a set keeps to its file");
}

fn names(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let safe = safe_name(&text);
    assert!(!safe.is_empty() && !safe.starts_with('.') && safe.len() <= 255);
    assert!(!safe.contains(['/', '\\', '\0', '\n']));
    assert_eq!(safe_name(&safe), safe, "a safe name is made safe again");
    let second = numbered_name(&safe, 2);
    assert_ne!(second, safe);
    assert!(!second.contains(['/', '\\', '\0']) && second.len() <= 255);
}

// ---- rows ---------------------------------------------------------------------------------------

/// Rows: which table, whose, how long (two bytes), the value.
fn rows(mut bytes: &[u8]) {
    let (mut sends, mut receives) = cores();
    for _ in 0..STEPS_MAX {
        let Some((head, rest)) = bytes.split_first_chunk::<4>() else {
            break;
        };
        let length = usize::from(u16::from_be_bytes([head[2], head[3]])).min(rest.len());
        let (value, rest) = rest.split_at(length);
        bytes = rest;
        let row = Row {
            space: ROWS[usize::from(head[0] & 3)],
            key: id(head[1]).0.as_bytes()[usize::from(head[0] >> 7)..].to_vec(),
            value: value.to_vec(),
        };
        let _ = (sends.load(&row, at(0)), receives.load(&row, at(0)));
    }
    sends.resume(at(0));
    let _ = receives.resume();
    let mut world = World::new();
    (world.sends, world.receives) = (sends, receives);
    world.now_ms = 1 << 40;
    world.at_sender(Sends::tick);
    let now = world.now();
    world.in_step(|world, step| world.receives.tick(step), now);
    drop((world.sends.effects(), world.receives.effects()));
    let _ = (world.sends.next_deadline(), world.receives.next_deadline());
}

// ---- both cores ---------------------------------------------------------------------------------

fn id(n: u8) -> TransferId {
    TransferId(uuid::Uuid::from_u128(u128::from(n)))
}

fn at(ms: u64) -> Now {
    Now {
        mono: Mono::from_micros(ms * 1_000),
        wall: Wall(1_700_000_000_000 + ms),
    }
}

fn entity(n: u8) -> EntityId {
    EntityId([1 + n % 3; 32])
}

fn cores() -> (Sends, Receives) {
    let config = ReceivesConfig {
        max_bytes: 1 << 40,
        first_revision: 1,
    };
    (Sends::new(1), Receives::new(config))
}

/// The manifest of a small file: of a few bytes, which are cheap to hash, and of a few chunks
/// whose hashes are nobody's.
fn manifest(n: u8) -> Manifest {
    let chunks = u64::from(n % 5);
    if chunks <= 1 {
        let mut hasher = ChunkHasher::new(0, true);
        hasher.update(&vec![n; chunks as usize]);
        return Manifest::new(chunks, 1 << 20, vec![hasher.finish()]).expect("it fits");
    }
    let hashes = (0..chunks).map(|chunk| [n ^ chunk as u8; 32]).collect();
    let size = (chunks - 1) * (1 << 20) + u64::from(n);
    Manifest::new(size.max(1), 1 << 20, hashes).expect("it fits")
}

fn offer(id: TransferId, n: u8) -> ChunkOffer {
    let manifest = manifest(n);
    ChunkOffer {
        transfer_id: id,
        name: format!("{}", n % 2),
        size: manifest.size,
        chunk_bytes: manifest.chunk_bytes,
        root: manifest.root,
        chunks: manifest.list(),
        purpose: None,
    }
}

struct World {
    now_ms: u64,
    batch: u64,
    rows: BTreeMap<(Keyspace, Vec<u8>), Vec<u8>>,
    sends: Sends,
    receives: Receives,
    /// What the receiving core asked for and was not done yet.
    asked: Vec<ReceiveEffect>,
    /// Files that have their name.
    stored: BTreeSet<TransferId>,
}

impl World {
    fn new() -> World {
        let (sends, receives) = cores();
        World {
            now_ms: 1,
            batch: 0,
            rows: BTreeMap::new(),
            sends,
            receives,
            asked: Vec::new(),
            stored: BTreeSet::new(),
        }
    }

    fn now(&self) -> Now {
        at(self.now_ms)
    }

    /// Runs one step and keeps what it writes.
    fn in_step<T>(&mut self, f: impl FnOnce(&mut World, &mut Step<'_>) -> T, now: Now) -> T {
        let mut writes = WriteBatch::default();
        self.batch += 1;
        let mut rng = Rng::seed_from_u64(self.batch);
        let mut step = Step {
            now,
            rng: &mut rng,
            batch: BatchId(self.batch),
            writes: &mut writes,
        };
        let result = f(self, &mut step);
        for op in writes.ops {
            match op {
                WriteOp::Put { space, key, value } => drop(self.rows.insert((space, key), value)),
                WriteOp::Delete { space, key } => drop(self.rows.remove(&(space, key))),
            }
        }
        result
    }

    fn at_sender<T>(&mut self, f: impl FnOnce(&mut Sends, &mut Step<'_>) -> T) -> T {
        self.in_step(|world, step| f(&mut world.sends, step), self.now())
    }

    fn at_receiver<T>(&mut self, f: impl FnOnce(&mut Receives, &mut Step<'_>) -> T) -> T {
        let result = self.in_step(|world, step| f(&mut world.receives, step), self.now());
        self.receives.check().expect("every invariant holds");
        for file in self.receives.files() {
            assert!(file.have_bytes() <= file.record.size);
        }
        result
    }

    /// One step: what, and three bytes that say with which and how.
    fn step(&mut self, [what, which, how, more]: [u8; 4]) {
        let (file, from) = (id(which % 8), entity(how >> 4));
        match what % 20 {
            0 | 1 => self.offered(file, from, &offer(file, how), more & 7 != 0),
            2 => {
                let mut bent = offer(file, how);
                bent.size = bent.size.wrapping_add(u64::from(more)) << (more % 60);
                bent.chunk_bytes <<= more % 8;
                self.offered(file, from, &bent, true);
            }
            3..=6 => self.obey(which, how, more),
            7 => self
                .receives
                .stream_asked(BulkId(u64::from(more)), from, file),
            8 => {
                let (bulk, chunks) = (BulkId(u64::from(more)), [u32::from(how), 0]);
                self.at_receiver(|r, step| r.arrived(file, bulk, &chunks, u64::MAX, step));
            }
            9 => drop(self.at_receiver(|r, step| r.bad_chunk(file, step))),
            10 => self.receives.stream_ended(BulkId(u64::from(more))),
            11 => drop(self.at_receiver(|r, step| r.cancel(file, step))),
            12 => self.at_receiver(|r, step| r.canceled_by(from, file, step)),
            13 => self.restart(),
            14 => {
                self.now_ms += [1, 1_000, 60_000, 8 * 86_400_000][usize::from(how) % 4];
                self.at_sender(Sends::tick);
                self.at_receiver(Receives::tick);
            }
            15 => self.submit(file, from, how),
            16 => {
                let hashed = if more & 7 == 0 {
                    Err("it is gone".into())
                } else {
                    Ok((manifest(how), 7))
                };
                self.at_sender(|s, step| s.hashed(file, hashed, step));
            }
            17 => {
                let answer = [
                    OfferAnswer::Complete,
                    OfferAnswer::Refused(RefusedFile::Busy),
                    OfferAnswer::Refused(RefusedFile::TooLarge),
                    OfferAnswer::Accepted {
                        have_bytes: u64::from(more) << (how % 60),
                    },
                ];
                let answer = answer[usize::from(how) % 4].clone();
                self.at_sender(|s, step| s.answered(file, answer, step));
            }
            18 => {
                let end = match how % 3 {
                    0 => SendEnd::Done,
                    1 => SendEnd::Broken,
                    _ => SendEnd::Source("it is another by now".into()),
                };
                self.at_sender(|s, step| s.stream_ended(file, end, step));
            }
            _ => self.sending(file, from, how, more),
        }
        self.asked.extend(self.receives.effects());
        self.asked.truncate(STEPS_MAX);
        for effect in self.sends.effects() {
            if let SendEffect::Offer { id, .. } = effect {
                let offer = self
                    .sends
                    .offer(id)
                    .expect("what is offered has a manifest");
                assert!(Manifest::from_offer(&offer).is_some());
            }
        }
    }

    fn submit(&mut self, id: TransferId, to: EntityId, how: u8) {
        let new = NewFile {
            id,
            to,
            path: "/f".into(),
            name: format!("{}", how % 2),
        };
        let taken = self.at_sender(|sends, step| sends.submit(new, step));
        assert_ne!(taken, Submitted::Full, "there are eight files");
    }

    fn sending(&mut self, file: TransferId, from: EntityId, how: u8, more: u8) {
        let now = self.now().mono;
        match how % 5 {
            0 => self.at_sender(|s, step| s.offer_failed(file, step)),
            1 => self.at_sender(|s, step| s.progress(file, Some(u64::from(more)), 1, step)),
            2 => drop(self.at_sender(|s, step| s.cancel(file, step))),
            3 => self.at_sender(|s, step| s.canceled_by(from, file, step)),
            _ => self.sends.peer_is_back(from, now),
        }
    }

    fn offered(&mut self, file: TransferId, from: EntityId, offer: &ChunkOffer, allowed: bool) {
        let offered = self.at_receiver(|r, step| r.offered(from, offer, allowed, step));
        if let Offered::Answer(OfferAnswer::Complete, _) = offered {
            assert!(self.stored.contains(&file), "X2: it has no name yet");
        }
    }

    /// Does one thing that the receiving core asked for, well or badly.
    fn obey(&mut self, which: u8, how: u8, more: u8) {
        if self.asked.is_empty() {
            return;
        }
        let effect = self.asked.remove(usize::from(which) % self.asked.len());
        let well = how & 7 != 0;
        match effect {
            ReceiveEffect::Prepare { id, .. } => {
                let prepared = well.then_some(()).ok_or(RefusedFile::NoSpace);
                let _ = self.at_receiver(|r, step| r.prepared(id, prepared, step));
            }
            ReceiveEffect::Receive { bulk, plan } => {
                let missing = if well { Vec::new() } else { vec![0, u32::MAX] };
                self.at_receiver(|r, step| r.checked(plan.id, &missing, step));
                let chunks: Vec<u32> = plan.have.iter(false).take(usize::from(more)).collect();
                self.at_receiver(|r, step| r.arrived(plan.id, bulk, &chunks, 1, step));
            }
            ReceiveEffect::Name { id, name } => {
                let named = if well { Ok(name) } else { Err("no".into()) };
                self.at_receiver(|r, step| r.named(id, named, step));
            }
            ReceiveEffect::Store { id, .. } => {
                let storing = |r: &Receives| {
                    r.file(id)
                        .is_some_and(|file| file.record.state == ReceivedState::Storing)
                };
                let outcome = match how % 8 {
                    0 => StoreOutcome::Failed("no".into()),
                    1 => StoreOutcome::Lost,
                    2 => StoreOutcome::Taken,
                    _ => StoreOutcome::Stored,
                };
                if storing(&self.receives) && outcome == StoreOutcome::Stored {
                    self.stored.insert(id);
                }
                self.at_receiver(|r, step| r.stored(id, outcome, step));
            }
            _ => {}
        }
    }

    /// Both begin again with what was kept.
    fn restart(&mut self) {
        let now = self.now();
        (self.sends, self.receives) = cores();
        for ((space, key), value) in &self.rows {
            let row = Row {
                space: *space,
                key: key.clone(),
                value: value.clone(),
            };
            self.sends.load(&row, now).expect("our own row");
            self.receives.load(&row, now).expect("our own row");
        }
        self.asked.clear();
        self.sends.resume(now);
        self.receives.resume().expect("our own rows");
        self.receives.check().expect("every invariant holds");
    }
}

/// Runs a script; how many files got their name.
pub fn script(script: &[u8]) -> usize {
    let mut world = World::new();
    for step in script.as_chunks().0.iter().take(STEPS_MAX) {
        world.step(*step);
    }
    world.restart();
    world.stored.len()
}

/// One input of each kind that gets far.
pub fn samples() -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    for word in [
        BulkWord::File { transfer_id: id(7) },
        BulkWord::Want { chunks: vec![5, 1] },
        BulkWord::End,
        BulkWord::Have { bytes: 1 << 40 },
        BulkWord::Done,
    ] {
        let mut content = vec![0];
        word.write(&mut content);
        words.push(content);
    }
    let (kept, sending) = kept_rows();
    let arrives = [
        [0, 1, 0x13, 1], // offered
        [3, 0, 1, 0],    // room is made
        [7, 1, 0x10, 1], // a stream
        [3, 0, 1, 9],    // chunks; whatever else is asked for
        [3, 1, 1, 9],
        [3, 0, 1, 9],
        [3, 0, 7, 9],
        [3, 0, 7, 9],
        [3, 0, 7, 9],
        [3, 0, 7, 9],
        [3, 0, 7, 9],
        [3, 0, 7, 9],
        [3, 0, 7, 9],
        [3, 0, 7, 9],
        [0, 1, 0x13, 1], // and again
    ];
    assert_eq!(script(arrives.as_flattened()), 1, "the file gets its name");
    let mixed: Vec<u8> = (0..200_u8)
        .flat_map(|n| [n, n, n.wrapping_mul(37), n])
        .collect();
    words.extend([
        [&[0, 1, 0, 0, 0, 3][..], b"a piece"].concat(),
        [&[1][..], &cbor::encode(&offer(id(1), 3))].concat(),
        [&[1][..], &cbor::encode(&offer(id(1), 1))].concat(),
        vec![2, 0, 11, 0xff, 0x07, 0, 3, 0, 0, 10, 1, 0, 11, 1],
        [&[3][..], "../..\\ con.tar.gz\u{202e}".as_bytes()].concat(),
        [&[4][..], &kept].concat(),
        [&[4][..], &sending].concat(),
        [&[5][..], arrives.as_flattened()].concat(),
        [&[5][..], &mixed].concat(),
    ]);
    words
}

/// What is kept of a file that is coming, and of one that is on offer.
fn kept_rows() -> (Vec<u8>, Vec<u8>) {
    let mut world = World::new();
    world.offered(id(1), entity(0), &offer(id(1), 3), true);
    let _ = world.at_receiver(|r, step| r.prepared(id(1), Ok(()), step));
    world.submit(id(2), entity(1), 3);
    world.at_sender(|sends, step| sends.hashed(id(2), Ok((manifest(3), 7)), step));
    let written = |tables: &[Keyspace]| {
        let rows = world.rows.iter().filter(|((s, _), _)| tables.contains(s));
        rows.flat_map(|((space, key), value)| {
            let table = ROWS.iter().position(|row| row == space).unwrap_or_default() as u8;
            let [high, low] = (value.len() as u16).to_be_bytes();
            [&[table, key[15], high, low][..], value].concat()
        })
        .collect()
    };
    (written(&ROWS[2..]), written(&ROWS[..2]))
}
