//! What the interface answers where that is more than an object of the store.

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use headers::HeaderMapExt;

use super::conditions::etag;
use crate::Metadata;

/// What a write answers: what is stored now, and its tag.
pub(super) fn written(stored: &Metadata) -> Response {
    let status = match stored.created == stored.updated {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    let mut headers = HeaderMap::new();
    headers.typed_insert(etag(stored));
    (status, headers, Json(stored)).into_response()
}
