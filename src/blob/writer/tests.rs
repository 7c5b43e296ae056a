use std::io::Write as _;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::backend::Backend;
use crate::backend::local::Local;
use crate::backend::local::tests::{CHUNK_BYTES, assert_sound, blob, eventually, slow};
use crate::blob::UploadOptions;

/// Of a blob in a few chunks, many of which go into one pack.
const LARGE: usize = 300_000;

/// A store of one pack, with nothing to sync.
fn with_pack() -> (TempDir, Arc<Local>, Store) {
    let directory = tempfile::tempdir().unwrap();
    let local = Arc::new(Local::open(directory.path(), slow()).unwrap());
    let store = Store::on_backend(local.clone()).unwrap();
    store.put("first", [1; LARGE]).unwrap();
    assert!(local.unsynced_packs().is_empty());
    (directory, local, store)
}

fn writer(store: &Store, key: &str) -> BlobWriter {
    let mut writer = store.writer(key, WriteOptions::new()).unwrap();
    writer.write_all(&[2; LARGE]).unwrap();
    writer
}

/// While this writes a large blob and waits for its chunks to come to the disk, others write.
fn assert_nobody_waits(local: &Local, store: &Store, write: impl FnOnce() + Send) {
    std::thread::scope(|threads| {
        let (early, quick) = local.hold_syncs_of_packs(|appended| {
            let until = appended() + LARGE as u64;
            let (done, is_done) = channel();
            let tell = done.clone();
            threads.spawn(move || {
                write();
                let _ = tell.send(());
            });
            eventually("the chunks are in the pack", || appended() >= until);
            let early = is_done.recv_timeout(Duration::from_millis(50));
            threads.spawn(move || {
                store.transaction(|tx| tx.save("a", &1)).unwrap();
                store.save("b", &1).unwrap();
                let _ = done.send(());
            });
            (early, is_done.recv_timeout(Duration::from_secs(5)))
        });
        assert!(early.is_err(), "done before it is on the disk");
        assert!(quick.is_ok(), "others wait for it");
    });
}

#[test]
fn nobody_waits_while_the_chunks_of_another_come_to_the_disk() {
    let (_directory, local, store) = with_pack();
    let writes: [fn(&Store); 5] = [
        |store| drop(store.put("put", [2; LARGE]).unwrap()),
        |store| drop(store.save("saved", &"2".repeat(LARGE)).unwrap()),
        |store| drop(writer(store, "written").commit().unwrap()),
        |store| drop((store.upload("sent", &[2; LARGE][..], UploadOptions::new())).unwrap()),
        |store| {
            let mut writer = writer(store, "prepared");
            writer.prepare().unwrap();
            store.transaction(|tx| tx.commit_blob(writer)).unwrap();
        },
    ];
    for write in writes {
        assert_nobody_waits(&local, &store, || write(&store));
    }
    assert!(local.unsynced_packs().is_empty());
    assert_sound(&local);
}

#[test]
fn what_is_on_the_disk_already_is_not_waited_for_again() {
    let (_directory, local, store) = with_pack();
    let mut prepared = writer(&store, "prepared");
    prepared.prepare().unwrap();
    // Others append to the same pack.
    (local.put_chunks(blob(7), 0, &[7; CHUNK_BYTES], CHUNK_BYTES)).unwrap();
    assert_eq!(local.unsynced_packs(), [0]);
    let store = &store;
    std::thread::scope(|threads| {
        let quick = local.hold_syncs_of_packs(|_| {
            let (done, is_done) = channel();
            threads.spawn(move || {
                (store.transaction(|tx| tx.commit_blob(prepared))).unwrap();
                let _ = done.send(());
            });
            is_done.recv_timeout(Duration::from_secs(5))
        });
        assert!(quick.is_ok());
    });
    assert_eq!(store.get("prepared").unwrap().unwrap()[..], [2; LARGE]);
}
