//! Several threads at once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use super::Harness;
use super::tools::{
    PUBLIC, adopt, assert_reads, blob, contents, make, numbered, open, order, put, put_blob,
    put_in, release, rows, value,
};
use crate::backend::{Backend, Commit, Outcome, Position, Requirement, StoredChange, Tree, View};

/// Tells the readers of a scope to stop, also when the writer panics.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs `write` once, and `read` beside it again and again, once more behind its end.
fn beside(readers: usize, write: impl FnOnce(), read: impl Fn() + Sync) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for _ in 0..readers {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    read();
                }
            });
        }
        write();
    });
    read();
}

pub(super) fn a_scan_never_sees_half_a_commit(harness: &dyn Harness) {
    let backend = open(harness);
    let write = || {
        for round in 0..400 {
            let number = Bytes::from(round.to_string());
            let writes = ["a", "between", "z"].map(|key| put(key, number.clone()));
            make(&*backend, rows(writes.to_vec()));
            if round % 100 == 50 {
                backend.flush().unwrap();
            }
        }
    };
    let read = || {
        let found = contents(&*backend, Tree::Entries);
        assert!(found.is_empty() || found.len() == 3, "{found:?}");
        assert!(found.iter().all(|row| row.1 == found[0].1), "{found:?}");
    };
    beside(2, write, read);
    assert_eq!(value(&*backend, "z").unwrap(), "399");
}

pub(super) fn a_scan_never_sees_half_a_huge_commit(harness: &dyn Harness) {
    const ROWS: usize = 100_000;
    let backend = open(harness);
    let write = || {
        make(&*backend, rows(numbered("k", 0..ROWS, "first")));
        make(&*backend, rows(numbered("k", 0..ROWS, "second")));
        backend.flush().unwrap();
    };
    let read = || {
        let found = contents(&*backend, Tree::Entries);
        assert!(found.is_empty() || found.len() == ROWS, "{}", found.len());
        let is_one = found.iter().all(|row| row.1 == found[0].1);
        assert!(is_one, "the scan saw two commits");
    };
    beside(1, write, read);
    assert_eq!(value(&*backend, "k000000").unwrap(), "second");
}

/// Adds one to the number in a row, as often as it takes.
fn increment(backend: &dyn Backend, tree: Tree) {
    loop {
        let row = backend.get(View::Latest, tree, b"counter").unwrap();
        let number = row.as_ref().map_or(0, |row| {
            let digits: [u8; 8] = row.value.as_ref().try_into().unwrap();
            u64::from_be_bytes(digits)
        });
        let required = Requirement {
            tree,
            key: Bytes::from("counter"),
            revision: row.map(|row| row.revision),
        };
        let next = Bytes::copy_from_slice(&(number + 1).to_be_bytes());
        let commit = Commit {
            requires: vec![required],
            ..rows(vec![put_in(tree, "counter", next)])
        };
        if let Outcome::Ordered(_) = backend.commit(commit, &mut |_| {}).unwrap() {
            return;
        }
    }
}

pub(super) fn guarded_increments_are_never_lost(harness: &dyn Harness) {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 100;
    let backend = open(harness);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    for tree in PUBLIC {
                        increment(&*backend, tree);
                    }
                }
            });
        }
    });
    backend.flush().unwrap();
    for tree in PUBLIC {
        let row = backend.get(View::Settled, tree, b"counter").unwrap();
        let expected = (THREADS * ROUNDS).to_be_bytes();
        assert_eq!(row.unwrap().value.as_ref(), expected);
    }
}

pub(super) fn ordered_is_called_before_anybody_sees_the_commit(harness: &dyn Harness) {
    let backend = open(harness);
    let (tell, told) = std::sync::mpsc::channel();
    let look = || {
        let views = [View::Latest, View::Settled];
        let seen = views.map(|view| backend.get(view, Tree::Entries, b"k").unwrap());
        tell.send(seen).unwrap();
    };
    thread::scope(|scope| {
        let mut ordered = |_| {
            scope.spawn(look);
            // Either the reader waits, or it sees the state before.
            let seen = told.recv_timeout(Duration::from_millis(50));
            assert!(seen.is_err() || seen == Ok([None, None]), "{seen:?}");
        };
        let commit = rows(vec![put("k", "v")]);
        backend.commit(commit, &mut ordered).unwrap();
    });
    assert_eq!(value(&*backend, "k").unwrap(), "v");
}

pub(super) fn ordered_is_called_in_revision_order(harness: &dyn Harness) {
    let backend = open(harness);
    let calls = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for thread in 0..4 {
            let (backend, calls) = (&backend, &calls);
            scope.spawn(move || {
                for _ in 0..100 {
                    let commit = rows(vec![put(format!("{thread}"), "")]);
                    // Late every other time: were later commits let in meanwhile, they would be first.
                    let mut ordered = |revision| {
                        if revision % 2 == 0 {
                            thread::sleep(Duration::from_micros(100));
                        }
                        calls.lock().unwrap().push(revision);
                    };
                    backend.commit(commit, &mut ordered).unwrap();
                }
            });
        }
    });
    let calls = calls.into_inner().unwrap();
    assert_eq!(calls.len(), 400);
    assert!(calls.is_sorted_by(|a, b| a < b), "{calls:?}");
    backend.flush().unwrap();
    assert_eq!(backend.history().newest, calls[399]);
}

/// Follows the history in pages of three until `count` changes are seen.
fn follow(backend: &dyn Backend, count: usize, stop: &AtomicBool) -> Vec<StoredChange> {
    let mut seen: Vec<StoredChange> = Vec::new();
    while seen.len() < count {
        // Read before the page is: what was settled before the end must be in the pages behind it.
        let is_last = stop.load(Ordering::Acquire);
        let after = seen.last().map_or(Position::after(0), |last| last.position);
        let page = backend.changes(after, 3).unwrap();
        assert!(!is_last || !page.is_empty(), "only {} seen", seen.len());
        seen.extend(page);
    }
    seen
}

pub(super) fn a_follower_sees_every_change_once(harness: &dyn Harness) {
    const THREADS: usize = 3;
    const ROUNDS: usize = 60;
    let backend = open(harness);
    let stop = AtomicBool::new(false);
    let told = |thread: usize| {
        for round in 0..ROUNDS {
            let texts = (0..=round % 4).map(|n| Bytes::from(format!("{thread} {round} {n}")));
            let commit = Commit {
                changes: texts.collect(),
                ..rows(vec![put(format!("{thread}"), "")])
            };
            make(&*backend, commit);
        }
    };
    let per_thread: usize = (0..ROUNDS).map(|round| round % 4 + 1).sum();
    let seen = thread::scope(|scope| {
        let follower = scope.spawn(|| follow(&*backend, THREADS * per_thread, &stop));
        let _stop = StopOnDrop(&stop);
        thread::scope(|writers| {
            let told = &told;
            for thread in 0..THREADS {
                writers.spawn(move || told(thread));
            }
        });
        stop.store(true, Ordering::Release);
        follower.join().unwrap()
    });
    assert!(seen.is_sorted_by(|a, b| a.position < b.position));
    for thread in 0..THREADS {
        let prefix = format!("{thread} ");
        let of_thread = seen
            .iter()
            .filter(|it| it.bytes.starts_with(prefix.as_bytes()));
        let expected = (0..ROUNDS)
            .flat_map(|round| (0..=round % 4).map(move |n| format!("{thread} {round} {n}")));
        assert!(
            of_thread.map(|it| &it.bytes[..]).eq(expected
                .map(String::into_bytes)
                .collect::<Vec<_>>()
                .iter()
                .map(Vec::as_slice))
        );
    }
    assert_eq!(seen, super::tools::all_changes(&*backend));
}

/// Reads the blob the row names, as a store does: again, where it was replaced between row and hold.
fn read_blob(backend: &dyn Backend) {
    let row = backend.get(View::Settled, Tree::Entries, b"blob").unwrap();
    let number = row.unwrap().value;
    let number = u64::from_be_bytes(number.as_ref().try_into().unwrap());
    if let Some(held) = backend.hold(blob(number)).unwrap() {
        let bytes = super::tools::content(blob(number), 3_000);
        assert_reads(backend, blob(number), &bytes, 1024);
        drop(held);
    }
}

pub(super) fn a_held_blob_stays_under_overwriting(harness: &dyn Harness) {
    let backend = open(harness);
    let named = |number: u64| put("blob", number.to_be_bytes().to_vec());
    let first = Commit {
        writes: vec![named(1)],
        ..adopt(&[blob(1)])
    };
    put_blob(&*backend, blob(1), 3_000, 1024);
    make(&*backend, first);
    let write = || {
        for number in 2..100 {
            put_blob(&*backend, blob(number), 3_000, 1024);
            let commit = Commit {
                writes: vec![named(number)],
                adopts: vec![blob(number)],
                ..release(&[blob(number - 1)])
            };
            let revision = order(&*backend, commit);
            backend.settle(revision).unwrap();
        }
    };
    beside(2, write, || read_blob(&*backend));
    for number in 1..99 {
        super::tools::assert_freed(&*backend, blob(number));
    }
}
