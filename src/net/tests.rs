//! Ring 3: real libp2p over loopback, ports taken from the system, every wait bounded.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::{FutureExt, select_all};
use libp2p::identity::Keypair;
use tokio::time::timeout;

use super::{Net, NetConfig, NetError, NetEvent, NetFailure, Verdict};
use crate::types::limits::FRAME_MAX_BYTES;
use crate::types::{Capability, ExchangeId, Multiaddr, PeerId};

/// Far more than any of this takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// After which something that may have come to nothing is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(2);

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

fn config(network: &str, listen: &[&str]) -> NetConfig {
    NetConfig {
        keypair: Keypair::generate_ed25519(),
        network: network.parse().expect("a valid network name"),
        listen: listen
            .iter()
            .map(|addr| addr.parse().expect("a valid multiaddr"))
            .collect(),
        mdns: false,
    }
}

async fn node(network: &str, listen: &str) -> Net {
    Net::start(config(network, &[listen]))
        .await
        .expect("loopback can be listened on")
}

fn addrs(net: &Net) -> Vec<Multiaddr> {
    assert!(!net.local_addrs().is_empty());
    net.local_addrs().to_vec()
}

fn dial(from: &mut Net, to: &Net) {
    from.dial(Some(to.peer_id()), addrs(to));
}

/// The next event of any node, and whose it was.
async fn any(nets: &mut [&mut Net]) -> (usize, NetEvent) {
    let nexts = nets.iter_mut().map(|net| net.next().boxed_local());
    let (event, index, _) = select_all(nexts).await;
    (index, event)
}

/// Runs the nodes, giving each event to `look`, until that returns something.
async fn run<T>(
    nets: &mut [&mut Net],
    mut look: impl FnMut(&mut [&mut Net], usize, NetEvent) -> Option<T>,
) -> T {
    let running = async {
        loop {
            let (index, event) = any(nets).await;
            if let Some(found) = look(nets, index, event) {
                return found;
            }
        }
    };
    timeout(PATIENCE, running)
        .await
        .expect("what was waited for never happened")
}

/// Like [`run`], and does `again` now and whenever nothing was found for a while.
async fn run_retrying<T>(
    nets: &mut [&mut Net],
    mut again: impl FnMut(&mut [&mut Net]),
    mut look: impl FnMut(&mut [&mut Net], usize, NetEvent) -> Option<T>,
) -> T {
    let running = async {
        loop {
            again(nets);
            let once = async {
                loop {
                    let (index, event) = any(nets).await;
                    if let Some(found) = look(nets, index, event) {
                        return found;
                    }
                }
            };
            if let Ok(found) = timeout(TRY_AGAIN, once).await {
                return found;
            }
        }
    };
    timeout(PATIENCE, running)
        .await
        .expect("what was waited for never happened")
}

/// Connects each node to the one before it.
async fn connect(nets: &mut [&mut Net]) {
    let dials: Vec<_> = nets
        .windows(2)
        .map(|pair| (pair[0].peer_id(), addrs(pair[0])))
        .collect();
    let expected = nets.windows(2).flat_map(|pair| {
        let (a, b) = (pair[0].peer_id(), pair[1].peer_id());
        [(a, b), (b, a)]
    });
    let mut missing: BTreeSet<(PeerId, PeerId)> = expected.collect();
    let again = |nets: &mut [&mut Net]| {
        for (net, (peer, addrs)) in nets[1..].iter_mut().zip(&dials) {
            net.dial(Some(*peer), addrs.clone());
        }
    };
    run_retrying(nets, again, |nets, index, event| {
        if let NetEvent::Connected { peer, .. } = event {
            missing.remove(&(nets[index].peer_id(), peer));
        }
        missing.is_empty().then_some(())
    })
    .await;
}

/// Node 0 asks node 1, which answers with the same bytes; what node 0 is told.
async fn echo(nets: &mut [&mut Net], bytes: Vec<u8>) -> NetEvent {
    let (id, peer, to) = (ExchangeId(7), nets[1].peer_id(), addrs(nets[1]));
    nets[0].request(id, peer, to, bytes);
    run(nets, |nets, index, event| match (index, event) {
        (1, NetEvent::Request { id, peer, bytes }) => {
            assert_eq!(
                peer,
                nets[0].peer_id(),
                "who asks is proven by the transport"
            );
            nets[1].respond(id, bytes);
            None
        }
        (0, event @ (NetEvent::Response { .. } | NetEvent::ExchangeFailed { .. })) => Some(event),
        _ => None,
    })
    .await
}

fn is_echo(event: &NetEvent, sent: &[u8]) -> bool {
    matches!(event, NetEvent::Response { id: ExchangeId(7), bytes } if bytes == sent)
}

#[tokio::test]
async fn two_nodes_connect_once_and_exchange() {
    let (mut a, mut b) = (node("t", TCP).await, node("t", TCP).await);
    dial(&mut a, &b);
    dial(&mut b, &a);
    let mut connected = [0; 2];
    let nets = &mut [&mut a, &mut b];
    run(nets, |_, index, event| {
        if let NetEvent::Connected { addr, .. } = &event {
            assert!(!addr.to_string().contains("/p2p/"), "{addr}");
            connected[index] += 1;
        }
        (connected == [1, 1]).then_some(())
    })
    .await;
    assert!(is_echo(&echo(nets, b"hello".to_vec()).await, b"hello"));
    let largest = vec![5; FRAME_MAX_BYTES];
    assert!(is_echo(&echo(nets, largest.clone()).await, &largest));
    // Dialling a connected peer, or oneself, is no news.
    let (b_id, b_addrs, a_addrs) = (nets[1].peer_id(), addrs(nets[1]), addrs(nets[0]));
    nets[0].dial(Some(b_id), b_addrs);
    nets[0].dial(None, a_addrs);
    assert!(nets[0].events.is_empty(), "{:?}", nets[0].events);
}

#[tokio::test]
async fn a_request_dials_by_itself_and_ends_without_an_answer_as_unknown() {
    let (mut a, mut b) = (node("t", TCP).await, node("t", TCP).await);
    let nets = &mut [&mut a, &mut b];
    assert!(is_echo(&echo(nets, b"hello".to_vec()).await, b"hello"));
    let (peer, to) = (nets[1].peer_id(), addrs(nets[1]));
    nets[0].request(ExchangeId(8), peer, to, b"?".to_vec());
    let failure = run(nets, |nets, index, event| match (index, event) {
        (1, NetEvent::Request { id, .. }) => {
            nets[1].respond(id, vec![0; FRAME_MAX_BYTES + 1]);
            None
        }
        (
            0,
            NetEvent::ExchangeFailed {
                id: ExchangeId(8),
                failure,
            },
        ) => Some(failure),
        _ => None,
    })
    .await;
    assert_eq!(failure, NetFailure::Unknown);
}

#[tokio::test]
async fn a_request_that_is_too_large_is_not_sent() {
    let (mut a, mut b) = (node("t", TCP).await, node("t", TCP).await);
    let nets = &mut [&mut a, &mut b];
    connect(nets).await;
    let event = echo(nets, vec![0; FRAME_MAX_BYTES + 1]).await;
    let not_sent = NetFailure::NotSent;
    assert!(
        matches!(event, NetEvent::ExchangeFailed { failure, .. } if failure == not_sent),
        "{event:?}"
    );
}

#[tokio::test]
async fn gossip_reaches_a_third_node_once_the_second_accepts_it() {
    let (mut a, mut b, mut c) = (
        node("t", TCP).await,
        node("t", TCP).await,
        node("t", TCP).await,
    );
    a.publish(b"said to nobody yet".to_vec());
    let nets = &mut [&mut a, &mut b, &mut c];
    connect(nets).await;
    let mut heard = BTreeSet::new();
    run(nets, |nets, index, event| {
        if let NetEvent::Gossip { id, source, bytes } = event {
            assert_eq!(bytes, b"said to nobody yet");
            assert!(heard.insert(index), "nobody hears it twice");
            nets[index].gossip_verdict(id, source, Verdict::Accept);
        }
        (heard == BTreeSet::from([1, 2])).then_some(())
    })
    .await;
    assert!(
        nets.iter()
            .all(|net| net.unsettled.is_empty() && net.unpublished.is_empty())
    );
}

#[tokio::test]
async fn a_peer_of_another_network_is_named_and_dropped() {
    let (mut a, mut b) = (node("one", TCP).await, node("two", TCP).await);
    dial(&mut a, &b);
    let (a_id, b_id) = (a.peer_id(), b.peer_id());
    let (mut named, mut dropped) = (0, false);
    run(&mut [&mut a, &mut b], |_, index, event| {
        match event {
            NetEvent::WrongNetwork { peer } if index == 0 => {
                assert_eq!(peer, b_id);
                named += 1;
            }
            NetEvent::WrongNetwork { peer } => assert_eq!(peer, a_id),
            NetEvent::Disconnected { .. } if index == 0 => dropped = true,
            _ => {}
        }
        (named > 0 && dropped).then_some(())
    })
    .await;
    assert_eq!(named, 1);
    assert!(a.foreign.is_empty(), "it is forgotten with its connection");
}

#[tokio::test]
async fn a_node_that_goes_away_is_reported_as_disconnected() {
    let (mut a, mut b, mut c) = (
        node("t", TCP).await,
        node("t", TCP).await,
        node("t", TCP).await,
    );
    connect(&mut [&mut b, &mut a, &mut c]).await;
    let (b_id, c_id) = (b.peer_id(), c.peer_id());
    drop(b);
    a.disconnect(c_id);
    let mut gone = BTreeSet::new();
    run(&mut [&mut a, &mut c], |_, index, event| {
        if let (0, NetEvent::Disconnected { peer }) = (index, event) {
            gone.insert(peer);
        }
        (gone == BTreeSet::from([b_id, c_id])).then_some(())
    })
    .await;
}

/// An address at which nobody listens: the system gives port 1 to none of the tests beside this one.
fn unreachable() -> Vec<Multiaddr> {
    vec!["/ip4/127.0.0.1/tcp/1".parse().expect("an address")]
}

#[tokio::test]
async fn an_unreachable_dial_fails_in_words_and_a_request_to_it_was_not_sent() {
    let mut a = node("t", TCP).await;
    let (peer, nowhere) = (PeerId::random(), unreachable());
    let reports = |event, peer| match event {
        NetEvent::DialFailed {
            peer: of,
            addrs,
            reason,
        } => {
            assert_eq!((of, &addrs), (peer, &nowhere), "as it was asked for");
            assert_eq!(reason, format!("nobody listens at {}", nowhere[0]));
            Some(())
        }
        _ => None,
    };
    a.dial(Some(peer), nowhere.clone());
    // The second one waits for the first, then has its own attempt and its own report.
    a.dial(Some(peer), nowhere.clone());
    run(&mut [&mut a], |_, _, event| reports(event, Some(peer))).await;
    run(&mut [&mut a], |_, _, event| reports(event, Some(peer))).await;
    a.dial(None, nowhere.clone());
    run(&mut [&mut a], |_, _, event| reports(event, None)).await;
    a.request(ExchangeId(9), peer, nowhere.clone(), b"?".to_vec());
    let failure = run(&mut [&mut a], |_, _, event| match event {
        NetEvent::ExchangeFailed {
            id: ExchangeId(9),
            failure,
        } => Some(failure),
        _ => None,
    })
    .await;
    assert_eq!(failure, NetFailure::NotSent);
}

#[tokio::test]
async fn an_address_at_which_another_peer_answers_is_a_failed_dial() {
    let (mut a, mut b) = (node("t", TCP).await, node("t", TCP).await);
    a.dial(Some(PeerId::random()), addrs(&b));
    let b_id = b.peer_id();
    let reason = run(&mut [&mut a, &mut b], |_, _, event| match event {
        NetEvent::DialFailed { reason, .. } => Some(reason),
        _ => None,
    })
    .await;
    assert!(
        reason.starts_with(&format!("another peer, {b_id}, answered")),
        "{reason}"
    );
}

#[tokio::test]
async fn a_provider_and_a_record_are_found_through_the_dht() {
    let (mut a, mut b) = (node("t", TCP).await, node("t", TCP).await);
    let wc: Capability = "wc".parse().expect("a valid capability");
    let nets = &mut [&mut a, &mut b];
    connect(nets).await;
    let (provider, provider_addrs) = (nets[0].peer_id(), addrs(nets[0]));
    nets[0].dht_provide(&wc);
    run_retrying(
        nets,
        |nets| nets[1].dht_find(&wc),
        |_, index, event| match (index, event) {
            (1, NetEvent::Discovered { peer, addrs }) if peer == provider => {
                assert_eq!(addrs, provider_addrs);
                Some(())
            }
            _ => None,
        },
    )
    .await;
    run_retrying(
        nets,
        |nets| nets[0].dht_put(b"/junto-entry/x".to_vec(), b"value".to_vec(), 60_000, false),
        |nets, index, event| match (index, event) {
            (1, NetEvent::DhtRecord { source, key, value }) => {
                assert_eq!((source, key.as_slice()), (provider, &b"/junto-entry/x"[..]));
                nets[1].dht_put(key, value, 60_000, true);
                Some(())
            }
            _ => None,
        },
    )
    .await;
}

#[tokio::test]
async fn quic_connects_and_exchanges() {
    let (mut a, mut b) = (node("t", QUIC).await, node("t", QUIC).await);
    let nets = &mut [&mut a, &mut b];
    // A first handshake may take too long on a busy machine: `connect` dials again.
    connect(nets).await;
    let sent = vec![3; 300_000];
    assert!(is_echo(&echo(nets, sent.clone()).await, &sent));
}

#[tokio::test]
async fn a_port_in_use_is_refused_by_name_and_taken_when_it_is_freed() {
    let first = node("t", TCP).await;
    let taken = addrs(&first)[0].to_string();
    let refused = Net::start(config("t", &[&taken]))
        .await
        .err()
        .expect("two nodes on one port");
    assert!(matches!(refused, NetError::InUse { .. }), "{refused}");
    assert!(refused.to_string().contains(&taken), "{refused}");
    let second = config("t", &[&taken]);
    let (second, ()) = tokio::join!(Net::start(second), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(first);
    });
    assert_eq!(
        addrs(&second.expect("the port is free now"))[0].to_string(),
        taken
    );
}

#[tokio::test]
async fn a_node_reports_where_it_is_reached_and_may_listen_nowhere() {
    let mut a = Net::start(config("t", &[TCP, QUIC]))
        .await
        .expect("loopback can be listened on");
    let told = run(&mut [&mut a], |_, _, event| match event {
        NetEvent::ListenAddrs { addrs } => Some(addrs),
        _ => None,
    })
    .await;
    assert_eq!(told, a.local_addrs());
    assert_eq!(told.len(), 2);
    let mut silent = Net::start(config("t", &[]))
        .await
        .expect("listening is not required");
    dial(&mut silent, &a);
    run(&mut [&mut silent, &mut a], |_, _, event| match event {
        NetEvent::Connected { dialer: true, .. } => Some(()),
        _ => None,
    })
    .await;
}

#[tokio::test]
async fn another_network_does_not_understand_our_requests() {
    let (mut a, mut b) = (node("one", TCP).await, node("two", TCP).await);
    let event = echo(&mut [&mut a, &mut b], b"hello".to_vec()).await;
    // Unknown where the peer is dropped for its network before it has said so.
    let failures = [NetFailure::Unsupported, NetFailure::Unknown];
    assert!(
        matches!(event, NetEvent::ExchangeFailed { failure, .. } if failures.contains(&failure)),
        "{event:?}"
    );
}
