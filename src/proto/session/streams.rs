//! The streams of a session: how one begins, and the keys it gets.
//!
//! Every stream of a session has a number that its opener never uses again, and keys of its own
//! derived from it. So each counter has one owner, a record of one stream opens in no other, and a
//! stream that broke is simply followed by the next.
//!
//! ```text
//! opener                                     acceptor
//!   opening {session, number, have, tag} ──▶   the session is known, the number is new, the tag holds
//!          ◀── opened {have, tag}
//!   records ◀─────────────────────────────▶ records
//! ```
//!
//! `have` is the highest sequence number received so far, plus one: what was sent and not received
//! before the last stream broke is sent again.
//!
//! # Invariants
//! - **N1** A number is used once for each kind and opener: the acceptor takes only higher ones.
//! - **N2** An opening that fails its checks changes nothing.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::keys::Side;
use super::lane::TrafficSecret;
use crate::crypto::{Digest, KeyPair, Prk, PublicKey, hmac, hmac_verify};
use crate::types::{EntityId, PeerId, SessionId, StreamKind};
use crate::wire::{WireError, cbor};

/// An opening or its answer, encoded, is not longer.
pub const OPENING_MAX_BYTES: usize = 256;

/// The first frame of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    pub session_id: SessionId,
    pub number: u64,
    /// What the opener has received on this kind so far.
    pub have: u64,
    #[serde(with = "serde_bytes")]
    pub tag: [u8; 32],
}

/// The acceptor's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Answer {
    Opened {
        have: u64,
        #[serde(with = "serde_bytes")]
        tag: [u8; 32],
    },
    /// Unsigned, and so only a hint.
    Refused { code: WireError },
}

/// The keys of one stream, as one side uses them.
pub struct StreamKeys {
    pub send: TrafficSecret,
    pub receive: TrafficSecret,
    /// Part of what every record of the stream is bound to.
    pub transcript: Digest,
}

/// What a session gives to its streams. Cleared on drop; shown nowhere.
pub struct StreamSecrets {
    pub session: SessionId,
    pub peer: PeerId,
    pub ours: EntityId,
    pub theirs: EntityId,
    /// Signs what goes to them, as long as the session lives, also once our key was rotated.
    pub key: KeyPair,
    /// Signs what comes from them.
    pub their_key: PublicKey,
    pub th4: Digest,
    /// Whether the session's handshake was ours: its initiator opens the channel.
    pub initiator: bool,
    master: Prk,
    /// The last number we used, by kind.
    opened: [u64; 2],
    /// The highest of theirs, by kind.
    accepted: [u64; 2],
}

/// A stream of ours that waits for its answer.
pub struct Opened {
    keys: StreamKeys,
    answer_key: Zeroizing<[u8; 32]>,
}

impl StreamSecrets {
    pub(super) fn new(parts: Parts, master: Prk) -> StreamSecrets {
        let Parts {
            session,
            peer,
            ours,
            theirs,
            key,
            their_key,
            th4,
            initiator,
        } = parts;
        StreamSecrets {
            session,
            peer,
            ours,
            theirs,
            key,
            their_key,
            th4,
            initiator,
            master,
            opened: [0; 2],
            accepted: [0; 2],
        }
    }

    /// Begins a stream of ours: its first frame, and what to do with the answer.
    pub fn open(&mut self, kind: StreamKind, have: u64) -> (Vec<u8>, Opened) {
        let last = &mut self.opened[kind as usize];
        *last += 1;
        let number = *last;
        let opener = self.side(true);
        let binding = self.binding(kind, opener, number);
        let tag = hmac(&self.mac(opener, &binding), &have.to_be_bytes());
        let frame = cbor::encode(&Opening {
            session_id: self.session,
            number,
            have,
            tag,
        });
        let opened = Opened {
            keys: self.keys(&binding),
            answer_key: self.mac(self.side(false), &binding),
        };
        (frame, opened)
    }

    /// Judges an opening of theirs. Returns the keys, our answer, and what they have received.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND` for another session's, `REPLAY_DETECTED` for a number that is not new,
    /// `DECRYPTION_FAILED` for a tag that does not hold.
    pub fn accept(
        &mut self,
        kind: StreamKind,
        opening: &Opening,
        have: u64,
    ) -> Result<(StreamKeys, Vec<u8>, u64), WireError> {
        if opening.session_id != self.session {
            return Err(WireError::SessionNotFound);
        }
        if opening.number <= self.accepted[kind as usize] {
            return Err(WireError::ReplayDetected);
        }
        let opener = self.side(false);
        let binding = self.binding(kind, opener, opening.number);
        let key = self.mac(opener, &binding);
        if !hmac_verify(&key, &opening.have.to_be_bytes(), &opening.tag) {
            return Err(WireError::DecryptionFailed);
        }
        self.accepted[kind as usize] = opening.number;
        let tag = hmac(&self.mac(self.side(true), &binding), &have.to_be_bytes());
        let answer = cbor::encode(&Answer::Opened { have, tag });
        Ok((self.keys(&binding), answer, opening.have))
    }

    fn side(&self, ours: bool) -> Side {
        if self.initiator == ours {
            Side::Initiator
        } else {
            Side::Responder
        }
    }

    /// Names a stream: its kind, who opened it, its number, the session's transcript.
    fn binding(&self, kind: StreamKind, opener: Side, number: u64) -> Vec<u8> {
        let opener: &[u8] = match opener {
            Side::Initiator => b" i ",
            Side::Responder => b" r ",
        };
        [
            kind.as_str().as_bytes(),
            opener,
            &number.to_be_bytes(),
            &self.th4,
        ]
        .concat()
    }

    fn mac(&self, side: Side, binding: &[u8]) -> Zeroizing<[u8; 32]> {
        self.master
            .expand(by_side("open i", "open r", side), binding)
    }

    fn keys(&self, binding: &[u8]) -> StreamKeys {
        let traffic = |side| {
            let label = by_side("stream i", "stream r", side);
            TrafficSecret::new(self.master.derive(label, binding))
        };
        StreamKeys {
            send: traffic(self.side(true)),
            receive: traffic(self.side(false)),
            transcript: crate::crypto::hash("stream", &[binding]),
        }
    }
}

/// What names a session's streams, without the secret.
pub(super) struct Parts {
    pub(super) session: SessionId,
    pub(super) peer: PeerId,
    pub(super) ours: EntityId,
    pub(super) theirs: EntityId,
    pub(super) key: KeyPair,
    pub(super) their_key: PublicKey,
    pub(super) th4: Digest,
    pub(super) initiator: bool,
}

impl Opened {
    /// Reads the acceptor's answer: the keys, and what they have received.
    ///
    /// # Errors
    /// The code they refused with, `MALFORMED` for what does not read, `DECRYPTION_FAILED` for a
    /// tag that does not hold.
    pub fn answered(self, frame: &[u8]) -> Result<(StreamKeys, u64), WireError> {
        match cbor::decode::<Answer>(frame, OPENING_MAX_BYTES) {
            Ok(Answer::Opened { have, tag }) => {
                if hmac_verify(&self.answer_key, &have.to_be_bytes(), &tag) {
                    Ok((self.keys, have))
                } else {
                    Err(WireError::DecryptionFailed)
                }
            }
            Ok(Answer::Refused { code }) => Err(code),
            Err(_) => Err(WireError::Malformed),
        }
    }
}

/// Reads an opening.
///
/// # Errors
/// `MALFORMED`.
pub fn parse_opening(frame: &[u8]) -> Result<Opening, WireError> {
    cbor::decode(frame, OPENING_MAX_BYTES).map_err(|_| WireError::Malformed)
}

/// What an acceptor answers to an opening that it does not take.
pub fn refusal(code: WireError) -> Vec<u8> {
    cbor::encode(&Answer::Refused { code })
}

fn by_side(initiator: &'static str, responder: &'static str, side: Side) -> &'static str {
    match side {
        Side::Initiator => initiator,
        Side::Responder => responder,
    }
}

impl std::fmt::Debug for StreamSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StreamSecrets({})", self.session)
    }
}
