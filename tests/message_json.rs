//! `POST /message` of the real program, spoken to by a client that shares no code with it: JSON,
//! Ed25519, X25519, HKDF, AES-GCM and the little CBOR that a header needs, all by hand.
#![allow(clippy::unwrap_used, reason = "a test may end where it stands")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use ciborium::Value as Cbor;
use data_encoding::{BASE32_NOPAD, BASE64, HEXLOWER};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use hmac::Mac;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

// ---- the protocol, from docs/protocol.md alone --------------------------------------------

type Hash = [u8; 32];

fn hash(purpose: &str, parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(b"junto/1/");
    hasher.update(purpose);
    hasher.update([0]);
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

fn signed(purpose: &str, digest: &Hash) -> Vec<u8> {
    [b"junto/1/", purpose.as_bytes(), &[0], digest].concat()
}

fn sign(key: &SigningKey, purpose: &str, digest: &Hash) -> [u8; 64] {
    key.sign(&signed(purpose, digest)).to_bytes()
}

fn hmac(key: &Hash, message: &[u8]) -> Hash {
    let mut mac = hmac::Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn expand<const N: usize>(prk: &Hash, label: &str, context: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let info = [b"junto/1/", label.as_bytes(), &[0], context].concat();
    hkdf::Hkdf::<Sha256>::from_prk(prk)
        .unwrap()
        .expand(&info, &mut out)
        .unwrap();
    out
}

/// A map with its keys in the order of their encodings.
fn map(pairs: Vec<(&str, Cbor)>) -> Cbor {
    let mut pairs: Vec<(Cbor, Cbor)> = pairs
        .into_iter()
        .map(|(key, value)| (Cbor::Text(key.into()), value))
        .collect();
    pairs.sort_by_key(|(key, _)| encode(key));
    Cbor::Map(pairs)
}

fn encode(value: &Cbor) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

fn decode(bytes: &[u8]) -> Cbor {
    ciborium::from_reader(bytes).unwrap()
}

fn field<'a>(map: &'a Cbor, name: &str) -> &'a Cbor {
    let pairs = map.as_map().unwrap();
    let found = pairs.iter().find(|(key, _)| key.as_text() == Some(name));
    &found.unwrap_or_else(|| panic!("{name} in {map:?}")).1
}

fn bytes(bytes: &[u8]) -> Cbor {
    Cbor::Bytes(bytes.to_vec())
}

fn text(text: &str) -> Cbor {
    Cbor::Text(text.into())
}

fn number(n: u64) -> Cbor {
    Cbor::Integer(n.into())
}

fn entity_text(id: &Hash) -> String {
    format!("ent1{}", BASE32_NOPAD.encode(id).to_lowercase())
}

fn entity_bytes(text: &str) -> Hash {
    let body = text.strip_prefix("ent1").unwrap().to_uppercase();
    let bytes = BASE32_NOPAD.decode(body.as_bytes()).unwrap();
    bytes.try_into().unwrap()
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_millis()).unwrap()
}

fn rfc3339(ms: u64) -> String {
    let nanos = i128::from(ms) * 1_000_000;
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap();
    at.format(&time::format_description::well_known::Rfc3339)
        .unwrap()
}

fn ms_of(rfc3339: &str) -> u64 {
    let format = &time::format_description::well_known::Rfc3339;
    let at = time::OffsetDateTime::parse(rfc3339, format).unwrap();
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap()
}

fn random<const N: usize>() -> [u8; N] {
    rand::random()
}

// ---- a peer that has nothing but HTTP ------------------------------------------------------

/// The fields of a header; the optional ones only where they are said.
#[derive(Clone)]
struct Header {
    version: &'static str,
    msg_type: String,
    from: Hash,
    to: Option<Hash>,
    session: Option<(Vec<u8>, u64)>,
    re: Option<u64>,
    ms: u64,
    nonce: Hash,
}

impl Header {
    fn cbor(&self) -> Vec<u8> {
        let mut pairs = vec![
            ("version", text(self.version)),
            ("msg_type", text(&self.msg_type)),
            ("sender_id", bytes(&self.from)),
            ("timestamp", number(self.ms)),
            ("nonce", bytes(&self.nonce)),
            (
                "seal",
                text(if self.session.is_some() {
                    "session"
                } else {
                    "none"
                }),
            ),
        ];
        if let Some(to) = &self.to {
            pairs.push(("recipient_id", bytes(to)));
        }
        if let Some((session, seq)) = &self.session {
            pairs.push(("session_id", bytes(session)));
            pairs.push(("epoch", number(0)));
            pairs.push(("sequence_num", number(*seq)));
        }
        if let Some(re) = self.re {
            pairs.push(("re", number(re)));
        }
        encode(&map(pairs))
    }

    fn json(&self, data: &[u8], signature: Option<[u8; 64]>, tag: Option<Hash>) -> Value {
        let sealed = self.session.is_some();
        let mut message = json!({
            "version": self.version,
            "msg_type": self.msg_type,
            "sender_id": entity_text(&self.from),
            "timestamp": rfc3339(self.ms),
            "nonce": HEXLOWER.encode(&self.nonce),
            "seal": if sealed { "session" } else { "none" },
            "payload": {"encrypted": sealed, "data": BASE64.encode(data)},
        });
        if let Some(to) = &self.to {
            message["recipient_id"] = entity_text(to).into();
        }
        if let Some((session, seq)) = &self.session {
            message["session_id"] = uuid::Uuid::from_slice(session).unwrap().to_string().into();
            message["epoch"] = 0.into();
            message["sequence_num"] = (*seq).into();
        }
        if let Some(signature) = signature {
            message["signature"] = HEXLOWER.encode(&signature).into();
        }
        if let Some(tag) = tag {
            message["tag"] = HEXLOWER.encode(&tag).into();
        }
        message
    }

    fn of_json(message: &Value) -> Header {
        let id = |name: &str| message[name].as_str().map(entity_bytes);
        let session = message["session_id"].as_str().map(|id| {
            let seq = message["sequence_num"].as_u64().unwrap();
            assert_eq!(message["epoch"], 0);
            (id.parse::<uuid::Uuid>().unwrap().as_bytes().to_vec(), seq)
        });
        Header {
            version: if message["version"] == "1.0" {
                "1.0"
            } else {
                "1.1"
            },
            msg_type: message["msg_type"].as_str().unwrap().into(),
            from: id("sender_id").unwrap(),
            to: id("recipient_id"),
            session,
            re: message["re"].as_u64(),
            ms: ms_of(message["timestamp"].as_str().unwrap()),
            nonce: hex(&message["nonce"]),
        }
    }
}

fn hex<const N: usize>(value: &Value) -> [u8; N] {
    let bytes = HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap();
    bytes.try_into().unwrap()
}

fn data_of(message: &Value) -> Vec<u8> {
    let data = message["payload"]["data"].as_str().unwrap();
    BASE64.decode(data.as_bytes()).unwrap()
}

/// Somebody with three keys and no libp2p.
struct Stranger {
    key: SigningKey,
    entity: Hash,
    inception: Vec<u8>,
    entry: Vec<u8>,
    http: reqwest::Client,
    api: String,
}

impl Stranger {
    fn new(api: &str) -> Stranger {
        let key = SigningKey::from_bytes(&random());
        let next = SigningKey::from_bytes(&random());
        let transport = SigningKey::from_bytes(&random());
        let document = [
            &b"junto-e1"[..],
            key.verifying_key().as_bytes(),
            &hash("next key", &[next.verifying_key().as_bytes()]),
        ]
        .concat();
        let entity = hash("entity", &[&document]);
        let founding = sign(&key, "inception", &hash("inception", &[&document]));
        let inception = [&document[..], &founding].concat();
        let peer = [
            &[0x00, 0x24, 0x08, 0x01, 0x12, 0x20][..],
            transport.verifying_key().as_bytes(),
        ]
        .concat();
        let binding = sign(
            &transport,
            "peer binding",
            &hash("peer binding", &[&entity, &peer]),
        );
        let issued = now_ms();
        let body = encode(&map(vec![
            ("entity_id", bytes(&entity)),
            ("inception", bytes(&inception)),
            ("key", bytes(key.verifying_key().as_bytes())),
            ("seq", number(1)),
            ("issued", number(issued)),
            ("expires", number(issued + 3_600_000)),
            ("name", text("stranger")),
            ("capabilities", Cbor::Array(Vec::new())),
            ("addresses", Cbor::Array(Vec::new())),
            (
                "peers",
                Cbor::Array(vec![map(vec![
                    ("peer_id", bytes(&peer)),
                    ("signature", bytes(&binding)),
                ])]),
            ),
            ("versions", Cbor::Array(vec![text("1.1")])),
        ]));
        let signature = sign(&key, "registry entry", &hash("registry entry", &[&body]));
        let entry = encode(&map(vec![
            ("body", bytes(&body)),
            ("signature", bytes(&signature)),
        ]));
        Stranger {
            key,
            entity,
            inception,
            entry,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            api: api.to_owned(),
        }
    }

    fn header(&self, msg_type: &str, to: Option<Hash>) -> Header {
        Header {
            version: "1.1",
            msg_type: msg_type.into(),
            from: self.entity,
            to,
            session: None,
            re: None,
            ms: now_ms(),
            nonce: random(),
        }
    }

    async fn post(&self, message: &Value) -> (u16, Value) {
        let request = self.http.post(format!("http://{}/message", self.api));
        let response = request.json(message).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    /// The message must be refused; with what code.
    async fn refused(&self, message: &Value) -> (u16, String) {
        let (status, problem) = self.post(message).await;
        assert_eq!(problem["status"], status, "{problem}");
        if problem["code"] == "message_refused" {
            assert_eq!(
                problem["message"]["msg_type"].as_str().unwrap_or("error"),
                "error"
            );
        }
        let code = problem["peer_code"].as_str();
        (
            status,
            code.unwrap_or_else(|| panic!("{problem}")).to_owned(),
        )
    }

    async fn public_key(&self) -> Value {
        let url = format!("http://{}/public-key", self.api);
        self.http
            .get(url)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    async fn m1(&self, share: &Hash) -> (Header, Vec<u8>, [u8; 64], Vec<u8>) {
        let who = self.public_key().await;
        let peer = who["peer_id"].as_str().unwrap();
        let peer: libp2p::PeerId = peer.parse().unwrap();
        let session = uuid::Uuid::new_v4().as_bytes().to_vec();
        let body = encode(&map(vec![
            ("versions", Cbor::Array(vec![text("1.1")])),
            ("suites", Cbor::Array(vec![number(1)])),
            ("session_id", bytes(&session)),
            ("to_peer", bytes(&peer.to_bytes())),
            ("entry", bytes(&self.entry)),
            ("share", bytes(share)),
        ]));
        let header = self.header("handshake", None);
        let digest = hash("message", &[&header.cbor(), &body]);
        let signature = sign(&self.key, "m1", &digest);
        (header, body, signature, session)
    }

    /// Shakes hands.
    async fn meet(&self) -> Session {
        let secret = x25519_dalek::StaticSecret::from(random::<32>());
        let share = x25519_dalek::PublicKey::from(&secret).to_bytes();
        let (h1, body, sig1, session) = self.m1(&share).await;
        let (status, m2) = self.post(&h1.json(&body, Some(sig1), None)).await;
        assert_eq!(
            (status, m2["msg_type"].as_str()),
            (200, Some("handshake_ack")),
            "{m2}"
        );
        let (h2, body2) = (Header::of_json(&m2), data_of(&m2));
        let (sig2, tag2): ([u8; 64], Hash) = (hex(&m2["signature"]), hex(&m2["tag"]));
        let ack = decode(&body2);
        let their_entry = decode(field(&ack, "entry").as_bytes().unwrap());
        let entry = decode(field(&their_entry, "body").as_bytes().unwrap());
        let their_key: Hash = field(&entry, "key").as_bytes().unwrap()[..]
            .try_into()
            .unwrap();
        let their_key = VerifyingKey::from_bytes(&their_key).unwrap();
        let their_share: Hash = field(&ack, "share").as_bytes().unwrap()[..]
            .try_into()
            .unwrap();

        let th1 = hash("th1", &[&h1.cbor(), &body, &sig1]);
        let th2 = hash("th2", &[&th1, &h2.cbor(), &body2]);
        let holds = their_key.verify_strict(&signed("m2", &th2), &sig2.into());
        holds.expect("M2 is signed over the transcript");
        let agreed = secret.diffie_hellman(&their_share.into()).to_bytes();
        let (prk, _) = hkdf::Hkdf::<Sha256>::extract(Some(&th2), &agreed);
        let prk: Hash = prk.into();
        let conf_r = expand(&prk, "conf r", b"");
        assert_eq!(hmac(&conf_r, &[&th2[..], &sig2].concat()), tag2);

        let h3 = self.header("handshake_confirm", Some(h2.from));
        let body3 = encode(&map(vec![
            ("session_id", bytes(&session)),
            ("answers", bytes(&h2.nonce)),
        ]));
        let th3 = hash("th3", &[&th2, &sig2, &tag2, &h3.cbor(), &body3]);
        let sig3 = sign(&self.key, "m3", &th3);
        let conf_i = expand(&prk, "conf i", b"");
        let tag3 = hmac(&conf_i, &[&th3[..], &sig3].concat());
        let (status, ready) = self.post(&h3.json(&body3, Some(sig3), Some(tag3))).await;
        assert_eq!(status, 200, "{ready}");
        let th4 = hash("th4", &[&th3, &sig3, &tag3]);
        let master: Hash = expand(&prk, "master", b"");
        let traffic = |side| expand(&master, side, &th4);
        let live = Session {
            id: session,
            to: h2.from,
            their_key,
            th4,
            send: traffic("traffic exchange i"),
            receive: traffic("traffic exchange r"),
            next: 0,
        };
        assert_eq!(live.open(&ready), ("ready".into(), map(Vec::new())));
        live
    }

    /// Says something in a session and opens the answer.
    async fn ask(&self, session: &mut Session, msg_type: &str, body: &Cbor) -> (String, Cbor) {
        let message = session.seal(self, msg_type, body);
        let (status, answer) = self.post(&message).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["re"], message["sequence_num"]);
        session.open(&answer)
    }

    /// A message of version 1.0.
    fn clear(&self, to: Hash, msg_type: &str, body: &Cbor) -> (Value, Hash) {
        let mut header = self.header(msg_type, Some(to));
        header.version = "1.0";
        let data = encode(body);
        let digest = hash("message", &[&header.cbor(), &data]);
        let signature = sign(&self.key, "clear message", &digest);
        (header.json(&data, Some(signature), None), digest)
    }
}

/// A live session.
struct Session {
    id: Vec<u8>,
    to: Hash,
    their_key: VerifyingKey,
    th4: Hash,
    send: Hash,
    receive: Hash,
    next: u64,
}

impl Session {
    fn cipher(secret: &Hash, seq: u64) -> (aes_gcm::Aes256Gcm, [u8; 12]) {
        let key: [u8; 32] = expand(secret, "key", b"");
        let mut nonce: [u8; 12] = expand(secret, "iv", b"");
        for (byte, s) in nonce[4..].iter_mut().zip(seq.to_be_bytes()) {
            *byte ^= s;
        }
        (aes_gcm::Aes256Gcm::new_from_slice(&key).unwrap(), nonce)
    }

    fn seal(&mut self, from: &Stranger, msg_type: &str, body: &Cbor) -> Value {
        let mut header = from.header(msg_type, Some(self.to));
        header.session = Some((self.id.clone(), self.next));
        let (clear, body) = (header.cbor(), encode(body));
        let digest = hash("sealed message", &[&clear, &body, &self.th4]);
        let signature = sign(&from.key, "sealed message", &digest);
        let plain = encode(&map(vec![
            ("body", bytes(&body)),
            ("signature", bytes(&signature)),
        ]));
        let (cipher, nonce) = Session::cipher(&self.send, self.next);
        self.next += 1;
        let aad = [&clear[..], &self.th4].concat();
        let payload = Payload {
            msg: &plain,
            aad: &aad,
        };
        let sealed = cipher.encrypt(&nonce.into(), payload).unwrap();
        header.json(&sealed, None, None)
    }

    fn open(&self, message: &Value) -> (String, Cbor) {
        let header = Header::of_json(message);
        assert_eq!(message["payload"]["encrypted"], true);
        let (session, seq) = header.session.clone().unwrap();
        assert_eq!((session, header.from), (self.id.clone(), self.to));
        let (cipher, nonce) = Session::cipher(&self.receive, seq);
        let aad = [&header.cbor()[..], &self.th4].concat();
        let sealed = data_of(message);
        let payload = Payload {
            msg: &sealed,
            aad: &aad,
        };
        let plain = decode(&cipher.decrypt(&nonce.into(), payload).expect("it opens"));
        let body = field(&plain, "body").as_bytes().unwrap();
        let signature = field(&plain, "signature").as_bytes().unwrap();
        let signature: [u8; 64] = signature[..].try_into().unwrap();
        let digest = hash("sealed message", &[&header.cbor(), body, &self.th4]);
        self.their_key
            .verify_strict(&signed("sealed message", &digest), &signature.into())
            .expect("the node signed what it sealed");
        (header.msg_type, decode(body))
    }
}

// ---- a node --------------------------------------------------------------------------------

/// One `junto up`, killed when dropped.
struct Node {
    home: PathBuf,
    child: Child,
}

impl Node {
    fn start(home: &Path) -> Node {
        let file = home.join("node.json");
        let _ = std::fs::remove_file(&file);
        let child = Command::new(env!("CARGO_BIN_EXE_junto"))
            .arg("--home")
            .arg(home)
            .args(["up", "--no-mdns", "--no-passphrase", "--api", "127.0.0.1:0"])
            .args(["--listen", "/ip4/127.0.0.1/tcp/0", "--serve", "wc=wc -w"])
            .args(["--on-wake", "echo woken >> woken"])
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let node = Node {
            home: home.to_owned(),
            child,
        };
        eventually("the node is up", || file.exists().then_some(()));
        node
    }

    fn api(&self) -> String {
        let text = std::fs::read(self.home.join("node.json")).unwrap();
        let value: Value = serde_json::from_slice(&text).unwrap();
        value["api"]
            .as_str()
            .unwrap()
            .trim_start_matches("http://")
            .to_owned()
    }

    fn wakes(&self) -> usize {
        let text = std::fs::read_to_string(self.home.join("woken"));
        text.map_or(0, |text| text.lines().count())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn empty() -> Cbor {
    map(Vec::new())
}

fn wake_up(nonce: &Hash) -> Cbor {
    map(vec![("nonce", bytes(nonce)), ("reason", text("work"))])
}

// ---- what holds -----------------------------------------------------------------------------

#[tokio::test]
async fn a_stranger_with_http_alone_shakes_hands_pings_wakes_and_hands_over_work() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::start(home.path());
    let stranger = Stranger::new(&node.api());
    let who = stranger.public_key().await;
    let mut session = stranger.meet().await;
    assert_eq!(who["entity_id"], entity_text(&session.to));
    assert_eq!(
        who["public_key"],
        HEXLOWER.encode(session.their_key.as_bytes())
    );
    for _ in 0..3 {
        let pong = stranger.ask(&mut session, "ping", &empty()).await;
        assert_eq!(pong, ("pong".into(), empty()));
    }
    let nonce = random();
    let (msg_type, ack) = stranger
        .ask(&mut session, "wake_up", &wake_up(&nonce))
        .await;
    assert_eq!(msg_type, "wake_up_ack");
    assert_eq!(field(&ack, "nonce"), &bytes(&nonce));
    assert_eq!(field(&ack, "status"), &text("delivered"));
    eventually("the hook ran", || (node.wakes() == 1).then_some(()));
    let task = map(vec![
        ("task_id", bytes(uuid::Uuid::now_v7().as_bytes())),
        ("token", number(1)),
        ("capability", text("wc")),
        ("input", bytes(b"one two three")),
        ("lease_ms", number(20_000)),
        ("remaining_ms", number(60_000)),
    ]);
    let offer = map(vec![("items", Cbor::Array(vec![task]))]);
    let (msg_type, accept) = stranger.ask(&mut session, "task_delegate", &offer).await;
    assert_eq!(msg_type, "task_accept");
    assert_eq!(
        field(&accept, "answers"),
        &Cbor::Array(vec![text("accepted")])
    );
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_the_protocols_code() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::start(home.path());
    let stranger = Stranger::new(&node.api());
    let refused = async |message: &Value| stranger.refused(message).await;
    let coded = |status: u16, code: &str| (status, code.to_owned());

    let (header, body, signature, _) = stranger.m1(&random()).await;
    let m1 = header.json(&body, Some(signature), None);
    let with = |name: &str, value: Value| {
        let mut bent = m1.clone();
        bent[name] = value;
        bent
    };
    assert_eq!(
        refused(&with("version", "2.0".into())).await,
        coded(400, "INVALID_VERSION")
    );
    assert_eq!(
        refused(&with("nonce", HEXLOWER.encode(&random::<32>()).into())).await,
        coded(403, "INVALID_SIGNATURE")
    );
    let another = entity_text(&random());
    assert_eq!(
        refused(&with("recipient_id", another.clone().into())).await,
        coded(421, "WRONG_RECIPIENT")
    );
    assert_eq!(
        refused(&with("sender_id", another.into())).await,
        coded(403, "UNKNOWN_SENDER")
    );
    assert_eq!(
        refused(&with("timestamp", rfc3339(now_ms() - 121_000).into())).await,
        coded(400, "HANDSHAKE_TIMEOUT")
    );
    assert_eq!(
        refused(&with("seal", "hpke".into())).await,
        coded(400, "MALFORMED")
    );
    assert_eq!(refused(&json!({"hello": 1})).await, coded(400, "MALFORMED"));

    // A moment, so that refusals do not add up to too many.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut session = stranger.meet().await;
    let ping = session.seal(&stranger, "ping", &empty());
    let mut cut = ping.clone();
    cut["payload"]["data"] = BASE64.encode(b"no ciphertext").into();
    assert_eq!(refused(&cut).await, coded(400, "DECRYPTION_FAILED"));
    let (status, _) = stranger.post(&ping).await;
    assert_eq!(status, 200, "what did not open used up no number");
    assert_eq!(refused(&ping).await, coded(409, "REPLAY_DETECTED"));
    session.next += 5_000;
    let ahead = session.seal(&stranger, "ping", &empty());
    assert_eq!(stranger.post(&ahead).await.0, 200);
    session.next -= 3_000;
    let behind = session.seal(&stranger, "ping", &empty());
    assert_eq!(refused(&behind).await, coded(409, "SEQUENCE_ERROR"));
    session.id = uuid::Uuid::new_v4().as_bytes().to_vec();
    let elsewhere = session.seal(&stranger, "ping", &empty());
    assert_eq!(refused(&elsewhere).await, coded(404, "SESSION_NOT_FOUND"));
    let (clear, _) = stranger.clear(session.to, "ping", &empty());
    assert_eq!(refused(&clear).await, coded(403, "ENCRYPTION_REQUIRED"));

    let mut codes = Vec::new();
    for _ in 0..40 {
        codes.push(refused(&json!({})).await);
    }
    assert_eq!(codes.last(), Some(&coded(429, "RATE_LIMITED")));
}

#[tokio::test]
async fn version_1_0_is_answered_where_it_is_allowed_and_once_also_across_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let first = Node::start(home.path());
    let mut bob = Stranger::new(&first.api());
    let settings = format!(
        "[protocol]\nallow_v1_0 = [\"{}\"]\n",
        BASE64.encode(&bob.inception)
    );
    let who = bob.public_key().await;
    let to = entity_bytes(who["entity_id"].as_str().unwrap());
    let (asked, _) = bob.clear(to, "ping", &empty());
    assert_eq!(
        bob.refused(&asked).await,
        (403, "ENCRYPTION_REQUIRED".to_owned())
    );
    drop(first);
    std::fs::write(home.path().join("junto.toml"), settings).unwrap();

    let node = Node::start(home.path());
    bob.api = node.api();
    let (asked, digest) = bob.clear(to, "ping", &empty());
    let (status, pong) = bob.post(&asked).await;
    assert_eq!(
        (status, pong["msg_type"].as_str()),
        (200, Some("pong")),
        "{pong}"
    );
    assert_eq!(
        (pong["version"].as_str(), pong["seal"].as_str()),
        (Some("1.0"), Some("none"))
    );
    let key: Hash = hex(&who["public_key"]);
    let answered = hash(
        "clear answer",
        &[&digest, &Header::of_json(&pong).cbor(), &data_of(&pong)],
    );
    let signature: [u8; 64] = hex(&pong["signature"]);
    VerifyingKey::from_bytes(&key)
        .unwrap()
        .verify_strict(&signed("clear answer", &answered), &signature.into())
        .expect("the answer is the node's, and to this question");
    let (wake, _) = bob.clear(to, "wake_up", &wake_up(&random()));
    let (status, ack) = bob.post(&wake).await;
    assert_eq!(
        (status, ack["msg_type"].as_str()),
        (200, Some("wake_up_ack")),
        "{ack}"
    );
    eventually("the hook ran", || (node.wakes() == 1).then_some(()));
    // kill -9, and the same message again.
    drop(node);
    let node = Node::start(home.path());
    bob.api = node.api();
    assert_eq!(
        bob.refused(&wake).await,
        (409, "REPLAY_DETECTED".to_owned())
    );
    assert_eq!(node.wakes(), 1, "nobody was woken by an echo");
    let (task, _) = bob.clear(to, "task_delegate", &empty());
    assert_eq!(
        bob.refused(&task).await,
        (403, "ENCRYPTION_REQUIRED".to_owned())
    );
}
