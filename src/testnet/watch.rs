//! A testnet that is ready: deaths and returns are told, the table is kept true.

use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::time::{sleep, timeout};

use super::TestnetError;
use super::fleet::Fleet;
use super::node::{ANSWER_TIMEOUT, Node, State};
use super::screen::{Screen, TableRow};

/// Between two looks at all nodes.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Nodes asked for their status at the same time.
const ASKED_AT_ONCE: usize = 8;

/// Looks after the nodes until it is dropped; returns only with an error.
pub(super) async fn watch(
    fleet: &mut Fleet,
    converged_ms: u64,
    screen: &Screen,
) -> Result<std::convert::Infallible, TestnetError> {
    let heading = format!(
        " {} - {} nodes in {} - Ctrl-C stops them",
        fleet.network(),
        fleet.nodes().len(),
        fleet.dir().display()
    );
    loop {
        let before = fleet.file(converged_ms);
        for death in fleet.tend(screen)? {
            screen.say_death(&death);
            screen.say(&advice(fleet, &death.name));
        }
        for node in fleet.nodes_mut() {
            if node.adopt().await {
                let pid = node.pid().unwrap_or_default();
                screen.say(&format!(
                    "{} is back (pid {pid}, started by somebody else)",
                    node.name()
                ));
            }
        }
        // A node that came back with other ports is found by whoever reads the file now.
        let after = fleet.file(converged_ms);
        if after != before {
            after.write(fleet.dir())?;
        }
        if screen.is_live() {
            screen.show(&heading, &rows(fleet.nodes()).await);
        }
        sleep(LOOK_EVERY).await;
    }
}

fn advice(fleet: &Fleet, name: &str) -> String {
    match fleet.nodes().iter().find(|node| node.name() == name) {
        Some(node) if node.restart_at.is_some() => format!("{name} will be started again"),
        Some(node) => {
            format!(
                "{name} comes back with: junto --home {} up",
                node.home().display()
            )
        }
        None => String::new(),
    }
}

async fn rows(nodes: &[Node]) -> Vec<TableRow> {
    let asked: Vec<_> = nodes
        .iter()
        .map(|node| (node.state(), node.client().cloned()))
        .collect();
    let answers: Vec<_> = stream::iter(asked)
        .map(|(state, client)| async move {
            match (state, client) {
                (State::Up, Some(client)) => timeout(ANSWER_TIMEOUT, client.status())
                    .await
                    .ok()
                    .and_then(Result::ok),
                _ => None,
            }
        })
        .buffered(ASKED_AT_ONCE)
        .collect()
        .await;
    nodes
        .iter()
        .zip(answers)
        .map(|(node, status)| TableRow {
            name: node.name().to_owned(),
            state: match (node.state(), &status) {
                (State::Up, Some(_)) => "up",
                (State::Up, None) => "silent",
                (State::Starting, _) => "starting",
                (State::Dead | State::Idle, _) => "dead",
            },
            status,
            api: node
                .running()
                .map_or_else(String::new, |running| running.api.clone()),
        })
        .collect()
}
