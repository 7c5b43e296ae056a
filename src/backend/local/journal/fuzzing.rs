//! The laws of the journal.

use bytes::Bytes;

use super::frame::{CommitImage, HEADER_BYTES, Header, MAGIC, Seed};
use super::reader::{Found, FrameReader};
use super::segment::first_revision;
use crate::backend::local::fuzzing::directory::Rows;
use crate::backend::local::fuzzing::{file_of, pieces};
use crate::backend::local::row::Totals;

const MAX_INPUT_BYTES: usize = 64 * 1024;
/// Bytes of the header of a segment.
const SEGMENT_BYTES: usize = 40;
/// Where the digest lies in the header of a frame.
const DIGEST_AT: usize = 48;
const STORE_ID: [u8; 16] = [7; 16];

fn seed() -> Seed {
    Seed::of(&STORE_ID)
}

/// One frame, and a file of them.
pub(crate) fn journal_frame(bytes: &[u8]) {
    if bytes.len() <= MAX_INPUT_BYTES {
        any_header(bytes);
        any_file(bytes);
        frames_between_junk(bytes);
    }
}

/// The bytes as a header and its payload: what can be read of it is written the same again.
fn any_header(bytes: &[u8]) {
    let Some((head, payload)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return;
    };
    let head = mended(*head, payload);
    let payload = Bytes::copy_from_slice(payload);
    let Some(header) = Header::decode(&head) else {
        return;
    };
    assert!(header.matches(seed(), &head, &payload));
    let (Some(changes), Some(rows)) = (header.changes(&payload), header.rows(&payload)) else {
        return;
    };
    let mut out = Vec::new();
    let image = CommitImage {
        seed: seed(),
        unsynced_chunks: header.unsynced_chunks,
        gap: header.gap,
        revision: header.revision,
        synced: header.synced,
        time: header.time,
        totals: header.totals,
        changes: &changes,
        rows: &rows,
    };
    image.encode(&mut out);
    assert_eq!(out[HEADER_BYTES..], payload);
    let again = out.first_chunk().and_then(Header::decode);
    assert!(again.is_some_and(|again| {
        (again.revision, again.synced, again.time, again.totals)
            == (header.revision, header.synced, header.time, header.totals)
    }));
}

fn mended(mut head: [u8; HEADER_BYTES], payload: &[u8]) -> [u8; HEADER_BYTES] {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    head[..4].copy_from_slice(&MAGIC.to_be_bytes());
    head[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = seed().hash(&head[8..], payload);
    head[4..8].copy_from_slice(&crc.to_be_bytes());
    head
}

/// Readers of the bytes as they are come to an end, inside the file.
#[expect(clippy::expect_used, reason = "a file in memory can be read")]
fn any_file(bytes: &[u8]) {
    let file = file_of(bytes);
    let end = bytes.len() as u64;
    let mut headers = FrameReader::new(&file, seed(), 0, end);
    while let Some((offset, _)) = headers.next_header().expect("readable") {
        assert!(offset < headers.offset() && headers.offset() <= end);
    }
    let mut frames = FrameReader::new(&file, seed(), 0, end);
    frames.find_frame().expect("readable");
    assert!(frames.offset() <= end);
}

/// Frames are read up to the first junk, and the next one is found behind it.
#[expect(clippy::expect_used, reason = "a file in memory can be read")]
fn frames_between_junk(bytes: &[u8]) {
    let mut file = Vec::new();
    let mut junk_at = None;
    let (mut before, mut behind) = (0, 0);
    for (revision, (is_junk, piece)) in (1..).zip(pieces(bytes, MAGIC.to_be_bytes()[0])) {
        let piece = Bytes::from(piece);
        if !is_junk {
            append(&mut file, revision, &piece);
            let count = if junk_at.is_none() {
                &mut before
            } else {
                &mut behind
            };
            *count += 1;
        } else if !piece.is_empty() {
            junk_at.get_or_insert(file.len() as u64);
            file.extend_from_slice(&piece);
        }
    }
    let end = file.len() as u64;
    let file = file_of(&file);
    let mut reader = FrameReader::new(&file, seed(), 0, end);
    for _ in 0..before {
        assert!(matches!(reader.next(), Ok(Found::Frame { .. })));
    }
    match (reader.next().expect("readable"), junk_at) {
        (Found::End, None) => {}
        (Found::Invalid(offset), Some(at)) => {
            assert_eq!(offset, at);
            let found = reader.find_frame().expect("readable");
            assert_eq!(found.is_some(), behind > 0);
        }
        (found, _) => panic!("{found:?} where junk begins at {junk_at:?}"),
    }
}

fn append(file: &mut Vec<u8>, revision: u64, change: &Bytes) {
    let image = CommitImage {
        seed: seed(),
        unsynced_chunks: false,
        gap: false,
        revision,
        synced: 0,
        time: 0,
        totals: Totals::default(),
        changes: std::slice::from_ref(change),
        rows: &[],
    };
    image.encode(file);
}

/// Makes the checksums of the segment of this file name fit, as far as its frames follow each other; with `rows` also the
/// digest that each commit says is there after it.
pub(in crate::backend::local) fn seal_segment(
    bytes: &mut [u8],
    file_name: &str,
    store_id: &[u8; 16],
    mut rows: Option<&mut Rows>,
) {
    if first_revision(file_name).is_none() {
        return;
    }
    if let Some(header) = bytes.first_chunk_mut::<SEGMENT_BYTES>() {
        let crc = crc32fast::hash(&header[..36]);
        header[36..].copy_from_slice(&crc.to_be_bytes());
    }
    let mut offset = SEGMENT_BYTES;
    while let Some((head, rest)) = bytes
        .get_mut(offset..)
        .and_then(|rest| rest.split_first_chunk_mut::<HEADER_BYTES>())
    {
        let Some(header) = Header::decode(head) else {
            return;
        };
        let Some(payload) = rest.get(..header.length) else {
            return;
        };
        if let Some(rows) = &mut rows
            && let Some(writes) = header.rows(&Bytes::copy_from_slice(payload))
        {
            let digest = rows.digest_after(header.revision, writes);
            head[DIGEST_AT..DIGEST_AT + 16].copy_from_slice(&digest.to_be_bytes());
        }
        let crc = Seed::of(store_id).hash(&head[8..], payload);
        head[4..8].copy_from_slice(&crc.to_be_bytes());
        offset += HEADER_BYTES + header.length;
    }
}
