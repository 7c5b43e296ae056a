//! The service over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

mod accounts;
mod blobs;
mod changes;
mod command;
mod documents;
mod entries;
mod hostile;
mod interface;
mod server;
mod sharing;
mod stopping;
mod transactions;
