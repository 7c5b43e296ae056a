//! The write log of a workload: everything that a store did to its files from its creation on, and what it acknowledged
//! in between.

use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use crate::common::Random;
use crate::disk::{self, Event, Lie};
use crate::load::{EVENTUAL_BOUND, Script, Settings};

/// More threads make the log no richer, only longer.
const MAX_THREADS: u64 = 3;
/// How often the store is opened and closed.
const OPENINGS: u64 = 3;

/// How the store of a recording is opened, and by how many threads it is used.
pub fn settings(seed: u64, lie: Option<Lie>) -> (Settings, u64) {
    let settings = Settings::of(seed);
    let threads = settings.threads.min(MAX_THREADS);
    match lie {
        // Else the journal gives back all that the trees lose.
        Some(Lie::TreesSync) => (settings.with_small_history(), threads),
        _ => (settings, threads),
    }
}

/// What is said in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// A thread was told that its next step is done, and whether a power cut may undo it.
    Done { thread: u64, is_settled: bool },
    /// Somebody may have seen this revision.
    Seen(u64),
    /// The store was closed in good order.
    Closed,
    /// Nobody did anything for so long that all that is done is on the disk.
    Rested,
}

impl Note {
    fn say(self) {
        disk::note(match self {
            Note::Done { thread, is_settled } => thread << 3 | u64::from(is_settled) << 2,
            Note::Seen(revision) => revision << 2 | 1,
            Note::Closed => 2,
            Note::Rested => 3,
        });
    }

    pub fn of(word: u64) -> Note {
        match word & 3 {
            0 => Note::Done {
                thread: word >> 3,
                is_settled: word & 4 != 0,
            },
            1 => Note::Seen(word >> 2),
            2 => Note::Closed,
            _ => Note::Rested,
        }
    }
}

/// Works on a store below `root`, and writes the log of it to a file.
pub fn record(
    root: &Path,
    log: &Path,
    seed: u64,
    lie: Option<Lie>,
) -> Result<(), Box<dyn std::error::Error>> {
    let beside = tempfile::tempdir_in(log.parent().unwrap_or(root))?;
    disk::watch(root);
    disk::record();
    if let Some(lie) = lie {
        disk::lie(lie);
    }
    let mut random = Random::new(seed ^ 0x7265_636f_7264);
    let mut first = 0;
    for _ in 0..OPENINGS {
        let next = first + 8 + random.below(25) as u64;
        let is_killed = random.below(2) == 0;
        session(root, beside.path(), seed, lie, first..next, is_killed)?;
        disk::heal();
        first = next;
    }
    let events = disk::recorded();
    disk::release();
    let mut file = BufWriter::new(std::fs::File::create(log)?);
    rmp_serde::encode::write(&mut file, &events)?;
    Ok(file.flush()?)
}

/// Opens the store, does some steps, and closes it, or ends as when the process is killed.
fn session(
    root: &Path,
    beside: &Path,
    seed: u64,
    lie: Option<Lie>,
    steps: std::ops::Range<u64>,
    is_killed: bool,
) -> komatik::Result<()> {
    let (settings, threads) = settings(seed, lie);
    let store = settings.open(&root.join("store"))?;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let (store, steps) = (&store, steps.clone());
                scope.spawn(move || {
                    let mut random = Random::new(seed ^ thread << 32 ^ steps.start);
                    for number in steps {
                        let is_settled =
                            Script::small(seed).perform(store, beside, thread, number)?;
                        Note::Done { thread, is_settled }.say();
                        Note::Seen(store.history().newest).say();
                        // So that what goes on in the background comes to pass in between.
                        std::thread::sleep(Duration::from_millis(random.below(10) as u64));
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            let ended: komatik::Result<()> = worker.join().expect("a thread of the recording");
            ended
        })
    })?;
    if is_killed {
        if seed.is_multiple_of(2) {
            // Also where the machine has other things to do.
            std::thread::sleep(3 * EVENTUAL_BOUND);
            Note::Rested.say();
        }
        disk::freeze();
    } else {
        store.close()?;
        Note::Closed.say();
    }
    Ok(())
}

/// Reads a log.
pub fn load(log: &Path) -> Result<Vec<Event>, Box<dyn std::error::Error>> {
    let file = BufReader::new(std::fs::File::open(log)?);
    Ok(rmp_serde::from_read(file)?)
}
