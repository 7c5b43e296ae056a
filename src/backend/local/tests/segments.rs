//! The files of the journal: damaged, removed by others, and dropped by age.

use std::collections::BTreeSet;

use super::*;
use crate::backend::local::journal::Found;

/// A store that keeps so much history, and its directory.
fn keeping(history: History) -> (Local, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        history: Some(history),
        ..slow()
    };
    let local = Local::open(directory.path(), options).unwrap();
    (local, directory)
}

/// Fills many small segments, none of which a checkpoint makes superfluous as long as the answer is kept.
fn fill_segments(local: &Local) -> MutexGuard<'_, Superblock> {
    let checkpoints = hold_checkpoints(local);
    for number in 0_u32..200 {
        let row = vec![put(number.to_be_bytes(), [1; 1000])];
        commit(local, rows(Durability::Eventual, row)).unwrap();
    }
    assert!(local.core.journal.segments().len() > 2);
    checkpoints
}

#[test]
fn a_segment_with_commits_and_a_header_of_zeros_is_damage_and_stays() {
    let (local, directory) = keeping(History::of_bytes(1));
    let _checkpoints = fill_segments(&local);
    let store = copy(directory.path());
    let last = local.core.journal.segments().pop().unwrap();
    let path = store
        .path()
        .join("journal")
        .join(last.path.file_name().unwrap());
    let whole = std::fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[..40].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    let refused = Local::open(store.path(), slow()).map(drop);
    assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    std::fs::write(&path, whole).unwrap();
    let reopened = Local::open(store.path(), slow()).unwrap();
    assert!(read(&reopened, 199_u32.to_be_bytes()).is_some());
    drop(reopened);
    // A crash while the file was made leaves so much at most.
    let next = store.path().join(format!("journal/{:020}.journal", 10_000));
    std::fs::write(&next, [0; 40]).unwrap();
    drop(Local::open(store.path(), slow()).unwrap());
    assert!(!next.exists());
}

#[test]
fn a_segment_that_others_removed_keeps_no_other() {
    let (local, _directory) = keeping(History::of_bytes(1));
    let checkpoints = fill_segments(&local);
    let before = local.core.journal.segments();
    std::fs::remove_file(&before[0].path).unwrap();
    drop(checkpoints);
    compact(&local).unwrap();
    assert_eq!(local.core.journal.segments().len(), 1);
    assert!(!before[1].path.exists());
}

/// What the trees do not hold yet is nowhere else.
#[test]
fn a_segment_stays_until_the_trees_hold_all_of_it() {
    let (local, _directory) = keeping(History::of_bytes(1));
    let _checkpoints = fill_segments(&local);
    let segments = local.core.journal.segments();
    let next = segments[1].first;
    local.core.journal.drop_old(next - 2, 0).unwrap();
    assert!(segments[0].path.exists());
    local.core.journal.drop_old(next - 1, 0).unwrap();
    assert!(!segments[0].path.exists());
    assert!(segments[1].path.exists());
}

/// The files are those of whoever is there now.
#[test]
fn where_the_journal_was_moved_none_of_what_took_its_place_goes() {
    let (local, directory) = keeping(History::of_bytes(1));
    let checkpoints = fill_segments(&local);
    let names = || {
        let files = std::fs::read_dir(directory.path().join("journal")).unwrap();
        let names: BTreeSet<_> = files.map(|file| file.unwrap().file_name()).collect();
        names
    };
    let before = names();
    let (journal, moved) = (
        directory.path().join("journal"),
        directory.path().join("moved"),
    );
    std::fs::rename(&journal, &moved).unwrap();
    std::fs::create_dir(&journal).unwrap();
    for name in &before {
        std::fs::copy(moved.join(name), journal.join(name)).unwrap();
    }
    let newest = local.core.settling.settled();
    assert!(local.core.journal.drop_old(newest, 0).is_err());
    drop(checkpoints);
    drop(compact(&local));
    assert_eq!(names(), before);
}

/// A hole would be given its blocks, and each sync would have to write where they are.
#[test]
fn a_journal_has_its_blocks_before_it_needs_them_and_gives_them_back() {
    use std::os::unix::fs::MetadataExt;

    let directory = tempfile::tempdir().unwrap();
    let local = Local::open(directory.path(), slow()).unwrap();
    let path = local.core.journal.segments().pop().unwrap().path.clone();
    let mut sizes = BTreeSet::new();
    for number in 0_u32..100 {
        let row = vec![put(number.to_be_bytes(), [1; 1000])];
        commit(&local, rows(Durability::Immediate, row)).unwrap();
        let file = path.metadata().unwrap();
        assert!(file.blocks() * 512 >= file.len(), "{number}");
        sizes.insert(file.len());
    }
    assert_eq!(sizes, [64 * 1024, 128 * 1024].into());
    let written = local.core.journal.bytes();
    assert!((100_000..sizes.pop_last().unwrap()).contains(&written));
    local.close().unwrap();
    assert_eq!(path.metadata().unwrap().len(), written);
}

/// Each checkpoint drops what it can, and several threads may be at it at once.
#[test]
fn threads_that_drop_segments_side_by_side_drop_each_once() {
    for _ in 0..30 {
        let (local, directory) = keeping(History::of_bytes(1));
        drop(fill_segments(&local));
        local.core.bring_to_trees().unwrap();
        let newest = local.core.settling.settled();
        let begin = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    begin.wait();
                    local.core.journal.drop_old(newest, 0).unwrap();
                });
            }
        });
        let files = std::fs::read_dir(directory.path().join("journal")).unwrap();
        assert_eq!(files.count(), local.core.journal.segments().len());
        assert!(
            local
                .core
                .journal
                .segments()
                .iter()
                .all(|it| it.path.exists())
        );
    }
}

#[test]
fn a_time_ahead_of_the_clock_keeps_no_history_and_an_unknown_one_drops_none() {
    let hour = Duration::from_secs(3600);
    let small = |age| History {
        age: Some(age),
        ..History::of_bytes(64 * MIB)
    };
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        history: Some(small(hour)),
        ..slow()
    };
    let local = Local::open(directory.path(), options).unwrap();
    while local.core.journal.segments().len() < 4 {
        write(&local, b"key", [1; 4000]).unwrap();
    }
    let segments = local.core.journal.segments();
    let written: Vec<u64> = segments.iter().map(|segment| segment.last_time()).collect();
    let dropped_at = |now: u64| {
        let before = local.core.journal.segments().len();
        local
            .core
            .journal
            .drop_old(local.core.settling.settled(), now)
            .unwrap();
        before - local.core.journal.segments().len()
    };
    assert_eq!(dropped_at(written[3]), 0);
    segments[0].set_last_time_for_test(u64::MAX);
    let later = |time: u64| time + u64::try_from(hour.as_micros()).unwrap();
    assert_eq!(dropped_at(later(written[1])), 0, "the next one is no older");
    assert_eq!(dropped_at(later(written[1]) + 1), 2);
    segments[2].set_last_time_for_test(0);
    std::fs::write(&segments[2].path, b"").unwrap();
    assert_eq!(dropped_at(later(written[3])), 0);
}

/// What the store writes for itself fills the journal as well.
#[test]
fn segments_without_changes_are_no_gap_for_who_has_read_all() {
    let directory = TempDir::new().unwrap();
    let options = Options {
        history: Some(History::of_bytes(1)),
        ..slow()
    };
    let local = Local::open(directory.path(), options.clone()).unwrap();
    let tell = |local: &Local| {
        let told = Commit {
            changes: vec![Bytes::from("change"), Bytes::from("change")],
            ..rows(Durability::Eventual, vec![put("key", "value")])
        };
        Position::after(commit(local, told).unwrap())
    };
    let (first, last) = (tell(&local), tell(&local));
    for index in 0.. {
        let chunk = [7; 4096];
        local.put_chunks(blob(1), index, &chunk, 4096).unwrap();
        if index % 100 == 99 {
            compact(&local).unwrap();
        }
        if local.history().oldest > last.revision + 1 {
            break;
        }
    }
    let missed = Position { index: 0, ..last };
    for (place, is_told_all) in [(first, false), (missed, false), (last, true)] {
        let found = local.changes(place, 9);
        let as_expected = match is_told_all {
            true => matches!(&found, Ok(none) if none.is_empty()),
            false => matches!(found, Err(Error::Compacted { .. })),
        };
        assert!(as_expected, "{place:?}: {found:?}");
    }
    let next = tell(&local);
    let found = local.changes(last, 9).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[1].position.revision, next.revision);
    // Another opening cannot know.
    local.close().unwrap();
    let local = Local::open(directory.path(), options).unwrap();
    let found = local.changes(last, 9);
    assert!(matches!(found, Err(Error::Compacted { .. })), "{found:?}");
}

/// Of what is damaged or missing nobody knows what it told.
#[test]
fn a_damaged_segment_that_is_gone_is_not_taken_for_one_without_changes() {
    let (local, directory) = keeping(History::of_bytes(512 * 1024));
    drop(fill_segments(&local));
    local.close().unwrap();
    let options = Options {
        history: Some(History::of_bytes(1)),
        ..slow()
    };
    let segment = {
        let local = Local::open(directory.path(), options.clone()).unwrap();
        local.core.journal.segments()[0].path.clone()
    };
    // The header of a frame in the middle.
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    let at = bytes[middle..]
        .windows(4)
        .position(|it| it == b"KFRM")
        .unwrap();
    bytes[middle + at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let local = Local::open(directory.path(), options).unwrap();
    let segments = local.core.journal.segments();
    let first = segments[0].first;
    // They are looked at, and so in the index as far as that can be.
    assert!(segments.iter().all(|segment| segment.commits() > 1));
    drop(segments);
    let place = Position::after(first + 1);
    assert!(local.changes(place, usize::MAX).is_err());
    let newest = local.core.settling.settled();
    local.core.journal.drop_old(newest, 0).unwrap();
    assert!(local.history().oldest > first);
    let found = local.changes(place, 9);
    assert!(matches!(found, Err(Error::Compacted { .. })), "{found:?}");
}

/// A place that the disk does not give back: what lies before it is noted at each look, and then the rest is not.
#[test]
fn commits_of_a_segment_that_cannot_be_read_are_not_counted_again_and_again() {
    let directory = TempDir::new().unwrap();
    let options = Options {
        history: Some(History::of_bytes(4 * MIB)),
        ..slow()
    };
    let local = Local::open(directory.path(), options.clone()).unwrap();
    while local.core.journal.segments().len() < 2 {
        let row = vec![put("key", [1; 5000])];
        commit(&local, rows(Durability::Eventual, row)).unwrap();
    }
    let all = local.core.journal.segments()[0].commits();
    local.close().unwrap();
    let local = Local::open(directory.path(), options).unwrap();
    let segment = local.core.journal.segments().swap_remove(0);
    let bytes = std::fs::read(&segment.path).unwrap();
    std::fs::write(&segment.path, &bytes[..bytes.len() / 2]).unwrap();
    let looks = [0; 3].map(|_| (segment.commits(), segment.last_time()));
    assert_eq!(looks, [(0, 0); 3]);
    std::fs::write(&segment.path, bytes).unwrap();
    assert_eq!(segment.commits(), all);
    assert_ne!(segment.last_time(), 0);
}

/// Whoever reads changes goes through a large commit once, and not anew from its beginning for each batch.
#[test]
fn a_large_commit_is_read_once() {
    for opened_again in [false, true] {
        let directory = TempDir::new().unwrap();
        let mut local = open(&directory);
        for count in [50_000, 50_000, 1] {
            let changes = (0..count).map(|number| Bytes::from(format!("{number:0100}")));
            let told = Commit {
                changes: changes.collect(),
                ..rows(Durability::Eventual, vec![put("key", "value")])
            };
            commit(&local, told).unwrap();
        }
        if opened_again {
            local.close().unwrap();
            local = open(&directory);
        }
        let newest = local.history().newest;
        let before = bytes_read();
        let (mut after, mut told) = (Position::after(0), 0);
        loop {
            let batch = local.changes(after, 256).unwrap();
            let Some(change) = batch.last() else { break };
            for change in &batch {
                let number = told % 50_000;
                assert_eq!(change.bytes, format!("{number:0100}"));
                assert_eq!(change.last, told == 100_000 || number == 49_999, "{told}");
                told += 1;
            }
            after = change.position;
        }
        assert_eq!((told, after.revision), (100_001, newest));
        let read = bytes_read() - before;
        assert!(read < 8 * 100_000 * 104, "{read} bytes were read");
    }
}

/// A store whose first segment ends with a commit of many parts; where they lie, and their lengths.
fn with_parts() -> (TempDir, Local, Vec<(usize, usize)>) {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        history: Some(History::unlimited()),
        ..slow()
    };
    let local = Local::open(directory.path(), options).unwrap();
    let row = |number: u32| put(number.to_be_bytes(), vec![1; 6_000]);
    for number in 0..700 {
        commit(&local, rows(Durability::Eventual, vec![row(number)])).unwrap();
    }
    let mut many = rows(Durability::Immediate, (0..800).map(row).collect());
    many.changes = vec![Bytes::from_static(b"told")];
    let many = commit(&local, many).unwrap();
    let segment = local.core.journal.segments().pop().unwrap();
    commit(&local, rows(Durability::Immediate, vec![row(0)])).unwrap();
    let firsts: Vec<u64> = (local.core.journal.segments().iter())
        .map(|segment| segment.first)
        .collect();
    assert_eq!(firsts, [1, many + 1]);
    compact(&local).unwrap();
    let mut reader = segment.read();
    let mut parts = Vec::new();
    while let Found::Frame { offset, header, .. } = reader.next().unwrap() {
        if header.revision == many {
            parts.push((usize::try_from(offset).unwrap(), header.frame_bytes()));
        }
    }
    assert!(parts.len() > 3, "{parts:?}");
    (directory, local, parts)
}

fn first_segment(directory: &Path) -> std::path::PathBuf {
    directory.join(format!("journal/{:020}.journal", 1))
}

/// Each frame is sound by itself, and belongs to the commit.
#[test]
fn a_part_of_a_commit_that_comes_twice_is_told() {
    let (directory, local, parts) = with_parts();
    assert_sound(&local);
    let [_, (first, length), (second, same), ..] = parts[..] else {
        panic!("{parts:?}");
    };
    assert_eq!(length, same);
    let path = first_segment(directory.path());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.copy_within(first..first + length, second);
    std::fs::write(&path, bytes).unwrap();
    let found = findings(&local);
    assert!(
        matches!(&found[..], [one] if one.location.ends_with(&format!("at {second}"))),
        "{found:?}"
    );
}

/// What is behind the end of a frame is not missed by it.
#[test]
fn a_segment_that_ends_within_a_commit_is_damaged() {
    let (directory, local, parts) = with_parts();
    local.close().unwrap();
    let all = |local: &Local| local.changes(Position::after(0), usize::MAX);
    for (cut, _) in &parts[1..] {
        let store = copy(directory.path());
        let segment = std::fs::File::options()
            .write(true)
            .open(first_segment(store.path()));
        segment.unwrap().set_len(*cut as u64).unwrap();
        let local = Local::open(store.path(), slow()).unwrap();
        assert!(matches!(all(&local), Err(Error::Damaged { .. })));
        let found = findings(&local);
        assert!(
            found
                .iter()
                .any(|one| one.location.ends_with(&format!("at {cut}"))),
            "{found:?}"
        );
    }
    assert_eq!(all(&open(&directory)).unwrap().len(), 1);
}
