//! Many entries deep down, where each key is nearly as long as one may be.
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

use std::ops::ControlFlow;
use std::path::Path;

use komatik::{Durability, ListOptions, Store};

/// Folders one in the other, with names as long as a file system allows, and of which a character takes three bytes.
fn deep() -> String {
    [
        "a".repeat(250),
        "雪".repeat(80),
        "橇".repeat(80),
        "d".repeat(230),
    ]
    .join("/")
}

fn assert_holds(store: &Store, names: &[String]) {
    let report = store.verify(|_| ControlFlow::Continue(())).unwrap();
    assert!(report.is_sound(), "{report:?}");
    let below = store.scoped(&deep()).unwrap();
    let listed = store.list(&deep()).unwrap().map(|item| item.unwrap().name);
    assert!(listed.eq(names.iter().cloned()));
    for name in names.iter().step_by(97) {
        assert_eq!(below.load::<String>(name).unwrap().as_ref(), Some(name));
    }
    let some = ListOptions::new().prefix("0005");
    let some = store.list_with(&deep(), some).unwrap().count();
    let wanted = names.iter().filter(|name| name.starts_with("0005"));
    assert_eq!(some, wanted.count());
}

fn open(path: &Path) -> Store {
    Store::open(path)
        .unwrap()
        .with_durability(Durability::Eventual)
}

#[test]
fn thousands_of_them_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let mut names: Vec<String> = Vec::new();
    for round in 0..3 {
        let store = open(&path);
        let below = store.scoped(&deep()).unwrap();
        for number in 0..1_500 {
            let name = format!("{:04}-{round}", number * 7 % 1_500);
            below.save(&name, &name).unwrap();
            names.push(name);
        }
        names.sort();
        assert_holds(&store, &names);
        store.close().unwrap();
    }
    let store = open(&path);
    assert_holds(&store, &names);
    let copy = directory.path().join("copy");
    store.backup(&copy, |_| ControlFlow::Continue(())).unwrap();
    assert_holds(&open(&copy), &names);
    // Neighbours that are not so long.
    for name in &names {
        store.save(&format!("short/{name}"), name).unwrap();
    }
    assert_eq!(store.delete_folder(&deep()).unwrap(), names.len() as u64);
    store.close().unwrap();
    let store = open(&path);
    assert_holds(&store, &[]);
    assert_eq!(store.list("short").unwrap().count(), names.len());
}
