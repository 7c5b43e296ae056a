//! Locks are asked before a step for which every writer of the store waits: to verify a password takes some 20 ms. The view
//! remembers what it found out, and the step has to verify nothing.

use std::collections::HashSet;

use crate::{Error, ListOptions, Result, Store, WriteOptions};

/// How many locked entries a transaction may have to do with where passwords are offered: a view remembers what it found
/// out of so many, and it takes long enough.
const MOST_LOCKED: usize = 1000;
/// How many items of its folders it may have to look at for that, those of a folder counted as often as it is named.
const MOST_LISTED: u64 = 2_000_000;

/// Asks the lock of an entry for replacing or deleting it.
pub(super) fn ask_to_write(store: &Store, key: &str) -> Result<()> {
    store.writer(key, WriteOptions::new()).map(drop)
}

/// Asks the lock of an entry for everything that can be done with it.
pub(super) fn ask_for_all(store: &Store, key: &str) -> Result<()> {
    // To read first: after the other it may write a stronger hash, and with that another revision.
    store.metadata(key)?;
    ask_to_write(store, key)
}

/// Asks the locks of all that a transaction has to do with. It fails only where the transaction would have to verify a
/// password after all. What else is wrong now need not be by the time the transaction comes to it.
pub(super) struct Asking<'a> {
    store: &'a Store,
    without_passwords: &'a Store,
    locked: HashSet<String>,
    /// How many items it may still look at.
    left: u64,
}

impl Asking<'_> {
    /// Of a view with passwords, and the same without them.
    pub(super) fn of<'a>(store: &'a Store, without_passwords: &'a Store) -> Asking<'a> {
        Asking {
            store,
            without_passwords,
            locked: HashSet::new(),
            left: MOST_LISTED,
        }
    }

    /// For reading an entry.
    pub(super) fn read(&mut self, key: &str) -> Result<()> {
        match self.is_locked(key)? {
            true => found_out(self.store.metadata(key)),
            false => Ok(()),
        }
    }

    /// For replacing or deleting it.
    pub(super) fn write(&mut self, key: &str) -> Result<()> {
        match self.is_locked(key)? {
            true => found_out(ask_to_write(self.store, key)),
            false => Ok(()),
        }
    }

    /// Both, also where the first is refused.
    pub(super) fn all(&mut self, key: &str) -> Result<()> {
        self.read(key)?;
        self.write(key)
    }

    /// For whatever is in a folder.
    pub(super) fn below(&mut self, folder: &str) -> Result<()> {
        let options = ListOptions::new().recursive();
        let Ok(items) = self.without_passwords.list_with(folder, options) else {
            return Ok(());
        };
        for item in items {
            let item = item?;
            self.left = self.left.checked_sub(1).ok_or(Error::TooLarge {
                what: "count of items in the folders of the transaction",
                limit: MOST_LISTED,
                found: MOST_LISTED + 1,
            })?;
            let seen = item.metadata.as_ref();
            let is_open = seen.is_some_and(|seen| !seen.view_locked && !seen.edit_locked);
            if !item.is_folder && !is_open {
                self.all(&format!("{}/{}", folder.trim_matches('/'), item.name))?;
            }
        }
        Ok(())
    }

    fn is_locked(&mut self, key: &str) -> Result<bool> {
        let is_locked = match self.without_passwords.metadata(key) {
            Ok(seen) => seen.is_some_and(|seen| seen.view_locked || seen.edit_locked),
            Err(Error::Locked { .. }) => true,
            Err(_) => false,
        };
        if is_locked && self.locked.insert(key.to_owned()) && self.locked.len() > MOST_LOCKED {
            let as_u64 = |count| u64::try_from(count).unwrap_or(u64::MAX);
            return Err(Error::TooLarge {
                what: "count of locked entries in the transaction",
                limit: as_u64(MOST_LOCKED),
                found: as_u64(self.locked.len()),
            });
        }
        Ok(is_locked)
    }
}

/// Whether it is known now that a lock opens, or does not. Behind too many tries it is not.
fn found_out<T>(asked: Result<T>) -> Result<()> {
    match asked {
        Err(error @ Error::TooManyTries { .. }) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_folders_named_again_and_again_only_so_much_is_looked_at() {
        let store = Store::in_memory().unwrap();
        for number in 0..10 {
            store.save(&format!("f/{number}"), &1).unwrap();
        }
        let mut locks = Asking::of(&store, &store);
        locks.left = 25;
        for _ in 0..2 {
            locks.below("f").unwrap();
        }
        let refused = locks.below("f").unwrap_err();
        assert!(matches!(refused, Error::TooLarge { .. }), "{refused}");
    }
}
