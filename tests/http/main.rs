//! The service over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

mod accounts;
mod blobs;
mod changes;
mod cloud_store;
mod cloud_store_media;
mod command;
mod documents;
mod entries;
mod form;
mod hostile;
mod interface;
mod server;
mod sharing;
mod stopping;
mod storage;
mod storage_changes;
mod storage_hostile;
mod storage_memory;
mod transactions;
