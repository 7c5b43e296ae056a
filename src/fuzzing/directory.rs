//! The law of a store whose files were tampered with: it opens or says why not, and everything in it can be asked for.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::backend::local::fuzzing::{Files, tamper};
use crate::error::Result;
use crate::metadata::{Digest, Kind};
use crate::options::{Grant, History, ListOptions, Lock, PasswordCost, PutMode};
use crate::store::Store;
use crate::sync::OnceLock;
use crate::watch::Since;

/// Nothing takes longer, on a store that small.
const LIMIT: Duration = Duration::from_secs(20);

/// Tampers with the files of a small store, which are made once, and reads all there is. `scratch` is an empty directory.
#[expect(clippy::expect_used, reason = "without a disk there is no fuzzing")]
pub fn store_directory(bytes: &[u8], scratch: &Path) {
    static MADE: OnceLock<Files> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let path = scratch.join("made");
        make(&path).expect("a store");
        let mut files = BTreeMap::new();
        read(&path, &path, &mut files).expect("readable");
        files
    });
    let mut files = made.clone();
    tamper(&mut files, bytes);
    let path = scratch.join("store");
    write(&path, &files).expect("room");
    let begun = Instant::now();
    // Any error will do, and is one of ours.
    let _ = use_all(&path);
    assert!(begun.elapsed() < LIMIT, "it hangs");
}

fn open(path: &Path) -> Result<Store> {
    Store::builder(path)
        .history(History::unlimited())
        .password_cost(PasswordCost::new(8, 1))
        .open()
}

/// A few entries of each kind.
fn make(path: &Path) -> Result<()> {
    let store = open(path)?.unlocked_with("p");
    store.save("document", "text")?;
    store.put("inline", "bytes")?;
    store.put("folder/packed", vec![7; 5_000])?;
    store.copy("folder/packed", "copy", PutMode::Create)?;
    store.create_folder("empty")?;
    store.lock("document", Lock::new().view("p").edit("p"))?;
    store.grant("inline", Grant::new())?;
    store.rename("inline", "renamed", PutMode::Create)?;
    store.delete("folder/packed")?;
    store.close()
}

fn read(root: &Path, directory: &Path, files: &mut Files) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            read(root, &path, files)?;
        } else if let Ok(name) = path.strip_prefix(root) {
            files.insert(name.to_owned(), fs::read(&path)?);
        }
    }
    Ok(())
}

fn write(path: &Path, files: &Files) -> std::io::Result<()> {
    if path.exists() {
        fs::remove_dir_all(path)?;
    }
    for (name, bytes) in files {
        let path = path.join(name);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(path, bytes)?;
    }
    Ok(())
}

fn use_all(path: &Path) -> Result<()> {
    let store = open(path)?.unlocked_with("p");
    let is_sound = store
        .verify(|_| ControlFlow::Continue(()))
        .is_ok_and(|report| report.is_sound());
    for item in store.list_with("", ListOptions::new().recursive())? {
        let Ok(item) = item else { continue };
        let _ = store.load::<serde_json::Value>(&item.name);
        let content = store.get(&item.name);
        if let (true, Ok(Some(content)), Some(metadata)) = (is_sound, content, item.metadata)
            && metadata.kind == Kind::Blob
        {
            assert_eq!(Digest::of(&content), metadata.digest, "found sound");
        }
    }
    let _ = (store.tokens(), store.stats());
    let mut watcher = store.watch("", Since::Start)?;
    while let Ok(Some(_)) = watcher.try_recv() {}
    let written = store.put("written", "after");
    if written.is_ok() {
        assert!(store.get("written").is_ok_and(|found| found.is_some()));
    }
    let _ = store.compact(|_| ControlFlow::Continue(()));
    store.close()
}
