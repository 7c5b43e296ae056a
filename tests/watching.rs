//! Callbacks and watchers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics fails"
)]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use common::{stores, stores_with};
use komatik::{
    Change, ChangeKind, Digest, Durability, Error, Events, History, Lock, PasswordCost, PutMode,
    Since, Store, Subscription, Watcher,
};

type Log = Arc<Mutex<Vec<Change>>>;

/// A callback that notes what it is told.
fn log(store: &Store, events: Events) -> (Log, Subscription) {
    let log = Log::default();
    let list = log.clone();
    let subscription = store.on(events, move |change| {
        list.lock().unwrap().push(change.clone())
    });
    (log, subscription)
}

fn keys(log: &Log) -> Vec<String> {
    let log = log.lock().unwrap();
    log.iter().map(|change| change.key.clone()).collect()
}

/// All a watcher has to tell at present, as `kind key`.
fn drain(watcher: &mut Watcher) -> Vec<String> {
    std::iter::from_fn(|| watcher.try_recv().unwrap())
        .map(|change| short(&change))
        .collect()
}

fn short(change: &Change) -> String {
    match &change.kind {
        ChangeKind::Put => format!("put {}", change.key),
        ChangeKind::Delete => format!("delete {}", change.key),
        ChangeKind::Move { from } => format!("move {from} {}", change.key),
        other => panic!("{other:?}"),
    }
}

#[test]
fn callbacks_get_the_kinds_they_ask_for_until_they_are_off() {
    for case in stores() {
        let store = case.store.clone();
        let (all, _keep) = log(&store, Events::ALL);
        let (gone, subscription) = log(&store, Events::DELETED | Events::MOVED);
        store.acting_as("ann").put("a", "1").unwrap();
        store.rename("a", "b", PutMode::Overwrite).unwrap();
        store.delete("b").unwrap();
        assert_eq!(keys(&all), ["a", "b", "b"]);
        assert_eq!(keys(&gone), ["b", "b"]);
        assert!(all.lock().unwrap().iter().all(|change| change.last));
        assert_eq!(all.lock().unwrap()[0].participant.as_deref(), Some("ann"));
        subscription.off();
        store.put("c", "1").unwrap();
        store.delete("c").unwrap();
        assert_eq!(keys(&gone).len(), 2);
        assert_eq!(keys(&all).len(), 5);
    }
}

#[test]
fn a_transaction_is_told_together_and_its_last_change_marked() {
    for case in stores() {
        let store = case.store.clone();
        let (all, _all) = log(&store, Events::ALL);
        let (some, _some) = log(&store.scoped("in").unwrap(), Events::ALL);
        store
            .transaction(|tx| {
                tx.put("in/1", "x")?;
                tx.put("in/2", "x")?;
                tx.put("out", "x")?;
                Ok(())
            })
            .unwrap();
        let marks =
            |log: &Log| -> Vec<bool> { log.lock().unwrap().iter().map(|c| c.last).collect() };
        assert_eq!(marks(&all), [false, false, true]);
        assert_eq!(keys(&some), ["1", "2"]);
        assert_eq!(marks(&some), [false, true]);
    }
}

#[test]
fn callbacks_run_in_order_and_one_at_a_time_across_threads() {
    for case in stores() {
        let store = case.store.clone();
        let inside = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (flag, list) = (inside.clone(), seen.clone());
        let _subscription = store.on(Events::ALL, move |change| {
            assert!(!flag.swap(true, Ordering::SeqCst), "two callbacks at once");
            thread::yield_now();
            list.lock()
                .unwrap()
                .push((change.revision, thread::current().id()));
            flag.store(false, Ordering::SeqCst);
        });
        let start = Barrier::new(8);
        thread::scope(|scope| {
            for writer in 0..8 {
                let (store, seen, start) = (&store, &seen, &start);
                scope.spawn(move || {
                    start.wait();
                    for number in 0..50 {
                        let written = store.put(&format!("{writer}/{number}"), "x").unwrap();
                        // Told before the call returns, on this thread.
                        let told = (written.revision, thread::current().id());
                        assert!(seen.lock().unwrap().contains(&told));
                    }
                });
            }
        });
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 400);
        assert!(seen.is_sorted_by_key(|(revision, _)| *revision));
    }
}

#[test]
fn what_a_callback_writes_is_told_after_it_returns() {
    for case in stores() {
        let store = case.store.clone();
        let order = Arc::new(Mutex::new(Vec::new()));
        let (writer, list) = (store.clone(), order.clone());
        let first = store.on(Events::UPDATED, move |change| {
            list.lock().unwrap().push(format!("begin {}", change.key));
            let depth = change.key.len();
            if depth < 4 {
                let next = format!("{}x", change.key);
                writer.put(&next, "nested").unwrap();
                assert!(writer.get(&next).unwrap().is_some(), "visible at once");
            }
            list.lock().unwrap().push(format!("end {}", change.key));
        });
        let list = order.clone();
        let second = store.on(Events::UPDATED, move |change| {
            list.lock().unwrap().push(format!("second {}", change.key));
        });
        store.put("x", "outer").unwrap();
        let expected = ["x", "xx", "xxx", "xxxx"]
            .map(|key| ["begin", "end", "second"].map(|what| format!("{what} {key}")));
        assert_eq!(*order.lock().unwrap(), expected.concat());
        drop((first, second));
    }
}

/// Two stores whose callbacks write to each other, each from two threads: nobody may wait for the other.
#[test]
fn callbacks_that_write_across_threads_and_stores_do_not_wait_for_each_other() {
    let stores = [Store::in_memory().unwrap(), Store::in_memory().unwrap()];
    let told = Arc::new(AtomicU64::new(0));
    let subscriptions = [0, 1].map(|this| {
        let (here, there) = (stores[this].clone(), stores[1 - this].clone());
        let told = told.clone();
        stores[this].on(Events::UPDATED, move |change| {
            told.fetch_add(1, Ordering::Relaxed);
            if !change.key.starts_with("echo") {
                here.put(&format!("echo/{}", change.key), "x").unwrap();
                there.put(&format!("echo/{}", change.key), "x").unwrap();
            }
        })
    });
    let (done, finished) = mpsc::channel();
    for writer in 0..4 {
        let (store, done) = (stores[writer % 2].clone(), done.clone());
        thread::spawn(move || {
            for number in 0..100 {
                store.put(&format!("{writer}/{number}"), "x").unwrap();
            }
            done.send(()).unwrap();
        });
    }
    for _ in 0..4 {
        let result = finished.recv_timeout(Duration::from_secs(20));
        result.expect("the writers wait for each other");
    }
    assert_eq!(told.load(Ordering::Relaxed), 4 * 100 * 3);
    drop(subscriptions);
}

#[test]
fn a_panic_in_a_callback_is_contained() {
    for case in stores() {
        let store = case.store.clone();
        let _bad = store.on(Events::ALL, |_| {
            std::panic::resume_unwind(Box::new("a secret"))
        });
        let (good, _good) = log(&store, Events::ALL);
        store.put("a", "1").unwrap();
        store.put("b", "1").unwrap();
        assert_eq!(keys(&good), ["a", "b"]);
    }
}

/// What a callback owns goes with the last who holds it, and that may be the commit that calls it.
#[test]
fn a_panic_of_what_a_callback_owns_holds_up_no_later_commit() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("as it goes");
        }
    }
    for case in stores() {
        let store = case.store.clone();
        let (begun, off) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let subscription = {
            let (owned, begun, off) = (Panics, Arc::clone(&begun), Arc::clone(&off));
            store.on(Events::ALL, move |_| {
                let _ = &owned;
                begun.wait();
                off.wait();
            })
        };
        let writing = {
            let store = store.clone();
            thread::spawn(move || store.put("a", "1").is_ok())
        };
        begun.wait();
        drop(subscription);
        off.wait();
        assert!(writing.join().unwrap());
        // One that panics with something that panics as it goes.
        let _on = store.on(Events::ALL, |_| std::panic::panic_any(Panics));
        store.put("b", "1").unwrap();
        store.put("c", "1").unwrap();
    }
}

#[test]
fn a_callback_that_panics_with_what_panics_is_told_of_the_rest() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("as it is dropped");
        }
    }
    let store = Store::in_memory().unwrap();
    let (told, told_of) = mpsc::channel();
    let _on = store.on(Events::ALL, move |change| {
        told.send(change.key.clone()).unwrap();
        if change.key == "a" {
            std::panic::panic_any(Panics);
        }
    });
    let both = store.transaction(|tx| {
        tx.save("a", &1)?;
        tx.save("b", &1)
    });
    both.unwrap();
    assert_eq!(told_of.try_iter().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_callback_may_take_itself_off() {
    for case in stores() {
        let store = case.store.clone();
        let slot: Arc<Mutex<Option<Subscription>>> = Arc::default();
        let calls = Arc::new(AtomicU64::new(0));
        let (own, count) = (slot.clone(), calls.clone());
        let subscription = store.on(Events::ALL, move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            own.lock().unwrap().take();
        });
        *slot.lock().unwrap() = Some(subscription);
        store.put("a", "1").unwrap();
        store.put("a", "2").unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn nobody_waits_for_a_callback_that_is_not_concerned() {
    for case in stores() {
        let store = case.store.clone();
        let (entered, inside) = mpsc::channel();
        let (release, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let _slow = store.scoped("slow").unwrap().on(Events::ALL, move |_| {
            entered.send(()).unwrap();
            let _ = wait.lock().unwrap().recv();
        });
        let writer = store.clone();
        let blocked = thread::spawn(move || writer.put("slow/a", "x").unwrap());
        inside.recv_timeout(Duration::from_secs(60)).unwrap();
        store.put("other", "x").unwrap();
        release.send(()).unwrap();
        blocked.join().unwrap();
    }
}

#[test]
fn what_crosses_the_border_of_a_scope_is_put_or_deleted() {
    for case in stores() {
        let store = case.store.clone();
        let room = store.scoped("room").unwrap();
        let (seen, _keep) = log(&room, Events::ALL);
        let mut watcher = room.watch("", Since::Now).unwrap();
        for key in ["room/a", "b"] {
            store.put(key, "x").unwrap();
        }
        store.rename("room/a", "room/c", PutMode::Create).unwrap();
        store.rename("room/c", "gone", PutMode::Create).unwrap();
        store.rename("b", "room/b", PutMode::Create).unwrap();
        store.rename("gone", "elsewhere", PutMode::Create).unwrap();
        let expected = ["put a", "move a c", "delete c", "put b"];
        assert_eq!(drain(&mut watcher), expected);
        let seen: Vec<_> = seen.lock().unwrap().iter().map(short).collect();
        assert_eq!(seen, expected);
        store.flush().unwrap();
        assert_eq!(watcher.try_recv().unwrap(), None);
        assert_eq!(watcher.revision(), store.history().newest);
    }
}

/// From the digest of a short secret whoever is told of it finds the secret.
#[test]
fn nothing_is_told_of_the_content_behind_a_view_password() {
    for case in stores_with(|builder| builder.password_cost(PasswordCost::new(8, 1))) {
        let store = case.store.clone();
        let (called, _keep) = log(&store, Events::ALL);
        let mut watcher = store.watch("", Since::Start).unwrap();
        let shown = store.put("open", "1234").unwrap();
        store.lock("open", Lock::new().edit("e")).unwrap();
        store.put("pin", "").unwrap();
        store.lock("pin", Lock::new().view("v")).unwrap();
        let from_here = store.history().newest;
        store.put("pin", "1234").unwrap();
        let viewer = store.unlocked_with("v");
        viewer.merge("pin", &1).unwrap_err();
        viewer.transaction(|tx| tx.save("pin", &1234)).unwrap();
        viewer.merge("pin", &12345).unwrap();
        store.rename("pin", "p", PutMode::Create).unwrap();
        store.put("folder/over", "1").unwrap();
        store
            .rename("p", "folder/over", PutMode::Overwrite)
            .unwrap();
        store.rename_folder("folder", "f").unwrap();
        viewer.copy("open", "f/over", PutMode::Overwrite).unwrap();
        let copied = viewer.copy("f/over", "copy", PutMode::Create).unwrap();
        viewer.unlock("f/over").unwrap();
        viewer.lock("f/over", Lock::new().view("v")).unwrap();
        store.delete_folder("f").unwrap();
        let told: Vec<_> = std::iter::from_fn(|| watcher.try_recv().unwrap()).collect();
        assert_eq!(*called.lock().unwrap(), told);
        let (early, late): (Vec<&Change>, Vec<&Change>) =
            told.iter().partition(|change| change.revision <= from_here);
        assert!(
            early[..2]
                .iter()
                .all(|change| change.digest == Some(shown.digest))
        );
        assert_eq!(
            (early[3].size, early[3].digest),
            (None, None),
            "the lock itself"
        );
        let seen = late
            .iter()
            .map(|change| (short(change), change.size, change.digest));
        let content = Some((copied.size, copied.digest));
        let one = Some((1, Digest::of(b"1")));
        let expected = [
            ("put pin", None),
            ("put pin", None),
            ("put pin", None),
            ("move pin p", None),
            ("put folder/over", one),
            ("move p folder/over", None),
            ("move folder/over f/over", None),
            ("put f/over", None),
            ("put copy", content),
            ("put f/over", content),
            ("put f/over", None),
            ("delete f/over", None),
        ];
        let expected = expected.map(|(told, content)| {
            let (size, digest) = content.unzip();
            (told.to_owned(), size, digest)
        });
        assert_eq!(seen.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_watcher_begins_where_it_is_told_and_goes_on_where_it_stopped() {
    for case in stores() {
        let store = case.store.clone();
        store.put("a", "1").unwrap();
        let mut now = store.watch("", Since::Now).unwrap();
        let mut start = store.watch("", Since::Start).unwrap();
        assert!(!start.caught_up(), "before the first look");
        store
            .transaction(|tx| {
                tx.put("b", "1")?;
                tx.put("c", "1")
            })
            .unwrap();
        assert_eq!(drain(&mut now), ["put b", "put c"]);
        assert_eq!(start.try_recv().unwrap().unwrap().key, "a");
        assert_eq!(start.revision(), 1);
        assert!(!start.caught_up());
        // In the middle of a commit the place to go on from is before it.
        let middle = start.try_recv().unwrap().unwrap();
        assert!(!middle.last);
        assert_eq!(start.revision(), 1);
        let last = start.try_recv().unwrap().unwrap();
        assert!(last.last && start.caught_up());
        assert_eq!(start.revision(), last.revision);
        assert_eq!(start.try_recv().unwrap(), None);
        let mut resumed = store.watch("", Since::After(1)).unwrap();
        assert_eq!(drain(&mut resumed), ["put b", "put c"]);
        let mut ahead = store.watch("", Since::After(last.revision)).unwrap();
        assert_eq!(drain(&mut ahead), [""; 0]);
    }
}

#[test]
fn a_watcher_has_caught_up_though_commits_without_changes_follow() {
    for case in stores() {
        let store = case.store.clone();
        store.put("a", "1").unwrap();
        store.grant("a", komatik::Grant::new()).unwrap();
        store.grant("a", komatik::Grant::new()).unwrap();
        let mut watcher = store.watch("", Since::Start).unwrap();
        assert_eq!(watcher.next().unwrap().unwrap().key, "a");
        assert!(watcher.caught_up());
        store.flush().unwrap();
        assert_eq!(watcher.try_recv().unwrap(), None);
        assert_eq!(watcher.revision(), store.history().newest);
    }
}

#[test]
fn a_place_ahead_of_the_store_is_not_waited_for() {
    for case in stores() {
        let store = case.store.clone();
        store.put("a", "1").unwrap();
        let eventual = store.with_durability(komatik::Durability::Eventual);
        let newest = eventual.put("b", "1").unwrap().revision;
        // Noted of what was written a moment ago, whether readers see it yet or not.
        let mut after = store.watch("", Since::After(newest)).unwrap();
        assert_eq!(drain(&mut after), [""; 0]);
        let mut ahead = store.watch("", Since::After(newest + 1)).unwrap();
        for _ in 0..2 {
            let refused = ahead.try_recv();
            assert!(
                matches!(refused, Err(Error::Compacted { oldest }) if oldest == newest + 1),
                "{refused:?}"
            );
        }
        store.put("c", "1").unwrap();
        assert_eq!(drain(&mut after), ["put c"]);
        assert!(matches!(
            ahead.try_recv(),
            Err(Error::Compacted { oldest }) if oldest == newest + 2
        ));
        assert!(matches!(ahead.next(), Some(Err(_))));
        assert!(ahead.next().is_none());
    }
}

#[test]
fn the_position_moves_over_what_does_not_concern_the_watcher() {
    for case in stores() {
        let store = case.store.clone();
        let mut watcher = store.watch("here", Since::Start).unwrap();
        for number in 0..1000 {
            store.put(&format!("there/{number}"), "x").unwrap();
        }
        assert_eq!(watcher.try_recv().unwrap(), None);
        assert!(watcher.caught_up());
        // Not before they are durable: a power cut that takes them would else have taken something from this watcher.
        store.flush().unwrap();
        assert_eq!(watcher.try_recv().unwrap(), None);
        assert_eq!(watcher.revision(), store.history().newest);
        let written = store.put("here/a", "x").unwrap();
        store.put("there/a", "x").unwrap();
        let change = watcher.try_recv().unwrap().unwrap();
        assert!(change.last);
        assert_eq!(change.revision, written.revision);
        assert!(watcher.revision() >= written.revision);
        store.flush().unwrap();
        assert_eq!(watcher.try_recv().unwrap(), None);
        assert_eq!(watcher.revision(), store.history().newest);
    }
}

#[test]
fn a_commit_larger_than_a_batch_has_one_last_change() {
    for case in stores() {
        let store = case.store.clone();
        let mut watcher = store.watch("in", Since::Start).unwrap();
        store
            .transaction(|tx| {
                for number in 0..600 {
                    tx.put(&format!("in/{number:03}"), "x")?;
                }
                (0..600).try_for_each(|number| tx.put(&format!("out/{number}"), "x").map(drop))
            })
            .unwrap();
        let changes: Vec<_> = std::iter::from_fn(|| watcher.try_recv().unwrap()).collect();
        assert_eq!(changes.len(), 600);
        let last: Vec<_> = changes.iter().filter(|change| change.last).collect();
        assert_eq!(last.len(), 1);
        assert_eq!(last[0].key, "in/599");
    }
}

#[test]
fn a_watcher_that_fell_behind_is_told_so_and_again() {
    let history = History::unlimited().revisions(10);
    let store = Store::builder_in_memory().history(history).open().unwrap();
    let mut slow = store.watch("", Since::Start).unwrap();
    let mut iterated = store.watch("", Since::Start).unwrap();
    for number in 0..30 {
        store.put(&format!("{number}"), "x").unwrap();
    }
    for _ in 0..2 {
        match slow.try_recv() {
            Err(Error::Compacted { oldest }) => assert_eq!(oldest, store.history().oldest),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(
        iterated.next(),
        Some(Err(Error::Compacted { .. }))
    ));
    assert!(iterated.next().is_none());
    let mut fresh = store.watch("", Since::Start).unwrap();
    assert_eq!(drain(&mut fresh).len(), 10);
}

/// On disk whole segments of the journal go, once a checkpoint has passed them.
#[test]
fn a_watcher_on_disk_that_fell_behind_is_told_so_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let builder = Store::builder(directory.path().join("store"));
        builder
            .history(History::of_bytes(1))
            .overlay_bytes(16 * 1024)
            .durability(Durability::Eventual)
            .open()
            .unwrap()
    };
    let check = |store: &Store, watcher: &mut Watcher| {
        for _ in 0..2 {
            match watcher.try_recv() {
                Err(Error::Compacted { oldest }) => assert_eq!(oldest, store.history().oldest),
                other => panic!("{other:?}"),
            }
        }
    };
    let store = open();
    let first = store.put("first", "x").unwrap().revision;
    let mut slow = store.watch("", Since::Start).unwrap();
    let mut quick = store.watch("", Since::Now).unwrap();
    let (mut written, mut told) = (0, 0);
    let begun = Instant::now();
    while store.history().oldest <= first + 1 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing goes");
        store.put(&format!("{written}"), vec![1; 2000]).unwrap();
        written += 1;
        told += drain(&mut quick).len();
    }
    told += drain(&mut quick).len();
    assert_eq!(told, written, "who keeps up misses nothing");
    check(&store, &mut slow);
    let position = quick.revision();
    store.close().unwrap();
    drop((slow, quick, store));

    let store = open();
    assert!(store.history().oldest > first + 1);
    check(&store, &mut store.watch("", Since::After(first)).unwrap());
    let mut resumed = store.watch("", Since::After(position)).unwrap();
    store.put("last", "x").unwrap();
    assert_eq!(drain(&mut resumed), ["put last"]);
    let mut whole = store.watch("", Since::Start).unwrap();
    assert_eq!(drain(&mut whole).last().unwrap(), "put last");
}

#[test]
fn a_waiting_watcher_is_woken_and_a_close_ends_it() {
    for case in stores() {
        let store = case.store.clone();
        let mut watcher = store.watch("", Since::Now).unwrap();
        let begun = Instant::now();
        assert_eq!(
            watcher.recv_timeout(Duration::from_millis(20)).unwrap(),
            None
        );
        assert!(begun.elapsed() >= Duration::from_millis(20));
        let (send, receive) = mpsc::channel();
        let reader = thread::spawn(move || {
            for change in watcher {
                send.send(change.map(|change| change.key)).unwrap();
            }
        });
        let next = || receive.recv_timeout(Duration::from_secs(60)).unwrap();
        for key in ["a", "b"] {
            store.put(key, "x").unwrap();
            assert_eq!(next().unwrap(), key);
        }
        store.close().unwrap();
        assert!(next().is_err());
        reader.join().unwrap();
    }
}

#[test]
fn a_watcher_loses_nothing_while_many_write() {
    for case in stores() {
        let store = case.store.clone();
        let watcher = store.watch("", Since::Now).unwrap();
        thread::scope(|scope| {
            for writer in 0..4 {
                let store = &store;
                scope.spawn(move || {
                    (0..250).for_each(|number| {
                        store.put(&format!("{writer}/{number}"), "x").unwrap();
                    });
                });
            }
            let revisions: Vec<u64> = watcher.take(1000).map(|c| c.unwrap().revision).collect();
            assert!(revisions.is_sorted());
        });
    }
}

/// What a callback owns may write to the store when it goes, on whichever thread lets go of it last.
#[test]
fn a_callback_that_writes_when_it_goes_makes_nobody_wait_for_himself() {
    struct Farewell(Store);
    impl Drop for Farewell {
        fn drop(&mut self) {
            self.0.put("farewell", "x").unwrap();
        }
    }
    let store = Store::in_memory().unwrap();
    let told = Arc::new(AtomicU64::new(0));
    let count = told.clone();
    let _wanted = store.on(Events::ALL, move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    const WRITES: u64 = 20_000;
    let (done, finished) = mpsc::channel();
    let is_over = Arc::new(AtomicBool::new(false));
    for writer in 0..2 {
        let (store, done) = (store.clone(), done.clone());
        thread::spawn(move || {
            for _ in 0..WRITES {
                store.put(&format!("{writer}"), "x").unwrap();
            }
            done.send(()).unwrap();
        });
    }
    let (coming, over) = (store.clone(), is_over.clone());
    let comer = thread::spawn(move || {
        let mut farewells = 0;
        while !over.load(Ordering::Relaxed) {
            let farewell = Farewell(coming.clone());
            let elsewhere = coming.scoped("elsewhere").unwrap();
            drop(elsewhere.on(Events::ALL, move |_| {
                let _owned = &farewell;
            }));
            farewells += 1;
        }
        farewells
    });
    for _ in 0..2 {
        let result = finished.recv_timeout(Duration::from_secs(60));
        result.expect("a writer waits for itself");
    }
    is_over.store(true, Ordering::Relaxed);
    let farewells: u64 = comer.join().unwrap();
    assert_eq!(told.load(Ordering::Relaxed), 2 * WRITES + farewells);
}

/// Dropping the store and its subscription from inside the callback, which owns the last clone.
#[test]
fn a_callback_may_own_the_store() {
    let store = Store::in_memory().unwrap();
    let slot: Arc<OnceLock<Subscription>> = Arc::default();
    let owned = store.clone();
    let subscription = store.on(Events::ALL, move |change| {
        assert!(owned.get(&change.key).unwrap().is_some());
    });
    slot.set(subscription).unwrap();
    store.put("a", "x").unwrap();
    drop(store);
    drop(slot);
}

#[test]
fn who_has_read_all_that_was_dropped_has_missed_nothing() {
    let store = Store::builder_in_memory()
        .history(History::unlimited().revisions(1))
        .open()
        .unwrap();
    let mut watcher = store.watch("", Since::Start).unwrap();
    for key in ["a", "b", "c"] {
        let saved = store.save(key, &1).unwrap();
        assert_eq!(store.history().oldest, saved.revision);
        assert_eq!(watcher.try_recv().unwrap().unwrap().key, key);
    }
}

/// What is written elsewhere keeps nobody longer than asked.
#[test]
fn a_wait_ends_in_time_while_others_write_out_of_sight() {
    for case in stores() {
        let store = case.store.with_durability(Durability::Eventual);
        let mut watcher = store.watch("here", Since::Now).unwrap();
        let over = AtomicBool::new(false);
        let gave_up = thread::scope(|scope| {
            let write = || {
                let begun = Instant::now();
                while !over.load(Ordering::Relaxed) {
                    store.put("there/x", "1").unwrap();
                    if begun.elapsed() > Duration::from_secs(60) {
                        return true;
                    }
                }
                false
            };
            let writers: Vec<_> = (0..8).map(|_| scope.spawn(write)).collect();
            for _ in 0..10 {
                let change = watcher.recv_timeout(Duration::from_millis(50)).unwrap();
                assert!(change.is_none());
            }
            over.store(true, Ordering::Relaxed);
            let gave_up = writers.into_iter().map(|writer| writer.join().unwrap());
            gave_up.fold(false, |any, one| any | one)
        });
        assert!(!gave_up, "it waited for as long as others wrote");
    }
}

/// Who has it by a reference that may change it, as in a struct, must not meet `Iterator` instead.
#[test]
fn where_to_resume_is_told_through_any_reference() {
    fn note(watcher: &mut Watcher) -> u64 {
        watcher.revision()
    }
    let store = Store::in_memory().unwrap();
    let mut watcher = store.watch("", Since::Now).unwrap();
    let saved = store.save("a", &1).unwrap();
    assert_eq!(watcher.next().unwrap().unwrap().revision, saved.revision);
    assert_eq!(note(&mut watcher), saved.revision);
}

/// By what the superblock shows to who does not open it.
#[test]
fn whatever_another_may_have_committed_is_seen_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    assert_eq!(komatik::Trace::of(path), None);
    let store = Store::open(path).unwrap();
    store.put("a", "x").unwrap();
    let (seen, newest) = (komatik::Trace::of(path).unwrap(), store.history().newest);
    let is_quiet = || {
        komatik::Trace::of(path)
            .unwrap()
            .is_quiet_since(&seen, newest)
    };
    assert!(is_quiet());
    drop(store);
    assert!(is_quiet());
    // Others who only read.
    let store = Store::open(path).unwrap();
    assert!(!is_quiet(), "it may be about to write, and be killed");
    drop(store);
    assert!(is_quiet());
    Store::open(path).unwrap().put("a", "y").unwrap();
    assert!(!is_quiet());
}
