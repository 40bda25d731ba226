//! The three messages. Checks come cheapest first; signatures are checked outside the core, and a
//! ticket names what waits for them.

mod cookie;
mod half_open;
mod initiator;
mod known;
mod responder;

pub use self::cookie::Attempt;
pub(super) use self::cookie::Cookies;
pub(super) use self::half_open::HalfOpenTable;
pub(super) use self::known::KnownEntries;
use super::Sessions;
use super::keys::Secrets;
use super::live::{Live, Terms};
use crate::crypto::suite::{AgreeError, Agreement, Suite};
use crate::crypto::{Digest, KeyPair, PublicKey, SigCheck};
use crate::types::limits::HANDSHAKE_MAX_BYTES;
use crate::types::{EntityId, Mono, Nonce, Now, PeerId, Prefix, SessionId};
use crate::wire::{
    EntryBody, Envelope, Handshake, HandshakeAck, Header, SignedEntry, WireError, best_common,
};

const BODY_MAX: usize = HANDSHAKE_MAX_BYTES;
const PURPOSE_M1: &str = "m1";
const PURPOSE_M2: &str = "m2";
const PURPOSE_M3: &str = "m3";

/// Names a handshake message whose signatures are being checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What became of an M1.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandshakeOutcome {
    /// Have these checked and come back with the verdict.
    Verify {
        ticket: Ticket,
        checks: Vec<SigCheck>,
    },
    /// We are under load: answer with [`Sessions::challenge`].
    Challenge(Attempt),
    Refused(WireError),
}

/// What became of an M2.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AckOutcome {
    Verify {
        ticket: Ticket,
        checks: Vec<SigCheck>,
    },
    /// Send this M1 instead, in a new exchange: it carries the cookie that was asked for.
    Again(Vec<u8>),
    /// This handshake is over; the code is theirs or what we found.
    Failed(WireError),
    /// It is no longer ours: another took its place.
    Stale,
}

/// A handshake of ours.
pub(super) struct Outgoing {
    pub(super) id: SessionId,
    pub(super) since: Mono,
    /// The suites on offer.
    offers: Vec<(&'static dyn Suite, Box<dyn Agreement>)>,
    /// Signed M1, and signs the rest.
    key: KeyPair,
    m1: Envelope,
    stage: Stage,
}

enum Stage {
    AwaitAck,
    Verifying,
    AwaitReady(Box<Live>),
}

impl Outgoing {
    /// The session that M3 made, while its ready is awaited.
    pub(super) fn awaiting_ready(&mut self) -> Option<&mut Live> {
        match &mut self.stage {
            Stage::AwaitReady(live) => Some(live),
            Stage::AwaitAck | Stage::Verifying => None,
        }
    }

    pub(super) fn into_live(self) -> Option<Live> {
        match self.stage {
            Stage::AwaitReady(live) => Some(*live),
            Stage::AwaitAck | Stage::Verifying => None,
        }
    }
}

/// A handshake of theirs that passed its signatures and awaits M3.
pub(super) struct HalfOpen {
    since: Mono,
    peer: PeerId,
    prefix: Option<Prefix>,
    terms: Terms,
    theirs: Theirs,
    /// Signed M2, and signs the rest.
    key: KeyPair,
    nonce: Nonce,
    th2: Digest,
    m2: Envelope,
    secrets: Secrets,
}

/// What a verified entry says of the other side.
#[derive(Clone)]
pub(super) struct Theirs {
    entity: EntityId,
    key: PublicKey,
    /// How often their key was rotated.
    rotations: u32,
    bound: bool,
    versions: Vec<String>,
    entry: Vec<u8>,
}

impl Theirs {
    /// Whether `version` is the best that both speak, by their own signed word. Less than that
    /// means that somebody took away what they offered.
    fn is_best(&self, ours: &[&'static str], version: &str) -> bool {
        let rank = |version: &str| ours.iter().position(|v| *v == version);
        match best_common(ours, &self.versions) {
            Some(promised) => rank(version) <= rank(promised),
            None => true,
        }
    }
}

/// An M2 that was taken apart.
pub(super) struct Ack {
    theirs: Theirs,
    m2: Envelope,
    body: HandshakeAck,
    terms: Terms,
    th2: Digest,
}

/// Our handshake goes on: M3 is to be sent, and the other side's entry is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    pub peer: PeerId,
    pub session: SessionId,
    pub m3: Vec<u8>,
    pub entry: Vec<u8>,
}

/// Our handshake is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    pub peer: PeerId,
    pub code: WireError,
}

pub(super) enum Verifying {
    M1 {
        since: Mono,
        peer: PeerId,
        prefix: Option<Prefix>,
        theirs: Theirs,
        m1: Box<(Envelope, Header, Handshake)>,
    },
    M2 {
        since: Mono,
        peer: PeerId,
        ack: Box<Ack>,
    },
}

impl Verifying {
    pub(super) fn since(&self) -> Mono {
        match self {
            Verifying::M1 { since, .. } | Verifying::M2 { since, .. } => *since,
        }
    }
}

/// Reads the body of an M1.
///
/// # Errors
/// `MALFORMED`.
pub fn read_m1(m1: &Envelope) -> Result<Handshake, WireError> {
    crate::wire::cbor::decode(&m1.data, BODY_MAX).map_err(|_| WireError::Malformed)
}

impl Sessions {
    fn wait(&mut self, verifying: Verifying) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.verifying.insert(ticket, verifying);
        ticket
    }
}

/// What a key agreement that failed is answered with.
fn code(error: AgreeError) -> WireError {
    match error {
        AgreeError::Length => WireError::Malformed,
        AgreeError::Weak(_) => WireError::InvalidSignature,
    }
}

impl Sessions {
    /// Reads the entry of a handshake and checks that it is the sender's and names the peer. Its
    /// signatures are to be checked unless they have been.
    fn read_entry(
        &self,
        bytes: &[u8],
        sender: &EntityId,
        peer: &PeerId,
        now: Now,
    ) -> Result<(Theirs, Vec<SigCheck>), WireError> {
        let (body, mut checks): (EntryBody, _) =
            SignedEntry::parse(bytes).map_err(|_| WireError::Malformed)?;
        if self.known.contains(bytes) {
            checks.clear();
        }
        let bound = body.speaks_through(peer);
        if body.entity_id != *sender || !bound {
            return Err(WireError::UnknownSender);
        }
        if body.expires <= now.wall {
            return Err(WireError::HandshakeTimeout);
        }
        let entity = body.entity_id;
        Ok((
            Theirs {
                entity,
                key: body.key,
                rotations: u32::try_from(body.rotations.len()).unwrap_or(u32::MAX),
                bound,
                versions: body.versions,
                entry: bytes.to_vec(),
            },
            checks,
        ))
    }
}
