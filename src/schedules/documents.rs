//! Merges and transactions on one document.

use serde_json::{Value, json};

use super::*;
use crate::options::{Durability, Grant};
use crate::sync::{Condvar, Mutex};

#[test]
fn no_merge_and_no_addition_in_a_transaction_is_lost() {
    explore(|| {
        let (store, _directory) = fresh();
        thread::scope(|threads| {
            for member in ["a", "b"] {
                let store = &store;
                threads.spawn(move || {
                    for number in 1..=2 {
                        store.merge("document", &json!({ member: number })).unwrap();
                    }
                });
            }
            let store = store.with_durability(Durability::Eventual);
            for _ in 0..2 {
                let store = store.clone();
                threads.spawn(move || {
                    let added = store.transaction(|tx| {
                        let count = tx.load::<u64>("count")?.unwrap_or(0);
                        tx.save("count", &(count + 1))?;
                        tx.save("copy", &(count + 1))
                    });
                    added.unwrap();
                });
            }
        });
        let document: Value = store.load("document").unwrap().unwrap();
        assert_eq!(document, json!({"a": 2, "b": 2}));
        assert_eq!(store.load::<u64>("count").unwrap(), Some(2));
        assert_eq!(store.load::<u64>("copy").unwrap(), Some(2));
    });
}

/// The bytes of a value that lies in packs: read whole or not at all, whoever replaces it.
#[test]
fn a_reader_reads_one_value_while_others_replace_it() {
    const BYTES: usize = 20_000;
    explore(|| {
        let (store, _directory) = fresh();
        store.put("key", vec![0; BYTES]).unwrap();
        thread::scope(|threads| {
            let written = store.with_durability(Durability::Eventual);
            threads.spawn(move || {
                written.put("key", vec![1; BYTES]).unwrap();
                assert!(written.delete("key").unwrap());
                written.put("key", vec![2; BYTES]).unwrap();
            });
            threads.spawn(|| {
                let mut last = 0;
                while last < 2 {
                    thread::yield_now();
                    let Some(found) = store.get("key").unwrap() else {
                        continue;
                    };
                    assert_eq!(found.len(), BYTES);
                    assert!(found.iter().all(|byte| *byte == found[0]));
                    assert!(found[0] >= last, "{} after {last}", found[0]);
                    last = found[0];
                }
            });
            threads.spawn(|| {
                store
                    .compact(|_| std::ops::ControlFlow::Continue(()))
                    .unwrap()
            });
        });
        assert_eq!(store.get("key").unwrap().unwrap(), vec![2; BYTES]);
        store.flush().unwrap();
        store
            .compact(|_| std::ops::ControlFlow::Continue(()))
            .unwrap();
        assert_eq!(store.stats().unwrap().chunk_bytes, BYTES as u64);
    });
}

/// Also where a scan is open that keeps what was before, and checkpoints drop what is between.
#[test]
fn who_reads_again_sees_nothing_older() {
    explore(|| {
        let (store, _directory) = fresh();
        store.save("key", &0).unwrap();
        let list = store.list("").unwrap();
        thread::scope(|threads| {
            threads.spawn(|| {
                for number in 1..=3 {
                    store.save("key", &number).unwrap();
                    store.flush().unwrap();
                    store
                        .compact(|_| std::ops::ControlFlow::Continue(()))
                        .unwrap();
                }
            });
            threads.spawn(|| {
                let mut last = 0;
                for _ in 0..4 {
                    let found: u64 = store.load("key").unwrap().unwrap();
                    assert!(found >= last, "{found} after {last}");
                    last = found;
                }
            });
        });
        drop(list);
    });
}

/// What a reader finds to do by the way it leaves to others rather than to wait for who waits for it.
#[test]
fn a_transaction_may_wait_for_a_reader_that_finds_expired_tokens() {
    explore(|| {
        let (store, _directory) = fresh();
        store.put("key", "content").unwrap();
        let expired = Grant::new().expires_in(std::time::Duration::ZERO);
        store.grant("key", expired).unwrap();
        let (has_read, told) = (Mutex::new(false), Condvar::new());
        thread::scope(|threads| {
            threads.spawn(|| {
                assert!(store.tokens().unwrap().is_empty());
                *has_read.lock() = true;
                told.notify_all();
            });
            let waited = store.transaction(|_| {
                let mut has_read = has_read.lock();
                while !*has_read {
                    told.wait(&mut has_read);
                }
                Ok(())
            });
            waited.unwrap();
        });
    });
}
