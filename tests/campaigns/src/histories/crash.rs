//! Histories over processes that are killed, one after the other, on one store. What was under way when a process was killed
//! has happened then or never; the rest must be explained as ever.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client::{Client, Place};
use super::folder::{Answer, Call, KEYS};
use super::record::{Clock, History};
use super::search::Operation;
use super::{Settings, THREADS};
use crate::child::Worker;
use crate::common::Random;
use crate::tally::Tally;

/// Processes on one store.
const RUNS: u64 = 4;
/// How long the store may take to open.
const OPENING: Duration = Duration::from_secs(60);
/// Between the clocks of two processes.
const RUN_TIME: u64 = 1 << 32;

/// The name of the command that works until it is killed.
pub const WORK: &str = "histories-work";

/// What a process says: that it is about to make a call, and what was answered.
#[derive(Serialize, Deserialize)]
enum Line {
    Calls(usize, u64, usize, Call),
    Answered(usize, u64, Answer),
    Failed(String),
}

/// One history over all processes.
pub fn record(path: &Path, seed: u64, tally: &mut Tally) -> Result<History, String> {
    let mut random = Random::new(seed ^ 1 << 45);
    let mut history = History::default();
    for run in 0..RUNS {
        let (opened, opens) = channel();
        let arguments = [
            WORK.into(),
            path.as_os_str().to_owned(),
            seed.to_string().into(),
            run.to_string().into(),
        ];
        let worker = Worker::start(arguments, move |output| read(output, &opened));
        let _ = opens.recv_timeout(OPENING);
        std::thread::sleep(Duration::from_millis(1 + random.below(120) as u64));
        let ended = worker.kill();
        if ended.status.is_some() || ended.panicked() {
            return Err(format!("run {run} ended by itself: {}", ended.errors));
        }
        tally.add("kills", 1);
        let pending = add(&mut history, run, ended.said)?;
        tally.add("calls cut short", pending);
    }
    look(path, seed, &mut history)?;
    Ok(history)
}

fn read(output: impl Read, opened: &Sender<()>) -> Vec<Line> {
    let mut lines = Vec::new();
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if lines.is_empty() {
            // Who waits may have given up.
            let _ = opened.send(());
        }
        // A line that a kill has cut is the last one.
        lines.extend(serde_json::from_str::<Line>(&line));
    }
    lines
}

/// Adds what a process said; answers how many calls were cut short.
fn add(history: &mut History, run: u64, lines: Vec<Line>) -> Result<u64, String> {
    let mut under_way: HashMap<usize, (u64, usize, Call)> = HashMap::new();
    let operation = |thread, call, called, returned, answer| Operation {
        thread,
        call,
        called,
        returned,
        answer,
    };
    for line in lines {
        match line {
            Line::Calls(thread, called, folder, call) => {
                under_way.insert(thread, (called, folder, call));
            }
            Line::Answered(thread, returned, answer) => {
                let (called, folder, call) = under_way.remove(&thread).expect("it was called");
                history.add(
                    folder,
                    operation(thread, call, called, returned, Some(answer)),
                );
            }
            Line::Failed(what) => return Err(what),
        }
    }
    let count = under_way.len() as u64;
    let end = (run + 1) * RUN_TIME - 1;
    for (thread, (called, folder, call)) in under_way {
        history.add(folder, operation(thread, call, called, end, None));
    }
    Ok(count)
}

/// Reads everything there is at the end.
fn look(path: &Path, seed: u64, history: &mut History) -> Result<(), String> {
    let settings = Settings::of_crash(seed);
    let store = settings.open(path).map_err(|error| format!("{error:?}"))?;
    let clock = Clock::from(RUNS * RUN_TIME);
    for (folder, place) in settings.places(&store)[0].iter().enumerate() {
        let reads = (0..KEYS.len()).map(Call::Read);
        for call in [Call::List].into_iter().chain(reads) {
            let called = clock.now();
            let answer = Some(place.perform(&call)?);
            let returned = clock.now();
            let operation = Operation {
                thread: 0,
                call,
                called,
                returned,
                answer,
            };
            history.add(folder, operation);
        }
    }
    store.close().map_err(|error| format!("{error:?}"))
}

/// What the process does that is to be killed.
pub fn work(directory: &Path, seed: u64, run: u64) -> ExitCode {
    let settings = Settings::of_crash(seed);
    let store = match settings.open(directory) {
        Ok(store) => store,
        Err(error) => {
            say(&Line::Failed(format!(
                "run {run}: it does not open: {error:?}"
            )));
            return ExitCode::FAILURE;
        }
    };
    let places = settings.places(&store);
    let clock = Clock::from(run * RUN_TIME);
    std::thread::scope(|threads| {
        for thread in 0..THREADS {
            let client = Client::new(seed, settings.folders, run, thread);
            let (places, clock) = (&places, &clock);
            threads.spawn(move || make_calls(client, places, clock, thread as usize));
        }
    });
    ExitCode::SUCCESS
}

fn make_calls(mut client: Client, places: &[Vec<Place>], clock: &Clock, thread: usize) {
    for places in places.iter().cycle() {
        let (folder, call) = client.choose();
        say(&Line::Calls(thread, clock.now(), folder, call.clone()));
        match places[folder].perform(&call) {
            Ok(answer) => {
                client.learn(folder, &call, &answer);
                say(&Line::Answered(thread, clock.now(), answer));
            }
            Err(what) => say(&Line::Failed(what)),
        }
    }
}

/// One write, so that a line is there whole or not at all.
fn say(line: &Line) {
    let mut text = serde_json::to_string(line).expect("a line is JSON");
    text.push('\n');
    let mut out = std::io::stdout().lock();
    // Nobody listens any more: this process is about to be ended.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
