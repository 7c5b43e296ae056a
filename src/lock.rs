//! Locks: passwords on entries.
//!
//! A lock guards the face of the store, not the disk: the content is not encrypted by it. Whoever can read the
//! directory can read what is in it.

mod passwords;
mod tries;

pub use passwords::MAX_PASSWORD_BYTES;
pub(crate) use passwords::{Passwords, check_cost, fill_random};
pub(crate) use tries::Tries;

use crate::error::{Access, Error, Result};
use crate::format::{ChangeAction, EntryRecord, LockRecord};
use crate::options::{Durability, Lock};
use crate::store::Store;

/// What a call is about to do with an entry; see the table of [`Lock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Read,
    Write,
    ReadAndWrite,
    Relock,
}

/// What the passwords of a view are known to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// They open the lock for what is needed.
    Opens,
    /// They do not: no password was offered, or none is right.
    Refuses,
    /// Not verified yet: see [`Store::verify_lock`].
    Unknown,
}

/// What a lock asks for.
struct Demand<'a> {
    needs: Access,
    /// The PHC string of the password that is asked for.
    phc: &'a str,
    /// That of another password which does as well.
    or: Option<&'a str>,
}

impl Demand<'_> {
    fn hashes(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.phc).chain(self.or)
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
    /// The lock guards the calls of this library, not the disk: content is not encrypted by it.
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
    /// [`Error::Locked`] and [`Error::WrongPassword`] where the present lock is not opened by a password offered;
    /// and those of every write.
    pub fn lock(&self, key: &str, lock: Lock) -> Result<()> {
        self.key(key)?;
        let record = self.hash_lock(&lock)?;
        self.replace_lock(key, Some(&record)).map(drop)
    }

    /// Takes the lock off an entry. Answers whether there was one.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Locked`] and [`Error::WrongPassword`] where the lock is not opened by a password
    /// offered; and those of every write.
    pub fn unlock(&self, key: &str) -> Result<bool> {
        self.replace_lock(key, None)
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
        fill_random(&mut id)?;
        Ok(LockRecord {
            id,
            view: hash(&lock.view)?,
            edit: hash(&lock.edit)?,
        })
    }

    /// Leaves the entry with this lock. Answers whether it had one.
    fn replace_lock(&self, name: &str, new: Option<&LockRecord>) -> Result<bool> {
        let key = self.key(name)?;
        let (had, _) = self.write(|draft| {
            let present = draft.read(key.as_str())?.ok_or_else(|| Error::NotFound {
                key: name.to_owned(),
            })?;
            let mut record = present.record;
            draft.check_lock(key.as_str(), &record, Need::Relock)?;
            let had = record.lock.is_some();
            if had || new.is_some() {
                record.lock = new.cloned();
                record.updated = draft.now;
                draft.tell(ChangeAction::Put, key.as_str(), &record);
                draft.write(key.as_str(), record);
            }
            Ok(had)
        })?;
        Ok(had)
    }

    /// What is known, without any slow work.
    pub(crate) fn known_lock(&self, lock: &LockRecord, need: Need) -> Known {
        let Some(demand) = demand(lock, need) else {
            return Known::Opens;
        };
        if need == Need::Read && self.passwords.admits(lock.id) {
            return Known::Opens;
        }
        if self.passwords.is_empty() {
            return Known::Refuses;
        }
        let mut known = Known::Refuses;
        for phc in demand.hashes() {
            match self.passwords.known(phc) {
                Some(true) => return Known::Opens,
                Some(false) => {}
                None => known = Known::Unknown,
            }
        }
        known
    }

    /// Verifies the passwords of this view against a lock, slowly, and remembers. `key` is relative, for errors.
    ///
    /// Waits first where there were many wrong tries on the lock.
    pub(crate) fn verify_lock(&self, key: &str, lock: &LockRecord, need: Need) -> Result<()> {
        self.open_lock(key, lock, need).map(drop)
    }

    /// As [`Store::verify_lock`]; answers the hash that was opened by a slow check, and by which password.
    fn open_lock<'a>(
        &'a self,
        key: &str,
        lock: &LockRecord,
        need: Need,
    ) -> Result<Option<(String, &'a [u8])>> {
        let Some(demand) = demand(lock, need) else {
            return Ok(None);
        };
        match self.known_lock(lock, need) {
            Known::Opens => return Ok(None),
            Known::Refuses if self.passwords.is_empty() => {
                return Err(Error::Locked {
                    key: key.to_owned(),
                    needs: demand.needs,
                });
            }
            Known::Refuses => {}
            Known::Unknown => {
                if let Some(opened) = self.try_passwords(key, lock.id, &demand)? {
                    return Ok(Some(opened));
                }
            }
        }
        Err(Error::WrongPassword {
            key: key.to_owned(),
            needs: demand.needs,
        })
    }

    fn try_passwords<'a>(
        &'a self,
        key: &str,
        lock: [u8; 16],
        demand: &Demand<'_>,
    ) -> Result<Option<(String, &'a [u8])>> {
        for password in self.passwords.each() {
            let wait = self.shared.tries.begin(lock);
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            for phc in demand.hashes() {
                if passwords::is_right(key, phc, password)? {
                    self.shared.tries.succeeded(lock);
                    self.passwords.remember(phc, true);
                    return Ok(Some((phc.to_owned(), password)));
                }
            }
        }
        for phc in demand.hashes() {
            self.passwords.remember(phc, false);
        }
        Ok(None)
    }

    /// Asks for what `need` demands: the quick answer where it is known, else the slow one. Not under the gate.
    ///
    /// Where the password is right and its hash cheaper than the store now asks for, it is hashed anew.
    pub(crate) fn pass_lock(&self, key: &str, record: &EntryRecord, need: Need) -> Result<()> {
        let Some(lock) = &record.lock else {
            return Ok(());
        };
        let opened = self.open_lock(key, lock, need)?;
        if let Some((phc, password)) = opened
            && passwords::is_weaker(&phc, self.shared.password_cost)
            && let Err(error) = self.strengthen(key, &phc, password)
        {
            tracing::debug!(%error, "a lock keeps its old hash");
        }
        Ok(())
    }

    /// Puts a new hash of the password in place of `phc`, where that is still there. The lock keeps its id, so tokens
    /// go on working. No change is told: nothing that anyone can see has changed but the revision.
    fn strengthen(&self, name: &str, phc: &str, password: &[u8]) -> Result<()> {
        let key = self.key(name)?;
        let stronger = passwords::hash(password, self.shared.password_cost)?;
        self.passwords.remember(&stronger, true);
        // Nobody waits for it to be durable: it is done again where it is lost.
        let quick = self.with_durability(Durability::Eventual);
        quick.write(|draft| {
            let Some(present) = draft.read(key.as_str())? else {
                return Ok(());
            };
            let mut record = present.record;
            let Some(lock) = &mut record.lock else {
                return Ok(());
            };
            let slots = [&mut lock.view, &mut lock.edit];
            let slot = slots
                .into_iter()
                .flatten()
                .find(|slot| slot.as_str() == phc);
            if let Some(slot) = slot {
                slot.clone_from(&stronger);
                draft.write(key.as_str(), record);
            }
            Ok(())
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::View;
    use crate::options::PasswordCost;

    /// The lock of the entry `a`, and its revision.
    fn stored(store: &Store) -> (LockRecord, u64) {
        let key = store.key("a").unwrap();
        let present = store.row(View::Settled, &key).unwrap().unwrap();
        (present.record.lock.unwrap(), present.revision)
    }

    #[test]
    fn a_right_password_strengthens_its_hash_once() {
        let cheap = Store::builder_in_memory()
            .password_cost(PasswordCost::new(8, 1))
            .open()
            .unwrap();
        cheap.put("a", "1").unwrap();
        cheap.lock("a", Lock::new().view("v").edit("e")).unwrap();
        let (before, _) = stored(&cheap);
        let dear = Store::on_backend(Arc::clone(&cheap.shared.backend)).unwrap();
        dear.unlocked_with("wrong").get("a").unwrap_err();
        assert!(stored(&dear).0 == before);
        let view = dear.unlocked_with("v");
        view.get("a").unwrap();
        let (after, revision) = stored(&dear);
        assert!(after.id == before.id && after.edit == before.edit);
        assert!(after.view.unwrap().contains("$m=19456,t=2,p=1$"));
        for again in [&view, &dear.unlocked_with("v"), &cheap.unlocked_with("v")] {
            assert!(again.get("a").unwrap().is_some());
            assert_eq!(stored(&dear).1, revision);
        }
        let told = dear
            .shared
            .backend
            .changes(crate::backend::Position::after(2), 10);
        assert!(told.unwrap().is_empty(), "only the revision is new");
    }

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
            let hashes: Vec<_> = demand.iter().flat_map(Demand::hashes).collect();
            let found = demand.as_ref().map(|demand| (demand.needs, &hashes[..]));
            assert_eq!(found, expected, "{view} {edit} {need:?}");
        }
    }
}
