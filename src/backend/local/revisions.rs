//! No revision is given to two commits.
//!
//! A power cut takes commits that somebody may have seen already: those that had not waited for the disk, and the store's
//! own. A watcher may stand behind one of them, a caller may hold one for a compare-and-swap. So revisions are reserved in
//! the superblock before they are used, many at a time, and the opening after a crash begins behind all that were
//! reserved. It says so in the journal, by an empty commit that names the one before it.

use std::time::SystemTime;

use super::Core;
use super::durable::sync_directory;
use super::journal::CommitImage;
use super::row::MAX_REVISION;
use super::superblock::{Content, Superblock};
use crate::error::{Error, Result};
use crate::format::to_micros;
use crate::random;
use crate::sync::atomic::{AtomicU64, Ordering};

/// So many revisions are reserved at a time. Every checkpoint reserves anew, so that the writers hardly ever do.
const RESERVED_AT_A_TIME: u64 = 1 << 20;
/// More are reserved once so few are left: as many as there can be writers between the look and the commit.
const LEAST_RESERVED: u64 = RESERVED_AT_A_TIME / 2;
/// A copy goes on so many revisions behind the original, or up to twice as many: more than any store comes to after it was
/// copied, and few enough that the numbers of copies of copies stay exact in JSON.
const LEAP: u64 = 1 << 36;

/// The revision at which a copy of a store begins that had been at `revision`.
///
/// The original may go on before it is lost, and other copies of it may have been used. Somebody who stood at one of those
/// revisions is to be told that the copy has none such, and not to get what the copy makes of it: so each copy has revisions of
/// its own, by chance.
pub(super) fn of_copy(revision: u64) -> Result<u64> {
    let mut chance = [0; 8];
    random::fill(&mut chance)?;
    let leap = LEAP + u64::from_le_bytes(chance) % LEAP;
    let begun = revision.checked_add(leap);
    begun
        .filter(|begun| *begun <= MAX_REVISION / 2)
        .ok_or_else(|| Error::damaged("revisions", "they are at their end"))
}

/// How far revisions are used, and may be.
#[derive(Debug, Default)]
pub(super) struct Revisions {
    used: AtomicU64,
    reserved: AtomicU64,
}

impl Revisions {
    /// A commit has this revision; called in order.
    pub(super) fn used(&self, revision: u64) {
        self.used.store(revision, Ordering::Release);
    }

    fn are_enough(&self) -> bool {
        let reserved = self.reserved.load(Ordering::Acquire);
        reserved >= self.used.load(Ordering::Acquire) + LEAST_RESERVED
    }
}

impl Core {
    /// Writes the superblock, and reserves revisions with it.
    pub(super) fn note(
        &self,
        superblock: &mut Superblock,
        change: impl FnOnce(Content) -> Content,
    ) -> Result<()> {
        let before = superblock.content();
        let wanted = self.revisions.used.load(Ordering::Acquire) + RESERVED_AT_A_TIME;
        let reserved = before.reserved.max(wanted);
        superblock.store(Content {
            reserved,
            ..change(before)
        })?;
        self.revisions.reserved.store(reserved, Ordering::Release);
        Ok(())
    }

    /// Makes sure that the next commit finds a revision. Called without the writer lock, which a checkpoint takes while
    /// it holds the superblock.
    pub(super) fn reserve_revisions(&self) -> Result<()> {
        if self.revisions.are_enough() {
            return Ok(());
        }
        let mut superblock = self.superblock.lock();
        if self.revisions.are_enough() {
            return Ok(());
        }
        self.note(&mut superblock, |before| before)
            .map_err(|error| self.health.poison(error))
    }

    /// After a crash: begins behind every revision that may have been given out, and makes durable what was replayed.
    pub(super) fn leave_revisions_out(&self, reserved: u64) -> Result<()> {
        // A process that was killed may have made files and not come to syncing their names.
        for directory in [self.journal.directory(), self.packs.directory()] {
            sync_directory(directory)?;
        }
        let mut writer = self.writer.lock();
        let before = writer.revision();
        // What was replayed is durable before anybody decides anything on it.
        self.settling.sync(&self.disk())?;
        let revision = reserved.max(before) + 1;
        let time = to_micros(SystemTime::now());
        let mut chain = Vec::new();
        CommitImage {
            seed: self.seed,
            unsynced_chunks: false,
            gap: true,
            revision,
            synced: before,
            time,
            totals: writer.totals(),
            changes: &[],
            rows: &[],
        }
        .encode(&mut chain);
        self.journal
            .append_gap(&chain)
            .map_err(|failed| failed.error)?;
        writer.pass_to(revision);
        self.revisions.used(revision);
        self.settling.order(revision, true, &Default::default());
        self.settling.sync(&self.disk())
    }
}
