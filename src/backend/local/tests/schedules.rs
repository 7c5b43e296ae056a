//! What the threads of the engine do to each other, under many schedules. How to run them: `src/sync/explore.rs`.
//!
//! The trees are maps, since the scheduler does not see the threads of sled; journal and packs are files.

use super::*;
use crate::backend::local::trees::memory::MemoryTrees;
use crate::sync::{explore, stop_time, thread};

mod compare_and_swap;
mod group_commit;
mod room;
mod space;

/// Opens the store in `directory` on trees that are gone with it: whatever it held comes back from the journal.
pub(crate) fn open_on_maps(directory: &Path, options: Options) -> Result<Local> {
    Local::open_on(directory, options, &|_, _, _| {
        Ok(Arc::new(MemoryTrees::new()))
    })
}

/// A directory for a store, in memory where the system has a place for that, and enough room in it.
pub(crate) fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let found = rustix::fs::statvfs(memory);
    let has_room = found.is_ok_and(|found| found.f_bavail * found.f_frsize >= 2048 * MIB);
    let in_memory = has_room.then(|| tempfile::tempdir_in(memory).ok());
    in_memory
        .flatten()
        .unwrap_or_else(|| tempfile::tempdir().unwrap())
}

/// A new store, and the directory it needs as long as it lives.
fn fresh(options: Options) -> (Local, TempDir) {
    let directory = directory();
    (open_on_maps(directory.path(), options).unwrap(), directory)
}

/// Closes the store: nobody works on its files any more.
fn close(local: &Local) {
    local.close().unwrap();
    let users = Arc::strong_count(&local.core);
    assert_eq!(users, 1, "a thread of the store goes on");
}

/// As [`commit`], for what may be refused.
fn ordered(local: &Local, commit: Commit) -> Result<Option<u64>> {
    match local.commit(commit, &mut |_| ())? {
        Outcome::Ordered(revision) => Ok(Some(revision)),
        Outcome::Refused(_) => Ok(None),
    }
}
