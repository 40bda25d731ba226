//! What clients do about tasks that failed: some are handed over again, some are let go.

use super::{Asked, ClientEvent, Clients, Job, UNSERVED};
use crate::proto::node::{Command, CommandError, CommandErrorCode, Input};
use crate::sim::checker::Checker;
use crate::sim::host::Host;
use crate::sim::stage::{Event, Stage};
use crate::types::TaskId;

use rand::RngExt as _;

/// How long a client waits the second time: there may be nobody who could do it.
const PATIENCE_US: u64 = 65_000_000;

impl Clients {
    /// A job's client saw its task fail: what is to become of it is drawn.
    pub(super) fn saw_failure(&mut self, job: usize, checker: &mut Checker, stage: &mut Stage) {
        let what = &self.jobs[job];
        // Nobody would do the one, and one more attempt is enough to see of the others.
        if job == UNSERVED || what.repeats.is_some() {
            return;
        }
        if stage.chance(0.2) {
            checker.may_be_dropped(what.id);
            stage.after(0, Event::Client(ClientEvent::Drop { job }));
        } else if stage.chance(0.6) {
            let again = self.jobs.len();
            let repeated = self.repeated(job, stage);
            repeated.is_expected(checker);
            checker.bind_like(repeated.id, self.jobs[job].id);
            let loses_patience = Event::Client(ClientEvent::Cancel { job: again });
            stage.after(PATIENCE_US, loses_patience);
            self.jobs.push(repeated);
            let soon_us = stage.span_us(0, 3_000);
            stage.after(soon_us, Event::Client(ClientEvent::Submit { job: again }));
        }
    }

    /// What was to be handed over again has gone meanwhile: there were too many of its kind.
    pub(super) fn is_too_late(&self, job: usize, error: &CommandError) -> bool {
        self.jobs[job].repeats.is_some() && error.code == CommandErrorCode::Conflict
    }

    fn repeated(&self, job: usize, stage: &mut Stage) -> Job {
        let what = &self.jobs[job];
        let millis = what.id.0.get_timestamp().map_or(0, |at| at.to_unix().0) * 1_000;
        let random: [u8; 10] = stage.rng.random();
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
        Job {
            host: what.host,
            id: TaskId(id),
            submission: what.submission.clone(),
            content: what.content.clone(),
            handed: what.handed,
            repeats: Some(what.id),
            tried: false,
            acknowledged: false,
            ended: None,
            settled: false,
        }
    }

    pub(super) fn drop_input(&mut self, job: usize, hosts: &[Host]) -> Option<(usize, Input)> {
        let (host, id) = (self.jobs[job].host, self.jobs[job].id);
        self.ask(host, Asked::Drop, Command::DropTask(id), hosts)
    }

    /// How many failed tasks were handed over again.
    pub(in crate::sim) fn handed_over_again(&self) -> u64 {
        let again = |job: &&Job| job.repeats.is_some() && job.acknowledged;
        self.jobs.iter().filter(again).count() as u64
    }

    /// How many of them were completed then.
    pub(in crate::sim) fn completed_then(&self) -> u64 {
        let then = |job: &&Job| {
            job.repeats.is_some() && job.ended == Some(crate::proto::node::TaskState::Completed)
        };
        self.jobs.iter().filter(then).count() as u64
    }
}

/// Whether it was refused only because there is no room at the moment.
pub(super) fn is_full(error: &CommandError) -> bool {
    let full = [CommandErrorCode::Storage, CommandErrorCode::QueueFull];
    full.contains(&error.code)
}
