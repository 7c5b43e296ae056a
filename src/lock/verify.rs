//! Whether the passwords of a view open a lock, and hashes that are to become stronger.
//!
//! Verifying is slow, so a view remembers what it has found out. Where a password is right and its hash cheaper than the
//! store now asks for, a stronger one is made at once and remembered beside it. It takes its place in every record
//! that is written through the view (see [`Draft::write`](crate::draft::Draft::write)), and a call that reads an entry
//! writes it for this alone. To verify never writes: a revision that was asked for stays what it is.

use std::time::Duration;

use super::passwords;
use super::tries::{Line, Tries};
use super::{Demand, Need, demand};
use crate::error::{Error, Result};
use crate::format::LockRecord;
use crate::options::Durability;
use crate::store::Store;

/// The longest a call waits in a line, unless its view has less patience.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);

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

/// Who tries a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trying {
    /// A call about this entry, while nobody waits for it.
    Call,
    /// A transaction: every writer of the store waits for it, so it waits for nobody.
    Transaction,
    /// A listing, which tries what it can at once.
    Listing,
}

impl Trying {
    /// The longest wait it takes upon itself, where a call of the view takes so much.
    fn patience(self, of_view: Duration) -> Duration {
        match self {
            Trying::Call => of_view,
            Trying::Transaction | Trying::Listing => Duration::ZERO,
        }
    }
}

/// Tries of which nothing is told yet: they were wrong, unless another password of the lock opens it.
struct Untold<'a> {
    tries: &'a Tries,
    lines: Vec<Line>,
}

impl Untold<'_> {
    /// One of them was right: whoever made them did not guess.
    fn opened(mut self) {
        for line in std::mem::take(&mut self.lines) {
            self.tries.opened(line);
        }
    }
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        for line in &self.lines {
            self.tries.missed(*line);
        }
    }
}

impl Store {
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
        for (_, phc) in demand.hashes() {
            match self.passwords.known(phc) {
                Some(true) => return Known::Opens,
                Some(false) => {}
                None => known = Known::Unknown,
            }
        }
        known
    }

    /// Asks for what `need` demands: the quick answer where it is known, else the slow one, which is remembered. `key`
    /// is relative, for errors.
    ///
    /// Waits for its turn first where there were many wrong tries, as far as `by` has the patience.
    pub(crate) fn verify_lock(
        &self,
        key: &str,
        lock: &LockRecord,
        need: Need,
        by: Trying,
    ) -> Result<()> {
        let Some(demand) = demand(lock, need) else {
            return Ok(());
        };
        let needs = demand.needs;
        match self.known_lock(lock, need) {
            Known::Opens => return Ok(()),
            Known::Refuses if self.passwords.is_empty() => {
                let key = key.to_owned();
                return Err(Error::Locked { key, needs });
            }
            Known::Refuses => {}
            Known::Unknown => {
                if self.try_passwords(key, lock.id, &demand, by)? {
                    return Ok(());
                }
            }
        }
        let key = key.to_owned();
        Err(Error::WrongPassword { key, needs })
    }

    /// Tries the passwords of this view on every hash that is not known to refuse them.
    fn try_passwords(
        &self,
        key: &str,
        lock: [u8; 16],
        demand: &Demand<'_>,
        by: Trying,
    ) -> Result<bool> {
        let tries = &self.shared.tries;
        let mut untold = Untold {
            tries,
            lines: Vec::new(),
        };
        let mut slowed = None;
        for (password, phc) in demand.hashes() {
            let line = Line {
                lock,
                password,
                by_listing: by == Trying::Listing,
            };
            match self.try_on(key, phc, line, by, &mut untold) {
                Ok(true) => {
                    untold.opened();
                    return Ok(true);
                }
                Ok(false) => {}
                // Nobody need have guessed at the other one.
                Err(error @ Error::TooManyTries { .. }) => slowed = slowed.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        slowed.map_or(Ok(false), Err)
    }

    /// Tries the passwords of this view on one hash. Those that are tried together are one try, as one that is right shows
    /// that nobody guesses.
    fn try_on(
        &self,
        key: &str,
        phc: &str,
        line: Line,
        by: Trying,
        untold: &mut Untold<'_>,
    ) -> Result<bool> {
        let tries = &self.shared.tries;
        // Another thread may have found out for this view.
        let is_known = || self.passwords.known(phc) == Some(true);
        while let Some(guesses) = self.passwords.guesses(phc) {
            if is_known() {
                return Ok(true);
            }
            let own = untold.lines.iter().filter(|other| **other == line).count();
            let turn = tries.wait_for_turn(line, by.patience(self.patience), own, is_known);
            let is_turn = turn.map_err(|retry_in| Error::TooManyTries {
                key: key.to_owned(),
                retry_in,
            })?;
            if !is_turn {
                return Ok(true);
            }
            untold.lines.push(line);
            for password in &guesses.passwords {
                if passwords::is_right(key, phc, password)? {
                    let stronger = self.stronger_hash(phc, password);
                    self.passwords.remember_right(phc, stronger);
                    return Ok(true);
                }
            }
            self.passwords.remember_wrong(phc, &guesses);
        }
        Ok(false)
    }

    /// A new hash of the password, where `phc` is cheaper than the store asks for.
    fn stronger_hash(&self, phc: &str, password: &[u8]) -> Option<String> {
        let cost = self.shared.password_cost;
        if !passwords::is_weaker(phc, cost) {
            return None;
        }
        passwords::hash(password, cost)
            .inspect_err(|error| tracing::debug!(%error, "a lock keeps its old hash"))
            .ok()
    }

    /// Writes the stronger hashes there are for this lock of the entry `name`, in a commit of their own. Answers whether
    /// that gave the entry another revision. The lock keeps its id, so tokens go on working. No change is told: nothing
    /// that anyone can see has changed but the revision. Not under the gate.
    pub(crate) fn strengthen(&self, name: &str, lock: &LockRecord) -> bool {
        if self.passwords.strengthened(lock).is_none() {
            return false;
        }
        // Nobody waits for it to be durable: it is done again where it is lost.
        let quick = self.with_durability(Durability::Eventual);
        let written = self.key(name).and_then(|key| {
            quick.try_write(|draft| {
                let present = draft.read(key.as_str())?.map(|present| present.record);
                let is_weak = |lock: &LockRecord| self.passwords.strengthened(lock).is_some();
                if let Some(record) = present
                    && record.lock.as_ref().is_some_and(is_weak)
                {
                    draft.write(key.as_str(), record);
                }
                Ok(())
            })
        });
        match written {
            Ok(written) => written.is_some_and(|((), revision)| revision.is_some()),
            Err(error) => {
                tracing::debug!(%error, "a lock keeps its old hash");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
