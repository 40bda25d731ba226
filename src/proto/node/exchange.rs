//! Sending: sessions opened when needed, messages queued (`outbox`) until they are.

use super::Node;
use super::gossip::Job;
use super::io::{ExchangeFailure, Note, Output};
use super::outbox::{Outbox, window};
use super::tally::Direction;
use crate::crypto::{Subject, Work};
use crate::proto::Step;
use crate::proto::guard::Permit;
use crate::proto::peers::Sentence;
use crate::proto::session::{AckOutcome, NoAnswer, SealedRef};
use crate::types::limits::BODY_MAX_BYTES;
use crate::types::{
    BatchId, CommandId, EntityId, ExchangeId, FencingToken, InboundId, Mono, Nonce, PeerId, RunId,
    SessionId, TaskId, TransferId, WakeId,
};
use crate::wire::{
    MsgType, Ping, RegistrySync, RenewItem, RevealItem, WakeStatus, WireError, cbor,
};

const RESEND_MS: u64 = 2_000;
const DELAYED_MAX: usize = 256;

/// A request of ours, before it is sealed.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) msg_type: MsgType,
    pub(super) body: Vec<u8>,
    pub(super) kind: Kind,
    /// What it rests on.
    pub(super) after: BatchId,
    pub(super) resent: bool,
}

impl Message {
    /// One that rests on nothing that the disk has to keep first.
    pub(super) fn new(msg_type: MsgType, body: Vec<u8>, kind: Kind) -> Message {
        Message {
            msg_type,
            body,
            kind,
            after: BatchId::NONE,
            resent: false,
        }
    }
}

/// What a request is about: what its answer, or the lack of one, is told to.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Ping {
        command: CommandId,
        sent: Mono,
    },
    /// A ping that shows that there is a connection and a session.
    Reach {
        command: CommandId,
        entity: EntityId,
    },
    /// Asks for nothing but an answer.
    Probe,
    /// A heartbeat of that number.
    Beat {
        seq: u64,
        sent: Mono,
    },
    /// How the peer is, for the API.
    Status {
        command: CommandId,
        sent: Mono,
    },
    Capabilities,
    Discovery,
    Sync,
    Delegate {
        worker: EntityId,
        offers: Vec<(TaskId, FencingToken)>,
    },
    Cancel,
    Renew {
        requester: EntityId,
        items: Vec<RenewItem>,
        sent: Mono,
    },
    Results {
        requester: EntityId,
        tasks: Vec<(TaskId, FencingToken)>,
    },
    Reveal {
        worker: EntityId,
        items: Vec<RevealItem>,
    },
    Progress {
        requester: EntityId,
        runs: Vec<RunId>,
    },
    Wake {
        id: WakeId,
    },
    WakeUpdate {
        tries: u32,
    },
    ChunkOffer {
        id: TransferId,
    },
    ChunkCancel,
}

/// What an exchange under way is.
#[derive(Debug)]
pub(super) enum Pending {
    Handshake {
        peer: PeerId,
        session: SessionId,
    },
    Confirm {
        peer: PeerId,
        session: SessionId,
    },
    Message {
        peer: PeerId,
        message: Box<Message>,
        sealed: SealedRef,
    },
}

impl Node {
    pub(super) fn begin(&mut self, pending: Pending, peer: PeerId, bytes: Vec<u8>, after: BatchId) {
        let id = ExchangeId(self.next_exchange);
        self.next_exchange += 1;
        let msg_type = match &pending {
            Pending::Handshake { .. } => MsgType::Handshake,
            Pending::Confirm { .. } => MsgType::HandshakeConfirm,
            Pending::Message { message, .. } => message.msg_type,
        };
        self.tally
            .message(Direction::Sent, &peer, msg_type, bytes.len());
        *self.in_flight.entry(peer).or_default() += 1;
        self.exchanges.insert(id, pending);
        let addrs = self.peers.addrs(&peer);
        let request = Output::Request {
            id,
            peer,
            addrs,
            bytes,
        };
        self.gate.pass(after, request, &mut self.out);
    }

    fn finish(&mut self, id: ExchangeId) -> Option<Pending> {
        let pending = self.exchanges.remove(&id)?;
        let (Pending::Handshake { peer, .. }
        | Pending::Confirm { peer, .. }
        | Pending::Message { peer, .. }) = &pending;
        if let Some(count) = self.in_flight.get_mut(peer) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(peer);
            }
        }
        Some(pending)
    }

    /// Queues a message and sends what can be sent.
    pub(super) fn send(&mut self, peer: PeerId, message: Message, step: &mut Step<'_>) {
        let too_large = message.body.len() > BODY_MAX_BYTES;
        if too_large || self.peers.is_shunned(&peer, step.now.mono) {
            self.failed(peer, message, ExchangeFailure::NotSent, step);
            return;
        }
        let class = message.msg_type.class();
        match self.guard.permit(peer, class, step.now.mono) {
            Permit::Pass => {}
            Permit::CircuitOpen => {
                return self.failed(peer, message, ExchangeFailure::CircuitOpen, step);
            }
            Permit::Held => {
                // What the peer would say.
                let code = Some(WireError::RateLimited);
                return self.gave_up(peer, message, ExchangeFailure::NotSent, code, step);
            }
        }
        self.outbox.entry(peer).or_default().push(message);
        self.pump(peer, step);
        if let Some(message) = self.outbox.get_mut(&peer).and_then(Outbox::shed) {
            self.failed(peer, message, ExchangeFailure::NotSent, step);
        }
    }

    /// Seals and sends what waits for `peer`; opens a session if that is what is missing.
    pub(super) fn pump(&mut self, peer: PeerId, step: &mut Step<'_>) {
        while let Some(priority) = self.outbox.get(&peer).and_then(Outbox::first) {
            let under_way = self.in_flight.get(&peer).copied().unwrap_or(0);
            if under_way >= window(priority) {
                return;
            }
            if self.sessions.with(&peer).is_none() {
                self.seek_session(peer, step);
                return;
            }
            let queue = self.outbox.get_mut(&peer).expect("it is not empty");
            let mut message = queue.pop().expect("it is not empty");
            if let Kind::Ping { sent, .. }
            | Kind::Renew { sent, .. }
            | Kind::Beat { sent, .. }
            | Kind::Status { sent, .. } = &mut message.kind
            {
                *sent = step.now.mono;
            }
            let nonce = step.nonce();
            let sealed =
                self.sessions
                    .seal_request(&peer, message.msg_type, &message.body, step.now, nonce);
            let Some((bytes, sealed)) = sealed else {
                // It ran out of time this moment.
                self.sessions.forget_newest(&peer);
                self.outbox.entry(peer).or_default().push_front(message);
                continue;
            };
            let after = message.after;
            let pending = Pending::Message {
                peer,
                message: Box::new(message),
                sealed,
            };
            self.begin(pending, peer, bytes, after);
        }
        self.outbox.remove(&peer);
    }

    pub(super) fn send_delayed(&mut self, step: &mut Step<'_>) {
        let now = step.now.mono;
        let (due, later) = std::mem::take(&mut self.delayed)
            .into_iter()
            .partition(|d| d.0 <= now);
        self.delayed = later;
        let due: Vec<(Mono, PeerId, Message)> = due;
        for (_, peer, message) in due {
            self.send(peer, message, step);
        }
    }

    pub(super) fn response(&mut self, id: ExchangeId, bytes: &[u8], step: &mut Step<'_>) {
        match self.finish(id) {
            None => {}
            Some(Pending::Handshake { peer, session }) => {
                self.answer_came(&peer, MsgType::HandshakeAck, bytes);
                match self.sessions.on_ack(peer, session, bytes, step.now) {
                    AckOutcome::Verify { ticket, checks } => {
                        self.compute(Job::Ack { ticket }, vec![checks]);
                    }
                    AckOutcome::Again(bytes) => {
                        let again = Pending::Handshake { peer, session };
                        self.begin(again, peer, bytes, BatchId::NONE);
                    }
                    AckOutcome::Failed(code) => self.session_failed(peer, Some(code), step),
                    // Another handshake took its place. Should that come to nothing, too, what
                    // waits must not wait for ever.
                    AckOutcome::Stale => self.look_again(peer, step),
                }
            }
            Some(Pending::Confirm { peer, session }) => {
                self.answer_came(&peer, MsgType::Ready, bytes);
                match self.sessions.on_ready(peer, session, bytes, step.now) {
                    Ok(info) => {
                        self.session_up(info, step);
                        self.sync_with(peer, step);
                    }
                    Err(Some(code)) => self.session_failed(peer, Some(code), step),
                    Err(None) => self.look_again(peer, step),
                }
            }
            Some(Pending::Message {
                peer,
                message,
                sealed,
            }) => {
                let opened = self.sessions.open_response(&peer, sealed, bytes, step.now);
                let answered = opened.and_then(|opened| {
                    self.answer_came(&peer, opened.msg_type, bytes);
                    self.sign_of_life(&peer, step.now.mono);
                    let answered = self.answered(peer, &message, &opened, step);
                    answered.ok_or(NoAnswer::Unreadable(WireError::Malformed))
                });
                match answered {
                    Ok(()) => {}
                    Err(NoAnswer::Refused(code)) => {
                        self.answer_came(&peer, MsgType::Error, bytes);
                        self.tally.error(Direction::Received, &peer, code);
                        self.refused(peer, *message, sealed, code, step);
                    }
                    Err(NoAnswer::Unreadable(_)) => {
                        self.tally.unanswered(&peer);
                        self.failed(peer, *message, ExchangeFailure::Unknown, step);
                    }
                }
                self.pump(peer, step);
            }
        }
    }

    pub(super) fn exchange_failed(
        &mut self,
        id: ExchangeId,
        failure: ExchangeFailure,
        step: &mut Step<'_>,
    ) {
        match self.finish(id) {
            None => {}
            Some(Pending::Handshake { peer, session } | Pending::Confirm { peer, session }) => {
                self.sessions.abandon(&peer, session);
                self.no_answer(peer, id, step);
                self.session_failed(peer, None, step);
            }
            Some(Pending::Message { peer, message, .. }) => {
                self.no_answer(peer, id, step);
                self.failed(peer, *message, failure, step);
                self.pump(peer, step);
            }
        }
    }

    /// The other side refused a message. If it was for want of a session, a new one is opened and
    /// the message goes once more.
    fn refused(
        &mut self,
        peer: PeerId,
        mut message: Message,
        sealed: SealedRef,
        code: WireError,
        step: &mut Step<'_>,
    ) {
        let session_is_void = matches!(
            code,
            WireError::SessionNotFound | WireError::SessionExpired | WireError::DecryptionFailed
        );
        if session_is_void {
            self.sessions.forget(&peer, sealed.session);
        }
        if code == WireError::RateLimited {
            let class = message.msg_type.class();
            self.guard.refused(peer, class, step.now.mono);
        }
        if session_is_void && !message.resent {
            message.resent = true;
            self.outbox.entry(peer).or_default().push_front(message);
        } else {
            self.gave_up(peer, message, ExchangeFailure::Unknown, Some(code), step);
        }
    }

    /// A message got no answer.
    pub(super) fn failed(
        &mut self,
        peer: PeerId,
        message: Message,
        failure: ExchangeFailure,
        step: &mut Step<'_>,
    ) {
        self.gave_up(peer, message, failure, None, step);
    }

    /// A message came to nothing; `code` is why, if that was said.
    fn gave_up(
        &mut self,
        peer: PeerId,
        message: Message,
        failure: ExchangeFailure,
        code: Option<WireError>,
        step: &mut Step<'_>,
    ) {
        let sent = failure == ExchangeFailure::Unknown;
        match message.kind {
            Kind::Ping { command, .. }
            | Kind::Reach { command, .. }
            | Kind::Status { command, .. }
                if failure == ExchangeFailure::CircuitOpen =>
            {
                self.reply_circuit_open(command, &peer, step.now.mono);
            }
            Kind::Ping { command, .. }
            | Kind::Reach { command, .. }
            | Kind::Status { command, .. } => {
                self.reply_gave_up(command, &peer, code);
            }
            Kind::Beat { .. } | Kind::Capabilities | Kind::Discovery => {}
            Kind::Probe | Kind::Sync | Kind::Cancel | Kind::Renew { .. } | Kind::ChunkCancel => {}
            // It is asked again until it has told.
            Kind::Reveal { .. } => {}
            Kind::ChunkOffer { id } => self.sends.offer_failed(id, step),
            Kind::Progress { requester, .. } => self.said_told(requester, &[], &[]),
            Kind::Delegate { worker, offers } => {
                self.requester.offer_failed(worker, &offers, step, sent);
            }
            Kind::Results { requester, tasks } => {
                self.worker.acknowledged(requester, &tasks, None, step);
            }
            Kind::Wake { id } => self.wakes.send_failed(id, code, step.now.mono),
            Kind::WakeUpdate { tries } if tries < 3 && self.delayed.len() < DELAYED_MAX => {
                let at = step.now.mono + (RESEND_MS << tries);
                let kind = Kind::WakeUpdate { tries: tries + 1 };
                self.delayed.push((
                    at,
                    peer,
                    Message {
                        kind,
                        resent: false,
                        ..message
                    },
                ));
            }
            Kind::WakeUpdate { .. } => {}
        }
    }

    /// Has `peer` answer something: its answer is what our next epoch waits for.
    pub(super) fn probe(&mut self, peer: PeerId, step: &mut Step<'_>) {
        let message = Message::new(MsgType::Ping, cbor::encode(&Ping {}), Kind::Probe);
        self.send(peer, message, step);
    }

    /// Asks `peer` for the entries we lack.
    pub(super) fn sync_with(&mut self, peer: PeerId, step: &mut Step<'_>) {
        let sync = RegistrySync {
            have: Some(self.registry.digest(step.now)),
            entries: Vec::new(),
        };
        self.send_sync(peer, &sync, step);
    }

    pub(super) fn send_sync(&mut self, peer: PeerId, sync: &RegistrySync, step: &mut Step<'_>) {
        let after = self
            .registry
            .own()
            .map_or(BatchId::NONE, |(_, written)| written);
        let message = Message {
            after,
            ..Message::new(MsgType::RegistrySync, cbor::encode(sync), Kind::Sync)
        };
        self.send(peer, message, step);
    }

    /// Tells the woken side's progress to who woke it.
    pub(super) fn wake_update(
        &mut self,
        peer: PeerId,
        nonce: Nonce,
        status: WakeStatus,
        step: &mut Step<'_>,
    ) {
        let body = cbor::encode(&crate::wire::WakeUpdate { nonce, status });
        let message = Message::new(MsgType::WakeUpdate, body, Kind::WakeUpdate { tries: 0 });
        self.send(peer, message, step);
    }

    /// Answers a request with an error, and holds it against the peer if it deserves that.
    pub(super) fn respond_error(
        &mut self,
        id: InboundId,
        peer: PeerId,
        code: WireError,
        step: &mut Step<'_>,
    ) {
        self.refuse((id, peer), code, step);
        self.penalize(peer, code, step);
    }

    /// Answers a request with an error.
    pub(super) fn refuse(
        &mut self,
        (id, peer): (InboundId, PeerId),
        code: WireError,
        step: &mut Step<'_>,
    ) {
        let nonce = step.nonce();
        let bytes = self.sessions.error(code, step.now, nonce);
        self.tally.error(Direction::Sent, &peer, code);
        self.answer_goes(&peer, MsgType::Error, &bytes);
        self.out.push(Output::Respond { id, bytes });
    }

    pub(super) fn penalize(&mut self, peer: PeerId, code: WireError, step: &Step<'_>) {
        self.tally.penalty(&peer, code.penalty());
        if let Sentence::Ban { for_ms } = self.peers.penalize(peer, code.penalty(), step.now.mono) {
            self.sessions.forget_all(&peer);
            self.candidates.drop_all();
            self.peers_changed = true;
            self.note(Note::PeerBanned { peer, for_ms });
            self.out.push(Output::Disconnect { peer });
        }
    }

    /// Has signatures checked outside; the verdict comes as `Input::Computed`.
    pub(super) fn compute(&mut self, job: Job, groups: Vec<Vec<crate::crypto::SigCheck>>) {
        let id = crate::types::JobId(self.next_job);
        self.next_job += 1;
        let subject = match &job {
            Job::Handshake { .. } | Job::Ack { .. } | Job::HttpHandshake(_) => Subject::Handshake,
            Job::Clear { .. } => Subject::Message,
            Job::Entries { .. } => Subject::Entries,
        };
        self.jobs.insert(id, job);
        self.out.push(Output::Compute {
            job: id,
            work: Work::Verify { subject, groups },
        });
    }
}
