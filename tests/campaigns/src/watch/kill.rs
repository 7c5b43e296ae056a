//! Consumers in processes that are killed go on where they stood, and what they were told of is there.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use komatik::{Events, History, Since, Store};
use serde::{Deserialize, Serialize};

use super::cut::read;
use super::log::{Event, Log, Mirror, difference};
use super::writers::Writer;
use crate::child::Worker;
use crate::common::Random;
use crate::load::OPENING;
use crate::tally::Tally;

/// Processes on one store.
const RUNS: u64 = 4;
const WRITERS: u64 = 4;

/// The name of the command that works until it is killed.
const WORK: &str = "watch-work";

#[derive(Serialize, Deserialize)]
enum Line {
    Open,
    /// Told to a watcher.
    Watched(Event),
    /// Told to a callback.
    Called(Event),
    Failed(String),
}

fn open(directory: &Path, seed: u64) -> komatik::Result<Store> {
    Store::builder(directory)
        .chunk_bytes([2048, 65_536][(seed % 2) as usize])
        .overlay_bytes(32 * 1024)
        .history(History::unlimited())
        .open()
}

/// A round; answers how many changes there were.
pub fn run(path: &Path, seed: u64, tally: &mut Tally) -> Result<u64, String> {
    let mut random = Random::new(seed ^ 1 << 44);
    let mut log = Log::default();
    let mut called = Vec::new();
    for run in 0..RUNS {
        // What a commit told before it was cut short is told again.
        log.drop_unfinished();
        let position = log.events().last().map_or(0, |last| last.revision);
        let (opened, opens) = channel();
        let arguments = [
            WORK.into(),
            path.as_os_str().to_owned(),
            seed.to_string().into(),
            run.to_string().into(),
            position.to_string().into(),
        ];
        let worker = Worker::start(arguments, move |output| lines(output, &opened));
        let _ = opens.recv_timeout(OPENING);
        std::thread::sleep(Duration::from_millis(5 + random.below(300) as u64));
        let ended = worker.kill();
        if ended.status.is_some() || ended.panicked() {
            return Err(format!("run {run} ended by itself: {}", ended.errors));
        }
        tally.add("kills", 1);
        for line in ended.said {
            match line {
                Line::Open => {}
                Line::Watched(event) => log.add(event)?,
                Line::Called(event) => called.push(event),
                Line::Failed(what) => return Err(format!("run {run}: {what}")),
            }
        }
    }
    log.drop_unfinished();
    check(path, seed, log, &called)
}

fn lines(output: impl Read, opened: &Sender<()>) -> Vec<Line> {
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

fn check(path: &Path, seed: u64, mut log: Log, called: &[Event]) -> Result<u64, String> {
    let failed = |error: komatik::Error| format!("{error:?}");
    let store = open(path, seed).map_err(failed)?;
    let position = log.events().last().map_or(0, |last| last.revision);
    for event in read(&store, Since::After(position)).map_err(failed)? {
        log.add(event)?;
    }
    let whole = read(&store, Since::Start).map_err(failed)?;
    if let Some(difference) = difference(log.events(), &whole) {
        return Err(format!(
            "told over all processes, and in the end: {difference}"
        ));
    }
    let name = |event: &Event| (event.revision, event.key.clone(), event.content.digest);
    let names: BTreeSet<_> = whole.iter().map(name).collect();
    if let Some(lost) = called.iter().find(|event| !names.contains(&name(event))) {
        return Err(format!("a callback was told and it is gone: {lost:?}"));
    }
    let mut mirror = Mirror::default();
    whole.iter().for_each(|event| mirror.apply(event));
    mirror.check(&store)?;
    store.close().map_err(failed)?;
    Ok(whole.len() as u64)
}

/// What the process does that is to be killed.
pub fn work(directory: &Path, seed: u64, run: u64, position: u64) -> ExitCode {
    let store = match open(directory, seed) {
        Ok(store) => store,
        Err(error) => {
            say(&Line::Failed(format!("it does not open: {error:?}")));
            return ExitCode::FAILURE;
        }
    };
    say(&Line::Open);
    let _subscription = store.on(Events::ALL, |change| {
        say(&Line::Called(Event::from(change)))
    });
    let watcher = store.watch("", Since::After(position)).expect("the root");
    std::thread::scope(|threads| {
        for number in 0..WRITERS {
            // Keys that no process had before.
            let mut writer = Writer::new(&store, seed ^ run, (run * WRITERS + number) as usize);
            threads.spawn(move || {
                loop {
                    if let Err(error) = writer.step() {
                        say(&Line::Failed(format!("{error:?}")));
                    }
                }
            });
        }
        for change in watcher {
            match change {
                Ok(change) => say(&Line::Watched(Event::from(&change))),
                Err(error) => say(&Line::Failed(format!("a watcher: {error:?}"))),
            }
        }
    });
    ExitCode::SUCCESS
}

/// One write, so that a line is there whole or not at all.
fn say(line: &Line) {
    let mut text = serde_json::to_string(line).expect("a line is JSON");
    text.push('\n');
    let mut out = std::io::stdout().lock();
    // Nobody listens any more: this process is about to be ended.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
