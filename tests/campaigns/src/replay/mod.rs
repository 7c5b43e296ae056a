//! C3: the write log of a workload is recorded, and what a power cut could have left of it is made, state by state, and
//! opened. What was acknowledged as durable is there, the rest as far as some commit, and no revision is given twice. The
//! control arms record on a disk that lies, and must lose something.
//!
//! Recording and checking are done by processes of their own. A recording is kept where a state of it is wrong; the command
//! that looks at the state again is told with it.

mod again;
mod check;
mod crash;
mod record;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::Run;
use crate::child::{HANGS, Watchdog, Worker, no_panics, remember_panics, said};
use crate::disk::{self, Event, Lie};
use crate::tally::{Outcome, Tally};
use check::{States, check_states, make_state};

/// So many states are made of a recording, at most.
const STATES_A_RECORDING: u64 = 1000;
/// So many recordings are made, also of a few states: how the store is opened is drawn for each, and one may have no packs.
const LEAST_RECORDINGS: u64 = 4;
/// So many are looked at by one process.
const STATES_A_PROCESS: u64 = 50;
/// Nothing about a small store takes longer.
const LIMIT: Duration = Duration::from_secs(60);
/// What a control arm must lose at least, in percent of its states.
const LEAST_LOST_PERCENT: u64 = 5;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    run: Run,
    /// The control arm: a disk that lies in this way.
    #[arg(long)]
    lie: Option<Lie>,
}

/// What the processes are told.
#[derive(Args)]
pub struct Part {
    log: PathBuf,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    lie: Option<Lie>,
    #[arg(long, default_value = "/dev/shm")]
    scratch: PathBuf,
    /// States: the first, how many, and of how many. Records where they are not given.
    #[arg(long, num_args = 3)]
    states: Vec<u64>,
    /// Only puts the first of the states into this empty directory, to be looked at by hand.
    #[arg(long)]
    make: Option<PathBuf>,
}

impl Part {
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "replay-part".to_owned(),
            self.log.display().to_string(),
            format!("--seed={}", self.seed),
            format!("--scratch={}", self.scratch.display()),
        ];
        if let Some(lie) = self.lie.and_then(|lie| lie.to_possible_value()) {
            arguments.push(format!("--lie={}", lie.get_name()));
        }
        if !self.states.is_empty() {
            arguments.push("--states".to_owned());
            arguments.extend(self.states.iter().map(ToString::to_string));
        }
        arguments
    }
}

pub fn run(arguments: &Arguments) -> crate::Result {
    disk::check()?;
    let run = &arguments.run;
    let name = match arguments.lie {
        None => "replay",
        Some(_) => "replay, control",
    };
    let mut tally = Tally::new(name, run.seed);
    let count = run.count.unwrap_or(20_000);
    let states_of_each = STATES_A_RECORDING.min(count.div_ceil(LEAST_RECORDINGS));
    let mut done = 0;
    for seed in run.seed.. {
        if done >= count {
            break;
        }
        let states = states_of_each.min(count - done);
        let directory = tempfile::tempdir_in(&run.scratch)?;
        let violations = tally.violations();
        recording(directory.path(), seed, states, arguments.lie, &mut tally)?;
        if tally.violations() > violations {
            eprintln!("{name}: the log is kept in {}", directory.keep().display());
        }
        done += states;
    }
    if arguments.lie.is_some() {
        let (states, losses) = (tally.count("states"), tally.count("losses"));
        if losses * 100 < states * LEAST_LOST_PERCENT {
            tally.violation(format!(
                "a disk that lies lost something in {losses} of {states} states only"
            ));
        }
    }
    Ok(Outcome::Done(tally))
}

/// Records, and looks at the states by as many processes at a time as there are processors.
fn recording(
    directory: &Path,
    seed: u64,
    states: u64,
    lie: Option<Lie>,
    tally: &mut Tally,
) -> Result<(), Box<dyn std::error::Error>> {
    let part = |states: Vec<u64>| Part {
        log: directory.join("log"),
        seed,
        lie,
        scratch: directory.to_owned(),
        states,
        make: None,
    };
    let ended = Worker::start(part(Vec::new()).arguments(), drop).wait(2 * LIMIT);
    let is_recorded = ended.status.is_some_and(|status| status.success());
    if !is_recorded || ended.panicked() {
        tally.violation(format!("recording with seed {seed}: {}", ended.errors));
        return Ok(());
    }
    tally.add("recordings", 1);
    tally.add("events", record::load(&directory.join("log"))?.len() as u64);
    let mut batches: Vec<_> = (0..states).step_by(STATES_A_PROCESS as usize).collect();
    batches.reverse();
    let batches = std::sync::Mutex::new(batches);
    let found = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..processors {
            threads.spawn(|| {
                while let Some(first) = next(&batches) {
                    let end = (first + STATES_A_PROCESS).min(states);
                    let said = batch(first..end, |range| {
                        part(vec![range.start, range.end - range.start, states])
                    });
                    found.lock().unwrap().extend(said);
                }
            });
        }
    });
    tally.add("states", states);
    for wrong in found.into_inner()? {
        match lie {
            None => tally.violation(wrong),
            Some(_) => tally.add("losses", 1),
        }
    }
    Ok(())
}

fn next(batches: &std::sync::Mutex<Vec<u64>>) -> Option<u64> {
    batches.lock().unwrap().pop()
}

/// Looks at states in other processes, one after the other where one ends early. Answers what is wrong.
fn batch(states: std::ops::Range<u64>, part: impl Fn(std::ops::Range<u64>) -> Part) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut first = states.start;
    while first < states.end {
        let arguments = part(first..states.end).arguments();
        let command = arguments.join(" ");
        let ended = said(arguments, LIMIT * STATES_A_PROCESS as u32);
        let mut seen = 0;
        for line in &ended.said {
            if line != "right" {
                wrong.push(format!("{line}; {command}"));
            }
            if line == "right" || line.starts_with("wrong") {
                seen += 1;
            }
        }
        let is_done = first + seen == states.end;
        if !is_done && !ended.said.iter().any(|line| line.starts_with(HANGS)) {
            let Some(status) = ended.status else {
                wrong.push(format!("hangs for too long; {command}"));
                break;
            };
            wrong.push(format!(
                "it ended by itself: {status}, {}; {command}",
                ended.errors
            ));
        }
        first += seen + u64::from(!is_done);
    }
    wrong
}

/// What the processes do.
pub fn part(part: &Part) -> ExitCode {
    remember_panics();
    let done = match part.states[..] {
        [first, count, of] => states(part, States { first, count, of }),
        _ => record(part),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

/// Records; sled panics when the disk it is dropped on is frozen.
fn record(part: &Part) -> Result<(), Box<dyn std::error::Error>> {
    let root = tempfile::tempdir_in(&part.scratch)?;
    record::record(root.path(), &part.log, part.seed, part.lie)?;
    Ok(no_panics()?)
}

fn states(part: &Part, states: States) -> Result<(), Box<dyn std::error::Error>> {
    let events: Vec<Event> = record::load(&part.log)?;
    if let Some(root) = &part.make {
        return Ok(make_state(
            &events,
            part.seed,
            states.first,
            states.of,
            root,
        )?);
    }
    let watchdog = Watchdog::start(LIMIT);
    check_states(
        &events,
        &part.scratch,
        part.seed,
        part.lie,
        states,
        &watchdog,
        |_, wrong| match wrong {
            None => println!("right"),
            Some(wrong) => println!("wrong {}", wrong.replace('\n', " ")),
        },
    )?;
    Ok(())
}
