//! Scans: order, bounds, seeking, and the one moment they see.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::Harness;
use super::tools::{
    PUBLIC, contents, delete, keys, make, numbered, open, put, put_in, rest, rows, value,
};
use crate::backend::{Backend, Scan, Tree};
use crate::report::Progress;

fn scan(backend: &dyn Backend, start: &str, end: Option<&str>) -> Box<dyn Scan> {
    let end = end.map(str::as_bytes);
    backend.scan(Tree::Entries, start.as_bytes(), end).unwrap()
}

fn next_key(scan: &mut dyn Scan) -> Option<Bytes> {
    scan.next().unwrap().map(|(key, _)| key)
}

/// Rows `a` to `e`.
fn letters(backend: &dyn Backend) {
    let writes = ["d", "a", "e", "c", "b"].map(|key| put(key, key));
    make(backend, rows(writes.to_vec()));
}

pub(super) fn rows_come_in_byte_order(harness: &dyn Harness) {
    let backend = open(harness);
    let ordered: [&[u8]; 14] = [
        b"\x00",
        b"\x00\x00",
        b"\x00\xff",
        b"/",
        b"A",
        b"a",
        b"a\x00",
        b"a/",
        b"a/b",
        b"ab",
        b"\x7f",
        b"\x80",
        b"\xff",
        b"\xff\xff\xff",
    ];
    for tree in PUBLIC {
        // Each in a commit of its own and backwards, so that the order is not the one of arrival.
        for key in ordered.iter().rev() {
            make(&*backend, rows(vec![put_in(tree, *key, *key)]));
        }
        let expected = ordered.map(|key| (Bytes::from(key), Bytes::from(key)));
        assert_eq!(contents(&*backend, tree), expected, "{tree:?}");
    }
}

pub(super) fn the_start_is_inclusive_and_the_end_exclusive(harness: &dyn Harness) {
    let backend = open(harness);
    letters(&*backend);
    make(&*backend, rows(vec![put("\u{ff}", ""), put("b\0", "")]));
    let found = |start, end| keys(scan(&*backend, start, end).as_mut());
    assert_eq!(found("b", Some("d")), ["b", "b\0", "c"]);
    assert_eq!(found("b\0", Some("c\0")), ["b\0", "c"]);
    assert_eq!(found("d", None), ["d", "e", "\u{ff}"]);
    assert_eq!(found("", Some("b")), ["a"]);
    assert_eq!(found("bb", Some("bz")), [""; 0]);
}

pub(super) fn an_empty_range_has_no_rows(harness: &dyn Harness) {
    let backend = open(harness);
    assert!(contents(&*backend, Tree::Entries).is_empty());
    letters(&*backend);
    for (start, end) in [("b", "b"), ("c", "b"), ("", ""), ("e", "a")] {
        let found = keys(scan(&*backend, start, Some(end)).as_mut());
        assert!(found.is_empty(), "{start:?} to {end:?}: {found:?}");
    }
    assert!(keys(scan(&*backend, "f", None).as_mut()).is_empty());
}

pub(super) fn a_scan_stays_in_its_tree(harness: &dyn Harness) {
    let backend = open(harness);
    let writes = PUBLIC.map(|tree| put_in(tree, "\u{ff}\u{ff}", "last"));
    make(&*backend, rows(writes.to_vec()));
    for tree in PUBLIC {
        let mut scan = backend.scan(tree, b"\xc3", None).unwrap();
        assert_eq!(keys(scan.as_mut()), ["\u{ff}\u{ff}"], "{tree:?}");
    }
}

pub(super) fn the_end_of_a_scan_is_the_end(harness: &dyn Harness) {
    let backend = open(harness);
    letters(&*backend);
    let mut scan = scan(&*backend, "d", None);
    assert_eq!(keys(scan.as_mut()), ["d", "e"]);
    make(&*backend, rows(vec![put("f", "")]));
    assert_eq!(next_key(scan.as_mut()), None);
    scan.seek(b"a");
    assert_eq!(next_key(scan.as_mut()), None);
    scan.seek(b"e\0");
    assert_eq!(next_key(scan.as_mut()), None);
}

pub(super) fn seek_goes_forward(harness: &dyn Harness) {
    let backend = open(harness);
    let writes = (0..1_000).step_by(2).map(|n| put(format!("{n:04}"), ""));
    make(&*backend, rows(writes.collect()));
    let mut scan = scan(&*backend, "", None);
    scan.seek(b"0010");
    assert_eq!(next_key(scan.as_mut()).unwrap(), "0010");
    scan.seek(b"0013");
    assert_eq!(next_key(scan.as_mut()).unwrap(), "0014");
    assert_eq!(next_key(scan.as_mut()).unwrap(), "0016");
    scan.seek(b"0500");
    scan.seek(b"0900");
    assert_eq!(next_key(scan.as_mut()).unwrap(), "0900");
    scan.seek(b"0998\0");
    assert_eq!(next_key(scan.as_mut()), None);
}

pub(super) fn seek_never_goes_back(harness: &dyn Harness) {
    let backend = open(harness);
    letters(&*backend);
    let mut scan = scan(&*backend, "", None);
    scan.seek(b"c");
    scan.seek(b"a");
    assert_eq!(next_key(scan.as_mut()).unwrap(), "c");
    scan.seek(b"c");
    assert_eq!(next_key(scan.as_mut()).unwrap(), "d");
    scan.seek(b"");
    scan.seek(b"a");
    assert_eq!(next_key(scan.as_mut()).unwrap(), "e");
    scan.seek(b"a");
    assert_eq!(next_key(scan.as_mut()), None);
}

pub(super) fn seek_keeps_to_the_bounds(harness: &dyn Harness) {
    let backend = open(harness);
    letters(&*backend);
    let mut before = scan(&*backend, "c", Some("e"));
    before.seek(b"a");
    assert_eq!(keys(before.as_mut()), ["c", "d"]);
    let mut beyond = scan(&*backend, "a", Some("c"));
    beyond.seek(b"d");
    assert_eq!(next_key(beyond.as_mut()), None);
}

pub(super) fn a_scan_sees_one_moment(harness: &dyn Harness) {
    let backend = open(harness);
    letters(&*backend);
    let expected = contents(&*backend, Tree::Entries);
    let mut unread = scan(&*backend, "", None);
    let mut half_read = scan(&*backend, "", None);
    let mut sought = scan(&*backend, "", None);
    let first = half_read.next().unwrap().unwrap();
    make(&*backend, rows(vec![put("d", "overwritten"), delete("c")]));
    make(&*backend, rows(vec![put("aa", "added"), put("f", "added")]));
    make(&*backend, rows(vec![put("c", "made again"), delete("e")]));
    assert_eq!(rest(unread.as_mut()), expected);
    assert_eq!((first.0, first.1.value), expected[0]);
    assert_eq!(rest(half_read.as_mut()), expected[1..]);
    sought.seek(b"c");
    assert_eq!(rest(sought.as_mut()), expected[2..]);
    assert_eq!(
        keys(scan(&*backend, "", None).as_mut()),
        ["a", "aa", "b", "c", "d", "f"]
    );
}

pub(super) fn a_scan_sees_one_moment_across_flush_and_compact(harness: &dyn Harness) {
    let backend = open(harness);
    make(&*backend, rows(numbered("k", 0..300, "old")));
    backend.flush().unwrap();
    make(&*backend, rows(numbered("k", 300..600, "old")));
    let expected = contents(&*backend, Tree::Entries);
    let mut scan = scan(&*backend, "", None);
    let mut found = vec![scan.next().unwrap().unwrap()];
    for round in 0..5_usize {
        let mut writes = numbered("k", round * 100..round * 100 + 60, "new");
        writes.extend((60..100).map(|n| delete(format!("k{:06}", round * 100 + n))));
        writes.push(put(format!("k{round:06}added"), "added"));
        make(&*backend, rows(writes));
        backend.flush().unwrap();
        let mut go_on = |_| ControlFlow::Continue(());
        backend.compact(&mut Progress::new(&mut go_on)).unwrap();
        found.extend((0..50).map(|_| scan.next().unwrap().unwrap()));
    }
    found.extend(std::iter::from_fn(|| scan.next().unwrap()));
    let found: Vec<_> = found
        .into_iter()
        .map(|(key, row)| (key, row.value))
        .collect();
    assert!(found == expected, "the scan saw later commits");
    assert_eq!(value(&*backend, "k000000").unwrap(), "new");
    assert_eq!(value(&*backend, "k000099"), None);
}

pub(super) fn a_scan_sees_one_moment_under_big_commits(harness: &dyn Harness) {
    const ROWS: usize = 5_000;
    let backend = open(harness);
    make(&*backend, rows(numbered("k", 0..ROWS, "first")));
    let mut scan = scan(&*backend, "", None);
    let early = scan.next().unwrap().unwrap();
    make(&*backend, rows(numbered("k", 0..ROWS, "second")));
    make(&*backend, rows(numbered("l", 0..ROWS, "second")));
    let deletions = (0..ROWS).step_by(2).map(|n| delete(format!("k{n:06}")));
    make(&*backend, rows(deletions.collect()));
    backend.flush().unwrap();
    let found = rest(scan.as_mut());
    assert_eq!(early.1.value, "first");
    assert_eq!(found.len(), ROWS - 1);
    assert!(found.iter().all(|(_, value)| value == "first"));
    assert_eq!(contents(&*backend, Tree::Entries).len(), ROWS / 2 + ROWS);
}

pub(super) fn each_scan_sees_its_own_moment(harness: &dyn Harness) {
    let backend = open(harness);
    let mut scans = Vec::new();
    for round in 0..20 {
        make(&*backend, rows(vec![put("key", round.to_string())]));
        scans.push((round, scan(&*backend, "", None)));
    }
    backend.flush().unwrap();
    for (round, mut scan) in scans {
        let (_, row) = scan.next().unwrap().unwrap();
        assert_eq!(row.value, round.to_string());
    }
}
