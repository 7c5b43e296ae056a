//! Guessing passwords: whom it slows, and whom it must not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics fails"
)]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Case, StopOnDrop, stores_with};
use komatik::{
    Error, Lock, MergeOptions, PasswordCost, PutMode, PutOptions, Result, Store, WriteMode,
    WriteOptions,
};

/// A store of each kind, whose passwords cost next to nothing, with a locked entry `k` and another in `folder`.
fn stores(lock: &Lock) -> Vec<Case> {
    let cases = stores_with(|builder| builder.password_cost(PasswordCost::new(8, 1)));
    for case in &cases {
        for key in ["k", "folder/k"] {
            case.store.put(key, "content").unwrap();
            case.store.lock(key, lock.clone()).unwrap();
        }
    }
    cases
}

/// A view of its own for each guess, as a view remembers what was wrong.
fn guess(store: &Store, number: u32) -> Store {
    store.unlocked_with(&format!("guess {number}"))
}

fn is_wrong<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::WrongPassword { .. }))
}

fn is_slowed<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::TooManyTries { .. }))
}

fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let answer = run();
    (answer, begun.elapsed())
}

#[test]
fn wrong_tries_are_slowed_and_a_right_one_forgives() {
    for case in stores(&Lock::new().view("v")) {
        let store = case.store.clone();
        let wrong = |number: u32| assert!(is_wrong(guess(&store, number).get("k")));
        let (_, slowed) = timed(|| (0..6).for_each(wrong));
        assert!(slowed >= Duration::from_millis(300), "100 and 200 ms");
        store.unlocked_with("v").get("k").unwrap();
        // A transaction would not wait.
        let at_once = |view: &Store, key: &str| view.transaction(|tx| tx.get(key).map(drop));
        (6..10).for_each(|number| assert!(is_wrong(at_once(&guess(&store, number), "k"))));
        // Other entries are not concerned.
        at_once(&store.unlocked_with("v"), "folder/k").unwrap();
    }
}

/// A right password forgives guesses at itself, not at the other one of the lock.
#[test]
fn who_may_view_does_not_guess_the_edit_password_any_faster() {
    for case in stores(&Lock::new().view("v").edit("e")) {
        let store = case.store.clone();
        let (_, slowed) = timed(|| {
            for number in 0..7 {
                assert!(is_wrong(guess(&store, number).put("k", "new")));
                assert!(store.unlocked_with("v").get("k").unwrap().is_some());
            }
        });
        assert!(slowed >= Duration::from_millis(700), "{slowed:?}");
    }
}

/// A keyring opens what one of its keys opens, and what it tries on the way there is no guess.
#[test]
fn a_view_with_several_passwords_is_not_slowed_by_those_of_other_locks() {
    for case in stores(&Lock::new().view("v").edit("e")) {
        let store = case.store.clone();
        for right in ["v", "e"] {
            for _ in 0..10 {
                let view = store.unlocked_with("other").unlocked_with(right);
                assert!(view.get("k").unwrap().is_some());
            }
        }
        // A transaction would not wait.
        let guessed = guess(&store, 0).transaction(|tx| tx.get("k").map(drop));
        assert!(is_wrong(guessed));
    }
}

/// A view that offers one password after the other.
fn keyring<'a>(store: &Store, passwords: impl IntoIterator<Item = &'a str>) -> Store {
    let mut passwords = passwords.into_iter();
    passwords
        .try_fold(store.clone(), |view, it| Some(view.unlocked_with(it)))
        .unwrap()
}

/// Whether a listing tells the metadata of the entry in `folder`.
fn is_told(view: &Store) -> bool {
    let mut items = view.list("folder").unwrap();
    items.next().unwrap().unwrap().metadata.is_some()
}

/// Whatever has no patience tries them all as well, and on both passwords of the lock.
#[test]
fn every_password_of_a_view_is_tried_at_once() {
    let others: Vec<_> = (0..12).map(|number| format!("other {number}")).collect();
    let others = || others.iter().map(String::as_str);
    for case in stores(&Lock::new().view("v").edit("e")) {
        let store = case.store.clone();
        for right in ["v", "e"] {
            let newest = || keyring(&store, others().chain([right]));
            let oldest = || keyring(&store, [right].into_iter().chain(others()));
            for view in [newest(), oldest()] {
                assert!(is_told(&view), "{right}");
            }
            for mut view in [newest(), oldest()] {
                view.transaction(|tx| tx.get("k").map(|content| assert!(content.is_some())))
                    .unwrap();
                view.get("folder/k").unwrap().unwrap();
                view = keyring(&view, ["another"]);
                view.transaction(|tx| tx.get("k").map(drop)).unwrap();
            }
        }
        let owner = keyring(&store, ["e"].into_iter().chain(others()));
        owner.transaction(|tx| tx.put("k", "new")).unwrap();
    }
}

/// A keyring of more than are one try gets to its oldest in the end, and is no way to guess any faster.
#[test]
fn each_32_passwords_of_a_view_are_one_try() {
    let others = |number: usize| (0..number).map(|number| format!("other {number}"));
    for case in stores(&Lock::new().view("v")) {
        let store = case.store.clone();
        let keyring =
            |passwords: Vec<String>| keyring(&store, passwords.iter().map(String::as_str));
        let all = keyring(
            std::iter::once("v".to_owned())
                .chain(others(6 * 32))
                .collect(),
        );
        let begun = Instant::now();
        while !is_told(&all) {
            assert!(begun.elapsed() < Duration::from_secs(20));
            thread::sleep(Duration::from_millis(10));
        }
        let read = |number: usize| {
            let view = keyring(others(number).collect());
            view.transaction(|tx| tx.get("k").map(drop))
        };
        assert!(is_wrong(read(4 * 32)));
        store.unlocked_with("v").get("k").unwrap();
        assert!(is_slowed(read(10 * 32)));
    }
}

/// Where guesses at the one password are slowed, the other one is tried.
#[test]
fn the_edit_password_opens_in_a_transaction_whoever_guesses_at_the_other() {
    for case in stores(&Lock::new().view("v").edit("e")).iter().take(2) {
        let store = case.store.clone();
        for numbers in [0..3, 3..6, 6..8] {
            numbers.for_each(|number| assert!(is_wrong(guess(&store, number).get("k"))));
            // That forgives the guesses at the edit password alone.
            store.unlocked_with("e").put("k", "new").unwrap();
        }
        let read = |password: &str| {
            let view = store.unlocked_with(password);
            view.transaction(|tx| tx.get("k").map(drop))
        };
        assert!(is_slowed(read("v")));
        read("e").unwrap();
    }
}

/// What is found where four wrong tries were made less than 100 ms ago, which is how long the next one has to wait. `prepare` locks
/// anew, and answers what is kept of it and what is tried; on a busy machine that may take longer, and is done again.
fn before_a_wait_is_over<K, F, R>(mut prepare: impl FnMut() -> (K, F)) -> (K, R)
where
    F: FnOnce() -> R,
{
    for _ in 0..100 {
        let (kept, attempt) = prepare();
        let (found, elapsed) = timed(attempt);
        if elapsed < Duration::from_millis(100) {
            return (kept, found);
        }
        assert!(elapsed < Duration::from_secs(10), "it waited");
    }
    panic!("it always took longer");
}

type Attempt = fn(&Store) -> Result<()>;

/// Guessing at what a whole folder needs makes the one who guesses wait, and nobody else.
#[test]
fn writers_do_not_wait_for_those_who_guess() {
    let attempts: [Attempt; 3] = [
        |store| store.delete_folder("folder").map(drop),
        |store| store.rename_folder("folder", "elsewhere").map(drop),
        |store| store.delete("folder/k").map(drop),
    ];
    for attempt in attempts {
        for case in stores(&Lock::new().edit("e")).iter().take(2) {
            let store = case.store.clone();
            let (is_over, puts) = (AtomicBool::new(false), AtomicU64::new(0));
            thread::scope(|threads| {
                let _stop = StopOnDrop(&is_over);
                threads.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        store.put("free", "x").unwrap();
                        puts.fetch_add(1, Ordering::Relaxed);
                    }
                });
                let wrong = |number: u32| assert!(is_wrong(attempt(&guess(&store, number))));
                let (_, slowed) = timed(|| (0..8).for_each(wrong));
                assert!(slowed >= Duration::from_millis(1500), "{slowed:?}");
                // It waits for 1.6 s.
                let waiting = threads.spawn(move || wrong(8));
                thread::sleep(Duration::from_millis(200));
                let before = puts.load(Ordering::Relaxed);
                while puts.load(Ordering::Relaxed) < before + 3 && !waiting.is_finished() {
                    thread::sleep(Duration::from_millis(1));
                }
                // A put that waited for it was done just before its answer.
                thread::sleep(Duration::from_millis(20));
                assert!(!waiting.is_finished(), "the others waited as well");
            });
            assert!(store.unlocked_with("e").delete("folder/k").unwrap());
        }
    }
}

/// Others wait for a transaction, so it does not wait in the line of those who guess.
#[test]
fn a_transaction_is_refused_where_a_try_would_have_to_wait() {
    for case in stores(&Lock::new().edit("e")) {
        let store = case.store.clone();
        let put = |view: &Store| view.transaction(|tx| tx.put("k", "new"));
        let (owner, found) = before_a_wait_is_over(|| {
            store.unlocked_with("e").delete("k").unwrap();
            store.put("k", "content").unwrap();
            store.lock("k", Lock::new().edit("e")).unwrap();
            let owner = store.unlocked_with("e");
            let guesses = (0..12).map(|number| guess(&store, number));
            (owner.clone(), move || {
                let views = guesses.chain([owner]);
                views.map(|view| put(&view)).collect::<Vec<_>>()
            })
        });
        for (number, found) in found.into_iter().enumerate() {
            assert!(if number < 4 {
                is_wrong(found)
            } else {
                is_slowed(found)
            });
        }
        // What was refused was not counted: the next in line waits 100 ms, not 25 s, and then the transaction knows.
        let (_, elapsed) = timed(|| owner.unlock("k").unwrap());
        assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
        owner.lock("k", Lock::new().edit("e")).unwrap();
        owner.put("k", "known").unwrap();
        (20..24).for_each(|number| assert!(is_wrong(guess(&store, number).put("k", "new"))));
        owner.transaction(|tx| tx.put("k", "new")).unwrap();
        assert_eq!(store.get("k").unwrap().unwrap(), "new");
    }
}

/// A listing offers its passwords to every lock in the folder. That is no guess at each of them, and slows nobody.
#[test]
fn listing_a_folder_slows_nobody() {
    for case in stores(&Lock::new().view("v").edit("e")) {
        let store = case.store.clone();
        store.put("folder/own", "content").unwrap();
        store.lock("folder/own", Lock::new().view("own")).unwrap();
        let told = |password: &str| {
            let view = store.unlocked_with(password);
            let items = view.list("folder").unwrap().map(Result::unwrap);
            items
                .filter(|item| item.metadata.is_some())
                .map(|item| item.name)
                .collect::<Vec<_>>()
        };
        (0..20).for_each(|_| assert_eq!(told("own"), ["own"]));
        // A transaction would not wait.
        let view = store.unlocked_with("e");
        view.transaction(|tx| tx.put("folder/k", "new")).unwrap();
        let view = store.unlocked_with("v");
        view.transaction(|tx| tx.get("folder/k").map(drop)).unwrap();
    }
}

/// Nor is a listing a way to guess: after a few wrong passwords it tries none for a while, not even the right one.
#[test]
fn a_listing_does_not_help_to_guess() {
    for case in stores(&Lock::new().view("v")) {
        let store = case.store.clone();
        let is_told = |view: &Store| {
            let mut items = view.list("folder").unwrap();
            items.next().unwrap().unwrap().metadata.is_some()
        };
        assert!(is_told(&store.unlocked_with("v")));
        let (owner, told) = before_a_wait_is_over(|| {
            let view = store.unlocked_with("v");
            view.unlock("folder/k").unwrap();
            store.lock("folder/k", Lock::new().view("v")).unwrap();
            let owner = store.unlocked_with("v");
            let guesses = (0..4).map(|number| guess(&store, number));
            (owner.clone(), move || {
                let told: Vec<_> = guesses.chain([owner]).map(|view| is_told(&view)).collect();
                told
            })
        });
        assert_eq!(told, [false; 5], "behind four guesses a wait is due");
        thread::sleep(Duration::from_millis(150));
        assert!(
            is_told(&owner),
            "the wait is over, and the view has learnt nothing wrong"
        );
        (0..5).for_each(|number| assert!(!is_told(&guess(&store, number))));
        assert!(is_told(&owner), "it remembers");
    }
}

/// What a mode asks would tell the revision of an entry to whoever has no password for it.
#[test]
fn the_lock_is_asked_before_the_mode() {
    type Call = (&'static str, fn(&Store, PutMode) -> Result<()>);
    let calls: &[Call] = &[
        ("put", |store, mode| {
            let options = PutOptions::new().mode(mode);
            store.put_with("k", "new", options).map(drop)
        }),
        ("put large", |store, mode| {
            let options = PutOptions::new().mode(mode);
            store.put_with("k", vec![1; 100_000], options).map(drop)
        }),
        ("save", |store, mode| {
            let options = PutOptions::new().mode(mode);
            store.save_with("k", &1, options).map(drop)
        }),
        ("merge", |store, mode| {
            let options = MergeOptions::new().mode(mode);
            store.merge_with("k", &1, options).map(drop)
        }),
        ("writer", |store, mode| {
            let mut options = WriteOptions::new();
            options.mode = match mode {
                PutMode::Create => WriteMode::Create,
                PutMode::Update(revision) => WriteMode::Update(revision),
                _ => WriteMode::Overwrite,
            };
            store.writer("k", options).map(drop)
        }),
        ("rename", |store, mode| {
            store.rename("free", "k", mode).map(drop)
        }),
        ("copy", |store, mode| {
            store.copy("free", "k", mode).map(drop)
        }),
        ("transaction", |store, mode| {
            let options = PutOptions::new().mode(mode);
            store.transaction(|tx| tx.put_with("k", "new", options))
        }),
    ];
    for case in stores(&Lock::new().view("v").edit("e")) {
        let store = case.store.clone();
        store.put("free", "content").unwrap();
        let (viewer, owner) = (store.unlocked_with("v"), store.unlocked_with("e"));
        for (name, call) in calls {
            for mode in [PutMode::Update(0), PutMode::Create] {
                let found = call(&store, mode);
                assert!(matches!(found, Err(Error::Locked { .. })), "{name}");
                assert!(is_wrong(call(&viewer, mode)), "{name}");
                let found = call(&owner, mode);
                assert!(
                    matches!(
                        found,
                        Err(Error::RevisionMismatch { .. } | Error::AlreadyExists { .. })
                    ),
                    "{name}"
                );
            }
        }
    }
}

/// Nobody guesses: they only come at the same moment, with views of their own or with one.
#[test]
fn a_crowd_with_the_right_password_is_let_in() {
    const CROWD: usize = 32;
    // Dear enough for all to be there before the first is let in.
    for case in stores_with(|builder| builder.password_cost(PasswordCost::new(19_456, 2))) {
        case.store.put("k", "content").unwrap();
        case.store
            .lock("k", Lock::new().view("v").edit("e"))
            .unwrap();
        // To look, that to edit does as well, and is tried second.
        for (password, is_shared) in [("v", true), ("v", false), ("e", true), ("e", false)] {
            let shared = case.store.unlocked_with(password);
            let together = std::sync::Barrier::new(CROWD);
            let enter = || {
                let own = match is_shared {
                    true => shared.clone(),
                    false => case.store.unlocked_with(password),
                };
                together.wait();
                own.get("k").map(drop)
            };
            let answers: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> = (0..CROWD).map(|_| scope.spawn(enter)).collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .collect()
            });
            let refused: Vec<_> = answers.iter().filter(|answer| answer.is_err()).collect();
            assert!(refused.is_empty(), "{refused:?}");
        }
    }
}
