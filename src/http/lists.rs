//! Fields of a head that are lists: RFC 9110, sections 5.3 and 5.6.1. Several lines are the same as one with commas between
//! them, which many a client makes of them.

use axum::http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode;

/// The elements of a list, as they were sent.
pub(super) fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(name).into_iter();
    let elements = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let elements = elements.map(<[u8]>::trim_ascii);
    elements.filter(|element| !element.is_empty())
}

/// What is meant by a text in which at least a comma is percent-encoded; `None` where that is not UTF-8.
pub(super) fn decoded(text: &[u8]) -> Option<String> {
    let text = percent_decode(text.trim_ascii()).decode_utf8().ok();
    text.map(Into::into)
}
