//! Plain files: written beside, synced where asked, renamed into place. Neither metadata nor changes nor checksums.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::Value;

use super::{Durability, Engine, ReadAt, merged};

/// Bytes of a call.
const PIECE_BYTES: usize = 1024 * 1024;

pub struct Files {
    root: PathBuf,
    next: AtomicU64,
    merging: Mutex<()>,
    /// Written since the last flush.
    unsynced: Mutex<HashSet<PathBuf>>,
}

impl Files {
    pub fn open(directory: &Path) -> Files {
        fs::create_dir_all(directory.join("new")).unwrap();
        Files {
            root: directory.to_owned(),
            next: AtomicU64::new(0),
            merging: Mutex::default(),
            unsynced: Mutex::default(),
        }
    }

    fn write(&self, key: &str, durability: Durability, fill: impl FnOnce(&mut File)) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let new = self.root.join(format!("new/{number}"));
        let path = self.root.join(key);
        let mut file = File::create(&new).unwrap();
        fill(&mut file);
        if durability == Durability::Immediate {
            file.sync_data().unwrap();
        }
        let folder = path.parent().unwrap();
        if fs::rename(&new, &path).is_err() {
            fs::create_dir_all(folder).unwrap();
            fs::rename(&new, &path).unwrap();
        }
        match durability {
            Durability::Immediate => File::open(folder).unwrap().sync_all().unwrap(),
            Durability::Eventual => drop(self.unsynced.lock().insert(path)),
        }
    }
}

impl Engine for Files {
    fn save(&self, key: &str, document: &Value, durability: Durability) {
        self.put(key, &serde_json::to_vec(document).unwrap(), durability);
    }

    fn load(&self, key: &str) -> Value {
        serde_json::from_slice(&fs::read(self.root.join(key)).unwrap()).unwrap()
    }

    fn merge(&self, key: &str, patch: &Value) {
        let _merging = self.merging.lock();
        let mut value = self.load(key);
        merged(&mut value, patch);
        self.save(key, &value, Durability::Eventual);
    }

    fn put(&self, key: &str, bytes: &[u8], durability: Durability) {
        self.write(key, durability, |file| file.write_all(bytes).unwrap());
    }

    fn delete(&self, key: &str) {
        fs::remove_file(self.root.join(key)).unwrap();
    }

    fn flush(&self) {
        let unsynced = std::mem::take(&mut *self.unsynced.lock());
        let mut folders = HashSet::new();
        for path in unsynced {
            // One that was deleted since needs no sync.
            if let Ok(file) = File::open(&path) {
                file.sync_data().unwrap();
            }
            folders.insert(path.parent().unwrap().to_owned());
        }
        for folder in folders {
            File::open(folder).unwrap().sync_all().unwrap();
        }
    }

    fn stream_in(&self, key: &str, source: &mut dyn Read) {
        self.write(key, Durability::Immediate, |file| {
            let mut buffer = vec![0; PIECE_BYTES];
            loop {
                match source.read(&mut buffer).unwrap() {
                    0 => break,
                    count => file.write_all(&buffer[..count]).unwrap(),
                }
            }
        });
    }

    fn stream_out(&self, key: &str, sink: &mut dyn FnMut(&[u8])) {
        let mut file = File::open(self.root.join(key)).unwrap();
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut buffer).unwrap() {
                0 => break,
                count => sink(&buffer[..count]),
            }
        }
    }

    fn read_at<'a>(&'a self, key: &str) -> ReadAt<'a> {
        let file = File::open(self.root.join(key)).unwrap();
        Box::new(move |offset, buffer| file.read_exact_at(buffer, offset).unwrap())
    }

    /// A folder has no order, so all of it is read and sorted.
    fn list(&self, folder: &str, after: Option<&str>, limit: usize) -> usize {
        let entries = fs::read_dir(self.root.join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names
            .filter(|name| after.is_none_or(|after| name.as_str() > after))
            .collect();
        names.sort_unstable();
        names.truncate(limit);
        for name in &names {
            std::hint::black_box(fs::metadata(self.root.join(folder).join(name)).unwrap());
        }
        names.len()
    }
}
