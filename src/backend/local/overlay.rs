//! The overlay: commits newer than the checkpoint, in memory, over the trees.
//!
//! Each row keeps its versions, newest first, so that writers see the latest one, readers the settled one and an open
//! scan the one of its moment. Once the trees hold the versions up to the checkpoint they are dropped here, except
//! those an open scan still needs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use bytes::Bytes;

use crate::backend::Tree;

/// What a version takes besides its key and value, roughly: the map, the reference counts, the struct.
pub(super) const VERSION_BYTES: usize = 128;

/// A row as some commit left it; no value where it deleted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) revision: u64,
    pub(super) value: Option<Bytes>,
}

/// The versions of one row: the newest, and older ones, newest first.
#[derive(Debug)]
struct Versions {
    newest: Version,
    older: VecDeque<Version>,
}

impl Versions {
    fn all(&self) -> impl Iterator<Item = &Version> {
        std::iter::once(&self.newest).chain(&self.older)
    }

    fn at(&self, revision: u64) -> Option<&Version> {
        self.all().find(|version| version.revision <= revision)
    }

    fn oldest(&self) -> &Version {
        self.older.back().unwrap_or(&self.newest)
    }
}

fn bytes_of(key: &Bytes, version: &Version) -> usize {
    VERSION_BYTES + key.len() + version.value.as_ref().map_or(0, Bytes::len)
}

/// The moment an open scan sees, kept for it: no two are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pin {
    revision: u64,
    number: u64,
}

impl Pin {
    /// The commit after which the scan sees the rows.
    pub(super) fn revision(self) -> u64 {
        self.revision
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Overlay {
    trees: [BTreeMap<Bytes, Versions>; Tree::ALL.len()],
    /// The trees hold every commit up to this one, durably.
    checkpoint: u64,
    /// What the versions kept for open scans may take; beyond, the scans move on to the present.
    max_retained_bytes: usize,
    /// Bytes of the versions the trees do not hold yet.
    fresh_bytes: usize,
    /// Bytes of the versions kept only for open scans.
    retained_bytes: usize,
    /// Grows when versions are dropped: whoever read the trees before and looks here after must read again.
    generation: u64,
    /// Moments open scans see. Those of scans that had to move on are gone.
    pins: BTreeSet<Pin>,
    /// Those of them that need no chunks.
    pins_of_rows: BTreeSet<Pin>,
    next_pin: u64,
}

/// What the overlay knows of a row at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// This version; what the trees hold does not count.
    Version(Version),
    /// Nothing: the trees hold it.
    InTrees,
}

impl Overlay {
    /// Over trees that hold every commit up to `checkpoint`.
    pub(super) fn new(checkpoint: u64, max_retained_bytes: usize) -> Overlay {
        Overlay {
            trees: Default::default(),
            checkpoint,
            max_retained_bytes,
            fresh_bytes: 0,
            retained_bytes: 0,
            generation: 0,
            pins: BTreeSet::new(),
            pins_of_rows: BTreeSet::new(),
            next_pin: 0,
        }
    }

    /// The row at a moment; `u64::MAX` is the latest one.
    pub(super) fn get(&self, tree: Tree, key: &[u8], revision: u64) -> Known {
        self.tree(tree)
            .get(key)
            .and_then(|versions| versions.at(revision))
            .map_or(Known::InTrees, |version| Known::Version(version.clone()))
    }

    /// The rows from `start` to `end` that the overlay knows at a moment, at most `limit` of them, in order.
    pub(super) fn range(
        &self,
        tree: Tree,
        (start, end): (Bound<&[u8]>, Bound<&[u8]>),
        revision: u64,
        limit: usize,
    ) -> Vec<(Bytes, Version)> {
        if let (Bound::Included(from), Bound::Excluded(to)) = (start, end)
            && from >= to
        {
            return Vec::new();
        }
        self.tree(tree)
            .range::<[u8], _>((start, end))
            .filter_map(|(key, versions)| Some((key.clone(), versions.at(revision)?.clone())))
            .take(limit)
            .collect()
    }

    /// Adds a version newer than all others of its row.
    pub(super) fn insert(&mut self, tree: Tree, key: Bytes, version: Version) {
        self.fresh_bytes += bytes_of(&key, &version);
        match self.tree_mut(tree).entry(key) {
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert(Versions {
                    newest: version,
                    older: VecDeque::new(),
                });
            }
            std::collections::btree_map::Entry::Occupied(mut occupied) => {
                let versions = occupied.get_mut();
                let previous = std::mem::replace(&mut versions.newest, version);
                versions.older.push_front(previous);
            }
        }
    }

    /// Keeps what the trees hold of a row, for scans older than the version about to be applied over it.
    pub(super) fn keep_base(&mut self, tree: Tree, key: &[u8], base: Version) {
        let Some(versions) = self.tree_mut(tree).get_mut(key) else {
            return;
        };
        if versions.oldest().revision > base.revision {
            versions.older.push_back(base);
        }
    }

    /// Whether a scan is open at whose moment the overlay does not know the row.
    pub(super) fn needs_base(&self, tree: Tree, key: &[u8]) -> bool {
        let Some(oldest_pin) = self.oldest_pin() else {
            return false;
        };
        self.tree(tree)
            .get(key)
            .is_some_and(|versions| versions.oldest().revision > oldest_pin)
    }

    /// The trees hold every commit up to this one, durably.
    pub(super) fn checkpoint(&self) -> u64 {
        self.checkpoint
    }

    /// The newest version up to `revision` of every row that the trees do not hold yet, in order.
    pub(super) fn written(&self, revision: u64) -> Vec<(Tree, Bytes, Version)> {
        let mut rows = Vec::new();
        for tree in Tree::ALL {
            for (key, versions) in self.tree(tree) {
                if let Some(version) = versions.at(revision)
                    && version.revision > self.checkpoint
                {
                    rows.push((tree, key.clone(), version.clone()));
                }
            }
        }
        rows
    }

    /// Drops the versions up to `checkpoint`, which the trees now hold, and what no open scan needs any more.
    pub(super) fn drop_applied(&mut self, checkpoint: u64) {
        self.generation += 1;
        self.checkpoint = checkpoint;
        if self.retained_bytes > self.max_retained_bytes {
            // Those of the checkpoint itself and later cost nothing yet.
            self.pins.retain(|pin| pin.revision >= checkpoint);
            self.pins_of_rows.retain(|pin| pin.revision >= checkpoint);
        }
        let oldest_pin = self.oldest_pin();
        let (mut fresh, mut retained) = (0, 0);
        for rows in &mut self.trees {
            rows.retain(|key, versions| {
                prune(versions, checkpoint, oldest_pin);
                let newest = versions.newest.revision;
                if newest <= checkpoint && oldest_pin.is_none_or(|pin| newest <= pin) {
                    return false;
                }
                for version in versions.all() {
                    match version.revision > checkpoint {
                        true => fresh += bytes_of(key, version),
                        false => retained += bytes_of(key, version),
                    }
                }
                true
            });
        }
        self.fresh_bytes = fresh;
        self.retained_bytes = retained;
    }

    /// Opens a scan of this moment.
    pub(super) fn pin(&mut self, revision: u64) -> Pin {
        let pin = Pin {
            revision,
            number: self.next_pin,
        };
        self.next_pin += 1;
        self.pins.insert(pin);
        pin
    }

    /// Closes a scan of this moment.
    pub(super) fn unpin(&mut self, pin: Pin) {
        self.pins.remove(&pin);
        self.pins_of_rows.remove(&pin);
    }

    /// The scan of this moment needs rows alone.
    pub(super) fn let_chunks_go(&mut self, pin: Pin) {
        if self.pins.contains(&pin) {
            self.pins_of_rows.insert(pin);
        }
    }

    /// The moment of the oldest open scan that needs chunks as well.
    pub(super) fn oldest_pin_of_chunks(&self) -> Option<u64> {
        let of_chunks = |pin: &&Pin| !self.pins_of_rows.contains(pin);
        self.pins.iter().find(of_chunks).map(|pin| pin.revision)
    }

    /// The moment of the oldest open scan.
    pub(super) fn oldest_pin(&self) -> Option<u64> {
        self.pins.first().map(|pin| pin.revision)
    }

    /// Whether the scan of this moment must move on.
    pub(super) fn has_expired(&self, pin: Pin) -> bool {
        !self.pins.contains(&pin)
    }

    /// See the field.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Bytes the next checkpoint frees.
    pub(super) fn fresh_bytes(&self) -> usize {
        self.fresh_bytes
    }

    fn tree(&self, tree: Tree) -> &BTreeMap<Bytes, Versions> {
        &self.trees[tree as usize]
    }

    fn tree_mut(&mut self, tree: Tree) -> &mut BTreeMap<Bytes, Versions> {
        &mut self.trees[tree as usize]
    }
}

/// Drops the versions nobody can see: those older than what the oldest scan sees, and, with no scan, all that the
/// checkpoint made superfluous.
fn prune(versions: &mut Versions, checkpoint: u64, oldest_pin: Option<u64>) {
    let needed_at = oldest_pin.map_or(checkpoint, |pin| pin.min(checkpoint));
    // The version seen at that moment is the last one needed.
    let seen = versions
        .older
        .iter()
        .position(|version| version.revision <= needed_at);
    if versions.newest.revision <= needed_at {
        versions.older.clear();
    } else if let Some(seen) = seen {
        versions.older.truncate(seen + 1);
        // Without a scan the trees answer for the checkpoint.
        if oldest_pin.is_none() {
            versions.older.truncate(seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: Tree = Tree::Entries;

    fn version(revision: u64) -> Version {
        Version {
            revision,
            value: Some(Bytes::from(revision.to_string())),
        }
    }

    fn empty() -> Overlay {
        Overlay::new(0, 1024)
    }

    fn overlay(revisions: &[u64]) -> Overlay {
        let mut overlay = empty();
        for revision in revisions {
            overlay.insert(TREE, Bytes::from_static(b"k"), version(*revision));
        }
        overlay
    }

    #[test]
    fn each_moment_has_its_version() {
        let overlay = overlay(&[3, 5, 9]);
        assert_eq!(overlay.get(TREE, b"k", 2), Known::InTrees);
        assert_eq!(overlay.get(TREE, b"k", 3), Known::Version(version(3)));
        assert_eq!(overlay.get(TREE, b"k", 8), Known::Version(version(5)));
        assert_eq!(
            overlay.get(TREE, b"k", u64::MAX),
            Known::Version(version(9))
        );
        assert_eq!(overlay.get(Tree::Meta, b"k", 9), Known::InTrees);
    }

    #[test]
    fn a_checkpoint_empties_it() {
        let mut overlay = overlay(&[3, 5]);
        assert_eq!(
            overlay.written(4),
            [(TREE, Bytes::from_static(b"k"), version(3))]
        );
        overlay.drop_applied(4);
        assert_eq!(overlay.written(4), []);
        assert_eq!(overlay.get(TREE, b"k", 4), Known::InTrees);
        assert_eq!(overlay.get(TREE, b"k", 5), Known::Version(version(5)));
        overlay.drop_applied(5);
        assert_eq!(overlay.get(TREE, b"k", 5), Known::InTrees);
        assert_eq!(overlay.fresh_bytes(), 0);
    }

    #[test]
    fn an_open_scan_keeps_its_moment_over_checkpoints() {
        let mut overlay = overlay(&[5]);
        let pin = overlay.pin(4);
        assert!(overlay.needs_base(TREE, b"k"));
        overlay.keep_base(TREE, b"k", version(2));
        assert!(!overlay.needs_base(TREE, b"k"));
        overlay.drop_applied(5);
        assert_eq!(overlay.get(TREE, b"k", 4), Known::Version(version(2)));
        // The newest stays as well: the older one must not be taken for the present.
        assert_eq!(overlay.get(TREE, b"k", 5), Known::Version(version(5)));
        overlay.unpin(pin);
        overlay.drop_applied(5);
        assert_eq!(overlay.get(TREE, b"k", 5), Known::InTrees);
    }

    #[test]
    fn a_scan_between_two_versions_keeps_the_one_it_sees() {
        let mut overlay = overlay(&[3, 5, 9]);
        overlay.pin(6);
        overlay.drop_applied(9);
        assert_eq!(overlay.get(TREE, b"k", 6), Known::Version(version(5)));
        assert_eq!(overlay.get(TREE, b"k", 4), Known::InTrees);
    }

    #[test]
    fn a_scan_of_the_moment_at_which_others_expired_is_its_own() {
        let mut overlay = overlay(&[1]);
        let old = overlay.pin(0);
        overlay.insert(
            TREE,
            Bytes::from_static(b"k"),
            Version {
                revision: 2,
                value: Some(Bytes::from(vec![0; 4096])),
            },
        );
        overlay.drop_applied(2);
        assert!(!overlay.has_expired(old));
        overlay.drop_applied(2);
        assert!(overlay.has_expired(old));
        let new = overlay.pin(2);
        overlay.unpin(old);
        assert!(!overlay.has_expired(new));
        assert_eq!(overlay.oldest_pin(), Some(2));
        overlay.unpin(new);
        assert_eq!(overlay.oldest_pin(), None);
    }

    #[test]
    fn what_only_scans_need_is_not_fresh() {
        let mut overlay = Overlay::new(0, 10_000);
        let key = Bytes::from_static(b"hot");
        let pin = overlay.pin(0);
        let large = |revision| Version {
            revision,
            value: Some(Bytes::from(vec![0; 100])),
        };
        let one = bytes_of(&key, &large(1));
        for revision in 1..=10 {
            overlay.insert(TREE, key.clone(), large(revision));
        }
        assert_eq!(overlay.fresh_bytes(), 10 * one);
        overlay.drop_applied(8);
        assert_eq!(
            (overlay.fresh_bytes(), overlay.retained_bytes),
            (2 * one, 8 * one)
        );
        overlay.drop_applied(10);
        assert_eq!(
            (overlay.fresh_bytes(), overlay.retained_bytes),
            (0, 10 * one)
        );
        overlay.unpin(pin);
        overlay.drop_applied(10);
        assert_eq!((overlay.fresh_bytes(), overlay.retained_bytes), (0, 0));
    }

    #[test]
    fn ranges_are_in_order_and_bounded() {
        let mut overlay = empty();
        for key in ["a", "b", "c", "d"] {
            overlay.insert(TREE, Bytes::from_static(key.as_bytes()), version(1));
        }
        let range = |start: &'static [u8], end: &'static [u8], limit| {
            overlay
                .range(
                    TREE,
                    (Bound::Included(start), Bound::Excluded(end)),
                    1,
                    limit,
                )
                .into_iter()
                .map(|(key, _)| String::from_utf8(key.to_vec()).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(range(b"b", b"d", 9), ["b", "c"]);
        assert_eq!(range(b"a", b"z", 2), ["a", "b"]);
        assert!(range(b"z", b"a", 9).is_empty());
    }
}
