//! A power cut while a store is opened after a first one, or after a kill, or soon after.

use std::path::Path;

use super::check::{Acknowledged, BETWEEN, BETWEEN_BYTES, Recorded, check as check_state, told};
use super::crash::{Fate, Image};
use crate::common::Random;
use crate::disk::{self, Event};

/// So many second cuts of each first one.
const CUTS: u64 = 3;
/// Said once the store is open, and what was found in it is known.
const OPEN: u64 = 0;

/// Opens the store below `root`, cuts the power at some moments of that, and looks at what is left. After a kill the store is as
/// these events left it, and what they did not sync may go; after a cut what is there is on the disk.
pub fn check(
    root: &Path,
    scratch: &Path,
    recorded: &Recorded,
    acknowledged: &Acknowledged,
    killed: Option<&[Event]>,
    random: &mut Random,
) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    disk::watch(root);
    match killed {
        Some(events) => disk::record_behind(events),
        None => disk::record_existing().map_err(failed)?,
    }
    let begin = disk::recorded_so_far();
    let found = recover(root, recorded, acknowledged)?;
    let events = disk::recorded();
    disk::release();
    for cut in 0..CUTS {
        let moment = begin + random.below(events.len() - begin + 1);
        let fate = Fate::of(cut + 1, random);
        let directory = tempfile::tempdir_in(scratch).map_err(failed)?;
        Image::after(&events[..moment], fate, random)
            .write(directory.path())
            .map_err(failed)?;
        let expected = after(&events[begin..moment], acknowledged, &found);
        check_state(&directory.path().join("store"), recorded, &expected).map_err(|error| {
            format!(
                "cut again at {moment} of {begin} to {}, {fate:?}: {error}",
                events.len()
            )
        })?;
    }
    Ok(())
}

/// Opens the store, writes to it, and closes it. Answers at which step each thread was found.
fn recover(
    root: &Path,
    recorded: &Recorded,
    acknowledged: &Acknowledged,
) -> Result<Vec<u64>, String> {
    let store = recorded.open(&root.join("store"), "at first")?;
    let steps = recorded.steps(&store, acknowledged)?;
    disk::note(OPEN);
    let written = store.put(BETWEEN, BETWEEN_BYTES);
    let written = written.map_err(|error| format!("a write between: {}", told(&error)))?;
    if written.revision <= acknowledged.seen {
        return Err(format!("revision {} was given twice", written.revision));
    }
    disk::note(written.revision);
    let closed = store.close();
    closed.map_err(|error| format!("closing between: {}", told(&error)))?;
    Ok(steps.into_iter().map(|(step, _)| step).collect())
}

/// What must be there after these events.
fn after(events: &[Event], before: &Acknowledged, found: &[u64]) -> Acknowledged {
    let mut acknowledged = before.clone();
    for event in events {
        match event {
            // What is read after a crash is on the disk, and nobody has done a step since.
            Event::Note(OPEN) => {
                let steps = found.iter().map(|step| (*step, step.saturating_sub(1)));
                acknowledged.steps = steps.collect();
            }
            Event::Note(revision) => {
                acknowledged.seen = acknowledged.seen.max(*revision);
                acknowledged.between = true;
            }
            _ => {}
        }
    }
    acknowledged
}
