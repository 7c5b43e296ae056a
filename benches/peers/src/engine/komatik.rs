//! Komatik itself.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use komatik::{Events, ListOptions, Since, Store, Subscription, UploadOptions};
use serde_json::Value;

use super::{Durability, Engine, ReadAt};

pub struct Komatik {
    immediate: Store,
    eventual: Store,
    watching: Option<Watching>,
}

impl Komatik {
    pub fn open(directory: &Path) -> Komatik {
        let immediate = Store::open(directory).unwrap();
        Komatik {
            eventual: immediate.with_durability(komatik::Durability::Eventual),
            immediate,
            watching: None,
        }
    }

    /// With a watcher and a callback attached.
    pub fn open_watched(directory: &Path) -> Komatik {
        let mut komatik = Komatik::open(directory);
        komatik.watching = Some(Watching::begin(&komatik.immediate));
        komatik
    }

    fn store(&self, durability: Durability) -> &Store {
        match durability {
            Durability::Immediate => &self.immediate,
            Durability::Eventual => &self.eventual,
        }
    }
}

impl Drop for Komatik {
    fn drop(&mut self) {
        if let Some(watching) = self.watching.take() {
            watching.end();
        }
        self.immediate.close().unwrap();
    }
}

impl Engine for Komatik {
    fn save(&self, key: &str, document: &Value, durability: Durability) {
        self.store(durability).save(key, document).unwrap();
    }

    fn load(&self, key: &str) -> Value {
        self.immediate.load(key).unwrap().unwrap()
    }

    fn merge(&self, key: &str, patch: &Value) {
        self.eventual.merge(key, patch).unwrap();
    }

    fn put(&self, key: &str, bytes: &[u8], durability: Durability) {
        self.store(durability).put(key, bytes).unwrap();
    }

    fn delete(&self, key: &str) {
        self.eventual.delete(key).unwrap();
    }

    fn flush(&self) {
        self.immediate.flush().unwrap();
    }

    fn stream_in(&self, key: &str, source: &mut dyn Read) {
        let options = UploadOptions::new();
        self.immediate.upload(key, source, options).unwrap();
    }

    fn stream_out(&self, key: &str, sink: &mut dyn FnMut(&[u8])) {
        let reader = self.immediate.reader(key).unwrap().unwrap();
        for chunk in reader.chunks() {
            sink(&chunk.unwrap());
        }
    }

    fn read_at<'a>(&'a self, key: &str) -> ReadAt<'a> {
        let reader = self.immediate.reader(key).unwrap().unwrap();
        Box::new(move |offset, buffer| reader.read_exact_at(buffer, offset).unwrap())
    }

    fn list(&self, folder: &str, after: Option<&str>, limit: usize) -> usize {
        let mut options = ListOptions::new().limit(limit);
        if let Some(after) = after {
            options = options.after(after);
        }
        let items = self.immediate.list_with(folder, options).unwrap();
        let mut count = 0;
        for item in items {
            std::hint::black_box(item.unwrap());
            count += 1;
        }
        count
    }
}

/// A callback, and a watcher that reads along on a thread of its own: what do they cost the writer?
struct Watching {
    callback: Subscription,
    told: Arc<AtomicU64>,
    is_done: Arc<AtomicBool>,
    watcher: JoinHandle<u64>,
}

impl Watching {
    fn begin(store: &Store) -> Watching {
        let told = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&told);
        let callback = store.on(Events::ALL, move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let mut watcher = store.watch("", Since::Now).unwrap();
        let is_done = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_done);
        let watcher = std::thread::spawn(move || {
            let mut seen = 0;
            loop {
                let change = watcher.recv_timeout(Duration::from_millis(50)).unwrap();
                seen += u64::from(change.is_some());
                if change.is_none() && ends.load(Ordering::Acquire) {
                    return seen;
                }
            }
        });
        Watching {
            callback,
            told,
            is_done,
            watcher,
        }
    }

    /// Waits until the watcher has seen everything; the callback must have been told as much.
    fn end(self) {
        self.is_done.store(true, Ordering::Release);
        let seen = self.watcher.join().unwrap();
        self.callback.off();
        assert_eq!(seen, self.told.load(Ordering::Relaxed), "changes seen");
    }
}
