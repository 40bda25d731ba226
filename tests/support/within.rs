//! Nodes within the test's own process: what they are started with, but for the store.

use junto::crypto::{Identity, Rng, Seeds};
use junto::proto::node::NodeConfig;
use junto::runtime::{CommandSpec, FilesConfig, RuntimeConfig, ServeHow, ServeSpec};
use junto::types::{Capability, Multiaddr};
use junto::wire::Offer;
use rand::SeedableRng as _;

pub const CAPABILITY: &str = "double";

/// `name`, whose identity comes from `seed`, and which begins with `first`. A worker runs `command` in so many slots.
pub fn config(
    name: &str,
    seed: u64,
    first: Option<Multiaddr>,
    worker: Option<(u32, &str)>,
) -> RuntimeConfig {
    let identity = Identity::from_seeds(&Seeds::generate(&mut Rng::seed_from_u64(seed)));
    let mut node = NodeConfig::new("within".parse().unwrap(), name.parse().unwrap());
    node.bootstrap = first.into_iter().collect();
    node.task.lease_ms = 6_000;
    node.task.renew_ms = 1_000;
    let capability: Capability = CAPABILITY.parse().unwrap();
    let slots = worker.map(|(slots, _)| slots);
    node.capabilities.extend(slots.map(|slots| Offer {
        name: capability.clone(),
        slots,
        price: 0,
    }));
    let files = FilesConfig {
        incoming: "/nonexistent".into(),
        payloads: "/nonexistent".into(),
        keep_free_bytes: 0,
    };
    let mut config = RuntimeConfig::new(identity, node, files);
    if let Some((_, command)) = worker {
        let spec = CommandSpec {
            command: command.into(),
            ..CommandSpec::default()
        };
        let spec = ServeSpec::new(ServeHow::Command(spec), 10_000);
        config.serve.insert(capability, spec);
    }
    config
}
