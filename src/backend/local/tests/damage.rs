//! Rows that cannot be read, and rows that are overwritten while all are read.

use std::ops::ControlFlow;

use super::faults::open_faulty;
use super::*;
use crate::backend::local::trees::fault::{FaultTrees, Lasting, Operation};
use crate::report::Step;

fn fill(local: &Local, keys: std::ops::Range<u32>, value: &str) {
    let writes = keys.map(|key| put(key.to_be_bytes(), value)).collect();
    commit(local, rows(Durability::Immediate, writes)).unwrap();
}

/// sled finds out when it reads what is gone, which may be the first row that an opening asks for.
#[test]
fn trees_of_which_the_end_is_gone_come_back_whole() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    for round in 0..8 {
        fill(&local, 0..1000, &format!("{round}").repeat(100));
        compact(&local).unwrap();
    }
    local.close().unwrap();
    // With a snapshot that covers all of its log sled reads nothing of it to open.
    Local::open(directory.path(), slow())
        .unwrap()
        .close()
        .unwrap();
    let log = directory.path().join("trees/db");
    let length = log.metadata().unwrap().len();
    for end in (0..length).step_by(32 * 1024) {
        let cut = copy(directory.path());
        let log = std::fs::File::options()
            .write(true)
            .open(cut.path().join("trees/db"));
        log.unwrap().set_len(end).unwrap();
        let reopened = Local::open(cut.path(), slow());
        let reopened = reopened.unwrap_or_else(|error| panic!("{end}: {error:?}"));
        assert_eq!(told(&reopened, 0, None), ((0..1000).collect(), 0));
    }
}

/// A thousand rows that only the trees hold.
fn filled(directory: &TempDir) -> (Local, Arc<FaultTrees>) {
    let (local, trees) = open_faulty(directory);
    fill(&local, 0..1000, "old");
    compact(&local).unwrap();
    (local, trees)
}

fn damage(trees: &FaultTrees, from: u32, to: Option<u32>) {
    let to = to.map(u32::to_be_bytes);
    let to = to.as_ref().map(|to| &to[..]);
    trees.damage(Tree::Entries, from.to_be_bytes(), to);
}

/// The keys a scan tells, and how many errors on its way.
fn told(local: &Local, from: u32, to: Option<u32>) -> (Vec<u32>, usize) {
    let to = to.map(u32::to_be_bytes);
    let to = to.as_ref().map(|to| &to[..]);
    let mut scan = local.scan(Tree::Entries, &from.to_be_bytes(), to).unwrap();
    let (mut keys, mut errors) = (Vec::new(), 0);
    loop {
        match scan.next() {
            Ok(None) => return (keys, errors),
            Ok(Some((key, _))) => keys.push(u32::from_be_bytes(key[..].try_into().unwrap())),
            Err(Error::Damaged { .. }) => errors += 1,
            Err(error) => panic!("{error:?}"),
        }
        assert!(errors < 10, "the scan does not go on");
    }
}

#[test]
fn a_scan_goes_on_behind_what_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let (local, trees) = filled(&directory);
    let all = |without: &[std::ops::Range<u32>]| {
        let is_lost = |key: &u32| without.iter().any(|lost| lost.contains(key));
        (0..1000).filter(|key| !is_lost(key)).collect::<Vec<_>>()
    };
    assert_eq!(told(&local, 0, None), (all(&[]), 0));
    damage(&trees, 0, Some(1));
    damage(&trees, 300, Some(320));
    damage(&trees, 999, Some(1000));
    assert_eq!(
        told(&local, 0, None),
        (all(&[0..1, 300..320, 999..1000]), 3)
    );
    assert_eq!(told(&local, 1, Some(310)), ((1..300).collect(), 1));
    assert_eq!(told(&local, 305, Some(330)), ((320..330).collect(), 1));
    assert_eq!(told(&local, 320, Some(998)), ((320..998).collect(), 0));
    damage(&trees, 500, None);
    assert_eq!(
        told(&local, 0, None),
        (all(&[0..1, 300..320, 500..1000]), 3)
    );
    assert_eq!(told(&local, 600, None), (vec![], 1));
    assert_eq!(told(&local, 600, Some(700)), (vec![], 1));
}

/// What is newer than the checkpoint is sound, whatever the trees are.
#[test]
fn a_scan_tells_what_the_overlay_has_of_rows_that_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let (local, trees) = filled(&directory);
    let no_checkpoint = local.core.superblock.lock();
    fill(&local, 305..307, "new");
    fill(&local, 2000..2001, "new");
    damage(&trees, 300, Some(320));
    let expected: Vec<u32> = (0..300)
        .chain(305..307)
        .chain(320..1000)
        .chain([2000])
        .collect();
    assert_eq!(told(&local, 0, None), (expected, 1));
    damage(&trees, 500, None);
    let expected: Vec<u32> = (0..300)
        .chain(305..307)
        .chain(320..500)
        .chain([2000])
        .collect();
    assert_eq!(told(&local, 0, None), (expected, 2));
    drop(no_checkpoint);
}

#[test]
fn a_scan_tries_again_what_only_the_system_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (local, trees) = filled(&directory);
    let mut scan = local.scan(Tree::Entries, b"", None).unwrap();
    let mut keys = 0;
    trees.fail(Operation::Range, 3, Lasting::Once);
    let mut refused = 0;
    loop {
        match scan.next() {
            Ok(Some(_)) => keys += 1,
            Ok(None) => break,
            Err(Error::Io { .. }) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!((keys, refused), (1000, 1));
}

#[test]
fn verification_ends_and_tells_of_every_gap() {
    let directory = tempfile::tempdir().unwrap();
    let (local, trees) = filled(&directory);
    damage(&trees, 300, Some(320));
    damage(&trees, 900, None);
    let found = findings(&local);
    let whats: Vec<_> = found.iter().map(|finding| finding.what).collect();
    assert_eq!(whats, ["leaf", "leaf"], "{found:?}");
    trees.heal();
    assert_sound(&local);
}

/// Five thousand rows of which next to nothing is kept for scans.
fn busy(directory: &TempDir) -> Local {
    let options = Options {
        retained_bytes: 1000,
        ..Options::default()
    };
    let local = Local::open(directory.path(), options).unwrap();
    fill(&local, 0..5000, "old");
    compact(&local).unwrap();
    local
}

/// Verifies while rows are overwritten, in so many of its attempts; answers how many there were as well.
fn verify_while_overwritten(local: &Local, attempts: usize) -> (Report, usize) {
    let mut begun = 0;
    let mut overwrite = |step: Step| {
        if step.phase == "rows" && step.done == 1024 {
            begun += 1;
            if begun <= attempts {
                for value in ["new", "newer"] {
                    fill(local, 0..5000, value);
                    local.core.checkpoint().unwrap();
                }
                local.core.checkpoint().unwrap();
                fill(local, 0..1, "newest");
                local.core.checkpoint().unwrap();
            }
        }
        ControlFlow::Continue(())
    };
    let report = local.verify(&mut Progress::new(&mut overwrite)).unwrap();
    (report, begun)
}

#[test]
fn rows_overwritten_while_they_are_verified_are_verified_later() {
    let directory = tempfile::tempdir().unwrap();
    let local = busy(&directory);
    assert_eq!(verify_while_overwritten(&local, 3), (Report::default(), 4));
    // A row less, which no checksum tells of.
    let missing = Bytes::copy_from_slice(&4000_u32.to_be_bytes());
    let mut gone = std::iter::once((Tree::Entries, missing, None));
    local.core.trees.apply(&mut gone).unwrap();
    let (report, attempts) = verify_while_overwritten(&local, 0);
    assert_eq!((report.findings.len(), attempts), (1, 1), "{report:?}");
}

#[test]
fn what_could_not_be_verified_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let local = busy(&directory);
    let (report, attempts) = verify_while_overwritten(&local, usize::MAX);
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.unchecked.len(), attempts), (1, 5), "{report:?}");
}

/// Nobody is to think of a repair where the files are only elsewhere.
#[test]
fn a_store_that_was_moved_is_not_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    put_blob(&local, 1, 4, Durability::Immediate).unwrap();
    local.close().unwrap();
    let local = open(&directory);
    let (packs, elsewhere) = (
        directory.path().join("packs"),
        directory.path().join("elsewhere"),
    );
    std::fs::rename(&packs, &elsewhere).unwrap();
    let refused = local.get_chunk(blob(1), 0);
    assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
    let refused = local.verify(&mut Progress::new(&mut |_| {
        std::ops::ControlFlow::Continue(())
    }));
    assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
    std::fs::rename(&elsewhere, &packs).unwrap();
    assert_sound(&local);
}

/// What is open is not read again; the next opening reads it, and refuses it.
#[test]
fn verification_looks_at_headers_of_files_that_are_open() {
    let directory = tempfile::tempdir().unwrap();
    let local = open(&directory);
    put_blob(&local, 1, 16, Durability::Immediate).unwrap();
    for (part, what) in [("journal", "journal"), ("packs", "pack")] {
        let file = std::fs::read_dir(directory.path().join(part)).unwrap();
        let file = file.last().unwrap().unwrap().path();
        for offset in [0, 8, 30] {
            flip(&file, offset);
            let findings = findings(&local);
            let found = findings.iter().any(|finding| finding.what == what);
            assert!(found, "{part} at {offset}: {findings:?}");
            flip(&file, offset);
            assert_sound(&local);
        }
    }
}

fn flip(file: &std::path::Path, offset: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[offset] ^= 1;
    std::fs::write(file, bytes).unwrap();
}
