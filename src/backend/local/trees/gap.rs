//! Going on behind rows that cannot be read.
//!
//! What fails is a leaf of the trees, and nothing tells where the next one begins; a range that starts within the leaf
//! fails, one that starts behind it does not. So the place is looked for by reading: outwards from the bad one until a
//! range can be read, then back inwards to the first place from which it can.

use super::Trees;
use crate::backend::Tree;

/// How much longer a key behind the gap may be than what is known of it, to be found to the byte.
const SLACK_BYTES: usize = 8;
/// How many times longer each stride is than the one before.
const GROWTH: u8 = 4;

/// The first place behind `bad`, from which no row can be read, where rows can be read again; `None` where that is
/// nowhere before the last row. It may lie behind `end`.
///
/// Rows between two gaps may be passed over, where a place tried on the way outwards lies in the second one. Some
/// 60 to 150 reads that fail, and fewer that do not.
pub(crate) fn behind(
    trees: &dyn Trees,
    tree: Tree,
    bad: &[u8],
    end: Option<&[u8]>,
) -> Option<Vec<u8>> {
    let reads = |key: &[u8]| trees.range(tree, key, end, 1).is_ok();
    let outwards = (0..=bad.len()).rev().find_map(|length| {
        let prefix = &bad[..length];
        let found = next_byte(prefix, byte_behind(bad, prefix), &reads)?;
        Some(pair(prefix, found))
    });
    let last = || {
        let last = vec![u8::MAX; bad.len() + SLACK_BYTES];
        reads(&last).then(|| (Some(vec![u8::MAX]), last))
    };
    let (mut failing, mut found) = outwards.or_else(last)?;
    let longest = found.len().max(bad.len()) + SLACK_BYTES;
    while let Some(prefix) = failing.take_if(|failing| failing.len() < longest) {
        let closer = next_byte(&prefix, byte_behind(bad, &prefix), &reads);
        let (further, closer) = match closer {
            Some(byte) => pair(&prefix, byte),
            None => (Some([&prefix[..], &[u8::MAX]].concat()), found),
        };
        (failing, found) = (further, closer);
    }
    Some(found)
}

/// The first byte that makes of `prefix` a place behind `bad`.
fn byte_behind(bad: &[u8], prefix: &[u8]) -> usize {
    match bad.strip_prefix(prefix) {
        Some([next, ..]) => usize::from(*next) + 1,
        _ => 0,
    }
}

/// The place `prefix` and `byte`, behind the one from which nothing can be read, where one lies between them.
fn pair(prefix: &[u8], byte: u8) -> (Option<Vec<u8>>, Vec<u8>) {
    let with = |byte| [prefix, &[byte]].concat();
    (byte.checked_sub(1).map(with), with(byte))
}

/// The first byte from `first` on with which the place can be read, looked for in strides that grow; and again with smaller
/// ones in the last of them, until nothing lies between. What lies between two gaps is passed over only where a stride
/// had grown beyond it: a read that fails may take a fifth of a second.
fn next_byte(prefix: &[u8], first: usize, reads: &dyn Fn(&[u8]) -> bool) -> Option<u8> {
    let reads = |byte: u8| reads(&[prefix, &[byte]].concat());
    let mut low = u8::try_from(first).ok()?;
    let mut found = None;
    let mut stride = 0;
    while found.is_none_or(|found| low < found) {
        let high = low.saturating_add(stride);
        // The stride that ends where it can be read: anew from its beginning.
        let reaches = found.is_some_and(|found| high >= found);
        if reaches && stride > 0 {
            stride = 0;
        } else if reads(high) {
            found = Some(high);
            stride = 0;
        } else {
            let Some(next) = high.checked_add(1) else {
                break;
            };
            low = next;
            stride = stride.saturating_mul(GROWTH).saturating_add(1);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::super::fault::FaultTrees;
    use super::super::memory::MemoryTrees;
    use super::*;

    const TREE: Tree = Tree::Chunks;

    fn trees(keys: &[Bytes]) -> FaultTrees {
        let inner = MemoryTrees::new();
        let mut rows = keys
            .iter()
            .map(|key| (TREE, key.clone(), Some(Bytes::new())));
        inner.apply(&mut rows).unwrap();
        FaultTrees::new(Arc::new(inner))
    }

    /// Keys that end in the lowest and in the highest byte, keys that begin with another one, the empty one.
    fn awkward_keys() -> Vec<Bytes> {
        let bytes = [0, 1, 0x7f, 0xfe, 0xff];
        let mut keys = vec![Bytes::new()];
        for one in bytes {
            keys.push(Bytes::from(vec![one]));
            for other in bytes {
                keys.push(Bytes::from(vec![one, other]));
                keys.push(Bytes::from(vec![one, other, 0, 0]));
                keys.push(Bytes::from(vec![one, other, 0xff, 0xff, 0xff]));
            }
        }
        keys.sort();
        keys
    }

    #[test]
    fn the_first_row_behind_a_gap_is_found_whatever_the_keys() {
        let keys = awkward_keys();
        for from in 0..keys.len() {
            for to in from + 1..keys.len() {
                let trees = trees(&keys);
                trees.damage(TREE, &keys[from], Some(&keys[to]));
                // As a scan comes there: from behind the row before, or from a place within.
                let before = from.checked_sub(1).map(|before| keys[before].to_vec());
                let first = before.map_or(Vec::new(), |before| [&before[..], &[0]].concat());
                for bad in [&first[..], &keys[from], &keys[to - 1]] {
                    let behind = behind(&trees, TREE, bad, None).unwrap();
                    assert!(&behind[..] > bad);
                    let rows = trees.range(TREE, &behind, None, 1).unwrap();
                    assert_eq!(rows[0].0, keys[to], "{from}..{to}");
                }
            }
        }
    }

    #[test]
    fn behind_a_gap_to_the_end_there_is_nothing() {
        let keys = awkward_keys();
        let trees = trees(&keys);
        trees.damage(TREE, [5], None);
        assert_eq!(behind(&trees, TREE, &[4], None), None);
        let end = behind(&trees, TREE, &[4], Some(&[6])).unwrap();
        assert_eq!(end, [6], "the end of what was asked for");
    }
}
