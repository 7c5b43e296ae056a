//! Many threads at once, and what is kept.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

#[test]
fn those_who_wait_together_share_a_sync() {
    const THREADS: u64 = 8;
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    let hooks = &local.core.settling.test;
    let held = hooks.hold.lock();
    let before = hooks.syncs.load(Ordering::Relaxed);
    std::thread::scope(|threads| {
        for number in 0..THREADS {
            let local = &local;
            threads.spawn(move || write(local, number.to_be_bytes(), b"").unwrap());
        }
        eventually("all are ordered", || {
            local.core.writer.lock().revision() == THREADS
        });
        assert_eq!(local.core.settling.settled(), 0);
        drop(held);
    });
    // One that began with the first, one for all the others, and perhaps that of a checkpoint.
    let syncs = hooks.syncs.load(Ordering::Relaxed) - before;
    assert!(syncs <= 3, "{syncs}");
    assert_eq!(local.core.settling.settled(), THREADS);
}

#[test]
fn a_tiny_overlay_makes_writers_wait_and_stays_tiny() {
    const BYTES: usize = 64 * 1024;
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        overlay_bytes: BYTES,
        ..slow()
    };
    let local = Local::open(directory.path(), options).unwrap();
    let most = AtomicU64::new(0);
    std::thread::scope(|threads| {
        for thread in 0_u8..4 {
            let (local, most) = (&local, &most);
            threads.spawn(move || {
                for number in 0_u32..500 {
                    let key = [&[thread][..], &number.to_be_bytes()].concat();
                    let write = rows(Durability::Eventual, vec![put(key, [thread; 1000])]);
                    commit(local, write).unwrap();
                    let bytes = local.core.overlay.read().fresh_bytes();
                    most.fetch_max(bytes as u64, Ordering::Relaxed);
                }
            });
        }
    });
    let most = most.load(Ordering::Relaxed);
    assert!(most > 20_000 && most < 80_000, "{most}");
    assert_eq!(local.stats().unwrap().entries, 2000);
    // One that is larger than all is let in alone.
    let large = (0_u32..200).map(|number| put(number.to_be_bytes(), [1; 1000]));
    commit(&local, rows(Durability::Eventual, large.collect())).unwrap();
    assert_sound(&local);
}

#[test]
fn the_history_keeps_what_each_limit_asks() {
    let run = |history: History| {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            history: Some(history),
            ..Options::default()
        };
        let local = Local::open(directory.path(), options.clone()).unwrap();
        for number in 0_u32..400 {
            let writes = vec![put(number.to_be_bytes(), [1; 2000])];
            let told = Commit {
                changes: vec![Bytes::copy_from_slice(&number.to_be_bytes())],
                ..rows(Durability::Eventual, writes)
            };
            commit(&local, told).unwrap();
            if number % 100 == 99 {
                compact(&local).unwrap();
            }
        }
        let range = local.history();
        assert_eq!(range.newest, 400);
        let changes = local
            .changes(Position::after(range.oldest - 1), 1000)
            .unwrap();
        assert_eq!(changes.len() as u64, 401 - range.oldest);
        if range.oldest > 1 {
            let before = local.changes(Position::after(range.oldest - 2), 1);
            assert!(matches!(before, Err(Error::Compacted { oldest }) if oldest == range.oldest));
        }
        let journal_bytes = local.stats().unwrap().journal_bytes;
        local.close().unwrap();
        let reopened = Local::open(directory.path(), options).unwrap();
        assert_eq!(reopened.history(), range);
        (range.oldest, journal_bytes)
    };
    let (oldest, bytes) = run(History::unlimited());
    assert!(oldest == 1 && bytes > 800_000, "{oldest} {bytes}");
    let (oldest, bytes) = run(History::of_bytes(200_000));
    assert!(oldest > 200, "{oldest}");
    assert!((200_000..400_000).contains(&bytes), "{bytes}");
    let few = History::of_bytes(64 * MIB).revisions(50);
    assert_eq!(run(few).0, 1, "one segment, which is written to");
    let small = History::of_bytes(1000).revisions(50);
    assert!((300..=400).contains(&run(small).0));
    let young = History::of_bytes(500_000).age(Duration::ZERO);
    assert!(run(young).0 > 300);
    let old = History::of_bytes(500_000).age(Duration::from_secs(3600));
    assert!((100..300).contains(&run(old).0));
}

#[test]
fn everything_at_once() {
    const TIME: Duration = Duration::from_secs(3);
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        overlay_bytes: 256 * 1024,
        retained_bytes: 256 * 1024,
        history: Some(History::of_bytes(MIB)),
        ..Options::default()
    };
    let local = Local::open(directory.path(), options).unwrap();
    let is_over = AtomicBool::new(false);
    let number = AtomicU64::new(1);
    std::thread::scope(|threads| {
        let (local, is_over, number) = (&local, &is_over, &number);
        let next = || number.fetch_add(1, Ordering::Relaxed);
        let go_on = || !is_over.load(Ordering::Relaxed);
        for thread in 0..3_u8 {
            let durability = match thread {
                0 => Durability::Immediate,
                _ => Durability::Eventual,
            };
            threads.spawn(move || {
                while go_on() {
                    let value = next().to_be_bytes();
                    let pair = vec![
                        put([b"a", &[thread][..]].concat(), value),
                        put([b"z", &[thread][..]].concat(), value),
                    ];
                    commit(local, rows(durability, pair)).unwrap();
                }
            });
        }
        for durability in [Durability::Immediate, Durability::Eventual] {
            threads.spawn(move || {
                let mut last = None;
                while go_on() {
                    let number = next();
                    let chunks = usize::try_from(number % 20).unwrap() + 1;
                    put_blob(local, number, chunks, durability).unwrap();
                    if let Some(last) = last.replace(number) {
                        release(local, last);
                    }
                }
            });
        }
        threads.spawn(move || {
            while go_on() {
                let number = next();
                local
                    .put_chunks(blob(number), 0, &[3; 900_000], 2000)
                    .unwrap();
                local.discard(blob(number));
            }
        });
        for _ in 0..2 {
            threads.spawn(move || {
                while go_on() {
                    let mut scan = local.scan(Tree::Entries, b"", None).unwrap();
                    let mut seen = std::collections::BTreeMap::new();
                    while let Some((key, row)) = scan.next().unwrap() {
                        if let Ok(number) = <[u8; 8]>::try_from(&key[..]) {
                            let number = u64::from_be_bytes(number);
                            match local.get_chunk(blob(number), 0) {
                                Ok(bytes) => assert_eq!(bytes[0], number.to_be_bytes()[7]),
                                Err(_) => assert!(
                                    !scan.is_of_one_moment() || {
                                        scan.next().unwrap();
                                        !scan.is_of_one_moment()
                                    }
                                ),
                            }
                        } else {
                            seen.insert(key.clone(), row.value);
                        }
                    }
                    if scan.is_of_one_moment() {
                        for thread in 0..3 {
                            assert_eq!(
                                seen.get(&[b'a', thread][..]),
                                seen.get(&[b'z', thread][..])
                            );
                        }
                    }
                }
            });
        }
        threads.spawn(move || {
            while go_on() {
                compact(local).unwrap();
                // What is overwritten faster than it is read is told as unchecked.
                assert_eq!(verified(local).findings, []);
            }
        });
        std::thread::sleep(TIME);
        is_over.store(true, Ordering::Relaxed);
    });
    assert_sound(&local);
    assert_eq!(local.core.overlay.read().oldest_pin(), None);
    local.close().unwrap();
    drop(local);
    let local = open(&directory);
    assert_sound(&local);
    compact(&local).unwrap();
    let stats = local.stats().unwrap();
    assert!(
        stats.pack_bytes <= 2 * stats.chunk_bytes + 10 * MIB,
        "{stats:?}"
    );
}

#[test]
fn a_store_that_nobody_writes_to_looks_for_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        eventual_interval: Duration::from_millis(10),
        ..Options::default()
    };
    let local = Local::open(directory.path(), options).unwrap();
    let hooks = &local.core.settling.test;
    for number in 0_u32..3 {
        commit(
            &local,
            rows(Durability::Eventual, vec![put(number.to_be_bytes(), b"")]),
        )
        .unwrap();
        eventually("it is on the disk", || !local.core.settling.is_behind());
        let before = hooks.looks.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(300));
        let looks = hooks.looks.load(Ordering::Relaxed) - before;
        assert!(looks <= 2, "{looks}");
    }
}
