//! What is held for those who have yet to prove who they are: so much for all of them together, and not for long.
//!
//! Of some protocols the proof comes behind what it is for, or in the middle of it.

use std::time::Duration;

use super::budget::Budget;

/// How long it may take until the proof is there.
pub(super) const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// Bytes on disk of media whose key is still to come: twice the largest.
const MEDIA_BYTES: usize = 2 << 30;
/// What each of them takes of it at a time, so that there are few of them.
const MEDIA_STEP: usize = 64 << 20;
/// What of a body in memory takes nothing, so that who fills the room keeps no small ones out. Connections bound them.
pub(super) const FREE_BYTES: usize = 64 << 10;
/// What a body takes at a time beyond.
const BODY_STEP: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Strangers {
    /// Whole bodies, in memory.
    pub(super) bodies: Budget,
    /// Media, on disk.
    pub(super) media: Budget,
}

impl Strangers {
    /// Room for a few bodies of the largest size, or for many that are not.
    pub(super) fn new(largest_body: usize) -> Strangers {
        Strangers {
            bodies: Budget::new(largest_body.saturating_mul(2), BODY_STEP),
            media: Budget::new(MEDIA_BYTES, MEDIA_STEP),
        }
    }
}
