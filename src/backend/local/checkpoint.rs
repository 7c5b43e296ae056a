//! The checkpoint: bringing the trees up to a revision, durably, so that the journal before it is needed no more.
//!
//! The order is what makes it safe: the journal is synced first (the trees must not know of a commit that the journal
//! could lose), then the rows are applied with the checkpoint row last, then the trees are flushed, then the superblock
//! tells of it, and only then do the rows leave the overlay and old segments the disk.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::overlay::Version;
use super::superblock::Content;
use super::{Core, keys, row};
use crate::backend::{Row, Tree};
use crate::error::{Error, Result};
use crate::format::to_micros;
use crate::sync::{Instant, thread};

/// How long an end waits for those who are in the middle of a write.
const LEAVING: Duration = Duration::from_secs(10);

impl Core {
    /// Makes a checkpoint of everything ordered before the call, and removes what the journal need not keep.
    pub(super) fn checkpoint(&self) -> Result<()> {
        if let Some(revision) = self.bring_to_trees()? {
            let now = to_micros(SystemTime::now());
            if let Err(error) = self.journal.drop_old(revision, now) {
                tracing::warn!(%error, "old segments of the journal stay");
            }
        }
        Ok(())
    }

    /// Makes a checkpoint and lets the journal be. Answers its revision, `None` where there was nothing to do.
    pub(super) fn bring_to_trees(&self) -> Result<Option<u64>> {
        let mut superblock = self.superblock.lock();
        self.health.check_unpoisoned()?;
        let (revision, totals) = {
            let writer = self.writer.lock();
            (writer.revision(), writer.totals())
        };
        let before = superblock.content();
        let applied = self.overlay.read().checkpoint();
        if revision == applied && revision == before.checkpoint {
            return Ok(None);
        }
        self.settling.sync(&self.disk())?;
        let written = self.overlay.read().written(revision);
        let bytes = self.overlay.read().fresh_bytes() as u64;
        self.headroom.check_checkpoint(bytes)?;
        self.keep_bases(&written)
            .map_err(|error| self.health.poison(error))?;
        let checkpoint = (
            Tree::Pending,
            Bytes::from_static(keys::CHECKPOINT),
            Version {
                revision,
                value: Some(keys::encode_checkpoint(revision, &totals)),
            },
        );
        // By a call of its own: within one, rows of a block go together.
        self.trees
            .apply(&mut written.into_iter().map(sealed))
            .and_then(|()| self.trees.apply(&mut [sealed(checkpoint)].into_iter()))
            .and_then(|()| self.trees.flush())
            .and_then(|()| {
                // Trees that came back older do not make the superblock forget what they once held.
                if revision < before.checkpoint {
                    return Ok(());
                }
                self.note(&mut superblock, |before| Content {
                    checkpoint: revision,
                    digest: totals.digest.to_be_bytes(),
                    clean: false,
                    ..before
                })
            })
            .map_err(|error| self.health.poison(error))?;
        self.overlay.write().drop_applied(revision);
        self.tell_of_room();
        Ok(Some(revision))
    }

    /// Saves for open scans what the rows about to be applied will replace.
    fn keep_bases(&self, written: &[(Tree, Bytes, Version)]) -> Result<()> {
        if self.overlay.read().oldest_pin().is_none() {
            return Ok(());
        }
        for (tree, key, _) in written {
            if !self.overlay.read().needs_base(*tree, key) {
                continue;
            }
            let base = match self.trees.get(*tree, key)? {
                None => Version {
                    revision: 0,
                    value: None,
                },
                Some(bytes) => match row::open(*tree, key, &bytes) {
                    Ok(row) => Version {
                        revision: row.revision,
                        value: Some(row.value),
                    },
                    // What is damaged is about to be replaced; no scan could have told it.
                    Err(Error::Damaged { .. }) => continue,
                    Err(error) => return Err(error),
                },
            };
            self.overlay.write().keep_base(*tree, key, base);
        }
        Ok(())
    }

    /// The end: a last checkpoint, the rows of the packs, and word in the superblock that all is in order, where it is.
    pub(super) fn shut_down(&self) -> Result<()> {
        if self.health.is_poisoned() {
            let closed = self.trees.close();
            // What was ordered since may be on no disk.
            return self.health.check_unpoisoned().and(closed);
        }
        let done = self
            .checkpoint()
            .and_then(|()| self.note_packs())
            .and_then(|()| self.journal.trim());
        let closed = self.trees.close();
        let ended = done.and(closed).and_then(|()| {
            let mut superblock = self.superblock.lock();
            self.note(&mut superblock, |before| Content {
                clean: self.health.trusts_trees(),
                ..before
            })
        });
        ended.inspect_err(|error| self.health.note_failure(error))
    }
}

impl Core {
    /// Waits until nobody is in the middle of a write any more that came in before the store was closed, lest it goes on in what
    /// the next one has opened. Answers `false` where one stays for too long: on files that have failed, it may hang.
    pub(super) fn is_left(&self) -> bool {
        let until = Instant::now() + LEAVING;
        loop {
            // Each was free once since nobody comes in; and who is alone takes the others.
            let is_left = self.space.is_free()
                && self.superblock.try_lock().is_some()
                && self.uploads.is_free()
                && self.writer.try_lock().is_some();
            if is_left || Instant::now() >= until {
                return is_left;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Core {
    /// Replaces the rows of the packs by what is in use now. Nobody puts chunks any more.
    fn note_packs(&self) -> Result<()> {
        let _alone = self.space.alone();
        self.packs.give_back(&self.uploads.abandon());
        let (start, end) = (keys::pack(0), keys::pack(u64::MAX));
        let former = self
            .trees
            .range(Tree::Pending, &start, Some(&end), usize::MAX)?;
        let former = former
            .into_iter()
            .map(|(key, _)| (Tree::Pending, key, None));
        let revision = self.writer.lock().revision();
        let present = self.packs.live().into_iter().map(|(number, bytes)| {
            let value = Bytes::copy_from_slice(&bytes.to_be_bytes());
            let version = Version {
                revision,
                value: Some(value),
            };
            sealed((Tree::Pending, keys::pack(number), version))
        });
        self.trees.apply(&mut former.chain(present))?;
        self.trees.flush()
    }
}

/// A row as the trees hold it.
pub(super) fn sealed((tree, key, version): (Tree, Bytes, Version)) -> (Tree, Bytes, Option<Bytes>) {
    let value = version.value.map(|value| {
        let row = Row {
            revision: version.revision,
            value,
        };
        row::seal(tree, &key, &row)
    });
    (tree, key, value)
}
