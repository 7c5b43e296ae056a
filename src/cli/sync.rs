//! Making a folder and a directory the same, by moving only what differs.
//!
//! A blob and a file are the same where their digests are, whatever their times. A document stays a document: its file
//! holds JSON, and is the same where that is, however it is spaced.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use komatik::{Digest, Durability, Error, Kind, ListItem, Metadata, Store};
use serde_json::{Value, json};

use super::failure::{Doing, Failure, Outcome};
use super::output::Manner;
use super::progress::Bar;
use super::session::{Globals, Session};
use super::target::{StoreDirectory, Target, only_place};
use super::transfer::{self, PIECE_BYTES, Tally};
use super::upload::of_one_key;
use super::walk::{self, Skipped, Tree};
use super::{files, input, interrupt, output, reserved, show};

/// Make a folder the same as a directory, storing only what differs by its digest
#[derive(clap::Args)]
pub(crate) struct Sync {
    /// The directory; with --get, the folder
    #[arg(value_name = "DIR|FOLDER")]
    source: OsString,
    /// The folder; with --get, the directory
    #[arg(value_name = "FOLDER|DIR")]
    target: OsString,
    /// The other way round: make a directory the same as a folder
    #[arg(long)]
    get: bool,
    /// Also delete what the source does not have
    #[arg(long)]
    delete: bool,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

/// What is being made the same, and what came of it.
struct Run<'a> {
    store: Store,
    /// The directory, whichever way it goes.
    target: Target<'a>,
    /// The folder it is to be the same as.
    folder: &'a str,
    manner: Manner,
    dry_run: bool,
    tally: Tally,
    bar: Bar,
}

impl Sync {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome<()> {
        if self.get {
            return globals.with_store(|session| {
                let folder = input::text(&self.source)?;
                // Of a name that is wrong, nothing would be left in the directory.
                let items = transfer::of_folder(&session.store, folder)?;
                self.work(session, folder, &self.target, |run| {
                    run.get(&items, self.delete)
                })
            });
        }
        // Before the store: where the directory is not there, no store is made for it.
        let store = StoreDirectory::at(globals.directory()?);
        let folder = input::text(&self.target)?;
        let tree = Tree::beside(store, Path::new(&self.source), folder)?;
        let work = |session: &mut Session| {
            self.work(session, folder, &self.source, |run| {
                run.put(tree, self.delete)
            })
        };
        match self.dry_run {
            true => globals.rehearse(work),
            false => globals.with_new_store(work),
        }
    }

    fn work(
        &self,
        session: &Session,
        folder: &str,
        directory: &OsStr,
        work: impl FnOnce(&mut Run<'_>) -> Outcome<()>,
    ) -> Outcome<()> {
        let store = reserved::view(&session.store, folder)?;
        let mut run = Run {
            // Made durable together, at the end.
            store: store.with_durability(Durability::Eventual),
            target: Target::new(Path::new(directory), session.directory)?,
            folder,
            manner: session.manner,
            dry_run: self.dry_run,
            tally: Tally::new(),
            bar: session.manner.bar_of_bytes(Some(0)),
        };
        // What is only added to loses nothing.
        if self.get || self.delete {
            let skipped = reserved::passed_over(&session.store, folder, run.target.directory)?;
            if let Some(skipped) = skipped {
                run.tally.skip(&run.bar, skipped);
            }
        }
        if self.get {
            transfer::skip_entry(&session.store, folder, &mut run.tally, &run.bar)?;
        }
        let done = work(&mut run);
        drop(run.bar);
        match self.get {
            true if self.dry_run || done.is_err() => {}
            true => files::sync(run.target.directory)?,
            false => run.store.flush()?,
        }
        done?;
        match self.dry_run {
            true => run.tally.check_complete(),
            false => run
                .tally
                .tell(session.manner, if self.get { "wrote" } else { "stored" }),
        }
    }
}

impl Run<'_> {
    fn put(&mut self, mut tree: Tree, delete: bool) -> Outcome<()> {
        let passed_over = tree.skipped.iter();
        let passed_over: HashSet<String> = passed_over
            .filter_map(|skipped| walk::name(self.target.directory, &skipped.path).ok())
            .collect();
        for skipped in std::mem::take(&mut tree.skipped) {
            self.tally.skip(&self.bar, skipped);
        }
        self.bar.set_total(tree.size());
        for file in &tree.files {
            interrupt::check()?;
            if let Err(error) = self.put_one(file)? {
                let reason = of_one_key(error)?;
                self.tally
                    .skip(&self.bar, Skipped::failed(&file.path, reason));
            }
        }
        for name in &tree.empty {
            // One that is there because of what is to be deleted must be made to stay.
            let is_empty = self
                .store
                .list(name)
                .is_ok_and(|mut items| items.next().is_none());
            let is_there = is_empty && self.store.is_folder(name).unwrap_or(false);
            if is_there || !self.will("make", name)? {
                continue;
            }
            if let Err(error) = self.store.create_folder(name) {
                let path = self.target.directory.join(name);
                let skipped = Skipped::failed(&path, of_one_key(error)?);
                self.tally.skip(&self.bar, skipped);
            }
        }
        if delete && self.may_delete()? {
            let files = tree.files.iter().map(|file| (file.name.as_str(), false));
            let folders = tree.empty.iter().map(|name| (name.as_str(), true));
            self.delete_entries(files.chain(folders).collect(), &passed_over)?;
        }
        Ok(())
    }

    fn put_one(&mut self, file: &walk::File) -> Outcome<komatik::Result<()>> {
        let present = match self.store.metadata(&file.name) {
            Ok(present) => present,
            Err(error) => return Ok(Err(error)),
        };
        let is_document = present
            .as_ref()
            .is_some_and(|present| present.kind == Kind::Document);
        if is_document {
            return self.save_one(file);
        }
        let is_same = present.is_some_and(|present| {
            present.size == file.size && self.digest(&file.path) == Some(present.digest)
        });
        interrupt::check()?;
        if is_same {
            self.tally.count_unchanged(file.size);
        } else if self.will("put", &file.name)? {
            transfer::put_file(
                &self.store,
                &file.name,
                &file.path,
                &mut self.tally,
                &self.bar,
            )?;
        }
        Ok(Ok(()))
    }

    /// Saves the JSON of a file as the document it is in the store.
    fn save_one(&mut self, file: &walk::File) -> Outcome<komatik::Result<()>> {
        let text = match input::text_of(&file.path) {
            Ok(text) => text,
            Err(reason) => {
                let skipped = Skipped::failed(&file.path, reason);
                self.tally.skip(&self.bar, skipped);
                return Ok(Ok(()));
            }
        };
        let saved = komatik::parse_json(&text).and_then(|value| {
            let stored = self.store.load::<Value>(&file.name)?;
            let is_same = stored.is_some_and(|stored| is_same(&stored, &value));
            Ok((is_same, value))
        });
        match saved {
            Ok((true, _)) => self.tally.count_unchanged(file.size),
            Ok((false, value)) => {
                if self.will("save", &file.name)? {
                    match self.store.save(&file.name, &value) {
                        Ok(saved) => self.tally.count(saved.size),
                        Err(error) => return Ok(Err(error)),
                    }
                }
            }
            Err(error) => return Ok(Err(error)),
        }
        Ok(Ok(()))
    }

    /// Deletes what is not kept, but where something was passed over. An entry and a folder of one name are two.
    fn delete_entries(
        &mut self,
        kept: BTreeSet<(&str, bool)>,
        passed_over: &HashSet<String>,
    ) -> Outcome<()> {
        let mut done: BTreeSet<(String, bool)> = kept
            .into_iter()
            .map(|(name, is_folder)| (name.to_owned(), is_folder))
            .collect();
        loop {
            let before = self.tally.deleted;
            for item in transfer::everything(&self.store)? {
                interrupt::check()?;
                if !done.insert((item.name.clone(), item.is_folder)) {
                    continue;
                }
                let mut above = Some(item.name.as_str());
                let mut above = std::iter::from_fn(|| {
                    let name = above?;
                    above = name.rsplit_once('/').map(|(above, _)| above);
                    Some(name)
                });
                if !above.any(|name| passed_over.contains(name)) {
                    self.delete_item(&item)?;
                }
            }
            // A folder that was made is told of only once nothing lies in it.
            if self.tally.deleted == before {
                return Ok(());
            }
        }
    }

    fn delete_item(&mut self, item: &ListItem) -> Outcome<()> {
        // The walk that did not find it may be a while ago.
        if self.target.has(&item.name, item.is_folder) {
            return Ok(());
        }
        if !self.will("delete", &item.name)? {
            return Ok(());
        }
        let deleted = match item.is_folder {
            true => self.store.delete_folder(&item.name).map(drop),
            false => self.store.delete(&item.name).map(drop),
        };
        match deleted {
            Ok(()) => self.tally.deleted += 1,
            Err(error) => {
                let reason = of_one_key(error)?;
                let skipped = Skipped::failed(Path::new(&item.name), reason);
                self.tally.skip(&self.bar, skipped);
            }
        }
        Ok(())
    }

    fn get(&mut self, items: &[ListItem], delete: bool) -> Outcome<()> {
        self.bar.set_total(items.iter().map(size).sum());
        let directory = self.target.directory;
        if !self.dry_run {
            let making = || format!("making {}", directory.display());
            fs::create_dir_all(directory).doing(making)?;
        }
        for item in items {
            interrupt::check()?;
            let got = match item.is_folder {
                true => self.get_folder(item)?,
                false => self.get_one(item)?,
            };
            if let Err(skipped) = got {
                self.tally.skip(&self.bar, skipped);
            }
        }
        if delete && directory.is_dir() && self.may_delete()? {
            self.delete_files(&items.iter().map(|item| item.name.as_str()).collect())?;
        }
        Ok(())
    }

    fn get_folder(&mut self, item: &ListItem) -> Outcome<Result<(), Skipped>> {
        match self.target.folder(&item.name) {
            Ok((path, false)) if self.will("make", &item.name)? => {
                transfer::make_folder(&path, &mut self.tally, &self.bar);
                Ok(Ok(()))
            }
            place => Ok(place.map(drop)),
        }
    }

    fn get_one(&mut self, item: &ListItem) -> Outcome<Result<(), Skipped>> {
        let path = match self.target.file(&item.name) {
            Ok(path) => path,
            Err(skipped) => return Ok(Err(skipped)),
        };
        match self.is_same_file(item, &path) {
            Ok(true) => {
                self.tally.wrote(&path, &item.name);
                self.tally.count_unchanged(size(item));
            }
            Ok(false) => {
                if self.will("get", &item.name)? {
                    transfer::get_file(&self.store, &item.name, &path, &mut self.tally, &self.bar)?;
                }
            }
            Err(error) => return Ok(Err(Skipped::failed(&path, of_one_key(error)?))),
        }
        interrupt::check()?;
        Ok(Ok(()))
    }

    fn is_same_file(&self, item: &ListItem, path: &Path) -> komatik::Result<bool> {
        let Some(Metadata {
            kind, size, digest, ..
        }) = &item.metadata
        else {
            return Ok(false);
        };
        let Ok(found) = fs::symlink_metadata(path) else {
            return Ok(false);
        };
        if *kind == Kind::Document {
            let stored = self.store.load::<Value>(&item.name)?;
            let text = input::text_of(path).ok();
            let value = text.and_then(|text| komatik::parse_json(text).ok());
            let both = stored.zip(value);
            return Ok(both.is_some_and(|(stored, value)| is_same(&stored, &value)));
        }
        Ok(found.len() == *size && self.digest(path) == Some(*digest))
    }

    fn delete_files(&mut self, kept: &BTreeSet<&str>) -> Outcome<()> {
        let directory = self.target.directory;
        let tree = Tree::beside(self.target.store, directory, self.folder)?;
        let mut unfinished = Vec::new();
        for skipped in tree.skipped {
            match walk::name(directory, &skipped.path) {
                Ok(name) if files::is_unfinished(&skipped.path) => {
                    unfinished.push((name, skipped.path));
                }
                _ => self.tally.skip(&self.bar, skipped),
            }
        }
        // By another name, where the file system does not tell them apart.
        let places: HashSet<_> = kept
            .iter()
            .filter_map(|name| only_place(&directory.join(name)))
            .collect();
        let files = tree.files.into_iter().map(|file| (file.name, file.path));
        let files = files
            .chain(unfinished)
            .filter(|(name, _)| !kept.contains(name.as_str()));
        for (name, path) in files {
            interrupt::check()?;
            if only_place(&path).is_some_and(|place| places.contains(&place)) {
                continue;
            }
            if !self.will("delete", &name)? {
                continue;
            }
            match fs::remove_file(&path) {
                Ok(()) => self.tally.deleted += 1,
                Err(error) => {
                    let skipped = Skipped::failed(&path, error.to_string());
                    self.tally.skip(&self.bar, skipped);
                }
            }
            self.remove_emptied(&name, kept);
        }
        for name in tree
            .empty
            .iter()
            .filter(|name| !kept.contains(name.as_str()))
        {
            if self.will("delete", name)? {
                let path = directory.join(name);
                match fs::remove_dir(&path) {
                    Ok(()) => self.remove_emptied(name, kept),
                    Err(error) => {
                        let skipped = Skipped::failed(&path, error.to_string());
                        self.tally.skip(&self.bar, skipped);
                    }
                }
            }
        }
        Ok(())
    }

    /// Directories above what was removed go with the last thing in them.
    fn remove_emptied(&self, mut name: &str, kept: &BTreeSet<&str>) {
        while let Some((above, _)) = name.rsplit_once('/') {
            let directory = self.target.directory.join(above);
            if kept.contains(above) || fs::remove_dir(directory).is_err() {
                break;
            }
            name = above;
        }
    }

    /// What was skipped would be taken for missing.
    fn may_delete(&self) -> Outcome<bool> {
        if self.tally.is_incomplete() {
            self.bar
                .suspend(|| output::warn("nothing is deleted, since something was skipped"));
        }
        Ok(!self.tally.is_incomplete())
    }

    /// Whether to do it; where it is only to be told, tells it.
    fn will(&self, action: &str, name: &str) -> Outcome<bool> {
        if self.dry_run {
            self.manner.answer(
                || json!({"action": action, "name": name}),
                || format!("{action} {}", show::name(name)),
            )?;
        }
        Ok(!self.dry_run)
    }

    /// The digest of a file; `None` where it cannot be read, or a signal came.
    fn digest(&self, path: &Path) -> Option<Digest> {
        digest(path).ok()
    }
}

/// Whether two documents are the same as text: values that are equal may differ in the order of members and the sign of zero.
fn is_same(one: &Value, other: &Value) -> bool {
    let [one, other] = [one, other].map(Value::to_string);
    one == other
}

fn size(item: &ListItem) -> u64 {
    item.metadata.as_ref().map_or(0, |metadata| metadata.size)
}

fn digest(path: &Path) -> Outcome<Digest> {
    let reading = || format!("reading {}", path.display());
    let mut file = File::open(path).doing(reading)?;
    let mut hasher = blake3::Hasher::new();
    // Most files are small, and there may be many.
    let size = file.metadata().doing(reading)?.len();
    let piece_bytes = usize::try_from(size)
        .unwrap_or(usize::MAX)
        .saturating_add(1);
    let mut piece = vec![0; piece_bytes.min(PIECE_BYTES)];
    loop {
        if interrupt::is_requested() {
            return Err(Failure::from(Error::Cancelled));
        }
        match file.read(&mut piece).doing(reading)? {
            0 => return Ok(Digest::from(*hasher.finalize().as_bytes())),
            count => hasher.update(&piece[..count]),
        };
    }
}
