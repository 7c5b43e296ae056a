//! C4: the Nth call of a kind fails, for every N, in six works. Every call of the store answers soon, and once the fault is
//! gone the store opens, holds what was acknowledged, and goes on.
//!
//! A series is a work and a kind of call; it is done by a process of its own.

mod case;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::Run;
use crate::child::{HANGS, Watchdog, guarded, remember_panics, said};
use crate::disk::{self, Call};
use crate::tally::{Outcome, Tally};
use case::Case;
use workloads::Workload;

/// Nothing about so small a store takes longer.
const LIMIT: Duration = Duration::from_secs(60);
/// So many faults in a row that do not strike end a series: what goes on in the background makes the count vary.
const UNSTRUCK: u64 = 3;
/// The longest a process may take.
const SERIES_LIMIT: Duration = Duration::from_secs(3600);

/// One process: a work, a kind of call and where to begin.
#[derive(Debug, Clone, Args)]
pub struct Series {
    #[arg(value_enum)]
    workload: Workload,
    #[arg(value_enum)]
    call: Call,
    /// The first N.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// How many N; all where it is not given, and then with every way to fail instead of one.
    #[arg(long)]
    count: Option<u64>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value = "/dev/shm")]
    scratch: PathBuf,
}

/// The ways in which a call may fail.
fn errnos(call: Call) -> &'static [i32] {
    match call {
        Call::Open => &[libc::EIO, libc::EMFILE],
        Call::Read | Call::Truncate | Call::Unlink => &[libc::EIO],
        Call::Write | Call::Sync | Call::Rename | Call::MakeDirectory => &[libc::EIO, libc::ENOSPC],
    }
}

impl Series {
    fn variants(&self, number: u64) -> Vec<(i32, bool)> {
        let all = errnos(self.call)
            .iter()
            .flat_map(|errno| [(*errno, false), (*errno, true)]);
        let all: Vec<_> = all.collect();
        match self.count {
            None => all,
            Some(_) => vec![all[(number as usize + self.seed as usize) % all.len()]],
        }
    }

    fn arguments(&self, first: u64) -> Vec<String> {
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map_or(String::new(), |value| value.get_name().to_owned())
        };
        let mut arguments = vec![
            "fault-series".to_owned(),
            name(self.workload.to_possible_value()),
            name(self.call.to_possible_value()),
            format!("--first={first}"),
            format!("--seed={}", self.seed),
            format!("--scratch={}", self.scratch.display()),
        ];
        arguments.extend(self.count.map(|count| format!("--count={count}")));
        arguments
    }
}

pub fn run(run: &Run) -> crate::Result {
    disk::check()?;
    let mut series = Vec::new();
    for workload in Workload::value_variants() {
        for call in Call::value_variants() {
            series.push(Series {
                workload: *workload,
                call: *call,
                first: 0,
                count: run.count,
                seed: run.seed,
                scratch: run.scratch.clone(),
            });
        }
    }
    let series = Mutex::new(series);
    let tally = Mutex::new(Tally::new("fault", run.seed));
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            threads.spawn(|| {
                while let Some(series) = next(&series) {
                    follow(&series, &tally);
                }
            });
        }
    });
    let mut tally = tally.into_inner()?;
    if tally.count("faults") < tally.count("series") {
        tally.violation("hardly a fault struck".to_owned());
    }
    Ok(Outcome::Done(tally))
}

fn next(series: &Mutex<Vec<Series>>) -> Option<Series> {
    series.lock().unwrap().pop()
}

/// Has a series done, by a new process where one hangs.
fn follow(series: &Series, tally: &Mutex<Tally>) {
    tally.lock().unwrap().add("series", 1);
    let mut first = series.first;
    loop {
        let arguments = series.arguments(first);
        let command = arguments.join(" ");
        let ended = said(arguments, SERIES_LIMIT);
        let mut tally = tally.lock().unwrap();
        let mut is_done = false;
        for line in &ended.said {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("begin", number) => first = number.parse().unwrap_or(first),
                ("right", "struck") => tally.add("faults", 1),
                ("right", _) => tally.add("spared", 1),
                ("done", _) => is_done = true,
                _ => tally.violation(format!("{command}: {line}")),
            }
        }
        if is_done {
            return;
        }
        if !ended.said.iter().any(|line| line.starts_with(HANGS)) {
            tally.violation(format!(
                "{command}: it ended by itself: {:?} {}",
                ended.status, ended.errors
            ));
        }
        first += 1;
    }
}

/// What the processes do.
pub fn series(series: &Series) -> ExitCode {
    remember_panics();
    let watchdog = Watchdog::start(LIMIT);
    let mut unstruck = 0;
    let numbers = 0..series.count.unwrap_or(u64::MAX);
    for number in numbers.skip(usize::try_from(series.first).unwrap()) {
        println!("begin {number}");
        let mut has_struck = false;
        for (errno, sticky) in series.variants(number) {
            let case = Case {
                workload: series.workload,
                call: series.call,
                errno,
                sticky,
                after: number,
            };
            let run = || {
                watchdog.begin(format!("{case:?}"));
                let root = tempfile::tempdir_in(&series.scratch).unwrap();
                guarded(|| case::run(case, root.path()))
            };
            // Once more where it may have been the machine, which has other things to do as well.
            let ended = match run() {
                Err(error) if error.contains(case::TOO_LONG) => run(),
                ended => ended,
            };
            match ended {
                Ok(struck) => {
                    has_struck |= struck;
                    println!("right {}", if struck { "struck" } else { "spared" });
                }
                Err(error) => {
                    has_struck = true;
                    println!("wrong {case:?}: {}", error.replace('\n', " "));
                }
            }
        }
        unstruck = if has_struck { 0 } else { unstruck + 1 };
        if unstruck == UNSTRUCK {
            break;
        }
    }
    println!("done");
    ExitCode::SUCCESS
}
