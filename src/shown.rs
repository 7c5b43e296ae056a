//! What the store tells, as objects for other programs: those of the command's `--json` and of the service.
//!
//! Their members are stable: new ones may come, none goes or changes its meaning. Times are RFC 3339 with microseconds.

use std::time::SystemTime;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::care::{Repaired, Stats};
use crate::format::{from_micros, to_micros};
use crate::list::ListItem;
use crate::metadata::{Attributes, Change, ChangeKind, Digest, Kind, Metadata};
use crate::report::{Finding, Report};
use crate::token::TokenInfo;

/// A time as it is told.
fn told(time: SystemTime) -> String {
    // One that a caller made may be outside the years that have a text.
    let time = from_micros(to_micros(time));
    humantime::format_rfc3339_micros(time).to_string()
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(Serialize)]
struct ToldEntry<'a> {
    key: &'a str,
    kind: Kind,
    revision: u64,
    size: u64,
    created: String,
    updated: String,
    content_type: &'a str,
    digest: Digest,
    attributes: &'a Attributes,
    view_locked: bool,
    edit_locked: bool,
}

impl<'a> From<&'a Metadata> for ToldEntry<'a> {
    fn from(of: &'a Metadata) -> Self {
        ToldEntry {
            key: &of.key,
            kind: of.kind,
            revision: of.revision,
            size: of.size,
            created: told(of.created),
            updated: told(of.updated),
            content_type: &of.content_type,
            digest: of.digest,
            attributes: &of.attributes,
            view_locked: of.view_locked,
            edit_locked: of.edit_locked,
        }
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ToldEntry::from(self).serialize(serializer)
    }
}

/// What stands in place of metadata that is not there, or not to be told.
#[derive(Serialize)]
#[serde(untagged)]
enum ToldChild<'a> {
    Entry(ToldEntry<'a>),
    Folder {
        kind: &'static str,
    },
    Hidden {
        kind: Option<Kind>,
        view_locked: bool,
    },
}

impl Serialize for ListItem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Told<'a> {
            #[serde(flatten)]
            child: ToldChild<'a>,
            name: &'a str,
            cursor: String,
        }
        let child = match &self.metadata {
            Some(known) => ToldChild::Entry(known.into()),
            None if self.is_folder => ToldChild::Folder { kind: "folder" },
            None => ToldChild::Hidden {
                kind: None,
                view_locked: true,
            },
        };
        let told = Told {
            child,
            name: &self.name,
            cursor: self.cursor(),
        };
        told.serialize(serializer)
    }
}

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let from = match &self.kind {
            ChangeKind::Move { from } => Some(from),
            ChangeKind::Put | ChangeKind::Delete => None,
        };
        let mut object = serializer.serialize_struct("Change", 10)?;
        object.serialize_field("revision", &self.revision)?;
        object.serialize_field("last", &self.last)?;
        object.serialize_field("change", self.kind.as_str())?;
        object.serialize_field("key", &self.key)?;
        object.serialize_field("from", &from)?;
        object.serialize_field("kind", &self.entry)?;
        object.serialize_field("size", &self.size)?;
        object.serialize_field("digest", &self.digest)?;
        object.serialize_field("participant", &self.participant)?;
        object.serialize_field("time", &told(self.time))?;
        object.end()
    }
}

impl Serialize for TokenInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("TokenInfo", 4)?;
        object.serialize_field("key", &self.key)?;
        object.serialize_field("folder", &self.folder)?;
        object.serialize_field("created", &told(self.created))?;
        object.serialize_field("expires", &self.expires.map(told))?;
        object.end()
    }
}

impl Serialize for Stats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Stats", 10)?;
        object.serialize_field("entries", &self.entries)?;
        object.serialize_field("tokens", &self.tokens)?;
        object.serialize_field("row_bytes", &self.row_bytes)?;
        object.serialize_field("chunk_bytes", &self.chunk_bytes)?;
        object.serialize_field("dead_bytes", &self.dead_bytes)?;
        object.serialize_field("journal_bytes", &self.journal_bytes)?;
        object.serialize_field("tree_bytes", &self.tree_bytes)?;
        object.serialize_field("pack_bytes", &self.pack_bytes)?;
        object.serialize_field("oldest_revision", &self.history.oldest)?;
        object.serialize_field("newest_revision", &self.history.newest)?;
        object.end()
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Report", 5)?;
        object.serialize_field("sound", &self.is_sound())?;
        object.serialize_field("entries", &self.entries)?;
        object.serialize_field("bytes", &self.bytes)?;
        object.serialize_field("findings", &self.findings)?;
        object.serialize_field("unchecked", &self.unchecked)?;
        object.end()
    }
}

impl Serialize for Repaired {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Repaired", 2)?;
        object.serialize_field("entries", &self.entries)?;
        object.serialize_field("lost", &self.lost)?;
        object.end()
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Finding", 3)?;
        object.serialize_field("what", self.what)?;
        object.serialize_field("location", &self.location)?;
        object.serialize_field("problem", &self.problem)?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;

    use super::*;
    use crate::options::Lock;
    use crate::store::Store;

    #[test]
    fn what_is_told_of_an_entry_a_folder_and_a_locked_one() {
        let store = Store::in_memory().unwrap();
        store.put("a/b", "1").unwrap();
        let known = store.save("plan", &json!([1])).unwrap();
        store.put("secret", "2").unwrap();
        store.lock("secret", Lock::new().view("word")).unwrap();
        let mut told = serde_json::to_value(&known).unwrap();
        assert_eq!(told["kind"], "document");
        assert_eq!(told["digest"], known.digest.to_string());
        let items = store.list("").unwrap();
        let items: Vec<_> = items
            .map(|item| serde_json::to_value(item.unwrap()).unwrap())
            .collect();
        told["name"] = "plan".into();
        told["cursor"] = "plan".into();
        let folder = json!({"name": "a", "cursor": "a/", "kind": "folder"});
        let hidden =
            json!({"name": "secret", "cursor": "secret", "kind": null, "view_locked": true});
        assert_eq!(items, [folder, told, hidden]);
    }

    #[test]
    fn a_digest_that_was_told_can_be_read_again() {
        let digest = Digest::of(b"a");
        let text = digest.to_string();
        for text in [text.as_str(), &text.to_uppercase()] {
            assert_eq!(text.parse::<Digest>().unwrap(), digest);
        }
        for text in ["", &text[1..], &format!("{text}0"), &text.replace('1', "g")] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_without_a_text_is_told_as_the_nearest() {
        let years = Duration::from_secs(400 * 365 * 86_400);
        assert_eq!(told(UNIX_EPOCH - years), "1970-01-01T00:00:00.000000Z");
        let told = told(UNIX_EPOCH + 100 * years);
        assert_eq!(told, "9999-12-31T23:59:59.999999Z");
    }
}
