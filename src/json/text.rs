//! JSON text on its way in. It may come from anybody.

use std::cell::Cell;

use serde::de::DeserializeSeed;
use serde_json::Value;

use super::value::{Incoming, Origin};
use super::{invalid, shown};
use crate::error::Result;
use crate::options::MAX_DOCUMENT_BYTES;

/// The value of a JSON text, as deep as a document may be: what [`save`](crate::Store::save) and its like take.
///
/// ```
/// let value = komatik::parse_json(r#"{"width": 800}"#)?;
/// assert_eq!(value["width"], 800);
/// assert!(komatik::parse_json("{").is_err());
/// # Ok::<(), komatik::Error>(())
/// ```
///
/// # Errors
/// [`InvalidDocument`](crate::Error::InvalidDocument) telling what is wrong, and where.
pub fn parse_json(text: impl AsRef<[u8]>) -> Result<Value> {
    parse(text.as_ref()).map_err(|error| invalid(shown(&error.to_string())))
}

pub(super) fn parse(text: &[u8]) -> serde_json::Result<Value> {
    // A value takes a byte at least where it is stored, and many times more in memory: a text that is too long for a
    // document is refused before it has become one.
    parse_within(text, MAX_DOCUMENT_BYTES)
}

/// Parses a text of so many values at most.
pub(super) fn parse_within(text: &[u8], most: usize) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    // Its own limit is one level less than documents may have, whose levels are counted as they come.
    deserializer.disable_recursion_limit();
    let most = Cell::new(most);
    let value = Incoming::document(Origin::Text, &most).deserialize(&mut deserializer)?;
    deserializer.end().map(|()| value)
}
