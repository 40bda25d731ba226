//! Runs that hand parts of their tasks on: some within what they were given, some beyond it.

use rand::RngExt as _;

use super::{Asked, ClientEvent, Clients, SERVED};
use crate::crypto::Rng;
use crate::proto::node::{Command, HeldKey, Input, RunSpec, Submission, Wish};
use crate::sim::checker::Checker;
use crate::sim::host::Host;
use crate::sim::stage::{Event, Stage};
use crate::types::TaskId;

/// What a run wants to hand on.
pub(super) struct Part {
    host: usize,
    submission: Submission,
}

/// What a client says of how far its task may be handed on: mostly nothing.
pub(super) fn draw_wish(rng: &mut Rng) -> Wish {
    match rng.random_bool(0.5) {
        true => Wish {
            depth: Some(rng.random_range(0..=2)),
            reward: rng.random_range(0..=20),
        },
        false => Wish::default(),
    }
}

impl Clients {
    /// A run begins: it may hand parts of its task on while it lasts.
    pub(in crate::sim) fn run_begins(
        &mut self,
        host: usize,
        spec: &RunSpec,
        checker: &mut Checker,
        stage: &mut Stage,
    ) {
        if !stage.chance(0.4) {
            return;
        }
        for _ in 0..stage.rng.random_range(1..=3) {
            let submission = draw_part(spec, stage);
            checker.expect(submission.id, &submission.input);
            let part = self.parts.len();
            self.parts.push(Part { host, submission });
            let after_us = stage.span_us(0, 400);
            stage.after(after_us, Event::Client(ClientEvent::HandOn { part }));
        }
    }

    pub(super) fn hand_on(&mut self, part: usize, hosts: &[Host]) -> Option<(usize, Input)> {
        let Part { host, submission } = &self.parts[part];
        let (host, command) = (*host, Command::Submit(submission.clone()));
        self.ask(host, Asked::Part, command, hosts)
    }
}

fn draw_part(spec: &RunSpec, stage: &mut Stage) -> Submission {
    let rng = &mut stage.rng;
    let random: [u8; 10] = rng.random();
    let id = uuid::Builder::from_unix_timestamp_millis(1_700_000_000_000, &random).into_uuid();
    let depth = rng.random_bool(0.3).then(|| rng.random_range(0..=2));
    let input = (0..rng.random_range(0..40)).map(|_| rng.random()).collect();
    let capability = SERVED.parse().expect("a word is a capability");
    Submission {
        wish: Wish {
            depth,
            reward: rng.random_range(0..=8),
        },
        parent: Some(HeldKey {
            requester: spec.requester,
            task: spec.task_id,
        }),
        deadline_ms: rng.random_range(1_000..60_000),
        ..Submission::new(TaskId(id), capability, input)
    }
}
