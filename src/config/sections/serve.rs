//! What a node does for others: its capabilities and its agent.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::config::value;
use crate::proto::task::Serving;
use crate::runtime::channel::{AgentConfig, OutsideAction, OutsideAgent};
use crate::runtime::{CommandSpec, ServeHow, ServeSpec};
use crate::types::limits::RESULT_MAX_BYTES;

pub(in crate::config) const UNATTENDED_MS: u64 = 60_000;

/// `[serve.CAPABILITY]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table with a command")]
pub struct ServeSection {
    /// Given to `/bin/sh -c`.
    #[serde(deserialize_with = "value::some_text")]
    pub command: Option<String>,
    /// In place of `command`: an address that each task's input is posted to.
    #[serde(alias = "url", deserialize_with = "value::some_text")]
    pub http: Option<String>,
    /// In place of both: agents fetch the tasks over the API.
    #[serde(deserialize_with = "value::flag")]
    pub pull: bool,
    /// After how long without an agent that asks for them it takes no tasks; 0: it takes them in
    /// any case.
    #[serde(rename = "unattended_after", deserialize_with = "value::duration_ms")]
    pub unattended_after_ms: u64,
    /// How many run at once.
    #[serde(deserialize_with = "value::count")]
    pub slots: u32,
    /// How many more are accepted and wait for a slot.
    #[serde(deserialize_with = "value::count")]
    pub queue: u32,
    /// What is asked for one task, in the unit of rewards.
    #[serde(deserialize_with = "value::number")]
    pub price: u64,
    #[serde(rename = "timeout", deserialize_with = "value::duration_ms")]
    pub timeout_ms: u64,
    /// Where the command runs; without it, each run in an empty folder of its own.
    #[serde(deserialize_with = "value::some_text")]
    pub dir: Option<String>,
    /// How much memory each process of the command may have.
    #[serde(rename = "memory", deserialize_with = "value::some_size")]
    pub memory_max_bytes: Option<u64>,
    /// Whether runs may hand on parts of their tasks.
    #[serde(deserialize_with = "value::flag")]
    pub delegate: bool,
    /// How long a command that is to end may take for that; 0: none.
    #[serde(rename = "stop_grace", deserialize_with = "value::duration_ms")]
    pub stop_grace_ms: u64,
    /// A larger result is none.
    #[serde(rename = "output", deserialize_with = "value::size")]
    pub output_max_bytes: u64,
    /// Whether requesters may read what the command writes before it has ended.
    #[serde(deserialize_with = "value::flag")]
    pub stream: bool,
}

impl Default for ServeSection {
    fn default() -> ServeSection {
        ServeSection {
            command: None,
            http: None,
            pull: false,
            unattended_after_ms: UNATTENDED_MS,
            slots: 4,
            queue: 0,
            price: 0,
            timeout_ms: 3_600_000,
            dir: None,
            memory_max_bytes: None,
            delegate: false,
            stop_grace_ms: 0,
            output_max_bytes: RESULT_MAX_BYTES as u64,
            stream: false,
        }
    }
}

impl ServeSection {
    pub(in crate::config) fn to_core(&self) -> Serving {
        let unattended = Some(self.unattended_after_ms);
        Serving {
            queue: self.queue,
            pull: self.pull,
            unattended_ms: unattended.filter(|after_ms| self.pull && *after_ms > 0),
        }
    }

    /// None where nobody is named who does it, which `check` refuses.
    pub(in crate::config) fn to_runtime(&self) -> Option<ServeSpec> {
        let command = self.command.as_ref().map(|command| {
            ServeHow::Command(CommandSpec {
                command: command.clone(),
                dir: self.dir.as_ref().map(PathBuf::from),
                memory_max_bytes: self.memory_max_bytes,
                stop_grace: Some(Duration::from_millis(self.stop_grace_ms))
                    .filter(|grace| !grace.is_zero()),
            })
        });
        let how = command
            .or_else(|| self.http.clone().map(ServeHow::Url))
            .or_else(|| self.pull.then_some(ServeHow::Pull))?;
        Some(ServeSpec {
            how,
            timeout_ms: self.timeout_ms,
            output_max_bytes: usize::try_from(self.output_max_bytes).unwrap_or(RESULT_MAX_BYTES),
            stream: self.stream,
            delegate: self.delegate,
        })
    }
}

/// `[agent]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table of settings")]
pub struct AgentSection {
    #[serde(deserialize_with = "value::some_text")]
    pub command: Option<String>,
    /// In place of `command`.
    #[serde(deserialize_with = "value::some_text")]
    pub url: Option<String>,
    /// In place of both: talks are answered with their own text, for tries and measurements.
    #[serde(deserialize_with = "value::flag")]
    pub echo: bool,
    #[serde(rename = "timeout", deserialize_with = "value::duration_ms")]
    pub timeout_ms: u64,
    /// How many talks it is given at once.
    #[serde(deserialize_with = "value::count")]
    pub slots: u32,
}

impl Default for AgentSection {
    fn default() -> AgentSection {
        AgentSection {
            command: None,
            url: None,
            echo: false,
            timeout_ms: 60_000,
            slots: 4,
        }
    }
}

impl AgentSection {
    pub(in crate::config) fn to_runtime(&self) -> AgentConfig {
        let command = self.command.clone().map(OutsideAction::Command);
        let action = command.or_else(|| self.url.clone().map(OutsideAction::Url));
        match action {
            Some(action) => AgentConfig::Outside(OutsideAgent {
                action,
                timeout_ms: self.timeout_ms,
                slots: self.slots as usize,
            }),
            None if self.echo => AgentConfig::Echo,
            None => AgentConfig::Inbox,
        }
    }
}
