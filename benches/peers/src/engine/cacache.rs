//! cacache: files by the digest of their content, and an index with metadata. It never syncs.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde_json::Value;

use super::{Durability, Engine, ReadAt, merged};

const PIECE_BYTES: usize = 1024 * 1024;

pub struct Cacache {
    root: PathBuf,
    merging: Mutex<()>,
}

impl Cacache {
    pub fn open(directory: &Path) -> Cacache {
        Cacache {
            root: directory.to_owned(),
            merging: Mutex::default(),
        }
    }
}

impl Engine for Cacache {
    fn save(&self, key: &str, document: &Value, durability: Durability) {
        self.put(key, &serde_json::to_vec(document).unwrap(), durability);
    }

    fn load(&self, key: &str) -> Value {
        serde_json::from_slice(&cacache::read_sync(&self.root, key).unwrap()).unwrap()
    }

    fn merge(&self, key: &str, patch: &Value) {
        let _merging = self.merging.lock();
        let mut value = self.load(key);
        merged(&mut value, patch);
        self.save(key, &value, Durability::Eventual);
    }

    fn put(&self, key: &str, bytes: &[u8], durability: Durability) {
        assert_eq!(
            durability,
            Durability::Eventual,
            "it never waits for the disk"
        );
        cacache::write_sync(&self.root, key, bytes).unwrap();
    }

    fn delete(&self, key: &str) {
        cacache::remove_sync(&self.root, key).unwrap();
    }

    fn flush(&self) {}

    fn stream_in(&self, key: &str, source: &mut dyn Read) {
        let mut writer = cacache::SyncWriter::create(&self.root, key).unwrap();
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            match source.read(&mut buffer).unwrap() {
                0 => break,
                count => writer.write_all(&buffer[..count]).unwrap(),
            }
        }
        writer.commit().unwrap();
    }

    fn stream_out(&self, key: &str, sink: &mut dyn FnMut(&[u8])) {
        let mut reader = cacache::SyncReader::open(&self.root, key).unwrap();
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            match reader.read(&mut buffer).unwrap() {
                0 => break,
                count => sink(&buffer[..count]),
            }
        }
        reader.check().unwrap();
    }

    fn read_at<'a>(&'a self, _key: &str) -> ReadAt<'a> {
        panic!("cacache does not read at an offset")
    }

    fn list(&self, _folder: &str, _after: Option<&str>, _limit: usize) -> usize {
        panic!("cacache lists in no order")
    }
}
