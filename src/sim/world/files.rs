//! What nodes do with files, and what is left of them long after.

use rand::RngExt as _;
use uuid::Uuid;

use super::World;
use crate::proto::Violation;
use crate::proto::node::{Command, FileJob, Input, Output, RunOutcome, RunSpec};
use crate::sim::files::content_of;
use crate::sim::stage::Incarnation;
use crate::types::{PeerId, RunId, TaskId};

/// How long after the end is looked at what is left: longer than a payload stays that nobody names.
const LONG_MS: u64 = 2 * 3_600_000;

impl World {
    pub(super) fn file_job(&mut self, from: Incarnation, job: FileJob) -> Result<(), Violation> {
        match &job {
            FileJob::DropPayload { file } => self.checker.drops(from.host, *file)?,
            FileJob::Discard { partial } => self.checker.discards(from.host, partial.file)?,
            FileJob::Sweep { payloads, .. } => self.checker.keeps(from.host, payloads)?,
            _ => {}
        }
        let to = match &job {
            FileJob::Send { peer, .. } => self.reached(from.host, peer),
            _ => None,
        };
        self.files.job(from, job, to, &mut self.stage);
        self.checker.sees(from.host, &self.files);
        Ok(())
    }

    fn reached(&self, from: usize, peer: &PeerId) -> Option<Incarnation> {
        let to = self.net.host_of(peer)?;
        let passes = self.net.can_connect(from, to);
        passes.then(|| self.net.incarnation(to)).flatten()
    }

    /// A client hands a payload over: it is written before the node is told.
    pub(super) fn uploads(&mut self, host: usize, input: &Input) {
        if let Input::Command { command, .. } = input
            && let Command::KeepPayload { content, file } = command
            && let Some(bytes) = self.clients.content(content)
        {
            self.files.put(host, *file, bytes);
            self.checker.sees(host, &self.files);
        }
    }

    /// A run begins; of what lies in a file it is given the content.
    pub(super) fn begins(
        &mut self,
        from: Incarnation,
        run: RunId,
        mut spec: RunSpec,
    ) -> Result<(), Violation> {
        self.checker.begins(from.host, &spec)?;
        if let Some(at) = spec.input_file.take() {
            let bytes = self.files.read(from.host, at.file);
            let input = bytes.map(Vec::as_slice);
            self.checker.runs_on(from.host, &spec, input, &self.files)?;
            self.outcomes.inputs_brought += 1;
            spec.input = bytes.cloned().unwrap_or_default();
        }
        let stage = &mut self.stage;
        self.hosts[from.host].run(run, &spec, stage);
        (self.clients).run_begins(from.host, &spec, &mut self.checker, stage);
        Ok(())
    }

    /// What a run came to whose task has a file for its input is one, too.
    pub(super) fn written(&mut self, host: usize, task: TaskId, outcome: RunOutcome) -> RunOutcome {
        match outcome {
            RunOutcome::Completed { result } if self.checker.has_file(task) => {
                let content = content_of(&result);
                let file = Uuid::from_u128(self.stage.rng.random());
                self.checker.made(task, host, content.root);
                self.files.put(host, file, result);
                self.checker.sees(host, &self.files);
                let file = Some(file);
                RunOutcome::CompletedFile { content, file }
            }
            other => other,
        }
    }

    /// Hours later, and with nobody else there: what nobody names has gone.
    pub(super) fn long_after(&mut self) -> Result<(), Violation> {
        for host in 0..self.hosts.len() {
            let mut now = self.hosts[host].now(&self.stage);
            (now.mono, now.wall) = (now.mono + LONG_MS, now.wall + LONG_MS);
            // What was on its way to the disk at the end has come there.
            for input in self.flush_all(host)? {
                self.alone(host, input, now)?;
            }
            for _ in 0..6 {
                self.alone(host, Input::Deadline, now)?;
                (now.mono, now.wall) = (now.mono + 20_000, now.wall + 20_000);
            }
            self.checker.left(host, &self.files)?;
        }
        Ok(())
    }

    /// A node takes a step of which only its disk and its files hear.
    fn alone(
        &mut self,
        host: usize,
        input: Input,
        now: crate::types::Now,
    ) -> Result<(), Violation> {
        let from = self.hosts[host].incarnation();
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let Some(core) = &mut self.hosts[host].core else {
                return Ok(());
            };
            for output in core.handle(input, now) {
                match output {
                    Output::Persist { id, writes } => {
                        let _ = self.hosts[host].disk.write(id, writes);
                        inputs.extend(self.flush_all(host)?);
                    }
                    Output::File(job) => self.file_job(from, job)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// All that is queued becomes durable. Returns what the node is told of it.
    fn flush_all(&mut self, host: usize) -> Result<Vec<Input>, Violation> {
        let mut inputs = Vec::new();
        let mut more = self.hosts[host].disk.is_writing();
        while more {
            let (batches, upto, again) = self.hosts[host].disk.flushed();
            for batch in &batches {
                self.checker.durable(host, batch)?;
            }
            inputs.push(Input::Persisted { upto });
            more = again;
        }
        Ok(inputs)
    }
}
