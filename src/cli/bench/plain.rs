//! The other pair of a benchmark: libp2p with its default settings (TCP, Noise, Yamux) and its
//! request-response, and nothing of ours around it. Nothing is signed or sealed end to end here.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use ed25519_dalek::{Signer, SigningKey};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::identity::Keypair;
use libp2p::request_response::{self, Codec, OutboundRequestId, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};

use super::side::{LISTEN, Order, Orders, Work, peer_of};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::runtime::bench::{Measured, Recorder};
use crate::types::{Multiaddr, PeerId};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/bench/1");
const BULK: StreamProtocol = StreamProtocol::new("/bench/bulk/1");
/// What is written and read at a time.
const BLOCK_BYTES: usize = 256 * 1024;
const IN_FLIGHT: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(600);

type Body = [u8; 256];
type Event = request_response::Event<Body, Body>;
type Node = Swarm<Plain>;

/// Questions and answers, and single streams.
#[derive(NetworkBehaviour)]
struct Plain {
    exchange: request_response::Behaviour<Bodies>,
    streams: libp2p_stream::Behaviour,
}

/// 256 bytes there, 256 bytes back.
#[derive(Debug, Clone, Default)]
struct Bodies;

async fn read_body(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Body> {
    let mut body = [0; 256];
    io.read_exact(&mut body).await?;
    Ok(body)
}

impl Codec for Bodies {
    type Protocol = StreamProtocol;
    type Request = Body;
    type Response = Body;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Body>
    where
        T: AsyncRead + Unpin + Send,
    {
        read_body(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Body>
    where
        T: AsyncRead + Unpin + Send,
    {
        read_body(io).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        body: Body,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&body).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        body: Body,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&body).await
    }
}

/// Answers, or with an address drives, until there are no more orders.
pub(super) async fn run(to: Option<Multiaddr>) -> Outcome {
    let mut node = node()?;
    let incoming = node.behaviour().streams.new_control().accept(BULK);
    tokio::spawn(swallow(incoming.expect("nobody else accepts them")));
    let addr = listen(&mut node).await?;
    let mut orders = Orders::ready(format!("{addr}/p2p/{}", node.local_peer_id())).await?;
    loop {
        let order = tokio::select! {
            order = orders.next() => order?,
            () = echo(&mut node) => continue,
        };
        let Some(order) = order else {
            return Ok(Exit::Done);
        };
        let outcome = match &to {
            _ if order.work == Work::Task => flushes(order).await,
            Some(to) => drive(&mut node, to, order).await,
            None => Err(String::from("this side only answers")),
        };
        orders.answer(outcome).await?;
    }
}

fn node() -> Result<Node, Failure> {
    let failed = |error: String| Failure::failed(format!("libp2p refuses its defaults: {error}"));
    let swarm = SwarmBuilder::with_existing_identity(Keypair::generate_ed25519())
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )
        .map_err(|error| failed(error.to_string()))?
        .with_behaviour(|_| {
            let protocols = [(PROTOCOL, ProtocolSupport::Full)];
            let config = request_response::Config::default();
            Plain {
                exchange: request_response::Behaviour::new(protocols, config),
                streams: libp2p_stream::Behaviour::new(),
            }
        })
        .map_err(|error| failed(error.to_string()))?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build();
    Ok(swarm)
}

async fn listen(node: &mut Node) -> Result<Multiaddr, Failure> {
    let failed =
        |error: String| Failure::failed(format!("loopback cannot be listened on: {error}"));
    node.listen_on(LISTEN.parse().expect("a valid address"))
        .map_err(|error| failed(error.to_string()))?;
    loop {
        match tokio::time::timeout(PATIENCE, node.select_next_some()).await {
            Ok(SwarmEvent::NewListenAddr { address, .. }) => return Ok(address),
            Ok(_) => {}
            Err(_) => return Err(failed(String::from("it takes too long"))),
        }
    }
}

/// Answers one request, if that is what comes next.
async fn echo(node: &mut Node) {
    if let SwarmEvent::Behaviour(PlainEvent::Exchange(Event::Message {
        message: request_response::Message::Request {
            request, channel, ..
        },
        ..
    })) = node.select_next_some().await
    {
        // Whoever asked may have gone.
        let _ = node
            .behaviour_mut()
            .exchange
            .send_response(channel, request);
    }
}

async fn drive(node: &mut Node, to: &Multiaddr, order: Order) -> Result<Measured, String> {
    let span = Duration::from_millis(order.span_ms);
    let peer = peer_of(to)?;
    match order.work {
        Work::Talk => questions(node, to, peer, 1, span).await,
        Work::Pipeline => questions(node, to, peer, IN_FLIGHT, span).await,
        Work::Report => signatures(span),
        Work::Bulk => send(node, to, peer, order.bytes).await,
        Work::Connect => connects(to, peer, span).await,
        Work::Task => Err(String::from("both sides do this")),
    }
}

async fn questions(
    node: &mut Node,
    to: &Multiaddr,
    peer: PeerId,
    in_flight: usize,
    span: Duration,
) -> Result<Measured, String> {
    first_answer(node, to, peer).await?;
    let recorder = Recorder::default();
    let began = Instant::now();
    let (mut asked, mut count) = (HashMap::new(), 0_u64);
    for _ in 0..in_flight {
        asked.insert(ask(node, to, peer), Instant::now());
    }
    while !asked.is_empty() {
        let id = answered(node).await?;
        let since = asked.remove(&id).ok_or("an answer to nothing")?;
        recorder.record(since.elapsed());
        count += 1;
        if began.elapsed() < span {
            asked.insert(ask(node, to, peer), Instant::now());
        }
    }
    Ok(recorder.finish(count, began.elapsed()))
}

fn ask(node: &mut Node, to: &Multiaddr, peer: PeerId) -> OutboundRequestId {
    let behaviour = &mut node.behaviour_mut().exchange;
    behaviour.send_request_with_addresses(&peer, [0x5a; 256], vec![to.clone()])
}

/// The next answer that comes in.
async fn answered(node: &mut Node) -> Result<OutboundRequestId, String> {
    loop {
        let event = tokio::time::timeout(PATIENCE, node.select_next_some()).await;
        match event.map_err(|_| "no answer in time")? {
            SwarmEvent::Behaviour(PlainEvent::Exchange(Event::Message {
                message: request_response::Message::Response { request_id, .. },
                ..
            })) => return Ok(request_id),
            SwarmEvent::Behaviour(PlainEvent::Exchange(Event::OutboundFailure {
                error, ..
            })) => {
                return Err(error.to_string());
            }
            _ => {}
        }
    }
}

async fn first_answer(node: &mut Node, to: &Multiaddr, peer: PeerId) -> Result<(), String> {
    ask(node, to, peer);
    answered(node).await.map(drop)
}

/// A node of its own for each: from dialling to the first answer.
async fn connects(to: &Multiaddr, peer: PeerId, span: Duration) -> Result<Measured, String> {
    let recorder = Recorder::default();
    let (began, mut count, mut connecting) = (Instant::now(), 0, Duration::ZERO);
    while count == 0 || began.elapsed() < span {
        let mut stranger = node().map_err(|failure| failure.to_string())?;
        let dialled = Instant::now();
        first_answer(&mut stranger, to, peer).await?;
        let took = dialled.elapsed();
        recorder.record(took);
        connecting += took;
        count += 1;
    }
    Ok(recorder.finish(count, connecting))
}

/// Reads whatever comes on a stream to its end, and says how much that was.
async fn swallow(mut incoming: libp2p_stream::IncomingStreams) {
    while let Some((_, mut stream)) = incoming.next().await {
        tokio::spawn(async move {
            let (mut block, mut count) = (vec![0; BLOCK_BYTES], 0_u64);
            loop {
                match stream.read(&mut block).await? {
                    0 => break,
                    read => count += read as u64,
                }
            }
            stream.write_all(&count.to_be_bytes()).await?;
            stream.close().await
        });
    }
}

/// Bytes from memory over one stream, until the other side has said how many have arrived.
async fn send(
    node: &mut Node,
    to: &Multiaddr,
    peer: PeerId,
    bytes: u64,
) -> Result<Measured, String> {
    first_answer(node, to, peer).await?;
    let mut streams = node.behaviour().streams.new_control();
    let sending = tokio::spawn(async move {
        let recorder = Recorder::default();
        let began = Instant::now();
        let opened = streams.open_stream(peer, BULK).await;
        let mut stream = opened.map_err(io::Error::other)?;
        let (block, mut left) = (vec![0x5a; BLOCK_BYTES], bytes);
        while left > 0 {
            let count = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            stream.write_all(&block[..count]).await?;
            left -= count as u64;
        }
        stream.close().await?;
        let mut arrived = [0; 8];
        stream.read_exact(&mut arrived).await?;
        if u64::from_be_bytes(arrived) != bytes {
            return Err(io::Error::other("not all of it arrived"));
        }
        recorder.record(began.elapsed());
        Ok::<Measured, io::Error>(recorder.finish(bytes, began.elapsed()))
    });
    let mut sending = std::pin::pin!(sending);
    loop {
        tokio::select! {
            sent = &mut sending => {
                let sent = sent.map_err(|error| error.to_string())?;
                return sent.map_err(|error| error.to_string());
            }
            () = echo(node) => {}
        }
    }
}

/// Appends 256 bytes to a file and flushes it, again and again.
async fn flushes(order: Order) -> Result<Measured, String> {
    let flush = move || {
        let dir = order.file.unwrap_or_default();
        let mut file = tempfile::tempfile_in(dir)?;
        let (recorder, span) = (Recorder::default(), Duration::from_millis(order.span_ms));
        let (began, mut count) = (Instant::now(), 0);
        while began.elapsed() < span {
            let one = Instant::now();
            io::Write::write_all(&mut file, &[0x5a; 256])?;
            file.sync_all()?;
            recorder.record(one.elapsed());
            count += 1;
        }
        Ok::<Measured, io::Error>(recorder.finish(count, began.elapsed()))
    };
    let flushed = tokio::task::spawn_blocking(flush).await;
    let flushed = flushed.map_err(io::Error::other).flatten();
    flushed.map_err(|error| format!("the disk alone could not be measured: {error}"))
}

/// What a core can do if every message has a signature of its own, which is verified strictly.
fn signatures(span: Duration) -> Result<Measured, String> {
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = key.verifying_key();
    let recorder = Recorder::default();
    let (began, mut count, mut body) = (Instant::now(), 0_u64, [0x5a; 256]);
    while began.elapsed() < span {
        let one = Instant::now();
        body[..8].copy_from_slice(&count.to_be_bytes());
        let signature = key.sign(&body);
        let verified = public.verify_strict(&body, &signature);
        verified.map_err(|error| error.to_string())?;
        recorder.record(one.elapsed());
        count += 1;
    }
    Ok(recorder.finish(count, began.elapsed()))
}
