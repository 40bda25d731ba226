//! How what a node offers is done: by a command, by a program that is posted to, by a piece of
//! this process, or by agents that fetch it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::executor::Work;
use crate::types::limits::RESULT_MAX_BYTES;

/// How one capability is done.
#[derive(Debug, Clone)]
pub struct ServeSpec {
    pub how: ServeHow,
    /// A run that takes longer is cut, whatever the task's deadline.
    pub timeout_ms: u64,
    /// A larger result is none, and the run is cut; at most `task.max_payload`.
    pub output_max_bytes: usize,
    /// Whether a requester that asks for it may read what a command writes before it has ended.
    pub stream: bool,
    /// Whether its runs may hand on parts of their tasks.
    pub delegate: bool,
}

/// Who does it.
#[derive(Clone)]
pub enum ServeHow {
    Command(CommandSpec),
    /// Each task's input is posted to this address; the body of the answer is the result.
    Url(String),
    /// A piece of this process.
    Work(Arc<dyn Work>),
    /// Whoever claims it over the API.
    Pull,
}

impl std::fmt::Debug for ServeHow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ServeHow::Command(command) => f.debug_tuple("Command").field(command).finish(),
            ServeHow::Url(url) => f.debug_tuple("Url").field(url).finish(),
            ServeHow::Work(_) => f.write_str("Work"),
            ServeHow::Pull => f.write_str("Pull"),
        }
    }
}

impl ServeSpec {
    /// Done so, for at most `timeout_ms`, with a result of any size that one may have.
    pub fn new(how: ServeHow, timeout_ms: u64) -> ServeSpec {
        ServeSpec {
            how,
            timeout_ms,
            output_max_bytes: RESULT_MAX_BYTES,
            stream: false,
            delegate: false,
        }
    }
}

/// A command and what it may take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandSpec {
    /// Given to `/bin/sh -c`.
    pub command: String,
    /// Where it runs. None: each run in a folder of its own, which is empty and goes with it.
    pub dir: Option<PathBuf>,
    /// How much each of its processes may have of address space.
    pub memory_max_bytes: Option<u64>,
    /// A command that is to end gets SIGTERM, and SIGKILL after so long. None: SIGKILL at once.
    pub stop_grace: Option<Duration>,
}
