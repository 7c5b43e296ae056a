//! The short way from stored bytes to a Rust value.
//!
//! By way of a [`Value`](serde_json::Value) every document is built twice, the second time to be taken apart. Here a type reads the
//! bytes itself, and is told of them what `serde_json` tells of a `Value`. What is rare is left out, and what does not fit
//! the type is not told from what is damaged: then there is no answer, and the long way gives it or says what is wrong.
//! So the two agree wherever this one answers; but that of a member that occurs twice, which we never write, it may take
//! the last one.

use rmp::Marker;
use rmp::decode::RmpRead;
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IgnoredAny, IntoDeserializer,
    MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{is_reserved, reserved};
use crate::options::MAX_DOCUMENT_DEPTH;

/// What carries no reason, as nobody is told of it.
type Error = serde::de::value::Error;
type Result<T> = std::result::Result<T, Error>;

/// The document in these bytes as the type asked for; `None` where the long way must be gone.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let mut rest = bytes;
    let reader = Reader {
        rest: &mut rest,
        levels: MAX_DOCUMENT_DEPTH,
    };
    let value = T::deserialize(reader).ok()?;
    // Each array and object has given out all of its values. So where a type has given up in the middle of one and gone on,
    // bytes are over, whatever the later ones were taken for.
    rest.is_empty().then_some(value)
}

fn unread<T>() -> Result<T> {
    Err(Error::custom("the long way"))
}

/// A value to come, and the levels it may have.
struct Reader<'r, 'b> {
    rest: &'r mut &'b [u8],
    levels: usize,
}

/// What the next value is, by its first byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Bool,
    Number,
    Text,
    Array,
    Object,
    Other,
}

impl<'b> Reader<'_, 'b> {
    fn kind(&self) -> Kind {
        match self.rest.first() {
            Some(0xc0) => Kind::Null,
            Some(0xc2 | 0xc3) => Kind::Bool,
            Some(0x00..=0x7f | 0xca..=0xd3 | 0xe0..=0xff) => Kind::Number,
            Some(0xa0..=0xbf | 0xd9..=0xdb) => Kind::Text,
            Some(0x90..=0x9f | 0xdc | 0xdd) => Kind::Array,
            Some(0x80..=0x8f | 0xde | 0xdf) => Kind::Object,
            Some(0xc1 | 0xc4..=0xc9 | 0xd4..=0xd8) | None => Kind::Other,
        }
    }

    /// Gives the visitor the value where it is one of these.
    fn only<'de, V: Visitor<'de>>(self, kinds: &[Kind], visitor: V) -> Result<V::Value> {
        match kinds.contains(&self.kind()) {
            true => self.deserialize_any(visitor),
            false => unread(),
        }
    }

    fn text(&mut self, length: usize) -> Result<&'b str> {
        let Some((text, rest)) = self.rest.split_at_checked(length) else {
            return unread();
        };
        *self.rest = rest;
        std::str::from_utf8(text).or_else(|_| unread())
    }

    /// What is inside an array or object of so many elements or members.
    fn inside(&mut self, left: usize) -> Result<Inside<'_, 'b>> {
        match self.levels.checked_sub(1) {
            Some(levels) => Ok(Inside {
                rest: self.rest,
                levels,
                left,
            }),
            None => unread(),
        }
    }

    fn array<'de, V: Visitor<'de>>(mut self, length: usize, visitor: V) -> Result<V::Value> {
        let mut inside = self.inside(length)?;
        let value = visitor.visit_seq(&mut inside)?;
        inside.ended(value)
    }

    fn object<'de, V: Visitor<'de>>(mut self, length: usize, visitor: V) -> Result<V::Value> {
        let mut inside = self.inside(length)?;
        let value = visitor.visit_map(&mut inside)?;
        inside.ended(value)
    }
}

macro_rules! number {
    ($self:ident, $read:ident) => {
        match $self.rest.$read() {
            Ok(number) => number.into(),
            Err(_) => return unread(),
        }
    };
}

macro_rules! only {
    ($($method:ident: $($kind:ident)|+,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.only(&[$(Kind::$kind),+], visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        let Some((first, rest)) = self.rest.split_first() else {
            return unread();
        };
        *self.rest = rest;
        match Marker::from_u8(*first) {
            Marker::Null => visitor.visit_unit(),
            Marker::False => visitor.visit_bool(false),
            Marker::True => visitor.visit_bool(true),
            Marker::FixPos(number) => visitor.visit_u64(number.into()),
            Marker::U8 => visitor.visit_u64(number!(self, read_data_u8)),
            Marker::U16 => visitor.visit_u64(number!(self, read_data_u16)),
            Marker::U32 => visitor.visit_u64(number!(self, read_data_u32)),
            Marker::U64 => visitor.visit_u64(number!(self, read_data_u64)),
            Marker::FixNeg(number) => visitor.visit_i64(number.into()),
            Marker::I8 => visitor.visit_i64(number!(self, read_data_i8)),
            Marker::I16 => visitor.visit_i64(number!(self, read_data_i16)),
            Marker::I32 => visitor.visit_i64(number!(self, read_data_i32)),
            Marker::I64 => visitor.visit_i64(number!(self, read_data_i64)),
            Marker::F64 => match f64::from_bits(number!(self, read_data_u64)) {
                number if number.is_finite() => visitor.visit_f64(number),
                _ => unread(),
            },
            Marker::FixStr(length) => visitor.visit_str(self.text(length.into())?),
            Marker::Str8 => {
                let length: u8 = number!(self, read_data_u8);
                visitor.visit_str(self.text(length.into())?)
            }
            Marker::Str16 => {
                let length: u16 = number!(self, read_data_u16);
                visitor.visit_str(self.text(length.into())?)
            }
            Marker::FixArray(length) => self.array(length.into(), visitor),
            Marker::Array16 => {
                let length: u16 = number!(self, read_data_u16);
                self.array(length.into(), visitor)
            }
            Marker::FixMap(length) => self.object(length.into(), visitor),
            Marker::Map16 => {
                let length: u16 = number!(self, read_data_u16);
                self.object(length.into(), visitor)
            }
            _ => unread(),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.kind() {
            Kind::Null => {
                self.deserialize_unit(IgnoredAny)?;
                visitor.visit_none()
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        // `serde_json`'s own, which mean something else.
        match name.starts_with('$') {
            true => unread(),
            false => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_str(Variant(visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.only(&[Kind::Array, Kind::Object], visitor)
    }

    only! {
        deserialize_bool: Bool,
        deserialize_i8: Number,
        deserialize_i16: Number,
        deserialize_i32: Number,
        deserialize_i64: Number,
        deserialize_i128: Number,
        deserialize_u8: Number,
        deserialize_u16: Number,
        deserialize_u32: Number,
        deserialize_u64: Number,
        deserialize_u128: Number,
        deserialize_f32: Number,
        deserialize_f64: Number,
        deserialize_char: Text,
        deserialize_str: Text,
        deserialize_string: Text,
        deserialize_identifier: Text,
        deserialize_bytes: Text | Array,
        deserialize_byte_buf: Text | Array,
        deserialize_unit: Null,
        deserialize_seq: Array,
        deserialize_map: Object,
    }

    forward_to_deserialize_any! { ignored_any }
}

/// A variant that is its name alone.
struct Variant<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Variant<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.expecting(formatter)
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> std::result::Result<V::Value, E> {
        self.0.visit_enum(name.into_deserializer())
    }
}

/// What is left of an array or object.
struct Inside<'r, 'b> {
    rest: &'r mut &'b [u8],
    levels: usize,
    left: usize,
}

impl<'b> Inside<'_, 'b> {
    /// The value to come, where there is one.
    fn next(&mut self) -> Option<Reader<'_, 'b>> {
        self.left = self.left.checked_sub(1)?;
        Some(self.value())
    }

    fn value(&mut self) -> Reader<'_, 'b> {
        Reader {
            rest: self.rest,
            levels: self.levels,
        }
    }

    /// What was made of it, where nothing is left.
    fn ended<T>(self, value: T) -> Result<T> {
        match self.left {
            0 => Ok(value),
            _ => unread(),
        }
    }
}

impl<'de> SeqAccess<'de> for &mut Inside<'_, '_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        let next = self.next();
        next.map(|reader| seed.deserialize(reader)).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        // A length in the bytes is a claim; each element has a byte.
        Some(self.left.min(self.rest.len()))
    }
}

impl<'de> MapAccess<'de> for &mut Inside<'_, '_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        let next = self.next();
        next.map(|reader| reader.deserialize_str(Name(seed)))
            .transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        seed.deserialize(self.value())
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.min(self.rest.len()))
    }
}

/// The name of a member; one that is asked for as something else than a text goes the long way.
struct Name<S>(S);

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Name<S> {
    type Value = S::Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the name of a member")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> std::result::Result<S::Value, E> {
        match is_reserved(name) {
            true => Err(E::custom(reserved())),
            false => self.0.deserialize(StrDeserializer::<E>::new(name)),
        }
    }
}
