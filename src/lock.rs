//! Locks: passwords on entries.
//!
//! A lock guards the face of the store, not the disk: the content is not encrypted by it. Whoever can read the
//! directory can read what is in it.

mod passwords;
mod tries;
mod verify;

pub use passwords::MAX_PASSWORD_BYTES;
pub(crate) use passwords::{Passwords, check_cost};
pub(crate) use tries::Tries;
pub(crate) use verify::{Known, LONGEST_WAIT, Trying};

use crate::error::{Access, Error, Result};
use crate::format::{ChangeAction, LockRecord};
use crate::key::Key;
use crate::options::Lock;
use crate::random;
use crate::store::Store;

/// What a call is about to do with an entry; see the table of [`Lock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Need {
    Read,
    Write,
    ReadAndWrite,
    Relock,
}

/// What a lock asks for.
struct Demand<'a> {
    needs: Access,
    /// The PHC string of the password that is asked for.
    phc: &'a str,
    /// That of the edit password, where it does as well.
    or: Option<&'a str>,
}

impl Demand<'_> {
    /// Which passwords open it, and their PHC strings.
    fn hashes(&self) -> impl Iterator<Item = (Access, &str)> {
        let or = self.or.map(|phc| (Access::Edit, phc));
        std::iter::once((self.needs, self.phc)).chain(or)
    }
}

/// What the lock asks of a caller who needs this; `None` for nothing.
fn demand(lock: &LockRecord, need: Need) -> Option<Demand<'_>> {
    let view = lock.view.as_deref();
    let edit = lock.edit.as_deref();
    let (needs, phc) = match need {
        Need::Read => (Access::View, view?),
        Need::Write => (Access::Edit, edit?),
        // The edit password does for reading as well, so where there is one nothing else is asked.
        Need::ReadAndWrite | Need::Relock => match edit {
            Some(edit) => (Access::Edit, edit),
            None => (Access::View, view?),
        },
    };
    let or = if needs == Access::View { edit } else { None };
    Some(Demand { needs, phc, or })
}

impl Store {
    /// Puts a lock on an entry, in place of the one it may have. From then on every call on the entry asks for a
    /// password, as the table of [`Lock`] says; [`Store::unlocked_with`] offers one.
    ///
    /// Overwriting the entry keeps the lock, renaming carries it along, deleting drops it, and a copy has none.
    /// Tokens granted before no longer open the entry where the new lock has a view password.
    ///
    /// The lock guards the calls of this library, not the disk: content is not encrypted by it. Nor does it reach back:
    /// the history goes on telling the digest of what was put before, from which a short secret can be found. Lock the
    /// entry first, then put the secret.
    ///
    /// Wrong passwords are slowed, for each password of a lock by itself: behind four tries a call waits for its turn,
    /// 100 ms at first and up to 5 s from one try to the next. Where it would have to wait for more than a minute it
    /// is refused, and in a transaction, for which others wait, where it would have to wait at all:
    /// [`Error::TooManyTries`]. The passwords of a view are one try, or one for each 32 of them. In the long run who guesses
    /// has 12 tries a minute by calls and as many by listings, which are 768 passwords at most.
    ///
    /// Passwords are 1 to 1,024 bytes. Each is hashed by Argon2id at the store's
    /// [`password_cost`](crate::StoreBuilder::password_cost), some 20 ms at the default. The change is one commit; it
    /// gives the entry a new revision and is told as a put.
    ///
    /// ```
    /// use komatik::{Error, Lock, Store};
    /// let store = Store::in_memory()?;
    /// store.put("diary", "dear diary")?;
    /// store.lock("diary", Lock::new().view("sesame"))?;
    /// assert!(matches!(store.get("diary"), Err(Error::Locked { .. })));
    /// assert!(store.unlocked_with("sesame").get("diary")?.is_some());
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::InvalidArgument`] for a lock without passwords or a password out of bounds;
    /// [`Error::Locked`], [`Error::WrongPassword`] and [`Error::TooManyTries`] where the present lock is not opened by a
    /// password offered; [`Error::Damaged`]; and those of every write.
    pub fn lock(&self, key: &str, lock: Lock) -> Result<()> {
        let key = self.key(key)?;
        let record = self.hash_lock(&lock)?;
        self.replace_lock(&key, Some(&record)).map(drop)
    }

    /// Takes the lock off an entry. Answers whether there was one.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Locked`] and [`Error::WrongPassword`] where the lock is not opened by a password
    /// offered; [`Error::Damaged`]; and those of every write.
    pub fn unlock(&self, key: &str) -> Result<bool> {
        self.replace_lock(&self.key(key)?, None)
    }

    fn hash_lock(&self, lock: &Lock) -> Result<LockRecord> {
        if lock.view.is_none() && lock.edit.is_none() {
            return Err(Error::InvalidArgument {
                what: "lock",
                reason: "it has neither a view nor an edit password".to_owned(),
            });
        }
        let given = || lock.view.iter().chain(&lock.edit);
        given().try_for_each(|password| passwords::check_password(password))?;
        let cost = self.shared.password_cost;
        let hash = |password: &Option<String>| {
            let password = password.as_deref().map(str::as_bytes);
            password
                .map(|password| passwords::hash(password, cost))
                .transpose()
        };
        let mut id = [0; 16];
        random::fill(&mut id)?;
        Ok(LockRecord {
            id,
            view: hash(&lock.view)?,
            edit: hash(&lock.edit)?,
        })
    }

    /// Leaves the entry with this lock. Answers whether it had one.
    fn replace_lock(&self, key: &Key, new: Option<&LockRecord>) -> Result<bool> {
        let (had, _) = self.write(|draft| {
            let mut record = draft.read_present(key)?.record;
            draft.check_lock(key.as_str(), &record, Need::Relock)?;
            let had = record.lock.is_some();
            if had || new.is_some() {
                record.lock = new.cloned();
                record.updated = draft.now.max(record.updated);
                draft.tell(ChangeAction::Put, key.as_str(), &record)?;
                draft.write(key.as_str(), record);
            } else {
                draft.note_done();
            }
            Ok(had)
        })?;
        Ok(had)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(view: bool, edit: bool) -> LockRecord {
        LockRecord {
            id: [0; 16],
            view: view.then(|| "view".to_owned()),
            edit: edit.then(|| "edit".to_owned()),
        }
    }

    /// The table of [`Lock`], cell by cell: who asks for what, and which hashes open it.
    #[test]
    fn what_a_lock_asks() {
        use Access::{Edit, View};
        use Need::{Read, ReadAndWrite, Relock, Write};
        type Case = (bool, bool, Need, Option<(Access, &'static [&'static str])>);
        let cases: [Case; 12] = [
            (true, false, Read, Some((View, &["view"]))),
            (true, false, Write, None),
            (true, false, ReadAndWrite, Some((View, &["view"]))),
            (true, false, Relock, Some((View, &["view"]))),
            (false, true, Read, None),
            (false, true, Write, Some((Edit, &["edit"]))),
            (false, true, ReadAndWrite, Some((Edit, &["edit"]))),
            (false, true, Relock, Some((Edit, &["edit"]))),
            (true, true, Read, Some((View, &["view", "edit"]))),
            (true, true, Write, Some((Edit, &["edit"]))),
            (true, true, ReadAndWrite, Some((Edit, &["edit"]))),
            (true, true, Relock, Some((Edit, &["edit"]))),
        ];
        for (view, edit, need, expected) in cases {
            let lock = lock(view, edit);
            let demand = demand(&lock, need);
            let hashes = demand.iter().flat_map(Demand::hashes);
            let hashes: Vec<_> = hashes.map(|(_, phc)| phc).collect();
            let found = demand.as_ref().map(|demand| (demand.needs, &hashes[..]));
            assert_eq!(found, expected, "{view} {edit} {need:?}");
        }
    }
}
