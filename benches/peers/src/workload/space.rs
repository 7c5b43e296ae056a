//! Room: what overwriting and deleting leave on the disk, without asking.

use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{Figures, Workload, anyone, less, more};
use crate::data::{content, key};
use crate::engine::{Durability, Kind};
use crate::measure::{disk_bytes, rate, timed};

pub const DURING: &str = "disk during, at most";
pub const AFTER: &str = "disk after all is deleted";

const COUNT: usize = 1_000;
const ROUNDS: usize = 50;
const BYTES: usize = 16 * 1024;
/// How long an engine has to tidy up before the last look.
const PATIENCE: Duration = Duration::from_secs(5);

pub const OVERWRITE: Workload = Workload {
    name: "overwrite",
    title: "1,000 blobs of 16 KiB overwritten 50 times, then deleted",
    metrics: &[
        less(DURING, "× live"),
        less(AFTER, "MiB"),
        more("put", "blobs/s"),
    ],
    repetitions: 1,
    steps: &[overwrite],
    suits: anyone,
};

fn overwrite(kind: Kind, directory: &Path) -> Figures {
    let engine = kind.open(directory);
    let mut blob = content(1, BYTES);
    let live = (COUNT * BYTES) as f64;
    let mut most: f64 = 0.0;
    let took = timed(|| {
        for round in 0..ROUNDS {
            for number in 0..COUNT {
                blob[..8].copy_from_slice(&(round * COUNT + number).to_le_bytes());
                engine.put(&key("drafts", number), &blob, Durability::Eventual);
            }
            engine.flush();
            most = most.max(disk_bytes(directory) as f64 / live);
        }
    });
    for number in 0..COUNT {
        engine.delete(&key("drafts", number));
    }
    engine.flush();
    thread::sleep(PATIENCE);
    vec![
        (DURING, most),
        (AFTER, disk_bytes(directory) as f64 / 1024.0 / 1024.0),
        ("put", rate(COUNT * ROUNDS, took)),
    ]
}
