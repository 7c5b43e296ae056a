//! Bytes that look random and are the same in every run.

use std::fs;
use std::path::Path;

use crate::cli::failure::{Doing, Outcome};
use crate::cli::walk::File;

/// A file above this size is large: its content is in hundreds of chunks.
const LARGE_BYTES: u64 = 16 * 1024 * 1024;
/// Size of the one that is made where the tree has none.
const MADE_BYTES: usize = 64 * 1024 * 1024;

/// A sequence of numbers (xorshift64*).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

/// Makes a large file in `directory` where none is among `files`.
pub(super) fn add_large_file(files: &mut Vec<File>, directory: &Path) -> Outcome<()> {
    if files.iter().any(|file| file.size > LARGE_BYTES) {
        return Ok(());
    }
    let path = directory.join("random.bin");
    let made = fs::write(&path, Random::new(1).bytes(MADE_BYTES))
        .and_then(|()| File::at(path, "made/random.bin".to_owned()));
    // Sorted before `tree/`, below which all the others lie.
    files.insert(0, made.doing(|| "making a large file".to_owned())?);
    Ok(())
}
