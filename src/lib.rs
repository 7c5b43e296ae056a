#![doc = include_str!("../README.md")]
//!
//! ## Where to look
//!
//! * [`Store`] is the handle, [`StoreBuilder`] its settings, [`Error`] what can go wrong.
//! * Documents: [`Store::save`], [`Store::load`], [`Store::merge`], [`Store::patch`].
//! * Blobs: [`Store::put`], [`Store::get`], [`Store::writer`], [`Store::reader`], [`Store::upload`]; [`WriteOptions::append`] adds to one.
//! * Entries of both kinds: [`Store::metadata`], [`Store::list`], [`Store::rename`], [`Store::copy`], [`Store::delete`].
//! * Several writes in one step: [`Store::transaction`].
//! * Who may: [`Store::scoped`], [`Store::lock`], [`Store::unlocked_with`], [`Store::grant`].
//! * What happens: [`Store::watch`], [`Store::on`].
//! * Care: [`Store::verify`], [`Store::backup`], [`Store::repair`], [`Store::compact`], [`Store::stats`], [`Store::export`],
//!   [`Store::import`].

pub mod backend;
mod blob;
mod blob_id;
mod care;
mod delivery;
mod digest;
mod document;
mod draft;
mod entry;
mod error;
mod folder;
mod format;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "http")]
pub mod http;
mod json;
mod key;
mod list;
mod lock;
mod merge;
mod metadata;
mod options;
mod random;
mod report;
#[cfg(test)]
#[cfg(shuttle)]
mod schedules;
mod scope;
mod shown;
mod store;
mod sync;
mod token;
mod transaction;
mod upload;
mod watch;

pub use backend::HistoryRange;
#[doc(hidden)]
pub use backend::local::Trace;
pub use blob::{BlobReader, BlobWriter, Chunks, UploadOptions};
pub use care::{Repaired, Stats};
pub use delivery::{Events, Subscription};
pub use error::{Access, Error, Result};
#[cfg(feature = "http")]
pub(crate) use json::PatchBudget;
pub use json::parse_json;
pub use json_patch::Patch;
pub use key::{Folder, Key, MAX_KEY_BYTES, MAX_SEGMENT_BYTES};
pub use list::{ListItem, Listing};
pub use lock::MAX_PASSWORD_BYTES;
pub use metadata::{Attributes, Change, ChangeKind, Digest, Kind, Metadata};
pub use options::{
    Arrays, DEFAULT_CHUNK_BYTES, Durability, Grant, History, ListOptions, Lock,
    MAX_ATTRIBUTES_BYTES, MAX_CHUNK_BYTES, MAX_CONTENT_TYPE_BYTES, MAX_DOCUMENT_BYTES,
    MAX_DOCUMENT_DEPTH, MIN_CHUNK_BYTES, MergeOptions, Nulls, PasswordCost, PutMode, PutOptions,
    WriteMode, WriteOptions,
};
pub use report::{Finding, Progress, Report, Step};
pub use store::{Store, StoreBuilder};
pub use token::{Token, TokenInfo};
pub use transaction::Transaction;
pub use watch::{Since, Watcher};
