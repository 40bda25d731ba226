//! Serving the API: commands in, views out.

use data_encoding::{BASE64, HEXLOWER};

use super::command::{Command, CommandError, CommandErrorCode, CommandResult, PeerRef, Reply};
use super::pledges::Handing;
use super::stats::PoolView;
use super::views::{EntryView, IdentityView, StatusView, TaskCounts};
use super::{Node, Output};
use crate::crypto::Identity;
use crate::proto::Step;
use crate::proto::registry::Entry;
use crate::proto::wake::Call;
use crate::types::{BatchId, Capability, CommandId, TaskState};

impl Node {
    pub(super) fn command(&mut self, id: CommandId, command: Command, step: &mut Step<'_>) {
        self.agent_spoke(&command, step.now.mono);
        let (result, after) = match command {
            Command::Status => (
                Ok(Reply::Status(Box::new(self.status(step)))),
                BatchId::NONE,
            ),
            Command::Peers => {
                let peers = self.peer_views(step);
                self.ask_for_a_look(step);
                (Ok(Reply::Peers(peers)), BatchId::NONE)
            }
            Command::Peer(peer) => (self.peer_reply(&peer, step), BatchId::NONE),
            Command::Registry { offering } => (
                Ok(Reply::Registry(self.entry_views(offering.as_ref(), step))),
                BatchId::NONE,
            ),
            Command::Submit(submission) => {
                match self.pledge(id, Handing::One(Box::new(submission)), step) {
                    Some(answer) => answer,
                    None => return,
                }
            }
            Command::SubmitMany(all) => match self.pledge(id, Handing::Many(all), step) {
                Some(answer) => answer,
                None => return,
            },
            Command::Tasks(filter) => self.tasks(&filter),
            Command::Task(task) => {
                let shown = self.show_task(task, step.now);
                self.rested(task, shown)
            }
            Command::FindTask(part) => (self.find_task(&part), BatchId::NONE),
            Command::AwaitTask(task) => match self.await_task(id, task) {
                Some(answer) => answer,
                None => return,
            },
            Command::TaskEvents { id: task, after } => {
                self.rested(task, self.events_reply(task, after))
            }
            Command::AwaitTaskEvents { id: task, after } => {
                match self.await_events(id, task, after) {
                    Some(answer) => answer,
                    None => return,
                }
            }
            Command::Events(filter) => self.feed_reply(&filter, step),
            Command::AwaitEvents { after } => match self.await_feed(id, after) {
                Some(result) => (result, BatchId::NONE),
                None => return,
            },
            Command::Notify { id: task, target } => self.notify(task, target, step),
            Command::TaskResult(task) => self.rested(task, self.result_reply(task)),
            Command::TaskInput(task) => self.rested(task, self.input_reply(task)),
            Command::TaskProof(task) => self.proof_reply(task),
            Command::KeepPayload { content, file } => self.keep_payload(content, file, step),
            Command::Payload(root) => self.payload(&root),
            Command::CancelTask(task) => self.cancel_task(task, step),
            Command::Resubmit { id, as_id, changed } => self.resubmit(id, as_id, &changed, step),
            Command::DropTask(task) => self.drop_task(task, step),
            Command::Drain { timeout_ms } => {
                let before = self.worker.is_draining();
                self.worker.drain(step.now.mono + timeout_ms);
                if !before {
                    self.health.announce();
                }
                (Ok(self.drain_reply()), BatchId::NONE)
            }
            Command::Undrain => {
                if self.worker.is_draining() {
                    self.worker.undrain();
                    self.health.announce();
                }
                (Ok(self.drain_reply()), BatchId::NONE)
            }
            Command::Drained => (Ok(self.drain_reply()), BatchId::NONE),
            Command::Attend {
                capabilities,
                wait_ms,
            } => {
                let attended = self.attend(capabilities, wait_ms, step.now.mono);
                (attended, BatchId::NONE)
            }
            Command::SayOfRun { run, said } => {
                self.run_said(run, said, step.now.mono);
                (Ok(Reply::Done), BatchId::NONE)
            }
            Command::EndRun { run, outcome } => self.end_run(run, outcome, step),
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
            Command::Inbox(filter) => self.list_inbox(&filter, step.now.mono),
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
        self.reply_after(id, result, after);
    }

    pub(super) fn reply(&mut self, id: CommandId, result: CommandResult) {
        self.out.push(Output::Reply { id, result });
    }

    /// Replies once `after` is durable.
    pub(super) fn reply_after(&mut self, id: CommandId, result: CommandResult, after: BatchId) {
        let reply = Output::Reply { id, result };
        self.gate.pass(after, reply, &mut self.out);
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
        let counts = self.requester.counts();
        let tasks = TaskCounts {
            submitted: counts.of(TaskState::Submitted),
            working: counts.of(TaskState::Working),
            completed: counts.of(TaskState::Completed),
            failed: counts.of(TaskState::Failed),
            canceled: counts.of(TaskState::Canceled),
            dead: self.requester.dead(),
        };
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
            unattended: { self.worker.free_slots(step.now.mono).into_iter() }
                .filter(|said| said.unattended)
                .map(|said| said.name.to_string())
                .collect(),
            uptime_ms: step.now.mono.since(self.started),
            connected: self.peers.connected_count(),
            sessions: self.sessions.len(),
            registry: self.registry.len(),
            tasks,
            held: self.worker.len(),
            draining: self.worker.is_draining(),
            storage: self.storage_view(),
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
                    labels: entry.body.labels.iter().map(ToString::to_string).collect(),
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

pub(super) fn capability_names(entry: &Entry) -> Vec<String> {
    entry
        .body
        .capabilities
        .iter()
        .map(|offer| offer.name.to_string())
        .collect()
}
