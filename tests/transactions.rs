//! Transactions: all or nothing, reading what they wrote.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::Write;

use common::stores;
use komatik::{Error, Events, PutMode, PutOptions, Store, Transaction, WriteMode, WriteOptions};
use serde_json::{Value, json};

#[test]
fn a_transaction_reads_what_it_wrote() {
    for case in stores() {
        let store = &case.store;
        let large = vec![5; 4 * case.chunk_bytes];
        store.save("kept", &1).unwrap();
        store.save("gone", &1).unwrap();
        let answer = store
            .transaction(|tx| {
                tx.save("new", &json!({"a": 1}))?;
                tx.merge("new", &json!({"b": 2}))?;
                tx.patch(
                    "new",
                    &serde_json::from_value(json!([{"op": "remove", "path": "/a"}])).unwrap(),
                )?;
                assert_eq!(tx.load::<Value>("new")?.unwrap(), json!({"b": 2}));
                tx.put("blob", &large)?;
                assert!(tx.get("blob")?.unwrap() == large);
                tx.copy("blob", "copy", PutMode::Create)?;
                tx.rename("blob", "moved", PutMode::Create)?;
                assert!(tx.get("copy")?.unwrap() == large && tx.get("moved")?.unwrap() == large);
                assert_eq!(tx.get("blob")?, None);
                assert!(tx.delete("gone")? && !tx.delete("gone")?);
                assert!(!tx.exists("gone")?);
                assert!(tx.exists("new")? && tx.exists("kept")?);
                assert_eq!(tx.metadata("new")?.unwrap().revision, 0);
                assert!(tx.metadata("kept")?.unwrap().revision > 0);
                assert!(matches!(
                    tx.save_with("new", &0, PutOptions::create()),
                    Err(Error::AlreadyExists { .. })
                ));
                // Nothing of it is seen outside.
                assert!(!store.exists("new")? && store.exists("gone")?);
                Ok(7)
            })
            .unwrap();
        assert_eq!(answer, 7);
        assert_eq!(
            store.load::<Value>("new").unwrap().unwrap(),
            json!({"b": 2})
        );
        assert!(!store.exists("gone").unwrap() && !store.exists("blob").unwrap());
        let revision = |key| store.metadata(key).unwrap().unwrap().revision;
        assert!(revision("new") == revision("copy") && revision("copy") == revision("moved"));
        store.delete("copy").unwrap();
        assert!(store.get("moved").unwrap().unwrap() == large);
    }
}

#[test]
fn a_patch_in_a_transaction_asks_for_a_revision_and_is_done_whole_or_not() {
    for case in stores() {
        let store = &case.store;
        let patch = |operations| serde_json::from_value::<komatik::Patch>(operations).unwrap();
        let half = patch(json!([
            {"op": "replace", "path": "/a", "value": 2},
            {"op": "remove", "path": "/b"},
        ]));
        let whole = patch(json!([{"op": "replace", "path": "/a", "value": 3}]));
        let revision = store.save("d", &json!({"a": 1})).unwrap().revision;
        store
            .transaction(|tx| {
                let refused = tx.patch_with("d", &whole, PutMode::Update(revision + 1));
                assert!(matches!(refused, Err(Error::RevisionMismatch { .. })));
                let refused = tx.patch_with("d", &half, PutMode::Update(revision));
                assert!(matches!(refused, Err(Error::InvalidDocument { .. })));
                assert_eq!(tx.load("d")?, Some(json!({"a": 1})));
                tx.patch_with("d", &whole, PutMode::Update(revision))
            })
            .unwrap();
        assert_eq!(store.load("d").unwrap(), Some(json!({"a": 3})));
    }
}

/// Of the commit itself: to ask afterwards may tell that of another writer.
#[test]
fn a_transaction_tells_its_revision() {
    for case in stores() {
        let store = case.store.clone();
        let another = store.clone();
        let subscription = store.on(Events::UPDATED, move |change| {
            if change.key == "a" && change.participant.is_some() {
                another.save("a", &"another's").unwrap();
            }
        });
        let own = store.acting_as("own");
        let write = |tx: &mut Transaction<'_>| {
            tx.save("a", &"own")?;
            tx.put("b", "own")
        };
        let ((), revision) = own.transaction_with_revision(write).unwrap();
        let at = |key: &str| store.metadata(key).unwrap().unwrap().revision;
        assert_eq!(revision, Some(at("b")));
        assert!(revision < Some(at("a")));
        let options = PutOptions::new().mode(PutMode::Update(revision.unwrap()));
        assert!(matches!(
            store.save_with("a", &0, options),
            Err(Error::RevisionMismatch { .. })
        ));
        drop(subscription);
        let (count, none) = store
            .transaction_with_revision(|tx| tx.delete("c"))
            .unwrap();
        assert_eq!((count, none), (false, None));
    }
}

#[test]
fn an_error_or_a_panic_leaves_nothing() {
    for case in stores() {
        let store = &case.store;
        store.save("k", &1).unwrap();
        let fill = |tx: &mut komatik::Transaction<'_>| {
            tx.save("k", &2)?;
            tx.put("blob", vec![0; 2 * case.chunk_bytes])?;
            tx.create_folder("folder")
        };
        let failed: Result<(), _> = store.transaction(|tx| {
            fill(tx)?;
            Err(Error::Cancelled)
        });
        assert!(matches!(failed, Err(Error::Cancelled)));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            store.transaction(|tx| -> komatik::Result<()> {
                fill(tx)?;
                std::panic::resume_unwind(Box::new("no"))
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(store.load::<u8>("k").unwrap(), Some(1));
        assert!(!store.exists("blob").unwrap() && !store.exists("folder").unwrap());
        store.transaction(fill).unwrap();
        assert_eq!(store.load::<u8>("k").unwrap(), Some(2));
    }
}

#[test]
fn a_write_from_inside_is_refused() {
    for case in stores() {
        let (store, other) = (&case.store, Store::in_memory().unwrap());
        store
            .transaction(|tx| {
                tx.save("k", &1)?;
                assert!(matches!(store.save("x", &1), Err(Error::Misuse { .. })));
                assert!(matches!(store.delete("x"), Err(Error::Misuse { .. })));
                assert!(matches!(
                    store.delete_folder("x"),
                    Err(Error::Misuse { .. })
                ));
                assert!(matches!(
                    store.transaction(|_| Ok(())),
                    Err(Error::Misuse { .. })
                ));
                other.save("x", &1)?;
                other.transaction(|inner| inner.save("y", &1))?;
                let foreign = other.writer("z", WriteOptions::new())?;
                assert!(matches!(tx.commit_blob(foreign), Err(Error::Misuse { .. })));
                Ok(())
            })
            .unwrap();
        store.save("x", &1).unwrap();
        assert!(other.exists("y").unwrap());
    }
}

#[test]
fn writers_are_committed_together() {
    for case in stores() {
        let store = &case.store;
        let writer = |key: &str, options: WriteOptions, bytes: usize| {
            let mut writer = store.writer(key, options).unwrap();
            writer.write_all(&vec![1; bytes]).unwrap();
            writer
        };
        let (small, large) = (
            writer("small", WriteOptions::new(), 5),
            writer("large", WriteOptions::create(), 3_000_000),
        );
        store
            .transaction(|tx| {
                tx.commit_blob(small)?;
                tx.commit_blob(large)?;
                assert_eq!(tx.get("large")?.unwrap().len(), 3_000_000);
                tx.save("index", &["small", "large"])
            })
            .unwrap();
        assert_eq!(store.get("small").unwrap().unwrap(), vec![1; 5]);
        assert_eq!(store.get("large").unwrap().unwrap(), vec![1; 3_000_000]);
        let revision = store.metadata("large").unwrap().unwrap().revision;
        let stale = [
            writer("large", WriteOptions::append(), 1),
            writer(
                "large",
                WriteOptions::new().mode(WriteMode::Update(revision)),
                1,
            ),
        ];
        store.put("large", "new").unwrap();
        for stale in stale {
            let late = store.transaction(|tx| tx.commit_blob(stale));
            assert!(matches!(late, Err(Error::RevisionMismatch { .. })));
        }
    }
}

#[test]
fn a_prepared_writer_is_committed_as_it_is() {
    for case in stores() {
        let store = &case.store;
        store.put("log", vec![2; 100_000]).unwrap();
        for bytes in [0, 5, 3000, 5000, 100_000, 2_000_000] {
            let content = vec![1; bytes];
            let open = |key: &str, options: WriteOptions| {
                let mut writer = store.writer(key, options).unwrap();
                writer.write_all(&content).unwrap();
                writer.prepare().unwrap();
                writer
            };
            drop(open("new", WriteOptions::new()));
            assert!(!store.exists("new").unwrap());
            let before = store.get("log").unwrap().unwrap();
            let mut new = open("new", WriteOptions::create());
            let late = new.write_all(b"late").unwrap_err();
            let late = late.downcast::<Error>().unwrap();
            assert!(matches!(late, Error::Misuse { .. }), "{late:?}");
            new.prepare().unwrap();
            let log = open("log", WriteOptions::append());
            store
                .transaction(|tx| {
                    tx.commit_blob(new)?;
                    tx.commit_blob(log)
                })
                .unwrap();
            let long = "x".repeat(200);
            let moved = open("elsewhere", WriteOptions::create());
            (store.transaction(|tx| tx.commit_blob_as(&long, moved))).unwrap();
            assert_eq!(store.get("new").unwrap().unwrap(), content);
            assert_eq!(store.get(&long).unwrap().unwrap(), content);
            let log = store.get("log").unwrap().unwrap();
            assert!(log == [&before[..], &content].concat());
            store.delete("new").unwrap();
            store.delete(&long).unwrap();
            // By itself as well.
            open("new", WriteOptions::create()).commit().unwrap();
            assert_eq!(store.get("new").unwrap().unwrap(), content);
            store.delete("new").unwrap();
        }
    }
}

#[test]
fn folders_in_a_transaction() {
    for case in stores() {
        let store = &case.store;
        for key in ["a/1", "a/2", "b/1"] {
            store.put(key, key).unwrap();
        }
        store
            .transaction(|tx| {
                tx.put("a/3", "a/3")?;
                tx.delete("a/1")?;
                tx.put("a/2", "new")?;
                assert_eq!(tx.rename_folder("a", "c")?, 2);
                assert!(!tx.exists("a")?);
                assert_eq!(tx.get("c/2")?.unwrap(), "new");
                assert!(matches!(
                    tx.rename_folder("a", "d"),
                    Err(Error::NotFound { .. })
                ));
                assert!(matches!(
                    tx.rename_folder("b", "c"),
                    Err(Error::AlreadyExists { .. })
                ));
                assert_eq!(tx.delete_folder("b")?, 1);
                assert_eq!(tx.rename_folder("c", "b")?, 2);
                tx.create_folder("c/empty")
            })
            .unwrap();
        for (key, is_there) in [
            ("a", false),
            ("b/1", false),
            ("b/2", true),
            ("b/3", true),
            ("c/empty", true),
        ] {
            assert_eq!(store.exists(key).unwrap(), is_there, "{key}");
        }
        assert_eq!(store.get("b/3").unwrap().unwrap(), "a/3");
    }
}

/// A folder is one as long as anything is in it, in whatever order that comes and goes.
#[test]
fn a_folder_is_there_while_something_is_in_it() {
    let last = char::MAX.to_string();
    let names = [
        "f/a",
        "f/b/c",
        "f/b/d",
        "f/aa",
        "f/z",
        &format!("f/{last}/{last}"),
    ];
    let random = &mut fastrand::Rng::with_seed(11);
    for case in stores() {
        for round in 0..60 {
            let mut there: Vec<&str> = Vec::new();
            for name in names {
                match random.bool() {
                    true => there.push(name),
                    false => drop(case.store.delete(name).unwrap()),
                }
            }
            there
                .iter()
                .for_each(|name| drop(case.store.put(name, "x").unwrap()));
            let counted = case.store.transaction(|tx| {
                let mut there = there.clone();
                for _ in 0..30 {
                    let name = names[random.usize(..names.len())];
                    match there.contains(&name) {
                        true => drop(tx.delete(name)?),
                        false => drop(tx.put(name, "y")?),
                    }
                    match there.contains(&name) {
                        true => there.retain(|other| *other != name),
                        false => there.push(name),
                    }
                    let folder = ["f", "f/b", "f"][random.usize(..3)];
                    let below = format!("{folder}/");
                    let is_there = there.iter().any(|name| name.starts_with(&below));
                    assert_eq!(
                        tx.is_folder(folder)?,
                        is_there,
                        "{round} {folder} {there:?}"
                    );
                    assert_eq!(tx.exists(folder)?, is_there);
                }
                Ok(there.len())
            });
            assert_eq!(
                case.store.list("f").unwrap().count() > 0,
                counted.unwrap() > 0
            );
        }
    }
}

#[test]
fn a_folder_moved_in_part_spoils_the_transaction() {
    for case in stores() {
        let store = &case.store;
        store.put("a/1", "1").unwrap();
        store.put(&format!("a/{}", "k".repeat(200)), "2").unwrap();
        let long = ["k".repeat(250).as_str(); 3].join("/") + "/" + &"k".repeat(100);
        let ignored = store.transaction(|tx| {
            assert!(tx.rename_folder("a", &long).is_err());
            tx.put("b", "3")
        });
        assert!(matches!(ignored, Err(Error::Misuse { .. })));
        assert!(store.exists("a/1").unwrap() && !store.exists("b").unwrap());
    }
}

#[test]
fn a_call_that_failed_did_nothing_to_the_transaction() {
    for case in stores() {
        let store = &case.store;
        let bytes = vec![1; 2 * case.chunk_bytes];
        store.put("a", &bytes).unwrap();
        store.put("b", &bytes).unwrap();
        store
            .transaction(|tx| {
                assert!(tx.rename("missing", "b", PutMode::Overwrite).is_err());
                assert!(tx.rename("a", "b", PutMode::Create).is_err());
                assert!(tx.copy("a", "b", PutMode::Update(1_000)).is_err());
                tx.save("c", &1)
            })
            .unwrap();
        assert!(
            store.get("a").unwrap().unwrap() == bytes && store.get("b").unwrap().unwrap() == bytes
        );
    }
}

#[test]
fn transactions_and_single_writes_take_turns() {
    for case in stores() {
        let store = &case.store;
        store.save("ann", &500).unwrap();
        store.save("bob", &500).unwrap();
        std::thread::scope(|threads| {
            let movers: Vec<_> = [("ann", "bob"), ("bob", "ann")]
                .into_iter()
                .map(|(from, to)| {
                    threads.spawn(move || {
                        for _ in 0..300 {
                            store
                                .transaction(|tx| {
                                    let (a, b): (i64, i64) =
                                        (tx.load(from)?.unwrap(), tx.load(to)?.unwrap());
                                    assert_eq!(a + b, 1_000);
                                    tx.save(from, &(a - 1))?;
                                    tx.save(to, &(b + 1))
                                })
                                .unwrap();
                        }
                    })
                })
                .collect();
            threads.spawn(move || {
                let mut count = 0;
                while !movers
                    .iter()
                    .all(std::thread::ScopedJoinHandle::is_finished)
                {
                    count += 1;
                    store.merge("count", &count).unwrap();
                    let both = || store.load::<i64>("ann").unwrap().unwrap();
                    assert!((200..=800).contains(&both()));
                }
            });
        });
        assert_eq!(store.load::<i64>("ann").unwrap(), Some(500));
    }
}

#[test]
fn a_blob_is_committed_where_it_turns_out_to_belong() {
    for case in stores() {
        let store = &case.store;
        let content = vec![7; 3 * case.chunk_bytes + 1];
        let write = |options: WriteOptions| {
            let mut writer = store.writer("first.png", options).unwrap();
            writer.write_all(&content).unwrap();
            writer
        };
        let home = store.scoped("home").unwrap();
        let writer = write(WriteOptions::new());
        home.transaction(|tx| tx.commit_blob_as("second", writer))
            .unwrap();
        assert!(!store.exists("first.png").unwrap());
        assert!(home.get("second").unwrap().unwrap() == content);
        let metadata = home.metadata("second").unwrap().unwrap();
        assert_eq!(metadata.content_type, "image/png");
        let writer = write(WriteOptions::new());
        home.transaction(|tx| tx.commit_blob_as("talk.mp4", writer))
            .unwrap();
        let metadata = home.metadata("talk.mp4").unwrap().unwrap();
        assert_eq!(metadata.content_type, "video/mp4");
        let writer = write(WriteOptions::new().content_type("text/x-own"));
        home.transaction(|tx| tx.commit_blob_as("own.mp4", writer))
            .unwrap();
        let metadata = home.metadata("own.mp4").unwrap().unwrap();
        assert_eq!(metadata.content_type, "text/x-own");
        let writer = write(WriteOptions::create());
        let refused = home.transaction(|tx| tx.commit_blob_as("second", writer));
        assert!(matches!(refused, Err(Error::AlreadyExists { key }) if key == "second"));
        home.lock("second", komatik::Lock::new().edit("sesame"))
            .unwrap();
        let commit = |store: &Store| {
            let writer = write(WriteOptions::new());
            store.transaction(|tx| tx.commit_blob_as("second", writer))
        };
        assert!(matches!(commit(&home), Err(Error::Locked { .. })));
        commit(&home.unlocked_with("sesame")).unwrap();
        store.put("log", "1").unwrap();
        let appends = store.writer("log", WriteOptions::append()).unwrap();
        let refused = store.transaction(|tx| tx.commit_blob_as("other", appends));
        assert!(matches!(refused, Err(Error::Misuse { .. })));
        let other = Store::in_memory().unwrap();
        let foreign = other.writer("x", WriteOptions::new()).unwrap();
        let refused = store.transaction(|tx| tx.commit_blob_as("x", foreign));
        assert!(matches!(refused, Err(Error::Misuse { .. })));
        assert!(!store.exists("other").unwrap() && !store.exists("x").unwrap());
    }
}

/// What is committed of a key is the last value it was given, and no more is counted.
#[test]
fn a_key_written_over_and_over_counts_once() {
    let store = Store::in_memory().unwrap();
    store.save("folder/a", &1).unwrap();
    let content = [7; 3_000];
    let deleted = store.transaction(|tx| {
        for _ in 0..25_000 {
            tx.put("key", content)?;
        }
        tx.delete_folder("folder")
    });
    assert_eq!(deleted.unwrap(), 1);
    assert!(store.get("key").unwrap().unwrap() == content[..]);
}

#[test]
fn what_is_too_much_for_one_commit_is_told_before_it_is_all_in_memory() {
    let store = Store::in_memory().unwrap();
    let text = "x".repeat(3_500);
    let mut saved = 0;
    let refused = store.transaction(|tx| {
        for number in 0..200_000 {
            tx.save(&format!("{number}"), &text)?;
            saved = number;
        }
        Ok(())
    });
    assert!(
        matches!(refused, Err(Error::TooLarge { .. })),
        "{refused:?}"
    );
    assert!((10_000..20_000).contains(&saved), "{saved}");
    assert_eq!(store.stats().unwrap().entries, 0);
}

/// Renames a folder of these entries back and forth, in one transaction that is refused; answers how often it was done.
fn renamed_back_and_forth(names: impl Iterator<Item = String>, most: usize) -> usize {
    let store = Store::in_memory().unwrap();
    let saved = store.transaction(|tx| {
        let mut names = names;
        names.try_for_each(|name| tx.save(&format!("a/{name}"), &1))
    });
    saved.unwrap();
    let mut done = 0;
    let refused = store.transaction(|tx| {
        while done < most {
            let (from, to) = [("a", "b"), ("b", "a")][done % 2];
            tx.rename_folder(from, to)?;
            done += 1;
        }
        Ok(())
    });
    let is_too_large = matches!(refused, Err(Error::TooLarge { .. }));
    assert!(is_too_large, "{refused:?}");
    done
}

#[test]
fn changes_are_counted_as_they_are_made_not_at_the_end() {
    // 1,000,000 changes are the limit.
    let short = (0..5_000).map(|number| number.to_string());
    assert_eq!(renamed_back_and_forth(short, 202), 200);
    // Each names two keys, of which 33,000 and some have 64 MiB.
    let folder = ["x".repeat(250), "y".repeat(250), "z".repeat(250)].join("/");
    let long = (0..1_000).map(|number| format!("{folder}/{number:0>240}"));
    assert_eq!(renamed_back_and_forth(long, 36), 32);
}

#[test]
fn a_closed_store_takes_no_transaction_not_even_an_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    store.save("a", &1).unwrap();
    store.close().unwrap();
    let refused = store.transaction(|_| Ok(()));
    assert!(matches!(refused, Err(Error::Misuse { .. })), "{refused:?}");
}
