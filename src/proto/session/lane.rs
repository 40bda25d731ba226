//! The keys of one direction of a lane, and how they move on: `TS(e+1) = Expand(TS(e), "upd")`.

use crate::crypto::{AeadKey, Prk};

/// The secret of one epoch, and the AEAD key it gives.
pub struct TrafficSecret {
    secret: Prk,
    key: AeadKey,
}

impl TrafficSecret {
    /// From what the handshake's master secret gave for this lane and direction.
    pub(super) fn new(secret: Prk) -> TrafficSecret {
        let key = secret.aead();
        TrafficSecret { secret, key }
    }

    /// The next epoch's. There is no way back.
    #[must_use]
    pub fn next(&self) -> TrafficSecret {
        TrafficSecret::new(self.secret.derive("upd", &[]))
    }

    /// What seals and opens in this epoch.
    pub fn key(&self) -> &AeadKey {
        &self.key
    }
}
