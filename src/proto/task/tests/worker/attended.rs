//! Tasks that agents fetch, while there is no agent.

use std::collections::BTreeSet;

use super::*;

const MINUTE_MS: u64 = 60_000;

fn fetched(slots: u32) -> WorkerConfig {
    let serving = Serving {
        queue: 0,
        pull: true,
        unattended_ms: Some(MINUTE_MS),
    };
    WorkerConfig {
        serving: BTreeMap::from([(wc(), serving)]),
        ..worker_config(slots, FIRST_RUN)
    }
}

fn pulling(slots: u32) -> Side<Worker> {
    let mut theirs = Side::new(Worker::new(fetched(slots)), 2);
    theirs.kept(Worker::resume);
    theirs
}

impl Side<Worker> {
    fn claims(&mut self, wait_ms: u64) {
        let now = self.now.mono;
        self.core.attend(&BTreeSet::from([wc()]), wait_ms, now);
    }

    fn says(&self) -> (u32, bool) {
        let said = self.core.free_slots(self.now.mono).remove(0);
        (said.free, said.unattended)
    }

    fn recalled(&mut self) -> Vec<RunId> {
        let recalls = |effect| match effect {
            WorkerEffect::Recall { run } => Some(run),
            _ => None,
        };
        self.core
            .effects()
            .into_iter()
            .filter_map(recalls)
            .collect()
    }

    fn look(&mut self, others: &[Idle]) -> Vec<RunId> {
        for capability in self.core.overdue(self.now.mono) {
            let idle = others.to_vec();
            self.kept(|core, step| core.hand_over(&capability, idle, step));
        }
        self.recalled()
    }
}

#[test]
fn a_capability_that_no_agent_asks_for_has_no_slots_free_until_one_does() {
    let mut theirs = pulling(4);
    theirs.tick(MINUTE_MS - 1);
    assert_eq!(theirs.says(), (4, false), "a start gives it a minute");
    theirs.tick(1);
    assert_eq!(theirs.says(), (0, true));
    let refused = AcceptAnswer::Refused(RefuseReason::Busy);
    assert_eq!(theirs.offered(offer(1, 1)), refused);
    // Who waits for a task is there as long as it waits.
    theirs.claims(30_000);
    assert_eq!(theirs.says(), (4, false));
    theirs.tick(30_000 + MINUTE_MS - 1);
    assert_eq!(theirs.offered(offer(1, 1)), AcceptAnswer::Accepted);
    theirs.tick(1);
    assert_eq!(theirs.says(), (0, true));
    // And one that asked for less meanwhile takes nothing away.
    theirs.claims(10_000);
    theirs.claims(0);
    theirs.tick(MINUTE_MS + 9_999);
    assert_eq!(theirs.says(), (3, false));
}

#[test]
fn what_no_agent_fetched_is_asked_back_for_somebody_idle_and_only_then() {
    let mut theirs = pulling(4);
    let run = theirs.running(1, 1);
    let stays = DelegateItem {
        stay: true,
        ..offer(2, 1)
    };
    theirs.offered(stays);
    theirs.core.effects();
    let idle = [Idle {
        worker: entity(8),
        free: 4,
        price: 0,
    }];
    theirs.tick(MINUTE_MS - 1);
    assert!(theirs.look(&idle).is_empty());
    theirs.tick(1);
    assert!(theirs.look(&[]).is_empty(), "there is nobody else");
    theirs.tick(10_000);
    assert_eq!(theirs.look(&idle), [run]);
    assert_eq!(theirs.core.running(), 2, "an agent may have it");
    theirs.kept(|core, step| core.run_returned(run, step));
    let suggest = vec![entity(8)];
    let handed = TaskOutcome::HandedOver { suggest };
    assert_eq!(theirs.core.outcome(key(1)), Some(handed));
    assert_eq!(theirs.core.running(), 1);
    theirs.core.check().expect("whole");
}

#[test]
fn a_draining_worker_asks_back_what_no_agent_fetched() {
    let mut theirs = pulling(4);
    let run = theirs.running(1, 1);
    let until = theirs.now.mono + MINUTE_MS;
    theirs.core.drain(until);
    let asked = |effect: &WorkerEffect| *effect == WorkerEffect::Recall { run };
    assert!(theirs.tick(1).iter().any(asked));
    assert!(!theirs.tick(1).iter().any(asked), "once");
    theirs.kept(|core, step| core.run_returned(run, step));
    assert_eq!(theirs.core.outcome(key(1)), Some(TaskOutcome::Released));
}
