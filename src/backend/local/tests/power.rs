//! What a power cut may leave: files as they were when they were last synced, or anything between then and now.

use super::super::durable::SYNCED;
use super::*;

/// A store of one synced row and one blob that did not wait for the disk, as it lies in the files now.
fn with_unsynced_blob() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    let superblock = hold_checkpoints(&local);
    write(&local, b"before", b"1").unwrap();
    put_blob(&local, 5, 4, Durability::Eventual).unwrap();
    assert!(local.core.settling.is_behind());
    let copy = copy(directory.path());
    assert_eq!(superblock.content().checkpoint, 0);
    copy
}

fn assert_is_before(store: &TempDir, case: &str) {
    let local = open(store);
    assert_eq!(read(&local, b"before").unwrap(), "1", "{case}");
    assert_eq!(read(&local, 5_u64.to_be_bytes()), None, "{case}");
    assert_sound(&local);
    put_blob(&local, 6, 4, Durability::Immediate).unwrap();
    drop(local);
    let local = open(store);
    assert_eq!(local.get_chunk(blob(6), 3).unwrap().len(), CHUNK_BYTES);
    assert_sound(&local);
}

#[test]
fn a_commit_whose_chunks_never_reached_the_disk_did_not_happen() {
    for (case, keep, zeros) in [
        ("short", 40_000, 0),
        ("only its header", 32, 0),
        ("empty", 0, 0),
        ("zeros at the end", 40_000, 25_728),
        ("zeros in the middle of the first chunk", 4096, 4096),
    ] {
        let store = with_unsynced_blob();
        let pack = only_file(&store, "packs");
        let mut bytes = std::fs::read(&pack).unwrap();
        bytes[keep..][..zeros].fill(0);
        if zeros == 0 {
            bytes.truncate(keep);
        }
        std::fs::write(&pack, bytes).unwrap();
        assert_is_before(&store, case);
    }
    let store = with_unsynced_blob();
    std::fs::remove_file(only_file(&store, "packs")).unwrap();
    assert_is_before(&store, "no file");
}

#[test]
fn a_commit_whose_chunks_are_there_is_kept_and_a_flipped_byte_is_damage() {
    let store = with_unsynced_blob();
    let pack = only_file(&store, "packs");
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[20_000] ^= 1;
    std::fs::write(&pack, &bytes).unwrap();
    let local = open(&store);
    assert!(read(&local, 5_u64.to_be_bytes()).is_some());
    assert_eq!(local.get_chunk(blob(5), 0).unwrap()[..], [5; CHUNK_BYTES]);
    assert!(matches!(
        local.get_chunk(blob(5), 1),
        Err(Error::Damaged { .. })
    ));
    assert_eq!(findings(&local).len(), 1);
    drop(local);
    bytes[20_000] ^= 1;
    std::fs::write(&pack, &bytes).unwrap();
    assert_sound(&open(&store));
}

/// Commits that did not wait, over several segments; the first segment first.
fn with_unsynced_segments() -> (TempDir, Vec<std::path::PathBuf>) {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        history: Some(History::of_bytes(1)),
        ..slow()
    };
    let local = Local::open(directory.path(), options).unwrap();
    let superblock = hold_checkpoints(&local);
    write(&local, b"before", b"1").unwrap();
    for number in 0_u32..150 {
        let eventual = rows(
            Durability::Eventual,
            vec![put(number.to_be_bytes(), [1; 1000])],
        );
        commit(&local, eventual).unwrap();
    }
    let copy = copy(directory.path());
    assert_eq!(superblock.content().checkpoint, 0);
    let files = std::fs::read_dir(copy.path().join("journal")).unwrap();
    let mut segments: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    segments.sort();
    assert!(segments.len() > 2);
    (copy, segments)
}

#[test]
fn the_end_of_a_segment_may_be_gone_and_the_next_one_there() {
    let (store, segments) = with_unsynced_segments();
    let bytes = std::fs::read(&segments[0]).unwrap();
    // Each frame is of the same size but the first.
    let commits = (bytes.len() - 200) / 1111;
    assert!(commits > 20);
    let mut frames = Vec::new();
    let mut at = 40;
    while at < bytes.len() {
        frames.push(at);
        at += 96 + u32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
    }
    std::fs::write(&segments[0], &bytes[..frames[10]]).unwrap();
    let local = open(&store);
    assert_eq!(read(&local, b"before").unwrap(), "1");
    assert!(read(&local, 8_u32.to_be_bytes()).is_some());
    assert!(read(&local, 9_u32.to_be_bytes()).is_none());
    assert_sound(&local);
    write(&local, b"after", b"1").unwrap();
    drop(local);
    assert_sound(&open(&store));
}

#[test]
fn evidence_counts_wherever_it_stands_behind_the_damage() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    let superblock = hold_checkpoints(&local);
    let eventual =
        |key| commit(&local, rows(Durability::Eventual, vec![put(key, [1; 100])])).unwrap();
    eventual(b"one");
    eventual(b"two");
    local.flush().unwrap();
    // Only this one says that the first was durable.
    eventual(b"thr");
    let store = copy(directory.path());
    assert_eq!(superblock.content().checkpoint, 0);
    drop(superblock);
    let segment = only_file(&store, "journal");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let refused = Local::open(store.path(), slow()).map(drop);
    assert!(
        matches!(
            refused,
            Err(Error::Damaged {
                what: "journal",
                ..
            })
        ),
        "{refused:?}"
    );
    bytes[60] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let local = open(&store);
    assert!(read(&local, b"thr").is_some());
}

#[test]
fn what_a_killed_process_left_unsynced_is_synced_before_it_is_relied_on() {
    let store = with_unsynced_blob();
    let local = Local::open(store.path(), slow()).unwrap();
    // Without a flush: what readers see from now on must not go again.
    let pack = only_file(&store, "packs");
    let number = pack.file_stem().unwrap().to_str().unwrap();
    let number = u64::from_str_radix(number, 16).unwrap();
    assert!(local.core.packs.was_synced_for_test(number));
    assert!(local.core.journal.synced_for_test() > 0);
    assert!(!local.core.settling.is_behind());
}

#[test]
fn a_revision_that_a_power_cut_took_is_never_given_again() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    write(&local, b"before", b"1").unwrap();
    let cut = copy(directory.path());
    let changed = |number: u32| Commit {
        changes: vec![Bytes::from_static(b"change")],
        ..rows(Durability::Eventual, vec![put(number.to_be_bytes(), b"")])
    };
    for number in 0..20 {
        commit(&local, changed(number)).unwrap();
    }
    let seen = local.history().newest;
    assert!(seen > 20);
    who_was_told_of_it_is_told_so_when_its_segment_is_gone(&copy(cut.path()), seen);
    let local = open(&cut);
    let begun_at = local.history().newest;
    let newest = commit(&local, changed(100)).unwrap();
    assert!(newest > begun_at && begun_at > seen + 1);
    // A watcher that stands where the lost commits were has been told of what never was. One before gets all there is.
    for taken in [2, seen, begun_at - 2] {
        let answer = local.changes(Position::after(taken), 10);
        assert!(
            matches!(answer, Err(Error::Compacted { oldest }) if oldest == begun_at),
            "{taken}: {answer:?}"
        );
    }
    for place in [0, 1, begun_at - 1, begun_at] {
        let behind = local.changes(Position::after(place), 10).unwrap();
        assert_eq!(behind.len(), 1, "{place}");
        assert_eq!(behind[0].position.revision, newest);
    }
    drop(local);
    // In good order nothing is left out.
    let local = open(&cut);
    assert_eq!(local.history().newest, newest);
    assert_sound(&local);
    // What is left out counts for nothing in a history of so many commits.
    assert_eq!(local.changes(Position::after(0), 10).unwrap().len(), 1);
}

fn who_was_told_of_it_is_told_so_when_its_segment_is_gone(store: &TempDir, seen: u64) {
    let options = Options {
        history: Some(History::of_bytes(1)),
        ..slow()
    };
    let local = Local::open(store.path(), options).unwrap();
    let begun_at = local.history().newest;
    for index in 0.. {
        let chunk = [7; 4096];
        local.put_chunks(blob(1), index, &chunk, 4096).unwrap();
        if index % 100 == 99 {
            compact(&local).unwrap();
        }
        if local.history().oldest > begun_at {
            break;
        }
    }
    // Nobody else has missed anything.
    for place in [1, begun_at - 1, begun_at] {
        let behind = local.changes(Position::after(place), 10);
        assert!(
            matches!(&behind, Ok(none) if none.is_empty()),
            "{place}: {behind:?}"
        );
    }
    let answer = local.changes(Position::after(seen), 10);
    assert!(matches!(answer, Err(Error::Compacted { .. })), "{answer:?}");
}

#[test]
fn revisions_are_reserved_before_they_are_used() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    let reserved = |local: &Local| local.core.superblock.lock().content().reserved;
    let first = reserved(&local);
    local.core.writer.lock().pass_to(first - 10);
    local.core.revisions.used(first - 10);
    write(&local, b"key", b"1").unwrap();
    assert!(reserved(&local) > first);
    assert!(local.history().newest < reserved(&local));
}

#[test]
fn a_segment_that_is_missing_from_the_history_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        history: Some(History::of_bytes(400_000)),
        ..Options::default()
    };
    let open = || Local::open(directory.path(), options.clone()).unwrap();
    let local = open();
    for number in 0_u32..300 {
        let writes = vec![put(number.to_be_bytes(), [1; 1000])];
        let told = Commit {
            changes: vec![Bytes::from_static(b"change")],
            ..rows(Durability::Eventual, writes)
        };
        commit(&local, told).unwrap();
    }
    let segments = local.core.journal.segments();
    assert!(segments.len() > 3);
    local.close().unwrap();
    std::fs::remove_file(&segments[1].path).unwrap();
    let local = open();
    assert_eq!(findings(&local).len(), 1);
    let start = Position::after(0);
    let before = local.changes(start, 10).unwrap();
    assert_eq!(before.len(), 10);
    let over = local.changes(start, 1000);
    assert!(
        matches!(
            over,
            Err(Error::Damaged {
                what: "journal",
                ..
            })
        ),
        "{over:?}"
    );
}

/// What the store does for itself, such as giving back, is told to nobody, and a power cut may take it.
#[test]
fn the_stores_own_commits_are_no_place_to_stand_before_they_are_durable() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    // Else the thread in the background may give back first, or make durable what was given back.
    let (checkpoints, alone) = (hold_checkpoints(&local), local.core.space.alone());
    put_blob(&local, 1, 4, Durability::Immediate).unwrap();
    release(&local, 1);
    local.flush().unwrap();
    let released = local.history().newest;
    let cut = copy(directory.path());
    local.core.give_back_blobs(&mut |_, _| Ok(())).unwrap();
    assert!(local.history().newest > released);
    assert_eq!(local.durable(), released);
    drop((checkpoints, alone));
    local.flush().unwrap();
    assert_eq!(local.durable(), local.history().newest);
    let local = open(&cut);
    assert!(
        local
            .changes(Position::after(released), 1)
            .unwrap()
            .is_empty()
    );
}

/// Whoever is killed behind the making of a file has not made its name durable, and what follows would go with it.
#[test]
fn names_that_a_killed_process_made_are_durable_before_anything_follows() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    write(&local, b"key", b"1").unwrap();
    let killed = copy(directory.path());
    let synced = || {
        SYNCED.take();
        drop(Local::open(killed.path(), slow()).unwrap());
        let synced = SYNCED.take();
        ["journal", "packs"].map(|name| synced.contains(&killed.path().join(name)))
    };
    assert_eq!(synced(), [true, true]);
    assert_eq!(synced(), [false, false], "after an orderly end they are");
}

/// A blob of so many packs that most of its rows went ahead of the commit that adopts it.
fn put_blob_of_packs(local: &Local, number: u64, durability: Durability) {
    for part in 0..4 {
        let bytes = vec![1; 320 * CHUNK_BYTES];
        let first = part * 320;
        (local.put_chunks(blob(number), first, &bytes, CHUNK_BYTES)).unwrap();
    }
    let adopting = Commit {
        adopts: vec![blob(number)],
        ..rows(durability, vec![put(number.to_be_bytes(), b"blob")])
    };
    commit(local, adopting).unwrap();
}

#[test]
fn all_packs_of_a_large_upload_are_on_the_disk_when_it_is_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    put_blob_of_packs(&local, 1, Durability::Immediate);
    assert!(local.core.packs.unsynced().is_empty());
    // Else the thread in the background may be first.
    let held = local.hold_syncs();
    put_blob_of_packs(&local, 2, Durability::Eventual);
    assert!(local.core.packs.unsynced().len() > 3);
    drop(held);
    local.flush().unwrap();
    assert!(local.core.packs.unsynced().is_empty());
}

#[test]
fn a_large_upload_whose_earlier_chunks_never_reached_the_disk_did_not_happen() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    write(&local, b"before", b"1").unwrap();
    // Else there may be a checkpoint meanwhile.
    let held = local.hold_syncs();
    put_blob_of_packs(&local, 5, Durability::Eventual);
    let store = copy(directory.path());
    drop(held);
    let packs = std::fs::read_dir(store.path().join("packs")).unwrap();
    let first = packs.map(|pack| pack.unwrap().path()).min().unwrap();
    std::fs::remove_file(first).unwrap();
    let local = open(&store);
    assert_eq!(read(&local, b"before").unwrap(), "1");
    assert_eq!(read(&local, 5_u64.to_be_bytes()), None);
    // What went ahead goes with it, and is no damage until then.
    assert_sound(&local);
    compact(&local).unwrap();
    assert_eq!(local.stats().unwrap().chunk_bytes, 0);
    assert_sound(&local);
    drop(local);
    assert_is_before(&store, "opened again");
}
