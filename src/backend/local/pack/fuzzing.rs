//! The laws of packs.

use std::sync::Arc;

use super::frame::{
    FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FRAME_MAGIC, Frame, PackName, chunk_crc,
};
use super::walk::Walk;
use crate::backend::BlobId;
use crate::backend::local::fuzzing::{file_of, pieces};

const NAME: PackName = PackName {
    store_id: [7; 16],
    number: 3,
};

/// One header, a file of frames, and the name of a file.
pub(crate) fn pack_frame(bytes: &[u8]) {
    any_header(bytes);
    frames_between_junk(bytes);
    if let Ok(name) = std::str::from_utf8(bytes)
        && let Some(number) = PackName::parse_file_name(name)
    {
        assert_eq!(PackName { number, ..NAME }.file_name(), name);
    }
}

/// A header is read only where it lies, and written the same again.
fn any_header(bytes: &[u8]) {
    let Some((header, rest)) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>() else {
        return;
    };
    let offset = rest.first().map_or(0, |byte| u64::from(*byte));
    let mut header = *header;
    header[..4].copy_from_slice(&FRAME_MAGIC);
    let crc = NAME.frame_crc(offset, &header[..36]);
    header[36..].copy_from_slice(&crc.to_be_bytes());
    let frame = Frame::decode(&header, NAME, offset);
    assert!(frame.is_some_and(|frame| frame.encode(NAME, offset) == header));
    assert!(Frame::decode(&header, NAME, offset + 1).is_none());
}

/// A walk finds every whole frame, nothing else, and comes to an end.
#[expect(clippy::expect_used, reason = "a file in memory can be read")]
fn frames_between_junk(bytes: &[u8]) {
    let blob = BlobId([9; 16]);
    let mut file = NAME.file_header().to_vec();
    let mut written = Vec::new();
    for (index, (is_junk, piece)) in (0..).zip(pieces(bytes, FRAME_MAGIC[0])) {
        if !is_junk {
            let offset = file.len() as u64;
            let frame = Frame {
                blob,
                index,
                length: u32::try_from(piece.len()).unwrap_or(u32::MAX),
                crc: chunk_crc(blob, index, &piece),
            };
            file.extend_from_slice(&frame.encode(NAME, offset));
            written.push((blob, index, frame.location(NAME.number, offset)));
        }
        file.extend_from_slice(&piece);
    }
    // As a crash leaves it: the last frame may be cut short.
    let cut = bytes.last().map_or(0, |byte| usize::from(byte % 4));
    file.truncate((file.len() - cut).max(FILE_HEADER_BYTES));
    let end = file.len() as u64;
    written.retain(|(_, _, location)| location.offset + location.frame_bytes() <= end);
    let walk = Walk::new(NAME, Arc::new(file_of(&file))).expect("a file in memory");
    let found: Vec<_> = walk.collect::<Result<_, _>>().expect("readable");
    assert_eq!(found, written);
}

/// Makes the checksums of the pack of this file name fit, as far as its frames follow each other.
pub(in crate::backend::local) fn seal_pack(bytes: &mut [u8], file_name: &str, store_id: &[u8; 16]) {
    let Some(number) = PackName::parse_file_name(file_name) else {
        return;
    };
    let name = PackName {
        store_id: *store_id,
        number,
    };
    if let Some(header) = bytes.first_chunk_mut::<FILE_HEADER_BYTES>() {
        let crc = crc32fast::hash(&header[..28]);
        header[28..].copy_from_slice(&crc.to_be_bytes());
    }
    let mut offset = FILE_HEADER_BYTES;
    while let Some((header, rest)) = bytes
        .get_mut(offset..)
        .and_then(|rest| rest.split_first_chunk_mut::<FRAME_HEADER_BYTES>())
    {
        let field = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let length = usize::try_from(field(28)).unwrap_or(usize::MAX);
        let Some(chunk) = rest.get(..length) else {
            return;
        };
        let mut frame = crc32fast::Hasher::new();
        frame.update(&header[4..28]);
        frame.update(chunk);
        header[32..36].copy_from_slice(&frame.finalize().to_be_bytes());
        let crc = name.frame_crc(offset as u64, &header[..36]);
        header[36..].copy_from_slice(&crc.to_be_bytes());
        offset += FRAME_HEADER_BYTES + length;
    }
}
