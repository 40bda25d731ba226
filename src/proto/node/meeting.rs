//! Sessions with peers: opened when a connection stands or something waits, and given up.

use super::Node;
use super::exchange::Pending;
use super::io::{ExchangeFailure, Note, Output};
use super::outbox::Outbox;
use crate::proto::Step;
use crate::proto::session::{Confirmed, Failed, SessionInfo, Ticket};
use crate::types::{BatchId, Multiaddr, PeerId, SessionId};
use crate::wire::WireError;

/// A peer that connected to us has so long to open the session before we do.
const THEIR_TURN_MS: u64 = 2_000;
const SESSION_RETRY_MS: u64 = 1_000;
const SESSION_RETRY_MAX_MS: u64 = 5_000;
const BUSY_RETRY_MS: u64 = 250;

impl Node {
    pub(super) fn connected(
        &mut self,
        peer: PeerId,
        addr: &Multiaddr,
        dialer: bool,
        step: &mut Step<'_>,
    ) {
        self.peers_changed = true;
        self.sessions.connected(peer, addr);
        if self.peers.connected(peer, addr, dialer, step.now.mono) {
            self.out.push(Output::Disconnect { peer });
            return;
        }
        self.tally.know(peer);
        self.guard.heard(&peer, step.now.mono);
        self.health.connected(&peer, step.now.mono);
        match self.sessions.with(&peer) {
            // The session outlived the connection, on our side at least: the first message tells.
            Some(info) => {
                self.worker.requester_is_back(info.entity, step.now.mono);
                self.sends.peer_is_back(info.entity, step.now.mono);
                if dialer {
                    self.sync_with(peer, step);
                }
            }
            None if dialer => self.open_session(peer, step),
            None => {
                self.session_at.insert(peer, step.now.mono + THEIR_TURN_MS);
            }
        }
    }

    /// Opens sessions with connected peers whose time has come.
    pub(super) fn open_sessions(&mut self, step: &mut Step<'_>) {
        let now = step.now.mono;
        let due: Vec<PeerId> = self
            .session_at
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in due {
            self.session_at.remove(&peer);
            let wanted = self.peers.is_up(&peer) || self.outbox.contains_key(&peer);
            if self.sessions.with(&peer).is_some() || !wanted {
                continue;
            }
            match self.guard.wait_ms(&peer, now) {
                Some(wait_ms) => {
                    self.session_at.insert(peer, now + wait_ms);
                }
                None => self.open_session(peer, step),
            }
        }
    }

    /// Opens a session that something waits for, unless it is the other side's turn: a handshake
    /// beside theirs would make a second session, which takes the first one's place, and its
    /// stream's, a moment after that was opened.
    pub(super) fn seek_session(&mut self, peer: PeerId, step: &mut Step<'_>) {
        let came = self.peers.came_to_us(&peer);
        let began = self.sessions.theirs_began(&peer);
        match came.max(began).map(|since| since + THEIR_TURN_MS) {
            // Should theirs come to nothing, ours is next.
            Some(ends) if step.now.mono < ends => {
                let at = self.session_at.entry(peer).or_insert(ends);
                *at = ends.min(*at);
            }
            _ => self.open_session(peer, step),
        }
    }

    /// Sends M1, unless a handshake is under way.
    pub(super) fn open_session(&mut self, peer: PeerId, step: &mut Step<'_>) {
        let Some((own, written)) = self.registry.own() else {
            return;
        };
        let entry = own.bytes.clone();
        let known_as = self.registry.entity_of(&peer);
        let opened = self
            .sessions
            .initiate(peer, known_as, &entry, step.now, step.rng);
        if let Some((session, bytes)) = opened {
            self.begin(Pending::Handshake { peer, session }, peer, bytes, written);
        }
    }

    /// M2's signatures were judged.
    pub(super) fn ack_verified(&mut self, ticket: Ticket, good: bool, step: &mut Step<'_>) {
        let nonce = step.nonce();
        match self.sessions.ack_verified(ticket, good, step.now, nonce) {
            Ok(Confirmed {
                peer,
                session,
                m3,
                entry,
            }) => {
                if !self.registry.admits(&entry) {
                    // A key that its entity has given up: a thief's, or one given up just now.
                    self.sessions.abandon(&peer, session);
                    return self.session_failed(peer, Some(WireError::InvalidState), step);
                }
                self.merge_verified(&entry, step);
                self.begin(Pending::Confirm { peer, session }, peer, m3, BatchId::NONE);
            }
            Err(Some(Failed { peer, code })) => {
                self.penalize(peer, code, step);
                self.session_failed(peer, Some(code), step);
            }
            // It ended, or another took its place, while its signatures were checked.
            Err(None) => {}
        }
    }

    pub(super) fn session_up(&mut self, info: SessionInfo, step: &mut Step<'_>) {
        self.session_at.remove(&info.peer);
        if let Some(secrets) = self.sessions.stream_secrets(&info.peer) {
            self.out.push(Output::ChannelUp(Box::new(secrets)));
        }
        let name = self
            .registry
            .entry(&info.entity)
            .map(|e| e.body.name.to_string());
        let name = name.unwrap_or_default();
        self.note(Note::SessionUp {
            peer: info.peer,
            entity: info.entity,
            name,
        });
        self.worker.requester_is_back(info.entity, step.now.mono);
        self.sends.peer_is_back(info.entity, step.now.mono);
        self.tally.session(&info.peer);
        self.health.session_up(info.peer, step.now.mono);
        self.candidates.drop_all();
        // Whoever wanted to know whether there is a session knows it by the handshake.
        let reaches = self
            .outbox
            .get_mut(&info.peer)
            .map(Outbox::take_reaches)
            .unwrap_or_default();
        for (command, sought) in reaches {
            self.reply_reached(command, info.peer, sought, info.entity);
        }
        self.announce_once();
        self.pump(info.peer, step);
        self.ask_capabilities(info.peer, step);
    }

    /// The other side lost a session that we still had.
    pub(super) fn stream_refused(&mut self, peer: PeerId, session: SessionId, step: &mut Step<'_>) {
        self.sessions.forget(&peer, session);
        if self.sessions.with(&peer).is_none() && self.peers.is_up(&peer) {
            self.seek_session(peer, step);
        }
    }

    /// Sees to it that what waits for a session gets one, or fails.
    pub(super) fn look_again(&mut self, peer: PeerId, step: &mut Step<'_>) {
        let wait = SESSION_RETRY_MS + step.backoff_ms(1, SESSION_RETRY_MS, SESSION_RETRY_MAX_MS);
        self.session_at.insert(peer, step.now.mono + wait);
    }

    /// No session came about: what waits for it has failed, and it is tried again later.
    pub(super) fn session_failed(
        &mut self,
        peer: PeerId,
        code: Option<WireError>,
        step: &mut Step<'_>,
    ) {
        // Theirs may have won: then the session is there, or about to be.
        let theirs_wins = code == Some(WireError::InvalidState);
        if self.sessions.with(&peer).is_some() {
            self.pump(peer, step);
            return;
        }
        if let Some(code) = code
            && !theirs_wins
        {
            self.note(Note::SessionRefused {
                peer,
                why: code.to_string(),
            });
        }
        match code {
            // It is under load, not against us: a little later it may have room.
            Some(WireError::Busy) => {
                let wait = BUSY_RETRY_MS + step.backoff_ms(0, BUSY_RETRY_MS, BUSY_RETRY_MS);
                self.session_at.insert(peer, step.now.mono + wait);
            }
            _ => self.look_again(peer, step),
        }
        if !theirs_wins {
            let waiting = self.outbox.remove(&peer).unwrap_or_default();
            for message in waiting.into_messages() {
                self.failed(peer, message, ExchangeFailure::NotSent, step);
            }
        }
    }
}
