//! `/v1/shared/<token>/`: what a token opens, for whoever has the address. No account is asked for.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::Service;
use super::auth::with_passwords;
use super::content::{Content, Disposition, send};
use super::entries::read_page;
use super::key::Asked;
use super::problem::{Answer, Problem};
use crate::{ListOptions, Token};

/// What need not be escaped in the path of an address.
const PATH_CHARS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/v1/shared/{token}/", get(open_root))
        .route("/v1/shared/{token}/{*key}", get(open))
}

/// The path that a token opens: that of a folder ends with a `/`.
pub(super) fn path_of(token: &Token, root: &str, key: &str, is_folder: bool) -> String {
    let parts = [root, key].map(|part| part.trim_matches('/'));
    let whole: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let whole = escaped(&whole.join("/"));
    let end = match is_folder && !whole.is_empty() {
        true => "/",
        false => "",
    };
    format!("/v1/shared/{token}/{whole}{end}")
}

/// A path as it stands in an address.
pub(super) fn escaped(path: &str) -> String {
    utf8_percent_encode(path, PATH_CHARS).to_string()
}

/// Who passes a link on may have appended what they like.
#[derive(Deserialize)]
struct Query {
    #[serde(default)]
    disposition: Disposition,
    after: Option<String>,
    limit: Option<usize>,
}

async fn open_root(
    State(service): State<Service>,
    Path(token): Path<String>,
    Asked(query): Asked<Query>,
    headers: HeaderMap,
) -> Answer {
    list(service, token.into(), String::new(), query, headers).await
}

async fn open(
    State(service): State<Service>,
    Path((token, key)): Path<(String, String)>,
    Asked(query): Asked<Query>,
    method: Method,
    headers: HeaderMap,
) -> Answer {
    let token = Token::from(token);
    if key.ends_with('/') {
        return list(service, token, key, query, headers).await;
    }
    let store = service.store().clone();
    let read = move || {
        let reader = store.read_with(&token, &key)?;
        // It says where in the store the entry lies, which the address does already.
        let reader = reader.ok_or_else(|| Problem::not_found(&key))?;
        Ok::<_, Problem>(Content::of(reader)?)
    };
    let content = service.calls().run(read).await?;
    send(
        service.calls(),
        content,
        &method,
        &headers,
        query.disposition,
    )
}

async fn list(
    service: Service,
    token: Token,
    folder: String,
    query: Query,
    headers: HeaderMap,
) -> Answer {
    let store = with_passwords(service.store().clone(), &headers)?;
    let list = move || {
        let options = ListOptions {
            after: query.after,
            ..ListOptions::new()
        };
        let listing = store.list_with_token(&token, &folder, options)?;
        read_page(listing, query.limit)
    };
    let page = service.calls().run(list).await?;
    Ok(Json(page).into_response())
}
