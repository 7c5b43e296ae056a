//! What a POST does: path tokens, moves and folders; and what a DELETE does.

use rustix::io::Errno;
use serde::Deserialize;

use super::path::Place;
use super::refusal::Refusal;
use crate::{Error, PutMode, Store, Transaction};

#[derive(Debug, Deserialize)]
#[serde(tag = "action")]
pub(super) enum Action {
    MakePathToken,
    Move { new_path: String },
    CreateFolder,
}

/// Makes a folder in one that is there.
pub(super) fn create_folder(store: &Store, place: &Place) -> Result<(), Refusal> {
    if place.is_root() {
        return Err(Refusal::exists());
    }
    Ok(store.transaction(|tx| {
        check_free(tx, place)?;
        tx.create_folder(&place.key)
    })?)
}

/// Whether the name is free, and the folder it would lie in there.
pub(super) fn check_free(tx: &mut Transaction<'_>, place: &Place) -> Result<(), Error> {
    let key = place.key.clone();
    if tx.exists(&key)? {
        return Err(Error::AlreadyExists { key });
    }
    match tx.is_folder(place.parent())? {
        true => Ok(()),
        false => Err(Error::NotFound { key }),
    }
}

/// Deletes a file, or a folder with all that is in it. On a full disk the folder that it was in goes with the last that was in
/// it: to keep it would take room.
pub(super) fn delete(store: &Store, place: &Place) -> Result<(), Refusal> {
    if place.is_root() {
        return Err(Refusal::bad_path());
    }
    let kept = store.transaction(|tx| {
        delete_in(tx, place)?;
        keep_parent(tx, place)
    });
    match kept {
        Err(Error::NoSpace { .. }) => Ok(store.transaction(|tx| delete_in(tx, place))?),
        kept => Ok(kept?),
    }
}

fn delete_in(tx: &mut Transaction<'_>, place: &Place) -> Result<(), Error> {
    if !place.is_folder && tx.delete(&place.key)? {
        return Ok(());
    }
    if !tx.is_folder(&place.key)? {
        let key = place.key.clone();
        return Err(Error::NotFound { key });
    }
    tx.delete_folder(&place.key).map(drop)
}

/// As on a disk, the folder stays when the last thing in it has gone.
fn keep_parent(tx: &mut Transaction<'_>, place: &Place) -> Result<(), Error> {
    match place.parent() {
        "" => Ok(()),
        parent => tx.create_folder(parent),
    }
}

/// What a rename of a file system does, in one step: a file replaces a file, a folder an empty folder.
pub(super) fn relocate(store: &Store, from: &Place, to: &Place) -> Result<(), Refusal> {
    if from.is_root() {
        return Err(Refusal::bad_path());
    }
    if to.is_root() {
        return Err(Refusal::cannot_move(Errno::NOTEMPTY));
    }
    store.transaction(|tx| {
        if !tx.is_folder(to.parent())? {
            let key = to.key.clone();
            return Err(Error::NotFound { key });
        }
        // Nothing has been written yet where it is refused.
        match relocate_in(store, tx, from, to)? {
            Ok(()) => keep_parent(tx, from).map(Ok),
            refused => Ok(refused),
        }
    })?
}

fn relocate_in(
    store: &Store,
    tx: &mut Transaction<'_>,
    from: &Place,
    to: &Place,
) -> Result<Result<(), Refusal>, Error> {
    let (from_folder, to_folder) = (tx.is_folder(&from.key)?, tx.is_folder(&to.key)?);
    let is_file = !from.is_folder && (!from_folder || is_entry(tx, from)?);
    if is_file {
        if to_folder && from.key != to.key {
            return Ok(Err(Refusal::cannot_move(Errno::ISDIR)));
        }
        return tx.rename(&from.key, &to.key, PutMode::Overwrite).map(Ok);
    }
    if !from_folder {
        let key = from.key.clone();
        return Err(Error::NotFound { key });
    }
    if from.key == to.key {
        return Ok(Ok(()));
    }
    if to.key.starts_with(&format!("{}/", from.key)) {
        return Ok(Err(Refusal::cannot_move(Errno::INVAL)));
    }
    if !to_folder && tx.exists(&to.key)? {
        return Ok(Err(Refusal::cannot_move(Errno::NOTDIR)));
    }
    if to_folder {
        // The store shows the state before, and nobody else writes now.
        if store.list(&to.key)?.next().is_some() {
            return Ok(Err(Refusal::cannot_move(Errno::NOTEMPTY)));
        }
        tx.delete_folder(&to.key)?;
    }
    tx.rename_folder(&from.key, &to.key).map(|_| Ok(()))
}

/// Whether a folder shares its name with an entry, whatever the lock of that.
fn is_entry(tx: &mut Transaction<'_>, place: &Place) -> Result<bool, Error> {
    match tx.metadata(&place.key) {
        Ok(metadata) => Ok(metadata.is_some()),
        Err(Error::Locked { .. } | Error::WrongPassword { .. } | Error::TooManyTries { .. }) => {
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn on_a_full_disk_a_file_is_deleted_and_its_folder_with_it() {
        let store = Store::in_memory().unwrap();
        let place = Place::of("/storage/ann/folder/file").unwrap();
        let commits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&commits);
        let full = store.permitted_by(Arc::new(move || {
            match counted.fetch_add(1, Ordering::Relaxed) {
                0 => Err(Error::NoSpace {
                    doing: "writing".to_owned(),
                    source: io::Error::from(io::ErrorKind::StorageFull),
                }),
                _ => Ok(()),
            }
        }));
        for (view, is_kept) in [(&store, true), (&full, false)] {
            store.put(&place.key, "x").unwrap();
            delete(view, &place).unwrap();
            assert!(!store.exists(&place.key).unwrap());
            assert_eq!(store.is_folder(place.parent()).unwrap(), is_kept);
            store.delete_folder(place.parent()).unwrap();
        }
        assert_eq!(commits.load(Ordering::Relaxed), 2);
    }
}
