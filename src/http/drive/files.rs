//! The files of a drive: put at once, downloaded, listed and deleted.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::query::Query;
use super::{Answer, Drive, Refusal, check_name, content_type, write};
use crate::http::Service;
use crate::http::content::{Content, Disposition, send};
use crate::http::key::{parse_json, whole};
use crate::http::problem::Problem;
use crate::{Error, ListOptions, Listing, Store, WriteOptions};

/// How many files a request may delete.
const MOST_NAMES: usize = 1000;
/// And how long it may be: names of that many in the longest way to write them.
const MOST_NAMES_BYTES: usize = 8 * 1024 * 1024;

pub(super) async fn put(
    State(service): State<Service>,
    drive: Drive,
    query: Query,
    request: Request,
) -> Answer {
    check_name(&query.name)?;
    let mut options = WriteOptions::new();
    options.content_type = content_type(request.headers());
    let name = query.name.clone();
    let writer = write(&service, &drive.files, name, options, request).await?;
    service.calls().run(move || writer.commit()).await?;
    Ok((StatusCode::CREATED, Json(drive.tell(&query.name))).into_response())
}

pub(super) async fn download(
    State(service): State<Service>,
    drive: Drive,
    query: Query,
    method: Method,
    headers: HeaderMap,
) -> Answer {
    let missing = || Refusal(StatusCode::NOT_FOUND, "Key not found".to_owned());
    // What cannot be a name is nobody's.
    check_name(&query.name).map_err(|_| missing())?;
    let open = move || {
        let reader = drive.files.reader(&query.name)?;
        reader.map(Content::of).transpose()
    };
    let content = service.calls().run(open).await?.ok_or_else(missing)?;
    let answer = send(
        service.calls(),
        content,
        &method,
        &headers,
        Disposition::Inline,
    );
    Ok(answer?)
}

pub(super) async fn list(
    State(service): State<Service>,
    drive: Drive,
    query: Query,
) -> Answer<Json<Value>> {
    let list = move || page(&drive.files, &query);
    Ok(Json(service.calls().run(list).await?))
}

/// The names of a page; `paging` only where more remain.
fn page(files: &Store, query: &Query) -> crate::Result<Value> {
    let mut names: Vec<String> = Vec::new();
    let Some((folder, listing)) = listing(files, query)? else {
        return Ok(json!({"names": names}));
    };
    for item in listing {
        let item = item?;
        let name = format!("{folder}{}", item.cursor());
        if item.is_folder && (query.recursive || !has_file(files, &name)?) {
            continue;
        }
        if names.len() == query.limit {
            let paging = json!({"size": names.len(), "last": names.last()});
            return Ok(json!({"paging": paging, "names": names}));
        }
        names.push(name);
    }
    Ok(json!({"names": names}))
}

/// A drive has no empty folders; other ways into the store make some.
fn has_file(files: &Store, folder: &str) -> crate::Result<bool> {
    for item in files.list_with(folder, ListOptions::new().recursive())? {
        match item {
            Ok(item) if item.is_folder => {}
            // A damaged file is one.
            Ok(_) | Err(Error::Damaged { .. }) => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// What begins with the prefix and follows the cursor, and what stands before each name of it; `None` where nothing can.
/// Unless it is recursive, what follows the next `/` behind the prefix is told as one name.
fn listing<'a>(files: &Store, query: &'a Query) -> crate::Result<Option<(&'a str, Listing)>> {
    let prefix = prefix_of(files, query)?;
    let folder = match query.recursive {
        true => "",
        false => prefix
            .rfind('/')
            .map_or("", |end| prefix.split_at(end + 1).0),
    };
    if prefix.starts_with('/') || folder.ends_with("//") || crate::Folder::parse(folder).is_err() {
        return Ok(None);
    }
    let mut options = ListOptions::new().prefix(&prefix[folder.len()..]);
    options.recursive = query.recursive;
    let last = last_of(files, query);
    match last.strip_prefix(folder) {
        Some(last) if !last.is_empty() => options = options.after(last),
        // All that is in the folder is before it.
        None if last > folder => return Ok(None),
        Some(_) | None => {}
    }
    Ok(Some((folder, files.list_with(folder, options)?)))
}

/// What the names begin with: as it is decoded, unless only what was sent is the beginning of any.
fn prefix_of<'a>(files: &Store, query: &'a Query) -> crate::Result<&'a str> {
    let (sent, decoded) = (query.prefix_as_sent.as_str(), query.prefix.as_str());
    let is_begin = |prefix: &str| {
        let options = ListOptions::new().recursive().prefix(prefix).limit(1);
        Ok(files.list_with("", options)?.next().is_some())
    };
    Ok(
        match sent != decoded && !is_begin(decoded)? && is_begin(sent)? {
            true => sent,
            false => decoded,
        },
    )
}

/// The name that a page is to follow. The names of a page are as they are, and so may come the last of them. Where it has
/// gone since, nobody knows which was meant: names may be told again then, but none is left out.
fn last_of<'a>(files: &Store, query: &'a Query) -> &'a str {
    let (sent, decoded) = (query.last_as_sent.as_str(), query.last.as_str());
    let is_there = |name| files.exists(name).unwrap_or(false);
    match sent {
        _ if sent == decoded || is_there(sent) => sent,
        _ if is_there(decoded) => decoded,
        _ => sent.min(decoded),
    }
}

#[derive(Deserialize)]
struct Names {
    names: Vec<String>,
}

pub(super) async fn delete(
    State(service): State<Service>,
    drive: Drive,
    request: Request,
) -> Answer<Json<Value>> {
    let limit = service.limits().json_bytes.min(MOST_NAMES_BYTES);
    let body = whole(request, limit).await?;
    let delete = move || -> Result<_, Problem> {
        Ok(match names_of(&body) {
            Ok(names) => Ok(delete_all(&drive.files, names)?),
            Err(refused) => Err(refused),
        })
    };
    Ok(Json(service.calls().run(delete).await??))
}

fn names_of(body: &[u8]) -> Answer<Vec<String>> {
    let Names { names } = serde_json::from_value(parse_json(body)?)
        .map_err(|_| Refusal::bad_request("the body is no {\"names\": [..]}"))?;
    if names.iter().all(|name| name.trim().is_empty()) {
        return Err(Refusal::bad_request("no name to delete"));
    }
    match names.len() <= MOST_NAMES {
        true => Ok(names),
        false => Err(Refusal::bad_request("more than 1000 names")),
    }
}

/// Deletes what can be, in one step. What was not there is deleted as well.
fn delete_all(files: &Store, names: Vec<String>) -> crate::Result<Value> {
    files.transaction(|tx| {
        let (mut deleted, mut failed) = (Vec::new(), Map::new());
        for name in names {
            if name.trim().is_empty() {
                failed.insert(String::new(), "invalid name".into());
                continue;
            }
            // What cannot be a name was never there.
            let outcome = match check_name(&name) {
                Ok(()) => tx.delete(&name),
                Err(_) => Ok(false),
            };
            match outcome {
                Ok(_) => deleted.push(name),
                Err(error @ (Error::Locked { .. } | Error::TooManyTries { .. })) => {
                    failed.insert(name, error.to_string().into());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(json!({"deleted": deleted, "failed": failed}))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_one_and_hides_no_other() {
        let store = Store::in_memory().unwrap();
        store.put("b", "").unwrap();
        store.create_folder("empty/deep").unwrap();
        store.damage("a/1");
        let query = Query::parse("recursive=false").unwrap();
        let page = page(&store, &query).unwrap();
        assert_eq!(page, json!({"names": ["a/", "b"]}));
    }
}
