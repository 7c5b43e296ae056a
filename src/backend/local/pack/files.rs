//! The packs open for reading: the ones used last.

use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, retry_on_intr};

use super::frame::PackName;
use super::{Packs, check_header, no_pack};
use crate::backend::local::health::is_out_of_files;
use crate::error::{Error, Result};
use crate::sync::Mutex;
#[cfg(test)]
use crate::sync::atomic::{AtomicU64, Ordering};

/// Open files by the number of their pack. Who reads one keeps it open, also when it leaves the cache or is removed.
pub(super) struct OpenFiles {
    cache: Mutex<Cache>,
    /// How many more times no file is to be had.
    #[cfg(test)]
    refusals: AtomicU64,
}

struct Cache {
    capacity: usize,
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
            cache: Mutex::new(Cache {
                capacity,
                files: HashMap::new(),
                clock: 0,
            }),
            #[cfg(test)]
            refusals: AtomicU64::default(),
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
        if cache.files.len() >= cache.capacity {
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

    /// Opens a file that is not kept. Where there are no more files, those kept may be what takes them all: they are closed, and
    /// half as many are kept from then on, since others of the process need some as well.
    fn open(&self, path: &Path, name: PackName) -> Result<Option<File>> {
        let open = || {
            let opened = self.try_open(path);
            opened.map_err(|error| Error::io(format!("opening {}", name.location(0)), error))
        };
        match open() {
            Err(error) if is_out_of_files(&error) => {
                let mut cache = self.cache.lock();
                // Of threads that come together only the first finds some.
                if let half @ 1.. = cache.files.len() / 2 {
                    cache.capacity = half;
                }
                cache.files.clear();
                drop(cache);
                open()
            }
            opened => opened,
        }
    }

    fn try_open(&self, path: &Path) -> std::io::Result<Option<File>> {
        #[cfg(test)]
        if self.refusals.load(Ordering::Relaxed) > 0 {
            self.refusals.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::MFILE.into());
        }
        open_file(path)
    }
}

impl Packs {
    /// The file of a pack, open for reading; `None` where it is gone.
    pub(super) fn file(&self, name: PackName) -> Result<Option<Arc<File>>> {
        if let Some(file) = self.files.get(name.number) {
            return Ok(Some(file));
        }
        let path = self.place.path().join(name.file_name());
        let file = match self.files.open(&path, name) {
            Ok(Some(file)) => Arc::new(file),
            Ok(None) => return Err(no_pack(name)),
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if !self.options.without_headers {
            check_header(&file, name)?;
        }
        let is_known = || self.table.lock().packs.contains_key(&name.number);
        self.files.insert(name.number, &file, is_known);
        Ok(Some(file))
    }

    /// No file is to be had the next so many times.
    #[cfg(test)]
    pub(crate) fn refuse_files_for_test(&self, times: u64) {
        self.files.refusals.store(times, Ordering::Relaxed);
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
