//! Callbacks: who is told of a commit on the thread that made it.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use super::sight::{Seen, Sight};
use super::{Delivery, Turnstile};
use crate::format::ChangeRecord;
use crate::metadata::Change;
use crate::store::Store;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Kinds of changes, for [`Store::on`]. They combine by `|`. Folders that are made, deleted or moved as such are told as well:
/// [`Change::entry`](crate::Change::entry) has what it was.
///
/// ```
/// use komatik::Events;
/// let gone = Events::DELETED | Events::MOVED;
/// assert!(gone.contains(Events::MOVED) && !gone.contains(Events::UPDATED));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Events(u8);

impl Events {
    /// An entry was written: content, metadata or lock; or came into the scope by a move.
    pub const UPDATED: Events = Events(1);
    /// An entry was deleted, or left the scope by a move.
    pub const DELETED: Events = Events(2);
    /// An entry was moved within the scope.
    pub const MOVED: Events = Events(4);
    /// Every change.
    pub const ALL: Events = Events(7);

    const NAMES: [(Events, &'static str); 3] = [
        (Events::UPDATED, "UPDATED"),
        (Events::DELETED, "DELETED"),
        (Events::MOVED, "MOVED"),
    ];

    /// Whether all of `other` are among these.
    #[must_use]
    pub fn contains(self, other: Events) -> bool {
        self.0 & other.0 == other.0
    }

    fn of(seen: Seen<'_>) -> Events {
        match seen {
            Seen::Put => Events::UPDATED,
            Seen::Delete => Events::DELETED,
            Seen::Move(_) => Events::MOVED,
        }
    }
}

impl BitOr for Events {
    type Output = Events;

    fn bitor(self, other: Events) -> Events {
        Events(self.0 | other.0)
    }
}

impl BitOrAssign for Events {
    fn bitor_assign(&mut self, other: Events) {
        *self = *self | other;
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Events::NAMES
            .iter()
            .filter(|(event, _)| self.contains(*event));
        let names: Vec<_> = names.map(|(_, name)| *name).collect();
        write!(f, "Events({})", names.join(" | "))
    }
}

/// What is called with each change.
type Function = Box<dyn Fn(&Change) + Send + Sync>;

pub(super) struct Callback {
    events: Events,
    sight: Sight,
    /// Turned off at once, also for those who hold it from a list made before.
    active: AtomicBool,
    function: Function,
}

impl Callback {
    fn wants(&self, record: &ChangeRecord) -> bool {
        let seen = self.sight.look(record);
        seen.is_some_and(|(_, seen)| self.events.contains(Events::of(seen)))
    }

    pub(super) fn wants_any(&self, records: &[ChangeRecord]) -> bool {
        records.iter().any(|record| self.wants(record))
    }

    /// The changes of a commit that it is to be told of, made one by one: a commit may have a million.
    fn matching<'a>(
        &self,
        revision: u64,
        records: impl Iterator<Item = &'a ChangeRecord>,
    ) -> impl Iterator<Item = Change> {
        let wanted = records.filter(|record| self.wants(record));
        let mut changes = wanted
            .filter_map(move |record| self.sight.of(revision, record))
            .peekable();
        std::iter::from_fn(move || {
            let change = changes.next()?;
            let last = changes.peek().is_none();
            Some(Change { last, ..change })
        })
    }

    /// Calls it with each change; one that panics is told of the rest all the same.
    pub(super) fn run(&self, revision: u64, records: &[ChangeRecord]) {
        for change in self.matching(revision, records.iter()) {
            if !self.active.load(Ordering::Acquire) {
                return;
            }
            // The payload may hold anything, so it is not logged, and may panic as it goes.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (self.function)(&change))) {
                tracing::error!(revision, "a callback panicked; the others go on");
                if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                    std::mem::forget(again);
                }
            }
        }
    }
}

/// A callback at work, from [`Store::on`]. Dropped, or [`off`](Subscription::off): it is no longer called.
///
/// Where it runs on another thread at that moment, that run ends in its own time; nothing waits for it. It may take
/// itself off from inside.
#[must_use = "the callback is removed when its subscription is dropped"]
pub struct Subscription {
    turnstile: Weak<Turnstile>,
    callback: Arc<Callback>,
}

impl Subscription {
    /// Removes the callback.
    pub fn off(self) {
        drop(self);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.callback.active.store(false, Ordering::Release);
        if let Some(turnstile) = self.turnstile.upgrade() {
            turnstile.remove(&self.callback);
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("events", &self.callback.events)
            .field("scope", &self.callback.sight.scope)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Calls `callback` with every change of these kinds below the scope of this view, keys relative to it, until the
    /// subscription is dropped.
    ///
    /// * **When:** after the commit is as durable as it asked to be, before the call that made it returns, on the
    ///   thread of that call. The changes of one transaction come together, one call each;
    ///   [`Change::last`] marks the last of them.
    /// * **In which order:** of the revisions, one commit at a time, whichever threads they are made on. A slow
    ///   callback therefore holds up every writer whose changes somebody is called for: hand long work to a
    ///   thread of its own, or [`watch`](Store::watch).
    /// * **Using the store from inside** is allowed, writing as well. The changes made there are told after the
    ///   callbacks of the present commit have returned, never inside them, and before the outermost write returns;
    ///   where threads compete, by another one of them. What must not be done from inside is to wait for another thread
    ///   that writes to this store: it waits for the callback.
    /// * **A panic** in a callback is contained and logged; the others still run.
    ///
    /// A callback that owns a clone of the store keeps it open until the subscription is dropped.
    ///
    /// Everybody is told the keys of all entries, and size and digest of those without a view password.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use komatik::{Events, Store};
    /// let store = Store::in_memory()?;
    /// let seen = Arc::new(Mutex::new(Vec::new()));
    /// let list = seen.clone();
    /// let subscription = store.on(Events::UPDATED, move |change| {
    ///     list.lock().unwrap().push(change.key.clone());
    /// });
    /// store.put("a", "1")?;
    /// subscription.off();
    /// store.put("b", "2")?;
    /// assert_eq!(*seen.lock().unwrap(), ["a"]);
    /// # Ok::<(), komatik::Error>(())
    /// ```
    pub fn on(
        &self,
        events: Events,
        callback: impl Fn(&Change) + Send + Sync + 'static,
    ) -> Subscription {
        let callback = Arc::new(Callback {
            events,
            sight: Sight {
                scope: self.scope.clone(),
                within: self.scope.as_folder().clone(),
            },
            active: AtomicBool::new(true),
            function: Box::new(callback),
        });
        let Delivery { turnstile, .. } = &self.shared.delivery;
        turnstile.add(callback.clone());
        Subscription {
            turnstile: Arc::downgrade(turnstile),
            callback,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::format::ChangeAction;
    use crate::key::Folder;
    use crate::metadata::Kind;

    #[test]
    fn changes_are_made_one_by_one_and_the_last_is_marked() {
        let callback = Callback {
            events: Events::DELETED,
            sight: Sight {
                scope: Folder::parse("").unwrap().into(),
                within: Folder::parse("in").unwrap(),
            },
            active: AtomicBool::new(true),
            function: Box::new(|_| {}),
        };
        // What comes behind the last one is no concern of the callback.
        let records = (0..1000).map(|number| ChangeRecord {
            action: match number % 10 {
                0 => ChangeAction::Put,
                _ => ChangeAction::Delete,
            },
            key: format!("{}/{number}", if number < 900 { "in" } else { "out" }),
            entry: Kind::Document,
            content: None,
            participant: None,
            time: 0,
        });
        let records: Vec<_> = records.collect();
        let looked_at = Cell::new(0);
        let counted = records
            .iter()
            .inspect(|_| looked_at.set(looked_at.get() + 1));
        let mut told = 0;
        let mut last = Vec::new();
        for change in callback.matching(7, counted) {
            told += 1;
            if change.last {
                last.push(change.key);
            } else {
                assert!(looked_at.get() <= told * 10 / 9 + 3, "{told}");
            }
        }
        assert_eq!((told, last), (810, vec!["in/899".to_owned()]));
        let none = callback.matching(7, records[900..].iter());
        assert_eq!(none.count(), 0);
    }
}
