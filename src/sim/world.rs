//! The world: machines, a network between them, clients, faults, and one line of time.
//!
//! One event is taken at a time. A node is handed its input, its outputs are applied one by one
//! (a crash may strike between any two), and the invariants are checked.

use rand::{RngExt as _, SeedableRng as _};

use super::checker::Checker;
use super::client::{Clients, SERVED};
use super::exchange::Exchange;
use super::faults::{self, Fault, Outcomes};
use super::gossip::{Gossip, hint, store_record};
use super::host::Host;
use super::network::{Network, address, full_address};
use super::stage::{Event, Incarnation, Stage};
use super::trace::Trace;
use super::{Failure, Report, WorldConfig};
use crate::crypto::Rng;
use crate::proto::Violation;
use crate::proto::node::{
    Input, Node, NodeConfig, Note, Output, RunOutcome, TaskConfig, TaskState, WakePolicy,
};
use crate::types::{Capability, RunId};
use crate::wire::Offer;

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
    clients: Clients,
    checker: Checker,
    trace: Trace,
    outcomes: Outcomes,
    steps: u64,
    #[cfg(test)]
    pub(super) planted: Option<crate::proto::task::Planted>,
}

impl World {
    /// A world of machines that are not started yet, with its faults and its work on the agenda.
    pub fn new(seed: u64, config: &WorldConfig) -> World {
        let mut stage = Stage::new(seed, config.calm_ms * 1000);
        let hosts = draw_hosts(config.nodes, &mut stage.rng);
        let mut checker = Checker::new(hosts.iter().map(|h| h.identity.entity_id).collect());
        for host in 0..hosts.len() {
            let after_us = stage.span_us(0, 300);
            stage.after(after_us, Event::Restart { host });
        }
        for (at_us, fault) in faults::plan(&mut stage.rng, hosts.len(), stage.calm_us) {
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
            stage,
            hosts,
            clients,
            checker,
            outcomes: Outcomes::default(),
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
            if !self.stage.is_rough() && self.is_settled() {
                return self.check_end();
            }
        }
        let open = self.unsettled();
        Violation::unless(open.is_empty(), "L1", || open.join("; "))
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Input { to, input } => self.deliver(to, input),
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
                let waits = self.hosts[to.host].crash_after.is_some();
                if self.hosts[to.host].is_up(to) && waits {
                    self.crash(to.host)
                } else {
                    Ok(())
                }
            }
            Event::Restart { host } => self.start(host),
            Event::Heal { cut } => {
                self.net.heal(&cut);
                Ok(())
            }
            Event::Client(event) => {
                let moved = self.clients.moves(event, &self.hosts, &mut self.stage);
                match moved {
                    Some((host, input)) => self.deliver(self.hosts[host].incarnation(), input),
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
            self.stage
                .at(host.paused_until_us, Event::Input { to, input });
            return Ok(());
        }
        self.trace.input(self.stage.now_us, to, &input);
        let now = host.now(&self.stage);
        let core = host.core.as_mut().expect("it is up");
        let outputs = core.handle(input, now);
        self.apply(to, outputs)?;
        self.after_step(to)
    }

    fn after_step(&mut self, at: Incarnation) -> Result<(), Violation> {
        if self.hosts[at.host].is_up(at) {
            self.checker.stepped(&self.hosts, at.host, &self.stage)?;
            self.hosts[at.host].schedule(&mut self.stage);
        }
        Ok(())
    }

    fn apply(&mut self, from: Incarnation, outputs: Vec<Output>) -> Result<(), Violation> {
        let mut applied_some = false;
        for output in outputs {
            match &mut self.hosts[from.host].crash_after {
                Some(0) => {
                    self.stage.counts.crashes_between_outputs += u64::from(applied_some);
                    return self.crash(from.host);
                }
                Some(left) => *left -= 1,
                None => {}
            }
            applied_some = true;
            self.trace.output(self.stage.now_us, from, &output);
            self.carry_out(from, output)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, from: Incarnation, output: Output) -> Result<(), Violation> {
        let stage = &mut self.stage;
        match output {
            Output::Dial { peer, addrs } => self.net.dial(from, peer, addrs, stage),
            Output::Disconnect { peer } => {
                if let Some(peer) = self.net.host_of(&peer) {
                    self.net.disconnect(from.host, peer, stage);
                }
            }
            Output::Request {
                id,
                peer,
                addrs,
                bytes,
            } => {
                if let Some(to) = self.net.host_of(&peer) {
                    let exchange = Exchange {
                        asker: from,
                        id,
                        to,
                        bytes,
                    };
                    self.net.request(exchange, &addrs, stage);
                }
            }
            Output::Respond { id, bytes } => self.net.respond(from.host, id, bytes, stage),
            Output::Publish { bytes } => self.gossip.publish(from, &bytes, &self.net, stage),
            Output::GossipVerdict { id, verdict, .. } => {
                self.gossip.judged(from, id, verdict, &self.net, stage);
            }
            Output::DhtPut {
                key,
                value,
                local_only: false,
                ..
            } => {
                store_record(from, key, value, &self.net, stage);
            }
            Output::DhtPut { .. } | Output::DhtProvide { .. } => {}
            Output::DhtFind { .. } => hint(from, self.hosts.len(), &self.net, stage),
            Output::Persist { id, writes } => {
                self.checker.written(from.host, &writes)?;
                if self.hosts[from.host].disk.write(id, writes) {
                    begin_flush(from, stage);
                }
            }
            Output::Compute { job, work } => {
                let after_us = if stage.chance(0.1) {
                    300_000
                } else {
                    stage.span_us(0, 20)
                };
                let input = Input::Computed {
                    job,
                    output: work.run(),
                };
                stage.after(after_us, Event::Input { to: from, input });
            }
            Output::Run { run, spec } => self.hosts[from.host].run(run, &spec, stage),
            Output::Kill { run } => self.kill(from, run),
            Output::Hook { hook, spec } => {
                let after_us = stage.span_us(50, 3_000).min(spec.timeout_ms * 1000);
                let ok = stage.chance(0.9);
                stage.after(
                    after_us,
                    Event::Input {
                        to: from,
                        input: Input::HookEnded { hook, ok },
                    },
                );
            }
            Output::Reply { id, result } => {
                self.clients
                    .answered(from.host, id, result, &mut self.checker, stage)?;
            }
            Output::Note(note) => self.heard(&note),
        }
        Ok(())
    }

    fn kill(&mut self, from: Incarnation, run: RunId) {
        let late = self.stage.chance(0.2);
        if self.hosts[from.host].runs.contains(&run) {
            self.stage.counts.runs_killed += 1;
            self.stage.counts.late_run_ends += u64::from(late);
            // The end of a run may cross with the order to end it.
            if !late {
                self.hosts[from.host].runs.remove(&run);
            }
        }
    }

    fn run_over(
        &mut self,
        to: Incarnation,
        run: RunId,
        outcome: RunOutcome,
    ) -> Result<(), Violation> {
        let host = &mut self.hosts[to.host];
        if host.is_up(to) && host.runs.remove(&run) {
            return self.deliver(to, Input::RunEnded { run, outcome });
        }
        Ok(())
    }

    fn flushed(&mut self, to: Incarnation) -> Result<(), Violation> {
        let host = &mut self.hosts[to.host];
        if !host.is_up(to) {
            return Ok(());
        }
        let (batches, upto, more) = host.disk.flushed();
        self.outcomes.flushes += 1;
        for batch in &batches {
            self.checker.durable(to.host, batch)?;
        }
        let after_us = self.stage.span_us(0, 5);
        self.stage.after(
            after_us,
            Event::Input {
                to,
                input: Input::Persisted { upto },
            },
        );
        if more {
            begin_flush(to, &mut self.stage);
        }
        Ok(())
    }

    fn heard(&mut self, note: &Note) {
        match note {
            Note::SessionUp { .. } => self.outcomes.sessions += 1,
            Note::PeerBanned { .. } => self.outcomes.bans += 1,
            Note::TaskTaken { .. } => self.outcomes.taken += 1,
            Note::LeaseLost { .. } => self.outcomes.leases_lost += 1,
            Note::Woken { .. } => self.outcomes.wakes += 1,
            _ => {}
        }
    }

    fn strike(&mut self, fault: Fault) -> Result<(), Violation> {
        let Stage { now_us, counts, .. } = &mut self.stage;
        self.trace.event(*now_us, || format!("{fault:?}"));
        match fault {
            Fault::Crash {
                host,
                after_outputs,
                down_us,
            } => {
                let machine = &mut self.hosts[host];
                machine.crash_after = Some(after_outputs);
                machine.down_us = down_us;
                let to = machine.incarnation();
                self.stage.after(1_500_000, Event::CrashAtLast { to });
            }
            Fault::Partition { side, for_us } => {
                counts.partitions += 1;
                let others = (0..self.hosts.len()).filter(|host| !side.contains(host));
                let cut: Vec<(usize, usize)> = others
                    .flat_map(|there| {
                        side.iter()
                            .flat_map(move |here| [(*here, there), (there, *here)])
                    })
                    .collect();
                self.cut(cut, for_us);
            }
            Fault::OneWay { from, to, for_us } => {
                counts.one_way += 1;
                self.cut(vec![(from, to)], for_us);
            }
            Fault::Pause { host, for_us } => {
                counts.pauses += 1;
                self.hosts[host].paused_until_us = *now_us + for_us;
            }
            Fault::Jump {
                host,
                by_ms,
                for_us,
            } => {
                counts.wall_jumps += u64::from(for_us > 0);
                self.hosts[host].clock.jump(by_ms);
                if for_us > 0 {
                    let back = Fault::Jump {
                        host,
                        by_ms: -by_ms,
                        for_us: 0,
                    };
                    self.stage.after(for_us, Event::Fault(back));
                }
            }
            Fault::Reset { a, b } => self.net.reset(a, b, &mut self.stage),
        }
        Ok(())
    }

    fn cut(&mut self, cut: Vec<(usize, usize)>, for_us: u64) {
        self.net.cut(&cut, &mut self.stage);
        self.stage.after(for_us, Event::Heal { cut });
    }

    fn crash(&mut self, host: usize) -> Result<(), Violation> {
        self.trace
            .event(self.stage.now_us, || format!("node {host} crashes"));
        let machine = &mut self.hosts[host];
        let remains = machine.disk.crash(&mut self.stage.rng);
        machine.stop(&mut self.stage);
        let down_us = machine.down_us;
        self.stage.counts.crashes += 1;
        self.stage.counts.batches_forgotten += remains.forgotten as u64;
        self.stage.counts.batches_untold += remains.kept.len() as u64;
        for batch in &remains.kept {
            self.checker.durable(host, batch)?;
        }
        self.checker.crashed(host);
        self.net.stopped(host, &mut self.stage);
        self.gossip.stopped(host);
        self.clients.crashed(host, &mut self.stage);
        self.stage.after(down_us, Event::Restart { host });
        Ok(())
    }

    /// Starts a node from what its disk kept.
    fn start(&mut self, index: usize) -> Result<(), Violation> {
        let host = &mut self.hosts[index];
        host.boot += 1;
        host.clock.restart(&mut self.stage.rng);
        let at = host.incarnation();
        let now = host.now(&self.stage);
        let rng = Rng::seed_from_u64(self.stage.rng.random());
        self.trace.event(self.stage.now_us, || {
            format!("node {index} starts, boot {}", at.boot)
        });
        let rows = host.disk.rows();
        let (core, outputs) = Node::new(host.config.clone(), host.identity.clone(), rows, rng, now)
            .map_err(|error| Violation {
                invariant: "T0",
                detail: format!("node {index}: {error}"),
            })?;
        host.core = Some(core);
        #[cfg(test)]
        if let (Some(bug), Some(core)) = (self.planted, &mut host.core) {
            core.plant(bug);
        }
        self.net.started(at);
        self.apply(at, outputs)?;
        self.after_step(at)?;
        self.deliver(
            at,
            Input::ListenAddrs {
                addrs: vec![address(index)],
            },
        )
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

    fn check_end(&self) -> Result<(), Violation> {
        self.hosts.iter().try_for_each(|host| {
            Violation::unless(
                self.checker.agrees_with(host.index, &host.disk),
                "T0",
                || format!("the checker lost sight of the disk of node {}", host.index),
            )
        })
    }

    fn report(mut self) -> Report {
        self.outcomes.acknowledged = self.clients.acknowledged();
        self.outcomes.completed = self.clients.tally(TaskState::Completed);
        self.outcomes.failed = self.clients.tally(TaskState::Failed);
        self.outcomes.canceled = self.clients.tally(TaskState::Canceled);
        Report {
            seeds: 1,
            steps: self.steps,
            virtual_ms: self.stage.now_us / 1000,
            trace: self.trace.hash(),
            faults: self.stage.counts,
            outcomes: self.outcomes,
        }
    }
}

fn holds_nothing(host: &Host) -> bool {
    host.core
        .as_ref()
        .is_some_and(|core| core.worker().is_empty())
}

fn begin_flush(to: Incarnation, stage: &mut Stage) {
    let stalls = stage.strikes(stage.rates.disk_stall);
    stage.counts.disk_stalls += u64::from(stalls);
    let after_us = if stalls {
        stage.span_us(100, 2_000)
    } else {
        stage.span_us(1, 20)
    };
    stage.after(after_us, Event::Flushed { to });
}

/// Machines with their identities, clocks and settings. At least two serve.
fn draw_hosts(count: usize, rng: &mut Rng) -> Vec<Host> {
    let brisk = rng.random_bool(0.5);
    let task = if brisk {
        // Everything happens more often in the same time.
        TaskConfig {
            lease_ms: 6_000,
            renew_ms: 1_500,
            offer_lapse_ms: 3_000,
            ..TaskConfig::default()
        }
    } else {
        TaskConfig::default()
    };
    let name: Capability = SERVED.parse().expect("a word is a capability");
    let mut hosts: Vec<Host> = (0..count)
        .map(|index| {
            let serves = index < 2 || rng.random_bool(0.7);
            let slots = rng.random_range(1..=3);
            let config = NodeConfig {
                network: "simulated".parse().expect("a word is a network's name"),
                name: format!("node{index}").parse().expect("a word is a name"),
                capabilities: Vec::from_iter(serves.then(|| Offer {
                    name: name.clone(),
                    slots,
                })),
                bootstrap: Vec::new(),
                task: task.clone(),
                wake: WakePolicy {
                    hook: rng.random_bool(0.7),
                    ..WakePolicy::default()
                },
            };
            Host::new(index, config, rng)
        })
        .collect();
    for index in 0..count {
        let known = [0, 1].into_iter().filter(|known| *known != index);
        let bootstrap = known
            .map(|at| full_address(at, hosts[at].identity.peer_id))
            .collect();
        hosts[index].config.bootstrap = bootstrap;
    }
    hosts
}
