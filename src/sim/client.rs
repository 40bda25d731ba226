//! The clients of the nodes: they submit, watch, look, cancel, wake and ping, as programs at the
//! API would.
//!
//! A client that got no answer repeats its submission under the same id until it is acknowledged;
//! a watch that a crash ended is begun again.

mod failed;
mod parts;
mod reader;

use std::collections::BTreeMap;

use rand::RngExt as _;

use self::failed::is_full;
use self::parts::{Part, draw_wish};
use self::reader::Reader;
use super::checker::Checker;
use super::files::content_of;
use super::host::{DOOMED, Host, SHARED};
use super::stage::{Event, Stage};
use crate::crypto::Rng;
use crate::proto::Violation;
use crate::proto::node::{
    Agreement, Changed, Command, CommandResult, Input, Orphan, PeerRef, Priority, Reply, Start,
    Submission, TaskState, WakeRequest, Wish,
};
use crate::types::{Capability, CommandId, Compare, FileRef, Label, Marks, TaskId};

/// The capability the workers serve, and one that nobody does.
pub(super) const SERVED: &str = "hash";
const MISSING: &str = "missing";
/// The task that asks for it.
const UNSERVED: usize = 1;

/// What the first two nodes say of themselves.
pub(super) fn early() -> Label {
    "start=early".parse().expect("a label")
}

/// A client's next move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientEvent {
    Submit { job: usize },
    Watch { job: usize },
    Look { job: usize },
    Cancel { job: usize },
    Drop { job: usize },
    HandOn { part: usize },
    Wake { from: usize, to: usize },
    Ping { from: usize, to: usize },
    Read { host: usize },
}

/// One task as its client knows it.
struct Job {
    host: usize,
    id: TaskId,
    submission: Submission,
    /// Its input, where that is a file, and whether its node has it.
    content: Option<Vec<u8>>,
    handed: bool,
    /// The failed task that it is handed over again for.
    repeats: Option<TaskId>,
    tried: bool,
    acknowledged: bool,
    /// Its client saw it end.
    ended: Option<TaskState>,
    /// Its client has the result, or there is none to be had.
    settled: bool,
}

#[derive(Debug, Clone, Copy)]
enum Asked {
    Upload { job: usize },
    Submit { job: usize },
    Watch { job: usize },
    Look { job: usize },
    Cancel { job: usize },
    Result { job: usize },
    Drop,
    Part,
    Read { after: Option<u64> },
    Other,
}

/// All clients.
pub(super) struct Clients {
    jobs: Vec<Job>,
    parts: Vec<Part>,
    readers: Vec<Reader>,
    /// Parts of tasks that were handed on, and that were refused.
    pub(super) parts_taken: u64,
    pub(super) parts_refused: u64,
    /// Results that were files.
    pub(super) files_taken: u64,
    asked: BTreeMap<(usize, CommandId), Asked>,
    next_command: u64,
}

impl Clients {
    /// Draws the workload and puts it on the agenda.
    pub(super) fn draw(
        tasks: usize,
        submit_us: u64,
        hosts: &[Host],
        checker: &mut Checker,
        stage: &mut Stage,
    ) -> Clients {
        let mut jobs = Vec::with_capacity(tasks);
        for job in 0..tasks {
            let at_us = stage.rng.random_range(200_000..submit_us);
            let drawn = draw_job(job, at_us, hosts, &mut stage.rng);
            drawn.is_expected(checker);
            checker.bind(&drawn.submission, hosts);
            jobs.push(drawn);
            stage.at(at_us, Event::Client(ClientEvent::Submit { job }));
            for _ in 0..2 {
                let after_us = stage.span_us(100, 30_000);
                stage.at(at_us + after_us, Event::Client(ClientEvent::Look { job }));
            }
            if stage.chance(0.12) {
                let after_us = stage.span_us(10, 8_000);
                stage.at(at_us + after_us, Event::Client(ClientEvent::Cancel { job }));
            }
        }
        // A wrong clock at a restart can put a deadline an hour off: its client loses patience.
        let patience_us = stage.calm_us + 20_000_000;
        let waits = |(at, job): (usize, &Job)| {
            let Submission {
                agreement, marks, ..
            } = &job.submission;
            let picky = agreement.is_some() || !marks.needs.is_empty();
            (at == UNSERVED || picky).then_some(at)
        };
        for job in jobs.iter().enumerate().filter_map(waits) {
            stage.at(patience_us, Event::Client(ClientEvent::Cancel { job }));
        }
        for _ in 0..3 {
            let from = stage.rng.random_range(0..hosts.len());
            let to = (from + stage.rng.random_range(1..hosts.len())) % hosts.len();
            let at_us = stage.rng.random_range(submit_us / 4..submit_us);
            stage.at(at_us, Event::Client(ClientEvent::Wake { from, to }));
            stage.at(at_us / 2, Event::Client(ClientEvent::Ping { from, to }));
        }
        Clients {
            jobs,
            parts: Vec::new(),
            readers: Reader::for_each(hosts, stage),
            parts_taken: 0,
            parts_refused: 0,
            files_taken: 0,
            asked: BTreeMap::new(),
            next_command: 1,
        }
    }

    /// A client moves. Returns the command for its node, if the node is there to take it.
    pub(super) fn moves(
        &mut self,
        event: ClientEvent,
        hosts: &[Host],
        stage: &mut Stage,
    ) -> Option<(usize, Input)> {
        match event {
            ClientEvent::Submit { job } => self.submit(job, hosts, stage),
            ClientEvent::Watch { job } => self.watch(job, hosts, stage),
            ClientEvent::Look { job } => {
                let id = self.jobs[job].id;
                self.ask(
                    self.jobs[job].host,
                    Asked::Look { job },
                    Command::Task(id),
                    hosts,
                )
            }
            ClientEvent::Cancel { job } => {
                let id = self.jobs[job].id;
                self.ask(
                    self.jobs[job].host,
                    Asked::Cancel { job },
                    Command::CancelTask(id),
                    hosts,
                )
            }
            ClientEvent::HandOn { part } => self.hand_on(part, hosts),
            ClientEvent::Drop { job } => self.drop_input(job, hosts),
            ClientEvent::Wake { from, to } => {
                let peer = PeerRef::Entity(hosts[to].identity.entity_id);
                let command = Command::Wake {
                    peer,
                    reason: "there is work".into(),
                    priority: Priority::High,
                    request: WakeRequest::Resume,
                };
                self.ask(from, Asked::Other, command, hosts)
            }
            ClientEvent::Read { host } => self.read(host, hosts, stage),
            ClientEvent::Ping { from, to } => {
                let peer = PeerRef::Peer(hosts[to].identity.peer_id);
                self.ask(from, Asked::Other, Command::Ping(peer), hosts)
            }
        }
    }

    /// A machine's keys were rotated: its node is told, if it runs.
    pub(super) fn rotates(&mut self, host: usize, hosts: &[Host]) -> Option<Input> {
        let identity = Box::new(hosts[host].identity.clone());
        let asked = self.ask(host, Asked::Other, Command::KeyRotated(identity), hosts);
        asked.map(|(_, input)| input)
    }

    fn ask(
        &mut self,
        host: usize,
        asked: Asked,
        command: Command,
        hosts: &[Host],
    ) -> Option<(usize, Input)> {
        hosts[host].core.as_ref()?;
        let id = CommandId(self.next_command);
        self.next_command += 1;
        self.asked.insert((host, id), asked);
        Some((host, Input::Command { id, command }))
    }

    fn submit(&mut self, job: usize, hosts: &[Host], stage: &mut Stage) -> Option<(usize, Input)> {
        let what = &mut self.jobs[job];
        if what.acknowledged {
            return None;
        }
        let again_us = stage.span_us(1_000, 6_000);
        stage.after(again_us, Event::Client(ClientEvent::Submit { job }));
        if let (Some(bytes), None, false) = (&what.content, what.repeats, what.handed) {
            let (host, content) = (what.host, content_of(bytes));
            let file = uuid::Uuid::from_u128(stage.rng.random());
            let command = Command::KeepPayload { content, file };
            return self.ask(host, Asked::Upload { job }, command, hosts);
        }
        let (host, as_id) = (what.host, what.id);
        let command = match what.repeats {
            Some(id) => Command::Resubmit {
                id,
                as_id,
                changed: Changed::default(),
            },
            None => Command::Submit(what.submission.clone()),
        };
        let command = self.ask(host, Asked::Submit { job }, command, hosts)?;
        if std::mem::replace(&mut self.jobs[job].tried, true) {
            stage.counts.resubmissions += 1;
        }
        Some(command)
    }

    fn watch(&mut self, job: usize, hosts: &[Host], stage: &mut Stage) -> Option<(usize, Input)> {
        let what = &self.jobs[job];
        let (host, id) = (what.host, what.id);
        if what.settled {
            return None;
        }
        let command = match what.ended {
            Some(_) => self.ask(host, Asked::Result { job }, Command::TaskResult(id), hosts),
            None => self.ask(host, Asked::Watch { job }, Command::AwaitTask(id), hosts),
        };
        if command.is_none() {
            stage.after(1_000_000, Event::Client(ClientEvent::Watch { job }));
        }
        command
    }

    /// A node is gone, and with it every answer it owed.
    pub(super) fn crashed(&mut self, host: usize, stage: &mut Stage) {
        let owed: Vec<(usize, CommandId)> = self
            .asked
            .keys()
            .filter(|(at, _)| *at == host)
            .copied()
            .collect();
        for key in owed {
            let Some(Asked::Watch { job } | Asked::Result { job }) = self.asked.remove(&key) else {
                continue;
            };
            stage.counts.watches_renewed += 1;
            stage.after(500_000, Event::Client(ClientEvent::Watch { job }));
        }
    }

    /// A node answered.
    pub(super) fn answered(
        &mut self,
        host: usize,
        id: CommandId,
        result: CommandResult,
        checker: &mut Checker,
        stage: &mut Stage,
    ) -> Result<(), Violation> {
        let Some(asked) = self.asked.remove(&(host, id)) else {
            let detail = format!("node {host} answered command {id} twice, or unasked");
            return Err(Violation {
                invariant: "C1",
                detail,
            });
        };
        match (asked, result) {
            (Asked::Upload { job }, Ok(_)) => {
                self.jobs[job].handed = true;
                stage.after(0, Event::Client(ClientEvent::Submit { job }));
                Ok(())
            }
            (Asked::Submit { job }, Err(error)) if self.is_too_late(job, &error) => {
                self.jobs[job].settled = true;
                Ok(())
            }
            // What was handed over stays there for an hour.
            (Asked::Submit { .. }, Err(error)) if is_full(&error) => Ok(()),
            // A restart may have swept what nothing named yet.
            (Asked::Submit { job }, Err(_)) => {
                self.jobs[job].handed = false;
                Ok(())
            }
            (Asked::Submit { job }, Ok(_)) => {
                let what = &mut self.jobs[job];
                if !std::mem::replace(&mut what.acknowledged, true) {
                    stage.after(0, Event::Client(ClientEvent::Watch { job }));
                }
                checker.acknowledged(host, what.id)
            }
            (Asked::Watch { job }, Ok(Reply::Task(view))) => {
                if !view.state.is_terminal() {
                    let detail = format!(
                        "a watch of {} ended in state {}",
                        view.id,
                        view.state.as_str()
                    );
                    return Err(Violation {
                        invariant: "C2",
                        detail,
                    });
                }
                let what = &mut self.jobs[job];
                what.ended = Some(view.state);
                what.settled = view.state != TaskState::Completed;
                stage.after(0, Event::Client(ClientEvent::Watch { job }));
                checker.told(host, what.id, view.state)?;
                if view.state == TaskState::Failed {
                    self.saw_failure(job, checker, stage);
                }
                Ok(())
            }
            (Asked::Look { job }, Ok(Reply::Task(view))) => {
                checker.told_view(host, self.jobs[job].id, &view)
            }
            (Asked::Cancel { job }, Ok(_)) => checker.told_stopped(host, self.jobs[job].id),
            (Asked::Read { after }, Ok(Reply::Events(page))) => {
                self.has_read(host, after, &page, checker)
            }
            (Asked::Part, Ok(_)) => {
                self.parts_taken += 1;
                Ok(())
            }
            (Asked::Part, Err(_)) => {
                self.parts_refused += 1;
                Ok(())
            }
            (Asked::Result { job }, Ok(Reply::TaskResult { result, .. })) => {
                self.jobs[job].settled = true;
                checker.told_result(host, self.jobs[job].id, &result)
            }
            (Asked::Result { job }, Ok(Reply::TaskResultFile { file, .. })) => {
                self.jobs[job].settled = true;
                self.files_taken += 1;
                checker.told_file(host, self.jobs[job].id, file.file)
            }
            (Asked::Watch { job } | Asked::Result { job }, _) => {
                stage.after(1_000_000, Event::Client(ClientEvent::Watch { job }));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The bytes of an input that is a file.
    pub(super) fn content(&self, of: &FileRef) -> Option<Vec<u8>> {
        let contents = self.jobs.iter().filter_map(|job| job.content.as_ref());
        { contents }.find(|bytes| content_of(bytes) == *of).cloned()
    }

    /// Whether every task ended and its client knows.
    pub(super) fn are_done(&self) -> bool {
        self.jobs.iter().all(|job| job.settled)
    }

    /// What is not over, for a report.
    pub(super) fn unfinished(&self) -> Vec<String> {
        self.jobs
            .iter()
            .filter(|job| !job.settled)
            .map(|job| {
                let how_far = match (job.acknowledged, job.ended) {
                    (false, _) => "not acknowledged",
                    (true, None) => "acknowledged and not over",
                    (true, Some(_)) => "over, its result not handed out",
                };
                format!("{} of node {} is {how_far}", job.id, job.host)
            })
            .collect()
    }

    /// How many tasks were acknowledged, and how many ended so.
    pub(super) fn tally(&self, state: TaskState) -> u64 {
        self.jobs
            .iter()
            .filter(|job| job.ended == Some(state))
            .count() as u64
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.jobs.iter().filter(|job| job.acknowledged).count() as u64
    }
}

impl Job {
    /// The checker is to know what it must come to.
    fn is_expected(&self, checker: &mut Checker) {
        match &self.content {
            Some(bytes) => {
                checker.expect(self.id, bytes);
                checker.expect_file(self.id, bytes);
            }
            None => checker.expect(self.id, &self.submission.input),
        }
    }
}

/// Three workers are to do it, or two where there are no more.
fn shared(host: usize, hosts: &[Host]) -> Option<Agreement> {
    let others = hosts.iter().filter(|other| other.index != host);
    let serving = others.filter(|other| !other.config.capabilities.is_empty());
    let replicas = match serving.count() {
        0 | 1 => return None,
        2 => 2,
        _ => 3,
    };
    Some(Agreement {
        replicas,
        agree: 2,
        compare: Compare::Text,
    })
}

fn draw_job(job: usize, at_us: u64, hosts: &[Host], rng: &mut Rng) -> Job {
    let host = rng.random_range(0..hosts.len());
    let wall_ms = hosts[host].clock.read(at_us).wall.0;
    let id = TaskId(uuid::Builder::from_unix_timestamp_millis(wall_ms, &rng.random()).into_uuid());
    let mut input: Vec<u8> = (0..rng.random_range(0..200))
        .map(|_| rng.random())
        .collect();
    let mut deadline_ms = rng.random_range(40_000..120_000);
    let mut agreement = None;
    let mut capability = SERVED;
    // The first tasks bring one each of what must end badly.
    match job {
        0 => input = DOOMED.to_vec(),
        UNSERVED => (capability, deadline_ms) = (MISSING, 15_000),
        2 => deadline_ms = rng.random_range(500..6_000),
        3 => input.resize(60_000, 7),
        _ if rng.random_bool(0.15) => agreement = shared(host, hosts),
        _ => {}
    }
    if agreement.is_some() {
        input.splice(0..0, SHARED.iter().copied());
        // It may wait for a worker that there is not, and be handed over again.
        deadline_ms = deadline_ms.min(60_000);
    }
    // Of some the input is a file, and the same for several.
    let content = (job % 7 == 4 && agreement.is_none()).then(|| {
        input.clear();
        format!("file {}", job % 2).into_bytes()
    });
    let other = (host + rng.random_range(1..hosts.len())) % hosts.len();
    let serves = !hosts[other].config.capabilities.is_empty();
    let to = (serves && agreement.is_none() && rng.random_bool(0.1))
        .then(|| PeerRef::Entity(hosts[other].identity.entity_id));
    let priority = [
        Priority::Low,
        Priority::Normal,
        Priority::High,
        Priority::Critical,
    ][rng.random_range(0..4)];
    let capability: Capability = capability.parse().expect("a word is a capability");
    let submission = Submission {
        id,
        capability,
        input,
        to,
        priority,
        start: Start::Now,
        deadline_ms,
        key: None,
        orphan: rng.random_bool(0.3).then_some(Orphan::Stop),
        agreement,
        // What several do is not handed on.
        wish: match agreement {
            Some(_) => Wish::default(),
            None => draw_wish(rng),
        },
        parent: None,
        marks: Marks {
            needs: (job % 3 == 2 && agreement.is_none())
                .then(early)
                .into_iter()
                .collect(),
            ..Marks::default()
        },
        input_file: content.as_ref().map(|bytes| content_of(bytes).root),
        stream: false,
        webhook: None,
    };
    Job {
        host,
        id,
        submission,
        content,
        handed: false,
        repeats: None,
        tried: false,
        acknowledged: false,
        ended: None,
        settled: false,
    }
}
