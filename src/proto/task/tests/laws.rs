//! What must hold after every command, by the numbers of the module's header.

use std::collections::BTreeMap;

use super::world::{Message, Packet, Party, Said, WORKERS, World, worker_at};
use super::*;
use crate::proto::Violation;
use crate::proto::task::AttemptRecord;
use crate::types::{Keyspace, TaskState};
use crate::wire::{AcceptAnswer, AckAnswer, cbor};

type Judged = Result<(), Violation>;

impl World {
    /// Checks everything.
    pub(super) fn check(&mut self) -> Judged {
        if let Some(violation) = self.violation.take() {
            return Err(violation);
        }
        let durable = self.durable_tasks();
        self.check_kept(&durable)?;
        for record in durable.values() {
            self.check_durable(record)?;
        }
        for (record, _) in self.ours.side.core.tasks() {
            self.check_memory(record, durable.get(&record.id))?;
        }
        self.check_workers(&durable)?;
        self.check_leases()?;
        self.ours.side.core.check()?;
        (0..WORKERS).try_for_each(|at| self.workers[at].side.core.check())
    }

    fn durable_tasks(&self) -> BTreeMap<TaskId, TaskRecord> {
        let rows = self.ours.side.disk.rows().into_iter();
        rows.filter(|row| row.space == Keyspace::Task)
            .map(|row| TaskRecord::from_row(&row.value).expect("our own row"))
            .map(|record| (record.id, record))
            .collect()
    }

    fn durable_task(&self, id: TaskId) -> Option<TaskRecord> {
        let row = self.ours.side.disk.row(Keyspace::Task, id.0.as_bytes())?;
        Some(TaskRecord::from_row(row).expect("our own row"))
    }

    fn held_row(&self, at: usize, task: TaskId) -> Option<HeldRecord> {
        let key = HeldKey {
            requester: US,
            task,
        }
        .to_bytes();
        let row = self.workers[at].side.disk.row(Keyspace::Held, &key)?;
        Some(HeldRecord::from_row(row).expect("our own row"))
    }

    /// T1.
    fn check_kept(&self, durable: &BTreeMap<TaskId, TaskRecord>) -> Judged {
        let gone = self
            .acknowledged
            .iter()
            .find(|id| !durable.contains_key(*id));
        Violation::unless(gone.is_none(), "T1", || format!("{gone:?} is not on disk"))
    }

    /// T2, T3 and T4 of one durable row.
    fn check_durable(&mut self, record: &TaskRecord) -> Judged {
        let id = record.id;
        let before = self.tokens.insert(id, record.token).unwrap_or_default();
        Violation::unless(before <= record.token, "T3", || {
            format!(
                "the durable token of {id} fell from {before} to {}",
                record.token
            )
        })?;
        if !record.state.is_terminal() {
            let was = self.sealed.get(&id).map(|(record, _)| record.state);
            return Violation::unless(was.is_none(), "T2", || format!("{id} was {was:?}"));
        }
        let result = self
            .ours
            .side
            .disk
            .row(Keyspace::TaskResult, id.0.as_bytes());
        let result = result.map(<[u8]>::to_vec);
        if record.state == TaskState::Completed {
            self.check_result(record, result.as_deref())?;
        }
        if record.dead {
            let input = self
                .ours
                .side
                .disk
                .row(Keyspace::TaskInput, id.0.as_bytes());
            let bytes = input.map(|input| input.len() as u64);
            Violation::unless(bytes == Some(record.input_bytes), "T9", || {
                format!("{id} has {bytes:?} bytes of input on disk")
            })?;
        }
        let now = (record.clone(), result);
        let first = self.sealed.entry(id).or_insert_with(|| now.clone());
        Violation::unless(*first == now, "T2", || format!("{first:?} became {now:?}"))
    }

    fn check_result(&self, record: &TaskRecord, result: Option<&[u8]>) -> Judged {
        let worker = record.worker.expect("it was given to somebody");
        let right = self.answer(worker_at(worker), record.id);
        let fits = result == Some(&right[..]) && record.result_token == Some(record.token);
        Violation::unless(fits, "T4", || {
            format!("{result:?} is the result of {record:?}")
        })
    }

    /// T2 and T3 between memory and disk; and only runs that failed are counted as failures, or that
    /// a worker gave up because they took its node down.
    fn check_memory(&self, record: &TaskRecord, durable: Option<&TaskRecord>) -> Judged {
        let id = record.id;
        if let Some(durable) = durable {
            Violation::unless(durable.token <= record.token, "T3", || {
                format!(
                    "{id} has token {} and {} on disk",
                    record.token, durable.token
                )
            })?;
            let same = !durable.state.is_terminal() || durable == record;
            Violation::unless(same, "T2", || format!("{durable:?} became {record:?}"))?;
        }
        let failed = self.failed_runs.get(&id).copied().unwrap_or_default();
        let given_up = |attempt: &&AttemptRecord| attempt.outcome.contains("went down");
        let failed = failed + record.attempts.iter().filter(given_up).count() as u32;
        Violation::unless(record.failures <= failed, "failures", || {
            format!(
                "{id} counts {} failures of {failed} runs that failed",
                record.failures
            )
        })
    }

    /// T3 and T5 of what the workers' disks say.
    fn check_workers(&mut self, durable: &BTreeMap<TaskId, TaskRecord>) -> Judged {
        for at in 0..WORKERS {
            for row in self.workers[at].side.disk.rows() {
                if row.space == Keyspace::Held {
                    let task = held_key(&row.key).expect("our own key").task;
                    let held = HeldRecord::from_row(&row.value).expect("our own row");
                    self.check_held(at, task, &held, durable.get(&task))?;
                }
            }
        }
        Ok(())
    }

    /// Nobody holds a token that the requester's disk does not know, nor lets go of a result that
    /// it still needs.
    fn check_held(
        &mut self,
        at: usize,
        task: TaskId,
        held: &HeldRecord,
        durable: Option<&TaskRecord>,
    ) -> Judged {
        let Some(record) = durable.filter(|record| held.token <= record.token) else {
            let detail = format!("worker {at} holds {task} under {}: {durable:?}", held.token);
            return Err(Violation {
                invariant: "T3",
                detail,
            });
        };
        if held.state == HeldState::Tombstone {
            let needed = self.results.remove(&(at, task)) == Some(record.token)
                && record.token == held.token
                && !record.state.is_terminal();
            return Violation::unless(!needed, "T5", || {
                format!("worker {at} let go of its result for {record:?}")
            });
        }
        if held.state == HeldState::Ended && self.is_completed(at, task) {
            self.results.insert((at, task), held.token);
        } else {
            self.results.remove(&(at, task));
        }
        Ok(())
    }

    fn is_completed(&self, at: usize, task: TaskId) -> bool {
        let key = HeldKey {
            requester: US,
            task,
        }
        .to_bytes();
        let row = self.workers[at].side.disk.row(Keyspace::HeldResult, &key);
        let outcome = row.map(|row| cbor::decode(row, 1024).expect("our own row"));
        matches!(outcome, Some(TaskOutcome::Completed { .. }))
    }

    /// T6.
    fn check_leases(&self) -> Judged {
        let mut holders: BTreeMap<HeldKey, usize> = BTreeMap::new();
        for (at, worker) in self.workers.iter().enumerate() {
            for key in worker
                .side
                .core
                .live_leases(self.clock(Party::Worker(at)).mono)
            {
                let other = holders.insert(key, at);
                Violation::unless(other.is_none(), "T6", || {
                    format!(
                        "workers {at} and {other:?} hold a live lease on {}",
                        key.task
                    )
                })?;
            }
        }
        Ok(())
    }

    /// Judges what is said at the moment it leaves: it must be true of the disk.
    pub(super) fn judge_said(&self, said: &Said) -> Judged {
        match said {
            Said::Submitted(id) => {
                Violation::unless(self.durable_task(*id).is_some(), "T1", || {
                    format!("{id} was acknowledged and is not on disk")
                })
            }
            Said::Finished(id) => {
                let state = self.durable_task(*id).map(|record| record.state);
                Violation::unless(state.is_some_and(TaskState::is_terminal), "T2", || {
                    format!("{id} is told to be over; on disk it is {state:?}")
                })
            }
            Said::Packet(packet) => self.judge_packet(packet),
        }
    }

    fn judge_packet(&self, packet: &Packet) -> Judged {
        let at = packet.worker;
        match &packet.message {
            Message::Offer(items) => items.iter().try_for_each(|item| {
                let token = self.durable_task(item.task_id).map(|record| record.token);
                Violation::unless(token >= Some(item.token), "T3", || {
                    format!("offered under {}, on disk is {token:?}", item.token)
                })
            }),
            Message::Accept(_, offers, answers) => {
                offers
                    .iter()
                    .zip(answers)
                    .try_for_each(|((task, token), answer)| {
                        let held = self.held_row(at, *task).map(|held| held.token);
                        let kept =
                            matches!(answer, AcceptAnswer::Refused(_)) || held >= Some(*token);
                        Violation::unless(kept, "T5", || {
                            format!("worker {at} accepts {task} under {token}, on disk is {held:?}")
                        })
                    })
            }
            Message::Kept(items, answers) => {
                items.iter().zip(answers).try_for_each(|(item, answer)| {
                    let completed = matches!(item.outcome, TaskOutcome::Completed { .. });
                    let record = self.durable_task(item.task_id);
                    let kept = record.as_ref().is_some_and(|record| {
                        record.result_token == Some(item.token) || !completed
                    });
                    Violation::unless(*answer != AckAnswer::Kept || kept, "T5", || {
                        format!("{item:?} is acknowledged, on disk is {record:?}")
                    })
                })
            }
            _ => Ok(()),
        }
    }
}
