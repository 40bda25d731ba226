//! Carrying out what a node asks for, one output after the other; a crash may strike between any
//! two.

use rand::RngExt as _;

use super::World;
use crate::proto::Violation;
use crate::proto::node::{Input, Note, Output, RunOutcome};
use crate::sim::faults::Moment;
use crate::sim::gossip::{hint, store_record};
use crate::sim::network::Exchange;
use crate::sim::stage::{Event, Incarnation, Stage};
use crate::types::RunId;

impl World {
    pub(super) fn apply(
        &mut self,
        from: Incarnation,
        outputs: Vec<Output>,
    ) -> Result<(), Violation> {
        let crash_at = self.crash_among(from, &outputs);
        let count = outputs.len();
        for output in outputs.into_iter().take(crash_at.unwrap_or(count)) {
            self.trace.output(self.stage.now_us, from, &output);
            self.carry_out(from, output)?;
        }
        let Some(at) = crash_at else { return Ok(()) };
        self.stage.counts.crashes_between_outputs += u64::from(0 < at && at < count);
        self.crash(from.host)
    }

    /// After how many of these outputs the node crashes, if its moment has come.
    fn crash_among(&mut self, from: Incarnation, outputs: &[Output]) -> Option<usize> {
        let moment = self.hosts[from.host].doom?;
        let writes = outputs
            .iter()
            .any(|output| matches!(output, Output::Persist { .. }));
        let comes = !outputs.is_empty() && (writes || moment == Moment::AnyStep);
        match moment {
            _ if !comes => None,
            Moment::Written { after_us } => {
                self.stage.after(after_us, Event::CrashAtLast { to: from });
                None
            }
            _ => Some(self.stage.rng.random_range(0..=outputs.len())),
        }
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
                self.takes_room(from.host, &writes)?;
                if self.hosts[from.host].disk.write(id, writes) {
                    begin_flush(from, &mut self.stage);
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
                stage.after(
                    after_us,
                    Event::Input {
                        to: from,
                        input: Box::new(input),
                    },
                );
            }
            Output::Run { run, spec } => self.begins(from, run, spec)?,
            Output::Kill { run } => self.kill(from, run),
            // Nothing here is fetched by agents.
            Output::Recall { .. } => {}
            Output::Hook { hook, spec } => {
                let after_us = stage.span_us(50, 3_000).min(spec.timeout_ms * 1000);
                let ok = stage.chance(0.9);
                stage.after(
                    after_us,
                    Event::Input {
                        to: from,
                        input: Box::new(Input::HookEnded { hook, ok }),
                    },
                );
            }
            Output::Reply { id, result } => {
                self.refuses(from.host, &result)?;
                let stage = &mut self.stage;
                self.clients
                    .answered(from.host, id, result, &mut self.checker, stage)?;
            }
            Output::Note(note) => self.heard(from.host, &note)?,
            // Streams carry nothing here: what the cores promise does not rest on them.
            Output::File(job) => self.file_job(from, job)?,
            Output::Webhook(_) => {}
            Output::ChannelUp(_) | Output::ChannelDown { .. } => {}
            // The simulated network has exchanges only: no messages come in by a stream.
            Output::Settle { .. } | Output::Answer { .. } => {}
        }
        Ok(())
    }

    fn kill(&mut self, from: Incarnation, run: RunId) {
        let late = self.stage.chance(0.2);
        if self.hosts[from.host].runs.contains_key(&run) {
            self.stage.counts.runs_killed += 1;
            self.stage.counts.late_run_ends += u64::from(late);
            // The end of a run may cross with the order to end it.
            if !late {
                self.hosts[from.host].runs.remove(&run);
            }
        }
    }

    pub(super) fn run_over(
        &mut self,
        to: Incarnation,
        run: RunId,
        outcome: RunOutcome,
    ) -> Result<(), Violation> {
        let host = &mut self.hosts[to.host];
        if !host.is_up(to) {
            return Ok(());
        }
        if let Some(task) = host.runs.remove(&run) {
            if matches!(outcome, RunOutcome::Failed { .. }) {
                self.checker.run_failed(task);
            }
            let outcome = self.written(to.host, task, outcome);
            return self.deliver(to, Input::RunEnded { run, outcome });
        }
        Ok(())
    }

    pub(super) fn flushed(&mut self, to: Incarnation) -> Result<(), Violation> {
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
                input: Box::new(Input::Persisted { upto }),
            },
        );
        if more {
            begin_flush(to, &mut self.stage);
        }
        Ok(())
    }

    fn heard(&mut self, at: usize, note: &Note) -> Result<(), Violation> {
        let outcomes = &mut self.outcomes;
        match note {
            Note::SessionUp { .. } => outcomes.sessions += 1,
            Note::TaskTaken { .. } => outcomes.taken += 1,
            Note::TaskAssigned { .. } => outcomes.assigned += 1,
            Note::LeaseLost { why, .. } if why.contains("ran out") => outcomes.leases_run_out += 1,
            Note::LeaseLost { .. } => outcomes.unclaimed += 1,
            Note::Woken { .. } => outcomes.wakes += 1,
            Note::DiskShort { .. } => outcomes.found_short += 1,
            Note::DiskRoomAgain => outcomes.room_again += 1,
            Note::PeerBanned { peer, .. } => {
                let detail = format!("node {at} banned {peer}, which did nothing wrong");
                return Err(Violation {
                    invariant: "P1",
                    detail,
                });
            }
            _ => {}
        }
        Ok(())
    }
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
