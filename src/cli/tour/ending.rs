//! Whether everything is still there: here, in the files it came from, and in a copy.

use std::fs;
use std::io::{BufReader, Read};
use std::time::Instant;

use komatik::{BlobReader, Durability, ListItem, ListOptions, Store};

use super::{Said, Stored, Tour};
use crate::cli::failure::{Doing, Failure, Outcome, ensure};
use crate::cli::progress::Bar;
use crate::cli::{interrupt, show};

/// Size of the blobs that are written to be deleted.
const WASTED_BYTES: usize = 1024 * 1024;
/// One in so many of them is kept, so that what is freed lies beside what is not.
const KEPT: u64 = 16;
/// What may stay dead after asking: one part in so many of what is in use, and the rest of a pack.
const NOTICEABLE: u64 = 16;
const SLACK_BYTES: u64 = 1024 * 1024;

/// Writes more than there is, within reason, deletes it, and asks for the space.
pub(super) fn compact(tour: &mut Tour) -> Outcome<Said> {
    let mebibytes = tour.stored_bytes() / (1024 * 1024);
    let wasted = (mebibytes + 32).min(192);
    let store = tour.store.scoped("tour/waste")?;
    let store = store.with_durability(Durability::Eventual);
    for index in 0..wasted {
        store.put(&index.to_string(), vec![3; WASTED_BYTES])?;
    }
    let before = store.stats()?;
    for index in (0..wasted).filter(|index| index % KEPT != 0) {
        store.delete(&index.to_string())?;
    }
    let clock = Instant::now();
    let bar = Bar::of_items(0);
    store.compact(|step| bar.follow(step))?;
    drop(bar);
    let time = clock.elapsed();
    let after = store.stats()?;
    let in_use = after.pack_bytes.saturating_sub(after.dead_bytes);
    ensure(
        after.dead_bytes <= in_use / (NOTICEABLE - 1) + SLACK_BYTES,
        || {
            format!(
                "{} wait to be given back, beside {} in use",
                show::bytes(after.dead_bytes),
                show::bytes(in_use),
            )
        },
    )?;
    let deleted = wasted - wasted.div_ceil(KEPT);
    Ok(Said::from(format!(
        "{} deleted in packs of {}: {} left after {}, {} of it dead",
        show::number_of(deleted, "MiB", "MiB"),
        show::bytes(before.pack_bytes),
        show::bytes(after.pack_bytes),
        show::time(time),
        show::bytes(after.dead_bytes),
    )))
}

/// Compares every byte with the files.
pub(super) fn compare(tour: &mut Tour) -> Outcome<Said> {
    let clock = Instant::now();
    let bar = Bar::of_bytes(tour.stored_bytes());
    let mut changed = 0_usize;
    for stored in &tour.stored {
        interrupt::check()?;
        let key = stored.file.key();
        let reader = tour.store.reader(&key)?;
        let reader = reader.ok_or_else(|| Failure::told(format!("{key} is gone")))?;
        if !is_same(&reader, stored)? {
            ensure(stored.file.has_changed(), || {
                format!("{key} is not what is in {}", stored.file.path.display())
            })?;
            changed += 1;
        }
        bar.advance(stored.metadata.size);
    }
    drop(bar);
    let (bytes, time) = (tour.stored_bytes(), clock.elapsed());
    let but = match changed {
        0 => String::new(),
        _ => format!(
            ", but for {} written meanwhile",
            show::number_of(changed, "file", "files")
        ),
    };
    Ok(Said::from(format!(
        "{} in {}, as in the files{but}: {}, {}",
        show::bytes(bytes),
        show::number_of(tour.stored.len(), "blob", "blobs"),
        show::byte_rate(bytes, time),
        show::rate(tour.stored.len(), time),
    )))
}

/// Whether the entry holds what the file holds now. A file that cannot be read any more holds nothing.
fn is_same(reader: &BlobReader, stored: &Stored) -> Outcome<bool> {
    let Ok(file) = fs::File::open(&stored.file.path) else {
        return Ok(false);
    };
    let mut file = BufReader::with_capacity(256 * 1024, file);
    let mut expected = Vec::new();
    for chunk in reader.chunks() {
        let chunk = chunk?;
        expected.resize(chunk.len(), 0);
        if file.read_exact(&mut expected).is_err() || expected != chunk {
            return Ok(false);
        }
    }
    let behind = file
        .read(&mut [0])
        .doing(|| stored.file.path.display().to_string())?;
    Ok(behind == 0)
}

/// Lets the store check itself.
pub(super) fn verify(tour: &mut Tour) -> Outcome<Said> {
    let clock = Instant::now();
    let bar = Bar::of_items(0);
    let report = tour.store.verify(|step| bar.follow(step))?;
    drop(bar);
    let time = clock.elapsed();
    if let Some(finding) = report.findings.first() {
        let number = show::number_of(report.findings.len(), "finding", "findings");
        return Err(Failure::told(format!(
            "{number}, the first: {} at {}: {}",
            finding.what, finding.location, finding.problem
        )));
    }
    let entries = tour.store.stats()?.entries;
    ensure(report.entries == entries, || {
        format!("{} entries were verified of {entries}", report.entries)
    })?;
    Ok(Said::from(format!(
        "{}, {}, sound: {}",
        show::number_of(report.entries, "entry", "entries"),
        show::bytes(report.bytes),
        show::byte_rate(report.bytes, time),
    )))
}

/// Copies the store, opens the copy, and compares what both have.
pub(super) fn backup(tour: &mut Tour) -> Outcome<Said> {
    let clock = Instant::now();
    let directory = tour.scratch.path().join("backup");
    let bar = Bar::of_items(0);
    tour.store.backup(&directory, |step| bar.follow(step))?;
    drop(bar);
    let time = clock.elapsed();
    let opening = Instant::now();
    let copy = Store::open(&directory)?;
    let opening = opening.elapsed();
    let (mine, theirs) = (everything(&tour.store)?, everything(&copy)?);
    ensure(mine == theirs, || {
        "the backup lists other entries than the store".to_owned()
    })?;
    for stored in &tour.stored {
        interrupt::check()?;
        let reader = copy.reader(&stored.file.key())?;
        let reader = reader
            .ok_or_else(|| Failure::told(format!("{} is not in the backup", stored.file.name)))?;
        let reader = reader.with_digest_check();
        reader.chunks().try_for_each(|chunk| chunk.map(drop))?;
    }
    copy.close()?;
    let bytes = tour.stored_bytes();
    Ok(Said::from(format!(
        "{}, {} copied: {}; opened in {}, read to the last byte",
        show::number_of(theirs.len(), "entry", "entries"),
        show::bytes(bytes),
        show::byte_rate(bytes, time),
        show::time(opening),
    )))
}

fn everything(store: &Store) -> komatik::Result<Vec<ListItem>> {
    store
        .list_with("", ListOptions::new().recursive())?
        .collect()
}

/// What the store takes in the end.
pub(super) fn stats(tour: &Tour) -> Outcome<String> {
    let stats = tour.store.stats()?;
    Ok(format!(
        "{}, newest revision {}; on disk {} of journal, {} of trees, {} of packs",
        show::number_of(stats.entries, "entry", "entries"),
        show::count(stats.history.newest),
        show::bytes(stats.journal_bytes),
        show::bytes(stats.tree_bytes),
        show::bytes(stats.pack_bytes),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::tree::walk;
    use super::*;

    /// One byte of a file is not what was stored, and nothing else tells it.
    #[test]
    fn a_byte_that_differs_is_told() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("file");
        fs::write(&path, vec![5; 100_000]).unwrap();
        let found = walk(tree.path()).unwrap().files;
        let modified = found[0].modified;
        let mut tour = super::super::begin(found, None).unwrap();
        super::super::content::upload(&mut tour).unwrap();
        assert!(compare(&mut tour).is_ok());

        let mut other = vec![5; 100_000];
        other[70_000] = 6;
        fs::write(&path, other).unwrap();
        let written = fs::File::options().append(true).open(&path).unwrap();
        written.set_modified(modified).unwrap();
        let told = compare(&mut tour).map(|said| said.text).unwrap_err();
        assert!(
            told.to_string()
                .contains("files/tree/file is not what is in")
        );

        written.set_modified(std::time::UNIX_EPOCH).unwrap();
        let said = compare(&mut tour).unwrap().text;
        assert!(said.contains("but for 1 file written meanwhile"), "{said}");
    }
}
