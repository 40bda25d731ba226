//! What each sender has in the inbox, and who it is.

use std::collections::{BTreeMap, BTreeSet};

use crate::proto::{Step, Violation};
use crate::types::limits::{INBOX_PER_SENDER_MAX_BYTES, INBOX_PER_SENDER_MAX_MESSAGES};
use crate::types::{EntityId, Keyspace, MessageId, Mono};

/// One sender's share.
#[derive(Debug, Default)]
struct Sender {
    messages: usize,
    bytes: usize,
    tombstones: BTreeSet<(Mono, MessageId)>,
    /// Its signed entry, kept as long as a message of it is: it names the key that signed them.
    entry: Vec<u8>,
}

/// Everybody who has a message or a tombstone here.
#[derive(Debug, Default)]
pub(super) struct Senders(BTreeMap<EntityId, Sender>);

impl Senders {
    pub(super) fn load(&mut self, entity: EntityId, entry: Vec<u8>) {
        self.0.entry(entity).or_default().entry = entry;
    }

    /// Messages and bytes that `entity` has here.
    pub(super) fn share(&self, entity: &EntityId) -> (usize, usize) {
        let sender = self.0.get(entity);
        sender.map_or((0, 0), |sender| (sender.messages, sender.bytes))
    }

    pub(super) fn took(&mut self, entity: EntityId, bytes: usize) {
        let sender = self.0.entry(entity).or_default();
        sender.messages += 1;
        sender.bytes += bytes;
    }

    pub(super) fn grew(&mut self, entity: &EntityId, bytes: usize) {
        if let Some(sender) = self.0.get_mut(entity) {
            sender.bytes += bytes;
        }
    }

    pub(super) fn gave_back(&mut self, entity: &EntityId, bytes: usize) {
        if let Some(sender) = self.0.get_mut(entity) {
            sender.messages -= 1;
            sender.bytes -= bytes;
        }
    }

    pub(super) fn buried(&mut self, entity: EntityId, until: Mono, id: MessageId) {
        let sender = self.0.entry(entity).or_default();
        sender.tombstones.insert((until, id));
    }

    pub(super) fn dug_up(&mut self, entity: &EntityId, until: Mono, id: MessageId) {
        if let Some(sender) = self.0.get_mut(entity) {
            sender.tombstones.remove(&(until, id));
            self.drop_if_empty(entity);
        }
    }

    /// Keeps the sender's entry, so that its messages can be shown to others when it is gone.
    pub(super) fn witness(&mut self, entity: EntityId, entry: Option<&[u8]>, step: &mut Step<'_>) {
        let sender = self.0.entry(entity).or_default();
        if let Some(entry) = entry
            && sender.entry != entry
        {
            sender.entry = entry.to_vec();
            let _ = step.put(Keyspace::InboxSender, entity.0, entry.to_vec());
        }
    }

    pub(super) fn entry(&self, entity: &EntityId) -> Option<&[u8]> {
        let sender = self.0.get(entity)?;
        (!sender.entry.is_empty()).then_some(&sender.entry[..])
    }

    /// A sender that has no message left needs no entry.
    pub(super) fn forget_if_idle(&mut self, entity: &EntityId, step: &mut Step<'_>) {
        if let Some(sender) = self.0.get_mut(entity)
            && sender.messages == 0
            && !sender.entry.is_empty()
        {
            sender.entry.clear();
            step.delete(Keyspace::InboxSender, entity.0);
        }
        self.drop_if_empty(entity);
    }

    fn drop_if_empty(&mut self, entity: &EntityId) {
        let empty = |sender: &Sender| {
            sender.messages == 0 && sender.tombstones.is_empty() && sender.entry.is_empty()
        };
        if self.0.get(entity).is_some_and(empty) {
            self.0.remove(entity);
        }
    }

    /// The oldest tombstone of a sender that has more than `max`.
    pub(super) fn oldest_tombstone(&self, entity: &EntityId, max: usize) -> Option<MessageId> {
        let sender = self.0.get(entity).filter(|s| s.tombstones.len() > max)?;
        sender.tombstones.first().map(|(_, id)| *id)
    }

    /// Checks that shares are what they count, and within their bounds.
    pub(super) fn check(
        &self,
        live: impl Iterator<Item = (EntityId, usize)>,
    ) -> Result<(), Violation> {
        let mut counted: BTreeMap<EntityId, (usize, usize)> = BTreeMap::new();
        for (entity, bytes) in live {
            let share = counted.entry(entity).or_default();
            *share = (share.0 + 1, share.1 + bytes);
        }
        for (entity, sender) in &self.0 {
            let share = (sender.messages, sender.bytes);
            let holds = counted.remove(entity).unwrap_or_default() == share
                && share.0 <= INBOX_PER_SENDER_MAX_MESSAGES
                && share.1 <= INBOX_PER_SENDER_MAX_BYTES;
            Violation::unless(holds, "I2", || {
                format!("{entity} is said to have {share:?}")
            })?;
        }
        Violation::unless(counted.is_empty(), "I2", || {
            format!("{} senders are not counted", counted.len())
        })
    }
}
