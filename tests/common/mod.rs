//! What the tests of the public face share: every kind of store, and bytes that look random.
#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(unreachable_pub, clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicBool, Ordering};

use komatik::{DEFAULT_CHUNK_BYTES, Durability, Store, StoreBuilder};

/// The largest chunks that lie in sled trees.
pub const TREE_CHUNK_BYTES: usize = 4096;

/// A store of some kind. The directory goes with it.
pub struct Case {
    pub name: &'static str,
    pub chunk_bytes: usize,
    pub store: Store,
    directory: Option<tempfile::TempDir>,
}

impl Case {
    fn open(
        name: &'static str,
        chunk_bytes: usize,
        directory: Option<tempfile::TempDir>,
        settings: impl Fn(StoreBuilder) -> StoreBuilder,
    ) -> Case {
        let builder = match &directory {
            None => Store::builder_in_memory(),
            Some(directory) => Store::builder(directory.path().join("store")),
        };
        let builder = builder
            .chunk_bytes(chunk_bytes)
            .durability(Durability::Eventual);
        Case {
            name,
            chunk_bytes,
            store: settings(builder).open().unwrap(),
            directory,
        }
    }

    /// Where the store lies, `None` for one in memory.
    pub fn path(&self) -> Option<std::path::PathBuf> {
        let directory = self.directory.as_ref()?;
        Some(directory.path().join("store"))
    }

    /// Sizes around every boundary there is for a blob: those of what lies inline, with and without waiting for the
    /// disk, and those of a chunk.
    pub fn sizes(&self) -> [usize; 11] {
        let chunk = self.chunk_bytes;
        [
            0,
            1,
            1024,
            1025,
            4095,
            4096,
            4097,
            chunk - 1,
            chunk,
            chunk + 1,
            3 * chunk + 7,
        ]
    }
}

/// A new, empty store of each kind: in memory, with chunks in packs, and with everything in sled trees.
pub fn stores() -> Vec<Case> {
    stores_with(|builder| builder)
}

/// A new, empty store of each kind, with these settings.
pub fn stores_with(settings: impl Fn(StoreBuilder) -> StoreBuilder) -> Vec<Case> {
    let directory = || Some(tempfile::tempdir().unwrap());
    vec![
        Case::open("in memory", DEFAULT_CHUNK_BYTES, None, &settings),
        Case::open("in packs", DEFAULT_CHUNK_BYTES, directory(), &settings),
        Case::open("in trees", TREE_CHUNK_BYTES, directory(), &settings),
    ]
}

/// A new, empty store on disk, with chunks of this size.
pub fn on_disk(chunk_bytes: usize) -> Case {
    let directory = tempfile::tempdir().unwrap();
    Case::open("on disk", chunk_bytes, Some(directory), |builder| builder)
}

/// Tells the other threads of a scope to stop, also where this one panics: the scope would else wait for them for ever.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Numbers that look random and are the same in every run (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..count.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .collect();
        bytes.truncate(count);
        bytes
    }
}
