//! What a page costs: how often the backend is asked for a row. And what becomes of one when it answers errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::backend::memory::Memory;
use crate::backend::{
    Backend, BackendStats, BlobId, Commit, HistoryRange, Hold, Outcome, Position, StoredChange,
    View, Write,
};
use crate::format::Body;
use crate::metadata::{Attributes, Digest};
use crate::options::History;
use crate::report::{Progress, Report};

/// Counts the rows read and the descents made by scans.
struct Counting {
    memory: Memory,
    steps: Arc<AtomicU64>,
    /// What a scan answers at a step, if not a row.
    fault: fn(u64) -> Option<Error>,
}

struct CountingScan {
    scan: Box<dyn Scan>,
    steps: Arc<AtomicU64>,
    fault: fn(u64) -> Option<Error>,
}

impl Scan for CountingScan {
    fn next(&mut self) -> Result<Option<(Bytes, Row)>> {
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        match (self.fault)(step) {
            Some(error) => Err(error),
            None => self.scan.next(),
        }
    }

    fn is_of_one_moment(&self) -> bool {
        self.scan.is_of_one_moment()
    }

    fn seek(&mut self, key: &[u8]) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.scan.seek(key);
    }

    fn expect(&mut self, rows: usize) {
        self.scan.expect(rows);
    }
}

impl Backend for Counting {
    fn scan(&self, tree: Tree, start: &[u8], end: Option<&[u8]>) -> Result<Box<dyn Scan>> {
        let scan = self.memory.scan(tree, start, end)?;
        Ok(Box::new(CountingScan {
            scan,
            steps: self.steps.clone(),
            fault: self.fault,
        }))
    }

    fn get(&self, view: View, tree: Tree, key: &[u8]) -> Result<Option<Row>> {
        self.memory.get(view, tree, key)
    }
    fn commit(&self, commit: Commit, ordered: &mut dyn FnMut(u64)) -> Result<Outcome> {
        self.memory.commit(commit, ordered)
    }
    fn settle(&self, revision: u64) -> Result<()> {
        self.memory.settle(revision)
    }
    fn changes(&self, after: Position, limit: usize) -> Result<Vec<StoredChange>> {
        self.memory.changes(after, limit)
    }
    fn history(&self) -> HistoryRange {
        self.memory.history()
    }
    fn put_chunks(&self, blob: BlobId, first: u64, bytes: &[u8], chunk_bytes: usize) -> Result<()> {
        self.memory.put_chunks(blob, first, bytes, chunk_bytes)
    }
    fn get_chunk(&self, blob: BlobId, index: u64) -> Result<Bytes> {
        self.memory.get_chunk(blob, index)
    }
    fn get_chunks(&self, blob: BlobId, first: u64, most: usize) -> Result<Vec<Bytes>> {
        self.memory.get_chunks(blob, first, most)
    }
    fn hold(&self, blob: BlobId) -> Result<Option<Box<dyn Hold>>> {
        self.memory.hold(blob)
    }
    fn discard(&self, blob: BlobId) {
        self.memory.discard(blob);
    }
    fn flush(&self) -> Result<()> {
        self.memory.flush()
    }
    fn stats(&self) -> Result<BackendStats> {
        self.memory.stats()
    }
    fn verify(&self, progress: &mut Progress<'_>) -> Result<Report> {
        self.memory.verify(progress)
    }
    fn compact(&self, progress: &mut Progress<'_>) -> Result<()> {
        self.memory.compact(progress)
    }
    fn close(&self) -> Result<()> {
        self.memory.close()
    }
}

fn entry() -> Bytes {
    let record = EntryRecord {
        kind: Kind::Blob,
        created: 0,
        updated: 0,
        size: 0,
        digest: Digest::of(b""),
        content_type: String::new(),
        attributes: Attributes::new(),
        lock: None,
        body: Body::Inline(Bytes::new()),
        subtrees: Vec::new(),
    };
    record.encode()
}

/// A store with 4 folders of so many entries each, and 20 entries beside them.
fn store(below: usize) -> (Store, Arc<AtomicU64>) {
    faulty_store(below, |_| None)
}

fn faulty_store(below: usize, fault: fn(u64) -> Option<Error>) -> (Store, Arc<AtomicU64>) {
    let folders = (0..4).flat_map(|folder| {
        (0..below).map(move |number| format!("top/folder-{folder:02}/entry-{number:05}"))
    });
    let beside = (0..20).map(|number| format!("top/zz-{number:02}"));
    let write = |key: String| Write {
        tree: Tree::Entries,
        key: Bytes::from(key),
        value: Some(entry()),
    };
    let memory = Memory::new(History::default());
    let commit = Commit {
        writes: folders.chain(beside).map(write).collect(),
        ..Commit::default()
    };
    memory.commit(commit, &mut |_| {}).unwrap();
    let steps = Arc::new(AtomicU64::new(0));
    let backend = Arc::new(Counting {
        memory,
        steps: steps.clone(),
        fault,
    });
    (Store::on_backend(backend).unwrap(), steps)
}

/// The cursors of a page, and its cost.
fn page((store, steps): &(Store, Arc<AtomicU64>), options: ListOptions) -> (Vec<String>, u64) {
    steps.store(0, Ordering::Relaxed);
    let items = store.list_with("top", options).unwrap();
    let cursors = items.map(|item| item.unwrap().cursor()).collect();
    (cursors, steps.load(Ordering::Relaxed))
}

/// Whatever is sorted out of them: who goes on behind them finds all there is.
#[cfg(feature = "http")]
#[test]
fn a_listing_may_end_behind_so_many_rows() {
    let (store, _) = store(5);
    store.create_folder("top/folder-02/empty").unwrap();
    store.create_folder("top/folder-03").unwrap();
    let recursive = || ListOptions::new().recursive();
    for options in [
        ListOptions::new(),
        ListOptions::new().contains("3"),
        recursive(),
        recursive().contains("4"),
        recursive().contains("empty"),
        recursive().contains("nowhere"),
    ] {
        let cursors = |listing: &mut Listing| {
            let items = listing.map(|item| item.unwrap().cursor());
            items.collect::<Vec<_>>()
        };
        let mut all = store.list_with("top", options.clone()).unwrap();
        let expected = cursors(&mut all);
        assert_eq!(all.stopped_at(), None);
        let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let options = ListOptions {
                after,
                ..options.clone()
            };
            let mut page = store.list_with("top", options).unwrap().within(3);
            let more = cursors(&mut page);
            assert!(more.len() <= 3, "{more:?}");
            found.extend(more);
            pages += 1;
            after = page.stopped_at().map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{options:?}");
        let rows = if options.recursive { 42 } else { 24 };
        assert_eq!(pages, rows / 3 + 1, "{options:?}");
    }
}

#[test]
fn a_page_costs_its_items_whatever_lies_below_them() {
    let pages = [
        (ListOptions::new(), 24),
        (ListOptions::new().limit(5), 5),
        (ListOptions::new().after("folder-01/").limit(5), 5),
        (ListOptions::new().after("folder-03/").limit(5), 5),
        (ListOptions::new().glob("folder-0*"), 4),
    ];
    let (small, large) = (store(10), store(10_000));
    for (options, count) in pages {
        let (few, cost_of_few) = page(&small, options.clone());
        let (many, cost_of_many) = page(&large, options.clone());
        assert_eq!(few, many);
        assert_eq!(few.len(), count, "{options:?}");
        assert_eq!(cost_of_few, cost_of_many, "{options:?}");
        assert!(cost_of_few <= 2 * count as u64 + 1, "{cost_of_few}");
    }
}

#[test]
fn a_recursive_glob_reads_only_what_begins_like_it() {
    let options = ListOptions::new().recursive().glob("folder-03/**");
    let store = store(100);
    let (found, cost) = page(&store, options);
    assert_eq!(found.len(), 100);
    assert_eq!(cost, 101);
    let prefix = ListOptions::new()
        .recursive()
        .prefix("folder-03/entry-0009");
    let (found, cost) = page(&store, prefix.clone());
    assert_eq!((found.len(), cost), (10, 11));
    let both = prefix.after("folder-03/entry-00095");
    let (found, cost) = page(&store, both.glob("**/*7"));
    assert_eq!((found, cost), (vec!["folder-03/entry-00097".to_owned()], 5));
    let (found, cost) = page(&store, ListOptions::new().recursive().limit(3));
    assert_eq!((found.len(), cost), (3, 3));
}

/// Who passes over the errors of a listing comes to its end.
#[test]
fn a_listing_goes_on_behind_damage_and_ends_with_any_other_error() {
    let names = |fault| {
        let (store, _) = faulty_store(10, fault);
        let listing = store
            .list_with("top", ListOptions::new().recursive())
            .unwrap();
        let (found, errors): (Vec<_>, Vec<_>) = listing.take(1000).partition(Result::is_ok);
        (found.len(), errors.len())
    };
    assert_eq!(names(|_| None), (60, 0));
    let damaged = |step| (step == 5 || step == 9).then(|| Error::damaged("row", "somewhere"));
    assert_eq!(names(damaged), (60, 2));
    let refused = |step| {
        let cause = || std::io::Error::from_raw_os_error(5);
        (step >= 5).then(|| Error::io("reading", cause()))
    };
    assert_eq!(names(refused), (5, 1));
}

#[test]
fn a_folder_before_what_cannot_be_read_is_told() {
    let cursors = |fault| {
        let (store, _) = faulty_store(1, fault);
        store.create_folder("top/a").unwrap();
        let listing = store
            .list_with("top", ListOptions::new().recursive().limit(3))
            .unwrap();
        let told = listing.map(|item| item.map_or_else(|_| "?".to_owned(), |item| item.cursor()));
        told.collect::<Vec<_>>()
    };
    let below = ["folder-00/entry-00000", "folder-01/entry-00000"];
    assert_eq!(cursors(|_| None), ["a/", below[0], below[1]]);
    let damaged = |step| (step == 1).then(|| Error::damaged("row", "somewhere"));
    assert_eq!(cursors(damaged), ["a/", "?", below[0], below[1]]);
    let refused = |step| {
        let cause = || std::io::Error::from_raw_os_error(5);
        (step == 1).then(|| Error::io("reading", cause()))
    };
    assert_eq!(cursors(refused), ["a/", "?"]);
}

#[test]
fn the_end_of_a_prefix_is_behind_all_of_it() {
    assert_eq!(end_of("a/"), Some(b"a0".to_vec()));
    assert_eq!(end_of(""), None);
    assert!(end_of("ä").unwrap() > "ä\u{10ffff}".as_bytes().to_vec());
}
