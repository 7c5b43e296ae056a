//! `/v1/blobs/`: contents, streamed in and out.

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Service;
use super::auth::Caller;
use super::conditions::Conditions;
use super::content::{Content, Disposition, send};
use super::form::{Form, Part};
use super::key::{Asked, KeyPath, check_coding, media_type};
use super::lists::{decoded, elements};
use super::problem::{Answer, Problem};
use super::show;
use crate::{Attributes, Metadata, PutOptions, Store, WriteMode, WriteOptions};

/// How many bytes are there: before an append, and after it.
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// Attributes of an entry: a list of `name=value`.
const ATTRIBUTE: HeaderName = HeaderName::from_static("komatik-attribute");

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/v1/blobs/{*key}", get(load).put(save).post(add))
        .route("/v1/blobs", axum::routing::post(add_to_root))
        // Content is streamed, and so has no limit.
        .layer(DefaultBodyLimit::disable())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Showing {
    #[serde(default)]
    disposition: Disposition,
}

async fn load(
    State(service): State<Service>,
    caller: Caller,
    KeyPath(key): KeyPath,
    Asked(showing): Asked<Showing>,
    method: Method,
    request: HeaderMap,
) -> Answer {
    let open = move || {
        let reader = caller.store.reader(&key)?;
        let reader = reader.ok_or_else(|| Problem::not_found(&key))?;
        Ok::<_, Problem>(Content::of(reader)?)
    };
    let content = service.calls().run(open).await?;
    let mut answer = send(
        service.calls(),
        content,
        &method,
        &request,
        showing.disposition,
    )?;
    if method == Method::HEAD
        && let Some(length) = answer.headers().get(header::CONTENT_LENGTH).cloned()
    {
        // Where an upload that broke off goes on.
        answer.headers_mut().insert(UPLOAD_OFFSET, length);
    }
    Ok(answer)
}

/// What the headers of a request say of the content it brings.
fn options_of(headers: &HeaderMap) -> Answer<PutOptions> {
    check_coding(headers)?;
    let mut options = PutOptions::new();
    if let Some(given) = headers.get(header::CONTENT_TYPE) {
        let given = given.to_str();
        options = options.content_type(given.map_err(|_| Problem::bad_request("`Content-Type`"))?);
    }
    let mut attributes = Attributes::new();
    for attribute in elements(headers, ATTRIBUTE) {
        let (name, value) = attribute_of(attribute).ok_or_else(|| {
            Problem::bad_request("`Komatik-Attribute` is no list of name=value in UTF-8")
        })?;
        attributes.insert(name, value);
    }
    Ok(match attributes.is_empty() {
        true => options,
        false => options.attributes(attributes),
    })
}

fn attribute_of(element: &[u8]) -> Option<(String, String)> {
    let equals = element.iter().position(|byte| *byte == b'=')?;
    let (name, value) = element.split_at(equals);
    Some((decoded(name)?, decoded(&value[1..])?))
}

async fn save(
    State(service): State<Service>,
    caller: Caller,
    KeyPath(key): KeyPath,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    if parts.headers.contains_key(header::CONTENT_RANGE) {
        // To store a part as if it were the whole is what nobody wants: RFC 9110, section 14.5.
        return Err(Problem::bad_request(
            "to add to a blob, POST with `Upload-Offset`",
        ));
    }
    let conditions = Conditions::of(&parts.headers)?;
    let options = options_of(&parts.headers)?;
    let (calls, store) = (service.calls(), caller.store);
    let (view, asked, given) = (store.clone(), conditions.clone(), key.clone());
    let open = move || asked.writer(&view, &given, options.into());
    let writer = calls.run(open).await?;
    let writer = calls.write(writer, body.into_data_stream()).await?;
    let commit = move || conditions.commit(&store, &key, writer);
    let stored = calls.run(commit).await?;
    Ok(show::written(&stored))
}

/// Adds to a blob at an offset, or takes the files of a form into a folder.
async fn add(
    state: State<Service>,
    caller: Caller,
    KeyPath(key): KeyPath,
    request: Request,
) -> Answer {
    if media_type(request.headers()) == "multipart/form-data" {
        return take_form(state, caller, key, request).await;
    }
    append(state, caller, key, request).await
}

async fn add_to_root(state: State<Service>, caller: Caller, request: Request) -> Answer {
    if media_type(request.headers()) == "multipart/form-data" {
        return take_form(state, caller, String::new(), request).await;
    }
    Err(Problem::unsupported_type("multipart/form-data"))
}

/// Adds behind the last byte, where the request knows how many there are. A large upload made of such pieces goes on, after
/// the connection broke, with the piece that was under way: of that nothing is kept.
async fn append(
    State(service): State<Service>,
    caller: Caller,
    key: String,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    let offset = parts.headers.get(UPLOAD_OFFSET);
    let offset = offset.and_then(|offset| offset.to_str().ok()?.parse::<u64>().ok());
    let offset = offset.ok_or_else(|| {
        Problem::bad_request("to add to a blob, `Upload-Offset` says how many bytes it has")
    })?;
    if Conditions::of(&parts.headers)?.is_any() {
        return Err(Problem::bad_request(
            "the offset is the condition of adding to a blob",
        ));
    }
    let options = WriteOptions {
        mode: WriteMode::Append,
        ..options_of(&parts.headers)?.into()
    };
    let open = move || {
        let writer = caller.store.writer(&key, options)?;
        match writer.size() == offset {
            true => Ok(writer),
            false => Err(conflict(&key, offset, Some(writer.size()))),
        }
    };
    let writer = service.calls().run(open).await?;
    let writer = service
        .calls()
        .write(writer, body.into_data_stream())
        .await?;
    let commit = move || {
        writer.commit().map_err(|error| match error {
            crate::Error::RevisionMismatch { key, .. } | crate::Error::AlreadyExists { key } => {
                conflict(&key, offset, None)
            }
            error => error.into(),
        })
    };
    let stored = service.calls().run(commit).await?;
    let mut answer = show::written(&stored);
    let size = HeaderValue::from(stored.size);
    answer.headers_mut().insert(UPLOAD_OFFSET, size);
    Ok(answer)
}

fn conflict(key: &str, offset: u64, size: Option<u64>) -> Problem {
    let detail = match size {
        Some(size) => format!("`{key}` has {size} bytes"),
        None => format!("`{key}` was written meanwhile"),
    };
    let problem = Problem::new(StatusCode::CONFLICT, detail)
        .with("key", key)
        .with("expected", offset)
        .with("found", size);
    match size {
        Some(size) => problem.with_header(UPLOAD_OFFSET, HeaderValue::from(size)),
        None => problem,
    }
}

/// Takes every file of a form into a folder, under its own name. Each is stored by itself: the answer tells which were,
/// also where a later one fails. That nothing is there yet is the one condition that can be meant of them all.
async fn take_form(
    State(service): State<Service>,
    caller: Caller,
    folder: String,
    request: Request,
) -> Answer {
    let conditions = Conditions::of(request.headers())?;
    if conditions.is_any() && !conditions.is_for_creating() {
        return Err(Problem::bad_request(
            "of conditions, a form takes `If-None-Match: *` alone",
        ));
    }
    let mut form = Form::of(request, &service).await?;
    let target = Target {
        service,
        store: caller.store,
        folder,
        conditions,
    };
    let mut stored: Vec<Value> = Vec::new();
    match target.take_files(&mut form, &mut stored).await {
        Ok(()) => Ok((StatusCode::CREATED, Json(json!({"stored": stored}))).into_response()),
        Err(problem) => Err(problem.with("stored", stored)),
    }
}

/// Where the files of a form go.
struct Target {
    service: Service,
    store: Store,
    folder: String,
    conditions: Conditions,
}

impl Target {
    async fn take_files(&self, form: &mut Form, stored: &mut Vec<Value>) -> Answer<()> {
        while let Some(part) = form.next().await? {
            // A field for a file that was left empty comes without a name.
            let Some(given) = part.given_name().filter(|given| !given.is_empty()) else {
                part.skip().await?;
                continue;
            };
            let key = self.key_of(given)?;
            if stored.iter().any(|stored| stored["key"] == key) {
                let detail = format!("the form has two files for {key:?}");
                return Err(Problem::bad_request(detail));
            }
            let metadata = self.take_file(key, part).await?;
            stored.push(json!(metadata));
        }
        Ok(())
    }

    fn key_of(&self, given: &str) -> Answer<String> {
        // Some browsers send the whole path it has on their machine.
        let name = given.rsplit(['/', '\\']).next().unwrap_or("");
        if name.is_empty() {
            let detail = format!("a file of the form has no name: {given:?}");
            return Err(Problem::bad_request(detail));
        }
        Ok(match self.folder.trim_matches('/') {
            "" => name.to_owned(),
            folder => format!("{folder}/{name}"),
        })
    }

    async fn take_file(&self, key: String, part: Part<'_>) -> Answer<Metadata> {
        let mut options = WriteOptions::new();
        options.content_type = part.content_type().map(str::to_owned);
        let calls = self.service.calls();
        let (store, conditions, given) = (self.store.clone(), self.conditions.clone(), key.clone());
        let open = move || conditions.writer(&store, &given, options);
        let writer = calls.run(open).await?;
        let writer = calls.write(writer, part.content()).await?;
        let (store, conditions) = (self.store.clone(), self.conditions.clone());
        calls
            .run(move || conditions.commit(&store, &key, writer))
            .await
    }
}
