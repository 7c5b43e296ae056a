//! `/`: a page to look at the store and change it with, for people.
//!
//! It stands on the interface below `/v1/` alone, with the cookie of a session. What it is made of is in the program; a
//! browser may run that and nothing else.

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use headers::{ETag, HeaderMapExt, IfNoneMatch};

use super::Service;
use super::problem::{Answer, Problem};

/// Nothing of another place, nothing inline, in no frame, and no text is ever taken for HTML. `'self'` is also what is
/// stored, so a second policy, which holds as well, names the one script; it has no word for the own host.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob:; media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none', \
    script-src *:*/page/script.js";

const HTML: Part = Part("text/html; charset=utf-8", include_str!("page.html"));
const STYLE: Part = Part("text/css; charset=utf-8", include_str!("style.css"));
const SCRIPT: Part = Part("text/javascript; charset=utf-8", include_str!("script.js"));
const ICON: Part = Part("image/svg+xml", include_str!("icon.svg"));

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/", get(|headers: HeaderMap| async { HTML.send(headers) }))
        .route(
            "/page/style.css",
            get(|headers: HeaderMap| async { STYLE.send(headers) }),
        )
        .route(
            "/page/script.js",
            get(|headers: HeaderMap| async { SCRIPT.send(headers) }),
        )
        .route(
            "/page/icon.svg",
            get(|headers: HeaderMap| async { ICON.send(headers) }),
        )
}

/// A content type and a text of the page.
struct Part(&'static str, &'static str);

impl Part {
    /// A browser keeps it, and asks each time whether it is still so: the parts are to be of one version.
    fn send(&self, request: HeaderMap) -> Answer {
        let Part(content_type, text) = self;
        let digest = blake3::hash(text.as_bytes()).to_hex();
        let tag: Result<ETag, _> = format!("\"{}\"", &digest[..16]).parse();
        let tag = tag.map_err(|_| Problem::internal("making a tag"))?;
        let is_new = request
            .typed_get::<IfNoneMatch>()
            .is_none_or(|known| known.precondition_passes(&tag));
        let mut headers = HeaderMap::new();
        headers.typed_insert(tag);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        );
        if !is_new {
            return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Ok((headers, *text).into_response())
    }
}
