//! Whether a process was forked off the one that opened a store.
//!
//! It has a copy of the store's memory and the same open files, and of the threads only the one that forked: what it wrote
//! would lie on what the other process writes, and a lock that another thread held then is held for ever.
//!
//! The C library calls a function in each process that is forked off, which counts. Looking at that number costs next to
//! nothing; asking the system which process this is took 136 ns, where a small write is 6 to 10 us.
#![allow(
    unsafe_code,
    reason = "the C library is told of a function to call in no other way"
)]

use crate::error::{Error, Result};
use crate::sync::atomic::Ordering::Relaxed;

/// How many forks lie between the first process that opened a store and this one. Not of `crate::sync`: no schedule forks.
static FORKS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

extern "C" fn count() {
    FORKS.fetch_add(1, Relaxed);
}

/// The answer of the C library, which is told once.
static TOLD: std::sync::LazyLock<i32> = std::sync::LazyLock::new(|| {
    // SAFETY: `count` touches one atomic number, which is allowed in a process just forked off, and is there as long as
    // this code is: the C library forgets it with the library it is part of.
    unsafe { libc::pthread_atfork(None, None, Some(count)) }
});

/// A process, as seen from those that are forked off it.
#[derive(Debug, Clone, Copy)]
pub(in crate::backend::local) struct Process(u64);

impl Process {
    /// The present one.
    ///
    /// # Errors
    /// `Io` where the system has no memory to note the function.
    pub(in crate::backend::local) fn present() -> Result<Process> {
        match *TOLD {
            0 => Ok(Process(FORKS.load(Relaxed))),
            code => Err(Error::io(
                "preparing for forks",
                std::io::Error::from_raw_os_error(code),
            )),
        }
    }

    /// Whether the present process was forked off it.
    pub(in crate::backend::local) fn is_past(self) -> bool {
        FORKS.load(Relaxed) != self.0
    }
}
