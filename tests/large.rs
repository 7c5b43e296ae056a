//! A blob beyond 4 GiB, where 32 bits end: in and out in constant memory.
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

mod common;

use std::io::{Read, Write};

use common::Random;
use komatik::{Store, WriteOptions};

const GIB: u64 = 1 << 30;
const SIZE: u64 = 4 * GIB + 3 * (1 << 20) + 7;
const FREE_NEEDED: u64 = 6 * GIB;
/// The most memory that the process may ever take.
const MAX_RESIDENT_BYTES: u64 = 200 << 20;
const PIECE_BYTES: usize = 1 << 20;
/// Each run of so many bytes begins with its number, so that no two are the same.
const RUN_BYTES: usize = 16 * 1024;

/// What lies at any place of the blob.
struct Content {
    piece: Vec<u8>,
}

impl Content {
    fn new() -> Content {
        Content {
            piece: Random::new(4).bytes(PIECE_BYTES),
        }
    }

    /// The piece of this number; the last one is cut.
    fn piece(&mut self, number: u64) -> &[u8] {
        let start = number * PIECE_BYTES as u64;
        for (run, bytes) in self.piece.chunks_mut(RUN_BYTES).enumerate() {
            let place = start + (run * RUN_BYTES) as u64;
            bytes[..8].copy_from_slice(&place.to_le_bytes());
        }
        let length = (SIZE - start).min(PIECE_BYTES as u64);
        &self.piece[..usize::try_from(length).unwrap()]
    }

    /// The bytes from `offset` on, at most a piece of them.
    fn at(&mut self, offset: u64, length: usize) -> Vec<u8> {
        let number = offset / PIECE_BYTES as u64;
        let within = usize::try_from(offset % PIECE_BYTES as u64).unwrap();
        let mut bytes = self.piece(number)[within..].to_vec();
        if bytes.len() < length && (number + 1) * (PIECE_BYTES as u64) < SIZE {
            bytes.extend_from_slice(self.piece(number + 1));
        }
        bytes.truncate(length);
        bytes
    }
}

fn pieces() -> std::ops::Range<u64> {
    0..SIZE.div_ceil(PIECE_BYTES as u64)
}

/// The most memory the process has taken so far; `None` where the system does not tell.
fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[test]
fn a_blob_beyond_4_gib_goes_in_and_out_in_constant_memory() {
    let directory = tempfile::tempdir().unwrap();
    let room = rustix::fs::statvfs(directory.path()).unwrap();
    if room.f_bavail * room.f_frsize < FREE_NEEDED {
        println!(
            "a_blob_beyond_4_gib_goes_in_and_out_in_constant_memory: skipped, less than 6 GiB are free"
        );
        return;
    }
    let store = Store::open(directory.path().join("store")).unwrap();
    let mut content = Content::new();
    let mut hasher = blake3::Hasher::new();
    let mut writer = store.writer("large", WriteOptions::new()).unwrap();
    for number in pieces() {
        let piece = content.piece(number);
        hasher.update(piece);
        writer.write_all(piece).unwrap();
    }
    let metadata = writer.commit().unwrap();
    assert_eq!(metadata.size, SIZE);
    assert_eq!(metadata.digest.as_bytes(), hasher.finalize().as_bytes());

    let mut reader = store.reader("large").unwrap().unwrap();
    assert_eq!(reader.len(), SIZE);
    check_places(&reader, &mut content);
    let mut found = vec![0; PIECE_BYTES];
    for number in pieces() {
        let expected = content.piece(number);
        let found = &mut found[..expected.len()];
        reader.read_exact(found).unwrap();
        assert!(found == expected, "piece {number}");
    }
    assert_eq!(reader.read(&mut found).unwrap(), 0, "the end");

    if let Some(peak) = peak_resident_bytes() {
        println!("{} MiB of memory at most", peak >> 20);
        assert!(peak < MAX_RESIDENT_BYTES, "{peak} bytes of memory");
    }
}

fn check_places(reader: &komatik::BlobReader, content: &mut Content) {
    let mut random = Random::new(5);
    let beyond = usize::try_from(SIZE - 4 * GIB).unwrap();
    let behind = (0..200).map(|_| 4 * GIB + random.below(beyond) as u64);
    let anywhere = (0..200).map(|number| number * (SIZE / 200));
    let edges = [
        0,
        2 * GIB - 1,
        4 * GIB - 70_000,
        4 * GIB - 1,
        4 * GIB,
        SIZE - 1,
        SIZE,
    ];
    let places: Vec<u64> = behind.chain(anywhere).chain(edges).collect();
    for place in places {
        let length = 1 + random.below(200_000);
        let mut found = vec![0; length];
        let count = reader.read_at(&mut found, place).unwrap();
        let expected = if place == SIZE {
            Vec::new()
        } else {
            content.at(place, length)
        };
        assert!(found[..count] == expected, "{length} bytes at {place}");
    }
}
