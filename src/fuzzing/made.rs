//! What is made of the bytes of a fuzzer, so that it need not find out what a record or a document looks like. Every
//! function takes what it uses off the front; where nothing is left, zeros follow.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::blob_id::BlobId;
use crate::format::{Body, ChangeAction, ChangeRecord, EntryRecord, GrantRecord, LockRecord, Part};
use crate::metadata::{Digest, Kind};
use crate::options::{Arrays, MergeOptions, Nulls};

/// The record of an entry that is consistent.
pub(super) fn take_entry(rest: &mut &[u8]) -> EntryRecord {
    let body = take_body(rest);
    EntryRecord {
        kind: take_kind(rest),
        created: take_number(rest),
        updated: take_number(rest),
        size: match &body {
            Body::Inline(bytes) => bytes.len() as u64,
            Body::Parts(parts) => parts.iter().map(|part| part.size).sum(),
        },
        digest: Digest::from([take(rest); 32]),
        content_type: take_name(take(rest)),
        attributes: (0..take(rest) % 3)
            .map(|_| (take_name(take(rest)), take_name(take(rest))))
            .collect(),
        lock: take_optional(rest, |rest| LockRecord {
            id: [take(rest); 16],
            view: take_optional(rest, |rest| take_name(take(rest))),
            edit: take_optional(rest, |rest| take_name(take(rest))),
        }),
        body,
        subtrees: (0..take(rest) % 4).map(|_| [take(rest); 32]).collect(),
    }
}

fn take_body(rest: &mut &[u8]) -> Body {
    let count = take(rest);
    if count.is_multiple_of(2) {
        return Body::Inline(Bytes::from(vec![take(rest); usize::from(count)]));
    }
    let parts = (0..count % 4).map(|_| Part {
        blob: BlobId([take(rest); 16]),
        size: u64::from(take(rest)) + 1,
        chunk_bytes: u32::from(take(rest)) + 512,
    });
    Body::Parts(parts.collect())
}

/// Any record of a change.
pub(super) fn take_change(rest: &mut &[u8]) -> ChangeRecord {
    ChangeRecord {
        action: match take(rest) % 3 {
            0 => ChangeAction::Put,
            1 => ChangeAction::Delete,
            _ => ChangeAction::Move {
                from: take_name(take(rest)),
            },
        },
        key: take_name(take(rest)),
        entry: take_kind(rest),
        content: take_optional(rest, |rest| {
            (take_number(rest), Digest::from([take(rest); 32]))
        }),
        participant: take_optional(rest, |rest| take_name(take(rest))),
        time: take_number(rest),
    }
}

/// Any record of a token.
pub(super) fn take_grant(rest: &mut &[u8]) -> GrantRecord {
    GrantRecord {
        name: take_name(take(rest)),
        folder: take(rest) % 2 == 1,
        expires: take_optional(rest, take_number),
        created: take_number(rest),
        lock: take_optional(rest, |rest| [take(rest); 16]),
    }
}

/// The bytes with up to four of them changed, or cut short.
pub(super) fn tampered(bytes: &[u8], mut rest: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..take(&mut rest) % 5 {
        let at = usize::from(u16::from_be_bytes([take(&mut rest), take(&mut rest)]));
        let at = at % bytes.len();
        bytes[at] = take(&mut rest);
    }
    if take(&mut rest) == 255 {
        bytes.truncate(usize::from(take(&mut rest)));
    }
    bytes
}

/// A patch of up to four operations, in places that may be there.
pub(super) fn take_operations(rest: &mut &[u8]) -> Value {
    let count = take(rest) % 4 + 1;
    let operations = (0..count).map(|_| {
        let name =
            ["add", "remove", "replace", "move", "copy", "test"][usize::from(take(rest) % 6)];
        let (path, from) = (take_pointer(rest), take_pointer(rest));
        json!({"op": name, "path": path, "from": from, "value": take_value(rest, 2)})
    });
    operations.collect()
}

fn take_pointer(rest: &mut &[u8]) -> String {
    let count = take(rest) % 4;
    let tokens = (0..count).map(|_| match take(rest) {
        byte if byte % 2 == 0 => format!("/{}", byte % 5),
        255 => "/-".to_owned(),
        byte => format!("/{}", take_name(byte)),
    });
    tokens.collect()
}

/// Any of the options.
pub(super) fn take_merge_options(rest: &mut &[u8]) -> MergeOptions {
    let byte = take(rest);
    let arrays = [
        Arrays::ByIndex,
        Arrays::Replace,
        Arrays::Append,
        Arrays::Union,
    ];
    let nulls = if byte & 4 == 0 {
        Nulls::Store
    } else {
        Nulls::Remove
    };
    MergeOptions::new()
        .arrays(arrays[usize::from(byte % 4)])
        .nulls(nulls)
}

/// The next byte, 0 where there is none.
fn take(rest: &mut &[u8]) -> u8 {
    let Some((&byte, behind)) = rest.split_first() else {
        return 0;
    };
    *rest = behind;
    byte
}

/// Few names, so that two documents have some in common.
fn take_name(byte: u8) -> String {
    ["a", "b", "c", "", "0", "~1/"][usize::from(byte % 6)].to_owned()
}

/// A value at most so many levels deep.
pub(super) fn take_value(rest: &mut &[u8], levels: usize) -> Value {
    let kind = take(rest);
    let count = kind / 8 % 6;
    match kind % 8 {
        0 => Value::Null,
        1 => Value::from(kind >= 128),
        2 => Value::from(take(rest)),
        3 => Value::from(-i64::from(take(rest)) << (count * 8)),
        4 => Value::from(take_float(rest)),
        5 => Value::from(take_name(take(rest))),
        6 if levels > 0 => (0..count).map(|_| take_value(rest, levels - 1)).collect(),
        7 if levels > 0 => {
            let members = (0..count).map(|_| (take_name(take(rest)), take_value(rest, levels - 1)));
            members.collect()
        }
        _ => Value::Null,
    }
}

fn take_float(rest: &mut &[u8]) -> f64 {
    f64::from_be_bytes(std::array::from_fn(|_| take(rest)))
}

fn take_kind(rest: &mut &[u8]) -> Kind {
    [Kind::Document, Kind::Blob, Kind::Folder][usize::from(take(rest) % 3)]
}

fn take_optional<T>(rest: &mut &[u8], some: impl FnOnce(&mut &[u8]) -> T) -> Option<T> {
    (take(rest) % 2 == 1).then(|| some(rest))
}

/// Of any length: a shift chooses how many bits are left.
fn take_number(rest: &mut &[u8]) -> u64 {
    let shift = take(rest) % 64;
    u64::from_be_bytes(std::array::from_fn(|_| take(rest))) >> shift
}
