//! Files that come in parts. A part is a blob of its own until the upload ends, so it may come again and in any order.
//!
//! | entry of the uploads | is |
//! |---|---|
//! | `<id>` | which file it becomes |
//! | `<id>/<part>` | a part, its number in five digits |

use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::query::Query;
use super::{Answer, Drive, Refusal, check_name, content_type, write};
use crate::http::Service;
use crate::http::passwords::random_secret;
use crate::http::problem::Problem;
use crate::{BlobWriter, Error, ListOptions, Store, WriteOptions};

/// How long an upload may take.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// How many uploads are looked at, each time one begins, for those that were never ended.
const LOOKED_AT: usize = 100;

/// The parameters of a path that names an upload.
#[derive(Deserialize)]
pub(super) struct Named {
    id: String,
}

/// What an upload becomes.
#[derive(Serialize, Deserialize)]
struct Upload {
    name: String,
    content_type: Option<String>,
}

pub(super) async fn begin(
    State(service): State<Service>,
    drive: Drive,
    query: Query,
    headers: HeaderMap,
) -> Answer {
    check_name(&query.name)?;
    let id = random_secret()?;
    let upload = Upload {
        name: query.name.clone(),
        content_type: content_type(&headers),
    };
    let (uploads, key) = (drive.uploads.clone(), id.clone());
    let save = move || {
        // Ids are random, and so are those looked at: where there are many, all of them are in time.
        sweep(&uploads, &key, SystemTime::now())?;
        uploads.save(&key, &upload)
    };
    service.calls().run(save).await?;
    Ok((StatusCode::ACCEPTED, told(&drive, &query, &id)).into_response())
}

pub(super) async fn take_part(
    State(service): State<Service>,
    Path(Named { id }): Path<Named>,
    drive: Drive,
    query: Query,
    request: Request,
) -> Answer {
    let part = query.part;
    let part = part.ok_or_else(|| Refusal::bad_request("`part` is missing"))?;
    find(&service, &drive, &query, &id).await?;
    let body = request.into_body();
    let key = format!("{id}/{part:05}");
    let writer = write(&service, &drive.uploads, key, WriteOptions::new(), body).await?;
    let (uploads, upload) = (drive.uploads.clone(), id.clone());
    let commit = move || commit_part(&uploads, &upload, writer);
    service.calls().run(commit).await?;
    let Json(mut answer) = told(&drive, &query, &id);
    answer["part"] = part.into();
    Ok(Json(answer).into_response())
}

pub(super) async fn end(
    State(service): State<Service>,
    Path(Named { id }): Path<Named>,
    drive: Drive,
    query: Query,
) -> Answer {
    let upload = find(&service, &drive, &query, &id).await?;
    let calls = service.calls();
    let (uploads, folder) = (drive.uploads.clone(), id.clone());
    let parts = calls.run(move || parts(&uploads, &folder)).await??;
    let (files, mut options) = (drive.files.clone(), WriteOptions::new());
    options.content_type = upload.content_type;
    let open = move || files.writer(&upload.name, options);
    let mut writer = calls.run(open).await?;
    for part in &parts {
        let (uploads, key) = (drive.uploads.clone(), part.key.clone());
        writer = calls.run(move || add(writer, &uploads, &key)).await?;
    }
    let (uploads, id_of) = (drive.uploads.clone(), id.clone());
    let commit = move || commit(&uploads, &id_of, &parts, writer);
    calls.run(commit).await?;
    Ok(told(&drive, &query, &id).into_response())
}

pub(super) async fn give_up(
    State(service): State<Service>,
    Path(Named { id }): Path<Named>,
    drive: Drive,
    query: Query,
) -> Answer {
    find(&service, &drive, &query, &id).await?;
    let (uploads, key) = (drive.uploads.clone(), id.clone());
    service.calls().run(move || remove(&uploads, &key)).await?;
    Ok(told(&drive, &query, &id).into_response())
}

fn told(drive: &Drive, query: &Query, id: &str) -> Json<Value> {
    let mut answer = drive.tell(&query.name);
    answer["upload_id"] = id.into();
    Json(answer)
}

/// The upload of this id and name.
async fn find(service: &Service, drive: &Drive, query: &Query, id: &str) -> Answer<Upload> {
    if crate::Key::parse(id).is_err() || id.contains('/') {
        return Err(missing().into());
    }
    let (uploads, key) = (drive.uploads.clone(), id.to_owned());
    let upload: Option<Upload> = service.calls().run(move || uploads.load(&key)).await?;
    upload
        .filter(|upload| upload.name == query.name)
        .ok_or_else(|| missing().into())
}

fn missing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no such upload")
}

/// A part that has come.
struct Part {
    key: String,
    /// Another where it came again.
    revision: u64,
}

/// The parts in their order, with none missing between them.
fn parts(uploads: &Store, id: &str) -> Result<Answer<Vec<Part>>, Problem> {
    let mut parts = Vec::new();
    for item in uploads.list(id)? {
        let item = item?;
        if item.name != format!("{:05}", parts.len() + 1) {
            let missing = format!("part {} is missing", parts.len() + 1);
            return Ok(Err(Refusal::bad_request(missing)));
        }
        parts.push(Part {
            key: format!("{id}/{}", item.name),
            revision: item.metadata.map_or(0, |part| part.revision),
        });
    }
    Ok(Ok(parts))
}

/// Keeps a part where its upload is still under way: one that was given up meanwhile would leave it behind.
fn commit_part(uploads: &Store, id: &str, writer: BlobWriter) -> Result<(), Problem> {
    let mut is_under_way = true;
    let kept = uploads.transaction(|tx| {
        is_under_way = tx.metadata(id)?.is_some();
        match is_under_way {
            true => tx.commit_blob(writer),
            false => Err(Error::Cancelled),
        }
    });
    match is_under_way {
        true => Ok(kept?),
        false => Err(missing()),
    }
}

/// Makes what was put together the file, and ends the upload. Neither happens where it has ended before, or a part has
/// come that is not in it.
fn commit(uploads: &Store, id: &str, parts: &[Part], writer: BlobWriter) -> Result<(), Problem> {
    let mut refused = None;
    let ended = uploads.transaction(|tx| {
        let mut is_same = true;
        for part in parts {
            let found = tx.metadata(&part.key)?;
            is_same &= found.is_some_and(|found| found.revision == part.revision);
        }
        let count = tx.delete_folder(id)?;
        refused = match (tx.delete(id)?, is_same && count == parts.len() as u64) {
            (false, _) => Some(missing()),
            (true, false) => Some(Problem::new(
                StatusCode::CONFLICT,
                "a part came while the parts were put together; end the upload again",
            )),
            (true, true) => None,
        };
        match refused {
            Some(_) => Err(Error::Cancelled),
            None => tx.commit_blob(writer),
        }
    });
    match refused {
        Some(refused) => Err(refused),
        None => Ok(ended?),
    }
}

fn add(mut writer: BlobWriter, uploads: &Store, part: &str) -> Result<BlobWriter, Problem> {
    let reader = uploads.reader(part)?;
    let mut reader = reader.ok_or_else(|| Problem::not_found(part))?;
    std::io::copy(&mut reader, &mut writer).map_err(|error| {
        match error.downcast::<crate::Error>() {
            Ok(own) => own.into(),
            Err(_) => Problem::internal("putting parts together"),
        }
    })?;
    Ok(writer)
}

fn remove(uploads: &Store, id: &str) -> crate::Result<()> {
    uploads.transaction(|tx| {
        tx.delete_folder(id)?;
        tx.delete(id)?;
        Ok(())
    })
}

/// Gives back the space of uploads that nobody ended, and of parts whose upload is not there: of those behind an id, and
/// then from the first one on.
fn sweep(uploads: &Store, id: &str, now: SystemTime) -> crate::Result<()> {
    let is_old = |created| now.duration_since(created).is_ok_and(|age| age > LONGEST);
    let behind = uploads.list_with("", ListOptions::new().after(id))?;
    for item in behind.chain(uploads.list("")?).take(LOOKED_AT) {
        let item = item?;
        let is_left = match item.is_folder {
            true => uploads.metadata(&item.name)?.is_none(),
            false => item.metadata.is_some_and(|upload| is_old(upload.created)),
        };
        if is_left {
            remove(uploads, &item.name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uploads_that_nobody_ended_are_swept() {
        let store = Store::in_memory().unwrap();
        store.save("id", &1).unwrap();
        store.put("id/00001", "x").unwrap();
        store.put("left/00001", "x").unwrap();
        sweep(&store, "z", SystemTime::now()).unwrap();
        assert!(store.exists("id/00001").unwrap());
        assert!(!store.exists("left").unwrap());
        sweep(&store, "z", SystemTime::now() + LONGEST * 2).unwrap();
        assert_eq!(store.list("").unwrap().count(), 0);
    }

    #[test]
    fn many_uploads_under_way_do_not_hide_those_that_are_left() {
        let store = Store::in_memory().unwrap();
        for number in 0..LOOKED_AT * 2 {
            store.save(&format!("a{number:03}"), &1).unwrap();
        }
        store.put("left/00001", "x").unwrap();
        sweep(&store, "a150", SystemTime::now()).unwrap();
        assert!(!store.exists("left").unwrap());
        assert_eq!(store.list("").unwrap().count(), LOOKED_AT * 2);
    }

    /// The store with an upload of two parts to `file`, which is there, and what ends it.
    fn put_together() -> (Store, Vec<Part>, BlobWriter) {
        let store = Store::in_memory().unwrap();
        store.put("file", "old").unwrap();
        let uploads = store.scoped("uploads").unwrap();
        uploads.save("id", &1).unwrap();
        for part in ["id/00001", "id/00002"] {
            uploads.put(part, "x").unwrap();
        }
        let parts = parts(&uploads, "id").unwrap().unwrap();
        let mut writer = store.writer("file", WriteOptions::new()).unwrap();
        for part in &parts {
            writer = add(writer, &uploads, &part.key).unwrap();
        }
        (store, parts, writer)
    }

    #[test]
    fn an_upload_ends_once_and_with_all_that_came() {
        type Meanwhile = fn(&Store);
        let cases: [(Meanwhile, u16); 5] = [
            (|_| {}, 200),
            (|uploads| remove(uploads, "id").unwrap(), 404),
            (|uploads| drop(uploads.put("id/00002", "x").unwrap()), 409),
            (|uploads| drop(uploads.put("id/00003", "x").unwrap()), 409),
            (|uploads| assert!(uploads.delete("id/00002").unwrap()), 409),
        ];
        for (meanwhile, expected) in cases {
            let (store, parts, writer) = put_together();
            let uploads = store.scoped("uploads").unwrap();
            meanwhile(&uploads);
            let ended = commit(&uploads, "id", &parts, writer);
            let status = ended.map_or_else(|refused| refused.status().as_u16(), |()| 200);
            assert_eq!(status, expected);
            let content = store.get("file").unwrap().unwrap();
            assert_eq!(content, if expected == 200 { "xx" } else { "old" });
            assert_eq!(uploads.exists("id").unwrap(), expected == 409);
        }
    }
}
