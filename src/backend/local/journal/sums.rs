//! The checksum of any stretch of a file, after one pass over it.
//!
//! Whoever looks for a frame byte by byte meets content that looks like the header of one, and that may be there on
//! purpose, millions of times, each claiming all that follows as its payload. The CRC-32 of a stretch follows from those
//! of what lies before its two ends: that of two pieces is that of the first, shifted by the length of the second, xor
//! that of the second.

use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;

use super::frame::Seed;

/// The sum is noted every so many bytes.
const BLOCK_BYTES: usize = 4096;

/// Sums of what lies between a place in the file and each block behind it.
pub(super) struct Sums {
    start: u64,
    /// How far the file could be read.
    end: u64,
    noted: Vec<u32>,
}

impl Sums {
    /// Reads `file` from `start` to `end`, or to where it cannot be read.
    pub(super) fn read(file: &File, start: u64, end: u64) -> Sums {
        let mut sums = Sums {
            start,
            end: start,
            noted: Vec::new(),
        };
        let mut sum = crc32fast::Hasher::new();
        let mut block = [0; BLOCK_BYTES];
        while sums.end < end {
            let block = &mut block[..at_most(end - sums.end, BLOCK_BYTES)];
            if file.read_exact_at(block, sums.end).is_err() {
                break;
            }
            sums.noted.push(sum.clone().finalize());
            sum.update(block);
            sums.end += block.len() as u64;
        }
        sums
    }

    /// The sum of the bytes from `from` to `to`, begun with the seed; `None` where they were not all read.
    pub(super) fn of(&self, file: &File, seed: Seed, from: u64, to: u64) -> Result<Option<u32>> {
        if from < self.start || from > to || to > self.end {
            return Ok(None);
        }
        let mut before = crc32fast::Hasher::new_with_initial(self.up_to(file, from)? ^ seed.0);
        before.combine(&crc32fast::Hasher::new_with_initial_len(0, to - from));
        Ok(Some(self.up_to(file, to)? ^ before.finalize()))
    }

    fn up_to(&self, file: &File, at: u64) -> Result<u32> {
        let place = at_most(at - self.start, usize::MAX);
        // The end of the last block has no sum of its own.
        let number = (place / BLOCK_BYTES).min(self.noted.len().saturating_sub(1));
        let Some(noted) = self.noted.get(number) else {
            return Ok(0);
        };
        let mut rest = [0; BLOCK_BYTES];
        let rest = &mut rest[..place - number * BLOCK_BYTES];
        file.read_exact_at(rest, at - rest.len() as u64)?;
        let mut sum = crc32fast::Hasher::new_with_initial(*noted);
        sum.update(rest);
        Ok(sum.finalize())
    }
}

/// As a length in memory, and no more than `most`.
fn at_most(bytes: u64, most: usize) -> usize {
    usize::try_from(bytes).map_or(most, |bytes| bytes.min(most))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn every_stretch_has_the_sum_it_has_when_it_is_read() {
        let seed = Seed::of(&[7; 16]);
        for length in [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES - 1] {
            let bytes: Vec<u8> = (0..length + 5)
                .map(|at| (at * at / 7).to_le_bytes()[0])
                .collect();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let (start, end) = (5, bytes.len() as u64);
            let sums = Sums::read(&file, start, end);
            let places = [0, 1, 17, 4095, 4096, 4097, 8192, 12286, length];
            let places = || places.iter().filter(|at| **at <= length).map(|at| at + 5);
            for (from, to) in places().flat_map(|from| places().map(move |to| (from, to))) {
                let found = sums.of(&file, seed, from as u64, to as u64).unwrap();
                let read = (from <= to).then(|| seed.hash(&bytes[from..to], &[]));
                assert_eq!(found, read, "{from} to {to} of {length}");
            }
            assert_eq!(sums.of(&file, seed, 4, end).unwrap(), None);
            assert_eq!(sums.of(&file, seed, 5, end + 1).unwrap(), None);
        }
    }

    #[test]
    fn what_cannot_be_read_has_no_sum() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 2 * BLOCK_BYTES]).unwrap();
        let sums = Sums::read(&file, 0, 3 * BLOCK_BYTES as u64);
        let seed = Seed::of(&[0; 16]);
        let end = 2 * BLOCK_BYTES as u64;
        assert!(sums.of(&file, seed, 0, end).unwrap().is_some());
        assert!(sums.of(&file, seed, 0, end + 1).unwrap().is_none());
    }
}
