//! Places where no store can be opened, stores that were damaged or put back, and what opening leaves untouched.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test that panics fails"
)]

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use komatik::{Durability, Error, History, Result, Since, Store, WriteOptions};

const SLOT_BYTES: usize = 4096;
const SEGMENT_HEADER_BYTES: usize = 40;
const FRAME_HEADER_BYTES: usize = 96;

/// A directory for a store, and others beside it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.path("store")
    }

    fn open(&self) -> Result<Store> {
        open(&self.store())
    }

    /// A closed store with these keys, each holding its own name and a blob beside it.
    fn filled(keys: std::ops::Range<u32>) -> Place {
        let place = Place::new();
        let store = place.open().unwrap();
        fill(&store, keys);
        store.close().unwrap();
        place
    }

    /// The store as it is now, while it is open: as a kill would leave it.
    fn copy_of_open(keys: std::ops::Range<u32>) -> Place {
        let place = Place::new();
        let store = open(&place.path("original")).unwrap();
        fill(&store, keys);
        copy(&place.path("original"), &place.store());
        place
    }
}

fn open(path: &Path) -> Result<Store> {
    Store::builder(path).history(History::unlimited()).open()
}

fn blob(key: u32) -> Vec<u8> {
    vec![key as u8; 9_000]
}

fn fill(store: &Store, keys: std::ops::Range<u32>) {
    let store = store.with_durability(Durability::Immediate);
    for key in keys {
        store.save(&format!("d{key:04}"), &key).unwrap();
        store.put(&format!("b{key:04}"), blob(key)).unwrap();
    }
}

/// All of these are there, and nothing else; and the store is sound.
fn assert_holds(store: &Store, keys: std::ops::Range<u32>) {
    for key in keys.clone() {
        let document = store.load::<u32>(&format!("d{key:04}")).unwrap();
        assert_eq!(document, Some(key));
        let bytes = store.get(&format!("b{key:04}")).unwrap();
        assert_eq!(bytes.unwrap(), blob(key), "{key}");
    }
    assert_eq!(store.list("").unwrap().count(), 2 * keys.len());
    let report = store.verify(|_| ControlFlow::Continue(())).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if let Err(error) = fs::copy(entry.path(), &target) {
            // A store that is open removes what it no longer needs.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
}

/// Every file with its bytes; not the lock, which says who came last, nor the trees: sled writes whenever it is opened.
fn snapshot(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("trees") {
            files.push((path, Vec::new()));
        } else if path.is_dir() {
            files.extend(snapshot(&path));
        } else if path.file_name().unwrap() != "LOCK" {
            files.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

/// Opening fails, and leaves every file as it was.
fn refused(path: &Path) -> Error {
    let before = snapshot(path);
    let error = open(path).unwrap_err();
    assert!(snapshot(path) == before, "files were changed: {error}");
    error
}

/// The segments of the journal, oldest first.
fn segments(store: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.join("journal")).unwrap();
    let mut segments: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    segments
}

/// What is written of a segment: not the room that was made behind it.
fn written(segment: &Path) -> Vec<u8> {
    let mut bytes = fs::read(segment).unwrap();
    bytes.truncate(*frames(&bytes).last().unwrap());
    bytes
}

/// Where the frames of a segment begin, and where the last one ends.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut frames = vec![SEGMENT_HEADER_BYTES];
    while let Some(header) = bytes
        .get(*frames.last().unwrap()..)
        .filter(|rest| rest.iter().any(|byte| *byte != 0))
    {
        assert!(header.starts_with(b"KFRM"));
        let length = u32::from_be_bytes(header[8..12].try_into().unwrap()) as usize;
        frames.push(frames.last().unwrap() + FRAME_HEADER_BYTES + length);
    }
    frames
}

#[test]
fn a_file_is_no_place_for_a_store() {
    let place = Place::new();
    fs::write(place.store(), "notes").unwrap();
    assert!(matches!(place.open(), Err(Error::Io { .. })));
    assert_eq!(fs::read(place.store()).unwrap(), b"notes");
    assert!(matches!(
        open(&place.store().join("below")),
        Err(Error::Io { .. })
    ));
}

#[test]
fn a_directory_of_something_else_is_refused_untouched() {
    let place = Place::new();
    fs::create_dir(place.store()).unwrap();
    fs::write(place.store().join("letter.txt"), "dear").unwrap();
    assert!(matches!(refused(&place.store()), Error::Unsupported { .. }));
    assert!(!place.store().join("LOCK").exists());
    fs::remove_file(place.store().join("letter.txt")).unwrap();
    place.open().unwrap();
}

#[test]
fn no_store_is_made_where_none_is_asked_for() {
    let place = Place::new();
    let path = place.store();
    let open = || Store::builder(&path).create(false).open();
    let is_none = || match open() {
        Err(Error::NoStore { path: told }) => assert_eq!(told, path),
        other => panic!("{other:?}"),
    };
    is_none();
    assert!(!path.exists());
    fs::create_dir(&path).unwrap();
    is_none();
    fs::write(path.join("LOCK"), "").unwrap();
    is_none();
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    // A process that was killed as it made one leaves no more than this.
    fs::create_dir(path.join("journal")).unwrap();
    is_none();
    place.open().unwrap().put("a", "1").unwrap();
    let store = open().unwrap();
    assert_eq!(store.get("a").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_format_to_come_is_refused_untouched() {
    let place = Place::filled(0..3);
    let path = place.store().join("superblock");
    let bytes = fs::read(&path).unwrap();
    let mut future = bytes.clone();
    for slot in future.chunks_mut(SLOT_BYTES) {
        slot[8..12].copy_from_slice(&4_u32.to_be_bytes());
        let crc = crc32fast::hash(&slot[..SLOT_BYTES - 4]);
        slot[SLOT_BYTES - 4..].copy_from_slice(&crc.to_be_bytes());
    }
    fs::write(&path, &future).unwrap();
    let error = refused(&place.store());
    assert!(
        matches!(&error, Error::Unsupported { found } if found.contains("version 4")),
        "{error:?}"
    );
    fs::write(&path, &bytes).unwrap();
    assert_holds(&place.open().unwrap(), 0..3);
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_or_skipped_for_root() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    fs::create_dir(place.store()).unwrap();
    fs::set_permissions(place.store(), fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(place.store().join("probe"), "").is_ok() {
        println!("skipped: this user may write everywhere");
        return;
    }
    assert!(matches!(place.open(), Err(Error::Io { .. })));
    fs::set_permissions(place.store(), fs::Permissions::from_mode(0o700)).unwrap();
    place.open().unwrap();
}

/// Not a test: what the one below starts as another process.
#[test]
fn child_that_opens() {
    if let Some(directory) = std::env::var_os("KOMATIK_OPEN") {
        match open(Path::new(&directory)) {
            Ok(_) => println!("\nopened"),
            Err(error) => println!("\n{error}"),
        }
    }
}

#[test]
fn a_store_in_use_is_refused_with_the_name_of_the_process() {
    let place = Place::filled(0..3);
    let store = place.open().unwrap();
    let process = format!("process {} ", std::process::id());
    match place.open().unwrap_err() {
        Error::InUse { by, .. } => assert!(by.unwrap().starts_with(&process)),
        other => panic!("{other:?}"),
    }
    let child = || {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_opens", "--nocapture"])
            .env("KOMATIK_OPEN", place.store())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let told = child();
    assert!(
        told.contains("in use by") && told.contains(&process),
        "{told}"
    );
    assert_holds(&store, 0..3);
    drop(store);
    assert!(child().contains("opened"));
    assert_holds(&place.open().unwrap(), 0..3);
}

#[test]
fn a_store_without_its_superblock_is_damaged_and_not_a_new_one() {
    let place = Place::filled(0..3);
    let path = place.store().join("superblock");
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(matches!(
        refused(&place.store()),
        Error::Damaged {
            what: "superblock",
            ..
        }
    ));
    fs::write(&path, &bytes[..100]).unwrap();
    assert!(matches!(
        refused(&place.store()),
        Error::Damaged {
            what: "superblock",
            ..
        }
    ));
    fs::write(&path, &bytes).unwrap();
    assert_holds(&place.open().unwrap(), 0..3);
}

#[test]
fn lost_trees_come_back_from_the_journal() {
    let place = Place::filled(0..20);
    fs::remove_dir_all(place.store().join("trees")).unwrap();
    let store = place.open().unwrap();
    assert_holds(&store, 0..20);
    fill(&store, 20..22);
    store.close().unwrap();
    assert_holds(&place.open().unwrap(), 0..22);
}

#[test]
fn lost_trees_beyond_the_journal_are_damage_and_leave_nothing_in_their_place() {
    let place = Place::new();
    let open = || {
        Store::builder(place.store())
            .history(History::of_bytes(0))
            .open()
    };
    let store = open().unwrap();
    for key in 0..12 {
        fill(&store, key..key + 1);
        store.put("large", vec![1; 4_000]).unwrap();
        for _ in 0..20 {
            store.put("large", vec![2; 3_000]).unwrap();
        }
        store.compact(|_| ControlFlow::Continue(())).unwrap();
    }
    assert!(store.history().oldest > 1);
    store.close().unwrap();
    let trees = place.store().join("trees");
    fs::rename(&trees, place.path("aside")).unwrap();
    assert!(matches!(
        refused(&place.store()),
        Error::Damaged { what: "trees", .. }
    ));
    assert!(!trees.exists());
    fs::rename(place.path("aside"), &trees).unwrap();
    let store = open().unwrap();
    assert_eq!(store.load::<u32>("d0011").unwrap(), Some(11));
    assert_eq!(store.get("b0011").unwrap().unwrap(), blob(11));
}

#[test]
fn trees_put_back_from_an_earlier_copy_catch_up_and_stay_so() {
    let place = Place::filled(0..10);
    let trees = place.store().join("trees");
    copy(&trees, &place.path("aside"));
    let store = place.open().unwrap();
    fill(&store, 10..30);
    store.delete("b0003").unwrap();
    store.put("b0003", blob(3)).unwrap();
    store.close().unwrap();
    fs::remove_dir_all(&trees).unwrap();
    copy(&place.path("aside"), &trees);
    let store = place.open().unwrap();
    assert_holds(&store, 0..30);
    store.close().unwrap();
    assert_holds(&place.open().unwrap(), 0..30);

    // What is written next must not make the trees forget what the journal has just given back.
    fs::remove_dir_all(&trees).unwrap();
    copy(&place.path("aside"), &trees);
    let store = place.open().unwrap();
    fill(&store, 30..31);
    store.close().unwrap();
    assert_holds(&place.open().unwrap(), 0..31);
    fs::remove_dir_all(place.store().join("journal")).unwrap();
    assert!(place.open().is_err());
}

#[test]
fn a_journal_cut_at_any_byte_of_its_end_opens_with_all_that_is_whole() {
    let place = Place::copy_of_open(0..4);
    let segment = segments(&place.store()).pop().unwrap();
    let bytes = written(&segment);
    let frames = frames(&bytes);
    let aside = place.path("aside");
    copy(&place.store(), &aside);
    let from = frames[frames.len() - 4];
    let mut opened = 0;
    for cut in (from..bytes.len())
        .step_by(7)
        .chain(frames[frames.len() - 4..].to_vec())
    {
        fs::remove_dir_all(place.store()).unwrap();
        copy(&aside, &place.store());
        let mut kept = bytes[..cut].to_vec();
        if cut % 2 == 0 {
            // In the room that was made before, as a power cut leaves it.
            kept.resize(bytes.len() + 100_000, 0);
        }
        fs::write(&segment, kept).unwrap();
        let store = match place.open() {
            Ok(store) => store,
            // The copy was made behind a checkpoint of what is cut.
            Err(Error::Damaged {
                what: "journal", ..
            }) => continue,
            Err(error) => panic!("{cut}: {error:?}"),
        };
        opened += 1;
        let whole = frames.iter().filter(|end| **end <= cut).count() - 1;
        // Each key is two commits, the document first.
        for key in 0..4 {
            let document = store.load::<u32>(&format!("d{key:04}")).unwrap();
            assert_eq!(document.is_some(), 2 * key < whole as u32, "{cut} {key}");
            let bytes = store.get(&format!("b{key:04}")).unwrap();
            assert_eq!(bytes.is_some(), 2 * key + 1 < whole as u32, "{cut} {key}");
        }
        let report = store.verify(|_| ControlFlow::Continue(())).unwrap();
        assert!(report.is_sound(), "{cut}: {report:?}");
    }
    assert!(opened > 20);
}

#[test]
fn a_flipped_byte_in_a_commit_that_was_durable_is_never_silence() {
    let place = Place::copy_of_open(0..4);
    let segment = segments(&place.store()).pop().unwrap();
    let bytes = written(&segment);
    let frames = frames(&bytes);
    let aside = place.path("aside");
    copy(&place.store(), &aside);
    // All but the last: nothing is written behind that one which says that it was durable.
    let end = frames[frames.len() - 2];
    let mut damaged = 0;
    for at in (SEGMENT_HEADER_BYTES..end).step_by(61) {
        fs::remove_dir_all(place.store()).unwrap();
        copy(&aside, &place.store());
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        fs::write(&segment, &flipped).unwrap();
        match open(&place.store()) {
            Ok(store) => {
                for key in 0..4 {
                    assert_eq!(
                        store.load(&format!("d{key:04}")).unwrap(),
                        Some(key),
                        "{at}"
                    );
                }
            }
            Err(Error::Damaged { .. }) => {
                damaged += 1;
                fs::write(&segment, &bytes).unwrap();
                assert_holds(&place.open().unwrap(), 0..4);
            }
            Err(error) => panic!("{at}: {error:?}"),
        }
    }
    assert!(damaged > 0);
}

/// Not in a segment of the history either: a power cut may have undone that it was cut.
#[test]
fn room_that_nothing_was_written_to_is_no_damage() {
    let place = Place::new();
    let history = History::of_bytes(400_000);
    let open = || {
        Store::builder(place.store())
            .history(history)
            .open()
            .unwrap()
    };
    let store = open();
    let text = "x".repeat(1000);
    for key in 0..500 {
        store.save(&format!("d{key:04}"), &text).unwrap();
    }
    store.close().unwrap();
    let segments = segments(&place.store());
    assert!(segments.len() > 2, "{segments:?}");
    for segment in &segments {
        let length = fs::metadata(segment).unwrap().len();
        assert_eq!(written(segment).len() as u64, length, "cut at the end");
        let file = fs::File::options().write(true).open(segment).unwrap();
        file.set_len(length + 1_000_000).unwrap();
    }
    let store = open();
    assert!(store.stats().unwrap().journal_bytes < 600_000);
    store.save("last", &text).unwrap();
    let mut watcher = store.watch("", Since::Start).unwrap();
    for revision in store.history().oldest..=store.history().newest {
        let change = watcher.try_recv().unwrap().unwrap();
        assert_eq!(change.revision, revision);
    }
    let report = store.verify(|_| ControlFlow::Continue(())).unwrap();
    assert!(report.is_sound(), "{report:?}");
    drop(watcher);
    store.close().unwrap();
    assert_eq!(open().load::<String>("last").unwrap(), Some(text));
}

#[test]
fn the_journal_of_a_closed_store_must_reach_to_its_checkpoint() {
    let place = Place::filled(0..4);
    let segment = segments(&place.store()).pop().unwrap();
    let bytes = fs::read(&segment).unwrap();
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [&flipped[..], &bytes[..bytes.len() - 1], &bytes[..50], &[]] {
        fs::write(&segment, damaged).unwrap();
        let error = refused(&place.store());
        assert!(
            matches!(
                error,
                Error::Damaged {
                    what: "journal",
                    ..
                }
            ),
            "{error:?}"
        );
    }
    fs::remove_file(&segment).unwrap();
    assert!(matches!(refused(&place.store()), Error::Damaged { .. }));
    fs::write(&segment, &bytes).unwrap();
    assert_holds(&place.open().unwrap(), 0..4);
}

/// Of the checkpoint that the superblock tells of, by its number, and of other rows.
#[test]
fn the_trees_must_be_those_that_the_superblock_tells_of() {
    let place = Place::filled(0..4);
    let path = place.store().join("superblock");
    let sound = fs::read(&path).unwrap();
    for digest in [0, 0xff] {
        let mut other = sound.clone();
        for slot in other.chunks_mut(SLOT_BYTES) {
            slot[44..60].fill(digest);
            let crc = crc32fast::hash(&slot[..SLOT_BYTES - 4]);
            slot[SLOT_BYTES - 4..].copy_from_slice(&crc.to_be_bytes());
        }
        fs::write(&path, &other).unwrap();
        let error = refused(&place.store());
        assert!(
            matches!(
                error,
                Error::Damaged {
                    what: "checkpoint",
                    ..
                }
            ),
            "{error:?}"
        );
        assert_eq!(fs::read(&path).unwrap(), other);
    }
    fs::write(&path, sound).unwrap();
    assert_holds(&place.open().unwrap(), 0..4);
}

#[test]
fn what_sled_leaves_behind_is_removed_or_made_anew() {
    let place = Place::filled(0..4);
    let unfinished = place.store().join("trees/snap.0000000000FFFFFF.generating");
    fs::write(&unfinished, "half").unwrap();
    assert_holds(&place.open().unwrap(), 0..4);
    assert!(!unfinished.exists());
    let blobs = place.store().join("trees/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join("77"), "large").unwrap();
    // Trees that cannot be used are made anew from the journal, which has everything here.
    assert_holds(&place.open().unwrap(), 0..4);
    assert!(!blobs.join("77").exists());
}

#[test]
fn a_creation_that_was_cut_short_begins_again() {
    let whole = Place::new();
    whole.open().unwrap().close().unwrap();
    let first = segments(&whole.store()).pop().unwrap();
    for present in 0..6 {
        let place = Place::new();
        fs::create_dir(place.store()).unwrap();
        let journal = place.store().join("journal");
        if present > 0 {
            fs::write(place.store().join("LOCK"), "process 1").unwrap();
        }
        if present > 1 {
            fs::create_dir(&journal).unwrap();
        }
        if present > 2 {
            let header = &fs::read(&first).unwrap()[..10 * (present - 1)];
            fs::write(journal.join(first.file_name().unwrap()), header).unwrap();
        }
        if present > 3 {
            let trees = place.store().join("trees");
            copy(&whole.store().join("trees"), &trees);
            // As far as a creation comes: the opening behind it writes more.
            let log = fs::File::options().write(true).open(trees.join("db"));
            log.and_then(|log| log.set_len(436)).unwrap();
        }
        if present > 4 {
            fs::write(place.store().join("superblock.new"), "half").unwrap();
        }
        let store = place
            .open()
            .unwrap_or_else(|error| panic!("{present}: {error:?}"));
        fill(&store, 0..2);
        drop(store);
        assert_holds(&place.open().unwrap(), 0..2);
    }
}

/// As a copy that was cut short leaves them, or a mended file system.
#[test]
fn filled_trees_are_no_beginning() {
    for segment in [None, Some(0), Some(SEGMENT_HEADER_BYTES)] {
        let place = Place::filled(0..3);
        copy(&place.store(), &place.path("whole"));
        fs::remove_file(place.store().join("superblock")).unwrap();
        let packs = place.store().join("packs");
        if packs.exists() {
            fs::remove_dir_all(packs).unwrap();
        }
        for path in segments(&place.store()) {
            match segment {
                None => fs::remove_file(path).unwrap(),
                Some(bytes) => fs::File::options()
                    .write(true)
                    .open(path)
                    .and_then(|file| file.set_len(bytes as u64))
                    .unwrap(),
            }
        }
        let opened = place.open();
        assert!(matches!(opened, Err(Error::Damaged { .. })), "{opened:?}");
        let opened = Store::builder(place.store()).create(false).open();
        assert!(matches!(opened, Err(Error::Damaged { .. })), "{opened:?}");
        for name in ["superblock", "journal", "packs"] {
            let _ = fs::remove_dir_all(place.store().join(name));
            let from = place.path("whole").join(name);
            match from.is_dir() {
                true => copy(&from, &place.store().join(name)),
                false => drop(fs::copy(&from, place.store().join(name)).unwrap()),
            }
        }
        assert_holds(&place.open().unwrap(), 0..3);
    }
}

#[test]
fn settings_at_their_bounds_make_no_store_hang() {
    let place = Place::new();
    let store = Store::builder(place.store())
        .overlay_bytes(0)
        .cache_bytes(0)
        .history(
            History::of_bytes(0)
                .revisions(0)
                .age(std::time::Duration::ZERO),
        )
        .eventual_interval(std::time::Duration::MAX)
        .open()
        .unwrap();
    fill(&store, 0..3);
    let eventual = store.with_durability(Durability::Eventual);
    eventual.save("eventual", &1).unwrap();
    // The thread that this has started must live on.
    std::thread::sleep(std::time::Duration::from_millis(50));
    eventual.delete("eventual").unwrap();
    fill(&store, 3..5);
    store.close().unwrap();
    assert_holds(&place.open().unwrap(), 0..5);
}

/// What is left of the superblock says that the store was closed in good order; the journal shows that it was not.
#[test]
fn a_kill_and_the_loss_of_the_newer_slot_cost_nothing() {
    let place = Place::new();
    let original = place.path("original");
    let store = open(&original).unwrap();
    fill(&store, 0..3);
    store.close().unwrap();
    let store = open(&original).unwrap();
    fill(&store, 3..6);
    copy(&original, &place.store());
    let path = place.store().join("superblock");
    let mut bytes = fs::read(&path).unwrap();
    let sequences = [&bytes[28..36], &bytes[SLOT_BYTES + 28..SLOT_BYTES + 36]];
    let newer = usize::from(sequences[1] > sequences[0]);
    bytes[newer * SLOT_BYTES + 40] ^= 1;
    fs::write(&path, bytes).unwrap();
    let before = store.save("d0000", &0).unwrap().revision;
    let store = place.open().unwrap();
    store.compact(|_| ControlFlow::Continue(())).unwrap();
    assert_holds(&store, 0..6);
    assert!(store.save("d0000", &0).unwrap().revision > before);
    store.close().unwrap();
    assert_holds(&place.open().unwrap(), 0..6);
}

/// Sessions that are too short for the thread that gives space back.
#[test]
fn space_comes_back_from_short_sessions() {
    let place = Place::new();
    let path = place.path("store");
    for session in 0..30_u8 {
        let store = Store::open(&path).unwrap();
        store.put("replaced", vec![session; 2_000_000]).unwrap();
        store.put("deleted", vec![session; 1_000_000]).unwrap();
        store.delete("deleted").unwrap();
        let mut given_up = store.writer("never", WriteOptions::new()).unwrap();
        given_up.write_all(&[session; 1_000_000]).unwrap();
    }
    let store = Store::open(&path).unwrap();
    let stats = store.stats().unwrap();
    assert!(stats.pack_bytes < 12_000_000, "{stats:?}");
    assert_eq!(store.get("replaced").unwrap().unwrap(), vec![29; 2_000_000]);
    let report = store.verify(|_| ControlFlow::Continue(())).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

/// Who opens a store to look after it does not know what its application asked for.
#[test]
fn how_much_history_is_kept_is_remembered() {
    let place = Place::new();
    let builder = || Store::builder(place.store());
    let oldest = |builder: komatik::StoreBuilder| {
        let store = builder.open().unwrap();
        for number in 0..60 {
            let key = format!("{number}");
            store.put(&key, vec![number; 3_000]).unwrap();
        }
        store.compact(|_| ControlFlow::Continue(())).unwrap();
        store.close().unwrap();
        Store::open(place.store()).unwrap().history().oldest
    };
    assert_eq!(oldest(builder()), 1);
    assert_eq!(oldest(builder().history(History::unlimited())), 1);
    assert_eq!(oldest(builder()), 1);
    let slots = fs::read(place.store().join("superblock")).unwrap();
    for slot in slots.chunks(SLOT_BYTES) {
        assert_eq!(slot[85..94], [1, 255, 255, 255, 255, 255, 255, 255, 255]);
    }
    let cut = oldest(builder().history(History::of_bytes(1)));
    assert!(cut > 1);
    assert!(oldest(builder()) > cut);
    let cut = Store::open(place.store()).unwrap().history().oldest;
    assert_eq!(oldest(builder().history(History::unlimited())), cut);
    assert_eq!(oldest(builder()), cut);
}

/// Rows go on to name a pack that is gone until what they are of is replaced, and no other pack is to be taken for it.
#[test]
fn what_is_put_after_a_pack_was_lost_is_not_given_back_with_what_was_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Store::open(directory.path()).unwrap();
    let store = open();
    for key in ["a", "b"] {
        store.put(key, vec![1; 4 << 20]).unwrap();
    }
    store.close().unwrap();
    for pack in fs::read_dir(directory.path().join("packs")).unwrap() {
        fs::remove_file(pack.unwrap().path()).unwrap();
    }
    open().close().unwrap();
    for round in 2..5 {
        let store = open();
        assert!(store.get("b").is_err());
        store.put("a", vec![round; 4 << 20]).unwrap();
        store.compact(|_| ControlFlow::Continue(())).unwrap();
        store.close().unwrap();
        let store = open();
        assert!(store.get("a").unwrap().unwrap() == vec![round; 4 << 20]);
        store.close().unwrap();
    }
    let store = open();
    store.delete("b").unwrap();
    store.close().unwrap();
    let report = open().verify(|_| ControlFlow::Continue(()));
    assert!(report.unwrap().is_sound());
}
