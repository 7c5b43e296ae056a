//! Locks, atomics, threads and clocks: the only place of the library that names where they come from.
//!
//! They are those of parking_lot, crossbeam and the standard library, re-exported as they are. In the unit tests of a
//! build with `--cfg shuttle` they are stand-ins of the same names whose every operation is a point at which shuttle
//! may let another thread go on (`scheduled`). There a test is run again and again, each time under another order of
//! all those points, and an order that fails can be run again (`explore`).
//!
//! Not so in `cli`, `backend::conformance` and `trees::sled`, which have threads of the system's around them; and a
//! test that is not a schedule cannot run in that build.

#[cfg(test)]
#[cfg(shuttle)]
mod explore;
#[cfg(test)]
#[cfg(shuttle)]
mod scheduled;

#[cfg(test)]
#[cfg(shuttle)]
pub(crate) use {explore::explore, scheduled::*};

#[cfg(not(all(test, shuttle)))]
mod real {
    pub(crate) use std::sync::OnceLock;
    pub(crate) use std::time::Instant;
    pub(crate) use std::{thread, thread_local};

    pub(crate) use parking_lot::{
        Condvar, MappedMutexGuard, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
    };

    pub(crate) mod atomic {
        pub(crate) use std::sync::atomic::{
            AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering,
        };
    }

    pub(crate) mod channel {
        pub(crate) use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
    }
}

#[cfg(not(all(test, shuttle)))]
pub(crate) use real::*;
