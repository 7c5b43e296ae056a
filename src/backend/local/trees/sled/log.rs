//! What sled reads of its log when it opens, read before it does.
//!
//! Where sled cannot read its log it takes that for the end, and wipes the rest. So what it is going to read is read
//! before: what does not come from the disk fails here, with nothing touched, and the rest comes from memory then.
//!
//! The log lies in segments of one size, in any order. Each begins with 20 bytes, little-endian: CRC-32 of the others, all
//! bits flipped; its log sequence number, all bits but the highest flipped; another number. One whose checksum is wrong,
//! as that of a segment which is free, is none. A snapshot `snap.<number in hex>` holds what came
//! before its number, so that sled skips every segment that ends below it (sled 0.34.7, `pagecache/iterator.rs` and
//! `pagecache/snapshot.rs`).

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::{Error, Result};

/// The default of sled, which is never changed here.
const SEGMENT_BYTES: usize = 512 * 1024;
const HEADER_BYTES: usize = 20;
const NUMBER_MASK: u64 = 0x7fff_ffff_ffff_ffff;

/// Reads it; answers how many bytes.
///
/// # Errors
/// [`Error::Io`] where a byte cannot be read.
pub(super) fn read_log(directory: &Path) -> Result<u64> {
    let path = directory.join("db");
    match read_segments(&path, snapshot_number(directory)) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::io(format!("reading {}", path.display()), error)),
    }
}

/// The number up to which the newest snapshot holds everything; 0 without one.
fn snapshot_number(directory: &Path) -> u64 {
    // What fails here fails again, and louder, when sled is opened.
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    files
        .filter_map(|file| {
            let name = file.file_name();
            let digits = name.to_str()?.strip_prefix("snap.")?;
            u64::from_str_radix(digits, 16).ok()
        })
        .max()
        .unwrap_or(0)
}

fn read_segments(path: &Path, snapshot: u64) -> std::io::Result<u64> {
    let first_needed = snapshot - snapshot % SEGMENT_BYTES as u64;
    let mut file = File::open(path)?;
    let mut segment = vec![0; SEGMENT_BYTES];
    let (mut offset, mut read) = (0, 0);
    loop {
        file.seek(SeekFrom::Start(offset))?;
        let header = fill(&mut file, &mut segment[..HEADER_BYTES])?;
        let mut filled = header;
        if header == HEADER_BYTES && number_of(&segment).is_some_and(|it| it >= first_needed) {
            filled += fill(&mut file, &mut segment[HEADER_BYTES..])?;
        }
        read += filled as u64;
        if header < HEADER_BYTES {
            return Ok(read);
        }
        offset += SEGMENT_BYTES as u64;
    }
}

/// The log sequence number of a segment, `None` where it is none.
fn number_of(segment: &[u8]) -> Option<u64> {
    let crc = u32::from_le_bytes(segment.get(..4)?.try_into().ok()?);
    if crc != !crc32fast::hash(segment.get(4..HEADER_BYTES)?) {
        return None;
    }
    let number = segment.get(4..12)?.try_into().ok()?;
    Some(u64::from_le_bytes(number) ^ NUMBER_MASK)
}

/// Reads until the buffer is full or the file at its end.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::backend::Tree;
    use crate::backend::local::trees::Trees;
    use crate::backend::local::trees::sled::SledTrees;

    fn fill_with(trees: &SledTrees, from: u32, to: u32) {
        let mut rows = (from..to).map(|number| {
            let key = Bytes::copy_from_slice(&number.to_be_bytes());
            (Tree::Entries, key, Some(Bytes::from(vec![7; 2_000])))
        });
        trees.apply(&mut rows).unwrap();
        trees.flush().unwrap();
    }

    #[test]
    fn what_a_snapshot_holds_is_not_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trees");
        let open = || SledTrees::open(&path, 1024 * 1024).unwrap();
        let trees = open();
        fill_with(&trees, 0, 5_000);
        trees.close().unwrap();
        let file_bytes = || std::fs::metadata(path.join("db")).unwrap().len();
        let all = read_log(&path).unwrap();
        assert!(all > 10_000_000 && all <= file_bytes(), "{all} bytes");
        // sled makes a snapshot when it opens.
        open().close().unwrap();
        let after = read_log(&path).unwrap();
        assert!(after < all / 4, "{after} of {all} bytes");
        let trees = open();
        fill_with(&trees, 5_000, 6_000);
        trees.close().unwrap();
        let behind = read_log(&path).unwrap();
        assert!(behind > after + 2_000_000 && behind < all, "{behind} bytes");
        for file in std::fs::read_dir(&path).unwrap() {
            let file = file.unwrap();
            if file.file_name().to_str().unwrap().starts_with("snap.") {
                std::fs::remove_file(file.path()).unwrap();
            }
        }
        // Not as much as before: meanwhile sled has given segments back.
        let whole = read_log(&path).unwrap();
        assert!(whole > behind + 5_000_000, "{whole} bytes");
    }
}
