//! The engine under load and under faults, seen from inside.

use std::sync::Arc;
use std::time::Instant;

use tempfile::TempDir;

use super::superblock::Superblock;
use super::*;
use crate::backend::Write;
use crate::error::Error;
use crate::report::Finding;
use crate::sync::MutexGuard;

mod damage;
mod endings;
mod faults;
mod former;
#[cfg(target_os = "linux")]
mod full;
mod giving;
mod load;
mod power;
mod scans;
#[cfg(shuttle)]
pub(crate) mod schedules;
mod segments;
mod space;
mod uploads;

#[cfg(feature = "conformance")]
mod conformance {
    use super::*;
    use crate::backend::SharedBackend;
    use crate::backend::conformance::{Harness, run};

    struct OnDisk(TempDir, Options);

    impl Harness for OnDisk {
        fn open(&self, history: History) -> Result<SharedBackend> {
            let options = Options {
                history: Some(history),
                ..self.1.clone()
            };
            Ok(Arc::new(Local::open(self.0.path(), options)?))
        }

        fn is_persistent(&self) -> bool {
            true
        }
    }

    #[test]
    fn on_disk() {
        run(|| Box::new(OnDisk(tempfile::tempdir().unwrap(), Options::default())));
    }
}

impl Local {
    /// Runs `meanwhile` while no sync of the first pack ends, of which something must be left to sync; it may ask how many bytes
    /// were appended.
    pub(crate) fn hold_syncs_of_packs<R>(
        &self,
        meanwhile: impl FnOnce(&dyn Fn() -> u64) -> R,
    ) -> R {
        self.core.packs.hold_syncs_for_test(0, meanwhile)
    }

    pub(crate) fn unsynced_packs(&self) -> Vec<u64> {
        self.core.packs.unsynced()
    }
}

/// Bytes that this thread has read from files so far; a search that reads too much is told by them, and not by the clock.
pub(crate) fn bytes_read() -> u64 {
    counted("rchar: ")
}

/// How often it has.
pub(crate) fn reads() -> u64 {
    counted("syscr: ")
}

fn counted(what: &str) -> u64 {
    let counts = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let count = counts.lines().find_map(|line| line.strip_prefix(what));
    count.unwrap().parse().unwrap()
}

/// Nothing is done by the clock, as far as options can say so.
pub(crate) fn slow() -> Options {
    Options {
        eventual_interval: Duration::from_secs(3600),
        ..Options::default()
    }
}

fn open(directory: &TempDir) -> Local {
    Local::open(directory.path(), Options::default()).unwrap()
}

fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Write {
    Write {
        tree: Tree::Entries,
        key: Bytes::copy_from_slice(key.as_ref()),
        value: Some(Bytes::copy_from_slice(value.as_ref())),
    }
}

fn delete(key: impl AsRef<[u8]>) -> Write {
    Write {
        value: None,
        ..put(key, [])
    }
}

fn rows(durability: Durability, writes: Vec<Write>) -> Commit {
    Commit {
        durability,
        writes,
        ..Commit::default()
    }
}

/// Commits and waits; the revision.
fn commit(local: &Local, commit: Commit) -> Result<u64> {
    match local.commit(commit, &mut |_| ())? {
        Outcome::Ordered(revision) => local.settle(revision).map(|()| revision),
        Outcome::Refused(_) => panic!("refused"),
    }
}

fn write(local: &Local, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<u64> {
    commit(local, rows(Durability::Immediate, vec![put(key, value)]))
}

fn read(local: &Local, key: impl AsRef<[u8]>) -> Option<Bytes> {
    let row = local.get(View::Settled, Tree::Entries, key.as_ref());
    row.unwrap().map(|row| row.value)
}

pub(crate) fn blob(number: u64) -> BlobId {
    let mut id = [9; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    BlobId(id)
}

/// A blob of this many chunks of 16 KiB, owned by the row of its number.
fn put_blob(local: &Local, number: u64, chunks: usize, durability: Durability) -> Result<u64> {
    let bytes = vec![number.to_be_bytes()[7]; chunks * CHUNK_BYTES];
    local.put_chunks(blob(number), 0, &bytes, CHUNK_BYTES)?;
    let adopting = Commit {
        adopts: vec![blob(number)],
        ..rows(durability, vec![put(number.to_be_bytes(), b"blob")])
    };
    commit(local, adopting)
}

/// A blob of this many rows, owned by the row of its number.
fn put_rows(local: &Local, number: u64, rows_of_it: usize) {
    let bytes = vec![number.to_be_bytes()[7]; rows_of_it * ROW_CHUNK_BYTES];
    (local.put_chunks(blob(number), 0, &bytes, ROW_CHUNK_BYTES)).unwrap();
    let adopting = Commit {
        adopts: vec![blob(number)],
        ..rows(
            Durability::Immediate,
            vec![put(number.to_be_bytes(), b"blob")],
        )
    };
    commit(local, adopting).unwrap();
}

fn release(local: &Local, number: u64) {
    let releasing = Commit {
        releases: vec![blob(number)],
        ..rows(Durability::Eventual, vec![delete(number.to_be_bytes())])
    };
    commit(local, releasing).unwrap();
}

pub(crate) const CHUNK_BYTES: usize = 16 * 1024;
/// Small enough to lie in a row.
const ROW_CHUNK_BYTES: usize = 512;
const MIB: u64 = 1024 * 1024;

fn compact(local: &Local) -> Result<()> {
    local.compact(&mut Progress::new(&mut |_| {
        std::ops::ControlFlow::Continue(())
    }))
}

fn verified(local: &Local) -> Report {
    let mut go_on = |_| std::ops::ControlFlow::Continue(());
    local.verify(&mut Progress::new(&mut go_on)).unwrap()
}

fn findings(local: &Local) -> Vec<Finding> {
    let report = verified(local);
    assert_eq!(report.unchecked, []);
    report.findings
}

pub(crate) fn assert_sound(local: &Local) {
    assert_eq!(findings(local), []);
}

/// As long as it is kept, there is no checkpoint: the thread in the background makes one a second behind the first commit, which on a
/// busy machine is before a test is where it wants to be.
fn hold_checkpoints(local: &Local) -> MutexGuard<'_, Superblock> {
    local.core.superblock.lock()
}

pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The store as a kill would leave it now.
fn copy(from: &Path) -> TempDir {
    fn copy_into(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => copy_into(&entry.path(), &target),
                false => drop(std::fs::copy(entry.path(), target).unwrap()),
            }
        }
    }
    let directory = tempfile::tempdir().unwrap();
    copy_into(from, directory.path());
    directory
}

/// The only file in a directory of the store.
fn only_file(store: &TempDir, directory: &str) -> std::path::PathBuf {
    let files = std::fs::read_dir(store.path().join(directory)).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    files.remove(0)
}
