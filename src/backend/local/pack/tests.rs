mod strange;
mod sync;
mod walk;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::read::read_at;
use super::*;

const STORE: [u8; 16] = *b"the store's id..";
const SMALL: PackOptions = PackOptions {
    min_target_bytes: 10_000,
    max_target_bytes: 10_000,
    open_files: 3,
    without_headers: false,
};

struct Fixture {
    directory: tempfile::TempDir,
    packs: Packs,
}

impl Fixture {
    fn new(options: PackOptions) -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let packs = Packs::open(directory.path(), STORE, options).unwrap();
        Fixture { directory, packs }
    }

    fn reopen(&mut self, options: PackOptions) {
        self.packs = Packs::open(self.directory.path(), STORE, options).unwrap();
    }

    fn path(&self, pack: u64) -> PathBuf {
        self.directory
            .path()
            .join(format!("packs/{pack:016x}.pack"))
    }

    fn walked(&self, pack: u64) -> Vec<(BlobId, u64, ChunkLocation)> {
        self.packs.walk(pack).unwrap().map(Result::unwrap).collect()
    }

    fn writer(&self, pack: u64) -> Arc<Writer> {
        match &self.packs.table.lock().packs[&pack].durable {
            Durable::By(writer) => Arc::clone(writer),
            _ => panic!("no writer"),
        }
    }
}

fn blob(number: u8) -> BlobId {
    BlobId([number; 16])
}

fn content(seed: u8, bytes: usize) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..bytes).map(|_| next()).collect()
}

fn is_damaged<T: std::fmt::Debug>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Damaged { .. }))
}

#[test]
fn where_no_more_files_may_be_open_those_that_are_kept_make_room() {
    let fixture = Fixture::new(SMALL);
    let packs = &fixture.packs;
    let location = |number: u8| {
        let appended = packs.append(blob(number), 0, &content(number, 10_000), 10_000);
        appended.unwrap().remove(0)
    };
    let locations = [0, 1, 2, 3].map(location);
    let read = |number: u8| packs.read(blob(number), 0, &locations[usize::from(number)]);
    let assert_read = |number| assert_eq!(read(number).unwrap().unwrap(), content(number, 10_000));
    let kept = || -> Vec<u64> {
        let is_kept = |pack: &u64| packs.files.get(*pack).is_some();
        packs.numbers().into_iter().filter(is_kept).collect()
    };
    assert_read(0);
    assert_read(1);
    assert_eq!(kept(), [0, 1]);
    packs.refuse_files_for_test(1);
    assert_read(2);
    assert_eq!(kept(), [2]);
    assert_read(3);
    assert_eq!(kept(), [3], "others need files, too");
    packs.refuse_files_for_test(2);
    let refused = read(0);
    assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
    assert_read(0);
}

// Computed elsewhere.
const FILE_CRC: u32 = 0xd5f4_5c32;
const CHUNK_CRC: u32 = 0xc5a1_4d80;
const FRAME_CRC: u32 = 0x6ed2_d66b;

#[test]
fn the_bytes_are_those_of_format_1() {
    let fixture = Fixture::new(SMALL);
    let locations = fixture
        .packs
        .append(blob(0xab), 0x0102, b"chunk", 9)
        .unwrap();
    let expected = ChunkLocation {
        pack: 0,
        offset: 32,
        length: 5,
        crc: CHUNK_CRC,
    };
    assert_eq!(locations, [expected]);
    let mut golden = b"KOMAPACK\0\0\0\x01the store's id..".to_vec();
    golden.extend(FILE_CRC.to_be_bytes());
    golden.extend([0xc4, b'K', b'C', 0x1f]);
    golden.extend([0xab; 16]);
    golden.extend([0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 5]);
    golden.extend(CHUNK_CRC.to_be_bytes());
    golden.extend(FRAME_CRC.to_be_bytes());
    golden.extend(b"chunk");
    assert_eq!(fs::read(fixture.path(0)).unwrap(), golden);
}

#[test]
fn chunks_are_read_back_whatever_their_size_and_number() {
    let mut fixture = Fixture::new(PackOptions::default());
    // The second has more parts than one write takes, the last more bytes than one range.
    let cases = [
        (0, 100),
        (2_000_100, 512),
        (1, 1),
        (100, 100),
        (101, 100),
        (9 << 20, 1 << 20),
    ];
    let mut stored = Vec::new();
    for (number, (bytes, chunk_bytes)) in (0_u8..).zip(cases) {
        let content = content(number, bytes);
        let locations = fixture
            .packs
            .append(blob(number), 7, &content, chunk_bytes)
            .unwrap();
        assert_eq!(locations.len(), bytes.div_ceil(chunk_bytes));
        stored.push((blob(number), content, locations));
    }
    for _ in 0..2 {
        for (blob, content, locations) in &stored {
            let mut read = Vec::new();
            for (index, location) in (7..).zip(locations) {
                read.extend(fixture.packs.read(*blob, index, location).unwrap().unwrap());
            }
            assert!(read == *content);
        }
        fixture.reopen(PackOptions::default());
    }
    let walked: Vec<_> = fixture
        .packs
        .numbers()
        .into_iter()
        .flat_map(|pack| fixture.walked(pack))
        .collect();
    let expected = stored.iter().flat_map(|(blob, _, locations)| {
        (7..)
            .zip(locations)
            .map(|(index, location)| (*blob, index, *location))
    });
    assert!(walked.into_iter().eq(expected));
}

#[test]
fn chunk_sizes_outside_of_the_limits_are_refused() {
    let fixture = Fixture::new(SMALL);
    for chunk_bytes in [0, MAX_CHUNK_BYTES + 1] {
        let refused = fixture.packs.append(blob(1), 0, b"bytes", chunk_bytes);
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })));
    }
    assert_eq!(fixture.packs.stats(), PackStats::default());
}

#[test]
fn threads_append_and_read_and_sync_at_once() {
    let fixture = Fixture::new(SMALL);
    let packs = &fixture.packs;
    let stored: Vec<_> = std::thread::scope(|scope| {
        let work = |thread: u8| {
            let mut stored = Vec::new();
            for round in 0..50_u64 {
                let bytes = content(thread, 300 + usize::try_from(round).unwrap());
                let locations = packs.append(blob(thread), round * 4, &bytes, 100).unwrap();
                packs.sync(&[locations[0].pack]).unwrap();
                packs
                    .read(blob(thread), round * 4, &locations[0])
                    .unwrap()
                    .unwrap();
                let chunks = bytes.chunks(100).map(<[u8]>::to_vec);
                let rows = (round * 4..).zip(locations).zip(chunks);
                stored.extend(
                    rows.map(|((index, location), chunk)| (blob(thread), index, location, chunk)),
                );
            }
            stored
        };
        let threads = [1, 2, 3, 4].map(|thread| scope.spawn(move || work(thread)));
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    let mut places = BTreeSet::new();
    for (blob, index, location, chunk) in &stored {
        assert_eq!(packs.read(*blob, *index, location).unwrap().unwrap(), chunk);
        places.insert((*blob, *index, *location));
    }
    assert_eq!(places.len(), stored.len());
    let numbers = packs.numbers();
    assert!(numbers.len() > 5, "{numbers:?}");
    let walked: BTreeSet<_> = numbers
        .iter()
        .flat_map(|pack| fixture.walked(*pack))
        .collect();
    assert_eq!(walked, places);
    let live: u64 = stored
        .iter()
        .map(|(_, _, location, _)| location.frame_bytes())
        .sum();
    let stats = packs.stats();
    assert_eq!(stats.live_bytes, live);
    assert_eq!(stats.dead_bytes(), 32 * numbers.len() as u64);
    let on_disk: u64 = numbers
        .iter()
        .map(|pack| fs::metadata(fixture.path(*pack)).unwrap().len())
        .sum();
    assert_eq!(stats.total_bytes, on_disk);
}

#[test]
fn damage_of_any_byte_of_a_frame_is_found() {
    let mut fixture = Fixture::new(SMALL);
    let location = fixture
        .packs
        .append(blob(1), 5, b"some bytes", 100)
        .unwrap()[0];
    let sound = fs::read(fixture.path(0)).unwrap();
    for place in 32..sound.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = sound.clone();
            bytes[place] ^= flip;
            fs::write(fixture.path(0), bytes).unwrap();
            assert!(
                is_damaged(fixture.packs.read(blob(1), 5, &location)),
                "at {place}"
            );
        }
    }
    for length in 32..sound.len() {
        fs::write(fixture.path(0), &sound[..length]).unwrap();
        assert!(
            is_damaged(fixture.packs.read(blob(1), 5, &location)),
            "cut at {length}"
        );
    }
    for place in 0..32 {
        let mut bytes = sound.clone();
        bytes[place] ^= 1;
        fs::write(fixture.path(0), bytes).unwrap();
        fixture.reopen(SMALL);
        assert!(
            is_damaged(fixture.packs.read(blob(1), 5, &location)),
            "header at {place}"
        );
        assert!(is_damaged(fixture.packs.walk(0).map(drop)));
    }
    fs::write(fixture.path(0), &sound).unwrap();
    assert!(fixture.packs.read(blob(1), 5, &location).unwrap().is_some());
}

#[test]
fn a_chunk_is_answered_only_to_its_own_name_and_place() {
    let fixture = Fixture::new(SMALL);
    let locations = fixture.packs.append(blob(1), 0, &[7; 200], 100).unwrap();
    let read = |blob, index, location: ChunkLocation| fixture.packs.read(blob, index, &location);
    let right = locations[0];
    assert!(read(blob(1), 0, right).unwrap().is_some());
    assert!(is_damaged(read(blob(2), 0, right)));
    assert!(is_damaged(read(blob(1), 1, right)));
    assert!(is_damaged(read(blob(1), 0, locations[1])));
    assert!(is_damaged(read(
        blob(1),
        0,
        ChunkLocation {
            offset: right.offset + 1,
            ..right
        }
    )));
    assert!(is_damaged(read(
        blob(1),
        0,
        ChunkLocation {
            length: 99,
            ..right
        }
    )));
    assert!(is_damaged(read(
        blob(1),
        0,
        ChunkLocation {
            length: u32::MAX,
            ..right
        }
    )));
    assert!(is_damaged(read(
        blob(1),
        0,
        ChunkLocation {
            crc: right.crc ^ 1,
            ..right
        }
    )));
    assert!(is_damaged(read(
        blob(1),
        0,
        ChunkLocation {
            offset: u64::MAX,
            ..right
        }
    )));
    assert_eq!(
        read(blob(1), 0, ChunkLocation { pack: 9, ..right }).unwrap(),
        None
    );
}

#[test]
fn a_pack_without_chunks_in_use_is_a_victim_and_gone_for_later_readers() {
    let fixture = Fixture::new(SMALL);
    let packs = &fixture.packs;
    let dead = packs.append(blob(1), 0, &[1; 12_000], 4000).unwrap();
    let kept = packs.append(blob(2), 0, &[2; 12_000], 4000).unwrap();
    packs.append(blob(3), 0, b"active", 4000).unwrap();
    assert!(packs.victims().is_empty());
    assert!(matches!(packs.remove(0), Err(Error::Misuse { .. })));
    packs.give_back(&dead);
    assert_eq!(packs.victims(), [0]);
    let file = packs.file(packs.name(0)).unwrap().unwrap();
    packs.remove(0).unwrap();
    packs.remove(0).unwrap();
    assert!(!fixture.path(0).exists());
    assert_eq!(packs.read(blob(1), 0, &dead[0]).unwrap(), None);
    assert!(packs.read(blob(2), 0, &kept[0]).unwrap().is_some());
    assert_eq!(packs.walk(0).unwrap().count(), 0);
    assert_eq!(packs.numbers(), [1, 2]);
    // Who had it open reads on.
    assert_eq!(
        read_at(&file, dead[0].offset + 40, 4000).unwrap()[..],
        [1; 4000]
    );
}

#[test]
fn a_pack_removed_while_it_is_opened_is_not_kept_open() {
    let fixture = Fixture::new(SMALL);
    let location = fixture.packs.append(blob(1), 0, b"bytes", 100).unwrap()[0];
    let file = Arc::new(File::open(fixture.path(0)).unwrap());
    fixture.packs.sub_live(0, location.frame_bytes());
    fixture.packs.remove(0).unwrap();
    let is_known = || fixture.packs.table.lock().packs.contains_key(&0);
    fixture.packs.files.insert(0, &file, is_known);
    assert!(fixture.packs.files.get(0).is_none());
}

#[test]
fn numbers_are_not_given_twice_and_appends_go_to_a_new_pack_after_a_reopen() {
    let mut fixture = Fixture::new(SMALL);
    let old = fixture.packs.append(blob(1), 0, b"bytes", 100).unwrap()[0];
    fixture.reopen(SMALL);
    assert_eq!(fixture.packs.numbers(), [0]);
    assert!(fixture.packs.set_live(0, old.frame_bytes()));
    assert!(!fixture.packs.set_live(5, 1));
    assert!(fixture.packs.victims().is_empty());
    let new = fixture.packs.append(blob(2), 0, b"bytes", 100).unwrap()[0];
    // Rows that name the pack which is gone must not mean this one.
    assert_eq!(new.pack, 6);
    assert_eq!(fixture.packs.stats().live_bytes, 90);
    // A sealed one of any size may be a victim.
    fixture.packs.sub_live(0, old.frame_bytes());
    assert_eq!(fixture.packs.victims(), [0]);
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let mut fixture = Fixture::new(SMALL);
    fixture.packs.append(blob(1), 0, b"bytes", 100).unwrap();
    let mut other = Fixture::new(SMALL);
    other.packs = Packs::open(other.directory.path(), [9; 16], SMALL).unwrap();
    let location = other.packs.append(blob(9), 0, b"theirs", 100).unwrap()[0];
    fs::copy(other.path(0), fixture.path(7)).unwrap();
    for name in [
        "notes.txt",
        "00000000000000ff.pack.bak",
        "ff.pack",
        "00000000000000FF.pack",
        "+0000000000000ff.pack",
    ] {
        fs::write(
            fixture.directory.path().join("packs").join(name),
            b"not ours",
        )
        .unwrap();
    }
    fixture.reopen(SMALL);
    assert_eq!(fixture.packs.numbers(), [0]);
    let location = ChunkLocation {
        pack: 7,
        ..location
    };
    assert!(is_damaged(fixture.packs.read(blob(9), 0, &location)));
    assert!(is_damaged(fixture.packs.walk(7).map(drop)));
    assert!(fixture.packs.set_live(0, 45));
    let appended = fixture.packs.append(blob(2), 0, b"bytes", 100).unwrap();
    assert_eq!(appended[0].pack, 8);
    assert!(fixture.path(7).exists());
    // The beginning of a pack that was never one is ours to remove.
    fs::write(fixture.path(3), b"KOMA").unwrap();
    fixture.reopen(SMALL);
    assert!(fixture.packs.set_live(0, 45) && fixture.packs.set_live(8, 45));
    assert_eq!(fixture.packs.victims(), [3]);
}
