//! What a consumer has been told of survives: the power is cut at the moment it is told, by way of a record of every write
//! and sync, and nothing that was not synced is there any more.
//!
//! What had not waited for the disk may be gone then. But its revisions are never given again, and a consumer that was told of
//! it is told so: where it is not gone, that consumer misses nothing of what follows.
//!
//! And a backup that was answered for is whole, also where nothing is left of it but what was synced.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use komatik::{Durability, Error, Events, History, ListOptions, Since, Store};

use super::log::{Event, Log, difference};
use crate::common::Random;
use crate::disk::{self, FileId};
use crate::kill::check_sound;
use crate::tally::Tally;

/// Commits that a thread makes.
const COMMITS: u64 = 60;
/// Moments that are looked at.
const CUTS: usize = 6;
/// The store in a directory.
const STORE: &str = "store";
/// A backup of it beside it.
const BACKUP: &str = "backup";
/// The name of those who wait for the disk.
const IMMEDIATE: &str = "immediate";

/// By key, all that a store holds.
type Contents = BTreeMap<String, Vec<u8>>;

fn open(directory: &Path, seed: u64) -> komatik::Result<Store> {
    Store::builder(directory.join(STORE))
        .chunk_bytes([2048, 65_536][(seed % 2) as usize])
        .overlay_bytes([4 * 1024, 1024 * 1024][(seed / 2 % 2) as usize])
        .history(History::unlimited())
        .eventual_interval(Duration::from_millis(20))
        .open()
}

/// A round; answers how many changes there were.
pub fn run(directory: &Path, seed: u64, tally: &mut Tally) -> Result<u64, String> {
    let root = directory.join("root");
    disk::watch(&root);
    disk::record();
    let worked = work(&root, seed);
    let record = disk::recorded();
    disk::release();
    let (whole, contents) = worked.map_err(|error| format!("{error:?}"))?;
    let mut random = Random::new(seed);
    random.next();
    let told: Vec<usize> = (0..record.len())
        .filter(|at| matches!(record[*at], disk::Event::Note(_)))
        .collect();
    for number in 0..CUTS.min(told.len()) {
        let at = told[random.below(told.len())];
        let image = directory.join(format!("cut{number}"));
        synced(&record[..=at], &image).map_err(|error| format!("{error:?}"))?;
        check(&image, seed, &record[..=at], &whole, tally)
            .map_err(|what| format!("cut at {at} of {} calls: {what}", record.len()))?;
        tally.add("cuts", 1);
    }
    let image = directory.join("end");
    synced(&record, &image).map_err(|error| format!("{error:?}"))?;
    check_backup(&image.join(BACKUP), &contents).map_err(|what| format!("the backup: {what}"))?;
    tally.add("backups", 1);
    Ok(whole.events().len() as u64)
}

/// Writes, and notes what consumers are told of at the moment they are; then makes a backup. Answers all that was told, and
/// what the store holds.
fn work(root: &Path, seed: u64) -> komatik::Result<(Log, Contents)> {
    let store = open(root, seed)?;
    let _subscription = store.on(Events::ALL, |change| note(&Event::from(change)));
    let is_over = AtomicBool::new(false);
    let told = std::thread::scope(|threads| {
        let follower = threads.spawn(|| follow(&store, &is_over));
        let writers: Vec<_> = (0..4)
            .map(|thread| {
                let store = &store;
                threads.spawn(move || write(store, thread))
            })
            .collect();
        let written: komatik::Result<()> = writers
            .into_iter()
            .try_for_each(|writer| writer.join().expect("a writer"));
        is_over.store(true, Ordering::Release);
        let followed = follower.join().expect("the follower");
        written.and(followed)
    })?;
    store.backup(root.join(BACKUP), |_| ControlFlow::Continue(()))?;
    Ok((told, contents_of(&store)?))
}

fn contents_of(store: &Store) -> komatik::Result<Contents> {
    let mut contents = Contents::new();
    for item in store.list_with("", ListOptions::new().recursive())? {
        let name = item?.name;
        if let Some(bytes) = store.get(&name)? {
            contents.insert(name, bytes.to_vec());
        }
    }
    Ok(contents)
}

fn check_backup(backup: &Path, contents: &Contents) -> Result<(), String> {
    let failed = |error: komatik::Error| format!("{error:?}");
    let store = Store::open(backup).map_err(failed)?;
    check_sound(&store)?;
    if contents_of(&store).map_err(failed)? != *contents {
        return Err("it does not hold what the store did".to_owned());
    }
    store.close().map_err(failed)
}

fn write(store: &Store, thread: u64) -> komatik::Result<()> {
    let store = match thread % 2 {
        0 => store.acting_as(IMMEDIATE),
        _ => store
            .acting_as("eventual")
            .with_durability(Durability::Eventual),
    };
    for number in 0..COMMITS {
        let key = format!("{thread}/{}", number % 7);
        match number % 5 {
            0 => store.transaction(|transaction| {
                transaction.save(&key, &number)?;
                transaction.put("shared", number.to_le_bytes())
            })?,
            1 => drop(store.put(&key, vec![number as u8; 9_000])?),
            2 => {
                store.delete(&key)?;
            }
            _ => drop(store.save(&key, &number)?),
        }
    }
    Ok(())
}

fn follow(store: &Store, is_over: &AtomicBool) -> komatik::Result<Log> {
    let mut watcher = store.watch("", Since::Start)?;
    let mut log = Log::default();
    loop {
        let was_over = is_over.load(Ordering::Acquire);
        // Always at it, so that what is told too early is told.
        match watcher.try_recv()? {
            Some(change) => {
                let event = Event::from(&change);
                note(&event);
                log.add(event).expect("in order");
            }
            None if was_over => return Ok(log),
            None => std::thread::yield_now(),
        }
    }
}

/// The revision, and whether it waited for the disk.
fn note(event: &Event) {
    let is_immediate = event.participant.as_deref() == Some(IMMEDIATE);
    disk::note(event.revision * 2 + u64::from(is_immediate));
}

/// Makes the files as they are where nothing is left but what was synced.
fn synced(record: &[disk::Event], directory: &Path) -> std::io::Result<()> {
    let mut names: BTreeMap<&PathBuf, FileId> = BTreeMap::new();
    let mut covered: BTreeMap<FileId, usize> = BTreeMap::new();
    std::fs::create_dir_all(directory)?;
    for event in record {
        match event {
            disk::Event::MakeDirectory(name) => std::fs::create_dir_all(directory.join(name))?,
            disk::Event::Create(name, file) => {
                names.insert(name, *file);
            }
            disk::Event::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to, file);
                }
            }
            disk::Event::Unlink(name) => {
                names.remove(name);
            }
            disk::Event::Sync(file, covers) => {
                covered.insert(*file, *covers);
            }
            _ => {}
        }
    }
    let mut files: BTreeMap<FileId, Vec<u8>> = BTreeMap::new();
    for (at, event) in record.iter().enumerate() {
        let is_synced = |file: &FileId| covered.get(file).is_some_and(|covers| at < *covers);
        match event {
            disk::Event::Write(file, offset, bytes) if is_synced(file) => {
                let content = files.entry(*file).or_default();
                let (start, end) = (*offset as usize, *offset as usize + bytes.len());
                content.resize(content.len().max(end), 0);
                content[start..end].copy_from_slice(bytes);
            }
            disk::Event::Truncate(file, length) if is_synced(file) => {
                files.entry(*file).or_default().resize(*length as usize, 0);
            }
            _ => {}
        }
    }
    for (name, file) in names {
        let content = files.get(&file).map_or(&[][..], Vec::as_slice);
        std::fs::write(directory.join(name), content)?;
    }
    Ok(())
}

fn check(
    image: &Path,
    seed: u64,
    record: &[disk::Event],
    whole: &Log,
    tally: &mut Tally,
) -> Result<(), String> {
    let failed = |error: komatik::Error| format!("{error:?}");
    let words = || {
        record.iter().filter_map(|event| match event {
            disk::Event::Note(word) => Some(*word),
            _ => None,
        })
    };
    let immediate = words().filter(|word| word % 2 == 1).max().unwrap_or(0) / 2;
    let newest_told = words().max().unwrap_or(0) / 2;
    let store = open(image, seed).map_err(failed)?;
    let mut there = Log::default();
    for change in read(&store, Since::Start).map_err(failed)? {
        there.add(change)?;
    }
    if there.events().last().is_some_and(|event| !event.last) {
        return Err("the end of a commit is missing".to_owned());
    }
    check_sound(&store)?;
    let count = there.events().len();
    let until = there.events().last().map_or(0, |last| last.revision);
    if let Some(difference) = difference(
        there.events(),
        &whole.events()[..count.min(whole.events().len())],
    ) {
        return Err(format!("another history: {difference}"));
    }
    if until < immediate {
        return Err(format!("told of {immediate}, and only {until} is there"));
    }
    let next = store.save("next", &1).map_err(failed)?;
    let behind = match (read(&store, Since::After(newest_told)), newest_told > until) {
        (behind, false) => behind.map_err(failed)?,
        (Err(Error::Compacted { oldest }), true) => {
            tally.add("told of a loss", 1);
            read(&store, Since::After(oldest - 1)).map_err(failed)?
        }
        (answer, true) => {
            let told = format!("told of {newest_told}, which is gone behind {until}");
            return Err(format!("{told}, and nothing of that but {answer:?}"));
        }
    };
    let is_next = |event: &Event| event.revision == next.revision;
    if !behind.last().is_some_and(is_next) || next.revision <= newest_told {
        return Err(format!(
            "told of {newest_told} and then of {behind:?}, which should end in {}",
            next.revision
        ));
    }
    store.close().map_err(failed)
}

/// What is told from here on, until nothing more comes.
pub fn read(store: &Store, since: Since) -> komatik::Result<Vec<Event>> {
    let mut watcher = store.watch("", since)?;
    let mut events = Vec::new();
    while let Some(change) = watcher.try_recv()? {
        events.push(Event::from(&change));
    }
    Ok(events)
}
