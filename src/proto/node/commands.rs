//! Serving the API: commands in, views out.

use data_encoding::{BASE64, HEXLOWER};

use super::command::{
    AttemptView, Command, CommandError, CommandErrorCode, CommandResult, EntryView, IdentityView,
    PeerRef, PongView, Reply, StatusView, Submission, TaskCounts, TaskView, WakePhaseView,
    WakeView,
};
use super::exchange::{Kind, Message};
use super::stats::PoolView;
use super::{Node, Output};
use crate::crypto::Identity;
use crate::proto::Step;
use crate::proto::registry::Entry;
use crate::proto::task::{NewTask, SubmitOutcome, TaskRecord};
use crate::proto::wake::{Call, Sent};
use crate::types::limits::{COMMANDS_MAX, INPUT_MAX_BYTES, WAKE_REASON_MAX_BYTES};
use crate::types::{
    BatchId, Capability, CommandId, EntityId, Mono, PeerId, TaskId, TaskState, WakeId,
};
use crate::wire::{MsgType, Ping, WakeStatus, WireError, cbor};

const DEADLINE_MAX_MS: u64 = 7 * 24 * 3600 * 1000;

impl Node {
    pub(super) fn command(&mut self, id: CommandId, command: Command, step: &mut Step<'_>) {
        self.agent_spoke(&command, step.now.mono);
        let (result, after) = match command {
            Command::Status => (
                Ok(Reply::Status(Box::new(self.status(step)))),
                BatchId::NONE,
            ),
            Command::Peers => (Ok(Reply::Peers(self.peer_views(step))), BatchId::NONE),
            Command::Peer(peer) => (self.peer_reply(&peer, step), BatchId::NONE),
            Command::Registry { offering } => (
                Ok(Reply::Registry(self.entry_views(offering.as_ref(), step))),
                BatchId::NONE,
            ),
            Command::Submit(submission) => self.submit(submission, step),
            Command::Tasks => self.tasks(),
            Command::Task(task) => self.rested(task, self.task_reply(task)),
            Command::AwaitTask(task) => match self.await_task(id, task) {
                Some(answer) => answer,
                None => return,
            },
            Command::TaskResult(task) => self.rested(task, self.result_reply(task)),
            Command::CancelTask(task) => match self.requester.cancel(task, step) {
                Some((after, _)) => (self.task_reply(task), after),
                None => (Err(no_task(task)), BatchId::NONE),
            },
            Command::Ping(peer) => match self.ping(id, &peer, step) {
                Ok(()) => return,
                Err(error) => (Err(error), BatchId::NONE),
            },
            Command::PeerStatus(peer) => match self.peer_status(id, &peer, step) {
                Ok(()) => return,
                Err(error) => (Err(error), BatchId::NONE),
            },
            Command::Stats => (self.stats(), BatchId::NONE),
            Command::Reach(peer) => match self.reach(id, &peer, step) {
                Some(result) => (result, BatchId::NONE),
                None => return,
            },
            Command::Wake {
                peer,
                reason,
                priority,
                request,
            } => {
                let call = Call {
                    reason,
                    priority,
                    request,
                };
                (self.wake(&peer, call, step), BatchId::NONE)
            }
            Command::AwaitWake { id: wake, seen } => {
                match self.await_wake(id, wake, seen, step.now.mono) {
                    Some(result) => (result, BatchId::NONE),
                    None => return,
                }
            }
            Command::Resumed { id } => (self.resumed(id), BatchId::NONE),
            Command::Inbox(filter) => self.list_inbox(&filter),
            Command::AwaitInbox { seen } => match self.await_inbox(id, seen) {
                Some(result) => (result, BatchId::NONE),
                None => return,
            },
            Command::Message(message) => self.show_message(message, step),
            Command::ReplyTo { id: message, body } => self.reply_to(message, body, step),
            Command::MessageProof(message) => self.prove(message),
            Command::Acknowledge(message) => self.acknowledge(message, step),
            Command::Envelope(bytes) => return self.envelope(id, &bytes, step),
            Command::Identity => self.identity_view(),
            Command::SendFile(new) => self.send_file(new, step),
            Command::Transfers => self.transfer_views(),
            Command::AwaitTransfer { id: transfer, seen } => {
                match self.await_transfer(id, transfer, seen) {
                    Some(answer) => answer,
                    None => return,
                }
            }
            Command::CancelTransfer(transfer) => self.cancel_transfer(transfer, step),
            Command::KeyRotated(identity) => self.key_rotated(*identity, step),
            Command::Fingerprint { peer } => (self.fingerprint(peer.as_ref()), BatchId::NONE),
            Command::WakesReceived => (Ok(self.wakes_received(step.now.mono)), BatchId::NONE),
        };
        self.gate
            .pass(after, Output::Reply { id, result }, &mut self.out);
    }

    /// A reply about a task waits for what the task's rows wait for.
    fn rested(&self, task: TaskId, result: CommandResult) -> (CommandResult, BatchId) {
        (
            result,
            self.requester
                .task(task)
                .map_or(BatchId::NONE, |(_, written)| written),
        )
    }

    fn submit(&mut self, submission: Submission, step: &mut Step<'_>) -> (CommandResult, BatchId) {
        let new = match self.new_task(submission) {
            Ok(new) => new,
            Err(error) => return (Err(error), BatchId::NONE),
        };
        let id = new.id;
        match self.requester.submit(new, step) {
            SubmitOutcome::Queued(after) => {
                self.seek_workers(step);
                (self.task_reply(id), after)
            }
            SubmitOutcome::Known(after) => (self.task_reply(id), after),
            SubmitOutcome::Full => {
                let error = CommandError::new(
                    CommandErrorCode::QueueFull,
                    "the task queue is full: wait until some of it is done, or cancel tasks",
                );
                (Err(error), BatchId::NONE)
            }
        }
    }

    fn new_task(&self, submission: Submission) -> Result<NewTask, CommandError> {
        let Submission {
            id,
            capability,
            input,
            to,
            priority,
            deadline_ms,
        } = submission;
        if input.len() > INPUT_MAX_BYTES {
            return Err(CommandError::new(
                CommandErrorCode::TooLarge,
                format!(
                    "the input has {} bytes, a task takes {INPUT_MAX_BYTES}",
                    input.len()
                ),
            ));
        }
        if !(1..=DEADLINE_MAX_MS).contains(&deadline_ms) {
            return Err(CommandError::new(
                CommandErrorCode::Invalid,
                "the deadline must be between 1 ms and 7 days from now",
            ));
        }
        let to = to
            .map(|peer| self.resolve(&peer))
            .transpose()?
            .map(|(_, entity)| entity);
        Ok(NewTask {
            id,
            capability,
            input,
            to,
            priority,
            deadline_ms,
        })
    }

    fn tasks(&self) -> (CommandResult, BatchId) {
        let mut after = BatchId::NONE;
        let views = self
            .requester
            .tasks()
            .map(|(record, written)| {
                after = after.max(written);
                task_view(record, self.waits_for(record))
            })
            .collect();
        (Ok(Reply::Tasks(views)), after)
    }

    pub(super) fn task_reply(&self, id: TaskId) -> CommandResult {
        let (record, _) = self.requester.task(id).ok_or_else(|| no_task(id))?;
        Ok(Reply::Task(Box::new(task_view(
            record,
            self.waits_for(record),
        ))))
    }

    /// What a waiting task waits for, in words.
    fn waits_for(&self, record: &TaskRecord) -> Option<String> {
        if record.state != TaskState::Submitted {
            return None;
        }
        let capability = &record.capability;
        let offered = self.registry.offering(capability).next().is_some();
        let what = match (record.to, offered) {
            (Some(to), _) if self.registry.entry(&to).is_none() => {
                "the worker it names is not known at the moment"
            }
            (None, false) => return Some(format!("no known peer offers {capability}")),
            _ => "a free slot at a worker that can be reached",
        };
        Some(format!("waits for {what}"))
    }

    fn await_task(&mut self, id: CommandId, task: TaskId) -> Option<(CommandResult, BatchId)> {
        let Some((record, written)) = self.requester.task(task) else {
            return Some((Err(no_task(task)), BatchId::NONE));
        };
        if record.state.is_terminal() {
            return Some((self.task_reply(task), written));
        }
        if self.await_task.values().map(Vec::len).sum::<usize>() >= COMMANDS_MAX {
            let error = CommandError::new(CommandErrorCode::Busy, "too many wait for tasks");
            return Some((Err(error), BatchId::NONE));
        }
        self.await_task.entry(task).or_default().push(id);
        None
    }

    fn result_reply(&self, id: TaskId) -> CommandResult {
        let (record, _) = self.requester.task(id).ok_or_else(|| no_task(id))?;
        match (record.state, self.requester.result(id)) {
            (TaskState::Completed, Some(result)) => Ok(Reply::TaskResult {
                worker: record.worker,
                attempts: record.attempts.len(),
                result: result.to_vec(),
            }),
            (state, _) => Err(CommandError::new(
                CommandErrorCode::Conflict,
                format!(
                    "task {id} is {}: only a completed task has a result",
                    state.as_str()
                ),
            )),
        }
    }

    fn ping(
        &mut self,
        command: CommandId,
        peer: &PeerRef,
        step: &mut Step<'_>,
    ) -> Result<(), CommandError> {
        let (peer, _) = self.resolve(peer)?;
        let message = Message {
            msg_type: MsgType::Ping,
            body: cbor::encode(&Ping {}),
            kind: Kind::Ping {
                command,
                sent: step.now.mono,
            },
            after: BatchId::NONE,
            resent: false,
        };
        self.send(peer, message, step);
        Ok(())
    }

    /// Where the peer is, if it can be spoken to right now; otherwise a ping finds out: it dials,
    /// opens a session, and notices one that the other side has forgotten.
    fn reach(
        &mut self,
        command: CommandId,
        peer: &PeerRef,
        step: &mut Step<'_>,
    ) -> Option<CommandResult> {
        let (peer, entity) = match self.resolve(peer) {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        let session = self.sessions.with(&peer).map(|info| info.entity);
        if session == Some(entity) && self.peers.is_up(&peer) {
            return Some(Ok(Reply::Reached {
                peer_id: peer,
                entity_id: entity,
            }));
        }
        let message = Message {
            msg_type: MsgType::Ping,
            body: cbor::encode(&Ping {}),
            kind: Kind::Reach { command, entity },
            after: BatchId::NONE,
            resent: false,
        };
        self.send(peer, message, step);
        None
    }

    /// Somebody answered at `peer`: the one that was sought, or another who lives there now.
    pub(super) fn reply_reached(
        &mut self,
        id: CommandId,
        peer: PeerId,
        sought: EntityId,
        found: EntityId,
    ) {
        if found != sought {
            return self.reply_unreachable(id, &peer);
        }
        let result = Ok(Reply::Reached {
            peer_id: peer,
            entity_id: found,
        });
        self.out.push(Output::Reply { id, result });
    }

    pub(super) fn reply_pong(&mut self, id: CommandId, peer: &PeerId, now: Mono, sent: Mono) {
        let rtt_us = vec![now.as_micros().saturating_sub(sent.as_micros())];
        let pong = PongView {
            peer_id: peer.to_string(),
            rtt_us,
        };
        self.out.push(Output::Reply {
            id,
            result: Ok(Reply::Pong(pong)),
        });
    }

    /// Nothing came of a question: what the peer said of it is told, if it said anything.
    pub(super) fn reply_gave_up(&mut self, id: CommandId, peer: &PeerId, code: Option<WireError>) {
        let Some(code) = code else {
            return self.reply_unreachable(id, peer);
        };
        self.out.push(Output::Reply {
            id,
            result: Err(CommandError::refused_by(peer, code)),
        });
    }

    pub(super) fn reply_unreachable(&mut self, id: CommandId, peer: &PeerId) {
        let error = CommandError::new(
            CommandErrorCode::Unreachable,
            format!("{peer} could not be reached, or did not answer in time"),
        );
        self.out.push(Output::Reply {
            id,
            result: Err(error),
        });
    }

    fn wake(&mut self, peer: &PeerRef, call: Call, step: &mut Step<'_>) -> CommandResult {
        if call.reason.len() > WAKE_REASON_MAX_BYTES {
            return Err(CommandError::new(
                CommandErrorCode::TooLarge,
                format!("the reason is longer than {WAKE_REASON_MAX_BYTES} bytes"),
            ));
        }
        let (_, entity) = self.resolve(peer)?;
        let id = WakeId(step.uuid_v7());
        self.wakes.send(id, entity, call, step);
        let sent = self.wakes.sent(&id).expect("sent a moment ago");
        Ok(Reply::Wake(self.wake_view(id, sent, step.now.mono)))
    }

    fn await_wake(
        &mut self,
        command: CommandId,
        id: WakeId,
        seen: Option<WakeStatus>,
        now: Mono,
    ) -> Option<CommandResult> {
        let Some(sent) = self.wakes.sent(&id) else {
            return Some(Err(CommandError::new(
                CommandErrorCode::NotFound,
                format!("there is no wake-up {id}"),
            )));
        };
        let over = sent.undelivered || sent.status.is_some_and(WakeStatus::is_final);
        if sent.status != seen || over {
            return Some(Ok(Reply::Wake(self.wake_view(id, sent, now))));
        }
        let waiting = self.await_wake.entry(id).or_default();
        if waiting.len() >= COMMANDS_MAX {
            return Some(Err(CommandError::new(
                CommandErrorCode::Busy,
                "too many wait for this wake-up",
            )));
        }
        waiting.push((command, seen));
        None
    }

    pub(super) fn wake_changed(&mut self, id: WakeId, now: Mono) {
        let Some(sent) = self.wakes.sent(&id) else {
            return;
        };
        let (to, undelivered) = (sent.to, sent.undelivered);
        let view = self.wake_view(id, sent, now);
        if undelivered {
            self.not_woken(&to);
        }
        for (command, _) in self.await_wake.remove(&id).into_iter().flatten() {
            let result = Ok(Reply::Wake(view.clone()));
            self.out.push(Output::Reply {
                id: command,
                result,
            });
        }
    }

    fn wake_view(&self, id: WakeId, sent: &Sent, now: Mono) -> WakeView {
        let current = if sent.undelivered {
            "undelivered".into()
        } else {
            phase(sent.status)
        };
        let elapsed_ms = match sent.status {
            None if !sent.undelivered => now.since(sent.since),
            _ => sent.changed.since(sent.since),
        };
        let passed = sent.history.iter().map(|(status, at)| WakePhaseView {
            phase: phase(Some(*status)),
            elapsed_ms: at.since(sent.since),
        });
        WakeView {
            id: id.to_string(),
            peer: sent.to.to_string(),
            reason: sent.call.reason.clone(),
            priority: sent.call.priority,
            request: sent.call.request.as_str().into(),
            phase: current,
            elapsed_ms,
            phases: passed.collect(),
            manual_check_needed: self.wakes.needs_manual_check(&sent.to),
            peer_code: sent.refused.map(WireError::name),
        }
    }

    fn resumed(&mut self, id: Option<WakeId>) -> CommandResult {
        if self.wakes.resumed(id) {
            return Ok(Reply::Done);
        }
        Err(CommandError::new(
            CommandErrorCode::NotFound,
            "no wake-up waits for that",
        ))
    }

    fn wakes_received(&self, now: Mono) -> Reply {
        let view = |w: &crate::proto::wake::Received| WakeView {
            id: w.id.to_string(),
            peer: w.from.to_string(),
            reason: w.call.reason.clone(),
            priority: w.call.priority,
            request: w.call.request.as_str().into(),
            phase: phase(Some(w.status)),
            elapsed_ms: now.since(w.at),
            phases: Vec::new(),
            manual_check_needed: false,
            peer_code: None,
        };
        Reply::Wakes(self.wakes.received().into_iter().map(view).collect())
    }

    /// Whom a person means.
    pub(super) fn resolve(&self, peer: &PeerRef) -> Result<(PeerId, EntityId), CommandError> {
        let unknown = || {
            CommandError::new(
                CommandErrorCode::NotFound,
                format!("no peer is known as {peer}: `junto registry list` shows who is"),
            )
        };
        let entity = match peer {
            PeerRef::Entity(entity) => *entity,
            PeerRef::Peer(peer) => self
                .registry
                .entity_of(peer)
                .or_else(|| self.sessions.with(peer).map(|info| info.entity))
                .ok_or_else(unknown)?,
            PeerRef::Name(name) => {
                let mut named = self.registry.named(name);
                let entry = named.next().ok_or_else(unknown)?;
                if named.next().is_some() {
                    return Err(CommandError::new(
                        CommandErrorCode::Ambiguous,
                        format!("several peers are called {name}: use a peer id or an entity id"),
                    ));
                }
                entry.body.entity_id
            }
        };
        if entity == self.identity.entity_id {
            return Err(CommandError::new(
                CommandErrorCode::Invalid,
                "that is this node itself",
            ));
        }
        let peer = self.peer_of_entity(&entity).ok_or_else(unknown)?;
        Ok((peer, entity))
    }

    fn identity_view(&self) -> (CommandResult, BatchId) {
        let own = self.registry.own();
        let (entry, after) = own.map_or((&[][..], BatchId::NONE), |(own, written)| {
            (&own.bytes[..], written)
        });
        let view = IdentityView {
            entity_id: self.identity.entity_id.to_string(),
            peer_id: self.identity.peer_id.to_string(),
            public_key: HEXLOWER.encode(&self.identity.key().public().0),
            fingerprint: Identity::fingerprint(&self.identity.entity_id),
            entry: BASE64.encode(entry),
        };
        (Ok(Reply::Identity(Box::new(view))), after)
    }

    fn status(&self, step: &Step<'_>) -> StatusView {
        let mut tasks = TaskCounts::default();
        for (record, _) in self.requester.tasks() {
            let count = match record.state {
                TaskState::Submitted => &mut tasks.submitted,
                TaskState::Working => &mut tasks.working,
                TaskState::Completed => &mut tasks.completed,
                TaskState::Failed => &mut tasks.failed,
                TaskState::Canceled => &mut tasks.canceled,
            };
            *count += 1;
        }
        StatusView {
            name: self.config.name.to_string(),
            peer_id: self.identity.peer_id.to_string(),
            entity_id: self.identity.entity_id.to_string(),
            fingerprint: Identity::fingerprint(&self.identity.entity_id),
            network: self.config.network.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            listen: self.listen.iter().map(ToString::to_string).collect(),
            capabilities: self
                .config
                .capabilities
                .iter()
                .map(|o| o.name.to_string())
                .collect(),
            uptime_ms: step.now.mono.since(self.started),
            connected: self.peers.connected_count(),
            sessions: self.sessions.len(),
            registry: self.registry.len(),
            tasks,
            held: self.worker.len(),
            storage: "ok".into(),
            guard: self.guard_view(step.now.mono),
            health: self.health_counts(),
            pool: PoolView::default(),
        }
    }

    fn peer_reply(&self, peer: &PeerRef, step: &Step<'_>) -> CommandResult {
        let (peer, _) = self.resolve(peer)?;
        let named = peer.to_string();
        let view = self
            .peer_views(step)
            .into_iter()
            .find(|view| view.peer_id == named);
        let unknown = || {
            CommandError::new(
                CommandErrorCode::NotFound,
                format!("no address of {named} is known at the moment"),
            )
        };
        view.map(|view| Reply::Peer(Box::new(view)))
            .ok_or_else(unknown)
    }

    fn entry_views(&self, offering: Option<&Capability>, step: &Step<'_>) -> Vec<EntryView> {
        self.registry
            .entries()
            .filter(|entry| offering.is_none_or(|cap| entry.body.slots(cap).is_some()))
            .map(|entry| {
                let peer = entry.body.peer_id();
                let own = entry.body.entity_id == self.identity.entity_id;
                let state = if own {
                    "self"
                } else {
                    self.peer_state(&peer, step.now.mono)
                };
                EntryView {
                    peer_id: peer.to_string(),
                    entity_id: entry.body.entity_id.to_string(),
                    name: entry.body.name.to_string(),
                    state: state.into(),
                    capabilities: capability_names(entry),
                    addresses: entry
                        .body
                        .addresses
                        .iter()
                        .map(ToString::to_string)
                        .collect(),
                    key: entry.body.key.to_string(),
                    rotations: entry.body.rotations.len(),
                    seq: entry.body.seq,
                    expires: entry.body.expires.to_rfc3339(),
                }
            })
            .collect()
    }
}

fn no_task(id: TaskId) -> CommandError {
    CommandError::new(CommandErrorCode::NotFound, format!("there is no task {id}"))
}

pub(super) fn capability_names(entry: &Entry) -> Vec<String> {
    entry
        .body
        .capabilities
        .iter()
        .map(|offer| offer.name.to_string())
        .collect()
}

fn phase(status: Option<WakeStatus>) -> String {
    match status {
        None => "sending",
        Some(WakeStatus::Delivered) => "delivered",
        Some(WakeStatus::HookStarted) => "hook_started",
        Some(WakeStatus::Resumed) => "resumed",
        Some(WakeStatus::AlreadyAwake) => "already_awake",
        Some(WakeStatus::RateLimited) => "rate_limited",
        Some(WakeStatus::NotAllowed) => "not_allowed",
        Some(WakeStatus::Failed) => "failed",
    }
    .into()
}

fn task_view(record: &TaskRecord, waits_for: Option<String>) -> TaskView {
    let attempts = record
        .attempts
        .iter()
        .map(|attempt| AttemptView {
            worker: attempt.worker.to_string(),
            token: attempt.token.0,
            started: attempt.started.to_rfc3339(),
            ended: attempt.ended.map(|at| at.to_rfc3339()),
            outcome: attempt.outcome.clone(),
        })
        .collect();
    TaskView {
        id: record.id.to_string(),
        capability: record.capability.to_string(),
        state: record.state,
        priority: record.priority,
        submitted: record.submitted.to_rfc3339(),
        deadline: record.deadline.to_rfc3339(),
        input_bytes: usize::try_from(record.input_bytes).unwrap_or(usize::MAX),
        result_bytes: record
            .result_bytes
            .map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
        reason: record.reason.clone().or(waits_for),
        no_worker: record.state == TaskState::Failed && record.attempts.is_empty(),
        attempts,
    }
}
