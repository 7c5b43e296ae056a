//! What was found, kept as JSON so that workloads can be run one by one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::engine::{KINDS, KOMATIK, Kind, WATCHED, Work};
use crate::measure::median;
use crate::workload::Better;

/// By metric, one value a repetition.
type Figures = BTreeMap<String, Vec<f64>>;

#[derive(Default, Serialize, Deserialize)]
pub struct Results {
    /// Name and value: processor, memory, system, versions.
    pub machine: BTreeMap<String, String>,
    /// Name, unit, value.
    pub limits: Vec<(String, String, f64)>,
    /// By workload, then by engine and work.
    pub workloads: BTreeMap<String, BTreeMap<String, Figures>>,
}

fn label(name: &str, work: Work) -> String {
    format!("{name} ({})", work.name())
}

impl Results {
    /// Those of earlier runs, where there are any.
    pub fn load(file: &Path) -> Results {
        let text = fs::read(file).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub fn save(&self, file: &Path) {
        let text = serde_json::to_string_pretty(self).unwrap();
        fs::write(file, text + "\n").unwrap();
    }

    pub fn add(&mut self, workload: &str, kind: Kind, metric: &str, value: f64) {
        let figures = self.workloads.entry(workload.to_owned()).or_default();
        let figures = figures.entry(label(kind.name, kind.work)).or_default();
        figures.entry(metric.to_owned()).or_default().push(value);
    }

    /// The median of what was found.
    pub fn figure(&self, workload: &str, name: &str, work: Work, metric: &str) -> Option<f64> {
        let figures = self.workloads.get(workload)?.get(&label(name, work))?;
        Some(median(figures.get(metric)?.clone()))
    }

    /// The best of the engines beside Komatik that do the same work.
    pub fn best_peer(
        &self,
        workload: &str,
        metric: &str,
        better: Better,
    ) -> Option<(&'static str, f64)> {
        let peers = KINDS
            .iter()
            .filter(|kind| kind.work == Work::Same && kind.name != KOMATIK && kind.name != WATCHED);
        let figures = peers.filter_map(|kind| {
            let figure = self.figure(workload, kind.name, kind.work, metric)?;
            Some((kind.name, figure))
        });
        figures.reduce(|best, other| {
            let is_better = match better {
                Better::Higher => other.1 > best.1,
                Better::Lower => other.1 < best.1,
            };
            if is_better { other } else { best }
        })
    }
}
