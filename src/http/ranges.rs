//! Which bytes of a content a request asks for: `Range` and `If-Range`, RFC 9110, section 14.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use http_range_header::{EndPosition, StartPosition, SyntacticallyCorrectRange};

use super::problem::{Answer, Problem};

/// How many ranges a request may ask for; of more, all is sent.
const MOST_RANGES: usize = 16;

/// The ranges asked for, each from its start to behind its end; none where all is to be sent.
///
/// # Errors
/// 416 where none of them lies in the content, or two of them overlap.
pub(super) fn ranges_of(
    request: &HeaderMap,
    tag: Option<&HeaderValue>,
    length: u64,
) -> Answer<Vec<(u64, u64)>> {
    let Some(range) = request.get(header::RANGE) else {
        return Ok(Vec::new());
    };
    // Only a tag says that the rest is of the same content; of a date, and of what cannot be read, all is sent.
    let mut conditions = request.get_all(header::IF_RANGE).iter();
    if conditions.any(|condition| Some(condition) != tag) {
        return Ok(Vec::new());
    }
    // What cannot be read is as if it were not there: section 14.2.
    let parsed = range
        .to_str()
        .ok()
        .map(http_range_header::parse_range_header);
    let Some(Ok(parsed)) = parsed else {
        return Ok(Vec::new());
    };
    if parsed.ranges.len() > MOST_RANGES || parsed.ranges.iter().any(is_backward) {
        return Ok(Vec::new());
    }
    let ranges = parsed.ranges.iter();
    let ranges: Vec<_> = ranges.filter_map(|range| resolved(range, length)).collect();
    if ranges.is_empty() {
        return Err(unsatisfiable(
            format!("the content has {length} bytes"),
            length,
        ));
    }
    match overlap(&ranges) {
        true => Err(unsatisfiable("the ranges overlap".to_owned(), length)),
        false => Ok(ranges),
    }
}

fn is_backward(range: &SyntacticallyCorrectRange) -> bool {
    matches!(
        (range.start, range.end),
        (StartPosition::Index(start), EndPosition::Index(last)) if last < start
    )
}

/// From where to behind where, as far as there are bytes; `None` where there are none.
fn resolved(range: &SyntacticallyCorrectRange, length: u64) -> Option<(u64, u64)> {
    let start = match range.start {
        StartPosition::Index(start) => start,
        StartPosition::FromLast(count) => length.saturating_sub(count),
    };
    let end = match range.end {
        EndPosition::Index(last) => last.saturating_add(1).min(length),
        EndPosition::LastByte => length,
    };
    (start < end).then_some((start, end))
}

fn overlap(ranges: &[(u64, u64)]) -> bool {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[1].0 < pair[0].1)
}

fn unsatisfiable(detail: String, length: u64) -> Problem {
    let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, detail);
    match HeaderValue::try_from(format!("bytes */{length}")) {
        Ok(of) => problem.with_header(header::CONTENT_RANGE, of),
        Err(_) => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is sent of so many bytes: `None` for 416, no ranges for all.
    fn asked(range: &'static str, length: u64) -> Option<Vec<(u64, u64)>> {
        let mut request = HeaderMap::new();
        request.insert(header::RANGE, HeaderValue::from_static(range));
        ranges_of(&request, None, length).ok()
    }

    #[test]
    fn ranges_are_those_bytes_that_are_there() {
        for (range, length, expected) in [
            ("bytes=0-0", 500, Some(vec![(0, 1)])),
            ("bytes=499-", 500, Some(vec![(499, 500)])),
            ("bytes=500-", 500, None),
            ("bytes=-5", 500, Some(vec![(495, 500)])),
            ("bytes=-500", 500, Some(vec![(0, 500)])),
            ("bytes=-65536", 500, Some(vec![(0, 500)])),
            ("bytes=0-18446744073709551615", 500, Some(vec![(0, 500)])),
            ("bytes=0-1,600-700", 500, Some(vec![(0, 2)])),
            ("bytes=600-700,-1", 500, Some(vec![(499, 500)])),
            ("bytes=600-700,800-", 500, None),
            ("bytes=8-9,0-1", 500, Some(vec![(8, 10), (0, 2)])),
            ("bytes=0-0,1-1", 2, Some(vec![(0, 1), (1, 2)])),
            ("bytes=0-5,5-9", 500, None),
            ("bytes=0-9,-495", 500, None),
            ("bytes=0-", 0, None),
            ("bytes=-1", 0, None),
            ("bytes=9-1", 500, Some(vec![])),
            ("bytes=x", 500, Some(vec![])),
            ("lines=0-1", 500, Some(vec![])),
        ] {
            assert_eq!(asked(range, length), expected, "{range} of {length}");
        }
    }
}
