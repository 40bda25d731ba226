//! What runs say before they have ended, on its way to those whose tasks they are: the newest
//! percentage and a piece of output of each, a few times a second, one list under way to each
//! requester. It is never stored and never sent twice.
//!
//! # Bounds
//! One entry a run, of at most [`PROGRESS_DATA_MAX_BYTES`]; what comes beyond is left out.

use std::collections::{BTreeMap, BTreeSet};

use super::Node;
use super::exchange::Kind;
use super::io::RunSaid;
use crate::proto::Step;
use crate::types::limits::{LIST_MAX_ITEMS, PROGRESS_DATA_MAX_BYTES};
use crate::types::{BatchId, EntityId, Mono, RunId};
use crate::wire::{MsgType, ProgressAnswer, ProgressItem, TaskProgress, cbor};

/// How often a requester hears of its runs.
const EVERY_MS: u64 = 200;
/// A list is cut before it passes this.
const LIST_SOFT_MAX_BYTES: usize = 256 * 1024;

/// What is to be told.
#[derive(Debug, Default)]
pub(super) struct Saying {
    runs: BTreeMap<RunId, RunSaid>,
    /// Their requesters do not want to hear of them.
    muted: BTreeSet<RunId>,
    under_way: BTreeSet<EntityId>,
    at: Option<Mono>,
}

impl Saying {
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.at
    }

    fn hear(&mut self, run: RunId, said: RunSaid) {
        let known = self.runs.entry(run).or_default();
        if said.percent.is_some() || said.note.is_some() {
            known.percent = said.percent.or(known.percent);
            // What was said of an earlier percentage is not said of this one.
            known.note = said.note;
        }
        let Some(part) = said.output else { return };
        match &mut known.output {
            None => known.output = Some(part),
            Some(known) => {
                let end = known.offset + known.data.len() as u64;
                let whole = known.data.len() + part.data.len() <= PROGRESS_DATA_MAX_BYTES;
                if end == part.offset && whole {
                    known.data.extend_from_slice(&part.data);
                }
            }
        }
    }
}

impl Node {
    /// A run said something.
    pub(super) fn run_said(&mut self, run: RunId, said: RunSaid, now: Mono) {
        let streams = |key| self.worker.streams(key);
        let wanted = self.worker.held_by(run).is_some_and(streams);
        if wanted && !self.saying.muted.contains(&run) {
            self.saying.hear(run, said);
            self.saying.at.get_or_insert(now + EVERY_MS);
        }
    }

    /// Tells requesters what their runs have said.
    pub(super) fn tell_said(&mut self, step: &mut Step<'_>) {
        let now = step.now.mono;
        if self.saying.at.is_none_or(|at| at > now) {
            return;
        }
        let worker = &self.worker;
        self.saying
            .muted
            .retain(|run| worker.held_by(*run).is_some());
        let mut lists: BTreeMap<EntityId, (Vec<RunId>, Vec<ProgressItem>, usize)> = BTreeMap::new();
        let mut later = BTreeMap::new();
        for (run, said) in std::mem::take(&mut self.saying.runs) {
            let Some((key, token)) = self.worker.token_of(run) else {
                continue;
            };
            let list = lists.entry(key.requester).or_default();
            let full = list.1.len() >= LIST_MAX_ITEMS || list.2 >= LIST_SOFT_MAX_BYTES;
            if full || self.saying.under_way.contains(&key.requester) {
                later.insert(run, said);
                continue;
            }
            list.2 += said.output.as_ref().map_or(0, |part| part.data.len());
            list.0.push(run);
            list.1.push(ProgressItem {
                task_id: key.task,
                token,
                percent: said.percent,
                note: said.note,
                output: said.output,
            });
        }
        self.saying.at = (!later.is_empty()).then_some(now + EVERY_MS);
        self.saying.runs = later;
        for (requester, (runs, items, _)) in lists {
            if items.is_empty() {
                continue;
            }
            let body = cbor::encode(&TaskProgress { items });
            let kind = Kind::Progress { requester, runs };
            let (msg_type, after) = (MsgType::TaskProgress, BatchId::NONE);
            if self.send_to(requester, msg_type, body, kind, after, step) {
                self.saying.under_way.insert(requester);
            }
        }
    }

    /// A requester answered, or did not.
    pub(super) fn said_told(
        &mut self,
        requester: EntityId,
        runs: &[RunId],
        answers: &[ProgressAnswer],
    ) {
        self.saying.under_way.remove(&requester);
        for (run, answer) in runs.iter().zip(answers) {
            if *answer == ProgressAnswer::Fenced {
                self.saying.muted.insert(*run);
                self.saying.runs.remove(run);
            }
        }
    }
}
