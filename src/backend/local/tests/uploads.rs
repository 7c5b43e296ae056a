//! The chunks of uploads, and when they are brought to the disk.

use super::*;

/// So many chunks that their rows are in a commit of their own.
const MANY: usize = 320;

fn put_part(local: &Local, number: u64, part: u64) {
    let bytes = vec![number.to_be_bytes()[7]; MANY * CHUNK_BYTES];
    let first = part * MANY as u64;
    (local.put_chunks(blob(number), first, &bytes, CHUNK_BYTES)).unwrap();
}

fn adopt(local: &Local, number: u64, durability: Durability) -> Result<u64> {
    let adopting = Commit {
        adopts: vec![blob(number)],
        ..rows(durability, vec![put(number.to_be_bytes(), b"blob")])
    };
    commit(local, adopting)
}

#[test]
fn what_comes_after_a_sync_is_synced_by_the_commit() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    for (number, parts) in [(1, 1), (2, 4)] {
        for part in 0..parts {
            put_part(&local, number, part);
            local.sync_chunks(blob(number)).unwrap();
            assert!(local.core.packs.unsynced().is_empty());
        }
        // One chunk, which goes to the same pack.
        let first = parts * MANY as u64;
        (local.put_chunks(blob(number), first, &[1; CHUNK_BYTES], CHUNK_BYTES)).unwrap();
        assert!(!local.core.packs.unsynced().is_empty());
        adopt(&local, number, Durability::Immediate).unwrap();
        assert!(local.core.packs.unsynced().is_empty());
    }
    // One that comes while the sync is under way.
    put_part(&local, 3, 0);
    let (packs, seen) = local.core.uploads.unsynced(&[blob(3)]);
    assert!(!packs.is_empty());
    put_part(&local, 3, 1);
    local.core.uploads.synced(&seen);
    adopt(&local, 3, Durability::Immediate).unwrap();
    assert!(local.core.packs.unsynced().is_empty());
    // Of what is nobody's upload nothing is known, and nothing done.
    for number in [1, 77] {
        local.sync_chunks(blob(number)).unwrap();
    }
    assert_sound(&local);
}

/// A power cut takes what was appended after the sync.
#[test]
fn a_commit_of_chunks_of_which_only_some_were_synced_did_not_happen() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    write(&local, b"before", b"1").unwrap();
    // Else there may be a checkpoint meanwhile.
    let held = local.hold_syncs();
    put_part(&local, 5, 0);
    local.sync_chunks(blob(5)).unwrap();
    let lengths = |store: &Path| {
        let packs = std::fs::read_dir(store.join("packs")).unwrap();
        let packs = packs.map(|pack| pack.unwrap().path());
        let lengths = packs.map(|pack| (std::fs::metadata(&pack).unwrap().len(), pack));
        lengths.collect::<Vec<_>>()
    };
    let synced = lengths(directory.path());
    (local.put_chunks(blob(5), MANY as u64, &[5; CHUNK_BYTES], CHUNK_BYTES)).unwrap();
    adopt(&local, 5, Durability::Eventual).unwrap();
    let cut = copy(directory.path());
    drop(held);
    for (length, pack) in lengths(cut.path()) {
        let name = pack.file_name();
        let before = synced.iter().find(|(_, pack)| pack.file_name() == name);
        let before = before.map_or(0, |(length, _)| *length);
        assert!(before <= length);
        (std::fs::File::options().write(true).open(&pack).unwrap())
            .set_len(before)
            .unwrap();
    }
    let cut = open(&cut);
    assert_eq!(read(&cut, b"before").unwrap(), "1");
    assert_eq!(read(&cut, 5_u64.to_be_bytes()), None);
    assert_sound(&cut);
}

#[test]
fn chunks_that_are_moved_after_a_sync_are_on_the_disk_where_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    let key = keys::chunk(blob(1), 0);
    let place = || local.get(View::Latest, Tree::Chunks, &key).unwrap();
    // In the same pack as the first part.
    (local.put_chunks(blob(2), 0, &[2; 64 * CHUNK_BYTES], CHUNK_BYTES)).unwrap();
    for part in 0..3 {
        put_part(&local, 1, part);
    }
    local.sync_chunks(blob(1)).unwrap();
    let before = place();
    assert!(before.is_some());
    local.discard(blob(2));
    compact(&local).unwrap();
    assert_ne!(place(), before);
    adopt(&local, 1, Durability::Immediate).unwrap();
    assert!(local.core.packs.unsynced().is_empty());
    let killed = copy(directory.path());
    let killed = open(&killed);
    assert_eq!(killed.get_chunk(blob(1), 0).unwrap()[..], [1; CHUNK_BYTES]);
    assert_sound(&killed);
}

#[test]
fn a_sync_of_chunks_that_fails_poisons_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    put_part(&local, 1, 0);
    local.core.packs.fail_next_sync_for_test(0);
    for _ in 0..2 {
        let synced = local.sync_chunks(blob(1));
        assert!(matches!(synced, Err(Error::Poisoned { .. })), "{synced:?}");
    }
    let adopted = adopt(&local, 1, Durability::Immediate);
    assert!(
        matches!(adopted, Err(Error::Poisoned { .. })),
        "{adopted:?}"
    );
    drop(local);
    assert_eq!(read(&open(&directory), 1_u64.to_be_bytes()), None);
}
