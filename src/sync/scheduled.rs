//! The stand-ins under shuttle. shuttle and its companion for parking_lot bring most of them; here is what they lack.
//!
//! **Time** is a number that every schedule begins at 0. A wait with an end may end at any moment, as on a machine
//! under load, and moves the time to its end when it does. After [`stop_time`] no wait ends by itself any more: what
//! then only the clock would rescue is a deadlock, and shuttle reports it.
//!
//! All orders are sequentially consistent: what a weaker ordering of an atomic would allow is not seen.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::{Add, AddAssign};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};

pub(crate) use shuttle::thread_local;
pub(crate) use shuttle_parking_lot::{
    MappedMutexGuard, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

pub(crate) mod atomic {
    pub(crate) use shuttle::sync::atomic::{
        AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering,
    };
}

pub(crate) mod thread {
    pub(crate) use shuttle::thread::*;
}

pub(crate) mod channel {
    pub(crate) use super::{Receiver, Sender, bounded};
    pub(crate) use crossbeam_channel::RecvTimeoutError;
}

/// One wait in so many ends by the clock, each time it looks.
const PATIENCE: u32 = 4;

// All threads of a schedule run on one of the system's.
std::thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static STANDS: Cell<bool> = const { Cell::new(false) };
}

/// Time begins anew, and passes.
pub(super) fn begin_time() {
    NOW.set(Duration::ZERO);
    STANDS.set(false);
}

/// From here on, in this schedule, no wait ends by the clock.
pub(crate) fn stop_time() {
    STANDS.set(true);
}

/// Whether a wait until then ends now.
fn is_over(until: Instant) -> bool {
    let is_over = thread_rng().gen_ratio(1, PATIENCE);
    if is_over {
        NOW.set(NOW.get().max(until.0));
    }
    is_over
}

/// A moment of the schedule's own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Instant {
        Instant(NOW.get())
    }

    pub(crate) fn elapsed(self) -> Duration {
        NOW.get().saturating_sub(self.0)
    }

    pub(crate) fn saturating_duration_since(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub(crate) fn checked_add(self, time: Duration) -> Option<Instant> {
        self.0.checked_add(time).map(Instant)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, time: Duration) -> Instant {
        Instant(self.0 + time)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, time: Duration) {
        *self = *self + time;
    }
}

/// As parking_lot's.
#[derive(Debug, Default)]
pub(crate) struct Condvar {
    /// Taken by who begins to wait, before it lets go of its guard: nothing told from there on is missed.
    gate: shuttle::sync::Mutex<()>,
    told: shuttle::sync::Condvar,
    calls: AtomicU64,
}

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar::default()
    }

    pub(crate) fn notify_all(&self) {
        let _gate = self.gate.lock().unwrap();
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.told.notify_all();
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let gate = self.gate.lock().unwrap();
        MutexGuard::unlocked(guard, || drop(self.told.wait(gate)));
    }

    pub(crate) fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        until: Instant,
    ) -> WaitTimeoutResult {
        if STANDS.get() {
            self.wait(guard);
            return WaitTimeoutResult(false);
        }
        let calls = self.calls.load(Ordering::Relaxed);
        MutexGuard::unlocked(guard, || {
            loop {
                thread::yield_now();
                if self.calls.load(Ordering::Relaxed) != calls {
                    return WaitTimeoutResult(false);
                }
                if is_over(until) {
                    return WaitTimeoutResult(true);
                }
            }
        })
    }

    pub(crate) fn wait_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        time: Duration,
    ) -> WaitTimeoutResult {
        self.wait_until(guard, Instant::now() + time)
    }
}

/// Whether a wait ended by the clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub(crate) fn timed_out(self) -> bool {
        self.0
    }
}

/// As the standard library's.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    /// Touched before each operation, which makes it one for the scheduler.
    point: atomic::AtomicBool,
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        OnceLock {
            value: std::sync::OnceLock::new(),
            point: atomic::AtomicBool::default(),
        }
    }
}

impl<T> OnceLock<T> {
    pub(crate) fn get(&self) -> Option<&T> {
        self.point.load(Ordering::Acquire);
        self.value.get()
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        self.point.load(Ordering::Acquire);
        self.value.set(value)
    }
}

/// As crossbeam's, between ends that live equally long.
pub(crate) fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel {
        capacity,
        queue: Mutex::new(VecDeque::new()),
        filled: Condvar::default(),
    });
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

struct Channel<T> {
    capacity: usize,
    queue: Mutex<VecDeque<T>>,
    filled: Condvar,
}

pub(crate) struct Sender<T>(Arc<Channel<T>>);

impl<T> Sender<T> {
    pub(crate) fn try_send(&self, value: T) -> Result<(), T> {
        let mut queue = self.0.queue.lock();
        if queue.len() >= self.0.capacity {
            return Err(value);
        }
        queue.push_back(value);
        self.0.filled.notify_all();
        Ok(())
    }
}

pub(crate) struct Receiver<T>(Arc<Channel<T>>);

impl<T> Receiver<T> {
    pub(crate) fn recv(&self) -> Result<T, crossbeam_channel::RecvError> {
        let mut queue = self.0.queue.lock();
        loop {
            if let Some(value) = queue.pop_front() {
                return Ok(value);
            }
            self.0.filled.wait(&mut queue);
        }
    }

    pub(crate) fn recv_deadline(
        &self,
        until: Instant,
    ) -> Result<T, crossbeam_channel::RecvTimeoutError> {
        let mut queue = self.0.queue.lock();
        loop {
            if let Some(value) = queue.pop_front() {
                return Ok(value);
            }
            if self.0.filled.wait_until(&mut queue, until).timed_out() {
                return Err(crossbeam_channel::RecvTimeoutError::Timeout);
            }
        }
    }
}
