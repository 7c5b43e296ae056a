//! The key in an address, the query behind it, and a body of JSON.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header;
use axum::http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Service;
use super::blocking::cut_short;
use super::problem::{Answer, Problem};

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

/// The query of an address, with nothing in it that `T` does not name.
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
        let limit = service.limits().json_bytes;
        match Limited::new(request.into_body(), limit).collect().await {
            Ok(whole) => Ok(WholeBody(whole.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(crate::Error::TooLarge {
                what: "bytes of the body",
                limit: u64::try_from(limit).unwrap_or(u64::MAX),
                found: u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1),
            }
            .into()),
            Err(error) => Err(cut_short(&error)),
        }
    }
}

/// A body of JSON that is a `T`.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Service> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, service: &Service) -> Answer<JsonBody<T>> {
        if media_type(request.headers()) != "application/json" {
            return Err(Problem::unsupported_type("application/json"));
        }
        let WholeBody(bytes) = WholeBody::from_request(request, service).await?;
        let value = parse_json(&bytes)?;
        serde_json::from_value(value)
            .map(JsonBody)
            .map_err(|error| Problem::bad_request(format!("the body: {error}")))
    }
}

/// A JSON text as deep as a document may be.
pub(super) fn parse_json(bytes: &[u8]) -> Answer<Value> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| Problem::bad_request("the body is not UTF-8"))?;
    crate::parse_json(text)
        .map_err(|error| Problem::bad_request(format!("the body is no JSON: {error}")))
}

/// The content type of a request without its parameters, in lower case; empty where there is none.
pub(super) fn media_type(headers: &axum::http::HeaderMap) -> String {
    let given = headers.get(header::CONTENT_TYPE);
    let given = given.and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = given.split(';').next().unwrap_or("");
    essence.trim().to_ascii_lowercase()
}
