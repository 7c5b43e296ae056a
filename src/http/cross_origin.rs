//! Pages of other origins, for protocols whose clients are such pages.

use std::time::Duration;

use axum::http::{HeaderName, Method, StatusCode, header};
use tower_http::cors::{Any, CorsLayer};

/// What a browser asks before it sends a request for a page. The layer answers; the route has only to take the method.
pub(super) async fn preflight() -> StatusCode {
    StatusCode::OK
}

/// Lets any page send these requests and read the answers. A page can offer only what it knows: cookies do not come along.
pub(super) fn any_origin(methods: Vec<Method>, headers: Vec<HeaderName>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(methods)
        .allow_headers(headers)
        .expose_headers([header::CONTENT_LENGTH, header::CONTENT_RANGE, header::ETAG])
        .max_age(Duration::from_secs(24 * 60 * 60))
}
