//! The records a store keeps in its rows, and the design of what lies on disk.
//!
//! Every record is a MessagePack map with one-letter names, so that fields can be added and old ones still read.
//! Optional fields are left out when they are empty. Unknown names are ignored. The tables of names are in `entry`,
//! `change` and `grant`.
//!
//! # Terms
//!
//! *Revision*: number of a commit. *Row*: key and value in one of five trees. *Frame*: a piece of a commit in the journal.
//! *Checkpoint*: the revision up to which the trees hold everything durably. *Overlay*: the rows of later commits, in
//! memory. *Pack*: file of chunks too large for a row. *Digest*: sum modulo 2^128 of a hash of every row.
//!
//! # Bytes
//!
//! All numbers are big-endian. Format version 3.
//!
//! | what | described in |
//! |---|---|
//! | superblock: two slots of 4 KiB, store id, checkpoint, digest | `backend/local/superblock.rs` |
//! | failed: an empty file, where a write failed | `backend/local/failure.rs` |
//! | journal: segments | `backend/local/journal/segment.rs` |
//! | journal: frames | `backend/local/journal/frame.rs` |
//! | packs: frames of chunks | `backend/local/pack/frame.rs` |
//! | rows: checksum, revision, value | `backend/local/row.rs` |
//! | blocks of rows, as sled holds them | `backend/local/trees/block.rs` |
//! | blocks whose keys are long | `backend/local/trees/layers.rs` |
//! | rows of chunks, pending rows, the checkpoint row | `backend/local/keys.rs` |
//! | rows of entries and tokens, changes | here |
//!
//! An entry lies under its key, an explicit folder under its key and a `/`. A token lies under the BLAKE3 hash of it.
//!
//! # The order of writes, and what a crash between them leaves
//!
//! | step | a crash behind it leaves |
//! |---|---|
//! | 1 chunks are appended to packs, under a fresh blob id | bytes no row names: dead space, given back |
//! | 2 rows of a large upload are committed now and then, with a pending row | a pending row: the next open gives the blob back |
//! | 3 the packs are synced (`Immediate`; else with the journal, before it) | as 1 and 2 |
//! | 4 the frames are appended to the journal | whole: the commit happened, though nobody was told; torn: cut off |
//! | 5 the journal is synced; the commit is acknowledged and seen | the commit, by replay |
//! | 6 the overlay is applied to the trees, the checkpoint row last | rows that the replay writes again, the same; rows of a block that was being split twice, which the next open takes out |
//! | 7 the trees are flushed | as 6 |
//! | 8 the superblock tells of the checkpoint | the commit, in the trees |
//! | 9 chunks nobody owns: rows deleted by a commit, journal synced, packs removed | a pending row or an empty pack: done again |
//!
//! # Invariants
//!
//! * The trees hold no row of a commit that the journal could lose: 5 before 6.
//! * A frame is durable only after the chunks its commit adopts are: 3 before 4 for `Immediate`; for `Eventual` 3 before 5,
//!   and since the system may write the frame by itself before, such frames are marked, and a replay that finds one
//!   with unwritten chunks, and no proof that it was ever durable, ends before it.
//! * The journal reaches back to the checkpoint in the superblock, or further. So trees that come back older are mended as long
//!   as it reaches back to what they hold.
//! * Each frame carries the digest after its commit. The rows of trees and overlay at a moment add up to it.
//! * After a crash that sum is taken before anything is served or given back: see `backend/local/audit.rs`.
//! * No commit has a revision above the one reserved in the superblock. The opening after a crash begins behind it, with a frame
//!   that names the commit before: see `backend/local/revisions.rs`.
//! * Rows move to later blocks only, and are written there before they go: see `backend/local/trees/blocks.rs`.
//! * No row is above 6 KiB, and `trees/blobs` stays empty: see `backend/local/trees`.
//! * A pack is removed only when the deletion of the last row that named it is durable, and the superblock tells of it.
//! * What adds something is let in only where the disk keeps room for bringing it to the trees: see `headroom`.
//!
//! # What is assumed of the media
//!
//! `fsync` and `fdatasync` return after the data is on stable storage, or fail. A write may be torn at any 512-byte sector,
//! and unsynced writes may reach the disk in any order or not at all; a sector that was never written reads as zeros or
//! lies behind the end of its file. `rename` within a directory is atomic. Nothing else is assumed: bytes may rot, files may vanish or come
//! back older, and that is found.
//!
//! # Versions
//!
//! 3: long keys lie in layers of the trees. 2: rows lie in blocks; such a store is brought along when it is opened. 1, in which each row
//! was one of sled, was never released.

mod change;
mod entry;
mod grant;
mod time;

pub(crate) use change::{ChangeAction, ChangeRecord};
pub(crate) use entry::{Body, EntryRecord, INLINE_BYTES, LockRecord, Part};
pub(crate) use grant::GrantRecord;
pub(crate) use time::{from_micros, to_micros};

use crate::error::{Error, Result};
use crate::json::is_at_end;
use serde::{Deserialize, Serialize};

/// Records nest three deep; hostile bytes must not exhaust the stack.
const MAX_RECORD_DEPTH: usize = 16;

/// The bytes of a record, about so many.
fn encode<T: Serialize>(record: &T, capacity: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(capacity);
    #[expect(
        clippy::expect_used,
        reason = "writing to memory cannot fail, and records hold only what MessagePack has"
    )]
    record
        .serialize(&mut rmp_serde::Serializer::new(&mut bytes).with_struct_map())
        .expect("records are always encodable");
    bytes
}

/// The record in these bytes, parts of which it may borrow.
fn decode<'de, T: Deserialize<'de>>(
    what: &'static str,
    location: &str,
    bytes: &'de [u8],
) -> Result<T> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(MAX_RECORD_DEPTH);
    let record = T::deserialize(&mut deserializer).map_err(|_| Error::damaged(what, location))?;
    match is_at_end(&mut deserializer) {
        true => Ok(record),
        false => Err(Error::damaged(what, location)),
    }
}
