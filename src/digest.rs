//! The BLAKE3 digest of a stream that is written in parts, with anything in between: also the end of the process.
//!
//! BLAKE3 is a binary tree over chunks of 1 KiB. A subtree that is complete, and is not the whole input, has a chaining
//! value that no later byte changes. So a stream can be put aside as the chaining values of its complete subtrees
//! and taken up again with only its last bytes at hand:
//!
//! ```text
//!  leaves of 64 KiB   0   1   2   3   4   5   6
//!                     └─┬─┘   └─┬─┘   └─┬─┘   tail: 1 byte to 64 KiB
//!                       └───┬───┘       │
//!  subtrees kept            A           B          6 = 0b110: one for each bit, largest first
//! ```
//!
//! The root is hashed with a flag of its own, so nothing may be finished as a subtree that could turn out to be the
//! root. Hence the one rule of this file: **a leaf is finished only when the byte after it has come.** The tail
//! is never empty then, unless the stream is, and every leaf and subtree left of it is certainly not the root.

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::metadata::Digest;

/// 64 BLAKE3 chunks: a power of two of them, as a subtree must be, and enough for the widest vector instructions.
const LEAF_BYTES: u64 = 64 * 1024;

/// The chaining value of a complete subtree.
type ChainingValue = [u8; 32];

/// Hashes a stream; see the [module](self).
#[derive(Clone)]
pub(crate) struct ContentHasher {
    /// Leaves that are finished.
    leaves: u64,
    /// The complete subtrees they make: one for each bit set in `leaves`, largest first.
    subtrees: Vec<ChainingValue>,
    /// What follows the finished leaves: at most one leaf, at least a byte unless the stream is empty.
    tail: blake3::Hasher,
}

/// A stream put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HashState {
    /// Bytes of the stream.
    pub(crate) length: u64,
    /// The complete subtrees of its first [`ContentHasher::tail_start`] bytes: one for each bit set in the number
    /// of 64 KiB leaves that are in these, largest first.
    pub(crate) subtrees: Vec<[u8; 32]>,
}

impl ContentHasher {
    /// An empty stream.
    pub(crate) fn new() -> ContentHasher {
        ContentHasher {
            leaves: 0,
            subtrees: Vec::new(),
            tail: blake3::Hasher::new(),
        }
    }

    /// Where the tail of a stream of this length begins: the largest multiple of 64 KiB strictly below it, or 0.
    pub(crate) fn tail_start(length: u64) -> u64 {
        length.saturating_sub(1) / LEAF_BYTES * LEAF_BYTES
    }

    /// Takes up a stream of `length` bytes. `tail` is all of it from [`tail_start`](Self::tail_start) on: at most 64 KiB.
    /// `None` where the subtrees or the tail are not as many as such a stream has.
    pub(crate) fn resume(
        length: u64,
        subtrees: Vec<[u8; 32]>,
        tail: &[u8],
    ) -> Option<ContentHasher> {
        let start = Self::tail_start(length);
        let leaves = start / LEAF_BYTES;
        let bits = usize::try_from(leaves.count_ones()).ok()?;
        if subtrees.len() != bits || u64::try_from(tail.len()).ok()? != length - start {
            return None;
        }
        let mut hasher = ContentHasher {
            leaves,
            subtrees,
            tail: blake3::Hasher::new(),
        };
        hasher.tail.set_input_offset(start).update(tail);
        Some(hasher)
    }

    /// Adds `input` to the stream.
    pub(crate) fn update(&mut self, mut input: &[u8]) {
        while !input.is_empty() {
            if self.tail.count() == LEAF_BYTES {
                self.finish_leaf();
            }
            let space = usize::try_from(LEAF_BYTES - self.tail.count()).unwrap_or(usize::MAX);
            let (now, later) = input.split_at(space.min(input.len()));
            self.tail.update(now);
            input = later;
        }
    }

    /// Makes the full tail a leaf and joins the subtrees that it completes. Only when a byte is about to follow.
    fn finish_leaf(&mut self) {
        let mut subtree = self.tail.finalize_non_root();
        self.leaves += 1;
        for _ in 0..self.leaves.trailing_zeros() {
            if let Some(left) = self.subtrees.pop() {
                subtree = merge_subtrees_non_root(&left, &subtree, Mode::Hash);
            }
        }
        self.subtrees.push(subtree);
        // Not `reset`, which forgets only half of the offset.
        self.tail = blake3::Hasher::new();
        self.tail.set_input_offset(self.leaves * LEAF_BYTES);
    }

    /// The digest of all that was added so far; more may follow.
    pub(crate) fn finalize(&self) -> Digest {
        let Some((root, inner)) = self.subtrees.split_first() else {
            return Digest::from(*self.tail.finalize().as_bytes());
        };
        let join = |right, left: &ChainingValue| merge_subtrees_non_root(left, &right, Mode::Hash);
        let right = inner.iter().rfold(self.tail.finalize_non_root(), join);
        Digest::from(*merge_subtrees_root(root, &right, Mode::Hash).as_bytes())
    }

    /// Bytes added so far.
    pub(crate) fn len(&self) -> u64 {
        self.leaves * LEAF_BYTES + self.tail.count()
    }

    /// The stream as it can be put aside: [`resume`](Self::resume) takes it up again.
    pub(crate) fn state(&self) -> HashState {
        HashState {
            length: self.len(),
            subtrees: self.subtrees.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEAF: usize = 64 * 1024;

    /// Bytes in which no two leaves are alike, so that a swapped one shows.
    fn bytes(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn put_aside(hasher: &ContentHasher, written: &[u8]) -> ContentHasher {
        let HashState { length, subtrees } = hasher.state();
        assert_eq!(length, written.len() as u64);
        let start = usize::try_from(ContentHasher::tail_start(length)).unwrap();
        ContentHasher::resume(length, subtrees, &written[start..]).unwrap()
    }

    #[test]
    fn equal_to_plain_blake3_around_every_boundary() {
        let content = bytes(20 * LEAF + 1);
        let mut lengths = vec![0, 1, 2, 63, 64, 65, 1023, 1024, 1025, 2047, 2048, 2049];
        for leaves in [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 20] {
            lengths.extend([leaves * LEAF - 1, leaves * LEAF, leaves * LEAF + 1]);
        }
        for length in lengths {
            let content = &content[..length];
            let expected = Digest::of(content);
            let mut hasher = ContentHasher::new();
            hasher.update(content);
            assert_eq!(hasher.finalize(), expected, "{length} bytes at once");
            assert_eq!(hasher.len(), length as u64);
            assert_eq!(
                put_aside(&hasher, content).finalize(),
                expected,
                "{length} bytes, resumed"
            );
            assert_eq!(put_aside(&hasher, content).state(), hasher.state());
        }
    }

    #[test]
    fn the_state_is_one_subtree_for_each_bit_of_the_leaves_strictly_before_the_end() {
        let content = bytes(9 * LEAF);
        let subtrees = |length: usize| {
            let mut hasher = ContentHasher::new();
            hasher.update(&content[..length]);
            hasher.state().subtrees
        };
        for (length, expected) in [
            (0, 0),
            (LEAF, 0),
            (LEAF + 1, 1),
            (2 * LEAF, 1),
            (2 * LEAF + 1, 1),
            (3 * LEAF + 1, 2),
            (4 * LEAF, 2),
            (7 * LEAF + 1, 3),
            (8 * LEAF + 1, 1),
        ] {
            assert_eq!(subtrees(length).len(), expected, "{length} bytes");
        }
        let left = blake3::Hasher::new()
            .update(&content[..2 * LEAF])
            .finalize_non_root();
        assert_eq!(subtrees(3 * LEAF + 1)[0], left);
        assert_eq!(ContentHasher::tail_start(0), 0);
        assert_eq!(ContentHasher::tail_start(LEAF_BYTES), 0);
        assert_eq!(ContentHasher::tail_start(LEAF_BYTES + 1), LEAF_BYTES);
        assert_eq!(ContentHasher::tail_start(2 * LEAF_BYTES), LEAF_BYTES);
    }

    #[test]
    fn what_does_not_fit_the_length_is_refused() {
        let content = bytes(3 * LEAF + 5);
        let mut hasher = ContentHasher::new();
        hasher.update(&content);
        let HashState { length, subtrees } = hasher.state();
        let tail = &content[3 * LEAF..];
        let resumes = |length, subtrees: &[_], tail| {
            ContentHasher::resume(length, subtrees.to_vec(), tail).is_some()
        };
        assert!(resumes(length, &subtrees, tail));
        assert!(!resumes(length, &subtrees[..1], tail));
        assert!(!resumes(
            length,
            &[subtrees[0], subtrees[1], subtrees[1]],
            tail
        ));
        assert!(!resumes(length, &subtrees, &tail[1..]));
        assert!(!resumes(length, &subtrees, &content[3 * LEAF - 1..]));
        assert!(!resumes(length + 1, &subtrees, tail));
        assert!(!resumes(0, &[], b"x"));
        assert!(!resumes(u64::MAX, &subtrees, tail));
        assert!(resumes(0, &[], b""));
    }

    #[test]
    fn appending_nothing_changes_nothing() {
        let content = bytes(2 * LEAF);
        let mut hasher = ContentHasher::new();
        hasher.update(&content);
        let state = hasher.state();
        hasher.update(&[]);
        assert_eq!(hasher.state(), state);
        assert_eq!(hasher.finalize(), Digest::of(&content));
    }

    /// Parts of every size that matters: bytes, chunks, leaves and several leaves.
    fn part() -> impl Strategy<Value = usize> {
        prop_oneof![
            0..70usize,
            1000..1100usize,
            LEAF - 2..=LEAF + 2,
            0..3 * LEAF,
            (1..6usize).prop_map(|leaves| leaves * LEAF),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn any_parts_with_any_pauses_make_the_same_digest(
            parts in prop::collection::vec((part(), any::<bool>()), 0..8)
        ) {
            let content = bytes(parts.iter().map(|(length, _)| length).sum());
            let mut hasher = ContentHasher::new();
            let mut written = 0;
            for (length, pause) in parts {
                hasher.update(&content[written..written + length]);
                written += length;
                if pause {
                    hasher = put_aside(&hasher, &content[..written]);
                }
                prop_assert_eq!(hasher.finalize(), Digest::of(&content[..written]));
            }
        }
    }
}
