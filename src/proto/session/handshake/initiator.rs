//! Our handshakes: M1 out, M2 in, M3 out, the ready in.

use serde_bytes::ByteBuf;

use super::{
    Ack, AckOutcome, BODY_MAX, Confirmed, Failed, Outgoing, PURPOSE_M1, PURPOSE_M2, PURPOSE_M3,
    Stage, Ticket, Verifying, code,
};
use crate::crypto::suite::Suite;
use crate::crypto::{Rng, SigCheck};
use crate::proto::session::envelope::{error_body, error_code, parse};
use crate::proto::session::keys::{Secrets, Side, th1, th2, th3, th4};
use crate::proto::session::live::{Established, Live, Terms};
use crate::proto::session::{SessionInfo, Sessions};
use crate::types::{EntityId, Nonce, Now, PeerId, SessionId};
use crate::wire::{
    Confirm, Envelope, Handshake, HandshakeAck, Header, MsgType, Ready, WireError, cbor,
};

impl Sessions {
    /// Begins a handshake with `peer`: M1. None while one is under way.
    pub fn initiate(
        &mut self,
        peer: PeerId,
        known_as: Option<EntityId>,
        entry: &[u8],
        now: Now,
        rng: &mut Rng,
    ) -> Option<(SessionId, Vec<u8>)> {
        use rand::RngExt as _;
        if self.outgoing.contains_key(&peer) || peer == self.peer {
            return None;
        }
        let offer = |suite: &&'static dyn Suite| (*suite, suite.offer(rng));
        let offers: Vec<_> = self.suites.iter().map(offer).collect();
        let mut shares = offers.iter().map(|(_, ours)| ours.share());
        let id = SessionId(uuid::Builder::from_random_bytes(rng.random()).into_uuid());
        let body = Handshake {
            versions: self.versions.iter().map(|v| String::from(*v)).collect(),
            suites: offers.iter().map(|(suite, _)| suite.number()).collect(),
            session_id: id,
            to_peer: peer,
            entry: entry.to_vec(),
            share: shares.next().expect("there is a suite"),
            shares: shares.map(ByteBuf::from).collect(),
            cookie: None,
        };
        let header = self.clear_header(MsgType::Handshake, known_as, now, Nonce(rng.random()));
        let m1 = self.sign_clear(header, cbor::encode(&body), PURPOSE_M1);
        let bytes = m1.to_bytes();
        let since = now.mono;
        self.outgoing.insert(
            peer,
            Outgoing {
                id,
                since,
                offers,
                key: self.key.clone(),
                m1,
                stage: Stage::AwaitAck,
            },
        );
        Some((id, bytes))
    }

    /// Our handshake with `peer` came to nothing (only if it is still this one).
    pub fn abandon(&mut self, peer: &PeerId, id: SessionId) {
        if self.outgoing.get(peer).is_some_and(|out| out.id == id) {
            self.outgoing.remove(peer);
        }
    }

    /// M2 (or an error) came in answer to our M1.
    pub fn on_ack(&mut self, peer: PeerId, id: SessionId, bytes: &[u8], now: Now) -> AckOutcome {
        let Some(out) = self.outgoing.get(&peer) else {
            return AckOutcome::Stale;
        };
        if out.id != id || !matches!(out.stage, Stage::AwaitAck) {
            return AckOutcome::Stale;
        }
        if let Some(again) = self.with_cookie(&peer, bytes) {
            return AckOutcome::Again(again);
        }
        match self.judge_m2(peer, id, bytes, now) {
            Err(code) => {
                self.outgoing.remove(&peer);
                AckOutcome::Failed(code)
            }
            Ok((ack, checks)) => {
                if let Some(out) = self.outgoing.get_mut(&peer) {
                    out.stage = Stage::Verifying;
                }
                let since = now.mono;
                let ticket = self.wait(Verifying::M2 {
                    since,
                    peer,
                    ack: Box::new(ack),
                });
                AckOutcome::Verify { ticket, checks }
            }
        }
    }

    /// The other side is under load and gave us a cookie: the same M1 with it. Only once in each
    /// handshake; whoever asks for more is busy.
    fn with_cookie(&mut self, peer: &PeerId, bytes: &[u8]) -> Option<Vec<u8>> {
        let (envelope, header) = parse(bytes).ok()?;
        let cookie = (header.msg_type == MsgType::Error)
            .then(|| error_body(&envelope).ok()?.cookie)
            .flatten()?;
        let Outgoing { m1, key, .. } = self.outgoing.get(peer)?;
        let mut body: Handshake =
            cbor::decode(&m1.data, BODY_MAX).expect("our own message reads back");
        if body.cookie.replace(cookie).is_some() {
            return None;
        }
        let mut m1 = Envelope {
            data: cbor::encode(&body),
            ..m1.clone()
        };
        m1.signature = Some(key.sign(PURPOSE_M1, &m1.digest()));
        let bytes = m1.to_bytes();
        self.outgoing.get_mut(peer)?.m1 = m1;
        Some(bytes)
    }

    fn judge_m2(
        &self,
        peer: PeerId,
        id: SessionId,
        bytes: &[u8],
        now: Now,
    ) -> Result<(Ack, Vec<SigCheck>), WireError> {
        let out = &self.outgoing[&peer];
        let (envelope, header) = parse(bytes)?;
        match header.msg_type {
            MsgType::HandshakeAck => {}
            MsgType::Error => return Err(error_code(&envelope)?),
            _ => return Err(WireError::InvalidState),
        }
        let body: HandshakeAck =
            cbor::decode(&envelope.data, BODY_MAX).map_err(|_| WireError::Malformed)?;
        let version = self.versions.iter().copied().find(|v| body.version == *v);
        let suite = out
            .offers
            .iter()
            .find(|(suite, _)| suite.number() == body.suite);
        let (Some(version), Some((suite, _))) = (version, suite) else {
            return Err(WireError::InvalidVersion);
        };
        if header.recipient_id != Some(self.entity) {
            return Err(WireError::WrongRecipient);
        }
        let is_ours = |share: &[u8]| out.offers.iter().any(|(_, ours)| ours.share() == share);
        let reflected = header.sender_id == self.entity || is_ours(&body.share);
        if body.session_id != id || reflected {
            return Err(WireError::InvalidState);
        }
        let m1_header: Header =
            cbor::decode(&out.m1.header, 1024).expect("our own message reads back");
        if m1_header
            .recipient_id
            .is_some_and(|to| to != header.sender_id)
        {
            return Err(WireError::UnknownSender);
        }
        let (theirs, mut checks) = self.read_entry(&body.entry, &header.sender_id, &peer, now)?;
        if !theirs.is_best(&self.versions, version) {
            return Err(WireError::InvalidVersion);
        }
        let terms = Terms {
            version,
            suite: *suite,
        };
        let th2 = th2(&th1(&out.m1), &envelope);
        let signature = envelope.signature.ok_or(WireError::Malformed)?;
        checks.push(suite.check(theirs.key, PURPOSE_M2, th2, signature));
        let ack = Ack {
            theirs,
            m2: envelope,
            body,
            terms,
            th2,
        };
        Ok((ack, checks))
    }

    /// M2's signatures were checked: M3, and the entry that is now verified.
    ///
    /// # Errors
    /// Why the handshake failed, and with whom; `None` when it is no longer ours.
    pub fn ack_verified(
        &mut self,
        ticket: Ticket,
        good: bool,
        now: Now,
        nonce: Nonce,
    ) -> Result<Confirmed, Option<Failed>> {
        let Some(Verifying::M2 { peer, ack, .. }) = self.verifying.remove(&ticket) else {
            return Err(None);
        };
        if good {
            self.known.insert(&ack.theirs.entry);
        }
        let session = ack.body.session_id;
        if self.outgoing.get(&peer).is_none_or(|out| out.id != session) {
            return Err(None);
        }
        let m3 = match good {
            true => self.confirm(peer, &ack, now, nonce),
            false => Err(WireError::InvalidSignature),
        };
        match m3 {
            Ok(m3) => Ok(Confirmed {
                peer,
                session,
                m3,
                entry: ack.theirs.entry,
            }),
            Err(code) => {
                self.outgoing.remove(&peer);
                Err(Some(Failed { peer, code }))
            }
        }
    }

    fn confirm(
        &mut self,
        peer: PeerId,
        ack: &Ack,
        now: Now,
        nonce: Nonce,
    ) -> Result<Vec<u8>, WireError> {
        let Ack {
            theirs,
            m2,
            body,
            terms,
            th2,
        } = ack;
        let out = self.outgoing.get(&peer).expect("the caller found it");
        let suite = terms.suite;
        let offer = out
            .offers
            .iter()
            .find(|(s, _)| s.number() == suite.number());
        let (_, ours) = offer.expect("it was on offer");
        let shared = ours.agree(&body.share).map_err(code)?;
        let secrets = Secrets::derive(suite, &shared, th2);
        if !secrets.tag_holds(Side::Responder, th2, m2) {
            return Err(WireError::DecryptionFailed);
        }
        let id = out.id;
        let m2_header: Header = cbor::decode(&m2.header, 1024).map_err(|_| WireError::Malformed)?;
        let header = self.clear_header(MsgType::HandshakeConfirm, Some(theirs.entity), now, nonce);
        let confirm = Confirm {
            session_id: id,
            answers: m2_header.nonce,
        };
        let mut m3 = Envelope {
            header: cbor::encode(&header),
            data: cbor::encode(&confirm),
            signature: None,
            tag: None,
        };
        let th3 = th3(th2, m2, &m3);
        let signature = suite.sign(&out.key, PURPOSE_M3, &th3);
        m3.tag = Some(secrets.tag(Side::Initiator, &th3, &signature));
        m3.signature = Some(signature);
        let established = Established {
            id,
            info: SessionInfo {
                peer,
                entity: theirs.entity,
            },
            side: Side::Initiator,
            bound: theirs.bound,
            our_key: out.key.clone(),
            their_key: theirs.key,
            their_rotations: theirs.rotations,
            th4: th4(&th3, &m3),
            terms: *terms,
            epochs: self.config.epochs,
        };
        let live = Live::new(established, &secrets, now.mono);
        let out = self.outgoing.get_mut(&peer).expect("the caller found it");
        out.stage = Stage::AwaitReady(Box::new(live));
        Ok(m3.to_bytes())
    }

    /// The sealed ready (or an error) came in answer to our M3.
    ///
    /// # Errors
    /// Why the handshake failed; `None` when it is no longer ours.
    pub fn on_ready(
        &mut self,
        peer: PeerId,
        id: SessionId,
        bytes: &[u8],
        now: Now,
    ) -> Result<SessionInfo, Option<WireError>> {
        let ours = self
            .outgoing
            .get(&peer)
            .is_some_and(|out| out.id == id && matches!(out.stage, Stage::AwaitReady(_)));
        if !ours {
            return Err(None);
        }
        let Some(Outgoing {
            stage: Stage::AwaitReady(mut live),
            ..
        }) = self.outgoing.remove(&peer)
        else {
            unreachable!("checked above")
        };
        let (envelope, header) = parse(bytes).map_err(Some)?;
        if header.msg_type == MsgType::Error {
            return Err(Some(error_code(&envelope).unwrap_or(WireError::Malformed)));
        }
        if header.session_id != Some(id) || header.msg_type != MsgType::Ready {
            return Err(Some(WireError::InvalidState));
        }
        let opened = live.open(id, &envelope, &header, now.mono).map_err(Some)?;
        cbor::decode::<Ready>(&opened.body, 256).map_err(|_| Some(WireError::Malformed))?;
        Ok(self.install(id, *live, now.mono))
    }
}
