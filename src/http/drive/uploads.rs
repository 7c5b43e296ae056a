//! Files that come in parts. A part is a blob of its own until the upload ends, so it may come again and in any order.
//!
//! | entry of the uploads | is |
//! |---|---|
//! | `<id>` | which file it becomes |
//! | `<id>/<part>` | a part, its number in five digits |

use std::io::Write;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::query::Query;
use super::{Answer, Drive, Refusal, UNTOLD_TYPE, check_name, content_type, write};
use crate::http::Service;
use crate::http::passwords::random_secret;
use crate::http::problem::Problem;
use crate::{BlobWriter, Error, ListItem, Store, WriteOptions};

/// How long an upload may take.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Characters of the id of an upload, which is a random secret.
const ID_CHARS: usize = 43;

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
    let save = move || uploads.save(&key, &upload);
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
    let mut options = WriteOptions::new();
    // As it was told: a part has no name that could tell it.
    options.content_type = content_type(request.headers()).or(Some(UNTOLD_TYPE.to_owned()));
    let key = format!("{id}/{part:05}");
    let writer = write(&service, &drive.uploads, key, options, request).await?;
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
    // One client tells it as it begins, another with each part.
    let first = parts.first().map(|part| part.content_type.clone());
    let first = first.filter(|told| told != UNTOLD_TYPE);
    // One client begins with a type of no meaning, and tells the true one with the parts.
    options.content_type = first.or(upload.content_type);
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
    let look = move || under_way(&uploads, &key, SystemTime::now());
    let upload = service.calls().run(look).await?;
    upload
        .filter(|upload| upload.name == query.name)
        .ok_or_else(|| missing().into())
}

/// The upload with this key, `None` where it has ended or took too long.
fn under_way(uploads: &Store, key: &str, now: SystemTime) -> crate::Result<Option<Upload>> {
    let begun = uploads.metadata(key)?.map(|upload| upload.created);
    match begun.is_some_and(|begun| !is_old(begun, now)) {
        true => uploads.load(key),
        false => Ok(None),
    }
}

/// Also of one that began when the clock was ahead: it would have longer than any other.
fn is_old(begun: SystemTime, now: SystemTime) -> bool {
    let age = now.duration_since(begun);
    age.unwrap_or_else(|ahead| ahead.duration()) > LONGEST
}

fn missing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no such upload")
}

/// A part that has come.
struct Part {
    key: String,
    /// Another where it came again.
    revision: u64,
    content_type: String,
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
        let found = item.metadata.ok_or_else(|| Problem::not_found(id))?;
        parts.push(Part {
            key: format!("{id}/{}", item.name),
            revision: found.revision,
            content_type: found.content_type,
        });
    }
    Ok(Ok(parts))
}

/// Keeps a part where its upload is still under way: one that was given up meanwhile would leave it behind.
fn commit_part(uploads: &Store, id: &str, mut writer: BlobWriter) -> Result<(), Problem> {
    writer.prepare()?;
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
fn commit(
    uploads: &Store,
    id: &str,
    parts: &[Part],
    mut writer: BlobWriter,
) -> Result<(), Problem> {
    writer.prepare()?;
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
    let reader = reader.ok_or_else(|| Problem::not_found(part))?;
    for chunk in reader.chunks() {
        writer
            .write_all(&chunk?)
            .map_err(|error| match error.downcast::<Error>() {
                Ok(own) => own.into(),
                Err(_) => Problem::internal("putting parts together"),
            })?;
    }
    Ok(writer)
}

fn remove(uploads: &Store, id: &str) -> crate::Result<()> {
    uploads.transaction(|tx| {
        tx.delete_folder(id)?;
        tx.delete(id)?;
        Ok(())
    })
}

/// Gives back the space of uploads to any drive that nobody ended, and of parts whose upload is not there; how many there were.
/// What cannot be read or removed is told of, and keeps no other.
pub(in crate::http) fn sweep(
    uploads: &Store,
    now: SystemTime,
    goes_on: &dyn Fn() -> bool,
) -> crate::Result<usize> {
    let mut drives = Vec::new();
    for project in folders(uploads, "")? {
        drives.extend(folders(uploads, &format!("{project}/"))?);
    }
    let (mut swept, mut failed, mut first) = (0, 0, None);
    for drive in drives {
        for item in uploads.list(&drive)? {
            if !goes_on() {
                return Ok(swept);
            }
            match item.and_then(|item| sweep_one(uploads, &drive, &item, now)) {
                Ok(is_swept) => swept += usize::from(is_swept),
                Err(error) => {
                    failed += 1;
                    first.get_or_insert(error);
                }
            }
        }
    }
    if let Some(error) = first {
        tracing::warn!(%error, count = failed, "uploads to drives that cannot be looked at or removed");
    }
    Ok(swept)
}

/// The paths of the folders in one, of which the path ends with a `/` where it is not the root.
fn folders(uploads: &Store, folder: &str) -> crate::Result<Vec<String>> {
    let items = uploads.list(folder)?.filter_map(Result::ok);
    let folders = items.filter(|item| item.is_folder);
    Ok(folders
        .map(|item| format!("{folder}{}", item.name))
        .collect())
}

fn sweep_one(
    uploads: &Store,
    drive: &str,
    item: &ListItem,
    now: SystemTime,
) -> crate::Result<bool> {
    let key = format!("{drive}/{}", item.name);
    let is_left = match &item.metadata {
        _ if !is_id(&item.name) => false,
        Some(upload) => is_old(upload.created, now) && is_upload(uploads, &key),
        None => item.is_folder && uploads.metadata(&key)?.is_none() && is_of_parts(uploads, &key)?,
    };
    if is_left {
        remove(uploads, &key)?;
    }
    Ok(is_left)
}

/// Whether it may be of an upload: somebody who sees all of the store may keep other things here.
fn is_id(name: &str) -> bool {
    let is_of_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    name.len() == ID_CHARS && name.bytes().all(is_of_id)
}

fn is_upload(uploads: &Store, key: &str) -> bool {
    let upload = uploads.load::<Upload>(key);
    upload.is_ok_and(|upload| upload.is_some())
}

fn is_of_parts(uploads: &Store, key: &str) -> crate::Result<bool> {
    let mut has_any = false;
    for part in uploads.list(key)? {
        let name = part?.name;
        if name.len() != 5 || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(false);
        }
        has_any = true;
    }
    Ok(has_any)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(store: &Store, key: &str) {
        let upload = Upload {
            name: "a".to_owned(),
            content_type: None,
        };
        store.save(key, &upload).unwrap();
        store.put(&format!("{key}/00001"), "x").unwrap();
    }

    /// Uploads to two drives.
    fn uploads() -> (Store, [String; 2]) {
        let store = Store::in_memory().unwrap();
        let ids = ["proj/photos", "other/films"]
            .map(|drive| format!("{drive}/{}", random_secret().unwrap()));
        for id in &ids {
            begun(&store, id);
        }
        (store, ids)
    }

    #[test]
    fn uploads_that_nobody_ended_are_swept_from_every_drive() {
        let (store, ids) = uploads();
        let left = format!("proj/photos/{}", random_secret().unwrap());
        store.put(&format!("{left}/00001"), "x").unwrap();
        let now = SystemTime::now();
        let late = now + LONGEST + Duration::from_secs(60);
        assert_eq!(sweep(&store, now, &|| true).unwrap(), 1);
        assert!(!store.exists(&left).unwrap());
        for id in &ids {
            assert!(store.exists(&format!("{id}/00001")).unwrap());
        }
        assert_eq!(sweep(&store, late, &|| false).unwrap(), 0, "it is to stop");
        assert_eq!(sweep(&store, late, &|| true).unwrap(), 2);
        assert_eq!(store.list("").unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_upload_keeps_no_other_from_being_swept() {
        let (store, ids) = uploads();
        store.damage(&format!("proj/photos/{}", "-".repeat(ID_CHARS)));
        store.damage("other/films/~");
        let in_part = format!("other/films/{}", "z".repeat(ID_CHARS));
        begun(&store, &in_part);
        store.damage(&format!("{in_part}/00001"));
        let late = SystemTime::now() + LONGEST * 2;
        assert_eq!(sweep(&store, late, &|| true).unwrap(), 2);
        for id in &ids {
            assert!(!store.exists(id).unwrap());
        }
    }

    /// The folder is no other than any, for who sees all of the store.
    #[test]
    fn what_is_no_upload_stays() {
        let store = Store::in_memory().unwrap();
        let id = "a".repeat(ID_CHARS);
        let others = [
            "report".to_owned(),
            "2026/report".to_owned(),
            "2026/november/report".to_owned(),
            "2026/november/reports/00001".to_owned(),
            format!("2026/november/{id}"),
            format!("2026/december/{id}/report"),
        ];
        for other in &others {
            store.save(other, &serde_json::json!({"size": 1})).unwrap();
        }
        let late = SystemTime::now() + LONGEST * 2;
        assert_eq!(sweep(&store, late, &|| true).unwrap(), 0);
        for other in &others {
            assert!(store.exists(other).unwrap(), "{other}");
        }
    }

    #[test]
    fn an_upload_is_under_way_for_a_day() {
        let (store, [id, _]) = uploads();
        let second = Duration::from_secs(1);
        let begun = store.metadata(&id).unwrap().unwrap().created;
        for (now, expected) in [
            (begun, true),
            (begun + LONGEST, true),
            (begun + LONGEST + second, false),
            (begun - LONGEST, true),
            (begun - LONGEST - second, false),
        ] {
            let found = under_way(&store, &id, now).unwrap();
            assert_eq!(found.is_some(), expected);
        }
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
