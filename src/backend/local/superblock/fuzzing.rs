//! The law of the superblock.

use super::{CRC_OFFSET, MAGIC, Reading, SLOT_BYTES, Slot, decode, encode, newest_slot};
use crate::error::Error;

/// A slot is read without a panic, a flipped bit in it or not; what is read can be written and read again; the newer of
/// two wins.
pub(crate) fn superblock(bytes: &[u8]) {
    let (front, back) = bytes.split_at(bytes.len() / 2);
    let mut slots = [slot(front), slot(back)];
    if let Some(&[at, mask]) = bytes.last_chunk() {
        slots[0][usize::from(at)] ^= mask & 1;
    }
    for slot in &slots {
        if let Reading::Whole(first) = decode(slot) {
            let again = encode(first.store_id, first.sequence, first.content);
            assert!(matches!(decode(&again), Reading::Whole(second)
                if (second.store_id, second.sequence, second.content)
                    == (first.store_id, first.sequence, first.content)));
        }
    }
    let newest = newest_slot(&slots, "superblock".as_ref());
    let is_of = |sequence| matches!(&newest, Ok(Some(newest)) if newest.sequence == sequence);
    match (decode(&slots[0]), decode(&slots[1])) {
        (Reading::Other(_), _) | (_, Reading::Other(_)) => {
            assert!(matches!(newest, Err(Error::Unsupported { .. })));
        }
        (Reading::Whole(left), Reading::Whole(right)) => {
            let sequence = left.sequence.max(right.sequence);
            assert!(is_of(sequence));
        }
        (Reading::Whole(only), Reading::Torn) | (Reading::Torn, Reading::Whole(only)) => {
            assert!(is_of(only.sequence));
        }
        (Reading::Torn, Reading::Torn) => assert!(matches!(newest, Ok(None))),
    }
}

/// The store id in a superblock, from its first slot, where it is long enough.
pub(in crate::backend::local) fn store_id(bytes: &[u8]) -> Option<[u8; 16]> {
    bytes.get(12..28)?.try_into().ok()
}

/// Makes the checksums of both slots fit, and their digests where one is known for their checkpoint.
pub(in crate::backend::local) fn seal(bytes: &mut [u8], digest_at: impl Fn(u64) -> Option<u128>) {
    for slot in bytes.chunks_exact_mut(SLOT_BYTES) {
        let checkpoint = slot[36..44].try_into().map_or(0, u64::from_be_bytes);
        if let Some(digest) = digest_at(checkpoint) {
            slot[44..60].copy_from_slice(&digest.to_be_bytes());
        }
        let crc = crc32fast::hash(&slot[..CRC_OFFSET]);
        slot[CRC_OFFSET..].copy_from_slice(&crc.to_be_bytes());
    }
}

/// A slot that holds these bytes behind its magic, and a checksum that is right.
fn slot(bytes: &[u8]) -> Slot {
    let mut slot = [0; SLOT_BYTES];
    let length = bytes.len().min(CRC_OFFSET - MAGIC.len());
    slot[MAGIC.len()..][..length].copy_from_slice(&bytes[..length]);
    slot[..MAGIC.len()].copy_from_slice(&MAGIC);
    let crc = crc32fast::hash(&slot[..CRC_OFFSET]);
    slot[CRC_OFFSET..].copy_from_slice(&crc.to_be_bytes());
    slot
}
