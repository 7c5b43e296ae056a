//! What durability needs beyond the standard library: the remedy for sled's flush, and synced directories.
//!
//! On Linux sled 0.34.7 flushes with `sync_file_range`, which writes neither the length of the file nor the cache of
//! the device: a power cut afterwards can take the whole database with it, old data included. Where that call
//! answers `ENOSYS`, sled falls back to `fsync` and reports its failure. So this file defines the C symbol: the
//! definition linked into the program wins over the one of the C library, for sled as for everyone else in the process,
//! to whom the call looks like an old kernel's. Elsewhere sled calls `fsync` by itself.
//!
//! The definition may lose, where the crate is part of a library loaded at run time. [`flush_is_durable`] finds out,
//! and a store refuses to promise what it could not keep.
#![allow(
    unsafe_code,
    reason = "a C symbol can be defined, called and errno set in no other way"
)]

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

#[cfg(target_os = "linux")]
mod remedy {
    use std::ffi::{c_int, c_uint};

    /// How often it was called, which proves that sled does.
    #[cfg(test)]
    pub(super) static CALLS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

    /// Stands in for the C library's, and answers what a kernel without the call would.
    // Never inlined, so that the self-test takes the same way through the linker that sled takes.
    #[inline(never)]
    #[unsafe(no_mangle)]
    pub(super) unsafe extern "C" fn sync_file_range(
        _file: c_int,
        _offset: i64,
        _bytes: i64,
        _flags: c_uint,
    ) -> c_int {
        #[cfg(test)]
        CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // SAFETY: the C library answers a valid pointer to this thread's errno, for as long as the thread lives.
        unsafe { *libc::__errno_location() = libc::ENOSYS };
        -1
    }
}

/// Whether a flush of the trees reaches the disk: whether the stand-in above is the one that sled calls.
#[cfg(target_os = "linux")]
pub(crate) fn flush_is_durable() -> bool {
    // The address comes from the linker, as in sled, and not from this file: hence the detour.
    let call: unsafe extern "C" fn(i32, i64, i64, u32) -> i32 =
        std::hint::black_box(libc::sync_file_range);
    // SAFETY: the call takes no pointer, and -1 names no file, so that the C library's own does nothing either.
    let answer = unsafe { call(-1, 0, 0, 0) };
    is_remedy(answer, std::io::Error::last_os_error().raw_os_error())
}

/// Whether a call of `sync_file_range` for no file was answered by the stand-in: the C library's own says `EBADF`.
#[cfg(target_os = "linux")]
fn is_remedy(answer: i32, errno: Option<i32>) -> bool {
    answer == -1 && errno == Some(libc::ENOSYS)
}

/// Whether a flush of the trees reaches the disk: elsewhere sled calls `fsync` by itself.
#[cfg(not(target_os = "linux"))]
pub(crate) fn flush_is_durable() -> bool {
    true
}

#[cfg(test)]
std::thread_local! {
    /// The directories that this thread has synced.
    pub(super) static SYNCED: std::cell::RefCell<Vec<PathBuf>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Makes durable that files were made, renamed or removed in a directory.
pub(crate) fn sync_directory(path: &Path) -> Result<()> {
    #[cfg(test)]
    SYNCED.with_borrow_mut(|synced| synced.push(path.to_owned()));
    std::fs::File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| Error::io(format!("syncing the directory {}", path.display()), error))
}

/// Makes durable that a file or directory was made.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

/// For a directory that only its owner may look into.
pub(crate) const PRIVATE: u32 = 0o700;
/// For a directory like any other.
pub(crate) const ORDINARY: u32 = 0o777;

/// Makes a directory and what is missing above it, each durably; answers what was made, topmost first. On an error it
/// is removed again. `mode` is for the directory itself; what is above it is ordinary.
pub(crate) fn create_directories(path: &Path, mode: u32) -> Result<Vec<PathBuf>> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|directory| !directory.as_os_str().is_empty() && !directory.exists())
        .collect();
    let mut made = Vec::new();
    for directory in missing.into_iter().rev() {
        let mode = if directory == path { mode } else { ORDINARY };
        let created = match DirBuilder::new().mode(mode).create(directory) {
            Ok(()) => {
                made.push(directory.to_owned());
                sync_parent(directory)
            }
            // `new/..` is there once `new` is.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
            Err(error) => {
                let doing = format!("creating the directory {}", directory.display());
                Err(Error::io(doing, error))
            }
        };
        if let Err(error) = created {
            remove_empty(&made);
            return Err(error);
        }
    }
    Ok(made)
}

/// Removes directories made by [`create_directories`], except those that hold something.
pub(crate) fn remove_empty(made: &[PathBuf]) {
    for directory in made.iter().rev() {
        if let Err(error) = std::fs::remove_dir(directory) {
            tracing::debug!(%error, "a directory stays: {}", directory.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_self_test_finds_the_remedy_active() {
        assert!(flush_is_durable());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_self_test_tells_the_remedy_from_the_c_library() {
        assert!(is_remedy(-1, Some(libc::ENOSYS)));
        assert!(!is_remedy(-1, Some(libc::EBADF)));
        // Nothing has failed, and this is of an earlier call.
        assert!(!is_remedy(0, Some(libc::ENOSYS)));
        assert!(!is_remedy(-1, None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn sled_calls_the_remedy_when_it_flushes() {
        use std::sync::atomic::Ordering;

        let directory = tempfile::tempdir().unwrap();
        let db = sled::Config::new()
            .path(directory.path())
            .flush_every_ms(None)
            .open()
            .unwrap();
        // Nothing but sled calls it so often: the self-test in the other test does so once.
        let before = remedy::CALLS.load(Ordering::Relaxed);
        for number in 0..100_u64 {
            db.insert(number.to_be_bytes(), b"value").unwrap();
            db.flush().unwrap();
        }
        assert!(remedy::CALLS.load(Ordering::Relaxed) >= before + 100);
    }

    #[test]
    fn a_directory_that_is_not_there_cannot_be_synced() {
        let directory = tempfile::tempdir().unwrap();
        sync_directory(directory.path()).unwrap();
        let gone = directory.path().join("gone");
        assert!(matches!(sync_directory(&gone), Err(Error::Io { .. })));
    }

    #[test]
    fn directories_are_made_from_the_top_and_only_those_go_again() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("a")).unwrap();
        let made = create_directories(&at("a/b/c"), ORDINARY).unwrap();
        assert_eq!(made, [at("a/b"), at("a/b/c")]);
        assert!(
            create_directories(&at("a/b/c"), ORDINARY)
                .unwrap()
                .is_empty()
        );
        remove_empty(&made);
        assert!(at("a").exists() && !at("a/b").exists());
        std::fs::write(at("a/file"), "").unwrap();
        assert!(create_directories(&at("a/file/b"), ORDINARY).is_err());
        let made = create_directories(&at("a/new/../other"), ORDINARY).unwrap();
        assert!(at("a/new").is_dir() && at("a/other").is_dir());
        std::fs::write(at("a/new/file"), "").unwrap();
        remove_empty(&made);
        assert!(at("a/new/file").exists() && !at("a/other").exists());
    }
}
