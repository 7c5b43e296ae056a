//! What must hold of a store with a damage.

use std::path::PathBuf;

use clap::ValueEnum;

use super::injury::Injury;
use super::specimen::{End, Past, Specimen};

/// What must hold.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Law {
    /// The oldest state that may be found without a word: a crash would leave it as well.
    #[arg(long)]
    pub floor: u64,
    /// Whether the journal has everything, so that all must come back.
    #[arg(long)]
    pub heals: bool,
    /// Whether the journal goes back to the first commit.
    #[arg(long)]
    pub whole_past: bool,
    /// What the damage may take of the entries.
    #[arg(long, value_enum)]
    pub takes: Takes,
}

/// What a damage may take of the entries of the state that is found, of the last one where it is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Takes {
    /// Whatever it hit, as long as that is reported.
    Any,
    /// Those that are named.
    Named,
    /// What lies in one leaf of sled.
    Leaf,
    Nothing,
}

impl Law {
    /// After a kill the end of the journal proves itself only: without it the store is as if the last commits had not
    /// come to the disk.
    pub fn of(specimen: &Specimen, injury: &Injury) -> Law {
        let expected = &specimen.expected;
        let parts = injury.parts();
        let floor = match injury {
            _ if specimen.end != End::Killed || !parts.contains(&"journal") => expected.last(),
            Injury::Flip { .. } => expected.last_but_one(),
            _ => specimen.checkpoint,
        };
        let is_whole = specimen.past == Past::Whole;
        Law {
            floor,
            heals: is_whole && parts.iter().all(|part| *part == "trees"),
            whole_past: is_whole,
            takes: Takes::of(specimen, injury),
        }
    }

    pub fn past(self) -> Past {
        match self.whole_past {
            true => Past::Whole,
            false => Past::Short,
        }
    }
}

impl Takes {
    /// As the command takes it.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.unwrap().get_name().to_owned()
    }

    fn of(specimen: &Specimen, injury: &Injury) -> Takes {
        let has_no_rows = |file: &PathBuf| {
            let name = file.to_string_lossy();
            let mut others = ["superblock", "trees/conf", "trees/snap"].into_iter();
            others.any(|other| name.starts_with(other))
        };
        match (injury, &injury.parts()[..]) {
            _ if injury.paths().into_iter().all(has_no_rows) => Takes::Nothing,
            (_, ["journal"]) if specimen.end != End::Killed => Takes::Nothing,
            (_, ["packs"]) => Takes::Named,
            (Injury::Flip { .. }, ["trees"]) => Takes::Leaf,
            _ => Takes::Any,
        }
    }
}
