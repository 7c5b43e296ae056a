//! API keys that were offered before, and whose they are: for as long as nothing in the store has changed. Who reads with
//! a key is then known without asking the store.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::accounts::Account;

/// How many are kept.
const MOST: usize = 1024;

/// Accounts by the hash of a key.
#[derive(Default)]
pub(super) struct Remembered(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// What the store had seen when the first of them was looked up.
    revision: u64,
    accounts: HashMap<String, Account>,
}

impl Remembered {
    /// Whose key this is, where that is known and the store is still at the revision.
    pub(super) fn get(&self, hash: &str, revision: u64) -> Option<Account> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let account = known.accounts.get(hash)?;
        (known.revision == revision).then(|| account.clone())
    }

    /// Keeps what was looked up when the store was at the revision or behind it.
    pub(super) fn keep(&self, hash: String, account: &Account, revision: u64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.revision != revision || known.accounts.len() >= MOST {
            known.accounts.clear();
            known.revision = revision;
        }
        known.accounts.insert(hash, account.clone());
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remembered(…)")
    }
}
