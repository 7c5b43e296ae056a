//! Giving back what nobody owns any more.
//!
//! A blob whose last owner is gone is doomed: a pending row says so, in the same commit. Once that commit is durable,
//! nobody holds the blob and no older scan is open, the rows of its chunks are deleted, and with them the pending row
//! (`blobs`).
//! A pack without chunks in use is removed, after the deletions are durable; one that is mostly unused has its chunks
//! moved out, a few at a time, and then is one without.

mod blobs;
mod hold;
mod left_over;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::Core;
use super::pack::Effort;
use crate::backend::BlobId;
use crate::error::{Error, Result};
use crate::report::Progress;
#[cfg(test)]
use crate::sync::atomic::AtomicBool;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::thread::{self, ThreadId};
use crate::sync::{Mutex, MutexGuard};
pub(super) use hold::hold;

/// Rows deleted or moved in one commit.
pub(super) const ROWS_A_STEP: usize = 1000;
/// And so many where the disk is nearly full: they are written before anything is given back.
const FEW_ROWS_A_STEP: usize = 64;

/// So many bytes of rows may come to the overlay before it is asked whether the disk has room for them.
const UNLOOKED_BYTES: usize = 16 * 1024;
/// What the rows of a step take in the overlay, roughly.
const STEP_BYTES: u64 = 160 * ROWS_A_STEP as u64;

/// So many bytes may come to the packs before what waits to be given back is looked for early; more in a store that
/// holds more than twice as much.
const UNWATCHED_BYTES: u64 = 8 * 1024 * 1024;

/// And so many, or half of what is in use, before who writes waits until something has been given back.
const AHEAD_BYTES: u64 = 4 * UNWATCHED_BYTES;

/// So long may giving back take once the store begins to end.
pub(super) const LAST_EFFORT: Duration = Duration::from_secs(1);

/// Who holds what, and what is to go.
#[derive(Default)]
pub(super) struct Space {
    state: Mutex<State>,
    /// Held by whoever gives space back: two of them would count the same chunks twice.
    giving: Mutex<()>,
    /// The thread that holds it and may call back.
    giver: Mutex<Option<ThreadId>>,
    /// Bytes that came to the packs since space was last given back.
    appended: AtomicU64,
    /// What was in use then.
    in_use: AtomicU64,
    #[cfg(test)]
    panics: AtomicBool,
}

#[derive(Default)]
struct State {
    holds: HashMap<BlobId, usize>,
    /// Blobs whose rows are being deleted.
    going: HashSet<BlobId>,
    /// Blobs whose rows cannot all be deleted; the next opening tries again.
    damaged: HashSet<BlobId>,
    /// Blobs to give back, and the commits that took their last owners.
    doomed: Vec<(u64, BlobId)>,
    /// Packs out of which not everything could be moved.
    stuck: BTreeSet<u64>,
    /// Uploads that were dropped and are still to be doomed.
    abandoned: Vec<BlobId>,
}

impl State {
    /// Whether somebody reads what was doomed by this commit: it may take as long as it likes.
    fn keeps(&self, (revision, blob): &(u64, BlobId), oldest_pin: Option<u64>) -> bool {
        // In this order: while a scan is open, all that is replaced is looked at in each round.
        oldest_pin.is_some_and(|pin| *revision > pin) || self.holds.contains_key(blob)
    }
}

impl Space {
    /// The last owners of these blobs went with the commit `revision`.
    pub(super) fn doom(&self, revision: u64, blobs: Vec<BlobId>) {
        let doomed = blobs.into_iter().map(|blob| (revision, blob));
        self.state.lock().doomed.extend(doomed);
    }

    /// The upload is dropped, and could not be doomed.
    pub(super) fn abandon(&self, blob: BlobId) {
        self.state.lock().abandoned.push(blob);
    }

    /// Whether blobs wait to be given back, those included for which that is under way, that nobody holds and no scan of before
    /// `oldest_pin` needs.
    fn is_coming(&self, oldest_pin: Option<u64>) -> bool {
        let state = self.state.lock();
        let mut doomed = state.doomed.iter();
        !state.going.is_empty()
            || !state.abandoned.is_empty()
            || doomed.any(|doomed| !state.keeps(doomed, oldest_pin))
    }

    /// Whether blobs wait to be given back, those included for which that is under way.
    pub(super) fn is_waiting(&self) -> bool {
        let state = self.state.lock();
        !state.doomed.is_empty() || !state.going.is_empty() || !state.abandoned.is_empty()
    }

    /// The next round of giving back panics.
    #[cfg(test)]
    pub(super) fn panic_for_test(&self) {
        self.panics.store(true, Ordering::Relaxed);
    }

    /// Waits until nobody gives space back, and keeps others from it.
    pub(super) fn alone(&self) -> Alone<'_> {
        let giving = self.giving.lock();
        *self.giver.lock() = Some(thread::current().id());
        Alone {
            giver: &self.giver,
            _giving: giving,
        }
    }

    /// Whether nobody gives space back.
    pub(super) fn is_free(&self) -> bool {
        self.giving.try_lock().is_some()
    }

    /// Fails where this very thread gives space back and is only telling of its progress: it would wait for itself.
    pub(super) fn check_not_giving(&self) -> Result<()> {
        if *self.giver.lock() == Some(thread::current().id()) {
            return Err(Error::Misuse {
                reason: "the progress function of `compact` calls `compact` or `close`; answer `Break` and call it then",
            });
        }
        Ok(())
    }
}

/// While it lives, nobody else gives space back.
pub(super) struct Alone<'a> {
    giver: &'a Mutex<Option<ThreadId>>,
    _giving: MutexGuard<'a, ()>,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        *self.giver.lock() = None;
    }
}

impl Core {
    /// So many bytes came to the packs. Answers whether space is to be given back at once: as many came as make half of
    /// what is in use, and blobs wait to go. The checkpoint that takes would else come only when the rows are many, and
    /// rows are few beside the bytes of large chunks.
    pub(super) fn is_space_wanted(&self, bytes: u64) -> bool {
        let appended = self.space.appended.fetch_add(bytes, Ordering::Relaxed) + bytes;
        appended >= UNWATCHED_BYTES
            && appended >= self.packs.live_bytes() / 2
            && self.space.is_free()
            && self.is_space_coming()
    }

    /// Whether space will be given back for which nobody waits in vain: what is being read stays until it is read.
    pub(super) fn is_space_coming(&self) -> bool {
        let oldest_pin = self.overlay.read().oldest_pin_of_chunks();
        self.space.is_coming(oldest_pin)
    }

    /// Who puts chunks faster than what they replace can go waits for that: it goes once what replaced it is on the disk, and
    /// memory takes it much faster. One blob of 10 MiB that was replaced as fast as it went took 2 GB of packs.
    pub(super) fn wait_for_space(&self) -> Result<()> {
        let ahead = AHEAD_BYTES.max(self.space.in_use.load(Ordering::Relaxed) / 2);
        let is_ahead = self.space.appended.load(Ordering::Relaxed) >= ahead;
        match is_ahead && self.is_space_coming() && self.space.check_not_giving().is_ok() {
            true => self.await_round(),
            false => Ok(()),
        }
    }

    /// Gives back what can be given back now, all of it, where there is a progress. Without, as the thread that makes
    /// checkpoints does, at most one pack is emptied, and the bell rung for the next. Answers false where another thread is at it.
    ///
    /// # Errors
    /// `NoSpace` also where only packs are left that there is no room to empty: nobody tells when there is.
    pub(super) fn give_back(&self, progress: Option<&mut Progress<'_>>) -> Result<bool> {
        #[cfg(test)]
        assert!(!self.space.panics.load(Ordering::Relaxed));
        match progress {
            Some(progress) => self.give_back_all(&self.space.alone(), progress)?,
            None => {
                // Whoever is at it does all there is.
                let Some(_alone) = self.space.giving.try_lock() else {
                    return Ok(false);
                };
                self.space.appended.store(0, Ordering::Relaxed);
                self.give_back_blobs(&mut |_, _| self.health.check_time())?;
                let mut is_first = true;
                self.give_back_packs(Effort::Bounded, &mut |_| {
                    // One has been emptied, and there is room for another.
                    if !std::mem::take(&mut is_first) {
                        self.bell.ring();
                        return Ok(false);
                    }
                    self.health.check_time().map(|()| true)
                })?;
            }
        }
        let in_use = self.packs.live_bytes();
        self.space.in_use.store(in_use, Ordering::Relaxed);
        Ok(true)
    }

    /// Before the store ends: what was deleted or replaced in a session that was too short for the thread that sees to it would
    /// else stay, and so in the next one. At most a pack is emptied, and there is as much time as [`LAST_EFFORT`], also for who is at
    /// it already; the rest is for the next opening.
    pub(super) fn give_back_at_last(&self) -> Result<()> {
        let nothing_waits = !self.space.is_waiting() && self.packs.victims().is_empty();
        if nothing_waits && self.space.appended.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        self.sync()?;
        let _alone = self.space.alone();
        let mut is_first = true;
        let given = (self.give_back_blobs(&mut |_, _| self.health.check_time())).and_then(|()| {
            self.give_back_packs(Effort::Bounded, &mut |_| {
                self.health.check_time()?;
                Ok(std::mem::take(&mut is_first))
            })
        });
        match given {
            Err(Error::Misuse { .. } | Error::NoSpace { .. }) => Ok(()),
            given => given,
        }
    }

    /// Gives back everything that can go now.
    pub(super) fn give_back_all(
        &self,
        _alone: &Alone<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        self.space.appended.store(0, Ordering::Relaxed);
        // Who closes the store does not wait for all of it.
        self.give_back_blobs(&mut |done, total| {
            self.health.check_time()?;
            progress.step("blobs", done, Some(total))
        })?;
        self.give_back_packs(Effort::Thorough, &mut |pack| {
            // There may be packs for hours, while others replace what they have.
            self.space.appended.store(0, Ordering::Relaxed);
            self.give_back_blobs(&mut |_, _| self.health.check_time())?;
            self.tell_of_round();
            self.health.check_time()?;
            progress.step("packs", pack, None).map(|()| true)
        })
    }

    /// Removes empty packs, and empties others as long as `go_on` says so, which is asked before each for which there is room.
    fn give_back_packs(
        &self,
        effort: Effort,
        go_on: &mut dyn FnMut(u64) -> Result<bool>,
    ) -> Result<()> {
        self.remove_empty_packs()?;
        let mut tried = BTreeSet::new();
        let mut no_room = Ok(());
        while let Some(number) = self.next_sparse(effort, &tried) {
            tried.insert(number);
            // Moving writes before it gives anything back, and a full disk must not come to be without any room.
            let fresh_bytes = self.overlay.read().fresh_bytes() as u64;
            let moved = self.packs.bytes_in_use(number);
            // Each step takes its own: others are not to be refused for all of it.
            if let Err(error) = self.headroom.take_to_move(moved, fresh_bytes) {
                no_room = Err(error);
                continue;
            }
            if !go_on(number)? {
                return Ok(());
            }
            match self.empty_pack(number) {
                Ok(true) => {}
                Ok(false) => {
                    self.space.state.lock().stuck.insert(number);
                }
                Err(error @ Error::NoSpace { .. }) => no_room = Err(error),
                Err(error) => return Err(error),
            }
            self.remove_empty_packs()?;
        }
        no_room
    }

    /// The next pack to empty: none of those tried, nor one of which an upload under way has chunks, which no row tells.
    fn next_sparse(&self, effort: Effort, tried: &BTreeSet<u64>) -> Option<u64> {
        let mut except = self.space.state.lock().stuck.clone();
        except.extend(tried);
        except.extend(self.uploads.waiting_packs());
        self.packs.sparse(effort, &except)
    }

    /// Keeps the overlay from growing with the rows that giving back writes: nobody waits for room with them, neither in
    /// memory nor on the disk. Where that is nearly full, packs go as soon as they can.
    pub(super) fn keep_room(&self) -> Result<()> {
        let fresh_bytes = self.overlay.read().fresh_bytes();
        let is_tight = || match fresh_bytes < UNLOOKED_BYTES {
            true => Ok(false),
            false => self.headroom.is_tight(fresh_bytes as u64),
        };
        if (self.is_half_full() || is_tight()?) && !self.remove_empty_packs()? {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Answers whether there were any, and so a checkpoint was made.
    fn remove_empty_packs(&self) -> Result<bool> {
        let victims = self.packs.victims();
        if victims.is_empty() {
            return Ok(false);
        }
        // The rows that pointed there must be gone for good before the bytes are, and the superblock must tell of it: a
        // replay that looks for the chunks of a commit would else take them for lost.
        self.checkpoint()?;
        for number in victims {
            if let Err(error) = self.packs.remove(number) {
                tracing::warn!(%error, "an empty pack stays");
            }
        }
        Ok(true)
    }
}
