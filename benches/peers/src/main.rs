//! Measures Komatik beside the engines that an application would otherwise use, on the same work in one run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a measurement that fails is none, and figures are rounded anyway"
)]
#![deny(unsafe_code)]

mod data;
mod engine;
mod limits;
mod measure;
mod plot;
mod report;
mod results;
mod run;
mod targets;
mod workload;

#[path = "../../../tests/common/mod.rs"]
mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::results::Results;
use crate::run::Run;
use crate::workload::{ALL, Workload};

#[derive(Parser)]
#[command(about = "Measures Komatik beside other engines")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs workloads, all where none is named, and writes RESULTS.md and a plot of each.
    Run {
        workloads: Vec<String>,
        /// How often each is repeated.
        #[arg(long)]
        repetitions: Option<usize>,
        /// Only this engine; its figures are added to those there are. May be given more than once.
        #[arg(long = "engine")]
        engines: Vec<String>,
        /// Where the stores are made; the file system that is measured.
        #[arg(long, default_value = "target")]
        scratch: PathBuf,
        /// Where the results are written.
        #[arg(long, default_value = ".")]
        output: PathBuf,
    },
    /// Writes RESULTS.md and the plots of what was run before.
    Report {
        #[arg(long, default_value = ".")]
        output: PathBuf,
    },
    /// Tells the workloads.
    List,
    /// One step of one workload; started by `run`.
    #[command(hide = true)]
    One {
        workload: String,
        engine: String,
        work: String,
        step: usize,
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::List => ALL
            .iter()
            .for_each(|workload| println!("{}  {}", workload.name, workload.title)),
        Command::One {
            workload,
            engine,
            work,
            step,
            directory,
        } => run::one(&workload, &engine, &work, step, &directory),
        Command::Report { output } => write(&Results::load(&output.join("results.json")), &output),
        Command::Run {
            workloads,
            repetitions,
            engines,
            scratch,
            output,
        } => {
            let mut chosen = Vec::new();
            for name in &workloads {
                let Some(workload) = Workload::find(name) else {
                    eprintln!("there is no workload {name}; `list` tells them");
                    return ExitCode::from(2);
                };
                chosen.push(workload);
            }
            if chosen.is_empty() {
                chosen.extend(ALL);
            }
            let file = output.join("results.json");
            let mut results = Results::load(&file);
            let run = Run {
                scratch: &scratch,
                repetitions,
                engines: &engines,
            };
            run.machine(&mut results);
            for workload in chosen {
                run.workload(workload, &mut results);
                results.save(&file);
            }
            write(&results, &output);
        }
    }
    ExitCode::SUCCESS
}

fn write(results: &Results, output: &Path) {
    let text = report::markdown(results);
    fs::write(output.join("RESULTS.md"), &text).unwrap();
    plot::draw_all(results, output).unwrap();
    println!("{text}");
}
