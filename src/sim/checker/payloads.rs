//! Inputs and results that are files.
//!
//! - **P2** No file is deleted that a durable row names: its own, a task's, or a held task's.
//! - **P3** No run has another input than was handed over.
//! - **P4** What completed with a file has the one that the run made, and it is on the requester's
//!   disk, with its row, before anybody is told.
//! - **P6** No run has an input that its own requester has not sent.
//! - **P5** In the end every file is named by a row, and every row by a task.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use uuid::Uuid;

use super::durable::unreadable;
use super::{Checked, Checker};
use crate::proto::Violation;
use crate::proto::node::RunSpec;
use crate::proto::task::TaskRecord;
use crate::sim::files::{Files, content_of};
use crate::types::{TaskId, TaskState};
use crate::wire::cbor;

/// What of a payload's row is looked at.
#[derive(Deserialize)]
pub(super) struct PayloadRow {
    file: Uuid,
}

/// What is known of files beside what disks say.
#[derive(Default)]
pub(super) struct Known {
    /// The inputs that are files, by their tasks.
    inputs: BTreeMap<TaskId, [u8; 32]>,
    /// The results that are files, and the runs that made them.
    results: BTreeMap<[u8; 32], (TaskId, usize)>,
    /// Every machine's files.
    there: Vec<BTreeMap<Uuid, [u8; 32]>>,
}

impl Known {
    pub(super) fn new(hosts: usize) -> Known {
        Known {
            there: vec![BTreeMap::new(); hosts],
            ..Known::default()
        }
    }
}

pub(super) fn root_in(key: &[u8]) -> Result<[u8; 32], Violation> {
    key.try_into().map_err(unreadable)
}

pub(super) fn file_in(value: &[u8]) -> Result<Uuid, Violation> {
    let row: PayloadRow = cbor::decode(value, 1024).map_err(unreadable)?;
    Ok(row.file)
}

impl Checker {
    /// A task whose input is a file.
    pub(in crate::sim) fn expect_file(&mut self, task: TaskId, bytes: &[u8]) {
        self.files.inputs.insert(task, content_of(bytes).root);
    }

    /// What a machine has, whenever it may be another.
    pub(in crate::sim) fn sees(&mut self, host: usize, files: &Files) {
        self.files.there[host] = files.payloads(host).collect();
    }

    /// A run begins whose input is a file.
    pub(in crate::sim) fn runs_on(
        &self,
        host: usize,
        spec: &RunSpec,
        bytes: Option<&[u8]>,
        files: &Files,
    ) -> Checked {
        let task = spec.task_id;
        let has = bytes.map(|bytes| content_of(bytes).root);
        let expected = self.files.inputs.get(&task).copied();
        Violation::unless(has.is_some() && has == expected, "P3", || {
            format!("a run of {task} has the input {has:02x?}, handed over was {expected:02x?}")
        })?;
        let from = self.host_of(&spec.requester);
        let sent = |from| bytes.is_some_and(|bytes| files.was_sent(from, host, bytes));
        Violation::unless(from.is_some_and(sent), "P6", || {
            format!("a run of {task} at node {host} has an input that its requester never sent")
        })
    }

    /// A run has made this.
    pub(in crate::sim) fn made(&mut self, task: TaskId, host: usize, root: [u8; 32]) {
        self.files.results.insert(root, (task, host));
    }

    /// A file is about to be deleted.
    pub(in crate::sim) fn drops(&self, host: usize, file: Uuid) -> Checked {
        let durable = &self.durable[host];
        let root = self.files.there[host].get(&file);
        let row = durable.payloads.values().any(|of| *of == file);
        // Where the same content lies once more, that one counts.
        let only = root.is_some_and(|root| !durable.payloads.contains_key(root));
        let wanted = only && root.is_some_and(|root| self.named(host).contains(root));
        Violation::unless(!row && !wanted, "P2", || {
            format!("node {host} deletes {file}, which a row on its disk names")
        })
    }

    /// What has not arrived whole is about to be deleted: no row names it.
    pub(in crate::sim) fn discards(&self, host: usize, file: Uuid) -> Checked {
        let named = self.durable[host].payloads.values().any(|of| *of == file);
        Violation::unless(!named, "P2", || {
            format!("node {host} discards {file}, which a row on its disk names")
        })
    }

    /// A start deletes all but these.
    pub(in crate::sim) fn keeps(&self, host: usize, payloads: &[Uuid]) -> Checked {
        let named = self.durable[host].payloads.values();
        let missed = named.into_iter().find(|file| !payloads.contains(file));
        Violation::unless(missed.is_none(), "P2", || {
            format!("node {host} forgets {missed:?}, which a row on its disk names")
        })
    }

    /// A task's row says that it completed, with this file.
    pub(super) fn check_result_file(&self, host: usize, record: &TaskRecord) -> Checked {
        let Some(file) = record.result_file else {
            return Ok(());
        };
        let given = record.worker.and_then(|worker| self.host_of(&worker));
        let made = self.files.results.get(&file.root);
        let right = made.is_some_and(|(task, by)| *task == record.id && Some(*by) == given);
        let at = self.durable[host].payloads.get(&file.root);
        let there = at.is_some_and(|at| self.files.there[host].contains_key(at));
        Violation::unless(right && there, "P4", || {
            format!(
                "{} completed with a file of {made:?} from node {given:?}, which is on the disk of \
                 node {host}: {there}",
                record.id
            )
        })
    }

    /// What the durable rows of tasks and held tasks name.
    fn named(&self, host: usize) -> BTreeSet<[u8; 32]> {
        let durable = &self.durable[host];
        let named = |record: &TaskRecord| {
            let wanted = record.dead || !record.state.is_terminal();
            let completed = record.state == TaskState::Completed;
            let input = record.input_file.filter(|_| wanted);
            [input, record.result_file.filter(|_| completed)]
        };
        let tasks = durable.tasks.values().flat_map(named);
        // What has not come yet comes once more: the same content may be on its way out.
        let held =
            { durable.held.values() }.map(|held| held.input_file.filter(|_| held.input_came));
        tasks.chain(held).flatten().map(|of| of.root).collect()
    }

    /// A client was shown where a result is.
    pub(in crate::sim) fn told_file(&self, host: usize, task: TaskId, file: Uuid) -> Checked {
        let there = self.files.there[host].contains_key(&file);
        Violation::unless(there, "P4", || {
            format!("a client of node {host} was given a file for {task} that is not there")
        })
    }

    /// Whether a task's input is a file.
    pub(in crate::sim) fn has_file(&self, task: TaskId) -> bool {
        self.files.inputs.contains_key(&task)
    }

    /// Long after everything: what is still there is somebody's.
    pub(in crate::sim) fn left(&self, host: usize, files: &Files) -> Checked {
        let durable = &self.durable[host];
        let named = self.named(host);
        let rows = durable.payloads.keys().all(|root| named.contains(root));
        let there: BTreeSet<Uuid> = files.payloads(host).map(|(file, _)| file).collect();
        let known: BTreeSet<Uuid> = durable.payloads.values().copied().collect();
        Violation::unless(rows && there == known, "P5", || {
            format!(
                "node {host} has {} files, {} rows of them, and tasks name {}",
                there.len(),
                known.len(),
                named.len()
            )
        })
    }
}
