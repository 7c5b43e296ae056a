//! Finding the frames of a pack without being told where they are.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::frame::{
    ChunkLocation, FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FRAME_MAGIC, Frame, PackName,
};
use crate::backend::BlobId;
use crate::error::{Error, Result};

const WINDOW_BYTES: usize = 64 * 1024;

/// The frames of a pack in the order of their offsets, as far as the file reached at the start.
///
/// What is no frame is passed over to the next one: a range whose write failed or was cut short may lie between whole
/// frames, not only behind the last. The headers are checked and not the chunks: `read` does that.
pub(crate) struct Walk {
    source: Option<(PackName, Arc<File>)>,
    offset: u64,
    end: u64,
    has_passed_over: bool,
    /// What was read last while the next frame was looked for, and from where on.
    window: (u64, Vec<u8>),
}

impl Walk {
    /// Whether something was no frame so far.
    pub(crate) fn has_passed_over(&self) -> bool {
        self.has_passed_over
    }

    /// Of a pack that is gone.
    pub(super) fn empty() -> Walk {
        Walk {
            source: None,
            offset: 0,
            end: 0,
            has_passed_over: false,
            window: (0, Vec::new()),
        }
    }

    pub(super) fn new(name: PackName, file: Arc<File>) -> Result<Walk> {
        let metadata = file.metadata().map_err(|error| failed(name, 0, error))?;
        Ok(Walk {
            source: Some((name, file)),
            offset: FILE_HEADER_BYTES as u64,
            end: metadata.len(),
            has_passed_over: false,
            window: (0, Vec::new()),
        })
    }

    fn advance(
        &mut self,
        name: PackName,
        file: &File,
    ) -> Result<Option<(BlobId, u64, ChunkLocation)>> {
        let mut header = [0; FRAME_HEADER_BYTES];
        while self.offset + FRAME_HEADER_BYTES as u64 <= self.end {
            let offset = self.offset;
            file.read_exact_at(&mut header, offset)
                .map_err(|error| failed(name, offset, error))?;
            if let Some(frame) = Frame::decode(&header, name, offset) {
                let location = frame.location(name.number, offset);
                if location.frame_bytes() <= self.end - offset {
                    self.offset += location.frame_bytes();
                    return Ok(Some((frame.blob, frame.index, location)));
                }
            }
            self.has_passed_over = true;
            self.offset = self.find_magic(name, file, offset + 1)?;
        }
        Ok(None)
    }

    /// The next place from `offset` on where a frame may begin, or the end.
    fn find_magic(&mut self, name: PackName, file: &File, mut offset: u64) -> Result<u64> {
        while offset < self.end {
            let piece = self.read_ahead(name, file, offset)?;
            let mut places = piece.windows(FRAME_MAGIC.len());
            if let Some(place) = places.position(|bytes| bytes == FRAME_MAGIC) {
                return Ok(offset + place as u64);
            }
            if piece.len() < FRAME_MAGIC.len() {
                break;
            }
            // The magic may begin in this window and end in the next.
            offset += (piece.len() - FRAME_MAGIC.len() + 1) as u64;
        }
        Ok(self.end)
    }

    /// Bytes from `offset` on, at least those of a magic unless the file ends. They are read once, however many places
    /// in them look like a frame.
    fn read_ahead(&mut self, name: PackName, file: &File, offset: u64) -> Result<&[u8]> {
        let (from, window) = &mut self.window;
        let within = |from: u64| usize::try_from(offset.checked_sub(from)?).ok();
        let start = within(*from).filter(|start| start + FRAME_MAGIC.len() <= window.len());
        let start = match start {
            Some(start) => start,
            None => {
                window.resize(WINDOW_BYTES, 0);
                let read = file
                    .read_at(window, offset)
                    .map_err(|error| failed(name, offset, error))?;
                window.truncate(read);
                *from = offset;
                0
            }
        };
        Ok(&window[start..])
    }
}

impl Iterator for Walk {
    type Item = Result<(BlobId, u64, ChunkLocation)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (name, file) = self.source.clone()?;
        let found = self.advance(name, &file);
        if found.is_err() {
            self.source = None;
        }
        found.transpose()
    }
}

fn failed(name: PackName, offset: u64, error: std::io::Error) -> Error {
    Error::io(format!("reading {}", name.location(offset)), error)
}
