//! The campaigns by which the promise of the store is tested: each a command with a seed, which prints what it counted
//! on one line and fails where the promise is broken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    reason = "a campaign that panics has failed, and says so"
)]

mod child;
mod damage;
mod disk;
mod fault;
mod full;
mod histories;
mod kill;
mod load;
mod model;
mod power;
mod replay;
mod tally;
mod watch;

#[path = "../../common/mod.rs"]
mod common;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use tally::Outcome;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    campaign: Campaign,
}

/// What every campaign is told.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// How much of it: cycles, cuts, states, damages… as the campaign counts.
    #[arg(long)]
    count: Option<u64>,
    /// Where it begins; the same seed and count give the same run, as far as threads allow.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where stores are made; must not be in memory for campaigns that are about disks.
    #[arg(long, default_value = "/tmp")]
    scratch: PathBuf,
}

#[derive(Subcommand)]
enum Campaign {
    /// C1: the process is killed at any moment.
    Kill(Run),
    /// C2: the power is cut at any moment.
    Power(power::Arguments),
    /// C3: what a power cut may leave of every write.
    Replay(replay::Arguments),
    /// Records, or looks at states; started by other campaigns.
    #[command(hide = true)]
    ReplayPart(replay::Part),
    /// C4: the Nth call of every kind fails.
    Fault(Run),
    /// The faults of one kind in one work; started by other campaigns.
    #[command(hide = true)]
    FaultSeries(fault::Series),
    /// C5: the disk is full.
    Full(Run),
    /// Fills a disk; started by other campaigns.
    #[command(hide = true)]
    FullFill(full::Fill),
    /// C6: files are damaged.
    Damage(damage::Arguments),
    /// C7: operations against a model, and crashes.
    Model(Run),
    /// Opens a damaged store and judges it; started by other campaigns.
    #[command(hide = true)]
    Judge {
        expected: PathBuf,
        store: PathBuf,
        #[command(flatten)]
        law: damage::Law,
    },
    /// C9: threads and killed processes whose calls must have one order.
    Histories(Run),
    /// C10: consumers of changes beside writers, power cuts and killed processes.
    Watch(Run),
    /// Works on a store until it is ended; started by other campaigns.
    #[command(hide = true)]
    Work {
        directory: PathBuf,
        seed: u64,
        #[arg(long)]
        lie: Option<disk::Lie>,
    },
    /// Tells the first steps of a thread of the load.
    Steps { seed: u64, thread: u64, count: u64 },
    /// Opens a store and waits to be ended; started by other campaigns.
    #[command(hide = true)]
    OpenOnly { directory: PathBuf, seed: u64 },
    /// Makes calls until it is ended; started by another campaign.
    #[command(hide = true)]
    HistoriesWork {
        directory: PathBuf,
        seed: u64,
        run: u64,
    },
    /// Writes and watches until it is ended; started by another campaign.
    #[command(hide = true)]
    WatchWork {
        directory: PathBuf,
        seed: u64,
        run: u64,
        position: u64,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().campaign {
        Campaign::Kill(run) => kill::run(&run),
        Campaign::Power(arguments) => power::run(&arguments),
        Campaign::Replay(arguments) => replay::run(&arguments),
        Campaign::ReplayPart(part) => return replay::part(&part),
        Campaign::Fault(run) => fault::run(&run),
        Campaign::FaultSeries(series) => return fault::series(&series),
        Campaign::Full(run) => full::run(&run),
        Campaign::FullFill(fill) => return full::fill(&fill),
        Campaign::Damage(arguments) => damage::run(&arguments),
        Campaign::Model(run) => model::run(&run),
        Campaign::Judge {
            expected,
            store,
            law,
        } => return damage::judge(&expected, &store, law),
        Campaign::Histories(run) => histories::run(&run),
        Campaign::Watch(run) => watch::run(&run),
        Campaign::Work {
            directory,
            seed,
            lie,
        } => return kill::work(&directory, seed, lie),
        Campaign::Steps {
            seed,
            thread,
            count,
        } => {
            for number in 0..count {
                println!(
                    "{number} {:?}",
                    load::Script::new(seed).step(thread, number)
                );
            }
            return ExitCode::SUCCESS;
        }
        Campaign::OpenOnly { directory, seed } => return kill::open_only(&directory, seed),
        Campaign::HistoriesWork {
            directory,
            seed,
            run,
        } => return histories::work(&directory, seed, run),
        Campaign::WatchWork {
            directory,
            seed,
            run,
            position,
        } => return watch::work(&directory, seed, run, position),
    };
    tally::end(outcome)
}

/// How a campaign ended.
pub type Result = std::result::Result<Outcome, Box<dyn std::error::Error>>;
