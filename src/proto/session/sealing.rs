//! Requests and responses sealed and opened in a live session.

use super::Sessions;
use super::envelope::{error_code, parse};
use super::live::{Opened, Outbound, SealedRef};
use crate::types::{Nonce, Now, PeerId, SessionId};
use crate::wire::{Envelope, Header, MsgType, Seal, WireError};

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// The other side says that it did not act on it.
    Refused(WireError),
    /// What came cannot be read as its answer: it may have been acted on.
    Unreadable(WireError),
}

impl Sessions {
    /// Seals a request to `peer`; none without a live session.
    pub fn seal_request(
        &mut self,
        peer: &PeerId,
        msg_type: MsgType,
        body: &[u8],
        now: Now,
        nonce: Nonce,
    ) -> Option<(Vec<u8>, SealedRef)> {
        let id = *self.newest.get(peer)?;
        let life_ms = self.config.life_ms;
        let live = self
            .live
            .get_mut(&id)
            .filter(|live| !live.is_expired(now.mono, life_ms))?;
        let seq = live.next_seq;
        let message = Outbound {
            from: self.entity,
            msg_type,
            re: None,
            body,
            nonce,
        };
        let bytes = live.seal(message, now);
        Some((bytes, SealedRef { session: id, seq }))
    }

    /// Seals the response to a request that [`Sessions::open_request`] opened.
    pub fn seal_response(
        &mut self,
        to: SealedRef,
        msg_type: MsgType,
        body: &[u8],
        now: Now,
        nonce: Nonce,
    ) -> Option<Vec<u8>> {
        let life_ms = self.config.life_ms;
        let live = self
            .live
            .get_mut(&to.session)
            .filter(|live| !live.is_expired(now.mono, life_ms))?;
        let message = Outbound {
            from: self.entity,
            msg_type,
            re: Some(to.seq),
            body,
            nonce,
        };
        Some(live.seal(message, now))
    }

    /// Opens a request that came from `peer`.
    ///
    /// # Errors
    /// The code to answer with.
    pub fn open_request(
        &mut self,
        peer: &PeerId,
        envelope: &Envelope,
        header: &Header,
        now: Now,
    ) -> Result<Opened, WireError> {
        if header.re.is_some() {
            return Err(WireError::InvalidState);
        }
        self.open(peer, envelope, header, now)
    }

    /// Opens the response to what [`Sessions::seal_request`] sealed.
    ///
    /// # Errors
    /// [`NoAnswer`]: that it was refused, or that what came is no answer to it.
    pub fn open_response(
        &mut self,
        peer: &PeerId,
        asked: SealedRef,
        bytes: &[u8],
        now: Now,
    ) -> Result<Opened, NoAnswer> {
        let (envelope, header) = parse(bytes).map_err(NoAnswer::Unreadable)?;
        if header.msg_type == MsgType::Error {
            return Err(match error_code(&envelope) {
                Ok(code) => NoAnswer::Refused(code),
                Err(code) => NoAnswer::Unreadable(code),
            });
        }
        if header.re != Some(asked.seq) || header.session_id != Some(asked.session) {
            return Err(NoAnswer::Unreadable(WireError::InvalidState));
        }
        let opened = self
            .open(peer, &envelope, &header, now)
            .map_err(NoAnswer::Unreadable)?;
        if let Some(live) = self.live.get_mut(&asked.session) {
            live.acknowledge(asked.seq);
        }
        Ok(opened)
    }

    fn open(
        &mut self,
        peer: &PeerId,
        envelope: &Envelope,
        header: &Header,
        now: Now,
    ) -> Result<Opened, WireError> {
        if header.seal != Seal::Session {
            return Err(WireError::EncryptionRequired);
        }
        let id = header.session_id.ok_or(WireError::Malformed)?;
        if header.recipient_id != Some(self.entity) {
            return Err(WireError::WrongRecipient);
        }
        if let Some(early) = self.open_early(peer, id, envelope, header, now) {
            return early;
        }
        let live = self.live.get_mut(&id).ok_or(WireError::SessionNotFound)?;
        if live.info.peer != *peer {
            return Err(WireError::SessionNotFound);
        }
        if header.sender_id != live.info.entity {
            return Err(WireError::UnknownSender);
        }
        if live.is_expired(now.mono, self.config.life_ms) {
            return Err(WireError::SessionExpired);
        }
        live.open(id, envelope, header, now.mono)
    }

    /// The responder's first messages may overtake its ready: one that opens proves as well that
    /// M3 arrived. None when no handshake of ours waits for that session.
    fn open_early(
        &mut self,
        peer: &PeerId,
        id: SessionId,
        envelope: &Envelope,
        header: &Header,
        now: Now,
    ) -> Option<Result<Opened, WireError>> {
        let live = self
            .outgoing
            .get_mut(peer)
            .filter(|out| out.id == id)?
            .awaiting_ready()?;
        if header.sender_id != live.info.entity {
            return Some(Err(WireError::UnknownSender));
        }
        let opened = match live.open(id, envelope, header, now.mono) {
            Ok(opened) => opened,
            Err(code) => return Some(Err(code)),
        };
        let live = self.outgoing.remove(peer)?.into_live()?;
        let info = self.install(id, live, now.mono);
        Some(Ok(Opened {
            established: Some(info),
            ..opened
        }))
    }
}
