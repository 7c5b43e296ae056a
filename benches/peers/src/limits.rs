//! What the machine can do at all, without any engine.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::data::content;
use crate::measure::{median, median_micros, mib_a_second, timed};

const BYTES: usize = 256 * 1024 * 1024;
const PIECE_BYTES: usize = 1024 * 1024;
const ROUNDS: usize = 5;

/// Each limit by name, unit and value: the median of a few rounds.
pub fn measure(scratch: &Path) -> Vec<(&'static str, &'static str, f64)> {
    let path = scratch.join("limit");
    let mut piece = content(1, PIECE_BYTES);
    let mut other = vec![0; PIECE_BYTES];
    let bytes = BYTES as u64;
    let mut rounds = [const { Vec::new() }; 5];
    for _ in 0..ROUNDS {
        let write = timed(|| {
            let mut file = File::create(&path).unwrap();
            for _ in 0..BYTES / PIECE_BYTES {
                file.write_all(&piece).unwrap();
            }
            file.sync_all().unwrap();
        });
        let read = timed(|| {
            let mut file = File::open(&path).unwrap();
            for _ in 0..BYTES / PIECE_BYTES {
                file.read_exact(&mut piece).unwrap();
            }
        });
        let copy = timed(|| {
            for _ in 0..BYTES / PIECE_BYTES {
                other.copy_from_slice(black_box(&piece));
                black_box(&other);
            }
        });
        let crc = timed(|| {
            for _ in 0..BYTES / PIECE_BYTES {
                black_box(crc32fast::hash(black_box(&piece)));
            }
        });
        let digest = timed(|| {
            for _ in 0..BYTES / PIECE_BYTES {
                black_box(blake3::hash(black_box(&piece)));
            }
        });
        for (round, took) in rounds.iter_mut().zip([write, read, copy, crc, digest]) {
            round.push(mib_a_second(bytes, took));
        }
    }
    let sync = sync_micros(&path);
    fs::remove_file(&path).unwrap();
    let names = [
        "sequential write, fsync at the end",
        "sequential read, warm",
        "memcpy",
        "CRC-32",
        "BLAKE3",
    ];
    names
        .into_iter()
        .zip(rounds)
        .map(|(name, round)| (name, "MiB/s", median(round)))
        .chain([("append of 300 B and fdatasync, p50", "µs", sync)])
        .collect()
}

/// An append and the sync that makes it durable.
fn sync_micros(path: &Path) -> f64 {
    let file = File::create(path).unwrap();
    let bytes = content(1, 300);
    let mut offset = 0;
    median_micros(1_000, || {
        file.write_all_at(&bytes, offset).unwrap();
        file.sync_data().unwrap();
        offset += 300;
    })
}
