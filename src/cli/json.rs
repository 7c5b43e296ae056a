//! The objects of `--json`. Their members are stable: new ones may come, none goes or changes its meaning.

use std::time::SystemTime;

use humantime::format_rfc3339_micros;
use komatik::{Change, ChangeKind, Finding, ListItem, Metadata};
use serde_json::{Value, json};

pub(crate) fn time(time: SystemTime) -> Value {
    format_rfc3339_micros(time).to_string().into()
}

pub(crate) fn metadata(metadata: &Metadata) -> Value {
    json!({
        "key": metadata.key,
        "kind": metadata.kind.as_str(),
        "revision": metadata.revision,
        "size": metadata.size,
        "created": time(metadata.created),
        "updated": time(metadata.updated),
        "content_type": metadata.content_type,
        "digest": metadata.digest.to_string(),
        "attributes": metadata.attributes,
        "view_locked": metadata.view_locked,
        "edit_locked": metadata.edit_locked,
    })
}

/// An item of a listing: its name in the folder listed, where to go on after it, and its metadata where it is told.
pub(crate) fn item(item: &ListItem) -> Value {
    let mut object = match (&item.metadata, item.is_folder) {
        (Some(known), _) => metadata(known),
        (None, true) => json!({"kind": "folder"}),
        (None, false) => json!({"kind": null, "view_locked": true}),
    };
    object["name"] = item.name.as_str().into();
    object["cursor"] = item.cursor().into();
    object
}

pub(crate) fn change(change: &Change) -> Value {
    let from = match &change.kind {
        ChangeKind::Move { from } => Some(from),
        _ => None,
    };
    json!({
        "revision": change.revision,
        "last": change.last,
        "change": change_name(&change.kind),
        "key": change.key,
        "from": from,
        "kind": change.entry.as_str(),
        "size": change.size,
        "digest": change.digest.map(|digest| digest.to_string()),
        "participant": change.participant,
        "time": time(change.time),
    })
}

pub(crate) fn change_name(kind: &ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Put => "put",
        ChangeKind::Delete => "delete",
        ChangeKind::Move { .. } => "move",
        _ => "other",
    }
}

pub(crate) fn finding(finding: &Finding) -> Value {
    json!({
        "what": finding.what,
        "location": finding.location,
        "problem": finding.problem,
    })
}
