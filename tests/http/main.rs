//! The service over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

mod accounts;
mod blobs;
mod changes;
mod command;
mod documents;
mod drive;
mod drive_uploads;
mod entries;
mod hostile;
mod interface;
mod room;
mod room_access;
mod room_client;
mod room_hostile;
mod room_streaming;
mod server;
mod sharing;
mod stopping;
mod transactions;
