//! The process that works until it is killed, and what it acknowledged to the one that kills it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use komatik::{Durability, History, PasswordCost, Store};

use super::script::{PASSWORD, SHARED, Script, Step, thread_folder};
use crate::common::Random;

/// The name of the command that works.
pub const WORK: &str = "work";
/// A write that does not wait for the disk is there to be brought after so long…
const EVENTUAL_INTERVAL: Duration = Duration::from_millis(100);
/// …and is there after so long, on a machine that has other things to do as well.
pub const EVENTUAL_BOUND: Duration = Duration::from_secs(1);

/// How long that may take before what it does then is waited for no longer.
pub const OPENING: Duration = Duration::from_secs(60);

/// How a store is opened; follows from the seed.
#[derive(Debug, Clone)]
pub struct Settings {
    chunk_bytes: usize,
    overlay_bytes: usize,
    history_bytes: u64,
    /// How many threads work.
    pub threads: u64,
}

impl Settings {
    pub fn of(seed: u64) -> Settings {
        let mut random = Random::new(seed);
        Settings {
            chunk_bytes: [2048, 65_536, 65_536][random.below(3)],
            overlay_bytes: [64 * 1024, 1024 * 1024, 8 * 1024 * 1024][random.below(3)],
            history_bytes: [64 * 1024, 1024 * 1024][random.below(2)],
            threads: [1, 2, 3, 8][random.below(4)],
        }
    }

    /// With the least history, so that the journal gives back little.
    pub fn with_small_history(self) -> Settings {
        Settings {
            overlay_bytes: 64 * 1024,
            history_bytes: 64 * 1024,
            ..self
        }
    }

    pub fn open(&self, directory: &Path) -> komatik::Result<Store> {
        Store::builder(directory)
            .chunk_bytes(self.chunk_bytes)
            .overlay_bytes(self.overlay_bytes)
            .history(History::of_bytes(self.history_bytes))
            .eventual_interval(EVENTUAL_INTERVAL)
            .password_cost(PasswordCost::new(8, 1))
            .open()
    }
}

/// Opens the store and works until somebody ends it. Says `open`, then `done THREAD NUMBER` after each step and
/// `settled THREAD NUMBER` where a power cut cannot undo it; `failed` where the disk is gone.
pub fn work(directory: &Path, beside: &Path, seed: u64) -> komatik::Result<()> {
    let settings = Settings::of(seed);
    let script = Script::new(seed);
    let store = settings.open(directory)?;
    say("open");
    std::thread::scope(|threads| {
        for thread in 0..settings.threads {
            let store = &store;
            threads.spawn(move || {
                for number in 0.. {
                    if let Err(error) = step(store, beside, script, thread, number) {
                        say(&format!("failed {thread} {number} {error}"));
                        return;
                    }
                }
            });
        }
    });
    Ok(())
}

fn step(
    store: &Store,
    beside: &Path,
    script: Script,
    thread: u64,
    number: u64,
) -> komatik::Result<()> {
    let word = match script.perform(store, beside, thread, number)? {
        true => "settled",
        false => "done",
    };
    say(&format!("{word} {thread} {number}"));
    Ok(())
}

impl Script {
    /// Does the step of this number; answers whether a power cut cannot undo it.
    pub fn perform(
        self,
        store: &Store,
        beside: &Path,
        thread: u64,
        number: u64,
    ) -> komatik::Result<bool> {
        let (step, durability) = self.step(thread, number);
        let whole = store.with_durability(durability);
        let own = whole
            .scoped(&thread_folder(thread))?
            .unlocked_with(PASSWORD);
        let is_done = step.perform(&own, &whole.scoped(SHARED)?, &whole, beside)?;
        Ok(is_done && (durability == Durability::Immediate || matches!(step, Step::Flush)))
    }
}

/// One write, so that a line is there whole or not at all.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody listens any more: this process is about to be ended.
    let _ = out
        .write_all(format!("{line}\n").as_bytes())
        .and_then(|()| out.flush());
}

/// What a process acknowledged.
#[derive(Debug, Default, Clone)]
pub struct Acknowledged {
    /// Steps done, by thread.
    pub done: Vec<u64>,
    /// When each step of each thread was heard of, and whether a power cut cannot undo it.
    heard: Vec<Vec<(Instant, bool)>>,
    /// What made threads give up.
    pub failures: Vec<String>,
}

impl Acknowledged {
    /// Reads what a process says to its end, and tells when it has opened the store.
    pub fn read(output: impl Read, threads: u64, opened: &Sender<()>) -> Acknowledged {
        let count = usize::try_from(threads).unwrap();
        let mut acknowledged = Acknowledged {
            done: vec![0; count],
            heard: vec![Vec::new(); count],
            ..Acknowledged::default()
        };
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let words: Vec<_> = line.splitn(4, ' ').collect();
            let place = |thread: &str, number: &str| {
                let number: u64 = number.parse().ok()?;
                Some((thread.parse::<usize>().ok()?, number + 1))
            };
            match words[..] {
                // Who waits may have given up.
                ["open"] => {
                    let _ = opened.send(());
                }
                [word @ ("done" | "settled"), thread, number] => {
                    let (thread, steps) = place(thread, number).expect("a thread and a number");
                    assert_eq!(acknowledged.done[thread] + 1, steps, "steps come in order");
                    acknowledged.done[thread] = steps;
                    acknowledged.heard[thread].push((Instant::now(), word == "settled"));
                }
                ["failed", ..] => acknowledged.failures.push(line),
                _ => {}
            }
        }
        acknowledged
    }

    /// How many steps of a thread are there in any case after a cut at this time. What is heard later counts for nothing:
    /// a file system that is being shut down answers some syncs with success.
    pub fn least_after_cut(&self, thread: usize, cut: Instant) -> u64 {
        let is_certain = |(heard, is_settled): &(Instant, bool)| {
            let age = cut.checked_duration_since(*heard);
            age.is_some_and(|age| *is_settled || age > EVENTUAL_BOUND)
        };
        let last = self.heard[thread].iter().rposition(is_certain);
        last.map_or(0, |last| u64::try_from(last).unwrap() + 1)
    }
}

/// The directory beside a store where backups go.
pub fn beside(store: &Path) -> PathBuf {
    store.with_extension("beside")
}
