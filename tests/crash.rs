//! A process that is killed at any moment: what it acknowledged is there, whole, and nothing else grows.
//!
//! The test runs itself as another process, which writes and tells each acknowledged step over a pipe. Both compute the
//! steps from the same numbers, so that the parent knows what must be there. `KOMATIK_CRASH_CYCLES` and
//! `KOMATIK_CRASH_SEED` set how often and from where.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test that panics fails"
)]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::Random;
use komatik::{Durability, History, ListOptions, PutMode, Store, UploadOptions, WriteOptions};
use serde_json::{Value, json};

const DIRECTORY: &str = "KOMATIK_CRASH_DIRECTORY";
const SEED: &str = "KOMATIK_CRASH_SEED";
const CYCLES: &str = "KOMATIK_CRASH_CYCLES";
const ONLY_OPEN: &str = "KOMATIK_CRASH_ONLY_OPEN";
const THREADS: u64 = 3;
const MIB: u64 = 1024 * 1024;

/// The content of an entry, as numbers from which it can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Document(u64),
    /// Pieces one behind the other: where the numbers begin, and how many bytes.
    Blob(Vec<(u64, usize)>),
}

/// What a thread writes.
#[derive(Debug, Clone)]
enum Step {
    Save(String, u64),
    Put(String, (u64, usize)),
    Append(String, (u64, usize)),
    Copy(String, String),
    Delete(String),
    /// Moves the folder to the other of its two names.
    MoveFolder,
    /// Two documents and a blob in one step.
    Together(u64, (u64, usize)),
    Abandon(usize),
    Compact,
}

type Model = BTreeMap<String, Content>;

fn size(random: &mut Random) -> usize {
    match random.below(20) {
        0..8 => random.below(3_000),
        8..18 => 10_000 + random.below(90_000),
        _ => 1_000_000 + random.below(2_000_000),
    }
}

fn document(number: u64) -> Value {
    json!({"number": number, "filling": "x".repeat((number % 2_000) as usize)})
}

fn bytes(pieces: &[(u64, usize)]) -> Vec<u8> {
    let piece = |(seed, size): &(u64, usize)| Random::new(*seed).bytes(*size);
    pieces.iter().flat_map(piece).collect()
}

/// The step of this number, and whether it waits for the disk.
fn step(seed: u64, thread: u64, number: u64) -> (Step, Durability) {
    let mut random = Random::new(seed ^ (thread << 40) ^ (number << 8));
    for _ in 0..3 {
        random.next();
    }
    let piece = |random: &mut Random| (random.next(), size(random));
    let blob = format!("blob{}", random.below(6));
    let step = match random.below(40) {
        0..12 => Step::Save(format!("document{}", random.below(8)), random.next()),
        12..18 => Step::Put(blob, piece(&mut random)),
        18..20 => Step::Put(format!("in/{blob}"), piece(&mut random)),
        20..25 => Step::Append(blob, piece(&mut random)),
        25..27 => Step::Copy(blob, format!("blob{}", random.below(6))),
        27..32 => Step::Delete(blob),
        32..34 => Step::MoveFolder,
        34..37 => Step::Together(random.next(), piece(&mut random)),
        37..39 => Step::Abandon(size(&mut random)),
        _ => Step::Compact,
    };
    let durability = match random.below(2) {
        0 => Durability::Immediate,
        _ => Durability::Eventual,
    };
    (step, durability)
}

/// The name of the folder now, and the other one.
fn folders(is_there: impl Fn(&str) -> bool) -> Option<(&'static str, &'static str)> {
    match (is_there("in"), is_there("moved")) {
        (true, false) => Some(("in", "moved")),
        (false, true) => Some(("moved", "in")),
        _ => None,
    }
}

fn apply(model: &mut Model, step: &Step) {
    match step {
        Step::Save(key, number) => drop(model.insert(key.clone(), Content::Document(*number))),
        Step::Put(key, piece) => drop(model.insert(key.clone(), Content::Blob(vec![*piece]))),
        Step::Append(key, piece) => {
            let blob = model
                .entry(key.clone())
                .or_insert_with(|| Content::Blob(Vec::new()));
            if let Content::Blob(pieces) = blob {
                pieces.push(*piece);
            }
        }
        Step::Copy(from, to) => {
            if let Some(content) = model.get(from).cloned() {
                model.insert(to.clone(), content);
            }
        }
        Step::Delete(key) => drop(model.remove(key)),
        Step::MoveFolder => {
            let prefix = |name: &str| format!("{name}/");
            let is_there = |name: &str| model.keys().any(|key| key.starts_with(&prefix(name)));
            let Some((from, to)) = folders(is_there) else {
                return;
            };
            let moved = model.extract_if(.., |key, _| key.starts_with(&prefix(from)));
            let moved: Vec<_> = moved.collect();
            for (key, content) in moved {
                model.insert(key.replacen(from, to, 1), content);
            }
        }
        Step::Together(number, piece) => {
            model.insert("together/a".into(), Content::Document(*number));
            model.insert("together/b".into(), Content::Document(*number));
            model.insert("together/c".into(), Content::Blob(vec![*piece]));
        }
        Step::Abandon(_) | Step::Compact => {}
    }
}

fn perform(store: &Store, shared: &Store, step: &Step) -> komatik::Result<()> {
    match step {
        Step::Save(key, number) => store.save(key, &document(*number)).map(drop),
        Step::Put(key, piece) => {
            let bytes = bytes(&[*piece]);
            match bytes.len() % 2 {
                0 => store.put(key, &bytes).map(drop),
                _ => store
                    .upload(key, &bytes[..], UploadOptions::new())
                    .map(drop),
            }
        }
        Step::Append(key, piece) => {
            let mut writer = store.writer(key, WriteOptions::append())?;
            writer.write_all(&bytes(&[*piece])).unwrap();
            writer.commit().map(drop)
        }
        Step::Copy(from, to) => match store.exists(from)? && from != to {
            true => store.copy(from, to, PutMode::Overwrite).map(drop),
            false => Ok(()),
        },
        Step::Delete(key) => store.delete(key).map(drop),
        Step::MoveFolder => match folders(|name| store.exists(name).unwrap()) {
            Some((from, to)) => store.rename_folder(from, to).map(drop),
            None => Ok(()),
        },
        Step::Together(number, piece) => {
            let mut writer = store.writer("together/c", WriteOptions::new())?;
            writer.write_all(&bytes(&[*piece])).unwrap();
            store.transaction(|transaction| {
                transaction.save("together/a", &document(*number))?;
                transaction.commit_blob(writer)?;
                transaction.save("together/b", &document(*number))
            })?;
            // A pair that all threads write: only that both are equal is known.
            shared.transaction(|transaction| {
                transaction.save("a", &document(*number))?;
                transaction.save("b", &document(*number))
            })
        }
        Step::Abandon(size) => {
            let mut writer = store.writer("never", WriteOptions::new())?;
            writer.write_all(&vec![7; 2 * size]).unwrap();
            Ok(())
        }
        Step::Compact => store.compact(|_| ControlFlow::Continue(())),
    }
}

fn open(directory: &Path, seed: u64) -> komatik::Result<Store> {
    let mut random = Random::new(seed);
    let chunk_bytes = [2048, 65_536, 65_536][random.below(3)];
    let overlay_bytes = [64 * 1024, 1024 * 1024, 8 * 1024 * 1024][random.below(3)];
    Store::builder(directory)
        .chunk_bytes(chunk_bytes)
        .overlay_bytes(overlay_bytes)
        .history(History::of_bytes(1024 * 1024))
        .eventual_interval(Duration::from_millis(100))
        .open()
}

/// Not a test: what the parent starts and kills. Returns at once where nobody asks for it.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    // Ends the line that the test harness has begun.
    println!();
    let store = open(Path::new(&directory), seed).unwrap();
    if std::env::var_os(ONLY_OPEN).is_some() {
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    std::thread::scope(|threads| {
        for thread in 0..THREADS {
            let store = &store;
            threads.spawn(move || {
                let own = store.scoped(&format!("thread{thread}")).unwrap();
                for number in 0.. {
                    let (step, durability) = step(seed, thread, number);
                    let own = own.with_durability(durability);
                    let shared = store.scoped("shared").unwrap();
                    perform(&own, &shared.with_durability(durability), &step).unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "done {thread} {number}").unwrap();
                    out.flush().unwrap();
                }
            });
        }
    });
}

fn start_child(directory: &Path, seed: u64, mode: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(SEED, seed.to_string())
        .env(mode, "")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills the child after this time; it must not have ended before.
fn kill(mut child: Child, seed: u64, time: Duration) {
    std::thread::sleep(time);
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let mut errors = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut errors).unwrap();
    assert!(
        ended.is_none() && !errors.contains("panicked"),
        "seed {seed}: the child ended by itself: {errors}"
    );
}

/// Lets a child write for this long; answers how many steps each of its threads acknowledged.
fn run_child(directory: &Path, seed: u64, time: Duration) -> [u64; THREADS as usize] {
    let mut child = start_child(directory, seed, "KOMATIK_CRASH_WRITE");
    let stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut done = [0; THREADS as usize];
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let words: Vec<_> = line.split(' ').collect();
            // The test harness writes, too.
            if let ["done", thread, number] = words[..] {
                let thread: usize = thread.parse().unwrap();
                let number: u64 = number.parse().unwrap();
                assert_eq!(done[thread], number);
                done[thread] = number + 1;
            }
        }
        done
    });
    kill(child, seed, time);
    reader.join().unwrap()
}

fn is_as(store: &Store, model: &Model) -> Result<(), String> {
    let names: Vec<String> = store
        .list_with("", ListOptions::new().recursive())
        .unwrap()
        .map(|item| item.unwrap().name)
        .collect();
    let expected: Vec<&String> = model.keys().collect();
    if names.iter().collect::<Vec<_>>() != expected {
        return Err(format!("{names:?} instead of {expected:?}"));
    }
    for (key, content) in model {
        let is_same = match content {
            Content::Document(number) => {
                store.load::<Value>(key).unwrap() == Some(document(*number))
            }
            Content::Blob(pieces) => store.get(key).unwrap().unwrap() == bytes(pieces),
        };
        if !is_same {
            return Err(format!("{key} is not {content:?}"));
        }
    }
    Ok(())
}

/// Brings the model of a thread to what is there, which must be all it acknowledged, and perhaps the step after it.
fn check_thread(store: &Store, model: &mut Model, seed: u64, thread: u64, done: u64) {
    for number in 0..done {
        apply(model, &step(seed, thread, number).0);
    }
    let own = store.scoped(&format!("thread{thread}")).unwrap();
    let mut with_next = model.clone();
    let next = step(seed, thread, done).0;
    apply(&mut with_next, &next);
    if let Err(before) = is_as(&own, model) {
        if let Err(after) = is_as(&own, &with_next) {
            panic!(
                "seed {seed}, thread {thread}, {done} steps done, next {next:?}: {before}; {after}"
            );
        }
        *model = with_next;
    }
}

fn check_space(store: &Store) {
    store.compact(|_| ControlFlow::Continue(())).unwrap();
    let stats = store.stats().unwrap();
    assert!(
        stats.pack_bytes <= 2 * stats.chunk_bytes + 16 * MIB,
        "{stats:?}"
    );
}

fn number_of(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |number| number.parse().unwrap())
}

#[test]
fn what_was_acknowledged_survives_being_killed() {
    if std::env::var_os(DIRECTORY).is_some() {
        return;
    }
    // Left behind by a failure, to be looked at.
    let directory = tempfile::tempdir().unwrap().keep();
    let path = directory.join("store");
    let cycles = number_of(CYCLES, 20);
    let first_seed = number_of(SEED, 1);
    let mut models = vec![Model::new(); THREADS as usize];
    let mut steps = 0;
    let begun = Instant::now();
    for cycle in 0..cycles {
        let seed = first_seed + cycle;
        let mut random = Random::new(seed);
        let time = Duration::from_millis(100 + random.below(500) as u64);
        let done = run_child(&path, seed, time);
        steps += done.iter().sum::<u64>();
        // Killed again while it opens and repairs.
        for _ in 0..random.below(3) {
            let time = [5, 20, 80, 400][random.below(4)];
            kill(
                start_child(&path, seed, ONLY_OPEN),
                seed,
                Duration::from_millis(random.below(time) as u64),
            );
        }
        let store =
            open(&path, seed).unwrap_or_else(|error| panic!("seed {seed}: {error:?} in {path:?}"));
        for (thread, model) in (0..).zip(&mut models) {
            check_thread(&store, model, seed, thread, done[thread as usize]);
        }
        let shared = store.scoped("shared").unwrap();
        let pair = ["a", "b"].map(|key| shared.load::<Value>(key).unwrap());
        assert_eq!(pair[0], pair[1], "seed {seed}");
        let report = store.verify(|_| ControlFlow::Continue(())).unwrap();
        assert!(report.is_sound(), "seed {seed}: {report:?}");
        if cycle % 5 == 4 {
            check_space(&store);
        }
    }
    std::fs::remove_dir_all(directory).unwrap();
    println!("{cycles} cycles, {steps} steps, {:?}", begun.elapsed());
    assert!(steps > cycles, "the children hardly came to write");
}
