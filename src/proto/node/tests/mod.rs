//! Whole nodes without a shell: two or three of them, wired by hand.

mod abuse;
mod calls;
mod carried;
mod carrying;
mod congestion;
mod feed;
mod flush;
mod health;
mod keys;
mod load;
mod meeting;
mod messages;
mod parts;
mod payloads;
mod proofs;
mod restarts;
mod room;
mod saying;
mod scores;
mod wakes;
mod webhooks;
mod wiring;
mod work;

use self::wiring::Wires;
use super::*;
use crate::proto::guard::GuardRules;
use crate::proto::health::HealthRules;
use crate::proto::session::{EpochLimits, SessionConfig};
use crate::types::{Priority, Tier};
use crate::wire::Offer;

const SECOND_MS: u64 = 1_000;

/// Where node `n` listens.
fn addr(n: usize) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{}", 4_000 + n)
        .parse()
        .expect("an address")
}

/// Node `n`, which starts from node `from` and serves `slots` tasks of `wc` at once.
fn config(n: usize, from: Option<usize>, slots: u32) -> NodeConfig {
    let offer = Offer {
        name: wc(),
        slots,
        price: 0,
    };
    NodeConfig {
        network: "test".parse().expect("a network"),
        name: format!("node-{n}").parse().expect("a name"),
        capabilities: Some(offer)
            .filter(|offer| offer.slots > 0)
            .into_iter()
            .collect(),
        serving: Default::default(),
        labels: Default::default(),
        bootstrap: from.map(addr).into_iter().collect(),
        session: SessionConfig::default(),
        task: TaskConfig::default(),
        wake: WakePolicy::default(),
        health: HealthRules::default(),
        limits: GuardRules::default(),
        allow_v1_0: Vec::new(),
        transfer: TransferPolicy::default(),
        goes_on: false,
    }
}

/// A requester and a worker that know each other.
fn pair() -> Wires {
    let mut wires = Wires::new(vec![config(0, None, 0), config(1, Some(0), 2)]);
    wires.run(3 * SECOND_MS);
    assert!(wires.have_session(0, 1) && wires.have_session(1, 0));
    wires
}

fn wc() -> Capability {
    "wc".parse().expect("a capability")
}

fn task(n: u64) -> TaskId {
    TaskId(uuid::Uuid::from_u128(u128::from(n)))
}

fn all_tasks() -> Command {
    Command::Tasks(TaskFilter {
        limit: 1_000,
        ..TaskFilter::default()
    })
}

fn submit(n: u64) -> Command {
    Command::Submit(Submission::new(task(n), wc(), b"some words".to_vec()))
}

fn name_of(n: usize) -> PeerRef {
    PeerRef::Name(format!("node-{n}").parse().expect("a name"))
}
