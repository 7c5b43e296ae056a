//! The packs open for reading: the ones used last.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, retry_on_intr};

use crate::sync::Mutex;

/// Open files by the number of their pack. Who reads one keeps it open, also when it leaves the cache or is removed.
pub(super) struct OpenFiles {
    capacity: usize,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    files: HashMap<u64, Entry>,
    clock: u64,
}

struct Entry {
    file: Arc<File>,
    last_used: u64,
}

impl OpenFiles {
    pub(super) fn new(capacity: usize) -> OpenFiles {
        OpenFiles {
            capacity,
            cache: Mutex::new(Cache::default()),
        }
    }

    pub(super) fn get(&self, pack: u64) -> Option<Arc<File>> {
        let mut cache = self.cache.lock();
        cache.clock += 1;
        let now = cache.clock;
        let entry = cache.files.get_mut(&pack)?;
        entry.last_used = now;
        Some(Arc::clone(&entry.file))
    }

    /// Keeps a file, unless `is_wanted` says no. It is asked in one step with keeping the file, so that one whose
    /// pack is forgotten first and removed from here afterwards cannot stay behind.
    pub(super) fn insert(&self, pack: u64, file: &Arc<File>, is_wanted: impl FnOnce() -> bool) {
        let mut cache = self.cache.lock();
        if !is_wanted() {
            return;
        }
        if cache.files.len() >= self.capacity {
            let oldest = cache.files.iter().min_by_key(|(_, entry)| entry.last_used);
            if let Some(oldest) = oldest.map(|(pack, _)| *pack) {
                cache.files.remove(&oldest);
            }
        }
        cache.clock += 1;
        let entry = Entry {
            file: Arc::clone(file),
            last_used: cache.clock,
        };
        cache.files.insert(pack, entry);
    }

    pub(super) fn remove(&self, pack: u64) {
        self.cache.lock().files.remove(&pack);
    }
}

/// Opens a pack for reading, also by a link to another disk; `None` where something else is in its place: opening a pipe would wait
/// for whoever writes to it.
pub(super) fn open_file(path: &Path) -> std::io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match retry_on_intr(|| open(path, flags, Mode::empty())) {
        Ok(file) => {
            let file = File::from(file);
            Ok(file.metadata()?.is_file().then_some(file))
        }
        // A link to itself; a socket.
        Err(Errno::LOOP | Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_not_used_for_longest_is_closed() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let files = OpenFiles::new(2);
        files.insert(1, &file, || true);
        files.insert(2, &file, || true);
        files.insert(9, &file, || false);
        assert!(files.get(1).is_some());
        files.insert(3, &file, || true);
        assert!(files.get(2).is_none() && files.get(9).is_none());
        assert!(files.get(1).is_some() && files.get(3).is_some());
        files.remove(1);
        assert!(files.get(1).is_none());
    }
}
