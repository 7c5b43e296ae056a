//! From the stored form of a document to a JSON value.

use std::fmt;
use std::io::ErrorKind;

use rmp_serde::decode::{Error as DecodeError, ReadSlice};
use serde::de::{DeserializeSeed, Deserializer, Visitor};
use serde_json::Value;

use super::value::{Incoming, Origin, Seen};

/// The document of a stored form, and what is wrong with the bytes where they are none. Takes memory in proportion
/// to the bytes there are, not to the lengths they claim.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, String> {
    let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes);
    // No value takes less than a byte.
    let seen = Seen::of(bytes.len());
    let value = Incoming::document(Origin::Stored, &seen)
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
