//! Space is given back while others read, and never from under them.

use super::*;

/// The row that owns the blob of this number, and tells it.
fn owner(key: &[u8], number: u64) -> Write {
    put(key, number.to_be_bytes())
}

fn owned(row: &Row) -> u64 {
    u64::from_be_bytes(row.value[..].try_into().unwrap())
}

fn upload(local: &Local, number: u64) {
    let bytes = [number.to_be_bytes()[7]; 2 * CHUNK_BYTES];
    local
        .put_chunks(blob(number), 0, &bytes, CHUNK_BYTES)
        .unwrap();
}

/// Writes a blob under a key, where none is.
fn create(local: &Local, key: &[u8], number: u64) {
    upload(local, number);
    let adopting = Commit {
        adopts: vec![blob(number)],
        ..rows(Durability::Immediate, vec![owner(key, number)])
    };
    commit(local, adopting).unwrap();
}

/// Writes a blob under a key in place of another.
fn replace(local: &Local, key: &[u8], old: u64, new: u64, durability: Durability) {
    upload(local, new);
    let replacing = Commit {
        adopts: vec![blob(new)],
        releases: vec![blob(old)],
        ..rows(durability, vec![owner(key, new)])
    };
    commit(local, replacing).unwrap();
}

fn remove(local: &Local, key: &[u8], number: u64, durability: Durability) {
    let releasing = Commit {
        releases: vec![blob(number)],
        ..rows(durability, vec![delete(key)])
    };
    commit(local, releasing).unwrap();
}

fn assert_whole(local: &Local, number: u64) {
    for index in 0..2 {
        let chunk = local.get_chunk(blob(number), index).unwrap();
        assert_eq!(chunk[..], [number.to_be_bytes()[7]; CHUNK_BYTES]);
    }
}

/// Holds what the key owns and reads it; answers which it was.
fn read_held(local: &Local, key: &[u8]) -> Option<u64> {
    loop {
        let found = local.get(View::Settled, Tree::Entries, key).unwrap();
        let number = owned(&found?);
        if let Some(_hold) = local.hold(blob(number)).unwrap() {
            assert_whole(local, number);
            return Some(number);
        }
        // It is refused only to who saw what is no more.
        let now = local.get(View::Settled, Tree::Entries, key).unwrap();
        assert_ne!(now.as_ref().map(owned), Some(number));
    }
}

/// Reads everything a scan sees, which keeps it; answers what that was.
fn read_scanned(local: &Local) -> Vec<u64> {
    let mut scan = local.scan(Tree::Entries, b"", None).unwrap();
    let mut seen = Vec::new();
    while let Some((_, row)) = scan.next().unwrap() {
        seen.push(owned(&row));
    }
    seen.iter().for_each(|number| assert_whole(local, *number));
    seen
}

/// Nobody reads any more: exactly the blobs of these numbers are left, and what they take.
fn assert_left(local: &Local, numbers: &[u64]) {
    compact(local).unwrap();
    numbers
        .iter()
        .for_each(|number| assert_whole(local, *number));
    let bytes = (numbers.len() * 2 * CHUNK_BYTES) as u64;
    let frames = numbers.len() as u64 * 2;
    let stats = local.stats().unwrap();
    assert_eq!(stats.chunk_bytes, bytes);
    let live = local.core.packs.stats().live_bytes;
    let header = live - bytes;
    assert!(
        header <= frames * 100,
        "{header} bytes around {frames} chunks"
    );
    // Headers of packs, and what is not worth a rewrite.
    assert!(stats.dead_bytes < 2 * CHUNK_BYTES as u64, "{stats:?}");
    assert!(!local.core.space.is_waiting());
    assert_sound(local);
}

#[test]
fn who_holds_a_blob_reads_it_while_it_is_replaced_and_given_back() {
    explore(|| {
        let (local, _directory) = fresh(slow());
        create(&local, b"key", 1);
        thread::scope(|threads| {
            threads.spawn(|| {
                replace(&local, b"key", 1, 2, Durability::Immediate);
                replace(&local, b"key", 2, 3, Durability::Eventual);
            });
            threads.spawn(|| {
                let mut last = 0;
                while last < 3 {
                    let found = read_held(&local, b"key").unwrap();
                    assert!(found >= last, "{found} after {last}");
                    last = found;
                    thread::yield_now();
                }
            });
            threads.spawn(|| local.core.give_back(None).unwrap());
        });
        local.flush().unwrap();
        assert_left(&local, &[3]);
    });
}

/// Somebody comes with what it read before, while the blob goes: refused, or kept.
#[test]
fn a_hold_that_comes_late_is_refused_or_kept() {
    explore(|| {
        let (local, _directory) = fresh(slow());
        // The thread in the background stays out of it.
        stop_time();
        create(&local, b"kept", 2);
        create(&local, b"key", 1);
        remove(&local, b"key", 1, Durability::Immediate);
        thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    if let Some(_hold) = local.hold(blob(1)).unwrap() {
                        assert_whole(&local, 1);
                    }
                });
            }
            threads.spawn(|| local.core.give_back(None).unwrap());
        });
        assert_left(&local, &[2]);
    });
}

#[test]
fn who_scans_reads_what_it_sees_while_it_is_given_back() {
    explore(|| {
        let (local, _directory) = fresh(slow());
        create(&local, b"a", 1);
        create(&local, b"b", 2);
        thread::scope(|threads| {
            threads.spawn(|| remove(&local, b"a", 1, Durability::Immediate));
            threads.spawn(|| {
                while read_scanned(&local).contains(&1) {
                    thread::yield_now();
                }
            });
            threads.spawn(|| {
                local.core.give_back(None).unwrap();
                local.core.give_back(None).unwrap();
            });
        });
        assert_left(&local, &[2]);
    });
}

#[test]
fn a_chunk_is_read_while_it_is_moved_to_another_pack() {
    explore(|| {
        let (local, _directory) = fresh(slow());
        (1..=3).for_each(|number| create(&local, &[b'0' + number], number.into()));
        remove(&local, b"1", 1, Durability::Immediate);
        thread::scope(|threads| {
            threads.spawn(|| compact(&local).unwrap());
            threads.spawn(|| {
                assert_eq!(read_held(&local, b"2"), Some(2));
                read_scanned(&local);
            });
            threads.spawn(|| {
                replace(&local, b"3", 3, 4, Durability::Eventual);
                compact(&local).unwrap();
            });
        });
        local.flush().unwrap();
        assert_left(&local, &[2, 4]);
    });
}

/// An upload under way is no row's yet; neither given back nor moved half.
#[test]
fn an_upload_goes_on_while_its_pack_is_emptied() {
    explore(|| {
        let (local, _directory) = fresh(slow());
        create(&local, b"a", 1);
        thread::scope(|threads| {
            threads.spawn(|| create(&local, b"b", 2));
            threads.spawn(|| {
                upload(&local, 3);
                local.discard(blob(3));
            });
            threads.spawn(|| {
                remove(&local, b"a", 1, Durability::Immediate);
                compact(&local).unwrap();
            });
        });
        assert_left(&local, &[2]);
    });
}
