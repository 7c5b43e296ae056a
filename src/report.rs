//! How long work reports where it is, how it is stopped, and what it finds.

use std::ops::ControlFlow;

use crate::error::{Error, Result};

/// Where a long operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// What is being done: `rows`, `chunks`, `history`…
    pub phase: &'static str,
    /// How much of this phase is done, in units of the phase.
    pub done: u64,
    /// How much there is, where that is known.
    pub total: Option<u64>,
}

/// Reports steps to a caller, who may ask to stop by answering [`ControlFlow::Break`].
pub struct Progress<'a> {
    report: &'a mut dyn FnMut(Step) -> ControlFlow<()>,
}

impl<'a> Progress<'a> {
    /// Reports to `report`, which is called often: it should be quick.
    pub fn new(report: &'a mut dyn FnMut(Step) -> ControlFlow<()>) -> Progress<'a> {
        Progress { report }
    }

    /// Tells a step.
    ///
    /// # Errors
    /// [`Error::Cancelled`] where the caller asked to stop.
    pub fn step(&mut self, phase: &'static str, done: u64, total: Option<u64>) -> Result<()> {
        match (self.report)(Step { phase, done, total }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }
}

impl std::fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}

/// One thing that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What is damaged: `entry`, `chunk`, `journal`…
    pub what: &'static str,
    /// Where: a key, or a file and an offset.
    pub location: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Finding {
    /// A finding.
    pub fn new(
        what: &'static str,
        location: impl Into<String>,
        problem: impl Into<String>,
    ) -> Finding {
        Finding {
            what,
            location: location.into(),
            problem: problem.into(),
        }
    }
}

/// What a verification saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Entries read and decoded.
    pub entries: u64,
    /// Bytes of content read and compared with their digests.
    pub bytes: u64,
    /// What is not as it was written; empty for a sound store.
    pub findings: Vec<Finding>,
    /// What could not be checked, being overwritten faster than it was read: verify again, with fewer writes at the same
    /// time. Or because a write had failed, so that what there should be is not known: open the store again first.
    pub unchecked: Vec<Finding>,
}

impl Report {
    /// Whether everything that could be checked was as it was written.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}
