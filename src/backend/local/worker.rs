//! The threads of a store: one makes checkpoints and gives space back, and, once somebody writes without waiting for
//! the disk, another one brings those writes there in time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Core;
use super::health::is_out_of_files;
use crate::error::{Error, Result};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Condvar, Instant, Mutex};

/// After the first write the thread waits this long for more, so that one round serves them all.
const GATHER: Duration = Duration::from_millis(200);
/// A checkpoint is made this long after the first write it has to cover, where nothing asks for it before.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// After a round that found too little room the next one begins by itself this much later: nobody tells of room that others made.
const ROOM_PAUSE: Duration = Duration::from_secs(3);
/// Writes that do not wait for the disk are brought there not more often than this.
const MIN_SYNC_PAUSE: Duration = Duration::from_millis(1);

/// Wakes the thread that makes checkpoints. It sleeps while nothing happens.
#[derive(Default)]
pub(super) struct Bell {
    /// So that ringing a bell that rings already costs next to nothing.
    rings: AtomicBool,
    rung: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Rung {
    #[default]
    No,
    Soon,
    Now,
}

impl Bell {
    /// There is something to do before long.
    pub(super) fn ring(&self) {
        if !self.rings.swap(true, Ordering::AcqRel) {
            let mut rung = self.rung.lock();
            if *rung == Rung::No {
                *rung = Rung::Soon;
                self.changed.notify_all();
            }
        }
    }

    /// There is something to do at once.
    pub(super) fn ring_now(&self) {
        let mut rung = self.rung.lock();
        if *rung != Rung::Now {
            *rung = Rung::Now;
            self.changed.notify_all();
        }
    }

    /// Waits until there is something to do, which `at_last` there is in any case; answers whether it is urgent.
    fn wait(&self, at_last: Option<Instant>) -> bool {
        let mut rung = self.rung.lock();
        while *rung == Rung::No {
            match at_last {
                None => self.changed.wait(&mut rung),
                Some(end) if self.changed.wait_until(&mut rung, end).timed_out() => {
                    *rung = Rung::Now;
                }
                Some(_) => {}
            }
        }
        let until = Instant::now() + GATHER;
        while *rung == Rung::Soon && !self.changed.wait_until(&mut rung, until).timed_out() {}
        let is_urgent = *rung == Rung::Now;
        *rung = Rung::No;
        self.rings.store(false, Ordering::Release);
        is_urgent
    }
}

/// How long to wait between two syncs, so that writes that do not wait for the disk are there within the interval. Half of it: a
/// write may just miss one sync, and the sync takes time itself.
fn sync_pause(interval: Duration) -> Duration {
    (interval / 2).max(MIN_SYNC_PAUSE)
}

/// The threads; they end when the store closes.
#[derive(Default)]
pub(super) struct Workers {
    threads: Mutex<Vec<JoinHandle<()>>>,
    is_syncing: AtomicBool,
}

impl Workers {
    /// Starts the thread that every store has.
    pub(super) fn start(core: &Arc<Core>) -> Result<Workers> {
        let workers = Workers::default();
        let mut waiting_since = None;
        let mut try_again = None;
        workers.spawn("komatik-checkpoint", Arc::downgrade(core), move |core| {
            let is_urgent = core.bell.wait(try_again);
            let since = *waiting_since.get_or_insert_with(Instant::now);
            let is_due = is_urgent || since.elapsed() >= CHECKPOINT_INTERVAL;
            if is_due {
                waiting_since = None;
            } else {
                // Somebody has written: come back for the checkpoint.
                core.bell.ring();
            }
            let has_room = core.tend(is_due, try_again.is_some());
            try_again = (!has_room).then(|| Instant::now() + ROOM_PAUSE);
        })?;
        Ok(workers)
    }

    /// Starts the thread that brings writes to the disk which do not wait for it, where it does not run yet.
    pub(super) fn start_syncing(&self, core: &Arc<Core>) -> Result<()> {
        if self.is_syncing.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let pause = sync_pause(core.options.eventual_interval);
        self.spawn("komatik-sync", Arc::downgrade(core), move |core| {
            #[cfg(test)]
            core.settling.test.looks.fetch_add(1, Ordering::Relaxed);
            core.settling.await_behind(&core.health);
            core.pause(pause);
            if core.settling.is_behind()
                && let Err(error) = core.sync()
            {
                tracing::error!(%error, "bringing writes to the disk");
            }
        })
        // The next writer tries again.
        .inspect_err(|_| self.is_syncing.store(false, Ordering::Release))
    }

    fn spawn(
        &self,
        name: &str,
        core: Weak<Core>,
        mut round: impl FnMut(&Core) + Send + 'static,
    ) -> Result<()> {
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while let Some(core) = core.upgrade() {
                    if core.health.check_writable().is_err() {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| round(&core))).is_err() {
                        let cause = std::io::Error::other("a thread of the store panicked");
                        core.health
                            .poison(Error::io("working in the background", cause));
                        core.tell_of_room();
                    }
                }
            })
            .map_err(|error| Error::io("starting a thread", error))?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// Waits for none of them, in a process that they are not in.
    pub(super) fn forget(&self) {
        std::mem::forget(std::mem::take(&mut *self.threads.lock()));
    }

    /// Waits for the threads to end.
    pub(super) fn join(&self) {
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

impl Core {
    /// A round of care. Errors have poisoned the store where they matter; a writer will be told. Answers false where there was too
    /// little room, which is logged once and not each time it is tried `again`.
    fn tend(&self, checkpoint_is_due: bool, again: bool) -> bool {
        if self.health.check_open().is_err() {
            return true;
        }
        let tended = if checkpoint_is_due {
            self.checkpoint()
        } else {
            Ok(())
        }
        .and_then(|()| self.give_back(None));
        let has_room = match tended {
            Err(Error::NoSpace { .. }) => false,
            Err(ref error) if is_out_of_files(error) => false,
            // Another thread is at it, and tells nobody how that ends.
            Ok(false) => !again,
            _ => true,
        };
        if let Err(error) = &tended
            && (has_room || !again)
            && !matches!(error, Error::Misuse { .. })
        {
            tracing::error!(%error, "checkpoint");
        }
        if tended.unwrap_or(true) {
            self.tell_of_round();
        } else {
            self.tell_of_room();
        }
        has_room
    }

    /// What could be given back was, for who waits for that.
    pub(super) fn tell_of_round(&self) {
        self.rounds.fetch_add(1, Ordering::AcqRel);
        self.tell_of_room();
    }

    /// Waits, not longer than the store is open.
    fn pause(&self, time: Duration) {
        let mut waiting = self.room.0.lock();
        let until = Instant::now().checked_add(time);
        while self.health.check_writable().is_ok() {
            match until {
                None => self.room.1.wait(&mut waiting),
                Some(until) if self.room.1.wait_until(&mut waiting, until).timed_out() => return,
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_just_misses_a_sync_is_in_time_for_the_next() {
        for interval in [2, 10, 100, 60_000].map(Duration::from_millis) {
            let pause = sync_pause(interval);
            assert!(!pause.is_zero() && 2 * pause <= interval, "{interval:?}");
        }
        assert_eq!(sync_pause(Duration::ZERO), MIN_SYNC_PAUSE);
    }
}
