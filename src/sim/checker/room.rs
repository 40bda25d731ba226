//! What nodes take while their disks are short of room.
//!
//! - **D1** A node that was told how little room its disk has takes nothing new beyond it, however
//!   much it has written since: it queues no task whose input does not fit, and accepts none that does
//!   not fit with its result. What was taken before goes on, and what ends is kept (T1, T2, T5).
//! - **D2** It says that there is no room only while there is little (`world::room`). So what was
//!   refused is taken once there is some, and ends (L1).

use std::collections::BTreeSet;

use super::durable::{read_held, read_held_key, read_task_id, unreadable};
use super::{Checked, Checker, Durable};
use crate::proto::Violation;
use crate::proto::task::{HeldKey, HeldState, TaskRecord};
use crate::types::limits::RESULT_MAX_BYTES;
use crate::types::{Keyspace, TaskId, WriteBatch, WriteOp};

/// What a machine has taken, on its disk or on the way there.
#[derive(Default)]
pub(super) struct Taken {
    tasks: BTreeSet<TaskId>,
    held: BTreeSet<HeldKey>,
}

impl Taken {
    pub(super) fn crashed(&mut self, durable: &Durable) {
        self.tasks = durable.tasks.keys().copied().collect();
        let held = durable.held.iter();
        let held = held.filter(|(_, held)| held.state != HeldState::Tombstone);
        self.held = held.map(|(key, _)| *key).collect();
    }
}

impl Checker {
    /// A node writes; `left` is what its disk has room for, if it was told that this is little.
    /// Returns how many tasks it takes.
    pub(in crate::sim) fn takes(
        &mut self,
        host: usize,
        batch: &WriteBatch,
        left: Option<u64>,
    ) -> Result<u64, Violation> {
        let (mut tasks, mut held) = (BTreeSet::new(), BTreeSet::new());
        let taken = &mut self.taken[host];
        let (mut of_tasks, mut of_held) = (0, 0);
        for op in &batch.ops {
            match op {
                // The parts of work that several do came with it.
                WriteOp::Put {
                    space: Keyspace::Task,
                    value,
                    ..
                } => {
                    let record = TaskRecord::from_row(value).map_err(unreadable)?;
                    if taken.tasks.insert(record.id) && record.part.is_none() {
                        tasks.insert(record.id);
                    }
                }
                WriteOp::Delete {
                    space: Keyspace::Task,
                    key,
                } => {
                    taken.tasks.remove(&read_task_id(key)?);
                }
                WriteOp::Put {
                    space: Keyspace::Held,
                    key,
                    value,
                } => {
                    let key = read_held_key(key)?;
                    if read_held(value)?.state == HeldState::Tombstone {
                        taken.held.remove(&key);
                    } else if taken.held.insert(key) {
                        held.insert(key);
                        of_held += RESULT_MAX_BYTES as u64;
                    }
                }
                WriteOp::Delete {
                    space: Keyspace::Held,
                    key,
                } => {
                    taken.held.remove(&read_held_key(key)?);
                }
                _ => {}
            }
        }
        for op in &batch.ops {
            match op {
                WriteOp::Put {
                    space: Keyspace::TaskInput,
                    key,
                    value,
                } if tasks.contains(&read_task_id(key)?) => of_tasks += value.len() as u64,
                WriteOp::Put {
                    space: Keyspace::HeldInput,
                    key,
                    value,
                } if held.contains(&read_held_key(key)?) => of_held += value.len() as u64,
                _ => {}
            }
        }
        check_fits(host, "queues", tasks.len(), of_tasks, left)?;
        check_fits(host, "accepts", held.len(), of_held, left)?;
        Ok((tasks.len() + held.len()) as u64)
    }
}

fn check_fits(host: usize, what: &str, count: usize, bytes: u64, left: Option<u64>) -> Checked {
    // What nothing is left of has no room for the row of a task, either.
    let fits = count == 0 || left.is_none_or(|left| 0 < left && bytes <= left);
    Violation::unless(fits, "D1", || {
        format!("node {host} {what} {count} tasks that take {bytes} bytes, room is for {left:?}")
    })
}
