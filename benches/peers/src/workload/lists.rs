//! Listing: all of a folder, its first page, any page.

use std::path::Path;

use super::{Figures, Workload, less, more, ordered, same_work};
use crate::data::{Random, content, key};
use crate::engine::{Durability, Engine, Kind};
use crate::measure::{median, median_micros, rate, timed};

pub const LIST: &str = "list";
pub const FIRST_PAGE: &str = "first page of 100, p50";
pub const PAGE: &str = "any page of 100, p50";

const PAGES: usize = 500;

pub const OF_300_000: Workload = Workload {
    name: "list-300-000",
    title: "List 100,000 keys of 300,000",
    metrics: &[more(LIST, "keys/s"), less(FIRST_PAGE, "µs")],
    repetitions: 1,
    steps: &[list],
    suits: ordered,
};

pub const OF_A_MILLION: Workload = Workload {
    name: "pages-1-000-000",
    title: "Pages of a folder above 1,000,000 keys",
    metrics: &[less(PAGE, "µs")],
    repetitions: 1,
    steps: &[pages],
    suits: same_work,
};

fn fill(engine: &dyn Engine, folder: &str, count: usize) {
    let value = content(1, 100);
    for number in 0..count {
        engine.put(&key(folder, number), &value, Durability::Eventual);
    }
    engine.flush();
}

fn list(kind: Kind, directory: &Path) -> Figures {
    let engine = kind.open(directory);
    for folder in ["a", "b", "c"] {
        fill(&*engine, folder, 100_000);
    }
    let all = (0..7)
        .map(|_| timed(|| assert_eq!(engine.list("b", None, usize::MAX), 100_000)).as_secs_f64());
    let seconds = median(all.collect());
    let first = median_micros(PAGES, || assert_eq!(engine.list("b", None, 100), 100));
    vec![
        (
            LIST,
            rate(100_000, std::time::Duration::from_secs_f64(seconds)),
        ),
        (FIRST_PAGE, first),
    ]
}

fn pages(kind: Kind, directory: &Path) -> Figures {
    const COUNT: usize = 1_000_000;
    let engine = kind.open(directory);
    fill(&*engine, "rooms/a", COUNT);
    let mut random = Random::new(1);
    let page = median_micros(PAGES, || {
        let after = format!("{:08}", random.below(COUNT - 200));
        assert_eq!(engine.list("rooms/a", Some(&after), 100), 100);
    });
    vec![(PAGE, page)]
}
