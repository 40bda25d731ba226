//! Junto as a library: a node that does tasks with a Rust type, and another that hands it one.
//!
//! `cargo run --release --example worker`

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use junto::crypto::{Identity, Rng, Seeds};
use junto::proto::node::{Command, NodeConfig, Reply, Submission};
use junto::runtime::executor::{Work, WorkJob};
use junto::runtime::{FilesConfig, Running, RuntimeConfig, ServeHow, ServeSpec, start};
use junto::store::SledStore;
use junto::types::{Capability, Multiaddr, TaskId};
use junto::wire::Offer;
use rand::rngs::SysRng;
use rand::{SeedableRng, TryRng};
use uuid::Uuid;

/// Counts words, and says how far it is.
struct Words;

impl Work for Words {
    fn run(&self, job: WorkJob) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let text = String::from_utf8(job.input).map_err(|_| String::from("not a text"))?;
            job.say.progress(50, "it is a text");
            // A program with a tracer would open its span under this.
            eprintln!("task {} ({})", job.task_id, job.traceparent);
            Ok(text.split_whitespace().count().to_string().into_bytes())
        })
    }
}

/// A node on loopback that keeps what it promises below `home`, and does `serves` if that is given.
async fn node(
    name: &str,
    home: &std::path::Path,
    serves: Option<&Capability>,
    bootstrap: Vec<Multiaddr>,
) -> Result<(Running, Identity), Box<dyn Error>> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed)?;
    let identity = Identity::from_seeds(&Seeds::generate(&mut Rng::from_seed(seed)));
    let mut node = NodeConfig::new("example".parse()?, name.parse()?);
    node.bootstrap = bootstrap;
    node.capabilities = { serves.iter() }
        .map(|name| Offer {
            name: (*name).clone(),
            slots: 4,
            price: 0,
        })
        .collect();
    let home = home.join(name);
    let files = FilesConfig {
        incoming: home.join("incoming"),
        payloads: home.join("payloads"),
        keep_free_bytes: 1 << 20,
    };
    let mut config = RuntimeConfig::new(identity.clone(), node, files);
    if let Some(name) = serves {
        let how = ServeHow::Work(Arc::new(Words));
        config
            .serve
            .insert(name.clone(), ServeSpec::new(how, 60_000));
    }
    let store = home.join("store");
    let running = start(
        config,
        Arc::new(move || Ok(Box::new(SledStore::open(&store)?))),
    )
    .await?;
    Ok((running, identity))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let words: Capability = "words".parse()?;
    let (bob, bobs) = node("bob", home.path(), Some(&words), Vec::new()).await?;
    let addr = bob.listen()[0]
        .clone()
        .with_p2p(bobs.peer_id)
        .map_err(|addr| addr.to_string())?;
    let (alice, _) = node("alice", home.path(), None, vec![addr]).await?;

    // Kept by alice before she answers, and given to whoever offers it as soon as she knows one.
    let id = TaskId(Uuid::now_v7());
    let task = Submission::new(id, words, b"one two three".to_vec());
    alice.handle().call(Command::Submit(task)).await?;
    let handle = alice.handle();
    let ended = tokio::time::timeout(Duration::from_secs(30), handle.call(Command::AwaitTask(id)));
    let Reply::Task(view) = ended.await?? else {
        return Err("an answer to another question".into());
    };
    println!("{}: {}", view.capability, view.state.as_str());
    let result = alice.handle().call(Command::TaskResult(id)).await?;
    if let Reply::TaskResult { result, .. } = result {
        println!("one two three: {} words", String::from_utf8_lossy(&result));
    }

    alice.shutdown().await;
    bob.shutdown().await;
    Ok(())
}
