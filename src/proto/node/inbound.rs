//! Answering requests. What is cheap to refuse is refused first.

use super::answers::decode;
use super::flush::Answering;
use super::gossip::{Job, Way};
use super::io::Note;
use super::message::Asker;
use super::transfers::WaitingOffer;
use super::{Node, Output};
use crate::proto::Step;
use crate::proto::session::{self, HandshakeOutcome, Opened, Ticket};
use crate::types::limits::{LIST_MAX_ITEMS, REGISTRY_MAX_ENTRIES};
use crate::types::{BatchId, EntityId, InboundId, PeerId, WakeId};
use crate::wire::{
    AcceptAnswer, ChunkCancel, ChunkOffer, MsgType, Ping, Pong, RegistrySync, TaskAccept,
    TaskCancel, TaskCancelAck, TaskDelegate, TaskProgress, TaskProgressAck, TaskRenew,
    TaskRenewAck, TaskResult, TaskResultAck, TaskReveal, TaskRevealAck, VERSION_1_0, WakeUp,
    WakeUpAck, WakeUpdate, WireError, cbor,
};

/// The answer to a request: its type, its body, and what it rests on.
pub(super) type Answer = (MsgType, Vec<u8>, BatchId);

impl Node {
    pub(super) fn request(
        &mut self,
        id: InboundId,
        peer: PeerId,
        bytes: &[u8],
        step: &mut Step<'_>,
    ) {
        if self.peers.is_shunned(&peer, step.now.mono) {
            // Serving its time: knocking does not lengthen it.
            self.refuse((id, peer), WireError::NotAllowed, step);
            return;
        }
        let (envelope, header) = match session::read(bytes) {
            Ok(read) => read,
            Err(code) => return self.respond_error(id, peer, code, step),
        };
        if let Err(code) = self.admitted(peer, header.msg_type, bytes.len(), step) {
            return self.refuse((id, peer), code, step);
        }
        if header.version == VERSION_1_0 {
            let asker = Asker::Exchange { id, peer };
            if let Err(code) = self.clear_message(asker, envelope, &header, step) {
                self.respond_error(id, peer, code, step);
            }
            return;
        }
        if let Err(code) = session::check_version(&header) {
            return self.respond_error(id, peer, code, step);
        }
        match header.msg_type {
            MsgType::Handshake => {
                match self.sessions.on_handshake(peer, envelope, header, step.now) {
                    HandshakeOutcome::Verify { ticket, checks } => {
                        self.compute(
                            Job::Handshake {
                                ticket,
                                inbound: id,
                                peer,
                            },
                            vec![checks],
                        );
                    }
                    HandshakeOutcome::Challenge(attempt) => {
                        let bytes = self.sessions.challenge(&attempt, step.now, step.rng);
                        self.answer_goes(&peer, MsgType::Error, &bytes);
                        self.out.push(Output::Respond { id, bytes });
                    }
                    HandshakeOutcome::Refused(code) => self.respond_error(id, peer, code, step),
                }
            }
            MsgType::HandshakeConfirm => {
                let nonce = step.nonce();
                match self
                    .sessions
                    .on_confirm(peer, &envelope, &header, step.now, nonce)
                {
                    Ok((info, bytes)) => {
                        self.answer_goes(&peer, MsgType::Ready, &bytes);
                        self.out.push(Output::Respond { id, bytes });
                        self.session_up(info, step);
                    }
                    Err(code) => self.respond_error(id, peer, code, step),
                }
            }
            _ => {
                let opened = self
                    .sessions
                    .open_request(&peer, &envelope, &header, step.now);
                if let Ok(Opened {
                    established: Some(info),
                    ..
                }) = &opened
                {
                    self.session_up(*info, step);
                    self.sync_with(peer, step);
                }
                let answer = opened.and_then(|opened| {
                    self.sign_of_life(&peer, step.now.mono);
                    let waiting = (id, peer, opened.reference);
                    let Some((msg_type, body, after)) =
                        self.answer_or_wait(peer, &opened, waiting, step)?
                    else {
                        return Ok(());
                    };
                    let answering = Answering {
                        id,
                        peer,
                        to: opened.reference,
                        msg_type,
                        body,
                    };
                    self.respond(answering, after, step);
                    Ok(())
                });
                if let Err(code) = answer {
                    self.respond_error(id, peer, code, step);
                }
            }
        }
    }

    /// M1's signatures were judged.
    pub(super) fn handshake_verified(
        &mut self,
        ticket: Ticket,
        good: bool,
        inbound: InboundId,
        peer: PeerId,
        step: &mut Step<'_>,
    ) {
        let Some((own, written)) = self.registry.own() else {
            return;
        };
        let entry = own.bytes.clone();
        match self
            .sessions
            .handshake_verified(ticket, good, &entry, step.now, step.rng)
        {
            // A key that its entity has given up: a thief's, or one given up just now, so it costs
            // nothing. The half-open handshake comes to nothing, for nobody gets to see what it
            // would take to go on with it.
            Ok((_, their_entry)) if !self.registry.admits(&their_entry) => {
                self.refuse((inbound, peer), WireError::InvalidState, step);
            }
            Ok((bytes, their_entry)) => {
                self.merge_verified(&their_entry, step);
                self.answer_goes(&peer, MsgType::HandshakeAck, &bytes);
                let respond = Output::Respond { id: inbound, bytes };
                self.gate.pass(written, respond, &mut self.out);
            }
            Err(Some(code)) => self.respond_error(inbound, peer, code, step),
            Err(None) => {}
        }
    }

    /// Acts on an opened request. None: its answer comes later.
    fn answer_or_wait(
        &mut self,
        peer: PeerId,
        opened: &Opened,
        waiting: WaitingOffer,
        step: &mut Step<'_>,
    ) -> Result<Option<Answer>, WireError> {
        if opened.msg_type == MsgType::ChunkOffer {
            let offer: ChunkOffer = read(&opened.body)?;
            return self.answer_chunk_offer(peer, opened.entity, &offer, waiting, step);
        }
        self.answer(peer, opened.entity, opened.msg_type, &opened.body, step)
            .map(Some)
    }

    /// Acts on a request whose sender and freshness are beyond doubt.
    pub(super) fn answer(
        &mut self,
        peer: PeerId,
        from: EntityId,
        msg_type: MsgType,
        body: &[u8],
        step: &mut Step<'_>,
    ) -> Result<Answer, WireError> {
        match msg_type {
            MsgType::Ping => {
                let _: Ping = read(body)?;
                Ok((MsgType::Pong, cbor::encode(&Pong {}), BatchId::NONE))
            }
            MsgType::Heartbeat => {
                let body = self.answer_heartbeat(&peer, read(body)?, step.now.mono);
                Ok((MsgType::HeartbeatAck, body, BatchId::NONE))
            }
            MsgType::StatusReport => {
                let body = self.answer_status(&peer, read(body)?, step.now.mono);
                Ok((MsgType::StatusReport, body, BatchId::NONE))
            }
            MsgType::CapabilityQuery => {
                let body = self.answer_capabilities(&read(body)?, step.now.mono);
                Ok((MsgType::CapabilityResponse, body, BatchId::NONE))
            }
            MsgType::Discovery => {
                let (body, after) = self.answer_discovery(&read(body)?, step);
                Ok((MsgType::RegistryEntries, body, after))
            }
            MsgType::RegistrySync => self.answer_sync(peer, read(body)?, step),
            MsgType::WakeUp => {
                let wake: WakeUp = read(body)?;
                Ok(self.answer_wake(peer, from, wake, step))
            }
            MsgType::WakeUpdate => {
                let WakeUpdate { nonce, status } = read(body)?;
                self.wakes.told(from, nonce, status, step.now.mono);
                Ok((MsgType::Pong, cbor::encode(&Pong {}), BatchId::NONE))
            }
            MsgType::TaskDelegate => {
                let TaskDelegate { items } = read(body)?;
                bounded(items.len())?;
                let offered: Vec<_> = items.iter().map(|item| item.task_id).collect();
                let (answers, after) = self.worker.offered(from, items, step);
                for (task, answer) in offered.into_iter().zip(&answers) {
                    if !matches!(answer, AcceptAnswer::Refused(_)) {
                        let taken = Note::TaskTaken {
                            task,
                            requester: from,
                        };
                        let taken = Output::Note(taken);
                        self.gate.pass(after, taken, &mut self.out);
                    }
                }
                for key in self.worker.let_go() {
                    let (task, requester) = (key.task, key.requester);
                    self.note(Note::ResultLetGo { task, requester });
                }
                let body = cbor::encode(&TaskAccept {
                    boot: self.boot,
                    answers,
                });
                Ok((MsgType::TaskAccept, body, after))
            }
            MsgType::TaskRenew => {
                let TaskRenew { boot, items } = read(body)?;
                bounded(items.len())?;
                let (answers, after) = self.requester.renewed(from, boot, &items, step);
                Ok((
                    MsgType::TaskRenewAck,
                    cbor::encode(&TaskRenewAck { answers }),
                    after,
                ))
            }
            MsgType::TaskResult => {
                let list: TaskResult = read(body)?;
                bounded(list.items.len())?;
                let (answers, after) = self.take_results(from, list, step)?;
                Ok((
                    MsgType::TaskResultAck,
                    cbor::encode(&TaskResultAck { answers }),
                    after,
                ))
            }
            MsgType::TaskCancel => {
                let TaskCancel { items } = read(body)?;
                bounded(items.len())?;
                self.worker.canceled(from, &items, step);
                Ok((
                    MsgType::TaskCancelAck,
                    cbor::encode(&TaskCancelAck {}),
                    BatchId::NONE,
                ))
            }
            MsgType::TaskReveal => {
                let TaskReveal { items } = read(body)?;
                bounded(items.len())?;
                let answers = self.worker.reveal(from, &items, step.now);
                let body = cbor::encode(&TaskRevealAck { answers });
                Ok((MsgType::TaskRevealAck, body, BatchId::NONE))
            }
            MsgType::TaskProgress => {
                let TaskProgress { items } = read(body)?;
                bounded(items.len())?;
                let answers = self.requester.said(from, items, step);
                let body = cbor::encode(&TaskProgressAck { answers });
                Ok((MsgType::TaskProgressAck, body, BatchId::NONE))
            }
            MsgType::ChunkCancel => {
                let cancel: ChunkCancel = read(body)?;
                Ok(self.answer_chunk_cancel(from, &cancel, step))
            }
            _ => Err(WireError::InvalidState),
        }
    }

    fn answer_sync(
        &mut self,
        peer: PeerId,
        sync: RegistrySync,
        step: &mut Step<'_>,
    ) -> Result<Answer, WireError> {
        if sync
            .have
            .as_ref()
            .is_some_and(|have| have.len() > 2 * REGISTRY_MAX_ENTRIES)
        {
            return Err(WireError::PayloadTooLarge);
        }
        let answer = self.registry.compare(&sync, step.now);
        let entries = sync.entries.into_iter().map(serde_bytes::ByteBuf::into_vec);
        self.take_entries(peer, entries, Way::Exchange { more: false }, step);
        let after = self
            .registry
            .own()
            .map_or(BatchId::NONE, |(_, written)| written);
        Ok((MsgType::RegistryEntries, cbor::encode(&answer), after))
    }

    fn answer_wake(
        &mut self,
        peer: PeerId,
        from: EntityId,
        wake: WakeUp,
        step: &mut Step<'_>,
    ) -> Answer {
        let allowed = self.may_wake(&peer, &from);
        let (nonce, reason) = (wake.nonce, wake.reason.clone());
        let id = WakeId(step.uuid_v7());
        let status = self
            .wakes
            .receive(id, peer, from, wake, allowed, step.now.mono);
        if status == crate::wire::WakeStatus::Delivered {
            self.note(Note::Woken { from, reason });
        }
        let body = cbor::encode(&WakeUpAck { nonce, status });
        (MsgType::WakeUpAck, body, BatchId::NONE)
    }

    fn may_wake(&self, peer: &PeerId, from: &EntityId) -> bool {
        // By id only: anybody can take any name.
        let (peer, from) = (peer.to_string(), from.to_string());
        let allow = self.config.wake.allow.as_ref();
        allow.is_none_or(|allow| allow.iter().any(|id| *id == peer || *id == from))
    }
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    decode(body).ok_or(WireError::Malformed)
}

fn bounded(items: usize) -> Result<(), WireError> {
    if items <= LIST_MAX_ITEMS {
        Ok(())
    } else {
        Err(WireError::PayloadTooLarge)
    }
}
