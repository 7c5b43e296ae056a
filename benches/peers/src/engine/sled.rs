//! sled alone. Komatik makes its flush a real fsync for the whole process, so it is one here as well.

use std::path::Path;

use super::kv::{Kv, Row, Table, Visit};
use super::{CACHE_BYTES, Durability};

/// One tree: a batch is atomic in one tree, and cheaper there than a transaction over several.
pub struct Sled(sled::Db);

fn key_of(table: Table, key: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(1 + key.len());
    whole.push(table as u8);
    whole.extend_from_slice(key);
    whole
}

impl Sled {
    pub fn open(directory: &Path) -> Sled {
        let config = sled::Config::new()
            .path(directory)
            .cache_capacity(CACHE_BYTES as u64);
        Sled(config.open().unwrap())
    }
}

impl Kv for Sled {
    fn commit(&self, rows: &[Row<'_>], durability: Durability) {
        if let [row] = rows {
            let key = key_of(row.table, row.key);
            match row.value {
                Some(value) => self.0.insert(key, value).unwrap(),
                None => self.0.remove(key).unwrap(),
            };
        } else {
            let mut batch = sled::Batch::default();
            for row in rows {
                let key = key_of(row.table, row.key);
                match row.value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            #[allow(clippy::disallowed_methods, reason = "nobody else uses sled here")]
            self.0.apply_batch(batch).unwrap();
        }
        if durability == Durability::Immediate {
            self.flush();
        }
    }

    fn get(&self, table: Table, key: &[u8], show: &mut dyn FnMut(&[u8])) -> bool {
        let value = self.0.get(key_of(table, key)).unwrap();
        value.as_deref().map(show).is_some()
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) {
        let end = [table as u8 + 1];
        for row in self.0.range(key_of(table, from)..end.to_vec()) {
            let (key, value) = row.unwrap();
            if !visit(&key[1..], &value) {
                break;
            }
        }
    }

    fn flush(&self) {
        self.0.flush().unwrap();
    }
}
