//! The objects of the interface. Their members are those of the command's `--json`.

use std::time::SystemTime;

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use headers::HeaderMapExt;
use serde_json::{Value, json};

use super::conditions::etag;
use crate::{Change, ChangeKind, Finding, ListItem, Metadata, Stats};

pub(super) fn time(time: SystemTime) -> Value {
    humantime::format_rfc3339_micros(time).to_string().into()
}

pub(super) fn metadata(metadata: &Metadata) -> Value {
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

/// An item of a listing: its name in the folder, where to go on after it, and its metadata where it is told.
pub(super) fn item(item: &ListItem) -> Value {
    let mut object = match (&item.metadata, item.is_folder) {
        (Some(known), _) => metadata(known),
        (None, true) => json!({"kind": "folder"}),
        (None, false) => json!({"kind": null, "view_locked": true}),
    };
    object["name"] = item.name.as_str().into();
    object["cursor"] = item.cursor().into();
    object
}

pub(super) fn change(change: &Change) -> Value {
    let from = match &change.kind {
        ChangeKind::Move { from } => Some(from),
        ChangeKind::Put | ChangeKind::Delete => None,
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

pub(super) fn change_name(kind: &ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Put => "put",
        ChangeKind::Delete => "delete",
        ChangeKind::Move { .. } => "move",
    }
}

pub(super) fn stats(stats: &Stats) -> Value {
    json!({
        "entries": stats.entries,
        "tokens": stats.tokens,
        "row_bytes": stats.row_bytes,
        "chunk_bytes": stats.chunk_bytes,
        "dead_bytes": stats.dead_bytes,
        "journal_bytes": stats.journal_bytes,
        "tree_bytes": stats.tree_bytes,
        "pack_bytes": stats.pack_bytes,
        "oldest_revision": stats.history.oldest(),
        "newest_revision": stats.history.newest(),
    })
}

pub(super) fn finding(finding: &Finding) -> Value {
    json!({
        "what": finding.what,
        "location": finding.location,
        "problem": finding.problem,
    })
}

/// What a write answers: what is stored now, and its tag.
pub(super) fn written(stored: &Metadata) -> Response {
    let status = match stored.created == stored.updated {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    let mut headers = HeaderMap::new();
    headers.typed_insert(etag(stored));
    (status, headers, Json(metadata(stored))).into_response()
}
