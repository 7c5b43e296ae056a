//! The write path: one change of state, decided on the latest rows and committed in one step.
//!
//! Every write of the store is a closure over a [`Draft`]. The draft notes which rows the closure read (they become
//! requirements of the commit), what it writes (later reads of the same draft see it) and what the history is to
//! tell. Where another writer was faster the commit is refused and the closure runs again on the new rows; after a
//! few such rounds it runs alone. A transaction runs alone from the start, so its closure runs once.
//!
//! Verifying a password is slow, and may have to wait for many wrong ones. So a draft does not do it while other writers
//! wait, or would: it is given up, the passwords are verified while nothing waits, and the closure runs again. Only a
//! transaction, which runs once, verifies in its place; where it would have to wait it is refused.

mod run;
mod size;

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

use bytes::Bytes;

pub(crate) use run::Gate;

use self::size::Size;
use crate::backend::{BlobId, Commit, Requirement, Tree, View, Write};
use crate::blob::Source;
use crate::error::{Error, Result};
use crate::format::{Body, ChangeAction, ChangeRecord, EntryRecord, LockRecord};
use crate::lock::{Known, Need, Trying};
use crate::store::Store;
use crate::upload::Upload;

/// Locks of a folder that are verified in one go, so that its closure does not run again for each of them.
pub(crate) const LOCKS_AT_ONCE: usize = 1024;

/// What passwords have been verified for: the id of the lock, and the need.
type Passed = HashSet<([u8; 16], Need)>;

/// How the closure of a draft runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    /// Side by side with other writers, and again where it must.
    Together,
    /// While other writers wait, and again where it must.
    Alone,
    /// While other writers wait, once.
    Once,
}

/// A lock that the passwords of the view are not known to open.
struct Asked {
    /// Relative, for errors.
    key: String,
    lock: LockRecord,
    need: Need,
}

/// Why a draft is given up and its closure run again.
enum Again {
    /// It met rows that another writer has replaced since.
    Stale,
    /// It needs to know whether the passwords of the view open these locks.
    Verify(Vec<Asked>),
}

/// What the closure of a draft gets to see when the draft is to be given up. No caller of the store ever does.
const GIVEN_UP: Error = Error::Misuse {
    reason: "a write was decided on rows that have changed",
};

/// An entry as a draft sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Present {
    /// The commit that wrote it; 0 where this draft itself did.
    pub(crate) revision: u64,
    pub(crate) record: EntryRecord,
}

/// A change of state under way. See the [module](self).
pub(crate) struct Draft<'a> {
    pub(crate) store: &'a Store,
    /// Microseconds since 1970, one time for all it writes.
    pub(crate) now: u64,
    run: Run,
    passed: Passed,
    again: Option<Again>,
    /// Whether something was done in part.
    doomed: bool,
    /// Whether a write was asked for that has nothing to do.
    found_done: bool,
    /// Rows of entries read, by row key, and their revisions.
    reads: BTreeMap<String, Option<u64>>,
    /// Rows of entries as this draft leaves them. In boxes: a map makes room for eleven at once, and most drafts write one.
    rows: BTreeMap<String, Option<Box<EntryRecord>>>,
    /// The folder that was looked at last, and up to where nothing is left in it.
    emptied: Option<(String, String)>,
    /// How often a row that this draft itself has written or erased was passed in a folder.
    passed_again: u64,
    tokens: Vec<Write>,
    changes: Vec<ChangeRecord>,
    size: Size,
    /// How many owners each blob gains, or loses where it is negative.
    owners: BTreeMap<BlobId, i64>,
    uploads: BTreeMap<BlobId, Upload>,
}

impl<'a> Draft<'a> {
    fn new(store: &'a Store, run: Run, passed: Passed) -> Draft<'a> {
        Draft {
            store,
            now: crate::format::to_micros(std::time::SystemTime::now()),
            run,
            passed,
            again: None,
            doomed: false,
            found_done: false,
            reads: BTreeMap::new(),
            rows: BTreeMap::new(),
            emptied: None,
            passed_again: 0,
            tokens: Vec::new(),
            changes: Vec::new(),
            size: Size::default(),
            owners: BTreeMap::new(),
            uploads: BTreeMap::new(),
        }
    }

    /// The entry in the row `row_key` (a key, or a folder's key and `/`), as this draft has left it so far.
    pub(crate) fn read(&mut self, row_key: &str) -> Result<Option<Present>> {
        if let Some(row) = self.rows.get(row_key) {
            return Ok(row.clone().map(|record| Present {
                revision: 0,
                record: *record,
            }));
        }
        let row = self
            .store
            .shared
            .backend
            .get(View::Latest, Tree::Entries, row_key.as_bytes())?;
        let revision = row.as_ref().map(|row| row.revision);
        // Where two reads differ the first one stands: the commit is refused then, as it must be.
        self.reads.entry(row_key.to_owned()).or_insert(revision);
        row.map(|row| {
            Ok(Present {
                revision: row.revision,
                record: EntryRecord::decode(row_key, &row.value)?,
            })
        })
        .transpose()
    }

    /// Notes a row met by a scan as read, so that the commit is refused where it has changed since.
    pub(crate) fn note_read(&mut self, row_key: &str, revision: u64) {
        if !self.rows.contains_key(row_key) {
            self.reads
                .entry(row_key.to_owned())
                .or_insert(Some(revision));
        }
    }

    /// From where on to look for what is left of the folder whose keys begin with `prefix`.
    pub(crate) fn begin_of_rest(&self, prefix: &str) -> String {
        match &self.emptied {
            Some((folder, upto)) if folder == prefix => upto.clone(),
            _ => prefix.to_owned(),
        }
    }

    /// Nothing is left of it before `upto`.
    pub(crate) fn note_emptied(&mut self, prefix: &str, upto: String) {
        self.emptied = Some((prefix.to_owned(), upto));
    }

    /// Passes a row of a folder that was scanned. Whether this draft has already written or erased it.
    pub(crate) fn passes_own(&mut self, row_key: &str) -> bool {
        let is_own = self.rows.contains_key(row_key);
        self.passed_again += u64::from(is_own);
        is_own
    }

    /// Passes a row of a folder that was scanned. Whether this draft has erased it, and not written it again.
    pub(crate) fn passes_erased(&mut self, row_key: &str) -> bool {
        let is_erased = matches!(self.rows.get(row_key), Some(None));
        self.passed_again += u64::from(is_erased);
        is_erased
    }

    /// The first row from `from` to `end` that this draft leaves there.
    pub(crate) fn first_own(&mut self, from: &str, end: &str) -> Option<String> {
        let range = (Bound::Included(from), Bound::Excluded(end));
        let mut rows = self.rows.range::<str, _>(range);
        rows.find_map(|(row_key, record)| {
            self.passed_again += 1;
            record.as_ref().map(|_| row_key.clone())
        })
    }

    /// What this draft leaves in rows that begin with `prefix`.
    pub(crate) fn own_below(&mut self, prefix: &str) -> Vec<(String, EntryRecord)> {
        let rows = self.rows.range(prefix.to_owned()..);
        let rows = rows.take_while(|(row_key, _)| row_key.starts_with(prefix));
        rows.filter_map(|(row_key, record)| {
            self.passed_again += 1;
            Some((row_key.clone(), record.as_deref()?.clone()))
        })
        .collect()
    }

    /// How often it has passed what it had itself written or erased, in all folders that it looked through: of what it reads
    /// there, nothing else comes up more than once, and no limit of a commit bounds it.
    pub(crate) fn passed_again(&self) -> u64 {
        self.passed_again
    }

    /// Asks the passwords of the view for what `need` demands of the entry in the row `key`.
    pub(crate) fn check_lock(&mut self, key: &str, record: &EntryRecord, need: Need) -> Result<()> {
        let Some(lock) = &record.lock else {
            return Ok(());
        };
        let name = self.store.relative(key);
        match self.store.known_lock(lock, need) {
            Known::Opens => Ok(()),
            Known::Unknown if self.passed.contains(&(lock.id, need)) => Ok(()),
            Known::Unknown if self.run != Run::Once => {
                let asked = Asked {
                    key: name.to_owned(),
                    lock: lock.clone(),
                    need,
                };
                match &mut self.again {
                    Some(Again::Verify(others)) => others.push(asked),
                    again => *again = Some(Again::Verify(vec![asked])),
                }
                Err(GIVEN_UP)
            }
            Known::Unknown | Known::Refuses => {
                let by = Trying::Transaction;
                self.store.verify_lock(name, lock, need, by)
            }
        }
    }

    /// How many locks are to be verified before it runs again.
    pub(crate) fn asked(&self) -> usize {
        match &self.again {
            Some(Again::Verify(asked)) => asked.len(),
            Some(Again::Stale) | None => 0,
        }
    }

    /// Fails where it is to be given up.
    pub(crate) fn check_again(&self) -> Result<()> {
        match self.again {
            None => Ok(()),
            Some(_) => Err(GIVEN_UP),
        }
    }

    /// The content of an entry this draft has read. `key` names it in errors.
    pub(crate) fn source(&mut self, key: &str, record: &EntryRecord) -> Result<Source> {
        let uploads = &self.uploads;
        let is_own = |blob| uploads.contains_key(&blob);
        match Source::open(&self.store.shared, &record.body, is_own)? {
            Some(source) => Ok(source),
            // No one else writes now, so nothing can have taken the blob away.
            None if self.run != Run::Together => Err(Error::damaged("blob", key)),
            None => {
                self.again = Some(Again::Stale);
                Err(GIVEN_UP)
            }
        }
    }

    /// Tells the history of a change to `key`, a whole key: of the content of a record with a view password, nothing. Comes
    /// before what it tells of is done: where it fails, nothing is.
    ///
    /// # Errors
    /// `TooLarge` where the commit could not be made.
    pub(crate) fn tell(
        &mut self,
        action: ChangeAction,
        key: &str,
        record: &EntryRecord,
    ) -> Result<()> {
        let is_hidden = record.view_lock().is_some();
        let change = ChangeRecord {
            action,
            key: key.to_owned(),
            entry: record.kind,
            content: (!is_hidden).then_some((record.size, record.digest)),
            participant: self.store.participant.as_deref().map(str::to_owned),
            time: self.now,
        };
        let (rows, changes) = (self.rows.len(), self.changes.len());
        self.size.add_change(rows, changes, &change)?;
        self.changes.push(change);
        Ok(())
    }

    /// Leaves `record` in the row. Blobs change owners by [`Draft::own`] and [`Draft::disown`], not here. Where the view
    /// has stronger hashes for its lock, they take their place.
    pub(crate) fn write(&mut self, row_key: &str, mut record: EntryRecord) {
        if let Some(lock) = &record.lock
            && let Some(stronger) = self.store.passwords.strengthened(lock)
        {
            record.lock = Some(stronger);
        }
        self.leave(row_key, Some(Box::new(record)));
    }

    /// Leaves no record in the row.
    pub(crate) fn erase(&mut self, row_key: &str) {
        self.leave(row_key, None);
    }

    fn leave(&mut self, row_key: &str, row: Option<Box<EntryRecord>>) {
        if row.is_some() {
            self.emptied = None;
        }
        self.size.add_row(row_key, row.as_deref());
        if let Some(replaced) = self.rows.insert(row_key.to_owned(), row) {
            self.size.remove_row(row_key, replaced.as_deref());
        }
    }

    /// Writes or deletes a row of the tokens.
    pub(crate) fn write_token(&mut self, hash: [u8; 32], grant: Option<Bytes>) {
        self.tokens.push(Write {
            tree: Tree::Tokens,
            key: Bytes::copy_from_slice(&hash),
            value: grant,
        });
    }

    /// Counts an entry with this body as an owner of its blobs.
    pub(crate) fn own(&mut self, body: &Body) {
        for blob in body.blobs() {
            *self.owners.entry(blob).or_default() += 1;
        }
    }

    /// Counts an entry with this body no longer as an owner of its blobs. What one entry gives up and another takes
    /// in the same draft comes to nothing.
    pub(crate) fn disown(&mut self, body: &Body) {
        for blob in body.blobs() {
            *self.owners.entry(blob).or_default() -= 1;
        }
    }

    /// Takes charge of an upload: kept where the commit gives it an owner, discarded where it does not.
    pub(crate) fn take_upload(&mut self, upload: &Upload) {
        self.uploads.insert(upload.blob(), upload.clone());
    }

    /// Notes that all is as a write was to leave it, by commits that need not be durable yet.
    pub(crate) fn note_done(&mut self) {
        self.found_done = true;
    }

    /// Makes the commit impossible: something was done in part, and its error must not be ignored.
    pub(crate) fn doom(&mut self) {
        self.doomed = true;
    }

    /// The commit, what it tells, and the uploads it adopts; uploads that came to nothing are let go of here.
    fn into_commit(self) -> (Commit, Vec<ChangeRecord>, Vec<Upload>) {
        let owners = self.owners;
        let uploads = self
            .uploads
            .into_iter()
            .filter(|(blob, _)| owners.get(blob).is_some_and(|count| *count > 0))
            .map(|(_, upload)| upload)
            .collect();
        let requires = self
            .reads
            .into_iter()
            .map(|(key, revision)| Requirement {
                tree: Tree::Entries,
                key: Bytes::from(key),
                revision,
            })
            .collect();
        let mut writes = self.tokens;
        writes.extend(self.rows.into_iter().map(|(key, record)| Write {
            tree: Tree::Entries,
            key: Bytes::from(key),
            value: record.map(|record| record.encode()),
        }));
        let commit = Commit {
            durability: self.store.durability,
            requires,
            writes,
            changes: self.changes.iter().map(ChangeRecord::encode).collect(),
            adopts: repeated(owners.iter().map(|(blob, count)| (*blob, *count))),
            releases: repeated(owners.iter().map(|(blob, count)| (*blob, -*count))),
        };
        (commit, self.changes, uploads)
    }
}

/// Each blob as often as it is counted, those counted below one not at all.
fn repeated(counts: impl Iterator<Item = (BlobId, i64)>) -> Vec<BlobId> {
    counts
        .flat_map(|(blob, count)| {
            std::iter::repeat_n(blob, usize::try_from(count).unwrap_or_default())
        })
        .collect()
}
