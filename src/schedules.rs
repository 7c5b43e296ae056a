//! What callers do to each other through the face of a store, under many schedules. How to run them:
//! `src/sync/explore.rs`.

use tempfile::TempDir;

use crate::backend::local::Options;
use crate::backend::local::tests::schedules::{directory, open_on_maps};
use crate::error::{Error, Result};
use crate::store::Store;
use crate::sync::{explore, stop_time, thread};

mod callbacks;
mod closing;
mod control;
mod documents;
mod watchers;

/// A new store, and the directory it needs as long as it lives.
fn fresh() -> (Store, TempDir) {
    let directory = directory();
    let store = reopened(&directory);
    (store, directory)
}

/// The store in `directory`, of which the journal gives back everything.
fn reopened(directory: &TempDir) -> Store {
    let local = open_on_maps(directory.path(), Options::default()).unwrap();
    Store::on_backend(std::sync::Arc::new(local)).unwrap()
}
