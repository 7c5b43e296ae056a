//! Whole trees: a directory into a folder, and a folder into a directory.
//!
//! What cannot be taken along is told and passed over; where it should have been, the command ends as incomplete.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use komatik::{Durability, Error, ListItem, ListOptions, Store};
use serde_json::json;

use super::exit::Exit;
use super::failure::{Doing, Failure, Outcome, with_causes};
use super::naming::has_entry;
use super::output::Manner;
use super::progress::Bar;
use super::session::Session;
use super::target::{Target, only_place};
use super::upload::{of_one_key, store_file};
use super::walk::{Skipped, Tree};
use super::{files, interrupt, output, reserved, show};

/// What is read at once.
pub(crate) const PIECE_BYTES: usize = 256 * 1024;

/// What was done with a tree, and what was not.
pub(crate) struct Tally {
    began: Instant,
    files: u64,
    bytes: u64,
    unchanged: u64,
    unchanged_bytes: u64,
    pub(crate) deleted: u64,
    skipped: Vec<Skipped>,
    /// What of that was to be passed over.
    passed_over: HashSet<PathBuf>,
    /// The names of the files that are there.
    places: HashMap<(u64, u64), String>,
}

impl Tally {
    pub(crate) fn new() -> Tally {
        Tally {
            began: Instant::now(),
            files: 0,
            bytes: 0,
            unchanged: 0,
            unchanged_bytes: 0,
            deleted: 0,
            skipped: Vec::new(),
            passed_over: HashSet::new(),
            places: HashMap::new(),
        }
    }

    /// What lies at this place is that of the name.
    pub(crate) fn wrote(&mut self, path: &Path, name: &str) {
        if let Some(place) = only_place(path) {
            self.places.insert(place, name.to_owned());
        }
    }

    /// The name of what this command put at this place before, where that is another one.
    fn other(&self, path: &Path, name: &str) -> Option<&str> {
        let other = self.places.get(&only_place(path)?)?;
        (other != name).then_some(other)
    }

    pub(crate) fn count(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }

    pub(crate) fn count_unchanged(&mut self, bytes: u64) {
        self.unchanged += 1;
        self.unchanged_bytes += bytes;
    }

    /// Bytes that are done with.
    fn seen(&self) -> u64 {
        self.bytes + self.unchanged_bytes
    }

    pub(crate) fn skip(&mut self, bar: &Bar, skipped: Skipped) {
        // What both sides have is told once.
        if !skipped.is_failure && !self.passed_over.insert(skipped.path.clone()) {
            return;
        }
        bar.suspend(|| output::warn(&skipped.line()));
        self.skipped.push(skipped);
    }

    /// Whether something that was meant to come along did not.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.skipped.iter().any(|skipped| skipped.is_failure)
    }

    /// Tells what was done, `what` saying how: `stored`.
    pub(crate) fn tell(&self, manner: Manner, what: &str) -> Outcome<()> {
        let time = self.began.elapsed();
        manner.done(
            || {
                let skipped = self.skipped.iter().map(|skipped| {
                    json!({
                        "path": skipped.path.to_string_lossy(),
                        "reason": skipped.reason,
                        "failed": skipped.is_failure,
                    })
                });
                json!({
                    "files": self.files,
                    "bytes": self.bytes,
                    "unchanged": self.unchanged,
                    "deleted": self.deleted,
                    "skipped": skipped.collect::<Vec<_>>(),
                    "seconds": time.as_secs_f64(),
                })
            },
            || {
                let mut text = format!(
                    "{what} {}, {} in {}: {}",
                    show::number_of(self.files, "file", "files"),
                    show::bytes(self.bytes),
                    show::time(time),
                    show::byte_rate(self.bytes, time),
                );
                for (number, what) in [(self.unchanged, "as they were"), (self.deleted, "deleted")]
                {
                    if number > 0 {
                        text.push_str(&format!("; {} {what}", show::count(number)));
                    }
                }
                text
            },
        )?;
        self.check_complete()
    }

    /// Fails where something that was meant to come along did not.
    pub(crate) fn check_complete(&self) -> Outcome<()> {
        match self
            .skipped
            .iter()
            .filter(|skipped| skipped.is_failure)
            .count()
        {
            0 => Ok(()),
            number => Err(Failure::of(
                Exit::Incomplete,
                format!(
                    "{} skipped",
                    show::number_of(number, "of them was", "of them were")
                ),
            )),
        }
    }
}

/// `put -r`: stores all of a directory, which holds what `tree` tells.
pub(crate) fn put(
    session: &Session,
    directory: &Path,
    mut tree: Tree,
    folder: &str,
) -> Outcome<()> {
    // Made durable together, at the end.
    let store = reserved::view(&session.store, folder)?;
    let store = store.with_durability(Durability::Eventual);
    let mut tally = Tally::new();
    let bar = session.manner.bar_of_bytes(Some(tree.size()));
    for skipped in std::mem::take(&mut tree.skipped) {
        tally.skip(&bar, skipped);
    }
    let stored = put_all(&store, directory, &tree, &mut tally, &bar);
    drop(bar);
    // Also where it was interrupted: what is there stays.
    store.flush()?;
    stored?;
    tally.tell(session.manner, "stored")
}

fn put_all(
    store: &Store,
    directory: &Path,
    tree: &Tree,
    tally: &mut Tally,
    bar: &Bar,
) -> Outcome<()> {
    for file in &tree.files {
        interrupt::check()?;
        put_file(store, &file.name, &file.path, tally, bar)?;
    }
    for name in &tree.empty {
        if let Err(error) = store.create_folder(name) {
            let reason = of_one_key(error)?;
            tally.skip(bar, Skipped::failed(&directory.join(name), reason));
        }
    }
    Ok(())
}

/// Stores one file of a tree.
pub(crate) fn put_file(
    store: &Store,
    key: &str,
    path: &Path,
    tally: &mut Tally,
    bar: &Bar,
) -> Outcome<()> {
    let before = tally.seen();
    match store_file(store, key, path, |done| bar.reach(before + done))? {
        Ok(metadata) => tally.count(metadata.size),
        Err(reason) => tally.skip(bar, Skipped::failed(path, reason)),
    }
    // An empty file reports nothing.
    let _ = bar.reach(tally.seen());
    Ok(())
}

/// What a view of the store holds, at any depth.
pub(crate) fn everything(store: &Store) -> Outcome<Vec<ListItem>> {
    let listing = store.list_with("", ListOptions::new().recursive())?;
    Ok(listing.collect::<komatik::Result<_>>()?)
}

/// `get -r`: writes all of a folder.
pub(crate) fn get(session: &Session, folder: &str, directory: &Path) -> Outcome<()> {
    let target = Target::new(directory, session.directory)?;
    if !session.store.is_folder(folder)? {
        return Err(Failure::not_found(folder));
    }
    let store = reserved::view(&session.store, folder)?;
    let listing = store.list_with("", ListOptions::new().recursive())?;
    let (mut items, mut damaged) = (Vec::new(), Vec::new());
    for item in listing {
        match item {
            Ok(item) => items.push(item),
            Err(error @ Error::Damaged { .. }) => damaged.push(with_causes(&error)),
            Err(error) => return Err(error.into()),
        }
    }
    fs::create_dir_all(directory).doing(|| format!("making {}", directory.display()))?;
    let mut tally = Tally::new();
    let sizes = items
        .iter()
        .filter_map(|item| Some(item.metadata.as_ref()?.size));
    let bar = session.manner.bar_of_bytes(Some(sizes.sum()));
    if let Some(skipped) = reserved::passed_over(&session.store, folder, directory)? {
        tally.skip(&bar, skipped);
    }
    skip_entry(&session.store, folder, &mut tally, &bar)?;
    for reason in damaged {
        tally.skip(&bar, Skipped::failed(directory, reason));
    }
    for item in &items {
        interrupt::check()?;
        let place = match item.is_folder {
            true => target.folder(&item.name).map(|(path, _)| path),
            false => target.file(&item.name),
        };
        match place {
            Ok(path) if item.is_folder => make_folder(&path, &mut tally, &bar),
            Ok(path) => get_file(&store, &item.name, &path, &mut tally, &bar)?,
            Err(skipped) => tally.skip(&bar, skipped),
        }
    }
    drop(bar);
    files::sync(directory)?;
    tally.tell(session.manner, "wrote")
}

/// Tells of the entry that has a folder's name, which no directory has a place for.
pub(crate) fn skip_entry(store: &Store, folder: &str, tally: &mut Tally, bar: &Bar) -> Outcome<()> {
    if has_entry(store, folder)? {
        let reason = "the entry of this name is not in the folder; `get` writes it to a file";
        tally.skip(bar, Skipped::passed_over(Path::new(folder), reason));
    }
    Ok(())
}

/// What a folder holds, at any depth. Fails where there is no such folder.
pub(crate) fn of_folder(store: &Store, folder: &str) -> Outcome<Vec<ListItem>> {
    match store.is_folder(folder)? {
        true => everything(&reserved::view(store, folder)?),
        false => Err(Failure::not_found(folder)),
    }
}

/// Makes the directory of a folder, and those above it.
pub(crate) fn make_folder(path: &Path, tally: &mut Tally, bar: &Bar) {
    if let Err(error) = fs::create_dir_all(path) {
        tally.skip(bar, Skipped::failed(path, error.to_string()));
    }
}

/// Writes one entry of a folder to a file, at a place that is fit for it.
pub(crate) fn get_file(
    store: &Store,
    key: &str,
    path: &Path,
    tally: &mut Tally,
    bar: &Bar,
) -> Outcome<()> {
    if let Some(Err(error)) = path.parent().map(fs::create_dir_all) {
        tally.skip(bar, Skipped::failed(path, error.to_string()));
        return Ok(());
    }
    if let Some(other) = tally.other(path, key) {
        let reason =
            format!("the file system takes its name for that of {other:?}, which lies there");
        tally.skip(bar, Skipped::failed(path, reason));
        return Ok(());
    }
    let reader = match store.reader(key) {
        Ok(Some(reader)) => reader.with_digest_check(),
        // Deleted since it was listed.
        Ok(None) => return Ok(()),
        Err(error) => {
            let reason = of_one_key(error)?;
            tally.skip(bar, Skipped::failed(path, reason));
            return Ok(());
        }
    };
    let before = tally.seen();
    let mut done = 0;
    let written = files::write_one_of_many(path, |file| {
        for chunk in reader.chunks() {
            let chunk = chunk?;
            file.write_all(&chunk)
                .doing(|| format!("writing {}", path.display()))?;
            done += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            if bar.reach(before + done).is_break() {
                return Err(Failure::Interrupted);
            }
        }
        Ok(())
    });
    match written {
        Ok(()) => {
            tally.wrote(path, key);
            tally.count(done);
        }
        // Damage in one entry does not keep the others from being saved.
        Err(Failure::Told(told)) if told.exit != Exit::NoSpace => {
            tally.skip(bar, Skipped::failed(path, told.text));
        }
        Err(failure) => return Err(failure),
    }
    Ok(())
}
