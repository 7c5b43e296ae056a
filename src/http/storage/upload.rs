//! Files into a folder, each under its own name, or under the next free one.

use std::path::Path;

use axum::Json;
use axum::extract::Request;
use serde_json::{Value, json};

use super::super::Service;
use super::super::form::{Form, unplaced};
use super::super::passwords::random_secret;
use super::path::Place;
use super::refusal::Refusal;
use super::{Caller, call, under};
use crate::{BlobWriter, Error, MAX_SEGMENT_BYTES, Store, Transaction, WriteOptions};

/// How many names are tried before a random one is taken.
const NUMBERED_NAMES: usize = 100;
/// A longer one is a part of the name: it would leave no place for a number.
const LONGEST_EXTENSION: usize = 64;

/// Stores each part of the form in the folder, which is made where only itself is missing. Each file is there as soon as
/// its part has ended, and whole; those before one that fails stay.
pub(super) async fn put(
    service: &Service,
    caller: Caller,
    place: Place,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    let Caller { account, store } = caller;
    // Before the body is read: it may be large.
    let (asked, folder) = (store.clone(), place.clone());
    call(service, move || can_take_files(&asked, &folder)).await?;
    let mut form = Form::of(request, service).await.map_err(Refusal::upload)?;
    let mut written: Vec<String> = Vec::new();
    while let Some(part) = form.next().await.map_err(Refusal::upload)? {
        let name = match part.file_name() {
            Some(name) => name,
            None => random_name()?,
        };
        let (view, named) = (store.clone(), name.clone());
        let open = move || unplaced(&view, &named, WriteOptions::new());
        let writer = service.calls().run(open).await?;
        let writer = service.calls().write(writer, part.content()).await;
        let writer = writer.map_err(Refusal::upload)?;
        let (view, folder) = (store.clone(), place.clone());
        let path = call(service, move || commit(&view, &folder, &name, writer)).await?;
        written.push(format!("storage/{}/{path}", account.name));
    }
    // With a file the folder was made, and may have been deleted since.
    if written.is_empty() {
        let make = move || Ok(store.transaction(|tx| make_folder(tx, &place))?);
        call(service, make).await?;
    }
    Ok(Json(json!({"files_written": written})))
}

/// In one transaction: between two reads of the store another upload may make the folder, which is no file of its name.
fn can_take_files(store: &Store, folder: &Place) -> Result<(), Refusal> {
    Ok(store.transaction(|tx| check_folder(tx, folder))?)
}

/// Whether the folder is there, or can be made.
fn check_folder(tx: &mut Transaction<'_>, folder: &Place) -> Result<(), Error> {
    match tx.is_folder(&folder.key)? {
        true => Ok(()),
        false => super::make::check_free(tx, folder),
    }
}

/// The folder is one that stays when it is empty, as on a disk.
fn make_folder(tx: &mut Transaction<'_>, folder: &Place) -> Result<(), Error> {
    if folder.is_root() {
        return Ok(());
    }
    check_folder(tx, folder)?;
    tx.create_folder(&folder.key)
}

/// Makes the content a file of the folder in one step, under the first name that is free. Answers its key.
fn commit(
    store: &Store,
    folder: &Place,
    name: &str,
    mut writer: BlobWriter,
) -> Result<String, Refusal> {
    writer.prepare()?;
    let random = random_name()?;
    Ok(store.transaction(|tx| {
        make_folder(tx, folder)?;
        let mut key = under(&folder.key, &numbered(name, &random));
        for number in 0..NUMBERED_NAMES {
            let candidate = match number {
                0 => name.to_owned(),
                _ => numbered(name, &number.to_string()),
            };
            let candidate = under(&folder.key, &candidate);
            if !tx.exists(&candidate)? {
                key = candidate;
                break;
            }
        }
        tx.commit_blob_as(&key, writer)?;
        Ok(key)
    })?)
}

/// `name (number).extension`, with so much of the name as a key takes.
fn numbered(name: &str, number: &str) -> String {
    let path = Path::new(name);
    let extension = path.extension().and_then(|part| part.to_str());
    let extension = extension.filter(|part| part.len() <= LONGEST_EXTENSION);
    let stem = path.file_stem().and_then(|part| part.to_str());
    let stem = stem.filter(|_| extension.is_some()).unwrap_or(name);
    let end = match extension {
        Some(extension) => format!(" ({number}).{extension}"),
        None => format!(" ({number})"),
    };
    let room = MAX_SEGMENT_BYTES.saturating_sub(end.len());
    format!("{}{end}", &stem[..stem.floor_char_boundary(room)])
}

fn random_name() -> Result<String, Refusal> {
    let mut name = random_secret()?;
    name.truncate(21);
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_before_the_extension() {
        for (name, expected) in [
            ("plan.txt", "plan (1).txt"),
            ("plan", "plan (1)"),
            ("a.tar.gz", "a.tar (1).gz"),
            (".profile", ".profile (1)"),
            ("plan.", "plan (1)."),
        ] {
            assert_eq!(numbered(name, "1"), expected);
        }
        let end = numbered(&format!("a.{}", "x".repeat(250)), "1");
        assert!(
            end.len() <= MAX_SEGMENT_BYTES && end.ends_with("x (1)"),
            "{end}"
        );
        let long = numbered(&format!("{}.txt", "\u{e4}".repeat(125)), "12");
        assert!(
            long.len() <= MAX_SEGMENT_BYTES && long.ends_with(" (12).txt"),
            "{long}"
        );
    }
}
