//! Random operations, on every kind of store, against the model.
//!
//! `KOMATIK_MODEL_OPS` sets how many operations a run has, `KOMATIK_MODEL_SEED` runs one seed only.
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

mod common;
#[path = "common/model/mod.rs"]
mod model;

use common::Random;
use komatik::{Durability, History};
use model::{Machine, Setting, operations};

/// About how many bytes an operation takes.
const OPERATION_BYTES: usize = 16;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Some seeds on one kind of store.
fn run(seeds: std::ops::Range<u64>, setting: impl Fn(&std::path::Path) -> Setting) {
    let count = number("KOMATIK_MODEL_OPS").map_or(400, |count| usize::try_from(count).unwrap());
    let seeds = number("KOMATIK_MODEL_SEED").map_or(seeds, |seed| seed..seed + 1);
    for seed in seeds {
        let directory = tempfile::tempdir().unwrap();
        let setting = setting(&directory.path().join("store"));
        let bytes = Random::new(seed).bytes(count * OPERATION_BYTES);
        let failed = Failed(seed);
        Machine::open(setting).run(operations(&bytes).take(count));
        std::mem::forget(failed);
    }
}

/// Tells the seed when a run panics.
struct Failed(u64);

impl Drop for Failed {
    fn drop(&mut self) {
        eprintln!("KOMATIK_MODEL_SEED={}", self.0);
    }
}

fn on_disk(directory: &std::path::Path, chunk_bytes: usize, durability: Durability) -> Setting {
    Setting {
        directory: Some(directory.to_owned()),
        chunk_bytes,
        durability,
        history: History::unlimited(),
        overlay_bytes: 8 * 1024 * 1024,
        crash: None,
    }
}

#[test]
fn in_memory() {
    run(0..12, |_| Setting {
        directory: None,
        chunk_bytes: 4096,
        durability: Durability::Immediate,
        history: History::unlimited(),
        overlay_bytes: 0,
        crash: None,
    });
}

#[test]
fn in_memory_with_a_short_history() {
    run(20..24, |_| Setting {
        directory: None,
        chunk_bytes: 65_536,
        durability: Durability::Immediate,
        history: History::unlimited().revisions(40),
        overlay_bytes: 0,
        crash: None,
    });
}

#[test]
fn on_disk_in_packs() {
    run(30..34, |directory| {
        on_disk(directory, 65_536, Durability::Eventual)
    });
}

#[test]
fn on_disk_in_packs_at_once() {
    run(40..43, |directory| {
        on_disk(directory, 65_536, Durability::Immediate)
    });
}

#[test]
fn on_disk_in_trees() {
    run(50..54, |directory| {
        on_disk(directory, 4096, Durability::Eventual)
    });
}

#[test]
fn on_disk_in_trees_at_once() {
    run(60..63, |directory| {
        on_disk(directory, 512, Durability::Immediate)
    });
}

/// A small overlay and a short history: checkpoints all the time, and segments of the journal that go.
#[test]
fn on_disk_with_little_room() {
    run(70..74, |directory| Setting {
        history: History::of_bytes(100_000).revisions(50),
        overlay_bytes: 16 * 1024,
        ..on_disk(directory, 4097, Durability::Eventual)
    });
}
