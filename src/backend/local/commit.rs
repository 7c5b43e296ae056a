//! Ordering commits: under the one writer lock, and nothing slow there.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::Core;
use super::headroom::{Room, WRITTEN_PER_ROW_BYTE};
use super::health::is_out_of_files;
use super::journal::{CommitImage, RowWrite};
use super::overlay::{VERSION_BYTES, Version};
use super::row::Totals;
use super::stage::{Stage, Staged};
use crate::backend::{Commit, Outcome};
use crate::error::{Error, Result};
use crate::format::to_micros;
use crate::options::Durability;
use crate::sync::Instant;
use crate::sync::atomic::Ordering;

/// A buffer larger than this is not kept for the next commit.
const MAX_KEPT_BUFFER_BYTES: usize = 1024 * 1024;
/// The end of the next round may be that of one that has begun before; the one behind it is not.
const ROUNDS_TO_COME: u64 = 2;
/// Who finds no room on the disk waits for so many rounds at most.
const ROUNDS_FOR_ROOM: usize = 8;
/// And for each so long at most.
const MOST_OF_A_ROUND: Duration = Duration::from_secs(1);
/// What a row counts besides the bytes that the commit knows: of those that are added to it also its key.
const ROW_BYTES: usize = VERSION_BYTES + 32;
/// A writer that waits for room looks up from time to time, in case the bell was not heard.
const LOOK_UP: Duration = Duration::from_millis(100);

/// What only the writer changes.
pub(super) struct Writer {
    /// The last ordered commit.
    revision: u64,
    totals: Totals,
    buffer: Vec<u8>,
}

impl Writer {
    pub(super) fn new(revision: u64, totals: Totals) -> Writer {
        Writer {
            revision,
            totals,
            buffer: Vec::new(),
        }
    }

    /// The last ordered commit.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Revisions up to this one are left out.
    pub(super) fn pass_to(&mut self, revision: u64) {
        self.revision = revision;
    }

    /// The totals after it.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }
}

impl Core {
    /// See [`Backend::commit`](crate::backend::Backend::commit).
    pub(super) fn commit(&self, commit: Commit, ordered: &mut dyn FnMut(u64)) -> Result<Outcome> {
        commit.check()?;
        self.health.check_writable()?;
        let waits_for_disk = commit.durability == Durability::Immediate;
        if waits_for_disk {
            self.sync_uploads(&commit.adopts)?;
        }
        self.wait_for_room()?;
        self.reserve_revisions()?;
        let written = self.bytes_to_write(&commit);
        // Until the commit is written, and its rows are known to the overlay.
        let _room = match commit.writes.iter().any(|write| write.value.is_some()) {
            true => self.take_room(written)?,
            false => self.take_room_to_delete(written)?,
        };
        let mut writer = self.writer.lock();
        // Under the lock: what poisons the store between here and there must not be followed by a commit.
        self.health.check_writable()?;
        let mut stage = Stage::new(self);
        for (number, required) in commit.requires.iter().enumerate() {
            if !stage.holds(required)? {
                return Ok(Outcome::Refused(number));
            }
        }
        for blob in &commit.adopts {
            stage.adopt(*blob)?;
        }
        for blob in &commit.releases {
            stage.release(*blob)?;
        }
        for write in commit.writes {
            stage.write(write.tree, write.key, write.value);
        }
        let revision = self.append(&mut writer, stage, &commit.changes, waits_for_disk, ordered)?;
        Ok(Outcome::Ordered(revision))
    }

    /// A commit of the backend's own, which does not wait: neither for room nor for the disk. The writer lock is taken;
    /// `decide` sees the rows as they are and may leave the stage empty.
    pub(super) fn commit_own(
        &self,
        decide: impl FnOnce(&mut Stage<'_>) -> Result<()>,
    ) -> Result<()> {
        self.reserve_revisions()?;
        let mut writer = self.writer.lock();
        self.health.check_writable()?;
        let mut stage = Stage::new(self);
        decide(&mut stage)?;
        if stage.is_empty() {
            return Ok(());
        }
        self.append(&mut writer, stage, &[], false, &mut |_| {})?;
        Ok(())
    }

    /// Journal, overlay, order: what makes the stage the last commit.
    fn append(
        &self,
        writer: &mut Writer,
        stage: Stage<'_>,
        changes: &[Bytes],
        waits_for_disk: bool,
        ordered: &mut dyn FnMut(u64),
    ) -> Result<u64> {
        let revision = writer.revision + 1;
        let mut staged = stage.finish(revision, writer.totals)?;
        // Of a commit that waits for the disk only what came since its chunks were synced.
        let unsynced = std::mem::take(&mut staged.packs);
        self.append_frames(writer, revision, &staged, changes, &unsynced)?;
        let Staged {
            rows,
            totals,
            adopted,
            doomed,
            ..
        } = staged;
        writer.revision = revision;
        writer.totals = totals;
        self.revisions.used(revision);
        self.enter_overlay(revision, rows, || {
            self.settling.order(revision, waits_for_disk, &unsynced);
            ordered(revision);
        });
        for blob in adopted {
            self.uploads.forget(blob);
        }
        self.space.doom(revision, doomed);
        if self.is_half_full() {
            self.bell.ring_now();
        } else {
            self.bell.ring();
        }
        Ok(revision)
    }

    fn append_frames(
        &self,
        writer: &mut Writer,
        revision: u64,
        staged: &Staged,
        changes: &[Bytes],
        unsynced: &BTreeSet<u64>,
    ) -> Result<()> {
        let time = to_micros(SystemTime::now());
        writer.buffer.clear();
        CommitImage {
            seed: self.seed,
            unsynced_chunks: !unsynced.is_empty(),
            gap: false,
            revision,
            synced: self.settling.synced(),
            time,
            totals: staged.totals,
            changes,
            rows: &staged.rows,
        }
        .encode(&mut writer.buffer);
        let appended = self.journal.append(&writer.buffer, revision);
        writer.buffer.shrink_to(MAX_KEPT_BUFFER_BYTES);
        appended.map_err(|failed| match failed.error {
            // The disk is full, or too many files are open, and the journal as it was: nothing happened, and it may go later.
            error @ Error::NoSpace { .. } if failed.intact => error,
            error if failed.intact && is_out_of_files(&error) => error,
            error => self.health.poison(error),
        })
    }

    /// Shows the rows. `order` runs before anybody sees them: who decides on a row, and then waits for everything that is
    /// ordered, must wait for this commit.
    fn enter_overlay(&self, revision: u64, rows: Vec<RowWrite>, order: impl FnOnce()) {
        let mut overlay = self.overlay.write();
        for row in rows {
            let version = Version {
                revision,
                value: row.value,
            };
            overlay.insert(row.tree, row.key, version);
        }
        order();
    }

    /// Whether a checkpoint should be made soon.
    pub(super) fn is_half_full(&self) -> bool {
        self.overlay.read().fresh_bytes() >= self.options.overlay_bytes / 2
    }

    /// Whether writers wait for a checkpoint. An empty overlay is never full, however small it may be.
    fn is_full(&self) -> bool {
        let fresh_bytes = self.overlay.read().fresh_bytes();
        fresh_bytes > 0 && fresh_bytes >= self.options.overlay_bytes
    }

    /// Takes room on the disk for a write of so many bytes.
    pub(super) fn take_room(&self, bytes: u64) -> Result<Room<'_>> {
        let take = || {
            self.headroom.take(bytes, || {
                let fresh_bytes = self.overlay.read().fresh_bytes() as u64;
                fresh_bytes.saturating_mul(WRITTEN_PER_ROW_BYTE - 1)
            })
        };
        self.take_patiently(take, || {
            match self.is_space_coming() || !self.packs.victims().is_empty() {
                true => ROUNDS_FOR_ROOM,
                false => 0,
            }
        })
    }

    /// What a commit and the next checkpoint write of it, with the rows that are added to it. As in the overlay, each
    /// counts more than its bytes.
    fn bytes_to_write(&self, commit: &Commit) -> u64 {
        let rows = commit.writes.len() + commit.releases.len() + commit.adopts.len();
        let bytes = commit.bytes() + rows * ROW_BYTES + self.uploads.bytes_of(&commit.adopts);
        (bytes as u64).saturating_mul(WRITTEN_PER_ROW_BYTE)
    }

    /// Takes room for a commit that only deletes.
    fn take_room_to_delete(&self, bytes: u64) -> Result<Room<'_>> {
        let fresh_bytes = || self.overlay.read().fresh_bytes() as u64;
        let take = || {
            let fresh_bytes = fresh_bytes();
            // What a reader keeps is not waited for, but will need its room once it goes.
            let is_first = fresh_bytes == 0 && !self.space.is_waiting();
            self.headroom.take_to_delete(bytes, is_first, || {
                fresh_bytes.saturating_mul(WRITTEN_PER_ROW_BYTE - 1)
            })
        };
        self.take_patiently(take, || match fresh_bytes() > 0 || self.is_space_coming() {
            true => ROUNDS_FOR_ROOM,
            // What others are writing may count twice for a moment.
            false => usize::from(self.headroom.is_being_written()),
        })
    }

    /// Takes room. Where there is too little, what waits for that is given back first, in as many rounds as `most_rounds` answers.
    pub(super) fn take_patiently<'a>(
        &'a self,
        take: impl Fn() -> Result<Room<'a>>,
        most_rounds: impl Fn() -> usize,
    ) -> Result<Room<'a>> {
        let mut rounds = 0;
        loop {
            match take() {
                Err(Error::NoSpace { .. }) => {}
                taken => return taken,
            }
            // Who gives back and only tells of it would wait for itself.
            if rounds >= most_rounds() || self.space.check_not_giving().is_err() {
                // The last of what was coming may have come in between.
                return take();
            }
            rounds += 1;
            self.await_round()?;
        }
    }

    /// Has a checkpoint made and space given back, and waits for the end of a round of that which began after the call; not
    /// for long, since another thread may be at it that gives back all there is.
    pub(super) fn await_round(&self) -> Result<()> {
        let mut waiting = self.room.0.lock();
        let until = self.rounds.load(Ordering::Acquire) + ROUNDS_TO_COME;
        let deadline = Instant::now() + MOST_OF_A_ROUND;
        while self.rounds.load(Ordering::Acquire) < until && Instant::now() < deadline {
            self.health.check_writable()?;
            self.bell.ring_now();
            self.room.1.wait_for(&mut waiting, LOOK_UP);
        }
        Ok(())
    }

    /// Waits until the overlay is below its bound. A commit larger than the bound is let in like any other.
    pub(super) fn wait_for_room(&self) -> Result<()> {
        if !self.is_full() {
            return Ok(());
        }
        let mut waiting = self.room.0.lock();
        let until = self.rounds.load(Ordering::Acquire) + ROUNDS_TO_COME;
        while self.is_full() {
            self.health.check_writable()?;
            self.bell.ring_now();
            self.room.1.wait_for(&mut waiting, LOOK_UP);
            // What one before has found may be true no more.
            if self.rounds.load(Ordering::Acquire) >= until {
                self.headroom.check_not_short()?;
            }
        }
        Ok(())
    }
}
