//! What is measured: each engine behind the calls an application makes.
//!
//! A peer does its work twice. `Work::Same` is what Komatik does: value, metadata and a change record in one atomic
//! commit, with a checksum that is compared on each read. `Work::Raw` is the value alone, so that nobody can say that
//! the peers were slowed.

mod cacache;
mod files;
mod fjall;
mod komatik;
mod kv;
mod lmdb;
mod raw;
mod redb;
mod same_work;
mod sled;
mod sqlite;

use std::io::Read;
use std::path::Path;

use serde_json::Value;

/// Bytes of a page or block cache, the same for every engine that has one: the default of Komatik.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of a piece of a stream in an engine that cannot stream a value.
const CHUNK_BYTES: usize = 64 * 1024;

/// How much an engine does for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Value, metadata, change record and checksum.
    Same,
    /// The value.
    Raw,
}

impl Work {
    pub fn name(self) -> &'static str {
        match self {
            Work::Same => "same work",
            Work::Raw => "raw",
        }
    }
}

/// Whether a write waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    Immediate,
    /// It does not, and a killed process loses nothing all the same; but with redb and sled, which have nothing between the two.
    Eventual,
}

/// Reads bytes at an offset into a buffer.
pub type ReadAt<'a> = Box<dyn FnMut(u64, &mut [u8]) + 'a>;

/// What an application asks of a store. A failure ends the measurement, so nothing answers an error.
pub trait Engine: Send + Sync {
    fn save(&self, key: &str, document: &Value, durability: Durability);
    fn load(&self, key: &str) -> Value;
    /// Merges members, in one step that no other merge can come between. Never waits for the disk.
    fn merge(&self, key: &str, patch: &Value);
    fn put(&self, key: &str, bytes: &[u8], durability: Durability);
    fn delete(&self, key: &str);
    /// Waits until everything written is durable.
    fn flush(&self);
    /// Stores all that `source` gives, durable at the end.
    fn stream_in(&self, key: &str, source: &mut dyn Read);
    /// Tells all bytes of a value, in pieces.
    fn stream_out(&self, key: &str, sink: &mut dyn FnMut(&[u8]));
    /// What reads a value that was streamed in at any offset. Made once, then used for many reads.
    fn read_at<'a>(&'a self, key: &str) -> ReadAt<'a>;
    /// How many keys with their metadata a page has: those below `folder`, behind `after`, at most `limit`.
    fn list(&self, folder: &str, after: Option<&str>, limit: usize) -> usize;
}

/// An engine and the work it does, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub name: &'static str,
    pub work: Work,
    /// Whether a write can wait for the disk.
    pub is_durable: bool,
}

const fn kind(name: &'static str, work: Work, is_durable: bool) -> Kind {
    Kind {
        name,
        work,
        is_durable,
    }
}

pub const KOMATIK: &str = "komatik";
/// Komatik with a watcher and a callback attached.
pub const WATCHED: &str = "komatik, watched";
pub const FILES: &str = "files";

/// All of them, Komatik first.
pub const KINDS: [Kind; 14] = [
    kind(KOMATIK, Work::Same, true),
    kind(WATCHED, Work::Same, true),
    kind("sled", Work::Same, true),
    kind("redb", Work::Same, true),
    kind("fjall", Work::Same, true),
    kind("sqlite", Work::Same, true),
    kind("lmdb", Work::Same, true),
    // Its index holds metadata and a checksum; it keeps no changes and never waits for the disk.
    kind("cacache", Work::Raw, false),
    kind(FILES, Work::Raw, true),
    kind("sled", Work::Raw, true),
    kind("redb", Work::Raw, true),
    kind("fjall", Work::Raw, true),
    kind("sqlite", Work::Raw, true),
    kind("lmdb", Work::Raw, true),
];

impl Kind {
    pub fn find(name: &str, work: Work) -> Option<Kind> {
        KINDS
            .into_iter()
            .find(|kind| kind.name == name && kind.work == work)
    }

    /// Opens what is in the directory, or makes it.
    pub fn open(self, directory: &Path) -> Box<dyn Engine> {
        let kv: Box<dyn kv::Kv> = match self.name {
            KOMATIK => return Box::new(komatik::Komatik::open(directory)),
            WATCHED => return Box::new(komatik::Komatik::open_watched(directory)),
            FILES => return Box::new(files::Files::open(directory)),
            "cacache" => return Box::new(cacache::Cacache::open(directory)),
            "sled" => Box::new(sled::Sled::open(directory)),
            "redb" => Box::new(redb::Redb::open(directory)),
            "fjall" => Box::new(fjall::Fjall::open(directory)),
            "sqlite" => Box::new(sqlite::Sqlite::open(directory)),
            "lmdb" => Box::new(lmdb::Lmdb::open(directory)),
            other => panic!("there is no engine {other}"),
        };
        match self.work {
            Work::Same => Box::new(same_work::SameWork::new(kv)),
            Work::Raw => Box::new(raw::Raw::new(kv)),
        }
    }
}

/// What a merge makes of objects; both works of a peer share it.
fn merged(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (name, value) in patch {
                merged(target.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}
