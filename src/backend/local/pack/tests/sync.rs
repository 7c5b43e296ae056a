//! When a pack is durable, and what becomes of it where it cannot be.

use super::*;

#[test]
fn a_sync_without_new_bytes_costs_nothing() {
    let mut fixture = Fixture::new(PackOptions::default());
    fixture.packs.append(blob(1), 0, b"bytes", 100).unwrap();
    let writer = fixture.writer(0);
    let syncs = || writer.test.syncs.load(Ordering::Relaxed);
    assert_eq!(fixture.packs.unsynced(), [0]);
    fixture.packs.sync(&[0, 0, 77]).unwrap();
    fixture.packs.sync(&[0]).unwrap();
    assert_eq!((syncs(), fixture.packs.unsynced()), (1, vec![]));
    fixture.packs.append(blob(1), 1, b"bytes", 100).unwrap();
    fixture.packs.sync(&[0]).unwrap();
    assert_eq!(syncs(), 2);
    // A pack found at open is synced once, when named.
    fixture.reopen(SMALL);
    assert!(fixture.packs.unsynced().is_empty());
    assert!(matches!(
        fixture.packs.table.lock().packs[&0].durable,
        Durable::Unknown
    ));
    fixture.packs.sync(&[0]).unwrap();
    assert!(matches!(
        fixture.packs.table.lock().packs[&0].durable,
        Durable::Yes
    ));
}

#[test]
fn threads_that_wait_for_a_sync_share_the_next_one() {
    let fixture = Fixture::new(PackOptions::default());
    let packs = &fixture.packs;
    packs.append(blob(0), 0, b"bytes", 100).unwrap();
    let writer = fixture.writer(0);
    // They all come while one sync is under way, and the first to go on covers the others.
    let under_way = writer.hold_for_test();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..9)
            .map(|number| {
                scope.spawn(move || {
                    packs.append(blob(number), 0, b"bytes", 100).unwrap();
                    packs.sync(&[0]).unwrap();
                })
            })
            .collect();
        while writer.finished_for_test() < 9 * 45 {
            std::thread::yield_now();
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        drop(under_way);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(writer.test.syncs.load(Ordering::Relaxed), 1);
    assert!(packs.unsynced().is_empty());
}

#[test]
fn a_failed_sync_is_never_made_good() {
    let fixture = Fixture::new(SMALL);
    fixture
        .packs
        .append(blob(1), 0, &[1; 12_000], 4000)
        .unwrap();
    fixture
        .packs
        .append(blob(2), 0, b"in the next pack", 4000)
        .unwrap();
    fixture
        .writer(0)
        .test
        .fail_next_sync
        .store(true, Ordering::Relaxed);
    for _ in 0..3 {
        let failed = fixture.packs.sync(&[0]);
        assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
    }
    assert_eq!(fixture.writer(0).test.syncs.load(Ordering::Relaxed), 1);
    fixture.packs.sync(&[1]).unwrap();
    assert_eq!(fixture.packs.unsynced(), [0]);
}

#[test]
fn a_sealed_pack_is_closed_for_writing_once_synced() {
    let fixture = Fixture::new(SMALL);
    fixture
        .packs
        .append(blob(1), 0, &[1; 12_000], 4000)
        .unwrap();
    fixture.packs.sync(&[0]).unwrap();
    assert!(matches!(
        fixture.packs.table.lock().packs[&0].durable,
        Durable::By(_)
    ));
    fixture
        .packs
        .append(blob(2), 0, b"in the next pack", 4000)
        .unwrap();
    assert!(
        matches!(fixture.packs.table.lock().packs[&0].durable, Durable::Yes),
        "nobody need name it again"
    );
}

/// What is on its way to it needs another sync.
#[test]
fn a_sealed_pack_that_is_still_written_to_does_not_count_as_durable() {
    let fixture = Fixture::new(SMALL);
    fixture
        .packs
        .append(blob(1), 0, &[1; 12_000], 4000)
        .unwrap();
    let writer = fixture.writer(0);
    writer.begin(45);
    fixture
        .packs
        .append(blob(2), 0, b"in the next pack", 4000)
        .unwrap();
    fixture.packs.sync(&[0]).unwrap();
    assert!(matches!(
        fixture.packs.table.lock().packs[&0].durable,
        Durable::By(_)
    ));
    assert_eq!(writer.test.syncs.load(Ordering::Relaxed), 1);
}

/// A large upload has many, and none of them is named before it is committed.
#[test]
fn packs_that_nobody_names_do_not_keep_their_files_open() {
    let fixture = Fixture::new(SMALL);
    let open_files = || {
        let table = fixture.packs.table.lock();
        let packs = table.packs.values();
        packs
            .filter(|pack| matches!(pack.durable, Durable::By(_)))
            .count()
    };
    for number in 0..200 {
        fixture
            .packs
            .append(blob(1), number, &[1; 12_000], 12_000)
            .unwrap();
        fixture.packs.sync_sealed().unwrap();
        assert!(open_files() < 20, "{} at {number}", open_files());
    }
    assert_eq!(fixture.packs.table.lock().packs.len(), 200);
}

#[cfg(target_os = "linux")]
#[test]
fn a_failed_write_leaves_dead_space_that_is_not_used_again() {
    let fixture = Fixture::new(PackOptions::default());
    let before = fixture.packs.append(blob(1), 0, b"before", 100).unwrap()[0];
    let sound = fixture.writer(0);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let replace = |writer| {
        fixture
            .packs
            .table
            .lock()
            .packs
            .get_mut(&0)
            .unwrap()
            .durable = Durable::By(writer);
    };
    replace(Arc::new(Writer::new(
        full,
        PathBuf::from("/dev/full"),
        0,
        None,
    )));
    let failed = fixture.packs.append(blob(2), 0, &[0; 1000], 100);
    assert!(matches!(failed, Err(Error::NoSpace { .. })), "{failed:?}");
    let stats = fixture.packs.stats();
    assert_eq!(stats.live_bytes, before.frame_bytes());
    assert_eq!(stats.dead_bytes(), 32 + 1400);
    replace(sound);
    let after = fixture.packs.append(blob(3), 0, b"after", 100).unwrap()[0];
    assert_eq!(after.offset, before.offset + before.frame_bytes() + 1400);
    assert_eq!(
        fixture.packs.read(blob(3), 0, &after).unwrap().unwrap(),
        "after"
    );
    assert_eq!(
        fixture.walked(0),
        [(blob(1), 0, before), (blob(3), 0, after)]
    );
}
