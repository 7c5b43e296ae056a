//! Blocks over a store in memory, which can end in the middle of things.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::layers::{Layers, SLICE_BYTES};
use super::memory::MemoryBlocks;
use super::*;

const TREE: Tree = Tree::Entries;

type Expected = BTreeMap<Bytes, Bytes>;

/// Of which some blocks are kept in memory, and others not.
const CACHE_BYTES: usize = 32 * 1024;

/// Many keys lie in layers, and some in a layer of a layer.
const SHORT_SLICE_BYTES: usize = 40;

fn trees() -> BlockTrees<Layers<MemoryBlocks>> {
    trees_of(SHORT_SLICE_BYTES)
}

fn trees_of(slice_bytes: usize) -> BlockTrees<Layers<MemoryBlocks>> {
    let layers = Layers::over(MemoryBlocks::default(), slice_bytes);
    BlockTrees::over(layers, CACHE_BYTES)
}

fn rows(trees: &dyn Trees, limit: usize) -> Vec<Row> {
    let (mut start, mut all) = (Vec::new(), Vec::new());
    loop {
        let found = trees.range(TREE, &start, None, limit).unwrap();
        let Some((last, _)) = found.last() else {
            return all;
        };
        start = behind(last);
        all.extend(found);
    }
}

fn assert_holds(trees: &dyn Trees, expected: &Expected, random: &mut fastrand::Rng) {
    let all: Vec<_> = expected.clone().into_iter().collect();
    for limit in [1, 3, 100, usize::MAX] {
        assert_eq!(rows(trees, limit), all, "limit {limit}");
    }
    for _ in 0..50 {
        let (one, other) = (key(random), key(random));
        assert_eq!(trees.get(TREE, &one).unwrap(), expected.get(&one).cloned());
        let found = trees.range(TREE, &one, Some(&other), 20).unwrap();
        let wanted = expected.range(one.clone()..);
        let wanted: Vec<_> = wanted
            .take_while(|(key, _)| **key < other)
            .map(|(key, value)| (key.clone(), value.clone()))
            .take(20)
            .collect();
        assert_eq!(found, wanted);
    }
}

/// Few and many, short and long, with much in common.
fn key(random: &mut fastrand::Rng) -> Bytes {
    let folder = match random.u8(..8) {
        0 => "a/".to_owned(),
        1 => "a/b/".to_owned(),
        2 => "\u{0}".to_owned(),
        3 => "\u{ff}".to_owned(),
        // Around the lengths at which a layer begins.
        4 => "a/b".repeat(random.usize(12..15)),
        5 => "deep".repeat(random.usize(9..12)),
        6 => "deep".repeat(random.usize(18..22)) + ["", "a", "\u{ff}"][random.usize(..3)],
        _ => String::new(),
    };
    let name = match random.u8(..20) {
        0 => "long".repeat(250) + &random.u8(..4).to_string(),
        1 => String::new(),
        _ => random.u16(..300).to_string(),
    };
    Bytes::from(format!("{folder}{name}"))
}

fn value(random: &mut fastrand::Rng) -> Bytes {
    let bytes = match random.u8(..20) {
        0 => random.usize(4000..5000),
        1 => 0,
        2..5 => random.usize(1000..2500),
        _ => random.usize(..400),
    };
    Bytes::from(vec![random.u8(..); bytes])
}

fn writes(random: &mut fastrand::Rng) -> Vec<(Bytes, Option<Bytes>)> {
    let count = [1, 10, 100, 600][random.usize(..4)];
    let removes = [0, 50, 95][random.usize(..3)];
    let mut writes: Vec<_> = (0..count)
        .map(|_| {
            let is_removed = random.u8(..100) < removes;
            (key(random), (!is_removed).then(|| value(random)))
        })
        .collect();
    // As a checkpoint has them, or a journal.
    if random.bool() {
        writes.sort_by(|(one, _), (other, _)| one.cmp(other));
    }
    writes
}

fn apply(trees: &dyn Trees, writes: &[(Bytes, Option<Bytes>)]) -> Result<()> {
    let writes = writes.iter().cloned();
    trees.apply(&mut writes.map(|(key, value)| (TREE, key, value)))
}

fn expect(expected: &mut Expected, writes: &[(Bytes, Option<Bytes>)]) {
    for (key, value) in writes.iter().cloned() {
        match value {
            Some(value) => expected.insert(key, value),
            None => expected.remove(&key),
        };
    }
}

#[test]
fn rows_are_those_of_a_map_whatever_comes() {
    for seed in 0..40 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let trees = trees_of([SHORT_SLICE_BYTES, SLICE_BYTES][random.usize(..2)]);
        let mut expected = Expected::new();
        for _ in 0..20 {
            let writes = writes(random);
            apply(&trees, &writes).unwrap();
            expect(&mut expected, &writes);
            assert_holds(&trees, &expected, random);
        }
        let all: Vec<_> = expected.keys().map(|key| (key.clone(), None)).collect();
        apply(&trees, &all).unwrap();
        assert_eq!(
            trees.store.store().blocks.read().len(),
            0,
            "no empty block stays"
        );
    }
}

/// After each number of writes to the blocks: nothing that was there before is gone or older than it was, and once what
/// came is applied again, as a replay does, all is as if nothing had happened.
#[test]
fn an_end_in_the_middle_of_a_split_loses_nothing() {
    for seed in 0..300 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let trees = trees();
        let mut expected = Expected::new();
        for _ in 0..3 {
            let writes = writes(random);
            apply(&trees, &writes).unwrap();
            expect(&mut expected, &writes);
        }
        let before = expected.clone();
        let writes = writes(random);
        *trees.store.store().remaining.lock() = Some(random.usize(..20));
        // Or it came to its end.
        let _ = apply(&trees, &writes);
        *trees.store.store().remaining.lock() = None;
        expect(&mut expected, &writes);
        let trees = BlockTrees::over(trees.store, CACHE_BYTES);
        // Who reads in the middle of it sees a row once that lies in two blocks.
        let found = rows(&trees, usize::MAX);
        assert!(found.is_sorted_by(|(one, _), (next, _)| one < next));
        trees.mend().unwrap();
        let untouched = |key: &Bytes| !writes.iter().any(|(other, _)| other == key);
        for (key, value) in before.iter().filter(|(key, _)| untouched(key)) {
            assert_eq!(trees.get(TREE, key).unwrap().as_ref(), Some(value));
        }
        for (key, _) in rows(&trees, 7) {
            assert!(before.contains_key(&key) || !untouched(&key));
        }
        apply(&trees, &writes).unwrap();
        assert_holds(&trees, &expected, random);
        // And what goes on behind it is not disturbed by what was left.
        for _ in 0..3 {
            let writes = self::writes(random);
            apply(&trees, &writes).unwrap();
            expect(&mut expected, &writes);
        }
        assert_holds(&trees, &expected, random);
    }
}

/// A row that was left behind must not take the place of a later one when its block is split again.
#[test]
fn what_is_left_twice_does_no_harm_to_later_writes() {
    for seed in 0..300 {
        let random = &mut fastrand::Rng::with_seed(seed);
        let trees = trees();
        let mut expected = Expected::new();
        let round = |random: &mut fastrand::Rng, expected: &mut Expected| {
            let writes = writes(random);
            let ended = apply(&trees, &writes);
            *trees.store.store().remaining.lock() = None;
            ended.or_else(|_| apply(&trees, &writes)).unwrap();
            expect(expected, &writes);
        };
        for _ in 0..6 {
            round(random, &mut expected);
            *trees.store.store().remaining.lock() = Some(random.usize(..20));
            round(random, &mut expected);
        }
        trees.mend().unwrap();
        assert_holds(&trees, &expected, random);
    }
}

#[test]
fn neighbours_share_blocks_that_are_not_too_large() {
    let trees = trees();
    let writes: Vec<_> = (0..2000)
        .map(|number| {
            (
                Bytes::from(format!("{number:06}")),
                Some(Bytes::from(vec![7; 100])),
            )
        })
        .collect();
    for some in writes.chunks(300) {
        apply(&trees, some).unwrap();
    }
    let blocks = trees.store.store().blocks.read();
    assert!(blocks.values().all(|block| block.len() <= BLOCK_BYTES));
    assert!(blocks.len() < 2000 / 8, "{} blocks", blocks.len());
}

/// While rows move into new blocks nobody misses one.
#[test]
fn a_reader_beside_a_writer_sees_every_row() {
    let trees = Arc::new(trees());
    // In layers, on marks and in none.
    let name = |number: u32| {
        let folder = "deep".repeat([0, 0, 9, 10, 11, 21][number as usize % 6]);
        format!("{folder}{number:04}")
    };
    let mut kept: Vec<_> = (0..200)
        .map(|number| {
            (
                Bytes::from(name(number)),
                Some(Bytes::from_static(&[1; 60])),
            )
        })
        .collect();
    kept.sort();
    apply(&*trees, &kept).unwrap();
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let random = &mut fastrand::Rng::with_seed(1);
            for round in 0..400 {
                let mut others: Vec<_> = (0..100)
                    .map(|_| {
                        let key = format!("{}-{}", name(random.u32(..200)), random.u8(..));
                        let value = (round % 4 < 3).then(|| value(random));
                        (Bytes::from(key), value)
                    })
                    .collect();
                others.sort_by(|(one, _), (other, _)| one.cmp(other));
                apply(&*trees, &others).unwrap();
            }
            ends.store(true, Ordering::Release);
        });
        while !ends.load(Ordering::Acquire) {
            for limit in [5, 1000] {
                let found = rows(&*trees, limit);
                let found = found.iter().filter(|(key, _)| !key.contains(&b'-'));
                assert_eq!(found.count(), kept.len());
            }
            for (key, value) in &kept {
                assert_eq!(trees.get(TREE, key).unwrap(), *value);
            }
        }
    });
}

/// Who looks into one layer after the other must not meet a split in the middle: the first look would be too early for the
/// new block, the second too late for the old one.
#[test]
fn a_reader_sees_all_layers_at_one_moment() {
    let layers = Arc::new(Layers::over(MemoryBlocks::default(), SHORT_SLICE_BYTES));
    let key = "k".repeat(SHORT_SLICE_BYTES + 5);
    layers.write(TREE, b"a", Some(b"old")).unwrap();
    let (done, is_done) = crossbeam_channel::bounded(1);
    let writer = Arc::clone(&layers);
    let new_key = key.clone();
    *layers.store().behind_floor.lock() = Some(Box::new(move || {
        std::thread::spawn(move || {
            writer
                .write(TREE, new_key.as_bytes(), Some(b"new"))
                .unwrap();
            writer.write(TREE, b"a", Some(b"cut")).unwrap();
            done.send(()).unwrap();
        });
        // Nobody comes in where all is well.
        let _ = is_done.recv_timeout(Duration::from_millis(100));
    }));
    let found = layers.floor(TREE, key.as_bytes()).unwrap();
    let (_, block) = found.unwrap();
    assert!(block == "old" || block == "new", "{block:?}");
}

/// Between its two looks at the leaves a block may be cut, of which the one before is read and the other is not.
#[test]
fn a_row_is_found_while_its_block_is_cut_between_two_leaves() {
    for (key, is_there) in [("k0203", true), ("k0209", false)] {
        let trees = Arc::new(BlockTrees::over(MemoryBlocks::default(), 0));
        let rows = |numbers: std::ops::Range<u32>, end: &str| {
            let end = end.to_owned();
            numbers.map(move |number| {
                let key = Bytes::from(format!("k{number:04}{end}"));
                (TREE, key, Some(Bytes::from(vec![7; 100])))
            })
        };
        trees.apply(&mut rows(196..204, "")).unwrap();
        assert_eq!(trees.store.blocks.read().len(), 1);
        *trees.store.leaf.lock() = Some(Bytes::from_static(b"k02"));
        let writer = Arc::clone(&trees);
        *trees.store.behind_floor.lock() = Some(Box::new(move || {
            writer.apply(&mut rows(200..203, "a")).unwrap();
        }));
        let found = trees.get(TREE, key.as_bytes()).unwrap();
        assert_eq!(found.is_some(), is_there);
        let blocks = trees.store.blocks.read();
        let second = blocks.keys().nth(1).unwrap();
        assert!(second.1[..] > b"k02"[..] && second.1[..] < b"k0203"[..]);
    }
}
