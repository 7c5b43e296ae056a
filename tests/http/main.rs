//! The service over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

mod accounts;
mod blobs;
mod care;
mod changes;
mod command;
mod documents;
mod entries;
mod hostile;
mod hosts;
mod interface;
mod page;
mod server;
mod sharing;
mod stopping;
mod tls;
mod transactions;
