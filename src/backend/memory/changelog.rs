//! The history: the changes of each commit, as far back as the options ask.

use std::cmp::Ordering;
use std::collections::VecDeque;

use bytes::Bytes;

use super::length;
use crate::backend::{HistoryRange, Position, StoredChange};
use crate::error::{Error, Result};
use crate::options::History;
use crate::sync::Instant;

/// What a change costs beside its bytes, so that even empty ones are limited by [`History::bytes`].
const CHANGE_OVERHEAD_BYTES: u64 = 16;

/// The changes of one commit that has any.
struct Record {
    revision: u64,
    time: Instant,
    bytes: u64,
    changes: Vec<Bytes>,
}

/// The revision counter, and the records that are kept.
pub(super) struct Changelog {
    limits: History,
    /// The last revision given away.
    newest: u64,
    /// One behind the last record that was dropped.
    oldest: u64,
    bytes: u64,
    records: VecDeque<Record>,
}

impl Changelog {
    /// An empty history.
    pub(super) fn new(limits: History) -> Changelog {
        Changelog {
            limits,
            newest: 0,
            oldest: 1,
            bytes: 0,
            records: VecDeque::new(),
        }
    }

    /// The last revision, 0 before the first commit.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Gives the next revision to a commit with these changes.
    pub(super) fn record(&mut self, changes: Vec<Bytes>) -> u64 {
        self.newest += 1;
        if !changes.is_empty() {
            let bytes = changes
                .iter()
                .map(|change| length(change) + CHANGE_OVERHEAD_BYTES)
                .sum();
            self.bytes += bytes;
            self.records.push_back(Record {
                revision: self.newest,
                time: Instant::now(),
                bytes,
                changes,
            });
        }
        self.trim();
        self.newest
    }

    /// How far it reaches.
    pub(super) fn range(&mut self) -> HistoryRange {
        self.trim();
        HistoryRange {
            oldest: self.oldest,
            newest: self.newest,
        }
    }

    /// At most `limit` changes behind `after`.
    pub(super) fn behind(&mut self, after: Position, limit: usize) -> Result<Vec<StoredChange>> {
        self.trim();
        let oldest = self.oldest;
        // Of a dropped commit nobody knows whether `after` was its last change, only `Position::after` says so.
        if oldest > 1 && after < Position::after(oldest - 1) {
            return Err(Error::Compacted { oldest });
        }
        let first = self
            .records
            .partition_point(|record| record.revision < after.revision);
        Ok(self
            .records
            .range(first..)
            .flat_map(|record| record.stored_behind(after))
            .take(limit)
            .collect())
    }

    /// Drops what any limit asks to drop, oldest first, the newest never.
    fn trim(&mut self) {
        while self.records.len() > 1
            && let Some(record) = self.records.front()
            && self.is_beyond(record)
        {
            self.bytes -= record.bytes;
            self.oldest = record.revision + 1;
            self.records.pop_front();
        }
    }

    fn is_beyond(&self, record: &Record) -> bool {
        let History {
            bytes,
            revisions,
            age,
        } = self.limits;
        bytes.is_some_and(|most| self.bytes > most)
            || revisions.is_some_and(|most| self.newest - record.revision >= most)
            || age.is_some_and(|most| record.time.elapsed() > most)
    }
}

impl Record {
    /// The changes behind `after`.
    fn stored_behind(&self, after: Position) -> impl Iterator<Item = StoredChange> {
        let first = match self.revision.cmp(&after.revision) {
            Ordering::Less => u32::MAX,
            Ordering::Equal => after.index.saturating_add(1),
            Ordering::Greater => 0,
        };
        let behind = usize::try_from(first)
            .ok()
            .and_then(|first| self.changes.get(first..))
            .unwrap_or_default();
        let left = (0..behind.len()).rev();
        // The changes lead: where there are none, the counter must not move beyond its end.
        behind
            .iter()
            .zip(first..)
            .zip(left)
            .map(|((bytes, index), left)| StoredChange {
                position: Position {
                    revision: self.revision,
                    index,
                },
                last: left == 0,
                bytes: bytes.clone(),
            })
    }
}
