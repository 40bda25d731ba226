//! Agents that fetch tasks: what they may ask for.

use std::collections::BTreeSet;

use super::Node;
use super::command::{CommandError, CommandErrorCode, CommandResult, Reply};
use crate::types::{Capability, Mono};

impl Node {
    /// An agent asks for tasks of these, or of all that are fetched here, and waits so long for one.
    /// It hears of what it would wait for in vain.
    pub(super) fn attend(
        &mut self,
        capabilities: Option<BTreeSet<Capability>>,
        wait_ms: u64,
        now: Mono,
    ) -> CommandResult {
        let fetched = self.worker.fetched();
        let asked = capabilities.unwrap_or_else(|| fetched.clone());
        let refuse = |what: String| {
            let how =
                "agents fetch the tasks of a capability with `pull = true` in its [serve] section";
            let text = format!("{what}: {how}");
            Err(CommandError::new(CommandErrorCode::NotServed, text))
        };
        if fetched.is_empty() {
            return refuse("no capability of this node has its tasks fetched".into());
        }
        if let Some(name) = asked.difference(&fetched).next() {
            let serves = self.config.capabilities.iter().any(|of| of.name == *name);
            return refuse(match serves {
                true => format!("{name} is served here by other means than agents that fetch"),
                false => format!("{name} is not served here"),
            });
        }
        self.worker.attend(&asked, wait_ms, now);
        Ok(Reply::Done)
    }
}
