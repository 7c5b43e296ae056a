//! Group commit: who waits for the disk, and when a commit may be seen.
//!
//! A commit settles when it is as durable as it asked to be and all before it have settled. Threads that wait for the
//! disk elect a leader; it syncs once for all of them, and those that come meanwhile share the next sync.

use std::any::Any;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::health::Health;
use super::journal::Journal;
use super::pack::Packs;
use crate::error::{Error, Result};
#[cfg(test)]
use crate::sync::atomic::AtomicBool;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Settling {
    state: Mutex<State>,
    changed: Condvar,
    /// A commit came that does not wait for the disk.
    behind: Condvar,
    settled: AtomicU64,
    synced: AtomicU64,
    #[cfg(test)]
    pub(super) test: TestHooks,
}

/// What tests see and do of syncs.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct TestHooks {
    pub(super) syncs: AtomicU64,
    /// How often the thread that brings writes to the disk looked whether there are some.
    pub(super) looks: AtomicU64,
    pub(super) fail_next: AtomicBool,
    pub(super) panic_next: AtomicBool,
    /// Holds off every sync, as one that takes long does.
    pub(super) hold: Mutex<()>,
}

#[cfg(test)]
impl TestHooks {
    fn sync(&self) -> Result<()> {
        let _held = self.hold.lock();
        self.syncs.fetch_add(1, Ordering::Relaxed);
        assert!(!self.panic_next.swap(false, Ordering::Relaxed));
        if self.fail_next.swap(false, Ordering::Relaxed) {
            let error = std::io::Error::other("injected fault");
            return Err(crate::error::Error::io("syncing", error));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct State {
    /// The last ordered commit.
    ordered: u64,
    /// Commits that wait for the disk, in order.
    waiting: VecDeque<u64>,
    /// Packs with chunks of ordered commits that are not synced: no commit may count as durable before them.
    packs: BTreeSet<u64>,
    syncing: bool,
}

/// What makes commits durable.
pub(super) struct Disk<'a> {
    pub(super) journal: &'a Journal,
    pub(super) packs: &'a Packs,
    pub(super) health: &'a Health,
}

impl Settling {
    /// Everything up to `revision` is durable.
    pub(super) fn new(revision: u64) -> Settling {
        Settling {
            state: Mutex::new(State {
                ordered: revision,
                waiting: VecDeque::new(),
                packs: BTreeSet::new(),
                syncing: false,
            }),
            changed: Condvar::new(),
            behind: Condvar::new(),
            settled: AtomicU64::new(revision),
            synced: AtomicU64::new(revision),
            #[cfg(test)]
            test: TestHooks::default(),
        }
    }

    /// The last settled commit.
    pub(super) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    /// The last commit known to be on the disk.
    pub(super) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Whether there are commits that a power cut would undo.
    pub(super) fn is_behind(&self) -> bool {
        self.state.lock().ordered > self.synced()
    }

    /// Waits until there are commits that a power cut would undo, not longer than the store can be written to.
    pub(super) fn await_behind(&self, health: &Health) {
        let mut state = self.state.lock();
        while state.ordered <= self.synced() && health.check_writable().is_ok() {
            self.behind.wait(&mut state);
        }
    }

    /// Wakes who waits for that; the store is closed.
    pub(super) fn wake(&self) {
        // Nobody is between looking and waiting then.
        drop(self.state.lock());
        self.behind.notify_all();
    }

    /// A commit was appended to the journal; called in order, under the writer lock. `packs` hold chunks it adopted
    /// that are not synced yet.
    pub(super) fn order(&self, revision: u64, waits_for_disk: bool, packs: &BTreeSet<u64>) {
        let mut state = self.state.lock();
        state.ordered = revision;
        state.packs.extend(packs);
        if waits_for_disk {
            state.waiting.push_back(revision);
        } else {
            self.behind.notify_all();
        }
        self.advance(&state);
    }

    /// Waits until the commit has settled, syncing where nobody else does.
    pub(super) fn settle(&self, revision: u64, disk: &Disk<'_>) -> Result<()> {
        if self.settled() >= revision {
            return Ok(());
        }
        self.lead_or_follow(disk, |this, state| {
            this.settled() >= revision.min(state.ordered)
        })
    }

    /// Makes everything ordered before the call durable.
    pub(super) fn sync(&self, disk: &Disk<'_>) -> Result<()> {
        let target = self.state.lock().ordered;
        self.lead_or_follow(disk, |this, _| this.synced() >= target)
    }

    fn lead_or_follow(
        &self,
        disk: &Disk<'_>,
        is_done: impl Fn(&Settling, &State) -> bool,
    ) -> Result<()> {
        let mut state = self.state.lock();
        loop {
            if is_done(self, &state) {
                return Ok(());
            }
            disk.health.check_unpoisoned()?;
            if state.syncing {
                self.changed.wait(&mut state);
                continue;
            }
            state.syncing = true;
            let target = state.ordered;
            let packs: Vec<u64> = std::mem::take(&mut state.packs).into_iter().collect();
            let synced = MutexGuard::unlocked(&mut state, || self.sync_for_all(disk, &packs));
            state.syncing = false;
            match synced {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    self.changed.notify_all();
                    return Err(error);
                }
                Err(panic) => {
                    self.changed.notify_all();
                    resume_unwind(panic)
                }
            }
            self.synced.store(target, Ordering::Release);
            while state.waiting.front().is_some_and(|first| *first <= target) {
                state.waiting.pop_front();
            }
            self.advance(&state);
            self.changed.notify_all();
        }
    }

    /// To poison writes to the disk that has failed, and so is not done under the lock either. A panic, as one of the program's log,
    /// is answered: it must not leave those waiting who follow.
    fn sync_for_all(
        &self,
        disk: &Disk<'_>,
        packs: &[u64],
    ) -> Result<Result<()>, Box<dyn Any + Send>> {
        let sync = || {
            #[cfg(test)]
            self.test.sync()?;
            disk.packs.sync(packs).and_then(|()| disk.journal.sync())
        };
        let sync = || sync().map_err(|error| disk.health.poison(error));
        catch_unwind(AssertUnwindSafe(sync)).inspect_err(|_| {
            // Nobody knows what was synced. It is poisoned before the log is told.
            let unknown = Error::io("syncing", io::Error::other("a thread panicked"));
            let poison = || disk.health.poison(unknown);
            drop(catch_unwind(AssertUnwindSafe(poison)));
        })
    }

    fn advance(&self, state: &State) {
        let settled = state
            .waiting
            .front()
            .map_or(state.ordered, |waiting| waiting - 1);
        self.settled.store(settled, Ordering::Release);
    }
}
