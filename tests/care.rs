//! Sizes, verification, export and import.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics fails"
)]

mod common;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{Case, Random, stores, stores_with};
use komatik::{
    Attributes, Error, Lock, Metadata, PasswordCost, PutMode, PutOptions, Result, Step, Store,
};
use serde_json::{Value, json};

fn go_on(_: Step) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn archive(store: &Store) -> Vec<u8> {
    let mut archive = Vec::new();
    store.export(&mut archive, go_on).unwrap();
    archive
}

fn import(archive: &[u8]) -> Result<Store> {
    let store = Store::in_memory().unwrap();
    store.import(archive, PutMode::Create, go_on)?;
    Ok(store)
}

/// Keys of every legal kind, with content of every size, in a store of each kind.
fn filled() -> Vec<Case> {
    let cases = stores();
    for case in &cases {
        fill(&case.store, case.sizes());
    }
    cases
}

fn fill(store: &Store, sizes: [usize; 11]) {
    for (number, size) in sizes.into_iter().enumerate() {
        let bytes = Random::new(1).bytes(size);
        let key = format!("sizes/{number}-{size}.png");
        store.put(&key, bytes).unwrap();
    }
    let longest = [
        "x".repeat(255),
        "y".repeat(255),
        "z".repeat(255),
        "ä".repeat(127),
    ]
    .join("/");
    for key in [
        "a",
        "a/b",
        "komatik.json",
        "end.json",
        "...",
        &format!("{}/..a", "d".repeat(91)),
        "back\\slash and\"quote",
        &longest,
    ] {
        store.put(key, key).unwrap();
    }
    let attributes = Attributes::from([("who".to_owned(), "ann".to_owned())]);
    let options = PutOptions::new().attributes(attributes).content_type("x/y");
    store.put_with("typed", "bytes", options.clone()).unwrap();
    let numbers = json!({"z": 0.1, "a": [u64::MAX, i64::MIN, 5e-324, -0.0, "\u{1f600}\u{1}"]});
    store.save_with("numbers", &numbers, options).unwrap();
    let deep = (0..128).fold(json!(1), |inner, _| json!([inner]));
    store.save("a.json", &deep).unwrap();
    store.create_folder("made").unwrap();
    store.create_folder("made/below/it").unwrap();
}

/// Entries that [`fill`] makes: one of each size, eight keys, three documents; and told is one folder more.
const ENTRIES: u64 = 11 + 8 + 3;
const TOLD: usize = 11 + 8 + 3 + 1;

type Told = (Metadata, Vec<u8>);

/// Everything an export is to carry.
fn content(store: &Store) -> BTreeMap<String, Option<Told>> {
    let listing = store
        .list_with("", komatik::ListOptions::new().recursive())
        .unwrap();
    let told = |item: Result<komatik::ListItem>| {
        let item = item.unwrap();
        let told = item.metadata.map(|mut metadata| {
            metadata.revision = 0;
            let mut bytes = Vec::new();
            let mut reader = store.reader(&item.name).unwrap().unwrap();
            reader.read_to_end(&mut bytes).unwrap();
            (metadata, bytes)
        });
        (item.name, told)
    };
    listing.map(told).collect()
}

#[test]
fn an_import_of_an_export_is_the_same() {
    for case in filled() {
        let store = case.store.clone();
        let copy = import(&archive(&store)).unwrap();
        let expected = content(&store);
        assert_eq!(expected.len(), TOLD);
        assert_eq!(content(&copy), expected);
        let numbers = |store: &Store| store.load::<Value>("numbers").unwrap().unwrap().to_string();
        assert_eq!(numbers(&copy), numbers(&store));
        assert!(copy.verify(go_on).unwrap().is_sound());
        assert_eq!(archive(&copy), archive(&store), "to the byte");
    }
}

#[test]
fn an_export_is_of_the_scope_and_goes_into_one() {
    for case in filled() {
        let store = case.store.clone();
        let folder = store.scoped("a").unwrap();
        for target in stores() {
            let target = target.store.clone();
            let below = target.scoped("put/here").unwrap();
            let imported = below
                .import(&archive(&folder)[..], PutMode::Create, go_on)
                .unwrap();
            assert_eq!(imported, 1);
            assert_eq!(target.get("put/here/b").unwrap(), store.get("a/b").unwrap());
        }
        assert_eq!(
            archive(&Store::in_memory().unwrap().scoped("x").unwrap()).len() % 512,
            0
        );
    }
}

#[test]
fn an_archive_is_plain_tar() {
    for case in filled() {
        let store = case.store.clone();
        let archive = archive(&store);
        let mut reader = tar::Archive::new(&archive[..]);
        let members: BTreeMap<String, Vec<u8>> = reader
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                (
                    String::from_utf8(entry.path_bytes().into_owned()).unwrap(),
                    bytes,
                )
            })
            .collect();
        assert_eq!(members["files/typed"], b"bytes");
        let document: Value = serde_json::from_slice(&members["documents/numbers.json"]).unwrap();
        assert_eq!(document["a"][0], u64::MAX);
        let about: Value = serde_json::from_slice(&members["metadata/typed.json"]).unwrap();
        assert_eq!(about["content_type"], "x/y");
        assert_eq!(about["attributes"]["who"], "ann");
        assert!(members.contains_key("folders/made/below/it/"));
        assert!(members.keys().any(|path| path.len() > 1024));
    }
}

#[test]
fn an_import_creates_or_overwrites() {
    for case in filled() {
        let store = case.store.clone();
        let archive = archive(&store);
        let again = |mode| store.import(&archive[..], mode, go_on);
        assert!(matches!(
            again(PutMode::Create),
            Err(Error::AlreadyExists { .. })
        ));
        assert!(matches!(
            again(PutMode::Update(1)),
            Err(Error::InvalidArgument { .. })
        ));
        let before = content(&store);
        store.put("typed", "changed").unwrap();
        assert_eq!(again(PutMode::Overwrite).unwrap(), ENTRIES);
        // What is replaced keeps its time of creation only where the archive has none.
        assert_eq!(content(&store), before);
    }
}

/// They would be later than whatever is written from then on, so that nobody could tell by the time that it has changed.
#[test]
fn times_ahead_of_the_clock_are_not_taken_over() {
    let store = Store::in_memory().unwrap();
    store.save("a", &1).unwrap();
    let mut archive = archive(&store);
    let mut changed = 0;
    for name in [&br#""created":1"#[..], br#""updated":1"#] {
        for at in 0..archive.len() - name.len() {
            if archive[at..].starts_with(name) {
                archive[at + name.len() - 1] = b'9';
                changed += 1;
            }
        }
    }
    assert_eq!(changed, 2);
    // As an archive of before there was a digest of the metadata.
    let told = br#""metadata":""#;
    let at = archive.windows(told.len()).position(|bytes| bytes == told);
    archive[at.unwrap() + 1] = b'M';
    let imported = import(&archive).unwrap();
    let metadata = imported.metadata("a").unwrap().unwrap();
    let now = std::time::SystemTime::now();
    assert!(metadata.created <= now && metadata.updated <= now);
}

#[test]
fn locked_entries_are_asked_for_before_anything_is_written() {
    for case in stores_with(|builder| builder.password_cost(PasswordCost::new(8, 1))) {
        let store = case.store.clone();
        store.put("a", "1").unwrap();
        store.put("b", "2").unwrap();
        store.lock("b", Lock::new().view("v").edit("e")).unwrap();
        let mut archive = Vec::new();
        match store.export(&mut archive, go_on) {
            Err(Error::Locked { key, .. }) => assert_eq!(key, "b"),
            other => panic!("{other:?}"),
        }
        assert!(archive.is_empty());
        store
            .unlocked_with("v")
            .export(&mut archive, go_on)
            .unwrap();
        let text = String::from_utf8_lossy(&archive);
        assert!(!text.contains("argon2"), "locks are not exported");
        assert_eq!(import(&archive).unwrap().get("b").unwrap().unwrap(), "2");
        assert!(matches!(
            store.import(&archive[..], PutMode::Overwrite, go_on),
            Err(Error::Locked { .. })
        ));
        assert!(store.verify(go_on).unwrap().is_sound(), "needs no password");
    }
}

/// Wherever an archive ends, the import fails, but for the zeros at its end.
#[test]
fn a_cut_archive_is_not_taken_for_a_whole_one() {
    let store = Store::in_memory().unwrap();
    store.put("a", vec![1; 2000]).unwrap();
    store.save("b", &json!([1])).unwrap();
    let archive = archive(&store);
    // Two blocks of zeros; before them the last member, filled up to a block.
    let end = archive.len() - 1024;
    for length in (0..=end - 512).step_by(256) {
        assert!(
            import(&archive[..length]).is_err(),
            "{length} of {}",
            archive.len()
        );
    }
    assert!(import(&archive[..end]).is_ok());
}

#[test]
fn changed_content_is_not_imported() {
    let store = Store::in_memory().unwrap();
    store.put("a", vec![7; 2000]).unwrap();
    let mut archive = archive(&store);
    let at = archive
        .windows(100)
        .position(|bytes| bytes == [7; 100])
        .unwrap();
    archive[at + 50] = 8;
    let target = Store::in_memory().unwrap();
    let found = target.import(&archive[..], PutMode::Create, go_on);
    assert!(matches!(found, Err(Error::Damaged { .. })), "{found:?}");
    assert!(!target.exists("a").unwrap());
}

#[test]
fn changed_documents_and_metadata_are_not_imported_in_silence() {
    let store = Store::in_memory().unwrap();
    let who = Attributes::from([("who".to_owned(), "ann".to_owned())]);
    store.save("a", &json!({"width": 800})).unwrap();
    store
        .put_with("b", "b", PutOptions::new().attributes(who))
        .unwrap();
    let archive = archive(&store);
    // With what stands around: times and digests have any digits.
    let imported = |from: &str, to: &str| {
        let mut archive = archive.clone();
        let at = archive
            .windows(from.len())
            .position(|bytes| bytes == from.as_bytes())
            .unwrap();
        archive[at..][..to.len()].copy_from_slice(to.as_bytes());
        let target = Store::in_memory().unwrap();
        let imported = target.import(&archive[..], PutMode::Create, go_on);
        (imported, target.exists("a").unwrap())
    };
    assert!(matches!(imported(":800}", ":800}"), (Ok(2), true)));
    assert!(matches!(
        imported(":800}", ":900}"),
        (Err(Error::Damaged { .. }), false)
    ));
    assert!(matches!(
        imported("ann", "bob"),
        (Err(Error::Damaged { .. }), true)
    ));
}

/// An archive with these members after a proper beginning, and a proper end.
fn forged(members: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        let name = &mut header.as_old_mut().name;
        name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, bytes).unwrap();
    };
    add("komatik.json", tar::EntryType::Regular, b"{\"format\": 1}");
    for (path, kind, bytes) in members {
        add(path, *kind, bytes);
    }
    let entries = members
        .iter()
        .filter(|(path, ..)| !path.starts_with("metadata/"))
        .count();
    let end = format!("{{\"entries\": {entries}}}");
    add("end.json", tar::EntryType::Regular, end.as_bytes());
    builder.into_inner().unwrap()
}

/// By whatever name the archive calls them.
#[test]
fn a_filter_keeps_entries_of_an_archive_out() {
    use tar::EntryType as T;
    let planted = forged(&[
        ("metadata//own/a.json", T::Regular, b"{}"),
        ("documents//own/a.json", T::Regular, b"[1]"),
        ("files/own/b", T::Regular, &[7; 300_000]),
        ("files/taken", T::Regular, b"x"),
        ("documents/own.json", T::Regular, b"{not json"),
    ]);
    let store = Store::in_memory().unwrap();
    let folder = store.scoped("in").unwrap();
    let mut names = Vec::new();
    let mut wanted = |name: &str| {
        names.push(name.to_owned());
        name == "taken"
    };
    let imported = folder.import_filtered(&planted[..], PutMode::Create, &mut wanted, go_on);
    assert_eq!(imported.unwrap(), 1);
    assert_eq!(names, ["own/a", "own/b", "taken", "own"]);
    let all = komatik::ListOptions::new().recursive();
    let there: Vec<String> = (store.list_with("", all).unwrap())
        .map(|item| item.unwrap().name)
        .collect();
    assert_eq!(there, ["in/taken"]);

    // Of what is left out the end of the archive is told as well, and folders are asked for.
    let from = Store::in_memory().unwrap();
    from.create_folder("own/made").unwrap();
    from.put("own/b", vec![7; 300_000]).unwrap();
    let archive = archive(&from);
    let none = |archive: &[u8]| {
        let store = Store::in_memory().unwrap();
        let imported = store.import_filtered(archive, PutMode::Create, |_| false, go_on);
        (imported, store.exists("own").unwrap())
    };
    assert!(matches!(none(&archive), (Ok(0), false)));
    let cut = none(&archive[..100_000]);
    assert!(
        matches!(cut, (Err(Error::Damaged { .. }), false)),
        "{cut:?}"
    );
    // A view that does not see them has such an archive refused.
    let rest = store.without("own").unwrap();
    let refused = rest.import(&archive[..], PutMode::Create, go_on);
    assert!(
        matches!(refused, Err(Error::InvalidKey { .. })),
        "{refused:?}"
    );
    let refused = rest.import(&planted[..], PutMode::Create, go_on);
    assert!(
        matches!(refused, Err(Error::InvalidKey { .. })),
        "{refused:?}"
    );
}

#[test]
fn hostile_archives_are_refused() {
    use tar::EntryType as T;
    let ok = forged(&[
        ("files/a", T::Regular, b"x"),
        ("documents/b.json", T::Regular, b"[1]"),
    ]);
    assert!(import(&ok).is_ok(), "the forger does it right");
    let long = [b'a'; 5000];
    let hostile: &[&[(&str, T, &[u8])]] = &[
        &[("files/../../etc/passwd", T::Regular, b"x")],
        &[("files/a//b", T::Regular, b"x")],
        &[("files/", T::Regular, b"x")],
        &[("/etc/passwd", T::Regular, b"x")],
        &[("other/a", T::Regular, b"x")],
        &[("files/a", T::Symlink, b"")],
        &[("files/a", T::Link, b"")],
        &[("files/a", T::Fifo, b"")],
        &[("files/a", T::GNUSparse, b"x")],
        &[("files/a", T::Directory, b"")],
        &[("folders/a", T::Regular, b"")],
        &[("documents/a", T::Regular, b"[]")],
        &[("documents/a.json", T::Regular, b"{not json")],
        &[("documents/a.json", T::Regular, &[b'['; 200])],
        &[("metadata/a.json", T::Regular, b"{}")],
        &[
            ("metadata/a.json", T::Regular, b"1"),
            ("files/a", T::Regular, b"x"),
        ],
        &[
            ("metadata/b.json", T::Regular, b"{}"),
            ("files/a", T::Regular, b"x"),
        ],
        &[
            ("metadata/a.json", T::Regular, &[b' '; 70_000]),
            ("files/a", T::Regular, b"x"),
        ],
        &[("x", T::GNULongName, &long), ("files/a", T::Regular, b"x")],
        &[
            ("x", T::XHeader, b"12 size=100\n"),
            ("files/a", T::Regular, b"x"),
        ],
        &[("komatik.json", T::Regular, b"{\"format\": 1}")],
    ];
    for members in hostile {
        let found = import(&forged(members));
        assert!(found.is_err(), "{:?}", members[0].0);
    }
    for nothing in [&b""[..], b"no archive", &[0; 10_240], &[0xff; 10_240]] {
        let refused = import(nothing).unwrap_err();
        assert!(
            matches!(
                refused,
                Error::InvalidArgument {
                    what: "archive",
                    ..
                }
            ),
            "{refused:?}"
        );
    }
    // A header in its middle that cannot be read.
    let mut damaged = forged(&[("files/a", T::Regular, b"x"), ("files/b", T::Regular, b"x")]);
    let at = damaged.windows(7).position(|bytes| bytes == b"files/b");
    damaged[at.unwrap()..][148..156].fill(b'!');
    let refused = import(&damaged).unwrap_err();
    assert!(!refused.to_string().contains('!'), "{refused}");
    assert!(
        matches!(
            refused,
            Error::Damaged {
                what: "archive",
                ..
            }
        ),
        "{refused:?}"
    );
    let unreadable = Store::in_memory().unwrap();
    let refused = unreadable.import(Unreadable, PutMode::Create, go_on);
    assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
    // As bsdtar and Python write long names.
    let pax = forged(&[
        ("x", T::XHeader, b"16 path=files/p\n"),
        ("cut", T::Regular, b"x"),
    ]);
    assert!(import(&pax).is_err(), "counts the header as an entry");
    let store = Store::in_memory().unwrap();
    let _ = store.import(&pax[..], PutMode::Create, go_on);
    assert!(store.exists("p").unwrap());
}

/// A source that fails.
struct Unreadable;

impl std::io::Read for Unreadable {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::TimedOut.into())
    }
}

/// Work on a store that reports its steps.
type Work<'a> = dyn Fn(&Store, &mut dyn FnMut(Step) -> ControlFlow<()>) -> Result<()> + 'a;

#[test]
fn long_work_can_be_stopped() {
    for case in filled() {
        let store = case.store.clone();
        for stop_at in 0..6 {
            let stop = |store: &Store, work: &Work<'_>| {
                let mut steps = 0;
                let found = work(store, &mut |_| {
                    steps += 1;
                    if steps > stop_at {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                });
                assert!(matches!(found, Err(Error::Cancelled)), "{found:?}");
            };
            stop(&store, &|store, progress| store.verify(progress).map(drop));
            stop(&store, &|store, progress| {
                store.export(std::io::sink(), progress).map(drop)
            });
            let archive = archive(&store);
            let target = Store::in_memory().unwrap();
            stop(&target, &|target, progress| {
                target
                    .import(&archive[..], PutMode::Overwrite, progress)
                    .map(drop)
            });
        }
    }
}

#[test]
fn a_writer_that_fails_fails_the_export() {
    for case in filled() {
        let store = case.store.clone();
        let mut short = [0; 5000];
        let found = store.export(&mut short[..], go_on);
        assert!(matches!(found, Err(Error::Io { .. })), "{found:?}");
    }
}

/// Notes how often it was written to, and then may panic.
struct Noting<'a> {
    writes: &'a Cell<usize>,
    panics: bool,
}

impl Write for Noting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes.set(self.writes.get() + 1);
        assert!(!self.panics || self.writes.get() > 1, "as it may");
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Else the archive would end as one that is whole does.
#[test]
fn nothing_is_written_once_an_export_is_broken_off() {
    let store = Store::in_memory().unwrap();
    store.put("a", vec![1; 1_000_000]).unwrap();
    store.put("b", vec![1; 100_000]).unwrap();
    let writes = Cell::new(0);
    let writer = Noting {
        writes: &writes,
        panics: false,
    };
    let mut seen = None;
    let found = store.export(writer, |step| {
        if step.done == 0 {
            return ControlFlow::Continue(());
        }
        seen = Some(writes.get());
        ControlFlow::Break(())
    });
    assert!(matches!(found, Err(Error::Cancelled)), "{found:?}");
    assert_eq!(Some(writes.get()), seen);
}

/// A second panic meanwhile would end the process.
#[test]
fn nothing_is_written_as_a_panic_goes_through_an_export() {
    let store = Store::in_memory().unwrap();
    store.put("a", vec![1; 1_000_000]).unwrap();
    store.put("b", vec![1; 100_000]).unwrap();
    let writes = Cell::new(0);
    let writer = |panics| Noting {
        writes: &writes,
        panics,
    };
    let export = AssertUnwindSafe(|| store.export(writer(true), go_on));
    assert!(catch_unwind(export).is_err());
    assert_eq!(writes.get(), 1);

    let mut seen = None;
    let export = AssertUnwindSafe(|| {
        store.export(writer(false), |step| {
            seen = Some(writes.get());
            assert!(step.done == 0, "as it may");
            ControlFlow::Continue(())
        })
    });
    assert!(catch_unwind(export).is_err());
    assert_eq!(Some(writes.get()), seen);
}

#[test]
fn verification_counts_what_it_read() {
    for case in filled() {
        let store = case.store.clone();
        store.grant("a", komatik::Grant::new()).unwrap();
        let mut phases = std::collections::BTreeSet::new();
        let report = store
            .verify(|step| {
                phases.insert(step.phase);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert!(report.is_sound());
        assert_eq!(report.entries, ENTRIES);
        let sizes: u64 = content(&store)
            .values()
            .flatten()
            .map(|(metadata, _)| metadata.size)
            .sum();
        assert_eq!(report.bytes, sizes);
        for phase in ["entries", "content", "tokens", "history"] {
            assert!(phases.contains(phase), "{phase}");
        }
        let stats = store.stats().unwrap();
        assert_eq!((stats.entries, stats.tokens), (ENTRIES + 2, 1));
        assert_eq!(stats.history, store.history());
        store.compact(go_on).unwrap();
    }
}

/// A signal came in between: the reader says so, and is to be asked again.
#[test]
fn an_import_goes_on_where_its_reader_was_interrupted() {
    struct Interrupted<'a>(&'a [u8], bool);

    impl std::io::Read for Interrupted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.1 = !self.1;
            match self.1 {
                true => Err(std::io::ErrorKind::Interrupted.into()),
                false => self.0.read(buffer),
            }
        }
    }

    let store = Store::in_memory().unwrap();
    store.save("document", &[1, 2]).unwrap();
    store.put("blob", vec![7; 300_000]).unwrap();
    let archive = archive(&store);
    let copy = Store::in_memory().unwrap();
    let reader = Interrupted(&archive, false);
    assert_eq!(copy.import(reader, PutMode::Create, go_on).unwrap(), 2);
    assert_eq!(copy.get("blob").unwrap().unwrap(), vec![7; 300_000]);
}
