//! `/v1/users` and `/v1/keys`: who may use the service, for admins.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{delete, get, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Service;
use super::accounts::{Role, User};
use super::auth::Admin;
use super::key::{JsonBody, KeyPath};
use super::problem::{Answer, Problem};

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/v1/users", get(users))
        .route(
            "/v1/users/{name}",
            put(add_user).patch(change_user).delete(remove_user),
        )
        .route("/v1/keys", get(keys).post(add_key))
        .route("/v1/keys/{id}", delete(remove_key))
}

async fn users(State(service): State<Service>, _: Admin) -> Answer<Json<Value>> {
    let accounts = service.accounts().clone();
    let users = service.calls().run(move || accounts.users()).await?;
    let users: Vec<Value> = users
        .iter()
        .map(|user| json!({"name": user.name, "role": user.role, "root": user.root}))
        .collect();
    Ok(Json(json!({"users": users})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    password: String,
    role: Role,
    /// Without it, a home of the user's own.
    root: Option<String>,
}

async fn add_user(
    State(service): State<Service>,
    _: Admin,
    KeyPath(name): KeyPath,
    JsonBody(new): JsonBody<NewUser>,
) -> Answer<StatusCode> {
    let accounts = service.accounts().clone();
    let add = move || {
        let root = new.root.unwrap_or_else(|| format!("home/{name}"));
        accounts.add_user(&name, &User::new(&new.password, new.role, &root)?)
    };
    service.calls().run(add).await?;
    Ok(StatusCode::CREATED)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangedUser {
    password: Option<String>,
    role: Option<Role>,
    root: Option<String>,
}

async fn change_user(
    State(service): State<Service>,
    _: Admin,
    KeyPath(name): KeyPath,
    JsonBody(new): JsonBody<ChangedUser>,
) -> Answer<StatusCode> {
    let accounts = service.accounts().clone();
    let change = move || {
        let (password, root) = (new.password.as_deref(), new.root.as_deref());
        accounts.change_user(&name, password, new.role, root)
    };
    service.calls().run(change).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_user(
    State(service): State<Service>,
    _: Admin,
    KeyPath(name): KeyPath,
) -> Answer<StatusCode> {
    let accounts = service.accounts().clone();
    let remove = move || match accounts.remove_user(&name)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found(&name)),
    };
    service.calls().run(remove).await
}

async fn keys(State(service): State<Service>, _: Admin) -> Answer<Json<Value>> {
    let accounts = service.accounts().clone();
    let keys = service.calls().run(move || accounts.keys()).await?;
    let keys: Vec<Value> = keys
        .iter()
        .map(|(id, key)| json!({"id": id, "user": key.user, "label": key.label, "project": key.project}))
        .collect();
    Ok(Json(json!({"keys": keys})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    user: String,
    label: String,
    project: String,
}

/// The answer is the only one that tells the key.
async fn add_key(
    State(service): State<Service>,
    _: Admin,
    JsonBody(new): JsonBody<NewKey>,
) -> Answer {
    let accounts = service.accounts().clone();
    let add = move || accounts.add_key(&new.user, &new.label, &new.project);
    let key = service.calls().run(add).await?;
    let answer = json!({"id": super::passwords::hash_of_secret(&key), "key": key});
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

async fn remove_key(
    State(service): State<Service>,
    _: Admin,
    KeyPath(id): KeyPath,
) -> Answer<StatusCode> {
    let accounts = service.accounts().clone();
    let remove = move || match accounts.remove_key(&id)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found(&id)),
    };
    service.calls().run(remove).await
}
