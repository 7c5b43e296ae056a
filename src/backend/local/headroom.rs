//! Room on the disk for what is acknowledged.
//!
//! sled cannot go on once a write of it failed, not even with reading. So a write that adds something is let in only
//! where the disk has room left for bringing everything to the trees afterwards, and a checkpoint is begun only where
//! it will find room. What only deletes may use most of the room that is kept. Another program may still take it all: then the
//! checkpoint waits for room, and after it the writers are told.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Kept besides what the checkpoint needs: for deletions, sled's segments and the superblock.
const KEPT_BYTES: u64 = 4 * 1024 * 1024;
/// Kept for a checkpoint of nothing but deletions.
const LEAST_BYTES: u64 = 1024 * 1024;
/// What the first deletion leaves besides it: the journal grows in steps, and several may be the first.
const MARGIN_BYTES: u64 = 256 * 1024;
/// What deletions leave, besides what the checkpoint needs: giving back writes before it gives.
const LEFT_BY_DELETIONS: u64 = 2 * LEAST_BYTES;
/// A row is written to the journal, and about four times by sled, which writes a leaf again after some ten changes.
pub(super) const WRITTEN_PER_ROW_BYTE: u64 = 5;
/// The rows of chunks that are moved take one in so many bytes of the chunks, journal and sled together.
const ROWS_OF_MOVED: u64 = 8;
/// The disk is asked again at least after so many bytes.
const MAX_BUDGET_BYTES: u64 = 16 * 1024 * 1024;

/// Knows how much may be written before the disk must be asked again.
#[derive(Debug)]
pub(super) struct Headroom {
    directory: PathBuf,
    budget: AtomicI64,
    /// Room that was taken and not written to yet: the disk does not know of it.
    taken: AtomicU64,
    /// Whether the last checkpoint found too little room.
    is_short: AtomicBool,
}

/// Room for a write that is under way.
#[derive(Debug)]
#[must_use]
pub(super) struct Room<'a> {
    taken: &'a AtomicU64,
    bytes: u64,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Headroom {
    /// For the file system `directory` is on.
    pub(super) fn of(directory: &Path) -> Headroom {
        Headroom {
            directory: directory.to_owned(),
            budget: AtomicI64::new(0),
            taken: AtomicU64::new(0),
            is_short: AtomicBool::new(false),
        }
    }

    /// Takes room for a write of so many bytes, where besides it `reserved` bytes stay for the next checkpoint. The room is to
    /// be kept until it is written to.
    ///
    /// # Errors
    /// `NoSpace` where there is too little.
    pub(super) fn take(&self, bytes: u64, reserved: impl FnOnce() -> u64) -> Result<Room<'_>> {
        self.take_and_leave(KEPT_BYTES, bytes, reserved)
    }

    /// Takes room for a write that only deletes, as [`Headroom::take`]. It may use what is kept, but leaves the next checkpoint
    /// its room: without one, nothing would ever be given back. Where something waits for that already, it leaves more.
    ///
    /// # Errors
    /// `NoSpace` where there is too little.
    pub(super) fn take_to_delete(
        &self,
        bytes: u64,
        is_first: bool,
        reserved: impl FnOnce() -> u64,
    ) -> Result<Room<'_>> {
        let left = match is_first {
            true => LEAST_BYTES + MARGIN_BYTES,
            false => LEFT_BY_DELETIONS,
        };
        self.take_and_leave(left, bytes, reserved)
    }

    fn take_and_leave(
        &self,
        left: u64,
        bytes: u64,
        reserved: impl FnOnce() -> u64,
    ) -> Result<Room<'_>> {
        let (taken, room) = self.note_taken(bytes);
        let wanted = i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.budget.fetch_sub(wanted, Ordering::AcqRel) >= wanted {
            return Ok(room);
        }
        let needed = taken.saturating_add(reserved());
        let free = self.free()?.saturating_sub(needed);
        // A part of it, since others write as well: each asks again in time. What is kept is in no budget.
        let budget = (free.saturating_sub(KEPT_BYTES) / 4).min(MAX_BUDGET_BYTES);
        self.budget
            .store(i64::try_from(budget).unwrap_or(0), Ordering::Release);
        match free > left {
            true => Ok(room),
            false => Err(self.no_space()),
        }
    }

    /// Whether the next checkpoint, with rows of `fresh_bytes` waiting for it, must not wait for many more.
    pub(super) fn is_tight(&self, fresh_bytes: u64) -> Result<bool> {
        let needed = fresh_bytes.saturating_mul(2 * (WRITTEN_PER_ROW_BYTE - 1));
        Ok(self.free()? < needed.saturating_add(LEAST_BYTES))
    }

    /// Takes room for moving so many bytes of chunks, after which more is free than before, where rows of `fresh_bytes` wait for the
    /// next checkpoint. As a deletion it may use what is kept, but leaves what the checkpoint needs.
    ///
    /// # Errors
    /// `NoSpace` where there is too little.
    pub(super) fn take_to_move(&self, bytes: u64, fresh_bytes: u64) -> Result<Room<'_>> {
        let written = bytes.saturating_add(bytes / ROWS_OF_MOVED);
        let (taken, room) = self.note_taken(written);
        let needed = fresh_bytes
            .saturating_mul(WRITTEN_PER_ROW_BYTE - 1)
            .saturating_add(taken)
            .saturating_add(LEAST_BYTES);
        if self.free()? < needed {
            return Err(self.no_space());
        }
        let written = i64::try_from(written).unwrap_or(i64::MAX);
        self.budget.fetch_sub(written, Ordering::AcqRel);
        Ok(room)
    }

    /// Counts a write as taken; answers what all that are under way take. Before anything is asked: of those who ask at once the
    /// last one knows of all.
    fn note_taken(&self, bytes: u64) -> (u64, Room<'_>) {
        let taken = self.taken.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let room = Room {
            taken: &self.taken,
            bytes,
        };
        (taken, room)
    }

    /// Whether writes are under way that have taken room: some of it they may have written to already.
    pub(super) fn is_being_written(&self) -> bool {
        self.taken.load(Ordering::Acquire) > 0
    }

    /// Whether a checkpoint of so many bytes will find room; remembered for those who wait for it.
    ///
    /// # Errors
    /// `NoSpace` where it will not.
    pub(super) fn check_checkpoint(&self, bytes: u64) -> Result<()> {
        let needed = bytes.saturating_mul(WRITTEN_PER_ROW_BYTE - 1);
        let free = self.free();
        // Where it is not known, nobody may wait for it either.
        let is_short = !matches!(free, Ok(free) if free >= needed.saturating_add(LEAST_BYTES));
        self.is_short.store(is_short, Ordering::Release);
        free?;
        if is_short {
            Err(self.no_space())
        } else {
            Ok(())
        }
    }

    /// Fails where the last checkpoint found too little room, so that nobody waits for the next one in vain.
    pub(super) fn check_not_short(&self) -> Result<()> {
        if self.is_short.load(Ordering::Acquire) {
            self.free()?;
            return Err(self.no_space());
        }
        Ok(())
    }

    fn free(&self) -> Result<u64> {
        let found = rustix::fs::statvfs(&self.directory).map_err(|error| {
            let doing = format!("asking for the room at {}", self.directory.display());
            Error::io(doing, error.into())
        })?;
        // A file system without a size has no end either.
        Ok(match found.f_blocks {
            0 => u64::MAX,
            _ => found.f_bavail.saturating_mul(found.f_frsize),
        })
    }

    fn no_space(&self) -> Error {
        Error::NoSpace {
            doing: format!(
                "keeping room at {} for what is acknowledged",
                self.directory.display()
            ),
            source: std::io::ErrorKind::StorageFull.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_that_is_taken_is_nobody_elses_until_it_is_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let headroom = Headroom::of(directory.path());
        let most = headroom.free().unwrap() / 5 * 3;
        let refused = |taken: Result<Room<'_>>| matches!(taken, Err(Error::NoSpace { .. }));
        let room = headroom.take(most, || 0).unwrap();
        assert!(refused(headroom.take(most, || 0)));
        assert!(refused(headroom.take_to_delete(most, true, || 0)));
        // What was refused has taken nothing.
        drop(headroom.take(1, || 0).unwrap());
        drop(room);
        drop(headroom.take(most, || 0).unwrap());
        assert!(refused(headroom.take(most, || most)));
    }
}
