//! `/v1/tokens/`: capabilities to read one key or list one folder, for those who have no account.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Service;
use super::auth::Caller;
use super::key::{JsonBody, KeyPath};
use super::problem::Answer;
use super::shared;
use crate::{Grant, Token};

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/v1/tokens", get(list).post(grant_root).delete(revoke_all))
        .route("/v1/tokens/{*key}", post(grant).delete(revoke))
}

/// What the token is good for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// After how many seconds it ends; without it, never.
    expires_in: Option<u64>,
    /// Whether it lists the folder of this name, and does not read the entry.
    folder: Option<bool>,
}

impl Asked {
    fn grant(&self, folder: bool) -> Grant {
        let grant = Grant {
            folder,
            ..Grant::new()
        };
        match self.expires_in {
            Some(seconds) => grant.expires_in(Duration::from_secs(seconds)),
            None => grant,
        }
    }
}

async fn grant(
    State(service): State<Service>,
    caller: Caller,
    KeyPath(key): KeyPath,
    JsonBody(asked): JsonBody<Asked>,
) -> Answer {
    make(&service, caller, key, asked).await
}

/// For the folder that is all the account sees.
async fn grant_root(
    State(service): State<Service>,
    caller: Caller,
    JsonBody(asked): JsonBody<Asked>,
) -> Answer {
    make(&service, caller, String::new(), asked).await
}

async fn make(service: &Service, caller: Caller, key: String, asked: Asked) -> Answer {
    // The root is no entry.
    let is_folder = asked.folder.unwrap_or(key.is_empty());
    let (grant, named) = (asked.grant(is_folder), key.clone());
    let root = caller.account.root;
    let token: Token = service
        .calls()
        .run(move || caller.store.grant(&named, grant))
        .await?;
    let answer = json!({
        "token": token.as_str(),
        "key": key,
        "folder": is_folder,
        "expires_in": asked.expires_in,
        "path": shared::path_of(&token, &root, &key, is_folder),
    });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// What is known of the tokens that work; not themselves, which the store does not know.
async fn list(State(service): State<Service>, caller: Caller) -> Answer<Json<Value>> {
    let tokens = service.calls().run(move || caller.store.tokens()).await?;
    Ok(Json(json!({"tokens": tokens})))
}

/// Revokes every token for this key or folder.
async fn revoke(
    State(service): State<Service>,
    caller: Caller,
    KeyPath(key): KeyPath,
) -> Answer<Json<Value>> {
    let revoked = service
        .calls()
        .run(move || caller.store.revoke(&key))
        .await?;
    Ok(Json(json!({"revoked": revoked})))
}

/// Revokes every token for what the account sees.
async fn revoke_all(State(service): State<Service>, caller: Caller) -> Answer<Json<Value>> {
    let revoked = service
        .calls()
        .run(move || caller.store.revoke_all())
        .await?;
    Ok(Json(json!({"revoked": revoked})))
}
