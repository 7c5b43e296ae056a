//! Watchers: the history as a queue.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::{HistoryRange, Position, StoredChange};
use crate::delivery::{Sight, Waker};
use crate::error::{Error, Result};
use crate::format::ChangeRecord;
use crate::metadata::Change;
use crate::store::Store;
use crate::sync::channel::RecvTimeoutError;
use crate::sync::{Instant, thread};

/// Changes read from the history at a time.
const BATCH: usize = 256;
/// Where changes come faster one after the other, they wait for the next look at most about so long.
const NAP: Duration = Duration::from_micros(200);

/// Where a [`Watcher`] begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Since {
    /// With the first change after the call.
    #[default]
    Now,
    /// With the oldest change the history holds.
    Start,
    /// With the first change after this revision: a [`Watcher::revision`] noted earlier.
    After(u64),
}

/// The changes below a folder, one after the other, from [`Store::watch`].
///
/// It reads the history at its own pace: no writer ever waits for it, and none of the changes is left out. To go on
/// after a restart, note [`Watcher::revision`] together with what was made of the changes, and begin there.
///
/// It is woken for a change at once; while they come faster than one in 200 us, it looks for them that often instead.
///
/// As an iterator it waits for the next change, for ever. After an error it ends. The other methods may be called again
/// after one, and try again from the same place.
#[must_use = "a watcher does nothing until it is asked"]
pub struct Watcher {
    store: Store,
    sight: Sight,
    waker: Arc<Waker>,
    /// Up to where the history was read.
    read: Position,
    /// A change in sight of a commit not yet read to its end: it may be the last, or not.
    open: Option<Change>,
    /// The last commit of which there was a change in sight.
    told_of: u64,
    ready: VecDeque<Ready>,
    /// Up to where everything was returned.
    position: u64,
    /// Whether it was to begin at a place where no commit of this store ever was.
    is_ahead: bool,
    /// The newest revision there was, before the last look at the history.
    newest_seen: Option<u64>,
    /// What no power cut takes back, at the last look. Where nothing was told of a commit, it is no place to stand before.
    durable: u64,
    /// Whether there was anything since the last wait.
    has_found: bool,
    /// Whether that wait was a short one.
    is_busy: bool,
    failed: bool,
}

enum Ready {
    Change(Change),
    Damaged(Error),
    /// Everything up to here has been returned once this is met; whether any of this commit was.
    Reached(u64, bool),
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("folder", &self.sight.within)
            .field("position", &self.position)
            .field("caught_up", &self.caught_up())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Watches the changes below a folder (`""`: all this view sees); keys are relative to the scope of the view.
    ///
    /// The history is the queue: changes are read from it, in the order of the commits, those of one commit together.
    /// What moves into the folder is told as put, what moves out as deleted.
    ///
    /// Everybody is told the keys of all entries, and size and digest of those that had no view password when the change
    /// was made. Who mirrors a store reads what was put anyway, and for the others needs their passwords for that: from
    /// [`Store::get`] or [`Store::metadata`] it learns whether the content is another. Where a lock is put on
    /// or taken off, a put is told, the content being the same.
    ///
    /// Asking for a place that the history no longer reaches is answered by the first change asked for:
    /// [`Compacted`](crate::Error::Compacted). So is a place ahead of all there is, as one that was noted before an older copy
    /// of the store was put in its place; one of [`Eventual`](crate::Durability::Eventual) writes that a power cut took back
    /// after they were told; and one of the store that this one is a [backup](Store::backup) of, or of another backup of that.
    /// Then read the present state and watch from there: take the watcher `Since::Now` first, then list, so that nothing
    /// falls in between.
    ///
    /// A watcher keeps the store open, as a clone of the handle does. [`Store::close`] ends it with an error.
    ///
    /// ```
    /// use komatik::{Since, Store};
    /// let store = Store::in_memory()?;
    /// store.put("inbox/1", "hello")?;
    /// let mut watcher = store.watch("inbox", Since::Start)?;
    /// let change = watcher.try_recv()?.expect("one change");
    /// assert_eq!(change.key, "inbox/1");
    /// assert!(watcher.caught_up());
    /// // Noted by the application, to go on from after a restart:
    /// let position = watcher.revision();
    /// assert_eq!(position, change.revision);
    /// # Ok::<(), komatik::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidKey`](crate::Error::InvalidKey) for the folder.
    pub fn watch(&self, folder: &str, since: Since) -> Result<Watcher> {
        let within = self.folder(folder)?;
        // Registered before the first look, so that nothing is settled unnoticed in between.
        let waker = self.shared.delivery.register();
        let durable = self.shared.backend.durable();
        let history = self.history();
        let position = match since {
            // Also of what a power cut may still take: who reads the present state next reads that as well.
            Since::Now => history.newest,
            Since::Start => history.oldest.saturating_sub(1),
            Since::After(revision) => revision,
        };
        let is_ahead = position > history.newest && self.is_ahead_of_all(position);
        Ok(Watcher {
            store: self.clone(),
            sight: Sight {
                scope: self.scope.clone(),
                within,
            },
            waker,
            read: Position::after(position),
            open: None,
            told_of: 0,
            ready: VecDeque::new(),
            position,
            is_ahead,
            newest_seen: None,
            durable,
            has_found: false,
            is_busy: false,
            failed: false,
        })
    }

    /// Whether no commit of that revision was ordered yet. Those that are, but not for readers, become so.
    fn is_ahead_of_all(&self, revision: u64) -> bool {
        let backend = &self.shared.backend;
        backend.flush().is_ok() && revision > backend.history().newest
    }

    /// How far the history reaches, of the whole store whatever the scope.
    #[must_use]
    pub fn history(&self) -> HistoryRange {
        self.shared.backend.history()
    }
}

impl Watcher {
    /// The next change if there is one, without waiting for it.
    ///
    /// # Errors
    /// [`Compacted`](crate::Error::Compacted) where the history does not reach back to where this watcher stands, or has no
    /// such place, at every call from then on; `Damaged`; what the operating system answers; an error once the store is closed.
    pub fn try_recv(&mut self) -> Result<Option<Change>> {
        loop {
            if let Some(change) = self.pop()? {
                // Commits without changes may follow it. What fails here fails at the next call as well.
                if self.ready.is_empty() && !self.caught_up() {
                    let _ = self.look();
                }
                return Ok(Some(change));
            }
            if !self.look()? {
                return Ok(None);
            }
        }
    }

    /// The next change, waiting for it at most so long; `None` where there was none.
    ///
    /// # Errors
    /// As [`Watcher::try_recv`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Change>> {
        let Some(deadline) = Instant::now().checked_add(timeout) else {
            return self.recv().map(Some);
        };
        loop {
            if let Some(change) = self.try_recv()? {
                return Ok(Some(change));
            }
            // Also where changes out of sight keep coming.
            if self.wait(Some(deadline)).is_err() || Instant::now() >= deadline {
                return self.try_recv();
            }
        }
    }

    /// The revision up to which every change was returned: the place to go on from, by [`Since::After`].
    ///
    /// It moves on with the last change of each commit, and over commits that do not concern this watcher once those are
    /// durable; never into the middle of a commit.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.position
    }

    /// Whether everything that readers could see at the last look at the history has been returned. Looking is what
    /// the other methods do; before the first it is false.
    #[must_use]
    pub fn caught_up(&self) -> bool {
        let is_read = |newest| self.read >= Position::after(newest);
        self.newest_seen.is_some_and(is_read) && self.ready.is_empty() && self.open.is_none()
    }

    /// The next change, for which it waits as long as it takes.
    ///
    /// # Errors
    /// As [`Watcher::try_recv`]. It may be called again, and tries again from the same place.
    pub fn recv(&mut self) -> Result<Change> {
        loop {
            if let Some(change) = self.try_recv()? {
                return Ok(change);
            }
            // It cannot be disconnected: this watcher itself owns the other end.
            let _ = self.wait(None);
        }
    }

    /// Waits until there may be something to look at, or until the deadline.
    fn wait(&mut self, deadline: Option<Instant>) -> Result<(), RecvTimeoutError> {
        // What comes faster than this is looked for from time to time: to be woken for each change costs the writer and
        // this thread more than the change does.
        if std::mem::take(&mut self.has_found) && self.is_busy {
            thread::sleep(NAP);
            return Ok(());
        }
        let began = Instant::now();
        match deadline {
            Some(deadline) => self.waker.receiver.recv_deadline(deadline)?,
            None => (self.waker.receiver.recv()).map_err(|_| RecvTimeoutError::Disconnected)?,
        }
        self.is_busy = began.elapsed() < NAP;
        Ok(())
    }

    /// The next change that was read already. With the last one of a commit the position moves on.
    fn pop(&mut self) -> Result<Option<Change>> {
        let mut next = None;
        while let Some(ready) = self.ready.pop_front() {
            match ready {
                Ready::Reached(revision, was_told) => {
                    let place = match was_told {
                        true => revision,
                        false => revision.min(self.durable),
                    };
                    self.position = self.position.max(place);
                }
                _ if next.is_some() => {
                    self.ready.push_front(ready);
                    break;
                }
                Ready::Change(change) => next = Some(change),
                Ready::Damaged(damage) => return Err(damage),
            }
        }
        Ok(next)
    }

    /// Reads on in the history; answers false where there is nothing more.
    fn look(&mut self) -> Result<bool> {
        let backend = &self.store.shared.backend;
        // Before the batch: what settles in between must not be taken for read.
        self.durable = backend.durable();
        let newest = backend.history().newest;
        if self.is_ahead {
            let oldest = newest.saturating_add(1);
            return Err(Error::Compacted { oldest });
        }
        let batch = backend.changes(self.read, BATCH)?;
        self.newest_seen = Some(newest);
        if batch.is_empty() {
            self.read = self.read.max(Position::after(newest));
            self.position = self.position.max(newest.min(self.durable));
            return Ok(false);
        }
        self.has_found = true;
        batch.iter().for_each(|stored| self.take(stored));
        Ok(true)
    }

    fn take(&mut self, stored: &StoredChange) {
        let revision = stored.position.revision;
        // Behind the last change of a commit nothing of it is missed, even where the history drops it.
        self.read = if stored.last {
            Position::after(revision)
        } else {
            stored.position
        };
        match ChangeRecord::decode(revision, &stored.bytes) {
            Ok(record) => {
                if let Some(change) = self.sight.of(revision, &record) {
                    self.told_of = revision;
                    let before = self.open.replace(change);
                    self.ready.extend(before.map(Ready::Change));
                }
            }
            // Told once, before the change that precedes it in its commit; what follows can still be read.
            Err(damage) => self.ready.push_back(Ready::Damaged(damage)),
        }
        if stored.last {
            if let Some(mut change) = self.open.take() {
                change.last = true;
                self.ready.push_back(Ready::Change(change));
            }
            let was_told = self.told_of == revision;
            self.ready.push_back(Ready::Reached(revision, was_told));
        }
    }
}

impl Iterator for Watcher {
    type Item = Result<Change>;

    fn next(&mut self) -> Option<Result<Change>> {
        if self.failed {
            return None;
        }
        let next = self.recv();
        self.failed = next.is_err();
        Some(next)
    }
}

impl FusedIterator for Watcher {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::local::{Local, Options};
    use crate::options::Durability;

    /// A power cut that takes what this watcher was told nothing of has taken nothing from it.
    #[test]
    fn what_is_out_of_sight_is_no_place_to_stand_before_it_is_durable() {
        let directory = tempfile::tempdir().unwrap();
        let local = Arc::new(Local::open(directory.path(), Options::default()).unwrap());
        let store = Store::on_backend(local.clone()).unwrap();
        let eventual = store.with_durability(Durability::Eventual);
        let mut watcher = store.watch("here", Since::Start).unwrap();
        let held = local.hold_syncs();
        let told = eventual.put("here/a", "1").unwrap().revision;
        eventual.put("there", "1").unwrap();
        assert!(watcher.try_recv().unwrap().is_some());
        assert!(watcher.try_recv().unwrap().is_none());
        assert!(watcher.caught_up());
        assert_eq!(watcher.revision(), told);
        drop(held);
        store.flush().unwrap();
        assert!(watcher.try_recv().unwrap().is_none());
        assert_eq!(watcher.revision(), store.history().newest);
    }
}
