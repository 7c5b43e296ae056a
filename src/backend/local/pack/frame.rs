//! The bytes of a pack. All numbers are big-endian.
//!
//! The file begins with a header of 32 bytes:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | magic |
//! | 8 | 4 | format version |
//! | 12 | 16 | store id |
//! | 28 | 4 | CRC-32 of all before |
//!
//! Frames follow, each a header of 40 bytes and the bytes of one chunk:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 4 | magic |
//! | 4 | 16 | blob id |
//! | 20 | 8 | index of the chunk in the blob |
//! | 28 | 4 | length of the chunk |
//! | 32 | 4 | CRC-32 of blob id, index and bytes |
//! | 36 | 4 | CRC-32 of store id, number of the pack, offset of the frame and all before |
//!
//! So a frame holds only in its place. A copy of a pack, stored as a blob, is never taken for frames.

use crate::backend::BlobId;
use crate::backend::local::layout::PACKS;

pub(super) const FILE_HEADER_BYTES: usize = 32;
pub(crate) const FRAME_HEADER_BYTES: usize = 40;
pub(super) const FRAME_MAGIC: [u8; 4] = [0xc4, b'K', b'C', 0x1f];
const FILE_MAGIC: [u8; 8] = *b"KOMAPACK";
const FORMAT_VERSION: u32 = 1;
/// No pack has a larger number. Whoever names one by a file or a row does not use up the numbers of packs to come.
pub(crate) const MAX_PACK_NUMBER: u64 = u64::MAX / 2;

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChunkLocation {
    /// The number of the pack.
    pub(crate) pack: u64,
    /// Where the frame begins in the pack.
    pub(crate) offset: u64,
    /// Bytes of the chunk.
    pub(crate) length: u32,
    /// CRC-32 of blob id, index and bytes.
    pub(crate) crc: u32,
}

impl ChunkLocation {
    /// The bytes it takes of its pack, the header of its frame included.
    pub(crate) fn frame_bytes(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + u64::from(self.length)
    }

    /// Whether it begins where the other ends.
    pub(crate) fn follows(&self, other: &ChunkLocation) -> bool {
        self.pack == other.pack
            && Some(self.offset) == other.offset.checked_add(other.frame_bytes())
    }
}

/// The CRC-32 that goes with a chunk wherever it lies: of blob id, index and bytes.
pub(crate) fn chunk_crc(blob: BlobId, index: u64, bytes: &[u8]) -> u32 {
    crc_of_pieces(blob, index, &[bytes])
}

/// As [`chunk_crc`], of a chunk that lies in pieces.
pub(super) fn crc_of_pieces(blob: BlobId, index: u64, pieces: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&blob.0);
    hasher.update(&index.to_be_bytes());
    pieces.iter().for_each(|piece| hasher.update(piece));
    hasher.finalize()
}

/// Whose pack it is, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PackName {
    pub(super) store_id: [u8; 16],
    pub(super) number: u64,
}

impl PackName {
    pub(super) fn file_name(self) -> String {
        format!("{:016x}.pack", self.number)
    }

    /// The number of a file in `packs`, `None` for a name that none of ours has.
    pub(super) fn parse_file_name(name: &str) -> Option<u64> {
        let digits = name.strip_suffix(".pack")?;
        let is_ours = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() != 16 || !digits.bytes().all(is_ours) {
            return None;
        }
        let number = u64::from_str_radix(digits, 16).ok()?;
        (number <= MAX_PACK_NUMBER).then_some(number)
    }

    /// How a place in the pack is told in errors.
    pub(super) fn location(self, offset: u64) -> String {
        format!("{PACKS}/{} at {offset}", self.file_name())
    }

    pub(super) fn file_header(self) -> [u8; FILE_HEADER_BYTES] {
        let mut header = [0; FILE_HEADER_BYTES];
        header[0..8].copy_from_slice(&FILE_MAGIC);
        header[8..12].copy_from_slice(&FORMAT_VERSION.to_be_bytes());
        header[12..28].copy_from_slice(&self.store_id);
        let crc = crc32fast::hash(&header[..28]);
        header[28..].copy_from_slice(&crc.to_be_bytes());
        header
    }

    /// Whose pack it is, where its header is whole.
    pub(super) fn store_id_in(header: &[u8; FILE_HEADER_BYTES]) -> Option<[u8; 16]> {
        let store_id = header[12..28].try_into().ok()?;
        let name = PackName {
            store_id,
            number: 0,
        };
        (name.file_header() == *header).then_some(store_id)
    }

    /// Whether it is the whole header of a pack of another store or format.
    pub(super) fn is_foreign(self, header: &[u8; FILE_HEADER_BYTES]) -> bool {
        let is_whole = crc32fast::hash(&header[..28]).to_be_bytes() == header[28..];
        is_whole && header.starts_with(&FILE_MAGIC) && *header != self.file_header()
    }

    pub(super) fn frame_crc(self, offset: u64, header: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.store_id);
        hasher.update(&self.number.to_be_bytes());
        hasher.update(&offset.to_be_bytes());
        hasher.update(header);
        hasher.finalize()
    }
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) blob: BlobId,
    pub(super) index: u64,
    pub(super) length: u32,
    pub(super) crc: u32,
}

impl Frame {
    pub(super) fn encode(&self, pack: PackName, offset: u64) -> [u8; FRAME_HEADER_BYTES] {
        let mut header = [0; FRAME_HEADER_BYTES];
        header[0..4].copy_from_slice(&FRAME_MAGIC);
        header[4..20].copy_from_slice(&self.blob.0);
        header[20..28].copy_from_slice(&self.index.to_be_bytes());
        header[28..32].copy_from_slice(&self.length.to_be_bytes());
        header[32..36].copy_from_slice(&self.crc.to_be_bytes());
        let crc = pack.frame_crc(offset, &header[..36]);
        header[36..].copy_from_slice(&crc.to_be_bytes());
        header
    }

    /// `None` where no frame begins at `offset`.
    pub(super) fn decode(
        header: &[u8; FRAME_HEADER_BYTES],
        pack: PackName,
        offset: u64,
    ) -> Option<Frame> {
        let crc = pack.frame_crc(offset, &header[..36]);
        if !header.starts_with(&FRAME_MAGIC) || header[36..] != crc.to_be_bytes() {
            return None;
        }
        Some(Frame {
            blob: BlobId(field(header, 4)),
            index: u64::from_be_bytes(field(header, 20)),
            length: u32::from_be_bytes(field(header, 28)),
            crc: u32::from_be_bytes(field(header, 32)),
        })
    }

    pub(super) fn location(&self, pack: u64, offset: u64) -> ChunkLocation {
        ChunkLocation {
            pack,
            offset,
            length: self.length,
            crc: self.crc,
        }
    }
}

fn field<const N: usize>(header: &[u8; FRAME_HEADER_BYTES], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[offset..offset + N]);
    bytes
}
