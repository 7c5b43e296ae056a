//! Emptying a pack: what is in use is moved out of it, a few chunks at a time.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::Core;
use super::health::is_out_of_files;
use super::keys::{self, ChunkRow};
use super::pack::ChunkLocation;
use super::space::ROWS_A_STEP;
use crate::backend::{BlobId, Tree, View};
use crate::error::{Error, Result};

/// Bytes moved in one commit.
const BYTES_A_STEP: usize = 4 * 1024 * 1024;

/// A chunk on its way from one pack to another.
struct Moving {
    blob: BlobId,
    index: u64,
    from: ChunkLocation,
    bytes: Bytes,
}

impl Core {
    /// Moves the chunks in use out of a pack; answers whether all could be moved.
    pub(super) fn empty_pack(&self, number: u64) -> Result<bool> {
        let mut step = Vec::new();
        let mut step_bytes = 0;
        let mut has_damaged_rows = false;
        let mut frames = match self.packs.walk(number) {
            Ok(frames) => frames,
            Err(error) if is_out_of_files(&error) => return Err(error),
            Err(_) => return Ok(false),
        };
        for frame in frames.by_ref() {
            self.health.check_time()?;
            let (blob, index, location) = match frame {
                Ok(frame) => frame,
                Err(error) if is_out_of_files(&error) => return Err(error),
                Err(_) => return Ok(false),
            };
            match self.is_in_use(blob, index, &location) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(Error::Damaged { .. }) => {
                    has_damaged_rows = true;
                    continue;
                }
                Err(error) => return Err(error),
            }
            let bytes = match self.packs.read(blob, index, &location) {
                Ok(Some(bytes)) => bytes,
                // The pack is sound, and its turn comes again.
                Err(error) if is_out_of_files(&error) => return Err(error),
                _ => return Ok(false),
            };
            step_bytes += bytes.len();
            step.push(Moving {
                blob,
                index,
                from: location,
                bytes,
            });
            if step_bytes >= BYTES_A_STEP || step.len() >= ROWS_A_STEP {
                self.move_chunks(std::mem::take(&mut step))?;
                step_bytes = 0;
            }
        }
        self.move_chunks(step)?;
        // What was passed over may be a chunk in use of which the header is damaged, or its row.
        let is_sure = !frames.has_passed_over() && !has_damaged_rows;
        Ok(is_sure || self.packs.bytes_in_use(number) == 0)
    }

    fn is_in_use(&self, blob: BlobId, index: u64, location: &ChunkLocation) -> Result<bool> {
        let row = self.get(View::Latest, Tree::Chunks, &keys::chunk(blob, index))?;
        Ok(
            row.is_some_and(|row| {
                ChunkRow::decode(&row.value) == Some(ChunkRow::Packed(*location))
            }),
        )
    }

    /// Writes the chunks elsewhere, syncs them, and then lets their rows point there; not where a row has changed. Others may have
    /// taken the room there was for all of the pack.
    fn move_chunks(&self, moving: Vec<Moving>) -> Result<()> {
        if moving.is_empty() {
            return Ok(());
        }
        let bytes = moving.iter().map(|chunk| chunk.bytes.len() as u64).sum();
        let fresh_bytes = self.overlay.read().fresh_bytes() as u64;
        let _room = self.headroom.take_to_move(bytes, fresh_bytes)?;
        let mut moved = Vec::with_capacity(moving.len());
        for chunk in moving {
            let length = chunk.bytes.len().max(1);
            let appended = self
                .packs
                .append(chunk.blob, chunk.index, &chunk.bytes, length);
            match appended {
                Ok(to) => moved.extend(
                    to.into_iter()
                        .map(|to| (chunk.blob, chunk.index, chunk.from, to)),
                ),
                Err(error) => {
                    let appended: Vec<_> = moved.into_iter().map(|(.., to)| to).collect();
                    self.packs.give_back(&appended);
                    return Err(error);
                }
            }
        }
        let packs: BTreeSet<u64> = moved.iter().map(|(.., to)| to.pack).collect();
        let packs: Vec<u64> = packs.into_iter().collect();
        self.packs
            .sync(&packs)
            .map_err(|error| self.health.poison(error))?;
        let mut freed = Vec::with_capacity(moved.len());
        let committed = self.commit_own(|stage| {
            for (blob, index, from, to) in &moved {
                let key = keys::chunk(*blob, *index);
                if self.is_in_use(*blob, *index, from)? {
                    stage.write(Tree::Chunks, key, Some(ChunkRow::Packed(*to).encode()));
                    freed.push(*from);
                } else {
                    freed.push(*to);
                }
            }
            Ok(())
        });
        if committed.is_err() {
            freed = moved.into_iter().map(|(.., to)| to).collect();
        }
        self.packs.give_back(&freed);
        committed?;
        self.keep_room()
    }
}
