//! Runs workloads: each in a process of its own, one repetition of every engine after the other.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::engine::{KINDS, Kind, Work};
use crate::limits;
use crate::results::Results;
use crate::workload::{Figures, Workload};

/// An engine that takes longer for one step is taken to hang.
const MOST: Duration = Duration::from_secs(20 * 60);

pub struct Run<'a> {
    pub scratch: &'a Path,
    pub repetitions: Option<usize>,
    /// Only these, where there are any.
    pub engines: &'a [String],
}

impl Run<'_> {
    pub fn machine(&self, results: &mut Results) {
        results.machine = machine();
        results.limits = limits::measure(self.scratch)
            .into_iter()
            .map(|(name, unit, value)| (name.to_owned(), unit.to_owned(), value))
            .collect();
    }

    pub fn workload(&self, workload: &'static Workload, results: &mut Results) {
        let kinds: Vec<_> = KINDS
            .into_iter()
            .filter(|kind| (workload.suits)(*kind))
            .filter(|kind| self.engines.is_empty() || self.engines.iter().any(|it| it == kind.name))
            .collect();
        if self.engines.is_empty() {
            results.workloads.remove(workload.name);
        }
        let repetitions = self.repetitions.unwrap_or(workload.repetitions);
        for repetition in 0..repetitions {
            for step in 0..kinds.len() {
                // Nobody is always first.
                let kind = kinds[(repetition + step) % kinds.len()];
                eprintln!(
                    "{}, {} of {repetitions}: {}, {}",
                    workload.name,
                    repetition + 1,
                    kind.name,
                    kind.work.name()
                );
                match self.one(workload, kind) {
                    Ok(figures) => {
                        for (metric, value) in figures {
                            eprintln!("    {metric}: {value:.3}");
                            results.add(workload.name, kind, &metric, value);
                        }
                    }
                    Err(told) => eprintln!("    failed: {told}"),
                }
            }
        }
    }

    /// All steps in a fresh directory.
    fn one(&self, workload: &Workload, kind: Kind) -> Result<BTreeMap<String, f64>, String> {
        let directory = tempfile::tempdir_in(self.scratch).map_err(|error| error.to_string())?;
        let mut last = BTreeMap::new();
        for step in 0..workload.steps.len() {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child
                .arg("one")
                .args([workload.name, kind.name, work_argument(kind.work)])
                .arg(step.to_string())
                .arg(directory.path().join("store"));
            let output = child.output().map_err(|error| error.to_string())?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
            last = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        }
        Ok(last)
    }
}

fn work_argument(work: Work) -> &'static str {
    match work {
        Work::Same => "same",
        Work::Raw => "raw",
    }
}

/// What such a process does: prints its figures as JSON.
pub fn one(workload: &str, engine: &str, work: &str, step: usize, directory: &Path) {
    let work = match work {
        "raw" => Work::Raw,
        _ => Work::Same,
    };
    let workload = Workload::find(workload).expect("a workload of this name");
    let kind = Kind::find(engine, work).expect("an engine of this name");
    thread::spawn(|| {
        thread::sleep(MOST);
        eprintln!("it was ended after {} minutes", MOST.as_secs() / 60);
        std::process::exit(1);
    });
    let figures: Figures = workload.steps[step](kind, directory);
    let figures: BTreeMap<_, _> = figures.into_iter().collect();
    println!("{}", serde_json::to_string(&figures).unwrap());
}

fn machine() -> BTreeMap<String, String> {
    let line = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let found = text.lines().find_map(|line| line.strip_prefix(name));
        found.map(|rest| rest.trim_start_matches([':', ' ', '\t']).to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let facts = [
        ("processor", line("/proc/cpuinfo", "model name")),
        ("cores", Some(cores.to_string())),
        ("memory", line("/proc/meminfo", "MemTotal")),
        (
            "kernel",
            fs::read_to_string("/proc/sys/kernel/osrelease").ok(),
        ),
        ("engines", Some(versions())),
    ];
    facts
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.trim().to_owned())))
        .collect()
}

/// The engines and their versions, from the lock file this was built with.
fn versions() -> String {
    let packages = include_str!("../Cargo.lock").split("[[package]]");
    let versions = packages.filter_map(|package| {
        let of = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_matches([' ', '=', '"']))
        };
        let name = of("name")?;
        let is_engine = [
            "komatik",
            "sled",
            "redb",
            "fjall",
            "libsqlite3-sys",
            "heed",
            "cacache",
        ]
        .contains(&name);
        is_engine.then(|| format!("{name} {}", of("version").unwrap_or("?")))
    });
    versions.collect::<Vec<_>>().join(", ")
}
