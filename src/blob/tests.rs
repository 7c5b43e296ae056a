//! What only the inside can see: where bytes lie, that space comes back, and that damage is told.

use std::io::{Read, Write};

use crate::backend::{BlobId, Tree, View};
use crate::error::Error;
use crate::format::{Body, EntryRecord};
use crate::options::{Durability, PutMode, WriteOptions};
use crate::store::Store;

fn record(store: &Store, key: &str) -> EntryRecord {
    let backend = &store.shared.backend;
    let row = backend.get(View::Settled, Tree::Entries, key.as_bytes());
    EntryRecord::decode(key, &row.unwrap().unwrap().value).unwrap()
}

fn overwrite(store: &Store, key: &str, change: impl FnOnce(&mut EntryRecord)) {
    let mut record = record(store, key);
    change(&mut record);
    store
        .write(|draft| {
            draft.write(key, record.clone());
            Ok(())
        })
        .unwrap();
}

/// Bytes in chunks that an entry owns, and that none does.
fn chunk_bytes(store: &Store) -> (u64, u64) {
    let stats = store.shared.backend.stats().unwrap();
    (stats.chunk_bytes, stats.dead_bytes)
}

#[test]
fn small_bodies_never_touch_chunks() {
    let store = Store::in_memory().unwrap();
    store.put("put", vec![1; 4096]).unwrap();
    let mut writer = store.writer("written", WriteOptions::append()).unwrap();
    writer.write_all(&[1; 4096]).unwrap();
    writer.commit().unwrap();
    store.save("saved", &"x".repeat(4000)).unwrap();
    for key in ["put", "written", "saved"] {
        assert!(matches!(record(&store, key).body, Body::Inline(_)));
    }
    assert_eq!(chunk_bytes(&store), (0, 0));
}

#[test]
fn a_blob_that_nobody_waits_for_goes_to_a_pack_early() {
    let directory = tempfile::tempdir().unwrap();
    let open = |name: &str, chunk_bytes| {
        let builder = Store::builder(directory.path().join(name));
        builder.chunk_bytes(chunk_bytes).open().unwrap()
    };
    let is_inline = |store: &Store, key: &str| matches!(record(store, key).body, Body::Inline(_));
    let store = open("packs", 65_536);
    let eventual = store.with_durability(Durability::Eventual);
    eventual.put("small", vec![1; 1024]).unwrap();
    eventual.put("put", vec![1; 1025]).unwrap();
    eventual.save("saved", &"x".repeat(4000)).unwrap();
    let mut writer = eventual.writer("written", WriteOptions::new()).unwrap();
    writer.write_all(&[1; 1025]).unwrap();
    writer.commit().unwrap();
    eventual.flush().unwrap();
    assert!(is_inline(&store, "small") && is_inline(&store, "saved"));
    assert!(!is_inline(&store, "put") && !is_inline(&store, "written"));
    assert_eq!(store.get("put").unwrap().unwrap(), vec![1; 1025]);
    // To wait for the pack as well would be a sync more.
    store.put("put", vec![1; 4096]).unwrap();
    assert!(is_inline(&store, "put"));
    // Without packs a row more is only a row more.
    let store = open("trees", 4096).with_durability(Durability::Eventual);
    store.put("put", vec![1; 4096]).unwrap();
    store.flush().unwrap();
    assert!(is_inline(&store, "put"));
}

#[test]
fn what_no_longer_fits_beside_its_key_goes_to_chunks() {
    let store = Store::in_memory().unwrap();
    let long = ["k".repeat(250).as_str(); 4].join("/");
    store.put("a", vec![1; 4096]).unwrap();
    store.copy("a", &long, PutMode::Create).unwrap();
    assert!(matches!(record(&store, &long).body, Body::Parts(_)));
    store.rename("a", &long, PutMode::Overwrite).unwrap();
    assert!(matches!(record(&store, &long).body, Body::Parts(_)));
    assert_eq!(chunk_bytes(&store), (4096, 0));
    store.put("folder/a", vec![2; 4096]).unwrap();
    store.rename_folder("folder", &long[..1000]).unwrap();
    assert!(matches!(
        record(&store, &format!("{}/a", &long[..1000])).body,
        Body::Parts(_)
    ));
}

#[test]
fn space_comes_back() {
    let store = Store::in_memory().unwrap();
    let bytes = vec![1; 200_000];
    store.put("a", &bytes).unwrap();
    store.put("a", &bytes).unwrap();
    store.copy("a", "b", PutMode::Create).unwrap();
    store.copy("a", "c", PutMode::Create).unwrap();
    assert_eq!(chunk_bytes(&store), (200_000, 0));
    store.rename("b", "c", PutMode::Overwrite).unwrap();
    store.save("a", &"small").unwrap();
    assert_eq!(chunk_bytes(&store), (200_000, 0));
    store.rename("a", "c", PutMode::Overwrite).unwrap();
    assert_eq!(chunk_bytes(&store), (0, 0));

    for _ in 0..100 {
        let mut writer = store.writer("log", WriteOptions::append()).unwrap();
        writer.write_all(&[1; 50_000]).unwrap();
        writer.commit().unwrap();
    }
    assert_eq!(chunk_bytes(&store), (5_000_000, 0));
    let reader = store.reader("log").unwrap().unwrap();
    assert_eq!(store.delete_folder("log").unwrap(), 0);
    store.delete("log").unwrap();
    assert_eq!(chunk_bytes(&store), (0, 5_000_000));
    drop(reader);
    assert_eq!(chunk_bytes(&store), (0, 0));

    let failed = store.transaction(|tx| {
        tx.put("a", &bytes)?;
        tx.copy("a", "b", PutMode::Create)?;
        tx.put("gone", &bytes)?;
        tx.delete("gone")?;
        tx.delete("a")
    });
    assert!(failed.unwrap());
    assert_eq!(chunk_bytes(&store), (200_000, 0));
    store.delete_folder("x").unwrap();
    store.delete("b").unwrap();
    assert_eq!(chunk_bytes(&store), (0, 0));
}

#[test]
fn an_abandoned_upload_is_discarded() {
    let store = Store::in_memory().unwrap();
    let mut writer = store.writer("a", WriteOptions::new()).unwrap();
    writer.write_all(&[1; 3_000_000]).unwrap();
    store.put("a", "other").unwrap();
    let (_, new) = writer.finish().unwrap();
    let blob = new.content.body.blobs().next().unwrap();
    assert!(store.shared.backend.get_chunk(blob, 0).is_ok());
    drop(new);
    assert!(store.shared.backend.get_chunk(blob, 0).is_err());
}

#[test]
fn damage_is_told_and_never_a_shorter_file() {
    let store = Store::in_memory().unwrap();
    let is_damaged = |error: &Error| matches!(error, Error::Damaged { .. });
    type Damage = fn(&mut EntryRecord);
    let cases: [(usize, Damage); 4] = [
        (100, |record| record.digest = [0; 32].into()),
        (200_000, |record| record.digest = [0; 32].into()),
        (200_000, |record| grow(record, 1)),
        (200_000, |record| grow(record, 100_000)),
    ];
    for (size, damage) in cases {
        store.put("k", vec![1; size]).unwrap();
        overwrite(&store, "k", damage);
        assert!(store.get("k").is_err_and(|error| is_damaged(&error)));
        match store.reader("k") {
            Err(error) => assert!(size == 100 && is_damaged(&error)),
            Ok(reader) => {
                let mut reader = reader.unwrap().with_digest_check();
                let last = reader.chunks().last().unwrap();
                assert!(last.is_err_and(|error| is_damaged(&error)));
                let mut read = Vec::new();
                let error = reader.read_to_end(&mut read).unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
                assert!(reader.read(&mut [0; 9]).is_err(), "again");
                // Without the digest only what is there less than it should be is seen.
                let end = u64::try_from(size).unwrap();
                let at_the_end = reader.read_at(&mut [0; 9], end - 5);
                match reader.len() > end {
                    true => assert!(at_the_end.is_err_and(|error| is_damaged(&error))),
                    false => assert_eq!(at_the_end.unwrap(), 5),
                }
            }
        }
    }
    overwrite(&store, "k", |record| {
        if let Body::Parts(parts) = &mut record.body {
            parts[0].blob = BlobId([1; 16]);
        }
    });
    assert!(store.get("k").is_err_and(|error| is_damaged(&error)));
    assert!(store.merge("k", &1).is_err());
}

/// Chunks that are read together, of which the first is shorter than it should be.
#[test]
fn a_shorter_chunk_is_not_followed_by_the_bytes_of_the_next() {
    let directory = tempfile::tempdir().unwrap();
    for store in [
        Store::in_memory().unwrap(),
        Store::open(directory.path()).unwrap(),
    ] {
        store.put("k", vec![1; 200_000]).unwrap();
        let mut chunk_bytes = 0;
        overwrite(&store, "k", |record| {
            if let Body::Parts(parts) = &mut record.body {
                parts[0].chunk_bytes += 1;
                chunk_bytes = u64::from(parts[0].chunk_bytes);
            }
        });
        let reader = store.reader("k").unwrap().unwrap();
        let read = reader.read_at(&mut [0; 20], chunk_bytes - 10);
        assert!(matches!(read, Err(Error::Damaged { .. })), "{read:?}");
    }
}

fn grow(record: &mut EntryRecord, bytes: u64) {
    record.size += bytes;
    if let Body::Parts(parts) = &mut record.body {
        parts[0].size += bytes;
    }
}

#[test]
fn appends_keep_the_parts_few() {
    let store = Store::in_memory().unwrap();
    for size in (1..=60).rev() {
        let mut writer = store.writer("log", WriteOptions::append()).unwrap();
        writer.write_all(&vec![1; size * 3_000]).unwrap();
        writer.commit().unwrap();
        assert!(record(&store, "log").body.blobs().count() <= 32);
    }
}
