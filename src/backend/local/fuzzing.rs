//! What the fuzz targets ask of the files of a store: the laws that hold for any bytes.
//!
//! A checksum stops nearly everything a fuzzer makes up, so each law mends the checksums of its input first.

pub(super) mod directory;

use std::fs::File;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use rustix::fs::{MemfdFlags, memfd_create};

pub(crate) use self::directory::{Files, tamper};
pub(crate) use super::journal::fuzzing::journal_frame;
use super::keys::{self, ChunkRow, DOOMED, UPLOADS};
pub(crate) use super::pack::fuzzing::pack_frame;
use super::row;
pub(crate) use super::superblock::fuzzing::superblock;
pub(crate) use super::trees::fuzzing::blocks;
use crate::backend::{Row, Tree};

/// Envelopes, and the rows the backend keeps for itself.
pub(crate) fn rows(bytes: &[u8]) {
    envelope(bytes);
    let value = Bytes::copy_from_slice(bytes);
    if let Some(row) = ChunkRow::decode(&value) {
        assert_eq!(row.encode(), value);
    }
    if let Some((revision, totals)) = keys::decode_checkpoint(&value) {
        assert_eq!(keys::encode_checkpoint(revision, &totals), value);
    }
    if let Some((blob, index)) = keys::parse_chunk(bytes) {
        assert_eq!(keys::chunk(blob, index), value);
    }
    if let Some(pack) = keys::parse_pack(bytes) {
        assert_eq!(keys::pack(pack), value);
    }
    if let Some(blob) = keys::parse_blob(UPLOADS, bytes) {
        assert_eq!(keys::upload(blob), value);
    }
    if let Some(blob) = keys::parse_blob(DOOMED, bytes) {
        assert_eq!(keys::doomed(blob), value);
    }
}

/// A row opens as it was sealed, under its own key only; whatever opens is what would be sealed.
fn envelope(bytes: &[u8]) {
    let Some((&[revision, key_length], rest)) = bytes.split_first_chunk() else {
        return;
    };
    let (key, value) = rest.split_at(usize::from(key_length).min(rest.len()));
    let row = Row {
        revision: u64::from(revision),
        value: Bytes::copy_from_slice(value),
    };
    let sealed = row::seal(Tree::Entries, key, &row);
    assert!(row::open(Tree::Entries, key, &sealed).is_ok_and(|opened| opened == row));
    assert!(row::open(Tree::Meta, key, &sealed).is_err());
    let given = Bytes::copy_from_slice(value);
    if let Ok(opened) = row::open(Tree::Entries, key, &given) {
        assert_eq!(row::seal(Tree::Entries, key, &opened), given);
    }
}

/// The input as pieces of a file: bytes to be framed, or bytes that are no frame where the flag is set. No piece holds
/// the byte a frame begins with: a fuzzer that sees checksums compared makes up whole frames of its own in the end.
pub(super) fn pieces(bytes: &[u8], frame_begins_with: u8) -> impl Iterator<Item = (bool, Vec<u8>)> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (&head, behind) = rest.split_first()?;
        let (piece, behind) = behind.split_at(usize::from(head >> 1).min(behind.len()));
        rest = behind;
        let without = |byte: &u8| match *byte {
            byte if byte == frame_begins_with => !byte,
            byte => byte,
        };
        Some((head & 1 == 1, piece.iter().map(without).collect()))
    })
}

/// A file in memory.
#[expect(clippy::expect_used, reason = "without memory there is no fuzzing")]
pub(super) fn file_of(bytes: &[u8]) -> File {
    let file = File::from(memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("a file in memory"));
    file.write_all_at(bytes, 0).expect("room in memory");
    file
}
