//! redb. A commit without durability reaches the disk with the next one that has it.

use std::path::Path;

use redb::{Database, ReadableDatabase, TableDefinition};

use super::kv::{Kv, Row, Table, Visit};
use super::{CACHE_BYTES, Durability};

pub struct Redb(Database);

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

impl Redb {
    pub fn open(directory: &Path) -> Redb {
        std::fs::create_dir_all(directory).unwrap();
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(directory.join("redb"))
            .unwrap();
        let transaction = database.begin_write().unwrap();
        for table in Table::ALL {
            transaction.open_table(definition(table)).unwrap();
        }
        transaction.commit().unwrap();
        Redb(database)
    }
}

impl Kv for Redb {
    fn commit(&self, rows: &[Row<'_>], durability: Durability) {
        let mut transaction = self.0.begin_write().unwrap();
        transaction
            .set_durability(match durability {
                Durability::Immediate => redb::Durability::Immediate,
                Durability::Eventual => redb::Durability::None,
            })
            .unwrap();
        for table in Table::ALL {
            let mut of_table = rows.iter().filter(|row| row.table == table).peekable();
            if of_table.peek().is_none() {
                continue;
            }
            let mut opened = transaction.open_table(definition(table)).unwrap();
            for row in of_table {
                match row.value {
                    Some(value) => drop(opened.insert(row.key, value).unwrap()),
                    None => drop(opened.remove(row.key).unwrap()),
                }
            }
        }
        transaction.commit().unwrap();
    }

    fn get(&self, table: Table, key: &[u8], show: &mut dyn FnMut(&[u8])) -> bool {
        let transaction = self.0.begin_read().unwrap();
        let table = transaction.open_table(definition(table)).unwrap();
        let value = table.get(key).unwrap();
        value.map(|value| show(value.value())).is_some()
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) {
        let transaction = self.0.begin_read().unwrap();
        let table = transaction.open_table(definition(table)).unwrap();
        for row in table.range(from..).unwrap() {
            let (key, value) = row.unwrap();
            if !visit(key.value(), value.value()) {
                break;
            }
        }
    }

    fn flush(&self) {
        self.commit(&[], Durability::Immediate);
    }
}
