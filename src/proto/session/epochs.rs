//! The epochs of one direction of the exchange lane: how much is sealed under one key.
//!
//! Sequence numbers go on from epoch to epoch; a secret that was followed is dropped.
//!
//! # Invariants
//! - **L1** A sender enters `e+1` only after the other side has acknowledged something of `e`: so
//!   the receiver is never more than one epoch behind.
//! - **L2** A receiver opens `e` and `e+1`, and `e-1` for 30 s. It moves to `e+1` by a message that
//!   opened and verified, never by a number in a header, and derives each epoch once: a forged
//!   epoch costs nothing.
//! - **L3** An epoch seals at most [`WORN_OUT`] times its limit; then the session is over.

use super::lane::TrafficSecret;
use crate::types::Mono;
use crate::types::limits::{EPOCH_KEEP_MS, EPOCH_MAX_BYTES, EPOCH_MAX_MS, EPOCH_MAX_RECORDS};
use crate::wire::WireError;

/// How far a sender may go past its limits while nothing is acknowledged.
const WORN_OUT: u64 = 16;

/// How much one epoch seals before the next is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochLimits {
    pub records: u64,
    pub bytes: u64,
    pub age_ms: u64,
}

impl Default for EpochLimits {
    fn default() -> EpochLimits {
        EpochLimits {
            records: EPOCH_MAX_RECORDS,
            bytes: EPOCH_MAX_BYTES,
            age_ms: EPOCH_MAX_MS,
        }
    }
}

/// The sending end of one direction.
pub(super) struct Sending {
    limits: EpochLimits,
    epoch: u32,
    secret: TrafficSecret,
    /// When this epoch began, and the sequence number it began with.
    since: Mono,
    from_seq: u64,
    records: u64,
    bytes: u64,
    acknowledged: bool,
}

impl Sending {
    pub(super) fn new(secret: TrafficSecret, limits: EpochLimits, now: Mono) -> Sending {
        Sending {
            limits,
            epoch: 0,
            secret,
            since: now,
            from_seq: 0,
            records: 0,
            bytes: 0,
            acknowledged: false,
        }
    }

    /// The epoch that message `seq` is sealed in: the next one, if it is due and may be entered.
    pub(super) fn epoch_for(&mut self, seq: u64, now: Mono) -> u32 {
        if self.is_due(now) && self.acknowledged && self.epoch < u32::MAX {
            self.epoch += 1;
            self.secret = self.secret.next();
            self.since = now;
            self.from_seq = seq;
            self.records = 0;
            self.bytes = 0;
            self.acknowledged = false;
        }
        self.epoch
    }

    /// Seals message `seq` in the current epoch.
    pub(super) fn seal(&mut self, seq: u64, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        self.records = self.records.saturating_add(1);
        self.bytes = self.bytes.saturating_add(plain.len() as u64);
        self.secret.key().seal(seq, aad, plain)
    }

    /// The other side answered message `seq`.
    pub(super) fn acknowledge(&mut self, seq: u64) {
        self.acknowledged |= seq >= self.from_seq;
    }

    /// Whether the next epoch waits for the other side to acknowledge something of this one.
    pub(super) fn wants_acknowledgement(&self, now: Mono) -> bool {
        self.is_due(now) && !self.acknowledged
    }

    /// Whether this epoch may seal nothing more (L3).
    pub(super) fn is_worn_out(&self) -> bool {
        self.records >= self.limits.records.saturating_mul(WORN_OUT)
            || self.bytes >= self.limits.bytes.saturating_mul(WORN_OUT)
    }

    fn is_due(&self, now: Mono) -> bool {
        self.records >= self.limits.records
            || self.bytes >= self.limits.bytes
            || now.since(self.since) >= self.limits.age_ms
    }
}

/// The receiving end of one direction.
pub(super) struct Receiving {
    epoch: u32,
    secret: TrafficSecret,
    /// The next epoch, derived when a message first claimed to be of it.
    next: Option<TrafficSecret>,
    /// The epoch before, and when it was left.
    before: Option<(TrafficSecret, Mono)>,
}

impl Receiving {
    pub(super) fn new(secret: TrafficSecret) -> Receiving {
        Receiving {
            epoch: 0,
            secret,
            next: None,
            before: None,
        }
    }

    /// Opens message `seq` of `epoch`. Moves nothing: that is for [`Receiving::verified`].
    ///
    /// # Errors
    /// `SEQUENCE_ERROR` for an epoch that is not opened now, `DECRYPTION_FAILED`.
    pub(super) fn open(
        &mut self,
        epoch: u32,
        seq: u64,
        aad: &[u8],
        sealed: &[u8],
        now: Mono,
    ) -> Result<Vec<u8>, WireError> {
        let secret = self.secret_of(epoch, now).ok_or(WireError::SequenceError)?;
        let opened = secret.key().open(seq, aad, sealed);
        opened.map_err(|_| WireError::DecryptionFailed)
    }

    /// A message of `epoch` opened and its signature held.
    pub(super) fn verified(&mut self, epoch: u32, now: Mono) {
        if epoch > self.epoch
            && let Some(next) = self.next.take()
        {
            self.epoch = epoch;
            self.before = Some((std::mem::replace(&mut self.secret, next), now));
        }
    }

    /// Forgets the key of an epoch that is over.
    pub(super) fn tick(&mut self, now: Mono) {
        self.before
            .take_if(|(_, left)| now.since(*left) >= EPOCH_KEEP_MS);
    }

    fn secret_of(&mut self, epoch: u32, now: Mono) -> Option<&TrafficSecret> {
        if epoch == self.epoch {
            return Some(&self.secret);
        }
        if Some(epoch) == self.epoch.checked_add(1) {
            return Some(self.next.get_or_insert_with(|| self.secret.next()));
        }
        let is_before = epoch.checked_add(1) == Some(self.epoch);
        let before = self.before.as_ref().filter(|_| is_before);
        before
            .filter(|(_, left)| now.since(*left) < EPOCH_KEEP_MS)
            .map(|(secret, _)| secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{EphemeralSecret, Rng};
    use rand::SeedableRng;

    const LIMITS: EpochLimits = EpochLimits {
        records: 4,
        bytes: 1_000,
        age_ms: 60_000,
    };

    fn secret() -> TrafficSecret {
        let mut rng = Rng::seed_from_u64(7);
        let (a, b) = (
            EphemeralSecret::generate(&mut rng),
            EphemeralSecret::generate(&mut rng),
        );
        TrafficSecret::new(a.agree(&b.share(), &[0; 32]).expect("an honest share"))
    }

    fn lane() -> (Sending, Receiving) {
        (
            Sending::new(secret(), LIMITS, Mono::default()),
            Receiving::new(secret()),
        )
    }

    fn send(sealing: &mut Sending, seq: u64, now: Mono) -> (u32, Vec<u8>) {
        let epoch = sealing.epoch_for(seq, now);
        (epoch, sealing.seal(seq, b"", b"x"))
    }

    /// Opens and verifies.
    fn take(
        opening: &mut Receiving,
        (epoch, sealed): &(u32, Vec<u8>),
        seq: u64,
        now: Mono,
    ) -> Result<(), WireError> {
        opening.open(*epoch, seq, b"", sealed, now)?;
        opening.verified(*epoch, now);
        Ok(())
    }

    #[test]
    fn a_sender_enters_the_next_epoch_only_after_an_acknowledgement() {
        let (mut sealing, _) = lane();
        let now = Mono::default();
        for seq in 0..20 {
            assert_eq!(send(&mut sealing, seq, now).0, 0, "L1");
        }
        assert!(sealing.wants_acknowledgement(now));
        sealing.acknowledge(3);
        assert_eq!(send(&mut sealing, 20, now).0, 1);
        // An answer to what an epoch before sealed says nothing of this one.
        for seq in 21..30 {
            sealing.acknowledge(19);
            assert_eq!(send(&mut sealing, seq, now).0, 1);
        }
        sealing.acknowledge(25);
        assert_eq!(send(&mut sealing, 30, now).0, 2);
    }

    #[test]
    fn records_bytes_and_age_each_end_an_epoch() {
        let now = Mono::default();
        let fresh = || {
            let mut sealing = lane().0;
            sealing.acknowledge(0);
            sealing
        };
        let mut by_bytes = fresh();
        by_bytes.seal(0, b"", &[0; 1_000]);
        assert_eq!(by_bytes.epoch_for(1, now), 1);
        let mut by_age = fresh();
        assert_eq!(by_age.epoch_for(0, now + (LIMITS.age_ms - 1)), 0);
        assert_eq!(by_age.epoch_for(0, now + LIMITS.age_ms), 1);
    }

    #[test]
    fn an_epoch_without_acknowledgement_wears_out() {
        let (mut sealing, _) = lane();
        for seq in 0..LIMITS.records * WORN_OUT {
            assert!(!sealing.is_worn_out());
            send(&mut sealing, seq, Mono::default());
        }
        assert!(sealing.is_worn_out(), "L3");
    }

    #[test]
    fn a_receiver_opens_the_epoch_before_for_a_while_and_the_next() {
        let (mut sealing, mut opening) = lane();
        let mut now = Mono::default();
        let mut sent = Vec::new();
        for seq in 0..16 {
            sealing.acknowledge(seq);
            sent.push(send(&mut sealing, seq, now));
        }
        // Epochs of four messages each: 0, 1, 2, 3.
        assert_eq!(sent[15].0, 3);
        assert_eq!(
            take(&mut opening, &sent[8], 8, now),
            Err(WireError::SequenceError),
            "two ahead"
        );
        assert_eq!(take(&mut opening, &sent[4], 4, now), Ok(()), "one ahead");
        assert_eq!(take(&mut opening, &sent[0], 0, now), Ok(()), "one behind");
        assert_eq!(take(&mut opening, &sent[8], 8, now), Ok(()));
        assert_eq!(
            take(&mut opening, &sent[1], 1, now),
            Err(WireError::SequenceError),
            "two behind"
        );
        now = now + EPOCH_KEEP_MS;
        assert_eq!(
            take(&mut opening, &sent[5], 5, now),
            Err(WireError::SequenceError),
            "its time is over"
        );
        assert_eq!(take(&mut opening, &sent[9], 9, now), Ok(()));
    }

    #[test]
    fn a_forged_epoch_moves_nothing() {
        let (mut sealing, mut opening) = lane();
        let now = Mono::default();
        for epoch in [1, 2, 7, u32::MAX] {
            for seq in 0..100 {
                assert!(opening.open(epoch, seq, b"", &[0; 32], now).is_err());
            }
        }
        let first = send(&mut sealing, 0, now);
        assert_eq!(take(&mut opening, &first, 0, now), Ok(()), "L2");
        // What is really of epoch 1 and fails above (its signature) does not move it either.
        sealing.acknowledge(0);
        for seq in 1..5 {
            send(&mut sealing, seq, now);
        }
        let (epoch, sealed) = send(&mut sealing, 5, now);
        assert_eq!(epoch, 1);
        assert!(opening.open(1, 5, b"", &sealed, now).is_ok());
        assert!(opening.before.is_none());
    }
}
