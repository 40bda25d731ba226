//! The invariants that no core can see alone: between memory and disk, and between nodes.
//!
//! What is durable is decoded as it becomes durable, so that a check after a step looks only at
//! the node that was stepped. The numbers are those of [`crate::proto::task`].
//!
//! - **T1** An acknowledged task has its row on its requester's disk, and keeps it.
//! - **T2** A terminal state and its result, once on disk or told to anybody, never change; what is
//!   told is on disk.
//! - **T3** A durable token never falls; memory is never behind it; no worker holds a token above
//!   the requester's durable one.
//! - **T4** A completed task's result is the right answer, from the worker the task was given.
//! - **T5** What the requester takes for accepted is on the worker's disk under that token or a
//!   later one; a worker lets go of an outcome only when the requester's disk no longer needs it.
//! - **F1** A task is charged with no more failures than there were runs of it that failed, or that its
//!   worker gave up because they took its node down.
//! - **T9** A task that failed keeps its input and its attempts until it is handed over again or
//!   dropped.
//! - **A1**, **A3** to **A6** Work that several do: see `agree`.
//! - **G1** What a held task hands on stays within its budget, and ends with it (the node's own check),
//!   and over all attempts within the task's: see `budget`.
//! - **P2**–**P6** Inputs and results that are files: see `payloads`.
//! - **T10** Every attempt is at a worker that fits what the submitter demands: the one it names, the
//!   labels it needs.
//! - **B2** What a worker has handed over does not begin there under the token it had.
//! - **B5** Of one requester's tasks that wait at a worker the one of the lowest rank begins first, and
//!   none begins twice while another requester waits for its turn: see `turns`.
//! - **T11** What completed is shown by its worker's signature over this very result, on the disk of
//!   its requester, with the worker's entry.
//! - **D1**, **D2** What is taken, and what is refused, while a disk is short of room: see `room`.
//! - **L3** Nobody starves beside somebody idle: see `starving`.
//! - **E5** What readers of all events are told is on disk: see `events`.
//! - **T6** No two running workers hold a live lease on one task.

mod agree;
mod budget;
mod dead;
mod demands;
mod durable;
mod events;
mod handed;
mod payloads;
mod proofs;
mod room;
mod starving;
mod turns;

use std::collections::{BTreeMap, BTreeSet};

use crate::proto::Violation;
use crate::proto::node::{Node, TaskState, TaskView};
use crate::proto::task::{HeldKey, HeldRecord, TaskRecord};
use crate::sim::disk::Disk;
use crate::sim::host::{Host, answer_to};
use crate::sim::stage::Stage;
use crate::types::{EntityId, Keyspace, TaskId};

/// What a machine's disk says, decoded.
#[derive(Default)]
struct Durable {
    tasks: BTreeMap<TaskId, TaskRecord>,
    /// The sizes of their inputs.
    inputs: BTreeMap<TaskId, u64>,
    results: BTreeMap<TaskId, Vec<u8>>,
    /// The entries of workers.
    workers: BTreeMap<EntityId, Vec<u8>>,
    held: BTreeMap<HeldKey, HeldRecord>,
    outcomes: BTreeMap<HeldKey, bool>,
    /// The rows of payloads, by their contents.
    payloads: BTreeMap<[u8; 32], uuid::Uuid>,
}

/// Watches the whole world.
pub(in crate::sim) struct Checker {
    entities: Vec<EntityId>,
    durable: Vec<Durable>,
    /// Whether the outcome a worker stored last completes the task: written, not yet durable.
    written_outcomes: Vec<BTreeMap<HeldKey, bool>>,
    /// What each task must come to.
    answers: BTreeMap<TaskId, String>,
    acknowledged: BTreeMap<TaskId, usize>,
    /// How many runs of each task failed, or were given up.
    failed_runs: BTreeMap<TaskId, u32>,
    /// Who fits what each task demands.
    fit: BTreeMap<TaskId, BTreeSet<EntityId>>,
    /// Terminal tasks as first seen.
    terminal: BTreeMap<TaskId, (TaskState, Option<Vec<u8>>)>,
    handed: handed::Handed,
    turns: Vec<turns::Turns>,
    taken: Vec<room::Taken>,
    /// Whose inputs clients asked to drop.
    droppable: BTreeSet<TaskId>,
    /// They may go by themselves, too.
    few_dead: bool,
    /// Who may give wrong results where several do the work.
    cheat: Option<usize>,
    files: payloads::Known,
    starving: starving::Starving,
}

type Checked = Result<(), Violation>;

impl Checker {
    pub(in crate::sim) fn new(entities: Vec<EntityId>) -> Checker {
        let hosts = entities.len();
        Checker {
            entities,
            durable: (0..hosts).map(|_| Durable::default()).collect(),
            written_outcomes: vec![BTreeMap::new(); hosts],
            answers: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            failed_runs: BTreeMap::new(),
            fit: BTreeMap::new(),
            terminal: BTreeMap::new(),
            handed: handed::Handed::default(),
            turns: (0..hosts).map(|_| turns::Turns::default()).collect(),
            taken: (0..hosts).map(|_| room::Taken::default()).collect(),
            droppable: BTreeSet::new(),
            few_dead: false,
            cheat: None,
            files: payloads::Known::new(hosts),
            starving: starving::Starving::default(),
        }
    }

    /// A task that will be submitted.
    pub(in crate::sim) fn expect(&mut self, task: TaskId, input: &[u8]) {
        self.answers.insert(task, answer_to(input));
    }

    /// A worker's run of `task` failed, or its worker gave it up.
    pub(in crate::sim) fn run_failed(&mut self, task: TaskId) {
        *self.failed_runs.entry(task).or_default() += 1;
    }

    fn host_of(&self, entity: &EntityId) -> Option<usize> {
        self.entities.iter().position(|known| known == entity)
    }

    /// The client at `host` was told that its submission is kept.
    pub(in crate::sim) fn acknowledged(&mut self, host: usize, task: TaskId) -> Checked {
        self.acknowledged.insert(task, host);
        Violation::unless(self.durable[host].tasks.contains_key(&task), "T1", || {
            format!("task {task} was acknowledged by node {host} and is not on its disk")
        })
    }

    /// A client was told that a task is terminal.
    pub(in crate::sim) fn told(&self, host: usize, task: TaskId, state: TaskState) -> Checked {
        let durable = self.durable[host]
            .tasks
            .get(&task)
            .map(|record| record.state);
        Violation::unless(durable == Some(state), "T2", || {
            let durable = durable.map_or("nothing", TaskState::as_str);
            format!(
                "a client of node {host} was told that {task} is {}, its disk says {durable}",
                state.as_str()
            )
        })
    }

    /// A client looked: what it was shown is on disk.
    pub(in crate::sim) fn told_view(&self, host: usize, task: TaskId, view: &TaskView) -> Checked {
        if view.state.is_terminal() {
            return self.told(host, task, view.state);
        }
        let durable = self.durable[host]
            .tasks
            .get(&task)
            .map(|record| record.token.0);
        let shown = view
            .attempts
            .iter()
            .map(|attempt| attempt.token)
            .max()
            .unwrap_or(0);
        Violation::unless(
            durable.is_some_and(|durable| shown <= durable),
            "T3",
            || {
                format!(
                    "a client of node {host} was shown {task} under token {shown}, its disk has {durable:?}"
                )
            },
        )
    }

    /// A client was told that a task was stopped.
    pub(in crate::sim) fn told_stopped(&self, host: usize, task: TaskId) -> Checked {
        let durable = self.durable[host]
            .tasks
            .get(&task)
            .map(|record| record.state);
        Violation::unless(durable.is_some_and(TaskState::is_terminal), "T2", || {
            format!(
                "a client of node {host} was told that {task} is stopped, its disk is not so far"
            )
        })
    }

    /// A client was given a result.
    pub(in crate::sim) fn told_result(&self, host: usize, task: TaskId, result: &[u8]) -> Checked {
        let durable = self.durable[host].results.get(&task);
        Violation::unless(
            durable.is_some_and(|durable| durable == result),
            "T2",
            || {
                format!(
                    "a client of node {host} was given a result of {task} that its disk has not"
                )
            },
        )
    }

    /// A node crashed: what it had written and its disk had not is as if it had never been.
    pub(in crate::sim) fn crashed(&mut self, host: usize) {
        self.written_outcomes[host].clear();
        self.handed.crashed(host);
        self.turns[host].crashed(&self.durable[host]);
        self.taken[host].crashed(&self.durable[host]);
    }

    /// A node's wall clock was set.
    pub(in crate::sim) fn clock_set(&mut self, host: usize) {
        self.turns[host].clock_set();
    }

    /// A node took a step.
    pub(in crate::sim) fn stepped(&self, hosts: &[Host], at: usize, stage: &Stage) -> Checked {
        let Some(core) = &hosts[at].core else {
            return Ok(());
        };
        core.check()?;
        self.check_log(at, core)?;
        self.check_promises(at, core)?;
        check_leases(hosts, at, core, stage)
    }

    fn check_log(&self, host: usize, core: &Node) -> Checked {
        let durable = &self.durable[host].tasks;
        for (record, _) in core.requester().tasks() {
            let Some(kept) = durable.get(&record.id) else {
                continue;
            };
            Violation::unless(kept.token <= record.token, "T3", || {
                format!(
                    "node {host} has {} under token {}, its disk under {}",
                    record.id, record.token, kept.token
                )
            })?;
            let same = !kept.state.is_terminal() || kept.state == record.state;
            Violation::unless(same, "T2", || {
                format!(
                    "{} is {} on the disk of node {host} and {} in its memory",
                    record.id,
                    kept.state.as_str(),
                    record.state.as_str()
                )
            })?;
            self.check_accepted(host, record)?;
        }
        Ok(())
    }

    fn check_accepted(&self, host: usize, record: &TaskRecord) -> Checked {
        let Some(attempt) = record.attempts.last() else {
            return Ok(());
        };
        let accepted = ["working", "waiting"].contains(&attempt.outcome.as_str());
        if !accepted || attempt.ended.is_some() {
            return Ok(());
        }
        let key = HeldKey {
            requester: self.entities[host],
            task: record.id,
        };
        let held = self
            .host_of(&attempt.worker)
            .and_then(|worker| self.durable[worker].held.get(&key));
        Violation::unless(
            held.is_some_and(|held| held.token >= attempt.token),
            "T5",
            || {
                format!(
                    "node {host} takes {} (token {}) for accepted, the worker's disk has token {:?}",
                    record.id,
                    attempt.token,
                    held.map(|held| held.token.0)
                )
            },
        )
    }

    /// Whether a disk agrees with what was decoded from it; asked once at the end.
    pub(in crate::sim) fn agrees_with(&self, host: usize, disk: &Disk) -> bool {
        let rows = disk.rows();
        let count = |space| rows.iter().filter(|row| row.space == space).count();
        count(Keyspace::Task) == self.durable[host].tasks.len()
            && count(Keyspace::Held) == self.durable[host].held.len()
    }
}

fn check_leases(hosts: &[Host], at: usize, core: &Node, stage: &Stage) -> Checked {
    for key in core.worker().live_leases(hosts[at].now(stage).mono) {
        for other in hosts.iter().filter(|other| other.index != at) {
            let Some(theirs) = &other.core else { continue };
            let twice = theirs
                .worker()
                .live_leases(other.now(stage).mono)
                .any(|k| k == key);
            Violation::unless(!twice, "T6", || {
                format!(
                    "nodes {at} and {} both hold a live lease on {}",
                    other.index, key.task
                )
            })?;
        }
    }
    Ok(())
}
