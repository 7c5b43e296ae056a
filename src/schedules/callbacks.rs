//! A callback is told of every change once, in order, when it has settled, and before the call that made it returns.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as Shared};

use super::*;
use crate::delivery::{Events, Subscription};
use crate::options::Durability;

/// What a callback was told, and what it must never meet.
#[derive(Default)]
struct Log {
    told: Shared<Vec<(u64, String)>>,
    is_inside: AtomicBool,
    overlapped: AtomicBool,
    was_early: AtomicBool,
}

impl Log {
    /// Notes every change of `store`, and writes an echo of what lies in `from`.
    fn listen(self: &Arc<Log>, store: &Store) -> Subscription {
        let (log, echo) = (Arc::clone(self), store.clone());
        store.on(Events::ALL, move |change| {
            // A panic in here would be contained: what is wrong is noted.
            let overlaps = log.is_inside.swap(true, Ordering::Relaxed);
            log.overlapped.fetch_or(overlaps, Ordering::Relaxed);
            let is_early = echo.history().newest < change.revision;
            log.was_early.fetch_or(is_early, Ordering::Relaxed);
            let told = (change.revision, change.key.clone());
            log.told.lock().unwrap().push(told);
            if let Some(name) = change.key.strip_prefix("from/") {
                echo.put(&format!("echo/{name}"), "").unwrap();
            }
            log.is_inside.store(false, Ordering::Relaxed);
        })
    }

    fn has(&self, key: &str) -> bool {
        self.told
            .lock()
            .unwrap()
            .iter()
            .any(|(_, told)| told == key)
    }

    /// All is over: every change was told, once and in order.
    fn assert_complete(&self, changes: u64) {
        let told = self.told.lock().unwrap();
        let revisions: Vec<u64> = told.iter().map(|(revision, _)| *revision).collect();
        assert_eq!(revisions, (1..=changes).collect::<Vec<_>>(), "{told:?}");
        assert!(!self.overlapped.load(Ordering::Relaxed), "two at a time");
        assert!(!self.was_early.load(Ordering::Relaxed), "before it settled");
    }
}

const DURABILITIES: [Durability; 2] = [Durability::Immediate, Durability::Eventual];

#[test]
fn every_change_is_told_once_and_in_order() {
    explore(|| {
        let (store, _directory) = fresh();
        let log = Arc::new(Log::default());
        let subscription = log.listen(&store);
        stop_time();
        thread::scope(|threads| {
            for writer in 0..3 {
                let (store, log) = (&store, &log);
                threads.spawn(move || {
                    for (round, durability) in DURABILITIES.into_iter().enumerate() {
                        let key = format!("{writer}/{round}");
                        let store = store.with_durability(durability);
                        store.put(&key, "").unwrap();
                        assert!(log.has(&key), "{key} was not told in time");
                    }
                });
            }
        });
        log.assert_complete(6);
        drop(subscription);
    });
}

#[test]
fn what_a_callback_writes_is_told_after_it_and_before_the_outer_call_returns() {
    explore(|| {
        let (store, _directory) = fresh();
        let log = Arc::new(Log::default());
        let subscription = log.listen(&store);
        stop_time();
        thread::scope(|threads| {
            for (writer, durability) in DURABILITIES.into_iter().enumerate() {
                let (store, log) = (store.with_durability(durability), &log);
                threads.spawn(move || {
                    for round in 0..2 {
                        store.put(&format!("from/{writer}{round}"), "").unwrap();
                        assert!(log.has(&format!("from/{writer}{round}")));
                        assert!(log.has(&format!("echo/{writer}{round}")));
                    }
                });
            }
        });
        log.assert_complete(8);
        drop(subscription);
    });
}

/// Each store's callback writes to the other store: neither may wait for the other.
#[test]
fn callbacks_that_write_to_each_others_store_do_not_wait_for_each_other() {
    explore(|| {
        let ((one, _first), (two, _second)) = (fresh(), fresh());
        let cross = |here: &Store, there: &Store| {
            let there = there.clone();
            here.on(Events::ALL, move |change| {
                if change.key.starts_with("from/") {
                    there.put("echo", "").unwrap();
                }
            })
        };
        let subscriptions = [cross(&one, &two), cross(&two, &one)];
        stop_time();
        thread::scope(|threads| {
            for store in [&one, &two] {
                threads.spawn(move || {
                    store.put("from/a", "").unwrap();
                    store.put("from/b", "").unwrap();
                });
            }
        });
        for store in [&one, &two] {
            assert_eq!(store.history().newest, 4);
        }
        drop(subscriptions);
    });
}

/// A callback may wait for a thread that writes to another store, also where it has written there itself.
#[test]
fn a_callback_waits_for_a_thread_that_writes_to_another_store() {
    explore(|| {
        let ((here, _first), (there, _second)) = (fresh(), fresh());
        let other = there.clone();
        let waiting = here.on(Events::ALL, move |_| {
            let beside = other.clone();
            let beside = thread::spawn(move || beside.put("beside", "").unwrap());
            other.put("inside", "").unwrap();
            beside.join().unwrap();
        });
        let log = Arc::new(Log::default());
        let told = log.listen(&there);
        stop_time();
        here.put("key", "").unwrap();
        log.assert_complete(2);
        drop((waiting, told));
    });
}

/// Whoever comes late is told of everything that settles from then on.
#[test]
fn callbacks_come_and_go_while_others_write() {
    explore(|| {
        let (store, _directory) = fresh();
        let log = Arc::new(Log::default());
        thread::scope(|threads| {
            for writer in 0..2 {
                let store = &store;
                threads.spawn(move || {
                    for round in 0..2 {
                        store.put(&format!("{writer}/{round}"), "").unwrap();
                    }
                });
            }
            threads.spawn(|| {
                log.listen(&store).off();
                let told = log.told.lock().unwrap().len();
                let kept = Arc::new(Log::default());
                let subscription = kept.listen(&store);
                let newest = store.history().newest;
                let last = store.put("last", "").unwrap().revision;
                subscription.off();
                let kept = kept.told.lock().unwrap();
                assert!(kept.is_sorted_by(|one, next| one.0 < next.0), "{kept:?}");
                // What had settled before may be told as well, or not.
                for revision in newest + 1..=last {
                    assert!(kept.iter().any(|told| told.0 == revision), "{kept:?}");
                }
                // One run may have been under way when it was taken off.
                assert!(log.told.lock().unwrap().len() <= told + 1);
            });
        });
    });
}
