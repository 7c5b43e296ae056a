//! JSON text on its way in. It may come from anybody.

use serde::de::{DeserializeSeed, Error as _};
use serde_json::Value;

use super::value::{Incoming, Origin, Seen};
use super::{invalid, shown};
use crate::error::Result;
use crate::options::MAX_DOCUMENT_BYTES;

/// So much of a number is told.
const SHOWN_DIGITS: usize = 40;

/// The value of a JSON text, as deep as a document may be: what [`save`](crate::Store::save) and its like take.
///
/// ```
/// let value = komatik::parse_json(r#"{"width": 800}"#)?;
/// assert_eq!(value["width"], 800);
/// assert!(komatik::parse_json("{").is_err());
/// # Ok::<(), komatik::Error>(())
/// ```
///
/// A number beyond 64 bits that is written without a point and an exponent is taken where no digit of it is lost:
/// `18446744073709552000` as JavaScript writes 2^64, `18446744073709551617` not.
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
    let seen = Seen::of(most);
    let value = Incoming::document(Origin::Text, &seen).deserialize(&mut deserializer)?;
    deserializer.end()?;
    // Not told with the value, so the text is looked at again; few have such numbers.
    match seen.is_large() {
        true => check_integers(text).map(|()| value),
        false => Ok(value),
    }
}

/// Refuses an integer beyond 64 bits which the float it was read as does not tell to its last digit. `text` is JSON.
fn check_integers(text: &[u8]) -> serde_json::Result<()> {
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = match first {
            b'"' => behind_string(behind),
            b'-' | b'0'..=b'9' => {
                let is_of_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                let end = rest.iter().position(|byte| !is_of_number(byte));
                let (number, behind) = rest.split_at(end.unwrap_or(rest.len()));
                if is_rounded(number) {
                    let before = text.len() - rest.len();
                    return Err(rounded(number, text.get(..before).unwrap_or_default()));
                }
                behind
            }
            _ => behind,
        };
    }
    Ok(())
}

fn rounded(number: &[u8], before: &[u8]) -> serde_json::Error {
    let digits = number.iter().take(SHOWN_DIGITS);
    let digits: String = digits.map(|digit| char::from(*digit)).collect();
    let newlines = || (0..).zip(before).filter(|(_, byte)| **byte == b'\n');
    let line = newlines().count() + 1;
    let begin = newlines().last().map_or(0, |(at, _): (usize, _)| at + 1);
    let column = before.len() - begin + 1;
    serde_json::Error::custom(format!(
        "the integer {digits} is beyond 64 bits, and rounding it would lose digits at line {line} column {column}"
    ))
}

/// What follows the string whose opening quote was before.
fn behind_string(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = match first {
            b'"' => return behind,
            b'\\' => behind.get(1..).unwrap_or_default(),
            _ => behind,
        };
    }
    rest
}

fn is_rounded(number: &[u8]) -> bool {
    // Shorter ones have at most 64 bits.
    if number.len() < 19 {
        return false;
    }
    let Ok(number) = std::str::from_utf8(number) else {
        return false;
    };
    let is_exact = number.contains(['.', 'e', 'E'])
        || number.parse::<u64>().is_ok()
        || number.parse::<i64>().is_ok();
    !is_exact
        && number
            .parse::<f64>()
            .is_ok_and(|float| float.to_string() != number && format!("{float:.0}") != number)
}
