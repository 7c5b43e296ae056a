//! What is expected of a store: every change there was, what each left, and the tokens; as the history told of it while
//! the store was whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use komatik::{Change, ChangeKind, Digest, Events, Kind, Store, Subscription, Token};
use serde::{Deserialize, Serialize};

/// Contents are also read in pieces of this size, which no digest of the whole guards.
pub const PIECE_BYTES: usize = 10_000;

/// Entries by key, with their revision and the digest of what they show; folders end with `/`.
pub type Entries = BTreeMap<String, (u64, String)>;

/// A change as it was told, and what the entry showed after it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Told {
    line: String,
    revision: u64,
    key: String,
    /// The key that is no longer there.
    gone: Option<String>,
    shown: Option<String>,
    /// What each piece of it is.
    pieces: Vec<u32>,
}

/// See the [module](self).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Expected {
    changes: Vec<Told>,
    /// The tokens there were, from a revision on.
    tokens: Vec<(u64, Vec<String>)>,
    /// Tokens that work in the end, and their keys.
    pub granted: Vec<(String, String)>,
}

impl Expected {
    pub fn load(path: &Path) -> Expected {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    pub fn save(&self, path: &Path) {
        std::fs::write(path, serde_json::to_vec(self).unwrap()).unwrap();
    }

    /// The revisions of the changes from this one on, newest first, and this one.
    pub fn revisions_from(&self, floor: u64) -> BTreeSet<u64> {
        let revisions = self.changes.iter().map(|change| change.revision);
        revisions
            .filter(|revision| *revision > floor)
            .chain([floor])
            .collect()
    }

    pub fn last(&self) -> u64 {
        self.changes.last().map_or(0, |change| change.revision)
    }

    /// The revision before the last one.
    pub fn last_but_one(&self) -> u64 {
        let mut earlier = self.changes.iter().rev().map(|change| change.revision);
        earlier
            .find(|revision| *revision < self.last())
            .unwrap_or(0)
    }

    /// What was there after this revision.
    pub fn entries_at(&self, revision: u64) -> Entries {
        let mut entries = Entries::new();
        for change in self
            .changes
            .iter()
            .take_while(|change| change.revision <= revision)
        {
            if let Some(gone) = &change.gone {
                entries.remove(gone);
            }
            if let Some(shown) = &change.shown {
                let revision = if change.key.ends_with('/') {
                    0
                } else {
                    change.revision
                };
                entries.insert(change.key.clone(), (revision, shown.clone()));
            }
        }
        entries
    }

    /// Whether this key ever held this.
    pub fn has_held(&self, key: &str, (revision, shown): &(u64, String)) -> bool {
        self.changes.iter().any(|change| {
            change.key == key
                && change.shown.as_ref() == Some(shown)
                && (change.revision == *revision || *revision == 0)
        })
    }

    /// Whether the piece of this number of this version was this.
    pub fn has_shown(&self, key: &str, revision: u64, number: usize, piece: u32) -> bool {
        self.changes.iter().any(|change| {
            change.key == key
                && change.revision == revision
                && change.pieces.get(number) == Some(&piece)
        })
    }

    /// What the history says from one revision to another.
    pub fn lines(&self, oldest: u64, newest: u64) -> Vec<&str> {
        let within = |change: &&Told| (oldest..=newest).contains(&change.revision);
        let changes = self.changes.iter().filter(within);
        changes.map(|change| &*change.line).collect()
    }

    /// Whether these are the tokens there were at this revision, or before the next change.
    pub fn had_tokens(&self, revision: u64, tokens: &[String]) -> bool {
        let later = self.changes.iter().map(|change| change.revision);
        let next = later
            .filter(|later| *later > revision)
            .min()
            .unwrap_or(u64::MAX);
        let until = |number: usize| {
            self.tokens
                .get(number + 1)
                .map_or(u64::MAX, |(from, _)| *from)
        };
        let mut lists = self.tokens.iter().enumerate();
        lists.any(|(number, (from, list))| {
            *from < next && until(number) > revision && list == tokens
        })
    }

    /// Whether there ever was this token.
    pub fn has_granted(&self, token: &str) -> bool {
        let mut all = self.tokens.iter().flat_map(|(_, tokens)| tokens);
        all.any(|other| other == token)
    }
}

/// Writes down what is expected of a store while it is made.
pub struct Recorder {
    /// Ends with the store; a watcher would be left behind by a short history.
    subscription: Option<Subscription>,
    heard: Arc<Mutex<Vec<Change>>>,
    pub expected: Expected,
}

impl Recorder {
    pub fn new() -> Recorder {
        Recorder {
            subscription: None,
            heard: Arc::default(),
            expected: Expected::default(),
        }
    }

    /// When the store was opened.
    pub fn listen(&mut self, store: &Store) {
        let heard = Arc::clone(&self.heard);
        let events = Events::ALL;
        self.subscription = Some(store.on(events, move |change| {
            heard.lock().unwrap().push(change.clone());
        }));
    }

    /// Before the store is closed.
    pub fn pause(&mut self) {
        self.subscription = None;
    }

    /// After each step. The store offers all passwords.
    pub fn note(&mut self, store: &Store) {
        for change in std::mem::take(&mut *self.heard.lock().unwrap()) {
            self.expected.changes.push(told(store, &change));
        }
        let tokens = token_lines(store).unwrap();
        let before = self.expected.tokens.last();
        if before.is_none_or(|(_, last)| *last != tokens) {
            let newest = store.history().newest;
            self.expected.tokens.push((newest, tokens));
        }
    }

    pub fn granted(&mut self, token: &Token, key: &str) {
        let granted = (token.as_str().to_owned(), key.to_owned());
        self.expected.granted.push(granted);
    }
}

fn told(store: &Store, change: &Change) -> Told {
    let row_key = |key: &str| match change.entry {
        Kind::Folder => format!("{key}/"),
        _ => key.to_owned(),
    };
    let key = row_key(&change.key);
    let gone = match &change.kind {
        ChangeKind::Delete => Some(key.clone()),
        ChangeKind::Move { from } => Some(row_key(from)),
        _ => None,
    };
    let mut pieces = Vec::new();
    let shown = (change.kind != ChangeKind::Delete).then(|| match change.entry {
        Kind::Folder => "folder".to_owned(),
        _ => {
            let metadata = store.metadata(&key).unwrap().unwrap();
            assert_eq!(metadata.revision, change.revision, "{change:?}");
            let bytes = store.get(&key).unwrap().unwrap();
            pieces = bytes.chunks(PIECE_BYTES).map(piece).collect();
            shown(&bytes)
        }
    });
    Told {
        line: format!("{change:?}"),
        revision: change.revision,
        key,
        gone,
        shown,
        pieces,
    }
}

/// What stands for a piece of a content.
pub fn piece(bytes: &[u8]) -> u32 {
    let digest = Digest::of(bytes);
    u32::from_be_bytes(*digest.as_bytes().first_chunk().unwrap())
}

/// What stands for a content.
pub fn shown(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

/// The tokens as they are told.
pub fn token_lines(store: &Store) -> komatik::Result<Vec<String>> {
    let mut lines: Vec<_> = store
        .tokens()?
        .iter()
        .map(|token| format!("{token:?}"))
        .collect();
    lines.sort();
    Ok(lines)
}
