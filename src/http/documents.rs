//! `/v1/documents/`: JSON documents, read whole or by a pointer, saved, merged and patched.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde::Deserialize;
use serde_json::Value;

use super::Service;
use super::asking::ask_for_all;
use super::auth::Caller;
use super::conditions::{Conditions, Verdict};
use super::content::{Content, Disposition, headers_of, send};
use super::key::{Asked, KeyPath, WholeBody, media_type, parse_json};
use super::problem::{Answer, Problem};
use super::show;
use crate::{Arrays, Error, Kind, MergeOptions, Metadata, Nulls, Patch, PutOptions, Store};

const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const OWN_MERGE: &str = "application/vnd.komatik.merge+json";

pub(super) fn routes() -> Router<Service> {
    Router::new().route("/v1/documents/{*key}", get(load).put(save).patch(change))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    /// RFC 6901: which part of the document is asked for.
    pointer: Option<String>,
}

/// A document that is to be sent, or not.
enum Opened {
    Content(Content),
    Unchanged(Metadata),
}

async fn load(
    State(service): State<Service>,
    caller: Caller,
    KeyPath(key): KeyPath,
    Asked(part): Asked<Part>,
    method: Method,
    request: HeaderMap,
) -> Answer {
    let Some(pointer) = part.pointer else {
        let conditions = Conditions::of(&request)?;
        let open = move || {
            if let Some(metadata) = unchanged(&caller.store, &key, &conditions)? {
                return Ok(Opened::Unchanged(metadata));
            }
            let reader = caller.store.reader(&key)?;
            let reader = reader.ok_or_else(|| Problem::not_found(&key))?;
            check_document(reader.metadata())?;
            Ok::<_, Problem>(Opened::Content(Content::of(reader)?))
        };
        let content = match service.calls().run(open).await? {
            Opened::Content(content) => content,
            Opened::Unchanged(metadata) => {
                return Ok((StatusCode::NOT_MODIFIED, headers_of(&metadata)).into_response());
            }
        };
        return send(
            service.calls(),
            content,
            &method,
            &request,
            Disposition::Inline,
        );
    };
    let conditions = Conditions::of(&request)?;
    // Long texts are made where nobody waits for it.
    let load = move || {
        let (metadata, value) = load_part(&caller.store, &key, &pointer)?;
        Ok::<_, Problem>((metadata, value.to_string()))
    };
    let (metadata, text) = service.calls().run(load).await?;
    let mut headers = headers_of(&metadata);
    if conditions.for_reading(&metadata)? == Verdict::NotModified {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    Ok((headers, Body::from(text)).into_response())
}

/// The metadata of a document that the client has already, where it asks only for another: its text, which is made of
/// what is stored, need not be.
fn unchanged(store: &Store, key: &str, conditions: &Conditions) -> Answer<Option<Metadata>> {
    if !conditions.may_be_unchanged() {
        return Ok(None);
    }
    let Some(metadata) = store.metadata(key)? else {
        return Ok(None);
    };
    check_document(&metadata)?;
    let verdict = conditions.for_reading(&metadata)?;
    Ok((verdict == Verdict::NotModified).then_some(metadata))
}

/// A part of a document, and the metadata of the same moment.
fn load_part(store: &Store, key: &str, pointer: &str) -> Answer<(Metadata, Value)> {
    let found = store.part_at(key, pointer).map_err(|error| match error {
        Error::InvalidDocument { reason } => Problem::bad_request(reason),
        error => error.into(),
    })?;
    let (metadata, part) = found.ok_or_else(|| Problem::not_found(key))?;
    let missing = || {
        Problem::new(StatusCode::NOT_FOUND, "the document has no such place")
            .with("key", key)
            .with("pointer", pointer)
    };
    Ok((metadata, part.ok_or_else(missing)?))
}

fn check_document(metadata: &Metadata) -> Result<(), Error> {
    if metadata.kind == Kind::Document {
        return Ok(());
    }
    Err(Error::WrongKind {
        key: metadata.key.clone(),
        expected: Kind::Document.as_str(),
        found: metadata.kind.as_str(),
    })
}

async fn save(
    State(service): State<Service>,
    caller: Caller,
    KeyPath(key): KeyPath,
    headers: HeaderMap,
    WholeBody(body): WholeBody,
) -> Answer {
    if media_type(&headers) != "application/json" {
        return Err(Problem::unsupported_type("application/json"));
    }
    let conditions = Conditions::of(&headers)?;
    let write = move || {
        let value = parse_json(&body)?;
        conditions.write(&caller.store, &key, |mode| {
            let options = PutOptions::new().mode(mode);
            caller.store.save_with(&key, &value, options)
        })
    };
    let stored = service.calls().run(write).await?;
    Ok(show::written(&stored))
}

/// How to merge; only for a merge of the store's own kind.
#[derive(Deserialize, Default, Clone, Copy)]
#[serde(deny_unknown_fields)]
pub(super) struct Merging {
    arrays: Option<AskedArrays>,
    nulls: Option<AskedNulls>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum AskedArrays {
    ByIndex,
    Replace,
    Append,
    Union,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum AskedNulls {
    Store,
    Remove,
}

/// How to change a document.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changing {
    arrays: Option<AskedArrays>,
    nulls: Option<AskedNulls>,
    /// Whether only what the document would be is asked for.
    #[serde(default)]
    dry_run: bool,
}

impl Merging {
    pub(super) fn options(self) -> MergeOptions {
        MergeOptions::new()
            .arrays(match self.arrays {
                None | Some(AskedArrays::ByIndex) => Arrays::ByIndex,
                Some(AskedArrays::Replace) => Arrays::Replace,
                Some(AskedArrays::Append) => Arrays::Append,
                Some(AskedArrays::Union) => Arrays::Union,
            })
            .nulls(match self.nulls {
                None | Some(AskedNulls::Store) => Nulls::Store,
                Some(AskedNulls::Remove) => Nulls::Remove,
            })
    }
}

async fn change(
    State(service): State<Service>,
    caller: Caller,
    KeyPath(key): KeyPath,
    Asked(changing): Asked<Changing>,
    headers: HeaderMap,
    WholeBody(body): WholeBody,
) -> Answer {
    let conditions = Conditions::of(&headers)?;
    let merging = Merging {
        arrays: changing.arrays,
        nulls: changing.nulls,
    };
    let change = match media_type(&headers).as_str() {
        OWN_MERGE => Change::Merge(merging.options()),
        _ if merging.arrays.is_some() || merging.nulls.is_some() => {
            return Err(Problem::bad_request(format!(
                "`arrays` and `nulls` are for {OWN_MERGE}"
            )));
        }
        MERGE_PATCH => Change::Merge(MergeOptions::rfc7396()),
        JSON_PATCH => Change::Patch,
        _ => {
            return Err(Problem::unsupported_type(
                "application/merge-patch+json, application/json-patch+json, \
                 application/vnd.komatik.merge+json",
            ));
        }
    };
    if changing.dry_run {
        let rehearse = move || {
            let changed = rehearse(&caller.store, &key, &conditions, &change, &body)?;
            Ok::<_, Problem>(changed.to_string())
        };
        let changed = service.calls().run(rehearse).await?;
        let json = [(header::CONTENT_TYPE, "application/json")];
        return Ok((json, changed).into_response());
    }
    let write = move || {
        let value = parse_json(&body)?;
        let store = &caller.store;
        match change {
            Change::Merge(options) => conditions.write(store, &key, |mode| {
                store.merge_with(&key, &value, options.clone().mode(mode))
            }),
            Change::Patch => {
                let patch = patch_of(value)?;
                conditions.write(store, &key, |mode| store.patch_with(&key, &patch, mode))
            }
        }
    };
    let stored = service.calls().run(write).await?;
    Ok(show::written(&stored))
}

/// What a document would be after the change, which is not made.
fn rehearse(
    store: &Store,
    key: &str,
    conditions: &Conditions,
    change: &Change,
    body: &[u8],
) -> Answer<Value> {
    let value = parse_json(body)?;
    let patch = match change {
        Change::Merge(_) => Patch::default(),
        Change::Patch => patch_of(value.clone())?,
    };
    // Before the transaction, so that no password is verified while others wait.
    ask_for_all(store, key)?;
    let mut changed = None;
    let ended = store.transaction(|tx| {
        if let Err(problem) = conditions.check(tx.metadata(key)?.as_ref()) {
            changed = Some(Err(problem));
            return Err(Error::Cancelled);
        }
        match change {
            Change::Merge(options) => tx.merge_with(key, &value, options.clone())?,
            Change::Patch => tx.patch(key, &patch)?,
        }
        changed = tx.load::<Value>(key)?.map(Ok);
        Err::<(), _>(Error::Cancelled)
    });
    match (changed, ended) {
        (Some(changed), _) => changed,
        (None, Err(error)) => Err(error.into()),
        (None, Ok(())) => Err(Problem::internal("a change that left no document")),
    }
}

enum Change {
    Merge(MergeOptions),
    Patch,
}

pub(super) fn patch_of(value: Value) -> Answer<Patch> {
    serde_json::from_value(value)
        .map_err(|error| Problem::bad_request(format!("this is no JSON Patch: {error}")))
}
