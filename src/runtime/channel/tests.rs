//! Two nodes over loopback, each with its driver, its network and its channel.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use rand::SeedableRng;
use tokio::sync::Semaphore;

use super::hub::BulkError;
use super::{Agent, AgentConfig, AgentMessage, Channel, ChannelError};
use crate::crypto::{Identity, Keys, Rng, Seeds};
use crate::proto::node::{Command, NodeConfig, PeerRef};
use crate::runtime::{FilesConfig, Running, RuntimeConfig, StoreOpener, start};
use crate::store::MemoryStore;
use crate::types::limits::{TALK_MAX_BYTES, TALKS_PER_PEER_MAX};
use crate::types::{Multiaddr, Priority};
use crate::wire::WireError;

const SOON: Duration = Duration::from_secs(60);

struct Host {
    node: Running,
    identity: Identity,
}

async fn host(seed: u64, agent: AgentConfig, bootstrap: Vec<Multiaddr>) -> Host {
    host_on(
        seed,
        agent,
        bootstrap,
        "/ip4/127.0.0.1/tcp/0".parse().expect("an address"),
    )
    .await
}

async fn host_on(
    seed: u64,
    agent: AgentConfig,
    bootstrap: Vec<Multiaddr>,
    listen: Multiaddr,
) -> Host {
    let identity = Identity::from_seeds(&Seeds::generate(&mut Rng::seed_from_u64(seed)));
    let name = format!("n{seed}").parse().expect("a name");
    let mut node = NodeConfig::new("channels".parse().expect("a name"), name);
    node.bootstrap = bootstrap;
    let files = FilesConfig {
        incoming: "/nonexistent".into(),
        payloads: "/nonexistent".into(),
        keep_free_bytes: 0,
    };
    let mut config = RuntimeConfig::new(identity.clone(), node, files);
    config.listen = vec![listen];
    config.agent = agent;
    let open: StoreOpener = Arc::new(|| Ok(Box::new(MemoryStore::new())));
    let node = start(config, open).await.expect("it starts");
    Host { node, identity }
}

impl Host {
    fn addr(&self) -> Multiaddr {
        let addr = self.node.listen()[0].clone();
        addr.with_p2p(self.identity.peer_id)
            .expect("it has none yet")
    }

    async fn channel_to(&self, other: &Host) -> Channel {
        let handle = self.node.handle();
        let found = async {
            loop {
                // Until the bootstrap address has told who is there.
                let peer = PeerRef::Peer(other.identity.peer_id);
                match handle.channel(peer).await {
                    Ok(channel) => return channel,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        tokio::time::timeout(SOON, found).await.expect("in time")
    }
}

async fn pair(agent: AgentConfig) -> (Host, Host, Channel) {
    let b = host(2, agent, Vec::new()).await;
    let a = host(1, AgentConfig::Echo, vec![b.addr()]).await;
    let channel = a.channel_to(&b).await;
    (a, b, channel)
}

/// Keeps what it is told; refuses what begins with "no".
#[derive(Default)]
struct Listener {
    heard: Mutex<Vec<Bytes>>,
}

impl Listener {
    fn hear(&self, message: AgentMessage) -> Result<(), WireError> {
        if message.body.starts_with(b"no") {
            return Err(WireError::NotAllowed);
        }
        self.heard.lock().expect("not poisoned").push(message.body);
        Ok(())
    }
}

impl Agent for Listener {
    fn talk(&self, message: AgentMessage) -> BoxFuture<'_, Result<Vec<u8>, WireError>> {
        let body = message.body.to_vec();
        let heard = self.hear(message);
        Box::pin(async move {
            tokio::task::yield_now().await;
            heard.map(|()| body)
        })
    }

    fn report(&self, message: AgentMessage) -> BoxFuture<'_, Result<(), WireError>> {
        let heard = self.hear(message);
        Box::pin(async move { heard })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_talk_is_answered_by_the_other_sides_agent_in_both_directions() {
    let (a, b, channel) = pair(AgentConfig::Echo).await;
    let reply = channel.talk("hello", Priority::Normal, SOON).await;
    assert_eq!(reply, Ok(Bytes::from("hello")));
    let back = b.channel_to(&a).await;
    let reply = back.talk("and back", Priority::High, SOON).await;
    assert_eq!(reply, Ok(Bytes::from("and back")));
    assert_eq!(channel.entity(), b.identity.entity_id);
    channel.ping(vec![7; 1000], SOON).await.expect("it answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_talks_at_once_get_their_own_replies() {
    let (_a, _b, channel) = pair(AgentConfig::Echo).await;
    let talks = (0..3_000_u32).map(|n| {
        let channel = channel.clone();
        async move {
            let body = vec![n as u8; 1 + n as usize % 900];
            let priority = [
                Priority::Low,
                Priority::Normal,
                Priority::High,
                Priority::Critical,
            ];
            let priority = priority[n as usize % 4];
            channel.talk(body.clone(), priority, SOON).await == Ok(Bytes::from(body))
        }
    });
    let right = futures::future::join_all(talks).await;
    assert!(right.into_iter().all(|right| right));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_report_is_heard_once_and_a_refusal_is_heard_by_its_sender() {
    let listener = Arc::new(Listener::default());
    let (_a, _b, channel) = pair(AgentConfig::Custom(listener.clone())).await;
    for n in 0..2_000_u32 {
        channel
            .post(n.to_be_bytes().to_vec(), Priority::Normal)
            .await
            .expect("there is room");
    }
    channel
        .report("last", Priority::Normal, false, SOON)
        .await
        .expect("it is taken");
    channel.drained(SOON).await.expect("all is acknowledged");
    let refused = channel.report("no", Priority::Normal, false, SOON).await;
    assert_eq!(refused, Err(ChannelError::Refused(WireError::NotAllowed)));
    let refused = channel.talk("no", Priority::Normal, SOON).await;
    assert_eq!(refused, Err(ChannelError::Refused(WireError::NotAllowed)));
    let mut heard = listener.heard.lock().expect("not poisoned").clone();
    heard.sort();
    heard.dedup();
    assert_eq!(heard.len(), 2_001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused_and_the_largest_passes() {
    let (_a, _b, channel) = pair(AgentConfig::Echo).await;
    let largest = vec![3; TALK_MAX_BYTES];
    let reply = channel.talk(largest.clone(), Priority::Normal, SOON).await;
    assert_eq!(reply, Ok(Bytes::from(largest)));
    let larger = vec![3; TALK_MAX_BYTES + 1];
    let refused = channel.talk(larger, Priority::Normal, SOON).await;
    assert_eq!(refused, Err(ChannelError::TooLarge));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_for_an_agent_that_is_away_is_kept_in_the_inbox() {
    let (_a, _b, channel) = pair(AgentConfig::Inbox).await;
    let kept = channel
        .report("for later", Priority::Normal, true, SOON)
        .await;
    assert_eq!(kept, Ok(()));
}

/// Takes reports and does not come to an end with any until it may.
struct Slow {
    may: Semaphore,
    begun: AtomicUsize,
    heard: Mutex<Vec<Bytes>>,
}

impl Agent for Slow {
    fn talk(&self, _: AgentMessage) -> BoxFuture<'_, Result<Vec<u8>, WireError>> {
        Box::pin(async { Err(WireError::NotAllowed) })
    }

    fn report(&self, message: AgentMessage) -> BoxFuture<'_, Result<(), WireError>> {
        self.begun.fetch_add(1, Relaxed);
        Box::pin(async move {
            let _permit = self.may.acquire().await;
            self.heard.lock().expect("not poisoned").push(message.body);
            Ok(())
        })
    }
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(SOON, waiting).await;
    waited.unwrap_or_else(|_| panic!("{what}: not in time"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_slow_agent_has_not_taken_yet_outlives_the_session_it_came_in() {
    const REPORTS: usize = TALKS_PER_PEER_MAX + 200;
    let agent = Arc::new(Slow {
        may: Semaphore::new(0),
        begun: AtomicUsize::new(0),
        heard: Mutex::default(),
    });
    let (a, b, channel) = pair(AgentConfig::Custom(agent.clone())).await;
    for n in 0..REPORTS as u32 {
        let body = n.to_be_bytes().to_vec();
        let posted = channel.post(body, Priority::Normal).await;
        posted.expect("there is room");
    }
    // The next one waits for a place, in the middle of a batch that has been counted.
    until("the agent is full", || {
        agent.begun.load(Relaxed) == TALKS_PER_PEER_MAX
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut rng = Rng::seed_from_u64(1);
    let keys = Keys::found(Seeds::generate(&mut rng));
    let keys = keys.rotate(&mut rng).expect("room for another key");
    let rotated = Command::KeyRotated(Box::new(keys.identity()));
    a.node.handle().call(rotated).await.expect("it is taken");
    let streams = |host: &Host| host.node.handle().channel_totals().streams.load(Relaxed);
    until("another session", || streams(&a) >= 2 && streams(&b) >= 2).await;
    agent.may.add_permits(1);
    channel.drained(SOON).await.expect("all is acknowledged");
    let heard = || agent.heard.lock().expect("not poisoned").clone();
    until("all is heard", || heard().len() >= REPORTS).await;
    let mut once = heard();
    once.sort();
    once.dedup();
    assert_eq!((once.len(), heard().len()), (REPORTS, REPORTS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_begins_anew_is_talked_to_again() {
    let (a, b, channel) = pair(AgentConfig::Echo).await;
    channel
        .talk("one", Priority::Normal, SOON)
        .await
        .expect("it answers");
    let listen = b.node.listen()[0].clone();
    b.node.shutdown().await;
    let posted = tokio::spawn({
        let channel = channel.clone();
        async move {
            channel
                .talk("while you were away", Priority::Normal, SOON)
                .await
        }
    });
    let b = host_on(2, AgentConfig::Echo, Vec::new(), listen).await;
    assert_eq!(
        posted.await.expect("no panic"),
        Ok(Bytes::from("while you were away"))
    );
    let channel = a.channel_to(&b).await;
    let reply = channel.talk("two", Priority::Normal, SOON).await;
    assert_eq!(reply, Ok(Bytes::from("two")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_at_a_bulk_stream_that_there_is_no_session_makes_a_new_one() {
    let (a, b, channel) = pair(AgentConfig::Echo).await;
    channel
        .talk("one", Priority::Normal, SOON)
        .await
        .expect("it answers");
    let (of_a, of_b) = (a.node.handle().channels, b.node.handle().channels);
    for (from, to, to_peer, from_peer) in [
        (&of_a, &of_b, b.identity.peer_id, a.identity.peer_id),
        (&of_b, &of_a, a.identity.peer_id, b.identity.peer_id),
    ] {
        to.lose_session(&from_peer);
        let refused = from.open_bulk(to_peer).await.map(drop);
        assert!(
            matches!(refused, Err(BulkError::Refused(WireError::SessionNotFound))),
            "{refused:?}"
        );
        let opened = async {
            while from.open_bulk(to_peer).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let opened = tokio::time::timeout(SOON, opened).await;
        opened.expect("there is a new session");
    }
}
