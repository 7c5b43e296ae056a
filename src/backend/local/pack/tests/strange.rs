//! What lies in the directory, or is asked for, and cannot be ours.

use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::backend::local::tests::bytes_read;

/// What the call answers, unless it waits for ever.
fn in_time<R: Send + 'static>(call: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(call()));
    receiver.recv_timeout(Duration::from_secs(20)).unwrap()
}

#[test]
fn what_is_no_file_is_no_pack() {
    let fixture = Fixture::new(SMALL);
    let old = fixture.packs.append(blob(1), 0, b"bytes", 100).unwrap()[0];
    let made = Command::new("mkfifo").arg(fixture.path(3)).status();
    assert!(made.unwrap().success());
    fs::create_dir(fixture.path(4)).unwrap();
    std::os::unix::fs::symlink(fixture.path(4), fixture.path(5)).unwrap();
    // A pack is one also behind a link.
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("moved");
    fs::copy(fixture.path(0), &moved).unwrap();
    fs::remove_file(fixture.path(0)).unwrap();
    std::os::unix::fs::symlink(&moved, fixture.path(0)).unwrap();
    let path = fixture.directory.path().to_owned();
    in_time(move || {
        let packs = Packs::open(&path, STORE, SMALL).unwrap();
        assert_eq!(packs.numbers(), [0]);
        assert!(packs.damaged_headers().is_empty());
        for pack in [3, 4, 5] {
            // As a row may say.
            assert!(!packs.set_live(pack, old.frame_bytes()));
            let location = ChunkLocation { pack, ..old };
            assert!(is_damaged(packs.read(blob(1), 0, &location)), "{pack}");
            assert!(is_damaged(packs.walk(pack).map(drop)), "{pack}");
            assert!(!packs.looks_unwritten(&location).unwrap(), "{pack}");
        }
        assert!(packs.set_live(0, old.frame_bytes()));
        assert_eq!(
            packs.read(blob(1), 0, &old).unwrap().unwrap()[..],
            b"bytes"[..]
        );
        let new = packs.append(blob(2), 0, b"bytes", 100).unwrap()[0];
        assert_eq!(new.pack, 6);
    });
    assert!([3, 4, 5].map(|pack| fixture.path(pack).symlink_metadata().is_ok()) == [true; 3]);
}

/// Else the name of one file would leave no number for the packs to come.
#[test]
fn numbers_above_the_bound_are_none_of_ours() {
    let mut fixture = Fixture::new(SMALL);
    let old = fixture.packs.append(blob(1), 0, b"bytes", 100).unwrap()[0];
    for number in [u64::MAX, u64::MAX - 1, u64::MAX / 2 + 1] {
        fs::write(fixture.path(number), b"not ours").unwrap();
    }
    fixture.reopen(SMALL);
    assert_eq!(fixture.packs.numbers(), [0]);
    assert!(fixture.packs.set_live(0, old.frame_bytes()));
    let new = fixture.packs.append(blob(2), 0, b"bytes", 100).unwrap()[0];
    assert_eq!(new.pack, 1);
    assert!(fixture.path(u64::MAX).exists());
}

/// One above it would not be found again.
#[test]
fn the_last_number_is_the_last() {
    let mut fixture = Fixture::new(SMALL);
    fs::write(fixture.path(u64::MAX / 2 - 1), b"not ours").unwrap();
    fixture.reopen(SMALL);
    let last = fixture.packs.append(blob(1), 0, &[7; 10_000], 10_000);
    let last = last.unwrap()[0];
    assert_eq!(last.pack, u64::MAX / 2);
    let refused = fixture.packs.append(blob(2), 0, b"bytes", 100);
    assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
    let found = fixture.packs.read(blob(1), 0, &last).unwrap().unwrap();
    assert_eq!(found[..], [7; 10_000]);
    fixture.reopen(SMALL);
    assert!(fixture.packs.set_live(u64::MAX / 2, last.frame_bytes()));
    assert!(fixture.packs.append(blob(2), 0, b"bytes", 100).is_err());
}

#[test]
fn a_length_that_no_chunk_has_is_not_read_to_be_told_from_damage() {
    let fixture = Fixture::new(SMALL);
    let old = fixture.packs.append(blob(1), 0, b"bytes", 100).unwrap()[0];
    let file = File::options().write(true).open(fixture.path(0)).unwrap();
    file.set_len(64 * 1024 * 1024).unwrap();
    let length = 16 * 1024 * 1024;
    let before = bytes_read();
    let forged = ChunkLocation { length, ..old };
    assert!(!fixture.packs.looks_unwritten(&forged).unwrap());
    let read = bytes_read() - before;
    assert!(read < u64::from(length) / 2, "{read}");
}

/// Rows may say of every chunk that it is as long as any.
#[test]
fn chunks_that_together_are_longer_than_anyone_asks_for_are_not_read() {
    let fixture = Fixture::new(SMALL);
    let first = fixture.packs.append(blob(1), 0, b"bytes", 100).unwrap()[0];
    let file = File::options().write(true).open(fixture.path(0)).unwrap();
    file.set_len(128 * 1024 * 1024).unwrap();
    let mut forged = vec![first];
    while forged.len() < 100 {
        let last = forged[forged.len() - 1];
        forged.push(ChunkLocation {
            offset: last.offset + last.frame_bytes(),
            length: 1024 * 1024,
            ..last
        });
    }
    let before = bytes_read();
    let chunks = fixture.packs.read_run(blob(1), 0, &forged);
    assert_eq!(chunks.unwrap().unwrap(), [&b"bytes"[..]]);
    let into = (fixture.packs).read_into(blob(1), 0, &forged, 0, &mut [0; 5]);
    assert_eq!(into, None);
    let read = bytes_read() - before;
    assert!(read < 16 * 1024 * 1024, "{read}");
}
