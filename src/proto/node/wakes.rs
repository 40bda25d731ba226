//! Wake-ups as the API sees them: sent, awaited, received.

use super::Node;
use super::command::{CommandError, CommandErrorCode, CommandResult, PeerRef, Reply};
use super::views::{WakePhaseView, WakeView};
use crate::proto::Step;
use crate::proto::wake::{Call, Received, Sent};
use crate::types::limits::{COMMANDS_MAX, WAKE_REASON_MAX_BYTES};
use crate::types::{CommandId, Mono, WakeId};
use crate::wire::{WakeStatus, WireError};

impl Node {
    pub(super) fn wake(
        &mut self,
        peer: &PeerRef,
        call: Call,
        step: &mut Step<'_>,
    ) -> CommandResult {
        if call.reason.len() > WAKE_REASON_MAX_BYTES {
            return Err(CommandError::new(
                CommandErrorCode::TooLarge,
                format!("the reason is longer than {WAKE_REASON_MAX_BYTES} bytes"),
            ));
        }
        let (_, entity) = self.resolve(peer)?;
        let id = WakeId(step.uuid_v7());
        self.wakes.send(id, entity, call, step);
        let sent = self.wakes.sent(&id).expect("sent a moment ago");
        Ok(Reply::Wake(self.wake_view(id, sent, step.now.mono)))
    }

    pub(super) fn await_wake(
        &mut self,
        command: CommandId,
        id: WakeId,
        seen: Option<WakeStatus>,
        now: Mono,
    ) -> Option<CommandResult> {
        let Some(sent) = self.wakes.sent(&id) else {
            return Some(Err(CommandError::new(
                CommandErrorCode::NotFound,
                format!("there is no wake-up {id}"),
            )));
        };
        let over = sent.undelivered || sent.status.is_some_and(WakeStatus::is_final);
        if sent.status != seen || over {
            return Some(Ok(Reply::Wake(self.wake_view(id, sent, now))));
        }
        let waiting = self.await_wake.entry(id).or_default();
        if waiting.len() >= COMMANDS_MAX {
            return Some(Err(CommandError::new(
                CommandErrorCode::Busy,
                "too many wait for this wake-up",
            )));
        }
        waiting.push((command, seen));
        None
    }

    pub(super) fn wake_changed(&mut self, id: WakeId, now: Mono) {
        let Some(sent) = self.wakes.sent(&id) else {
            return;
        };
        let (to, undelivered) = (sent.to, sent.undelivered);
        let view = self.wake_view(id, sent, now);
        if undelivered {
            self.not_woken(&to);
        }
        for (command, _) in self.await_wake.remove(&id).into_iter().flatten() {
            self.reply(command, Ok(Reply::Wake(view.clone())));
        }
    }

    pub(super) fn resumed(&mut self, id: Option<WakeId>) -> CommandResult {
        if self.wakes.resumed(id) {
            return Ok(Reply::Done);
        }
        Err(CommandError::new(
            CommandErrorCode::NotFound,
            "no wake-up waits for that",
        ))
    }

    pub(super) fn wakes_received(&self, now: Mono) -> Reply {
        let view = |w: &Received| WakeView {
            id: w.id.to_string(),
            peer: w.from.to_string(),
            reason: w.call.reason.clone(),
            priority: w.call.priority,
            request: w.call.request.as_str().into(),
            phase: phase(Some(w.status)),
            elapsed_ms: now.since(w.at),
            phases: Vec::new(),
            manual_check_needed: false,
            peer_code: None,
        };
        Reply::Wakes(self.wakes.received().into_iter().map(view).collect())
    }

    fn wake_view(&self, id: WakeId, sent: &Sent, now: Mono) -> WakeView {
        let current = if sent.undelivered {
            "undelivered".into()
        } else {
            phase(sent.status)
        };
        let elapsed_ms = match sent.status {
            None if !sent.undelivered => now.since(sent.since),
            _ => sent.changed.since(sent.since),
        };
        let passed = sent.history.iter().map(|(status, at)| WakePhaseView {
            phase: phase(Some(*status)),
            elapsed_ms: at.since(sent.since),
        });
        WakeView {
            id: id.to_string(),
            peer: sent.to.to_string(),
            reason: sent.call.reason.clone(),
            priority: sent.call.priority,
            request: sent.call.request.as_str().into(),
            phase: current,
            elapsed_ms,
            phases: passed.collect(),
            manual_check_needed: self.wakes.needs_manual_check(&sent.to),
            peer_code: sent.refused.map(WireError::name),
        }
    }
}

fn phase(status: Option<WakeStatus>) -> String {
    match status {
        None => "sending",
        Some(WakeStatus::Delivered) => "delivered",
        Some(WakeStatus::HookStarted) => "hook_started",
        Some(WakeStatus::Resumed) => "resumed",
        Some(WakeStatus::AlreadyAwake) => "already_awake",
        Some(WakeStatus::RateLimited) => "rate_limited",
        Some(WakeStatus::NotAllowed) => "not_allowed",
        Some(WakeStatus::Failed) => "failed",
    }
    .into()
}
