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

    /// The row at a moment that is pinned; `u64::MAX` is the latest one.
    pub(super) fn get(&self, tree: Tree, key: &[u8], revision: u64) -> Known {
        self.tree(tree)
            .get(key)
            .and_then(|versions| versions.at(revision))
            .map_or(Known::InTrees, |version| Known::Version(version.clone()))
    }

    /// The row as it has settled: at this moment, or at the checkpoint, where that has come since. Of the time before there are
    /// only the versions that scans see.
    pub(super) fn settled(&self, tree: Tree, key: &[u8], moment: u64) -> Known {
        self.get(tree, key, moment.max(self.checkpoint))
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
                prune(versions, checkpoint, &self.pins);
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

/// Drops the versions nobody can see: of those that the trees hold or have held, all at whose time no scan is open. A row that is
/// written all the time so costs each scan one version.
fn prune(versions: &mut Versions, checkpoint: u64, pins: &BTreeSet<Pin>) {
    let begin_of = |revision| Pin {
        revision,
        number: 0,
    };
    let mut newer = versions.newest.revision;
    // Of the newest one that the trees hold: it hides those before from who reads the present.
    let mut is_hiding = false;
    let mut hidden = 0;
    versions.older.retain(|version| {
        let mut scans = pins.range(begin_of(version.revision)..begin_of(newer));
        let is_seen = scans.next().is_some();
        let is_fresh = version.revision > checkpoint;
        let is_first = !is_fresh && newer > checkpoint;
        is_hiding |= is_first && !is_seen;
        hidden += usize::from(!is_first && !is_fresh && is_seen);
        newer = version.revision;
        is_fresh || is_first || is_seen
    });
    // Without any the trees answer for themselves.
    if is_hiding && hidden == 0 {
        versions.older.pop_back();
    }
}

#[cfg(test)]
mod tests;
