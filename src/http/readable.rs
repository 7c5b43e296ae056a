//! The documents of a folder of the accounts, of which some may be damaged. Whoever takes rights away passes over those: what
//! cannot be read gives none, and is not to keep others. Where an opening makes it whole again it is still nothing of a
//! later account of that name, which has another id.

use serde::de::DeserializeOwned;

use super::accounts::Accounts;
use crate::{Error, Result, Transaction};

impl Accounts {
    /// Every document of a folder, with its name.
    pub(super) fn each<T: DeserializeOwned>(
        &self,
        folder: &str,
    ) -> Result<impl Iterator<Item = Result<(String, T)>>> {
        let items = self.store.list(folder)?;
        Ok(items.filter_map(move |item| {
            let load = |name: String| {
                let value = self.store.load(&format!("{folder}/{name}"))?;
                Ok(value.map(|value| (name, value)))
            };
            item.and_then(|item| load(item.name)).transpose()
        }))
    }

    /// As [`Accounts::each`], without those that cannot be read.
    pub(super) fn readable<T: DeserializeOwned>(
        &self,
        folder: &str,
    ) -> Result<impl Iterator<Item = Result<(String, T)>>> {
        let found = self.each(folder)?;
        Ok(found.filter(|found| !found.as_ref().is_err_and(is_damage)))
    }
}

/// Deletes a document; whether it was there. One that cannot be read stays.
pub(super) fn delete_readable(tx: &mut Transaction<'_>, key: &str) -> Result<bool> {
    match tx.delete(key) {
        Err(error) if is_damage(&error) => Ok(false),
        deleted => deleted,
    }
}

/// Whether it is the document that is at fault: damaged, or none of those that the service writes.
pub(super) fn is_damage(error: &Error) -> bool {
    matches!(
        error,
        Error::Damaged { .. } | Error::InvalidDocument { .. } | Error::WrongKind { .. }
    )
}

#[cfg(test)]
mod tests;
