//! LMDB. Where a commit need not wait for the disk, no commit does until the next that must: what a power cut does to the
//! file then is not counted against it.
#![allow(unsafe_code, reason = "a memory map is only as safe as its file")]

use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, WithTls};

use super::Durability;
use super::kv::{Kv, Row, Table, Visit};

/// Of the address space; nothing is taken before it is used.
const MAP_BYTES: usize = 1 << 36;

pub struct Lmdb {
    environment: Env<WithTls>,
    /// In the order of the tables.
    databases: [Database<Bytes, Bytes>; 3],
}

impl Lmdb {
    pub fn open(directory: &Path) -> Lmdb {
        std::fs::create_dir_all(directory).unwrap();
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES).max_dbs(3).max_readers(64);
        // SAFETY: the directory is this process's own, so nobody changes the mapped file; syncs are asked for by
        // `flush`, and a store that a power cut has spoilt is never opened here.
        let environment = unsafe { options.flags(EnvFlags::NO_SYNC).open(directory).unwrap() };
        let mut transaction = environment.write_txn().unwrap();
        let databases = Table::ALL.map(|table| {
            environment
                .create_database(&mut transaction, Some(table.name()))
                .unwrap()
        });
        transaction.commit().unwrap();
        Lmdb {
            environment,
            databases,
        }
    }

    fn database(&self, table: Table) -> Database<Bytes, Bytes> {
        self.databases[table as usize]
    }
}

impl Kv for Lmdb {
    fn commit(&self, rows: &[Row<'_>], durability: Durability) {
        let mut transaction = self.environment.write_txn().unwrap();
        for row in rows {
            let database = self.database(row.table);
            match row.value {
                Some(value) => database.put(&mut transaction, row.key, value).unwrap(),
                None => drop(database.delete(&mut transaction, row.key).unwrap()),
            }
        }
        transaction.commit().unwrap();
        if durability == Durability::Immediate {
            self.flush();
        }
    }

    fn get(&self, table: Table, key: &[u8], show: &mut dyn FnMut(&[u8])) -> bool {
        let transaction = self.environment.read_txn().unwrap();
        let value = self.database(table).get(&transaction, key).unwrap();
        value.map(show).is_some()
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) {
        let transaction = self.environment.read_txn().unwrap();
        let range = (Bound::Included(from), Bound::Unbounded);
        for row in self.database(table).range(&transaction, &range).unwrap() {
            let (key, value) = row.unwrap();
            if !visit(key, value) {
                break;
            }
        }
    }

    fn flush(&self) {
        self.environment.force_sync().unwrap();
    }
}
