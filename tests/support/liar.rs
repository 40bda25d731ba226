//! A peer that can lie: libp2p beneath, and above it exchanges of arbitrary bytes. For the honest
//! parts it uses the node's own session core, so a lie can begin at any step.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its part of this"
)]

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use junto::crypto::{Identity, Rng, Seeds, SigCheck};
use junto::proto::Step;
use junto::proto::registry::{Announcement, Registry};
use junto::proto::session::{AckOutcome, HandshakeOutcome, SealedRef, Sessions, parse};
use junto::types::{BatchId, Mono, Multiaddr, Nonce, Now, PeerId, SessionId, Wall, WriteBatch};
use junto::wire::{Envelope, ErrorBody, Header, MsgType, Offer, WireError, cbor};
use libp2p::StreamProtocol;
use libp2p::swarm::SwarmEvent;
use libp2p_stream::Control;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::support::{eventually, junto, run_at};

/// For what comes on a slow machine with other tests beside this one, too.
const PATIENCE: Duration = Duration::from_secs(30);
/// For what should not come.
const MOMENT: Duration = Duration::from_secs(2);

/// The node under attack: a process of its own.
pub struct Victim {
    home: tempfile::TempDir,
    process: Child,
    pub peer: PeerId,
    pub addr: Multiaddr,
}

impl Victim {
    pub fn start() -> Victim {
        let home = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(home.path().join("stderr")).unwrap();
        let process = junto()
            .arg("--home")
            .arg(home.path())
            .args(["up", "--no-passphrase", "--no-mdns", "--name", "victim"])
            .args(["--listen", "/ip4/127.0.0.1/tcp/0", "--serve", "wc=wc -w"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let file = eventually("the victim is up", Duration::from_secs(90), || {
            let text = std::fs::read(home.path().join("node.json")).ok()?;
            let value: Value = serde_json::from_slice(&text).ok()?;
            (!value["listen"].as_array()?.is_empty()).then_some(value)
        });
        let addr = file["listen"][0].as_str().unwrap();
        Victim {
            home,
            process,
            peer: file["peer_id"].as_str().unwrap().parse().unwrap(),
            addr: addr.parse().unwrap(),
        }
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// How the victim sees a peer: `connected`, `banned`, …
    pub fn state_of(&self, peer: &PeerId) -> Option<String> {
        let output = run_at(self.home.path(), &["--json", "peers"]);
        let list: Value = serde_json::from_slice(&output.stdout).ok()?;
        let of_peer = |view: &&Value| view["peer_id"] == peer.to_string();
        let found = list.as_array()?.iter().find(of_peer)?;
        Some(found["state"].as_str()?.to_owned())
    }

    pub fn rss_mib(&self) -> usize {
        let path = format!("/proc/{}/status", self.process.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1024
    }

    /// After an attack: the process runs, panicked nowhere, takes no more memory than it should,
    /// and somebody honest is served before they would give up.
    pub async fn is_unharmed(&mut self, seed: u64) {
        assert!(self.process.try_wait().unwrap().is_none(), "it ended");
        let log = std::fs::read_to_string(self.log()).unwrap();
        assert!(!log.contains("panicked"), "{log}");
        let rss_mib = self.rss_mib();
        assert!(rss_mib < 256, "{rss_mib} MiB");
        let begin = Instant::now();
        let mut honest = Liar::connect(self, seed).await;
        honest.shake_patiently().await;
        assert_eq!(honest.ping().await, Ok(MsgType::Pong));
        let took = begin.elapsed();
        assert!(took < PATIENCE, "served after {took:?}");
    }

    fn log(&self) -> std::path::PathBuf {
        Path::new(self.home.path()).join("stderr")
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What came back.
#[derive(Debug)]
pub enum Answer {
    /// With the message as it came.
    Refused(ErrorBody, Vec<u8>),
    Message(Vec<u8>, Box<(Envelope, Header)>),
    /// The stream or the connection ended without a message.
    Nothing,
}

impl Answer {
    /// The code it was refused with; none for silence.
    ///
    /// # Panics
    /// If it was answered.
    #[track_caller]
    pub fn code(&self) -> Option<WireError> {
        match self {
            Answer::Refused(body, _) => Some(body.code),
            Answer::Nothing => None,
            Answer::Message(_, message) => panic!("answered with {:?}", message.1.msg_type),
        }
    }
}

pub struct Liar {
    pub identity: Identity,
    pub entry: Vec<u8>,
    pub sessions: Sessions,
    pub rng: Rng,
    pub victim: PeerId,
    /// How often it was asked for a cookie.
    pub cookies: usize,
    control: Control,
    swarm: JoinHandle<()>,
    started: Instant,
}

impl Liar {
    /// A fresh identity with a connection to the victim.
    pub async fn connect(victim: &Victim, seed: u64) -> Liar {
        Liar::connect_to(victim.peer, &victim.addr, seed).await
    }

    /// The same, with any node.
    pub async fn connect_to(victim: PeerId, addr: &Multiaddr, seed: u64) -> Liar {
        let mut rng = Rng::seed_from_u64(seed);
        let identity = Identity::from_seeds(&Seeds::generate(&mut rng));
        let behaviour = libp2p_stream::Behaviour::new();
        let control = behaviour.new_control();
        let mut swarm = libp2p::SwarmBuilder::with_existing_identity(identity.transport_keypair())
            .with_tokio()
            .with_tcp(
                libp2p::tcp::Config::default().nodelay(true),
                libp2p::noise::Config::new,
                libp2p::yamux::Config::default,
            )
            .unwrap()
            .with_behaviour(|_| behaviour)
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE * 10))
            .build();
        swarm.dial(addr.clone()).unwrap();
        loop {
            match timeout(PATIENCE, swarm.select_next_some()).await.unwrap() {
                SwarmEvent::ConnectionEstablished { .. } => break,
                SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
        let swarm = tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        let entry = entry(&identity, now().wall, &mut rng);
        Liar {
            entry,
            sessions: Sessions::new(&identity),
            identity,
            rng,
            victim,
            cookies: 0,
            control,
            swarm,
            started: Instant::now(),
        }
    }

    pub fn now(&self) -> Now {
        let micros = self.started.elapsed().as_micros();
        Now {
            mono: Mono::from_micros(u64::try_from(micros).unwrap() + 1),
            ..now()
        }
    }

    pub fn nonce(&mut self) -> Nonce {
        Nonce(self.rng.random())
    }

    /// Writes these bytes on a stream of `protocol`, and returns what comes back until it ends;
    /// none if no stream was to be had.
    pub async fn raw_on(&mut self, protocol: &'static str, bytes: &[u8]) -> Option<Vec<u8>> {
        let protocol = StreamProtocol::new(protocol);
        let opened = timeout(PATIENCE, self.control.open_stream(self.victim, protocol));
        let mut stream = opened.await.ok()?.ok()?;
        let talk = async {
            // The victim may have had enough before all is written.
            let _ = stream.write_all(bytes).await;
            let _ = stream.close().await;
            let mut answer = Vec::new();
            let _ = (&mut stream).take(4 << 20).read_to_end(&mut answer).await;
            answer
        };
        Some(timeout(PATIENCE, talk).await.unwrap_or_default())
    }

    /// An exchange whose request is these bytes, length and all.
    pub async fn raw(&mut self, bytes: &[u8]) -> Answer {
        let Some(answer) = self.raw_on("/junto/junto/exchange/1", bytes).await else {
            return Answer::Nothing;
        };
        let Some((_, message)) = answer.split_at_checked(4) else {
            return Answer::Nothing;
        };
        let (envelope, header) = parse(message).expect("the victim speaks the protocol");
        match header.msg_type {
            MsgType::Error => {
                let body = cbor::decode(&envelope.data, 256).expect("an error");
                Answer::Refused(body, message.to_vec())
            }
            _ => Answer::Message(message.to_vec(), Box::new((envelope, header))),
        }
    }

    /// An exchange whose request is one frame of these bytes.
    pub async fn ask(&mut self, message: &[u8]) -> Answer {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        self.raw(&[&length[..], message].concat()).await
    }

    /// Our next M1, honest.
    pub fn m1(&mut self) -> (SessionId, Vec<u8>) {
        let now = self.now();
        self.sessions.forget_all(&self.victim);
        self.sessions
            .initiate(self.victim, None, &self.entry, now, &mut self.rng)
            .unwrap()
    }

    /// Takes in M2 and gives M3.
    pub fn m3(&mut self, id: SessionId, m2: &[u8]) -> Result<Vec<u8>, WireError> {
        let (now, nonce) = (self.now(), self.nonce());
        match self.sessions.on_ack(self.victim, id, m2, now) {
            AckOutcome::Verify { ticket, checks } => {
                let good = checks.iter().all(SigCheck::verify);
                let confirmed = self.sessions.ack_verified(ticket, good, now, nonce);
                confirmed
                    .map(|confirmed| confirmed.m3)
                    .map_err(|failed| failed.unwrap().code)
            }
            AckOutcome::Failed(code) => Err(code),
            outcome => panic!("{outcome:?}"),
        }
    }

    /// Waits for the victim's own M1 and answers it with an honest M2. What the victim asks next.
    pub async fn answer_m1(&mut self) -> Option<MsgType> {
        self.answer_m1_with(|m2| m2, PATIENCE).await
    }

    /// The same with what `bend` makes of the M2. What the victim asks next is returned, if
    /// anything within a moment.
    pub async fn answer_m1_bent(
        &mut self,
        bend: impl FnOnce(Vec<u8>) -> Vec<u8>,
    ) -> Option<MsgType> {
        self.answer_m1_with(bend, MOMENT).await
    }

    async fn answer_m1_with(
        &mut self,
        bend: impl FnOnce(Vec<u8>) -> Vec<u8>,
        patience: Duration,
    ) -> Option<MsgType> {
        let exchange = StreamProtocol::new("/junto/junto/exchange/1");
        let mut incoming = self.control.accept(exchange).unwrap();
        let (header, envelope, mut stream) = loop {
            let (_, mut stream) = timeout(PATIENCE, incoming.next()).await.ok()??;
            let (envelope, header) = read_message(&mut stream).await?;
            if header.msg_type == MsgType::Handshake {
                break (header, envelope, stream);
            }
        };
        let now = self.now();
        let outcome = self
            .sessions
            .on_handshake(self.victim, envelope, header, now);
        let HandshakeOutcome::Verify { ticket, .. } = outcome else {
            panic!("{outcome:?}")
        };
        let m2 = self
            .sessions
            .handshake_verified(ticket, true, &self.entry, now, &mut self.rng);
        let bent = bend(m2.unwrap().0);
        let length = u32::try_from(bent.len()).unwrap().to_be_bytes();
        let _ = stream.write_all(&[&length[..], &bent].concat()).await;
        let _ = stream.close().await;
        let next = timeout(patience, incoming.next()).await;
        let (_, mut stream) = next.ok()??;
        Some(read_message(&mut stream).await?.1.msg_type)
    }

    /// The streams that the victim opens from now on.
    pub fn incoming(&mut self) -> libp2p_stream::IncomingStreams {
        let exchange = StreamProtocol::new("/junto/junto/exchange/1");
        self.control.accept(exchange).unwrap()
    }

    /// Answers the victim's next request in the session with what `answer` makes of it, or not at
    /// all. Returns its type and body.
    pub async fn answer(
        &mut self,
        incoming: &mut libp2p_stream::IncomingStreams,
        answer: impl Fn(MsgType, &[u8]) -> Option<(MsgType, Vec<u8>)>,
    ) -> Option<(MsgType, Vec<u8>)> {
        let (peer, mut stream) = incoming.next().await?;
        let (envelope, header) = read_message(&mut stream).await?;
        let (now, nonce) = (self.now(), self.nonce());
        let opened = self.sessions.open_request(&peer, &envelope, &header, now);
        let opened = opened.ok()?;
        if let Some((msg_type, body)) = answer(opened.msg_type, &opened.body) {
            let (to, sealed) = (opened.reference, &mut self.sessions);
            let bytes = sealed.seal_response(to, msg_type, &body, now, nonce)?;
            let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
            let _ = stream.write_all(&[&length[..], &bytes].concat()).await;
            let _ = stream.close().await;
        }
        Some((opened.msg_type, opened.body))
    }

    /// M1 and M2, with the cookie if one is asked for. The session id and M2.
    pub async fn half_shake(&mut self) -> Result<(SessionId, Vec<u8>), WireError> {
        let (id, m1) = self.m1();
        self.begin(id, &m1).await
    }

    async fn begin(&mut self, id: SessionId, m1: &[u8]) -> Result<(SessionId, Vec<u8>), WireError> {
        let now = self.now();
        match self.ask(m1).await {
            Answer::Message(m2, _) => Ok((id, m2)),
            Answer::Refused(body, error) if body.cookie.is_some() => {
                self.cookies += 1;
                let again = self.sessions.on_ack(self.victim, id, &error, now);
                let AckOutcome::Again(m1) = again else {
                    return Err(WireError::Busy);
                };
                match self.ask(&m1).await {
                    Answer::Message(m2, _) => Ok((id, m2)),
                    answer => Err(answer.code().unwrap_or(WireError::Busy)),
                }
            }
            answer => Err(answer.code().unwrap_or(WireError::Busy)),
        }
    }

    /// A whole handshake.
    pub async fn shake(&mut self) -> Result<(), WireError> {
        let (id, m2) = self.half_shake().await?;
        let m3 = self.m3(id, &m2)?;
        let ready = match self.ask(&m3).await {
            Answer::Message(ready, _) => ready,
            answer => return Err(answer.code().unwrap_or(WireError::Busy)),
        };
        let now = self.now();
        let up = self.sessions.on_ready(self.victim, id, &ready, now);
        up.map(|_| ()).map_err(Option::unwrap)
    }

    /// As an honest peer does it: again, while the other side is busy or its own handshake wins.
    pub async fn shake_patiently(&mut self) {
        let begin = Instant::now();
        loop {
            match self.shake().await {
                Ok(()) => return,
                Err(WireError::Busy | WireError::InvalidState) if begin.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(code) => panic!("no session: {code}"),
            }
        }
    }

    pub fn seal(&mut self, msg_type: MsgType, body: &[u8]) -> (Vec<u8>, SealedRef) {
        let (now, nonce) = (self.now(), self.nonce());
        self.sessions
            .seal_request(&self.victim, msg_type, body, now, nonce)
            .expect("a session")
    }

    /// A sealed request; what the answer opens to, or the code it was refused with.
    pub async fn say(&mut self, msg_type: MsgType, body: &[u8]) -> Result<MsgType, WireError> {
        let (message, asked) = self.seal(msg_type, body);
        let answer = self.ask(&message).await;
        let Answer::Message(bytes, _) = answer else {
            return Err(answer.code().unwrap_or(WireError::NotAllowed));
        };
        let now = self.now();
        let opened = self
            .sessions
            .open_response(&self.victim, asked, &bytes, now)
            .expect("the victim's answers open");
        Ok(opened.msg_type)
    }

    pub async fn ping(&mut self) -> Result<MsgType, WireError> {
        let body = cbor::encode(&junto::wire::Ping {});
        self.say(MsgType::Ping, &body).await
    }

    /// A message in clear with any header and body, signed by the entity's key.
    pub fn clear(&self, header: &Header, data: Vec<u8>, purpose: &str) -> Vec<u8> {
        let mut envelope = Envelope {
            header: cbor::encode(header),
            data,
            signature: None,
            tag: None,
        };
        envelope.signature = Some(self.identity.key().sign(purpose, &envelope.digest()));
        envelope.to_bytes()
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}

async fn read_message(stream: &mut libp2p::Stream) -> Option<(Envelope, Header)> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.ok()?;
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut message).await.ok()?;
    parse(&message).ok()
}

pub fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Now {
        mono: Mono::from_micros(1),
        wall: Wall(u64::try_from(since.as_millis()).unwrap()),
    }
}

/// What an entity says of itself at a time.
pub fn entry(identity: &Identity, wall: Wall, rng: &mut Rng) -> Vec<u8> {
    entry_offering(Vec::new(), identity, wall, rng)
}

/// The same, of one that serves.
pub fn entry_offering(
    capabilities: Vec<Offer>,
    identity: &Identity,
    wall: Wall,
    rng: &mut Rng,
) -> Vec<u8> {
    let mut registry = Registry::new(Announcement {
        identity: identity.clone(),
        name: "liar".parse().unwrap(),
        capabilities,
        labels: Default::default(),
        addresses: Vec::new(),
        seq: wall.0 / 2,
    });
    let mut writes = WriteBatch::default();
    registry.issue(&mut Step {
        now: Now {
            wall,
            ..Now::default()
        },
        rng,
        batch: BatchId(1),
        writes: &mut writes,
    });
    registry.own().unwrap().0.bytes.clone()
}
