//! Whether the store may still be written to, or used at all.

use std::path::Path;

use rustix::io::Errno;

use super::failure;
use super::forked::Process;
use super::place::Place;
use crate::error::{Error, Result};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Instant, OnceLock};

/// Sticky: once poisoned or closed, for ever.
#[derive(Debug)]
pub(super) struct Health {
    place: Place,
    process: Process,
    cause: OnceLock<String>,
    /// Since the store begins to end: up to when that may take.
    ends_at: OnceLock<Instant>,
    closed: AtomicBool,
    opened: AtomicBool,
    /// Whether the trees were found not to hold what they should.
    distrusted: AtomicBool,
}

impl Health {
    /// Of the store in `directory`, which `process` opens.
    pub(super) fn of(directory: &Path, process: Process) -> Health {
        Health {
            place: Place::of(directory.to_owned()),
            process,
            cause: OnceLock::default(),
            ends_at: OnceLock::default(),
            closed: AtomicBool::new(false),
            opened: AtomicBool::new(false),
            distrusted: AtomicBool::new(false),
        }
    }

    /// Fails where nothing may be done any more.
    pub(super) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        if self.is_forked() {
            return Err(Error::Misuse {
                reason: "the store was opened before this process was forked off, and is the other process's; open stores \
                         after forking",
            });
        }
        Ok(())
    }

    /// Fails where work is to stop that can go on after the next opening.
    pub(super) fn check_time(&self) -> Result<()> {
        self.check_open()?;
        match self.ends_at.get() {
            Some(end) if Instant::now() >= *end => Err(closed()),
            _ => Ok(()),
        }
    }

    /// Whether this process was forked off the one that opened the store.
    pub(super) fn is_forked(&self) -> bool {
        self.process.is_past()
    }

    /// Fails where nothing may be written any more.
    pub(super) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        self.check_unpoisoned()
    }

    /// Fails where a write has failed.
    pub(super) fn check_unpoisoned(&self) -> Result<()> {
        match self.cause.get() {
            None => Ok(()),
            Some(cause) => Err(Error::Poisoned {
                cause: cause.clone(),
            }),
        }
    }

    /// The opening is over.
    pub(super) fn has_opened(&self) {
        self.opened.store(true, Ordering::Release);
    }

    /// Refuses writes from now on; answers the error for the caller to hand on. The first cause stays. `Io` and `NoSpace` are kept
    /// for writes of which it is known that they did not happen, and for openings, in which nobody writes.
    pub(super) fn poison(&self, error: Error) -> Error {
        let mut cause = match &error {
            Error::Poisoned { cause } => cause.clone(),
            error => error.to_string(),
        };
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            cause = format!("{cause}: {inner}");
            source = inner.source();
        }
        if self.cause.set(cause.clone()).is_ok() {
            if self.place.check().is_ok() {
                failure::note(self.place.path());
            }
            tracing::error!(%cause, "a write failed; the store refuses writes until it is opened again");
        }
        match error {
            Error::Io { .. } | Error::NoSpace { .. } if self.opened.load(Ordering::Acquire) => {
                Error::Poisoned { cause }
            }
            error => error,
        }
    }

    /// Tells the next opening of an error of the system, which nothing follows that could be refused.
    pub(super) fn note_failure(&self, error: &Error) {
        if self.place.check().is_ok() {
            failure::note_of(self.place.path(), error);
        }
    }

    /// Whether writes are refused because one failed.
    pub(super) fn is_poisoned(&self) -> bool {
        self.cause.get().is_some()
    }

    /// Has the next opening count all rows, as after a crash.
    pub(super) fn distrust_trees(&self) {
        self.distrusted.store(true, Ordering::Release);
    }

    /// Whether nothing was found wrong with the trees.
    pub(super) fn trusts_trees(&self) -> bool {
        !self.distrusted.load(Ordering::Acquire)
    }

    /// The store is to end, and may work until then.
    ///
    /// # Errors
    /// `Misuse` where another thread ends it, or has.
    pub(super) fn begin_to_end(&self, end: Instant) -> Result<()> {
        self.ends_at.set(end).map_err(|_| closed())
    }

    #[cfg(test)]
    pub(super) fn begins_to_end(&self) -> bool {
        self.ends_at.get().is_some()
    }

    /// Refuses everything from now on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

fn closed() -> Error {
    Error::Misuse {
        reason: "the store is closed",
    }
}

/// Whether the process, or the system, has as many files open as it may.
pub(super) fn is_out_of_files(error: &Error) -> bool {
    matches!(errno_of(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Whether there were no files, no memory or no room left for it, which says nothing of what it was about.
pub(super) fn is_out_of_resources(error: &Error) -> bool {
    matches!(error, Error::NoSpace { .. })
        || is_out_of_files(error)
        || errno_of(error) == Some(Errno::NOMEM)
}

/// What was read; `None` where it could not be.
///
/// # Errors
/// Where that says nothing of what there is to read.
pub(super) fn readable<T>(doing: &str, read: std::io::Result<T>) -> Result<Option<T>> {
    match read.map_err(|error| Error::io(doing, error)) {
        Ok(read) => Ok(Some(read)),
        Err(error) if is_out_of_resources(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

fn errno_of(error: &Error) -> Option<Errno> {
    match error {
        Error::Io { source, .. } => Errno::from_io_error(source),
        _ => None,
    }
}
