//! Inputs and results that are files: which are to be brought to whom, and which are named.

use std::collections::BTreeSet;

use super::{Phase, Requester, RequesterEffect, assign};
use crate::proto::Step;
use crate::types::{EntityId, FencingToken, FileRef, TaskId};
use crate::wire::{CancelItem, Purpose};

/// The tasks that have any.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Those that may still run.
    pub inputs: BTreeSet<TaskId>,
    pub results: BTreeSet<TaskId>,
    /// What is on our disk of what is taken next.
    here: BTreeSet<FileRef>,
    /// What the disk has room for, if that is known.
    pub disk_left: Option<u64>,
}

impl Files {
    /// Whether a result in this file counts.
    pub fn is_here(&self, file: &FileRef) -> bool {
        self.here.contains(file)
    }

    pub fn all_taken(&mut self) {
        self.here.clear();
    }
}

impl Requester {
    /// The inputs that their workers are to have: of every accepted task.
    pub fn inputs_out(&self) -> impl Iterator<Item = (EntityId, Purpose, FileRef)> {
        self.files.inputs.iter().filter_map(|id| {
            let task = &self.tasks[id];
            let Phase::Leased { worker, .. } = task.phase else {
                return None;
            };
            let purpose = Purpose::TaskInput {
                task_id: *id,
                token: task.record.token,
            };
            Some((worker, purpose, task.record.input_file?))
        })
    }

    /// The contents that tasks of ours name.
    pub fn named_files(&self) -> impl Iterator<Item = [u8; 32]> {
        let inputs = self.files.inputs.iter();
        let inputs = inputs.filter_map(|id| self.tasks[id].record.input_file);
        let results = self.files.results.iter();
        let results = results.filter_map(|id| self.tasks[id].record.result_file);
        inputs.chain(results).map(|file| file.root)
    }

    /// Whether a result of `worker` under this token would be taken now.
    pub fn awaits_result(&self, worker: EntityId, id: TaskId, token: FencingToken) -> bool {
        // Who agrees does so on messages.
        let apart = |id| self.tasks[&id].record.part.is_none();
        self.is_current(id, token, worker) && apart(id)
    }

    /// This file is on our disk: a result that is one counts in the next [`Requester::ended`] only
    /// if that was said of it.
    pub fn is_here(&mut self, file: FileRef) {
        self.files.here.insert(file);
    }

    /// How much is named by nothing but tasks that may be let go, at most.
    pub fn spare_bytes(&self) -> u64 {
        let results = self.files.results.iter();
        let results = results.filter_map(|id| self.tasks[id].record.result_file);
        let results: BTreeSet<FileRef> = results.collect();
        let results: u64 = results.iter().map(|file| file.size).sum();
        results.saturating_add(self.dead_file_bytes())
    }

    /// Makes room for files: forgets the first task to end that has one as its result, or, where
    /// there is none, lets go the input of the first to fail that has one. Returns whether there
    /// was any.
    pub fn let_oldest_file_go(&mut self, step: &mut Step<'_>) -> bool {
        let ended = |id: &TaskId| (self.tasks[id].record.ended, *id);
        match self.files.results.iter().map(ended).min() {
            Some((_, oldest)) => {
                self.over.retain(|(_, id)| *id != oldest);
                self.forget(oldest, step);
                true
            }
            None => self.let_oldest_dead_file_go(step),
        }
    }

    /// The input did not get to its worker: the task goes to another.
    pub fn not_brought(
        &mut self,
        worker: EntityId,
        id: TaskId,
        token: FencingToken,
        step: &mut Step<'_>,
    ) {
        let leased = |id| matches!(self.tasks[&id].phase, Phase::Leased { .. });
        if !self.is_current(id, token, worker) || !leased(id) {
            return;
        }
        self.pass_over(worker, assign::AVOID_UNFIT_MS, step);
        self.lose(id, "it did not take the input", step);
        self.dismiss(id);
        self.store(id, step);
        self.effects.push(RequesterEffect::Cancel {
            worker,
            items: vec![CancelItem { task_id: id, token }],
            after: step.batch,
        });
    }
}
