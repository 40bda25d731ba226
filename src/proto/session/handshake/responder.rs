//! Their handshakes: M1 in, M2 out, M3 in, the ready out.

use super::{
    Attempt, BODY_MAX, HalfOpen, HandshakeOutcome, PURPOSE_M1, PURPOSE_M2, PURPOSE_M3, Theirs,
    Ticket, Verifying, code, read_m1,
};
use crate::crypto::suite::Suite;
use crate::crypto::{Rng, SigCheck};
use crate::proto::session::keys::{Secrets, Side, th1, th2, th3, th4};
use crate::proto::session::live::{Established, Live, Outbound, Terms};
use crate::proto::session::{SessionInfo, Sessions};
use crate::types::limits::{
    CLOCK_SKEW_MAX_MS, COOKIE_FROM_CHECKS, COOKIE_FROM_HALF_OPEN, HALF_OPEN_MAX,
    HALF_OPEN_PER_PEER_MAX, HALF_OPEN_PER_PREFIX_MAX, OFFERS_MAX, PEERS_MAX,
};
use crate::types::{Mono, Nonce, Now, PeerId, Prefix};
use crate::wire::{
    Confirm, Envelope, ErrorBody, Handshake, HandshakeAck, Header, MsgType, Ready, WireError,
    best_common, cbor,
};

/// Handshakes one peer may begin between two ticks (2 s), whatever entities it names.
const BEGUN_MAX: u32 = 16;

/// Checks of first messages under way.
#[derive(Default)]
struct Checks {
    all: usize,
    of_peer: usize,
    of_prefix: usize,
}

impl Sessions {
    /// M1 came from `peer`.
    pub fn on_handshake(
        &mut self,
        peer: PeerId,
        envelope: Envelope,
        header: Header,
        now: Now,
    ) -> HandshakeOutcome {
        if self.carrier.vouches() && !self.count_begun(peer) {
            return HandshakeOutcome::Refused(WireError::RateLimited);
        }
        let prefix = self.prefixes.get(&peer).copied();
        let body = match self.judge_clear(peer, &envelope, &header, now) {
            Err(code) => return HandshakeOutcome::Refused(code),
            Ok(body) => body,
        };
        let checks = self.checks_under_way(&peer, prefix);
        if let Some(attempt) = self.wants_cookie(&checks, peer, &header, &body, now) {
            return HandshakeOutcome::Challenge(attempt);
        }
        match self.judge_signed(peer, &checks, &envelope, &header, &body, now) {
            Err(code) => HandshakeOutcome::Refused(code),
            Ok((theirs, checks)) => {
                let m1 = Box::new((envelope, header, body));
                let since = now.mono;
                let ticket = self.wait(Verifying::M1 {
                    since,
                    peer,
                    prefix,
                    theirs,
                    m1,
                });
                HandshakeOutcome::Verify { ticket, checks }
            }
        }
    }

    /// Counts a handshake against `peer`'s share; false when that is used up.
    fn count_begun(&mut self, peer: PeerId) -> bool {
        if self.begun.len() >= PEERS_MAX && !self.begun.contains_key(&peer) {
            self.begun.clear();
        }
        let begun = self.begun.entry(peer).or_default();
        *begun += 1;
        *begun <= BEGUN_MAX
    }

    /// The answer to M1 while we are under load: `BUSY`, and the cookie to come back with. Nothing
    /// of it is kept.
    pub fn challenge(&mut self, attempt: &Attempt, now: Now, rng: &mut Rng) -> Vec<u8> {
        use rand::RngExt as _;
        let cookie = self.cookies.bake(attempt, now.mono, rng);
        let body = ErrorBody {
            code: WireError::Busy,
            cookie: Some(cookie),
        };
        self.error_message(&body, now, Nonce(rng.random()))
    }

    /// What needs neither a table nor a signature.
    fn judge_clear(
        &self,
        peer: PeerId,
        envelope: &Envelope,
        header: &Header,
        now: Now,
    ) -> Result<Handshake, WireError> {
        let body = read_m1(envelope)?;
        let offers = body.offers().ok_or(WireError::Malformed)?;
        if body.versions.len() > OFFERS_MAX {
            return Err(WireError::Malformed);
        }
        let suite = self
            .suites
            .iter()
            .any(|ours| offers.iter().any(|o| o.0 == ours.number()));
        if best_common(&self.versions, &body.versions).is_none() || !suite {
            return Err(WireError::InvalidVersion);
        }
        let to_us = header.recipient_id.is_none_or(|to| to == self.entity);
        if body.to_peer != self.peer || !to_us {
            return Err(WireError::WrongRecipient);
        }
        if peer == self.peer || header.sender_id == self.entity {
            return Err(WireError::InvalidState);
        }
        if header.timestamp.abs_diff(now.wall) > CLOCK_SKEW_MAX_MS {
            return Err(WireError::HandshakeTimeout);
        }
        Ok(body)
    }

    /// Under load: the attempt, unless it came with a cookie that is good.
    fn wants_cookie(
        &self,
        checks: &Checks,
        peer: PeerId,
        header: &Header,
        body: &Handshake,
        now: Now,
    ) -> Option<Attempt> {
        let is_loaded =
            checks.all >= COOKIE_FROM_CHECKS || self.half_open.len() >= COOKIE_FROM_HALF_OPEN;
        if !is_loaded {
            return None;
        }
        let attempt = Attempt {
            peer,
            prefix: self.prefixes.get(&peer).copied(),
            sender: header.sender_id,
            nonce: header.nonce,
            session: body.session_id,
        };
        let good = body
            .cookie
            .is_some_and(|cookie| self.cookies.redeems(&cookie, &attempt, now.mono));
        (!good).then_some(attempt)
    }

    /// The tables, the entry, and the signatures that must hold.
    fn judge_signed(
        &self,
        peer: PeerId,
        under_way: &Checks,
        envelope: &Envelope,
        header: &Header,
        body: &Handshake,
        now: Now,
    ) -> Result<(Theirs, Vec<SigCheck>), WireError> {
        if under_way.of_peer >= HALF_OPEN_PER_PEER_MAX
            || under_way.of_prefix >= HALF_OPEN_PER_PREFIX_MAX
            || self.verifying.len() >= HALF_OPEN_MAX
        {
            return Err(WireError::Busy);
        }
        if self.half_open.contains(&body.session_id) || self.live.contains_key(&body.session_id) {
            return Err(WireError::ReplayDetected);
        }
        if self.replay.contains(&header.sender_id, &header.nonce) {
            return Err(WireError::ReplayDetected);
        }
        // Of two handshakes under way at once the lower entity's wins.
        if self.outgoing.contains_key(&peer) && self.entity < header.sender_id {
            return Err(WireError::InvalidState);
        }
        let (theirs, mut checks) = self.read_entry(&body.entry, &header.sender_id, &peer, now)?;
        let version = best_common(&self.versions, &body.versions);
        if !version.is_some_and(|version| theirs.is_best(&self.versions, version)) {
            return Err(WireError::InvalidVersion);
        }
        let signature = envelope.signature.ok_or(WireError::Malformed)?;
        let digest = envelope.digest();
        checks.push(SigCheck {
            key: theirs.key,
            purpose: PURPOSE_M1,
            digest,
            signature,
        });
        Ok((theirs, checks))
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
            peer,
            prefix,
            theirs,
            m1,
            ..
        }) = self.verifying.remove(&ticket)
        else {
            return Err(None);
        };
        let (m1, m1_header, body) = *m1;
        if !good {
            return Err(Some(WireError::InvalidSignature));
        }
        self.known.insert(&theirs.entry);
        self.replay
            .insert(theirs.entity, m1_header.nonce, now.mono)
            .map_err(Some)?;
        if self.outgoing.contains_key(&peer) {
            if self.entity < theirs.entity {
                return Err(Some(WireError::InvalidState));
            }
            self.outgoing.remove(&peer);
        }
        let (terms, their_share) = self.terms(&body).map_err(Some)?;
        let suite = terms.suite;
        let (share, shared) = suite.answer(their_share, rng).map_err(|e| Some(code(e)))?;
        let nonce = Nonce(rng.random());
        if share == their_share || nonce == m1_header.nonce {
            return Err(Some(WireError::InvalidState));
        }
        let header = self.clear_header(MsgType::HandshakeAck, Some(theirs.entity), now, nonce);
        let ack = HandshakeAck {
            version: terms.version.into(),
            suite: suite.number(),
            session_id: body.session_id,
            entry: entry.to_vec(),
            share,
        };
        let mut m2 = Envelope {
            header: cbor::encode(&header),
            data: cbor::encode(&ack),
            signature: None,
            tag: None,
        };
        let th2 = th2(&th1(&m1), &m2);
        let secrets = Secrets::derive(suite, &shared, &th2);
        let signature = suite.sign(&self.key, PURPOSE_M2, &th2);
        m2.tag = Some(secrets.tag(Side::Responder, &th2, &signature));
        m2.signature = Some(signature);
        let bytes = m2.to_bytes();
        let their_entry = theirs.entry.clone();
        let half = HalfOpen {
            since: now.mono,
            peer,
            prefix,
            terms,
            theirs,
            key: self.key.clone(),
            nonce,
            th2,
            m2,
            secrets,
        };
        self.half_open.insert(body.session_id, half);
        Ok((bytes, their_entry))
    }

    /// The best version and suite that both speak, and the initiator's share for it.
    fn terms<'a>(&self, body: &'a Handshake) -> Result<(Terms, &'a [u8]), WireError> {
        let version =
            best_common(&self.versions, &body.versions).ok_or(WireError::InvalidVersion)?;
        let offers = body.offers().ok_or(WireError::Malformed)?;
        let both = |suite: &'static dyn Suite| {
            let offer = offers.iter().find(|offer| offer.0 == suite.number());
            offer.map(|offer| (Terms { version, suite }, offer.1))
        };
        let best = self.suites.iter().copied().find_map(both);
        best.ok_or(WireError::InvalidVersion)
    }

    /// Whom the half-open handshake is with that an M3 confirms.
    ///
    /// # Errors
    /// The code to answer with.
    pub fn half_open_peer(&self, m3: &Envelope) -> Result<PeerId, WireError> {
        let body: Confirm = cbor::decode(&m3.data, BODY_MAX).map_err(|_| WireError::Malformed)?;
        let half = self.half_open.get(&body.session_id);
        half.map(|half| half.peer).ok_or(WireError::SessionNotFound)
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
        let suite = half.terms.suite;
        if !suite
            .check(half.theirs.key, PURPOSE_M3, th3, signature)
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
            our_key: half.key,
            their_key: half.theirs.key,
            their_rotations: half.theirs.rotations,
            th4: th4(&th3, m3),
            terms: half.terms,
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
        let ready = live.seal(ready, now);
        let info = self.install(body.session_id, live, now.mono);
        Ok((info, ready))
    }

    /// When the newest handshake of theirs began that is being judged or awaits its M3.
    pub fn theirs_began(&self, peer: &PeerId) -> Option<Mono> {
        let prefix = self.prefixes.get(peer).copied();
        let judged = self
            .verifying
            .values()
            .filter_map(|verifying| match verifying {
                Verifying::M1 {
                    since, peer: of, ..
                } if of == peer => Some(*since),
                _ => None,
            });
        judged.max().max(self.half_open.newest_of(*peer, prefix))
    }

    /// First messages whose signatures are being checked.
    fn checks_under_way(&self, peer: &PeerId, prefix: Option<Prefix>) -> Checks {
        let mut checks = Checks::default();
        for verifying in self.verifying.values() {
            if let Verifying::M1 {
                peer: of,
                prefix: at,
                ..
            } = verifying
            {
                checks.all += 1;
                // Over HTTP anybody writes any PeerId.
                let is_peer = of == peer && self.carrier.vouches();
                checks.of_peer += usize::from(is_peer);
                checks.of_prefix += usize::from(prefix.is_some() && *at == prefix);
            }
        }
        checks
    }
}
