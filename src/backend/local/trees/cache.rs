//! Blocks that were read or written lately, in memory.
//!
//! To find a block sled walks its index and copies a leaf. Here it is one lookup in a map; and a row that is not there needs
//! no more, since each block is kept with the keys it is known to reach to.
//!
//! A block that is read while another thread writes it may be the former one. So a reader takes the time before it reads,
//! and what it read is kept only where nothing was written since. Writers tell before they write, and after.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::backend::Tree;
use crate::sync::RwLock;
use crate::sync::atomic::{AtomicBool, Ordering};

/// What a block takes besides its bytes and keys, roughly.
const OVERHEAD_BYTES: usize = 192;

/// A key in the cache, where it is compared. A search compares some fifteen: with each of them elsewhere in memory, that took
/// longer than all the rest of finding a row (1.4 of 3.7 us in 34 MiB of documents, and 0.8 like this).
type BlockKey = SmallVec<[u8; 36]>;

/// A block and how far it reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) key: Bytes,
    pub(super) block: Bytes,
    /// Where no other block begins: up to this key, from the block's own on.
    pub(super) reach: Bound<Bytes>,
}

/// A moment: how many writes had begun or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(u64);

/// See the [module](self).
pub(super) struct BlockCache {
    inner: RwLock<Inner>,
    max_bytes: usize,
}

#[derive(Default)]
struct Inner {
    trees: [BTreeMap<BlockKey, Kept>; Tree::ALL.len()],
    bytes: usize,
    writes: u64,
    /// Where the search for a block to let go of continues.
    hand: (usize, BlockKey),
}

struct Kept {
    block: Bytes,
    reach: Bound<Bytes>,
    /// Since the hand passed.
    was_used: AtomicBool,
}

impl Kept {
    fn reaches(&self, key: &[u8]) -> bool {
        match &self.reach {
            Bound::Unbounded => true,
            Bound::Included(last) => key <= &last[..],
            Bound::Excluded(end) => key < &end[..],
        }
    }

    fn bytes(&self, key: &[u8]) -> usize {
        let reach = match &self.reach {
            Bound::Unbounded => 0,
            Bound::Included(key) | Bound::Excluded(key) => key.len(),
        };
        OVERHEAD_BYTES + key.len() + reach + self.block.len()
    }
}

impl BlockCache {
    pub(super) fn new(max_bytes: usize) -> BlockCache {
        BlockCache {
            inner: RwLock::default(),
            max_bytes,
        }
    }

    /// The block that a row of this key lies in or would lie in, where it is known.
    pub(super) fn find(&self, tree: Tree, key: &[u8]) -> Option<Found> {
        self.look(tree, key, |block_key, kept| Found {
            key: Bytes::copy_from_slice(block_key),
            block: kept.block.clone(),
            reach: kept.reach.clone(),
        })
    }

    /// What `look` makes of the key and the bytes of that block.
    pub(super) fn look_at<R>(
        &self,
        tree: Tree,
        key: &[u8],
        look: impl FnOnce(&[u8], &Bytes) -> R,
    ) -> Option<R> {
        self.look(tree, key, |block_key, kept| look(block_key, &kept.block))
    }

    fn look<R>(&self, tree: Tree, key: &[u8], look: impl FnOnce(&[u8], &Kept) -> R) -> Option<R> {
        let inner = self.inner.read();
        let upto = (Bound::Unbounded, Bound::Included(key));
        let (block_key, kept) = inner.trees[tree as usize]
            .range::<[u8], _>(upto)
            .next_back()?;
        if !kept.reaches(key) {
            return None;
        }
        // Written only where it changes: other processors have it, too.
        if !kept.was_used.load(Ordering::Relaxed) {
            kept.was_used.store(true, Ordering::Relaxed);
        }
        Some(look(block_key, kept))
    }

    /// To be taken before a block is read.
    pub(super) fn now(&self) -> Moment {
        Moment(self.inner.read().writes)
    }

    /// Keeps a block that was read, where nothing was written since `moment`.
    pub(super) fn keep(&self, moment: Moment, tree: Tree, found: &Found) {
        let mut inner = self.inner.write();
        if Moment(inner.writes) == moment {
            inner.keep(tree, found, self.max_bytes);
        }
    }

    /// Lets go of everything, for good where nothing can be read any more.
    pub(super) fn forget(&self) {
        let mut inner = self.inner.write();
        let writes = inner.writes + 1;
        *inner = Inner {
            writes,
            ..Inner::default()
        };
    }

    /// The block of this key is about to be written.
    pub(super) fn begin(&self, tree: Tree, key: &[u8]) {
        let mut inner = self.inner.write();
        inner.writes += 1;
        inner.remove(tree, key);
    }

    /// It was written, and is this now; or it is gone, or nobody knows.
    pub(super) fn end(&self, tree: Tree, key: &[u8], written: Option<&Found>) {
        let mut inner = self.inner.write();
        inner.writes += 1;
        // Of who read it meanwhile.
        inner.remove(tree, key);
        if let Some(found) = written {
            inner.keep(tree, found, self.max_bytes);
        }
    }
}

impl Inner {
    fn remove(&mut self, tree: Tree, key: &[u8]) {
        if let Some((key, kept)) = self.trees[tree as usize].remove_entry(key) {
            self.bytes -= kept.bytes(&key);
        }
    }

    fn keep(&mut self, tree: Tree, found: &Found, max_bytes: usize) {
        self.remove(tree, &found.key);
        let kept = Kept {
            block: found.block.clone(),
            reach: found.reach.clone(),
            was_used: AtomicBool::new(false),
        };
        self.bytes += kept.bytes(&found.key);
        self.trees[tree as usize].insert(BlockKey::from_slice(&found.key), kept);
        while self.bytes > max_bytes {
            self.let_go();
        }
    }

    /// Lets go of the next block that was not used since the hand came by (CLOCK; Corbato, 1968).
    fn let_go(&mut self) {
        loop {
            let (tree, from) = &self.hand;
            let behind = (Bound::Excluded(&from[..]), Bound::Unbounded);
            // The empty key is a block's, too.
            let behind = match from.is_empty() {
                true => (Bound::Unbounded, Bound::Unbounded),
                false => behind,
            };
            let next = self.trees[*tree].range::<[u8], _>(behind).next();
            let Some((key, kept)) = next else {
                self.hand = ((tree + 1) % self.trees.len(), BlockKey::new());
                continue;
            };
            let (tree, key) = (*tree, key.clone());
            let was_used = kept.was_used.swap(false, Ordering::Relaxed);
            if !was_used {
                if let Some(kept) = self.trees[tree].remove(&key) {
                    self.bytes -= kept.bytes(&key);
                }
                self.hand = (tree, key);
                return;
            }
            self.hand = (tree, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: Tree = Tree::Entries;

    fn found(key: &'static str, block: &'static str, reach: Bound<&'static str>) -> Found {
        Found {
            key: Bytes::from_static(key.as_bytes()),
            block: Bytes::from_static(block.as_bytes()),
            reach: reach.map(|key| Bytes::from_static(key.as_bytes())),
        }
    }

    fn find(cache: &BlockCache, key: &str) -> Option<Bytes> {
        let found = cache.find(TREE, key.as_bytes())?;
        Some(found.block)
    }

    #[test]
    fn a_block_is_found_as_far_as_it_is_known_to_reach() {
        let cache = BlockCache::new(10_000);
        let blocks = [
            found("b", "one", Bound::Included("bc")),
            found("d", "two", Bound::Excluded("f")),
            found("g", "three", Bound::Unbounded),
        ];
        for block in &blocks {
            cache.keep(cache.now(), TREE, block);
        }
        let expected = [
            ("a", None),
            ("b", Some("one")),
            ("bc", Some("one")),
            ("bc\0", None),
            ("d", Some("two")),
            ("ezz", Some("two")),
            ("f", None),
            ("g", Some("three")),
            ("z", Some("three")),
        ];
        for (key, block) in expected {
            let block = block.map(|block| Bytes::from_static(block.as_bytes()));
            assert_eq!(find(&cache, key), block, "{key}");
            assert!(cache.find(Tree::Meta, key.as_bytes()).is_none());
        }
    }

    #[test]
    fn what_was_read_before_a_write_or_beside_it_does_not_stay() {
        let cache = BlockCache::new(10_000);
        let (former, present) = (
            found("a", "former", Bound::Unbounded),
            found("a", "present", Bound::Unbounded),
        );
        let before = cache.now();
        cache.keep(before, TREE, &former);
        cache.begin(TREE, b"a");
        assert_eq!(find(&cache, "a"), None, "nobody knows");
        cache.keep(before, TREE, &former);
        assert_eq!(find(&cache, "a"), None, "read before");
        let beside = cache.now();
        cache.keep(beside, TREE, &former);
        cache.end(TREE, b"a", None);
        assert_eq!(find(&cache, "a"), None, "read beside");
        cache.keep(beside, TREE, &former);
        assert_eq!(find(&cache, "a"), None, "kept after");
        cache.begin(TREE, b"a");
        cache.end(TREE, b"a", Some(&present));
        assert_eq!(find(&cache, "a").unwrap(), "present");
    }

    #[test]
    fn it_lets_go_of_what_is_not_used() {
        let cache = BlockCache::new(20 * (OVERHEAD_BYTES + 100));
        let block = |number: u32| Found {
            key: Bytes::from(format!("{number:04}")),
            block: Bytes::from(vec![0; 92]),
            reach: Bound::Included(Bytes::from(format!("{number:04}"))),
        };
        for number in 0..1000 {
            cache.keep(cache.now(), TREE, &block(number));
            assert!(find(&cache, "0000").is_some(), "used every time");
            assert!(cache.inner.read().bytes <= cache.max_bytes);
        }
        let kept = (0..1000).filter(|number| find(&cache, &format!("{number:04}")).is_some());
        assert_eq!(kept.count(), 20);
        let nothing = BlockCache::new(0);
        nothing.keep(nothing.now(), TREE, &block(1));
        assert_eq!(find(&nothing, "0001"), None);
        assert_eq!(nothing.inner.read().bytes, 0);
    }
}
