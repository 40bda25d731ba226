//! The files of the machines: payloads, what is unfinished, and the streams that bring them across.
//!
//! A file that is here is flushed, as it is before a real core hears of it. A stream brings a file
//! whole or breaks: chunks are the transfer core's own matter.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::stage::{Event, Incarnation, Stage};
use crate::crypto::{ChunkHasher, ContentHasher};
use crate::proto::node::{FileJob, FileNews, Input};
use crate::proto::transfer::{Manifest, Partial, SendEnd};
use crate::types::{BulkId, EntityId, FileRef, TransferId};

struct Stream {
    id: TransferId,
    sender: Incarnation,
    receiver: Incarnation,
    bytes: Vec<u8>,
}

/// A file, and the hash of what is in it.
#[derive(Clone)]
struct Stored {
    bytes: Vec<u8>,
    root: [u8; 32],
}

impl Stored {
    fn new(bytes: Vec<u8>) -> Stored {
        let root = content_of(&bytes).root;
        Stored { bytes, root }
    }
}

/// Every machine's folder, and what is between them.
pub(super) struct Files {
    entities: Vec<EntityId>,
    /// Each machine's folder of payloads, those among them that are not whole yet.
    folders: Vec<BTreeMap<Uuid, Stored>>,
    streams: BTreeMap<BulkId, Stream>,
    next_bulk: u64,
    /// Who was sent what by whom.
    sent: BTreeSet<(usize, usize, [u8; 32])>,
}

/// A content by its hash.
pub(super) fn content_of(bytes: &[u8]) -> FileRef {
    let mut hasher = ContentHasher::default();
    hasher.update(bytes);
    FileRef {
        root: hasher.finish(),
        size: bytes.len() as u64,
    }
}

fn manifest_of(bytes: &[u8]) -> Option<Manifest> {
    let size = bytes.len() as u64;
    let mut hasher = ChunkHasher::new(0, true);
    hasher.update(bytes);
    Manifest::new(
        size,
        Manifest::chunk_bytes_for(size)?,
        vec![hasher.finish()],
    )
}

impl Files {
    pub(super) fn new(entities: Vec<EntityId>) -> Files {
        Files {
            folders: vec![BTreeMap::new(); entities.len()],
            entities,
            streams: BTreeMap::new(),
            next_bulk: 1,
            sent: BTreeSet::new(),
        }
    }

    /// A payload is written and flushed.
    pub(super) fn put(&mut self, host: usize, file: Uuid, bytes: Vec<u8>) {
        self.folders[host].insert(file, Stored::new(bytes));
    }

    pub(super) fn read(&self, host: usize, file: Uuid) -> Option<&Vec<u8>> {
        self.folders[host].get(&file).map(|stored| &stored.bytes)
    }

    /// Whether `to` has this from `from`.
    pub(super) fn was_sent(&self, from: usize, to: usize, bytes: &[u8]) -> bool {
        self.sent.contains(&(from, to, content_of(bytes).root))
    }

    /// A machine's payloads, each with the hash of its content.
    pub(super) fn payloads(&self, host: usize) -> impl Iterator<Item = (Uuid, [u8; 32])> {
        let payloads = self.folders[host].iter();
        payloads.map(|(file, stored)| (*file, stored.root))
    }

    pub(super) fn drop_payload(&mut self, host: usize, file: Uuid) {
        self.folders[host].remove(&file);
    }

    /// At a start: what no row names goes.
    pub(super) fn sweep(&mut self, host: usize, keep: &[Partial], payloads: &[Uuid]) {
        let unfinished = |file: &Uuid| keep.iter().any(|of| of.payload && of.file == *file);
        let stays = |file: &Uuid| payloads.contains(file) || unfinished(file);
        self.folders[host].retain(|file, _| stays(file));
    }

    /// Does what a node asks for; `to` is who it would send to, if that can be reached.
    pub(super) fn job(
        &mut self,
        from: Incarnation,
        job: FileJob,
        to: Option<Incarnation>,
        stage: &mut Stage,
    ) {
        match job {
            FileJob::Hash { id, path } => {
                let bytes = self.at(from.host, &path);
                let manifest = bytes.and_then(|bytes| manifest_of(bytes));
                let hashed = manifest.map(|manifest| (manifest, 7));
                let hashed = hashed.ok_or_else(|| String::from("it is gone"));
                tell(from, FileNews::Hashed { id, hashed }, stage);
            }
            FileJob::Send { peer: _, plan } => {
                let bytes = self.at(from.host, &plan.path).cloned();
                let end = match (bytes, to) {
                    (Some(bytes), Some(receiver)) => {
                        return self.open(plan.id, from, receiver, bytes, stage);
                    }
                    (None, _) => SendEnd::Source(String::from("it is gone")),
                    (_, None) => SendEnd::Broken,
                };
                tell(from, FileNews::SendEnded { id: plan.id, end }, stage);
            }
            FileJob::StopSending { id } => {
                let its =
                    |(_, stream): &(&BulkId, &Stream)| (stream.id, stream.sender) == (id, from);
                let bulk = self.streams.iter().find(its).map(|(bulk, _)| *bulk);
                if let Some(bulk) = bulk {
                    self.ends(bulk, SendEnd::Broken, stage);
                }
            }
            FileJob::Prepare { id, .. } => {
                let prepared = Ok(());
                tell(from, FileNews::Prepared { id, prepared }, stage);
            }
            FileJob::Receive { bulk, plan } => {
                let (id, partial) = (plan.id, plan.partial);
                if stage.strikes(0.1) || !self.streams.contains_key(&bulk) {
                    return self.ends(bulk, SendEnd::Broken, stage);
                }
                let stream = &self.streams[&bulk];
                let folder = &mut self.folders[from.host];
                let lost = !folder.contains_key(&partial.file);
                if plan.check || lost {
                    let missing = plan.have.iter(true).filter(|_| lost).collect();
                    tell(from, FileNews::Checked { id, missing }, stage);
                }
                let moved = stream.bytes.len() as u64;
                let stored = Stored::new(stream.bytes.clone());
                let sent = (stream.sender.host, from.host, stored.root);
                self.sent.insert(sent);
                folder.insert(partial.file, stored);
                let chunks = (0..plan.manifest.count()).collect();
                let arrived = FileNews::Arrived {
                    id,
                    bulk,
                    chunks,
                    moved,
                };
                let after_us = stage.span_us(20, 2_000);
                tell_later(from, arrived, after_us, stage);
            }
            FileJob::Finished { bulk } => self.ends(bulk, SendEnd::Done, stage),
            FileJob::Close { bulk } => self.ends(bulk, SendEnd::Broken, stage),
            FileJob::Discard { partial } => self.drop_payload(from.host, partial.file),
            // Only parts of tasks travel here, and keep their names.
            FileJob::Name { .. } | FileJob::Store { .. } => {}
            FileJob::Recorded { .. } => {}
            // These are judged first.
            FileJob::DropPayload { file } => self.drop_payload(from.host, file),
            FileJob::Sweep { keep, payloads } => self.sweep(from.host, &keep, &payloads),
        }
    }

    fn at(&self, host: usize, path: &str) -> Option<&Vec<u8>> {
        let file = path.rsplit('/').next()?.parse().ok()?;
        self.read(host, file)
    }

    fn open(
        &mut self,
        id: TransferId,
        sender: Incarnation,
        receiver: Incarnation,
        bytes: Vec<u8>,
        stage: &mut Stage,
    ) {
        let bulk = BulkId(self.next_bulk);
        self.next_bulk += 1;
        let from = self.entities[sender.host];
        tell(receiver, FileNews::StreamAsked { bulk, from, id }, stage);
        let stream = Stream {
            id,
            sender,
            receiver,
            bytes,
        };
        self.streams.insert(bulk, stream);
    }

    fn ends(&mut self, bulk: BulkId, end: SendEnd, stage: &mut Stage) {
        if let Some(stream) = self.streams.remove(&bulk) {
            let id = stream.id;
            tell(stream.sender, FileNews::SendEnded { id, end }, stage);
            tell(stream.receiver, FileNews::ReceiveEnded { bulk }, stage);
        }
    }

    /// A machine stops: its streams break.
    pub(super) fn stopped(&mut self, host: usize, stage: &mut Stage) {
        let its = |stream: &Stream| stream.sender.host == host || stream.receiver.host == host;
        let streams = self.streams.iter().filter(|(_, stream)| its(stream));
        for bulk in streams.map(|(bulk, _)| *bulk).collect::<Vec<_>>() {
            self.ends(bulk, SendEnd::Broken, stage);
        }
    }
}

fn tell(to: Incarnation, news: FileNews, stage: &mut Stage) {
    let after_us = stage.span_us(1, 60);
    tell_later(to, news, after_us, stage);
}

fn tell_later(to: Incarnation, news: FileNews, after_us: u64, stage: &mut Stage) {
    let input = Box::new(Input::File(news));
    stage.after(after_us, Event::Input { to, input });
}
