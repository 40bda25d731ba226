//! *Persist before you speak*: holds an output until the batch it rests on is durable. What is
//! sent to peers in lists, and answers to them, are not outputs before that: see `flush`.

use std::collections::BTreeMap;

use super::io::Output;
use crate::types::BatchId;

/// What waits for the disk. Bounded by what can wait: one request an exchange under way, one reply
/// a command, one run a task held.
#[derive(Default)]
pub(super) struct Gate {
    durable: BatchId,
    waiting: BTreeMap<BatchId, Vec<Output>>,
}

impl Gate {
    /// The newest batch that the disk has, and with it all before it.
    pub(super) fn durable(&self) -> BatchId {
        self.durable
    }

    /// Lets `output` through if `after` is durable, and keeps it until then otherwise.
    pub(super) fn pass(&mut self, after: BatchId, output: Output, out: &mut Vec<Output>) {
        if after <= self.durable {
            out.push(output);
        } else {
            self.waiting.entry(after).or_default().push(output);
        }
    }

    /// Everything up to `upto` is durable now.
    pub(super) fn open(&mut self, upto: BatchId, out: &mut Vec<Output>) {
        self.durable = self.durable.max(upto);
        let later = self.waiting.split_off(&BatchId(self.durable.0 + 1));
        for outputs in std::mem::replace(&mut self.waiting, later).into_values() {
            out.extend(outputs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::CommandId;

    fn reply(n: u64) -> Output {
        Output::Reply {
            id: CommandId(n),
            result: Ok(super::super::Reply::Done),
        }
    }

    fn ids(out: &[Output]) -> Vec<u64> {
        out.iter()
            .map(|o| {
                if let Output::Reply { id, .. } = o {
                    id.0
                } else {
                    0
                }
            })
            .collect()
    }

    #[test]
    fn an_output_leaves_only_after_its_batch() {
        let (mut gate, mut out) = (Gate::default(), Vec::new());
        gate.pass(BatchId::NONE, reply(1), &mut out);
        gate.pass(BatchId(2), reply(2), &mut out);
        gate.pass(BatchId(1), reply(3), &mut out);
        assert_eq!(ids(&out), [1]);
        gate.open(BatchId(1), &mut out);
        assert_eq!(ids(&out), [1, 3]);
        gate.open(BatchId(5), &mut out);
        gate.pass(BatchId(4), reply(4), &mut out);
        assert_eq!(ids(&out), [1, 3, 2, 4]);
    }
}
