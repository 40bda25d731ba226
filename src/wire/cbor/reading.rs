//! Reads what is canonical, straight from its bytes: the way of nearly every message.
//!
//! [`is_plain`] admits bytes in their one encoding, without hints. [`read`] then takes from them
//! what the slow way would take, and says no to all else: an answer of *no* is judged there, so
//! that every error is told in one place.

use std::fmt::Display;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Visitor};

/// Our deepest message has 6 levels; what is deeper is left to the slow way.
const DEPTH_MAX: usize = 8;

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const SIMPLE: u8 = 7;
const FALSE: u64 = 20;
const TRUE: u64 = 21;

/// It is for the slow way to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not read here")]
pub(super) struct Elsewhere;

impl de::Error for Elsewhere {
    fn custom<T: Display>(_: T) -> Elsewhere {
        Elsewhere
    }
}

/// Whether these bytes are one item in its one encoding, of the kinds we use, without hints.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    let mut reader = Reader { rest: bytes };
    reader.check(0).is_ok() && reader.rest.is_empty()
}

/// Reads bytes that are plain.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Elsewhere> {
    T::deserialize(&mut Reader { rest: bytes })
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Elsewhere> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Elsewhere)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next item's kind and argument, which is as short as it can be.
    fn head(&mut self) -> Result<(u8, u64), Elsewhere> {
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 0x1f);
        let length = match info {
            0..24 => return Ok((major, info.into())),
            24..28 => 1_usize << (info - 24),
            _ => return Err(Elsewhere),
        };
        let argument = self.take(length)?.iter();
        let argument = argument.fold(0, |number, byte| number << 8 | u64::from(*byte));
        let least = match length {
            1 => 24,
            _ => 1 << (4 * length),
        };
        if argument < least {
            return Err(Elsewhere);
        }
        Ok((major, argument))
    }

    fn string(&mut self, length: u64) -> Result<&'a [u8], Elsewhere> {
        self.take(usize::try_from(length).map_err(|_| Elsewhere)?)
    }

    fn check(&mut self, depth: usize) -> Result<(), Elsewhere> {
        let (major, argument) = self.head()?;
        match major {
            UNSIGNED | NEGATIVE => {}
            BYTES => {
                self.string(argument)?;
            }
            TEXT => {
                let text = self.string(argument)?;
                std::str::from_utf8(text).map_err(|_| Elsewhere)?;
            }
            ARRAY if depth < DEPTH_MAX => {
                for _ in 0..argument {
                    self.check(depth + 1)?;
                }
            }
            MAP if depth < DEPTH_MAX => {
                let mut before: &[u8] = &[];
                for _ in 0..argument {
                    let key = self.check_key()?;
                    if key <= before {
                        return Err(Elsewhere);
                    }
                    before = key;
                    self.check(depth + 1)?;
                }
            }
            SIMPLE if matches!(argument, FALSE | TRUE) => {}
            _ => return Err(Elsewhere),
        }
        Ok(())
    }

    /// A text that is no hint, as it is encoded.
    fn check_key(&mut self) -> Result<&'a [u8], Elsewhere> {
        let all = self.rest;
        let (TEXT, length) = self.head()? else {
            return Err(Elsewhere);
        };
        let text = std::str::from_utf8(self.string(length)?).map_err(|_| Elsewhere)?;
        if text.starts_with('_') {
            return Err(Elsewhere);
        }
        Ok(&all[..all.len() - self.rest.len()])
    }

    fn skip(&mut self) -> Result<(), Elsewhere> {
        self.check(0)
    }

    fn integer(&mut self) -> Result<i128, Elsewhere> {
        match self.head()? {
            (UNSIGNED, number) => Ok(number.into()),
            (NEGATIVE, number) => Ok(!i128::from(number)),
            _ => Err(Elsewhere),
        }
    }

    fn expect(&mut self, major: u8) -> Result<u64, Elsewhere> {
        match self.head()? {
            (found, argument) if found == major => Ok(argument),
            _ => Err(Elsewhere),
        }
    }

    fn text(&mut self) -> Result<&'a str, Elsewhere> {
        let length = self.expect(TEXT)?;
        std::str::from_utf8(self.string(length)?).map_err(|_| Elsewhere)
    }

    fn list<'de, V: Visitor<'de>>(
        &mut self,
        length: u64,
        visitor: V,
    ) -> Result<V::Value, Elsewhere> {
        let mut items = Items {
            reader: self,
            left: length,
        };
        let value = visitor.visit_seq(&mut items)?;
        for _ in 0..items.left {
            items.reader.skip()?;
        }
        Ok(value)
    }

    fn map<'de, V: Visitor<'de>>(
        &mut self,
        length: u64,
        visitor: V,
    ) -> Result<V::Value, Elsewhere> {
        let mut items = Items {
            reader: self,
            left: length,
        };
        let value = visitor.visit_map(&mut items)?;
        // Whoever does not look at every entry is not one of ours.
        if items.left > 0 {
            return Err(Elsewhere);
        }
        Ok(value)
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Elsewhere> {
            visitor.$visit(<$type>::try_from(self.integer()?).map_err(|_| Elsewhere)?)
        })*
    };
}

impl<'de> de::Deserializer<'de> for &mut Reader<'_> {
    type Error = Elsewhere;

    integers!(
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64
    );

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Elsewhere> {
        match self.head()? {
            (UNSIGNED, number) => visitor.visit_u64(number),
            (NEGATIVE, number) => {
                let number = i64::try_from(!i128::from(number));
                visitor.visit_i64(number.map_err(|_| Elsewhere)?)
            }
            (BYTES, length) => visitor.visit_bytes(self.string(length)?),
            (TEXT, length) => {
                let text = std::str::from_utf8(self.string(length)?);
                visitor.visit_str(text.map_err(|_| Elsewhere)?)
            }
            (ARRAY, length) => self.list(length, visitor),
            (MAP, length) => self.map(length, visitor),
            (SIMPLE, TRUE) => visitor.visit_bool(true),
            (SIMPLE, FALSE) => visitor.visit_bool(false),
            _ => Err(Elsewhere),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Elsewhere> {
        match self.head()? {
            (SIMPLE, TRUE) => visitor.visit_bool(true),
            (SIMPLE, FALSE) => visitor.visit_bool(false),
            _ => Err(Elsewhere),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Elsewhere> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Elsewhere> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Elsewhere> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Elsewhere> {
        let length = self.expect(BYTES)?;
        visitor.visit_bytes(self.string(length)?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Elsewhere> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Elsewhere> {
        // Nothing is left out, never said to be nothing.
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Elsewhere> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Elsewhere> {
        let length = self.expect(ARRAY)?;
        self.list(length, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Elsewhere> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Elsewhere> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Elsewhere> {
        let length = self.expect(MAP)?;
        self.map(length, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Elsewhere> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Elsewhere> {
        let before = self.rest;
        match self.head()? {
            (MAP, 1) => visitor.visit_enum(Variant {
                reader: self,
                alone: false,
            }),
            (TEXT, _) => {
                self.rest = before;
                visitor.visit_enum(Variant {
                    reader: self,
                    alone: true,
                })
            }
            _ => Err(Elsewhere),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Elsewhere> {
        Err(Elsewhere)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Elsewhere> {
        Err(Elsewhere)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Elsewhere> {
        self.deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char unit unit_struct
    }
}

/// What is left of a list or a map.
struct Items<'r, 'a> {
    reader: &'r mut Reader<'a>,
    left: u64,
}

impl<'de> de::SeqAccess<'de> for &mut Items<'_, '_> {
    type Error = Elsewhere;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Elsewhere> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'de> de::MapAccess<'de> for &mut Items<'_, '_> {
    type Error = Elsewhere;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Elsewhere> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Elsewhere> {
        seed.deserialize(&mut *self.reader)
    }
}

/// A variant's name, and its content unless it stands alone.
struct Variant<'r, 'a> {
    reader: &'r mut Reader<'a>,
    alone: bool,
}

impl<'de> de::EnumAccess<'de> for Variant<'_, '_> {
    type Error = Elsewhere;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Elsewhere> {
        let variant = seed.deserialize(&mut *self.reader)?;
        Ok((variant, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, '_> {
    type Error = Elsewhere;

    fn unit_variant(self) -> Result<(), Elsewhere> {
        if self.alone { Ok(()) } else { Err(Elsewhere) }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Elsewhere> {
        match self.alone {
            true => Err(Elsewhere),
            false => seed.deserialize(self.reader),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Elsewhere> {
        match self.alone {
            true => Err(Elsewhere),
            false => de::Deserializer::deserialize_seq(self.reader, visitor),
        }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Elsewhere> {
        match self.alone {
            true => Err(Elsewhere),
            false => de::Deserializer::deserialize_map(self.reader, visitor),
        }
    }
}
