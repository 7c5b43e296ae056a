//! C5: a disk fills up. Writes answer that there is no room, deletions go on and give room back, and once the disk is larger
//! everything acknowledged is there and the store goes on.
//!
//! Each fill is done by a process of its own, on a file system in memory of its own.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Args;
use komatik::{Durability, Error, Store};

use crate::Run;
use crate::child::{HANGS, Watchdog, guarded, remember_panics, said};
use crate::common::Random;
use crate::kill::{check_shared, check_sound};
use crate::load::{Ledger, Settings, Step};
use crate::tally::{Outcome, Tally};

/// A step, or the opening of a small store, that takes longer has hung.
const LIMIT: Duration = Duration::from_secs(60);
const FILL_LIMIT: Duration = Duration::from_secs(600);
/// Room that becomes free is there after so long.
const GIVEN_BACK: Duration = Duration::from_secs(10);

#[derive(Args)]
pub struct Fill {
    directory: PathBuf,
    seed: u64,
}

pub fn run(run: &Run) -> crate::Result {
    let mut tally = Tally::new("full", run.seed);
    let count = run.count.unwrap_or(100);
    for seed in run.seed..run.seed + count {
        let disk = match SmallDisk::mount(&run.scratch, seed) {
            Ok(disk) => disk,
            Err(why) => return Ok(Outcome::Skipped(format!("full: {why}"))),
        };
        let arguments = [
            "full-fill".to_owned(),
            disk.path().display().to_string(),
            seed.to_string(),
        ];
        let ended = said(arguments, FILL_LIMIT);
        tally.add("fills", 1);
        let mut is_done = false;
        for line in &ended.said {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("steps", count) => tally.add("steps", count.parse()?),
                ("refused", count) => tally.add("refused", count.parse()?),
                ("reopened", "full") => tally.add("opened while full", 1),
                ("kept", _) => tally.add("room kept by sled", 1),
                ("right", _) => is_done = true,
                (HANGS, _) => tally.violation(format!("seed {seed}: {line}")),
                _ => {
                    is_done = true;
                    tally.violation(format!("seed {seed}: {line}"));
                }
            }
        }
        if !is_done {
            tally.violation(format!("seed {seed}: {:?} {}", ended.status, ended.errors));
        }
    }
    if tally.count("refused") < tally.count("fills") {
        tally.violation("hardly a disk was full".to_owned());
    }
    Ok(Outcome::Done(tally))
}

/// A file system in memory, gone when dropped.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(scratch: &Path, seed: u64) -> Result<SmallDisk, String> {
        let directory = tempfile::tempdir_in(scratch).map_err(|error| error.to_string())?;
        let disk = SmallDisk { directory };
        mount(&format!("size={}m", mib(seed)), disk.path())?;
        Ok(disk)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: what hangs may still have files open.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn mib(seed: u64) -> u64 {
    8 + Random::new(seed).next() % 57
}

fn mount(options: &str, directory: &Path) -> Result<(), String> {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", options, "komatik-full"]);
    let output = command.arg(directory).output();
    let output = output.map_err(|error| format!("mount: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// What the process does.
pub fn fill(fill: &Fill) -> ExitCode {
    remember_panics();
    let watchdog = Watchdog::start(LIMIT);
    let filled = guarded(|| Filling::new(&fill.directory, fill.seed, &watchdog)?.run());
    match filled {
        Ok(()) => println!("right"),
        Err(error) => println!("wrong {}", error.replace('\n', " ")),
    }
    ExitCode::SUCCESS
}

/// A store on a disk that fills up.
struct Filling<'a> {
    watchdog: &'a Watchdog,
    directory: PathBuf,
    beside: tempfile::TempDir,
    settings: Settings,
    seed: u64,
    random: Random,
    ledger: Ledger,
    /// Keys that are taken.
    keys: Vec<String>,
    steps: u64,
    refused: u64,
}

impl<'a> Filling<'a> {
    fn new(directory: &Path, seed: u64, watchdog: &'a Watchdog) -> Result<Filling<'a>, String> {
        Ok(Filling {
            watchdog,
            directory: directory.to_owned(),
            beside: tempfile::tempdir().map_err(|error| error.to_string())?,
            settings: Settings::of(seed),
            seed,
            random: Random::new(seed ^ 0x6675_6c6c),
            ledger: Ledger::new(),
            keys: Vec::new(),
            steps: 0,
            refused: 0,
        })
    }

    fn run(mut self) -> Result<(), String> {
        let store = self
            .open("at first")
            .map_err(|error| format!("{error:?}"))?;
        self.fill(&store)?;
        self.ledger.check(&store)?;
        self.give_back(&store)?;
        self.fill(&store)?;
        self.ledger.check(&store)?;
        self.watchdog.begin("closing while full".to_owned());
        if self.seed.is_multiple_of(2) {
            typed(store.close())?;
        }
        drop(store);
        match self.open("while full") {
            Ok(store) => {
                println!("reopened full");
                self.ledger.check(&store)?;
                check_sound(&store)?;
                let step = self.next_step();
                self.refuse_or_do(&store, &step)?;
                self.watchdog.begin("dropping while full".to_owned());
                drop(store);
            }
            Err(error) => typed(Err(error))?,
        }
        mount(
            &format!("remount,size={}m", mib(self.seed) + 64),
            &self.directory,
        )?;
        let store = self.open("after the disk grew");
        let store = store.map_err(|error| format!("on a larger disk: {error:?}"))?;
        self.ledger.check(&store)?;
        check_shared(&store)?;
        check_sound(&store)?;
        for _ in 0..20 {
            let step = self.next_step();
            let done = self.ledger.perform(&step, &store, self.beside.path());
            done.map_err(|error| format!("{step:?} on a larger disk: {error:?}"))?;
        }
        store
            .close()
            .map_err(|error| format!("closing: {error:?}"))?;
        let store = self.open("at last").map_err(|error| format!("{error:?}"))?;
        self.ledger.check(&store)?;
        check_sound(&store)?;
        println!("steps {}", self.steps);
        println!("refused {}", self.refused);
        Ok(())
    }

    fn open(&self, when: &str) -> komatik::Result<Store> {
        self.watchdog.begin(format!("opening {when}"));
        self.settings.open(&self.directory.join("store"))
    }

    /// Something that takes room, under a key of its own.
    fn next_step(&mut self) -> Step {
        self.steps += 1;
        let (seed, number) = (self.random.next(), self.steps);
        let size = match self.random.below(10) {
            0..4 => self.random.below(4_000),
            4..9 => 20_000 + self.random.below(200_000),
            _ => 1_000_000,
        };
        let key = format!("key{number}");
        let step = match self.random.below(20) {
            0..6 => Step::Save(key.clone(), seed),
            6..15 => Step::Put(key.clone(), (seed, size)),
            15..17 => Step::Append(key.clone(), (seed, size)),
            _ => return Step::Together(seed, (seed, size)),
        };
        self.keys.push(key);
        step
    }

    /// Writes until there is no room left.
    fn fill(&mut self, store: &Store) -> Result<(), String> {
        loop {
            let step = self.next_step();
            if !self.refuse_or_do(store, &step)? {
                return Ok(());
            }
        }
    }

    /// Does a step; answers whether there was room for it.
    fn refuse_or_do(&mut self, store: &Store, step: &Step) -> Result<bool, String> {
        self.watchdog.begin(format!("{step:?}"));
        let durability = match self.steps % 2 {
            0 => Durability::Immediate,
            _ => Durability::Eventual,
        };
        let store = store.with_durability(durability);
        match self.ledger.perform(step, &store, self.beside.path()) {
            Ok(()) => Ok(true),
            Err(Error::NoSpace { .. }) => {
                self.refused += 1;
                Ok(false)
            }
            Err(error) => Err(format!("{step:?} on a full disk: {error:?}")),
        }
    }

    /// Deletes half of it, after which there must be room again, unless sled's file has taken it.
    fn give_back(&mut self, store: &Store) -> Result<(), String> {
        let keys: Vec<_> = self.keys.drain(..).collect();
        for (number, key) in keys.into_iter().enumerate() {
            if number % 2 == 0 {
                self.keys.push(key);
                continue;
            }
            let step = Step::Delete(key);
            self.watchdog.begin(format!("{step:?}"));
            let deleted = self.ledger.perform(&step, store, self.beside.path());
            deleted.map_err(|error| format!("{step:?} on a full disk: {error:?}"))?;
        }
        self.watchdog.begin("compacting".to_owned());
        typed(store.compact(|_| ControlFlow::Continue(())))?;
        let until = Instant::now() + GIVEN_BACK;
        let step = Step::Put("again".to_owned(), (1, 3_000));
        while !self.refuse_or_do(store, &step)? {
            if Instant::now() > until {
                let stats = store.stats().map_err(|error| format!("{error:?}"))?;
                // Known, and counted: sled's file never shrinks, and what is free in it the disk does not show.
                if stats.tree_bytes > 2 * stats.row_bytes + stats.pack_bytes {
                    println!("kept");
                    return Ok(());
                }
                return Err(format!("no room came back: {stats:?}"));
            }
            // So that it is known whether it was done.
            self.ledger.check(store)?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// What a full disk may be answered with.
fn typed(answer: komatik::Result<()>) -> Result<(), String> {
    match answer {
        Ok(()) | Err(Error::NoSpace { .. } | Error::Poisoned { .. }) => Ok(()),
        Err(error) => Err(format!("on a full disk: {error:?}")),
    }
}
