//! Opening a store that was closed in order.

use std::path::Path;

use super::{Figures, Workload, less, same_work};
use crate::data::{Stream, content, key};
use crate::engine::{Durability, Kind};
use crate::measure::{Meter, timed};

pub const OPEN: &str = "open";
pub const PEAK: &str = "peak memory";

pub const OPENING: Workload = Workload {
    name: "opening",
    title: "Open with 300,000 entries and a blob of 256 MiB",
    metrics: &[less(OPEN, "ms"), less(PEAK, "MiB")],
    repetitions: 1,
    // The first opening after the one that filled it has more to do than any other.
    steps: &[fill, open, open],
    suits: same_work,
};

fn fill(kind: Kind, directory: &Path) -> Figures {
    let engine = kind.open(directory);
    let value = content(1, 100);
    for number in 0..300_000 {
        engine.put(&key("entries", number), &value, Durability::Eventual);
    }
    engine.stream_in("media/film.mp4", &mut Stream::new(256 * 1024 * 1024));
    engine.flush();
    Figures::new()
}

fn open(kind: Kind, directory: &Path) -> Figures {
    let meter = Meter::start();
    let mut engine = None;
    let took = timed(|| engine = Some(kind.open(directory)));
    vec![(OPEN, took.as_secs_f64() * 1e3), (PEAK, meter.peak_mib())]
}
