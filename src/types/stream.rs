//! The long-lived streams beside the exchanges.

use std::fmt;

/// What a stream of a session carries. Each kind is a protocol and a lane of keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamKind {
    /// Messages between agents: one stream for each session.
    Channel,
    /// The chunks of files, as many streams as there are transfers.
    Bulk,
}

impl StreamKind {
    /// Every kind there is.
    pub const ALL: [StreamKind; 2] = [StreamKind::Channel, StreamKind::Bulk];

    /// The kind's name in protocol ids and key labels.
    pub fn as_str(self) -> &'static str {
        match self {
            StreamKind::Channel => "channel",
            StreamKind::Bulk => "bulk",
        }
    }
}

impl fmt::Display for StreamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
