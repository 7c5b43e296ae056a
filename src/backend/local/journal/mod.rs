//! The journal: the append-only log that makes commits durable and is the history of changes.
//!
//! Segments follow each other without a gap in their revisions; one that a crash left lies inside a segment, and its
//! first frame says so. What is appended is handed to the system at once and made durable by [`Journal::sync`]. A segment goes when the trees hold all of it durably and the history no longer
//! wants it.

mod frame;
#[cfg(fuzzing)]
pub(super) mod fuzzing;
mod reader;
mod segment;
mod sums;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use frame::Gap;
pub(super) use frame::{CommitImage, Header, RowWrite, Seed};
pub(super) use reader::{Found, FrameReader};
pub(super) use segment::{SEGMENT_HEADER_BYTES, Segment, first_revision, path_of};

use super::durable::sync_directory;
use super::health::is_out_of_files;
use super::place::Place;
use crate::backend::{Position, StoredChange};
use crate::error::{Error, Result};
use crate::options::History;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};

/// A segment is closed once it is this large, unless the history is long.
const MAX_SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
/// Segments of a small history are not smaller than this.
const MIN_SEGMENT_BYTES: u64 = 64 * 1024;
/// Segments grow with a history of which one in so many would be larger, up to a bound.
const SEGMENTS_OF_A_LONG_HISTORY: u64 = 32;
const MAX_GROWN_BYTES: u64 = 1024 * 1024 * 1024;
/// A history limited to some bytes is given back in this many steps.
const SEGMENTS_OF_A_HISTORY: u64 = 8;

/// The open journal of a store.
pub(super) struct Journal {
    place: Place,
    store_id: [u8; 16],
    history: History,
    segment_bytes: u64,
    /// Oldest first, never empty; the last one is written to.
    segments: RwLock<VecDeque<Arc<Segment>>>,
    /// The last commit with changes in the segments that are gone, or a later one where that is not known.
    last_gone: AtomicU64,
    /// Gaps that were in them.
    gaps_gone: Mutex<Vec<Gap>>,
    /// Segments written to since the last sync.
    unsynced: Mutex<Vec<Arc<Segment>>>,
    /// Segments synced so far.
    #[cfg(test)]
    synced: AtomicU64,
}

impl Journal {
    /// The journal of these segments, which are in order and not empty.
    pub(super) fn new(
        directory: PathBuf,
        store_id: [u8; 16],
        history: History,
        segments: VecDeque<Arc<Segment>>,
    ) -> Journal {
        let segment_bytes = history.bytes.map_or(MAX_SEGMENT_BYTES, |bytes| {
            (bytes / SEGMENTS_OF_A_HISTORY).clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES)
        });
        let first = segments.front().map_or(1, |segment| segment.first);
        Journal {
            place: Place::of(directory),
            store_id,
            history,
            segment_bytes,
            segments: RwLock::new(segments),
            last_gone: AtomicU64::new(first - 1),
            gaps_gone: Mutex::default(),
            unsynced: Mutex::default(),
            #[cfg(test)]
            synced: Default::default(),
        }
    }

    /// Where the segments lie.
    pub(super) fn directory(&self) -> &Path {
        self.place.path()
    }

    /// Fails where the directory is no longer there, or another is.
    pub(super) fn check_place(&self) -> Result<()> {
        self.place.check()
    }

    /// Writes the chain of one commit. One caller at a time, under the writer lock.
    ///
    /// Where writing fails, what was written of the chain is cut off again; `Err` carries whether that worked, and so
    /// whether the journal can go on.
    pub(super) fn append(&self, chain: &[u8], revision: u64) -> Result<(), AppendError> {
        let segment = self.active(revision).map_err(|error| AppendError {
            error,
            intact: true,
        })?;
        self.append_to(segment, chain)
    }

    /// As [`Journal::append`], but never to a new segment: the chain leaves revisions out.
    pub(super) fn append_gap(&self, chain: &[u8]) -> Result<(), AppendError> {
        self.append_to(self.last(), chain)
    }

    fn append_to(&self, segment: Arc<Segment>, chain: &[u8]) -> Result<(), AppendError> {
        if let Err(error) = segment.append(chain) {
            let intact = segment.trim().is_ok();
            return Err(AppendError { error, intact });
        }
        let mut unsynced = self.unsynced.lock();
        if !unsynced.iter().any(|other| Arc::ptr_eq(other, &segment)) {
            unsynced.push(segment);
        }
        Ok(())
    }

    /// The segment to write `revision` to; a new one where the last is full.
    fn active(&self, revision: u64) -> Result<Arc<Segment>> {
        let last = self.last();
        // Each segment is an open file, and a long history must not be of too many. An opening reads all of the last one.
        let grown = (self.bytes() / SEGMENTS_OF_A_LONG_HISTORY).min(MAX_GROWN_BYTES);
        let enough = self.segment_bytes.max(grown);
        if last.length() < enough {
            return Ok(last);
        }
        if let Err(error) = last.trim() {
            tracing::warn!(%error, "a segment of the journal keeps room that it does not need");
        }
        self.place.check()?;
        match Segment::create(self.place.path(), &self.store_id, revision) {
            Ok(next) => {
                let next = Arc::new(next);
                self.segments.write().push_back(Arc::clone(&next));
                Ok(next)
            }
            // No more files are to be had, though bytes may be; a deletion is written all the same. What was made of it must not
            // be followed by frames in the one before.
            Err(error) if is_for_want_of_files(&error) && self.is_missing(revision) => {
                tracing::warn!(%error, "the journal goes on in its last segment");
                Ok(last)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether there is no segment, nor the beginning of one, that begins with this revision.
    fn is_missing(&self, revision: u64) -> bool {
        let path = segment::path_of(self.place.path(), revision);
        matches!(path.try_exists(), Ok(false))
    }

    #[expect(clippy::expect_used, reason = "a journal always has a segment")]
    fn last(&self) -> Arc<Segment> {
        Arc::clone(
            self.segments
                .read()
                .back()
                .expect("a journal has a segment"),
        )
    }

    /// Makes everything appended before the call durable. A failed sync may have dropped what was to be written, and
    /// a second one would not say so: the caller poisons the store.
    pub(super) fn sync(&self) -> Result<()> {
        let unsynced = std::mem::take(&mut *self.unsynced.lock());
        for segment in unsynced {
            #[cfg(test)]
            self.synced.fetch_add(1, Ordering::Relaxed);
            segment.sync()?;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn synced_for_test(&self) -> u64 {
        self.synced.load(Ordering::Relaxed)
    }

    /// The last commit that a power cut would leave, 0 where it would leave none.
    #[cfg(all(test, shuttle))]
    pub(super) fn durable(&self) -> Result<u64> {
        let mut durable = 0;
        for segment in self.segments() {
            durable = segment.durable()?.unwrap_or(durable);
        }
        Ok(durable)
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.segments
            .read()
            .iter()
            .map(|segment| segment.length())
            .sum()
    }

    /// The first revision that is still there; one above the last where none is.
    pub(super) fn oldest(&self) -> u64 {
        self.segments
            .read()
            .front()
            .map_or(1, |segment| segment.first)
    }

    /// Segments, oldest first.
    pub(super) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().iter().cloned().collect()
    }

    /// The segments of which the header is not as it was written.
    pub(super) fn damaged_headers(&self) -> Result<Vec<Arc<Segment>>> {
        let mut segments = self.segments();
        let mut failed = None;
        segments.retain(|segment| {
            let read = segment.has_header(&self.store_id).map_err(|error| {
                failed = Some(Error::io(
                    format!("reading {}", segment.path.display()),
                    error,
                ));
            });
            read == Ok(false)
        });
        failed.map_or(Ok(segments), Err)
    }

    /// Removes the segments that neither the trees nor the history need. `checkpoint` is what the trees hold durably.
    pub(super) fn drop_old(&self, checkpoint: u64, now: u64) -> Result<()> {
        loop {
            let Some((oldest, next)) = self.superfluous(checkpoint, now) else {
                return Ok(());
            };
            self.place.check()?;
            match std::fs::remove_file(&oldest.path) {
                Ok(()) => {}
                // By somebody else: those behind it must not stay for that.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let doing = format!("removing {}", oldest.path.display());
                    return Err(Error::io(doing, error));
                }
            }
            // Before the segment is taken out: who does not find it there looks for it here.
            let last_gone = oldest.last_told_before(next).unwrap_or(next - 1);
            self.last_gone.fetch_max(last_gone, Ordering::Relaxed);
            self.gaps_gone.lock().extend(oldest.gaps());
            // Another thread may have come first.
            let mut segments = self.segments.write();
            if segments
                .front()
                .is_some_and(|first| Arc::ptr_eq(first, &oldest))
            {
                segments.pop_front();
            }
        }
    }

    /// Removes the segments behind `segment`: they follow a commit that never became whole.
    pub(super) fn drop_behind(&self, segment: &Segment) -> Result<()> {
        self.place.check()?;
        let mut segments = self.segments.write();
        while let Some(last) = segments.pop_back_if(|last| last.first > segment.first) {
            std::fs::remove_file(&last.path)
                .map_err(|error| Error::io(format!("removing {}", last.path.display()), error))?;
        }
        sync_directory(self.place.path())
    }

    /// Gives back the room that nothing was written to; at the end.
    pub(super) fn trim(&self) -> Result<()> {
        let last = self.last();
        last.trim()
            .map_err(|error| Error::io(format!("cutting {}", last.path.display()), error))
    }

    /// Counts a segment of an earlier opening as not synced: the process before may not have come to it.
    pub(super) fn doubt(&self, segment: &Arc<Segment>) {
        self.unsynced.lock().push(Arc::clone(segment));
    }

    /// The oldest segment, where it is not needed, and the first revision of the next one.
    fn superfluous(&self, checkpoint: u64, now: u64) -> Option<(Arc<Segment>, u64)> {
        // Not under the lock: to count the commits of a segment of an earlier opening reads all of it.
        let segments = self.segments();
        let (oldest, next) = (segments.first()?, segments.get(1)?);
        if next.first > checkpoint + 1 {
            return None;
        }
        let bytes: u64 = segments.iter().map(|segment| segment.length()).sum();
        let History {
            bytes: byte_limit,
            revisions,
            age,
        } = self.history;
        let above_bytes = byte_limit.is_some_and(|limit| bytes - oldest.length() >= limit);
        // Commits and not revisions: a crash leaves many out.
        let above_revisions = revisions.is_some_and(|limit| {
            // Not counted where there cannot be as many: to count those of an earlier opening reads their segments.
            let newest = segments.last().map_or(0, |last| last.last_noted());
            let at_most = (newest + 1).saturating_sub(next.first);
            let kept = segments.iter().skip(1).map(|segment| segment.commits());
            (newest == 0 || at_most >= limit) && kept.sum::<u64>() >= limit
        });
        let above_age = age.is_some_and(|limit| {
            // Where a clock was ahead or the time cannot be read, the next one tells that this is no younger.
            let mut times = segments.iter().map(|segment| segment.last_time());
            let time = times.find(|time| (1..=now).contains(time));
            time.is_some_and(|time| u128::from(now - time) > limit.as_micros())
        });
        (above_bytes || above_revisions || above_age).then(|| (Arc::clone(oldest), next.first))
    }

    /// The changes behind a place up to the revision `newest`, at most `limit`.
    pub(super) fn changes(
        &self,
        after: Position,
        newest: u64,
        limit: usize,
    ) -> Result<Vec<StoredChange>> {
        let mut found = Vec::new();
        if after.revision > newest || (after.revision == newest && after.index == u32::MAX) {
            return Ok(found);
        }
        let segments = self.segments();
        // Nobody knows how many changes the commits before had: only behind the last that had some is nothing missed.
        let last_gone = self.last_gone.load(Ordering::Relaxed);
        let has_missed = last_gone > 0 && after < Position::after(last_gone);
        let was_taken = |gap: &Gap| gap.took(after.revision);
        if has_missed || self.gaps_gone.lock().iter().any(was_taken) {
            let oldest = segments.first().map_or(1, |segment| segment.first);
            return Err(Error::Compacted { oldest });
        }
        let start = segments.partition_point(|segment| segment.first <= after.revision);
        let mut last = None;
        for segment in &segments[start.saturating_sub(1)..] {
            if last.is_some_and(|last| segment.first != last + 1) {
                let location = format!("{}: a commit before it is missing", segment.path.display());
                return Err(Error::damaged("journal", location));
            }
            match read_changes(segment, after, newest, limit, &mut found)? {
                None => break,
                Some(read) => last = Some(read),
            }
        }
        Ok(found)
    }
}

/// Why a commit could not be appended.
pub(super) struct AppendError {
    pub(super) error: Error,
    /// Whether the journal is as it was before.
    pub(super) intact: bool,
}

/// Reads the changes of one segment; answers its last revision where the next is to be read as well.
fn read_changes(
    segment: &Segment,
    after: Position,
    newest: u64,
    limit: usize,
    found: &mut Vec<StoredChange>,
) -> Result<Option<u64>> {
    let failed = |error| Error::io(format!("reading {}", segment.path.display()), error);
    let damaged =
        |offset: u64| Error::damaged("journal", format!("{} at {offset}", segment.path.display()));
    let (offset, mut index) = segment.seek(after)?;
    let mut reader = segment.read_from(offset);
    let mut last = segment.first - 1;
    let mut is_whole = true;
    loop {
        let (offset, header, payload) = match reader.next().map_err(failed)? {
            Found::Frame {
                offset,
                header,
                payload,
            } => (offset, header, payload),
            // Each chain is whole before the segment is known to have it.
            Found::End if !is_whole => return Err(damaged(reader.offset())),
            Found::End => return Ok(Some(last)),
            Found::Invalid(offset) => return Err(damaged(offset)),
        };
        is_whole = header.is_last();
        if header.revision > newest {
            return Ok(None);
        }
        let gap = header.left_out();
        if gap.is_some_and(|gap| gap.took(after.revision)) {
            return Err(Error::Compacted {
                oldest: header.revision,
            });
        }
        last = header.revision;
        if header.part == 0 {
            index = 0;
        }
        let changes = header.changes(&payload).ok_or_else(|| damaged(offset))?;
        if changes.is_empty() && index > 0 {
            // The chain's changes are all told, and the last one must know it.
            mark_last(found, header.revision);
        }
        for bytes in changes {
            let position = Position {
                revision: header.revision,
                index,
            };
            index += 1;
            if position <= after {
                continue;
            }
            if found.len() == limit {
                return Ok(None);
            }
            found.push(StoredChange {
                position,
                last: false,
                bytes,
            });
        }
        if header.last || header.rows > 0 {
            mark_last(found, header.revision);
        }
    }
}

/// Changes come before rows in a chain: the first row, or the end, shows which change was the last.
fn mark_last(found: &mut [StoredChange], revision: u64) {
    if let Some(change) = found.last_mut()
        && change.position.revision == revision
    {
        change.last = true;
    }
}

/// Whether a file could not be made because there can be no more of them, on the disk or in the process.
fn is_for_want_of_files(error: &Error) -> bool {
    matches!(error, Error::NoSpace { .. }) || is_out_of_files(error)
}
