//! What a core asks the store to keep. A core owns the form of its rows; the store sees bytes.

/// Numbers the batches of one process in the order they were handed out, from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

impl BatchId {
    /// Before the first batch: what waits on this waits for nothing.
    pub const NONE: BatchId = BatchId(0);
}

/// The table a row stands in. The byte is part of the stored key: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Keyspace {
    /// Facts about the store itself: schema version, own registry sequence number.
    Meta = 1,
    /// Requester: one task's state, by task id.
    Task = 2,
    /// Requester: one task's input, by task id.
    TaskInput = 3,
    /// Requester: one task's result, by task id.
    TaskResult = 4,
    /// Worker: one held task or its tombstone, by requester and task id.
    Held = 5,
    /// Worker: a held task's input.
    HeldInput = 6,
    /// Worker: a held task's result until it is acknowledged.
    HeldResult = 7,
    /// Signed registry entries, by entity id.
    Entry = 8,
    /// Nonces of messages outside of sessions, by entity and nonce.
    Seen = 14,
    /// A message for our agent or its tombstone, by message id.
    Inbox = 20,
    /// Its body.
    InboxBody = 21,
    /// What shows it to a third party.
    InboxProof = 22,
    /// The entry of who sent one of them, by entity id.
    InboxSender = 23,
    /// What we think of a worker, by entity id.
    Score = 24,
    /// Whom to tell that a task of ours has ended, by task id.
    Webhook = 25,
    /// A payload that is here, by the hash of its content.
    Payload = 26,
    /// The entry of a worker that signed an outcome of a task of ours, by entity id.
    TaskWorker = 18,
    /// A file we send, by transfer id.
    SentFile = 40,
    /// The hashes of its chunks.
    SentChunks = 41,
    /// A file we receive, by transfer id: with the chunks that have arrived.
    ReceivedFile = 42,
    /// The hashes of its chunks.
    ReceivedChunks = 43,
    /// The newest key of an entity that rotated, by entity id.
    Head = 16,
}

impl Keyspace {
    /// Every table, for scans.
    pub const ALL: [Keyspace; 22] = [
        Keyspace::Meta,
        Keyspace::Task,
        Keyspace::TaskInput,
        Keyspace::TaskResult,
        Keyspace::Held,
        Keyspace::HeldInput,
        Keyspace::HeldResult,
        Keyspace::Entry,
        Keyspace::Seen,
        Keyspace::Inbox,
        Keyspace::InboxBody,
        Keyspace::InboxProof,
        Keyspace::InboxSender,
        Keyspace::Score,
        Keyspace::Webhook,
        Keyspace::Payload,
        Keyspace::SentFile,
        Keyspace::SentChunks,
        Keyspace::ReceivedFile,
        Keyspace::ReceivedChunks,
        Keyspace::Head,
        Keyspace::TaskWorker,
    ];

    /// The table whose byte this is.
    pub fn from_byte(byte: u8) -> Option<Keyspace> {
        Keyspace::ALL.into_iter().find(|space| *space as u8 == byte)
    }
}

/// One change to one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOp {
    Put {
        space: Keyspace,
        key: Vec<u8>,
        value: Vec<u8>,
    },
    Delete {
        space: Keyspace,
        key: Vec<u8>,
    },
}

/// Changes that become durable together or not at all, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteBatch {
    pub ops: Vec<WriteOp>,
}

impl WriteBatch {
    /// Adds or replaces a row.
    pub fn put(&mut self, space: Keyspace, key: impl Into<Vec<u8>>, value: Vec<u8>) {
        self.ops.push(WriteOp::Put {
            space,
            key: key.into(),
            value,
        });
    }

    /// Removes a row; one that is not there is no error.
    pub fn delete(&mut self, space: Keyspace, key: impl Into<Vec<u8>>) {
        self.ops.push(WriteOp::Delete {
            space,
            key: key.into(),
        });
    }

    /// What it takes on a disk, nearly.
    pub fn bytes(&self) -> u64 {
        const ROW_BYTES: usize = 64;
        let bytes = |op: &WriteOp| match op {
            WriteOp::Put { key, value, .. } => ROW_BYTES + key.len() + value.len(),
            WriteOp::Delete { key, .. } => ROW_BYTES + key.len(),
        };
        self.ops.iter().map(bytes).sum::<usize>() as u64
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// One stored row, as handed back at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub space: Keyspace,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}
