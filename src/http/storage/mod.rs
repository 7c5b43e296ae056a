//! `/storage/<user>/`: the files of a user, as clients of Bulgur Cloud know them.
//!
//! The protocol of its version 0.4.1; what a client of 0.2.1 sends is taken as well, and its login answered. It behaves
//! as a file system does: a folder has to be there before something can be put into it, and stays when it is empty.

mod listing;
mod login;
mod make;
mod path;
mod refusal;
mod tokens;
mod upload;

use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use serde_json::json;

use super::accounts::{Account, Role};
use super::auth::{Proof, refused};
use super::content::{Content, Disposition, send, size_of};
use super::cross_origin::any_origin;
use super::key::SmallBody;
use super::{Service, standing};
use crate::{Error, Store};
use listing::Telling;
use make::Action;
use path::Place;
pub(super) use path::merge_slashes;
use refusal::Refusal;

/// The method that tells what a path is.
const META: &[u8] = b"META";

pub(super) fn routes() -> Router<Service> {
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
    ];
    let mut methods = methods.to_vec();
    methods.extend(Method::from_bytes(META));
    let headers = vec![header::AUTHORIZATION, header::ACCEPT, header::CONTENT_TYPE];
    Router::new()
        .route("/storage/{*path}", any(answer))
        .merge(login::routes())
        // Files are streamed, and so have no limit.
        .layer(DefaultBodyLimit::disable())
        .layer(any_origin(methods, headers))
}

/// Who a request comes from, or whose path token it brings, and what they have.
struct Caller {
    account: Account,
    store: Store,
}

async fn answer(State(service): State<Service>, request: Request) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let place = Place::of(head.uri.path())?;
    let caller = authorize(&service, &place, &head).await?;
    match head.method.clone() {
        method @ (Method::GET | Method::HEAD) => {
            read(&service, caller, place, &method, &head.headers).await
        }
        Method::POST => {
            let request = Request::from_parts(head, body);
            post(&service, caller, place, request).await
        }
        Method::PUT => {
            let request = Request::from_parts(head, body);
            let written = upload::put(&service, caller, place, request).await?;
            Ok(written.into_response())
        }
        Method::DELETE => {
            call(&service, move || make::delete(&caller.store, &place)).await?;
            Ok(done())
        }
        method if method.as_str().as_bytes() == META => {
            let meta = call(&service, move || meta(&caller.store, &place)).await?;
            Ok(Json(meta).into_response())
        }
        _ => {
            let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, META");
            Err(super::Problem::no_method()
                .with_header(header::ALLOW, methods)
                .into())
        }
    }
}

/// A call to the store that may be refused.
async fn call<T: Send + 'static>(
    service: &Service,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    service.calls().run(move || Ok::<_, Error>(work())).await?
}

/// The user whose path it is, or who has a token for this very path and only reads.
async fn authorize(service: &Service, place: &Place, head: &Parts) -> Result<Caller, Refusal> {
    let is_safe = matches!(head.method, Method::GET | Method::HEAD);
    let known = login::account(service, &head.headers).await?;
    if let Some(account) = known.as_ref().filter(|account| account.name == place.user) {
        let may_only_read = account.role == Role::Reader;
        let reads = is_safe || head.method.as_str().as_bytes() == META;
        if may_only_read && !reads {
            let refused = super::Problem::forbidden("this account may only read");
            return Err(refused.into());
        }
        let mut caller = caller_of(service, account.clone())?;
        let token = login::token(&head.headers).ok_or_else(refused)?;
        let proof = Proof::Bearer(token);
        caller.store = standing::guarded(service, &caller.store, proof.clone(), account);
        standing::note(&head.extensions, proof, account);
        return Ok(caller);
    }
    let token = query_token(&head.uri).filter(|_| is_safe);
    if let Some(token) = token {
        let (accounts, path) = (service.accounts().clone(), place.path.clone());
        let look = move || accounts.account_of_path_token(&path, &token);
        if let Some(account) = service.calls().run(look).await? {
            return caller_of(service, account);
        }
    }
    Err(match known {
        Some(_) => Refusal::not_yours(),
        None => Refusal::no_token(),
    })
}

fn caller_of(service: &Service, account: Account) -> Result<Caller, Refusal> {
    let store = service.view_of(&account)?;
    Ok(Caller { account, store })
}

/// The path token in the query.
fn query_token(uri: &Uri) -> Option<String> {
    let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    let token = query.0.into_iter().find(|(name, _)| name == "token");
    token.map(|(_, token)| token)
}

/// What a GET answers.
enum Opened {
    File(Content),
    Folder(Box<Telling>),
}

async fn read(
    service: &Service,
    caller: Caller,
    place: Place,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    if *method == Method::HEAD {
        call(service, move || meta(&caller.store, &place)).await?;
        return Ok(StatusCode::OK.into_response());
    }
    let open = move || {
        let store = caller.store;
        if !place.is_folder
            && let Some(reader) = store.reader(&place.key)?
        {
            return Ok(Opened::File(Content::of(reader)?));
        }
        let telling = Telling::of(store, &place.key)?.ok_or_else(Refusal::missing)?;
        Ok(Opened::Folder(Box::new(telling)))
    };
    Ok(match call(service, open).await? {
        Opened::File(content) => send(
            service.calls(),
            content,
            method,
            headers,
            Disposition::Inline,
        )?,
        Opened::Folder(telling) => listing::send(service, *telling),
    })
}

fn meta(store: &Store, place: &Place) -> Result<serde_json::Value, Refusal> {
    if !place.is_folder
        && let Some(metadata) = store.metadata(&place.key)?
    {
        let size = size_of(store, &place.key, &metadata)?;
        return Ok(json!({"is_file": true, "size": size}));
    }
    match store.is_folder(&place.key)? {
        true => Ok(json!({"is_file": false, "size": 0})),
        false => Err(Refusal::missing()),
    }
}

async fn post(
    service: &Service,
    caller: Caller,
    place: Place,
    request: Request,
) -> Result<Response, Refusal> {
    let SmallBody(action) = SmallBody::<Action>::from_request(request, service).await?;
    match action {
        Action::MakePathToken => {
            let accounts = service.accounts().clone();
            let make = move || accounts.path_token(&place.path, &caller.account);
            let token = service.calls().run(make).await?;
            Ok(Json(json!({"token": token})).into_response())
        }
        Action::Move { new_path } => {
            let target = Place::of_target(&new_path)?;
            if target.user != caller.account.name {
                return Err(Refusal::not_yours());
            }
            call(service, move || {
                make::relocate(&caller.store, &place, &target)
            })
            .await?;
            Ok(done())
        }
        Action::CreateFolder => {
            call(service, move || make::create_folder(&caller.store, &place)).await?;
            Ok(done())
        }
    }
}

fn done() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

/// The key of a name in a folder.
fn under(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    }
}
