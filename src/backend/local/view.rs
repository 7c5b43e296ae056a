//! Reading: the overlay over the trees, at a moment.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::overlay::{Known, Pin, Version};
use super::trees::gap;
use super::{Core, row};
use crate::backend::{Row, Scan, Tree, View};
use crate::error::{Error, Result};

/// Rows a scan fetches at first, where it is not told how many are wanted, and after a seek: who looks for one needs few.
const FIRST_BATCH_ROWS: usize = 8;
/// Rows of the next fetch; each further one doubles, up to the larger one.
const SECOND_BATCH_ROWS: usize = 32;
const MAX_BATCH_ROWS: usize = 512;
/// The moment behind all commits.
pub(super) const LATEST: u64 = u64::MAX;

/// Some rows in order, each sound or not.
pub(super) type Rows = Vec<(Bytes, Result<Row>)>;

impl Core {
    /// See [`Backend::get`](crate::backend::Backend::get).
    pub(super) fn get(&self, view: View, tree: Tree, key: &[u8]) -> Result<Option<Row>> {
        let settled = self.settling.settled();
        // First the overlay: what leaves it meanwhile is in the trees by then.
        let (known, generation) = {
            let overlay = self.overlay.read();
            let known = match view {
                View::Settled => overlay.settled(tree, key, settled),
                View::Latest => overlay.get(tree, key, LATEST),
            };
            (known, overlay.generation())
        };
        match (known, view) {
            (Known::Version(version), _) => Ok(row_of(version)),
            (Known::InTrees, View::Settled) => self.row_in_trees(tree, key),
            (Known::InTrees, View::Latest) => {
                if let Some(row) = self.recent.get(generation, tree, key) {
                    return Ok(row);
                }
                let row = self.row_in_trees(tree, key)?;
                self.recent.note(generation, tree, key, row.as_ref());
                Ok(row)
            }
        }
    }

    fn row_in_trees(&self, tree: Tree, key: &[u8]) -> Result<Option<Row>> {
        let bytes = self.trees.get(tree, key)?;
        bytes.map(|bytes| row::open(tree, key, &bytes)).transpose()
    }

    /// About `limit` rows at a moment that is pinned, or the latest. Also tells up to which key (inclusive) all rows
    /// are among them; `None` where there are no more.
    pub(super) fn rows(
        &self,
        tree: Tree,
        start: &[u8],
        end: Option<&[u8]>,
        moment: u64,
        limit: usize,
    ) -> Result<(Rows, Option<Bytes>)> {
        loop {
            let generation = self.overlay.read().generation();
            // First the trees: what is applied meanwhile has its former version in the overlay by then.
            let mut in_trees = self.trees.range(tree, start, end, limit)?;
            let overlay = self.overlay.read();
            if overlay.generation() != generation {
                continue;
            }
            let mut complete_to = (in_trees.len() == limit)
                .then(|| in_trees.last().map(|(key, _)| key.clone()))
                .flatten();
            let bounds = (
                Bound::Included(start),
                match (&complete_to, end) {
                    (Some(last), _) => Bound::Included(&last[..]),
                    (None, Some(end)) => Bound::Excluded(end),
                    (None, None) => Bound::Unbounded,
                },
            );
            let over = overlay.range(tree, bounds, moment, limit);
            drop(overlay);
            if over.len() == limit {
                complete_to = over.last().map(|(key, _)| key.clone());
                in_trees.retain(|(key, _)| complete_to.as_ref().is_none_or(|last| key <= last));
            }
            return Ok((merge(tree, in_trees, over), complete_to));
        }
    }
}

fn row_of(version: Version) -> Option<Row> {
    version.value.map(|value| Row {
        revision: version.revision,
        value,
    })
}

/// Merges rows of the trees with rows of the overlay, which win.
fn merge(tree: Tree, in_trees: Vec<(Bytes, Bytes)>, over: Vec<(Bytes, Version)>) -> Rows {
    let mut rows = Rows::with_capacity(in_trees.len() + over.len());
    let mut over = over.into_iter().peekable();
    let push = |rows: &mut Rows, (key, version): (Bytes, Version)| {
        if let Some(row) = row_of(version) {
            rows.push((key, Ok(row)));
        }
    };
    for (key, bytes) in in_trees {
        while let Some(before) = over.next_if(|(other, _)| *other < key) {
            push(&mut rows, before);
        }
        match over.next_if(|(other, _)| *other == key) {
            Some(same) => push(&mut rows, same),
            None => {
                let row = row::open(tree, &key, &bytes);
                rows.push((key, row));
            }
        }
    }
    over.for_each(|rest| push(&mut rows, rest));
    rows
}

/// An open scan; its moment is pinned in the overlay.
pub(super) struct LocalScan {
    core: Arc<Core>,
    tree: Tree,
    pin: Pin,
    /// Whether every row came from the moment at which it was opened.
    is_of_one_moment: bool,
    needs_chunks: bool,
    /// Where the next fetch begins; `None` where there is nothing more to fetch.
    next: Option<Vec<u8>>,
    end: Option<Vec<u8>>,
    fetched: VecDeque<(Bytes, Result<Row>)>,
    batch: usize,
}

impl LocalScan {
    /// Opens a scan of the settled rows.
    pub(super) fn open(
        core: &Arc<Core>,
        tree: Tree,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> LocalScan {
        let pin = {
            let mut overlay = core.overlay.write();
            overlay.pin(core.settling.settled())
        };
        LocalScan {
            core: Arc::clone(core),
            tree,
            pin,
            is_of_one_moment: true,
            needs_chunks: true,
            next: end.is_none_or(|end| start < end).then(|| start.to_vec()),
            end: end.map(<[u8]>::to_vec),
            fetched: VecDeque::new(),
            batch: FIRST_BATCH_ROWS,
        }
    }

    /// Fetches the rows from `start` on. Up to what cannot be read in fewer and fewer at once; behind it the next call
    /// goes on. What only the system refused is tried again by it.
    fn fetch(&mut self, start: Vec<u8>) -> Result<()> {
        loop {
            match self.fetch_batch(&start) {
                Ok(()) => return Ok(()),
                Err(Error::Damaged { .. }) if self.batch > 1 => self.batch /= 2,
                Err(error @ Error::Damaged { .. }) => {
                    self.pass(&start);
                    return Err(error);
                }
                Err(error) => {
                    self.next = Some(start);
                    return Err(error);
                }
            }
        }
    }

    /// Passes the place from which the trees cannot be read; what the overlay has there is sound.
    fn pass(&mut self, start: &[u8]) {
        let end = self.end.as_deref();
        self.next = gap::behind(self.core.trees.as_ref(), self.tree, start, end);
        let end = [self.next.as_deref(), end].into_iter().flatten().min();
        let bounds = (
            Bound::Included(start),
            end.map_or(Bound::Unbounded, Bound::Excluded),
        );
        let overlay = self.core.overlay.read();
        let over = overlay.range(self.tree, bounds, self.pin.revision(), usize::MAX);
        self.is_of_one_moment &= !overlay.has_expired(self.pin);
        let rows = over.into_iter();
        self.fetched
            .extend(rows.filter_map(|(key, version)| Some((key, Ok(row_of(version)?)))));
    }

    fn fetch_batch(&mut self, start: &[u8]) -> Result<()> {
        self.core.health.check_open()?;
        // Nobody else unpins it, so that it stays expired; and it may expire after this look as well as after any other.
        let has_expired = self.core.overlay.read().has_expired(self.pin);
        if has_expired {
            let mut overlay = self.core.overlay.write();
            self.pin = overlay.pin(self.core.settling.settled());
            self.is_of_one_moment = false;
            if !self.needs_chunks {
                overlay.let_chunks_go(self.pin);
            }
        }
        let end = self.end.as_deref();
        let (rows, complete_to) =
            self.core
                .rows(self.tree, start, end, self.pin.revision(), self.batch)?;
        // Where it expired meanwhile, the rows may be newer than the moment.
        self.is_of_one_moment &= !self.core.overlay.read().has_expired(self.pin);
        self.batch = (self.batch * 2).clamp(SECOND_BATCH_ROWS, MAX_BATCH_ROWS);
        match self.fetched.is_empty() {
            true => self.fetched = rows.into(),
            false => self.fetched.extend(rows),
        }
        self.next = complete_to.map(|last| [&last[..], &[0]].concat());
        Ok(())
    }
}

impl Scan for LocalScan {
    fn next(&mut self) -> Result<Option<(Bytes, Row)>> {
        loop {
            if let Some((key, row)) = self.fetched.pop_front() {
                return Ok(Some((key, row?)));
            }
            match self.next.take() {
                None => return Ok(None),
                Some(start) => self.fetch(start)?,
            }
        }
    }

    fn is_of_one_moment(&self) -> bool {
        self.is_of_one_moment
    }

    fn seek(&mut self, key: &[u8]) {
        while self
            .fetched
            .front()
            .is_some_and(|(first, _)| &first[..] < key)
        {
            self.fetched.pop_front();
        }
        if self.fetched.is_empty()
            && let Some(next) = &mut self.next
            && &next[..] < key
        {
            *next = key.to_vec();
            self.batch = FIRST_BATCH_ROWS;
            if self.end.as_deref().is_some_and(|end| key >= end) {
                self.next = None;
            }
        }
    }

    fn expect(&mut self, rows: usize) {
        self.batch = rows.clamp(1, MAX_BATCH_ROWS);
    }

    fn let_chunks_go(&mut self) {
        self.needs_chunks = false;
        self.core.overlay.write().let_chunks_go(self.pin);
    }
}

impl Drop for LocalScan {
    fn drop(&mut self) {
        // The lock may be held by a thread that is not there.
        if self.core.health.is_forked() {
            return;
        }
        self.core.overlay.write().unpin(self.pin);
        if self.core.space.is_waiting() {
            self.core.bell.ring();
        }
    }
}
