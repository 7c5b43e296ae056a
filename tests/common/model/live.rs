//! The store that a machine runs on, while it is open.

use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};

use komatik::{
    BlobReader, Change, Durability, History, Listing, PasswordCost, Since, Store, Watcher,
};

use super::compare::check_metadata;
use super::listing::{Item, check_items};
use super::operation::{Caller, PASSWORDS, SCOPE};
use super::state::{Attribution, Entry};
use super::stream::Stream;

/// The most that is held open at once, of readers and listings, and of writers.
pub const MAX_HELD: usize = 3;

/// The store that the operations run on.
#[derive(Debug, Clone)]
pub struct Setting {
    /// `None` for a store in memory.
    pub directory: Option<PathBuf>,
    pub chunk_bytes: usize,
    pub durability: Durability,
    pub history: History,
    pub overlay_bytes: usize,
    /// How the process is killed instead of just dropping the store. `None` where that is not to be had.
    pub crash: Option<Crash>,
}

/// Leaves the directory as a kill at this moment does. Calls the function once, which drops the store, at any time.
pub type Crash = fn(&Path, &mut dyn FnMut());

impl Setting {
    pub fn open(&self) -> Store {
        let builder = match &self.directory {
            None => Store::builder_in_memory(),
            Some(directory) => Store::builder(directory),
        };
        builder
            .chunk_bytes(self.chunk_bytes)
            .durability(self.durability)
            .history(self.history)
            .overlay_bytes(self.overlay_bytes)
            .eventual_interval(std::time::Duration::from_millis(20))
            .cache_bytes(8 * 1024 * 1024)
            .password_cost(PasswordCost::new(8, 1))
            .open()
            .unwrap()
    }
}

/// What is open and sees one moment.
pub enum Held {
    Reader(Box<HeldReader>),
    Listing(Box<Listing>, Caller, Vec<Item>),
}

pub struct HeldReader {
    pub reader: BlobReader,
    pub caller: Caller,
    pub key: String,
    /// The entry as it was.
    pub entry: Entry,
}

/// All that keeps a store open.
pub struct Live {
    pub held: VecDeque<Held>,
    pub streams: VecDeque<Stream>,
    /// Read after every operation.
    pub watcher: Watcher,
    /// Read now and then.
    pub slow: Watcher,
    /// How many of the changes it has told.
    pub slow_told: usize,
    /// One for each set of passwords, since a view that is new tries its passwords anew.
    pub views: Vec<Store>,
}

impl Live {
    pub fn open(setting: &Setting, history: &[Change], slow_position: u64) -> Live {
        let store = setting.open();
        let views = (0..4_u8).map(|bits| {
            let offered = PASSWORDS
                .iter()
                .enumerate()
                .filter(|(bit, _)| bits & (1 << bit) != 0);
            offered.fold(store.clone(), |view, (_, password)| {
                view.unlocked_with(password)
            })
        });
        Live {
            held: VecDeque::new(),
            streams: VecDeque::new(),
            watcher: store.watch("", Since::Now).unwrap(),
            slow: store.watch("", Since::After(slow_position)).unwrap(),
            slow_told: history.partition_point(|change| change.revision <= slow_position),
            views: views.collect(),
        }
    }

    pub fn store(&self) -> &Store {
        &self.views[0]
    }

    pub fn view(&self, caller: Caller) -> Store {
        let mut view = self.views[usize::from(caller.passwords)].clone();
        if let Some(name) = caller.participant() {
            view = view.acting_as(name);
        }
        if caller.is_scoped {
            view = view.scoped(SCOPE).unwrap();
        }
        view
    }
}

impl Held {
    /// Reads it to its end.
    pub fn check(self) {
        match self {
            Held::Reader(held) => {
                let HeldReader {
                    mut reader,
                    caller,
                    key,
                    entry,
                } = *held;
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).unwrap();
                assert!(
                    bytes == entry.content.shown(),
                    "a reader sees what it was opened on"
                );
                check_metadata(reader.metadata(), &key, &entry, caller, Attribution::Told);
            }
            Held::Listing(listing, caller, expected) => {
                let found: Vec<_> = listing.map(Result::unwrap).collect();
                check_items(&found, &expected, caller);
            }
        }
    }
}
