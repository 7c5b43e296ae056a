//! What a call costs as the store grows, and how much memory it takes.

use std::path::Path;
use std::time::Instant;

use super::{Figures, Workload, less, only_komatik};
use crate::data::{Random, document, key};
use crate::engine::{Durability, Kind};
use crate::measure::Meter;

/// Calls that are timed at each size.
const TIMED: usize = 50_000;
const DOCUMENTS: usize = 1_000;

/// Entries, and the names of what is measured at so many.
const SIZES: [(usize, [&str; 3]); 4] = [
    (10_000, ["save at 10⁴", "load at 10⁴", "memory at 10⁴"]),
    (100_000, ["save at 10⁵", "load at 10⁵", "memory at 10⁵"]),
    (1_000_000, ["save at 10⁶", "load at 10⁶", "memory at 10⁶"]),
    (10_000_000, ["save at 10⁷", "load at 10⁷", "memory at 10⁷"]),
];

pub const GROWTH: Workload = Workload {
    name: "growth",
    title: "Growth: documents of 300 B at 10⁴ to 10⁷ entries",
    metrics: &[
        less("save at 10⁴", "µs"),
        less("save at 10⁵", "µs"),
        less("save at 10⁶", "µs"),
        less("save at 10⁷", "µs"),
        less("load at 10⁴", "µs"),
        less("load at 10⁵", "µs"),
        less("load at 10⁶", "µs"),
        less("load at 10⁷", "µs"),
        less("memory at 10⁴", "MiB"),
        less("memory at 10⁵", "MiB"),
        less("memory at 10⁶", "MiB"),
        less("memory at 10⁷", "MiB"),
    ],
    repetitions: 1,
    steps: &[grow],
    suits: only_komatik,
};

fn grow(kind: Kind, directory: &Path) -> Figures {
    let documents: Vec<_> = (0..DOCUMENTS).map(document).collect();
    let meter = Meter::start();
    let engine = kind.open(directory);
    let mut random = Random::new(1);
    let mut figures = Figures::new();
    let mut count = 0;
    for (size, [save, load, memory]) in SIZES {
        while count < size {
            engine.save(
                &key("grown", count),
                &documents[count % DOCUMENTS],
                Durability::Eventual,
            );
            count += 1;
        }
        engine.flush();
        // Of those that are there, so that the size stays.
        let begun = Instant::now();
        for _ in 0..TIMED {
            let number = random.below(size);
            engine.save(
                &key("grown", number),
                &documents[number % DOCUMENTS],
                Durability::Eventual,
            );
        }
        engine.flush();
        figures.push((save, begun.elapsed().as_secs_f64() * 1e6 / TIMED as f64));
        let begun = Instant::now();
        for _ in 0..TIMED {
            std::hint::black_box(engine.load(&key("grown", random.below(size))));
        }
        figures.push((load, begun.elapsed().as_secs_f64() * 1e6 / TIMED as f64));
        figures.push((memory, meter.peak_mib()));
    }
    figures
}
