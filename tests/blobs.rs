//! Blobs: what goes in comes out, whole or in pieces, whatever is written meanwhile.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Case, Random, StopOnDrop, TREE_CHUNK_BYTES, on_disk, stores};
use komatik::{
    Attributes, Digest, Error, MAX_CONTENT_TYPE_BYTES, PutMode, PutOptions, Store, UploadOptions,
    WriteMode, WriteOptions,
};

/// Stores with small, usual and large chunks.
fn chunked() -> Vec<(usize, Case)> {
    [512, 4096, 65_536]
        .map(|bytes| (bytes, on_disk(bytes)))
        .into()
}

fn append(store: &Store, key: &str, bytes: &[u8]) -> komatik::Metadata {
    let mut writer = store.writer(key, WriteOptions::append()).unwrap();
    writer.write_all(bytes).unwrap();
    writer.commit().unwrap()
}

/// Chunks are read several at once; what lies before a damaged one is none the worse for it.
#[test]
fn a_reader_comes_as_far_as_what_is_damaged() {
    const CHUNK: usize = 64 * 1024;
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let bytes = Random::new(5).bytes(12 * CHUNK);
    store.put("film", &bytes).unwrap();
    store.close().unwrap();
    let mut packs = std::fs::read_dir(directory.path().join("packs")).unwrap();
    let pack = packs.next().unwrap().unwrap().path();
    let mut damaged = std::fs::read(&pack).unwrap();
    let at = damaged
        .windows(16)
        .position(|window| *window == bytes[5 * CHUNK + 100..][..16]);
    damaged[at.unwrap()] ^= 1;
    std::fs::write(&pack, damaged).unwrap();
    let store = Store::open(directory.path()).unwrap();
    let mut reader = store.reader("film").unwrap().unwrap();
    let mut read = Vec::new();
    let error = reader.read_to_end(&mut read).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert!(read == bytes[..5 * CHUNK]);
    let chunks: Vec<_> = reader.chunks().collect();
    assert!(chunks.len() == 6 && chunks[5].is_err());
    let mut behind = vec![0; CHUNK];
    reader.read_exact_at(&mut behind, 6 * CHUNK as u64).unwrap();
    assert!(behind == bytes[6 * CHUNK..7 * CHUNK]);
    let across = 5 * CHUNK as u64 - 10;
    assert!(reader.read_exact_at(&mut behind, across).is_err());
    assert!(store.get("film").is_err());
}

#[test]
fn every_size_around_a_boundary_comes_back() {
    let mut random = Random::new(1);
    for (chunk, case) in chunked() {
        let sizes = [
            0,
            1,
            511,
            4095,
            4096,
            4097,
            chunk - 1,
            chunk,
            chunk + 1,
            3 * chunk,
            1_048_576,
            2_500_000,
        ];
        for size in sizes {
            let bytes = random.bytes(size);
            let put = case.store.put("put", &bytes).unwrap();
            assert_eq!(put.size, u64::try_from(size).unwrap());
            assert_eq!(put.digest, Digest::of(&bytes));
            assert_eq!(
                case.store.get("put").unwrap().unwrap(),
                bytes,
                "{chunk} {size}"
            );

            let mut writer = case.store.writer("written", WriteOptions::new()).unwrap();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (piece, later) = rest.split_at((1 + random.below(300_000)).min(rest.len()));
                writer.write_all(piece).unwrap();
                rest = later;
            }
            assert_eq!(writer.written(), put.size);
            assert_eq!(writer.commit().unwrap().digest, put.digest);
            assert_eq!(case.store.get("written").unwrap().unwrap(), bytes);

            let uploaded = case
                .store
                .upload("up", bytes.as_slice(), UploadOptions::new())
                .unwrap();
            assert_eq!(uploaded.digest, put.digest);
            let mut read = Vec::new();
            let mut reader = case.store.reader("up").unwrap().unwrap();
            assert_eq!(reader.len(), put.size);
            assert_eq!(reader.is_empty(), size == 0);
            reader.read_to_end(&mut read).unwrap();
            assert_eq!(read, bytes);
            let pieces: Vec<_> = reader.chunks().collect::<Result<_, _>>().unwrap();
            assert_eq!(pieces.concat(), bytes);
        }
    }
}

#[test]
fn long_keys_take_what_short_ones_do() {
    let case = on_disk(65_536);
    let key = [
        ["k".repeat(255).as_str(); 3].join("/").as_str(),
        &"k".repeat(255),
    ]
    .join("/");
    let attributes: Attributes = (0..50)
        .map(|n| (format!("{n:02}"), String::new()))
        .collect();
    for size in [0, 3_500, 3_600, 4_096] {
        let options = PutOptions::new()
            .attributes(attributes.clone())
            .content_type("x".repeat(MAX_CONTENT_TYPE_BYTES));
        case.store.put_with(&key, vec![7; size], options).unwrap();
        assert_eq!(case.store.get(&key).unwrap().unwrap(), vec![7; size]);
        case.store.put("short", vec![8; size]).unwrap();
        case.store
            .rename("short", &key, PutMode::Overwrite)
            .unwrap();
        assert_eq!(case.store.get(&key).unwrap().unwrap(), vec![8; size]);
        case.store.put("short", vec![9; size]).unwrap();
        case.store.copy("short", &key, PutMode::Overwrite).unwrap();
        assert_eq!(case.store.get(&key).unwrap().unwrap(), vec![9; size]);
        assert_eq!(
            append(&case.store, &key, b"more").digest,
            Digest::of(&[&vec![9; size][..], b"more"].concat())
        );
    }
}

#[test]
fn appends_of_many_sizes_follow_the_model() {
    for (chunk, case) in chunked() {
        for seed in 0..6 {
            let mut random = Random::new(seed);
            let largest =
                [10, 700, 5_000, 70_000, 200_000, 400_000][usize::try_from(seed).unwrap()];
            let key = format!("log-{seed}");
            let mut model = Vec::new();
            for _ in 0..60 {
                let size = random.below(largest);
                let bytes = random.bytes(size);
                model.extend_from_slice(&bytes);
                let metadata = append(&case.store, &key, &bytes);
                assert_eq!(metadata.size, u64::try_from(model.len()).unwrap());
                assert_eq!(metadata.digest, Digest::of(&model), "{chunk} {seed}");
            }
            assert!(
                case.store.get(&key).unwrap().unwrap() == model,
                "{chunk} {seed}"
            );
        }
    }
}

#[test]
fn append_creates_keeps_and_notices() {
    for case in stores() {
        let store = &case.store;
        let text = WriteOptions::append().content_type("text/x-log");
        let mut writer = store.writer("log", text).unwrap();
        writer.write_all(b"one").unwrap();
        let first = writer.commit().unwrap();
        let second = append(store, "log", b" two");
        assert_eq!(second.content_type, "text/x-log");
        assert_eq!(second.created, first.created);

        let late = store.writer("log", WriteOptions::append()).unwrap();
        let third = append(store, "log", b" three");
        match late.commit() {
            Err(Error::RevisionMismatch {
                expected, found, ..
            }) => {
                assert_eq!((expected, found), (second.revision, Some(third.revision)));
            }
            other => panic!("{other:?}"),
        }
        let gone = store.writer("log", WriteOptions::append()).unwrap();
        store.delete("log").unwrap();
        assert!(matches!(
            gone.commit(),
            Err(Error::RevisionMismatch { found: None, .. })
        ));
        let came = store.writer("log", WriteOptions::append()).unwrap();
        store.put("log", "other").unwrap();
        assert!(matches!(
            came.commit(),
            Err(Error::RevisionMismatch { expected: 0, .. })
        ));
        assert_eq!(store.get("log").unwrap().unwrap(), "other");

        store.save("document", &1).unwrap();
        assert!(matches!(
            store.writer("document", WriteOptions::append()),
            Err(Error::WrongKind { .. })
        ));
    }
}

#[test]
fn an_append_to_a_copy_leaves_the_other_as_it_was() {
    for (_, case) in chunked() {
        let bytes = Random::new(3).bytes(300_000);
        case.store.put("a", &bytes).unwrap();
        case.store.copy("a", "b", PutMode::Create).unwrap();
        append(&case.store, "b", b"tail");
        case.store.delete("a").unwrap();
        assert!(case.store.get("b").unwrap().unwrap() == [&bytes[..], b"tail"].concat());
        case.store.copy("b", "c", PutMode::Create).unwrap();
        append(&case.store, "b", b"more");
        assert!(case.store.get("c").unwrap().unwrap() == [&bytes[..], b"tail"].concat());
    }
}

#[test]
fn modes_are_asked_at_the_start_and_at_commit() {
    for case in stores() {
        let store = &case.store;
        let first = store.put("k", "1").unwrap();
        let early = |options| store.writer("k", options).map(drop);
        assert!(matches!(
            early(WriteOptions::create()),
            Err(Error::AlreadyExists { .. })
        ));
        let update = |revision| WriteOptions::new().mode(WriteMode::Update(revision));
        assert!(matches!(
            early(update(first.revision + 1)),
            Err(Error::RevisionMismatch { .. })
        ));
        assert!(matches!(
            store.put_with("k", vec![0; 2 * case.chunk_bytes], PutOptions::create()),
            Err(Error::AlreadyExists { .. })
        ));
        let updating = store.writer("k", update(first.revision)).unwrap();
        store.put("k", "2").unwrap();
        assert!(matches!(
            updating.commit(),
            Err(Error::RevisionMismatch { .. })
        ));
        let creating = store.writer("new", WriteOptions::create()).unwrap();
        store.put("new", "mine").unwrap();
        assert!(matches!(
            creating.commit(),
            Err(Error::AlreadyExists { .. })
        ));
        assert_eq!(store.get("new").unwrap().unwrap(), "mine");
        let overwriting = store.writer("new", WriteOptions::new()).unwrap();
        store.delete("new").unwrap();
        overwriting.commit().unwrap();
        assert_eq!(store.get("new").unwrap().unwrap(), "");
    }
}

#[test]
fn a_writer_that_is_dropped_did_nothing() {
    for case in stores() {
        let store = &case.store;
        for bytes in [10, 3 * case.chunk_bytes + 3_000_000] {
            let mut writer = store.writer("k", WriteOptions::new()).unwrap();
            writer.write_all(&vec![1; bytes]).unwrap();
            writer.flush().unwrap();
            assert!(!store.exists("k").unwrap());
            drop(writer);
            assert!(!store.exists("k").unwrap());
        }
    }
}

#[test]
fn of_eight_who_create_exactly_one_wins() {
    for case in stores() {
        for round in 0..50 {
            let key = format!("race-{round}");
            let wins = std::thread::scope(|threads| {
                let race: Vec<_> = (0..8_u8)
                    .map(|number| {
                        let (store, key) = (&case.store, &key);
                        threads.spawn(move || {
                            store
                                .put_with(key, [number; 10], PutOptions::create())
                                .map(|_| number)
                        })
                    })
                    .collect();
                race.into_iter()
                    .filter_map(|thread| thread.join().unwrap().ok())
                    .collect::<Vec<_>>()
            });
            assert_eq!(wins.len(), 1);
            assert_eq!(
                case.store.get(&key).unwrap().unwrap(),
                [wins[0]; 10].as_slice()
            );
        }
    }
}

#[test]
fn a_reader_sees_the_entry_as_it_was_opened() {
    for (_, case) in chunked() {
        let store = &case.store;
        let bytes = Random::new(5).bytes(500_000);
        let ends: [(&str, &dyn Fn()); 5] = [
            ("replaced", &|| {
                drop(store.put("replaced", vec![0; 600_000]).unwrap())
            }),
            ("deleted", &|| assert!(store.delete("deleted").unwrap())),
            ("renamed", &|| {
                store
                    .rename("renamed", "elsewhere", PutMode::Overwrite)
                    .unwrap();
                store.delete("elsewhere").unwrap();
            }),
            ("appended", &|| {
                for _ in 0..40 {
                    append(store, "appended", &[9; 70_000]);
                }
            }),
            ("saved", &|| drop(store.save("saved", &1).unwrap())),
        ];
        for (key, end) in ends {
            let opened = store.put(key, &bytes).unwrap();
            let mut reader = store.reader(key).unwrap().unwrap();
            let mut head = vec![0; 70_000];
            reader.read_exact(&mut head).unwrap();
            end();
            store.flush().unwrap();
            let mut tail = Vec::new();
            reader.read_to_end(&mut tail).unwrap();
            assert!([head, tail].concat() == bytes, "{key}");
            let mut middle = vec![0; 200_000];
            reader.read_exact_at(&mut middle, 123_456).unwrap();
            assert!(middle == bytes[123_456..323_456], "{key}");
            assert_eq!(reader.metadata(), &opened);
        }
    }
}

#[test]
fn seeks_and_reads_at_places_follow_the_model() {
    for (chunk, case) in chunked() {
        let mut random = Random::new(7);
        let mut model = Vec::new();
        for _ in 0..4 {
            let piece = {
                let size = 70_000 + random.below(50_000);
                random.bytes(size)
            };
            append(&case.store, "k", &piece);
            model.extend_from_slice(&piece);
        }
        let mut reader = case.store.reader("k").unwrap().unwrap();
        let mut cursor = std::io::Cursor::new(&model);
        for _ in 0..400 {
            let place = random.below(model.len() + 100);
            let mut found = vec![0; random.below(3 * chunk)];
            let mut expected = found.clone();
            let count = reader
                .read_at(&mut found, place.try_into().unwrap())
                .unwrap();
            let rest = model.get(place..).unwrap_or_default();
            assert_eq!(count, rest.len().min(found.len()));
            assert!(found[..count] == rest[..count]);
            let is_whole = count == found.len();
            let exact = reader.read_exact_at(&mut found, place.try_into().unwrap());
            assert_eq!(exact.is_ok(), is_whole);

            let distance = i64::try_from(random.below(model.len())).unwrap();
            let target = match random.below(5) {
                0 => SeekFrom::Start(distance.unsigned_abs()),
                1 => SeekFrom::End(-distance),
                2 => SeekFrom::End(distance),
                3 => SeekFrom::Current(distance / 9),
                _ => SeekFrom::Current(-distance),
            };
            assert_eq!(
                reader.seek(target).ok(),
                cursor.seek(target).ok(),
                "{target:?}"
            );
            let count = cursor.read(&mut expected).unwrap();
            found.resize(count, 0);
            reader.read_exact(&mut found).unwrap();
            assert!(found == expected[..count]);
        }
    }
}

#[test]
fn a_reader_of_a_document_reads_its_text() {
    for case in stores() {
        for value in [
            serde_json::json!({"a": [1, null]}),
            serde_json::json!("x".repeat(3 * case.chunk_bytes)),
        ] {
            case.store.save("k", &value).unwrap();
            let mut reader = case.store.reader("k").unwrap().unwrap();
            let text = serde_json::to_string(&value).unwrap();
            assert_eq!(reader.len(), u64::try_from(text.len()).unwrap());
            let mut read = String::new();
            reader.read_to_string(&mut read).unwrap();
            assert_eq!(read, text);
            assert_eq!(
                reader.metadata(),
                &case.store.metadata("k").unwrap().unwrap()
            );
        }
        assert!(case.store.reader("missing").unwrap().is_none());
        assert!(case.store.get("missing").unwrap().is_none());
    }
}

#[test]
fn content_types_are_given_or_guessed() {
    for case in stores() {
        let store = &case.store;
        for (name, expected) in [
            ("a/b.PDF", "application/pdf"),
            ("x.jpeg", "image/jpeg"),
            ("noext", "application/octet-stream"),
            ("pdf", "application/octet-stream"),
            ("a.unknown-thing", "application/octet-stream"),
        ] {
            assert_eq!(
                store.put(name, "").unwrap().content_type,
                expected,
                "{name}"
            );
        }
        let given = |text: &str| store.put_with("k", "", PutOptions::new().content_type(text));
        let longest = "x".repeat(MAX_CONTENT_TYPE_BYTES);
        for good in ["text/plain; charset=utf-8", &longest] {
            assert_eq!(given(good).unwrap().content_type, good);
        }
        for bad in ["", "a\nb", "ä", "a\tb", &format!("{longest}x")] {
            assert!(
                matches!(given(bad), Err(Error::InvalidArgument { .. })),
                "{bad:?}"
            );
        }
    }
}

/// A source that fails behind a number of bytes.
struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(self.0);
        self.0 -= count;
        if count == 0 {
            return Err(std::io::Error::other("the cable came out"));
        }
        Ok(count)
    }
}

#[test]
fn an_upload_that_stops_did_nothing() {
    for case in stores() {
        let store = &case.store;
        let mut seen = Vec::new();
        let options = UploadOptions::new().progress(|bytes| {
            seen.push(bytes);
            if bytes > 1_500_000 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let endless = store.upload("k", std::io::repeat(1), options);
        assert!(matches!(endless, Err(Error::Cancelled)));
        assert!(
            seen.windows(2)
                .all(|pair| pair[0] < pair[1] && pair[1] - pair[0] <= 262_144)
        );
        for bytes in [0, 100, 1_048_576, 2_000_000] {
            let failed = store.upload("k", Failing(bytes), UploadOptions::new());
            assert!(matches!(failed, Err(Error::Io { .. })), "{bytes}");
        }
        assert!(!store.exists("k").unwrap());
        store.put("k", "1").unwrap();
        let appended = UploadOptions::from(WriteOptions::append());
        store.upload("k", &b"23"[..], appended).unwrap();
        assert_eq!(store.get("k").unwrap().unwrap(), "123");
    }
}

#[test]
fn readers_and_writers_at_the_same_time_see_whole_blobs() {
    let case = on_disk(4096);
    let store = &case.store;
    store.put("k", vec![0; 100_000]).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let _stop = StopOnDrop(&is_over);
        let writers = [1, 2_u8].map(|number| {
            threads.spawn(move || {
                for round in 0..100 {
                    store.put("k", vec![number; 50_000 + round]).unwrap();
                }
            })
        });
        for _ in 0..2 {
            threads.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let bytes = store.get("k").unwrap().unwrap();
                    assert!(bytes.iter().all(|byte| *byte == bytes[0]));
                    let reader = store.reader("k").unwrap().unwrap();
                    let len: usize = reader.chunks().map(|chunk| chunk.unwrap().len()).sum();
                    assert_eq!(reader.len(), u64::try_from(len).unwrap());
                }
            });
        }
        for writer in writers {
            writer.join().unwrap();
        }
    });
}

/// Small chunks lie in the trees, larger ones in packs; and no row ever is so large that sled makes a file of its own
/// for it, which it would neither sync nor delete.
#[test]
fn chunks_lie_where_they_belong() {
    let cases = [512, TREE_CHUNK_BYTES, TREE_CHUNK_BYTES + 1, 1_048_576].map(on_disk);
    for case in stores().into_iter().chain(cases) {
        let Some(directory) = case.path() else {
            continue;
        };
        let store = &case.store;
        write_much(store, case.chunk_bytes);
        store.compact(|_| ControlFlow::Continue(())).unwrap();
        store.close().unwrap();
        let files = |name: &str| {
            let files = std::fs::read_dir(directory.join(name));
            files.map_or(0, Iterator::count)
        };
        assert!(files("trees") > 0, "the trees have another name now");
        assert_eq!(files("trees/blobs"), 0, "chunks of {}", case.chunk_bytes);
        let has_packs = files("packs") > 0;
        assert_eq!(has_packs, case.chunk_bytes > TREE_CHUNK_BYTES);
    }
}

/// Rows as large as they may be, in one commit and in many, and blobs of many chunks.
fn write_much(store: &Store, chunk: usize) {
    let mut random = Random::new(9);
    let longest = ["k".repeat(255).as_str(); 3].join("/");
    let attributes = Attributes::from([("a".to_owned(), "v".repeat(500))]);
    let options = PutOptions::new()
        .attributes(attributes)
        .content_type("x".repeat(MAX_CONTENT_TYPE_BYTES));
    for round in 0..3 {
        for number in 0..100 {
            let key = format!("{longest}/{number}");
            let bytes = random.bytes(3800);
            store.put_with(&key, bytes, options.clone()).unwrap();
            let bytes = random.bytes(4096);
            store
                .put_with(&format!("{number}"), bytes, options.clone())
                .unwrap();
        }
        let bytes = random.bytes(3 * chunk + 1_000_000);
        store.put(&format!("large {}", round % 2), &bytes).unwrap();
        store
            .transaction(|many| {
                (0..300).try_for_each(|number| {
                    let value = "d".repeat(4000);
                    many.save_with(&format!("many/{number}"), &value, options.clone())
                })
            })
            .unwrap();
    }
}

/// A pack of one byte: its header must not be taken for space that can be given back, over and over.
#[test]
fn compaction_comes_to_an_end_whatever_the_packs_hold() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Store::open(directory.path().join("store")).unwrap();
    open().put("k", vec![1; 70_000]).unwrap();
    for _ in 0..3 {
        let store = open();
        append(&store, "k", b"2");
        let mut steps = 0;
        let compacted = store.compact(|_| {
            steps += 1;
            if steps < 1000 {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        compacted.unwrap();
    }
    assert_eq!(open().get("k").unwrap().unwrap().len(), 70_003);
}

#[test]
fn a_writer_tells_the_size_the_entry_would_have() {
    for (_, case) in chunked() {
        let store = &case.store;
        let mut writer = store.writer("log", WriteOptions::append()).unwrap();
        assert_eq!(writer.size(), 0);
        writer.write_all(&[1; 70_000]).unwrap();
        assert_eq!((writer.size(), writer.written()), (70_000, 70_000));
        writer.commit().unwrap();
        let mut writer = store.writer("log", WriteOptions::append()).unwrap();
        writer.write_all(&[2; 10]).unwrap();
        assert_eq!((writer.size(), writer.written()), (70_010, 10));
        assert_eq!(writer.commit().unwrap().size, 70_010);
        assert_eq!(store.writer("log", WriteOptions::new()).unwrap().size(), 0);
    }
}
