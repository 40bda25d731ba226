//! What is optional is left out and never written as an empty list or a zero: one value, one
//! encoding. These readers refuse the other one.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_bytes::ByteBuf;

/// A list that is left out when it is empty.
pub(super) fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ByteBuf>, D::Error> {
    let list = Vec::deserialize(from)?;
    match list.is_empty() {
        true => Err(D::Error::custom("an empty list is left out")),
        false => Ok(list),
    }
}

/// A number that is left out when it is zero.
pub(super) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    match u32::deserialize(from)? {
        0 => Err(D::Error::custom("a zero is left out")),
        number => Ok(number),
    }
}

/// Whether to leave it out.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
pub(super) fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use crate::types::EntityId;
    use crate::wire::{RegistryHave, cbor};

    #[test]
    fn what_is_left_out_is_not_read_where_it_is_written() {
        let have = RegistryHave {
            entity_id: EntityId([1; 32]),
            seq: 1,
            rotations: 0,
        };
        let bytes = cbor::encode(&have);
        assert_eq!(cbor::decode(&bytes, 256), Ok(have));
        let mut tree: ciborium::Value = ciborium::from_reader(&bytes[..]).expect("our own");
        let pairs = tree.as_map_mut().expect("a map");
        pairs.push(("rotations".into(), 0.into()));
        let zero = cbor::encode(&tree);
        assert!(cbor::decode::<RegistryHave>(&zero, 256).is_err());
    }
}
