//! The history: order, paging, and where it ends.

use std::time::Duration;

use bytes::Bytes;

use super::Harness;
use super::tools::{all_changes, changes, eventually, make, open, put, rows};
use crate::backend::{Backend, Commit, MAX_CHANGE_BYTES, Position, StoredChange};
use crate::error::Error;
use crate::options::History;

/// Commits of one to four changes, with silent ones between; answers what must be told.
fn tell(backend: &dyn Backend) -> Vec<StoredChange> {
    let mut expected = Vec::new();
    for round in 0..12_u32 {
        let texts: Vec<Bytes> = (0..round % 5)
            .map(|n| Bytes::from(format!("{round}-{n}")))
            .collect();
        let commit = Commit {
            changes: texts.clone(),
            ..rows(vec![put("key", "")])
        };
        let revision = make(backend, commit);
        let count = texts.len();
        for (index, bytes) in (0..).zip(texts) {
            expected.push(StoredChange {
                position: Position { revision, index },
                last: usize::try_from(index).unwrap() + 1 == count,
                bytes,
            });
        }
    }
    expected
}

pub(super) fn changes_are_told_in_order(harness: &dyn Harness) {
    let backend = open(harness);
    assert!(all_changes(&*backend).is_empty());
    assert_eq!(backend.history().oldest, 1);
    let expected = tell(&*backend);
    assert_eq!(all_changes(&*backend), expected);
    assert_eq!(backend.history().oldest, 1);
    backend.flush().unwrap();
    assert_eq!(all_changes(&*backend), expected);
    let start = Position {
        revision: 0,
        index: 0,
    };
    assert_eq!(backend.changes(start, usize::MAX).unwrap(), expected);
}

pub(super) fn changes_are_the_bytes_given(harness: &dyn Harness) {
    let backend = open(harness);
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let given = vec![
        Bytes::new(),
        Bytes::from(all),
        Bytes::from("same"),
        Bytes::from("same"),
        Bytes::from(vec![7; MAX_CHANGE_BYTES]),
    ];
    let commit = Commit {
        changes: given.clone(),
        ..Commit::default()
    };
    make(&*backend, commit);
    let told = all_changes(&*backend);
    let told: Vec<Bytes> = told.into_iter().map(|change| change.bytes).collect();
    assert!(told == given, "the changes read back differently");
}

pub(super) fn paging_goes_on_inside_a_commit(harness: &dyn Harness) {
    let backend = open(harness);
    let expected = tell(&*backend);
    for limit in [1, 2, 3, 7, expected.len()] {
        let mut told: Vec<StoredChange> = Vec::new();
        loop {
            let after = told.last().map_or(Position::after(0), |last| last.position);
            let page = backend.changes(after, limit).unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            told.extend(page);
            assert!(told.len() <= expected.len(), "a change is told twice");
        }
        assert_eq!(told, expected, "in pages of {limit}");
    }
    assert!(backend.changes(Position::after(0), 0).unwrap().is_empty());
}

pub(super) fn the_place_after_a_commit_skips_all_of_it(harness: &dyn Harness) {
    let backend = open(harness);
    let expected = tell(&*backend);
    for revision in 0..=backend.history().newest {
        let behind = expected
            .iter()
            .filter(|change| change.position.revision > revision);
        let told = backend.changes(Position::after(revision), usize::MAX);
        assert_eq!(told.unwrap(), behind.cloned().collect::<Vec<_>>());
    }
}

pub(super) fn a_commit_without_changes_tells_nothing(harness: &dyn Harness) {
    let backend = open(harness);
    let silent = make(&*backend, rows(vec![put("key", "")]));
    assert_eq!(backend.history().newest, silent);
    assert!(all_changes(&*backend).is_empty());
    let told = make(&*backend, changes(["told"]));
    make(&*backend, Commit::default());
    let found = all_changes(&*backend);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].position.revision, told);
    assert_eq!(backend.changes(Position::after(silent), 9).unwrap(), found);
}

pub(super) fn nothing_is_behind_the_newest(harness: &dyn Harness) {
    let backend = open(harness);
    let revision = make(&*backend, changes(["a", "b"]));
    let last = Position { revision, index: 1 };
    let later = [revision, revision + 1, u64::MAX - 1, u64::MAX];
    let places = later.map(Position::after);
    for place in places.into_iter().chain([last]) {
        assert!(backend.changes(place, 9).unwrap().is_empty(), "{place:?}");
    }
    make(&*backend, changes(["c"]));
    let found = backend.changes(last, 9).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].bytes, "c");
}

pub(super) fn no_limit_drops_the_newest(harness: &dyn Harness) {
    let limits = [
        History::of_bytes(1),
        History::unlimited().revisions(0),
        History::unlimited().age(Duration::ZERO),
    ];
    for limit in limits {
        let backend = harness.open(limit).unwrap();
        for _ in 0..3 {
            let revision = make(&*backend, changes(["first", "second"]));
            let told = backend.changes(Position::after(revision - 1), 9);
            assert_eq!(told.unwrap().len(), 2, "{limit:?}");
        }
    }
}

pub(super) fn a_limit_drops_the_oldest(harness: &dyn Harness) {
    const COMMITS: usize = 2048;
    let backend = harness.open(History::of_bytes(64 * 1024)).unwrap();
    let large = Bytes::from(vec![1; MAX_CHANGE_BYTES]);
    let first = make(&*backend, changes(["first", "second"]));
    for _ in 0..COMMITS {
        let commit = Commit {
            changes: vec![large.clone()],
            ..rows(vec![put("key", "")])
        };
        make(&*backend, commit);
        if backend.history().oldest > 1 {
            break;
        }
    }
    backend.flush().unwrap();
    eventually("the history is cut", || backend.history().oldest > 1);
    let inside = Position {
        revision: first,
        index: 0,
    };
    for place in [Position::after(0), inside] {
        let found = backend.changes(place, 1);
        let Err(Error::Compacted { oldest }) = found else {
            panic!("{place:?}: {found:?}");
        };
        assert!(oldest > first);
    }
    let range = backend.history();
    assert!(range.oldest <= range.newest + 1);
    // What is dropped meanwhile is seen as such, never as a gap.
    let kept = backend.changes(Position::after(range.oldest - 1), usize::MAX);
    match kept {
        Ok(kept) => {
            let told: Vec<u64> = kept.iter().map(|it| it.position.revision).collect();
            assert!(told.first().is_none_or(|it| *it >= range.oldest));
            assert!(kept.is_empty() || told.last() == Some(&range.newest));
            assert!(told.is_sorted());
        }
        Err(error) => assert!(matches!(error, Error::Compacted { .. }), "{error}"),
    }
    let next = make(&*backend, changes(["next"]));
    let told = backend.changes(Position::after(next - 1), 9).unwrap();
    assert_eq!(told.len(), 1);
}
