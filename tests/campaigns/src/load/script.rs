//! The steps: what each is, what it makes of the model, and how it is done.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use komatik::{Durability, Error, Lock, PutMode, Store, UploadOptions, WriteOptions};

use super::content::{Content, Model, Piece, addition, bytes, document};
use crate::common::Random;

/// The folder all threads write to: two documents that are always equal.
pub const SHARED: &str = "shared";
/// The password of every lock.
pub const PASSWORD: &str = "sesame";

/// The folder that only this thread writes to. Of each third one the keys are so long that they lie apart in the trees.
pub fn thread_folder(thread: u64) -> String {
    let above = match thread % 3 {
        1 => format!("{0}/{0}/{0}/", "l".repeat(200)),
        _ => String::new(),
    };
    format!("{above}thread{thread}")
}

/// The steps of a process: they follow from a seed.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    seed: u64,
    largest: usize,
}

/// What a thread does.
#[derive(Debug, Clone)]
pub enum Step {
    Save(String, u64),
    Merge(String, u64),
    Put(String, Piece),
    Append(String, Piece),
    Copy(String, String),
    Rename(String, String),
    Delete(String),
    DeleteFolder,
    /// Moves the folder to the other of its two names.
    MoveFolder,
    /// Two documents and a blob in one step, and the pair of all threads in another.
    Together(u64, Piece),
    /// So many entries in one step that the journal writes it in parts.
    Many(u64),
    Lock(String),
    Unlock(String),
    Abandon(usize),
    Flush,
    Compact,
    Backup,
}

fn size(random: &mut Random) -> usize {
    match random.below(20) {
        0..8 => random.below(3_000),
        8..18 => 10_000 + random.below(90_000),
        _ => 1_000_000 + random.below(2_000_000),
    }
}

impl Script {
    pub fn new(seed: u64) -> Script {
        Script {
            seed,
            largest: usize::MAX,
        }
    }

    /// Without the megabytes, where every byte is to be copied many times.
    pub fn small(seed: u64) -> Script {
        Script {
            seed,
            largest: 150_000,
        }
    }

    /// The step of this number, and whether it waits for the disk.
    pub fn step(self, thread: u64, number: u64) -> (Step, Durability) {
        let mut random = Random::new(self.seed ^ (thread << 40) ^ (number << 8));
        for _ in 0..3 {
            random.next();
        }
        let size = |random: &mut Random| size(random) % self.largest;
        let piece = |random: &mut Random| (random.next(), size(random));
        let blob = format!("blob{}", random.below(6));
        let other = format!("blob{}", random.below(6));
        let document = format!("document{}", random.below(8));
        let step = match random.below(400) {
            0..110 => Step::Save(document, random.next()),
            110..150 => Step::Merge(document, random.next()),
            150..200 => Step::Put(blob, piece(&mut random)),
            200..220 => Step::Put(format!("in/{blob}"), piece(&mut random)),
            220..260 => Step::Append(blob, piece(&mut random)),
            260..275 => Step::Copy(blob, other),
            275..290 => Step::Rename(blob, other),
            290..310 => Step::Delete(blob),
            310..320 => Step::Delete(document),
            320..324 => Step::DeleteFolder,
            324..338 => Step::MoveFolder,
            338..340 => Step::Many(random.next()),
            340..365 => Step::Together(random.next(), piece(&mut random)),
            365..372 => Step::Lock(document),
            372..378 => Step::Unlock(document),
            378..388 => Step::Abandon(size(&mut random)),
            388..392 => Step::Flush,
            392..398 => Step::Compact,
            _ => Step::Backup,
        };
        let durability = match random.below(2) {
            0 => Durability::Immediate,
            _ => Durability::Eventual,
        };
        (step, durability)
    }
}

/// The name of the folder now, and the other one.
fn folders(is_there: impl Fn(&str) -> bool) -> Option<(&'static str, &'static str)> {
    match (is_there("in"), is_there("moved")) {
        (true, false) => Some(("in", "moved")),
        (false, true) => Some(("moved", "in")),
        _ => None,
    }
}

impl Step {
    /// What the step makes of what is there.
    pub fn apply(&self, model: &mut Model) {
        match self {
            Step::Save(key, number) => {
                let is_locked = is_locked(model, key);
                let value = document(*number);
                model.insert(key.clone(), Content::Document { value, is_locked });
            }
            Step::Merge(key, number) => match model.get_mut(key) {
                Some(Content::Document { value, .. }) => {
                    let addition = addition(*number);
                    let merged = addition["merged"].as_object().unwrap();
                    let members = value.as_object_mut().unwrap();
                    let present = members
                        .entry("merged")
                        .or_insert_with(|| serde_json::json!({}));
                    present.as_object_mut().unwrap().extend(merged.clone());
                }
                _ => {
                    let value = addition(*number);
                    let is_locked = false;
                    model.insert(key.clone(), Content::Document { value, is_locked });
                }
            },
            Step::Put(key, piece) => drop(model.insert(key.clone(), Content::Blob(vec![*piece]))),
            Step::Append(key, piece) => {
                let none = || Content::Blob(Vec::new());
                if let Content::Blob(pieces) = model.entry(key.clone()).or_insert_with(none) {
                    pieces.push(*piece);
                }
            }
            Step::Copy(from, to) => {
                if let Some(content) = model.get(from).cloned() {
                    model.insert(to.clone(), content);
                }
            }
            Step::Rename(from, to) => {
                if let Some(content) = model.remove(from) {
                    model.insert(to.clone(), content);
                }
            }
            Step::Delete(key) => drop(model.remove(key)),
            Step::DeleteFolder => model.retain(|key, _| !key.starts_with("in/")),
            Step::MoveFolder => move_folder(model),
            Step::Together(number, piece) => {
                for key in ["together/a", "together/b"] {
                    let value = document(*number);
                    let is_locked = false;
                    model.insert(key.into(), Content::Document { value, is_locked });
                }
                model.insert("together/c".into(), Content::Blob(vec![*piece]));
            }
            Step::Many(number) => {
                for (key, piece) in entries_of_many(*number) {
                    model.insert(key, Content::Blob(vec![piece]));
                }
            }
            Step::Lock(key) | Step::Unlock(key) => {
                if let Some(Content::Document { is_locked, .. }) = model.get_mut(key) {
                    *is_locked = matches!(self, Step::Lock(_));
                }
            }
            Step::Abandon(_) | Step::Flush | Step::Compact | Step::Backup => {}
        }
    }

    /// Does the step, through a view of the thread's folder that knows the password. `beside` is a directory outside of
    /// the store. Answers whether something was committed for sure, or all that was before is on the disk.
    pub fn perform(
        &self,
        own: &Store,
        shared: &Store,
        whole: &Store,
        beside: &Path,
    ) -> komatik::Result<bool> {
        match self {
            Step::Save(key, number) => own.save(key, &document(*number)).map(done),
            Step::Merge(key, number) => own.merge(key, &addition(*number)).map(done),
            Step::Put(key, piece) => put(own, key, &bytes(&[*piece])).map(done),
            Step::Append(key, piece) => {
                let mut writer = own.writer(key, WriteOptions::append())?;
                writer.write_all(&bytes(&[*piece])).map_err(unwrapped)?;
                writer.commit().map(done)
            }
            Step::Copy(from, to) => match own.exists(from)? && from != to {
                true => own.copy(from, to, PutMode::Overwrite).map(done),
                false => Ok(false),
            },
            Step::Rename(from, to) => match own.exists(from)? && from != to {
                true => own.rename(from, to, PutMode::Overwrite).map(done),
                false => Ok(false),
            },
            Step::Delete(key) => own.delete(key),
            Step::DeleteFolder => own.delete_folder("in").map(|deleted| deleted > 0),
            Step::MoveFolder => {
                let there = [own.exists("in")?, own.exists("moved")?];
                match folders(|name| there[usize::from(name == "moved")]) {
                    Some((from, to)) => own.rename_folder(from, to).map(|moved| moved > 0),
                    None => Ok(false),
                }
            }
            Step::Together(number, piece) => together(own, shared, *number, *piece).map(done),
            Step::Many(number) => many(own, *number).map(done),
            Step::Lock(key) => match own.exists(key)? {
                true => own.lock(key, Lock::new().edit(PASSWORD)).map(done),
                false => Ok(false),
            },
            Step::Unlock(key) => match own.exists(key)? {
                true => own.unlock(key),
                false => Ok(false),
            },
            Step::Abandon(size) => {
                let mut writer = own.writer("never", WriteOptions::new())?;
                writer.write_all(&vec![7; 2 * size]).map_err(unwrapped)?;
                Ok(false)
            }
            Step::Flush => own.flush().map(done),
            Step::Compact => {
                own.compact(|_| ControlFlow::Continue(()))?;
                Ok(false)
            }
            Step::Backup => back_up(whole, beside).map(|()| false),
        }
    }

    /// Whether it is one commit, so that an error that tells that nothing was done is to be believed.
    pub fn is_one_commit(&self) -> bool {
        !matches!(self, Step::Together(..))
    }
}

fn done<T>(_: T) -> bool {
    true
}

fn is_locked(model: &Model, key: &str) -> bool {
    matches!(
        model.get(key),
        Some(Content::Document {
            is_locked: true,
            ..
        })
    )
}

fn move_folder(model: &mut Model) {
    let prefix = |name: &str| format!("{name}/");
    let is_there = |name: &str| model.keys().any(|key| key.starts_with(&prefix(name)));
    let Some((from, to)) = folders(is_there) else {
        return;
    };
    let moved = model.extract_if(.., |key, _| key.starts_with(&prefix(from)));
    let moved: Vec<_> = moved.collect();
    for (key, content) in moved {
        model.insert(key.replacen(from, to, 1), content);
    }
}

/// Some 1.2 MB, each of which lies in its record where the step waits for the disk.
fn entries_of_many(number: u64) -> impl Iterator<Item = (String, Piece)> {
    (0..300).map(move |entry| (format!("in/many{entry:03}"), (number ^ entry, 4_000)))
}

fn many(own: &Store, number: u64) -> komatik::Result<()> {
    own.transaction(|transaction| {
        entries_of_many(number).try_for_each(|(key, piece)| transaction.put(&key, bytes(&[piece])))
    })
}

fn put(own: &Store, key: &str, bytes: &[u8]) -> komatik::Result<()> {
    match bytes.len() % 2 {
        0 => own.put(key, bytes).map(drop),
        _ => own.upload(key, bytes, UploadOptions::new()).map(drop),
    }
}

fn together(own: &Store, shared: &Store, number: u64, piece: Piece) -> komatik::Result<()> {
    let mut writer = own.writer("together/c", WriteOptions::new())?;
    writer.write_all(&bytes(&[piece])).map_err(unwrapped)?;
    own.transaction(|transaction| {
        transaction.save("together/a", &document(number))?;
        transaction.commit_blob(writer)?;
        transaction.save("together/b", &document(number))
    })?;
    shared.transaction(|transaction| {
        transaction.save("a", &document(number))?;
        transaction.save("b", &document(number))
    })
}

/// A copy opens, and is sound.
fn back_up(whole: &Store, beside: &Path) -> komatik::Result<()> {
    // Where the power is cut, so is this.
    let directory = tempfile::tempdir_in(beside).map_err(|source| Error::Io {
        doing: "making a directory for a copy".to_owned(),
        source,
    })?;
    match whole.backup(directory.path(), |_| ControlFlow::Continue(())) {
        // So much was overwritten meanwhile that it could not be of one moment; nothing is lost.
        Err(Error::Misuse { .. }) => return Ok(()),
        done => done?,
    }
    let copy = Store::open(directory.path())?;
    let report = copy.verify(|_| ControlFlow::Continue(()))?;
    assert!(report.is_sound(), "the backup: {report:?}");
    copy.close()
}

/// The error of the store in one of its writer.
fn unwrapped(error: std::io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => panic!("not an error of the store: {error}"),
    }
}
