//! The laws of blocks and of the layers below them.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::block::{decode, encode, find, last_key};
use super::super::layers::{Layers, SLICE_BYTES};
use super::super::{Trees, behind};
use super::BlockTrees;
use super::memory::MemoryBlocks;
use crate::backend::Tree;

const TREE: Tree = Tree::Entries;

type Blocks = BlockTrees<Layers<MemoryBlocks>>;
type Expected = BTreeMap<Bytes, Bytes>;

/// Any bytes are read as a block without a panic, and by all ways the same; and whatever is written to trees of blocks, they hold
/// what a map does, ends in the middle of a write included.
pub(crate) fn blocks(bytes: &[u8]) {
    let mut input = bytes;
    let key_bytes = usize::from(take(&mut input).unwrap_or(0) % 16).min(input.len());
    let (key, block) = input.split_at(key_bytes);
    one_block(key, &Bytes::copy_from_slice(block));
    operations(bytes);
}

fn one_block(key: &[u8], block: &Bytes) {
    let last = last_key(key, block);
    let Some(rows) = decode(key, block) else {
        let _ = find(key, block, key);
        return;
    };
    assert!(rows.is_sorted_by(|(one, _), (next, _)| one < next));
    assert_eq!(last.as_ref(), rows.last().map(|(key, _)| key));
    for (row, value) in &rows {
        assert_eq!(find(key, block, row), Some(Some(value.clone())));
        assert_ne!(find(key, block, &behind(row)), None);
    }
    let again = encode(key, &rows).map(Bytes::from);
    let again = again.and_then(|again| decode(key, &again));
    assert_eq!(again, Some(rows));
}

fn operations(mut bytes: &[u8]) {
    let input = &mut bytes;
    let slice_bytes = [40, SLICE_BYTES][pick(input, 2)];
    let cache_bytes = [0, 2_000, 32_768][pick(input, 3)];
    let over = |store| BlockTrees::over(Layers::over(store, slice_bytes), cache_bytes);
    let mut trees: Blocks = over(MemoryBlocks::default());
    let mut expected = Expected::new();
    let mut was_cut = false;
    while let Some(operation) = take(input) {
        match operation % 8 {
            0..=3 => {
                let writes = take_writes(input, slice_bytes);
                assert!(apply(&trees, &writes).is_ok());
                expect(&mut expected, writes);
            }
            4 => {
                let key = take_key(input, slice_bytes);
                let found = trees.get(TREE, &key);
                assert_eq!(found.ok(), Some(expected.get(&key).cloned()));
            }
            5 => {
                let (start, end) = (take_key(input, slice_bytes), take_key(input, slice_bytes));
                let limit = pick(input, 9);
                let found = trees.range(TREE, &start, Some(&end), limit);
                let wanted = expected.range(start..).take_while(|(key, _)| **key < end);
                let wanted = wanted.map(|(key, value)| (key.clone(), value.clone()));
                assert_eq!(found.ok(), Some(wanted.take(limit).collect()));
            }
            6 => {
                let writes = take_writes(input, slice_bytes);
                *trees.store.store().remaining.lock() = Some(pick(input, 20));
                was_cut |= apply(&trees, &writes).is_err();
                *trees.store.store().remaining.lock() = None;
                trees = reopened(trees, cache_bytes);
                assert!(trees.mend().is_ok());
                // As a replay does.
                assert!(apply(&trees, &writes).is_ok());
                expect(&mut expected, writes);
            }
            _ => trees = reopened(trees, cache_bytes),
        }
    }
    for limit in [1, 7, usize::MAX] {
        assert!(all(&trees, limit).into_iter().eq(expected.clone()));
    }
    let removals: Vec<_> = expected.into_keys().map(|key| (key, None)).collect();
    assert!(apply(&trees, &removals).is_ok());
    // Marks of layers that an end has left empty stay.
    assert!(was_cut || trees.store.store().blocks.read().is_empty());
}

fn reopened(trees: Blocks, cache_bytes: usize) -> Blocks {
    BlockTrees::over(trees.store, cache_bytes)
}

fn apply(trees: &Blocks, writes: &[(Bytes, Option<Bytes>)]) -> crate::error::Result<()> {
    let mut writes = writes.iter().cloned();
    trees.apply(&mut writes.by_ref().map(|(key, value)| (TREE, key, value)))
}

fn expect(expected: &mut Expected, writes: Vec<(Bytes, Option<Bytes>)>) {
    for (key, value) in writes {
        match value {
            Some(value) => expected.insert(key, value),
            None => expected.remove(&key),
        };
    }
}

fn all(trees: &Blocks, limit: usize) -> Vec<(Bytes, Bytes)> {
    let (mut start, mut all) = (Vec::new(), Vec::new());
    loop {
        let found = trees.range(TREE, &start, None, limit);
        assert!(found.is_ok());
        let found = found.unwrap_or_default();
        let Some((last, _)) = found.last() else {
            return all;
        };
        start = behind(last);
        all.extend(found);
    }
}

fn take(input: &mut &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    Some(*first)
}

fn pick(input: &mut &[u8], of: usize) -> usize {
    usize::from(take(input).unwrap_or(0)) % of
}

/// Names with much in common, of about the lengths at which a layer begins.
fn take_key(input: &mut &[u8], slice_bytes: usize) -> Bytes {
    let (layers, around, letter) = (pick(input, 4), pick(input, 3), pick(input, 2));
    let length = match layers {
        0 => 0,
        layers => layers * slice_bytes + around - 1,
    };
    let mut key = vec![[b'a', 0xc3][letter]; length];
    let name = take(input).unwrap_or(0);
    key.extend((0..name % 4).map(|place| (name >> (place + 2)) & 3));
    Bytes::from(key)
}

fn take_writes(input: &mut &[u8], slice_bytes: usize) -> Vec<(Bytes, Option<Bytes>)> {
    let count = 1 + pick(input, 12);
    let write = |_| {
        let key = take_key(input, slice_bytes);
        let size = usize::from(take(input).unwrap_or(0));
        let value = match size {
            0..64 => None,
            size => Some(Bytes::from(vec![7; (size - 64) * 20])),
        };
        (key, value)
    };
    (0..count).map(write).collect()
}
