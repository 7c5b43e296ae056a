//! What Komatik must reach.

use crate::engine::{FILES, KOMATIK, WATCHED, Work};
use crate::results::Results;
use crate::workload::{ALL, Better, Workload};

/// What a figure of Komatik is held against.
#[derive(Clone, Copy)]
pub enum Against {
    /// The best peer that does the same work.
    Best,
    /// Plain files.
    Files,
    /// Another figure of Komatik in the same workload.
    Own(&'static str),
    /// Nothing: the figure itself.
    Nothing,
}

pub struct Target {
    pub workload: &'static str,
    pub metric: &'static str,
    pub against: Against,
    pub limit: f64,
}

const fn target(
    workload: &'static str,
    metric: &'static str,
    against: Against,
    limit: f64,
) -> Target {
    Target {
        workload,
        metric,
        against,
        limit,
    }
}

const TARGETS: &[Target] = &[
    target("stream-256-mib", "write", Against::Files, 0.80),
    target("stream-256-mib", "write", Against::Best, 2.0),
    target("stream-256-mib", "peak memory", Against::Nothing, 32.0),
    target("stream-256-mib", "bytes written", Against::Nothing, 1.06),
    target("stream-256-mib", "disk after close", Against::Nothing, 1.03),
    target("stream-256-mib", "read", Against::Files, 0.55),
    target(
        "stream-256-mib",
        "64 KiB at random, p50",
        Against::Files,
        3.0,
    ),
    target("stream-4-gib", "write", Against::Files, 0.80),
    target("stream-4-gib", "write", Against::Best, 2.0),
    target("stream-4-gib", "peak memory", Against::Nothing, 32.0),
    target("stream-4-gib", "bytes written", Against::Nothing, 1.06),
    target("stream-4-gib", "disk after close", Against::Nothing, 1.03),
    target("stream-4-gib", "read", Against::Files, 0.55),
    target("stream-4-gib", "64 KiB at random, p50", Against::Files, 3.0),
    target("blobs-4-kib", "put", Against::Best, 1.2),
    target("blobs-100-kb", "put", Against::Best, 2.0),
    target("durable-1-thread", "put", Against::Best, 0.9),
    target("durable-8-threads", "put", Against::Best, 1.5),
    target("documents-1-thread", "save", Against::Best, 1.0),
    target("documents-1-thread", "load", Against::Best, 1.0),
    target("documents-1-thread", "merge", Against::Best, 1.0),
    target("documents-2-threads", "save", Against::Best, 1.0),
    target("documents-2-threads", "load", Against::Best, 1.0),
    target("documents-2-threads", "merge", Against::Best, 1.0),
    target("list-300-000", "list", Against::Best, 0.5),
    target(
        "list-300-000",
        "first page of 100, p50",
        Against::Nothing,
        60.0,
    ),
    target(
        "pages-1-000-000",
        "any page of 100, p50",
        Against::Nothing,
        60.0,
    ),
    target("overwrite", "disk during, at most", Against::Nothing, 2.0),
    target(
        "overwrite",
        "disk after all is deleted",
        Against::Nothing,
        4.0,
    ),
    target("opening", "open", Against::Nothing, 50.0),
    target("opening", "peak memory", Against::Nothing, 32.0),
    target("growth", "save at 10⁷", Against::Own("save at 10⁵"), 3.0),
    target("growth", "load at 10⁷", Against::Own("load at 10⁵"), 3.0),
];

/// The part of its speed that Komatik keeps with a watcher and a callback attached.
const WATCHED_SHARE: f64 = 0.9;

/// A target, and how it was met.
pub struct Judged {
    pub workload: &'static str,
    pub metric: &'static str,
    /// As "at least 0.8 × files".
    pub asked: String,
    pub found: f64,
    pub is_met: bool,
}

pub fn judge(results: &Results) -> Vec<Judged> {
    let stated = TARGETS.iter().filter_map(|target| target.judge(results));
    let watched = ALL
        .iter()
        .flat_map(|workload| judge_watched(workload, results));
    stated.chain(watched).collect()
}

impl Target {
    fn judge(&self, results: &Results) -> Option<Judged> {
        let workload = Workload::find(self.workload)?;
        let better = workload.metric(self.metric)?.better;
        let figure = |name, metric| results.figure(workload.name, name, Work::Same, metric);
        let own = figure(KOMATIK, self.metric)?;
        let (base, of) = match self.against {
            Against::Nothing => (1.0, String::new()),
            Against::Own(metric) => (figure(KOMATIK, metric)?, format!(" × {metric}")),
            Against::Files => {
                let base = results.figure(workload.name, FILES, Work::Raw, self.metric)?;
                (base, " × plain files".to_owned())
            }
            Against::Best => {
                let (name, base) = results.best_peer(workload.name, self.metric, better)?;
                (base, format!(" × {name}"))
            }
        };
        Some(judged(
            workload.name,
            self.metric,
            better,
            own / base,
            self.limit,
            &of,
        ))
    }
}

fn judge_watched(workload: &Workload, results: &Results) -> Vec<Judged> {
    let rates = workload
        .metrics
        .iter()
        .filter(|metric| metric.better == Better::Higher);
    let judged = rates.filter_map(|metric| {
        let of = |name| results.figure(workload.name, name, Work::Same, metric.name);
        let share = of(WATCHED)? / of(KOMATIK)?;
        let base = " × without watcher and callback";
        Some(judged(
            workload.name,
            metric.name,
            metric.better,
            share,
            WATCHED_SHARE,
            base,
        ))
    });
    judged.collect()
}

fn judged(
    workload: &'static str,
    metric: &'static str,
    better: Better,
    found: f64,
    limit: f64,
    of: &str,
) -> Judged {
    let (words, is_met) = match better {
        Better::Higher => ("at least", found >= limit),
        Better::Lower => ("at most", found <= limit),
    };
    Judged {
        workload,
        metric,
        asked: format!("{words} {limit}{of}"),
        found,
        is_met,
    }
}
