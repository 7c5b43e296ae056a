//! fjall, with values of streams beside the tree, as it advises for large ones. They are random, so not compressed.

use std::path::Path;

use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode,
};

use super::kv::{Kv, Row, Table, Visit};
use super::{CACHE_BYTES, Durability};

pub struct Fjall {
    database: Database,
    /// In the order of the tables.
    keyspaces: [Keyspace; 3],
}

impl Fjall {
    pub fn open(directory: &Path) -> Fjall {
        let database = Database::builder(directory)
            .cache_size(CACHE_BYTES as u64)
            .journal_compression(CompressionType::None)
            .open()
            .unwrap();
        let keyspaces = Table::ALL.map(|table| {
            let options = || match table {
                Table::Entries | Table::Changes => KeyspaceCreateOptions::default(),
                Table::Chunks => KeyspaceCreateOptions::default().with_kv_separation(Some(
                    KvSeparationOptions::default().compression(CompressionType::None),
                )),
            };
            database.keyspace(table.name(), options).unwrap()
        });
        Fjall {
            database,
            keyspaces,
        }
    }

    fn keyspace(&self, table: Table) -> &Keyspace {
        &self.keyspaces[table as usize]
    }
}

impl Kv for Fjall {
    fn commit(&self, rows: &[Row<'_>], durability: Durability) {
        let persisted = match durability {
            Durability::Immediate => Some(PersistMode::SyncData),
            // As its own single writes are; without it they would stay in a buffer of the process.
            Durability::Eventual => Some(PersistMode::Buffer),
        };
        let mut batch = self.database.batch().durability(persisted);
        for row in rows {
            match row.value {
                Some(value) => batch.insert(self.keyspace(row.table), row.key, value),
                None => batch.remove(self.keyspace(row.table), row.key),
            }
        }
        batch.commit().unwrap();
    }

    fn get(&self, table: Table, key: &[u8], show: &mut dyn FnMut(&[u8])) -> bool {
        let value = self.keyspace(table).get(key).unwrap();
        value.as_deref().map(show).is_some()
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) {
        for row in self.keyspace(table).range(from..) {
            let (key, value) = row.into_inner().unwrap();
            if !visit(&key, &value) {
                break;
            }
        }
    }

    fn flush(&self) {
        self.database.persist(PersistMode::SyncAll).unwrap();
    }
}
