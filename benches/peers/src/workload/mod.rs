//! What an application does with a store.

mod blobs;
mod documents;
mod growth;
mod lists;
mod opening;
mod puts;
mod space;
mod streams;

use std::path::Path;

use crate::engine::{FILES, KOMATIK, Kind, WATCHED, Work};

/// What a run found, by the name of what was measured.
pub type Figures = Vec<(&'static str, f64)>;

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
}

/// One thing that is measured, and its unit.
pub struct Metric {
    pub name: &'static str,
    pub unit: &'static str,
    pub better: Better,
}

const fn more(name: &'static str, unit: &'static str) -> Metric {
    Metric {
        name,
        unit,
        better: Better::Higher,
    }
}

const fn less(name: &'static str, unit: &'static str) -> Metric {
    Metric {
        name,
        unit,
        better: Better::Lower,
    }
}

pub struct Workload {
    /// For the command line and the files of the plots.
    pub name: &'static str,
    pub title: &'static str,
    pub metrics: &'static [Metric],
    /// How often it is repeated, where nothing else is said.
    pub repetitions: usize,
    /// Each is a process of its own; all find the same directory. What the last one answers is kept.
    pub steps: &'static [fn(Kind, &Path) -> Figures],
    /// Which engines can do it, and in reasonable time.
    pub suits: fn(Kind) -> bool,
}

pub const ALL: &[Workload] = &[
    streams::SMALL,
    streams::LARGE,
    blobs::OF_4_KIB,
    blobs::OF_100_KB,
    puts::ONE_THREAD,
    puts::EIGHT_THREADS,
    documents::ONE_THREAD,
    documents::TWO_THREADS,
    lists::OF_300_000,
    lists::OF_A_MILLION,
    space::OVERWRITE,
    opening::OPENING,
    growth::GROWTH,
];

impl Workload {
    pub fn find(name: &str) -> Option<&'static Workload> {
        ALL.iter().find(|workload| workload.name == name)
    }

    pub fn metric(&self, name: &str) -> Option<&'static Metric> {
        self.metrics.iter().find(|metric| metric.name == name)
    }
}

fn anyone(_: Kind) -> bool {
    true
}

/// All but those that cannot wait for the disk.
fn durable(kind: Kind) -> bool {
    kind.is_durable
}

/// Those with ordered keys.
fn ordered(kind: Kind) -> bool {
    kind.work == Work::Same || (kind.name != "cacache" && kind.name != FILES)
}

/// Where a raw column adds nothing and a peer takes minutes.
fn same_work(kind: Kind) -> bool {
    kind.work == Work::Same && kind.name != WATCHED
}

fn only_komatik(kind: Kind) -> bool {
    kind.name == KOMATIK
}
