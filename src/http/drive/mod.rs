//! `/v1/<project>/<drive>/`: the drives of a project, as the clients of Deta Drive speak to them.
//!
//! An API key opens the drives of its project. Every answer is JSON, but for contents; a refusal is `{"errors": [..]}`.

mod files;
mod query;
mod uploads;

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use futures_util::future::ready;
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};

use super::accounts::Role;
use super::auth::Proof;
use super::blocking::Held;
use super::cross_origin::{any_origin, preflight};
use super::key::check_coding;
use super::problem::Problem;
use super::scopes::Place;
use super::{Service, standing};
use crate::{BlobWriter, Error, Store, WriteOptions};

pub(super) use uploads::sweep as sweep_uploads;

/// Most bytes that a file put at once, or a part of one, may have.
const MOST_BYTES: usize = 10 * 1024 * 1024;
/// What a client sends where nobody told it a type.
const UNTOLD_TYPE: &str = "binary/octet-stream";

pub(super) fn routes() -> Router<Service> {
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PATCH,
        Method::DELETE,
    ];
    let headers = vec![
        HeaderName::from_static("x-api-key"),
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
    ];
    Router::new()
        .route(
            "/v1/{project}/{drive}/files",
            get(files::list)
                .post(files::put)
                .delete(files::delete)
                .options(preflight),
        )
        .route(
            "/v1/{project}/{drive}/files/download",
            get(files::download).options(preflight),
        )
        .route(
            "/v1/{project}/{drive}/uploads",
            post(uploads::begin).options(preflight),
        )
        .route(
            "/v1/{project}/{drive}/uploads/{id}",
            patch(uploads::end)
                .delete(uploads::give_up)
                .options(preflight),
        )
        .route(
            "/v1/{project}/{drive}/uploads/{id}/parts",
            post(uploads::take_part).options(preflight),
        )
        // Contents are streamed; `MOST_BYTES` holds for them.
        .layer(DefaultBodyLimit::disable())
        .layer(any_origin(methods.to_vec(), headers))
}

/// What a handler of a drive answers.
type Answer<T = Response> = Result<T, Refusal>;

/// Why a request was not done, in the form that the clients read.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl Refusal {
    fn bad_request(reason: impl Into<String>) -> Refusal {
        Refusal(StatusCode::BAD_REQUEST, reason.into())
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        Refusal(problem.status(), problem.detail().to_owned())
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Problem::from(error).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"errors": [self.1]}))).into_response()
    }
}

/// A drive that the request may use.
struct Drive {
    project: String,
    name: String,
    /// Its files.
    files: Store,
    /// What is being uploaded to it.
    uploads: Store,
}

impl FromRequestParts<Service> for Drive {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Answer<Drive> {
        let unauthorized = || Refusal(StatusCode::UNAUTHORIZED, "Unauthorized".to_owned());
        let key = key_of(&parts.headers).ok_or_else(unauthorized)?.to_owned();
        let (accounts, proof) = (service.accounts().clone(), Proof::ApiKey(key.clone()));
        let account = service
            .calls()
            .run(move || accounts.account_of_key(&key))
            .await?
            .ok_or_else(unauthorized)?;
        standing::note(&parts.extensions, proof.clone(), &account);
        let Path(mut names) = Path::<HashMap<String, String>>::from_request_parts(parts, service)
            .await
            .map_err(|rejection| Refusal::bad_request(rejection.body_text()))?;
        let mut named = |name: &str| names.remove(name).unwrap_or_default();
        let (project, name) = (named("project"), named("drive"));
        if account.project.as_ref() != Some(&project) {
            // As for a key that is not there: nobody learns which projects there are.
            return Err(unauthorized());
        }
        if account.role == Role::Reader && !matches!(parts.method, Method::GET | Method::HEAD) {
            let reason = "the account of this key may only read";
            return Err(Refusal(StatusCode::FORBIDDEN, reason.to_owned()));
        }
        let place = |place| {
            let view = service.place_of(place, &project, &name, &account.name)?;
            let proof = proof.clone();
            Answer::Ok(standing::guarded(service, &view, proof, &account))
        };
        Ok(Drive {
            files: place(Place::Drive)?,
            uploads: place(Place::Uploads)?,
            project,
            name,
        })
    }
}

impl Drive {
    /// The members that every answer about a file has.
    fn tell(&self, name: &str) -> Value {
        json!({"name": name, "project_id": self.project, "drive_name": self.name})
    }
}

/// The key in `X-API-Key`, or as it is in `Authorization`.
fn key_of(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get("x-api-key");
    let given = given.or_else(|| headers.get(header::AUTHORIZATION))?;
    let given = given.to_str().ok()?.trim();
    Some(given.strip_prefix("Bearer ").unwrap_or(given))
}

/// Names are the keys of the store, with no `/` at either end that it would take off.
fn check_name(name: &str) -> Answer<()> {
    if name.trim().is_empty() {
        return Err(Refusal::bad_request("invalid name"));
    }
    if name.starts_with('/') || name.ends_with('/') {
        return Err(Refusal::bad_request(
            "invalid name: it begins or ends with a `/`",
        ));
    }
    crate::Key::parse(name)?;
    Ok(())
}

/// The type that a request tells of its content, `None` where the name is to tell it.
fn content_type(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str);
    let given = given?.ok()?.trim();
    (!given.is_empty() && given != UNTOLD_TYPE).then(|| given.to_owned())
}

/// Writes the body of a request, of at most [`MOST_BYTES`]; it is the caller's to commit.
async fn write(
    service: &Service,
    store: &Store,
    key: String,
    options: WriteOptions,
    request: Request,
) -> Answer<BlobWriter> {
    check_coding(request.headers())?;
    let store = store.clone();
    let calls = service.calls();
    let writer = calls.run(move || store.writer(&key, options)).await?;
    let before = writer.size();
    let writer = calls.write(writer, shortened(request.into_body())).await?;
    if writer.size() - before > MOST_BYTES as u64 {
        drop(Held::new(writer));
        return Err(Refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            "more than 10 MiB at once: upload it in parts".to_owned(),
        ));
    }
    Ok(writer)
}

/// A body up to the first byte that is too many.
fn shortened(body: Body) -> impl Stream<Item = Result<axum::body::Bytes, axum::Error>> {
    body.into_data_stream().scan(MOST_BYTES + 1, |left, piece| {
        ready((*left > 0).then(|| {
            piece.map(|bytes| {
                let taken = bytes.len().min(*left);
                *left -= taken;
                bytes.slice(..taken)
            })
        }))
    })
}
