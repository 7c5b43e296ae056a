//! C1: a process is killed while it works, opens, recovers, compacts or backs up. What it acknowledged is there, whole,
//! and nothing else grows.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::Duration;

use komatik::Store;
use serde_json::Value;

use crate::child::{Ended, Worker};
use crate::common::Random;
use crate::load::{
    Acknowledged, Model, OPENING, SHARED, Script, Seen, Settings, WORK, beside, check_step,
};
use crate::tally::{Outcome, Tally};
use crate::{Run, disk};

const MIB: u64 = 1024 * 1024;
/// A store is begun anew after so many cycles, so that all sizes are met.
const CYCLES_A_STORE: u64 = 25;
/// The name of the command that only opens.
const OPEN_ONLY: &str = "open-only";

pub fn run(run: &Run) -> crate::Result {
    let mut tally = Tally::new("kill", run.seed);
    let count = run.count.unwrap_or(5_000);
    let mut done = 0;
    while done < count {
        let directory = tempfile::tempdir_in(&run.scratch)?;
        let cycles = CYCLES_A_STORE.min(count - done);
        let path = directory.path().join("store");
        if let Err(violation) = store_of_cycles(&path, run.seed + done, cycles, &mut tally) {
            let kept = directory.keep();
            tally.violation(format!("{violation}; kept in {}", kept.display()));
        }
        done += cycles;
    }
    if tally.count("steps") < count {
        tally.violation("hardly a step was done".to_owned());
    }
    Ok(Outcome::Done(tally))
}

fn store_of_cycles(
    path: &Path,
    first_seed: u64,
    cycles: u64,
    tally: &mut Tally,
) -> Result<(), String> {
    let mut models: Vec<Model> = vec![Model::new(); 8];
    for cycle in 0..cycles {
        let seed = first_seed + cycle;
        let failed = |what: String| format!("seed {seed}, cycle {cycle} of the store: {what}");
        let acknowledged = killed_while_it_works(path, seed).map_err(failed)?;
        tally.add("cycles", 1);
        tally.add("steps", acknowledged.done.iter().sum());
        killed_while_it_opens(path, seed, tally).map_err(failed)?;
        check(path, seed, &mut models, &acknowledged, tally).map_err(failed)?;
    }
    Ok(())
}

fn killed_while_it_works(path: &Path, seed: u64) -> Result<Acknowledged, String> {
    let mut random = Random::new(seed);
    random.next();
    let time = Duration::from_millis(30 + random.below(500) as u64);
    let threads = Settings::of(seed).threads;
    let arguments = [
        WORK.into(),
        path.as_os_str().to_owned(),
        seed.to_string().into(),
    ];
    let (opened, opens) = channel();
    let worker = Worker::start(arguments, move |output| {
        Acknowledged::read(output, threads, &opened)
    });
    let _ = opens.recv_timeout(OPENING);
    std::thread::sleep(time);
    let ended = worker.kill();
    let is_fine = ended.status.is_none() && !ended.panicked();
    let Ended {
        status,
        said,
        errors,
    } = ended;
    match status {
        None if is_fine && said.failures.is_empty() => Ok(said),
        status => Err(format!(
            "it ended by itself: {status:?} {:?} {errors}",
            said.failures
        )),
    }
}

/// Killed again while it opens and repairs.
fn killed_while_it_opens(path: &Path, seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut random = Random::new(seed ^ 1 << 50);
    for _ in 0..random.below(3) {
        let time = [3, 10, 30, 200][random.below(4)];
        let arguments = [
            OPEN_ONLY.into(),
            path.as_os_str().to_owned(),
            seed.to_string().into(),
        ];
        let worker = Worker::start(arguments, drop);
        std::thread::sleep(Duration::from_millis(random.below(time) as u64));
        let Ended { status, errors, .. } = worker.kill();
        tally.add("kills while opening", 1);
        if status.is_some() || errors.contains("panicked") {
            return Err(format!("opening: it ended by itself: {status:?} {errors}"));
        }
    }
    Ok(())
}

fn check(
    path: &Path,
    seed: u64,
    models: &mut [Model],
    acknowledged: &Acknowledged,
    tally: &mut Tally,
) -> Result<(), String> {
    let store = Settings::of(seed)
        .open(path)
        .map_err(|error| format!("it does not open: {error:?}"))?;
    for (thread, model) in (0..Settings::of(seed).threads).zip(models) {
        let seen = Seen::read(&store, thread).map_err(|error| format!("{error:?}"))?;
        let done = acknowledged.done[thread as usize];
        check_step(&seen, model, Script::new(seed), thread, done, done)?;
    }
    check_shared(&store)?;
    check_sound(&store)?;
    tally.add("verified entries", store.stats().unwrap().entries);
    if seed % 5 == 4 {
        check_space(&store)?;
    }
    store.close().map_err(|error| format!("closing: {error:?}"))
}

/// The pair of documents that all threads write together.
pub fn check_shared(store: &Store) -> Result<(), String> {
    let shared = store.scoped(SHARED).unwrap();
    let pair = ["a", "b"].map(|key| shared.load::<Value>(key).unwrap());
    match pair[0] == pair[1] {
        true => Ok(()),
        false => Err("a transaction is half there".to_owned()),
    }
}

/// Everything in the store is as it was written.
pub fn check_sound(store: &Store) -> Result<(), String> {
    let report = store.verify(|_| ControlFlow::Continue(()));
    match report.map_err(|error| format!("{error:?}"))? {
        report if report.is_sound() => Ok(()),
        report => Err(format!("{report:?}")),
    }
}

fn check_space(store: &Store) -> Result<(), String> {
    let compacted = store.compact(|_| ControlFlow::Continue(()));
    compacted.map_err(|error| format!("{error:?}"))?;
    let stats = store.stats().map_err(|error| format!("{error:?}"))?;
    match stats.pack_bytes <= 2 * stats.chunk_bytes + 16 * MIB {
        true => Ok(()),
        false => Err(format!("space does not come back: {stats:?}")),
    }
}

/// What the process does that is to be killed.
pub fn work(directory: &Path, seed: u64, lie: Option<disk::Lie>) -> ExitCode {
    if let Some(lie) = lie {
        disk::watch(directory);
        disk::lie(lie);
    }
    let beside = beside(directory);
    std::fs::create_dir_all(&beside).unwrap();
    match crate::load::work(directory, &beside, seed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

/// What the process does that is to be killed while it opens.
pub fn open_only(directory: &Path, seed: u64) -> ExitCode {
    match Settings::of(seed).open(directory) {
        Ok(_store) => {
            std::thread::sleep(Duration::from_secs(60));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}
