//! C10: consumers of changes beside several writers. They are told of every change once, in order, those of a commit
//! together, and only of what is durable; they go on where they stopped; and nobody waits for them.
//!
//! Each writer knows what must be told of what it did. A round is one store, with consumers of many habits beside the
//! writers; some rounds cut the power at the moment a consumer is told, some kill the process.

mod callbacks;
mod cut;
mod followers;
mod kill;
mod log;
mod writers;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use komatik::{History, Store};

use crate::Run;
use crate::common::Random;
use crate::tally::{Outcome, Tally};
use callbacks::{Callbacks, check_nobody_waits, come_and_go};
use followers::{Followed, Habit};
use log::{Log, Mirror};
use writers::Writer;

pub use kill::work;

const WRITERS: usize = 4;
const STEPS: usize = 1_000;
/// So many changes have rounds of every kind among them.
const MANY: u64 = 100_000;

pub fn run(run: &Run) -> crate::Result {
    let mut tally = Tally::new("watch", run.seed);
    let count = run.count.unwrap_or(MANY);
    let mut seed = run.seed;
    let mut idle_rounds = 0;
    while tally.count("changes") < count && idle_rounds < 10 {
        let directory = tempfile::tempdir_in(&run.scratch)?;
        let done = match seed % 5 {
            1 => cut::run(directory.path(), seed, &mut tally),
            2 => kill::run(&directory.path().join("store"), seed, &mut tally),
            _ => round(&directory.path().join("store"), seed, &mut tally),
        };
        tally.add("rounds", 1);
        match done {
            Ok(changes) => {
                tally.add("changes", changes);
                idle_rounds = 0;
            }
            Err(what) => {
                tally.violation(format!("seed {seed}: {what}"));
                idle_rounds += 1;
            }
        }
        seed += 1;
    }
    for what in ["cuts", "kills"] {
        if count >= MANY && tally.count(what) == 0 {
            tally.violation(format!("none of the {what}"));
        }
    }
    Ok(Outcome::Done(tally))
}

/// How a store is opened and who consumes; follows from the seed.
#[derive(Debug, Clone, Copy)]
struct Settings {
    in_memory: bool,
    chunk_bytes: usize,
    overlay_bytes: usize,
    history: History,
    calls: bool,
}

impl Settings {
    fn of(seed: u64) -> Settings {
        let mut random = Random::new(seed);
        random.next();
        let histories = [
            History::unlimited(),
            History::of_bytes(2 * 1024 * 1024),
            History::of_bytes(64 * 1024),
            History::of_bytes(64 * 1024),
        ];
        let history = histories[random.below(histories.len())];
        Settings {
            in_memory: random.below(8) == 0,
            chunk_bytes: [2048, 65_536][random.below(2)],
            overlay_bytes: [16 * 1024, 256 * 1024][random.below(2)],
            history,
            // Where the history is short, only callbacks are told of all there is.
            calls: history != History::unlimited() || random.below(3) == 0,
        }
    }

    fn open(self, directory: &Path) -> komatik::Result<Store> {
        let builder = match self.in_memory {
            true => Store::builder_in_memory(),
            false => Store::builder(directory),
        };
        builder
            .chunk_bytes(self.chunk_bytes)
            .overlay_bytes(self.overlay_bytes)
            .history(self.history)
            .open()
    }
}

/// All that follow, the first one all there is.
fn habits() -> Vec<Habit> {
    let habit = |scope, folder, hops, sleeps| Habit {
        scope,
        folder,
        hops,
        sleeps: Duration::from_millis(sleeps),
    };
    vec![
        habit("", "", false, 0),
        habit("", "", true, 1),
        habit("", "", false, 60),
        habit("", "x", true, 0),
        habit("x/", "", false, 3),
        habit("y/", "w1", true, 0),
        habit("", "shared", false, 30),
    ]
}

/// Writers and consumers in this process; answers how many changes there were.
fn round(path: &Path, seed: u64, tally: &mut Tally) -> Result<u64, String> {
    let settings = Settings::of(seed);
    let failed = |error: komatik::Error| format!("{error:?}");
    let store = settings.open(path).map_err(failed)?;
    let callbacks = settings.calls.then(|| Callbacks::new(&store));
    let (writers, followed) = consume(&store, seed)?;
    let whole = match callbacks {
        Some(callbacks) => callbacks.end()?,
        None => followed[0].whole()?,
    };
    let checked = check(&store, &whole, &writers, &followed);
    checked.map_err(|what| format!("{settings:?}: {what}"))?;
    check_nobody_waits(&store)?;
    drop(writers);
    store.close().map_err(failed)?;
    tally.add("told", followed.iter().map(Followed::count).sum());
    tally.add("compacted", followed.iter().map(|one| one.compacted).sum());
    Ok(whole.events().len() as u64)
}

fn check(
    store: &Store,
    whole: &Log,
    writers: &[Writer],
    followed: &[Followed],
) -> Result<(), String> {
    writers.iter().try_for_each(|writer| writer.check(whole))?;
    followed
        .iter()
        .try_for_each(|one| one.check(whole, store))?;
    let mut mirror = Mirror::default();
    whole.events().iter().for_each(|event| mirror.apply(event));
    mirror.check(store)
}

fn consume(store: &Store, seed: u64) -> Result<(Vec<Writer>, Vec<Followed>), String> {
    let is_over = &AtomicBool::new(false);
    std::thread::scope(|threads| {
        let followers: Vec<_> = habits()
            .into_iter()
            .map(|habit| threads.spawn(move || habit.follow(store, is_over, seed)))
            .collect();
        let coming = threads.spawn(|| come_and_go(store, is_over));
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| threads.spawn(move || write(store, seed, number)))
            .collect();
        let written: Result<Vec<_>, String> = writers
            .into_iter()
            .map(|writer| writer.join().map_err(|_| "a writer panicked".to_owned())?)
            .collect();
        is_over.store(true, Ordering::Release);
        let followed: Result<Vec<_>, String> = followers
            .into_iter()
            .map(|one| one.join().map_err(|_| "a follower panicked".to_owned())?)
            .collect();
        coming
            .join()
            .map_err(|_| "a callback panicked".to_owned())??;
        Ok((written?, followed?))
    })
}

fn write(store: &Store, seed: u64, number: usize) -> Result<Writer, String> {
    let mut writer = Writer::new(store, seed, number);
    for _ in 0..STEPS {
        let stepped = writer.step();
        stepped.map_err(|error| format!("writer {number}: {error:?}"))?;
    }
    Ok(writer)
}
