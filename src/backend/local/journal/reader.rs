//! Reading frames one after the other.

use std::fs::File;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::frame::{HEADER_BYTES, Header, MAGIC_BYTE, Seed};

/// Read ahead by this much; a frame that is larger is read whole.
const WINDOW_BYTES: usize = 256 * 1024;

/// What lies at an offset of a segment.
#[derive(Debug)]
pub(in crate::backend::local) enum Found {
    /// A whole frame, and where it begins.
    Frame {
        offset: u64,
        header: Header,
        payload: Bytes,
    },
    /// The end of the file, exactly behind a frame.
    End,
    /// Bytes that are not a frame, at this offset.
    Invalid(u64),
}

/// Reads a segment from an offset at which a frame begins.
pub(in crate::backend::local) struct FrameReader<'a> {
    file: &'a File,
    seed: Seed,
    offset: u64,
    end: u64,
    window: Vec<u8>,
    window_offset: u64,
}

impl<'a> FrameReader<'a> {
    /// Reads `file` from `offset` to `end`.
    pub(super) fn new(file: &'a File, seed: Seed, offset: u64, end: u64) -> FrameReader<'a> {
        FrameReader {
            file,
            seed,
            offset,
            end,
            window: Vec::new(),
            window_offset: offset,
        }
    }

    /// The offset behind the last frame read.
    pub(in crate::backend::local) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame. Behind an invalid one the reader stays where it is.
    pub(in crate::backend::local) fn next(&mut self) -> std::io::Result<Found> {
        let offset = self.offset;
        if offset == self.end {
            return Ok(Found::End);
        }
        let Some(head) = self
            .peek(HEADER_BYTES)?
            .and_then(|bytes| bytes.first_chunk().copied())
        else {
            return Ok(Found::Invalid(offset));
        };
        let Some(header) = Header::decode(&head) else {
            return Ok(Found::Invalid(offset));
        };
        let whole = HEADER_BYTES + header.length;
        let payload = match self.peek(whole)? {
            Some(frame) => Bytes::copy_from_slice(&frame[HEADER_BYTES..]),
            None => return Ok(Found::Invalid(offset)),
        };
        if !header.matches(self.seed, &head, &payload) {
            return Ok(Found::Invalid(offset));
        }
        self.offset += whole as u64;
        Ok(Found::Frame {
            offset,
            header,
            payload,
        })
    }

    /// The header at the present offset without its payload, which is passed over; for building an index.
    pub(in crate::backend::local) fn next_header(
        &mut self,
    ) -> std::io::Result<Option<(u64, Header)>> {
        let offset = self.offset;
        let head = self
            .peek(HEADER_BYTES)?
            .and_then(|bytes| bytes.first_chunk());
        let Some(header) = head.and_then(Header::decode) else {
            return Ok(None);
        };
        self.offset += (HEADER_BYTES + header.length) as u64;
        Ok((self.offset <= self.end).then_some((offset, header)))
    }

    /// Whether nothing else lies between here and the end.
    pub(super) fn only_zeros_follow(&self) -> std::io::Result<bool> {
        let mut at = self.offset;
        if at > self.end {
            return Ok(false);
        }
        let mut window = vec![0; WINDOW_BYTES];
        while at < self.end {
            let left = usize::try_from(self.end - at).unwrap_or(WINDOW_BYTES);
            let piece = &mut window[..left.min(WINDOW_BYTES)];
            self.file.read_exact_at(piece, at)?;
            if piece.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += piece.len() as u64;
        }
        Ok(true)
    }

    /// The next whole valid frame, looked for byte by byte.
    pub(in crate::backend::local) fn find_frame(&mut self) -> std::io::Result<Option<Header>> {
        while self.pass_to_magic()? {
            if let Found::Frame { header, .. } = self.next()? {
                return Ok(Some(header));
            }
            self.offset += 1;
        }
        Ok(None)
    }

    /// Passes bytes with which no frame begins; false where no whole header follows.
    fn pass_to_magic(&mut self) -> std::io::Result<bool> {
        loop {
            if self.peek(HEADER_BYTES)?.is_none() {
                return Ok(false);
            }
            let start = usize::try_from(self.offset - self.window_offset).unwrap_or(0);
            let rest = self.window.get(start..).unwrap_or_default();
            match rest.iter().position(|byte| *byte == MAGIC_BYTE) {
                Some(distance) => {
                    self.offset += distance as u64;
                    return Ok(self.offset + (HEADER_BYTES as u64) <= self.end);
                }
                None => self.offset += rest.len() as u64,
            }
        }
    }

    /// From an invalid place to the next whole valid frame, which is not read yet; false where there is none.
    pub(in crate::backend::local) fn skip_to_frame(&mut self) -> std::io::Result<bool> {
        self.offset += 1;
        while self.pass_to_magic()? {
            let start = self.offset;
            if let Found::Frame { .. } = self.next()? {
                self.offset = start;
                return Ok(true);
            }
            self.offset += 1;
        }
        Ok(false)
    }

    /// The next `length` bytes, `None` where the segment ends before.
    fn peek(&mut self, length: usize) -> std::io::Result<Option<&[u8]>> {
        let left = self.end.saturating_sub(self.offset);
        if (length as u64) > left {
            return Ok(None);
        }
        let have = usize::try_from(self.offset - self.window_offset)
            .ok()
            .filter(|start| start + length <= self.window.len());
        let start = match have {
            Some(start) => start,
            None => {
                let wanted = length.max(WINDOW_BYTES.min(usize::try_from(left).unwrap_or(length)));
                self.window.resize(wanted, 0);
                self.window_offset = self.offset;
                self.file.read_exact_at(&mut self.window, self.offset)?;
                0
            }
        };
        Ok(Some(&self.window[start..start + length]))
    }
}
