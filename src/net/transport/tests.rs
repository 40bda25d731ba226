//! The layers by themselves, then whole connections between two swarms over loopback, with peers
//! that have libp2p's usual layers instead of ours.

use std::cell::Cell;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::future::{Either, join, poll_fn, select};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::core::muxing::StreamMuxerExt;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::swarm::{self, Swarm, SwarmEvent};
use libp2p::{Multiaddr, noise, ping, yamux};
use proptest::prelude::*;
use rustls::CipherSuite;
use tokio::io::duplex;
use tokio::time::timeout;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

type End = Compat<tokio::io::DuplexStream>;

/// A pipe that holds so many bytes in each direction.
fn pipe(bytes: usize) -> (End, End) {
    let (a, b) = duplex(bytes);
    (a.compat(), b.compat())
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .expect("what was waited for never happened")
}

fn security() -> (PeerId, Security) {
    let keypair = Keypair::generate_ed25519();
    let security = Security::new(&keypair).expect("an Ed25519 key is enough");
    (keypair.public().to_peer_id(), security)
}

#[tokio::test]
async fn two_nodes_propose_tls_first_and_agree_on_aes() {
    let ((dialer, ours), (listener, theirs)) = (security(), security());
    let first = ours.protocol_info().next().expect("there are two");
    assert_eq!(first, security::TLS);
    let (a, b) = pipe(65_536);
    let (out, inc) = in_time(join(
        ours.upgrade_outbound(a, first),
        theirs.upgrade_inbound(b, first),
    ))
    .await;
    let (peer, stream) = out.expect("the handshake succeeds");
    assert_eq!(peer, listener);
    let Either::Left(stream) = stream else {
        panic!("TLS was asked for");
    };
    let suite = stream.get_ref().1.negotiated_cipher_suite();
    assert_eq!(
        suite.map(|suite| suite.suite()),
        Some(CipherSuite::TLS13_AES_256_GCM_SHA384)
    );
    assert_eq!(inc.expect("the handshake succeeds").0, dialer);
}

#[tokio::test]
async fn who_hangs_up_in_the_handshake_is_named_beneath_the_error() {
    let (_, ours) = security();
    for protocol in [security::TLS, security::NOISE] {
        let (a, b) = pipe(65_536);
        drop(b);
        let error = in_time(ours.clone().upgrade_outbound(a, protocol))
            .await
            .expect_err("nobody is there");
        let mut below: &(dyn std::error::Error + 'static) = &error;
        while let Some(source) = below.source() {
            below = source;
        }
        assert!(below.downcast_ref::<io::Error>().is_some(), "{error}");
    }
}

#[tokio::test]
async fn what_was_written_leaves_when_its_writer_looks_for_more() {
    let (a, b) = pipe(65_536);
    let (mut ours, mut theirs) = (Buffered::new(a), b);
    for part in [b"one " as &[u8], b"two"] {
        ours.write_all(part).await.expect("there is room");
        ours.flush().await.expect("the pipe is open");
    }
    let mut got = [0; 7];
    {
        let read = pin!(theirs.read_exact(&mut got));
        let nothing = pin!(tokio::task::yield_now());
        assert!(matches!(select(read, nothing).await, Either::Right(_)));
    }
    let mut none = [0; 1];
    let looks = pin!(ours.read(&mut none));
    match in_time(select(looks, pin!(theirs.read_exact(&mut got)))).await {
        Either::Right((read, _)) => read.expect("both parts"),
        Either::Left(_) => panic!("nobody wrote to this side"),
    }
    assert_eq!(&got, b"one two");
}

#[tokio::test]
async fn what_was_written_leaves_on_close() {
    let (a, mut b) = pipe(65_536);
    let mut ours = Buffered::new(a);
    ours.write_all(b"last words").await.expect("there is room");
    ours.close().await.expect("the pipe is open");
    let mut got = Vec::new();
    in_time(b.read_to_end(&mut got)).await.expect("it ended");
    assert_eq!(got, b"last words");
}

/// Writes `bytes` in parts of these sizes while reading as many.
async fn talk(mut end: Buffered<End>, bytes: &[u8], parts: &[usize], expected: usize) -> Vec<u8> {
    let (mut rest, mut sizes) = (bytes, parts.iter().cycle());
    let (mut got, mut space) = (Vec::new(), vec![0; 5_000]);
    while !rest.is_empty() {
        let size = rest.len().min(*sizes.next().expect("it goes round"));
        end.write_all(&rest[..size]).await.expect("there is room");
        rest = &rest[size..];
    }
    end.flush().await.expect("the pipe is open");
    while got.len() < expected {
        let count = end.read(&mut space).await.expect("the pipe is open");
        assert_ne!(count, 0, "cut short at {} of {expected}", got.len());
        got.extend_from_slice(&space[..count]);
    }
    got
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_byte_arrives_once_and_in_order(
        bytes in prop::collection::vec(any::<u8>(), 1..200_000),
        parts in prop::collection::vec(1..100_000_usize, 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let (a, b) = pipe(1 << 20);
        let (a, b) = (Buffered::new(a), Buffered::new(b));
        let (at_a, at_b) = runtime.block_on(in_time(join(
            talk(a, &bytes, &parts, bytes.len()),
            talk(b, &bytes, &parts, bytes.len()),
        )));
        prop_assert!(at_a == bytes && at_b == bytes);
    }
}

#[tokio::test]
async fn a_peer_fills_no_more_than_the_window_of_a_stream_that_is_not_read() {
    let (a, b) = pipe(65_536);
    let mut dialer = muxer::Config
        .upgrade_outbound(a, "/yamux/1.0.0")
        .await
        .expect("there is no handshake");
    let mut listener = muxer::Config
        .upgrade_inbound(b, "/yamux/1.0.0")
        .await
        .expect("there is no handshake");
    let mut stream = in_time(poll_fn(|cx| dialer.poll_outbound_unpin(cx)))
        .await
        .expect("the connection is open");
    const WINDOW: usize = 256 * 1024;
    let written = Cell::new(0);
    let mut unread = None;
    let writing = async {
        while let Ok(count) = stream.write(&[7; 10_000]).await {
            written.set(written.get() + count);
        }
    };
    let moving = poll_fn(|cx| {
        assert!(dialer.poll_unpin(cx).is_pending());
        if let Poll::Ready(stream) = listener.poll_inbound_unpin(cx) {
            unread = Some(stream.expect("the connection is open"));
            cx.waker().wake_by_ref();
        }
        Poll::<()>::Pending
    });
    let full = async {
        while written.get() < WINDOW {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Everything is in memory: what went beyond the window would have been taken by then.
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let (all, full) = (pin!(join(writing, moving)), pin!(full));
    in_time(select(all, full)).await;
    assert!(unread.is_some());
    assert_eq!(written.get(), WINDOW, "the window, to the byte");
}

/// A swarm that only pings, and where it listens.
async fn pinger(connections: Connections, peer: PeerId) -> (Swarm<ping::Behaviour>, Multiaddr) {
    let config = ping::Config::new().with_interval(Duration::from_millis(100));
    let mut swarm = Swarm::new(
        connections,
        ping::Behaviour::new(config),
        peer,
        swarm::Config::with_tokio_executor().with_idle_connection_timeout(PATIENCE),
    );
    swarm
        .listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("a valid address"))
        .expect("loopback can be listened on");
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = in_time(swarm.select_next_some()).await {
            return (swarm, address);
        }
    }
}

/// Dials from the first to the second and waits until each has had an answer from the other.
async fn reach_each_other(a: (PeerId, Connections), b: (PeerId, Connections)) {
    let (mut from, _) = pinger(a.1, a.0).await;
    let (mut to, addr) = pinger(b.1, b.0).await;
    from.dial(addr).expect("an address");
    let (mut from_done, mut to_done) = (false, false);
    let pinging = async {
        while !(from_done && to_done) {
            let (event, done) = tokio::select! {
                event = from.select_next_some() => (event, &mut from_done),
                event = to.select_next_some() => (event, &mut to_done),
            };
            match event {
                SwarmEvent::Behaviour(event) => {
                    event.result.expect("the peer answers");
                    *done = true;
                }
                SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    };
    in_time(pinging).await;
}

fn ours() -> (PeerId, Connections) {
    let keypair = Keypair::generate_ed25519();
    let connections = build(&keypair).expect("the libraries accept our settings");
    (keypair.public().to_peer_id(), connections)
}

/// libp2p's own layers over TCP, with one kind of encryption.
macro_rules! plain {
    ($encryption:expr) => {{
        let keypair = Keypair::generate_ed25519();
        let connections = tcp::tokio::Transport::new(tcp::Config::default())
            .upgrade(Version::V1Lazy)
            .authenticate($encryption(&keypair).expect("an Ed25519 key is enough"))
            .multiplex(yamux::Config::default())
            .boxed();
        (keypair.public().to_peer_id(), connections)
    }};
}

#[tokio::test]
async fn two_nodes_reach_each_other() {
    reach_each_other(ours(), ours()).await;
}

#[tokio::test]
async fn a_peer_that_has_only_noise_is_reached_and_reaches_us() {
    reach_each_other(ours(), plain!(noise::Config::new)).await;
    reach_each_other(plain!(noise::Config::new), ours()).await;
}

#[tokio::test]
async fn a_peer_that_has_only_libp2ps_tls_is_reached_and_reaches_us() {
    reach_each_other(ours(), plain!(libp2p::tls::Config::new)).await;
    reach_each_other(plain!(libp2p::tls::Config::new), ours()).await;
}
