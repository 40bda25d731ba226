//! Junto as a library: a node whose agent is a Rust type, and another that talks to it.
//!
//! `cargo run --release --example two_nodes`

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use junto::crypto::{Identity, Rng, Seeds};
use junto::proto::node::{NodeConfig, PeerRef};
use junto::runtime::channel::{Agent, AgentConfig, AgentMessage, Channel};
use junto::runtime::{FilesConfig, Running, RuntimeConfig, start};
use junto::store::MemoryStore;
use junto::types::{Multiaddr, Priority};
use junto::wire::WireError;
use rand::rngs::SysRng;
use rand::{SeedableRng, TryRng};

/// Answers with what it was told, backwards.
struct Backwards;

impl Agent for Backwards {
    fn talk(&self, message: AgentMessage) -> BoxFuture<'_, Result<Vec<u8>, WireError>> {
        Box::pin(async move {
            let text =
                String::from_utf8(message.body.to_vec()).map_err(|_| WireError::NotAllowed)?;
            Ok(text.chars().rev().collect::<String>().into_bytes())
        })
    }

    fn report(&self, _message: AgentMessage) -> BoxFuture<'_, Result<(), WireError>> {
        Box::pin(async { Ok(()) })
    }
}

/// A node on loopback that forgets everything when it ends.
async fn node(
    name: &str,
    agent: AgentConfig,
    bootstrap: Vec<Multiaddr>,
) -> Result<(Running, Identity), Box<dyn Error>> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed)?;
    let identity = Identity::from_seeds(&Seeds::generate(&mut Rng::from_seed(seed)));
    let mut node = NodeConfig::new("example".parse()?, name.parse()?);
    node.bootstrap = bootstrap;
    let files = FilesConfig {
        incoming: std::env::temp_dir().join("junto-example"),
        payloads: std::env::temp_dir().join("junto-example-payloads"),
        keep_free_bytes: 1 << 30,
    };
    let mut config = RuntimeConfig::new(identity.clone(), node, files);
    config.agent = agent;
    let running = start(config, Arc::new(|| Ok(Box::new(MemoryStore::new())))).await?;
    Ok((running, identity))
}

/// A channel to `peer`, as soon as it is known.
async fn channel(from: &Running, peer: PeerRef) -> Channel {
    loop {
        if let Ok(channel) = from.handle().channel(peer.clone()).await {
            return channel;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (bob, bobs) = node("bob", AgentConfig::Custom(Arc::new(Backwards)), Vec::new()).await?;
    let addr = bob.listen()[0]
        .clone()
        .with_p2p(bobs.peer_id)
        .map_err(|addr| addr.to_string())?;
    let (alice, _) = node("alice", AgentConfig::Inbox, vec![addr]).await?;

    let found = channel(&alice, PeerRef::Name("bob".parse()?));
    let to_bob = tokio::time::timeout(Duration::from_secs(20), found).await?;
    let within = Duration::from_secs(5);
    let reply = to_bob.talk("drawer", Priority::Normal, within).await?;
    println!(
        "alice said: drawer\nbob said:   {}",
        String::from_utf8_lossy(&reply)
    );

    alice.shutdown().await;
    bob.shutdown().await;
    Ok(())
}
