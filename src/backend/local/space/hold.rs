//! Keeping a blob from being given back while somebody reads it.

use std::sync::Arc;

use crate::backend::local::{Core, keys};
use crate::backend::{BlobId, Hold, Tree, View};
use crate::error::Result;

/// A hold on a blob.
struct LocalHold {
    core: Arc<Core>,
    blob: BlobId,
}

impl Hold for LocalHold {}

impl Drop for LocalHold {
    fn drop(&mut self) {
        // There a lock may be held by nobody, for ever.
        if self.core.health.is_forked() {
            return;
        }
        let mut state = self.core.space.state.lock();
        if let Some(count) = state.holds.get_mut(&self.blob) {
            *count -= 1;
            if *count == 0 {
                state.holds.remove(&self.blob);
                if !state.doomed.is_empty() {
                    drop(state);
                    self.core.bell.ring();
                }
            }
        }
    }
}

/// See [`Backend::hold`](crate::backend::Backend::hold).
pub(in crate::backend::local) fn hold(
    core: &Arc<Core>,
    blob: BlobId,
) -> Result<Option<Box<dyn Hold>>> {
    {
        let mut state = core.space.state.lock();
        if state.going.contains(&blob) || state.damaged.contains(&blob) {
            return Ok(None);
        }
        *state.holds.entry(blob).or_insert(0) += 1;
    }
    let held = LocalHold {
        core: Arc::clone(core),
        blob,
    };
    // From here on it does not go; whether it is already gone, its first chunk tells.
    let is_there = core
        .get(View::Latest, Tree::Chunks, &keys::chunk(blob, 0))?
        .is_some();
    let is_adopted = core
        .get(View::Latest, Tree::Pending, &keys::upload(blob))?
        .is_none();
    if is_there && is_adopted {
        Ok(Some(Box::new(held)))
    } else {
        Ok(None)
    }
}
