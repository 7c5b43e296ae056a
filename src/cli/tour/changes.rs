//! Changes told, folders moved and deleted, and several keys written at once.

use std::io::Write;
use std::sync::mpsc;
use std::time::Instant;

use komatik::{
    Change, ChangeKind, Error, Events, ListItem, ListOptions, PutMode, Result, Since, Store,
    Watcher, WriteOptions,
};
use serde_json::json;

use super::{Said, Tour};
use crate::cli::failure::{Failure, Outcome, ensure};
use crate::cli::show;

/// Documents that are written, changed, moved and deleted while somebody watches.
const WATCHED: usize = 100;

/// Makes changes before a callback and a watcher, which must both be told of each, once and in order.
pub(super) fn watch(tour: &mut Tour) -> Outcome<Said> {
    let store = tour.store.scoped("tour/watched")?.acting_as("guide");
    let (sender, told) = mpsc::channel::<Change>();
    let subscription = store.on(Events::ALL, move |change| {
        // Where nobody receives any more, nobody asks either.
        let _ = sender.send(change.clone());
    });
    let mut watcher = store.watch("", Since::Now)?;
    let clock = Instant::now();
    change_all(&store)?;
    let time = clock.elapsed();
    subscription.off();

    let told: Vec<Change> = told.try_iter().collect();
    let seen = rest(&mut watcher)?;
    ensure(told == seen, || {
        format!(
            "the callback was told {} changes, the watcher {}",
            told.len(),
            seen.len()
        )
    })?;
    ensure(told.len() == 4 * WATCHED, || {
        format!("{} changes were told of {}", told.len(), 4 * WATCHED)
    })?;
    for (change, kind) in told.iter().zip(expected_kinds()) {
        let participant = change.participant.as_deref();
        ensure(change.kind == kind && participant == Some("guide"), || {
            format!("{change:?} was told for {kind:?}")
        })?;
    }
    Ok(Said::from(format!(
        "{} durable changes told to a callback and a watcher, in order: {}",
        show::count(told.len()),
        show::rate(told.len(), time),
    )))
}

fn change_all(store: &Store) -> Result<()> {
    for index in 0..WATCHED {
        let (name, moved) = names(index);
        store.save(&name, &json!({"index": index}))?;
        store.merge(&name, &json!({"merged": true}))?;
        store.rename(&name, &moved, PutMode::Create)?;
        store.delete(&moved)?;
    }
    Ok(())
}

fn names(index: usize) -> (String, String) {
    (format!("{index}"), format!("moved/{index}"))
}

fn expected_kinds() -> impl Iterator<Item = ChangeKind> {
    (0..WATCHED).flat_map(|index| {
        let (from, _) = names(index);
        [
            ChangeKind::Put,
            ChangeKind::Put,
            ChangeKind::Move { from },
            ChangeKind::Delete,
        ]
    })
}

/// The changes a watcher has not told yet.
pub(super) fn rest(watcher: &mut Watcher) -> Result<Vec<Change>> {
    std::iter::from_fn(|| watcher.try_recv().transpose()).collect()
}

/// Entries that are copied at most: a move of many more would not fit into one commit.
const COPIED: usize = 5_000;

/// Copies entries into a folder, moves it and deletes it. The originals must not notice, which later steps see.
pub(super) fn folder(tour: &mut Tour) -> Outcome<Said> {
    let store = &tour.store;
    let copying = Instant::now();
    let chosen = tour.stored.iter().take(COPIED);
    let eventual = store.with_durability(komatik::Durability::Eventual);
    let chunk_bytes = store.stats()?.chunk_bytes;
    for stored in chosen.clone() {
        let copy = format!("copies/{}", stored.file.name);
        eventual.copy(&stored.file.key(), &copy, PutMode::Create)?;
    }
    let copying = copying.elapsed();
    ensure(store.stats()?.chunk_bytes == chunk_bytes, || {
        "copies take the space of their content".to_owned()
    })?;

    let moving = Instant::now();
    let moved = store.rename_folder("copies", "moved")?;
    let moving = moving.elapsed();
    ensure(usize::try_from(moved).ok() == Some(chosen.len()), || {
        format!("{moved} entries were moved of {}", chosen.len())
    })?;
    let listing = store.list_with("moved", ListOptions::new().recursive())?;
    let listed = listing.collect::<Result<Vec<ListItem>>>()?;
    let digests = listed
        .iter()
        .filter_map(|item| Some(item.metadata.as_ref()?.digest));
    ensure(
        digests.eq(chosen.map(|stored| stored.metadata.digest)),
        || "what lies in the moved folder is not what was copied".to_owned(),
    )?;
    ensure(!store.exists("copies")?, || {
        "the folder is in its old place too".to_owned()
    })?;

    let deleting = Instant::now();
    let deleted = store.delete_folder("moved")?;
    let deleting = deleting.elapsed();
    ensure(deleted == moved && !store.exists("moved")?, || {
        format!("{deleted} entries were deleted of {moved}")
    })?;
    Ok(Said::from(format!(
        "{} copied without their bytes: {}; moved in {}, deleted in {}, each in one step",
        show::number_of(moved, "entry", "entries"),
        show::rate(moved, copying),
        show::time(moving),
        show::time(deleting),
    )))
}

/// Documents and bytes that one transaction writes besides a blob.
const WRITTEN: usize = 10;

/// Writes several keys in one step; and, in one that fails, none.
pub(super) fn transaction(tour: &mut Tour) -> Outcome<Said> {
    let store = tour.store.scoped("tour/order")?;
    store.save("left", &WRITTEN)?;
    let mut watcher = store.watch("", Since::Now)?;
    let mut writer = store.writer("receipt.bin", WriteOptions::create())?;
    let receipt = vec![7; 1_000_000];
    writer
        .write_all(&receipt)
        .map_err(|error| Failure::told(error.to_string()))?;

    let clock = Instant::now();
    store.transaction(|order| {
        for index in 0..WRITTEN {
            let left: usize = order.load("left")?.unwrap_or(0);
            order.save(&format!("item/{index}"), &json!({"of": left}))?;
            order.save("left", &(left - 1))?;
        }
        order.commit_blob(writer)
    })?;
    let time = clock.elapsed();
    let changes = rest(&mut watcher)?;
    let revision = store.metadata("left")?.map(|metadata| metadata.revision);
    ensure(
        changes
            .iter()
            .all(|change| Some(change.revision) == revision),
        || "the changes of a transaction have several revisions".to_owned(),
    )?;
    ensure(store.load::<usize>("left")? == Some(0), || {
        "a write is missing".to_owned()
    })?;
    ensure(
        store.get("receipt.bin")?.as_deref() == Some(&receipt[..]),
        || "the blob of the transaction is other content".to_owned(),
    )?;

    let failed = store.transaction(|order| {
        order.save("left", &1)?;
        order.delete_folder("item")?;
        order.rename("missing", "found", PutMode::Create)
    });
    let is_refused = matches!(failed, Err(Error::NotFound { .. }));
    let items = store.list("item")?.count();
    let left = store.load::<usize>("left")?;
    ensure(is_refused && items == WRITTEN && left == Some(0), || {
        "a transaction that failed has done something".to_owned()
    })?;
    Ok(Said::from(format!(
        "{} keys written in one step in {}; one that failed left nothing",
        show::count(WRITTEN + 2),
        show::time(time),
    )))
}
