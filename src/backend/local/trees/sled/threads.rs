//! Whether sled has the threads it works with.
//!
//! It starts them once, at its first opening in a process, for all that the process does. Of those that the system does not give
//! it, and of those that only another process has, it knows nothing, and waits for them for ever.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;

use crossbeam_channel::bounded;

use crate::backend::local::forked::Process;
use crate::error::{Error, Result};

/// How many it starts.
const THREADS: usize = 7;

/// The process that opened the first store.
static FIRST: OnceLock<Process> = OnceLock::new();
/// Whether sled has written something.
static ARE_THERE: AtomicBool = AtomicBool::new(false);

/// To be called before sled opens anything.
///
/// # Errors
/// `Misuse` in a process that was forked off one in which a store was ever open, also where that was closed. `Io` where the
/// system does not let this process have as many threads as sled is about to start.
pub(super) fn check_threads() -> Result<()> {
    let present = Process::present()?;
    if FIRST.get_or_init(|| present).is_past() {
        return Err(Error::Misuse {
            reason: "a store was open before this process was forked off; open the first one after forking",
        });
    }
    if ARE_THERE.load(Ordering::Acquire) {
        return Ok(());
    }
    start_and_end(THREADS).map_err(|error| {
        let doing = format!(
            "starting the {THREADS} threads sled works with: see how many this process may have"
        );
        Error::io(doing, error)
    })
}

/// sled has written something, and so has started them.
pub(super) fn note_threads() {
    ARE_THERE.store(true, Ordering::Release);
}

/// Fails where so many threads more cannot be there at once.
fn start_and_end(count: usize) -> io::Result<()> {
    let (end, ended) = bounded::<()>(0);
    let started: io::Result<Vec<_>> = (0..count)
        .map(|_| {
            let ended = ended.clone();
            Builder::new().spawn(move || ended.recv())
        })
        .collect();
    drop(end);
    for thread in started? {
        // Nothing is ever sent: each is told that nothing will be.
        drop(thread.join());
    }
    Ok(())
}
