//! What every kind of trees must do, and what only sled's must.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::blocks::BlockStore;
use super::fault::{FaultTrees, Lasting, Operation};
use super::layers::SLICE_BYTES;
use super::memory::MemoryTrees;
use super::sled::SledTrees;
use super::*;

const CACHE: u64 = 4 * 1024 * 1024;

/// Of sled.
const SEGMENT_BYTES: usize = 512 * 1024;

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
        assert_eq!(trees.check().unwrap(), []);
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
    assert_eq!(trees.check().unwrap(), []);
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
    let findings = trees.check().unwrap();
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
    let mut conf = b"segment_size: 1024\nuse_compression: false\nversion: 0.34\n".to_vec();
    conf.extend(crc32fast::hash(&conf).to_le_bytes());
    for (name, bytes) in [("conf", &conf[..]), ("snap", b"")] {
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
fn a_damaged_conf_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let trees = open(directory.path());
    apply(&trees, [put(Tree::Entries, "a", "1")]).unwrap();
    trees.close().unwrap();
    let path = directory.path().join("conf");
    let whole = fs::read(&path).unwrap();
    let flipped = (0..whole.len()).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        bytes
    });
    let cut = [0, 3, 9, whole.len() - 1].map(|length| whole[..length].to_vec());
    let others = [vec![0; whole.len()], vec![7; 100_000]];
    for bytes in flipped.chain(cut).chain(others) {
        fs::write(&path, &bytes).unwrap();
        let trees = open(directory.path());
        assert_eq!(keys(&trees, Tree::Entries, "", None, 9), ["a"], "{bytes:?}");
        trees.close().unwrap();
        assert!(fs::read(&path).unwrap() == whole);
    }
}

#[test]
fn a_panic_in_sled_is_damage_and_ends_the_writing() {
    let directory = tempfile::tempdir().unwrap();
    let trees = open(directory.path());
    apply(&trees, [put(Tree::Entries, "a", "1")]).unwrap();
    let error = trees.store.store().panic_for_test();
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
    for (folder, bytes) in [
        ("folder", 700),
        ("folder", 3_300),
        // The nodes of the index are largest, and the most of them for what is handed over.
        (&"l".repeat(SLICE_BYTES - 8), 20),
        (&"l".repeat(1_000), 20),
        (&"l".repeat(1_000), 2_000),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let trees = open(directory.path());
        let count = 4 * 1024 * 1024 / (folder.len() + bytes + 200);
        let value = "x".repeat(bytes);
        let row = |number: usize| {
            let key = format!("{folder}/{number:07}");
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
        let most = trees.store.store().most_log_bytes.load(Ordering::Relaxed);
        assert!(
            most > 0 && most < 3 * SEGMENT_BYTES,
            "{} {bytes}: {most}",
            folder.len()
        );
    }
}

/// The rows whose key begins with `folder`, as many as `count`, each with its number.
fn numbered(folder: &str, count: usize) -> Vec<TreeWrite> {
    let row = |number| put(Tree::Entries, &format!("{folder}/{number:05}"), "value");
    (0..count).map(row).collect()
}

fn assert_has(trees: &SledTrees, rows: &[TreeWrite]) {
    let found = trees.range(Tree::Entries, b"", None, usize::MAX).unwrap();
    let found = found.into_iter().map(|(key, value)| (key, Some(value)));
    let rows = rows
        .iter()
        .map(|(_, key, value)| (key.clone(), value.clone()));
    assert!(found.eq(rows));
}

/// sled's index has as much of a key as neighbours have in common, 256 times.
#[test]
fn long_keys_need_no_file_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let mut rows = Vec::new();
    for length in [150, SLICE_BYTES, 300, 500, 1_010] {
        rows.extend(numbered(&"l".repeat(length), 2_000));
    }
    rows.sort_by(|(_, one, _), (_, other, _)| one.cmp(other));
    let trees = open(directory.path());
    apply(&trees, rows.iter().cloned()).unwrap();
    assert_has(&trees, &rows);
    assert_eq!(trees.check().unwrap(), []);
    trees.close().unwrap();
    let trees = open(directory.path());
    assert_has(&trees, &rows);
    // And nothing is left of layers that hold nothing.
    let removed = rows.iter().map(|(tree, key, _)| (*tree, key.clone(), None));
    apply(&trees, removed).unwrap();
    let left = trees.store.store().range(Tree::Entries, b"", None, 1);
    assert!(left.unwrap().is_empty());
}

/// What was written before there were layers, also where moving it into them was cut short.
#[test]
fn keys_that_lie_in_no_layer_yet_are_moved_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut rows = Vec::new();
    for length in [100, 250, 500] {
        rows.extend(numbered(&"m".repeat(length), 50));
    }
    rows.sort_by(|(_, one, _), (_, other, _)| one.cmp(other));
    let former = SledTrees::open_anyhow(directory.path(), CACHE, false).unwrap();
    apply(&former, rows.iter().cloned()).unwrap();
    let some = former.store.range(Tree::Entries, b"", None, usize::MAX);
    let some: Vec<_> = some.unwrap().into_iter().step_by(3).collect();
    former.close().unwrap();
    let cut_short = open(directory.path());
    for (key, block) in some.iter().filter(|(key, _)| key.len() > SLICE_BYTES) {
        let written = cut_short.store.write(Tree::Entries, key, Some(block));
        written.unwrap();
    }
    cut_short.close().unwrap();
    for is_former in [true, true, false] {
        let trees = open(directory.path());
        if is_former {
            trees.take_in().unwrap();
        }
        assert_has(&trees, &rows);
        for (tree, key, value) in &rows {
            assert_eq!(trees.get(*tree, key).unwrap(), *value);
        }
        let blocks = trees
            .store
            .store()
            .range(Tree::Entries, b"", None, usize::MAX);
        let longest = blocks.unwrap().iter().map(|(key, _)| key.len()).max();
        assert!(longest.unwrap() <= 1 + 32 + SLICE_BYTES + 1, "{longest:?}");
        trees.close().unwrap();
    }
}

/// What is left small of leaves is not for readers to mend, who hold no turn and flush nothing.
#[test]
fn little_is_written_by_removals_and_by_who_reads_behind_them() {
    let short = "folder".to_owned();
    let long = "l".repeat(500);
    for (folder, count, in_order, kept) in [
        (&short, 12_000, true, 10),
        (&short, 12_000, false, 10),
        (&short, 12_000, false, 3),
        (&long, 4_000, false, 3),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let trees = open(directory.path());
        let key = |number: &usize| format!("{folder}/{number:07}");
        let mut numbers: Vec<usize> = (0..count).collect();
        let value = "x".repeat(700);
        let rows = numbers
            .iter()
            .map(|number| put(Tree::Entries, &key(number), &value));
        apply(&trees, rows.collect::<Vec<_>>()).unwrap();
        if !in_order {
            fastrand::Rng::with_seed(3).shuffle(&mut numbers);
        }
        numbers.retain(|number| number % kept > 0);
        for some in numbers.chunks_mut(4_000) {
            some.sort_unstable();
            let rows = some
                .iter()
                .map(|number| remove(Tree::Entries, &key(number)));
            apply(&trees, rows.collect::<Vec<_>>()).unwrap();
        }
        let most = &trees.store.store().most_log_bytes;
        let case = format!("{} {in_order} {kept}", folder.len());
        let written = most.swap(0, Ordering::Relaxed);
        assert!(
            written > 0 && written < 3 * SEGMENT_BYTES,
            "{case}: {written}"
        );
        let left = trees.range(Tree::Entries, b"", None, usize::MAX).unwrap();
        assert_eq!(left.len(), count.div_ceil(kept));
        trees.flush().unwrap();
        let written = most.load(Ordering::Relaxed);
        assert!(written < SEGMENT_BYTES / 4, "{case}: {written}");
    }
}

/// A store that builds before this one made, and could not open again.
#[test]
fn what_lies_in_files_of_their_own_can_still_be_saved() {
    let directory = tempfile::tempdir().unwrap();
    let rows = numbered(&"l".repeat(1_000), 2_000);
    let former = SledTrees::open_anyhow(directory.path(), CACHE, false).unwrap();
    apply(&former, rows.iter().cloned()).unwrap();
    former.close().unwrap();
    let refused = SledTrees::open(directory.path(), CACHE).map(drop);
    assert!(matches!(refused, Err(Error::Damaged { .. })));
    let trees = SledTrees::open_anyhow(directory.path(), CACHE, false).unwrap();
    assert_has(&trees, &rows);
}
