//! What documents and blobs have in common: listings, metadata, folders, moves and copies.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Service;
use super::asking::ask_for_all;
use super::auth::Caller;
use super::conditions::{Conditions, Unconditional, Verdict};
use super::content::headers_of;
use super::key::{Asked, JsonBody, KeyPath};
use super::problem::{Answer, Problem};
use super::show;
use crate::{Error, ListOptions, Listing, PutMode, Store};

/// How many items a page has where the request does not say.
const PAGE: usize = 1000;
/// How many items a page has at most.
const LARGEST_PAGE: usize = 10_000;
/// How many rows are looked at for a page, which nobody can end before it is read.
const MOST_ROWS: usize = 100_000;

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/v1/entries", get(list))
        .route("/v1/entries/{*key}", get(stat).delete(remove))
        .route(
            "/v1/folders/{*folder}",
            put(create_folder).delete(remove_folder),
        )
        .route("/v1/move", post(relocate))
        .route("/v1/copy", post(copy))
}

/// Which items of a folder are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    folder: String,
    /// The `next` of the page before.
    after: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    recursive: bool,
    contains: Option<String>,
    glob: Option<String>,
}

impl Page {
    fn options(&self) -> ListOptions {
        ListOptions {
            recursive: self.recursive,
            after: self.after.clone(),
            limit: None,
            contains: self.contains.clone(),
            glob: self.glob.clone(),
            ..ListOptions::new()
        }
    }
}

async fn list(
    State(service): State<Service>,
    caller: Caller,
    Asked(page): Asked<Page>,
) -> Answer<Json<Value>> {
    let list = move || {
        let listing = caller.store.list_with(&page.folder, page.options())?;
        read_page(listing, page.limit)
    };
    service.calls().run(list).await.map(Json)
}

/// The next items of a listing, and where the page behind them begins: `null` where there is none. Where few pass what is asked
/// for, a page has fewer than it might, or none.
pub(super) fn read_page(listing: Listing, limit: Option<usize>) -> Answer<Value> {
    let limit = limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let mut listing = listing.within(MOST_ROWS);
    let mut items = Vec::new();
    let mut last = String::new();
    for item in listing.by_ref().take(limit) {
        let item = item?;
        last = item.cursor();
        items.push(json!(item));
    }
    let is_more = items.len() == limit && listing.next().transpose()?.is_some();
    let next = match is_more {
        true => Some(last),
        false => listing.stopped_at().map(str::to_owned),
    };
    Ok(json!({"entries": items, "next": next}))
}

async fn stat(
    State(service): State<Service>,
    caller: Caller,
    KeyPath(key): KeyPath,
    request: HeaderMap,
) -> Answer {
    let stat = move || {
        let metadata = caller.store.metadata(&key)?;
        metadata.ok_or_else(|| Problem::not_found(&key))
    };
    let metadata = service.calls().run(stat).await?;
    let headers = headers_of(&metadata);
    match Conditions::of(&request)?.for_reading(&metadata)? {
        Verdict::NotModified => Ok((StatusCode::NOT_MODIFIED, headers).into_response()),
        Verdict::Send => Ok((headers, Json(metadata)).into_response()),
    }
}

async fn remove(
    State(service): State<Service>,
    caller: Caller,
    KeyPath(key): KeyPath,
    headers: HeaderMap,
) -> Answer<StatusCode> {
    let conditions = Conditions::of(&headers)?;
    let remove = move || match remove_if(&caller.store, &key, &conditions)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found(&key)),
    };
    service.calls().run(remove).await
}

/// Deletes an entry that is as the request asks, in one step with the look at it.
fn remove_if(store: &Store, key: &str, conditions: &Conditions) -> Answer<bool> {
    if !conditions.is_any() {
        return Ok(store.delete(key)?);
    }
    // Before the transaction, so that no password is verified while others wait.
    ask_for_all(store, key)?;
    let mut refused = None;
    let removed = store.transaction(|tx| {
        let present = tx.metadata(key)?;
        match conditions.check(present.as_ref()) {
            Ok(()) => tx.delete(key),
            Err(problem) => {
                refused = Some(problem);
                Err(Error::Cancelled)
            }
        }
    });
    match refused {
        Some(problem) => Err(problem),
        None => Ok(removed?),
    }
}

async fn create_folder(
    State(service): State<Service>,
    caller: Caller,
    _: Unconditional,
    KeyPath(folder): KeyPath,
) -> Answer<StatusCode> {
    let create = move || caller.store.create_folder(&folder);
    service.calls().run(create).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Removal {
    /// Whether what is in the folder goes as well.
    #[serde(default)]
    recursive: bool,
}

async fn remove_folder(
    State(service): State<Service>,
    caller: Caller,
    _: Unconditional,
    KeyPath(folder): KeyPath,
    Asked(removal): Asked<Removal>,
) -> Answer<Json<Value>> {
    let remove = move || remove_folder_of(&caller, &folder, removal.recursive);
    let deleted = service.calls().run(remove).await?;
    Ok(Json(json!({"deleted": deleted})))
}

/// Deletes a folder, in one step with the look at what is in it. Answers how many entries went with it.
fn remove_folder_of(caller: &Caller, folder: &str, recursive: bool) -> Answer<u64> {
    let store = &caller.store;
    if recursive {
        return Ok(store.delete_folder(folder)?);
    }
    // No passwords are tried for names, while others wait.
    let names = caller.without_passwords.as_ref().unwrap_or(store);
    let mut is_held = false;
    let emptied = store.transaction(|tx| {
        // Nobody else writes to it now.
        is_held = names.list(folder)?.next().transpose()?.is_some();
        match is_held {
            false => tx.delete_folder(folder),
            true => Err(Error::Cancelled),
        }
    });
    if is_held {
        let detail = "the folder is not empty; `recursive=true` deletes what is in it";
        return Err(Problem::new(StatusCode::CONFLICT, detail).with("key", folder));
    }
    Ok(emptied?)
}

/// From where to where.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FromTo {
    from: String,
    to: String,
    /// Whether an entry that is there is replaced.
    #[serde(default)]
    overwrite: bool,
    /// Whether the folder of this name is meant, and not the entry. A folder never replaces another.
    #[serde(default)]
    folder: bool,
}

impl FromTo {
    fn mode(&self) -> PutMode {
        match self.overwrite {
            true => PutMode::Overwrite,
            false => PutMode::Create,
        }
    }
}

async fn relocate(
    State(service): State<Service>,
    caller: Caller,
    _: Unconditional,
    JsonBody(asked): JsonBody<FromTo>,
) -> Answer<Json<Value>> {
    if asked.folder && asked.overwrite {
        return Err(Problem::bad_request(
            "a folder replaces no other: no `overwrite` with `folder`",
        ));
    }
    let relocate = move || match asked.folder {
        true => {
            let moved = caller.store.rename_folder(&asked.from, &asked.to)?;
            Ok::<_, Error>(json!({"moved": moved}))
        }
        false => {
            let revision = caller.store.rename(&asked.from, &asked.to, asked.mode())?;
            Ok(json!({"moved": 1, "revision": revision}))
        }
    };
    service.calls().run(relocate).await.map(Json)
}

async fn copy(
    State(service): State<Service>,
    caller: Caller,
    _: Unconditional,
    JsonBody(asked): JsonBody<FromTo>,
) -> Answer {
    if asked.folder {
        return Err(Problem::bad_request("folders are not copied, only entries"));
    }
    let copy = move || caller.store.copy(&asked.from, &asked.to, asked.mode());
    let stored = service.calls().run(copy).await?;
    Ok(show::written(&stored))
}
