//! SQLite: a write-ahead log, synchronous FULL where a commit waits for the disk and NORMAL where not, pages of 8 KiB
//! as it advises for blobs.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension};

use super::kv::{Kv, Row, Table, Visit};
use super::{CACHE_BYTES, Durability};

pub struct Sqlite {
    file: PathBuf,
    /// By durability; one writes at a time.
    writers: Mutex<[Connection; 2]>,
    /// Those no thread reads with.
    readers: Mutex<Vec<Connection>>,
}

impl Sqlite {
    pub fn open(directory: &Path) -> Sqlite {
        std::fs::create_dir_all(directory).unwrap();
        let file = directory.join("sqlite");
        let writers = ["FULL", "NORMAL"].map(|synchronous| {
            let connection = connect(&file);
            connection
                .pragma_update(None, "synchronous", synchronous)
                .unwrap();
            connection
        });
        let tables =
            "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS changes (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS chunks (key BLOB PRIMARY KEY, value BLOB);";
        writers[0].execute_batch(tables).unwrap();
        Sqlite {
            file,
            writers: Mutex::new(writers),
            readers: Mutex::default(),
        }
    }

    fn read<R>(&self, read: impl FnOnce(&Connection) -> R) -> R {
        let idle = self.readers.lock().pop();
        let connection = idle.unwrap_or_else(|| connect(&self.file));
        let answer = read(&connection);
        self.readers.lock().push(connection);
        answer
    }
}

fn connect(file: &Path) -> Connection {
    let connection = Connection::open(file).unwrap();
    connection.pragma_update(None, "page_size", 8192).unwrap();
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .unwrap();
    let cache_kib = -i64::try_from(CACHE_BYTES / 1024).unwrap();
    connection
        .pragma_update(None, "cache_size", cache_kib)
        .unwrap();
    connection
        .pragma_update(None, "mmap_size", 1_i64 << 30)
        .unwrap();
    connection
}

impl Kv for Sqlite {
    fn commit(&self, rows: &[Row<'_>], durability: Durability) {
        let mut writers = self.writers.lock();
        let transaction = writers[durability as usize].transaction().unwrap();
        for row in rows {
            let table = row.table.name();
            let written = match row.value {
                Some(value) => {
                    let sql =
                        format!("INSERT OR REPLACE INTO {table} (key, value) VALUES (?1, ?2)");
                    let mut statement = transaction.prepare_cached(&sql).unwrap();
                    statement.execute([row.key, value])
                }
                None => {
                    let sql = format!("DELETE FROM {table} WHERE key = ?1");
                    let mut statement = transaction.prepare_cached(&sql).unwrap();
                    statement.execute([row.key])
                }
            };
            written.unwrap();
        }
        transaction.commit().unwrap();
    }

    fn get(&self, table: Table, key: &[u8], show: &mut dyn FnMut(&[u8])) -> bool {
        let sql = format!("SELECT value FROM {} WHERE key = ?1", table.name());
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql).unwrap();
            let shown = statement.query_row([key], |row| {
                show(row.get_ref(0)?.as_blob()?);
                Ok(())
            });
            shown.optional().unwrap().is_some()
        })
    }

    fn scan(&self, table: Table, from: &[u8], visit: Visit<'_>) {
        let sql = format!(
            "SELECT key, value FROM {} WHERE key >= ?1 ORDER BY key",
            table.name()
        );
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql).unwrap();
            let mut rows = statement.query([from]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let key = row.get_ref(0).unwrap().as_blob().unwrap();
                if !visit(key, row.get_ref(1).unwrap().as_blob().unwrap()) {
                    break;
                }
            }
        });
    }

    fn flush(&self) {
        // A commit that waits for the disk takes those before it along.
        let writers = self.writers.lock();
        let checkpoint = "PRAGMA wal_checkpoint(FULL)";
        let answer = writers[0].query_row(checkpoint, [], |row| row.get::<_, i64>(0));
        assert_eq!(answer.unwrap(), 0, "the checkpoint was blocked");
    }
}
