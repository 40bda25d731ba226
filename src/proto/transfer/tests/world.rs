//! A sender, a receiver, and everything between them that can go wrong.

use std::collections::BTreeSet;

use super::*;
use crate::types::BulkId;

/// How likely each fault is, of a hundred.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    pub(super) message_lost: u32,
    pub(super) stream_breaks: u32,
    pub(super) chunk_bad: u32,
    pub(super) life_ends: u32,
    pub(super) partial_lost: u32,
}

/// One incoming stream, as the runtime has it.
struct Stream {
    bulk: BulkId,
    id: TransferId,
    partial: Partial,
    wanted: Vec<u32>,
}

/// The receiver's folder: flushed chunks of each unfinished file, and what has a name.
#[derive(Default)]
pub(super) struct Folder {
    pub(super) partial: BTreeMap<Partial, BTreeSet<u32>>,
    pub(super) stored: BTreeMap<String, Partial>,
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) now_ms: u64,
    pub(super) faults: Faults,
    pub(super) manifest: Manifest,
    pub(super) sends: Sends,
    sender_disk: Disk,
    pub(super) receives: Receives,
    receiver_disk: Disk,
    pub(super) folder: Folder,
    stream: Option<Stream>,
    next_bulk: u64,
    /// Chunks that went over a stream, repetitions counted.
    pub(super) moved: u64,
    pub(super) lives: u32,
    pub(super) bad_chunks: u32,
    /// The most that the sender was told is durable, in a world whose disk keeps everything.
    pub(super) told_bytes: u64,
    /// Whether the sender heard `complete`.
    pub(super) told_complete: bool,
}

fn config() -> ReceivesConfig {
    ReceivesConfig {
        max_bytes: 1 << 40,
        first_revision: 1,
    }
}

impl World {
    pub(super) fn new(seed: u64, chunks: u32, faults: Faults) -> World {
        let mut world = World {
            rng: Rng::seed_from_u64(seed),
            now_ms: 1,
            faults,
            manifest: manifest(chunks),
            sends: Sends::new(1),
            sender_disk: Disk::default(),
            receives: Receives::new(config()),
            receiver_disk: Disk::default(),
            folder: Folder::default(),
            stream: None,
            next_bulk: 1,
            moved: 0,
            lives: 0,
            bad_chunks: 0,
            told_bytes: 0,
            told_complete: false,
        };
        world.receives.resume().expect("no rows");
        world
    }

    pub(super) fn now(&self) -> Now {
        at(self.now_ms)
    }

    pub(super) fn strikes(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    pub(super) fn at_sender<T>(&mut self, f: impl FnOnce(&mut Sends, &mut Step<'_>) -> T) -> T {
        let now = self.now();
        let (disk, sends) = (&mut self.sender_disk, &mut self.sends);
        disk.step(&mut self.rng, now, |step| f(sends, step))
    }

    pub(super) fn at_receiver<T>(
        &mut self,
        f: impl FnOnce(&mut Receives, &mut Step<'_>) -> T,
    ) -> T {
        let now = self.now();
        let (disk, receives) = (&mut self.receiver_disk, &mut self.receives);
        let result = disk.step(&mut self.rng, now, |step| f(receives, step));
        self.receives.check().expect("every invariant holds");
        result
    }

    pub(super) fn submit(&mut self, n: u128) {
        let new = NewFile {
            id: id(n),
            to: RECEIVER,
            path: "/f".into(),
            name: "f".into(),
        };
        let taken = self.at_sender(|sends, step| sends.submit(new, step));
        assert!(matches!(taken, Submitted::Taken(_)));
        self.sender_disk.flush();
    }

    /// Lets both sides do what they ask for, for a while.
    pub(super) fn run(&mut self, rounds: u32) {
        for _ in 0..rounds {
            self.now_ms += 400;
            self.at_sender(Sends::tick);
            self.at_receiver(Receives::tick);
            self.serve_sender();
            self.serve_receiver();
            self.serve_stream();
            if self.strikes(self.faults.life_ends) {
                self.end_a_life();
            }
        }
    }

    /// kill -9 of one side: only what was flushed is left.
    fn end_a_life(&mut self) {
        self.lives += 1;
        self.stream = None;
        let now = self.now();
        if self.rng.random_bool(0.5) {
            self.sender_disk.pending.clear();
            self.sends = Sends::new(1);
            for row in self.sender_disk.rows() {
                self.sends.load(&row, now).expect("our own row");
            }
            self.sends.resume(now);
        } else {
            self.receiver_disk.pending.clear();
            self.receives = Receives::new(config());
            for row in self.receiver_disk.rows() {
                self.receives.load(&row, now).expect("our own row");
            }
            self.receives.resume().expect("our own rows");
            if self.strikes(self.faults.partial_lost) {
                self.folder.partial.clear();
            }
            // The sender sees its stream end.
            self.break_stream_at_sender();
            // What it asks for at its start is done before anything else comes.
            self.serve_receiver();
        }
    }

    fn break_stream_at_sender(&mut self) {
        let streaming: Vec<TransferId> = self
            .sends
            .files()
            .filter(|sent| sent.is_streaming())
            .map(|sent| sent.record.id)
            .collect();
        for id in streaming {
            self.at_sender(|sends, step| sends.stream_ended(id, SendEnd::Broken, step));
        }
    }

    fn serve_sender(&mut self) {
        for effect in self.sends.effects() {
            match effect {
                SendEffect::Hash { id, .. } => {
                    let hashed = Ok((self.manifest.clone(), 7));
                    self.at_sender(|sends, step| sends.hashed(id, hashed, step));
                }
                SendEffect::Offer { id, .. } => {
                    self.sender_disk.flush();
                    self.carry_offer(id);
                }
                SendEffect::Open { plan, .. } => self.open_stream(&plan),
                SendEffect::Stop { id } => {
                    if self.stream.as_ref().is_some_and(|stream| stream.id == id) {
                        self.close_at_receiver();
                    }
                }
                SendEffect::Cancel { id, .. } => {
                    self.at_receiver(|r, step| r.canceled_by(SENDER, id, step));
                }
                SendEffect::Changed { .. } | SendEffect::Brought { .. } => {}
            }
        }
    }

    fn carry_offer(&mut self, id: TransferId) {
        let lost = self.strikes(self.faults.message_lost);
        let Some(offer) = self.sends.offer(id).filter(|_| !lost) else {
            return self.at_sender(|sends, step| sends.offer_failed(id, step));
        };
        let offered = self.at_receiver(|r, step| r.offered(SENDER, &offer, true, step));
        let answer = match offered {
            Offered::Answer(answer, _) => answer,
            Offered::Prepare => {
                self.serve_receiver();
                let prepared = self.at_receiver(|r, step| r.prepared(id, Ok(()), step));
                prepared.expect("it was offered").0
            }
        };
        // The gate: nothing is said before it is durable.
        self.receiver_disk.flush();
        if self.strikes(self.faults.message_lost) {
            return self.at_sender(|sends, step| sends.offer_failed(id, step));
        }
        self.told_complete |= answer == crate::wire::OfferAnswer::Complete;
        self.at_sender(|sends, step| sends.answered(id, answer, step));
    }

    fn open_stream(&mut self, plan: &SendPlan) {
        let bulk = BulkId(self.next_bulk);
        self.next_bulk += 1;
        self.receives.stream_asked(bulk, SENDER, plan.id);
        self.serve_receiver();
        if self
            .stream
            .as_ref()
            .is_none_or(|stream| stream.bulk != bulk)
        {
            let id = plan.id;
            self.at_sender(|sends, step| sends.stream_ended(id, SendEnd::Broken, step));
        }
    }

    fn close_at_receiver(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.receives.stream_ended(stream.bulk);
        }
    }

    fn serve_receiver(&mut self) {
        for effect in self.receives.effects() {
            match effect {
                ReceiveEffect::Receive { bulk, plan } => self.begin_receiving(bulk, &plan),
                ReceiveEffect::Close { bulk } => {
                    if self
                        .stream
                        .as_ref()
                        .is_some_and(|stream| stream.bulk == bulk)
                    {
                        self.close_at_receiver();
                        self.break_stream_at_sender();
                    }
                }
                ReceiveEffect::Recorded { have_bytes, .. } => {
                    self.receiver_disk.flush();
                    self.told_bytes = self.told_bytes.max(have_bytes);
                }
                ReceiveEffect::Name { id, name } => {
                    let free = |name: &String| !self.folder.stored.contains_key(name);
                    let name = (1..).map(|n| numbered_name(&name, n)).find(free);
                    let named = Ok(name.expect("there is one"));
                    self.at_receiver(|r, step| r.named(id, named, step));
                }
                ReceiveEffect::Store {
                    id, partial, name, ..
                } => {
                    self.receiver_disk.flush();
                    let outcome = self.store(id, partial, name);
                    self.at_receiver(|r, step| r.stored(id, outcome, step));
                }
                ReceiveEffect::Finished { .. } => {
                    self.receiver_disk.flush();
                    if let Some(stream) = self.stream.take() {
                        self.receives.stream_ended(stream.bulk);
                        let end = SendEnd::Done;
                        self.at_sender(|sends, step| sends.stream_ended(stream.id, end, step));
                    }
                }
                ReceiveEffect::Discard { partial } => {
                    self.receiver_disk.flush();
                    self.folder.partial.remove(&partial);
                }
                ReceiveEffect::Sweep { keep } => {
                    self.folder.partial.retain(|id, _| keep.contains(id));
                }
                ReceiveEffect::Cancel { id, .. } => {
                    self.at_sender(|sends, step| sends.canceled_by(RECEIVER, id, step));
                }
                ReceiveEffect::Prepare { partial, .. } => {
                    let before = self.folder.partial.insert(partial, BTreeSet::new());
                    assert!(before.is_none(), "X6: it is another's");
                }
                ReceiveEffect::Changed { .. }
                | ReceiveEffect::Arrived { .. }
                | ReceiveEffect::Part { .. } => {}
            }
        }
    }

    fn store(&mut self, id: TransferId, partial: Partial, name: String) -> StoreOutcome {
        let Some(chunks) = self.folder.partial.remove(&partial) else {
            return if self.folder.stored.get(&name) == Some(&partial) {
                StoreOutcome::Stored
            } else {
                StoreOutcome::Lost
            };
        };
        let _ = id;
        assert_eq!(
            chunks.len() as u32,
            self.manifest.count(),
            "X5: every chunk is there"
        );
        self.folder.stored.insert(name, partial);
        StoreOutcome::Stored
    }

    fn begin_receiving(&mut self, bulk: BulkId, plan: &ReceivePlan) {
        // Should the file be gone, the runtime begins it again.
        let gone = !self.folder.partial.contains_key(&plan.partial);
        let there = self.folder.partial.entry(plan.partial).or_default().clone();
        let missing: Vec<u32> = plan
            .have
            .iter(true)
            .filter(|c| !there.contains(c))
            .collect();
        if plan.check || gone {
            let id = plan.id;
            self.at_receiver(|r, step| r.checked(id, &missing, step));
        } else {
            assert!(missing.is_empty(), "X1: what is recorded is on disk");
        }
        let mut wanted: Vec<u32> = plan.have.iter(false).collect();
        wanted.extend(missing);
        self.stream = Some(Stream {
            bulk,
            id: plan.id,
            partial: plan.partial,
            wanted,
        });
    }

    /// A few chunks go over the stream, are checked, flushed and told.
    fn serve_stream(&mut self) {
        for _ in 0..3 {
            let breaks = self.strikes(self.faults.stream_breaks);
            let bad = self.strikes(self.faults.chunk_bad);
            let Some(stream) = &mut self.stream else {
                return;
            };
            let (id, bulk, partial) = (stream.id, stream.bulk, stream.partial);
            if breaks {
                self.close_at_receiver();
                return self.break_stream_at_sender();
            }
            let Some(chunk) = stream.wanted.pop() else {
                return;
            };
            self.moved += 1;
            if bad {
                stream.wanted.insert(0, chunk);
                self.bad_chunks += 1;
                self.at_receiver(|r, step| r.bad_chunk(id, step));
            } else {
                if let Some(file) = self.folder.partial.get_mut(&partial) {
                    file.insert(chunk);
                }
                self.at_receiver(|r, step| r.arrived(id, bulk, &[chunk], 1 << 20, step));
            }
            self.serve_receiver();
        }
    }
}
