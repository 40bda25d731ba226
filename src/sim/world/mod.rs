//! The world: machines, a network between them, clients, faults, and one line of time.
//!
//! One event is taken at a time. A node is handed its input, its outputs are applied one by one
//! (a crash may strike between any two), and the invariants are checked.

mod files;
mod machines;
mod outputs;
mod room;

use crate::proto::node::{Input, Node, TaskState};
use crate::proto::{Size, Violation};
use crate::sim::checker::Checker;
use crate::sim::client::Clients;
use crate::sim::faults::{self, Outcomes};
use crate::sim::files::Files;
use crate::sim::gossip::Gossip;
use crate::sim::host::Host;
use crate::sim::network::Network;
use crate::sim::peaks::{LOOK_EVERY, Peaks};
use crate::sim::stage::{Event, Incarnation, Stage};
use crate::sim::trace::Trace;
use crate::sim::{Failure, Report, WorldConfig};

/// A world that takes more steps than this runs in circles.
const STEPS_MAX: u64 = 2_000_000;

/// Everything there is.
pub struct World {
    seed: u64,
    end_us: u64,
    stage: Stage,
    hosts: Vec<Host>,
    net: Network,
    gossip: Gossip,
    files: Files,
    clients: Clients,
    checker: Checker,
    trace: Trace,
    outcomes: Outcomes,
    peaks: Peaks,
    steps: u64,
    #[cfg(test)]
    pub(in crate::sim) planted: Option<crate::proto::task::Planted>,
}

impl World {
    /// A world of machines that are not started yet, with its faults and its work on the agenda.
    pub fn new(seed: u64, config: &WorldConfig) -> World {
        let mut stage = Stage::new(seed, config.calm_ms * 1000);
        let mut hosts = machines::draw(config.nodes, &mut stage.rng);
        let narrow = machines::narrow(&mut hosts, seed);
        let mut checker = Checker::new(hosts.iter().map(|h| h.identity.entity_id).collect());
        checker.keeps_few_dead(narrow);
        checker.cheats(hosts.iter().position(|host| host.cheats));
        for host in 0..hosts.len() {
            let after_us = stage.span_us(0, 300);
            stage.after(after_us, Event::Restart { host });
        }
        for (at_us, fault) in faults::plan(&mut stage.rng, hosts.len(), stage.calm_us) {
            stage.at(at_us, Event::Fault(fault));
        }
        for (at_us, fault) in faults::short_disks(&mut room::dice(seed), hosts.len(), stage.calm_us)
        {
            stage.at(at_us, Event::Fault(fault));
        }
        let submit_us = config.submit_ms * 1000;
        let clients = Clients::draw(config.tasks, submit_us, &hosts, &mut checker, &mut stage);
        World {
            seed,
            end_us: config.end_ms * 1000,
            trace: Trace::new(config.history_lines, &hosts),
            net: Network::new(hosts.iter().map(|host| host.identity.peer_id).collect()),
            gossip: Gossip::new(hosts.len()),
            files: Files::new(hosts.iter().map(|host| host.identity.entity_id).collect()),
            stage,
            hosts,
            clients,
            checker,
            outcomes: Outcomes::default(),
            peaks: Peaks::default(),
            steps: 0,
            #[cfg(test)]
            planted: None,
        }
    }

    /// Lets time pass until the faults are over and all work is done.
    ///
    /// # Errors
    /// The first violation of safety, or the want of progress at the end.
    pub fn run(mut self) -> Result<Report, Failure> {
        match self.play() {
            Ok(()) => Ok(self.report()),
            Err(violation) => Err(Failure {
                seed: self.seed,
                at_ms: self.stage.now_us / 1000,
                step: self.steps,
                violation,
                history: self.trace.into_lines(),
            }),
        }
    }

    fn play(&mut self) -> Result<(), Violation> {
        while let Some(event) = self.stage.next() {
            if self.stage.now_us > self.end_us {
                break;
            }
            self.steps += 1;
            Violation::unless(self.steps < STEPS_MAX, "L2", || {
                format!("{STEPS_MAX} steps without coming to an end")
            })?;
            self.happen(event)?;
            self.checker.looks(&self.hosts, &self.net, &self.stage)?;
            if !self.stage.is_rough() && self.is_settled() {
                return self.check_end();
            }
        }
        let open = self.unsettled();
        Violation::unless(open.is_empty(), "L1", || open.join("; "))
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Input { to, input } => self.deliver(to, *input),
            Event::Deadline { to, version } => {
                let host = &mut self.hosts[to.host];
                if host.is_up(to) && host.deadline_came(version) {
                    return self.deliver(to, Input::Deadline);
                }
                Ok(())
            }
            Event::Net(event) => {
                for (to, input) in self.net.handle(event, &mut self.stage) {
                    self.deliver(to, input)?;
                }
                Ok(())
            }
            Event::Flushed { to } => self.flushed(to),
            Event::RunOver { to, run, outcome } => self.run_over(to, run, outcome),
            Event::Fault(fault) => self.strike(fault),
            Event::CrashAtLast { to } => {
                let waits = self.hosts[to.host].doom.is_some();
                if self.hosts[to.host].is_up(to) && waits {
                    self.crash(to.host)
                } else {
                    Ok(())
                }
            }
            Event::Restart { host } => self.start(host),
            Event::DiskLook { host } => {
                self.look_at_disk(host);
                Ok(())
            }
            Event::Heal { cut } => {
                self.net.heal(&cut);
                Ok(())
            }
            Event::Client(event) => {
                let moved = self.clients.moves(event, &self.hosts, &mut self.stage);
                match moved {
                    Some((host, input)) => {
                        self.uploads(host, &input);
                        self.deliver(self.hosts[host].incarnation(), input)
                    }
                    None => Ok(()),
                }
            }
        }
    }

    /// Hands a node its input, if that start of it still runs; later, if it stands still.
    fn deliver(&mut self, to: Incarnation, input: Input) -> Result<(), Violation> {
        let host = &mut self.hosts[to.host];
        if !host.is_up(to) {
            return Ok(());
        }
        if self.stage.now_us < host.paused_until_us {
            self.stage.at(
                host.paused_until_us,
                Event::Input {
                    to,
                    input: Box::new(input),
                },
            );
            return Ok(());
        }
        self.trace.input(self.stage.now_us, to, &input);
        host.hears_of_room(&input);
        let now = host.now(&self.stage);
        let core = host.core.as_mut().expect("it is up");
        let outputs = core.handle(input, now);
        self.apply(to, outputs)?;
        self.after_step(to)
    }

    fn after_step(&mut self, at: Incarnation) -> Result<(), Violation> {
        if self.hosts[at.host].is_up(at) {
            self.checker.stepped(&self.hosts, at.host, &self.stage)?;
            self.measure(at.host)?;
            self.hosts[at.host].schedule(&mut self.stage);
        }
        Ok(())
    }

    /// M1, every so many steps.
    fn measure(&mut self, host: usize) -> Result<(), Violation> {
        if !self.steps.is_multiple_of(LOOK_EVERY) {
            return Ok(());
        }
        let core = self.hosts[host].core.iter();
        for size in core.flat_map(Node::sizes) {
            Violation::unless(size.fits(), "M1", || {
                let Size { what, is, max } = size;
                format!("node {host} keeps {is} {what}, {max} is the most there may be")
            })?;
            self.peaks.saw(size);
        }
        Ok(())
    }

    /// Whether all work is done and nobody holds anything of anybody any more.
    fn is_settled(&self) -> bool {
        self.clients.are_done() && self.hosts.iter().all(holds_nothing)
    }

    fn unsettled(&self) -> Vec<String> {
        let held = self.hosts.iter().filter(|host| !holds_nothing(host));
        let held = held.map(|host| {
            let count = host.core.as_ref().map(|core| core.worker().len());
            format!("node {} holds {count:?} tasks still", host.index)
        });
        self.clients.unfinished().into_iter().chain(held).collect()
    }

    fn check_end(&mut self) -> Result<(), Violation> {
        self.long_after()?;
        (self.outcomes.old_keys, self.outcomes.new_keys) =
            self.checker.check_proofs(&self.hosts)?;
        self.hosts.iter().try_for_each(|host| {
            Violation::unless(
                self.checker.agrees_with(host.index, &host.disk),
                "T0",
                || format!("the checker lost sight of the disk of node {}", host.index),
            )
        })
    }

    fn report(mut self) -> Report {
        (self.outcomes.agreed, self.outcomes.named) = self.checker.agreements();
        self.outcomes.handed_over = self.checker.handovers();
        self.outcomes.acknowledged = self.clients.acknowledged();
        self.outcomes.completed = self.clients.tally(TaskState::Completed);
        self.outcomes.failed = self.clients.tally(TaskState::Failed);
        self.outcomes.canceled = self.clients.tally(TaskState::Canceled);
        self.outcomes.handed_over_again = self.clients.handed_over_again();
        self.outcomes.results_brought = self.clients.files_taken;
        self.outcomes.parts_taken = self.clients.parts_taken;
        self.outcomes.parts_refused = self.clients.parts_refused;
        self.outcomes.completed_then = self.clients.completed_then();
        Report {
            seeds: 1,
            steps: self.steps,
            virtual_ms: self.stage.now_us / 1000,
            trace: self.trace.hash(),
            faults: self.stage.counts,
            outcomes: self.outcomes,
            peaks: self.peaks,
        }
    }
}

fn holds_nothing(host: &Host) -> bool {
    host.core
        .as_ref()
        .is_some_and(|core| core.worker().is_empty())
}
