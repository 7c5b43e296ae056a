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

impl Sight {
    /// The change as this reader sees it, `None` where it happened elsewhere.
    ///
    /// What moves in from elsewhere is put, what moves out is deleted. `last` is left to the caller.
    pub(crate) fn of(&self, revision: u64, record: &ChangeRecord) -> Option<Change> {
        let (key, kind) = match (self.name(&record.key), &record.action) {
            (Some(key), ChangeAction::Put) => (key, ChangeKind::Put),
            (Some(key), ChangeAction::Delete) => (key, ChangeKind::Delete),
            (here, ChangeAction::Move { from }) => match (here, self.name(from)) {
                (Some(key), Some(from)) => {
                    let from = from.to_owned();
                    (key, ChangeKind::Move { from })
                }
                (Some(key), None) => (key, ChangeKind::Put),
                (None, Some(from)) => (from, ChangeKind::Delete),
                (None, None) => return None,
            },
            (None, _) => return None,
        };
        Some(Change {
            revision,
            last: false,
            key: key.to_owned(),
            kind,
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
