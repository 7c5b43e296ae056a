//! One store, one process: the lock on a directory, and who holds it.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::Path;
use std::time::SystemTime;

use humantime::format_rfc3339_seconds;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::layout::LOCK;
use crate::error::{Error, Result};
use crate::format::{from_micros, to_micros};

/// What is read of another process's text, which may be anything.
const MAX_HOLDER_BYTES: u64 = 200;

/// An exclusive lock on a store's directory, held until dropped. The system releases it with the process, however that ends.
///
/// The file stays, and is never removed: two processes could then lock two files of the same name.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: File,
    /// Whether our name is in it.
    is_signed: bool,
}

impl LockFile {
    /// Locks `directory`, which must exist.
    ///
    /// # Errors
    /// `InUse` naming the holder, where it can be told, when another process or another handle of this one has it.
    pub(crate) fn acquire(directory: &Path) -> Result<LockFile> {
        let path = directory.join(LOCK);
        let failed = |error| Error::io(format!("locking {}", path.display()), error);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        let mut lock = LockFile::lock(directory, file)?;
        lock.is_signed = true;
        // Without room there is no name. On a full disk what helps is to delete something, and so to open the store.
        match lock.write_holder().map_err(failed) {
            Err(error @ Error::NoSpace { .. }) => {
                tracing::debug!(%error, "nobody is told who has the store")
            }
            written => written?,
        }
        Ok(lock)
    }

    /// Locks `directory` without writing anything, nor our name. `None` where no store was ever open there, so that
    /// there is no file to lock.
    ///
    /// # Errors
    /// As [`LockFile::acquire`].
    pub(crate) fn acquire_to_read(directory: &Path) -> Result<Option<LockFile>> {
        let path = directory.join(LOCK);
        match File::open(&path) {
            Ok(file) => LockFile::lock(directory, file).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!("locking {}", path.display()), error)),
        }
    }

    fn lock(directory: &Path, file: File) -> Result<LockFile> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(LockFile {
                file,
                is_signed: false,
            }),
            Err(Errno::WOULDBLOCK) => Err(Error::InUse {
                path: directory.to_owned(),
                by: read_holder(file),
            }),
            Err(error) => Err(Error::io(
                format!("locking {}", directory.join(LOCK).display()),
                error.into(),
            )),
        }
    }

    fn write_holder(&self) -> std::io::Result<()> {
        let process = std::process::id();
        // A clock that is far off is no time that can be written.
        let now = from_micros(to_micros(SystemTime::now()));
        let since = format_rfc3339_seconds(now);
        self.file.set_len(0)?;
        (&self.file).rewind()?;
        write!(&self.file, "process {process} since {since}")
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // So that nobody who comes between the next holder's lock and its text is told of us.
        if self.is_signed {
            let _ = self.file.set_len(0);
        }
        // Closing would not do while a process that this one is just starting still has a copy of the file.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn read_holder(file: File) -> Option<String> {
    let mut bytes = Vec::new();
    file.take(MAX_HOLDER_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text: String = text.chars().filter(|char| !char.is_control()).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_with_the_holders_name_until_the_first_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let lock = LockFile::acquire(directory.path()).unwrap();
        match LockFile::acquire(directory.path()) {
            Err(Error::InUse { path, by }) => {
                let by = by.unwrap();
                assert_eq!(path, directory.path());
                assert!(
                    by.starts_with(&format!("process {} since 2", std::process::id())),
                    "{by}"
                );
                assert!(by.ends_with('Z'), "{by}");
            }
            other => panic!("{other:?}"),
        }
        drop(lock);
        drop(LockFile::acquire(directory.path()).unwrap());
        LockFile::acquire(directory.path()).unwrap();
    }

    #[test]
    fn a_holder_without_a_readable_name_is_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let _lock = LockFile::acquire(directory.path()).unwrap();
        let path = directory.path().join(LOCK);
        for (text, expected) in [
            (&b"\0\n "[..], None),
            (b"\x1b[31mred\xff", Some("[31mred\u{fffd}")),
        ] {
            std::fs::write(&path, text).unwrap();
            match LockFile::acquire(directory.path()) {
                Err(Error::InUse { by, .. }) => assert_eq!(by.as_deref(), expected),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_copy_of_the_file_in_a_process_being_started_does_not_keep_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let lock = LockFile::acquire(directory.path()).unwrap();
        let copy = lock.file.try_clone().unwrap();
        drop(lock);
        LockFile::acquire(directory.path()).unwrap();
        drop(copy);
    }

    #[test]
    fn a_lock_to_read_keeps_others_out_and_writes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let acquire_to_read = || LockFile::acquire_to_read(directory.path());
        assert!(acquire_to_read().unwrap().is_none());
        let path = directory.path().join(LOCK);
        assert!(!path.exists());
        let lock = LockFile::acquire(directory.path()).unwrap();
        assert!(matches!(acquire_to_read(), Err(Error::InUse { .. })));
        drop(lock);
        std::fs::write(&path, "left by a crash").unwrap();
        let lock = acquire_to_read().unwrap().unwrap();
        let refused = LockFile::acquire(directory.path());
        assert!(matches!(refused, Err(Error::InUse { .. })));
        drop(lock);
        assert_eq!(std::fs::read(&path).unwrap(), b"left by a crash");
        drop(LockFile::acquire(directory.path()).unwrap());
    }

    #[test]
    fn a_directory_that_is_not_there_cannot_be_locked() {
        let directory = tempfile::tempdir().unwrap();
        let refused = LockFile::acquire(&directory.path().join("gone"));
        assert!(matches!(refused, Err(Error::Io { .. })));
    }
}
