use std::ops::ControlFlow;
use std::time::Duration;

use super::*;

fn commit(changes: &[&'static str]) -> Commit {
    Commit {
        changes: changes.iter().copied().map(Bytes::from).collect(),
        ..Commit::default()
    }
}

fn make(memory: &Memory, commit: Commit) -> u64 {
    match memory.commit(commit, &mut |_| {}).unwrap() {
        Outcome::Ordered(revision) => revision,
        Outcome::Refused(index) => panic!("requirement {index} was refused"),
    }
}

fn range(memory: &Memory) -> (u64, u64) {
    let range = memory.history();
    (range.oldest, range.newest)
}

/// The revision of each change behind a place.
fn told(memory: &Memory, after: Position) -> Result<Vec<u64>> {
    let changes = memory.changes(after, usize::MAX)?;
    Ok(changes.iter().map(|it| it.position.revision).collect())
}

#[test]
fn revisions_count_from_one() {
    let memory = Memory::new(History::default());
    assert_eq!(range(&memory), (1, 0));
    assert_eq!(make(&memory, Commit::default()), 1);
    assert_eq!(make(&memory, commit(&["a"])), 2);
    assert_eq!(range(&memory), (1, 2));
}

#[test]
fn the_history_keeps_so_many_revisions() {
    let memory = Memory::new(History::unlimited().revisions(3));
    for _ in 0..5 {
        make(&memory, commit(&["a", "b"]));
    }
    assert_eq!(range(&memory), (3, 5));
    assert_eq!(
        told(&memory, Position::after(2)).unwrap(),
        [3, 3, 4, 4, 5, 5]
    );
    // Commits that tell nothing count as revisions.
    make(&memory, Commit::default());
    assert_eq!(range(&memory), (4, 6));
}

#[test]
fn the_history_keeps_so_many_bytes() {
    // Each change of 4 bytes costs 20.
    let memory = Memory::new(History::of_bytes(60));
    for _ in 0..3 {
        make(&memory, commit(&["four"]));
    }
    assert_eq!(range(&memory), (1, 3));
    make(&memory, commit(&["+"]));
    assert_eq!(range(&memory), (2, 4));
    make(&memory, commit(&["four", "four", "four", "four"]));
    assert_eq!(range(&memory), (5, 5), "the newest is kept");
    assert_eq!(told(&memory, Position::after(4)).unwrap(), [5, 5, 5, 5]);
}

#[test]
fn the_history_keeps_so_long() {
    let memory = Memory::new(History::unlimited().age(Duration::from_millis(30)));
    make(&memory, commit(&["a"]));
    make(&memory, commit(&["b"]));
    std::thread::sleep(Duration::from_millis(40));
    assert_eq!(range(&memory), (2, 2), "the newest is kept");
    let memory = Memory::new(History::unlimited().age(Duration::from_secs(3600)));
    make(&memory, commit(&["a"]));
    assert_eq!(range(&memory), (1, 1));
}

#[test]
fn a_place_before_the_history_is_compacted() {
    let memory = Memory::new(History::unlimited().revisions(1));
    let inside = |revision, index| Position { revision, index };
    make(&memory, commit(&["a", "b"]));
    assert_eq!(told(&memory, inside(0, 0)).unwrap(), [1, 1]);
    make(&memory, commit(&["c", "d"]));
    for place in [inside(0, 0), Position::after(0), inside(1, 0), inside(1, 1)] {
        let found = told(&memory, place);
        assert!(
            matches!(found, Err(Error::Compacted { oldest: 2 })),
            "{place:?}: {found:?}"
        );
    }
    assert_eq!(told(&memory, Position::after(1)).unwrap(), [2, 2]);
    assert_eq!(told(&memory, inside(2, 0)).unwrap(), [2]);
    assert!(told(&memory, Position::after(u64::MAX)).unwrap().is_empty());
}

#[test]
fn a_flipped_bit_is_damage() {
    let memory = Memory::new(History::default());
    let blob = BlobId([7; 16]);
    memory.put_chunks(blob, 0, b"first second", 6).unwrap();
    let adoption = Commit {
        adopts: vec![blob],
        ..Commit::default()
    };
    make(&memory, adoption);
    assert_eq!(memory.get_chunk(blob, 1).unwrap(), "second");
    let damaged = Bytes::from("sfcond");
    memory.state.lock().blobs.chunk_mut(blob, 1).unwrap().bytes = damaged;
    let found = memory.get_chunk(blob, 1);
    assert!(matches!(found, Err(Error::Damaged { .. })), "{found:?}");
    assert_eq!(memory.get_chunk(blob, 0).unwrap(), "first ");
    let mut go_on = |_| ControlFlow::Continue(());
    let report = memory.verify(&mut Progress::new(&mut go_on)).unwrap();
    let findings = report.findings;
    assert_eq!(findings.len(), 1);
    assert!(findings[0].location.starts_with("chunk 1 of"));
}

#[test]
fn a_chunk_in_the_place_of_another_is_damage() {
    let memory = Memory::new(History::default());
    let blob = BlobId([7; 16]);
    memory.put_chunks(blob, 0, b"first second", 6).unwrap();
    let other = memory.state.lock().blobs.chunk(blob, 0).unwrap();
    assert!(other.is_sound(blob, 0));
    assert!(!other.is_sound(blob, 1));
    assert!(!other.is_sound(BlobId([8; 16]), 0));
}

#[test]
fn mistakes_with_blobs_are_refused() {
    let memory = Memory::new(History::default());
    let blob = BlobId([1; 16]);
    let ask = |adopts: &[BlobId], releases: &[BlobId]| {
        let commit = Commit {
            adopts: adopts.to_vec(),
            releases: releases.to_vec(),
            ..Commit::default()
        };
        memory.commit(commit, &mut |_| {})
    };
    let is_refused = |result| matches!(result, Err(Error::InvalidArgument { .. }));
    assert!(is_refused(ask(&[blob], &[])));
    memory.put_chunks(blob, 0, b"bytes", 10).unwrap();
    assert!(memory.put_chunks(blob, 0, b"again", 10).is_err());
    assert!(memory.put_chunks(blob, 1, b"bytes", 0).is_err());
    assert!(is_refused(ask(&[], &[blob])));
    assert!(is_refused(ask(&[blob], &[blob, blob])));
    assert_eq!(memory.history().newest, 0);
    ask(&[blob], &[]).unwrap();
    assert!(memory.put_chunks(blob, 1, b"late", 10).is_err());
    ask(&[blob], &[blob, blob]).unwrap();
    assert!(is_refused(ask(&[blob], &[])));
}

#[test]
fn nothing_is_left_behind() {
    let memory = Memory::new(History::default());
    let blob = BlobId([1; 16]);
    let write = |value: Option<&'static str>| Write {
        tree: Tree::Entries,
        key: Bytes::from("key"),
        value: value.map(Bytes::from),
    };
    memory.put_chunks(blob, 0, &[1; 5_000], 1024).unwrap();
    let first = Commit {
        writes: vec![write(Some("value"))],
        adopts: vec![blob],
        ..Commit::default()
    };
    make(&memory, first);
    let stats = memory.stats().unwrap();
    assert_eq!((stats.row_bytes, stats.chunk_bytes), (8, 5_000));
    let scan = memory.scan(Tree::Entries, b"", None).unwrap();
    let hold = memory.hold(blob).unwrap();
    let last = Commit {
        writes: vec![write(None)],
        releases: vec![blob],
        ..Commit::default()
    };
    make(&memory, last);
    let stats = memory.stats().unwrap();
    assert_eq!((stats.chunk_bytes, stats.dead_bytes), (0, 5_000));
    drop((scan, hold));
    assert_eq!(memory.stats().unwrap(), BackendStats::default());
    let state = memory.state.lock();
    assert_eq!(state.scans.oldest(), None);
    assert!(state.blobs.all().is_empty());
}

#[test]
fn a_panic_in_ordered_leaves_a_whole_commit() {
    let memory = Memory::new(History::default());
    let ordered = std::panic::AssertUnwindSafe(|| {
        let _ = memory.commit(commit(&["a"]), &mut |_| panic!("the caller's"));
    });
    assert!(std::panic::catch_unwind(ordered).is_err());
    assert_eq!(told(&memory, Position::after(0)).unwrap(), [1]);
    assert_eq!(make(&memory, commit(&["b"])), 2);
}

/// Else all that is deleted while a list is open would stay, and be looked at by each commit.
#[test]
fn a_scan_of_rows_alone_keeps_no_content() {
    let memory = Memory::new(History::default());
    let blob = BlobId([1; 16]);
    memory.put_chunks(blob, 0, b"bytes", 10).unwrap();
    let adopting = Commit {
        adopts: vec![blob],
        ..Commit::default()
    };
    make(&memory, adopting);
    let mut rows_alone = memory.scan(Tree::Entries, b"", None).unwrap();
    let with_chunks = memory.scan(Tree::Entries, b"", None).unwrap();
    rows_alone.let_chunks_go();
    rows_alone.let_chunks_go();
    let releasing = Commit {
        releases: vec![blob],
        ..Commit::default()
    };
    make(&memory, releasing);
    assert_eq!(memory.stats().unwrap().dead_bytes, 5);
    drop(with_chunks);
    assert_eq!(memory.stats().unwrap().dead_bytes, 0);
    drop(rows_alone);
    assert_eq!(memory.state.lock().scans.oldest(), None);
}

#[cfg(feature = "conformance")]
mod conformance {
    use std::cell::OnceCell;

    use crate::backend::SharedBackend;
    use crate::backend::conformance::{Harness, run};

    use super::*;

    struct InMemory;

    impl Harness for InMemory {
        fn open(&self, history: History) -> Result<SharedBackend> {
            Ok(Arc::new(Memory::new(history)))
        }

        fn is_persistent(&self) -> bool {
            false
        }
    }

    /// Keeps the state from one opening to the next, so that the suite itself is seen to be right on persistence.
    #[derive(Default)]
    struct Kept(OnceCell<Arc<Mutex<State>>>);

    impl Harness for Kept {
        fn open(&self, history: History) -> Result<SharedBackend> {
            let state = Arc::clone(self.0.get_or_init(|| Memory::new(history).state));
            let mut opened = state.lock();
            assert_eq!(opened.scans.oldest(), None, "a scan outlived its backend");
            opened.closed = false;
            opened.blobs.reopen();
            drop(opened);
            Ok(Arc::new(Memory { state }))
        }

        fn is_persistent(&self) -> bool {
            true
        }
    }

    #[test]
    fn the_memory_backend_keeps_the_contract() {
        run(|| Box::new(InMemory));
    }

    #[test]
    fn a_persistent_backend_can_keep_the_contract() {
        run(|| Box::new(Kept::default()));
    }
}
