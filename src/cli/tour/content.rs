//! Files in, documents about them in, out and merged.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use komatik::Durability;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Said, Stored, Tour};
use crate::cli::failure::{Failure, Outcome, ensure};
use crate::cli::progress::Bar;
use crate::cli::upload::store_file;
use crate::cli::walk::Skipped;
use crate::cli::{interrupt, show};

/// Stores every file. What cannot be read is skipped.
pub(super) fn upload(tour: &mut Tour) -> Outcome<Said> {
    let clock = Instant::now();
    let store = tour.store.with_durability(Durability::Eventual);
    let bar = Bar::of_bytes(tour.found.iter().map(|file| file.size).sum());
    let mut skipped = Vec::new();
    for file in std::mem::take(&mut tour.found) {
        interrupt::check()?;
        match store_file(&store, &file.key(), &file.path, |_| {
            ControlFlow::Continue(())
        })? {
            Ok(metadata) => {
                bar.advance(metadata.size);
                tour.stored.push(Stored { file, metadata });
            }
            Err(reason) => skipped.push(Skipped::failed(&file.path, reason)),
        }
    }
    store.flush()?;
    drop(bar);
    let (bytes, time) = (tour.stored_bytes(), clock.elapsed());
    let text = format!(
        "{}, {}, flushed: {}, {}",
        show::number_of(tour.stored.len(), "blob", "blobs"),
        show::bytes(bytes),
        show::byte_rate(bytes, time),
        show::rate(tour.stored.len(), time),
    );
    Ok(Said { text, skipped })
}

/// What the catalogue says of a file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct CatalogueEntry {
    path: String,
    size: u64,
    /// Seconds since 1970, also of files that are older.
    modified: i64,
    content_type: String,
    digest: String,
}

impl CatalogueEntry {
    fn of(stored: &Stored) -> CatalogueEntry {
        CatalogueEntry {
            path: stored.file.name.clone(),
            size: stored.metadata.size,
            modified: seconds(stored.file.modified),
            content_type: stored.metadata.content_type.clone(),
            digest: stored.metadata.digest.to_string(),
        }
    }
}

fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    }
}

/// Saves a document about every file.
pub(super) fn catalogue(tour: &mut Tour) -> Outcome<Said> {
    let clock = Instant::now();
    let store = tour.store.with_durability(Durability::Eventual);
    let bar = Bar::of_items(tour.stored.len());
    for stored in &tour.stored {
        interrupt::check()?;
        store.save(&stored.file.catalogue_key(), &CatalogueEntry::of(stored))?;
        bar.advance(1);
    }
    store.flush()?;
    Ok(Said::from(format!(
        "{} saved, flushed: {}",
        documents(tour.stored.len()),
        show::rate(tour.stored.len(), clock.elapsed()),
    )))
}

/// Loads every document, and a part of it.
pub(super) fn load(tour: &mut Tour) -> Outcome<Said> {
    let clock = Instant::now();
    for stored in &tour.stored {
        interrupt::check()?;
        let key = stored.file.catalogue_key();
        let loaded = tour.store.load::<CatalogueEntry>(&key)?;
        ensure(loaded == Some(CatalogueEntry::of(stored)), || {
            format!("{key} is not what was saved: {loaded:?}")
        })?;
        let size = tour.store.load_at::<u64>(&key, "/size")?;
        ensure(size == Some(stored.metadata.size), || {
            format!("{key} has the size {size:?}")
        })?;
    }
    Ok(Said::from(format!(
        "{}, each whole and by pointer: {}",
        documents(tour.stored.len()),
        show::rate(2 * tour.stored.len(), clock.elapsed()),
    )))
}

/// Merges a counter into every document, and raises it.
pub(super) fn merge(tour: &mut Tour) -> Outcome<Said> {
    let clock = Instant::now();
    let store = tour.store.with_durability(Durability::Eventual);
    let bar = Bar::of_items(tour.stored.len());
    for stored in &tour.stored {
        interrupt::check()?;
        let key = stored.file.catalogue_key();
        store.merge(&key, &json!({"seen": {"count": 1, "by": "tour"}}))?;
        let count = store.load_at::<u64>(&key, "/seen/count")?.unwrap_or(0);
        store.merge(&key, &json!({"seen": {"count": count + 1}}))?;
        bar.advance(1);
    }
    store.flush()?;
    let time = clock.elapsed();
    for stored in &tour.stored {
        interrupt::check()?;
        let key = stored.file.catalogue_key();
        let mut expected = serde_json::to_value(CatalogueEntry::of(stored))
            .map_err(|error| Failure::told(error.to_string()))?;
        expected["seen"] = json!({"count": 2, "by": "tour"});
        let merged = store.load::<Value>(&key)?;
        ensure(merged.as_ref() == Some(&expected), || {
            format!("{key} was merged to {merged:?}")
        })?;
    }
    Ok(Said::from(format!(
        "{} twice, flushed: {}",
        documents(tour.stored.len()),
        show::rate(2 * tour.stored.len(), time),
    )))
}

/// Threads that merge into one document at once, and how often each.
const THREADS: u64 = 4;
const MERGES: u64 = 50;

/// Merges into one document from several threads: nobody's member may get lost.
pub(super) fn race(tour: &mut Tour) -> Outcome<Said> {
    let clock = Instant::now();
    let store = tour.store.scoped("tour")?;
    let merge_all = |thread: u64| -> komatik::Result<()> {
        (0..MERGES).try_for_each(|index| {
            let member = json!({format!("thread {thread}"): {format!("merge {index}"): true}});
            store.merge("race", &member).map(drop)
        })
    };
    thread::scope(|scope| -> Outcome<()> {
        let merge_all = &merge_all;
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || merge_all(thread)))
            .collect();
        for thread in threads {
            let merged = thread.join();
            merged.map_err(|_| Failure::told("a thread that merged panicked"))??;
        }
        Ok(())
    })?;
    let time = clock.elapsed();
    let merged: BTreeMap<String, BTreeMap<String, bool>> = store.load("race")?.unwrap_or_default();
    let members: usize = merged.values().map(BTreeMap::len).sum();
    ensure(
        u64::try_from(members).ok() == Some(THREADS * MERGES),
        || format!("{members} members are left of {}", THREADS * MERGES),
    )?;
    Ok(Said::from(format!(
        "{} durable merges into one document by {THREADS} threads: {}, none lost",
        show::count(THREADS * MERGES),
        show::rate(THREADS * MERGES, time),
    )))
}

fn documents(number: usize) -> String {
    show::number_of(number, "document", "documents")
}
