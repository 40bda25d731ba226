//! Who plays in the demo, and how they find each other, greet, and wake one another.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::super::TestnetError;
use super::super::files::NodeFile;
use super::super::fleet::Fleet;
use super::super::node::Node;
use super::super::settings::NodePlan;
use super::pages::COUNT_COMMAND;
use super::{Greeting, Waking, failed};
use crate::api::body::WakeBody;
use crate::api::client::ApiClient;

/// The one with the work, then the workers.
pub(super) const NAMES: [&str; 5] = ["ada", "ben", "cleo", "dan", "eve"];
/// What the workers offer.
pub(super) const CAPABILITY: &str = "count-words";
/// Whom ada wakes.
pub(super) const SLEEPER: &str = "eve";
/// Short, so that the audience need not wait long for it to run out.
const TASK: [(&str, &str); 3] = [("lease", "4s"), ("renew", "1s"), ("offer_lapse", "2s")];

const GREET_TIMEOUT: Duration = Duration::from_secs(60);
const WAKE_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const PINGS: u8 = 3;

/// The plans of all five. `home` is the testnet's folder.
pub(super) fn plans(home: &Path) -> Vec<NodePlan> {
    let capability = CAPABILITY
        .parse()
        .expect("the name is a constant of allowed characters");
    let worker = [(capability, COUNT_COMMAND.to_owned())];
    let plan = |name: &&str| NodePlan {
        name: (*name).to_owned(),
        serve: if *name == NAMES[0] {
            Vec::new()
        } else {
            worker.to_vec()
        },
        slots: Some(1),
        on_wake: (*name == SLEEPER).then(|| wake_command(&wake_note(home))),
        task: TASK.to_vec(),
        mdns: false,
    };
    NAMES.iter().map(plan).collect()
}

/// The file that the wake hook leaves: proof that it ran.
fn wake_note(home: &Path) -> PathBuf {
    home.join("awake.txt")
}

/// A hook that takes a moment, so that its start and its end can be told apart.
fn wake_command(note: &Path) -> String {
    let quoted = note.display().to_string().replace('\'', "'\\''");
    format!("sleep 0.3; echo awake > '{quoted}'")
}

/// The node called `name`, with its client and what it says of itself.
pub(super) fn player<'a>(
    fleet: &'a Fleet,
    name: &str,
) -> Result<(&'a ApiClient, &'a NodeFile), TestnetError> {
    let node = fleet.nodes().iter().find(|node| node.name() == name);
    node.and_then(|node| node.client().zip(node.running()))
        .ok_or_else(|| failed(format!("{name} is not there")))
}

/// The name behind an entity id.
pub(super) fn name_of(fleet: &Fleet, entity_id: &str) -> Option<String> {
    let is = |node: &&Node| {
        node.running()
            .is_some_and(|file| file.entity_id == entity_id)
    };
    fleet
        .nodes()
        .iter()
        .find(is)
        .map(|node| node.name().to_owned())
}

/// Waits until ada has a session with each of the others, under the identity that they themselves
/// claim, and measures the way to each.
pub(super) async fn greet(fleet: &Fleet) -> Result<Vec<Greeting>, TestnetError> {
    let (ada, _) = player(fleet, NAMES[0])?;
    let deadline = Instant::now() + GREET_TIMEOUT;
    let mut greetings = Vec::new();
    for name in &NAMES[1..] {
        let (_, other) = player(fleet, name)?;
        loop {
            let peers = ada.peers().await.map_err(failed)?;
            let seen = peers.iter().find(|peer| peer.peer_id == other.peer_id);
            if seen.is_some_and(|peer| {
                peer.state == "connected" && peer.entity_id.as_ref() == Some(&other.entity_id)
            }) {
                break;
            }
            if Instant::now() >= deadline {
                return Err(failed(format!(
                    "ada and {name} did not shake hands in time"
                )));
            }
            sleep(LOOK_EVERY).await;
        }
        let pong = ada.ping(&other.peer_id, PINGS).await.map_err(failed)?;
        let rtt_us = pong.rtt_us.iter().min().copied();
        let rtt_us = rtt_us.ok_or_else(|| failed(format!("{name} did not answer a ping")))?;
        greetings.push(Greeting {
            name: (*name).to_owned(),
            fingerprint: other.fingerprint.clone(),
            rtt_us,
        });
    }
    Ok(greetings)
}

/// Wakes the sleeper and follows the wake-up to its end. The hook's file must be there then.
pub(super) async fn wake(fleet: &Fleet) -> Result<Waking, TestnetError> {
    let (ada, _) = player(fleet, NAMES[0])?;
    let (_, sleeper) = player(fleet, SLEEPER)?;
    let note = wake_note(fleet.dir());
    if note.exists() {
        return Err(failed(format!("{SLEEPER} was awake before anybody called")));
    }
    let deadline = Instant::now() + WAKE_TIMEOUT;
    let mut view = ada
        .wake(&WakeBody::new(&sleeper.peer_id, "there is work to share"))
        .await
        .map_err(failed)?;
    while matches!(
        view.phase.as_str(),
        "sending" | "delivered" | "hook_started"
    ) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(failed(format!(
                "the wake-up got no further than {:?}",
                view.phase
            )));
        }
        view = ada
            .wake_phase(&view.id, &view.phase, left)
            .await
            .map_err(failed)?;
    }
    if view.phase != "resumed" {
        return Err(failed(format!(
            "{SLEEPER} was not woken but {:?}",
            view.phase
        )));
    }
    if !note.exists() {
        return Err(failed(format!(
            "{SLEEPER} says it is awake, but its hook never ran"
        )));
    }
    let at = |phase: &str| {
        let passed = view.phases.iter().find(|passed| passed.phase == phase);
        passed
            .map(|passed| passed.elapsed_ms)
            .ok_or_else(|| failed(format!("the wake-up was never {}", phase.replace('_', " "))))
    };
    Ok(Waking {
        name: SLEEPER.to_owned(),
        delivered_ms: at("delivered")?,
        hook_started_ms: at("hook_started")?,
        resumed_ms: at("resumed")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_workers_serve_and_only_one_sleeps() {
        let plans = plans(Path::new("/tmp/it's"));
        let serving = plans.iter().filter(|plan| !plan.serve.is_empty()).count();
        assert_eq!((plans.len(), serving), (5, 4));
        let hooks: Vec<_> = plans
            .iter()
            .filter_map(|plan| plan.on_wake.as_deref())
            .collect();
        assert_eq!(hooks, ["sleep 0.3; echo awake > '/tmp/it'\\''s/awake.txt'"]);
    }
}
