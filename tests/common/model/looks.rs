//! What a machine compares that takes more than one call.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use komatik::{Error, History, Since, Step};

use super::compare::{check_metadata, check_refusal};
use super::live::{Held, HeldReader, MAX_HELD};
use super::machine::Machine;
use super::operation::{Bytes, Caller, Key, Operation};
use super::state::{Attribution, Content, whole_key};

/// What a chunk takes in a pack besides its bytes, at most.
const CHUNK_OVERHEAD_BYTES: u64 = 64;

impl Machine {
    pub fn drain(&mut self) {
        let live = self.live.as_mut().unwrap();
        loop {
            match live.slow.try_recv() {
                Ok(Some(change)) => {
                    assert_eq!(change, self.history[live.slow_told]);
                    live.slow_told += 1;
                }
                Ok(None) => break,
                Err(Error::Compacted { oldest }) => {
                    assert_eq!(oldest, live.store().history().oldest);
                    assert!(self.setting.history != History::unlimited());
                    assert!(live.slow.revision() + 1 < oldest);
                    live.slow = live.store().watch("", Since::Now).unwrap();
                    live.slow_told = self.history.len();
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(live.slow_told, self.history.len(), "all of it is told");
    }

    pub fn read_at(&mut self, caller: Caller, key: Key, offset: Bytes, length: Bytes) {
        let chunk = self.setting.chunk_bytes;
        let (offset, length) = (offset.make(chunk).len(), length.make(chunk).len());
        let expected = whole_key(caller, key).and_then(|key| self.state.readable(caller, &key));
        let found = self.view(caller).reader(key);
        let Some(reader) = check_refusal(&expected, found, caller) else {
            return;
        };
        let content = expected.unwrap().map(|entry| entry.content.shown());
        assert_eq!(reader.is_some(), content.is_some());
        if let (Some(reader), Some(content)) = (reader, content) {
            let mut buffer = vec![0; length];
            let count = reader
                .read_at(&mut buffer, u64::try_from(offset).unwrap())
                .unwrap();
            let rest = content.get(offset..).unwrap_or_default();
            assert_eq!(count, rest.len().min(length));
            assert!(buffer[..count] == rest[..count]);
        }
    }

    pub fn hold(&mut self, operation: &Operation) {
        let held = match operation {
            Operation::HoldReader(caller, key) => {
                let expected =
                    whole_key(*caller, key).and_then(|key| self.state.readable(*caller, &key));
                let found = self.view(*caller).reader(key);
                match (check_refusal(&expected, found, *caller).flatten(), expected) {
                    (Some(reader), Ok(Some(entry))) => Held::Reader(Box::new(HeldReader {
                        reader,
                        caller: *caller,
                        key: caller.whole(key),
                        entry: entry.clone(),
                    })),
                    (None, Ok(None) | Err(_)) => return,
                    (found, expected) => panic!("answered {found:?}, expected {expected:?}"),
                }
            }
            Operation::HoldListing(caller, call) => {
                let expected = self.state.list(*caller, call);
                let found = self.view(*caller).list_with(call.folder, call.options());
                Held::Listing(Box::new(found.unwrap()), *caller, expected)
            }
            _ => {
                if let Some(held) = self.live().held.pop_front() {
                    held.check();
                }
                return;
            }
        };
        let all = &mut self.live().held;
        all.push_back(held);
        if all.len() > MAX_HELD {
            all.pop_front().into_iter().for_each(Held::check);
        }
    }

    pub fn verify(&self) {
        let live = self.live.as_ref().unwrap();
        let report = live.store().verify(go_on).unwrap();
        assert!(report.is_sound(), "{:?}", report.findings);
        let contents = || self.state.entries.values().map(|entry| &entry.content);
        assert_eq!(report.entries, u64::try_from(contents().count()).unwrap());
        let folders = u64::try_from(self.state.folders.len()).unwrap();
        let stats = live.store().stats().unwrap();
        assert_eq!(stats.entries, report.entries + folders);
        let sizes = self.state.entries.keys().map(|key| {
            let found = live.views[3].metadata(key).unwrap().unwrap();
            check_metadata(
                &found,
                key,
                &self.state.entries[key],
                Caller::default(),
                Attribution::Told,
            );
            found.size
        });
        let sizes: Vec<u64> = sizes.collect();
        assert_eq!(report.bytes, sizes.iter().sum::<u64>());
        if let Some(directory) = &self.setting.directory {
            check_directory(directory, self.setting.chunk_bytes);
        }
    }

    /// Nothing is kept for entries that are gone, unless somebody still reads them, who then can.
    pub fn compact(&self) {
        let live = self.live.as_ref().unwrap();
        live.store().compact(go_on).unwrap();
        for held in &live.held {
            if let Held::Reader(held) = held {
                let mut bytes = vec![0; usize::try_from(held.reader.len()).unwrap()];
                held.reader.read_exact_at(&mut bytes, 0).unwrap();
                assert!(
                    bytes == held.entry.content.shown(),
                    "a reader of {}",
                    held.key
                );
            }
        }
        if !live.held.is_empty() || !live.streams.is_empty() {
            return;
        }
        // Content from here on may lie in chunks: a blob that nobody waits for.
        let contents = self.state.entries.values().map(|entry| &entry.content);
        let sizes = contents
            .map(Content::stored_bytes_at_most)
            .filter(|size| *size > 1024);
        let (mut owned, mut chunks) = (0, 0);
        for size in sizes {
            owned += size;
            chunks += size / u64::try_from(self.setting.chunk_bytes).unwrap() + 2;
        }
        let stats = live.store().stats().unwrap();
        let kept = stats.chunk_bytes;
        assert!(
            kept <= owned,
            "{kept} bytes of chunks, at most {owned} are owned"
        );
        let used = stats.pack_bytes - stats.dead_bytes;
        let usable = owned + CHUNK_OVERHEAD_BYTES * chunks;
        assert!(
            used <= usable,
            "{used} bytes of packs are in use, at most {usable} are owned"
        );
    }
}

fn go_on(_: Step) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// No packs where chunks are small, and never a file of sled's own for a large value.
fn check_directory(directory: &Path, chunk_bytes: usize) {
    let is_empty =
        |path: PathBuf| std::fs::read_dir(path).map_or(true, |mut files| files.next().is_none());
    assert!(is_empty(directory.join("trees").join("blobs")));
    assert!(chunk_bytes > 4096 || is_empty(directory.join("packs")));
}
