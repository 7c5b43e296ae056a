//! Deleting the rows of blobs that nobody owns any more: of many small ones in one commit, of a large one in several.

use bytes::Bytes;

use super::{FEW_ROWS_A_STEP, ROWS_A_STEP, STEP_BYTES, Space};
use crate::backend::local::Core;
use crate::backend::local::keys::{self, ChunkRow};
use crate::backend::local::pack::ChunkLocation;
use crate::backend::local::view::LATEST;
use crate::backend::{BlobId, Tree, View};
use crate::error::{Error, Result};

/// Blobs taken to be given back. When it is dropped, those left wait again: after an error, and also after a panic of the function
/// that is told of the progress.
struct Taken<'a> {
    space: &'a Space,
    /// The next one is the last.
    blobs: Vec<(u64, BlobId)>,
    /// Up to where the rows of the next one are deleted already.
    reached: Option<Bytes>,
}

impl Taken<'_> {
    /// The next one is given back, or cannot be.
    fn done(&mut self, is_damaged: bool) {
        self.reached = None;
        if let Some((_, blob)) = self.blobs.pop() {
            let mut state = self.space.state.lock();
            state.going.remove(&blob);
            if is_damaged {
                state.damaged.insert(blob);
            }
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.space.state.lock();
        for (_, blob) in &self.blobs {
            state.going.remove(blob);
        }
        state.doomed.append(&mut self.blobs);
    }
}

/// What a commit deletes.
#[derive(Default)]
struct Deleted {
    rows: Vec<Bytes>,
    /// Blobs of which it deletes the last row.
    blobs: Vec<BlobId>,
    /// Up to where it deletes rows of the one behind them.
    reached: Option<Bytes>,
    freed: Vec<ChunkLocation>,
}

impl Deleted {
    fn len(&self) -> usize {
        self.rows.len() + self.blobs.len()
    }
}

impl Space {
    /// Takes the blobs that can be given back now: doomed by a commit up to `settled`, which no scan of before
    /// `oldest_pin` needs, and held by nobody.
    fn take_free(&self, settled: u64, oldest_pin: Option<u64>) -> Taken<'_> {
        let mut state = self.state.lock();
        let (mut free, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut state.doomed)
            .into_iter()
            .partition(|doomed| doomed.0 <= settled && !state.keeps(doomed, oldest_pin));
        state.doomed = kept;
        state.going.extend(free.iter().map(|(_, blob)| *blob));
        free.reverse();
        Taken {
            space: self,
            blobs: free,
            reached: None,
        }
    }
}

impl Core {
    /// Deletes the rows of the blobs that can go now. The caller is alone; `step` is told before each commit how many are
    /// done and how many there are, and an error of it leaves the rest for later.
    pub(in crate::backend::local) fn give_back_blobs(
        &self,
        step: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<()> {
        match self.doom_abandoned() {
            // Empty packs may be all the room there is to be had.
            Err(Error::NoSpace { .. }) if self.remove_empty_packs()? => self.doom_abandoned()?,
            doomed => doomed?,
        }
        let settled = self.settling.settled().min(self.settling.synced());
        let oldest_pin = self.overlay.read().oldest_pin_of_chunks();
        let mut taken = self.space.take_free(settled, oldest_pin);
        let total = taken.blobs.len() as u64;
        while let Some((_, next)) = taken.blobs.last().copied() {
            step(total - taken.blobs.len() as u64, total)?;
            match self.give_back_step(&mut taken) {
                // It stays until the next open, and must not keep the others.
                Err(Error::Damaged { what, location }) => {
                    tracing::error!(blob = %next, what, location, "a blob cannot be given back");
                    taken.done(true);
                }
                given => given?,
            }
        }
        Ok(())
    }

    /// Deletes in one commit what of the next blobs goes into one, and with the last row of a blob its pending row.
    ///
    /// # Errors
    /// `Damaged` where rows of the first of them cannot be read.
    fn give_back_step(&self, taken: &mut Taken<'_>) -> Result<()> {
        let most = match self.headroom.is_tight(STEP_BYTES)? {
            true => FEW_ROWS_A_STEP,
            false => ROWS_A_STEP,
        };
        let mut deleted = Deleted {
            reached: taken.reached.take(),
            ..Deleted::default()
        };
        for (_, blob) in taken.blobs.iter().rev() {
            match self.delete_rows_of(*blob, most - deleted.len(), &mut deleted) {
                // Its turn comes by itself.
                Err(Error::Damaged { .. }) if deleted.len() > 0 => break,
                read => read?,
            }
            if deleted.reached.is_some() || deleted.len() >= most {
                break;
            }
        }
        self.commit_own(|stage| {
            for key in &deleted.rows {
                stage.write(Tree::Chunks, key.clone(), None);
            }
            for blob in &deleted.blobs {
                stage.write(Tree::Pending, keys::doomed(*blob), None);
            }
            Ok(())
        })?;
        self.packs.give_back(&deleted.freed);
        deleted.blobs.iter().for_each(|_| taken.done(false));
        taken.reached = deleted.reached;
        self.keep_room()
    }

    /// Adds about so many of the rows of a blob, from where that was reached on.
    fn delete_rows_of(&self, blob: BlobId, most: usize, deleted: &mut Deleted) -> Result<()> {
        let start = match deleted.reached.take() {
            Some(last) => [&last[..], &[0]].concat(),
            None => keys::chunk(blob, 0).to_vec(),
        };
        // It goes with the last of them, and what is damaged is to be told here, of the blob it is of.
        self.get(View::Latest, Tree::Pending, &keys::doomed(blob))?;
        let end = [&keys::chunk(blob, u64::MAX)[..], &[0]].concat();
        let (rows, more) = self.rows(Tree::Chunks, &start, Some(&end), LATEST, most)?;
        let rows = rows.into_iter().map(|(key, row)| Ok((key, row?)));
        for (key, row) in rows.collect::<Result<Vec<_>>>()? {
            if let Some(ChunkRow::Packed(location)) = ChunkRow::decode(&row.value) {
                deleted.freed.push(location);
            }
            deleted.rows.push(key);
        }
        match more {
            Some(last) => deleted.reached = Some(last),
            None => deleted.blobs.push(blob),
        }
        Ok(())
    }
}
