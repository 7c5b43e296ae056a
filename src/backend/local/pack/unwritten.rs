//! Telling a write that never reached the disk from damage.

use std::io::ErrorKind;

use super::files::open_file;
use super::frame::FILE_HEADER_BYTES;
use super::read::{frame_length, is_possible, read_at};
use super::{ChunkLocation, Packs, read_header};
use crate::error::{Error, Result};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// A shorter piece of zeros proves nothing.
const MIN_ZEROS: usize = 16;

impl Packs {
    /// Whether a chunk that cannot be read looks like one whose write never reached the disk before a power cut: its
    /// file is missing or short, or a sector of it is zeros. Anything else is damage, a place where no chunk can lie too.
    pub(crate) fn looks_unwritten(&self, location: &ChunkLocation) -> Result<bool> {
        if !is_possible(location) {
            return Ok(false);
        }
        let name = self.name(location.pack);
        let failed =
            |error| Error::io(format!("reading {}", name.location(location.offset)), error);
        // Not by way of `file`, for which a header that was never written is damage.
        let file = match open_file(&self.place.path().join(name.file_name())) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(failed(error)),
        };
        if read_header(&file).map_err(failed)? == [0; FILE_HEADER_BYTES] {
            return Ok(true);
        }
        let end = location.offset.saturating_add(location.frame_bytes());
        if file.metadata().map_err(failed)?.len() < end {
            return Ok(true);
        }
        let bytes = read_at(&file, location.offset, frame_length(location)).map_err(failed)?;
        let sector = SECTOR_BYTES as u64;
        let to_boundary =
            usize::try_from((sector - location.offset % sector) % sector).unwrap_or(0);
        let (first, rest) = bytes.split_at(to_boundary.min(bytes.len()));
        Ok(std::iter::once(first)
            .chain(rest.chunks(SECTOR_BYTES))
            .any(|piece| piece.len() >= MIN_ZEROS && piece.iter().all(|byte| *byte == 0)))
    }
}
