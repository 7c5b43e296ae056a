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
use crate::{BlobWriter, Store, WriteOptions};

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
        sweep(&uploads)?;
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
    service.calls().run(move || writer.commit()).await?;
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
    for part in parts {
        let uploads = drive.uploads.clone();
        writer = calls.run(move || add(writer, &uploads, &part)).await?;
    }
    let (uploads, key) = (drive.uploads.clone(), id.clone());
    let commit = move || {
        uploads.transaction(|tx| {
            tx.commit_blob(writer)?;
            tx.delete_folder(&key)?;
            tx.delete(&key)
        })
    };
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
    let missing = || Refusal(StatusCode::NOT_FOUND, "no such upload".to_owned());
    if crate::Key::parse(id).is_err() || id.contains('/') {
        return Err(missing());
    }
    let (uploads, key) = (drive.uploads.clone(), id.to_owned());
    let upload: Option<Upload> = service.calls().run(move || uploads.load(&key)).await?;
    upload
        .filter(|upload| upload.name == query.name)
        .ok_or_else(missing)
}

/// The keys of the parts in their order, with none missing between them.
fn parts(uploads: &Store, id: &str) -> Result<Answer<Vec<String>>, Problem> {
    let mut parts = Vec::new();
    for item in uploads.list(id)? {
        let name = item?.name;
        if name != format!("{:05}", parts.len() + 1) {
            let missing = format!("part {} is missing", parts.len() + 1);
            return Ok(Err(Refusal::bad_request(missing)));
        }
        parts.push(format!("{id}/{name}"));
    }
    Ok(Ok(parts))
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

/// Gives back the space of uploads that nobody ended.
fn sweep(uploads: &Store) -> crate::Result<()> {
    let now = SystemTime::now();
    let is_old = |created| now.duration_since(created).is_ok_and(|age| age > LONGEST);
    for item in uploads.list("")?.take(LOOKED_AT) {
        let item = item?;
        if item.metadata.is_some_and(|upload| is_old(upload.created)) {
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
        sweep(&store).unwrap();
        assert!(store.exists("id/00001").unwrap());
    }
}
