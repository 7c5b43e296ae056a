//! The rows the backend keeps for itself: where chunks lie, and what is pending.
//!
//! | tree | key | value |
//! |---|---|---|
//! | chunks | blob id (16), index (8) | 0, then the bytes; or 1, pack (8), offset (8), length (4), CRC-32 (4) |
//! | pending | 0 | the checkpoint: revision (8) and totals, as in a frame |
//! | pending | 1, pack (8) | live bytes (8) of the pack; written when the store is closed |
//! | pending | 2, blob id | nothing: an upload under way that has rows in the trees |
//! | pending | 3, blob id | number of owners (4), where it is more than one |
//! | pending | 4, blob id | nothing: a blob to give back |
//!
//! The first two kinds of pending rows describe the trees themselves: they are not in the journal and not in the digest.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::pack::{ChunkLocation, MAX_PACK_NUMBER};
use super::row::Totals;
use crate::backend::{BlobId, Tree};

/// The row of the checkpoint.
pub(super) const CHECKPOINT: &[u8] = &[0];
/// What the rows of packs begin with.
pub(super) const PACKS: u8 = 1;
/// What the rows of uploads under way begin with.
pub(super) const UPLOADS: u8 = 2;
/// What the rows of shared blobs begin with.
const OWNERS: u8 = 3;
/// What the rows of blobs to give back begin with.
pub(super) const DOOMED: u8 = 4;

/// Where a chunk lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ChunkRow {
    /// In the row itself.
    Here(Bytes),
    /// In a pack.
    Packed(ChunkLocation),
}

impl ChunkRow {
    /// The value of the row.
    pub(super) fn encode(&self) -> Bytes {
        let mut value = BytesMut::new();
        match self {
            ChunkRow::Here(bytes) => {
                value.reserve(1 + bytes.len());
                value.put_u8(0);
                value.put_slice(bytes);
            }
            ChunkRow::Packed(location) => {
                value.reserve(25);
                value.put_u8(1);
                value.put_u64(location.pack);
                value.put_u64(location.offset);
                value.put_u32(location.length);
                value.put_u32(location.crc);
            }
        }
        value.freeze()
    }

    /// Reads the value of a row; `None` where it cannot be one.
    pub(super) fn decode(value: &Bytes) -> Option<ChunkRow> {
        let mut rest = value.clone();
        match rest.try_get_u8().ok()? {
            0 => Some(ChunkRow::Here(rest)),
            1 if rest.len() == 24 => {
                let location = ChunkLocation {
                    pack: rest.get_u64(),
                    offset: rest.get_u64(),
                    length: rest.get_u32(),
                    crc: rest.get_u32(),
                };
                (location.pack <= MAX_PACK_NUMBER).then_some(ChunkRow::Packed(location))
            }
            _ => None,
        }
    }

    /// Bytes of the chunk.
    pub(super) fn length(&self) -> u64 {
        match self {
            ChunkRow::Here(bytes) => bytes.len() as u64,
            ChunkRow::Packed(location) => u64::from(location.length),
        }
    }
}

/// The key of a chunk.
pub(super) fn chunk(blob: BlobId, index: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(24);
    key.put_slice(&blob.0);
    key.put_u64(index);
    key.freeze()
}

/// The blob and index in the key of a chunk.
pub(super) fn parse_chunk(key: &[u8]) -> Option<(BlobId, u64)> {
    let (blob, index) = key.split_first_chunk::<16>()?;
    Some((BlobId(*blob), u64::from_be_bytes(index.try_into().ok()?)))
}

/// The row of an upload under way.
pub(super) fn upload(blob: BlobId) -> Bytes {
    pending(UPLOADS, &blob.0)
}

/// The row of a shared blob.
pub(super) fn owners(blob: BlobId) -> Bytes {
    pending(OWNERS, &blob.0)
}

/// The row of a blob to give back.
pub(super) fn doomed(blob: BlobId) -> Bytes {
    pending(DOOMED, &blob.0)
}

/// The row of a pack.
pub(super) fn pack(id: u64) -> Bytes {
    pending(PACKS, &id.to_be_bytes())
}

/// The blob in the key of a pending row of this kind.
pub(super) fn parse_blob(kind: u8, key: &[u8]) -> Option<BlobId> {
    let rest = key.strip_prefix(&[kind])?;
    Some(BlobId(rest.try_into().ok()?))
}

/// The pack in the key of a pending row, `None` where there can be none of its number.
pub(super) fn parse_pack(key: &[u8]) -> Option<u64> {
    let rest = key.strip_prefix(&[PACKS])?;
    let number = u64::from_be_bytes(rest.try_into().ok()?);
    (number <= MAX_PACK_NUMBER).then_some(number)
}

fn pending(kind: u8, id: &[u8]) -> Bytes {
    [&[kind], id].concat().into()
}

/// Whether a row describes the trees themselves, and so is neither in the journal nor in the digest.
pub(super) fn is_of_the_trees(tree: Tree, key: &[u8]) -> bool {
    tree == Tree::Pending && key.first().is_some_and(|kind| *kind <= PACKS)
}

/// The value of the checkpoint row.
pub(super) fn encode_checkpoint(revision: u64, totals: &Totals) -> Bytes {
    let mut value = BytesMut::with_capacity(8 + Totals::BYTES);
    value.put_u64(revision);
    totals.put(&mut value);
    value.freeze()
}

/// Reads the value of the checkpoint row.
pub(super) fn decode_checkpoint(value: &Bytes) -> Option<(u64, Totals)> {
    let mut rest = value.clone();
    (rest.len() == 8 + Totals::BYTES).then(|| (rest.get_u64(), Totals::take(&mut rest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::local::{Local, Options};
    use crate::backend::{Backend, Commit, View};

    /// The bytes on disk: a change here is a change of the format.
    #[test]
    fn golden_bytes() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let packed = ChunkRow::Packed(ChunkLocation {
            pack: 1,
            offset: 2,
            length: 3,
            crc: 4,
        });
        assert_eq!(
            hex(&packed.encode()),
            "01000000000000000100000000000000020000000300000004"
        );
        let here = ChunkRow::Here(Bytes::from_static(b"ab"));
        assert_eq!(hex(&here.encode()), "006162");
        for row in [packed, here] {
            assert_eq!(ChunkRow::decode(&row.encode()), Some(row));
        }
        let blob = BlobId([7; 16]);
        assert_eq!(
            hex(&chunk(blob, 9)),
            format!("{}0000000000000009", "07".repeat(16))
        );
        assert_eq!(parse_chunk(&chunk(blob, 9)), Some((blob, 9)));
        assert_eq!(hex(&upload(blob)), format!("02{}", "07".repeat(16)));
        assert_eq!(hex(&owners(blob)), format!("03{}", "07".repeat(16)));
        assert_eq!(hex(&doomed(blob)), format!("04{}", "07".repeat(16)));
        assert_eq!(parse_blob(DOOMED, &doomed(blob)), Some(blob));
        assert_eq!(hex(&pack(5)), "010000000000000005");
        assert_eq!(parse_pack(&pack(5)), Some(5));
        let totals = Totals {
            digest: 1,
            entries: 2,
            tokens: 3,
            row_bytes: 4,
            chunk_bytes: 5,
        };
        let checkpoint = encode_checkpoint(6, &totals);
        let number = |number: u64| format!("{number:016x}");
        let numbers: String = [6, 0, 1, 2, 3, 4, 5].map(number).concat();
        assert_eq!(hex(&checkpoint), numbers);
        assert_eq!(decode_checkpoint(&checkpoint), Some((6, totals)));
        assert_eq!(CHECKPOINT, [0]);
    }

    /// The value of a shared blob: a number, and no row where it has one owner.
    #[test]
    fn golden_bytes_of_owners() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let local = Local::open(&path, Options::default()).unwrap();
        let blob = BlobId([7; 16]);
        local.put_chunks(blob, 0, &[1; 100], 64).unwrap();
        for (adopts, expected) in [
            (1, None),
            (1, Some([0, 0, 0, 2])),
            (0x0102, Some([0, 0, 1, 4])),
        ] {
            let commit = Commit {
                adopts: vec![blob; adopts],
                ..Commit::default()
            };
            local.commit(commit, &mut |_| {}).unwrap();
            let row = local
                .get(View::Latest, Tree::Pending, &owners(blob))
                .unwrap();
            let expected = expected.map(|value: [u8; 4]| Bytes::copy_from_slice(&value));
            assert_eq!(row.map(|row| row.value), expected);
        }
    }

    #[test]
    fn what_cannot_be_a_row_is_none() {
        for bytes in [&b""[..], b"\x01\0", b"\x02", &[1; 26]] {
            assert_eq!(ChunkRow::decode(&Bytes::from_static(bytes)), None);
        }
        let of_pack = |pack: u64| [&[1][..], &pack.to_be_bytes(), &[0; 16]].concat();
        let row_of_pack = |number: u64| [&[PACKS][..], &number.to_be_bytes()].concat();
        for (number, is_ours) in [
            (u64::MAX / 2, true),
            (u64::MAX / 2 + 1, false),
            (u64::MAX, false),
        ] {
            assert_eq!(ChunkRow::decode(&of_pack(number).into()).is_some(), is_ours);
            assert_eq!(parse_pack(&row_of_pack(number)).is_some(), is_ours);
        }
        assert_eq!(parse_chunk(b"short"), None);
        assert_eq!(decode_checkpoint(&Bytes::from_static(b"short")), None);
    }
}
