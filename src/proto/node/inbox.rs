//! Messages for our agent: taken in, shown, answered, acknowledged; and our notes of the files that
//! arrived for it.

use serde::Serialize;

use super::command::{CommandError, CommandErrorCode, CommandResult, InboxFilter, Reply};
use super::io::{Note, Output};
use super::views::MessageView;
use super::{Node, Received};
use crate::proto::Step;
use crate::proto::inbox::{Kept, ReplyError, Settled};
use crate::types::limits::{COMMANDS_MAX, TALK_MAX_BYTES};
use crate::types::{
    BatchId, CommandId, DeliveryId, EntityId, MessageId, MessageKind, Mono, PeerId, TransferId,
};
use crate::wire::Evidence;

/// What a note of a file says, as JSON.
#[derive(Debug, Serialize)]
struct FileNote {
    transfer_id: TransferId,
    /// As its sender calls it, made safe.
    name: String,
    /// Where it is.
    path: String,
    size: u64,
    /// BLAKE3, in hex.
    hash: String,
}

impl Node {
    /// A message came in.
    pub(super) fn received(
        &mut self,
        delivery: DeliveryId,
        peer: PeerId,
        from: EntityId,
        message: Received,
        step: &mut Step<'_>,
    ) {
        let before = self.inbox.last_number();
        let entry = self.registry.entry(&from).map(|entry| entry.bytes.clone());
        let receipt = self
            .inbox
            .receive(from, delivery, message, entry.as_deref(), step);
        if let Settled::Refused(code) = receipt.outcome {
            self.penalize(peer, code, step);
        }
        let outcome = receipt.outcome;
        let settle = Output::Settle { delivery, outcome };
        self.gate.pass(receipt.after, settle, &mut self.out);
        if let Some(body) = receipt.answer {
            let answer = Output::Answer { delivery, body };
            self.gate.pass(receipt.after, answer, &mut self.out);
        }
        self.wake_readers(before);
    }

    /// A file has arrived, in this very step: our agent learns of it with the file's own row.
    pub(super) fn note_file(&mut self, id: TransferId, step: &mut Step<'_>) {
        let Some(received) = self.receives.file(id) else {
            return;
        };
        let record = &received.record;
        let (from, size) = (record.from, record.size);
        let stored = record.stored_as.clone().unwrap_or_default();
        let path = self.config.transfer.folder.join(&stored);
        let note = FileNote {
            transfer_id: id,
            name: record.name.clone(),
            path: path.to_string_lossy().into_owned(),
            size,
            hash: data_encoding::HEXLOWER.encode(&record.root),
        };
        let before = self.inbox.last_number();
        let body = serde_json::to_vec(&note).expect("plain data");
        let noted = self.inbox.note(from, MessageKind::File, body, step);
        self.note(Note::FileArrived {
            from,
            name: stored,
            size,
            noted: noted.is_some(),
        });
        self.wake_readers(before);
    }

    /// Who waits for a message looks again, if one came since the number `before`.
    fn wake_readers(&mut self, before: u64) {
        if self.inbox.last_number() > before {
            for id in std::mem::take(&mut self.await_inbox) {
                self.reply(id, Ok(Reply::Done));
            }
        }
    }

    /// Drops what expired.
    pub(super) fn tend_inbox(&mut self, step: &mut Step<'_>) {
        self.inbox.tick(step);
        for (message, from) in self.inbox.expired() {
            self.note(Note::MessageExpired { message, from });
        }
    }

    pub(super) fn list_inbox(&self, filter: &InboxFilter, now: Mono) -> (CommandResult, BatchId) {
        let from = match &filter.from {
            None => None,
            Some(peer) => match self.resolve(peer) {
                Ok((_, entity)) => Some(entity),
                Err(error) => return (Err(error), BatchId::NONE),
            },
        };
        let asked = |kept: &Kept| {
            filter.state.is_none_or(|state| kept.record.state == state)
                && filter.kind.is_none_or(|kind| kept.record.kind == kind)
                && from.is_none_or(|from| kept.record.from == from)
        };
        let mut after = BatchId::NONE;
        let messages = self
            .inbox
            .messages(filter.after)
            .filter(|(_, kept)| asked(kept))
            .take(filter.limit)
            .map(|(id, kept)| {
                after = after.max(kept.written());
                self.message_view(id, kept, now)
            })
            .collect();
        let last = self.inbox.last_number();
        (Ok(Reply::Inbox { messages, last }), after)
    }

    pub(super) fn await_inbox(&mut self, command: CommandId, seen: u64) -> Option<CommandResult> {
        if self.inbox.last_number() > seen {
            return Some(Ok(Reply::Done));
        }
        if self.await_inbox.len() >= COMMANDS_MAX {
            return Some(Err(CommandError::new(
                CommandErrorCode::Busy,
                "too many wait for messages",
            )));
        }
        self.await_inbox.push(command);
        None
    }

    pub(super) fn show_message(
        &mut self,
        id: MessageId,
        step: &mut Step<'_>,
    ) -> (CommandResult, BatchId) {
        let Some(after) = self.inbox.read(id, step).map(Kept::written) else {
            return (Err(no_message(id)), BatchId::NONE);
        };
        let reply = self.inbox.message(&id).map(|kept| Reply::Message {
            view: Box::new(self.message_view(id, kept, step.now.mono)),
            body: kept.body.clone(),
        });
        (reply.ok_or_else(|| no_message(id)), after)
    }

    pub(super) fn reply_to(
        &mut self,
        id: MessageId,
        body: Vec<u8>,
        step: &mut Step<'_>,
    ) -> (CommandResult, BatchId) {
        if body.len() > TALK_MAX_BYTES {
            let error = CommandError::new(
                CommandErrorCode::TooLarge,
                format!(
                    "the reply has {} bytes, a message takes {TALK_MAX_BYTES}",
                    body.len()
                ),
            );
            return (Err(error), BatchId::NONE);
        }
        let refused = |code, text: String| (Err(CommandError::new(code, text)), BatchId::NONE);
        match self.inbox.reply(id, &body, step) {
            Ok((delivery, after)) => {
                let answer = Output::Answer { delivery, body };
                self.gate.pass(after, answer, &mut self.out);
                (Ok(Reply::Done), after)
            }
            Err(ReplyError::Unknown) => (Err(no_message(id)), BatchId::NONE),
            Err(ReplyError::NoTalk) => refused(
                CommandErrorCode::Conflict,
                format!("message {id} is no talk: its sender awaits no reply; send a report back"),
            ),
            Err(ReplyError::Late) => refused(
                CommandErrorCode::NobodyWaits,
                format!(
                    "the sender of {id} waits for no reply any more: send it a report, and \
                     acknowledge {id}"
                ),
            ),
        }
    }

    pub(super) fn acknowledge(
        &mut self,
        id: MessageId,
        step: &mut Step<'_>,
    ) -> (CommandResult, BatchId) {
        match self.inbox.acknowledge(id, step) {
            Some(after) => (Ok(Reply::Done), after),
            None => (Err(no_message(id)), BatchId::NONE),
        }
    }

    pub(super) fn prove(&self, id: MessageId) -> (CommandResult, BatchId) {
        let Some(kept) = self.inbox.message(&id) else {
            return (Err(no_message(id)), BatchId::NONE);
        };
        let entry = self.inbox.sender_entry(&kept.record.from);
        let evidence = entry
            .filter(|_| !kept.proof.is_empty())
            .map(|entry| Evidence {
                entry: entry.to_vec(),
                message: kept.proof.clone(),
            });
        let nothing = || {
            CommandError::new(
                CommandErrorCode::Conflict,
                match kept.record.kind {
                    MessageKind::File => format!("{id} is this node's own note: nobody signed it"),
                    MessageKind::Talk | MessageKind::Report => format!(
                        "nothing shows {id} to others: its sender's entry was not known here"
                    ),
                },
            )
        };
        let reply = evidence.map(|evidence| Reply::Proof(Box::new(evidence)));
        (reply.ok_or_else(nothing), kept.written())
    }

    fn message_view(&self, id: MessageId, kept: &Kept, now: Mono) -> MessageView {
        let record = &kept.record;
        let entry = self.registry.entry(&record.from);
        MessageView {
            id: id.to_string(),
            number: record.number,
            from: record.from.to_string(),
            name: entry.map(|entry| entry.body.name.to_string()),
            kind: record.kind,
            state: record.state.as_str().into(),
            priority: record.priority,
            durable: record.durable,
            sent: record.sent.to_rfc3339(),
            received: record.received.to_rfc3339(),
            bytes: kept.body.len(),
            awaits_reply: kept.waits(now),
            provable: !kept.proof.is_empty() && self.inbox.sender_entry(&record.from).is_some(),
        }
    }
}

fn no_message(id: MessageId) -> CommandError {
    CommandError::new(
        CommandErrorCode::NotFound,
        format!("there is no message {id} in the inbox"),
    )
}
