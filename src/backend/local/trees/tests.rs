//! What every kind of trees must do, and what only sled's must.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::fault::{FaultTrees, Lasting, Operation};
use super::memory::MemoryTrees;
use super::sled::SledTrees;
use super::*;

const CACHE: u64 = 4 * 1024 * 1024;

fn open(directory: &Path) -> SledTrees {
    SledTrees::open(directory, CACHE).unwrap()
}

fn put(tree: Tree, key: &str, value: &str) -> TreeWrite {
    let value = Bytes::copy_from_slice(value.as_bytes());
    (tree, Bytes::copy_from_slice(key.as_bytes()), Some(value))
}

fn remove(tree: Tree, key: &str) -> TreeWrite {
    (tree, Bytes::copy_from_slice(key.as_bytes()), None)
}

fn apply(trees: &dyn Trees, rows: impl IntoIterator<Item = TreeWrite>) -> Result<()> {
    trees.apply(&mut rows.into_iter())
}

fn keys(
    trees: &dyn Trees,
    tree: Tree,
    start: &str,
    end: Option<&str>,
    limit: usize,
) -> Vec<String> {
    let rows = trees.range(tree, start.as_bytes(), end.map(str::as_bytes), limit);
    let text = |(key, _): (Bytes, Bytes)| String::from_utf8(key.to_vec()).unwrap();
    rows.unwrap().into_iter().map(text).collect()
}

fn each_kind(test: impl Fn(&dyn Trees)) {
    let directory = tempfile::tempdir().unwrap();
    test(&open(directory.path()));
    test(&MemoryTrees::new());
    test(&FaultTrees::new(Arc::new(MemoryTrees::new())));
}

#[test]
fn rows_are_put_replaced_and_removed_in_the_order_given() {
    each_kind(|trees| {
        let rows = [
            put(Tree::Entries, "a", "1"),
            put(Tree::Entries, "b", "1"),
            put(Tree::Entries, "a", "2"),
            remove(Tree::Entries, "b"),
            put(Tree::Meta, "b", "other tree"),
            remove(Tree::Meta, "absent"),
        ];
        apply(trees, rows).unwrap();
        trees.flush().unwrap();
        assert_eq!(trees.get(Tree::Entries, b"a").unwrap().unwrap(), "2");
        assert_eq!(trees.get(Tree::Entries, b"b").unwrap(), None);
        assert_eq!(trees.get(Tree::Meta, b"b").unwrap().unwrap(), "other tree");
        assert!(trees.check().is_empty());
    });
}

#[test]
fn ranges_are_ordered_and_bounded_on_both_sides() {
    each_kind(|trees| {
        apply(
            trees,
            ["c", "a", "d", "b"].map(|key| put(Tree::Tokens, key, key)),
        )
        .unwrap();
        let keys = |start, end, limit| keys(trees, Tree::Tokens, start, end, limit).concat();
        assert_eq!(keys("", None, 10), "abcd");
        assert_eq!(keys("b", Some("d"), 10), "bc");
        assert_eq!(keys("bb", None, 1), "c");
        assert_eq!(keys("", None, 0), "");
        assert_eq!(keys("d", Some("b"), 10), "");
        assert_eq!(keys("b", Some("b"), 10), "");
    });
}

#[test]
fn a_row_of_six_kib_is_the_largest() {
    each_kind(|trees| {
        let row = |bytes: usize| [put(Tree::Entries, "key", &"x".repeat(bytes - 3))];
        apply(trees, row(MAX_TREE_ROW_BYTES)).unwrap();
        let refused = apply(trees, row(MAX_TREE_ROW_BYTES + 1));
        assert!(matches!(refused, Err(Error::TooLarge { found: 6145, .. })));
        let kept = trees.get(Tree::Entries, b"key").unwrap().unwrap();
        assert_eq!(kept.len(), MAX_TREE_ROW_BYTES - 3);
        apply(trees, [put(Tree::Entries, "key", "writes go on")]).unwrap();
    });
}

#[test]
fn closed_trees_answer_an_error() {
    each_kind(|trees| {
        // What was in memory is gone as well.
        apply(trees, [put(Tree::Meta, "a", "1")]).unwrap();
        assert!(trees.get(Tree::Meta, b"a").unwrap().is_some());
        trees.close().unwrap();
        assert!(matches!(
            trees.get(Tree::Meta, b"a"),
            Err(Error::Misuse { .. })
        ));
        assert!(apply(trees, [put(Tree::Meta, "a", "1")]).is_err());
        assert!(trees.flush().is_err());
        assert!(trees.size_on_disk().is_err());
    });
}

#[test]
fn rows_are_there_after_a_reopen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trees");
    let trees = open(&path);
    assert!(trees.is_new());
    let rows = (0..3000).map(|number| put(Tree::Chunks, &format!("{number:05}"), &"x".repeat(500)));
    apply(&trees, rows).unwrap();
    assert!(trees.size_on_disk().unwrap() > 1_000_000);
    trees.close().unwrap();
    let trees = open(&path);
    assert!(!trees.is_new());
    assert_eq!(keys(&trees, Tree::Chunks, "", None, 9999).len(), 3000);
    // Dropped, not closed.
    apply(&trees, [put(Tree::Entries, "late", "row")]).unwrap();
    drop(trees);
    assert!(open(&path).get(Tree::Entries, b"late").unwrap().is_some());
}

#[test]
fn the_largest_rows_in_one_leaf_need_no_file_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let trees = open(directory.path());
    for value in ["x", "y", "z"] {
        let rows =
            (0..200).map(|key| put(Tree::Entries, &format!("{key:04}"), &value.repeat(6140)));
        apply(&trees, rows).unwrap();
        trees.flush().unwrap();
    }
    assert_eq!(trees.check(), []);
}

#[test]
fn an_unfinished_snapshot_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let trees = open(directory.path());
    apply(&trees, [put(Tree::Entries, "a", "1")]).unwrap();
    trees.close().unwrap();
    // Without its removal sled takes it for the newest snapshot and fails.
    let unfinished = directory.path().join("snap.00000000FFFFFFFF.generating");
    fs::write(&unfinished, b"half").unwrap();
    let trees = open(directory.path());
    assert!(!unfinished.exists());
    assert!(trees.get(Tree::Entries, b"a").unwrap().is_some());
}

#[test]
fn a_file_under_blobs_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let trees = open(directory.path());
    fs::write(directory.path().join("blobs/123"), b"large").unwrap();
    let findings = trees.check();
    assert!(findings[0].problem.contains("blobs/123"), "{findings:?}");
    trees.close().unwrap();
    let refused = SledTrees::open(directory.path(), CACHE);
    assert!(matches!(
        refused,
        Err(Error::Damaged {
            what: "sled trees",
            ..
        })
    ));
}

#[test]
fn a_second_open_is_refused_and_one_that_waits_gets_in() {
    let directory = tempfile::tempdir().unwrap();
    let trees = open(directory.path());
    let refused = SledTrees::open(directory.path(), CACHE);
    assert!(matches!(refused, Err(Error::InUse { .. })));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| open(directory.path()));
        std::thread::sleep(std::time::Duration::from_millis(200));
        trees.close().unwrap();
        waiting.join().unwrap();
    });
}

#[test]
fn damaged_files_are_told_and_never_a_panic() {
    for (name, bytes) in [
        (
            "conf",
            &b"segment_size: 1024\nuse_compression: false\nversion: 0.34\n1234"[..],
        ),
        ("snap", b""),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let trees = open(directory.path());
        apply(&trees, [put(Tree::Entries, "a", "1")]).unwrap();
        trees.close().unwrap();
        // The second open writes the snapshot.
        open(directory.path()).close().unwrap();
        let file = fs::read_dir(directory.path())
            .unwrap()
            .map(|file| file.unwrap().path())
            .find(|path| {
                path.file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .starts_with(name)
            })
            .unwrap();
        fs::write(&file, bytes).unwrap();
        let refused = SledTrees::open(directory.path(), CACHE).map(drop);
        assert!(
            matches!(refused, Err(Error::Damaged { .. })),
            "{name}: {refused:?}"
        );
    }
}

#[test]
fn a_panic_in_sled_is_damage_and_ends_the_writing() {
    let directory = tempfile::tempdir().unwrap();
    let trees = open(directory.path());
    apply(&trees, [put(Tree::Entries, "a", "1")]).unwrap();
    let error = trees.store.panic_for_test();
    assert!(matches!(error, Err(Error::Damaged { .. })), "{error:?}");
    let refused = apply(&trees, [put(Tree::Entries, "b", "1")]);
    assert!(matches!(refused, Err(Error::Poisoned { .. })));
    assert!(matches!(trees.flush(), Err(Error::Poisoned { .. })));
    assert!(trees.get(Tree::Entries, b"a").unwrap().is_some());
    assert!(matches!(trees.close(), Err(Error::Poisoned { .. })));
}

#[test]
fn faults_strike_when_due() {
    let inner = Arc::new(MemoryTrees::new());
    let trees = FaultTrees::new(inner.clone());
    trees.fail(Operation::Flush, 2, Lasting::Once);
    trees.flush().unwrap();
    assert!(matches!(trees.flush(), Err(Error::Io { .. })));
    trees.flush().unwrap();
    trees.fail(Operation::Apply, 1, Lasting::ForEver);
    for _ in 0..2 {
        assert!(apply(&trees, ["a", "b"].map(|key| put(Tree::Meta, key, key))).is_err());
    }
    assert_eq!(keys(&*inner, Tree::Meta, "", None, 9), ["a"]);
    trees.heal();
    apply(&trees, [put(Tree::Meta, "b", "b")]).unwrap();
    trees.fail(Operation::Get, 1, Lasting::Once);
    assert!(trees.get(Tree::Meta, b"b").is_err());
    assert!(trees.get(Tree::Meta, b"b").unwrap().is_some());
}

/// sled would take it for the end of its log.
#[cfg(target_os = "linux")]
#[test]
fn a_log_that_cannot_be_read_is_no_damage_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    // Its first bytes belong to nobody: reading them is an error of the system.
    std::os::unix::fs::symlink("/proc/self/mem", directory.path().join("db")).unwrap();
    match SledTrees::open(directory.path(), CACHE).map(drop) {
        Err(Error::Io { doing, .. }) => assert!(doing.starts_with("reading "), "{doing}"),
        other => panic!("{other:?}"),
    }
}

/// What waits for the seven threads of sled never is of seven writes. Rows of all sizes, in order and in any, put, put again
/// and removed, so that leaves are split, merged and moved.
#[test]
fn little_is_written_between_two_flushes() {
    use std::sync::atomic::Ordering;

    const SEGMENT_BYTES: usize = 512 * 1024;
    for bytes in [700, 3_300] {
        let directory = tempfile::tempdir().unwrap();
        let trees = open(directory.path());
        let count = 4 * 1024 * 1024 / (bytes + 200);
        let value = "x".repeat(bytes);
        let row = |number: usize| {
            let key = format!("folder/{number:07}");
            (key, value.clone())
        };
        let mut random = fastrand::Rng::with_seed(7);
        let mut numbers: Vec<usize> = (0..count).collect();
        for round in 0..4 {
            let rows = numbers.iter().map(|number| {
                let (key, value) = row(*number);
                match round == 2 && number % 3 > 0 {
                    true => remove(Tree::Entries, &key),
                    false => put(Tree::Entries, &key, &value),
                }
            });
            let rows: Vec<TreeWrite> = rows.collect();
            apply(&trees, rows).unwrap();
            random.shuffle(&mut numbers);
        }
        let most = trees.store.most_log_bytes.load(Ordering::Relaxed);
        assert!(most > 0 && most < 4 * SEGMENT_BYTES, "{bytes}: {most}");
    }
}
