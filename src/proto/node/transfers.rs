//! Files: offers and their answers on the exchange lane, and what the runtime is asked to do with
//! the bytes.

use super::command::{CommandError, CommandErrorCode, CommandResult, NewTransfer, Reply};
use super::exchange::Kind;
use super::flush::Answering;
use super::io::Output;
use super::payloads::{Part, is_of_part};
use super::views::{Direction, TransferView};
use super::{Node, inbound::Answer};
use crate::proto::Step;
use crate::proto::session::SealedRef;
use crate::proto::transfer::{
    Manifest, NewFile, Offered, Partial, ReceiveEffect, ReceivePlan, Received, ReceivedState,
    SendEffect, SendEnd, SendPlan, Sent, SentState, StoreOutcome, Submitted, safe_name,
};
use crate::types::limits::{COMMANDS_MAX, FILE_NAME_MAX_BYTES};
use crate::types::{BatchId, BulkId, CommandId, EntityId, FileRef, InboundId, PeerId, TransferId};
use crate::wire::{
    ChunkAnswer, ChunkCancel, ChunkCancelAck, ChunkOffer, MsgType, OfferAnswer, RefusedFile,
    WireError, cbor,
};

/// The longest path on our own disk.
const PATH_MAX_BYTES: usize = 4_096;

/// What the runtime is to do with a file. The order matters for each transfer.
#[derive(Debug)]
pub enum FileJob {
    /// Compute a file's hashes; the answer is [`FileNews::Hashed`].
    Hash { id: TransferId, path: String },
    /// Open a bulk stream and send what the receiver lacks; ends with [`FileNews::SendEnded`].
    Send { peer: PeerId, plan: SendPlan },
    /// End whatever is done for a file that we send.
    StopSending { id: TransferId },
    /// Make room for an unfinished file; the answer is [`FileNews::Prepared`].
    Prepare {
        id: TransferId,
        partial: Partial,
        size: u64,
    },
    /// Take chunks from a stream; ends with [`FileNews::ReceiveEnded`].
    Receive { bulk: BulkId, plan: ReceivePlan },
    /// Tell the stream's sender how much is durable.
    Recorded { bulk: BulkId, have_bytes: u64 },
    /// Tell the stream's sender that all of it is.
    Finished { bulk: BulkId },
    /// End a stream.
    Close { bulk: BulkId },
    /// Find a free name; the answer is [`FileNews::Named`].
    Name { id: TransferId, name: String },
    /// Flush an unfinished file and give it its name; the answer is [`FileNews::Stored`].
    Store {
        id: TransferId,
        partial: Partial,
        name: String,
        manifest: Manifest,
    },
    /// Delete an unfinished file.
    Discard { partial: Partial },
    /// Delete a payload's file.
    DropPayload { file: uuid::Uuid },
    /// Delete every unfinished file but `keep`, and at a start every payload but these.
    Sweep {
        keep: Vec<Partial>,
        payloads: Vec<uuid::Uuid>,
    },
}

/// What became of a file, as the runtime tells it.
#[derive(Debug)]
pub enum FileNews {
    /// The manifest and when the file was last written, or why it cannot be read.
    Hashed {
        id: TransferId,
        hashed: Result<(Manifest, u64), String>,
    },
    /// So many more bytes were sent; `done` is what the receiver has recorded.
    Sending {
        id: TransferId,
        done: Option<u64>,
        moved: u64,
    },
    SendEnded {
        id: TransferId,
        end: SendEnd,
    },
    /// There is room, or there is not.
    Prepared {
        id: TransferId,
        prepared: Result<(), RefusedFile>,
    },
    /// A peer opened a stream for a file.
    StreamAsked {
        bulk: BulkId,
        from: EntityId,
        id: TransferId,
    },
    /// What a life before wrote was hashed again.
    Checked {
        id: TransferId,
        missing: Vec<u32>,
    },
    /// These chunks had their hashes and are flushed; so many bytes came over the network.
    Arrived {
        id: TransferId,
        bulk: BulkId,
        chunks: Vec<u32>,
        moved: u64,
    },
    /// A chunk was not what its hash says.
    BadChunk {
        id: TransferId,
        peer: PeerId,
    },
    ReceiveEnded {
        bulk: BulkId,
    },
    Named {
        id: TransferId,
        named: Result<String, String>,
    },
    Stored {
        id: TransferId,
        outcome: StoreOutcome,
    },
}

/// An offer whose answer waits for the disk's word.
pub(super) type WaitingOffer = (InboundId, PeerId, SealedRef);

impl Node {
    pub(super) fn file_news(&mut self, news: FileNews, step: &mut Step<'_>) {
        match news {
            FileNews::Hashed { id, hashed } => self.sends.hashed(id, hashed, step),
            FileNews::Sending { id, done, moved } => self.sends.progress(id, done, moved, step),
            FileNews::SendEnded { id, end } => self.sends.stream_ended(id, end, step),
            FileNews::Prepared { id, prepared } => self.file_prepared(id, prepared, step),
            FileNews::StreamAsked { bulk, from, id } => self.receives.stream_asked(bulk, from, id),
            FileNews::Checked { id, missing } => self.receives.checked(id, &missing, step),
            FileNews::Arrived {
                id,
                bulk,
                chunks,
                moved,
            } => self.receives.arrived(id, bulk, &chunks, moved, step),
            FileNews::BadChunk { id, peer } => {
                if self.receives.bad_chunk(id, step).is_some() {
                    self.penalize(peer, WireError::ChunkError, step);
                }
            }
            FileNews::ReceiveEnded { bulk } => self.receives.stream_ended(bulk),
            FileNews::Named { id, named } => self.receives.named(id, named, step),
            FileNews::Stored { id, outcome } => self.receives.stored(id, outcome, step),
        }
    }

    /// A peer offers a file. None: the answer comes once the disk has been looked at.
    pub(super) fn answer_chunk_offer(
        &mut self,
        peer: PeerId,
        from: EntityId,
        offer: &ChunkOffer,
        waiting: WaitingOffer,
        step: &mut Step<'_>,
    ) -> Result<Option<Answer>, WireError> {
        if offer.name.len() > 4 * FILE_NAME_MAX_BYTES {
            return Err(WireError::PayloadTooLarge);
        }
        let id = offer.transfer_id;
        if !self.is_rightly_named(from, offer) {
            let answer = OfferAnswer::Refused(RefusedFile::Unexpected);
            return Ok(Some(chunk_answer(id, answer, BatchId::NONE)));
        }
        let allowed = match offer.purpose {
            None => self.may_send_files(&peer, &from),
            // One that is on its way was judged before.
            Some(_) if self.receives.file(id).is_some() => true,
            Some(purpose) => {
                let (root, size) = (offer.root, offer.size);
                let content = FileRef { root, size };
                let (answer, after) = match self.part_offered(from, purpose, content, step) {
                    Part::Wanted => (None, BatchId::NONE),
                    Part::Here(after) => (Some(OfferAnswer::Complete), after),
                    Part::Refused(why) => (Some(OfferAnswer::Refused(why)), BatchId::NONE),
                };
                if let Some(answer) = answer {
                    return Ok(Some(chunk_answer(id, answer, after)));
                }
                true
            }
        };
        match self.receives.offered(from, offer, allowed, step) {
            Offered::Answer(answer, after) => Ok(Some(chunk_answer(id, answer, after))),
            Offered::Prepare => {
                self.waiting_offers.insert(id, waiting);
                Ok(None)
            }
        }
    }

    fn file_prepared(
        &mut self,
        id: TransferId,
        prepared: Result<(), RefusedFile>,
        step: &mut Step<'_>,
    ) {
        let waiting = self.waiting_offers.remove(&id);
        let answer = self.receives.prepared(id, prepared, step);
        if let (Some((inbound, peer, reference)), Some((answer, after))) = (waiting, answer) {
            let (msg_type, body, after) = chunk_answer(id, answer, after);
            let answering = Answering {
                id: inbound,
                peer,
                to: reference,
                msg_type,
                body,
            };
            self.respond(answering, after, step);
        }
    }

    pub(super) fn answer_chunk_cancel(
        &mut self,
        from: EntityId,
        cancel: &ChunkCancel,
        step: &mut Step<'_>,
    ) -> Answer {
        self.sends.canceled_by(from, cancel.transfer_id, step);
        self.receives.canceled_by(from, cancel.transfer_id, step);
        let body = cbor::encode(&ChunkCancelAck {});
        (MsgType::ChunkCancelAck, body, BatchId::NONE)
    }

    fn may_send_files(&self, peer: &PeerId, from: &EntityId) -> bool {
        // By id only: anybody can take any name.
        let (peer, from) = (peer.to_string(), from.to_string());
        let allow = self.config.transfer.allow.as_ref();
        allow.is_none_or(|allow| allow.iter().any(|id| *id == peer || *id == from))
    }

    /// Returns whether there was anything to do.
    pub(super) fn apply_file_effects(&mut self, step: &mut Step<'_>) -> bool {
        let (sends, receives) = (self.sends.effects(), self.receives.effects());
        let busy = !(sends.is_empty() && receives.is_empty());
        for effect in sends {
            self.apply_send(effect, step);
        }
        for effect in receives {
            self.apply_receive(effect, step);
        }
        busy
    }

    fn apply_send(&mut self, effect: SendEffect, step: &mut Step<'_>) {
        match effect {
            SendEffect::Hash { id, path } => self.file_job(FileJob::Hash { id, path }),
            SendEffect::Offer { id, to, after } => {
                let Some(offer) = self.sends.offer(id) else {
                    return;
                };
                let (body, kind) = (cbor::encode(&offer), Kind::ChunkOffer { id });
                if !self.send_to(to, MsgType::ChunkOffer, body, kind, after, step) {
                    self.sends.offer_failed(id, step);
                }
            }
            SendEffect::Open { to, plan } => match self.peer_of_entity(&to) {
                Some(peer) => self.file_job(FileJob::Send { peer, plan }),
                None => self.sends.stream_ended(plan.id, SendEnd::Broken, step),
            },
            SendEffect::Stop { id } => self.file_job(FileJob::StopSending { id }),
            SendEffect::Cancel { id, to } => self.cancel_with(to, id, step),
            SendEffect::Changed { id, after } => self.transfer_changed(id, after),
            SendEffect::Brought {
                to,
                purpose,
                arrived,
            } => self.part_brought(to, purpose, arrived, step),
        }
    }

    fn apply_receive(&mut self, effect: ReceiveEffect, step: &mut Step<'_>) {
        match effect {
            ReceiveEffect::Prepare { id, partial, size } => {
                self.file_job(FileJob::Prepare { id, partial, size });
            }
            ReceiveEffect::Receive { bulk, plan } => {
                self.file_job(FileJob::Receive { bulk, plan });
            }
            ReceiveEffect::Close { bulk } => self.file_job(FileJob::Close { bulk }),
            ReceiveEffect::Recorded {
                bulk,
                have_bytes,
                after,
            } => self.file_job_after(after, FileJob::Recorded { bulk, have_bytes }),
            ReceiveEffect::Name { id, name } => self.file_job(FileJob::Name { id, name }),
            ReceiveEffect::Store {
                id,
                partial,
                name,
                manifest,
                after,
            } => {
                let job = FileJob::Store {
                    id,
                    partial,
                    name,
                    manifest,
                };
                self.file_job_after(after, job);
            }
            ReceiveEffect::Finished { bulk, after } => {
                self.file_job_after(after, FileJob::Finished { bulk });
            }
            // What names the file must be off the disk first, or a crash would leave a transfer
            // without its file.
            ReceiveEffect::Discard { partial } => {
                self.file_job_after(step.batch, FileJob::Discard { partial });
            }
            ReceiveEffect::Sweep { keep } => {
                let payloads = self.parts.payloads.files().collect();
                self.file_job(FileJob::Sweep { keep, payloads });
            }
            ReceiveEffect::Cancel { id, to } => self.cancel_with(to, id, step),
            ReceiveEffect::Changed { id, after } => self.transfer_changed(id, after),
            ReceiveEffect::Arrived { id } => self.note_file(id, step),
            ReceiveEffect::Part {
                from,
                purpose,
                manifest,
                file,
            } => {
                let Manifest { root, size, .. } = manifest;
                self.part_arrived(from, purpose, FileRef { root, size }, file, step);
            }
        }
    }

    fn file_job(&mut self, job: FileJob) {
        self.out.push(Output::File(job));
    }

    fn file_job_after(&mut self, after: BatchId, job: FileJob) {
        self.gate.pass(after, Output::File(job), &mut self.out);
    }

    fn cancel_with(&mut self, to: EntityId, id: TransferId, step: &mut Step<'_>) {
        let body = cbor::encode(&ChunkCancel { transfer_id: id });
        self.send_to(
            to,
            MsgType::ChunkCancel,
            body,
            Kind::ChunkCancel,
            BatchId::NONE,
            step,
        );
    }

    /// The receiver's word on our offer.
    pub(super) fn chunk_answered(
        &mut self,
        id: TransferId,
        answer: ChunkAnswer,
        step: &mut Step<'_>,
    ) -> Option<()> {
        (answer.transfer_id == id).then_some(())?;
        self.sends.answered(id, answer.answer, step);
        Some(())
    }

    // --- what the API asks

    pub(super) fn send_file(
        &mut self,
        new: NewTransfer,
        step: &mut Step<'_>,
    ) -> (CommandResult, BatchId) {
        let NewTransfer {
            id,
            peer,
            path,
            name,
        } = new;
        let to = match self.resolve(&peer) {
            Ok((_, to)) => to,
            Err(error) => return (Err(error), BatchId::NONE),
        };
        let invalid = |text: &str| {
            let error = CommandError::new(CommandErrorCode::Invalid, text);
            (Err(error), BatchId::NONE)
        };
        if !path.starts_with('/') || path.len() > PATH_MAX_BYTES || path.contains('\0') {
            return invalid("the path must be absolute, of at most 4096 bytes");
        }
        let name = safe_name(name.as_deref().unwrap_or(&path));
        if is_of_part(id) {
            return invalid("ids of version 8 are for parts of tasks: take another, of version 7");
        }
        match self.sends.submit(NewFile { id, to, path, name }, step) {
            Submitted::Taken(after) | Submitted::Known(after) => (self.transfer_reply(id), after),
            Submitted::Full => {
                let text = "too many transfers are under way: wait until some of them are done, \
                            or cancel some";
                let error = CommandError::new(CommandErrorCode::QueueFull, text);
                (Err(error), BatchId::NONE)
            }
        }
    }

    pub(super) fn cancel_transfer(
        &mut self,
        id: TransferId,
        step: &mut Step<'_>,
    ) -> (CommandResult, BatchId) {
        let sent = self.sends.file(id).and_then(|sent| sent.record.purpose);
        let received = self.receives.file(id).and_then(|file| file.record.purpose);
        if let Some(purpose) = sent.or(received) {
            let task = purpose.task_id();
            let text = format!("it is a part of the task {task}: cancel the task");
            let error = CommandError::new(CommandErrorCode::Conflict, text);
            return (Err(error), BatchId::NONE);
        }
        let sent = self.sends.cancel(id, step);
        match sent.or_else(|| self.receives.cancel(id, step)) {
            Some(after) => (self.transfer_reply(id), after),
            None => (Err(no_transfer(id)), BatchId::NONE),
        }
    }

    pub(super) fn await_transfer(
        &mut self,
        command: CommandId,
        id: TransferId,
        seen: Option<u64>,
    ) -> Option<(CommandResult, BatchId)> {
        let Some((view, written)) = self.transfer_view(id) else {
            return Some((Err(no_transfer(id)), BatchId::NONE));
        };
        if seen != Some(view.revision) || view.is_over() {
            return Some((Ok(Reply::Transfer(Box::new(view))), written));
        }
        let waiting = self.await_transfer.entry(id).or_default();
        if waiting.len() >= COMMANDS_MAX / 4 {
            let error = CommandError::new(
                CommandErrorCode::Busy,
                "too many wait for this transfer: try again",
            );
            return Some((Err(error), BatchId::NONE));
        }
        waiting.push(command);
        None
    }

    fn transfer_changed(&mut self, id: TransferId, after: BatchId) {
        let Some(waiting) = self.await_transfer.remove(&id) else {
            return;
        };
        let written = self.transfer_view(id).map(|(_, written)| written);
        let after = after.max(written.unwrap_or(BatchId::NONE));
        for command in waiting {
            self.reply_after(command, self.transfer_reply(id), after);
        }
    }

    pub(super) fn transfer_reply(&self, id: TransferId) -> CommandResult {
        let (view, _) = self.transfer_view(id).ok_or_else(|| no_transfer(id))?;
        Ok(Reply::Transfer(Box::new(view)))
    }

    /// A transfer as the API shows it, and what the view rests on.
    fn transfer_view(&self, id: TransferId) -> Option<(TransferView, BatchId)> {
        let sent = || self.sends.file(id).map(|s| (sent_view(s), s.written));
        let received = || {
            self.receives
                .file(id)
                .map(|r| (received_view(r), r.written))
        };
        sent().or_else(received)
    }

    pub(super) fn transfer_views(&self) -> (CommandResult, BatchId) {
        let sent = self.sends.files().map(|s| (sent_view(s), s.written));
        let received = self.receives.files().map(|r| (received_view(r), r.written));
        let mut all: Vec<(TransferView, BatchId)> = sent.chain(received).collect();
        all.sort_by(|a, b| a.0.id.cmp(&b.0.id));
        let after = all.iter().map(|(_, written)| *written).max();
        let views = all.into_iter().map(|(view, _)| view).collect();
        (Ok(Reply::Transfers(views)), after.unwrap_or(BatchId::NONE))
    }
}

fn chunk_answer(id: TransferId, answer: OfferAnswer, after: BatchId) -> Answer {
    let body = cbor::encode(&ChunkAnswer {
        transfer_id: id,
        answer,
    });
    (MsgType::ChunkAnswer, body, after)
}

fn no_transfer(id: TransferId) -> CommandError {
    let text = format!("there is no transfer {id}: `junto transfers` shows those there are");
    CommandError::new(CommandErrorCode::NotFound, text)
}

fn hex(root: &[u8; 32]) -> Option<String> {
    (root != &[0; 32]).then(|| data_encoding::HEXLOWER.encode(root))
}

fn sent_view(sent: &Sent) -> TransferView {
    let record = &sent.record;
    let state = match record.state {
        SentState::Hashing => "hashing",
        SentState::Offered if sent.is_streaming() => "sending",
        SentState::Offered => "waiting",
        SentState::Completed => "completed",
        SentState::Failed => "failed",
        SentState::Canceled => "canceled",
    };
    let over = record.state == SentState::Completed;
    TransferView {
        id: record.id.to_string(),
        direction: Direction::Out,
        peer: record.to.to_string(),
        name: record.name.clone(),
        path: Some(record.path.clone()),
        state: state.into(),
        size: record.size,
        done_bytes: if over { record.size } else { sent.done_bytes },
        moved_bytes: sent.moved_bytes,
        hash: hex(&record.root),
        started: record.since.to_rfc3339(),
        changed: record.changed.to_rfc3339(),
        reason: record.reason.clone(),
        revision: sent.revision,
    }
}

fn received_view(received: &Received) -> TransferView {
    let record = &received.record;
    let state = match record.state {
        ReceivedState::Receiving if received.is_streaming() => "receiving",
        ReceivedState::Receiving => "waiting",
        ReceivedState::Storing => "storing",
        ReceivedState::Completed => "completed",
        ReceivedState::Failed => "failed",
        ReceivedState::Canceled => "canceled",
    };
    TransferView {
        id: record.id.to_string(),
        direction: Direction::In,
        peer: record.from.to_string(),
        name: record.name.clone(),
        path: record.stored_as.clone(),
        state: state.into(),
        size: record.size,
        done_bytes: received.have_bytes(),
        moved_bytes: received.moved_bytes,
        hash: hex(&record.root),
        started: record.since.to_rfc3339(),
        changed: record.changed.to_rfc3339(),
        reason: record.reason.clone(),
        revision: received.revision,
    }
}
