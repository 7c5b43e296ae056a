//! What the fuzz targets call: every decoder, and the laws that hold for any bytes. Each function panics where its law
//! is broken. Not part of the public face, and only there for `cargo fuzz`.

mod directory;
mod made;

use bytes::Bytes;
use serde_json::{Map, Value, json};

#[cfg(feature = "http")]
pub use crate::http::fuzz_packets as room_packets;
pub use directory::store_directory;
pub use files::{blocks, journal_frame, pack_frame, rows, superblock};

use crate::error::Result;
use crate::format::{ChangeRecord, EntryRecord, GrantRecord};
use crate::key::{Folder, Key, MAX_KEY_BYTES, MAX_SEGMENT_BYTES};
use crate::merge::merge as merge_into;
use crate::options::{Arrays, MergeOptions, Nulls};
use made::{
    take_change, take_entry, take_grant, take_merge_options, take_operations, take_value, tampered,
};

/// The files of a store.
mod files {
    use crate::backend::local::fuzzing as local;

    /// Frames of the journal, and files of them with junk between.
    pub fn journal_frame(bytes: &[u8]) {
        local::journal_frame(bytes);
    }

    /// Frames of packs, and packs with junk between the frames.
    pub fn pack_frame(bytes: &[u8]) {
        local::pack_frame(bytes);
    }

    /// Blocks of rows, and trees of them in layers.
    pub fn blocks(bytes: &[u8]) {
        local::blocks(bytes);
    }

    /// Rows in their envelopes, and the backend's own.
    pub fn rows(bytes: &[u8]) {
        local::rows(bytes);
    }

    /// The two slots of a superblock.
    pub fn superblock(bytes: &[u8]) {
        local::superblock(bytes);
    }
}

/// The record of an entry: what is written is read, what is read is written and read the same.
pub fn entry_record(bytes: &[u8]) {
    let law = |bytes: &[u8]| {
        let record = EntryRecord::decode("key", &Bytes::copy_from_slice(bytes)).ok()?;
        let _ = record.metadata("key", 1);
        let again = EntryRecord::decode("key", &record.encode());
        assert_eq!(again.ok().as_ref(), Some(&record));
        Some(record)
    };
    law(bytes);
    let mut rest = bytes;
    let made = take_entry(&mut rest);
    let stored = made.encode();
    assert_eq!(law(&stored), Some(made));
    law(&tampered(&stored, rest));
}

/// The record of a change: what is written is read, what is read is written and read the same.
pub fn change_record(bytes: &[u8]) {
    let law = |bytes: &[u8]| {
        let record = ChangeRecord::decode(1, bytes).ok()?;
        let again = ChangeRecord::decode(1, &record.encode());
        assert_eq!(again.ok().as_ref(), Some(&record));
        Some(record)
    };
    law(bytes);
    let mut rest = bytes;
    let made = take_change(&mut rest);
    let stored = made.encode();
    assert_eq!(law(&stored), Some(made));
    law(&tampered(&stored, rest));
}

/// The record of a token: what is written is read, what is read is written and read the same.
pub fn grant_record(bytes: &[u8]) {
    let law = |bytes: &[u8]| {
        let record = GrantRecord::decode(bytes).ok()?;
        let again = GrantRecord::decode(&record.encode());
        assert_eq!(again.ok().as_ref(), Some(&record));
        Some(record)
    };
    law(bytes);
    let mut rest = bytes;
    let made = take_grant(&mut rest);
    let stored = made.encode();
    assert_eq!(law(&stored), Some(made));
    law(&tampered(&stored, rest));
}

/// Documents from their stored form, from JSON text and made up: stored, read and told the same.
pub fn document(bytes: &[u8]) {
    if let Ok(value) = crate::json::decode(bytes) {
        assert!(is_same(crate::json::load("key", bytes), &value));
        check_document(&value);
    }
    let _ = crate::json::load::<Value>("key", bytes);
    if let Ok(value) = crate::json::parse_json(bytes) {
        check_document(&value);
    }
    check_document(&take_value(&mut &*bytes, 8));
}

fn check_document(value: &Value) {
    assert!(is_same(crate::json::to_value(value), value));
    let stored = crate::json::encode(value);
    let Ok(stored) = stored else {
        panic!("{stored:?}");
    };
    let Ok(again) = crate::json::decode(&stored) else {
        panic!("what was stored is not read");
    };
    assert!(is_same(crate::json::load("key", &stored), value));
    // The text tells what equality does not: the order of members, and the sign of zero.
    let text = crate::json::to_text(value);
    assert_eq!(text, crate::json::to_text(&again));
    match crate::json::parse_json(&text) {
        Ok(told) => assert_eq!(text, crate::json::to_text(&told)),
        Err(error) => panic!("{error}"),
    }
}

fn is_same(result: Result<Value>, value: &Value) -> bool {
    result.is_ok_and(|result| result == *value)
}

/// The laws of merging, on two documents made up of the bytes.
pub fn merge(bytes: &[u8]) {
    let mut rest = bytes;
    let options = take_merge_options(&mut rest);
    let target = take_value(&mut rest, 6);
    let source = take_value(&mut rest, 6);
    let merged = |target: &Value, source: &Value| {
        let mut result = target.clone();
        let outcome = merge_into(&mut result, source.clone(), &options);
        assert!(outcome.is_ok(), "{outcome:?}");
        result
    };
    let once = merged(&target, &source);
    assert!(crate::json::check_depth(&once).is_ok());
    if options.arrays != Arrays::Append {
        assert_eq!(merged(&once, &source), once);
        if options.nulls == Nulls::Store {
            assert_eq!(merged(&target, &target), target);
        }
    }
    for empty in [json!([]), json!({})] {
        let is_alike =
            target.is_array() == empty.is_array() && target.is_object() == empty.is_object();
        let replaces = options.arrays == Arrays::Replace && empty.is_array();
        if is_alike && !replaces {
            assert_eq!(merged(&target, &empty), target);
        }
    }
    let mut result = target.clone();
    let outcome = merge_into(&mut result, source.clone(), &MergeOptions::rfc7396());
    assert!(outcome.is_ok());
    assert_eq!(result, merge_patch(target, &source));
}

/// The pseudo-code of RFC 7396, section 2.
fn merge_patch(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    let mut members = match target {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    for (name, value) in patch {
        if value.is_null() {
            members.shift_remove(name);
        } else {
            let present = members.get(name).cloned().unwrap_or_default();
            members.insert(name.clone(), merge_patch(present, value));
        }
    }
    Value::Object(members)
}

/// The rules of keys and folders, told once more and in another way.
pub fn key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let bare = text.strip_prefix('/').unwrap_or(text);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    let is_legal = bare.len() <= MAX_KEY_BYTES
        && !bare.contains(char::is_control)
        && bare.split('/').all(|segment| {
            !["", ".", ".."].contains(&segment) && segment.len() <= MAX_SEGMENT_BYTES
        });
    let (key, folder) = (Key::parse(text), Folder::parse(text));
    assert_eq!(key.is_ok(), is_legal);
    assert_eq!(folder.is_ok(), is_legal || ["", "/"].contains(&text));
    if let Ok(folder) = &folder {
        assert_eq!(Folder::parse(folder.as_str()).ok().as_ref(), Some(folder));
        assert_eq!(
            Folder::parse(folder.as_prefix()).ok().as_ref(),
            Some(folder)
        );
        let inside = folder.key("name");
        assert!(
            inside.is_ok_and(|key| folder.contains(&key) && key.folder() == *folder)
                || text.len() > 1000
        );
    }
    if let (Ok(key), Ok(folder)) = (key, folder) {
        assert_eq!(key.as_str(), bare);
        assert_eq!(Key::parse(&key.to_string()).ok(), Some(key.clone()));
        assert_eq!(key.folder().key(key.name()).ok(), Some(key.clone()));
        assert!(key.folder().contains(&key));
        assert_eq!(key.folder().strip(bare), Some(key.name()));
        assert_eq!(Folder::root().folder(bare).ok(), Some(folder));
    }
}

/// Pointers and patches: they do what `json_patch` does, and a patch that fails leaves the document as it was.
pub fn pointer_and_patch(bytes: &[u8]) {
    let mut rest = bytes;
    let before = take_value(&mut rest, 5);
    let after = take_value(&mut rest, 5);
    let mut patched = before.clone();
    let difference = json_patch::diff(&before, &after);
    assert!(crate::json::patch(&mut patched, &difference).is_ok());
    assert_eq!(patched, after);

    let operations = take_operations(&mut rest);
    if let Ok(patch) = serde_json::from_value::<json_patch::Patch>(operations) {
        let mut document = before.clone();
        let outcome = crate::json::patch(&mut document, &patch);
        let mut reference = before.clone();
        // `json_patch::patch` may panic where it undoes what failed.
        match (outcome, json_patch::patch_unsafe(&mut reference, &patch)) {
            (Ok(()), Ok(())) => assert_eq!(document, reference),
            (Ok(()), Err(_)) => assert!(crate::json::check_depth(&document).is_ok()),
            (Err(_), _) => assert_eq!(document, before),
        }
    }
    if let Ok(text) = std::str::from_utf8(rest) {
        match crate::json::take_at(&mut before.clone(), text) {
            Ok(found) => assert_eq!(found.as_ref(), before.pointer(text)),
            Err(_) => assert!(text.contains('~') || !text.starts_with('/')),
        }
    }
}
