//! A store after a power cut, held against what was acknowledged before.

use std::io;
use std::path::Path;

use komatik::Store;

use super::record::{Note, settings};
use crate::child::{Watchdog, guarded};
use crate::common::Random;
use crate::disk::{self, Event, Lie};
use crate::kill::{check_shared, check_sound};
use crate::load::{Model, Script, Seen, Settings, check_step};

use super::again;
use super::crash::{Fate, Image};

/// Of one state in so many the opening is cut as well. Not four, since every fourth is a plain prefix: so all kinds come up.
const STATES_CUT_AGAIN: u64 = 5;

/// Written once a state is found to be right.
const AFTER: &str = "after";

/// Written once the store has opened after a first cut, before a second one.
pub const BETWEEN: &str = "between";
pub const BETWEEN_BYTES: [u8; 3000] = [2; 3000];

/// What was acknowledged up to a moment.
#[derive(Debug, Default, Clone)]
pub struct Acknowledged {
    /// By thread: how many steps no power cut can undo, and how many are done.
    pub steps: Vec<(u64, u64)>,
    pub seen: u64,
    /// Whether [`BETWEEN`] is there.
    pub between: bool,
}

/// Whose store it is.
pub struct Recorded {
    pub seed: u64,
    pub settings: Settings,
    pub threads: u64,
}

impl Acknowledged {
    fn of(events: &[Event], threads: u64) -> Acknowledged {
        let mut acknowledged = Acknowledged {
            steps: vec![(0, 0); threads as usize],
            ..Acknowledged::default()
        };
        for event in events {
            let Event::Note(word) = event else { continue };
            match Note::of(*word) {
                Note::Done { thread, is_settled } => {
                    let (least, done) = &mut acknowledged.steps[thread as usize];
                    *done += 1;
                    if is_settled {
                        *least = *done;
                    }
                }
                Note::Seen(revision) => acknowledged.seen = acknowledged.seen.max(revision),
                Note::Closed | Note::Rested => {
                    for (least, done) in &mut acknowledged.steps {
                        *least = *done;
                    }
                }
            }
        }
        acknowledged
    }
}

/// Which states of a recording are looked at.
#[derive(Debug, Clone, Copy)]
pub struct States {
    pub first: u64,
    pub count: u64,
    /// How many there are of the recording, spread evenly over its moments.
    pub of: u64,
}

/// Looks at states, and says of each what is wrong with it, `None` for nothing.
pub fn check_states(
    events: &[Event],
    scratch: &Path,
    seed: u64,
    lie: Option<Lie>,
    states: States,
    watchdog: &Watchdog,
    mut say: impl FnMut(u64, Option<String>),
) -> io::Result<()> {
    for state in states.first..states.first + states.count {
        let moment = moment_of(events, state, states.of);
        let events = &events[..moment];
        let (fate, mut random) = fate_of(seed, state);
        let what = format!("{state} (seed {seed}, moment {moment}, {fate:?})");
        watchdog.begin(what.clone());
        let directory = tempfile::tempdir_in(scratch)?;
        Image::after(events, fate, &mut random).write(directory.path())?;
        let store = directory.path().join("store");
        let (settings, threads) = settings(seed, lie);
        let recorded = Recorded {
            seed,
            settings,
            threads,
        };
        let acknowledged = Acknowledged::of(events, threads);
        // An opening after a cut is cut itself.
        let is_cut_again = lie.is_none() && state % STATES_CUT_AGAIN == 0;
        let checked = guarded(|| match is_cut_again {
            true => again::check(
                directory.path(),
                scratch,
                &recorded,
                &acknowledged,
                (fate == Fate::Whole).then_some(events),
                &mut random,
            ),
            false => check(&store, &recorded, &acknowledged),
        });
        disk::release();
        say(state, checked.err().map(|error| format!("{what}: {error}")));
    }
    Ok(())
}

/// What becomes of the writes in a state, and the chances it takes.
fn fate_of(seed: u64, state: u64) -> (Fate, Random) {
    let mut random = Random::new(seed ^ state << 20);
    random.next();
    let fate = Fate::of(state, &mut random);
    (fate, random)
}

/// Makes a state, and does not look at it.
pub fn make_state(events: &[Event], seed: u64, state: u64, of: u64, root: &Path) -> io::Result<()> {
    let (fate, mut random) = fate_of(seed, state);
    let events = &events[..moment_of(events, state, of)];
    Image::after(events, fate, &mut random).write(root)
}

fn moment_of(events: &[Event], state: u64, of: u64) -> usize {
    (state * (events.len() as u64 + 1) / of) as usize
}

impl Recorded {
    pub fn open(&self, path: &Path, when: &str) -> Result<Store, String> {
        let opened = self.settings.open(path);
        opened.map_err(|error| format!("it does not open {when}: {}", told(&error)))
    }

    /// At which step each thread is, and what it has stored by then.
    pub fn steps(
        &self,
        store: &Store,
        acknowledged: &Acknowledged,
    ) -> Result<Vec<(u64, Model)>, String> {
        let threads = (0..self.threads).zip(&acknowledged.steps);
        let step = |(thread, (least, done)): (u64, &(u64, u64))| {
            let mut model = Model::new();
            let seen = read(store, thread)?;
            let script = Script::small(self.seed);
            let step = check_step(&seen, &mut model, script, thread, *least, *done)?;
            Ok((step, model))
        };
        threads.map(step).collect()
    }
}

pub fn check(path: &Path, recorded: &Recorded, acknowledged: &Acknowledged) -> Result<(), String> {
    let open = |when: &str| recorded.open(path, when);
    let store = open("at first")?;
    let models = recorded.steps(&store, acknowledged)?;
    match store.get(BETWEEN).map_err(|error| told(&error))? {
        None if acknowledged.between => return Err("the write between two cuts is gone".into()),
        Some(bytes) if bytes[..] != BETWEEN_BYTES => {
            return Err("the write between two cuts is another one".into());
        }
        _ => {}
    }
    check_shared(&store)?;
    check_sound(&store)?;
    let written = store.put(AFTER, vec![1; 5000]);
    let revision = written
        .map_err(|error| format!("a write: {}", told(&error)))?
        .revision;
    if revision <= acknowledged.seen {
        let seen = acknowledged.seen;
        return Err(format!(
            "revision {revision} was given twice, {seen} was seen"
        ));
    }
    store
        .close()
        .map_err(|error| format!("closing: {}", told(&error)))?;
    let store = open("again")?;
    for (thread, (_, model)) in (0..recorded.threads).zip(&models) {
        let seen = read(&store, thread)?;
        if let Some(difference) = seen.difference(model, &mut Default::default()) {
            return Err(format!("thread {thread} after opening again: {difference}"));
        }
    }
    check_sound(&store)?;
    match store.get(AFTER).map_err(|error| told(&error))? {
        Some(bytes) if bytes[..] == [1; 5000] => Ok(()),
        _ => Err("the write is gone".to_owned()),
    }
}

fn read(store: &Store, thread: u64) -> Result<Seen, String> {
    Seen::read(store, thread).map_err(|error| format!("reading: {}", told(&error)))
}

pub fn told(error: &komatik::Error) -> String {
    format!("{error:?}")
}
