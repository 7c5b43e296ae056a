//! What the next opening must know where a write or a sync failed.
//!
//! After a sync that failed the system may take for written what is not, and go on to answer it from memory (Rebello et al.,
//! *Can Applications Recover from fsync Failures?*, USENIX ATC 2020). Who opens the store again before the system itself is
//! started again would take that for what the disk holds, find nothing left to sync, and call it durable. So a failure leaves
//! the file `failed`, and an opening that finds it has the system let go of what it has in memory of the files: then it
//! reads what the disk has, as after a power cut. The file need not be durable: a system that was started again has nothing
//! in memory.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use super::layout::{FAILED, KNOWN};
use crate::error::{Error, Result};

/// Tells the next opening.
pub(super) fn note(directory: &Path) {
    if let Err(error) = File::create(directory.join(FAILED)) {
        tracing::error!(%error, "the next opening is not told that a write failed");
    }
}

/// Tells the next opening where the error is of the system.
pub(super) fn note_of(directory: &Path, error: &Error) {
    if matches!(error, Error::Io { .. } | Error::NoSpace { .. }) {
        note(directory);
    }
}

/// Where a failure is told of, has the system forget what it has in memory of the files. Answers whether it was.
pub(super) fn forget_memory(directory: &Path) -> bool {
    let is_told = directory.join(FAILED).exists();
    if is_told {
        tracing::warn!("a write failed before; what the disk has is read");
        // Whatever else lies there is not the store's.
        for name in KNOWN {
            forget(&directory.join(name));
        }
    }
    is_told
}

/// Of a file, or of the files in a directory; those of a store lie no deeper.
fn forget(path: &Path) {
    match fs::read_dir(path) {
        Ok(entries) => entries
            .flatten()
            .for_each(|entry| forget_file(&entry.path())),
        Err(_) => forget_file(path),
    }
}

/// What cannot be opened is not read from memory either: who opens it is told.
fn forget_file(path: &Path) {
    let forget = || {
        // To open a pipe would wait for whoever writes to it.
        if fs::metadata(path)?.is_file() {
            // What is still to be written stays in memory.
            fadvise(File::open(path)?, 0, None, Advice::DontNeed)?;
        }
        Ok::<_, std::io::Error>(())
    };
    match forget() {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(%error, "what is in memory of {} stays there", path.display());
        }
        _ => {}
    }
}

/// The opening has succeeded: from here on there is nothing to be told.
pub(super) fn clear(directory: &Path) -> Result<()> {
    match fs::remove_file(directory.join(FAILED)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(
            format!("removing {FAILED} in {}", directory.display()),
            error,
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{IoSliceMut, Write};

    use rustix::io::{Errno, ReadWriteFlags, preadv2};

    use super::*;

    /// Whether the system has the file in memory, `None` where it does not say.
    fn is_in_memory(file: &File) -> Option<bool> {
        let mut byte = [0];
        match preadv2(
            file,
            &mut [IoSliceMut::new(&mut byte)],
            0,
            ReadWriteFlags::NOWAIT,
        ) {
            Ok(_) => Some(true),
            Err(Errno::AGAIN) => Some(false),
            Err(_) => None,
        }
    }

    #[test]
    fn what_is_in_memory_is_forgotten_once_a_failure_is_told_of() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("packs/file");
        // Where somebody has moved it to another disk.
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), directory.path().join("packs")).unwrap();
        File::create(&path)
            .unwrap()
            .write_all(&[1; 100_000])
            .unwrap();
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        let before = is_in_memory(&file);
        assert!(!forget_memory(directory.path()));
        assert_eq!(is_in_memory(&file), before);
        note(directory.path());
        assert!(forget_memory(directory.path()));
        // A file system in memory has nowhere else to read it from.
        let is_on_disk = rustix::fs::fstatfs(&file).unwrap().f_type != libc::TMPFS_MAGIC;
        if is_on_disk && before == Some(true) {
            // What another processor has just had in its hands stays for a moment.
            let is_forgotten = (0..100).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(10));
                forget_memory(directory.path()) && is_in_memory(&file) == Some(false)
            });
            assert!(is_forgotten);
        }
        assert_eq!(fs::read(&path).unwrap(), [1; 100_000]);
        clear(directory.path()).unwrap();
        clear(directory.path()).unwrap();
        assert!(!forget_memory(directory.path()));
    }
}
