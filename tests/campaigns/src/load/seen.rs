//! What is there, held against what must be.

use std::collections::{BTreeMap, HashMap};

use komatik::{Digest, Kind, ListOptions, Store};
use serde_json::Value;

use super::content::{Content, Model, Piece, bytes};
use super::script::{PASSWORD, Script, thread_folder};

/// The entries of a thread, read to the last byte.
#[derive(Debug)]
pub struct Seen {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, PartialEq)]
enum Entry {
    Document { value: Value, is_locked: bool },
    Blob(Digest),
}

impl Seen {
    /// Reads all entries of a thread.
    pub fn read(store: &Store, thread: u64) -> komatik::Result<Seen> {
        let own = store
            .scoped(&thread_folder(thread))?
            .unlocked_with(PASSWORD);
        let mut entries = BTreeMap::new();
        for item in own.list_with("", ListOptions::new().recursive())? {
            let item = item?;
            let Some(metadata) = item.metadata else {
                continue;
            };
            let entry = match metadata.kind {
                Kind::Document => Entry::Document {
                    value: own.load(&item.name)?.unwrap_or_default(),
                    is_locked: metadata.edit_locked,
                },
                _ => Entry::Blob(Digest::of(&own.get(&item.name)?.unwrap_or_default())),
            };
            entries.insert(item.name, entry);
        }
        Ok(Seen { entries })
    }

    /// What differs from the model, `None` where nothing does.
    pub fn difference(&self, model: &Model, digests: &mut Digests) -> Option<String> {
        if !self.entries.keys().eq(model.keys()) {
            let found: Vec<_> = self.entries.keys().collect();
            let expected: Vec<_> = model.keys().collect();
            return Some(format!("{found:?} instead of {expected:?}"));
        }
        for ((key, entry), content) in self.entries.iter().zip(model.values()) {
            let is_same = match (entry, content) {
                (
                    Entry::Document { value, is_locked },
                    Content::Document {
                        value: expected,
                        is_locked: is_to_be_locked,
                    },
                ) => value == expected && is_locked == is_to_be_locked,
                (Entry::Blob(digest), Content::Blob(pieces)) => *digest == digests.of(pieces),
                _ => false,
            };
            if !is_same {
                return Some(format!("{key} is not as it should be"));
            }
        }
        None
    }
}

/// The digests of blobs that were already looked at.
#[derive(Default)]
pub struct Digests(HashMap<Vec<Piece>, Digest>);

impl Digests {
    fn of(&mut self, pieces: &[Piece]) -> Digest {
        let digest = || Digest::of(&bytes(pieces));
        *self.0.entry(pieces.to_vec()).or_insert_with(digest)
    }
}

/// Brings the model of a thread, which is before its first step, to what is there: the state after `least` steps, or a
/// later one, at most that of the step after the `done` acknowledged. Answers how many steps that are.
pub fn check_step(
    seen: &Seen,
    model: &mut Model,
    script: Script,
    thread: u64,
    least: u64,
    done: u64,
) -> Result<u64, String> {
    let mut digests = Digests::default();
    let mut states = Vec::new();
    for number in 0..=done + 1 {
        if number >= least {
            states.push((number, model.clone()));
        }
        script.step(thread, number).0.apply(model);
    }
    // The last first: mostly everything is there.
    let mut closest = String::new();
    for (number, state) in states.into_iter().rev() {
        match seen.difference(&state, &mut digests) {
            None => {
                *model = state;
                return Ok(number);
            }
            Some(difference) => closest = difference,
        }
    }
    let next = script.step(thread, done).0;
    Err(format!(
        "thread {thread} is at no step from {least} to {done}, nor after {next:?}: {closest}"
    ))
}
