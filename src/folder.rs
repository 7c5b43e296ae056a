//! Folders: made, moved and deleted as a whole.

use bytes::Bytes;

use crate::backend::{Scan, Tree};
use crate::draft::{Draft, LOCKS_AT_ONCE};
use crate::error::{Error, Result};
use crate::format::{Body, ChangeAction, EntryRecord};
use crate::key::Key;
use crate::list::end_of;
use crate::metadata::{Attributes, Digest, Kind};
use crate::store::Store;

impl Store {
    /// Makes a folder that stays when it is empty. Does nothing where it was made before; a folder that is there
    /// only because of the keys in it is made to stay.
    ///
    /// # Errors
    /// [`Error::InvalidKey`], also for the root; [`Error::Damaged`], [`Error::Poisoned`], [`Error::NoSpace`],
    /// [`Error::Io`].
    pub fn create_folder(&self, folder: &str) -> Result<()> {
        let folder = self.key(folder)?;
        self.write(|draft| draft.create_folder(&folder)).map(drop)
    }

    /// Deletes everything below a folder at any depth, and the folder, in one commit. Answers how many entries were
    /// deleted, 0 also where there is no such folder; folders are not counted. An entry with the name of the folder is not in it,
    /// and stays.
    ///
    /// Other writers wait meanwhile. A commit holds at most 1,000,000 rows and 64 MiB of keys and changes, and gives back at
    /// most 1,000,000 pieces of content: an entry that was appended to has several, up to 36.
    ///
    /// # Errors
    /// [`Error::InvalidKey`], also for the root; [`Error::Locked`] and [`Error::WrongPassword`] where any entry has
    /// an edit password that is not offered; [`Error::Damaged`] where the row of any entry is; [`Error::TooLarge`];
    /// [`Error::NoSpace`], [`Error::Io`]. Nothing is deleted then. After [`Error::Poisoned`] it may be.
    pub fn delete_folder(&self, folder: &str) -> Result<u64> {
        let folder = self.key(folder)?;
        let (deleted, _) = self.write_alone(|draft| draft.delete_folder(&folder))?;
        Ok(deleted)
    }

    /// Gives a folder, and everything below it, another name, in one commit and without copying content. Answers how
    /// many entries were moved; folders are not counted. An entry with the name of the folder is not in it, and stays.
    ///
    /// To rename a folder to its own name does nothing. Other writers wait meanwhile. A commit holds at most
    /// 1,000,000 rows and 64 MiB of keys, records and changes; a moved row is two.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no folder `from`; [`Error::AlreadyExists`] where there is a folder `to`;
    /// [`Error::InvalidArgument`] where `to` lies in `from`; [`Error::InvalidKey`], also for the root and where a
    /// key would become too long; otherwise as [`Store::delete_folder`]. Nothing is moved then. After
    /// [`Error::Poisoned`] it may be.
    pub fn rename_folder(&self, from: &str, to: &str) -> Result<u64> {
        let (from, to) = (self.key(from)?, self.key(to)?);
        let (moved, _) = self.write_alone(|draft| draft.rename_folder(&from, &to))?;
        Ok(moved)
    }

    /// Whether there is a folder of this name: one that was made, or one that something lies in. The root of this view
    /// always is one. An entry of the name is none.
    ///
    /// # Errors
    /// [`Error::InvalidKey`]; [`Error::Damaged`]; the operating system.
    pub fn is_folder(&self, folder: &str) -> Result<bool> {
        let folder = self.folder(folder)?;
        if folder == *self.scope.as_folder() {
            return Ok(true);
        }
        Ok(self.scan_below(folder.as_prefix())?.next()?.is_some())
    }

    /// Whether there is a settled entry or folder of this name, at one moment: an entry may just be moving into the folder
    /// of its own name, or out of it.
    pub(crate) fn is_there(&self, key: &Key) -> Result<bool> {
        let below = format!("{key}/");
        let end = end_of(&below);
        let backend = &self.shared.backend;
        let mut scan = backend.scan(Tree::Entries, key.as_bytes(), end.as_deref())?;
        // What lies between the two, damaged or not, is nothing to this key.
        if let Ok(Some((row_key, _))) = scan.next()
            && (row_key == key.as_bytes() || row_key.starts_with(below.as_bytes()))
        {
            return Ok(true);
        }
        scan.seek(below.as_bytes());
        Ok(scan.next()?.is_some())
    }

    fn scan_below(&self, prefix: &str) -> Result<Box<dyn Scan>> {
        let mut end = prefix.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1; // the byte behind `/`
        }
        let backend = &self.shared.backend;
        backend.scan(Tree::Entries, prefix.as_bytes(), Some(&end))
    }
}

impl Draft<'_> {
    /// Whether there is an entry or a folder of this name.
    pub(crate) fn exists(&mut self, key: &Key) -> Result<bool> {
        Ok(self.read(key.as_str())?.is_some() || self.folder_exists(&format!("{key}/"))?)
    }

    /// Whether there is a folder whose keys begin with `prefix`. Only in a draft that runs alone.
    pub(crate) fn folder_exists(&mut self, prefix: &str) -> Result<bool> {
        // Who empties a folder and asks each time does not pass all that is gone each time.
        let from = self.begin_of_rest(prefix);
        // The byte behind `/`.
        let end = format!("{}0", prefix.trim_end_matches('/'));
        let mut scan = self.store.scan_below(prefix)?;
        scan.seek(from.as_bytes());
        let mut first = None;
        while let Some((row_key, _)) = scan.next()? {
            let row_key = text(&row_key)?;
            if !self.passes_erased(row_key) {
                first = Some(row_key.to_owned());
                break;
            }
        }
        let upto = first.as_deref().unwrap_or(&end);
        let first = self.first_own(&from, upto).or(first);
        let exists = first.is_some();
        self.note_emptied(prefix, first.unwrap_or(end));
        Ok(exists)
    }

    pub(crate) fn create_folder(&mut self, folder: &Key) -> Result<()> {
        self.create_folder_as_of(folder, self.now)
    }

    /// Creates a folder that was made at an earlier time, in microseconds since 1970; one that is there keeps its own.
    pub(crate) fn create_folder_as_of(&mut self, folder: &Key, made: u64) -> Result<()> {
        let made = made.min(self.now);
        let row_key = format!("{folder}/");
        if self.read(&row_key)?.is_some() {
            self.note_done();
            return Ok(());
        }
        let record = EntryRecord {
            kind: Kind::Folder,
            created: made,
            updated: made,
            size: 0,
            digest: Digest::of(&[]),
            content_type: String::new(),
            attributes: Attributes::new(),
            lock: None,
            body: Body::Inline(Bytes::new()),
            subtrees: Vec::new(),
        };
        self.tell(ChangeAction::Put, folder.as_str(), &record)?;
        self.write(&row_key, record);
        Ok(())
    }

    pub(crate) fn delete_folder(&mut self, folder: &Key) -> Result<u64> {
        let mut deleted = 0;
        // Where there is nothing to delete.
        self.note_done();
        self.for_each_below(&format!("{folder}/"), |draft, row_key, record| {
            deleted += count(&record);
            draft.delete_row(row_key, &record)
        })?;
        Ok(deleted)
    }

    pub(crate) fn rename_folder(&mut self, from: &Key, to: &Key) -> Result<u64> {
        let (source, target) = (format!("{from}/"), format!("{to}/"));
        if !self.folder_exists(&source)? {
            return Err(Error::NotFound {
                key: self.name(from).to_owned(),
            });
        }
        if source == target {
            self.note_done();
            return Ok(0);
        }
        if target.starts_with(&source) {
            return Err(Error::InvalidArgument {
                what: "folder",
                reason: format!("`{}` lies in `{}`", self.name(to), self.name(from)),
            });
        }
        if self.folder_exists(&target)? {
            return Err(Error::AlreadyExists {
                key: self.name(to).to_owned(),
            });
        }
        let mut moved = 0;
        self.for_each_below(&source, |draft, row_key, record| {
            moved += count(&record);
            let new_key = format!("{target}{}", &row_key[source.len()..]);
            // Each segment was legal before; the whole may be too long now.
            if new_key.len() > target.len() {
                draft.store.key(draft.store.relative(&new_key))?;
            }
            draft.move_row(row_key, &new_key, record, None)
        })?;
        Ok(moved)
    }

    /// Visits every row whose key begins with `prefix`, as this draft has left it so far. Only in a draft that runs
    /// alone; `visit` must not write new rows there. Where locks are to be verified it goes on, to learn of all of them.
    fn for_each_below(
        &mut self,
        prefix: &str,
        visit: impl FnMut(&mut Self, &str, EntryRecord) -> Result<()>,
    ) -> Result<()> {
        let visited = self.visit_below(prefix, visit);
        if visited.is_err() {
            self.doom();
        }
        visited
    }

    fn visit_below(
        &mut self,
        prefix: &str,
        mut visit: impl FnMut(&mut Self, &str, EntryRecord) -> Result<()>,
    ) -> Result<()> {
        let own = self.own_below(prefix);
        let mut scan = self.store.scan_below(prefix)?;
        while let Some((row_key, row)) = scan.next()? {
            let row_key = text(&row_key)?;
            if self.passes_own(row_key) {
                continue;
            }
            self.note_read(row_key, row.revision);
            let asked = self.asked();
            let visited = visit(self, row_key, EntryRecord::decode(row_key, &row.value)?);
            // What fails for another reason ends it: of all that refuse, the first is told.
            if self.asked() == asked || self.asked() == LOCKS_AT_ONCE {
                visited?;
            }
        }
        self.check_again()?;
        own.into_iter()
            .try_for_each(|(row_key, record)| visit(self, &row_key, record))
    }
}

/// What a row counts as an entry.
fn count(record: &EntryRecord) -> u64 {
    u64::from(record.kind != Kind::Folder)
}

fn text(row_key: &[u8]) -> Result<&str> {
    std::str::from_utf8(row_key)
        .map_err(|_| Error::damaged("entry", row_key.escape_ascii().to_string()))
}
