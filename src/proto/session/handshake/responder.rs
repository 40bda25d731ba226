//! Their handshakes: M1 in, M2 out, M3 in, the ready out.

use std::collections::BTreeMap;

use super::{
    BODY_MAX, HalfOpen, HandshakeOutcome, PURPOSE_M1, PURPOSE_M2, PURPOSE_M3, Theirs, Ticket,
    Verifying, read_entry,
};
use crate::crypto::{EphemeralSecret, Rng, SigCheck};
use crate::proto::session::keys::{Secrets, Side, th1, th2, th3, th4};
use crate::proto::session::live::{Established, Live, Outbound};
use crate::proto::session::{SessionInfo, Sessions};
use crate::types::limits::{CLOCK_SKEW_MAX_MS, HALF_OPEN_MAX, HALF_OPEN_PER_PEER_MAX};
use crate::types::{Nonce, Now, PeerId};
use crate::wire::{
    Confirm, Envelope, Handshake, HandshakeAck, Header, MsgType, PROTOCOL_VERSION, Ready, SUITE,
    WireError, cbor,
};

/// Handshakes one peer may begin between two ticks (2 s), whatever entities it names.
const BEGUN_MAX: u32 = 16;

impl Sessions {
    /// M1 came from `peer`.
    pub fn on_handshake(
        &mut self,
        peer: PeerId,
        envelope: Envelope,
        header: Header,
        now: Now,
    ) -> HandshakeOutcome {
        let begun = self.begun.entry(peer).or_default();
        *begun += 1;
        if *begun > BEGUN_MAX {
            return HandshakeOutcome::Refused(WireError::RateLimited);
        }
        match self.judge_m1(peer, &envelope, &header, now) {
            Err(code) => HandshakeOutcome::Refused(code),
            Ok((body, theirs, checks)) => {
                let m1 = Box::new((envelope, header, body));
                let since = now.mono;
                let ticket = self.wait(Verifying::M1 {
                    since,
                    peer,
                    theirs,
                    m1,
                });
                HandshakeOutcome::Verify { ticket, checks }
            }
        }
    }

    pub(super) fn judge_m1(
        &self,
        peer: PeerId,
        envelope: &Envelope,
        header: &Header,
        now: Now,
    ) -> Result<(Handshake, Theirs, Vec<SigCheck>), WireError> {
        let body: Handshake =
            cbor::decode(&envelope.data, BODY_MAX).map_err(|_| WireError::Malformed)?;
        if !body.versions.iter().any(|v| v == PROTOCOL_VERSION) || !body.suites.contains(&SUITE) {
            return Err(WireError::InvalidVersion);
        }
        let to_us = header.recipient_id.is_none_or(|to| to == self.entity);
        if body.to_peer != self.peer || !to_us {
            return Err(WireError::WrongRecipient);
        }
        if header.sender_id == self.entity {
            return Err(WireError::InvalidState);
        }
        if header.timestamp.abs_diff(now.wall) > CLOCK_SKEW_MAX_MS {
            return Err(WireError::HandshakeTimeout);
        }
        if self.verifying_of(&peer) >= HALF_OPEN_PER_PEER_MAX
            || self.verifying.len() >= HALF_OPEN_MAX
        {
            return Err(WireError::Busy);
        }
        if self.half_open.contains_key(&body.session_id) || self.live.contains_key(&body.session_id)
        {
            return Err(WireError::ReplayDetected);
        }
        if self.replay.contains(&header.sender_id, &header.nonce) {
            return Err(WireError::ReplayDetected);
        }
        // Of two handshakes under way at once the lower entity's wins.
        if self.outgoing.contains_key(&peer) && self.entity < header.sender_id {
            return Err(WireError::InvalidState);
        }
        let (theirs, mut checks) = read_entry(&body.entry, &header.sender_id, &peer, now)?;
        let signature = envelope.signature.ok_or(WireError::Malformed)?;
        let digest = envelope.digest();
        checks.push(SigCheck {
            key: theirs.key,
            purpose: PURPOSE_M1,
            digest,
            signature,
        });
        Ok((body, theirs, checks))
    }

    /// M1's signatures were checked: M2, and the entry that is now verified.
    ///
    /// # Errors
    /// The code to answer with; `None` when nobody waits for it any more.
    pub fn handshake_verified(
        &mut self,
        ticket: Ticket,
        good: bool,
        entry: &[u8],
        now: Now,
        rng: &mut Rng,
    ) -> Result<(Vec<u8>, Vec<u8>), Option<WireError>> {
        use rand::RngExt as _;
        let Some(Verifying::M1 {
            peer, theirs, m1, ..
        }) = self.verifying.remove(&ticket)
        else {
            return Err(None);
        };
        let (m1, m1_header, body) = *m1;
        if !good {
            return Err(Some(WireError::InvalidSignature));
        }
        self.replay
            .insert(theirs.entity, m1_header.nonce, now.mono)
            .map_err(Some)?;
        if self.outgoing.contains_key(&peer) {
            if self.entity < theirs.entity {
                return Err(Some(WireError::InvalidState));
            }
            self.outgoing.remove(&peer);
        }
        let secret = EphemeralSecret::generate(rng);
        let nonce = Nonce(rng.random());
        if secret.share() == body.share || nonce == m1_header.nonce {
            return Err(Some(WireError::InvalidState));
        }
        let header = self.clear_header(MsgType::HandshakeAck, Some(theirs.entity), now, nonce);
        let ack = HandshakeAck {
            version: PROTOCOL_VERSION.into(),
            suite: SUITE,
            session_id: body.session_id,
            entry: entry.to_vec(),
            share: secret.share(),
        };
        let mut m2 = Envelope {
            header: cbor::encode(&header),
            data: cbor::encode(&ack),
            signature: None,
            tag: None,
        };
        let th2 = th2(&th1(&m1), &m2);
        let secrets = Secrets::derive(&secret, &body.share, &th2)
            .map_err(|_| Some(WireError::InvalidSignature))?;
        let signature = self.key.sign(PURPOSE_M2, &th2);
        m2.tag = Some(secrets.tag(Side::Responder, &th2, &signature));
        m2.signature = Some(signature);
        let bytes = m2.to_bytes();
        self.make_room_half_open(&peer);
        let their_entry = theirs.entry.clone();
        let since = now.mono;
        let half = HalfOpen {
            since,
            peer,
            theirs,
            nonce,
            th2,
            m2,
            secrets,
        };
        self.half_open.insert(body.session_id, half);
        Ok((bytes, their_entry))
    }

    /// M3 came from `peer`: the session is live. Returns who it is with, and the sealed ready.
    ///
    /// # Errors
    /// The code to answer with.
    pub fn on_confirm(
        &mut self,
        peer: PeerId,
        m3: &Envelope,
        header: &Header,
        now: Now,
        nonce: Nonce,
    ) -> Result<(SessionInfo, Vec<u8>), WireError> {
        let body: Confirm = cbor::decode(&m3.data, BODY_MAX).map_err(|_| WireError::Malformed)?;
        let half = self
            .half_open
            .get(&body.session_id)
            .ok_or(WireError::SessionNotFound)?;
        if half.peer != peer {
            return Err(WireError::SessionNotFound);
        }
        if header.recipient_id != Some(self.entity) || header.sender_id != half.theirs.entity {
            return Err(WireError::UnknownSender);
        }
        let th3 = th3(&half.th2, &half.m2, m3);
        if body.answers != half.nonce || !half.secrets.tag_holds(Side::Initiator, &th3, m3) {
            return Err(WireError::DecryptionFailed);
        }
        let signature = m3.signature.ok_or(WireError::Malformed)?;
        let key = half.theirs.key;
        if !(SigCheck {
            key,
            purpose: PURPOSE_M3,
            digest: th3,
            signature,
        })
        .verify()
        {
            return Err(WireError::InvalidSignature);
        }
        let half = self
            .half_open
            .remove(&body.session_id)
            .expect("it was there a moment ago");
        let established = Established {
            id: body.session_id,
            info: SessionInfo {
                peer,
                entity: half.theirs.entity,
            },
            side: Side::Responder,
            bound: half.theirs.bound,
            their_key: half.theirs.key,
            th4: th4(&th3, m3),
            epochs: self.config.epochs,
        };
        let mut live = Live::new(established, &half.secrets, now.mono);
        let ready = Outbound {
            from: self.entity,
            msg_type: MsgType::Ready,
            re: Some(0),
            body: &cbor::encode(&Ready {}),
            nonce,
        };
        let ready = live.seal(&self.key, ready, now);
        let info = self.install(body.session_id, live, now.mono);
        Ok((info, ready))
    }

    /// Handshakes of `peer` whose signatures are being checked.
    fn verifying_of(&self, peer: &PeerId) -> usize {
        let of_peer = |v: &&Verifying| matches!(v, Verifying::M1 { peer: of, .. } if of == peer);
        self.verifying.values().filter(of_peer).count()
    }

    /// Makes room for one more of `peer`: its own oldest goes when it has its share; when all are
    /// taken, the oldest of whoever holds most.
    fn make_room_half_open(&mut self, peer: &PeerId) {
        let mut held: BTreeMap<PeerId, usize> = BTreeMap::new();
        for half in self.half_open.values() {
            *held.entry(half.peer).or_default() += 1;
        }
        let own_share = held
            .get(peer)
            .is_some_and(|count| *count >= HALF_OPEN_PER_PEER_MAX);
        if !own_share && self.half_open.len() < HALF_OPEN_MAX {
            return;
        }
        let victim = self
            .half_open
            .iter()
            .filter(|(_, half)| !own_share || half.peer == *peer)
            .max_by_key(|(_, half)| (held[&half.peer], std::cmp::Reverse(half.since)))
            .map(|(id, _)| *id);
        if let Some(victim) = victim {
            self.half_open.remove(&victim);
        }
    }
}
