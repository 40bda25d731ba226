//! What happened, in two forms: a hash of every step, so that two runs of a seed can be compared,
//! and lines for a person, kept only when a failure is replayed.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::mem::discriminant;

use super::host::Host;
use super::stage::Incarnation;
use crate::proto::node::{Input, Output};
use crate::wire::{Envelope, ErrorBody, cbor};

/// The record of a run.
pub(super) struct Trace {
    hasher: DefaultHasher,
    /// At most so many lines are kept; none are made if 0.
    lines_max: usize,
    lines: VecDeque<String>,
    /// What stands for a long identifier in a line.
    names: Vec<(String, String)>,
}

impl Trace {
    pub(super) fn new(lines_max: usize, hosts: &[Host]) -> Trace {
        let names = hosts.iter().flat_map(|host| {
            let ids = [
                host.identity.peer_id.to_string(),
                host.identity.entity_id.to_string(),
            ];
            ids.map(|id| (id, format!("node {}", host.index)))
        });
        Trace {
            hasher: DefaultHasher::new(),
            lines_max,
            lines: VecDeque::new(),
            names: names.collect(),
        }
    }

    /// A node is handed something.
    pub(super) fn input(&mut self, at_us: u64, to: Incarnation, input: &Input) {
        (at_us, to).hash(&mut self.hasher);
        discriminant(input).hash(&mut self.hasher);
        if let Input::Request { bytes, .. } | Input::Response { bytes, .. } = input {
            bytes.hash(&mut self.hasher);
        }
        // Most deadlines ask for nothing.
        if self.lines_max > 0 && !matches!(input, Input::Deadline) {
            self.line(at_us, to.host, &format!("<- {}", label_input(input)));
        }
    }

    /// A node asks for something.
    pub(super) fn output(&mut self, at_us: u64, from: Incarnation, output: &Output) {
        discriminant(output).hash(&mut self.hasher);
        match output {
            Output::Request { bytes, .. } | Output::Respond { bytes, .. } => {
                bytes.hash(&mut self.hasher);
            }
            Output::Persist { id, writes } => (id.0, writes.ops.len()).hash(&mut self.hasher),
            _ => {}
        }
        if self.lines_max > 0 {
            self.line(at_us, from.host, &format!("   -> {}", label_output(output)));
        }
    }

    /// Something happens to a node, or to the world.
    pub(super) fn event(&mut self, at_us: u64, what: impl FnOnce() -> String) {
        at_us.hash(&mut self.hasher);
        if self.lines_max > 0 {
            self.keep(at_us, &what());
        }
    }

    fn line(&mut self, at_us: u64, host: usize, what: &str) {
        self.keep(at_us, &format!("node {host} {what}"));
    }

    fn keep(&mut self, at_us: u64, what: &str) {
        if self.lines.len() == self.lines_max {
            self.lines.pop_front();
        }
        let mut line = format!("{:>9.3} s  {what}", at_us as f64 / 1e6);
        for (id, name) in &self.names {
            line = line.replace(id, name);
        }
        self.lines.push_back(line);
    }

    /// The hash of all that happened.
    pub(super) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// The last lines.
    pub(super) fn into_lines(self) -> Vec<String> {
        Vec::from(self.lines)
    }
}

fn label_input(input: &Input) -> String {
    match input {
        Input::Connected { peer, dialer, .. } => format!("connected {peer} (dialer: {dialer})"),
        Input::Disconnected { peer } => format!("disconnected {peer}"),
        Input::DialFailed { addrs, .. } => format!("dial failed {addrs:?}"),
        Input::Discovered { peer, addrs } => format!("discovered {peer} {addrs:?}"),
        Input::Request { id, peer, bytes } => {
            format!("request {id} of {peer}: {}", label_bytes(bytes))
        }
        Input::Response { id, bytes } => format!("response {id}: {}", label_bytes(bytes)),
        Input::Gossip { id, .. } => format!("gossip {id}"),
        Input::DhtRecord { .. } => String::from("dht record"),
        Input::Command { id, command } => {
            let text = format!("{command:?}");
            format!("command {id} {}", &text[..text.floor_char_boundary(100)])
        }
        Input::Computed { job, .. } => format!("computed {job}"),
        other => format!("{other:?}"),
    }
}

fn label_output(output: &Output) -> String {
    match output {
        Output::Request {
            id, peer, bytes, ..
        } => {
            format!("request {id} to {peer}: {}", label_bytes(bytes))
        }
        Output::Respond { id, bytes } => format!("respond {id}: {}", label_bytes(bytes)),
        Output::Publish { .. } => String::from("publish"),
        Output::DhtPut { .. } => String::from("dht put"),
        Output::Persist { id, writes } => {
            let spaces: Vec<String> = writes.ops.iter().map(label_write).collect();
            format!("persist {} {}", id.0, spaces.join(", "))
        }
        Output::Compute { job, .. } => format!("compute {job}"),
        Output::Run { run, spec } => format!("run {run} of {}", spec.task_id),
        Output::Reply { id, result } => {
            let text = format!("{result:?}");
            format!("reply {id} {}", &text[..text.floor_char_boundary(160)])
        }
        other => format!("{other:?}"),
    }
}

fn label_bytes(bytes: &[u8]) -> String {
    match Envelope::from_bytes(bytes) {
        Ok((envelope, header)) => {
            let sequence = header.sequence_num.map(|n| format!(" #{n}"));
            let error = cbor::decode::<ErrorBody>(&envelope.data, bytes.len());
            let code = error.ok().map(|body| format!(" {:?}", body.code));
            let extra = sequence.or(code).unwrap_or_default();
            format!("{:?}{extra}, {} bytes", header.msg_type, bytes.len())
        }
        Err(error) => format!("{} bytes that do not read: {error}", bytes.len()),
    }
}

fn label_write(op: &crate::types::WriteOp) -> String {
    use crate::proto::task::{HeldRecord, TaskRecord};
    use crate::types::{Keyspace, WriteOp};
    match op {
        WriteOp::Put {
            space: Keyspace::Task,
            value,
            ..
        } => match TaskRecord::from_row(value) {
            Ok(task) => format!("task {} {} t{}", task.id, task.state.as_str(), task.token),
            Err(error) => error.to_string(),
        },
        WriteOp::Put {
            space: Keyspace::Held,
            value,
            ..
        } => match HeldRecord::from_row(value) {
            Ok(held) => format!("held {:?} t{}", held.state, held.token),
            Err(error) => error.to_string(),
        },
        WriteOp::Put { space, .. } => format!("put {space:?}"),
        WriteOp::Delete { space, .. } => format!("delete {space:?}"),
    }
}
