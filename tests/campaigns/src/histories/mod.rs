//! C9: threads that work on a few keys at the same time, with and without a process that is killed. What each call answered
//! must be what it would have answered had they come one after the other.
//!
//! The keys are parted into folders, and no call spans two of them, so that each folder is explained alone: with all it
//! can be asked for, transactions, listings and renames too.

mod client;
mod crash;
mod folder;
mod record;
mod search;

use std::path::Path;

use komatik::{Durability, Store};

use crate::Run;
use crate::common::Random;
use crate::tally::{Outcome, Tally};
use client::{Client, Place};
use folder::{Answer, Call};
use record::{Clock, History};
use search::Operation;

pub use crash::work;

const THREADS: u64 = 8;
const CALLS_A_THREAD: u64 = 500;
/// Of so many histories one is of processes that are killed.
const HISTORIES_A_CRASH: u64 = 5;

/// Of so many histories one may be undecided.
const MOST_UNDECIDED: u64 = 10;

pub fn run(run: &Run) -> crate::Result {
    let mut tally = Tally::new("histories", run.seed);
    for seed in run.seed..run.seed + run.count.unwrap_or(100) {
        let directory = tempfile::tempdir_in(&run.scratch)?;
        let path = directory.path().join("store");
        let recorded = match seed % HISTORIES_A_CRASH {
            0 => crash::record(&path, seed, &mut tally),
            _ => record(&path, seed),
        };
        tally.add("histories", 1);
        let checked = recorded.and_then(|history| {
            tally.add("operations", history.len() as u64);
            history.check()
        });
        match checked {
            // So much went on at once that the search gave up: it proves nothing, either way.
            Err(what) if what.contains(search::UNDECIDED) => tally.add(search::UNDECIDED, 1),
            Err(what) => tally.violation(format!("seed {seed}: {what}")),
            Ok(()) => {}
        }
    }
    if tally.count(search::UNDECIDED) > tally.count("histories") / MOST_UNDECIDED {
        tally.violation("too many were not decided".to_owned());
    }
    if tally.count("operations") < tally.count("histories") * CALLS_A_THREAD {
        tally.violation("hardly a call was made".to_owned());
    }
    Ok(Outcome::Done(tally))
}

/// How a store is opened and worked on; follows from the seed.
#[derive(Debug, Clone, Copy)]
struct Settings {
    in_memory: bool,
    chunk_bytes: usize,
    overlay_bytes: usize,
    /// `None` for either in turn.
    durability: Option<Durability>,
    folders: usize,
}

impl Settings {
    fn of(seed: u64) -> Settings {
        let mut random = Random::new(seed);
        random.next();
        Settings {
            in_memory: random.below(8) == 0,
            chunk_bytes: [2048, 65_536][random.below(2)],
            overlay_bytes: [1, 16 * 1024, 256 * 1024][random.below(3)],
            durability: [
                Some(Durability::Immediate),
                Some(Durability::Eventual),
                None,
            ][random.below(3)],
            folders: [1, 2, 4][random.below(3)],
        }
    }

    /// As [`Settings::of`]; what a process leaves lies on the disk.
    fn of_crash(seed: u64) -> Settings {
        Settings {
            in_memory: false,
            ..Settings::of(seed)
        }
    }

    fn open(self, directory: &Path) -> komatik::Result<Store> {
        let builder = match self.in_memory {
            true => Store::builder_in_memory(),
            false => Store::builder(directory),
        };
        let builder = builder.chunk_bytes(self.chunk_bytes);
        builder.overlay_bytes(self.overlay_bytes).open()
    }

    /// The folders, as written to with each durability that is in turn.
    fn places(self, store: &Store) -> Vec<Vec<Place>> {
        let durabilities = match self.durability {
            Some(durability) => vec![durability],
            None => vec![Durability::Immediate, Durability::Eventual],
        };
        let views = durabilities
            .into_iter()
            .map(|durability| store.with_durability(durability));
        let places = views.map(|view| {
            (0..self.folders)
                .map(|number| Place::new(&view, number))
                .collect()
        });
        places.collect()
    }
}

/// A call that a thread made of a folder, and its answer.
struct Made {
    folder: usize,
    call: Call,
    called: u64,
    returned: u64,
    answer: Answer,
}

/// One history in this process.
fn record(path: &Path, seed: u64) -> Result<History, String> {
    let settings = Settings::of(seed);
    let store = settings.open(path).map_err(|error| format!("{error:?}"))?;
    let places = settings.places(&store);
    let clock = Clock::default();
    let made = std::thread::scope(|threads| {
        let started: Vec<_> = (0..THREADS)
            .map(|thread| {
                let client = Client::new(seed, settings.folders, 0, thread);
                let (places, clock) = (&places, &clock);
                threads.spawn(move || make_calls(client, places, clock))
            })
            .collect();
        started
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a thread panicked".to_owned())?)
            .collect::<Result<Vec<_>, String>>()
    })?;
    let mut history = History::default();
    for (thread, made) in made.into_iter().enumerate() {
        for made in made {
            history.add(
                made.folder,
                Operation {
                    thread,
                    call: made.call,
                    called: made.called,
                    returned: made.returned,
                    answer: Some(made.answer),
                },
            );
        }
    }
    drop(places);
    store.close().map_err(|error| format!("{error:?}"))?;
    Ok(history)
}

fn make_calls(
    mut client: Client,
    places: &[Vec<Place>],
    clock: &Clock,
) -> Result<Vec<Made>, String> {
    let mut all = Vec::new();
    for number in 0..CALLS_A_THREAD {
        let (folder, call) = client.choose();
        let place = &places[number as usize % places.len()][folder];
        let called = clock.now();
        let answer = place.perform(&call)?;
        let returned = clock.now();
        client.learn(folder, &call, &answer);
        all.push(Made {
            folder,
            call,
            called,
            returned,
            answer,
        });
    }
    Ok(all)
}
