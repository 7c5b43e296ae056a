//! What a thread owns is dropped when much of the thread is gone already, and may use the store all the same.
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

use std::cell::RefCell;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use komatik::{Error, Events, Store};

struct Last(RefCell<Option<Box<dyn FnOnce()>>>);

impl Drop for Last {
    fn drop(&mut self) {
        if let Some(work) = self.0.take() {
            work();
        }
    }
}

thread_local!(static LAST: Last = const { Last(RefCell::new(None)) });

/// Runs `work` as a thread ends that has used the store. Answers what that tells, unless it waits for ever.
fn at_the_end<R: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&Store) -> R + Send + 'static,
) -> R {
    let (tell, told) = mpsc::channel();
    let store = store.clone();
    thread::spawn(move || {
        let own = store.clone();
        let work = move || tell.send(work(&own)).unwrap();
        // In this order: those of the store are gone first.
        LAST.with(|last| last.0.replace(Some(Box::new(work))));
        store.transaction(|tx| tx.save("first", &1)).unwrap();
    });
    match told.recv_timeout(Duration::from_secs(20)) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => panic!("it waits for itself"),
        Err(RecvTimeoutError::Disconnected) => panic!("it panicked"),
    }
}

#[test]
fn a_thread_may_write_as_it_ends() {
    let store = Store::in_memory().unwrap();
    let (tell, told) = mpsc::channel();
    let _on = store.on(Events::ALL, move |change| {
        tell.send(change.key.clone()).unwrap();
    });
    at_the_end(&store, |store| {
        store.save("last", &1).unwrap();
        store.transaction(|tx| tx.save("last of all", &1)).unwrap();
    });
    assert!(store.exists("last").unwrap() && store.exists("last of all").unwrap());
    let told: Vec<_> = told.try_iter().collect();
    assert_eq!(told, ["first", "last", "last of all"]);
}

#[test]
fn a_callback_may_write_as_the_thread_ends() {
    let store = Store::in_memory().unwrap();
    let (tell, told) = mpsc::channel();
    let own = store.clone();
    let _on = store.on(Events::ALL, move |change| {
        tell.send(change.key.clone()).unwrap();
        if change.key == "last" {
            own.save("from inside", &1).unwrap();
        }
    });
    at_the_end(&store, |store| store.save("last", &1).map(drop)).unwrap();
    let told: Vec<_> = told.try_iter().collect();
    assert_eq!(told, ["first", "last", "from inside"]);
}

#[test]
fn a_write_inside_a_transaction_is_refused_as_the_thread_ends() {
    let store = Store::in_memory().unwrap();
    let refused = at_the_end(&store, |store| {
        store.transaction(|_| store.save("last", &1).map(drop))
    });
    assert!(matches!(refused, Err(Error::Misuse { .. })), "{refused:?}");
}
