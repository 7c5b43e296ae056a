//! A JSON value as it is read, from text or from its stored form, within the levels that a document may have.
//!
//! Not as [`Value`] reads itself: that depends on features of `serde_json` which any crate of an application may turn on.
//! With `raw_value` it takes an object whose first member has a certain name for a text, and parses that anew, with a
//! new limit to its depth, and so on inwards: a few kilobytes overflow the stack.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{NUMBER, is_reserved, reserved, too_deep};
use crate::options::MAX_DOCUMENT_DEPTH;

/// What a value is read from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// JSON: of a name given twice the last value counts, where the first one stood.
    Text,
    /// MessagePack, as we write it: a name given twice is damage.
    Stored,
}

/// 2^63. Integers beyond 64 bits are read as floats no smaller than that.
const LARGE: f64 = 9_223_372_036_854_775_808.0;

/// What is counted and noted of all values of a document.
pub(super) struct Seen {
    /// How many more there may be.
    left: Cell<usize>,
    /// Whether a float is so large that it may have been an integer beyond 64 bits.
    is_large: Cell<bool>,
}

impl Seen {
    /// Of a document that may have so many values.
    pub(super) fn of(most: usize) -> Seen {
        Seen {
            left: Cell::new(most),
            is_large: Cell::new(false),
        }
    }

    pub(super) fn is_large(&self) -> bool {
        self.is_large.get()
    }
}

/// A value to come and the levels it may have. What has no visit method here is an error: byte strings, extensions.
pub(super) struct Incoming<'a> {
    origin: Origin,
    levels: usize,
    seen: &'a Seen,
}

impl<'a> Incoming<'a> {
    pub(super) fn document(origin: Origin, seen: &'a Seen) -> Incoming<'a> {
        Incoming {
            origin,
            levels: MAX_DOCUMENT_DEPTH,
            seen,
        }
    }

    fn inside<E: de::Error>(&self) -> Result<Incoming<'a>, E> {
        match self.levels.checked_sub(1) {
            Some(levels) => Ok(Incoming { levels, ..*self }),
            None => Err(E::custom(too_deep())),
        }
    }
}

impl<'de> DeserializeSeed<'de> for &Incoming<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.seen.left.get().checked_sub(1) {
            Some(left) => self.seen.left.set(left),
            None => return Err(de::Error::custom("it has more values than a document may")),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Incoming<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        if number.abs() >= LARGE {
            self.seen.is_large.set(true);
        }
        let number = Number::from_f64(number);
        number
            .map(Value::Number)
            .ok_or_else(|| E::custom("a float is not finite"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inside = self.inside::<A::Error>()?;
        let mut elements = Vec::new();
        while let Some(element) = access.next_element_seed(&inside)? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut next = access.next_key_seed(Naming(self.origin))?;
        if let Some(Name::Number) = next {
            // No object, and no level.
            let text: String = access.next_value()?;
            let number = serde_json::from_str(&text).map_err(de::Error::custom)?;
            return Ok(Value::Number(number));
        }
        let inside = self.inside::<A::Error>()?;
        let mut members = Map::new();
        while let Some(name) = next {
            let Name::Member(name) = name else {
                return Err(de::Error::custom(reserved()));
            };
            let value = access.next_value_seed(&inside)?;
            if members.insert(name, value).is_some() && self.origin == Origin::Stored {
                return Err(de::Error::custom("a member occurs twice"));
            }
            next = access.next_key_seed(Naming(self.origin))?;
        }
        Ok(Value::Object(members))
    }
}

/// What the name of a member says.
enum Name {
    Member(String),
    /// It is none: where arbitrary precision is on, `serde_json` tells the numbers of a text so.
    Number,
}

/// Takes a string alone, where `String` would take bytes as well.
struct Naming(Origin);

impl<'de> DeserializeSeed<'de> for Naming {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Naming {
    type Value = Name;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a member")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Name, E> {
        if !is_reserved(name) {
            return Ok(Name::Member(name.to_owned()));
        }
        match name == NUMBER && self.0 == Origin::Text && is_precision_arbitrary() {
            true => Ok(Name::Number),
            false => Err(E::custom(reserved())),
        }
    }
}

/// Whether numbers keep their text: the one sign of that feature of `serde_json` is what it takes for a number.
fn is_precision_arbitrary() -> bool {
    serde_json::from_str::<Number>("1e999").is_ok()
}
