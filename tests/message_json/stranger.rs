//! A peer that has nothing but HTTP: three keys and no libp2p.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use ciborium::Value as Cbor;
use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde_json::{Value, json};
use sha2::Sha256;

use super::protocol::{
    Hash, bytes, decode, encode, entity_bytes, entity_text, expand, field, hash, hmac, map, ms_of,
    now_ms, number, random, rfc3339, sign, signed, text,
};

/// The fields of a header; the optional ones only where they are said.
#[derive(Clone)]
pub struct Header {
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
    pub fn cbor(&self) -> Vec<u8> {
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

    pub fn json(&self, data: &[u8], signature: Option<[u8; 64]>, tag: Option<Hash>) -> Value {
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

    pub fn of_json(message: &Value) -> Header {
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

pub fn hex<const N: usize>(value: &Value) -> [u8; N] {
    let bytes = HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap();
    bytes.try_into().unwrap()
}

pub fn data_of(message: &Value) -> Vec<u8> {
    let data = message["payload"]["data"].as_str().unwrap();
    BASE64.decode(data.as_bytes()).unwrap()
}

/// Somebody with three keys and no libp2p.
pub struct Stranger {
    key: SigningKey,
    entity: Hash,
    pub inception: Vec<u8>,
    entry: Vec<u8>,
    http: reqwest::Client,
    pub api: String,
}

impl Stranger {
    pub fn new(api: &str) -> Stranger {
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

    pub async fn post(&self, message: &Value) -> (u16, Value) {
        let request = self.http.post(format!("http://{}/message", self.api));
        let response = request.json(message).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    /// The message must be refused; with what code.
    pub async fn refused(&self, message: &Value) -> (u16, String) {
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

    pub async fn public_key(&self) -> Value {
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

    pub async fn m1(&self, share: &Hash) -> (Header, Vec<u8>, [u8; 64], Vec<u8>) {
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
    pub async fn meet(&self) -> Session {
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
    pub async fn ask(&self, session: &mut Session, msg_type: &str, body: &Cbor) -> (String, Cbor) {
        let message = session.seal(self, msg_type, body);
        let (status, answer) = self.post(&message).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["re"], message["sequence_num"]);
        session.open(&answer)
    }

    /// A message of version 1.0.
    pub fn clear(&self, to: Hash, msg_type: &str, body: &Cbor) -> (Value, Hash) {
        let mut header = self.header(msg_type, Some(to));
        header.version = "1.0";
        let data = encode(body);
        let digest = hash("message", &[&header.cbor(), &data]);
        let signature = sign(&self.key, "clear message", &digest);
        (header.json(&data, Some(signature), None), digest)
    }
}

/// A live session.
pub struct Session {
    pub id: Vec<u8>,
    pub to: Hash,
    pub their_key: VerifyingKey,
    th4: Hash,
    send: Hash,
    receive: Hash,
    pub next: u64,
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

    pub fn seal(&mut self, from: &Stranger, msg_type: &str, body: &Cbor) -> Value {
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
