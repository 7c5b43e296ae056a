//! Listing: what lies in a folder, read lazily.

mod filter;

use std::fmt;
use std::iter::FusedIterator;

use bytes::Bytes;

use crate::backend::{Row, Scan, Tree};
use crate::error::{Error, Result};
use crate::format::EntryRecord;
use crate::key::Folder;
use crate::lock::{Known, Need, Trying};
use crate::metadata::{Kind, Metadata};
use crate::options::ListOptions;
use crate::store::Store;
use filter::Filter;

/// An entry or a folder, as a [`Listing`] tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListItem {
    /// The name, relative to the folder listed: one segment, or a whole path where the listing is recursive.
    pub name: String,
    /// Whether it is a folder. A key that is both an entry and a folder is told twice, the entry first.
    pub is_folder: bool,
    /// What is known of the entry. `None` for a folder, and for an entry with a view password that this view does not
    /// offer, or that could not be tried now: see [`Store::list_with`].
    pub metadata: Option<Metadata>,
}

impl ListItem {
    /// Where to go on after this item, by [`ListOptions::after`]: the name, and a `/` behind that of a folder.
    #[must_use]
    pub fn cursor(&self) -> String {
        if self.is_folder {
            format!("{}/", self.name)
        } else {
            self.name.clone()
        }
    }

    fn folder(name: &str) -> ListItem {
        ListItem {
            name: name.to_owned(),
            is_folder: true,
            metadata: None,
        }
    }
}

impl Store {
    /// The direct children of a folder, sorted by the bytes of their cursors: [`Store::list_with`] with default options.
    ///
    /// ```
    /// let store = komatik::Store::in_memory()?;
    /// store.put("rooms/42/plan.txt", "north")?;
    /// store.put("rooms/index.txt", "42")?;
    /// let names: Vec<String> = store
    ///     .list("rooms")?
    ///     .map(|item| Ok(item?.cursor()))
    ///     .collect::<komatik::Result<_>>()?;
    /// assert_eq!(names, ["42/", "index.txt"]);
    /// # Ok::<(), komatik::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::list_with`].
    pub fn list(&self, folder: &str) -> Result<Listing> {
        self.list_with(folder, ListOptions::new())
    }

    /// What lies in a folder (`""`: the whole scope of this view). A folder that does not exist lists nothing.
    ///
    /// **Cost.** Items are read as they are asked for. Each child costs one row, a folder one row and one descent
    /// however much lies below it. What a `glob` or `contains` sorts out is read, except that a glob which begins with
    /// plain text reads only names that begin so, and so does a `prefix`.
    ///
    /// **What it sees** is one moment, the one of this call, also while others write. Where more than 64 MiB of different rows are
    /// overwritten while it is open, it may go on in the present: still sorted, no item twice, each whole.
    ///
    /// **Pages.** `limit` with [`ListItem::cursor`] of the last item as `after` of the next page. A page is a listing of
    /// its own, in its own moment.
    ///
    /// **Locks.** Names are told to everybody, the rest of an entry with a view password only where this view offers it.
    /// Passwords not verified yet are verified item by item, some 20 ms each. A listing never waits: where it would have
    /// to, as listings have tried too many wrong passwords on an entry of late, it tries no more and tells the name alone.
    /// What it tries slows no other call. A view that is kept, rather than made anew for each call, tries but once, as
    /// long as the locks have no more than 100,000 passwords.
    ///
    /// ```
    /// use komatik::{ListOptions, Store};
    /// let store = Store::in_memory()?;
    /// for name in ["a/1.txt", "a/2.png", "b/c/3.txt"] {
    ///     store.put(name, "x")?;
    /// }
    /// let options = ListOptions::new().recursive().glob("**/*.txt").limit(100);
    /// let found = store.list_with("", options)?.collect::<komatik::Result<Vec<_>>>()?;
    /// assert_eq!(found.len(), 2);
    /// assert_eq!(found[1].name, "b/c/3.txt");
    /// # Ok::<(), komatik::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidKey`] for the folder, [`Error::InvalidArgument`] for the glob; the operating system. The
    /// listing itself answers [`Error::Damaged`] in place of a damaged item, or of some that cannot be told from each
    /// other, and goes on behind. It ends with any other error; list again, `after` the last item.
    pub fn list_with(&self, folder: &str, options: ListOptions) -> Result<Listing> {
        let folder = self.folder(folder)?;
        let filter = Filter::new(options.prefix, options.contains, options.glob.as_deref())?;
        let prefix = folder.as_prefix();
        let narrowed = format!("{prefix}{}", filter.literal_prefix());
        let mut start = narrowed.clone();
        if let Some(after) = &options.after {
            start = start.max(behind(prefix, after, options.recursive));
        }
        let end = end_of(&narrowed);
        let backend = &self.shared.backend;
        let mut scan = backend.scan(Tree::Entries, start.as_bytes(), end.as_deref())?;
        // A listing may be kept for as long as a page is shown.
        scan.let_chunks_go();
        if let Some(limit) = options.limit {
            // The row of the folder itself is no item.
            scan.expect(limit.saturating_add(1));
        }
        Ok(Listing {
            store: self.clone(),
            folder,
            scan,
            filter,
            recursive: options.recursive,
            left: options.limit.unwrap_or(usize::MAX),
            peeked: None,
            rows_left: usize::MAX,
            stopped_at: None,
        })
    }
}

/// The first row that can belong to an item behind the cursor.
///
/// A folder `f` stands at `f/`. Among children it is one item with all that lies below it; `0` is the byte behind `/`.
fn behind(prefix: &str, after: &str, recursive: bool) -> String {
    match after.split_once('/') {
        Some((folder, _)) if !recursive => format!("{prefix}{folder}0"),
        _ => format!("{prefix}{after}\0"),
    }
}

/// The first bytes behind all rows that begin with `prefix`, `None` where nothing can be behind them.
pub(crate) fn end_of(prefix: &str) -> Option<Vec<u8>> {
    let mut end = prefix.as_bytes().to_vec();
    // No byte of UTF-8 is the largest a byte can be.
    *end.last_mut()? += 1;
    Some(end)
}

/// What lies in a folder, from [`Store::list`]; see there for what it costs and sees. It keeps the store open.
#[must_use = "a listing is lazy and reads nothing until it is asked"]
pub struct Listing {
    // Goes before the store it is of.
    scan: Box<dyn Scan>,
    store: Store,
    folder: Folder,
    filter: Filter,
    recursive: bool,
    /// How many items may still be told.
    left: usize,
    /// What was read to see what follows an explicit folder.
    peeked: Option<Result<(Bytes, Row)>>,
    /// How many rows it may still look at.
    rows_left: usize,
    /// Where the last of them lies, as a cursor.
    stopped_at: Option<String>,
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing")
            .field("folder", &self.folder)
            .field("recursive", &self.recursive)
            .finish_non_exhaustive()
    }
}

impl Iterator for Listing {
    type Item = Result<ListItem>;

    fn next(&mut self) -> Option<Result<ListItem>> {
        if self.left == 0 {
            return None;
        }
        let next = self.step();
        match &next {
            Some(Ok(_)) => self.left -= 1,
            Some(Err(Error::Damaged { .. })) => {}
            // It may last: who passes over errors is not to be told the same one for ever.
            Some(Err(_)) | None => self.left = 0,
        }
        next
    }
}

impl FusedIterator for Listing {}

impl Listing {
    /// Ends where it has looked at so many rows, whatever was sorted out of them.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "only the service bounds what others ask for")
    )]
    pub(crate) fn within(mut self, rows: usize) -> Listing {
        self.rows_left = rows;
        self
    }

    /// Where to go on, by [`ListOptions::after`], if it has looked at as many rows as it may: there may be more behind them.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "only the service bounds what others ask for")
    )]
    pub(crate) fn stopped_at(&self) -> Option<&str> {
        self.stopped_at.as_deref()
    }

    fn step(&mut self) -> Option<Result<ListItem>> {
        while self.rows_left > 0 {
            let (row_key, row) = match self.next_row() {
                Ok(next) => next?,
                Err(error) => return Some(Err(error)),
            };
            let item = self.item(&row_key, &row).transpose();
            if item.is_some() {
                return item;
            }
        }
        None
    }

    /// The item that a row is, or belongs to, where it is to be told.
    fn item(&mut self, row_key: &Bytes, row: &Row) -> Result<Option<ListItem>> {
        let key = std::str::from_utf8(row_key)
            .map_err(|_| Error::damaged("key", String::from_utf8_lossy(row_key)))?;
        let Some(name) = self.folder.strip(key).filter(|name| !name.is_empty()) else {
            // The row of the listed folder itself.
            return Ok(None);
        };
        if self.store.scope.hides(key) {
            if let Some((hidden, _)) = name.split_once('/') {
                let behind = format!("{}{hidden}0", self.folder.as_prefix());
                self.scan.seek(behind.as_bytes());
            }
            return Ok(None);
        }
        self.rows_left -= 1;
        if self.rows_left == 0 {
            self.stopped_at = Some(match name.split_once('/') {
                Some((folder, _)) if !self.recursive => format!("{folder}/"),
                _ => name.to_owned(),
            });
        }
        match self.recursive {
            true => self.descendant(key, name, row),
            false => self.child(key, name, row),
        }
    }

    fn next_row(&mut self) -> Result<Option<(Bytes, Row)>> {
        match self.peeked.take() {
            Some(next) => next.map(Some),
            None => self.scan.next(),
        }
    }

    /// The direct child that this row is, or lies below.
    fn child(&mut self, key: &str, name: &str, row: &Row) -> Result<Option<ListItem>> {
        let Some((folder, _)) = name.split_once('/') else {
            return self.entry(key, name, row);
        };
        let behind = format!("{}{folder}0", self.folder.as_prefix());
        self.scan.seek(behind.as_bytes());
        let item = self.filter.passes(folder).then(|| ListItem::folder(folder));
        Ok(item)
    }

    /// The entry that this row is, or the folder where it is explicit and nothing lies below it.
    fn descendant(&mut self, key: &str, name: &str, row: &Row) -> Result<Option<ListItem>> {
        let Some(folder) = name.strip_suffix('/') else {
            return self.entry(key, name, row);
        };
        if !self.filter.passes(folder) {
            return Ok(None);
        }
        self.peeked = self.scan.next().transpose();
        // Where that cannot be told, both are: the folder, and at the next step what is wrong.
        let is_empty = match &self.peeked {
            Some(Ok((below, _))) => !below.starts_with(key.as_bytes()),
            Some(Err(_)) | None => true,
        };
        Ok(is_empty.then(|| ListItem::folder(folder)))
    }

    fn entry(&self, key: &str, name: &str, row: &Row) -> Result<Option<ListItem>> {
        if !self.filter.passes(name) {
            return Ok(None);
        }
        let record = EntryRecord::decode(key, &row.value)?;
        if record.kind == Kind::Folder {
            return Err(Error::damaged("entry", key));
        }
        let relative = self.store.relative(key);
        let opens = self.opens(relative, &record)?;
        Ok(Some(ListItem {
            name: name.to_owned(),
            is_folder: false,
            metadata: opens.then(|| record.into_metadata(relative, row.revision)),
        }))
    }

    fn opens(&self, key: &str, record: &EntryRecord) -> Result<bool> {
        let Some(lock) = &record.lock else {
            return Ok(true);
        };
        match self.store.known_lock(lock, Need::Read) {
            Known::Opens => Ok(true),
            Known::Refuses => Ok(false),
            Known::Unknown => {
                let verified = (self.store).verify_lock(key, lock, Need::Read, Trying::Listing);
                match verified {
                    Ok(()) => Ok(true),
                    Err(Error::WrongPassword { .. } | Error::TooManyTries { .. }) => Ok(false),
                    Err(error) => Err(error),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
