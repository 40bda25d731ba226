//! Messages outside of a session: what a peer of version 1.0 may say in clear, and the nonces of
//! whatever came over HTTP.
//!
//! A peer of version 1.0 signs and does not encrypt. It is listened to only if the owner allows
//! that entity by its id, and only with what may be read by everybody; it is answered signed and
//! in clear, with the request's digest under the signature, so that an answer fits one request.
//! An entity whose entry says that it speaks 1.1 is held to that, allowed or not: nobody but the
//! entity itself can take that back.
//!
//! # Invariants
//! - **C1** A nonce is taken from an entity once while its message is fresh, also across a
//!   restart: it is stored before anything is done.
//! - **C2** At most [`REPLAY_MAX`] nonces, [`REPLAY_PER_ENTITY_MAX`] of one entity; when full, new
//!   ones are refused and none is forgotten early.
//! - **C3** Only what passed its signature is remembered in somebody's name.

mod policy;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use policy::{Allowed, Known};

use crate::crypto::{Digest, Identity, KeyPair, SigCheck, hash};
use crate::proto::{Step, Violation};
use crate::types::limits::{CLOCK_SKEW_MAX_MS, REPLAY_KEEP_MS, REPLAY_MAX, REPLAY_PER_ENTITY_MAX};
use crate::types::{BatchId, EntityId, Keyspace, Mono, Nonce, Now, Row, Wall};
use crate::wire::{Envelope, Header, MsgType, Seal, VERSION_1_0, WireError, cbor};

const PURPOSE: &str = "clear message";
const PURPOSE_ANSWER: &str = "clear answer";
const ROW_VERSION: u8 = 1;

/// What is known of messages outside of sessions.
pub struct Clear {
    entity: EntityId,
    key: KeyPair,
    allowed: Vec<Allowed>,
    seen: BTreeMap<EntityId, BTreeSet<Nonce>>,
    by_time: BTreeSet<(Mono, EntityId, Nonce)>,
}

/// A message in clear that may be answered if its signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub entity: EntityId,
    pub nonce: Nonce,
    pub msg_type: MsgType,
    pub body: Vec<u8>,
    /// What the answer refers to.
    pub digest: Digest,
}

impl Clear {
    /// Nothing remembered yet.
    pub fn new(identity: &Identity, allowed: Vec<Allowed>) -> Clear {
        Clear {
            entity: identity.entity_id,
            key: identity.key().clone(),
            allowed,
            seen: BTreeMap::new(),
            by_time: BTreeSet::new(),
        }
    }

    /// Our key was rotated: the new one signs from now on.
    pub fn rekey(&mut self, key: &KeyPair) {
        self.key = key.clone();
    }

    /// Takes back a row of ours. One that does not read counts as new: the safe side.
    pub fn load(&mut self, row: &Row, now: Now) {
        if row.space != Keyspace::Seen || row.key.len() != 64 {
            return;
        }
        let (entity, nonce) = row.key.split_at(32);
        let (Ok(entity), Ok(nonce)) = (entity.try_into(), nonce.try_into()) else {
            return;
        };
        let at = match row.value.split_first() {
            Some((&ROW_VERSION, at)) => at.try_into().map(u64::from_be_bytes).ok(),
            _ => None,
        };
        // A clock that was set back meanwhile makes nothing expire earlier.
        let age_ms = at.map_or(0, |at| now.wall.0.saturating_sub(at));
        let left_ms = REPLAY_KEEP_MS.saturating_sub(age_ms);
        self.insert(EntityId(entity), Nonce(nonce), now.mono + left_ms);
    }

    fn insert(&mut self, entity: EntityId, nonce: Nonce, until: Mono) {
        if self.seen.entry(entity).or_default().insert(nonce) {
            self.by_time.insert((until, entity, nonce));
        }
    }

    /// Whether a message of `entity` under this nonce, dated `at`, could be new.
    ///
    /// # Errors
    /// The code to refuse it with.
    pub fn is_fresh(
        &self,
        entity: &EntityId,
        nonce: &Nonce,
        at: Wall,
        now: Now,
    ) -> Result<(), WireError> {
        if at.abs_diff(now.wall) > CLOCK_SKEW_MAX_MS {
            return Err(WireError::HandshakeTimeout);
        }
        let of_entity = self.seen.get(entity);
        if of_entity.is_some_and(|nonces| nonces.contains(nonce)) {
            return Err(WireError::ReplayDetected);
        }
        Ok(())
    }

    /// Takes the nonce of a message whose signature held (C3). What the message asks for is done
    /// once the batch is durable (C1).
    ///
    /// # Errors
    /// `REPLAY_DETECTED`, or `BUSY` when there is no room (C2).
    pub fn remember(
        &mut self,
        entity: EntityId,
        nonce: Nonce,
        step: &mut Step<'_>,
    ) -> Result<BatchId, WireError> {
        let of_entity = self.seen.get(&entity);
        if of_entity.is_some_and(|nonces| nonces.contains(&nonce)) {
            return Err(WireError::ReplayDetected);
        }
        let count = of_entity.map_or(0, BTreeSet::len);
        if self.by_time.len() >= REPLAY_MAX || count >= REPLAY_PER_ENTITY_MAX {
            return Err(WireError::Busy);
        }
        self.insert(entity, nonce, step.now.mono + REPLAY_KEEP_MS);
        let mut value = vec![ROW_VERSION];
        value.extend(step.now.wall.0.to_be_bytes());
        Ok(step.put(Keyspace::Seen, row_key(&entity, &nonce), value))
    }

    /// Forgets what can no longer be repeated.
    pub fn tick(&mut self, step: &mut Step<'_>) {
        while let Some((until, entity, nonce)) = self.by_time.first().copied() {
            if until > step.now.mono {
                break;
            }
            self.by_time.pop_first();
            if let Some(nonces) = self.seen.get_mut(&entity) {
                nonces.remove(&nonce);
                if nonces.is_empty() {
                    self.seen.remove(&entity);
                }
            }
            step.delete(Keyspace::Seen, row_key(&entity, &nonce));
        }
    }

    /// Judges a message of version 1.0. `known` is what the registry says of its sender; nothing
    /// if it never heard of it, or only of the first key, which the entity's id vouches for.
    ///
    /// # Errors
    /// The code to refuse it with.
    pub fn judge(
        &self,
        envelope: Envelope,
        header: &Header,
        known: Option<Known<'_>>,
        now: Now,
    ) -> Result<(Claim, SigCheck), WireError> {
        if header.version != VERSION_1_0 || policy::is_handshake(header.msg_type) {
            return Err(WireError::InvalidVersion);
        }
        if header.seal != Seal::None {
            return Err(WireError::Malformed);
        }
        let sender = header.sender_id;
        let allowed = self.allowed.iter().find(|who| who.entity() == sender);
        let allowed = allowed.ok_or(WireError::EncryptionRequired)?;
        if !policy::may_be_clear(header.msg_type) {
            return Err(WireError::EncryptionRequired);
        }
        if header.recipient_id != Some(self.entity) {
            return Err(WireError::WrongRecipient);
        }
        let key = policy::key_of(allowed, known)?;
        self.is_fresh(&sender, &header.nonce, header.timestamp, now)?;
        let digest = envelope.digest();
        let check = SigCheck {
            key,
            purpose: PURPOSE,
            digest,
            signature: envelope.signature.ok_or(WireError::Malformed)?,
        };
        let claim = Claim {
            entity: sender,
            nonce: header.nonce,
            msg_type: header.msg_type,
            body: envelope.data,
            digest,
        };
        Ok((claim, check))
    }

    /// The answer to a message of version 1.0, in clear like it.
    pub fn answer(
        &self,
        claim: &Claim,
        msg_type: MsgType,
        body: Vec<u8>,
        now: Now,
        nonce: Nonce,
    ) -> Vec<u8> {
        let header = Header {
            version: VERSION_1_0.into(),
            msg_type,
            sender_id: self.entity,
            recipient_id: Some(claim.entity),
            session_id: None,
            epoch: None,
            sequence_num: None,
            re: None,
            timestamp: now.wall,
            nonce,
            seal: Seal::None,
        };
        let header = cbor::encode(&header);
        let digest = hash(PURPOSE_ANSWER, &[&claim.digest, &header, &body]);
        Envelope {
            header,
            data: body,
            signature: Some(self.key.sign(PURPOSE_ANSWER, &digest)),
            tag: None,
        }
        .to_bytes()
    }

    /// Checks C2.
    ///
    /// # Errors
    /// The violation.
    pub fn check(&self) -> Result<(), Violation> {
        let counted: usize = self.seen.values().map(BTreeSet::len).sum();
        Violation::unless(
            counted == self.by_time.len() && counted <= REPLAY_MAX,
            "C2",
            || format!("{counted} nonces, {} by time", self.by_time.len()),
        )
    }
}

fn row_key(entity: &EntityId, nonce: &Nonce) -> Vec<u8> {
    [entity.0, nonce.0].concat()
}
