//! Whether every node's registry lists every node, and if not, who lacks whom.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt};
use tokio::time::timeout;

use super::node::{ANSWER_TIMEOUT, Node, State};
use crate::api::client::ApiClient;

/// Registries asked at the same time.
const ASKED_AT_ONCE: usize = 8;
/// Names spelled out in one sentence.
const NAMES_MAX: usize = 5;

/// Which nodes have been seen to know all. Each is asked until it does, then left in peace.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The node's index and the pid that knew all: a restarted node is asked again.
    complete: BTreeMap<usize, u32>,
}

impl Progress {
    /// Asks those that are not known to be complete. Returns a sentence on each that is not.
    pub(super) async fn round(&mut self, nodes: &[Node]) -> Vec<String> {
        let mut lacking = not_up(nodes);
        let mut wanted = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let (State::Up, Some(pid), Some(client)) = (node.state(), node.pid(), node.client())
            else {
                continue;
            };
            if self.complete.get(&index) != Some(&pid) {
                wanted.push((index, pid, client.clone()));
            }
        }
        let answers: Vec<_> = stream::iter(wanted)
            .map(|(index, pid, client)| async move { (index, pid, ask(&client).await) })
            .buffer_unordered(ASKED_AT_ONCE)
            .collect()
            .await;
        for (index, pid, answer) in answers {
            match answer {
                Ok(known) => match missing(&known, nodes) {
                    names if names.is_empty() => {
                        self.complete.insert(index, pid);
                    }
                    names => {
                        lacking.push(format!("{} lacks {}", nodes[index].name(), list(&names)))
                    }
                },
                Err(why) => {
                    lacking.push(format!("{} does not answer ({why})", nodes[index].name()))
                }
            }
        }
        lacking
    }
}

/// A sentence on each node that does not run or is not ready.
pub(super) fn not_up(nodes: &[Node]) -> Vec<String> {
    let down = nodes.iter().filter(|node| node.state() != State::Up);
    down.map(|node| match node.state() {
        State::Idle => format!("{} was not started yet", node.name()),
        State::Dead => format!("{} is dead", node.name()),
        State::Starting | State::Up => {
            format!(
                "{} is not ready (see {}/node.log)",
                node.name(),
                node.home().display()
            )
        }
    })
    .collect()
}

async fn ask(client: &ApiClient) -> Result<BTreeSet<String>, String> {
    match timeout(ANSWER_TIMEOUT, client.registry(None)).await {
        Ok(Ok(entries)) => Ok(entries.into_iter().map(|entry| entry.peer_id).collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("silent for {} s", ANSWER_TIMEOUT.as_secs())),
    }
}

/// The names of the nodes whose peer ids are not among `known`.
fn missing<'a>(known: &BTreeSet<String>, nodes: &'a [Node]) -> Vec<&'a str> {
    let unknown = |node: &&Node| {
        node.running()
            .is_none_or(|file| !known.contains(&file.peer_id))
    };
    nodes.iter().filter(unknown).map(Node::name).collect()
}

/// `a, b and 3 more`.
fn list(names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMES_MAX)].join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(list(&["a", "b"]), "a, b");
        assert_eq!(
            list(&["a", "b", "c", "d", "e", "f", "g"]),
            "a, b, c, d, e and 2 more"
        );
    }
}
