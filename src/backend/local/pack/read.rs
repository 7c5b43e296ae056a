//! Reading chunks: one, or several that lie one behind the other.

use std::fs::File;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};

use super::frame::{ChunkLocation, FRAME_HEADER_BYTES, Frame, PackName, crc_of_pieces};
use super::{Packs, WHAT};
use crate::backend::BlobId;
use crate::error::{Error, Result};
use crate::options::MAX_CHUNK_BYTES;

/// The most that is read in one go, headers included. Nobody asks for more than 1 MiB and what is left of two chunks; but a
/// row may claim any length, and memory is taken before a byte is looked at.
const MAX_RUN_BYTES: usize = 4 * 1024 * 1024;

impl Packs {
    /// One chunk; `None` where its pack is gone, since the chunk was moved or given back: read its row again.
    ///
    /// # Errors
    /// `Damaged` where any byte of its frame is not as it was written.
    pub(crate) fn read(
        &self,
        blob: BlobId,
        index: u64,
        location: &ChunkLocation,
    ) -> Result<Option<Bytes>> {
        let chunks = self.read_run(blob, index, std::slice::from_ref(location))?;
        Ok(chunks.and_then(|mut chunks| chunks.pop()))
    }

    /// Chunks that lie one behind the other, in one read of at most 4 MiB; those before the first that is damaged. `None` as
    /// for [`Packs::read`].
    ///
    /// # Errors
    /// `Damaged` where any byte of the first frame is not as it was written.
    pub(crate) fn read_run(
        &self,
        blob: BlobId,
        first: u64,
        locations: &[ChunkLocation],
    ) -> Result<Option<Vec<Bytes>>> {
        let Some(start) = locations.first() else {
            return Ok(Some(Vec::new()));
        };
        let name = self.name(start.pack);
        let damaged = || Error::damaged(WHAT, name.location(start.offset));
        if !is_possible(start) {
            return Err(damaged());
        }
        let Some(file) = self.file(name)? else {
            return Ok(None);
        };
        let mut length = 0;
        for location in locations {
            let with_it = length + frame_length(location);
            if !is_possible(location) || with_it > MAX_RUN_BYTES {
                break;
            }
            length = with_it;
        }
        let mut bytes = read_at(&file, start.offset, length).map_err(|error| {
            Error::io(format!("reading {}", name.location(start.offset)), error)
        })?;
        let mut chunks = Vec::with_capacity(locations.len());
        for (index, location) in (first..).zip(locations) {
            let frame = bytes.split_to(bytes.len().min(frame_length(location)));
            match chunk_of(name, blob, index, location, &frame) {
                Some(chunk) => chunks.push(chunk),
                None if chunks.is_empty() => return Err(damaged()),
                None => break,
            }
        }
        Ok(Some(chunks))
    }
}

/// Whether there can be such a place at all.
pub(super) fn is_possible(location: &ChunkLocation) -> bool {
    location.length as usize <= MAX_CHUNK_BYTES && i64::try_from(location.offset).is_ok()
}

pub(super) fn frame_length(location: &ChunkLocation) -> usize {
    FRAME_HEADER_BYTES + location.length as usize
}

/// The chunk in the bytes of its frame; `None` where any of them is not as it was written.
fn chunk_of(
    name: PackName,
    blob: BlobId,
    index: u64,
    location: &ChunkLocation,
    frame: &Bytes,
) -> Option<Bytes> {
    let (header, chunk) = frame.split_first_chunk()?;
    is_whole(name, blob, index, location, header, &[chunk])
        .then(|| frame.slice(FRAME_HEADER_BYTES..))
}

/// Whether every byte of a frame is as it was written.
pub(super) fn is_whole(
    name: PackName,
    blob: BlobId,
    index: u64,
    location: &ChunkLocation,
    header: &[u8; FRAME_HEADER_BYTES],
    chunk: &[&[u8]],
) -> bool {
    let expected = Frame {
        blob,
        index,
        length: location.length,
        crc: location.crc,
    };
    let length: usize = chunk.iter().map(|piece| piece.len()).sum();
    u32::try_from(length) == Ok(location.length)
        && Frame::decode(header, name, location.offset) == Some(expected)
        && crc_of_pieces(blob, index, chunk) == location.crc
}

/// At most `length` bytes, fewer only where the file ends before.
pub(super) fn read_at(file: &File, offset: u64, length: usize) -> std::io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let place = offset.saturating_add(bytes.len() as u64);
        match pread(file, spare_capacity(&mut bytes), place) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(length);
    Ok(Bytes::from(bytes))
}
