//! What is optional is left out and never written as an empty list, a zero or a no: one value, one
//! encoding. These readers refuse the other one.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A list that is left out when it is empty.
pub(super) fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    let list = Vec::deserialize(from)?;
    match list.is_empty() {
        true => Err(D::Error::custom("an empty list is left out")),
        false => Ok(list),
    }
}

/// A number that is left out when it is zero.
pub(super) fn number<'de, T, D: Deserializer<'de>>(from: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default + PartialEq,
{
    let number = T::deserialize(from)?;
    match number == T::default() {
        true => Err(D::Error::custom("a zero is left out")),
        false => Ok(number),
    }
}

/// What is said where it is so, and left out where it is not.
pub(super) fn yes<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    match bool::deserialize(from)? {
        false => Err(D::Error::custom("a no is left out")),
        true => Ok(true),
    }
}

/// Whether to leave it out: a zero, a no.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use crate::types::EntityId;
    use crate::wire::{Load, RegistryHave, cbor};

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

        let load = Load {
            draining: true,
            ..Load::default()
        };
        let bytes = cbor::encode(&load);
        assert_eq!(cbor::decode(&bytes, 256), Ok(load));
        let mut tree: ciborium::Value = ciborium::from_reader(&bytes[..]).expect("our own");
        for (key, value) in tree.as_map_mut().expect("a map") {
            if key.as_text() == Some("draining") {
                *value = false.into();
            }
        }
        assert!(cbor::decode::<Load>(&cbor::encode(&tree), 256).is_err());
    }
}
