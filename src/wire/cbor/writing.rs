//! Writes plain data in its one encoding, straight into bytes: no tree in between.
//!
//! The entries of a map are written in the order of the type and then put into that of their
//! encoded keys. An item's head is written as short as it can be.

use std::fmt::Display;

use serde::ser::{self, Serialize};

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1 << 5;
const BYTES: u8 = 2 << 5;
const TEXT: u8 = 3 << 5;
const ARRAY: u8 = 4 << 5;
const MAP: u8 = 5 << 5;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;

/// What has no form here: a fraction, or an integer of more than 64 bits.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotPlain(String);

impl ser::Error for NotPlain {
    fn custom<T: Display>(message: T) -> NotPlain {
        NotPlain(message.to_string())
    }
}

/// The one encoding of `value`.
pub(super) fn write<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, NotPlain> {
    let mut writer = Writer::default();
    value.serialize(&mut writer)?;
    Ok(writer.out)
}

/// Where an entry of a map stands in `out`.
#[derive(Clone, Copy)]
struct Entry {
    key: usize,
    value: usize,
    end: usize,
}

#[derive(Default)]
pub(super) struct Writer {
    out: Vec<u8>,
    /// The entries of all maps that are not closed, the innermost map's last.
    entries: Vec<Entry>,
    scratch: Vec<u8>,
}

impl Writer {
    fn head(&mut self, major: u8, argument: u64) {
        let (head, length) = encoded_head(major, argument);
        self.out.extend_from_slice(&head[..length]);
    }

    fn text(&mut self, text: &str) {
        self.head(TEXT, text.len() as u64);
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Room for the head of something of less than 24 items, which it nearly always has.
    fn open(&mut self) -> usize {
        self.out.push(0);
        self.out.len() - 1
    }

    fn close(&mut self, start: usize, major: u8, items: usize) {
        let (head, length) = encoded_head(major, items as u64);
        self.out[start] = head[0];
        if length > 1 {
            let rest = head[1..length].iter().copied();
            self.out.splice(start + 1..start + 1, rest);
        }
    }

    /// Puts the entries from `first` on into the order of their keys.
    fn sort(&mut self, first: usize) {
        let Writer {
            out,
            entries,
            scratch,
        } = self;
        let own = &mut entries[first..];
        let key = |entry: &Entry| &out[entry.key..entry.value];
        if !own.is_sorted_by(|a, b| key(a) <= key(b)) {
            let start = own[0].key;
            own.sort_by(|a, b| key(a).cmp(key(b)));
            scratch.clear();
            for entry in own {
                scratch.extend_from_slice(&out[entry.key..entry.end]);
            }
            out[start..].copy_from_slice(scratch);
        }
        entries.truncate(first);
    }
}

/// An item's head and how long it is.
fn encoded_head(major: u8, argument: u64) -> ([u8; 9], usize) {
    let mut head = [0; 9];
    let bytes = argument.to_be_bytes();
    let (info, length) = match argument {
        0..24 => (bytes[7], 0),
        24..=0xff => (24, 1),
        0x100..=0xffff => (25, 2),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 8),
    };
    head[0] = major | info;
    head[1..=length].copy_from_slice(&bytes[8 - length..]);
    (head, length + 1)
}

/// A list under way.
pub(super) struct List<'a> {
    writer: &'a mut Writer,
    start: usize,
    items: usize,
}

impl<'a> List<'a> {
    fn open(writer: &'a mut Writer) -> List<'a> {
        let start = writer.open();
        List {
            writer,
            start,
            items: 0,
        }
    }

    fn item<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), NotPlain> {
        self.items += 1;
        item.serialize(&mut *self.writer)
    }

    fn close(self) {
        self.writer.close(self.start, ARRAY, self.items);
    }
}

/// A map under way.
pub(super) struct Map<'a> {
    writer: &'a mut Writer,
    start: usize,
    /// Its first entry.
    first: usize,
    /// Where the key of the entry under way stands, and its value.
    key: usize,
    value: usize,
}

impl<'a> Map<'a> {
    fn open(writer: &'a mut Writer) -> Map<'a> {
        let start = writer.open();
        let first = writer.entries.len();
        Map {
            writer,
            start,
            first,
            key: 0,
            value: 0,
        }
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NotPlain> {
        self.key = self.writer.out.len();
        key.serialize(&mut *self.writer)?;
        self.value = self.writer.out.len();
        Ok(())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotPlain> {
        let (key, at) = (self.key, self.value);
        value.serialize(&mut *self.writer)?;
        let end = self.writer.out.len();
        let entry = Entry {
            key,
            value: at,
            end,
        };
        self.writer.entries.push(entry);
        Ok(())
    }

    fn close(self) {
        let entries = self.writer.entries.len() - self.first;
        self.writer.sort(self.first);
        self.writer.close(self.start, MAP, entries);
    }
}

impl<'a> ser::Serializer for &'a mut Writer {
    type Ok = ();
    type Error = NotPlain;
    type SerializeSeq = List<'a>;
    type SerializeTuple = List<'a>;
    type SerializeTupleStruct = List<'a>;
    type SerializeTupleVariant = List<'a>;
    type SerializeMap = Map<'a>;
    type SerializeStruct = Map<'a>;
    type SerializeStructVariant = Map<'a>;

    fn serialize_bool(self, value: bool) -> Result<(), NotPlain> {
        self.out.push(if value { TRUE } else { FALSE });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), NotPlain> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), NotPlain> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), NotPlain> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), NotPlain> {
        match u64::try_from(value) {
            Ok(value) => self.head(UNSIGNED, value),
            Err(_) => self.head(NEGATIVE, !value as u64),
        }
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Result<(), NotPlain> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), NotPlain> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), NotPlain> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), NotPlain> {
        self.head(UNSIGNED, value);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), NotPlain> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, _: f64) -> Result<(), NotPlain> {
        Err(ser::Error::custom("a fraction"))
    }

    fn serialize_char(self, value: char) -> Result<(), NotPlain> {
        self.text(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), NotPlain> {
        self.text(value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), NotPlain> {
        self.head(BYTES, value.len() as u64);
        self.out.extend_from_slice(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), NotPlain> {
        self.out.push(NULL);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NotPlain> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), NotPlain> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), NotPlain> {
        self.serialize_none()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), NotPlain> {
        self.text(variant);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), NotPlain> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), NotPlain> {
        self.head(MAP, 1);
        self.text(variant);
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'a>, NotPlain> {
        Ok(List::open(self))
    }

    fn serialize_tuple(self, _: usize) -> Result<List<'a>, NotPlain> {
        Ok(List::open(self))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List<'a>, NotPlain> {
        Ok(List::open(self))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<List<'a>, NotPlain> {
        self.head(MAP, 1);
        self.text(variant);
        Ok(List::open(self))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Map<'a>, NotPlain> {
        Ok(Map::open(self))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Map<'a>, NotPlain> {
        Ok(Map::open(self))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Map<'a>, NotPlain> {
        self.head(MAP, 1);
        self.text(variant);
        Ok(Map::open(self))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl ser::SerializeSeq for List<'_> {
    type Ok = ();
    type Error = NotPlain;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), NotPlain> {
        self.item(item)
    }

    fn end(self) -> Result<(), NotPlain> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeTuple for List<'_> {
    type Ok = ();
    type Error = NotPlain;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), NotPlain> {
        self.item(item)
    }

    fn end(self) -> Result<(), NotPlain> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeTupleStruct for List<'_> {
    type Ok = ();
    type Error = NotPlain;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), NotPlain> {
        self.item(item)
    }

    fn end(self) -> Result<(), NotPlain> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeTupleVariant for List<'_> {
    type Ok = ();
    type Error = NotPlain;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), NotPlain> {
        self.item(item)
    }

    fn end(self) -> Result<(), NotPlain> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeMap for Map<'_> {
    type Ok = ();
    type Error = NotPlain;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NotPlain> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotPlain> {
        self.value(value)
    }

    fn end(self) -> Result<(), NotPlain> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeStruct for Map<'_> {
    type Ok = ();
    type Error = NotPlain;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), NotPlain> {
        self.key(key)?;
        self.value(value)
    }

    fn end(self) -> Result<(), NotPlain> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeStructVariant for Map<'_> {
    type Ok = ();
    type Error = NotPlain;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), NotPlain> {
        self.key(key)?;
        self.value(value)
    }

    fn end(self) -> Result<(), NotPlain> {
        self.close();
        Ok(())
    }
}
