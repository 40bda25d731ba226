//! L3: once the faults are over nobody starves beside somebody idle.
//!
//! A task that no worker has, and a worker of which its requester knows, which fits, can be reached
//! and has a slot free: they find each other within [`PATIENCE_MS`], if the worker begins nothing
//! else meanwhile. That is longer than everything a requester may wait for: the pause after a
//! failure, a worker that is passed over, an offer that lapses, an open breaker.
//! Whether a capability is attended and whether a worker drains is in what it says of its slots.

use std::collections::BTreeMap;

use super::{Checked, Checker};
use crate::proto::Violation;
use crate::proto::task::TaskRecord;
use crate::sim::host::Host;
use crate::sim::network::Network;
use crate::sim::stage::Stage;
use crate::types::TaskId;

/// Between two looks.
const LOOK_MS: u64 = 500;
const PATIENCE_MS: u64 = 45_000;

/// Tasks that wait, each beside a worker that is idle.
#[derive(Default)]
pub(super) struct Starving {
    looked_us: u64,
    since: BTreeMap<(TaskId, usize), u64>,
}

impl Starving {
    /// A machine has begun a run: it was not idle.
    pub(super) fn began(&mut self, host: usize) {
        self.since.retain(|(_, worker), _| *worker != host);
    }
}

impl Checker {
    /// Looks from time to time at who waits.
    pub(in crate::sim) fn looks(
        &mut self,
        hosts: &[Host],
        net: &Network,
        stage: &Stage,
    ) -> Checked {
        let starving = &self.starving;
        if stage.is_rough() || stage.now_us < starving.looked_us + LOOK_MS * 1_000 {
            return Ok(());
        }
        let mut since = BTreeMap::new();
        for requester in hosts {
            let Some(core) = &requester.core else {
                continue;
            };
            for record in core.requester().unplaced() {
                for worker in hosts {
                    if !self.may_have(record, requester, worker, net, stage) {
                        continue;
                    }
                    let pair = (record.id, worker.index);
                    let began = starving.since.get(&pair).copied();
                    let began = began.unwrap_or(stage.now_us);
                    let waits_ms = (stage.now_us - began) / 1_000;
                    Violation::unless(waits_ms < PATIENCE_MS, "L3", || {
                        format!(
                            "{} has waited at node {} for {waits_ms} ms while node {} was idle",
                            record.id, requester.index, worker.index
                        )
                    })?;
                    since.insert(pair, began);
                }
            }
        }
        self.starving.looked_us = stage.now_us;
        self.starving.since = since;
        Ok(())
    }

    /// Whether a worker that is idle could take a task, as its requester could know.
    fn may_have(
        &self,
        record: &TaskRecord,
        requester: &Host,
        worker: &Host,
        net: &Network,
        stage: &Stage,
    ) -> bool {
        let (Some(ours), Some(theirs)) = (&requester.core, &worker.core) else {
            return false;
        };
        let entity = worker.identity.entity_id;
        let fits = self.fit.get(&record.id);
        let paused = |host: &Host| stage.now_us < host.paused_until_us;
        let slots = theirs.worker().free_slots(worker.now(stage).mono);
        let free = slots.iter().find(|one| one.name == record.capability);
        // Which of the others does another part of the same work the task does not say.
        record.part.is_none()
            && free.is_some_and(|one| one.free > 0)
            && fits.is_none_or(|fits| fits.contains(&entity))
            && !paused(requester)
            && !paused(worker)
            && net.can_connect(requester.index, worker.index)
            && net.can_connect(worker.index, requester.index)
            && (ours.registry().offering(&record.capability))
                .any(|(entry, _)| entry.body.entity_id == entity)
    }
}
