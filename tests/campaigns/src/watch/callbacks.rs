//! Consumers that are called: ones that keep everything, sleep, panic, write to the store themselves, and come and go.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use komatik::{Change, Events, Store, Subscription};

use super::log::{Action, Event, Log};

/// The name of what callbacks write, and its folder.
const ECHO: &str = "echo";
/// A callback that is waited for longer than this has been waited for by those who must not.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many commits of others are made while a callback sleeps.
const COMMITS_BESIDE: u64 = 20;

#[derive(Default)]
struct Kept {
    log: Log,
    violation: Option<String>,
    /// How often the others were called.
    puts: u64,
    panics: u64,
    echoes: u64,
}

/// The callbacks of a round.
pub struct Callbacks {
    kept: Arc<Mutex<Kept>>,
    subscriptions: Vec<Subscription>,
}

impl Callbacks {
    pub fn new(store: &Store) -> Callbacks {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let with = |store: &Store, events, act: fn(&Store, &mut Kept, &Change)| {
            let (kept, inner) = (kept.clone(), store.clone());
            store.on(events, move |change| {
                act(&inner, &mut kept.lock().unwrap(), change)
            })
        };
        let subscriptions = vec![
            with(store, Events::ALL, keep),
            with(
                &store.scoped("x").unwrap(),
                Events::UPDATED,
                |_, kept, _| {
                    kept.puts += 1;
                },
            ),
            panicking(store, &kept),
            echoing(store, &kept),
            store.on(Events::DELETED, |change| {
                if change.revision.is_multiple_of(64) {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }),
        ];
        Callbacks {
            kept,
            subscriptions,
        }
    }

    /// Takes them off, and answers what the first was told; fails where one was not called as it should be.
    pub fn end(self) -> Result<Log, String> {
        drop(self.subscriptions);
        let kept = std::mem::take(&mut *self.kept.lock().unwrap());
        if let Some(violation) = kept.violation {
            return Err(violation);
        }
        let events = kept.log.events();
        let in_scope = kept.log.seen_from("x/", "x/", 0, u64::MAX);
        let puts = in_scope.iter().filter(|event| event.action == Action::Put);
        let expected = [
            puts.count() as u64,
            events
                .iter()
                .filter(|event| panics_at(event.revision))
                .count() as u64,
            commits_to_echo(&kept.log),
        ];
        let echoed = events.iter().filter(|event| event.key.starts_with(ECHO));
        let found = [kept.puts, kept.panics, kept.echoes];
        match found == expected && echoed.count() as u64 == kept.echoes {
            true => Ok(kept.log),
            false => Err(format!(
                "callbacks were called {found:?} times, not {expected:?}"
            )),
        }
    }
}

/// Keeps everything, and looks whether it has settled: what is told can be read.
fn keep(store: &Store, kept: &mut Kept, change: &Change) {
    let event = Event::from(change);
    let newest = store.history().newest;
    if newest < change.revision {
        kept.violation = Some(format!("told at {newest} already: {event:?}"));
    }
    if event.last && event.action == Action::Put && event.content.kind != "folder" {
        let found = store.metadata(&event.key).unwrap();
        if found.is_some_and(|found| found.revision < event.revision) {
            kept.violation = Some(format!("told and not to be seen: {event:?}"));
        }
    }
    if let Err(what) = kept.log.add(event) {
        kept.violation = Some(what);
    }
}

fn panics_at(revision: u64) -> bool {
    revision.is_multiple_of(7)
}

fn panicking(store: &Store, kept: &Arc<Mutex<Kept>>) -> Subscription {
    let kept = kept.clone();
    store.on(Events::ALL, move |change| {
        if panics_at(change.revision) {
            kept.lock().unwrap().panics += 1;
            // As a panic, but without a word on the terminal.
            std::panic::resume_unwind(Box::new("a callback that panics"));
        }
    })
}

/// Of which events there is an echo.
fn is_to_echo(revision: u64, key: &str, last: bool) -> bool {
    last && revision.is_multiple_of(16) && !key.starts_with(ECHO)
}

fn commits_to_echo(log: &Log) -> u64 {
    let events = log.events().iter();
    let echoed = events.filter(|event| is_to_echo(event.revision, &event.key, event.last));
    echoed.count() as u64
}

/// Writes to the store from inside.
fn echoing(store: &Store, kept: &Arc<Mutex<Kept>>) -> Subscription {
    let (kept, inner) = (kept.clone(), store.acting_as(ECHO));
    store.on(Events::ALL, move |change| {
        if is_to_echo(change.revision, &change.key, change.last) {
            kept.lock().unwrap().echoes += 1;
            let saved = inner.save(&format!("{ECHO}/{}", change.revision % 5), &change.revision);
            let told = |kept: &Kept, revision| {
                let last = kept.log.events().last();
                last.is_some_and(|event| event.revision >= revision)
            };
            let mut kept = kept.lock().unwrap();
            match saved {
                Ok(saved) if told(&kept, saved.revision) => {
                    kept.violation = Some(format!("{saved:?} was told inside a callback"));
                }
                Ok(_) => {}
                Err(error) => kept.violation = Some(format!("inside a callback: {error:?}")),
            }
        }
    })
}

/// Puts callbacks on and takes them off again, until it is over; one that is off must not be called.
pub fn come_and_go(store: &Store, is_over: &AtomicBool) -> Result<(), String> {
    while !is_over.load(Ordering::Acquire) {
        let newest_called = Arc::new(AtomicU64::new(0));
        let newest = newest_called.clone();
        let subscription = store.on(Events::ALL, move |change| {
            newest.fetch_max(change.revision, Ordering::AcqRel);
        });
        std::thread::sleep(Duration::from_millis(3));
        subscription.off();
        // What was under way when it was taken off had settled by then.
        let newest = store.history().newest;
        std::thread::sleep(Duration::from_millis(3));
        let called = newest_called.load(Ordering::Acquire);
        if called > newest {
            return Err(format!("off at {newest} and called for {called}"));
        }
    }
    Ok(())
}

/// While a callback sleeps, and a watcher is never read, others commit.
pub fn check_nobody_waits(store: &Store) -> Result<(), String> {
    let (slow, beside) = (
        store.scoped("slow").unwrap(),
        store.scoped("beside").unwrap(),
    );
    let _never_read = store.watch("", komatik::Since::Now).unwrap();
    let (enters, entered) = channel();
    let (release, released) = channel();
    let released = Mutex::new(released);
    let outcome = Arc::new(Mutex::new(None));
    let tells = outcome.clone();
    let _subscription = slow.on(Events::ALL, move |_| {
        enters.send(()).unwrap();
        let waited = released.lock().unwrap().recv_timeout(PATIENCE);
        *tells.lock().unwrap() = Some(waited.is_ok());
    });
    std::thread::scope(|threads| {
        threads.spawn(|| slow.save("k", &0).unwrap());
        entered
            .recv_timeout(PATIENCE)
            .map_err(|_| "the callback was not called".to_owned())?;
        for number in 0..COMMITS_BESIDE {
            beside
                .save("k", &number)
                .map_err(|error| format!("{error:?}"))?;
        }
        // It may have given up.
        let _ = release.send(());
        Ok::<_, String>(())
    })?;
    let was_released = *outcome.lock().unwrap();
    match was_released {
        Some(true) => Ok(()),
        outcome => Err(format!("others waited for a callback: {outcome:?}")),
    }
}
