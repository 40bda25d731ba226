//! Machines come, go, and are struck by what the schedule has for them.

use std::collections::BTreeMap;

use rand::{RngExt as _, SeedableRng as _};

use super::World;
use crate::crypto::Rng;
use crate::proto::Violation;
use crate::proto::guard::GuardRules;
use crate::proto::health::HealthRules;
use crate::proto::node::{Input, Node, NodeConfig, TaskConfig, TransferPolicy, WakePolicy};
use crate::proto::session::{EpochLimits, SessionConfig};
use crate::proto::task::{Bounds, Keep, Serving};
use crate::sim::client::{SERVED, early};
use crate::sim::faults::Fault;
use crate::sim::host::Host;
use crate::sim::network::{address, full_address};
use crate::sim::stage::{Event, Stage};
use crate::types::Capability;
use crate::wire::Offer;

/// A node that is to crash does so after this time if its moment does not come.
const LONGEST_WAIT_US: u64 = 3_000_000;

impl World {
    pub(super) fn strike(&mut self, fault: Fault) -> Result<(), Violation> {
        let Stage { now_us, counts, .. } = &mut self.stage;
        self.trace.event(*now_us, || format!("{fault:?}"));
        match fault {
            Fault::Crash {
                host,
                moment,
                down_us,
            } => {
                let machine = &mut self.hosts[host];
                machine.doom = Some(moment);
                machine.down_us = down_us;
                let to = machine.incarnation();
                self.stage.after(LONGEST_WAIT_US, Event::CrashAtLast { to });
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
                self.checker.clock_set(host);
                if for_us > 0 {
                    let back = Fault::Jump {
                        host,
                        by_ms: -by_ms,
                        for_us: 0,
                    };
                    self.stage.after(for_us, Event::Fault(back));
                }
            }
            Fault::Rotate { host } => {
                counts.rotations += 1;
                let machine = &mut self.hosts[host];
                machine.rotate(&mut self.stage.rng);
                if let Some(input) = self.clients.rotates(host, &self.hosts) {
                    let to = self.hosts[host].incarnation();
                    return self.deliver(to, input);
                }
            }
            Fault::Reset { a, b } => self.net.reset(a, b, &mut self.stage),
            Fault::DiskShort { host, left, for_us } => self.disk_short(host, left, for_us),
        }
        Ok(())
    }

    fn cut(&mut self, cut: Vec<(usize, usize)>, for_us: u64) {
        self.net.cut(&cut, &mut self.stage);
        self.stage.after(for_us, Event::Heal { cut });
    }

    pub(super) fn crash(&mut self, host: usize) -> Result<(), Violation> {
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
        self.files.stopped(host, &mut self.stage);
        self.gossip.stopped(host);
        self.clients.crashed(host, &mut self.stage);
        self.stage.after(down_us, Event::Restart { host });
        Ok(())
    }

    /// Starts a node from what its disk kept.
    pub(super) fn start(&mut self, index: usize) -> Result<(), Violation> {
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
        if let (Some(bug), Some(core)) = (self.planted, &mut host.core)
            && (host.cheats || !bug.is_of_a_cheat())
        {
            core.plant(bug);
        }
        self.net.started(at);
        self.apply(at, outputs)?;
        self.after_step(at)?;
        self.told_of_room(at)?;
        self.deliver(
            at,
            Input::ListenAddrs {
                addrs: vec![address(index)],
            },
        )
    }
}

/// Machines with their identities, clocks and settings. At least two serve.
pub(super) fn draw(count: usize, rng: &mut Rng) -> Vec<Host> {
    let brisk = rng.random_bool(0.5);
    // Where two workers have one slot each, tasks wait, and a lost one is not given away at once.
    let scarce = rng.random_bool(0.3);
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
            let serves = index < 2 || (!scarce && rng.random_bool(0.7));
            let slots = if scarce { 1 } else { rng.random_range(1..=3) };
            let queue = if rng.random_bool(0.6) {
                rng.random_range(1..=6)
            } else {
                0
            };
            let config = NodeConfig {
                network: "simulated".parse().expect("a word is a network's name"),
                name: format!("node{index}").parse().expect("a word is a name"),
                capabilities: Vec::from_iter(serves.then(|| Offer {
                    name: name.clone(),
                    slots,
                    price: 0,
                })),
                serving: BTreeMap::from([(
                    name.clone(),
                    Serving {
                        queue,
                        ..Serving::default()
                    },
                )]),
                labels: (index < 2).then(early).into_iter().collect(),
                bootstrap: Vec::new(),
                // Where work is scarce sessions are short, too: their ends meet every other fault.
                session: match scarce {
                    true => short_sessions(),
                    false => SessionConfig::default(),
                },
                task: task.clone(),
                wake: WakePolicy {
                    hook: rng.random_bool(0.7),
                    ..WakePolicy::default()
                },
                // A quick heart, too.
                health: HealthRules {
                    heartbeat_ms: if scarce { 3_000 } else { 10_000 },
                    wake_on_suspect: scarce,
                    ..HealthRules::default()
                },
                limits: GuardRules::default(),
                allow_v1_0: Vec::new(),
                transfer: TransferPolicy::default(),
                goes_on: false,
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
    if rng.random_bool(0.5) {
        hosts[rng.random_range(0..count)].cheats = true;
    }
    hosts
}

/// In every third world there is little room in memory, whatever else was drawn. Returns whether it is one.
pub(super) fn narrow(hosts: &mut [Host], seed: u64) -> bool {
    if !seed.is_multiple_of(3) {
        return false;
    }
    for host in hosts {
        host.config.task.bounds = Bounds {
            queue_tasks: 6,
            queue_bytes: 100_000,
            held_tasks: 6,
            tombstones: 8,
        };
        host.config.task.keep = Keep {
            failed_tasks: 2,
            failed_bytes: 300,
            ..Keep::default()
        };
    }
    true
}

fn short_sessions() -> SessionConfig {
    SessionConfig {
        life_ms: 60_000,
        epochs: EpochLimits {
            records: 8,
            bytes: 1 << 20,
            age_ms: 10_000,
        },
    }
}
