//! Logging in to the storage, and what a client asks of the service itself.

use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, head, post};
use axum::{Extension, Json, Router};
use headers::{Cookie, HeaderMapExt};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::accounts::Account;
use super::super::auth;
use super::super::cross_origin::preflight;
use super::super::key::SmallBody;
use super::super::problem::Answer;
use super::super::{Peer, Service};
use super::refusal::Refusal;

const COOKIE: &str = "bulgur-cloud-auth";

/// What is asked for at other places than below `/storage/`.
pub(super) const ADDRESSES: [&str; 4] = [
    "/auth/login",
    "/api/stats",
    "/is_bulgur_cloud",
    "/banner/login",
];

pub(super) fn routes() -> Router<Service> {
    let started = Instant::now();
    Router::new()
        .route("/auth/login", post(log_in).options(preflight))
        .route(
            "/api/stats",
            get(async move |state, headers| stats(state, headers, started).await)
                .options(preflight),
        )
        .route(
            "/is_bulgur_cloud",
            head(async || StatusCode::OK).options(preflight),
        )
        // There is no banner.
        .route(
            "/banner/login",
            get(async || Refusal::missing()).options(preflight),
        )
}

/// The token in `Authorization`, without a word before it, or in the cookie. It is that of a session.
pub(super) fn token(headers: &HeaderMap) -> Option<String> {
    match headers.get(header::AUTHORIZATION) {
        Some(token) => token.to_str().ok().map(str::to_owned),
        None => headers
            .typed_get::<Cookie>()
            .and_then(|cookies| cookies.get(COOKIE).map(str::to_owned)),
    }
}

/// Who the token is of.
pub(super) async fn account(
    service: &Service,
    headers: &HeaderMap,
) -> Result<Option<Account>, Refusal> {
    let Some(token) = token(headers) else {
        return Ok(None);
    };
    let accounts = service.accounts().clone();
    let look = move || accounts.account_of_session(&token);
    Ok(service.calls().run(look).await?)
}

#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
}

/// Under its name of each version of the protocol the answer has the same token.
async fn log_in(
    State(service): State<Service>,
    Extension(peer): Extension<Peer>,
    login: Answer<SmallBody<Login>>,
) -> Result<Json<Value>, Refusal> {
    let SmallBody(login) = login?;
    let account = auth::with_password(&service, &login.username, &login.password, peer)
        .await
        .map_err(|problem| match problem.status() {
            StatusCode::UNAUTHORIZED => Refusal::login(),
            _ => problem.into(),
        })?;
    let time = service.limits().session_time;
    let accounts = service.accounts().clone();
    let begin = move || accounts.begin_session(&account, time);
    let token = service.calls().run(begin).await?;
    Ok(Json(json!({
        "access_token": token,
        "token": token,
        "valid_for_seconds": time.as_secs(),
    })))
}

async fn stats(
    State(service): State<Service>,
    headers: HeaderMap,
    started: Instant,
) -> Result<Json<Value>, Refusal> {
    account(&service, &headers)
        .await?
        .ok_or_else(Refusal::no_token)?;
    // A duration of ISO 8601.
    let uptime = format!("PT{:.3}S", started.elapsed().as_secs_f64());
    Ok(Json(json!({"uptime": uptime})))
}
