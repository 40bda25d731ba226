//! Runs that wait for their input. Each has a slot, so none waits for longer than something comes.

use super::Node;
use super::defects::Defect;
use super::io::{Output, RunSpec};
use crate::proto::Step;
use crate::proto::task::HeldKey;
use crate::types::{BatchId, EntityId, FileRef, Mono, PayloadFile, RunId};
use crate::wire::Purpose;

/// How long nothing may come of what a requester sends before the runs that wait for it are given
/// back.
pub(super) const STALLED_MS: u64 = 5 * 60_000;

/// A run that waits.
pub(super) struct Parked {
    key: HeldKey,
    spec: RunSpec,
    /// When its task's time is over.
    until: Mono,
    /// When something last came.
    moved: Mono,
}

impl Node {
    /// A run whose input is a file begins when that is here.
    pub(super) fn begin_run(
        &mut self,
        run: RunId,
        key: HeldKey,
        mut spec: RunSpec,
        step: &mut Step<'_>,
    ) {
        let mut after = self.worker.resumed_in();
        if let Some(content) = self.worker.input_file(key) {
            let Some(at) = self.payload_for(key, &content) else {
                let parked = Parked {
                    key,
                    until: step.now.mono + spec.timeout_ms,
                    spec,
                    moved: step.now.mono,
                };
                self.parts.parked.insert(run, parked);
                self.parts.busy = true;
                return;
            };
            spec.input_file = Some(at);
            after = after.max(self.worker.begun(key, step));
        }
        let run = Output::Run { run, spec };
        self.gate.pass(after, run, &mut self.out);
    }

    /// What a run is given for its input.
    fn payload_for(&self, key: HeldKey, content: &FileRef) -> Option<PayloadFile> {
        if self.has(Defect::AnyInput) {
            let any = self.parts.payloads.files().next();
            let size = content.size;
            return any.map(|file| PayloadFile { file, size });
        }
        let others = self.has(Defect::OthersInput);
        let here = self.payload_file(content);
        here.filter(|_| others || self.has_input(key))
    }

    /// Whether nothing is missing that a run has to have.
    fn has_input(&self, key: HeldKey) -> bool {
        let Some(content) = self.worker.input_file(key) else {
            return true;
        };
        self.worker.has_of(key.requester, content) && self.parts.payloads.has(&content)
    }

    /// A part of a task is here, as `from` has it. Returns what that rests on.
    pub(super) fn came(
        &mut self,
        from: EntityId,
        purpose: Purpose,
        content: FileRef,
        step: &mut Step<'_>,
    ) -> BatchId {
        let Purpose::TaskInput { task_id, .. } = purpose else {
            return BatchId::NONE;
        };
        for parked in self.parts.parked.values_mut() {
            if parked.key.requester == from {
                parked.moved = step.now.mono;
            }
        }
        let key = HeldKey {
            requester: from,
            task: task_id,
        };
        self.worker.input_came(key, content, step)
    }

    /// When a chunk for a task of this requester was last recorded.
    fn moved(&self, requester: EntityId) -> Option<Mono> {
        let files = self.receives.files();
        let inputs = files.filter(|file| {
            let purpose = file.record.purpose;
            file.record.from == requester && matches!(purpose, Some(Purpose::TaskInput { .. }))
        });
        inputs.filter_map(|file| file.moved_at).max()
    }

    /// The runs whose input has come, and those that waited too long.
    pub(super) fn tend_parked(&mut self, step: &mut Step<'_>) {
        let now = step.now.mono;
        let parked = self.parts.parked.iter();
        let due: Vec<RunId> = parked
            .filter(|(_, parked)| {
                let moved = self.moved(parked.key.requester).max(Some(parked.moved));
                let stalled = moved.is_none_or(|at| at + STALLED_MS <= now);
                stalled || parked.until <= now || self.has_input(parked.key)
            })
            .map(|(run, _)| *run)
            .collect();
        for run in due {
            let Some(parked) = self.parts.parked.remove(&run) else {
                continue;
            };
            let Parked {
                key,
                mut spec,
                until,
                ..
            } = parked;
            if until <= now || !self.has_input(key) {
                self.worker.input_missed(run, step);
            } else if self.worker.held_by(run) == Some(key) {
                spec.timeout_ms = now.until(until);
                self.begin_run(run, key, spec, step);
            }
        }
    }
}
