//! Reading frames one after the other.

use std::fs::File;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::frame::{CRC_ENDS_AT, HEADER_BYTES, Header, MAGIC_BYTE, Seed};
use super::sums::Sums;

/// Read ahead by this much; a frame that is larger is read whole.
const WINDOW_BYTES: usize = 128 * 1024;

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
    /// Of what follows the first place at which a frame was looked for and something like one found.
    sums: Option<Sums>,
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
            sums: None,
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
        let whole = header.frame_bytes();
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
        self.offset += header.frame_bytes() as u64;
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
            if self.may_be_frame()?
                && let Found::Frame { header, .. } = self.next()?
            {
                return Ok(Some(header));
            }
            self.offset += 1;
        }
        Ok(None)
    }

    /// Whether a whole frame may begin here, found out without reading all that it claims to hold.
    fn may_be_frame(&mut self) -> std::io::Result<bool> {
        let head = self
            .peek(HEADER_BYTES)?
            .and_then(|bytes| bytes.first_chunk());
        let Some(header) = head.and_then(Header::decode) else {
            return Ok(false);
        };
        let behind = self.offset + header.frame_bytes() as u64;
        if behind > self.end {
            return Ok(false);
        }
        let (file, from, end) = (self.file, self.offset, self.end);
        let sums = self.sums.get_or_insert_with(|| Sums::read(file, from, end));
        let sum = sums.of(file, self.seed, from + CRC_ENDS_AT as u64, behind)?;
        Ok(sum.is_none_or(|sum| sum == header.crc))
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
        let Some(header) = self.find_frame()? else {
            return Ok(false);
        };
        self.offset -= header.frame_bytes() as u64;
        Ok(true)
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::frame::{CommitImage, MAGIC};
    use super::*;
    use crate::backend::local::row::Totals;
    use crate::backend::local::tests::bytes_read;

    const FALSE_HEADER_BYTES: usize = 32;
    const CLAIMED_BYTES: u32 = 256 * 1024;

    /// What looks like so many headers of frames to who goes through it byte by byte.
    fn false_headers(count: usize) -> Vec<u8> {
        let mut header = MAGIC.to_be_bytes().to_vec();
        header.extend([[9; 4], CLAIMED_BYTES.to_be_bytes(), [0; 4]].concat());
        header.resize(FALSE_HEADER_BYTES, 0);
        header.repeat(count)
    }

    #[test]
    fn content_made_to_look_like_frames_is_not_read_over_and_over() {
        let seed = Seed::of(&[3; 16]);
        let count = 16 * 1024;
        let mut bytes = false_headers(count);
        CommitImage {
            seed,
            unsynced_chunks: false,
            gap: false,
            revision: 7,
            synced: 6,
            time: 5,
            totals: Totals::default(),
            changes: &[Bytes::from(false_headers(2 * count))],
            rows: &[],
        }
        .encode(&mut bytes);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();

        let before = bytes_read();
        let mut reader = FrameReader::new(&file, seed, 0, bytes.len() as u64);
        assert_eq!(reader.find_frame().unwrap().unwrap().revision, 7);
        let mut reader = FrameReader::new(&file, seed, 0, bytes.len() as u64);
        assert!(reader.skip_to_frame().unwrap());
        assert_eq!(reader.offset(), (count * FALSE_HEADER_BYTES) as u64);
        let read = usize::try_from(bytes_read() - before).unwrap();
        let most = 2 * (count * 2 * 4096 + 4 * bytes.len());
        assert!(read < most, "{read} bytes read, at most {most} expected");
    }
}
