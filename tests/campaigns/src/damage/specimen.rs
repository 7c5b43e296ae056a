//! The stores that are damaged: made once, with a copy from every stage of their life, and copied for each damage.

use std::fs;
use std::path::{Path, PathBuf};

use komatik::{Durability, Grant, History, Lock, PasswordCost, Store};

use super::expected::{Expected, Recorder};
use crate::common::Random;
use crate::disk;
use crate::load::{PASSWORD, SHARED, Script, thread_folder};

/// How the store was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Closed: the end of sled's log is covered by no snapshot.
    Closed,
    /// Closed, opened and closed again: a snapshot covers all.
    Covered,
    /// By a process that was killed.
    Killed,
}

pub const ENDS: [End; 3] = [End::Closed, End::Covered, End::Killed];

/// Whether the journal goes back to the first commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    Whole,
    Short,
}

impl Past {
    pub fn history(self) -> History {
        match self {
            Past::Whole => History::unlimited(),
            Past::Short => History::of_bytes(0),
        }
    }
}

/// A store to be damaged.
pub struct Specimen {
    pub name: String,
    pub end: End,
    pub past: Past,
    pub expected: Expected,
    directory: PathBuf,
    /// The revision up to which the trees held everything when the store was left.
    pub checkpoint: u64,
    stages: usize,
}

/// Opens a store of this campaign.
pub fn open(directory: &Path, past: Past, chunk_bytes: usize) -> komatik::Result<Store> {
    let store = Store::builder(directory)
        .chunk_bytes(chunk_bytes)
        .overlay_bytes(64 * 1024)
        .history(past.history())
        .password_cost(PasswordCost::new(8, 1))
        .open()?;
    Ok(store.unlocked_with(PASSWORD))
}

/// A store in the making.
struct Making {
    directory: PathBuf,
    past: Past,
    chunk_bytes: usize,
    store: Option<Store>,
    recorder: Recorder,
    stages: usize,
}

impl Making {
    fn begin(directory: &Path, past: Past, chunk_bytes: usize) -> Making {
        fs::create_dir_all(directory).unwrap();
        let mut making = Making {
            directory: directory.to_owned(),
            past,
            chunk_bytes,
            store: None,
            recorder: Recorder::new(),
            stages: 0,
        };
        making.open();
        making
    }

    fn path(&self) -> PathBuf {
        self.directory.join("store")
    }

    fn open(&mut self) {
        let store = open(&self.path(), self.past, self.chunk_bytes).unwrap();
        self.recorder.listen(&store);
        self.store = Some(store);
    }

    fn close(&mut self) {
        self.recorder.pause();
        self.store.take().unwrap().close().unwrap();
    }

    /// Does a step and writes down what came of it.
    fn step(&mut self, step: impl FnOnce(&Store) -> komatik::Result<()>) {
        let store = self.store.as_ref().unwrap();
        step(store).unwrap();
        self.recorder.note(store);
    }

    /// Keeps a copy of what is there now, and goes on.
    fn stage(&mut self) {
        self.close();
        copy(
            &self.path(),
            &self.directory.join(format!("stage{}", self.stages)),
        );
        self.stages += 1;
        self.open();
    }

    fn end(mut self, name: &str, end: End) -> Specimen {
        self.close();
        if end == End::Covered {
            self.open();
            self.close();
        }
        self.into_specimen(name, end)
    }

    /// Does the last steps in a process that is killed then, as far as the disk can tell.
    fn end_killed(mut self, name: &str, steps: impl FnOnce(&mut Making)) -> Specimen {
        self.close();
        disk::watch(&self.path());
        self.open();
        steps(&mut self);
        disk::freeze();
        self.recorder.pause();
        let killed = self.directory.join("killed");
        copy(&self.path(), &killed);
        drop(self.store.take());
        disk::release();
        fs::remove_dir_all(self.path()).unwrap();
        fs::rename(killed, self.path()).unwrap();
        self.into_specimen(name, End::Killed)
    }

    fn into_specimen(self, name: &str, end: End) -> Specimen {
        self.recorder
            .expected
            .save(&self.directory.join("expected"));
        Specimen {
            name: format!("{name}, {end:?}, {:?}", self.past),
            end,
            past: self.past,
            checkpoint: checkpoint(&self.path().join("superblock")),
            expected: self.recorder.expected,
            directory: self.directory,
            stages: self.stages,
        }
    }
}

impl Specimen {
    /// A few entries of each kind.
    pub fn small(directory: &Path, end: End) -> Specimen {
        let mut making = Making::begin(directory, Past::Whole, 2048);
        making.step(|store| store.save("document", &vec![7; 20]).map(drop));
        making.step(|store| store.put("in/trees", vec![1; 5_000]).map(drop));
        making.step(|store| store.create_folder("empty"));
        making.step(|store| store.put("inline", vec![2; 300]).map(drop));
        making.stage();
        making.chunk_bytes = 65_536;
        making.close();
        making.open();
        making.step(|store| store.put("in/packs", vec![3; 6_000]).map(drop));
        making.step(|store| store.put("secret", "for few").map(drop));
        making.step(|store| store.lock("secret", Lock::new().view(PASSWORD).edit(PASSWORD)));
        let mut grant = |key: &str| {
            let token = making.store.as_ref().unwrap().grant(key, Grant::new());
            making.recorder.granted(&token.unwrap(), key);
        };
        grant("inline");
        grant("secret");
        making.stage();
        making.step(|store| store.delete("in/trees").map(drop));
        let last = |making: &mut Making| {
            making.step(|store| store.save("document", &vec![8; 20]).map(drop));
            making.step(|store| store.put("in/late", vec![4; 4_500]).map(drop));
            making.step(|store| store.put("late", vec![5; 30]).map(drop));
        };
        match end {
            End::Killed => making.end_killed("small", last),
            end => {
                last(&mut making);
                making.end("small", end)
            }
        }
    }

    /// What a thread of the load leaves.
    pub fn large(directory: &Path, seed: u64, end: End, past: Past) -> Specimen {
        let mut random = Random::new(seed);
        let chunk_bytes = [2048, 65_536][random.below(2)];
        let mut making = Making::begin(directory, past, chunk_bytes);
        let beside = directory.join("beside");
        fs::create_dir_all(&beside).unwrap();
        let step = |making: &mut Making, number: u64| {
            making.step(|store| {
                let (step, _) = Script::new(seed).step(0, number);
                let whole = store.with_durability(Durability::Immediate);
                let own = whole.scoped(&thread_folder(seed % 3))?;
                step.perform(&own, &whole.scoped(SHARED)?, &whole, &beside)
                    .map(drop)
            });
        };
        let counts = [random.below(40), random.below(40), random.below(40)];
        let mut number = 0;
        for count in counts {
            for _ in 0..5 + count {
                step(&mut making, number);
                number += 1;
            }
            let key = format!("granted{number}");
            let store = making.store.clone().unwrap();
            making.step(|store| store.put(&key, &*key).map(drop));
            let token = store.grant(&key, Grant::new()).unwrap();
            making.recorder.granted(&token, &key);
            drop(store);
            making.step(|_| Ok(()));
            making.stage();
        }
        let last = |making: &mut Making| {
            for _ in 0..10 {
                step(making, number);
                number += 1;
            }
        };
        let name = format!("large {seed}");
        match end {
            End::Killed => making.end_killed(&name, last),
            end => making.end(&name, end),
        }
    }

    pub fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    pub fn expected_file(&self) -> PathBuf {
        self.directory.join("expected")
    }

    /// Copies of what was there earlier, oldest first.
    pub fn stages(&self) -> Vec<PathBuf> {
        let stages = 0..self.stages;
        stages
            .map(|number| self.directory.join(format!("stage{number}")))
            .collect()
    }
}

/// The checkpoint in the newer slot of a superblock that is whole.
fn checkpoint(superblock: &Path) -> u64 {
    let bytes = fs::read(superblock).unwrap();
    let number = |slot: &[u8], at: usize| u64::from_be_bytes(slot[at..at + 8].try_into().unwrap());
    let slots = bytes
        .chunks(4096)
        .map(|slot| (number(slot, 28), number(slot, 36)));
    slots.max().unwrap().1
}

/// Copies a directory that nobody changes meanwhile.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
