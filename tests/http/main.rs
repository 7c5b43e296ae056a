//! The service over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

mod accounts;
mod blobs;
mod care;
mod changes;
mod cloud_store;
mod cloud_store_media;
mod command;
mod documents;
mod drive;
mod drive_uploads;
mod entries;
mod form;
mod hostile;
mod hosts;
mod interface;
mod late_rights;
mod limits;
mod outputs;
mod page;
mod room;
mod room_access;
mod room_client;
mod room_grants;
mod room_hostile;
mod room_streaming;
mod server;
mod sharing;
mod slow_bodies;
mod stopping;
mod storage;
mod storage_changes;
mod storage_hostile;
mod storage_memory;
mod tls;
mod transactions;
