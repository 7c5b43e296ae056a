//! A process that forks while it has a store open. Alone in their program: a lock that a thread of another test has would never be
//! let go in the child.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test that panics fails; a process can be forked and waited for in no other way"
)]

use std::io::Write;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use komatik::{Durability, Error, Store, WriteOptions};

/// Held by the test that runs.
static ALONE: Mutex<()> = Mutex::new(());

/// After so many seconds a process that waits for ever is ended.
const PATIENCE: libc::c_uint = 60;
/// How one ends that found everything as it should be.
const AS_IT_SHOULD: libc::c_int = 0;
const NOT_AS_IT_SHOULD: libc::c_int = 1;

/// Runs `child` in a process of its own; answers that process. It ends there, and nothing of the caller's is dropped.
fn fork(child: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the C library makes its allocator usable behind a fork; the child calls nothing that needs another thread,
    // and ends by `_exit`.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: both take a number and touch no memory.
            unsafe { libc::alarm(PATIENCE) };
            // Past the harness, which would print it in its own process.
            std::panic::set_hook(Box::new(|panic| {
                drop(writeln!(std::io::stderr(), "{panic}"))
            }));
            let ended = catch_unwind(AssertUnwindSafe(child));
            let code = if ended.is_ok() {
                AS_IT_SHOULD
            } else {
                NOT_AS_IT_SHOULD
            };
            // SAFETY: as above.
            unsafe { libc::_exit(code) }
        }
        process => {
            // What it owns is the other process's.
            std::mem::forget(child);
            let child = process;
            assert!(child > 0, "{}", std::io::Error::last_os_error());
            child
        }
    }
}

fn assert_ended_well(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: the status is written to a variable of ours.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == AS_IT_SHOULD,
        "status {status:#x}"
    );
}

fn assert_misuse<T: std::fmt::Debug>(answer: komatik::Result<T>) {
    assert!(matches!(answer, Err(Error::Misuse { .. })), "{answer:?}");
}

fn assert_is_of_no_use(store: &Store) {
    assert_misuse(store.get("parent"));
    assert_misuse(store.list(""));
    assert_misuse(store.put("child", "no"));
    assert_misuse(store.delete("parent"));
    assert_misuse(store.flush());
    assert_misuse(store.compact(|_| ControlFlow::Continue(())));
    assert_misuse(store.writer("large", WriteOptions::new()));
    assert_misuse(store.transaction(|tx| tx.put("child", "no")));
}

fn assert_sound(store: &Store) {
    let report = store.verify(|_| ControlFlow::Continue(())).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

/// A process that is forked off has the same files open, and would write over what the other one writes.
#[test]
fn a_forked_process_writes_nothing_and_leaves_the_lock() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = Store::open(&path).unwrap();
    let eventual = store.with_durability(Durability::Eventual);
    eventual.put("parent", "1").unwrap();
    store.put("more", vec![1; 3_000_000]).unwrap();
    let mut writer = store.writer("begun", WriteOptions::new()).unwrap();
    // Another thread has the gate that writes go through; in the child there is no such thread.
    let (entered, is_inside) = std::sync::mpsc::channel();
    let (leave, is_over) = std::sync::mpsc::channel::<()>();
    let other = {
        let store = store.clone();
        std::thread::spawn(move || {
            store.transaction(|tx| {
                entered.send(()).unwrap();
                let _ = is_over.recv();
                tx.put("other", "1")
            })
        })
    };
    is_inside.recv().unwrap();
    let child = fork(|| {
        assert_is_of_no_use(&store);
        assert!(writer.write_all(&vec![1; 3_000_000]).is_err());
        // SAFETY: the process ends without using or dropping once more what the other one goes on to use.
        unsafe {
            drop(std::ptr::read(&writer));
            drop(std::ptr::read(&store));
            drop(std::ptr::read(&eventual));
        }
    });
    assert_ended_well(child);
    drop(leave);
    other.join().unwrap().unwrap();
    let second = Store::open(&path);
    assert!(
        matches!(&second, Err(Error::InUse { by: Some(_), .. })),
        "{second:?}"
    );
    store.put("after", vec![2; 3_000_000]).unwrap();
    assert_sound(&store);
    writer.write_all(&vec![3; 3_000_000]).unwrap();
    writer.commit().unwrap();
    drop((store, eventual));
    let store = Store::open(&path).unwrap();
    assert_eq!(store.get("parent").unwrap().unwrap(), "1");
    assert_eq!(store.get("after").unwrap().unwrap(), vec![2; 3_000_000]);
    assert_eq!(store.get("begun").unwrap().unwrap(), vec![3; 3_000_000]);
    assert!(!store.exists("child").unwrap());
    assert_sound(&store);
}

/// sled has threads for all that a process does, which a process that is forked off does not have.
#[test]
fn a_forked_process_opens_no_store_where_one_was_open() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    Store::open(&path).unwrap().put("a", "1").unwrap();
    let child = fork(|| {
        assert_misuse(Store::open(&path));
        assert_misuse(Store::open(directory.path().join("another")));
        let saved = directory.path().join("saved");
        assert_misuse(Store::repair(&path, saved, |_| ControlFlow::Continue(())));
    });
    assert_ended_well(child);
    assert_sound(&Store::open(&path).unwrap());
}
