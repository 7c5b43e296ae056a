//! Who is told of changes, and in which order.
//!
//! Callbacks run on the threads that commit, but in the order of the revisions. So each commit takes a place in a
//! **turnstile** when it is ordered, under the writer lock, and once it has settled waits there until every earlier one
//! has gone through. A thread that is inside a callback must not wait there: it stands in the turnstile itself.
//! It hands the changes of its commit over instead, and whoever comes to that place, it or another thread, runs
//! the callbacks for it.

mod callbacks;
mod sight;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

pub use callbacks::{Events, Subscription};
pub(crate) use sight::Sight;

use crate::format::ChangeRecord;
use crate::sync::channel::{Receiver, Sender, bounded};
use crate::sync::{Condvar, Mutex, thread_local};
use callbacks::Callback;

/// Callbacks and watchers of a store.
#[derive(Default)]
pub(crate) struct Delivery {
    turnstile: Arc<Turnstile>,
    watchers: Mutex<Vec<Weak<Waker>>>,
}

impl Delivery {
    /// A commit has got its revision; called in revision order, under the writer lock.
    pub(crate) fn announce(&self, revision: u64) {
        self.turnstile.state.lock().undelivered.insert(revision);
    }

    /// A commit has settled, or failed (then without changes): wakes watchers, runs the callbacks in revision order.
    pub(crate) fn deliver(&self, revision: u64, changes: Vec<ChangeRecord>) {
        self.wake();
        if !self.turnstile.is_wanted(&changes) {
            self.turnstile.leave(revision);
        } else if Round::hand_over(&self.turnstile, revision) {
            let mut state = self.turnstile.state.lock();
            state.handed_over.insert(revision, changes);
            state.wake_next();
        } else {
            let round = Round::begin();
            self.turnstile.pass(revision, &changes);
            round.finish();
        }
    }

    /// Adds a watcher, until its waker is dropped.
    pub(crate) fn register(&self) -> Arc<Waker> {
        let (sender, receiver) = bounded(1);
        let waker = Arc::new(Waker { sender, receiver });
        let mut watchers = self.watchers.lock();
        watchers.retain(|other| other.strong_count() > 0);
        watchers.push(Arc::downgrade(&waker));
        waker
    }

    /// Wakes the watchers, waiting for none.
    pub(crate) fn wake(&self) {
        self.watchers.lock().retain(|watcher| {
            let watcher = watcher.upgrade();
            if let Some(waker) = &watcher {
                // Full means that it has not yet looked since it was woken before: that look will do.
                let _ = waker.sender.try_send(());
            }
            watcher.is_some()
        });
    }
}

/// What a watcher sleeps on.
pub(crate) struct Waker {
    sender: Sender<()>,
    pub(crate) receiver: Receiver<()>,
}

/// Commits that have been ordered and whose callbacks have not yet run; see the [module](self).
#[derive(Default)]
struct Turnstile {
    state: Mutex<Places>,
    callbacks: Mutex<Vec<Arc<Callback>>>,
}

#[derive(Default)]
struct Places {
    /// Only the first may run its callbacks.
    undelivered: BTreeSet<u64>,
    /// Settled ones of threads that cannot wait. Taken out when somebody begins to run them.
    handed_over: BTreeMap<u64, Vec<ChangeRecord>>,
    /// What the threads sleep on that wait for a commit to come first, or to be gone.
    waiting: BTreeMap<u64, Arc<Condvar>>,
}

impl Places {
    /// The commit is gone: wakes whom that concerns, and nobody else. Of many threads that commit together, all but one would be
    /// woken for nothing.
    fn leave(&mut self, revision: u64) {
        self.undelivered.remove(&revision);
        self.wake(revision);
        self.wake_next();
    }

    /// Wakes who can go on with the first commit: its own thread, or any where it was handed over.
    fn wake_next(&self) {
        match self.undelivered.first() {
            Some(first) if self.handed_over.contains_key(first) => {
                self.waiting.values().for_each(|waiting| {
                    waiting.notify_all();
                });
            }
            Some(first) => self.wake(*first),
            None => {}
        }
    }

    fn wake(&self, revision: u64) {
        if let Some(waiting) = self.waiting.get(&revision) {
            waiting.notify_all();
        }
    }
}

impl Turnstile {
    fn add(&self, callback: Arc<Callback>) {
        self.callbacks.lock().push(callback);
    }

    fn remove(&self, callback: &Arc<Callback>) {
        // Dropped after the lock is released: what the callback owns may do anything when it goes.
        let _removed = {
            let mut callbacks = self.callbacks.lock();
            let at = callbacks
                .iter()
                .position(|other| Arc::ptr_eq(other, callback));
            at.map(|at| callbacks.remove(at))
        };
    }

    fn list(&self) -> Vec<Arc<Callback>> {
        self.callbacks.lock().clone()
    }

    /// Whether there is anybody to call. Where there is nobody, nobody need wait.
    ///
    /// Asked under the lock and not of a copy: what a callback owns may write to the store when the last copy of it
    /// goes, and that must not be here, where this commit holds up the turnstile.
    fn is_wanted(&self, changes: &[ChangeRecord]) -> bool {
        let callbacks = self.callbacks.lock();
        !changes.is_empty() && callbacks.iter().any(|one| one.wants_any(changes))
    }

    fn leave(&self, revision: u64) {
        self.state.lock().leave(revision);
    }

    fn run(&self, revision: u64, changes: &[ChangeRecord]) {
        for callback in self.list() {
            // What it owns, where this is the last to hold it, may panic as it goes, and so may what it panicked with. The
            // next commit must not wait for this one for ever.
            let run = AssertUnwindSafe(|| {
                callback.run(revision, changes);
                drop(callback);
            });
            if let Err(payload) = catch_unwind(run) {
                std::mem::forget(payload);
                tracing::error!(revision, "a callback panicked as it was dropped");
            }
        }
        self.leave(revision);
    }

    /// Waits for the turn of this commit, then runs its callbacks.
    fn pass(&self, revision: u64, changes: &[ChangeRecord]) {
        self.wait(revision, |first| first == revision);
        self.run(revision, changes);
    }

    /// Waits until a commit that was handed over has gone through.
    fn wait_gone(&self, revision: u64) {
        self.wait(revision, |_| false);
    }

    /// Waits until the commit has gone through, or the first in the turnstile is one that the caller can take from
    /// there. Runs what was handed over and stands first.
    fn wait(&self, revision: u64, is_own_turn: impl Fn(u64) -> bool) {
        let mut state = self.state.lock();
        while state.undelivered.contains(&revision) {
            let first = state.undelivered.first().copied();
            match first {
                Some(first) if is_own_turn(first) => return,
                Some(first) => match state.handed_over.remove(&first) {
                    Some(changes) => {
                        drop(state);
                        self.run(first, &changes);
                        state = self.state.lock();
                    }
                    None => {
                        let waiting = Arc::clone(state.waiting.entry(revision).or_default());
                        waiting.wait(&mut state);
                        // No other thread waits for the same commit.
                        state.waiting.remove(&revision);
                    }
                },
                None => return,
            }
        }
    }
}

/// Commits that a thread has handed over, of whatever store.
type HandedOver = Vec<(Arc<Turnstile>, u64)>;

thread_local! {
    /// What this thread has handed over in the round of callbacks it is in. Not dropped with the thread, since what is dropped
    /// then may write as well; it has memory only within a round.
    static ROUND: ManuallyDrop<RefCell<Option<HandedOver>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
}

/// From the first callback a thread runs until all that was written inside callbacks is told as well.
struct Round;

impl Round {
    fn begin() -> Round {
        let _ = ROUND.try_with(|round| round.replace(Some(Vec::new())));
        Round
    }

    /// Notes a commit made from inside a callback; answers false where the thread is in none.
    ///
    /// It does not matter of which store the callback is: two threads, each in a callback of one store and writing to
    /// the other, would otherwise wait for each other.
    fn hand_over(turnstile: &Arc<Turnstile>, revision: u64) -> bool {
        let handed_over = ROUND.try_with(|round| match &mut *round.borrow_mut() {
            Some(round) => {
                round.push((turnstile.clone(), revision));
                true
            }
            None => false,
        });
        handed_over.unwrap_or(false)
    }

    /// Waits until all that was handed over in this round has been told, running what is due.
    fn finish(self) {
        loop {
            let handed_over =
                ROUND.try_with(|round| round.borrow_mut().as_mut().map(std::mem::take));
            match handed_over.ok().flatten() {
                Some(list) if !list.is_empty() => list
                    .iter()
                    .for_each(|(turnstile, revision)| turnstile.wait_gone(*revision)),
                _ => return,
            }
        }
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        let _ = ROUND.try_with(|round| round.replace(None));
    }
}
