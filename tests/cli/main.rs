//! The `komatik` command, black box: what it answers, what it complains of, how it ends, and what it leaves.
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

mod blobs;
mod care;
mod documents;
mod endings;
mod listing;
mod locks;
mod many;
mod naming;
mod outside;
mod page;
mod second_process;
mod terminal;
mod testenv;
mod trees;
mod watching;
