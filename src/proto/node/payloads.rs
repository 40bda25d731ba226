//! Inputs and results that are too large for a message. They are files of our own
//! ([`crate::proto::payload`]), travel as any file does ([`crate::proto::transfer`]), and are parts
//! of tasks ([`crate::proto::task`]): what is to be brought to whom is read from the tasks, again and
//! again, so that nothing of it has to survive a restart by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::Node;
use super::command::{CommandError, CommandErrorCode, CommandResult, Reply};
use super::defects::Defect;
use super::io::Output;
use super::parked::Parked;
use super::transfers::FileJob;
use super::views::{MovingView, PayloadView};
use crate::proto::Step;
use crate::proto::payload::{Kept, Payloads};
use crate::proto::transfer::{NewFile, Submitted};
use crate::types::limits::PAYLOADS_MAX;
use crate::types::{
    BatchId, EntityId, FencingToken, FileRef, Mono, PayloadFile, RunId, TaskId, TransferId,
};
use crate::wire::{
    AckAnswer, ChunkOffer, Purpose, RefusedFile, TaskOutcome, TaskResult, WireError,
};

/// How often is looked at what is to be brought, and what nobody names any more.
const LOOK_MS: u64 = 250;
const SWEEP_MS: u64 = 10_000;

/// What goes on with payloads at the moment.
pub(super) struct Parts {
    pub(super) payloads: Payloads,
    /// Runs that wait for their input.
    pub(super) parked: BTreeMap<RunId, Parked>,
    /// Inputs that are with their workers.
    brought: BTreeSet<(EntityId, Purpose)>,
    /// The files that were asked for, by task and token.
    pending: BTreeMap<(TaskId, FencingToken), FileRef>,
    looked: Option<Mono>,
    swept: Option<Mono>,
    /// Whether anything moves or waits.
    pub(super) busy: bool,
}

/// What an offer of a part of a task is worth.
pub(super) enum Part {
    /// It is here, and that rests on this batch.
    Here(BatchId),
    Wanted,
    Refused(RefusedFile),
}

impl Parts {
    pub(super) fn new(payloads: Payloads) -> Parts {
        Parts {
            payloads,
            parked: BTreeMap::new(),
            brought: BTreeSet::new(),
            pending: BTreeMap::new(),
            looked: None,
            swept: None,
            busy: true,
        }
    }

    /// When [`Node::tend_payloads`] is next needed.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let looked = self.looked.unwrap_or_default();
        match (self.busy, self.payloads.is_empty()) {
            (true, _) => Some(looked + LOOK_MS),
            (false, false) => Some(looked + SWEEP_MS),
            (false, true) => None,
        }
    }

    /// A run that was killed waits no more.
    pub(super) fn forget_run(&mut self, run: RunId) {
        self.parked.remove(&run);
    }
}

impl Node {
    // --- the API's side

    /// A payload that the runtime has written and flushed.
    pub(super) fn keep_payload(
        &mut self,
        content: FileRef,
        file: uuid::Uuid,
        step: &mut Step<'_>,
    ) -> (CommandResult, BatchId) {
        let refused = |code, text: String| (Err(CommandError::new(code, text)), BatchId::NONE);
        let max = self.config.task.payload_max_bytes;
        if content.size > max {
            let text = format!("it has {} bytes, a task takes {max}", content.size);
            return refused(CommandErrorCode::TooLarge, text);
        }
        self.expect_parts(&content);
        let mut kept = self.parts.payloads.keep(content, file, step);
        if kept == Kept::Full && self.make_room(content.size, step) {
            kept = self.parts.payloads.keep(content, file, step);
        }
        match self.filed(kept, file, step) {
            Some(after) => (Ok(Reply::Payload(payload_view(content))), after),
            None => {
                let max = self.config.task.payload_space_bytes;
                let text = format!(
                    "there is no room for it: {PAYLOADS_MAX} payloads, and {max} bytes of them, \
                     are kept at a time, and tasks that are not done need those that are here; \
                     wait until some are done"
                );
                refused(CommandErrorCode::QueueFull, text)
            }
        }
    }

    pub(super) fn payload(&self, root: &[u8; 32]) -> (CommandResult, BatchId) {
        match self.parts.payloads.file(root) {
            Some((at, written)) => {
                let size = at.size;
                let view = payload_view(FileRef { root: *root, size });
                (Ok(Reply::Payload(view)), written)
            }
            None => (Err(no_payload(root)), BatchId::NONE),
        }
    }

    /// A task of ours names it from now on.
    pub(super) fn name_input(&mut self, content: Option<FileRef>) {
        if let Some(content) = content {
            self.parts.payloads.named(&content.root);
        }
    }

    /// What a submitter means by a hash.
    pub(super) fn input_file(&self, id: TaskId, root: [u8; 32]) -> Result<FileRef, CommandError> {
        // Said again after the payload has gone with its task.
        let known = self.requester.task(id).and_then(|(r, _)| r.input_file);
        if let Some(known) = known.filter(|known| known.root == root) {
            return Ok(known);
        }
        let found = self.parts.payloads.file(&root);
        let (at, _) = found.ok_or_else(|| no_payload(&root))?;
        let size = at.size;
        Ok(FileRef { root, size })
    }

    /// Where a payload lies, if it is here.
    pub(super) fn payload_file(&self, content: &FileRef) -> Option<PayloadFile> {
        self.parts.payloads.file(&content.root).map(|(at, _)| at)
    }

    /// How far a task's input or result is on its way.
    pub(super) fn moving(&self, task: TaskId) -> Option<MovingView> {
        let of_task = |purpose: Option<Purpose>| purpose.map(Purpose::task_id) == Some(task);
        let out = self.sends.files().find(|s| of_task(s.record.purpose));
        let input = out.map(|sent| MovingView {
            what: "input".into(),
            done_bytes: sent.done_bytes,
            size: sent.record.size,
        });
        let mut coming = self.receives.files();
        let coming = coming.find(|r| {
            let result = matches!(r.record.purpose, Some(Purpose::TaskResult { .. }));
            result && of_task(r.record.purpose)
        });
        let result = coming.map(|received| MovingView {
            what: "result".into(),
            done_bytes: received.have_bytes(),
            size: received.record.size,
        });
        result.or(input)
    }

    // --- runs

    /// What a run that ended leaves: its result is a file of ours.
    pub(super) fn keep_result(
        &mut self,
        run: RunId,
        content: FileRef,
        file: Option<uuid::Uuid>,
        step: &mut Step<'_>,
    ) -> TaskOutcome {
        let failed = |reason: &str| TaskOutcome::Failed {
            reason: reason.into(),
            poison: false,
        };
        let wanted = self.worker.held_by(run).is_some();
        match file {
            Some(file) if !wanted => {
                self.drop_payload(file, step);
                failed("nobody waits for it")
            }
            Some(file) => match self.keep_new_result(content, file, step) {
                Some(_) => TaskOutcome::CompletedFile { file: content },
                None => {
                    self.drop_payload(file, step);
                    failed("the worker has no room for the result")
                }
            },
            None if self.parts.payloads.has(&content) => {
                self.parts.payloads.named(&content.root);
                TaskOutcome::CompletedFile { file: content }
            }
            None => failed("the result was not handed over"),
        }
    }

    fn keep_new_result(
        &mut self,
        content: FileRef,
        file: uuid::Uuid,
        step: &mut Step<'_>,
    ) -> Option<BatchId> {
        self.expect_parts(&content);
        self.keep_file(content, file, step)
    }

    /// What is on its way has its room, so that not everything that fits alone is taken together.
    /// `content` is what it is asked for.
    fn expect_parts(&mut self, content: &FileRef) {
        let coming = self.receives.coming_parts();
        let payloads = &mut self.parts.payloads;
        let others = coming.into_iter().filter(|(root, _)| {
            // What came another way needs no room again.
            *root != content.root && payloads.file(root).is_none()
        });
        let bytes = others.map(|(_, size)| size).sum();
        payloads.expect(bytes);
    }

    /// Keeps what a task of ours, or one that we hold, names already.
    fn keep_file(
        &mut self,
        content: FileRef,
        file: uuid::Uuid,
        step: &mut Step<'_>,
    ) -> Option<BatchId> {
        let kept = self.parts.payloads.take(content, file, step);
        self.filed(kept, file, step)
    }

    /// What a payload's being here rests on. One that was here before needs no second file.
    fn filed(&mut self, kept: Kept, file: uuid::Uuid, step: &Step<'_>) -> Option<BatchId> {
        match kept {
            Kept::Taken(after) => Some(after),
            Kept::Known(after) => {
                self.drop_payload(file, step);
                Some(after)
            }
            Kept::Full => None,
        }
    }

    fn drop_payload(&mut self, file: uuid::Uuid, step: &Step<'_>) {
        let job = Output::File(FileJob::DropPayload { file });
        self.gate.pass(step.batch, job, &mut self.out);
    }

    // --- what travels

    /// Whether an offer's id is the one that belongs to it, so that nobody takes another's.
    pub(super) fn is_rightly_named(&self, from: EntityId, offer: &ChunkOffer) -> bool {
        let id = offer.transfer_id;
        let due = |purpose: Purpose| purpose.transfer_id(&from, &self.identity.entity_id);
        offer
            .purpose
            .map_or(!is_of_part(id), |purpose| id == due(purpose))
    }

    /// A peer offers a part of a task.
    pub(super) fn judge_part(&self, from: EntityId, purpose: Purpose, content: FileRef) -> Part {
        let payloads = &self.parts.payloads;
        let wanted = match purpose {
            Purpose::TaskInput { task_id, token } => {
                self.worker.awaits_input(from, task_id, token) == Some(content)
            }
            Purpose::TaskResult { task_id, token } => {
                self.requester.awaits_result(from, task_id, token)
                    && self.parts.pending.get(&(task_id, token)) == Some(&content)
            }
        };
        let here = payloads.file(&content.root);
        // Whoever knows a hash does not have what it is of: an input is here for whom it is of.
        let input = matches!(purpose, Purpose::TaskInput { .. });
        let here = here.filter(|_| !input || self.worker.has_of(from, content));
        match here.filter(|(at, _)| at.size == content.size) {
            _ if !wanted => Part::Refused(RefusedFile::Unexpected),
            Some((_, written)) => Part::Here(written),
            None if !payloads.has(&content) && !payloads.has_room(content.size) => {
                Part::Refused(RefusedFile::NoSpace)
            }
            None => Part::Wanted,
        }
    }

    /// The same, and what follows from it: older results go where a new one has no room.
    pub(super) fn part_offered(
        &mut self,
        from: EntityId,
        purpose: Purpose,
        content: FileRef,
        step: &mut Step<'_>,
    ) -> Part {
        self.expect_parts(&content);
        let part = self.judge_part(from, purpose, content);
        let ours = matches!(purpose, Purpose::TaskResult { .. });
        match part {
            Part::Refused(RefusedFile::NoSpace) if ours && self.make_room(content.size, step) => {
                Part::Wanted
            }
            Part::Here(after) => Part::Here(after.max(self.came(from, purpose, content, step))),
            part => part,
        }
    }

    /// A part of a task has arrived in a file of ours.
    pub(super) fn part_arrived(
        &mut self,
        from: EntityId,
        purpose: Purpose,
        content: FileRef,
        file: uuid::Uuid,
        step: &mut Step<'_>,
    ) {
        self.expect_parts(&content);
        let here = self.parts.payloads.has(&content);
        if matches!(purpose, Purpose::TaskResult { .. }) && !here {
            // Something else may have come in between; if it stays full this comes again.
            let _ = self.make_room(content.size, step);
        }
        match self.keep_file(content, file, step) {
            Some(_) => {
                self.came(from, purpose, content, step);
            }
            None => self.drop_payload(file, step),
        }
        self.tend_parked(step);
    }

    /// Lets go results that we have had for long, until another file of ours fits. What others
    /// send us to work on pushes nothing out.
    fn make_room(&mut self, size: u64, step: &mut Step<'_>) -> bool {
        let spare = self.requester.spare_bytes();
        if !self.parts.payloads.would_have_room(size, spare) {
            return false;
        }
        while !self.parts.payloads.has_room(size) {
            if !self.requester.let_oldest_file_go(step) {
                return false;
            }
            self.sweep_payloads(step);
        }
        true
    }

    /// A part of a task that we sent is with its receiver, or will not be.
    pub(super) fn part_brought(
        &mut self,
        to: EntityId,
        purpose: Purpose,
        arrived: bool,
        step: &mut Step<'_>,
    ) {
        match purpose {
            Purpose::TaskInput { .. } if arrived => {
                self.parts.brought.insert((to, purpose));
            }
            Purpose::TaskInput { task_id, token } => {
                self.requester.not_brought(to, task_id, token, step);
            }
            Purpose::TaskResult { task_id, .. } => {
                let now = step.now.mono;
                self.worker.result_brought(to, task_id, arrived, now);
            }
        }
    }

    /// Takes what ended. A result whose file is not here is asked for, and taken when it is said
    /// again.
    ///
    /// # Errors
    /// See [`Node::open_results`].
    pub(super) fn take_results(
        &mut self,
        from: EntityId,
        list: TaskResult,
        step: &mut Step<'_>,
    ) -> Result<(Vec<AckAnswer>, BatchId), WireError> {
        let (told, entry) = self.open_results(from, list)?;
        let entry = entry.to_vec();
        let max = self.config.task.payload_max_bytes;
        let mut pending = Vec::new();
        let (mut taken, mut rests) = (Vec::new(), BatchId::NONE);
        for (at, told) in told.into_iter().enumerate() {
            let item = &told.item;
            if let TaskOutcome::CompletedFile { file } = &item.outcome
                && self.requester.awaits_result(from, item.task_id, item.token)
            {
                let named = (item.task_id, item.token);
                if file.size > max {
                    // It is a failure, which says so.
                    taken.push(told);
                    continue;
                }
                if !self.parts.payloads.has(file) && !self.has(Defect::KeptWithoutFile) {
                    self.parts.pending.entry(named).or_insert(*file);
                    self.parts.busy = true;
                    pending.push(at);
                    continue;
                }
                self.parts.pending.remove(&named);
                self.requester.is_here(*file);
                let written = self.parts.payloads.file(&file.root);
                rests = rests.max(written.map_or(BatchId::NONE, |(_, written)| written));
            }
            taken.push(told);
        }
        let (mut answers, after) = self.requester.ended(from, taken, &entry, step);
        for at in pending {
            answers.insert(at, AckAnswer::Pending);
        }
        Ok((answers, after.max(rests)))
    }

    /// Brings what tasks need to where they need it, and lets go what none of them names.
    pub(super) fn tend_payloads(&mut self, step: &mut Step<'_>) {
        let now = step.now.mono;
        if self.parts.looked.is_some_and(|at| now < at + LOOK_MS) {
            return;
        }
        self.parts.looked = Some(now);
        self.tend_parked(step);
        let inputs = self.requester.inputs_out();
        let wanted: Vec<_> = inputs.chain(self.worker.results_out()).collect();
        let names: BTreeSet<(EntityId, Purpose)> = wanted
            .iter()
            .map(|(to, purpose, _)| (*to, *purpose))
            .collect();
        self.parts.brought.retain(|one| names.contains(one));
        for (to, purpose, content) in wanted {
            if !self.parts.brought.contains(&(to, purpose)) {
                self.bring(to, purpose, content, step);
            }
        }
        self.give_up_parts(&names, step);
        let requester = &self.requester;
        self.parts.pending.retain(|(task, token), _| {
            let record = requester.task(*task).map(|(record, _)| record);
            record.is_some_and(|r| r.token == *token && !r.state.is_terminal())
        });
        if self.parts.swept.is_none_or(|at| at + SWEEP_MS <= now) {
            self.parts.swept = Some(now);
            self.sweep_payloads(step);
        }
        let moves = self.sends.files().any(|s| s.record.purpose.is_some())
            || self.receives.files().any(|r| r.record.purpose.is_some());
        self.parts.busy = moves || !names.is_empty() || !self.parts.parked.is_empty();
    }

    fn bring(&mut self, to: EntityId, purpose: Purpose, content: FileRef, step: &mut Step<'_>) {
        let id = purpose.transfer_id(&self.identity.entity_id, &to);
        if self.sends.file(id).is_some() {
            return;
        }
        let Some(at) = self.payload_file(&content) else {
            // Lost from our own disk: it will not be brought by anybody.
            return self.part_brought(to, purpose, false, step);
        };
        let path = self.config.task.payload_folder.join(at.file.to_string());
        let new = NewFile {
            id,
            to,
            path: path.to_string_lossy().into_owned(),
            name: format!("task {}", purpose.task_id()),
        };
        match self.sends.submit_part(new, purpose, step) {
            // It is looked at again soon.
            Submitted::Taken(_) | Submitted::Known(_) | Submitted::Full => {}
        }
    }

    /// Ends what is on its way for tasks that do not want it any more.
    fn give_up_parts(&mut self, names: &BTreeSet<(EntityId, Purpose)>, step: &mut Step<'_>) {
        let unwanted = self.sends.files().filter_map(|sent| {
            let (to, purpose) = (sent.record.to, sent.record.purpose?);
            let wanted = names.contains(&(to, purpose)) || self.worker.may_bring(to, purpose);
            (!wanted).then_some(sent.record.id)
        });
        for id in unwanted.collect::<Vec<_>>() {
            let _ = self.sends.cancel(id, step);
        }
        let unwanted = self.receives.files().filter_map(|received| {
            let record = &received.record;
            let wanted = match record.purpose? {
                Purpose::TaskInput { task_id, token } => self
                    .worker
                    .awaits_input(record.from, task_id, token)
                    .is_some(),
                Purpose::TaskResult { task_id, token } => {
                    self.requester.awaits_result(record.from, task_id, token)
                }
            };
            (!wanted).then_some(record.id)
        });
        for id in unwanted.collect::<Vec<_>>() {
            let _ = self.receives.cancel(id, step);
        }
    }

    /// What tasks of ours, or such as we hold, name.
    fn named_payloads(&self) -> BTreeSet<[u8; 32]> {
        let ours = self.requester.named_files();
        ours.chain(self.worker.named_files()).collect()
    }

    /// After a start: what tasks name was not handed over for others to come.
    pub(super) fn resume_payloads(&mut self) {
        for root in self.named_payloads() {
            self.parts.payloads.named(&root);
        }
    }

    fn sweep_payloads(&mut self, step: &mut Step<'_>) {
        if self.parts.payloads.is_empty() || self.has(Defect::NeverSweep) {
            return;
        }
        let mut named = self.named_payloads();
        // What has come is taken when it is said again.
        named.extend(self.parts.pending.values().map(|file| file.root));
        if self.has(Defect::SweepNamed) {
            named.clear();
        }
        for file in self.parts.payloads.sweep(&named, step) {
            self.drop_payload(file, step);
        }
    }
}

/// Whether it is the id of some part of a task: no other transfer has one of this version.
pub(super) fn is_of_part(id: TransferId) -> bool {
    id.0.get_version() == Some(uuid::Version::Custom)
}

fn payload_view(content: FileRef) -> PayloadView {
    PayloadView {
        hash: data_encoding::HEXLOWER.encode(&content.root),
        size: content.size,
    }
}

fn no_payload(root: &[u8; 32]) -> CommandError {
    let hash = data_encoding::HEXLOWER.encode(root);
    let text = format!("there is no payload {hash}: hand it over with PUT /v1/payloads first");
    CommandError::new(CommandErrorCode::NotFound, text)
}
