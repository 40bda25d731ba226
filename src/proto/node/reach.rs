//! Whom a person means, and whether they can be reached.

use super::Node;
use super::command::{CommandError, CommandErrorCode, CommandResult, PeerRef, Reply};
use super::exchange::{Kind, Message};
use super::views::PongView;
use crate::proto::Step;
use crate::types::{CommandId, EntityId, Mono, PeerId};
use crate::wire::{MsgType, Ping, WireError, cbor};

impl Node {
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
            PeerRef::Name(name) => self.entity_named(name)?.ok_or_else(unknown)?,
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

    pub(super) fn ping(
        &mut self,
        command: CommandId,
        peer: &PeerRef,
        step: &mut Step<'_>,
    ) -> Result<(), CommandError> {
        let (peer, _) = self.resolve(peer)?;
        let sent = step.now.mono;
        let kind = Kind::Ping { command, sent };
        let message = Message::new(MsgType::Ping, cbor::encode(&Ping {}), kind);
        self.send(peer, message, step);
        Ok(())
    }

    /// Where the peer is, if it can be spoken to right now; otherwise a ping finds out: it dials,
    /// opens a session, and notices one that the other side has forgotten.
    pub(super) fn reach(
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
        let kind = Kind::Reach { command, entity };
        let message = Message::new(MsgType::Ping, cbor::encode(&Ping {}), kind);
        self.send(peer, message, step);
        None
    }

    pub(super) fn reply_pong(&mut self, id: CommandId, peer: &PeerId, now: Mono, sent: Mono) {
        let rtt_us = vec![now.as_micros().saturating_sub(sent.as_micros())];
        let pong = PongView {
            peer_id: peer.to_string(),
            rtt_us,
        };
        self.reply(id, Ok(Reply::Pong(pong)));
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
        self.reply(id, result);
    }

    /// Nothing came of a question: what the peer said of it is told, if it said anything.
    pub(super) fn reply_gave_up(&mut self, id: CommandId, peer: &PeerId, code: Option<WireError>) {
        let Some(code) = code else {
            return self.reply_unreachable(id, peer);
        };
        self.reply(id, Err(CommandError::refused_by(peer, code)));
    }

    pub(super) fn reply_unreachable(&mut self, id: CommandId, peer: &PeerId) {
        let error = CommandError::new(
            CommandErrorCode::Unreachable,
            format!("{peer} could not be reached, or did not answer in time"),
        );
        self.reply(id, Err(error));
    }
}
