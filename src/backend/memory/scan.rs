//! Scans: a shared map and a place in it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::{Row, Rows, Scan, State};
use crate::error::Result;
use crate::sync::Mutex;

/// How many scans are open, by the revision they see.
#[derive(Default)]
pub(super) struct OpenScans(BTreeMap<u64, usize>);

impl OpenScans {
    pub(super) fn opened(&mut self, revision: u64) {
        *self.0.entry(revision).or_default() += 1;
    }

    /// The revision the oldest open scan sees.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.0.keys().next().copied()
    }

    fn closed(&mut self, revision: u64) {
        if let Some(count) = self.0.get_mut(&revision) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&revision);
            }
        }
    }
}

/// An open scan: the rows of its moment, and where it stands in them.
pub(super) struct MemoryScan {
    state: Arc<Mutex<State>>,
    revision: u64,
    rows: Arc<Rows>,
    from: Bound<Bytes>,
    end: Option<Bytes>,
    /// Whether [`OpenScans`] counts it.
    needs_chunks: bool,
}

impl MemoryScan {
    /// A scan that [`OpenScans`] already counts.
    pub(super) fn new(
        state: Arc<Mutex<State>>,
        revision: u64,
        rows: Arc<Rows>,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> MemoryScan {
        MemoryScan {
            state,
            revision,
            rows,
            from: Bound::Included(Bytes::copy_from_slice(start)),
            end: end.map(Bytes::copy_from_slice),
            needs_chunks: true,
        }
    }
}

impl Scan for MemoryScan {
    fn next(&mut self) -> Result<Option<(Bytes, Row)>> {
        // No upper bound here: a map panics on a range that ends before it starts.
        let mut rows = self.rows.range((self.from.clone(), Bound::Unbounded));
        let Some((key, row)) = rows.next() else {
            return Ok(None);
        };
        if self.end.as_ref().is_some_and(|end| key >= end) {
            return Ok(None);
        }
        self.from = Bound::Excluded(key.clone());
        Ok(Some((key.clone(), row.clone())))
    }

    fn is_of_one_moment(&self) -> bool {
        true
    }

    fn seek(&mut self, key: &[u8]) {
        let (Bound::Included(from) | Bound::Excluded(from)) = &self.from else {
            return;
        };
        if key > from.as_ref() {
            self.from = Bound::Included(Bytes::copy_from_slice(key));
        }
    }

    fn let_chunks_go(&mut self) {
        // Its rows are its own.
        if std::mem::take(&mut self.needs_chunks) {
            let mut state = self.state.lock();
            state.scans.closed(self.revision);
            state.sweep();
        }
    }
}

impl Drop for MemoryScan {
    fn drop(&mut self) {
        self.let_chunks_go();
    }
}
