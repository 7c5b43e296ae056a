//! A change as one reader sees it: keys relative to its scope, and nothing of what happens outside.

use crate::format::{ChangeAction, ChangeRecord, from_micros};
use crate::key::Folder;
use crate::metadata::{Change, ChangeKind};
use crate::scope::Scope;

/// What a reader sees of the history.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    /// Keys are told relative to it.
    pub(crate) scope: Scope,
    /// Only what happens in it is told; it lies in the scope, or is the scope.
    pub(crate) within: Folder,
}

/// What has happened to a key, as one reader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen<'a> {
    Put,
    Delete,
    /// From this key.
    Move(&'a str),
}

impl Sight {
    /// What this reader sees to have happened, and to which key; `None` where it happened elsewhere.
    ///
    /// What moves in from elsewhere is put, what moves out is deleted.
    pub(crate) fn look<'a>(&self, record: &'a ChangeRecord) -> Option<(&'a str, Seen<'a>)> {
        match (self.name(&record.key), &record.action) {
            (Some(key), ChangeAction::Put) => Some((key, Seen::Put)),
            (Some(key), ChangeAction::Delete) => Some((key, Seen::Delete)),
            (here, ChangeAction::Move { from }) => match (here, self.name(from)) {
                (Some(key), Some(from)) => Some((key, Seen::Move(from))),
                (Some(key), None) => Some((key, Seen::Put)),
                (None, Some(from)) => Some((from, Seen::Delete)),
                (None, None) => None,
            },
            (None, _) => None,
        }
    }

    /// The change as this reader sees it, `None` where it happened elsewhere. `last` is left to the caller.
    pub(crate) fn of(&self, revision: u64, record: &ChangeRecord) -> Option<Change> {
        let (key, seen) = self.look(record)?;
        Some(Change {
            revision,
            last: false,
            key: key.to_owned(),
            kind: match seen {
                Seen::Put => ChangeKind::Put,
                Seen::Delete => ChangeKind::Delete,
                Seen::Move(from) => ChangeKind::Move {
                    from: from.to_owned(),
                },
            },
            entry: record.entry,
            size: record.content.map(|(size, _)| size),
            digest: record.content.map(|(_, digest)| digest),
            participant: record.participant.clone(),
            time: from_micros(record.time),
        })
    }

    fn name<'a>(&self, key: &'a str) -> Option<&'a str> {
        self.within.strip(key)?;
        self.scope.strip(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Digest, Kind};

    fn seen(scope: &str, within: &str, key: &str, action: ChangeAction) -> Option<Change> {
        let sight = Sight {
            scope: Folder::parse(scope).unwrap().into(),
            within: Folder::parse(within).unwrap(),
        };
        let record = ChangeRecord {
            action,
            key: key.to_owned(),
            entry: Kind::Blob,
            content: Some((1, Digest::of(b"x"))),
            participant: None,
            time: 0,
        };
        sight.of(7, &record)
    }

    fn told(scope: &str, within: &str, key: &str, action: ChangeAction) -> (String, ChangeKind) {
        let change = seen(scope, within, key, action).unwrap();
        (change.key, change.kind)
    }

    #[test]
    fn moves_across_the_border() {
        let moved = |from: &str| ChangeAction::Move { from: from.into() };
        assert_eq!(
            told("a", "a", "a/new", moved("a/old")),
            ("new".into(), ChangeKind::Move { from: "old".into() })
        );
        assert_eq!(
            told("a", "a", "a/new", moved("b/old")),
            ("new".into(), ChangeKind::Put)
        );
        assert_eq!(
            told("a", "a", "b/new", moved("a/old")),
            ("old".into(), ChangeKind::Delete)
        );
        assert_eq!(seen("a", "a", "b/new", moved("c/old")), None);
    }

    #[test]
    fn a_narrower_folder_keeps_the_names_of_the_scope() {
        assert_eq!(
            told("a", "a/b", "a/b/c", ChangeAction::Put),
            ("b/c".into(), ChangeKind::Put)
        );
        for elsewhere in ["a/c", "a/bc", "a/b", "b/c"] {
            assert_eq!(seen("a", "a/b", elsewhere, ChangeAction::Put), None);
        }
    }
}
