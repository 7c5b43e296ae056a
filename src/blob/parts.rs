//! How many parts a body has after many appends.
//!
//! An append leaves the large parts of a body where they are and writes a new one. Two rules keep the parts few
//! and the copying cheap:
//!
//! * a last part below [`SMALL_PART_BYTES`] is copied into the new one, so that small appends do not make a part each;
//! * from [`MANY_PARTS`] parts on, the trailing parts that together are as large as the one before them
//!   are copied, with that one, into the new part. Every byte then lies in a part at least twice as large as before, or
//!   was copied for the first time: it is copied as often as the logarithm of the size.
//!
//! Afterwards every part that stays is larger than all that follow it, so that they halve at least: from 4 KiB to
//! 140 TB that is at most 36.

use crate::format::Part;

/// Below so many bytes a part is copied rather than followed by another one.
const SMALL_PART_BYTES: u64 = 4 * 1024;
/// From so many parts on they are put together.
const MANY_PARTS: usize = 16;

/// How many leading parts stay as they are when something is appended; the others are to be copied.
pub(super) fn count_kept(parts: &[Part]) -> usize {
    let mut kept = parts.len();
    if parts
        .last()
        .is_some_and(|last| last.size < SMALL_PART_BYTES)
    {
        kept -= 1;
    }
    if parts.len() < MANY_PARTS {
        return kept;
    }
    let mut following = 0;
    for (index, part) in parts.iter().enumerate().rev() {
        if part.size <= following {
            kept = kept.min(index);
        }
        following += part.size;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::BlobId;

    fn part(size: u64) -> Part {
        Part {
            blob: BlobId([0; 16]),
            size,
            chunk_bytes: 512,
        }
    }

    /// Appends these sizes one after the other; answers the most parts there were, and the bytes copied.
    fn simulate(sizes: impl Iterator<Item = u64>) -> (usize, u64, u64) {
        let (mut parts, mut most, mut copied, mut total) = (Vec::new(), 0, 0, 0);
        for size in sizes {
            let kept = count_kept(&parts);
            let tail: u64 = parts.drain(kept..).map(|part: Part| part.size).sum();
            parts.push(part(tail + size));
            copied += tail;
            total += size;
            most = most.max(parts.len());
        }
        (most, copied, total)
    }

    #[test]
    fn equal_appends_cost_a_logarithm() {
        let (most, copied, total) = simulate(std::iter::repeat_n(64 * 1024, 20_000));
        assert!(most <= 36, "{most} parts");
        assert!(copied < total * 8, "{}-fold", copied / total);
    }

    #[test]
    fn small_appends_copy_at_most_the_small_part_and_a_logarithm() {
        let (most, copied, total) = simulate(std::iter::repeat_n(100, 50_000));
        assert!(most <= 36, "{most} parts");
        assert!(copied < 50_000 * SMALL_PART_BYTES / 2 + total * 12);
    }

    #[test]
    fn falling_and_rising_sizes_stay_few() {
        let falling = (1..4_000).rev().map(|size| size * 70_000);
        assert!(simulate(falling).0 <= 36);
        let doubling = (0..20).rev().map(|power| 70_000 << power);
        assert!(simulate(doubling.chain((1..500).map(|size| size * 7_919))).0 <= 36);
    }

    #[test]
    fn few_large_parts_stay_where_they_are() {
        let parts = [part(1 << 30), part(1 << 34), part(1 << 20)];
        assert_eq!(count_kept(&parts), 3);
        assert_eq!(count_kept(&[part(1 << 30), part(4_095)]), 1);
        assert_eq!(count_kept(&[]), 0);
    }
}
