//! A peer that does for a write what Komatik does: the value, its metadata and a change record in one atomic commit,
//! and a checksum that is compared on each read.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kv::{Kv, Row, Table};
use super::{CHUNK_BYTES, Durability, Engine, ReadAt, merged};

/// Pieces of a stream that are committed together.
const CHUNKS_A_COMMIT: usize = 64;
/// Bytes of the checksum before a row.
const CHECKSUM_BYTES: usize = 4;

#[derive(Serialize, Deserialize)]
struct Record {
    revision: u64,
    created: u64,
    updated: u64,
    size: u64,
    content_type: String,
    /// The pieces of a value that was streamed in.
    blob: Option<u64>,
    #[serde(with = "serde_bytes")]
    body: Vec<u8>,
}

#[derive(Serialize)]
struct Change<'a> {
    action: u8,
    key: &'a str,
    size: u64,
    checksum: u32,
    time: u64,
}

pub struct SameWork {
    kv: Box<dyn Kv>,
    /// Writers that read first.
    merging: Mutex<()>,
    revision: AtomicU64,
}

impl SameWork {
    pub fn new(kv: Box<dyn Kv>) -> SameWork {
        SameWork {
            kv,
            merging: Mutex::new(()),
            revision: AtomicU64::new(now()),
        }
    }

    fn record(&self, key: &str) -> Option<Record> {
        let mut record = None;
        self.kv.get(Table::Entries, key.as_bytes(), &mut |row| {
            record = Some(rmp_serde::from_slice(checked(key.as_bytes(), row)).unwrap());
        });
        record
    }

    /// Leaves the value, or nothing, at the key.
    fn write(&self, key: &str, value: Option<Record>, durability: Durability) {
        let revision = self.revision.fetch_add(1, Ordering::Relaxed);
        let time = now();
        let row = value.map(|record| {
            let old = self.record(key);
            let record = Record {
                revision,
                created: old.map_or(time, |old| old.created),
                updated: time,
                ..record
            };
            (
                record.size,
                with_checksum(key.as_bytes(), &rmp_serde::to_vec(&record).unwrap()),
            )
        });
        let change = Change {
            action: u8::from(row.is_none()),
            key,
            size: row.as_ref().map_or(0, |(size, _)| *size),
            checksum: row.as_ref().map_or(0, |(_, row)| crc32fast::hash(row)),
            time,
        };
        let number = revision.to_be_bytes();
        let change = with_checksum(&number, &rmp_serde::to_vec(&change).unwrap());
        let rows = [
            Row {
                table: Table::Entries,
                key: key.as_bytes(),
                value: row.as_ref().map(|(_, row)| &row[..]),
            },
            Row::new(Table::Changes, &number, &change),
        ];
        self.kv.commit(&rows, durability);
    }

    fn value(body: Vec<u8>, content_type: &str) -> Record {
        Record {
            revision: 0,
            created: 0,
            updated: 0,
            size: body.len() as u64,
            content_type: content_type.to_owned(),
            blob: None,
            body,
        }
    }
}

impl Engine for SameWork {
    fn save(&self, key: &str, document: &Value, durability: Durability) {
        let body = rmp_serde::to_vec(document).unwrap();
        self.write(
            key,
            Some(SameWork::value(body, "application/json")),
            durability,
        );
    }

    fn load(&self, key: &str) -> Value {
        rmp_serde::from_slice(&self.record(key).unwrap().body).unwrap()
    }

    fn merge(&self, key: &str, patch: &Value) {
        let _merging = self.merging.lock();
        let mut value = self.load(key);
        merged(&mut value, patch);
        self.save(key, &value, Durability::Eventual);
    }

    fn put(&self, key: &str, bytes: &[u8], durability: Durability) {
        let value = SameWork::value(bytes.to_vec(), "application/octet-stream");
        self.write(key, Some(value), durability);
    }

    fn delete(&self, key: &str) {
        self.write(key, None, Durability::Eventual);
    }

    fn flush(&self) {
        self.kv.flush();
    }

    fn stream_in(&self, key: &str, source: &mut dyn Read) {
        let blob = self.revision.fetch_add(1, Ordering::Relaxed);
        let mut buffer = vec![0; CHUNKS_A_COMMIT * CHUNK_BYTES];
        let (mut next, mut size) = (0, 0);
        loop {
            let filled = fill(source, &mut buffer);
            let rows: Vec<_> = (next..)
                .zip(buffer[..filled].chunks(CHUNK_BYTES))
                .map(|(index, bytes)| {
                    let key = chunk_key(blob, index);
                    (key, with_checksum(&key, bytes))
                })
                .collect();
            let rows: Vec<_> = rows
                .iter()
                .map(|(key, row)| Row::new(Table::Chunks, key, row))
                .collect();
            self.kv.commit(&rows, Durability::Eventual);
            next += CHUNKS_A_COMMIT as u64;
            size += filled as u64;
            if filled < buffer.len() {
                break;
            }
        }
        let record = Record {
            size,
            blob: Some(blob),
            ..SameWork::value(Vec::new(), "application/octet-stream")
        };
        // What was committed before it is durable with it, in each of the engines.
        self.write(key, Some(record), Durability::Immediate);
    }

    fn stream_out(&self, key: &str, sink: &mut dyn FnMut(&[u8])) {
        let blob = self.record(key).unwrap().blob.unwrap();
        self.kv
            .scan(Table::Chunks, &chunk_key(blob, 0), &mut |key, row| {
                let is_of = key.starts_with(&blob.to_be_bytes());
                if is_of {
                    sink(checked(key, row));
                }
                is_of
            });
    }

    fn read_at<'a>(&'a self, key: &str) -> ReadAt<'a> {
        let blob = self.record(key).unwrap().blob.unwrap();
        Box::new(move |offset, buffer| {
            let first = offset / CHUNK_BYTES as u64;
            let last = (offset + buffer.len() as u64 - 1) / CHUNK_BYTES as u64;
            for index in first..=last {
                let key = chunk_key(blob, index);
                self.kv.get(Table::Chunks, &key, &mut |row| {
                    piece_of(buffer, offset, index, checked(&key, row));
                });
            }
        })
    }

    fn list(&self, folder: &str, after: Option<&str>, limit: usize) -> usize {
        let prefix = format!("{folder}/");
        let from = after.map_or_else(|| prefix.clone(), |after| format!("{prefix}{after}\0"));
        let mut count = 0;
        self.kv
            .scan(Table::Entries, from.as_bytes(), &mut |key, row| {
                if !key.starts_with(prefix.as_bytes()) {
                    return false;
                }
                let record: Record = rmp_serde::from_slice(checked(key, row)).unwrap();
                std::hint::black_box(record.size);
                count += 1;
                count < limit
            });
        count
    }
}

/// Microseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap().as_micros()).unwrap()
}

/// The checksum covers the key, so that a row in the wrong place is noticed.
fn checksum(key: &[u8], bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(bytes);
    hasher.finalize()
}

fn with_checksum(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(CHECKSUM_BYTES + bytes.len());
    row.extend_from_slice(&checksum(key, bytes).to_le_bytes());
    row.extend_from_slice(bytes);
    row
}

fn checked<'a>(key: &[u8], row: &'a [u8]) -> &'a [u8] {
    let (sum, bytes) = row.split_at(CHECKSUM_BYTES);
    assert_eq!(sum, checksum(key, bytes).to_le_bytes(), "a damaged row");
    bytes
}

/// The key of a piece of a stream.
pub fn chunk_key(blob: u64, index: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&blob.to_be_bytes());
    key[8..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Reads until the buffer is full or the source is at its end.
pub fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> usize {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]).unwrap() {
            0 => break,
            count => filled += count,
        }
    }
    filled
}

/// Copies what the piece has of the bytes at `offset`.
pub fn piece_of(buffer: &mut [u8], offset: u64, index: u64, piece: &[u8]) {
    let start = index * CHUNK_BYTES as u64;
    let from = offset.max(start);
    let to = (offset + buffer.len() as u64).min(start + piece.len() as u64);
    let at = |position: u64, base: u64| usize::try_from(position - base).unwrap();
    buffer[at(from, offset)..at(to, offset)]
        .copy_from_slice(&piece[at(from, start)..at(to, start)]);
}
