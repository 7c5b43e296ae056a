//! Changes as a consumer was told of them, and what must be true of every such log: in the order of revisions, none twice,
//! those of a commit together and the last one marked.

use std::collections::BTreeMap;

use komatik::{Change, ChangeKind, Kind, ListOptions, Store};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    Put,
    Delete,
    /// From this key.
    Move(String),
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    pub kind: String,
    pub size: u64,
    pub digest: [u8; 32],
}

/// A change, without its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub revision: u64,
    pub last: bool,
    pub key: String,
    pub action: Action,
    pub content: Content,
    pub participant: Option<String>,
}

impl From<&Change> for Event {
    fn from(change: &Change) -> Event {
        Event {
            revision: change.revision,
            last: change.last,
            key: change.key.clone(),
            action: match &change.kind {
                ChangeKind::Put => Action::Put,
                ChangeKind::Delete => Action::Delete,
                ChangeKind::Move { from } => Action::Move(from.clone()),
                other => unreachable!("no kind of change that is known: {other:?}"),
            },
            content: Content {
                kind: change.entry.as_str().to_owned(),
                size: change.size.expect("nothing has a view password"),
                digest: *change.digest.expect("nor its digest").as_bytes(),
            },
            participant: change.participant.clone(),
        }
    }
}

/// Events in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Log(Vec<Event>);

impl Log {
    pub fn add(&mut self, event: Event) -> Result<(), String> {
        let follows = match self.0.last() {
            None => true,
            Some(before) if before.last => before.revision < event.revision,
            Some(before) => before.revision == event.revision,
        };
        match follows {
            true => self.0.push(event),
            false => return Err(format!("{event:?} came behind {:?}", self.0.last())),
        }
        Ok(())
    }

    pub fn events(&self) -> &[Event] {
        &self.0
    }

    /// The events of each commit.
    pub fn commits(&self) -> impl Iterator<Item = &[Event]> {
        self.0.chunk_by(|one, other| one.revision == other.revision)
    }

    /// Leaves out a commit that was not told to its end.
    pub fn drop_unfinished(&mut self) {
        while self.0.pop_if(|last| !last.last).is_some() {}
    }

    /// What is told of the revisions behind `after` up to `until` below a folder (`""` or with its closing `/`), by names
    /// that are relative to `scope`.
    pub fn seen_from(&self, scope: &str, within: &str, after: u64, until: u64) -> Vec<Event> {
        let mut seen = Vec::new();
        let in_reach = |commit: &&[Event]| (after + 1..=until).contains(&commit[0].revision);
        for commit in self.commits().filter(in_reach) {
            let before = seen.len();
            seen.extend(
                commit
                    .iter()
                    .filter_map(|event| relative(event, scope, within)),
            );
            let here = &mut seen[before..];
            here.iter_mut().for_each(|event| event.last = false);
            if let Some(last) = here.last_mut() {
                last.last = true;
            }
        }
        seen
    }
}

/// The event as it is seen from elsewhere; what crosses the border is put or deleted.
fn relative(event: &Event, scope: &str, within: &str) -> Option<Event> {
    let name = |key: &str| {
        let inside = key.starts_with(within);
        inside.then(|| key[scope.len()..].to_owned())
    };
    let (key, action) = match (name(&event.key), &event.action) {
        (Some(key), Action::Move(from)) => match name(from) {
            Some(from) => (key, Action::Move(from)),
            None => (key, Action::Put),
        },
        (None, Action::Move(from)) => (name(from)?, Action::Delete),
        (key, action) => (key?, action.clone()),
    };
    Some(Event {
        key,
        action,
        ..event.clone()
    })
}

/// Where two logs part, if they do.
pub fn difference(found: &[Event], expected: &[Event]) -> Option<String> {
    let same = found
        .iter()
        .zip(expected)
        .take_while(|(one, other)| one == other);
    let at = same.count();
    (at < found.len().max(expected.len())).then(|| {
        format!(
            "event {at} of {} (expected {}) is {:?}, expected {:?}",
            found.len(),
            expected.len(),
            found.get(at),
            expected.get(at)
        )
    })
}

/// The entries of a store, as changes tell of them.
#[derive(Debug, Default)]
pub struct Mirror(BTreeMap<String, Content>);

impl Mirror {
    /// What a store holds now.
    pub fn of(store: &Store) -> komatik::Result<Mirror> {
        let mut entries = BTreeMap::new();
        for item in store.list_with("", ListOptions::new().recursive())? {
            let item = item?;
            if let Some(metadata) = item.metadata {
                let content = Content {
                    kind: metadata.kind.as_str().to_owned(),
                    size: metadata.size,
                    digest: *metadata.digest.as_bytes(),
                };
                entries.insert(item.name, content);
            }
        }
        Ok(Mirror(entries))
    }

    pub fn apply(&mut self, event: &Event) {
        // Folders without entries are not listed.
        if event.content.kind == Kind::Folder.as_str() {
            return;
        }
        match &event.action {
            Action::Delete => drop(self.0.remove(&event.key)),
            Action::Put => drop(self.0.insert(event.key.clone(), event.content.clone())),
            Action::Move(from) => {
                self.0.remove(from);
                self.0.insert(event.key.clone(), event.content.clone());
            }
        }
    }

    /// Whether the store holds the same.
    pub fn check(&self, store: &Store) -> Result<(), String> {
        let present = Mirror::of(store).map_err(|error| format!("{error:?}"))?;
        let differing = |one: &Mirror, other: &Mirror| {
            let (one, other) = (one.0.clone(), &other.0);
            let mut differing = one
                .into_iter()
                .filter(|(key, content)| other.get(key) != Some(content));
            differing.next()
        };
        match (differing(self, &present), differing(&present, self)) {
            (None, None) => Ok(()),
            (mirrored, present) => Err(format!(
                "the mirror differs: it has {mirrored:?}, the store {present:?}"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(revision: u64, last: bool, key: &str, action: Action) -> Event {
        Event {
            revision,
            last,
            key: key.to_owned(),
            action,
            content: Content {
                kind: "blob".to_owned(),
                size: 1,
                digest: [0; 32],
            },
            participant: None,
        }
    }

    fn log(events: &[(u64, bool)]) -> Result<Log, String> {
        let mut log = Log::default();
        for (revision, last) in events {
            log.add(event(*revision, *last, "k", Action::Put))?;
        }
        Ok(log)
    }

    #[test]
    fn order_and_marks() {
        assert!(log(&[(1, true), (2, false), (2, true), (9, true)]).is_ok());
        for wrong in [
            [(1, true), (1, true)],
            [(2, true), (1, true)],
            [(1, false), (2, true)],
            [(1, true), (1, false)],
        ] {
            assert!(log(&wrong).is_err(), "{wrong:?}");
        }
        let mut unfinished = log(&[(1, true), (2, false), (2, false)]).unwrap();
        unfinished.drop_unfinished();
        assert_eq!(unfinished.events().len(), 1);
    }

    #[test]
    fn what_a_folder_sees() {
        let mut log = Log::default();
        for (last, key, action) in [
            (false, "x/1", Action::Put),
            (false, "y/1", Action::Move("x/2".to_owned())),
            (false, "x/3", Action::Move("y/3".to_owned())),
            (true, "y/9", Action::Delete),
        ] {
            log.add(event(5, last, key, action)).unwrap();
        }
        let seen = log.seen_from("x/", "x/", 4, 5);
        let expected = [
            event(5, false, "1", Action::Put),
            event(5, false, "2", Action::Delete),
            event(5, true, "3", Action::Put),
        ];
        assert_eq!(seen, expected);
        assert!(log.seen_from("", "", 5, 9).is_empty());
    }
}
