//! Signs of life: heartbeats and status sent and answered, what they say of a peer, and what the
//! node does about it.

use super::command::{Command, CommandError, CommandErrorCode, CommandResult, PeerRef, Reply};
use super::exchange::{Kind, Message};
use super::io::{ExchangeFailure, Note};
use super::stats::{GuardView, HealthCounts, LoadView, NodeStats, PeerStats, PeerStatusView};
use super::tally::Direction;
use super::{Node, PeerView};
use crate::proto::Step;
use crate::proto::guard::Admission;
use crate::proto::health::{Health, HealthEffect, HealthState};
use crate::proto::peers::{Link, Peers};
use crate::proto::score::Score;
use crate::proto::session::Sessions;
use crate::proto::wake::Call;
use crate::types::limits::{CAPABILITIES_MAX, SYNC_MAX_BYTES};
use crate::types::{
    BatchId, Capability, CommandId, EntityId, ExchangeId, Mono, Now, PeerId, WakeId,
};
use crate::wire::{
    AgentPresence, CapabilityQuery, CapabilityResponse, Discovery, Heartbeat, HeartbeatAck, Load,
    MsgClass, MsgType, NodeStatus, RegistryEntries, StatusReport, WireError, cbor,
};

/// An agent that used its node within this time is awake.
const AWAKE_MS: u64 = 5 * 60 * 1000;
/// Entries asked for, and given at most, in one discovery.
const DISCOVERY_MAX: u32 = 64;
/// Peers asked in one search.
const DISCOVERY_PEERS: usize = 3;
const SUSPECT_REASON: &str = "your node has not been heard of";

/// What a worker is worth at the moment: the lower, the rather it is given work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    Healthy,
    Suspect,
    /// No session or connection, but no reason to think that there could be none.
    Away,
    Unreachable,
}

impl Standing {
    pub(super) fn of(
        peer: &PeerId,
        peers: &Peers,
        sessions: &Sessions,
        health: &Health,
    ) -> Standing {
        let ready = peers.is_up(peer) && sessions.with(peer).is_some();
        match health.of(peer).map(|known| known.state) {
            Some(HealthState::Unreachable) => Standing::Unreachable,
            Some(HealthState::Suspect) if ready => Standing::Suspect,
            _ if ready => Standing::Healthy,
            _ => Standing::Away,
        }
    }
}

impl Node {
    /// How this node is.
    pub(super) fn own_status(&self, now: Mono) -> NodeStatus {
        let (mut slots, mut free) = (0, 0);
        for capability in self.worker.free_slots(now) {
            slots += capability.slots;
            free += capability.free;
        }
        let used = self.agent_used.is_some_and(|at| now.since(at) < AWAKE_MS);
        let agent = match used {
            true => AgentPresence::Awake,
            false if self.config.wake.hook => AgentPresence::Wakeable,
            false => AgentPresence::Absent,
        };
        NodeStatus {
            uptime_ms: now.since(self.started),
            load: Load {
                held: u32::try_from(self.worker.len()).unwrap_or(u32::MAX),
                slots,
                free,
                waiting: u32::try_from(self.worker.waiting()).unwrap_or(u32::MAX),
                draining: self.worker.is_draining(),
            },
            agent,
        }
    }

    /// Notes that the agent used its node, if that is what a command shows.
    pub(super) fn agent_spoke(&mut self, command: &Command, now: Mono) {
        let acts = matches!(
            command,
            Command::Submit(_)
                | Command::SubmitMany(_)
                | Command::CancelTask(_)
                | Command::Resubmit { .. }
                | Command::DropTask(_)
                | Command::EndRun { .. }
                | Command::Attend { .. }
                | Command::SayOfRun { .. }
                | Command::Wake { .. }
                | Command::Resumed { .. }
                | Command::Message(_)
                | Command::ReplyTo { .. }
                | Command::Acknowledge(_)
        );
        if acts {
            self.agent_used = Some(now);
        }
    }

    /// `peer` sent what only it can have made.
    pub(super) fn sign_of_life(&mut self, peer: &PeerId, now: Mono) {
        self.health.seen(peer, now);
        self.guard.heard(peer, now);
    }

    /// Sends the heartbeats that are due. Returns whether there was anything to do.
    pub(super) fn apply_health(&mut self, step: &mut Step<'_>) -> bool {
        let effects = self.health.effects();
        let busy = !effects.is_empty();
        for effect in effects {
            match effect {
                HealthEffect::Beat { peer, seq } => self.beat(peer, seq, step),
                HealthEffect::Changed { peer, state } => {
                    self.candidates.drop_all();
                    self.note(Note::HealthChanged {
                        peer,
                        state: state.as_str(),
                    });
                }
                HealthEffect::Wake { peer } => {
                    if let Some(entity) = self.registry.entity_of(&peer) {
                        let id = WakeId(step.uuid_v7());
                        self.wakes
                            .send(id, entity, Call::resume(SUSPECT_REASON), step);
                    }
                }
            }
        }
        busy
    }

    fn beat(&mut self, peer: PeerId, seq: u64, step: &mut Step<'_>) {
        let now = step.now.mono;
        let status = self.own_status(now);
        let body = cbor::encode(&Heartbeat { seq, status });
        let kind = Kind::Beat { seq, sent: now };
        self.send(peer, Message::new(MsgType::Heartbeat, body, kind), step);
    }

    /// Asks a peer, with which a session came up, what it can take on.
    pub(super) fn ask_capabilities(&mut self, peer: PeerId, step: &mut Step<'_>) {
        let body = cbor::encode(&CapabilityQuery { capability: None });
        let message = Message::new(MsgType::CapabilityQuery, body, Kind::Capabilities);
        self.send(peer, message, step);
    }

    /// Asks some peers for those who offer `capability`.
    pub(super) fn discover(&mut self, capability: &Capability, step: &mut Step<'_>) {
        use rand::seq::IteratorRandom as _;
        let in_session = self.sessions.peers().map(|info| info.peer);
        let up = in_session.filter(|peer| self.peers.is_up(peer));
        let asked = up.sample(step.rng, DISCOVERY_PEERS);
        let body = cbor::encode(&Discovery {
            capability: capability.clone(),
            limit: DISCOVERY_MAX,
        });
        for peer in asked {
            let message = Message::new(MsgType::Discovery, body.clone(), Kind::Discovery);
            self.send(peer, message, step);
        }
    }

    pub(super) fn answer_heartbeat(
        &mut self,
        peer: &PeerId,
        beat: Heartbeat,
        now: Mono,
    ) -> Vec<u8> {
        self.health.heard(peer, beat.seq, beat.status, now);
        cbor::encode(&HeartbeatAck { seq: beat.seq })
    }

    pub(super) fn answer_status(
        &mut self,
        peer: &PeerId,
        report: StatusReport,
        now: Mono,
    ) -> Vec<u8> {
        self.health.reported(peer, report.status, now);
        let status = self.own_status(now);
        cbor::encode(&StatusReport { status })
    }

    pub(super) fn answer_capabilities(&self, query: &CapabilityQuery, now: Mono) -> Vec<u8> {
        let mut capabilities = self.worker.free_slots(now);
        if let Some(wanted) = &query.capability {
            capabilities.retain(|capability| capability.name == *wanted);
        }
        cbor::encode(&CapabilityResponse { capabilities })
    }

    /// The signed entries of those who offer it, our own among them.
    pub(super) fn answer_discovery(
        &self,
        wanted: &Discovery,
        step: &Step<'_>,
    ) -> (Vec<u8>, BatchId) {
        let most = wanted.limit.min(DISCOVERY_MAX) as usize;
        let mut left = SYNC_MAX_BYTES;
        let entries = self
            .registry
            .entries()
            .filter(|entry| entry.body.expires > step.now.wall)
            .filter(|entry| entry.body.slots(&wanted.capability).is_some())
            .take(most)
            .map_while(|entry| {
                left = left.checked_sub(entry.bytes.len())?;
                Some(serde_bytes::ByteBuf::from(entry.bytes.clone()))
            })
            .collect();
        let own = self.registry.own();
        let answer = RegistryEntries {
            entries,
            want: Vec::new(),
            more: false,
        };
        (
            cbor::encode(&answer),
            own.map_or(BatchId::NONE, |(_, written)| written),
        )
    }

    pub(super) fn heartbeat_answered(
        &mut self,
        peer: &PeerId,
        (asked, answered): (u64, u64),
        sent: Mono,
        now: Mono,
    ) -> Option<()> {
        (asked == answered).then(|| self.health.answered(peer, asked, sent, now))
    }

    pub(super) fn capabilities_answered(
        &mut self,
        peer: &PeerId,
        answer: CapabilityResponse,
        now: Mono,
    ) -> Option<()> {
        let fits = answer.capabilities.len() <= CAPABILITIES_MAX;
        self.candidates.drop_all();
        self.worker.look_again();
        fits.then(|| self.health.capable(peer, answer.capabilities, now))
    }

    /// All of a wake-up's attempts were in vain.
    pub(super) fn not_woken(&mut self, entity: &EntityId) {
        if let Some(peer) = self.peer_of_entity(entity) {
            self.health.not_woken(&peer);
        }
    }

    /// Asks a peer how it is.
    pub(super) fn peer_status(
        &mut self,
        command: CommandId,
        peer: &PeerRef,
        step: &mut Step<'_>,
    ) -> Result<(), CommandError> {
        let (peer, _) = self.resolve(peer)?;
        let sent = step.now.mono;
        let status = self.own_status(sent);
        let body = cbor::encode(&StatusReport { status });
        let kind = Kind::Status { command, sent };
        self.send(peer, Message::new(MsgType::StatusReport, body, kind), step);
        Ok(())
    }

    pub(super) fn status_answered(
        &mut self,
        command: CommandId,
        (peer, entity): (PeerId, EntityId),
        report: StatusReport,
        sent: Mono,
        now: Mono,
    ) {
        let NodeStatus {
            uptime_ms,
            load,
            agent,
        } = report.status;
        self.health.reported(&peer, report.status, now);
        let view = PeerStatusView {
            peer_id: peer.to_string(),
            entity_id: entity.to_string(),
            rtt_us: now.as_micros().saturating_sub(sent.as_micros()),
            uptime_ms,
            load: load_view(load),
            agent: agent.as_str().into(),
        };
        self.reply(command, Ok(Reply::PeerStatus(view)));
    }

    pub(super) fn reply_circuit_open(&mut self, id: CommandId, peer: &PeerId, now: Mono) {
        let wait_s = self.guard.wait_ms(peer, now).unwrap_or(0).div_ceil(1_000);
        let error = CommandError::new(
            CommandErrorCode::CircuitOpen,
            format!("{peer} failed too often lately and is left alone: try again in {wait_s} s"),
        );
        self.reply(id, Err(error));
    }

    pub(super) fn peer_state(&self, peer: &PeerId, now: Mono) -> &'static str {
        let link = self.peers.peer(peer).map_or(Link::Down, |known| known.link);
        match link {
            _ if self.peers.is_shunned(peer, now) => "banned",
            Link::Up if self.sessions.with(peer).is_some() => "connected",
            Link::Up | Link::Dialing { .. } => "connecting",
            Link::Down => "disconnected",
        }
    }

    pub(super) fn peer_views(&self, step: &Step<'_>) -> Vec<PeerView> {
        let ids: Vec<PeerId> = self.peers.all().map(|(id, _)| *id).collect();
        ids.into_iter()
            .map(|id| self.peer_view(id, step.now))
            .collect()
    }

    fn peer_view(&self, id: PeerId, now: Now) -> PeerView {
        let (now, wall) = (now.mono, now.wall);
        let session = self.sessions.with(&id).map(|info| info.entity);
        let entity = self.registry.entity_of(&id).or(session);
        let entry = entity.and_then(|entity| self.registry.entry(&entity));
        let health = self.health.of(&id);
        let status = health.and_then(|known| known.status);
        let score = entity.and_then(|entity| self.scores.of(&entity, wall));
        PeerView {
            peer_id: id.to_string(),
            entity_id: entity.map(|entity| entity.to_string()),
            name: entry.map(|entry| entry.body.name.to_string()),
            state: self.peer_state(&id, now).into(),
            capabilities: entry
                .map(super::commands::capability_names)
                .unwrap_or_default(),
            unattended: health
                .map(|known| known.unattended().map(ToString::to_string).collect())
                .unwrap_or_default(),
            addresses: self
                .peers
                .addrs(&id)
                .iter()
                .map(ToString::to_string)
                .collect(),
            health: health.map(|known| known.state.as_str().into()),
            rtt_us: health.and_then(|known| known.rtt_us),
            loss_percent: health.map(|known| (known.loss() * 100.0).round() as u32),
            missed: health.map(|known| known.missed),
            last_seen_ms: health.map(|known| now.since(known.last_seen)),
            version: entry.and_then(|entry| entry.body.versions.iter().max().cloned()),
            load: status.map(|(status, _)| load_view(status.load)),
            agent: status.map(|(status, _)| status.agent.as_str().into()),
            manual_check: health.is_some_and(|known| known.manual_check),
            breaker: self.guard.breaker(&id, now).as_str().into(),
            rate_limited: self.guard.refused_of(&id),
            traffic: self.tally.of(&id),
            score: score.map(|score| score.0),
            tier: score.map(Score::tier),
        }
    }

    pub(super) fn guard_view(&self, now: Mono) -> GuardView {
        let counts = self.guard.counts(now);
        GuardView {
            breakers_open: counts.open,
            breakers_half_open: counts.half_open,
            breakers_opened: counts.opened,
            held_back: counts.held,
            rate_limited: counts.refused,
        }
    }

    pub(super) fn health_counts(&self) -> HealthCounts {
        let [healthy, suspect, unreachable] = self.health.counts();
        HealthCounts {
            healthy,
            suspect,
            unreachable,
        }
    }

    pub(super) fn stats(&self) -> CommandResult {
        let [errors_sent, errors_received] = self.tally.errors();
        let name = |id: &PeerId| {
            let entity = self.registry.entity_of(id)?;
            Some(self.registry.entry(&entity)?.body.name.to_string())
        };
        let peers = self.peers.all().map(|(id, _)| PeerStats {
            peer_id: id.to_string(),
            name: name(id),
            traffic: self.tally.of(id),
        });
        Ok(Reply::Stats(Box::new(NodeStats {
            sessions_made: self.tally.sessions,
            unanswered: self.tally.unanswered,
            messages: self.tally.types(),
            errors_sent,
            errors_received,
            peers: peers.collect(),
        })))
    }

    /// Whether a request is looked at, as far as its rate is concerned.
    pub(super) fn admitted(
        &mut self,
        peer: PeerId,
        msg_type: MsgType,
        bytes: usize,
        step: &Step<'_>,
    ) -> Result<(), WireError> {
        self.tally
            .message(Direction::Received, &peer, msg_type, bytes);
        self.carried(&peer, msg_type, step.now.mono);
        let code = WireError::RateLimited;
        match self.guard.admit(peer, msg_type.class(), step.now.mono) {
            Admission::Pass => return Ok(()),
            Admission::Refused => {}
            Admission::Unheeded => self.penalize(peer, code, step),
        }
        Err(code)
    }

    /// A connection is in use as long as more than signs of life go to and fro.
    pub(super) fn carried(&mut self, peer: &PeerId, msg_type: MsgType, now: Mono) {
        if msg_type.class() != MsgClass::Probe {
            self.peers.used(peer, now);
        }
    }

    /// Something goes out in answer to a request of `peer`'s.
    pub(super) fn answer_goes(&mut self, peer: &PeerId, msg_type: MsgType, bytes: &[u8]) {
        self.tally
            .message(Direction::Sent, peer, msg_type, bytes.len());
    }

    /// Something came in answer to a request of ours.
    pub(super) fn answer_came(&mut self, peer: &PeerId, msg_type: MsgType, bytes: &[u8]) {
        self.guard.answered(peer, ExchangeId(self.next_exchange));
        self.tally
            .message(Direction::Received, peer, msg_type, bytes.len());
    }

    /// Request `id` got no answer. If that was once too often, what waits for the peer fails, too.
    pub(super) fn no_answer(&mut self, peer: PeerId, id: ExchangeId, step: &mut Step<'_>) {
        self.tally.unanswered(&peer);
        if !self.guard.failed(peer, id, step) {
            return;
        }
        self.note(Note::BreakerOpened { peer });
        self.candidates.drop_all();
        let waiting = self.outbox.remove(&peer).unwrap_or_default();
        for message in waiting.into_messages() {
            self.failed(peer, message, ExchangeFailure::CircuitOpen, step);
        }
    }

    /// Drops what is kept of peers that are known no longer.
    pub(super) fn forget_strangers(&mut self, now: Mono) {
        let Node {
            peers,
            health,
            tally,
            guard,
            ..
        } = self;
        health.retain(|peer| peers.peer(peer).is_some());
        tally.retain(|peer| peers.peer(peer).is_some());
        guard.tick(now);
    }
}

fn load_view(load: Load) -> LoadView {
    let Load {
        held,
        slots,
        free,
        waiting,
        draining,
    } = load;
    LoadView {
        held,
        slots,
        free,
        waiting,
        draining,
    }
}
