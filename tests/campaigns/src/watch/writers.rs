//! Threads that write and know what must be told of it: each has keys of its own, and one name in all its changes.

use std::collections::BTreeMap;

use komatik::{Digest, Durability, Kind, Metadata, PutMode, Store, Transaction};
use serde_json::json;

use super::log::{Action, Content, Log};
use crate::common::Random;

/// The folders that every writer has one of its own in.
pub const SIDES: [&str; 2] = ["x", "y"];
/// So many entries a large transaction has; more than a watcher reads at a time.
const LARGE: usize = 300;

/// What must be told of a change; nothing of the content where another writer may have changed it.
#[derive(Debug, Clone)]
struct Told {
    key: String,
    action: Action,
    content: Option<Content>,
}

/// By row: an entry, or a folder with its closing `/`.
type Rows = BTreeMap<String, Content>;

pub struct Writer {
    stores: [Store; 2],
    name: String,
    random: Random,
    rows: Rows,
    commits: Vec<Vec<Told>>,
    number: u64,
}

fn content(metadata: &Metadata) -> Content {
    Content {
        kind: metadata.kind.as_str().to_owned(),
        size: metadata.size,
        digest: *metadata.digest.as_bytes(),
    }
}

fn folder_content() -> Content {
    Content {
        kind: Kind::Folder.as_str().to_owned(),
        size: 0,
        digest: *Digest::of(&[]).as_bytes(),
    }
}

impl Writer {
    pub fn new(store: &Store, seed: u64, number: usize) -> Writer {
        let name = format!("w{number}");
        let store = store.acting_as(&name);
        let mut random = Random::new(seed ^ ((number as u64 + 1) << 52));
        random.next();
        Writer {
            stores: [
                store.with_durability(Durability::Immediate),
                store.with_durability(Durability::Eventual),
            ],
            name,
            random,
            rows: Rows::new(),
            commits: Vec::new(),
            number: 0,
        }
    }

    fn side(&mut self) -> &'static str {
        SIDES[self.random.below(SIDES.len())]
    }

    fn key(&mut self) -> String {
        let side = self.side();
        let name = &self.name;
        match self.random.below(3) {
            0 => format!("{side}/{name}/in/{}", self.random.below(4)),
            _ => format!("{side}/{name}/{}", self.random.below(6)),
        }
    }

    fn folder(&mut self, name: &str) -> String {
        format!("{}/{}/{name}", self.side(), self.name)
    }

    /// Does something, and notes what must be told of it.
    pub fn step(&mut self) -> komatik::Result<()> {
        self.number += 1;
        let store = self.stores[self.random.below(2)].clone();
        let told = match self.random.below(1000) {
            0..350 => self.save(&store)?,
            350..450 => self.put(&store)?,
            450..530 => self.merge(&store)?,
            530..600 => self.delete(&store)?,
            600..700 => self.carry(&store)?,
            700..730 => self.create_folder(&store)?,
            730..880 => self.transaction(&store)?,
            880..900 => {
                let folder = self.folder("in");
                self.delete_folder(&store, &folder)?
            }
            900..940 => self.rename_folder(&store)?,
            940..945 => self.large(&store)?,
            945..950 => {
                let folder = self.folder("large");
                self.delete_folder(&store, &folder)?
            }
            _ => self.shared(&store)?,
        };
        if !told.is_empty() {
            self.commits.push(told);
        }
        Ok(())
    }

    fn put_told(&mut self, key: String, metadata: &Metadata) -> Vec<Told> {
        let content = content(metadata);
        self.rows.insert(key.clone(), content.clone());
        vec![Told {
            key,
            action: Action::Put,
            content: Some(content),
        }]
    }

    fn document(&mut self) -> serde_json::Value {
        json!({"n": self.number, "by": self.name, "text": "x".repeat(self.random.below(60))})
    }

    fn bytes(&mut self) -> Vec<u8> {
        let size = [20, 300, 6_000][self.random.below(3)];
        self.random.bytes(size)
    }

    fn save(&mut self, store: &Store) -> komatik::Result<Vec<Told>> {
        let (key, value) = (self.key(), self.document());
        let metadata = store.save(&key, &value)?;
        Ok(self.put_told(key, &metadata))
    }

    fn put(&mut self, store: &Store) -> komatik::Result<Vec<Told>> {
        let (key, bytes) = (self.key(), self.bytes());
        let metadata = store.put(&key, bytes)?;
        Ok(self.put_told(key, &metadata))
    }

    fn merge(&mut self, store: &Store) -> komatik::Result<Vec<Told>> {
        let key = self.key();
        let there = self.rows.get(&key);
        if there.is_some_and(|content| content.kind != Kind::Document.as_str()) {
            return Ok(Vec::new());
        }
        let metadata = store.merge(&key, &json!({"merged": self.number}))?;
        Ok(self.put_told(key, &metadata))
    }

    fn delete(&mut self, store: &Store) -> komatik::Result<Vec<Told>> {
        let key = self.key();
        store.delete(&key)?;
        Ok(delete_row(&mut self.rows, &key).into_iter().collect())
    }

    fn carry(&mut self, store: &Store) -> komatik::Result<Vec<Told>> {
        let (from, to) = (self.key(), self.key());
        if from == to || !self.rows.contains_key(&from) {
            return Ok(Vec::new());
        }
        if self.random.below(3) == 0 {
            let metadata = store.copy(&from, &to, PutMode::Overwrite)?;
            return Ok(self.put_told(to, &metadata));
        }
        store.rename(&from, &to, PutMode::Overwrite)?;
        Ok(move_row(&mut self.rows, &from, &to).into_iter().collect())
    }

    fn create_folder(&mut self, store: &Store) -> komatik::Result<Vec<Told>> {
        let folder = self.folder("in");
        store.create_folder(&folder)?;
        let before = self.rows.insert(format!("{folder}/"), folder_content());
        let told = before.is_none().then(|| Told {
            key: folder,
            action: Action::Put,
            content: Some(folder_content()),
        });
        Ok(told.into_iter().collect())
    }

    /// Several steps at once; some fail in the end, and nothing is to be told of them.
    fn transaction(&mut self, store: &Store) -> komatik::Result<Vec<Told>> {
        let fails = self.random.below(6) == 0;
        let count = 2 + self.random.below(6);
        let mut rows = self.rows.clone();
        let mut told = Vec::new();
        let done = store.transaction(|transaction| {
            for _ in 0..count {
                told.extend(self.part(transaction, &mut rows)?);
            }
            match fails {
                true => Err(komatik::Error::Cancelled),
                false => Ok(()),
            }
        });
        match done {
            Err(komatik::Error::Cancelled) if fails => return Ok(Vec::new()),
            done => done?,
        }
        self.rows = rows;
        Ok(told)
    }

    fn part(
        &mut self,
        transaction: &mut Transaction<'_>,
        rows: &mut Rows,
    ) -> komatik::Result<Option<Told>> {
        let (key, other) = (self.key(), self.key());
        match self.random.below(6) {
            0..3 => transaction.save(&key, &self.document())?,
            3 => transaction.put(&key, self.bytes())?,
            4 => {
                transaction.delete(&key)?;
                return Ok(delete_row(rows, &key));
            }
            _ if key == other || !rows.contains_key(&key) => return Ok(None),
            _ => {
                transaction.rename(&key, &other, PutMode::Overwrite)?;
                return Ok(move_row(rows, &key, &other));
            }
        }
        let metadata = transaction.metadata(&key)?.expect("it was just written");
        let content = content(&metadata);
        rows.insert(key.clone(), content.clone());
        Ok(Some(Told {
            key,
            action: Action::Put,
            content: Some(content),
        }))
    }

    fn large(&mut self, store: &Store) -> komatik::Result<Vec<Told>> {
        let folder = self.folder("large");
        let mut told = Vec::new();
        store.transaction(|transaction| {
            for number in 0..LARGE {
                let key = format!("{folder}/{number}");
                transaction.save(&key, &self.number)?;
                let metadata = transaction.metadata(&key)?.expect("it was just written");
                told.extend(self.put_told(key, &metadata));
            }
            Ok(())
        })?;
        Ok(told)
    }

    fn below(&self, folder: &str) -> Vec<String> {
        let prefix = format!("{folder}/");
        let rows = self.rows.range(prefix.clone()..);
        rows.map(|(row, _)| row.clone())
            .take_while(|row| row.starts_with(&prefix))
            .collect()
    }

    fn delete_folder(&mut self, store: &Store, folder: &str) -> komatik::Result<Vec<Told>> {
        store.delete_folder(folder)?;
        let below = self.below(folder);
        Ok(below
            .iter()
            .filter_map(|row| delete_row(&mut self.rows, row))
            .collect())
    }

    fn rename_folder(&mut self, store: &Store) -> komatik::Result<Vec<Told>> {
        let sides = [0, 1].map(|side| format!("{}/{}/in", SIDES[side], self.name));
        let there = sides.clone().map(|folder| !self.below(&folder).is_empty());
        let (from, to) = match there {
            [true, false] => (&sides[0], &sides[1]),
            [false, true] => (&sides[1], &sides[0]),
            _ => return Ok(Vec::new()),
        };
        store.rename_folder(from, to)?;
        let moved = self.below(from);
        Ok(moved
            .iter()
            .filter_map(|row| {
                let target = format!("{to}{}", &row[from.len()..]);
                move_row(&mut self.rows, row, &target)
            })
            .collect())
    }

    /// What others write as well.
    fn shared(&mut self, store: &Store) -> komatik::Result<Vec<Told>> {
        let key = format!("shared/{}", self.random.below(4));
        if self.random.below(4) == 0 {
            let was_there = store.delete(&key)?;
            let told = was_there.then_some(Told {
                key,
                action: Action::Delete,
                content: None,
            });
            return Ok(told.into_iter().collect());
        }
        let value = self.document();
        let metadata = store.save(&key, &value)?;
        Ok(vec![Told {
            key,
            action: Action::Put,
            content: Some(content(&metadata)),
        }])
    }

    /// Whether the log tells of exactly what this writer did, in its order, commit by commit.
    pub fn check(&self, log: &Log) -> Result<(), String> {
        let mut expected = self.commits.iter().enumerate();
        for commit in log.commits() {
            if commit[0].participant.as_deref() != Some(&self.name) {
                continue;
            }
            let Some((number, told)) = expected.next() else {
                return Err(format!("{} did not do {commit:?}", self.name));
            };
            let is_told = |(event, told): (&super::log::Event, &Told)| {
                event.participant.as_deref() == Some(&self.name)
                    && event.key == told.key
                    && event.action == told.action
                    && told
                        .content
                        .as_ref()
                        .is_none_or(|content| *content == event.content)
            };
            if commit.len() != told.len() || !commit.iter().zip(told).all(is_told) {
                return Err(format!(
                    "commit {number} of {} is told as {commit:?}, it was {told:?}",
                    self.name
                ));
            }
        }
        match expected.next() {
            None => Ok(()),
            Some(missing) => Err(format!("not told: {missing:?} of {}", self.name)),
        }
    }
}

/// The key of an entry, or of a folder without its closing `/`.
fn name(row: &str) -> String {
    row.trim_end_matches('/').to_owned()
}

fn delete_row(rows: &mut Rows, row: &str) -> Option<Told> {
    let content = rows.remove(row)?;
    Some(Told {
        key: name(row),
        action: Action::Delete,
        content: Some(content),
    })
}

fn move_row(rows: &mut Rows, from: &str, to: &str) -> Option<Told> {
    let content = rows.remove(from)?;
    rows.insert(to.to_owned(), content.clone());
    Some(Told {
        key: name(to),
        action: Action::Move(name(from)),
        content: Some(content),
    })
}
