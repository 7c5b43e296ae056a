//! How the content of an entry is sent: whole or in ranges, as a tag allows, and harmless to the page that shows it.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::IntoResponse;
use futures_util::{StreamExt, stream};
use headers::{AcceptRanges, ContentLength, ContentRange, HeaderMapExt, LastModified};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::blocking::Calls;
use super::conditions::{Conditions, Verdict, date, etag};
use super::problem::{Answer, Problem};
use super::ranges::ranges_of;
use crate::{BlobReader, Error, Kind, Metadata, Result, Store};

/// Bytes of content that are read when it is opened.
const SMALL_BYTES: usize = 64 * 1024;
/// Content that no browser runs. Of all the rest one may, in the name of the service: what it takes a content type for
/// is its own affair.
const PASSIVE: [&str; 8] = [
    "application/json",
    "application/pdf",
    "image/avif",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/webp",
    "text/plain",
];
/// What other content may do where it is shown: nothing.
const SANDBOX: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:";
/// What need not be escaped in the `filename*` of RFC 8187.
const ATTRIBUTE_CHARS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Bytes of the content of an entry as it is sent: of a document those of its JSON text.
pub(super) fn size_of(store: &Store, key: &str, known: &Metadata) -> Result<u64> {
    if known.kind != Kind::Document {
        return Ok(known.size);
    }
    let text = store.reader(key)?;
    Ok(text.map_or(known.size, |text| text.len()))
}

/// The size of an item of a listing, `None` where only its name is told: it has a view password that is not offered, or got
/// one since the listing was begun.
pub(super) fn size_when_listed(store: &Store, known: Option<&Metadata>) -> Result<Option<u64>> {
    let size = known.map(|known| size_of(store, &known.key, known));
    match size.transpose() {
        Err(Error::Locked { .. } | Error::WrongPassword { .. } | Error::TooManyTries { .. }) => {
            Ok(None)
        }
        size => size,
    }
}

/// Whether a browser is to show content or to save it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Disposition {
    #[default]
    Inline,
    Attachment,
}

/// Content that is opened to be sent. Little of it is read at once: each further call to the store costs more than reading
/// so few bytes.
pub(super) struct Content {
    reader: Arc<BlobReader>,
    whole: Option<Bytes>,
}

impl Content {
    /// Belongs into the call that opened the reader.
    pub(super) fn of(reader: BlobReader) -> Result<Content> {
        let whole = match usize::try_from(reader.len()) {
            Ok(length @ ..=SMALL_BYTES) => {
                let mut bytes = vec![0; length];
                reader.read_exact_at(&mut bytes, 0)?;
                Some(Bytes::from(bytes))
            }
            _ => None,
        };
        let reader = Arc::new(reader);
        Ok(Content { reader, whole })
    }

    fn body(&self, calls: &Calls, start: u64, end: u64) -> Body {
        let whole = self.whole.as_ref();
        let part = whole.and_then(|whole| {
            let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
            (start <= end && end <= whole.len()).then(|| whole.slice(start..end))
        });
        match part {
            Some(bytes) => Body::from(bytes),
            None => calls.body(&self.reader, start, end),
        }
    }
}

/// Sends content, or the part of it that the request asks for.
pub(super) fn send(
    calls: &Calls,
    content: Content,
    method: &Method,
    request: &HeaderMap,
    disposition: Disposition,
) -> Answer {
    let reader = &content.reader;
    let metadata = reader.metadata().clone();
    let mut headers = headers_of(&metadata);
    if Conditions::of(request)?.for_reading(&metadata)? == Verdict::NotModified {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    describe(&mut headers, &metadata, disposition);
    let length = reader.len();
    let ranges = match *method == Method::GET {
        true => ranges_of(request, headers.get(header::ETAG), length)?,
        false => Vec::new(),
    };
    match ranges[..] {
        [] => {
            headers.typed_insert(ContentLength(length));
            let body = match *method == Method::HEAD {
                true => Body::empty(),
                false => content.body(calls, 0, length),
            };
            Ok((headers, body).into_response())
        }
        [(start, end)] => {
            headers.typed_insert(ContentLength(end - start));
            let range = ContentRange::bytes(start..end, length);
            headers.typed_insert(range.map_err(|_| Problem::internal("telling a range"))?);
            let body = content.body(calls, start, end);
            Ok((StatusCode::PARTIAL_CONTENT, headers, body).into_response())
        }
        _ => send_parts(calls, reader, headers, &ranges),
    }
}

/// Several ranges, as the parts of a `multipart/byteranges`.
fn send_parts(
    calls: &Calls,
    reader: &Arc<BlobReader>,
    mut headers: HeaderMap,
    ranges: &[(u64, u64)],
) -> Answer {
    let metadata = reader.metadata();
    // As no content is known beforehand, no content is made to hold it.
    let boundary = super::passwords::random_secret()?;
    let content_type = metadata.content_type.as_str();
    let length = reader.len();
    let head = |(start, end): (u64, u64)| {
        let last = end - 1;
        format!(
            "\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: bytes {start}-{last}/{length}\r\n\r\n"
        )
    };
    let tail = format!("\r\n--{boundary}--\r\n");
    let mut total = bytes(&tail);
    let mut parts = Vec::new();
    for &range in ranges {
        let head = head(range);
        total += bytes(&head) + (range.1 - range.0);
        let head = stream::iter([Ok(Bytes::from(head))]);
        parts.push(head.chain(calls.pieces(reader, range.0, range.1)).boxed());
    }
    parts.push(stream::iter([Ok(Bytes::from(tail))]).boxed());
    let multipart = format!("multipart/byteranges; boundary={boundary}");
    let multipart = HeaderValue::try_from(multipart);
    let multipart = multipart.map_err(|_| Problem::internal("telling a boundary"))?;
    headers.insert(header::CONTENT_TYPE, multipart);
    headers.typed_insert(ContentLength(total));
    let body = Body::from_stream(stream::iter(parts).flatten());
    Ok((StatusCode::PARTIAL_CONTENT, headers, body).into_response())
}

fn bytes(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// What every answer about an entry tells, also one that its content has not changed.
pub(super) fn headers_of(metadata: &Metadata) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.typed_insert(etag(metadata));
    if let Some(date) = date(metadata) {
        headers.typed_insert(LastModified::from(date));
    }
    // Somebody may have it, and must ask each time whether it is still so.
    let private = HeaderValue::from_static("private, no-cache");
    headers.insert(header::CACHE_CONTROL, private);
    headers.insert(
        header::VARY,
        HeaderValue::from_static("Authorization, Cookie"),
    );
    headers
}

/// The type of content, what it is to be saved as, and that it is not to be run.
pub(super) fn describe(headers: &mut HeaderMap, metadata: &Metadata, disposition: Disposition) {
    headers.typed_insert(AcceptRanges::bytes());
    let unknown = HeaderValue::from_static("application/octet-stream");
    let given = HeaderValue::try_from(&metadata.content_type).unwrap_or(unknown);
    headers.insert(header::CONTENT_TYPE, given);
    let disposition = content_disposition(disposition, &metadata.key);
    headers.insert(header::CONTENT_DISPOSITION, disposition);
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if !is_passive(&metadata.content_type) {
        let sandbox = HeaderValue::from_static(SANDBOX);
        headers.insert(header::CONTENT_SECURITY_POLICY, sandbox);
    }
}

/// Whether no browser runs content of this type, whatever it makes of it: some end the type at a space or a parenthesis,
/// and of several behind commas take the last.
fn is_passive(content_type: &str) -> bool {
    if content_type.contains(',') {
        return false;
    }
    let essence = content_type.split(';').next().unwrap_or("");
    let essence = essence.trim_end_matches([' ', '\t']).to_ascii_lowercase();
    PASSIVE.contains(&essence.as_str())
        || ["audio/", "video/"].iter().any(|kind| {
            // With a `+` it could be `+xml`, which is run whatever it is said to be.
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
            let subtype = essence.strip_prefix(kind).unwrap_or("");
            !subtype.is_empty() && subtype.bytes().all(is_plain)
        })
}

/// Under the last segment of the key: in ASCII for those who know no better, and as RFC 6266 has it.
fn content_disposition(disposition: Disposition, key: &str) -> HeaderValue {
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    let kind = match disposition {
        Disposition::Inline => "inline",
        Disposition::Attachment => "attachment",
    };
    let plain: String = name
        .chars()
        .map(|char| match char {
            '"' | '\\' | '%' => '_',
            ' '..='~' => char,
            _ => '_',
        })
        .collect();
    let escaped = utf8_percent_encode(name, ATTRIBUTE_CHARS);
    let text = format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{escaped}");
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_in_ascii_and_in_full() {
        for (key, expected) in [
            (
                "a/plan.txt",
                "inline; filename=\"plan.txt\"; filename*=UTF-8''plan.txt",
            ),
            (
                "a\"b;c.txt",
                "inline; filename=\"a_b;c.txt\"; filename*=UTF-8''a%22b%3Bc.txt",
            ),
            (
                "x/\u{e9} 1%.txt",
                "inline; filename=\"_ 1_.txt\"; filename*=UTF-8''%C3%A9%201%25.txt",
            ),
        ] {
            assert_eq!(content_disposition(Disposition::Inline, key), expected);
        }
    }

    #[test]
    fn only_what_no_browser_runs_is_passive_however_it_is_written() {
        for passive in [
            "text/plain",
            "Text/PLAIN; charset=utf-8",
            "image/png",
            "application/json",
            "application/pdf \t; a=b",
            "audio/mpeg",
            "audio/vnd.wave; codecs=1",
            "video/mp4",
        ] {
            assert!(is_passive(passive), "{passive}");
        }
        for active in ACTIVE {
            assert!(!is_passive(active), "{active}");
        }
    }

    const ACTIVE: [&str; 23] = [
        "",
        "text/html",
        "Text/HTML; charset=utf-8",
        "text/html (x",
        "text/html x",
        " text/plain",
        "text/plain, text/html",
        "text/plain; a=b, text/html",
        "text/plain;a=\"b,text/html",
        "text/plain (text/html",
        "text/plain text/html",
        "text/plain(",
        "text",
        "text/xsl",
        "text/javascript",
        "image/svg+xml",
        "application/atom+xml",
        "application/octet-stream",
        "multipart/x-mixed-replace; boundary=x",
        "audio/",
        "audio/x+xml",
        "video/mp4 text/html",
        "video/mp4/html",
    ];
}
