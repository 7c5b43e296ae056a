//! What a campaign counts, and how it ends.

use std::process::ExitCode;
use std::time::Instant;

/// Exit code of a campaign that this machine cannot run.
const SKIPPED: u8 = 77;

/// How a campaign ended.
#[derive(Debug)]
pub enum Outcome {
    Done(Tally),
    /// It cannot run here, and why.
    Skipped(String),
}

/// Counts, in the order in which they came up, and what went wrong.
#[derive(Debug)]
pub struct Tally {
    campaign: &'static str,
    seed: u64,
    begun: Instant,
    counts: Vec<(&'static str, u64)>,
    violations: Vec<String>,
}

impl Tally {
    pub fn new(campaign: &'static str, seed: u64) -> Tally {
        Tally {
            campaign,
            seed,
            begun: Instant::now(),
            counts: Vec::new(),
            violations: Vec::new(),
        }
    }

    pub fn add(&mut self, what: &'static str, count: u64) {
        match self.counts.iter_mut().find(|(name, _)| *name == what) {
            Some((_, sum)) => *sum += count,
            None => self.counts.push((what, count)),
        }
    }

    pub fn count(&self, what: &str) -> u64 {
        let found = self.counts.iter().find(|(name, _)| *name == what);
        found.map_or(0, |(_, count)| *count)
    }

    /// The promise is broken.
    pub fn violation(&mut self, what: String) {
        eprintln!("{}: VIOLATION: {what}", self.campaign);
        self.violations.push(what);
    }

    pub fn violations(&self) -> usize {
        self.violations.len()
    }
}

/// Says how it ended, on one line.
pub fn end(outcome: crate::Result) -> ExitCode {
    match outcome {
        Ok(Outcome::Done(tally)) => {
            let counts: Vec<_> = tally
                .counts
                .iter()
                .map(|(what, count)| format!("{count} {what}"))
                .collect();
            println!(
                "{}: seed {}, {}, {} violations, {} s",
                tally.campaign,
                tally.seed,
                counts.join(", "),
                tally.violations.len(),
                tally.begun.elapsed().as_secs()
            );
            if tally.violations.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Ok(Outcome::Skipped(why)) => {
            println!("skipped: {why}");
            ExitCode::from(SKIPPED)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
