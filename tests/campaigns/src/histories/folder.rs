//! What a folder of a few keys does, one call after the other: the specification that histories are held against.
//!
//! A call answers revisions, and they are part of what must be explained. A transaction and a delete answer none, nor does
//! what a kill cut short; the revision they gave is bound by the first answer that tells it.

use serde::{Deserialize, Serialize};

use super::search::Specification;

/// The keys of a folder. One of them is a folder as well.
pub const KEYS: [&str; 4] = ["a", "a/b", "c", "d"];
/// Which of the keys lies below which.
pub const INNER: (usize, usize) = (0, 1);

/// A number of [`KEYS`].
pub type Key = usize;

/// What is stored, as numbers from which it can be made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Content {
    Blob(u64),
    /// The members of a document, in order.
    Document(Vec<u64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    Overwrite,
    Create,
    Update(u64),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    Put(Key, u64, Mode),
    Save(Key, u64, Mode),
    Merge(Key, u64, Mode),
    Delete(Key),
    DeleteFolder,
    Rename(Key, Key, Mode),
    Copy(Key, Key, Mode),
    /// Looks at all keys, then saves these documents, or deletes where there is no number; all or, where it is to fail,
    /// nothing.
    Together(Vec<(Key, Option<u64>)>, bool),
    /// The content.
    Get(Key),
    /// The content and the revision.
    Read(Key),
    Metadata(Key),
    /// Of a key, or of the folder.
    Exists(Option<Key>),
    /// Everything in the folder, by one listing.
    List,
    /// What lies directly in the folder.
    Children,
}

/// An entry as a call answers it.
pub type Found = Option<(u64, Content)>;

/// An entry as a listing tells it: its revision, and whether it is a blob.
pub type Item = (Key, u64, bool);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Written(u64),
    Refused(Refusal),
    Was(bool),
    Deleted(u64),
    Content(Option<Content>),
    Entry(Found),
    Revision(Option<u64>),
    /// What a transaction saw.
    Saw(Vec<Found>),
    Listed(Vec<Item>),
    /// As [`Answer::Listed`], and whether the inner folder was there.
    Children(Vec<Item>, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    NotFound,
    AlreadyExists,
    Mismatch { expected: u64, found: Option<u64> },
    WrongKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Revision {
    Known(u64),
    /// That of an operation which told none; higher than this.
    Of(usize, u64),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Entry {
    revision: Revision,
    content: Content,
}

/// The entries of a folder, and the last revision that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Folder {
    entries: [Option<Entry>; KEYS.len()],
    last: u64,
}

type Verdict = Result<(), Refusal>;

impl Specification for Folder {
    type Call = Call;
    type Answer = Answer;

    fn after(&self, number: usize, call: &Call, answer: Option<&Answer>) -> Option<Folder> {
        let mut after = self.clone();
        let is_explained = match call {
            Call::Put(key, tag, mode) => {
                let content = Content::Blob(*tag);
                after.put(number, *key, content, *mode, answer)
            }
            Call::Save(key, tag, mode) => {
                let content = Content::Document(vec![*tag]);
                after.put(number, *key, content, *mode, answer)
            }
            Call::Merge(key, tag, mode) => after.merge(number, *key, *tag, *mode, answer),
            Call::Delete(key) => {
                let was_there = after.entries[*key].take().is_some();
                is(answer, &Answer::Was(was_there))
            }
            Call::DeleteFolder => {
                let count = after.entries.iter().flatten().count() as u64;
                after.entries = Default::default();
                is(answer, &Answer::Deleted(count))
            }
            Call::Rename(from, to, mode) => after.carry(number, *from, *to, *mode, true, answer),
            Call::Copy(from, to, mode) => after.carry(number, *from, *to, *mode, false, answer),
            Call::Together(writes, fails) => after.together(number, writes, *fails, answer),
            _ => answer.is_none_or(|answer| after.read(call, answer)),
        };
        is_explained.then_some(after)
    }
}

/// Whether the answer is this one, where it is known.
fn is(answer: Option<&Answer>, expected: &Answer) -> bool {
    answer.is_none_or(|answer| answer == expected)
}

impl Folder {
    /// Whether the entry is at this revision; binds it where that was not known.
    fn is_at(&mut self, key: Key, revision: u64) -> bool {
        match self.entries[key].as_ref().map(|entry| entry.revision) {
            None => false,
            Some(Revision::Known(known)) => known == revision,
            Some(Revision::Of(_, above)) if revision <= above => false,
            Some(unknown) => {
                for entry in self.entries.iter_mut().flatten() {
                    if entry.revision == unknown {
                        entry.revision = Revision::Known(revision);
                    }
                }
                self.last = self.last.max(revision);
                true
            }
        }
    }

    fn is_found(&mut self, key: Key, found: &Found) -> bool {
        match found {
            None => self.entries[key].is_none(),
            Some((revision, content)) => {
                self.content(key) == Some(content) && self.is_at(key, *revision)
            }
        }
    }

    fn content(&self, key: Key) -> Option<&Content> {
        self.entries[key].as_ref().map(|entry| &entry.content)
    }

    /// What the mode says of the key; `None` where the answer is not what it would say.
    fn allows(&mut self, key: Key, mode: Mode, answer: Option<&Answer>) -> Option<Verdict> {
        let expected = match mode {
            Mode::Overwrite => return Some(Ok(())),
            Mode::Create => {
                return Some(match self.entries[key] {
                    None => Ok(()),
                    Some(_) => Err(Refusal::AlreadyExists),
                });
            }
            Mode::Update(expected) => expected,
        };
        let mismatch = |found| Err(Refusal::Mismatch { expected, found });
        let Some(entry) = &self.entries[key] else {
            return Some(mismatch(None));
        };
        match (entry.revision, answer) {
            (Revision::Known(known), _) if known == expected => Some(Ok(())),
            (Revision::Known(known), _) => Some(mismatch(Some(known))),
            (Revision::Of(..), Some(Answer::Refused(Refusal::Mismatch { found, .. }))) => {
                let found = (*found)?;
                (found != expected && self.is_at(key, found)).then(|| mismatch(Some(found)))
            }
            // Otherwise it must have been the one; what a kill cut short may also not have happened.
            (Revision::Of(..), _) => self.is_at(key, expected).then_some(Ok(())),
        }
    }

    /// The revision that a write gives.
    fn next(&mut self, number: usize, answer: Option<&Answer>) -> Option<Revision> {
        match answer {
            None | Some(Answer::Saw(_)) => Some(Revision::Of(number, self.last)),
            Some(Answer::Written(revision)) if *revision > self.last => {
                self.last = *revision;
                Some(Revision::Known(*revision))
            }
            Some(_) => None,
        }
    }

    fn write(
        &mut self,
        number: usize,
        key: Key,
        content: Content,
        answer: Option<&Answer>,
    ) -> bool {
        let Some(revision) = self.next(number, answer) else {
            return false;
        };
        self.entries[key] = Some(Entry { revision, content });
        true
    }

    fn put(
        &mut self,
        number: usize,
        key: Key,
        content: Content,
        mode: Mode,
        answer: Option<&Answer>,
    ) -> bool {
        match self.allows(key, mode, answer) {
            None => false,
            Some(Err(refusal)) => is(answer, &Answer::Refused(refusal)),
            Some(Ok(())) => self.write(number, key, content, answer),
        }
    }

    fn merge(
        &mut self,
        number: usize,
        key: Key,
        tag: u64,
        mode: Mode,
        answer: Option<&Answer>,
    ) -> bool {
        match self.allows(key, mode, answer) {
            None => return false,
            Some(Err(refusal)) => return is(answer, &Answer::Refused(refusal)),
            Some(Ok(())) => {}
        }
        let mut members = match self.content(key) {
            None => Vec::new(),
            Some(Content::Document(members)) => members.clone(),
            Some(Content::Blob(_)) => return is(answer, &Answer::Refused(Refusal::WrongKind)),
        };
        if let Err(place) = members.binary_search(&tag) {
            members.insert(place, tag);
        }
        self.write(number, key, Content::Document(members), answer)
    }

    fn carry(
        &mut self,
        number: usize,
        from: Key,
        to: Key,
        mode: Mode,
        moves: bool,
        answer: Option<&Answer>,
    ) -> bool {
        let Some(content) = self.content(from).cloned() else {
            return is(answer, &Answer::Refused(Refusal::NotFound));
        };
        match self.allows(to, mode, answer) {
            None => false,
            Some(Err(refusal)) => is(answer, &Answer::Refused(refusal)),
            Some(Ok(())) => {
                if moves {
                    self.entries[from] = None;
                }
                self.write(number, to, content, answer)
            }
        }
    }

    fn together(
        &mut self,
        number: usize,
        writes: &[(Key, Option<u64>)],
        fails: bool,
        answer: Option<&Answer>,
    ) -> bool {
        let is_seen = match answer {
            None => true,
            Some(Answer::Saw(saw)) => (0..KEYS.len()).all(|key| self.is_found(key, &saw[key])),
            Some(_) => false,
        };
        if !is_seen {
            return false;
        }
        if !fails {
            for (key, tag) in writes {
                match tag {
                    Some(tag) => {
                        self.write(number, *key, Content::Document(vec![*tag]), answer);
                    }
                    None => self.entries[*key] = None,
                }
            }
        }
        true
    }

    fn read(&mut self, call: &Call, answer: &Answer) -> bool {
        match (call, answer) {
            (Call::Get(key), Answer::Content(content)) => self.content(*key) == content.as_ref(),
            (Call::Read(key), Answer::Entry(found)) => self.is_found(*key, found),
            (Call::Metadata(key), Answer::Revision(None)) => self.entries[*key].is_none(),
            (Call::Metadata(key), Answer::Revision(Some(revision))) => self.is_at(*key, *revision),
            (Call::Exists(key), Answer::Was(exists)) => *exists == self.exists(*key),
            (Call::List, Answer::Listed(listed)) => self.is_listed(0..KEYS.len(), listed),
            (Call::Children, Answer::Children(listed, has_inner)) => {
                let direct = (0..KEYS.len()).filter(|key| *key != INNER.1);
                *has_inner == self.entries[INNER.1].is_some() && self.is_listed(direct, listed)
            }
            _ => false,
        }
    }

    fn exists(&self, key: Option<Key>) -> bool {
        match key {
            None => self.entries.iter().any(Option::is_some),
            Some(key) => {
                let inner = key == INNER.0 && self.entries[INNER.1].is_some();
                inner || self.entries[key].is_some()
            }
        }
    }

    fn is_listed(&mut self, mut keys: impl Iterator<Item = Key>, listed: &[Item]) -> bool {
        keys.all(|key| {
            let item = listed.iter().find(|(other, ..)| *other == key);
            match (item, self.content(key)) {
                (None, None) => true,
                (Some((_, revision, is_blob)), Some(content)) => {
                    *is_blob == matches!(content, Content::Blob(_)) && self.is_at(key, *revision)
                }
                _ => false,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histories::search::{Operation, check};

    /// Calls one after the other, and what they answered.
    fn is_explained(steps: &[(Call, Answer)]) -> bool {
        let operations: Vec<_> = (0u64..)
            .zip(steps)
            .map(|(number, (call, answer))| Operation {
                thread: 0,
                call: call.clone(),
                called: 2 * number,
                returned: 2 * number + 1,
                answer: Some(answer.clone()),
            })
            .collect();
        check(Folder::default(), &operations).is_ok()
    }

    fn document(members: &[u64]) -> Content {
        Content::Document(members.to_vec())
    }

    fn put(revision: u64) -> (Call, Answer) {
        (
            Call::Save(0, revision, Mode::Overwrite),
            Answer::Written(revision),
        )
    }

    fn update(expected: u64, answer: Answer) -> (Call, Answer) {
        (Call::Save(0, 99, Mode::Update(expected)), answer)
    }

    fn mismatch(expected: u64, found: Option<u64>) -> Answer {
        Answer::Refused(Refusal::Mismatch { expected, found })
    }

    #[test]
    fn revisions_are_exact() {
        let read = |revision| (Call::Metadata(0), Answer::Revision(revision));
        assert!(is_explained(&[put(3), read(Some(3))]));
        assert!(!is_explained(&[put(3), read(Some(2))]));
        assert!(!is_explained(&[put(3), read(None)]));
        assert!(!is_explained(&[put(3), put(2)]));
        assert!(!is_explained(&[put(3), put(3)]));
    }

    #[test]
    fn compare_and_swap_compares() {
        let good = [
            update(3, Answer::Written(4)),
            update(2, mismatch(2, Some(3))),
        ];
        let bad = [
            update(2, Answer::Written(4)),
            update(3, mismatch(3, Some(3))),
            update(2, mismatch(2, Some(1))),
            update(2, mismatch(2, None)),
        ];
        for step in good {
            assert!(is_explained(&[put(3), step]));
        }
        for step in bad {
            assert!(!is_explained(&[put(3), step.clone()]), "{step:?}");
        }
        let taken = Answer::Refused(Refusal::AlreadyExists);
        let create = |answer| (Call::Put(0, 7, Mode::Create), answer);
        assert!(is_explained(&[put(3), create(taken.clone())]));
        assert!(!is_explained(&[create(taken)]));
        assert!(!is_explained(&[put(3), create(Answer::Written(4))]));
    }

    #[test]
    fn no_merge_is_lost() {
        let merge = |revision| {
            (
                Call::Merge(0, revision, Mode::Overwrite),
                Answer::Written(revision),
            )
        };
        let get = |members: &[u64]| (Call::Get(0), Answer::Content(Some(document(members))));
        assert!(is_explained(&[merge(1), merge(2), get(&[1, 2])]));
        assert!(!is_explained(&[merge(1), merge(2), get(&[2])]));
    }

    #[test]
    fn a_transaction_is_seen_whole_and_has_one_revision() {
        let none = || Answer::Saw(vec![None; KEYS.len()]);
        let write = (
            Call::Together(vec![(0, Some(5)), (2, Some(5))], false),
            none(),
        );
        let list = |listed: &[Item]| (Call::List, Answer::Listed(listed.to_vec()));
        let both = list(&[(0, 9, false), (2, 9, false)]);
        assert!(is_explained(&[write.clone(), both.clone()]));
        for half in [
            list(&[(0, 9, false)]),
            list(&[(0, 9, false), (2, 8, false)]),
            list(&[(0, 9, false), (2, 9, true)]),
            list(&[]),
        ] {
            assert!(!is_explained(&[write.clone(), half]));
        }
        let failed = (Call::Together(vec![(0, Some(5))], true), none());
        assert!(is_explained(&[failed.clone(), list(&[])]));
        assert!(!is_explained(&[failed, list(&[(0, 9, false)])]));
    }

    #[test]
    fn what_is_renamed_is_at_one_place() {
        let rename = (Call::Rename(0, 1, Mode::Overwrite), Answer::Written(4));
        let exists = |key, answer| (Call::Exists(key), Answer::Was(answer));
        assert!(is_explained(&[
            put(3),
            rename.clone(),
            exists(Some(0), true)
        ]));
        let gone = (Call::Read(0), Answer::Entry(None));
        let there = (Call::Read(1), Answer::Entry(Some((4, document(&[3])))));
        assert!(is_explained(&[put(3), rename.clone(), gone, there]));
        let still = (Call::Read(0), Answer::Entry(Some((3, document(&[3])))));
        assert!(!is_explained(&[put(3), rename.clone(), still]));
        let nothing = Answer::Refused(Refusal::NotFound);
        assert!(!is_explained(&[put(3), (rename.0, nothing)]));
    }
}
