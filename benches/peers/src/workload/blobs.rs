//! Many blobs, and one flush at the end.

use std::path::Path;

use super::{Figures, Metric, Workload, anyone, less, more};
use crate::data::{content, key};
use crate::engine::{Durability, Kind};
use crate::measure::{Meter, disk_bytes, rate, timed};

pub const PUT: &str = "put";

const METRICS: &[Metric] = &[
    more(PUT, "blobs/s"),
    less("peak memory", "MiB"),
    less("bytes written", "× the data"),
    less("disk after close", "× the data"),
];

pub const OF_4_KIB: Workload = Workload {
    name: "blobs-4-kib",
    title: "20,000 blobs of 4 KiB, one flush at the end",
    metrics: METRICS,
    repetitions: 5,
    steps: &[|kind, directory| put(kind, directory, 20_000, 4096)],
    suits: anyone,
};

pub const OF_100_KB: Workload = Workload {
    name: "blobs-100-kb",
    title: "5,000 blobs of 100 KB, one flush at the end",
    metrics: METRICS,
    repetitions: 3,
    steps: &[|kind, directory| put(kind, directory, 5_000, 100_000)],
    suits: anyone,
};

fn put(kind: Kind, directory: &Path, count: usize, bytes: usize) -> Figures {
    let keys: Vec<_> = (0..count)
        .map(|number| key("attachments", number))
        .collect();
    let mut blob = content(1, bytes);
    let meter = Meter::start();
    let engine = kind.open(directory);
    let took = timed(|| {
        for (number, key) in keys.iter().enumerate() {
            // No two are the same.
            blob[..8].copy_from_slice(&number.to_le_bytes());
            engine.put(key, &blob, Durability::Eventual);
        }
        engine.flush();
    });
    let peak = meter.peak_mib();
    drop(engine);
    let data = (count * bytes) as f64;
    vec![
        (PUT, rate(count, took)),
        ("peak memory", peak),
        ("bytes written", meter.written() / data),
        ("disk after close", disk_bytes(directory) as f64 / data),
    ]
}
