//! Care of a store: how large it is, whether it is sound, and how it gets out and in again.

mod archive;
mod backup;
mod compact;
mod export;
mod import;
mod repair;
mod stats;
mod verify;

pub use repair::Repaired;
pub use stats::Stats;
