//! What must be true of a key before it is written.

use komatik::PutMode;

/// On every command that writes one key.
#[derive(clap::Args)]
pub(crate) struct Condition {
    /// Only where nothing is stored at the key
    #[arg(long)]
    create: bool,
    /// Only where the entry is at this revision
    #[arg(long, value_name = "N", conflicts_with = "create")]
    pub(crate) if_revision: Option<u64>,
}

impl Condition {
    pub(crate) fn mode(&self) -> PutMode {
        match self.if_revision {
            Some(revision) => PutMode::Update(revision),
            None if self.create => PutMode::Create,
            None => PutMode::Overwrite,
        }
    }
}
