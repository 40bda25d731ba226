//! Rotated keys: our own, and what became known of others'.

use super::Node;
use super::command::{CommandError, CommandErrorCode, CommandResult, PeerRef, Reply};
use super::io::Note;
use super::views::FingerprintView;
use crate::crypto::Identity;
use crate::proto::Step;
use crate::proto::registry::KeyNews;
use crate::types::{BatchId, PeerId};

impl Node {
    /// Our key was rotated, and that is durable: the network is told, and every session is made
    /// anew. What is under way ends under the key that it began with.
    pub(super) fn key_rotated(
        &mut self,
        identity: Identity,
        step: &mut Step<'_>,
    ) -> (CommandResult, BatchId) {
        if !identity.follows(&self.identity) {
            let error = CommandError::new(
                CommandErrorCode::Conflict,
                "these keys do not follow the ones in use",
            );
            return (Err(error), BatchId::NONE);
        }
        self.sessions.rekey(identity.key());
        self.http.rekey(identity.key());
        self.clear.rekey(identity.key());
        self.registry.rekey(identity.clone(), step);
        self.identity = identity;
        self.publish_own();
        let peers: Vec<PeerId> = self
            .sessions
            .peers()
            .map(|info| info.peer)
            .filter(|peer| self.peers.is_up(peer))
            .collect();
        for peer in peers {
            self.open_session(peer, step);
        }
        let (_, written) = self.registry.own().expect("it was issued a moment ago");
        (Ok(Reply::Fingerprint(self.own_fingerprint())), written)
    }

    /// Acts on what became known of somebody's keys since the last step.
    pub(super) fn hear_key_news(&mut self, step: &mut Step<'_>) {
        for news in self.registry.take_key_news() {
            if let KeyNews::Rotated { entity, .. } = news {
                let registry = &self.registry;
                for sessions in [&mut self.sessions, &mut self.http] {
                    sessions.outdate(|entity| registry.rotations(entity), step.now.mono);
                }
                let stale = self
                    .peer_of_entity(&entity)
                    .filter(|peer| self.sessions.has_old_key(peer) && self.peers.is_up(peer));
                if let Some(peer) = stale {
                    self.open_session(peer, step);
                }
            }
            self.note(Note::Keys(news));
        }
    }

    pub(super) fn fingerprint(&self, peer: Option<&PeerRef>) -> CommandResult {
        let Some(peer) = peer else {
            return Ok(Reply::Fingerprint(self.own_fingerprint()));
        };
        let (peer_id, entity) = self.resolve(peer)?;
        let entry = self.registry.entry(&entity).ok_or_else(|| {
            CommandError::new(
                CommandErrorCode::NotFound,
                format!("nothing is known of the keys of {peer}: try again in a moment"),
            )
        })?;
        Ok(Reply::Fingerprint(FingerprintView {
            name: entry.body.name.to_string(),
            peer_id: peer_id.to_string(),
            entity_id: entity.to_string(),
            fingerprint: Identity::fingerprint(&entity),
            key: Some(entry.body.key.to_string()),
            rotations: entry.body.rotations.len(),
        }))
    }

    fn own_fingerprint(&self) -> FingerprintView {
        let identity = &self.identity;
        FingerprintView {
            name: self.config.name.to_string(),
            peer_id: identity.peer_id.to_string(),
            entity_id: identity.entity_id.to_string(),
            fingerprint: Identity::fingerprint(&identity.entity_id),
            key: Some(identity.key().public().to_string()),
            rotations: identity.chain().rotations().len(),
        }
    }
}
