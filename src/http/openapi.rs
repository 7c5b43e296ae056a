//! `/v1/openapi.json`: what the interface is, for programs that read such things.

use axum::Router;
use axum::http::header;
use axum::routing::get;

use super::Service;

const DOCUMENT: &str = include_str!("openapi.json");

pub(super) fn routes() -> Router<Service> {
    let json = [(header::CONTENT_TYPE, "application/json")];
    Router::new().route(
        "/v1/openapi.json",
        get(move || async move { (json, DOCUMENT) }),
    )
}
