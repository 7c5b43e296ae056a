//! From any Rust value to a JSON value, or to an error where JSON cannot hold it.
//!
//! `serde_json` does the converting, so the result is its own; this adapter stands before it at every level and
//! refuses what it would lose without a word: NaN and the infinities (it makes them `null`), byte strings (it makes
//! them arrays of numbers) and nesting without end (it overflows the stack). The adapter is generic over the
//! serializer behind it because `serde_json` uses others than its main one for values of its own
//! (`RawValue`, and `Number` where an application turns arbitrary precision on).

use std::cell::RefCell;
use std::fmt::Display;

use serde::ser::{self, Serialize, Serializer};
use serde_json::Value;

use super::{check_depth, invalid, shown, too_deep};
use crate::error::Result;
use crate::options::MAX_DOCUMENT_DEPTH;

/// Most `Some` and newtype structs on the way to a value: two for each level. They leave no trace in JSON, but each is
/// a step of the recursion, and the stack of a thread may be small.
const MAX_WRAPPERS: usize = 2 * MAX_DOCUMENT_DEPTH;

/// What `serde_json` names the structs by which it passes its own values through other serializers. They are no level.
const PRIVATE_PREFIX: &str = "$serde_json::private::";

/// Converts to what `serde_json::to_value` gives.
///
/// # Errors
/// `InvalidDocument` telling what JSON cannot hold, and where: NaN, an infinity, an integer beyond 64 bits, a byte
/// string, a key that is neither a string nor written as one, or more than [`MAX_DOCUMENT_DEPTH`] levels.
pub(crate) fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value> {
    let trail = RefCell::new(Vec::new());
    let place = Place {
        trail: &trail,
        levels: 0,
        wrappers: 0,
    };
    let value = Strict { value, place }
        .serialize(serde_json::value::Serializer)
        .map_err(|error| invalid(located(&error, &trail.borrow())))?;
    // A `RawValue` brings levels that were never serialized.
    check_depth(&value)?;
    Ok(value)
}

fn located(error: &serde_json::Error, trail: &[String]) -> String {
    let reason = shown(&error.to_string());
    if trail.is_empty() {
        return reason;
    }
    let segments = trail.iter().rev();
    let pointer: String = segments
        .map(|segment| format!("/{}", segment.replace('~', "~0").replace('/', "~1")))
        .collect();
    format!("{reason}, at `{}`", shown(&pointer))
}

/// Where in the document a value stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// The names on the way to what failed, innermost first; filled only on the way back from it.
    trail: &'a RefCell<Vec<String>>,
    /// Arrays and objects around the value.
    levels: usize,
    /// What [`MAX_WRAPPERS`] limits.
    wrappers: usize,
}

impl Place<'_> {
    fn inside<E: ser::Error>(self, levels: usize) -> Result<Self, E> {
        let levels = self.levels + levels;
        match levels <= MAX_DOCUMENT_DEPTH {
            true => Ok(Place { levels, ..self }),
            false => Err(E::custom(too_deep())),
        }
    }

    fn wrapped<E: ser::Error>(self) -> Result<Self, E> {
        let wrappers = self.wrappers + 1;
        match wrappers <= MAX_WRAPPERS {
            true => Ok(Place { wrappers, ..self }),
            false => Err(E::custom(format!(
                "it is wrapped more than {MAX_WRAPPERS} times"
            ))),
        }
    }

    fn note<T, E>(self, result: Result<T, E>, name: impl FnOnce() -> String) -> Result<T, E> {
        if result.is_err() {
            self.trail.borrow_mut().push(name());
        }
        result
    }
}

/// A value that is serialized through the adapter, whatever serializer it meets.
struct Strict<'a, T: ?Sized> {
    value: &'a T,
    place: Place<'a>,
}

impl<T: Serialize + ?Sized> Serialize for Strict<'_, T> {
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Adapter {
            inner,
            place: self.place,
        })
    }
}

struct Adapter<'a, S> {
    inner: S,
    place: Place<'a>,
}

impl<'a, S: Serializer> Adapter<'a, S> {
    /// The serializer behind, and what becomes of its array or object so many levels further in.
    fn open<C>(
        self,
        levels: usize,
        variant: Option<&'static str>,
        open: impl FnOnce(S) -> Result<C, S::Error>,
    ) -> Result<Compound<'a, C>, S::Error> {
        let place = self.place.inside(levels)?;
        let inner = open(self.inner)?;
        Ok(Compound {
            inner,
            place,
            variant,
            index: 0,
            key: None,
        })
    }
}

fn finite<E: ser::Error>(number: f64) -> Result<(), E> {
    match number.is_finite() {
        true => Ok(()),
        false => Err(E::custom(format!("{number} is not a JSON number"))),
    }
}

/// `serde_json` itself refuses others, but not where an application turns arbitrary precision on.
fn within_64_bits<E: ser::Error>(is_within: bool) -> Result<(), E> {
    match is_within {
        true => Ok(()),
        false => Err(E::custom("the integer is beyond 64 bits")),
    }
}

macro_rules! pass_on {
    ($($method:ident: $type:ty,)*) => {
        $(fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        })*
    };
}

impl<'a, S: Serializer> Serializer for Adapter<'a, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Compound<'a, S::SerializeSeq>;
    type SerializeTuple = Compound<'a, S::SerializeTuple>;
    type SerializeTupleStruct = Compound<'a, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Compound<'a, S::SerializeTupleVariant>;
    type SerializeMap = Compound<'a, S::SerializeMap>;
    type SerializeStruct = Compound<'a, S::SerializeStruct>;
    type SerializeStructVariant = Compound<'a, S::SerializeStructVariant>;

    pass_on! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_char: char,
        serialize_str: &str,
        serialize_unit_struct: &'static str,
    }

    fn serialize_i128(self, value: i128) -> Result<S::Ok, S::Error> {
        within_64_bits(i64::try_from(value).is_ok() || u64::try_from(value).is_ok())?;
        self.inner.serialize_i128(value)
    }

    fn serialize_u128(self, value: u128) -> Result<S::Ok, S::Error> {
        within_64_bits(u64::try_from(value).is_ok())?;
        self.inner.serialize_u128(value)
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        finite(f64::from(value))?;
        self.inner.serialize_f32(value)
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        finite(value)?;
        self.inner.serialize_f64(value)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("JSON has no byte strings"))
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let place = self.place.wrapped()?;
        self.inner.serialize_some(&Strict { value, place })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let place = self.place.wrapped()?;
        self.inner
            .serialize_newtype_struct(name, &Strict { value, place })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let place = self.place.inside(1)?;
        let value = Strict { value, place };
        let result = self
            .inner
            .serialize_newtype_variant(name, index, variant, &value);
        place.note(result, || variant.to_owned())
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.open(1, None, |inner| inner.serialize_seq(length))
    }

    fn serialize_tuple(self, length: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.open(1, None, |inner| inner.serialize_tuple(length))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.open(1, None, |inner| inner.serialize_tuple_struct(name, length))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.open(2, Some(variant), |inner| {
            inner.serialize_tuple_variant(name, index, variant, length)
        })
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.open(1, None, |inner| inner.serialize_map(length))
    }

    fn serialize_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        let levels = usize::from(!name.starts_with(PRIVATE_PREFIX));
        self.open(levels, None, |inner| inner.serialize_struct(name, length))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.open(2, Some(variant), |inner| {
            inner.serialize_struct_variant(name, index, variant, length)
        })
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// An array or object under way.
struct Compound<'a, C> {
    inner: C,
    /// That of the values in it.
    place: Place<'a>,
    /// The variant of an enum that it is the content of: the member that holds it.
    variant: Option<&'static str>,
    /// The number of the next element.
    index: usize,
    /// The name of the value to come, where it was given apart from it.
    key: Option<String>,
}

impl<C> Compound<'_, C> {
    fn note<E>(&self, result: Result<(), E>, name: impl FnOnce() -> String) -> Result<(), E> {
        let result = self.place.note(result, name);
        match self.variant {
            Some(variant) => self.place.note(result, || variant.to_owned()),
            None => result,
        }
    }
}

macro_rules! elements {
    ($($trait:ident $method:ident,)*) => {
        $(impl<C: ser::$trait> ser::$trait for Compound<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                let result = self.inner.$method(&Strict { value, place: self.place });
                self.note(result, || self.index.to_string())?;
                self.index += 1;
                Ok(())
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        })*
    };
}

elements! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

macro_rules! fields {
    ($($trait:ident,)*) => {
        $(impl<C: ser::$trait> ser::$trait for Compound<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), C::Error> {
                let result = self.inner.serialize_field(name, &Strict { value, place: self.place });
                self.note(result, || name.to_owned())
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), C::Error> {
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        })*
    };
}

fields! {
    SerializeStruct,
    SerializeStructVariant,
}

impl<C: ser::SerializeMap> ser::SerializeMap for Compound<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.inner.serialize_key(key)?;
        self.key = name_of(key);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        let result = self.inner.serialize_value(&Strict {
            value,
            place: self.place,
        });
        let key = self.key.take();
        self.note(result, || key.unwrap_or_default())
    }

    fn serialize_entry<K, V>(&mut self, key: &K, value: &V) -> Result<(), C::Error>
    where
        K: Serialize + ?Sized,
        V: Serialize + ?Sized,
    {
        let result = self.inner.serialize_entry(
            key,
            &Strict {
                value,
                place: self.place,
            },
        );
        if result.is_err()
            && let Some(name) = name_of(key)
        {
            return self.note(result, || name);
        }
        result
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}

/// What `serde_json` makes of a key, `None` where it refuses it.
fn name_of<K: Serialize + ?Sized>(key: &K) -> Option<String> {
    let mut map = serde_json::value::Serializer.serialize_map(Some(1)).ok()?;
    ser::SerializeMap::serialize_entry(&mut map, key, &()).ok()?;
    match ser::SerializeMap::end(map).ok()? {
        Value::Object(members) => members.into_iter().next().map(|(name, _)| name),
        _ => None,
    }
}
