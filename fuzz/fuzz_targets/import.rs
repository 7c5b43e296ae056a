#![no_main]
//! Archives from anybody: an import never panics, and whatever it answers the store is sound and holds what it tells.

use std::ops::ControlFlow;
use std::sync::LazyLock;

use komatik::{ListOptions, PutMode, PutOptions, Step, Store};
use serde_json::json;
use tar::{Builder, EntryType, Header};

fn go_on(_: Step) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// What a store exports.
static ARCHIVE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let store = Store::in_memory().unwrap();
    let attributes = [("name".to_owned(), "value".to_owned())].into();
    let options = PutOptions::new().attributes(attributes);
    store.put_with("a", vec![7; 5000], options).unwrap();
    store
        .put(&["k".repeat(200), "k".repeat(200)].join("/"), "long")
        .unwrap();
    store
        .save("b/c", &json!({"x": [1, 2.5, null], "y": "text"}))
        .unwrap();
    store.create_folder("d").unwrap();
    let mut archive = Vec::new();
    store.export(&mut archive, go_on).unwrap();
    archive
});

/// The archive of an export, with bytes replaced, blocks left out and its end cut.
fn tampered(bytes: &[u8]) -> Vec<u8> {
    let mut archive = ARCHIVE.clone();
    for change in bytes.chunks_exact(4) {
        let place = usize::from(u16::from_le_bytes([change[1], change[2]])) % archive.len().max(1);
        match change[0] % 8 {
            0 => archive.truncate(place),
            1 => {
                drop(archive.drain(place / 512 * 512..(place / 512 * 512 + 512).min(archive.len())))
            }
            _ if archive.is_empty() => {}
            _ => archive[place] = change[3],
        }
    }
    // With right checksums the headers themselves are looked at.
    if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        for block in archive.chunks_exact_mut(512) {
            if &block[257..262] == b"ustar" {
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
    }
    archive
}

/// An archive of members that the bytes tell: a place, a kind, a length and as many bytes.
fn forged(mut bytes: &[u8]) -> Vec<u8> {
    const PLACES: [&str; 10] = [
        "files/a",
        "files/a/b",
        "documents/b.json",
        "metadata/a.json",
        "metadata/b.json",
        "folders/c",
        "files/../x",
        "end.json",
        "komatik.json",
        "././@LongLink",
    ];
    let kinds = [
        EntryType::Regular,
        EntryType::Regular,
        EntryType::Directory,
        EntryType::GNULongName,
        EntryType::XHeader,
        EntryType::Symlink,
        EntryType::GNUSparse,
        EntryType::XGlobalHeader,
    ];
    let mut archive = Builder::new(Vec::new());
    let mut add = |path: &str, kind: EntryType, content: &[u8]| {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_size(u64::try_from(content.len()).unwrap());
        header.set_cksum();
        archive.append(&header, content).unwrap();
    };
    add("komatik.json", EntryType::Regular, b"{\"format\": 1}");
    while let [place, length, rest @ ..] = bytes {
        let (content, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        let path = PLACES[usize::from(place & 15) % PLACES.len()];
        add(path, kinds[usize::from(place >> 4) % kinds.len()], content);
        bytes = rest;
    }
    add("end.json", EntryType::Regular, b"{\"entries\": 1}");
    archive.into_inner().unwrap()
}

fn check(archive: &[u8], mode: PutMode) {
    let store = Store::builder_in_memory().chunk_bytes(512).open().unwrap();
    if mode == PutMode::Overwrite {
        store.put("a", "before").unwrap();
    }
    let _ = store.import(archive, mode, go_on);
    let report = store.verify(go_on).unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    for item in store.list_with("", ListOptions::new().recursive()).unwrap() {
        let item = item.unwrap();
        assert!(item.is_folder || store.get(&item.name).unwrap().is_some());
    }
    // What is stored can be exported, and imported again.
    let mut again = Vec::new();
    store.export(&mut again, go_on).unwrap();
    let copy = Store::in_memory().unwrap();
    assert_eq!(
        copy.import(&again[..], PutMode::Create, go_on).unwrap(),
        report.entries
    );
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    let mode = if kind & 1 == 0 {
        PutMode::Create
    } else {
        PutMode::Overwrite
    };
    match kind >> 1 & 3 {
        0 => check(bytes, mode),
        1 | 2 => check(&tampered(bytes), mode),
        _ => check(&forged(bytes), mode),
    }
});
