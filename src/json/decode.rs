//! From the stored form of a document to a JSON value.
//!
//! Values are walked here and not by `serde_json`, whose own coding of numbers depends on features that any crate
//! of an application may turn on.

use std::fmt;
use std::io::ErrorKind;

use rmp_serde::decode::{Error as DecodeError, ReadSlice};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::too_deep;
use crate::options::MAX_DOCUMENT_DEPTH;

/// The document of a stored form, and what is wrong with the bytes where they are none. Takes memory in proportion
/// to the bytes there are, not to the lengths they claim.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, String> {
    let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes);
    let root = Decoded {
        levels: MAX_DOCUMENT_DEPTH,
    };
    let value = root
        .deserialize(&mut decoder)
        .map_err(|error| error.to_string())?;
    match is_at_end(&mut decoder) {
        true => Ok(value),
        false => Err("more follows the document".to_owned()),
    }
}

/// Whether nothing follows.
pub(crate) fn is_at_end<'de, R: ReadSlice<'de>>(decoder: &mut rmp_serde::Deserializer<R>) -> bool {
    // Of what follows it is told in other words.
    let next = decoder.deserialize_any(Nothing);
    matches!(next, Err(DecodeError::InvalidMarkerRead(error)) if error.kind() == ErrorKind::UnexpectedEof)
}

struct Nothing;

impl Visitor<'_> for Nothing {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("nothing more")
    }
}

/// A value to come and the levels it may have. What has no visit method here is an error: byte strings, extensions.
struct Decoded {
    levels: usize,
}

impl Decoded {
    fn inside<E: de::Error>(&self) -> Result<Decoded, E> {
        match self.levels.checked_sub(1) {
            Some(levels) => Ok(Decoded { levels }),
            None => Err(E::custom(too_deep())),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Decoded {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Decoded {
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
        let number = Number::from_f64(number);
        number
            .map(Value::Number)
            .ok_or_else(|| E::custom("a float is not finite"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let levels = self.inside::<A::Error>()?.levels;
        let mut elements = Vec::new();
        while let Some(element) = access.next_element_seed(Decoded { levels })? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let levels = self.inside::<A::Error>()?.levels;
        let mut members = Map::new();
        while let Some(Name(name)) = access.next_key()? {
            let value = access.next_value_seed(Decoded { levels })?;
            if members.insert(name, value).is_some() {
                return Err(de::Error::custom("a member occurs twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

/// The name of a member: a string, where `String` would take bytes as well.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a member")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Name, E> {
        Ok(Name(name.to_owned()))
    }
}
