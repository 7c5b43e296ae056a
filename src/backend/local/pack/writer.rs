//! Writing to one pack from many threads, and making what they wrote durable together.

use std::fs::File;
use std::io::{ErrorKind, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, pwritev};

use super::frame::PackName;
use crate::error::{Error, Result};
use crate::sync::Mutex;
#[cfg(test)]
use crate::sync::atomic::AtomicBool;
use crate::sync::atomic::{AtomicU64, Ordering};

/// An append of so many bytes is one of a stream.
const WRITE_OUT_BYTES: u64 = 512 * 1024;
/// The most parts that the system takes in one write.
const MAX_PARTS: usize = 1024;

/// A pack that has, or may have, bytes that are not durable yet.
///
/// Its counters only grow, and `synced <= finished <= begun`: bytes of appends, failed ones included.
pub(super) struct Writer {
    file: File,
    path: PathBuf,
    begun: AtomicU64,
    finished: AtomicU64,
    synced: AtomicU64,
    state: Mutex<State>,
    #[cfg(test)]
    pub(super) test: TestHooks,
}

struct State {
    /// The directory that names the file, until that is durable. Opened before anything is written: where no more files can be
    /// opened, nothing has failed yet.
    directory: Option<File>,
    /// A sync that failed may have lost what it was to write, and the next one would not tell.
    failed: Option<(ErrorKind, String)>,
}

#[cfg(test)]
#[derive(Default)]
pub(super) struct TestHooks {
    pub(super) syncs: AtomicU64,
    pub(super) fail_next_sync: AtomicBool,
}

impl Writer {
    /// Makes the file of a new pack.
    pub(super) fn create(directory: &Path, name: PackName) -> Result<Writer> {
        let path = directory.join(name.file_name());
        let failed = |error| Error::io(format!("creating {}", path.display()), error);
        let directory = File::open(directory).map_err(failed)?;
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(failed)?;
        if let Err(error) = file.write_all_at(&name.file_header(), 0) {
            let _ = std::fs::remove_file(&path);
            return Err(failed(error));
        }
        Ok(Writer::new(file, path, 0, Some(directory)))
    }

    /// Opens a pack of which an earlier process may have left bytes that are not durable.
    pub(super) fn of_earlier(directory: &Path, name: PackName) -> Result<Writer> {
        let path = directory.join(name.file_name());
        let failed = |error| Error::io(format!("opening {}", path.display()), error);
        let directory = File::open(directory).map_err(failed)?;
        let file = File::options().write(true).open(&path).map_err(failed)?;
        Ok(Writer::new(file, path, 1, Some(directory)))
    }

    pub(super) fn new(file: File, path: PathBuf, finished: u64, directory: Option<File>) -> Writer {
        Writer {
            file,
            path,
            begun: AtomicU64::new(finished),
            finished: AtomicU64::new(finished),
            synced: AtomicU64::new(0),
            state: Mutex::new(State {
                directory,
                failed: None,
            }),
            #[cfg(test)]
            test: TestHooks::default(),
        }
    }

    /// Announces an append. Each is followed by its [`Writer::write`].
    pub(super) fn begin(&self, bytes: u64) {
        self.begun.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Writes the parts of an append one behind the other.
    pub(super) fn write(&self, offset: u64, parts: &mut [IoSlice<'_>], bytes: u64) -> Result<()> {
        let result = write_all_at(&self.file, offset, parts);
        if result.is_ok() && bytes >= WRITE_OUT_BYTES {
            self.write_out(offset, bytes);
        }
        self.finished.fetch_add(bytes, Ordering::AcqRel);
        result.map_err(|error| Error::io(format!("writing {}", self.path.display()), error))
    }

    /// Has the system begin to write what was just appended, while the next bytes of a stream are still on their way: the
    /// sync then waits for the last of them only. What is not clean yet stays in memory.
    fn write_out(&self, offset: u64, bytes: u64) {
        // Advice: where it is not taken, the sync does all.
        let _ = fadvise(&self.file, offset, NonZeroU64::new(bytes), Advice::DontNeed);
    }

    /// Whether appends are under way.
    pub(super) fn is_busy(&self) -> bool {
        self.begun.load(Ordering::Acquire) != self.finished.load(Ordering::Acquire)
    }

    /// Whether nothing is left to sync, nor will be unless an append begins.
    pub(super) fn is_settled(&self) -> bool {
        self.begun.load(Ordering::Acquire) == self.synced.load(Ordering::Acquire)
    }

    /// Whether something is there to sync.
    pub(super) fn is_unsynced(&self) -> bool {
        self.synced.load(Ordering::Acquire) < self.finished.load(Ordering::Acquire)
    }

    /// Makes every append that is finished durable. Threads that come together share one sync.
    pub(super) fn sync(&self) -> Result<()> {
        let wanted = self.finished.load(Ordering::Acquire);
        let mut state = self.state.lock();
        if let Some((kind, text)) = &state.failed {
            return Err(self.sync_error(std::io::Error::new(*kind, text.clone())));
        }
        // Another thread's sync may have covered it while this one waited for the lock.
        if self.synced.load(Ordering::Acquire) >= wanted {
            return Ok(());
        }
        let covered = self.finished.load(Ordering::Acquire);
        if let Err(error) = self.sync_file(&mut state) {
            state.failed = Some((error.kind(), error.to_string()));
            return Err(self.sync_error(error));
        }
        self.synced.store(covered, Ordering::Release);
        Ok(())
    }

    fn sync_file(&self, state: &mut State) -> std::io::Result<()> {
        #[cfg(test)]
        {
            self.test.syncs.fetch_add(1, Ordering::Relaxed);
            if self.test.fail_next_sync.swap(false, Ordering::Relaxed) {
                return Err(std::io::Error::other("injected fault"));
            }
        }
        self.file.sync_data()?;
        if let Some(directory) = &state.directory {
            directory.sync_all()?;
            state.directory = None;
        }
        Ok(())
    }

    /// Holds off every sync, as one that takes long does.
    #[cfg(test)]
    pub(super) fn hold_for_test(&self) -> impl Drop + '_ {
        self.state.lock()
    }

    #[cfg(test)]
    pub(super) fn finished_for_test(&self) -> u64 {
        self.finished.load(Ordering::Acquire)
    }

    fn sync_error(&self, error: std::io::Error) -> Error {
        Error::io(format!("syncing {}", self.path.display()), error)
    }
}

fn write_all_at(
    file: &File,
    mut offset: u64,
    mut parts: &mut [IoSlice<'_>],
) -> std::io::Result<()> {
    while !parts.is_empty() {
        let batch = &parts[..parts.len().min(MAX_PARTS)];
        match pwritev(file, batch, offset) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut parts, written);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
