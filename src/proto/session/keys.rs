//! The key schedule.

use zeroize::Zeroizing;

use super::lane::TrafficSecret;
use crate::crypto::suite::{SharedSecret, Suite};
use crate::crypto::{Digest, Prk, Signature, hash, hmac, hmac_verify};
use crate::wire::Envelope;

/// Whose messages a key seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Initiator,
    Responder,
}

/// What both sides derive from M1, M2 and their shared secret.
pub(super) struct Secrets {
    confirm_i: Zeroizing<[u8; 32]>,
    confirm_r: Zeroizing<[u8; 32]>,
    master: Prk,
}

/// `th1`: M1 with its signature.
pub(super) fn th1(m1: &Envelope) -> Digest {
    hash("th1", &[&m1.header, &m1.data, &signature(m1)])
}

/// `th2`: the transcript up to M2's body. M2's signature covers it.
pub(super) fn th2(th1: &Digest, m2: &Envelope) -> Digest {
    hash("th2", &[th1, &m2.header, &m2.data])
}

/// `th3`: up to M3's body. M3's signature covers it.
pub(super) fn th3(th2: &Digest, m2: &Envelope, m3: &Envelope) -> Digest {
    hash(
        "th3",
        &[th2, &signature(m2), &tag(m2), &m3.header, &m3.data],
    )
}

/// `th4`: the whole handshake.
pub(super) fn th4(th3: &Digest, m3: &Envelope) -> Digest {
    hash("th4", &[th3, &signature(m3), &tag(m3)])
}

fn signature(envelope: &Envelope) -> [u8; 64] {
    envelope.signature.unwrap_or(Signature([0; 64])).0
}

fn tag(envelope: &Envelope) -> [u8; 32] {
    envelope.tag.unwrap_or([0; 32])
}

impl Secrets {
    /// From what the two sides agreed on.
    pub(super) fn derive(
        suite: &'static dyn Suite,
        shared: &SharedSecret,
        th2: &Digest,
    ) -> Secrets {
        let prk = Prk::extract(suite, th2, shared);
        Secrets {
            confirm_i: prk.expand("conf i", &[]),
            confirm_r: prk.expand("conf r", &[]),
            master: prk.derive("master", &[]),
        }
    }

    fn confirm(&self, side: Side) -> &[u8; 32] {
        match side {
            Side::Initiator => &self.confirm_i,
            Side::Responder => &self.confirm_r,
        }
    }

    /// The key confirmation of `side` over a transcript and its signature.
    pub(super) fn tag(&self, side: Side, th: &Digest, signature: &Signature) -> Digest {
        hmac(self.confirm(side), &[&th[..], &signature.0].concat())
    }

    /// Checks the other side's confirmation in constant time.
    pub(super) fn tag_holds(&self, side: Side, th: &Digest, envelope: &Envelope) -> bool {
        let (Some(signature), Some(tag)) = (envelope.signature, envelope.tag) else {
            return false;
        };
        hmac_verify(self.confirm(side), &[&th[..], &signature.0].concat(), &tag)
    }

    /// What the streams' keys come from.
    pub(super) fn master(&self) -> Prk {
        self.master.clone()
    }

    /// The secret from which the keys follow under which `side` seals on the exchange lane.
    pub(super) fn traffic(&self, side: Side, th4: &Digest) -> TrafficSecret {
        let label = match side {
            Side::Initiator => "traffic exchange i",
            Side::Responder => "traffic exchange r",
        };
        TrafficSecret::new(self.master.derive(label, th4))
    }
}
