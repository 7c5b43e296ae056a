//! Frames: the bytes of a commit in the journal.
//!
//! A commit is a chain of frames, the last of which closes it. A frame is a header of 96 bytes and a payload of at
//! most about 1 MiB, so that a commit of any size is written and read in constant memory. All numbers are big-endian.
//!
//! | bytes | header |
//! |---|---|
//! | 4 | magic `KFRM` |
//! | 4 | CRC-32 of everything behind it, payload included; it begins with the store id, so that a frame of another store is none |
//! | 4 | length of the payload |
//! | 4 | number of the frame in its chain, from 0; bit 31 is set on the last, bit 30 where the commit did not wait for its chunks to be durable, bit 29 where revisions before it were left out |
//! | 8 | revision |
//! | 8 | the highest revision that was durable when the frame was written: proof that earlier frames must be there. With bit 29 it is the revision of the commit before |
//! | 8 | time: microseconds since 1970 |
//! | 4 4 | number of changes and of rows in the payload |
//! | 16 8 8 8 8 | totals after the commit: digest, entries, tokens, row bytes, bytes of chunks |
//!
//! Payload: each change as length (4) and bytes; then each row as tree (1), length of the key (2), length of the
//! value (4, all ones for a deletion), key, value.

use bytes::{Buf, BufMut, Bytes};

use crate::backend::local::row::{MAX_REVISION, Totals, tree_number, tree_of};
use crate::backend::{MAX_CHANGE_BYTES, MAX_ROW_BYTES, Tree};

/// Bytes of a frame's header.
pub(in crate::backend::local) const HEADER_BYTES: usize = 96;
/// A frame is closed once its payload is this large.
const PART_BYTES: usize = 1024 * 1024;
/// And before the next change once it is this large: who reads changes on from the middle of a commit reads a frame of them.
const CHANGES_BYTES: usize = 64 * 1024;
/// The largest payload a frame may claim: the part and the one change or row that went over it.
const MAX_PAYLOAD_BYTES: usize = PART_BYTES + MAX_CHANGE_BYTES + MAX_ROW_BYTES;

/// What a frame begins with.
pub(super) const MAGIC: u32 = u32::from_be_bytes(*b"KFRM");
/// What each frame begins with.
pub(super) const MAGIC_BYTE: u8 = MAGIC.to_be_bytes()[0];
/// Behind it lies what a frame's checksum is of.
pub(super) const CRC_ENDS_AT: usize = 8;
const LAST: u32 = 1 << 31;
const UNSYNCED_CHUNKS: u32 = 1 << 30;
const GAP: u32 = 1 << 29;
const DELETED: u32 = u32::MAX;

/// A row to write, as the journal holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend::local) struct RowWrite {
    pub(in crate::backend::local) tree: Tree,
    pub(in crate::backend::local) key: Bytes,
    /// `None` deletes.
    pub(in crate::backend::local) value: Option<Bytes>,
}

/// What the checksums of a store begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend::local) struct Seed(pub(super) u32);

impl Seed {
    /// The seed of the store of this id.
    pub(in crate::backend::local) fn of(store_id: &[u8; 16]) -> Seed {
        Seed(crc32fast::hash(store_id))
    }

    pub(super) fn hash(self, header: &[u8], payload: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new_with_initial(self.0);
        crc.update(header);
        crc.update(payload);
        crc.finalize()
    }
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend::local) struct Header {
    pub(super) crc: u32,
    pub(super) length: usize,
    pub(super) part: u32,
    pub(super) last: bool,
    /// Whether the chunks the commit adopts were not known to be durable when it was written.
    pub(in crate::backend::local) unsynced_chunks: bool,
    /// Whether revisions between the commit before and this one were left out.
    pub(super) gap: bool,
    pub(in crate::backend::local) revision: u64,
    pub(in crate::backend::local) synced: u64,
    pub(in crate::backend::local) time: u64,
    pub(super) changes: u32,
    pub(super) rows: u32,
    pub(in crate::backend::local) totals: Totals,
}

/// Revisions that a crash left out: those between two commits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap {
    before: u64,
    behind: u64,
}

impl Gap {
    /// Whether the commit was given out, and taken back: who stands there has been told of what never was.
    pub(super) fn took(&self, revision: u64) -> bool {
        self.before < revision && revision + 1 < self.behind
    }
}

/// A commit about to be written.
pub(in crate::backend::local) struct CommitImage<'a> {
    pub(in crate::backend::local) seed: Seed,
    pub(in crate::backend::local) unsynced_chunks: bool,
    /// Whether revisions are left out before it; `synced` is the commit before then.
    pub(in crate::backend::local) gap: bool,
    pub(in crate::backend::local) revision: u64,
    pub(in crate::backend::local) synced: u64,
    pub(in crate::backend::local) time: u64,
    pub(in crate::backend::local) totals: Totals,
    pub(in crate::backend::local) changes: &'a [Bytes],
    pub(in crate::backend::local) rows: &'a [RowWrite],
}

impl CommitImage<'_> {
    /// Appends the chain of frames to `out`.
    pub(in crate::backend::local) fn encode(&self, out: &mut Vec<u8>) {
        let mut part = Part::open(out, 0);
        for change in self.changes {
            part = part.with_room(out, self, CHANGES_BYTES);
            out.put_u32(length_of(change));
            out.extend_from_slice(change);
            part.changes += 1;
        }
        for row in self.rows {
            part = part.with_room(out, self, PART_BYTES);
            out.put_u8(tree_number(row.tree));
            #[expect(
                clippy::cast_possible_truncation,
                reason = "keys of rows are at most 1,025 bytes, checked by the commit"
            )]
            out.put_u16(row.key.len() as u16);
            out.put_u32(row.value.as_ref().map_or(DELETED, length_of));
            out.extend_from_slice(&row.key);
            out.extend_from_slice(row.value.as_deref().unwrap_or_default());
            part.rows += 1;
        }
        part.close(out, self, true);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "changes and rows are far below 4 GiB, checked by the commit"
)]
fn length_of(bytes: &Bytes) -> u32 {
    bytes.len() as u32
}

/// A frame being written: where it begins and what it holds so far.
struct Part {
    start: usize,
    number: u32,
    changes: u32,
    rows: u32,
}

impl Part {
    fn open(out: &mut Vec<u8>, number: u32) -> Part {
        let start = out.len();
        out.resize(start + HEADER_BYTES, 0);
        Part {
            start,
            number,
            changes: 0,
            rows: 0,
        }
    }

    fn with_room(self, out: &mut Vec<u8>, commit: &CommitImage<'_>, bytes: usize) -> Part {
        if out.len() - self.start < HEADER_BYTES + bytes {
            return self;
        }
        let next = self.number + 1;
        self.close(out, commit, false);
        Part::open(out, next)
    }

    fn close(self, out: &mut [u8], commit: &CommitImage<'_>, last: bool) {
        let frame = &mut out[self.start..];
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a part is closed at 1 MiB and holds one change or row more"
        )]
        let length = (frame.len() - HEADER_BYTES) as u32;
        let mut header = &mut frame[..HEADER_BYTES];
        header.put_u32(MAGIC);
        header.put_u32(0);
        header.put_u32(length);
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        let flags = flag(last, LAST)
            | flag(commit.unsynced_chunks, UNSYNCED_CHUNKS)
            | flag(commit.gap, GAP);
        header.put_u32(self.number | flags);
        header.put_u64(commit.revision);
        header.put_u64(commit.synced);
        header.put_u64(commit.time);
        header.put_u32(self.changes);
        header.put_u32(self.rows);
        commit.totals.put(&mut header);
        let crc = commit.seed.hash(&frame[CRC_ENDS_AT..], &[]);
        frame[4..CRC_ENDS_AT].copy_from_slice(&crc.to_be_bytes());
    }
}

impl Header {
    /// Bytes of the frame.
    pub(in crate::backend::local) fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.length
    }

    /// Number of the frame in its chain.
    pub(in crate::backend::local) fn part(&self) -> u32 {
        self.part
    }

    /// Whether it is the next one of its chain, where `before` is the one before, or the first.
    pub(in crate::backend::local) fn continues(&self, before: Option<&Header>) -> bool {
        match before {
            Some(before) => self.revision == before.revision && self.part == before.part + 1,
            None => self.part == 0,
        }
    }

    /// Whether its chain may follow the commit `before` with nothing missing between.
    pub(in crate::backend::local) fn follows(&self, before: u64) -> bool {
        if self.gap {
            self.synced == before && self.revision > before
        } else {
            before.checked_add(1) == Some(self.revision)
        }
    }

    /// What was left out before its chain, where that begins with it.
    pub(super) fn left_out(&self) -> Option<Gap> {
        (self.gap && self.part == 0).then_some(Gap {
            before: self.synced,
            behind: self.revision,
        })
    }

    /// Whether the frame closes its chain.
    pub(in crate::backend::local) fn is_last(&self) -> bool {
        self.last
    }

    /// Reads a header; `None` where the bytes cannot be one. The checksum is [`Header::matches`]' matter.
    pub(in crate::backend::local) fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        let mut rest = &bytes[..];
        if rest.get_u32() != MAGIC {
            return None;
        }
        let crc = rest.get_u32();
        let length = usize::try_from(rest.get_u32()).ok()?;
        if length > MAX_PAYLOAD_BYTES {
            return None;
        }
        let part = rest.get_u32();
        let (revision, synced) = (rest.get_u64(), rest.get_u64());
        if revision.max(synced) > MAX_REVISION {
            return None;
        }
        Some(Header {
            crc,
            length,
            part: part & !(LAST | UNSYNCED_CHUNKS | GAP),
            last: part & LAST != 0,
            unsynced_chunks: part & UNSYNCED_CHUNKS != 0,
            gap: part & GAP != 0,
            revision,
            synced,
            time: rest.get_u64(),
            changes: rest.get_u32(),
            rows: rest.get_u32(),
            totals: Totals::take(&mut rest),
        })
    }

    /// Whether header and payload are what was written.
    pub(in crate::backend::local) fn matches(
        &self,
        seed: Seed,
        header: &[u8; HEADER_BYTES],
        payload: &[u8],
    ) -> bool {
        seed.hash(&header[CRC_ENDS_AT..], payload) == self.crc
    }

    /// The changes in a payload that matches; `None` where they do not fit it.
    pub(in crate::backend::local) fn changes(&self, payload: &Bytes) -> Option<Vec<Bytes>> {
        let mut rest = payload.clone();
        (0..self.changes).map(|_| take_change(&mut rest)).collect()
    }

    /// The rows in a payload that matches; `None` where they do not fit it.
    pub(in crate::backend::local) fn rows(&self, payload: &Bytes) -> Option<Vec<RowWrite>> {
        let mut rest = payload.clone();
        for _ in 0..self.changes {
            take_change(&mut rest)?;
        }
        let rows: Option<Vec<RowWrite>> = (0..self.rows).map(|_| take_row(&mut rest)).collect();
        rows.filter(|_| rest.is_empty())
    }
}

fn take_change(rest: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(rest.try_get_u32().ok()?).ok()?;
    take(rest, length)
}

fn take_row(rest: &mut Bytes) -> Option<RowWrite> {
    let tree = tree_of(rest.try_get_u8().ok()?)?;
    let key_length = usize::from(rest.try_get_u16().ok()?);
    let value_length = rest.try_get_u32().ok()?;
    let key = take(rest, key_length)?;
    let value = match value_length {
        DELETED => None,
        length => Some(take(rest, usize::try_from(length).ok()?)?),
    };
    Some(RowWrite { tree, key, value })
}

fn take(rest: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= rest.len()).then(|| rest.split_to(length))
}

#[cfg(test)]
mod tests;
