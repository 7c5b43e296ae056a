//! Documents: what is saved is what is loaded, and what is changed is changed whole.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::stores;
use komatik::{
    Arrays, Attributes, Error, Kind, MAX_ATTRIBUTES_BYTES, MAX_DOCUMENT_BYTES, MergeOptions,
    PutMode, PutOptions, UploadOptions,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Sample {
    name: String,
    address: std::net::Ipv4Addr,
    choice: Choice,
    numbers: Vec<f64>,
    nothing: Option<u8>,
    big: u64,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Choice {
    Unit,
    Pair(i64, bool),
    Fields { text: String },
}

#[test]
fn a_document_is_the_json_of_its_value() {
    for case in stores() {
        let store = &case.store;
        for choice in [
            Choice::Unit,
            Choice::Pair(i64::MIN, true),
            Choice::Fields {
                text: "ü\0".into()
            },
        ] {
            let sample = Sample {
                name: "a".into(),
                address: [127, 0, 0, 1].into(),
                choice,
                numbers: vec![0.1, -0.0, f64::MIN_POSITIVE, f64::MAX, 1e-310],
                nothing: None,
                big: u64::MAX,
            };
            store.save("sample", &sample).unwrap();
            assert_eq!(store.load::<Sample>("sample").unwrap().unwrap(), sample);
            assert_eq!(
                store.load::<Value>("sample").unwrap().unwrap(),
                serde_json::to_value(&sample).unwrap()
            );
        }
        let text = r#"{"z":1,"a":{"y":[],"b":{}},"":null}"#;
        store
            .save("order", &serde_json::from_str::<Value>(text).unwrap())
            .unwrap();
        assert_eq!(store.get("order").unwrap().unwrap(), text.as_bytes());
        assert_eq!(store.load::<Value>("missing").unwrap(), None);
        store.save("null", &()).unwrap();
        assert_eq!(store.load::<Value>("null").unwrap(), Some(Value::Null));
    }
}

#[test]
fn what_json_cannot_hold_is_an_error() {
    for case in stores() {
        let store = &case.store;
        for result in [
            store.save("x", &f64::NAN),
            store.save("x", &[f32::INFINITY]),
            store.merge("x", &f64::NEG_INFINITY),
        ] {
            assert!(
                matches!(result, Err(Error::InvalidDocument { .. })),
                "{}",
                case.name
            );
        }
        let deep = (0..129).fold(json!(1), |inner, _| json!([inner]));
        assert!(matches!(
            store.save("x", &deep),
            Err(Error::InvalidDocument { .. })
        ));
        assert!(!store.exists("x").unwrap());
        store.save("x", &deep[0]).unwrap();
        assert!(matches!(
            store.load::<u8>("x"),
            Err(Error::InvalidDocument { .. })
        ));
    }
}

#[test]
fn metadata_tells_of_the_stored_form() {
    for case in stores() {
        let store = &case.store;
        let first = store.save("a/b", &json!({"a": 1})).unwrap();
        assert_eq!((first.key.as_str(), first.kind), ("a/b", Kind::Document));
        assert_eq!(
            (first.size, first.content_type.as_str()),
            (4, "application/json")
        );
        assert_eq!(first.digest, komatik::Digest::of(&[0x81, 0xa1, b'a', 1]));
        assert_eq!(store.metadata("a/b").unwrap().unwrap(), first);
        let second = store.save("a/b", &json!(2)).unwrap();
        assert!(second.revision > first.revision);
        assert_eq!(second.created, first.created);
        assert!(second.updated >= first.updated);
        assert_eq!(
            store
                .scoped("a")
                .unwrap()
                .metadata("b")
                .unwrap()
                .unwrap()
                .key,
            "b"
        );
    }
}

#[test]
fn large_documents_lie_in_chunks() {
    for case in stores() {
        let store = &case.store;
        for length in [
            4_000, 4_080, 4_090, 4_093, 4_094, 4_096, 4_100, 5_000, 70_000, 3_000_000,
        ] {
            let text = "x".repeat(length);
            store.save("long", &text).unwrap();
            assert_eq!(store.load::<String>("long").unwrap().unwrap(), text);
            store.merge("long", &json!({"was": text})).unwrap();
            store.merge("long", &json!({"more": 1})).unwrap();
            assert_eq!(
                store.load::<Value>("long").unwrap().unwrap(),
                json!({"was": text, "more": 1})
            );
        }
    }
}

#[test]
fn both_sides_of_the_limits() {
    for case in stores() {
        let store = &case.store;
        let longest = "x".repeat(MAX_DOCUMENT_BYTES - 5);
        store.save("limit", &longest).unwrap();
        assert!(matches!(
            store.save("limit", &format!("{longest}x")),
            Err(Error::TooLarge { .. })
        ));
        let attributes =
            |bytes: usize| -> Attributes { [("a".to_owned(), "v".repeat(bytes - 9))].into() };
        let most = PutOptions::new().attributes(attributes(MAX_ATTRIBUTES_BYTES));
        let above = PutOptions::new().attributes(attributes(MAX_ATTRIBUTES_BYTES + 1));
        store.save_with("attributes", &1, most.clone()).unwrap();
        assert!(matches!(
            store.save_with("attributes", &2, above),
            Err(Error::TooLarge { .. })
        ));
        let kept = store.save("attributes", &3).unwrap();
        assert_eq!(Some(kept.attributes), most.attributes);
        let key = [["k".repeat(255).as_str(); 4].join("/").as_str(), "k"].join("/");
        assert!(matches!(
            store.save(&key, &1),
            Err(Error::InvalidKey { .. })
        ));
        let key = &key[..1023];
        store.save_with(key, &"x".repeat(4_090), most).unwrap();
        assert_eq!(store.load::<String>(key).unwrap().unwrap().len(), 4_090);
    }
}

#[test]
fn modes_are_asked() {
    for case in stores() {
        let store = &case.store;
        let update = |revision| PutOptions::new().mode(PutMode::Update(revision));
        assert!(matches!(
            store.save_with("k", &0, update(1)),
            Err(Error::RevisionMismatch {
                found: None,
                expected: 1,
                ..
            })
        ));
        let first = store.save_with("k", &1, PutOptions::create()).unwrap();
        assert!(matches!(
            store.save_with("k", &2, PutOptions::create()),
            Err(Error::AlreadyExists { .. })
        ));
        let second = store.save_with("k", &3, update(first.revision)).unwrap();
        match store.save_with("k", &4, update(first.revision)) {
            Err(Error::RevisionMismatch {
                expected, found, ..
            }) => {
                assert_eq!((expected, found), (first.revision, Some(second.revision)));
            }
            other => panic!("{other:?}"),
        }
        let created = MergeOptions::new().mode(PutMode::Create);
        assert!(matches!(
            store.merge_with("k", &5, created.clone()),
            Err(Error::AlreadyExists { .. })
        ));
        store.merge_with("new", &5, created).unwrap();
        let stale = MergeOptions::new().mode(PutMode::Update(first.revision));
        assert!(matches!(
            store.merge_with("k", &6, stale),
            Err(Error::RevisionMismatch { .. })
        ));
        assert_eq!(store.load::<u8>("k").unwrap(), Some(3));
    }
}

#[test]
fn merges_and_patches() {
    for case in stores() {
        let store = &case.store;
        store
            .merge("m", &json!({"a": [1, 2, 3], "b": {"c": 1}}))
            .unwrap();
        store
            .merge("m", &json!({"a": [9], "b": {"d": null}}))
            .unwrap();
        let merged = json!({"a": [9, 2, 3], "b": {"c": 1, "d": null}});
        assert_eq!(store.load::<Value>("m").unwrap().unwrap(), merged);
        let append = MergeOptions::new().arrays(Arrays::Append);
        store.merge_with("m", &json!({"a": [4]}), append).unwrap();
        let rfc = MergeOptions::rfc7396();
        store
            .merge_with("m", &json!({"b": {"c": null}}), rfc.clone())
            .unwrap();
        assert_eq!(
            store.load::<Value>("m").unwrap().unwrap(),
            json!({"a": [9, 2, 3, 4], "b": {"d": null}})
        );
        store
            .merge_with("rfc", &json!({"a": null, "b": {"c": null}}), rfc)
            .unwrap();
        assert_eq!(
            store.load::<Value>("rfc").unwrap().unwrap(),
            json!({"b": {}})
        );

        let patch = |text: Value| serde_json::from_value::<json_patch::Patch>(text).unwrap();
        let good = patch(json!([{"op": "add", "path": "/a/0", "value": 0}]));
        store.patch("m", &good).unwrap();
        assert_eq!(
            store.load_at::<Vec<u8>>("m", "/a").unwrap().unwrap(),
            [0, 9, 2, 3, 4]
        );
        let half = patch(json!([
            {"op": "remove", "path": "/a"},
            {"op": "test", "path": "/b/d", "value": 7},
        ]));
        assert!(matches!(
            store.patch("m", &half),
            Err(Error::InvalidDocument { .. })
        ));
        assert_eq!(store.load_at::<u8>("m", "/a/1").unwrap(), Some(9));
        assert_eq!(store.load_at::<u8>("m", "/a/7").unwrap(), None);
        for pointer in ["", "/a"] {
            assert_eq!(store.load_at::<u8>("missing", pointer).unwrap(), None);
            assert_eq!(store.load_at::<Value>("missing", pointer).unwrap(), None);
        }
        assert!(matches!(
            store.load_at::<Value>("missing", "a"),
            Err(Error::InvalidDocument { .. })
        ));
        assert!(matches!(
            store.load_at::<u8>("m", "a"),
            Err(Error::InvalidDocument { .. })
        ));
        assert!(matches!(
            store.patch("missing", &good),
            Err(Error::NotFound { .. })
        ));
    }
}

#[test]
fn a_change_of_nothing_is_none() {
    for case in stores() {
        let store = &case.store;
        let saved = store.save("same", &json!({"a": [1], "b": {}})).unwrap();
        let merged = store.merge("same", &json!({"a": [], "b": {}})).unwrap();
        assert_eq!(merged, saved);
        let test = json!([{"op": "test", "path": "/a/0", "value": 1}]);
        let patched = store
            .patch("same", &serde_json::from_value(test).unwrap())
            .unwrap();
        assert_eq!(patched, saved);
        // Equal to a reader of numbers, and yet another document.
        assert!(store.merge("same", &json!({"a": [1.0]})).unwrap().revision > saved.revision);
    }
}

#[test]
fn kinds_do_not_mix() {
    for case in stores() {
        let store = &case.store;
        store.put("k", "bytes").unwrap();
        assert!(matches!(
            store.load::<Value>("k"),
            Err(Error::WrongKind {
                expected: "document",
                found: "blob",
                ..
            })
        ));
        assert!(matches!(store.merge("k", &1), Err(Error::WrongKind { .. })));
        let empty = json_patch::Patch(vec![]);
        assert!(matches!(
            store.patch("k", &empty),
            Err(Error::WrongKind { .. })
        ));
        assert_eq!(store.save("k", &1).unwrap().kind, Kind::Document);
        assert_eq!(store.put("k", "bytes").unwrap().kind, Kind::Blob);
        assert_eq!(store.get("k").unwrap().unwrap(), "bytes");
    }
}

#[test]
fn of_merges_at_the_same_time_none_is_lost() {
    for case in stores().into_iter().take(2) {
        merge_at_the_same_time(&case.store);
        // And after it was opened once more.
        let Some(path) = case.path() else { continue };
        case.store.close().unwrap();
        let again = komatik::Store::open(path).unwrap();
        let newest = again.metadata("shared").unwrap().unwrap().revision;
        assert_eq!(newest, 2 * MERGES as u64);
        check_merged(&again);
    }
}

const MERGES: usize = 10_000;
const SLOTS: usize = 100;

/// What both have merged last is there.
fn check_merged(store: &komatik::Store) {
    let last: Vec<usize> = (MERGES - SLOTS..MERGES).collect();
    for name in ["/ann", "/bob"] {
        let members: Value = store.load_at("shared", name).unwrap().unwrap();
        let members = members.as_object().unwrap().values();
        assert!(members.eq(last.iter()), "{name}");
    }
}

fn merge_at_the_same_time(store: &komatik::Store) {
    std::thread::scope(|threads| {
        for name in ["ann", "bob"] {
            threads.spawn(move || {
                for count in 0..MERGES {
                    let slot = (count % SLOTS).to_string();
                    store
                        .merge("shared", &json!({name: {slot: count}}))
                        .unwrap();
                    if (count + 1) % SLOTS == 0 {
                        // Nobody else writes these slots, so each still holds what was merged into it last.
                        let mine: Vec<usize> = store
                            .load_at::<serde_json::Map<String, Value>>(
                                "shared",
                                &format!("/{name}"),
                            )
                            .unwrap()
                            .unwrap()
                            .values()
                            .map(|value| value.as_u64().unwrap().try_into().unwrap())
                            .collect();
                        assert_eq!(mine, (count + 1 - SLOTS..=count).collect::<Vec<_>>());
                    }
                }
            });
        }
    });
    let newest = store.metadata("shared").unwrap().unwrap().revision;
    assert_eq!(newest, 20_000, "one commit for each merge");
    check_merged(store);
}

#[test]
fn of_counting_at_the_same_time_no_step_is_lost() {
    for case in stores() {
        let store = &case.store;
        store.save("count", &0).unwrap();
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    for _ in 0..250 {
                        loop {
                            let seen = store.metadata("count").unwrap().unwrap().revision;
                            let count: u32 = store.load("count").unwrap().unwrap();
                            let options = PutOptions::update(seen);
                            match store.save_with("count", &(count + 1), options) {
                                Ok(_) => break,
                                Err(Error::RevisionMismatch { .. }) => {}
                                Err(other) => panic!("{other}"),
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(store.load::<u32>("count").unwrap(), Some(1_000));
    }
}

#[test]
fn participants_have_limits() {
    for case in stores() {
        let longest = "p".repeat(255);
        case.store.acting_as(&longest).save("k", &1).unwrap();
        for name in [format!("{longest}p"), "a\nb".to_owned()] {
            let view = case.store.acting_as(&name);
            assert!(matches!(
                view.save("k", &2),
                Err(Error::InvalidArgument { .. })
            ));
            assert!(matches!(
                view.transaction(|_| Ok(())),
                Err(Error::InvalidArgument { .. })
            ));
            // Before anything is uploaded.
            let mut content = std::io::Cursor::new(b"content");
            assert!(matches!(
                view.upload("blob", &mut content, UploadOptions::new()),
                Err(Error::InvalidArgument { .. })
            ));
            assert_eq!(content.position(), 0);
            assert_eq!(view.load::<u8>("k").unwrap(), Some(1));
        }
    }
}

#[test]
fn a_patch_may_ask_for_a_revision() {
    for case in stores() {
        let store = &case.store;
        let patch: komatik::Patch =
            serde_json::from_value(json!([{"op": "replace", "path": "", "value": 2}])).unwrap();
        let patched = |mode| store.patch_with("d", &patch, mode);
        assert!(matches!(
            patched(PutMode::Overwrite),
            Err(Error::NotFound { .. })
        ));
        assert!(matches!(
            patched(PutMode::Create),
            Err(Error::NotFound { .. })
        ));
        let missing = patched(PutMode::Update(1));
        assert!(matches!(
            missing,
            Err(Error::RevisionMismatch { found: None, .. })
        ));
        let saved = store.save("d", &1).unwrap();
        assert!(matches!(
            patched(PutMode::Create),
            Err(Error::AlreadyExists { .. })
        ));
        let later = patched(PutMode::Update(saved.revision)).unwrap();
        let late = patched(PutMode::Update(saved.revision));
        let found = Some(later.revision);
        assert!(matches!(late, Err(Error::RevisionMismatch { found: is, .. }) if is == found));
        assert_eq!(store.load::<u8>("d").unwrap(), Some(2));
    }
}
