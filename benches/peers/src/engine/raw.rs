//! A peer that stores values and nothing else.

use std::io::Read;

use parking_lot::Mutex;
use serde_json::Value;

use super::kv::{Kv, Row, Table};
use super::same_work::{chunk_key, fill, piece_of};
use super::{CHUNK_BYTES, Durability, Engine, ReadAt, merged};

/// Pieces of a stream that are committed together.
const CHUNKS_A_COMMIT: usize = 64;

pub struct Raw {
    kv: Box<dyn Kv>,
    merging: Mutex<()>,
}

impl Raw {
    pub fn new(kv: Box<dyn Kv>) -> Raw {
        Raw {
            kv,
            merging: Mutex::new(()),
        }
    }

    fn write(&self, key: &str, value: &[u8], durability: Durability) {
        let row = Row::new(Table::Entries, key.as_bytes(), value);
        self.kv.commit(&[row], durability);
    }
}

impl Engine for Raw {
    fn save(&self, key: &str, document: &Value, durability: Durability) {
        self.write(key, &rmp_serde::to_vec(document).unwrap(), durability);
    }

    fn load(&self, key: &str) -> Value {
        let mut value = None;
        self.kv.get(Table::Entries, key.as_bytes(), &mut |bytes| {
            value = Some(rmp_serde::from_slice(bytes).unwrap());
        });
        value.unwrap()
    }

    fn merge(&self, key: &str, patch: &Value) {
        let _merging = self.merging.lock();
        let mut value = self.load(key);
        merged(&mut value, patch);
        self.save(key, &value, Durability::Eventual);
    }

    fn put(&self, key: &str, bytes: &[u8], durability: Durability) {
        self.write(key, bytes, durability);
    }

    fn delete(&self, key: &str) {
        let row = Row {
            table: Table::Entries,
            key: key.as_bytes(),
            value: None,
        };
        self.kv.commit(&[row], Durability::Eventual);
    }

    fn flush(&self) {
        self.kv.flush();
    }

    fn stream_in(&self, _key: &str, source: &mut dyn Read) {
        let mut buffer = vec![0; CHUNKS_A_COMMIT * CHUNK_BYTES];
        let mut next = 0;
        loop {
            let filled = fill(source, &mut buffer);
            let keys: Vec<_> = (next..)
                .map(|index| chunk_key(1, index))
                .take(CHUNKS_A_COMMIT)
                .collect();
            let rows: Vec<_> = buffer[..filled]
                .chunks(CHUNK_BYTES)
                .zip(&keys)
                .map(|(bytes, key)| Row::new(Table::Chunks, key, bytes))
                .collect();
            self.kv.commit(&rows, Durability::Eventual);
            next += CHUNKS_A_COMMIT as u64;
            if filled < buffer.len() {
                break;
            }
        }
        self.kv.flush();
    }

    fn stream_out(&self, _key: &str, sink: &mut dyn FnMut(&[u8])) {
        self.kv
            .scan(Table::Chunks, &chunk_key(1, 0), &mut |_, value| {
                sink(value);
                true
            });
    }

    fn read_at<'a>(&'a self, _key: &str) -> ReadAt<'a> {
        Box::new(|offset, buffer| {
            let first = offset / CHUNK_BYTES as u64;
            let last = (offset + buffer.len() as u64 - 1) / CHUNK_BYTES as u64;
            for index in first..=last {
                self.kv
                    .get(Table::Chunks, &chunk_key(1, index), &mut |value| {
                        piece_of(buffer, offset, index, value);
                    });
            }
        })
    }

    fn list(&self, folder: &str, after: Option<&str>, limit: usize) -> usize {
        let prefix = format!("{folder}/");
        let from = after.map_or_else(|| prefix.clone(), |after| format!("{prefix}{after}\0"));
        let mut count = 0;
        self.kv
            .scan(Table::Entries, from.as_bytes(), &mut |key, _| {
                let is_in = key.starts_with(prefix.as_bytes());
                count += usize::from(is_in);
                is_in && count < limit
            });
        count
    }
}
