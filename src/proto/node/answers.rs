//! Answers to our requests, each handed to the core that asked.

use super::Node;
use super::exchange::{Kind, Message};
use super::gossip::Way;
use crate::proto::Step;
use crate::proto::session::Opened;
use crate::types::PeerId;
use crate::types::limits::BODY_MAX_BYTES;
use crate::wire::{
    AcceptAnswer, CapabilityResponse, ChunkAnswer, HeartbeatAck, MsgType, RefuseReason,
    RegistryEntries, StatusReport, TaskAccept, TaskProgressAck, TaskRenewAck, TaskResultAck,
    TaskRevealAck, WakeUpAck, cbor,
};

impl Node {
    /// Hands an answer to whom it concerns; none when it is not an answer to this.
    pub(super) fn answered(
        &mut self,
        peer: PeerId,
        message: &Message,
        opened: &Opened,
        step: &mut Step<'_>,
    ) -> Option<()> {
        let read_as = |expected: MsgType| (opened.msg_type == expected).then_some(&opened.body[..]);
        match &message.kind {
            Kind::Ping { command, sent } => {
                read_as(MsgType::Pong)?;
                self.reply_pong(*command, &peer, step.now.mono, *sent);
            }
            Kind::Reach { command, entity } => {
                read_as(MsgType::Pong)?;
                self.reply_reached(*command, peer, *entity, opened.entity);
            }
            Kind::Beat { seq, sent } => {
                let ack: HeartbeatAck = decode(read_as(MsgType::HeartbeatAck)?)?;
                self.heartbeat_answered(&peer, (*seq, ack.seq), *sent, step.now.mono)?;
            }
            Kind::Status { command, sent } => {
                let report: StatusReport = decode(read_as(MsgType::StatusReport)?)?;
                let who = (peer, opened.entity);
                self.status_answered(*command, who, report, *sent, step.now.mono);
            }
            Kind::Capabilities => {
                let answer: CapabilityResponse = decode(read_as(MsgType::CapabilityResponse)?)?;
                self.capabilities_answered(&peer, answer, step.now.mono)?;
            }
            Kind::Discovery => {
                let answer: RegistryEntries = decode(read_as(MsgType::RegistryEntries)?)?;
                let entries = answer.entries.into_iter();
                let entries = entries.map(serde_bytes::ByteBuf::into_vec);
                self.take_entries(peer, entries, Way::Exchange { more: false }, step);
            }
            Kind::Sync => {
                let answer: RegistryEntries = decode(read_as(MsgType::RegistryEntries)?)?;
                self.registry_answer(peer, answer, step);
            }
            Kind::Delegate { worker, offers } => {
                let accept: TaskAccept = decode(read_as(MsgType::TaskAccept)?)?;
                (accept.answers.len() == offers.len()).then_some(())?;
                let busy = AcceptAnswer::Refused(RefuseReason::Busy);
                if accept.answers.contains(&busy) {
                    self.ask_refuser(*worker, step);
                }
                self.requester
                    .answered(*worker, accept.boot, offers, &accept.answers, step);
            }
            Kind::Cancel => {
                read_as(MsgType::TaskCancelAck)?;
            }
            Kind::Renew {
                requester,
                items,
                sent,
            } => {
                let ack: TaskRenewAck = decode(read_as(MsgType::TaskRenewAck)?)?;
                self.worker
                    .renewed(*requester, items, &ack.answers, *sent, step);
            }
            Kind::Results { requester, tasks } => {
                let ack: TaskResultAck = decode(read_as(MsgType::TaskResultAck)?)?;
                (ack.answers.len() == tasks.len()).then_some(())?;
                self.worker
                    .acknowledged(*requester, tasks, Some(&ack.answers), step);
            }
            Kind::Reveal { worker, items } => {
                let ack: TaskRevealAck = decode(read_as(MsgType::TaskRevealAck)?)?;
                (ack.answers.len() == items.len()).then_some(())?;
                self.requester
                    .reveal_answered(*worker, items, &ack.answers, step);
            }
            Kind::Progress { requester, runs } => {
                let ack: TaskProgressAck = decode(read_as(MsgType::TaskProgressAck)?)?;
                self.said_told(*requester, runs, &ack.answers);
            }
            Kind::Wake { .. } => {
                let ack: WakeUpAck = decode(read_as(MsgType::WakeUpAck)?)?;
                self.wakes
                    .told(opened.entity, ack.nonce, ack.status, step.now.mono);
            }
            Kind::ChunkOffer { id } => {
                let answer: ChunkAnswer = decode(read_as(MsgType::ChunkAnswer)?)?;
                self.chunk_answered(*id, answer, step)?;
            }
            Kind::ChunkCancel => {
                read_as(MsgType::ChunkCancelAck)?;
            }
            Kind::Probe | Kind::WakeUpdate { .. } => {
                read_as(MsgType::Pong)?;
            }
        }
        Some(())
    }
}

/// Reads the body of an answer; none when it is malformed.
pub(super) fn decode<T: serde::de::DeserializeOwned>(body: &[u8]) -> Option<T> {
    cbor::decode(body, BODY_MAX_BYTES).ok()
}
