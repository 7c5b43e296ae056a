//! The key in an address, the query behind it, and a body of JSON.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Service;
use super::blocking::cut_short;
use super::budget::Share;
use super::lists::elements;
use super::problem::{Answer, Problem};
use super::strangers::FREE_BYTES;

/// Bytes of JSON that are read at once, where others wait; and the most that a login has.
const SMALL: usize = 16 * 1024;
/// How many values and names a body of JSON has at most, and what it is merged into. Each takes some hundred bytes of
/// memory, however short it is written: the largest body would take forty times its size.
pub(super) const MOST_VALUES: usize = 2_000_000;

/// The rest of the path, percent-decoded once. What may be a key, the store decides: `..`, an empty segment or a control
/// character never gets further, however it was encoded.
pub(super) struct KeyPath(pub(super) String);

impl FromRequestParts<Service> for KeyPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Answer<KeyPath> {
        let Path(key) = Path::<String>::from_request_parts(parts, service)
            .await
            .map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
        Ok(KeyPath(key))
    }
}

/// The query of an address. What may be in it, `T` says.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Service> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Answer<Asked<T>> {
        let Query(asked) = Query::<T>::from_request_parts(parts, service)
            .await
            .map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
        Ok(Asked(asked))
    }
}

/// A whole body, of at most [`Limits::json_bytes`](super::Limits::json_bytes).
pub(super) struct WholeBody(pub(super) Bytes);

impl FromRequest<Service> for WholeBody {
    type Rejection = Problem;

    async fn from_request(request: Request, service: &Service) -> Answer<WholeBody> {
        whole(request, service.limits().json_bytes)
            .await
            .map(WholeBody)
    }
}

pub(super) async fn whole(request: Request, limit: usize) -> Answer<Bytes> {
    check_coding(request.headers())?;
    match Limited::new(request.into_body(), limit).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) => Err(unread(&*error, limit)),
    }
}

/// A whole body of one who has yet to prove who they are: what the share has no room for is not kept.
pub(super) async fn whole_within(
    request: Request,
    limit: usize,
    share: &mut Share,
) -> Answer<Vec<u8>> {
    let (mut body, mut whole) = (Limited::new(request.into_body(), limit), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unread(&*error, limit))?;
        let Ok(bytes) = frame.into_data() else {
            continue;
        };
        let length = whole.len() + bytes.len();
        if !share.cover(length.saturating_sub(FREE_BYTES)) {
            let reason = "as much is coming in as there may; try again later";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason));
        }
        whole.extend_from_slice(&bytes);
    }
    Ok(whole)
}

fn unread(error: &(dyn std::error::Error + 'static), limit: usize) -> Problem {
    if !error.is::<LengthLimitError>() {
        return cut_short(error);
    }
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    crate::Error::TooLarge {
        what: "bytes of the body",
        limit,
        found: limit.saturating_add(1),
    }
    .into()
}

/// A body of JSON that is a `T`.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned + Send + 'static> FromRequest<Service> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, service: &Service) -> Answer<JsonBody<T>> {
        let body = whole_json(request, service.limits().json_bytes).await?;
        if body.len() <= SMALL {
            return read_json(&body).map(JsonBody);
        }
        let read = move || read_json(&body);
        service.calls().run(read).await.map(JsonBody)
    }
}

/// A body of JSON that is small, such as one that says who somebody is, which anyone may send.
pub(super) struct SmallBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Service> for SmallBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, service: &Service) -> Answer<SmallBody<T>> {
        // As a whole, and not from byte to byte: nobody is to hold a connection for days.
        let whole = tokio::time::timeout(service.limits().body_time, whole_json(request, SMALL));
        let Ok(body) = whole.await else {
            return Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "the body took too long",
            ));
        };
        read_json(&body?).map(SmallBody)
    }
}

async fn whole_json(request: Request, limit: usize) -> Answer<Bytes> {
    if media_type(request.headers()) != "application/json" {
        return Err(Problem::unsupported_type("application/json"));
    }
    whole(request, limit).await
}

fn read_json<T: DeserializeOwned>(body: &[u8]) -> Answer<T> {
    serde_json::from_value(parse_json(body)?)
        .map_err(|error| Problem::bad_request(format!("the body: {error}")))
}

/// The JSON of a body, as deep as a document may be.
///
/// # Errors
/// 413 where it has too many values, 400 where it is no JSON.
pub(super) fn parse_json(bytes: &[u8]) -> Answer<Value> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| Problem::bad_request("the body is not UTF-8"))?;
    check_count(bytes, MOST_VALUES)?;
    crate::parse_json(text)
        .map_err(|error| Problem::bad_request(format!("the body is no JSON: {error}")))
}

/// Before anything is made of it: fails for a JSON text of more values and names than that.
pub(super) fn check_count(text: &[u8], most: usize) -> Answer<()> {
    // Each has a byte of its own.
    if text.len() <= most {
        return Ok(());
    }
    // Each but the first is behind one of these.
    let (mut count, mut is_string) = (1_usize, false);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_string = !is_string,
            b'\\' if is_string => {
                bytes.next();
            }
            b',' | b':' | b'[' | b'{' if !is_string => count += 1,
            _ => {}
        }
    }
    if count <= most {
        return Ok(());
    }
    let as_u64 = |count| u64::try_from(count).unwrap_or(u64::MAX);
    Err(crate::Error::TooLarge {
        what: "count of values and names in the body",
        limit: as_u64(most),
        found: as_u64(count),
    }
    .into())
}

/// Fails for a body that is to be decoded first, which nobody does here: it would be stored as it is, and be told to be what
/// it is not.
pub(super) fn check_coding(headers: &HeaderMap) -> Answer<()> {
    let mut codings = elements(headers, header::CONTENT_ENCODING);
    if codings.all(|coding| coding.eq_ignore_ascii_case(b"identity")) {
        return Ok(());
    }
    let refused = Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "the service takes no `Content-Encoding` but `identity`",
    );
    let identity = HeaderValue::from_static("identity");
    Err(refused.with_header(header::ACCEPT_ENCODING, identity))
}

/// The content type of a request without its parameters, in lower case; empty where there is none.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let given = headers.get(header::CONTENT_TYPE);
    let given = given.and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = given.split(';').next().unwrap_or("");
    essence.trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_texts() {
        for (text, count) in [
            ("[0,0,0, 0]   ", 5),
            ("{\"a\":[],\"b\":{}}  ", 7),
            ("[\"a,b[{:\",\"\\\",,\\\\\",1]", 4),
            ("\"no value, but one: [a] text\"", 1),
        ] {
            assert!(check_count(text.as_bytes(), count).is_ok(), "{text}");
            let refused = check_count(text.as_bytes(), count - 1);
            let refused = refused.unwrap_err().into_value();
            assert_eq!(
                (&refused["status"], &refused["found"]),
                (&413.into(), &count.into())
            );
        }
    }
}
