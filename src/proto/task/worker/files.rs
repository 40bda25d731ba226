//! Inputs and results that are files: which are waited for, asked for, and named.

use super::{Held, HeldKey, Phase, Worker};
use crate::proto::Step;
use crate::types::{BatchId, EntityId, FencingToken, FileRef, Keyspace, Mono, RunId, TaskId};
use crate::wire::{Purpose, TaskOutcome};

/// How long a result waits to be said again when its file was not taken.
const NOT_TAKEN_MS: u64 = 10_000;

impl Held {
    /// What it takes in memory, nearly.
    pub(super) fn bytes(&self) -> usize {
        self.input.len() + self.outcome.as_ref().map_or(0, super::outcome_bytes)
    }
}

impl Worker {
    /// The file that is the input of a task that runs, or is to.
    pub fn input_file(&self, key: HeldKey) -> Option<FileRef> {
        let held = self.held.get(&key)?;
        let goes_on = matches!(held.phase, Phase::Running { .. } | Phase::Waiting { .. });
        held.record.input_file.filter(|_| goes_on)
    }

    /// The same, as its requester names it.
    pub fn awaits_input(
        &self,
        requester: EntityId,
        task: TaskId,
        token: FencingToken,
    ) -> Option<FileRef> {
        let key = HeldKey { requester, task };
        let current = self.held.get(&key)?.record.token == token;
        self.input_file(key).filter(|_| current)
    }

    /// The input of a held task is here, as its requester has it: a run on it shows nobody what
    /// is another's. Returns what that rests on.
    pub fn input_came(&mut self, key: HeldKey, content: FileRef, step: &mut Step<'_>) -> BatchId {
        let Some(held) = self.held.get_mut(&key) else {
            return BatchId::NONE;
        };
        if held.record.input_file == Some(content) && !held.record.input_came {
            held.record.input_came = true;
            held.written = step.put(Keyspace::Held, key.to_bytes(), held.record.to_row());
        }
        held.written
    }

    /// Whether a requester has sent this for one of its tasks that is to run.
    pub fn has_of(&self, requester: EntityId, content: FileRef) -> bool {
        let came = |held: &Held| held.record.input_came && held.record.input_file == Some(content);
        self.live_of(requester).any(|(_, held)| came(held))
    }

    /// The run of a task whose input is a file begins now that it is here. From the returned batch
    /// on it counts if it takes the node down.
    pub fn begun(&mut self, key: HeldKey, step: &mut Step<'_>) -> BatchId {
        let Some(held) = self.held.get_mut(&key) else {
            return BatchId::NONE;
        };
        if std::mem::take(&mut held.record.stopped) {
            held.written = step.put(Keyspace::Held, key.to_bytes(), held.record.to_row());
        }
        held.written
    }

    /// A run waits for its input, and its time is over, or nothing comes any more: another worker
    /// may fare better. Nothing of it has run, so nothing has failed.
    pub fn input_missed(&mut self, run: RunId, step: &mut Step<'_>) {
        self.run_ended(run, TaskOutcome::Released, step);
    }

    /// The results that their requesters asked for.
    pub fn results_out(&self) -> impl Iterator<Item = (EntityId, Purpose, FileRef)> {
        self.asked.iter().filter_map(|key| {
            let held = self.held.get(key)?;
            let Some(TaskOutcome::CompletedFile { file }) = held.outcome else {
                return None;
            };
            let purpose = Purpose::TaskResult {
                task_id: key.task,
                token: held.record.token,
            };
            Some((key.requester, purpose, file))
        })
    }

    /// Whether a result's file may be on its way: also when its requester has yet to ask for it again,
    /// after a restart.
    pub fn may_bring(&self, requester: EntityId, purpose: Purpose) -> bool {
        let Purpose::TaskResult { task_id, token } = purpose else {
            return false;
        };
        let task = task_id;
        let held = self.held.get(&HeldKey { requester, task });
        held.is_some_and(|held| {
            let large = matches!(held.outcome, Some(TaskOutcome::CompletedFile { .. }));
            large && held.record.token == token
        })
    }

    /// A result's file is with its requester, or was not taken.
    pub fn result_brought(&mut self, requester: EntityId, task: TaskId, arrived: bool, now: Mono) {
        let key = HeldKey { requester, task };
        if !self.asked.remove(&key) {
            return;
        }
        if let Some(Phase::Ended { tries, .. }) = self.held.get(&key).map(|held| held.phase) {
            let wait_ms = if arrived { 0 } else { NOT_TAKEN_MS };
            self.await_ack(key, now + wait_ms, tries);
        }
    }

    /// The contents that held tasks name.
    pub fn named_files(&self) -> impl Iterator<Item = [u8; 32]> {
        let live = self.live.iter().flat_map(|(requester, tasks)| {
            tasks.iter().map(|task| HeldKey {
                requester: *requester,
                task: *task,
            })
        });
        live.filter_map(|key| {
            let held = &self.held[&key];
            let result = match &held.outcome {
                Some(TaskOutcome::CompletedFile { file }) => Some(*file),
                _ => None,
            };
            result.or(held.record.input_file).map(|file| file.root)
        })
    }
}
