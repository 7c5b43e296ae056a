//! JSON text on its way in. It may come from anybody.

use serde::de::Deserialize;
use serde_json::Value;

use super::{invalid, shown, too_deep};
use crate::error::Result;
use crate::options::MAX_DOCUMENT_DEPTH;

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
    let text = text.as_ref();
    if depth(text) > MAX_DOCUMENT_DEPTH {
        return Err(invalid(too_deep()));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    // Its own limit is one level less than documents may have, and the depth is known.
    deserializer.disable_recursion_limit();
    let value = Value::deserialize(&mut deserializer);
    let value = value.and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| invalid(shown(&error.to_string())))
}

/// How deep arrays and objects are nested, at most, in what may be JSON.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = text.iter();
    let mut is_string = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_string = !is_string,
            b'\\' if is_string => {
                bytes.next();
            }
            b'[' | b'{' if !is_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !is_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        for (text, expected) in [
            ("1", 0),
            ("[]", 1),
            (r#"{"a[[": ["\"[[", {}]}"#, 3),
            (r#"["\\", [1]]"#, 2),
        ] {
            assert_eq!(depth(text.as_bytes()), expected, "{text}");
        }
        let nested = |levels: usize| [b"[".repeat(levels), b"]".repeat(levels)].concat();
        assert!(parse_json(nested(MAX_DOCUMENT_DEPTH)).is_ok());
        assert!(parse_json(nested(MAX_DOCUMENT_DEPTH + 1)).is_err());
        assert!(parse_json(b"[1] 2").is_err());
        assert!(parse_json(b"[".repeat(1_000_000)).is_err());
    }
}
