//! Scans over checkpoints.

use super::faults::open_faulty_with;
use super::*;

fn fill(local: &Local, keys: std::ops::Range<u32>, value: &[u8]) {
    let writes = keys.map(|key| put(key.to_be_bytes(), value)).collect();
    commit(local, rows(Durability::Eventual, writes)).unwrap();
}

fn all(scan: &mut dyn Scan) -> Vec<(u32, Bytes)> {
    let mut rows = Vec::new();
    while let Some((key, row)) = scan.next().unwrap() {
        let key = u32::from_be_bytes(key[..].try_into().unwrap());
        rows.push((key, row.value));
    }
    rows
}

#[test]
fn a_scan_sees_its_moment_whatever_is_applied_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    fill(&local, 0..1000, b"old");
    let mut in_overlay = local.scan(Tree::Entries, b"", None).unwrap();
    compact(&local).unwrap();
    let mut in_trees = local.scan(Tree::Entries, b"", None).unwrap();
    in_trees.next().unwrap();
    for round in 0_u8..3 {
        fill(&local, 0..500, &[round]);
        fill(&local, 1000..1100, &[round]);
        let deleted = (500_u32..600).map(|key| delete(key.to_be_bytes()));
        commit(&local, rows(Durability::Eventual, deleted.collect())).unwrap();
        compact(&local).unwrap();
    }
    let old: Vec<_> = (0..1000)
        .map(|key| (key, Bytes::from_static(b"old")))
        .collect();
    assert_eq!(all(&mut *in_overlay), old);
    assert_eq!(all(&mut *in_trees), old[1..]);
    assert!(in_overlay.is_of_one_moment() && in_trees.is_of_one_moment());
    let now = all(&mut *local.scan(Tree::Entries, b"", None).unwrap());
    assert_eq!(now.len(), 1000);
    assert_eq!(now[0].1, Bytes::from_static(&[2]));
    drop((in_overlay, in_trees));
    fill(&local, 0..1, b"new");
    compact(&local).unwrap();
    assert_eq!(local.core.overlay.read().oldest_pin(), None);
}

#[test]
fn a_scan_that_cannot_be_kept_goes_on_in_the_present_and_hurts_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        retained_bytes: 10_000,
        ..Options::default()
    };
    let local = Local::open(directory.path(), options).unwrap();
    fill(&local, 0..1000, b"old");
    compact(&local).unwrap();
    let mut old = local.scan(Tree::Entries, b"", None).unwrap();
    let first = old.next().unwrap().unwrap();
    assert_eq!(first.1.value, "old");
    for _ in 0..3 {
        fill(&local, 0..1000, b"new");
        compact(&local).unwrap();
    }
    // Opened at the very moment at which the other was given up.
    let mut young = local.scan(Tree::Entries, b"", None).unwrap();
    young.next().unwrap();
    let rest = all(&mut *old);
    assert!(!old.is_of_one_moment());
    let keys: Vec<u32> = rest.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, (1..1000).collect::<Vec<_>>());
    assert_eq!(rest.last().unwrap().1, "new");
    drop(old);
    fill(&local, 0..50, b"newest");
    compact(&local).unwrap();
    assert!(all(&mut *young).iter().all(|(_, value)| value == "new"));
    assert!(young.is_of_one_moment());
    drop(young);
    assert_eq!(local.core.overlay.read().oldest_pin(), None);
    assert_sound(&local);
}

/// A listing may be kept for as long as a page is shown.
#[test]
fn a_scan_of_rows_alone_keeps_no_space() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    for number in 0..3 {
        put_blob(&local, number, 10, Durability::Eventual).unwrap();
    }
    let mut with_chunks = local.scan(Tree::Entries, b"", None).unwrap();
    let mut rows_alone = local.scan(Tree::Entries, b"", None).unwrap();
    rows_alone.let_chunks_go();
    release(&local, 0);
    compact(&local).unwrap();
    let chunk_bytes = |local: &Local| local.stats().unwrap().chunk_bytes;
    assert_eq!(chunk_bytes(&local), 30 * CHUNK_BYTES as u64);
    assert!(with_chunks.next().unwrap().is_some());
    drop(with_chunks);
    compact(&local).unwrap();
    assert_eq!(chunk_bytes(&local), 20 * CHUNK_BYTES as u64);
    let mut found = 0;
    while rows_alone.next().unwrap().is_some() {
        found += 1;
    }
    assert!(found == 3 && rows_alone.is_of_one_moment());
}

/// Of all there is to know of the present, the overlay is looked at before the trees.
#[test]
fn a_scan_that_cannot_be_kept_as_it_reads_the_trees_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        retained_bytes: 10_000,
        ..slow()
    };
    let (local, trees) = open_faulty_with(&directory, options);
    let local = Arc::new(local);
    fill(&local, 0..1000, b"old");
    compact(&local).unwrap();
    let mut scan = local.scan(Tree::Entries, b"", None).unwrap();
    let writer = Arc::clone(&local);
    trees.do_meanwhile(move || {
        for _ in 0..3 {
            fill(&writer, 0..1000, b"new");
            compact(&writer).unwrap();
        }
    });
    assert_eq!(scan.next().unwrap().unwrap().1.value, "new");
    assert!(!scan.is_of_one_moment());
}

#[test]
fn a_scan_goes_on_while_others_read_the_overlay() {
    const ROWS: u32 = 2000;
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    let writes = (0..ROWS).map(|number| put(number.to_be_bytes(), b"1"));
    commit(&local, rows(Durability::Immediate, writes.collect())).unwrap();
    // Else the next one may be waiting to write meanwhile.
    local.core.checkpoint().unwrap();
    let mut scan = local.scan(Tree::Entries, b"", None).unwrap();
    let reads = local.core.overlay.read();
    std::thread::scope(|threads| {
        let (done, is_done) = std::sync::mpsc::channel();
        let scanning = threads.spawn(move || {
            let count = std::iter::from_fn(|| scan.next().unwrap()).count();
            let _ = done.send(count);
            scan
        });
        let counted = is_done.recv_timeout(Duration::from_secs(10));
        drop(reads);
        // To close it is to write.
        drop(scanning.join());
        assert_eq!(counted, Ok(ROWS as usize));
    });
}
