//! Documents: JSON values, however they come and however they are stored.

mod decode;
mod encode;
mod patch;
#[cfg(test)]
mod tests;
mod text;
mod typed;
mod value;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use decode::{decode, is_at_end};
pub(crate) use encode::{encode, to_value};
#[cfg(any(test, fuzzing))]
pub(crate) use patch::patch;
pub(crate) use patch::{PatchBudget, patch_within};
#[cfg(test)]
pub(crate) use tests::{any_json, nested};
pub use text::parse_json;

use crate::error::{Error, Result};
use crate::options::MAX_DOCUMENT_DEPTH;

/// Whether arrays and objects are nested at most [`MAX_DOCUMENT_DEPTH`] deep: a scalar has depth 0, and every array
/// or object, an empty one too, one more than the deepest value in it. Safe to ask of a value of any depth.
///
/// # Errors
/// `InvalidDocument` where they are deeper.
pub(crate) fn check_depth(value: &Value) -> Result<()> {
    match fits_depth(value, MAX_DOCUMENT_DEPTH) {
        true => Ok(()),
        false => Err(invalid(too_deep())),
    }
}

/// Whether `value` has at most so many levels.
fn fits_depth(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(_) | Value::Object(_) if levels == 0 => false,
        Value::Array(elements) => elements.iter().all(|value| fits_depth(value, levels - 1)),
        Value::Object(members) => members.values().all(|value| fits_depth(value, levels - 1)),
        _ => true,
    }
}

/// Whether a value has at most so many values and names of members, itself among them.
///
/// # Errors
/// `TooLarge`.
pub(crate) fn check_values(value: &Value, most: usize) -> Result<()> {
    if most == usize::MAX {
        return Ok(());
    }
    let found = count(value);
    if found <= most {
        return Ok(());
    }
    let as_u64 = |count| u64::try_from(count).unwrap_or(u64::MAX);
    Err(Error::TooLarge {
        what: "count of values and names in the document",
        limit: as_u64(most),
        found: as_u64(found),
    })
}

/// Values of a document are no deeper than [`MAX_DOCUMENT_DEPTH`].
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(elements) => elements.iter().map(count).sum(),
        Value::Object(members) => members.values().map(|value| 1 + count(value)).sum(),
        _ => 0,
    }
}

/// The stored document as the type asked for. `location` names it where it is damaged.
///
/// # Errors
/// `Damaged`; as [`from_value`].
pub(crate) fn load<T: DeserializeOwned>(location: &str, bytes: &[u8]) -> Result<T> {
    match typed::read(bytes) {
        Some(value) => Ok(value),
        None => from_value(decode(bytes).map_err(|_| Error::damaged("document", location))?),
    }
}

/// The document as the type asked for.
///
/// # Errors
/// `InvalidDocument` telling what of it does not fit the type.
pub(crate) fn from_value<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| invalid(shown(&error.to_string())))
}

/// The document as compact JSON text.
#[expect(
    clippy::expect_used,
    reason = "every member name is a string, and a vector takes every byte"
)]
pub(crate) fn to_text(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("a JSON value has a text")
}

/// Takes out what a JSON pointer (RFC 6901) points to, `None` where there is nothing.
///
/// # Errors
/// `InvalidDocument` where it is not a pointer.
pub(crate) fn take_at(value: &mut Value, pointer: &str) -> Result<Option<Value>> {
    let problem = if !pointer.is_empty() && !pointer.starts_with('/') {
        "it must be empty or begin with `/`"
    } else if pointer
        .split('~')
        .skip(1)
        .any(|rest| !rest.starts_with(['0', '1']))
    {
        "`~` must be followed by `0` or `1`"
    } else {
        return Ok(value.pointer_mut(pointer).map(Value::take));
    };
    Err(invalid(format!(
        "`{}` is not a JSON pointer: {problem}",
        shown(pointer)
    )))
}

/// What the names begin with by which `serde_json` passes its own values through other serializers and deserializers. As
/// the name of a member in a document they would be taken for such a value where that is read again.
const RESERVED_PREFIX: &str = "$serde_json::private::";
/// A struct of this name, and its only field, hold the text of a `RawValue`.
const RAW_VALUE: &str = "$serde_json::private::RawValue";
/// The same of a `Number`, where an application turns arbitrary precision on.
const NUMBER: &str = "$serde_json::private::Number";

fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX)
}

fn reserved() -> String {
    format!("member names that begin with `{RESERVED_PREFIX}` are kept for serde_json")
}

fn invalid(reason: impl Into<String>) -> Error {
    Error::InvalidDocument {
        reason: reason.into(),
    }
}

fn too_deep() -> String {
    format!("it is nested deeper than {MAX_DOCUMENT_DEPTH} levels")
}

/// What of a text an error shows: as much as a person can read, and no control character.
fn shown(text: &str) -> String {
    const SHOWN_CHARS: usize = 200;
    let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    match shown.chars().any(char::is_control) {
        true => shown.escape_debug().to_string(),
        false => shown,
    }
}
