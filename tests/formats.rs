//! Stores that earlier builds wrote.
//!
//! Each lies in `tests/stores`: a tar of its directory, and what it tells, line by line. They are never made anew. When the
//! format changes, another comes to them, which this writes before the change is released:
//! `KOMATIK_MAKE_STORE="$PWD/tests/stores/format-4" cargo test --test formats`
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics fails"
)]

use std::fs::{self, File};
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use komatik::{
    Digest, Durability, Error, Grant, Kind, ListOptions, Lock, PasswordCost, PutMode, PutOptions,
    Since, Step, Store, Token,
};
use serde_json::json;

const STORES: [&str; 1] = ["format-3"];
const PASSWORD: &str = "sesame";

fn go_on(_: Step) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn open(directory: &Path, chunk_bytes: usize) -> Store {
    Store::builder(directory)
        .chunk_bytes(chunk_bytes)
        .password_cost(PasswordCost::new(8, 1))
        .open()
        .unwrap()
        .unlocked_with(PASSWORD)
}

/// Some of everything: bodies of each kind, keys that lie in layers, folders, locks, a token, and what is left of moves,
/// copies and deletions. Answers the token.
fn make(directory: &Path) -> Token {
    // Chunks in packs.
    let store = open(directory, 8 * 1024);
    for number in 0..5 {
        let document =
            json!({ "number": number, "half": 0.5, "text": "snow", "list": [null, true] });
        store
            .save(&format!("documents/{number}"), &document)
            .unwrap();
    }
    store.merge("documents/1", &json!({ "list": [1] })).unwrap();
    let attributes = [("colour".to_owned(), "white".to_owned())];
    let options = PutOptions::new()
        .attributes(attributes.into())
        .content_type("text/plain");
    store
        .put_with("blobs/inline", "some bytes", options)
        .unwrap();
    store.put("blobs/large.png", bytes(30_000)).unwrap();
    store.put("blobs/deleted", bytes(20_000)).unwrap();
    store
        .copy("blobs/large.png", "copy", PutMode::Create)
        .unwrap();
    // At the ends of the parts in which long keys lie, and behind them.
    for length in [199, 200, 201, 202, 400, 401, 700, 1000] {
        let key = format!("long/{}", "k".repeat(200)).repeat(6)[..length].replacen('/', "-", 1);
        store.save(&key, &length).unwrap();
    }
    store.create_folder("empty").unwrap();
    store.delete("blobs/deleted").unwrap();
    store
        .rename("documents/2", "moved", PutMode::Create)
        .unwrap();
    let [view, edit] = ["documents/3", "documents/4"];
    store
        .lock(view, Lock::new().view(PASSWORD).edit(PASSWORD))
        .unwrap();
    store.lock(edit, Lock::new().edit(PASSWORD)).unwrap();
    let token = store.grant("blobs/large.png", Grant::new()).unwrap();
    store.close().unwrap();
    // Chunks in trees; and a second opening of the journal.
    let store = open(directory, 2048).acting_as("ann");
    let eventual = store.with_durability(Durability::Eventual);
    eventual.put("blobs/small chunks", bytes(9_000)).unwrap();
    let together = store.transaction(|all| {
        all.save("together/1", &1)?;
        all.put("together/2", bytes(5_000))?;
        all.delete("documents/0")
    });
    assert!(together.unwrap());
    store.close().unwrap();
    token
}

fn bytes(count: usize) -> Vec<u8> {
    (0..=250).cycle().take(count).collect()
}

/// All that a store tells of itself.
fn told(store: &Store) -> Vec<String> {
    let mut lines = Vec::new();
    for item in store.list_with("", ListOptions::new().recursive()).unwrap() {
        let item = item.unwrap();
        lines.push(format!("item {}", json!(item)));
        let Some(content) = store.get(&item.name).unwrap() else {
            continue;
        };
        let metadata = item.metadata.unwrap();
        lines.push(match metadata.kind {
            Kind::Document => format!("document {}", str::from_utf8(&content).unwrap()),
            _ => format!("blob {}", Digest::of(&content)),
        });
    }
    let mut watcher = store.watch("", Since::Start).unwrap();
    while let Some(change) = watcher.try_recv().unwrap() {
        lines.push(format!("change {}", json!(change)));
    }
    lines.extend(
        store
            .tokens()
            .unwrap()
            .iter()
            .map(|token| format!("token of {}", token.key)),
    );
    lines
}

fn assert_sound(store: &Store) {
    let report = store.verify(go_on).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

/// A hole instead of the zeros that sled writes, which the tar then leaves out.
fn make_sparse(path: &Path) {
    let bytes = fs::read(path).unwrap();
    let file = File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (number, block) in (0..).zip(bytes.chunks(4096)) {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, number * 4096).unwrap();
        }
    }
}

fn pack_up(directory: &Path, token: &Token, into: &Path) {
    make_sparse(&directory.join("trees/db"));
    let mut tar = tar::Builder::new(File::create(into.with_extension("tar")).unwrap());
    tar.append_dir_all("store", directory).unwrap();
    tar.finish().unwrap();
    let mut text = File::create(into.with_extension("txt")).unwrap();
    writeln!(text, "{token}").unwrap();
    let store = open(directory, 8 * 1024);
    for line in told(&store) {
        writeln!(text, "{line}").unwrap();
    }
}

fn unpack(name: &str, into: &Path) -> (PathBuf, Token, Vec<String>) {
    let stores = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores");
    let tar = File::open(stores.join(format!("{name}.tar"))).unwrap();
    tar::Archive::new(tar).unpack(into).unwrap();
    let text = fs::read_to_string(stores.join(format!("{name}.txt"))).unwrap();
    let mut lines = text.lines().map(str::to_owned);
    let token = Token::from(lines.next().unwrap());
    (into.join("store"), token, lines.collect())
}

#[test]
fn what_earlier_builds_wrote_is_there_to_the_last_bit() {
    for name in STORES {
        let directory = tempfile::tempdir().unwrap();
        let (path, token, lines) = unpack(name, directory.path());
        let saved = directory.path().join("saved");
        let repaired = Store::repair(&path, &saved, go_on).unwrap();
        assert_eq!(repaired.lost, [], "{name}");
        fs::rename(path.join("journal"), directory.path().join("journal")).unwrap();
        let without_journal = directory.path().join("without journal");
        let of_the_trees = Store::repair(&path, &without_journal, go_on).unwrap();
        fs::rename(directory.path().join("journal"), path.join("journal")).unwrap();
        assert_eq!(of_the_trees.entries, repaired.entries, "{name}");
        let store = open(&path, 8 * 1024);
        assert_sound(&store);
        assert_eq!(repaired.entries, store.stats().unwrap().entries);
        assert_eq!(told(&store), lines, "{name}");
        let large = store.read_with(&token, "blobs/large.png").unwrap().unwrap();
        assert_eq!(large.metadata().size, 30_000);
        let locked = Store::open(&saved).unwrap().unlocked_with("another");
        let refused = locked.get("documents/3");
        assert!(
            matches!(refused, Err(Error::WrongPassword { .. })),
            "{refused:?}"
        );
        // And goes on from there.
        let newest = store.history().newest;
        assert!(store.put("after", bytes(30_000)).unwrap().revision > newest);
        store.delete("after").unwrap();
        store.close().unwrap();
        let store = open(&path, 8 * 1024);
        assert_sound(&store);
        let after = told(&store);
        assert!(lines.iter().all(|line| after.contains(line)), "{name}");
        assert_eq!(after.len(), lines.len() + 2);
    }
}

#[test]
fn what_this_build_writes_is_there_when_it_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let token = make(&path);
    if let Some(into) = std::env::var_os("KOMATIK_MAKE_STORE") {
        pack_up(&path, &token, Path::new(&into));
    }
    let store = open(&path, 8 * 1024);
    assert_sound(&store);
    assert!(
        store
            .read_with(&token, "blobs/large.png")
            .unwrap()
            .is_some()
    );
    let first = told(&store);
    store.close().unwrap();
    assert_eq!(told(&open(&path, 8 * 1024)), first);
}
