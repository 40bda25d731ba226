//! What the rows of the log add up to: a tripwire against loss in its middle.
//!
//! sled skips what it cannot read while it recovers: damage in the middle of the log can take a
//! page of rows with it and leave everything newer in place, without an error. So every sled batch
//! carries a sum over all rows as they are after it. At open the rows are added up again.
//!
//! The sum is one addition modulo 2¹²⁸ for each row (of a hash over key and value), so that a write
//! costs the hashes of the row's old and new value, whatever the number of rows.
//! It is meant against accidents, not against somebody who can write the files.

use sha2::{Digest, Sha256};

use super::opening::Fault;

/// The row's length: groups (`u64`), then the sum (`u128`), big-endian.
const TALLY_BYTES: usize = 24;

/// The state of all rows after a group of batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// How many groups were applied since the store was created.
    pub(super) groups: u64,
    sum: u128,
}

impl Tally {
    /// Counts a row in, key and value as they stand in sled.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.sum = self.sum.wrapping_add(weight(key, value));
    }

    /// Takes a row out that was counted in.
    pub(super) fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.sum = self.sum.wrapping_sub(weight(key, value));
    }

    /// Whether both were taken over the same rows.
    pub(super) fn agrees_with(&self, other: &Tally) -> bool {
        self.sum == other.sum
    }

    /// The stored form.
    pub(super) fn encode(&self) -> [u8; TALLY_BYTES] {
        let mut bytes = [0; TALLY_BYTES];
        bytes[..8].copy_from_slice(&self.groups.to_be_bytes());
        bytes[8..].copy_from_slice(&self.sum.to_be_bytes());
        bytes
    }

    /// Reads the stored form.
    pub(super) fn decode(bytes: &[u8]) -> Result<Tally, Fault> {
        let parts = bytes.split_first_chunk().and_then(|(groups, sum)| {
            let sum = u128::from_be_bytes(sum.try_into().ok()?);
            Some(Tally {
                groups: u64::from_be_bytes(*groups),
                sum,
            })
        });
        parts.ok_or_else(|| Fault::Damaged(String::from("the sum of its rows has no known form")))
    }
}

fn weight(key: &[u8], value: &[u8]) -> u128 {
    let mut hasher = Sha256::new();
    hasher.update((key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(value);
    let digest: [u8; 32] = hasher.finalize().into();
    let (front, _) = digest.split_first_chunk().expect("a digest has 32 bytes");
    u128::from_be_bytes(*front)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_writes_does_not_matter_and_a_lost_row_does() {
        let mut one = Tally::default();
        one.add(b"a", b"1");
        one.add(b"b", b"2");
        let mut other = Tally::default();
        other.add(b"b", b"old");
        other.add(b"a", b"1");
        other.remove(b"b", b"old");
        assert!(!one.agrees_with(&other));
        other.add(b"b", b"2");
        assert!(one.agrees_with(&other));
        assert_eq!(Tally::decode(&one.encode()).unwrap(), one);
        assert!(Tally::decode(&one.encode()[1..]).is_err());
    }
}
