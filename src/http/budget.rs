//! Bounds that hold for all clients together, where one for each would still add up.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for so many bytes, shared by all who take of it.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    left: Arc<Semaphore>,
    step: usize,
}

/// What one has taken of a budget. Dropped, it is given back.
#[derive(Debug)]
pub(super) struct Share {
    of: Budget,
    taken: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// Of so many bytes, which are taken in steps.
    pub(super) fn new(bytes: usize, step: usize) -> Budget {
        let bytes = bytes.max(step).min(Semaphore::MAX_PERMITS);
        Budget {
            left: Arc::new(Semaphore::new(bytes)),
            step: step.max(1),
        }
    }

    /// A share with nothing in it.
    pub(super) fn share(&self) -> Share {
        Share {
            of: self.clone(),
            taken: None,
        }
    }
}

impl Share {
    /// Makes it one of at least so many bytes. False where there is not as much left.
    #[must_use]
    pub(super) fn cover(&mut self, bytes: usize) -> bool {
        let taken = self
            .taken
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = bytes.saturating_sub(taken);
        if missing == 0 {
            return true;
        }
        let steps = missing.checked_next_multiple_of(self.of.step);
        let Some(steps) = steps.and_then(|bytes| u32::try_from(bytes).ok()) else {
            return false;
        };
        let Ok(more) = Arc::clone(&self.of.left).try_acquire_many_owned(steps) else {
            return false;
        };
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            none => *none = Some(more),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_taken_in_steps_and_given_back() {
        let budget = Budget::new(100, 10);
        let (mut ann, mut bob) = (budget.share(), budget.share());
        assert!(ann.cover(0) && ann.cover(1) && ann.cover(10) && ann.cover(5));
        assert_eq!(budget.left.available_permits(), 90);
        assert!(bob.cover(81));
        assert_eq!(budget.left.available_permits(), 0);
        assert!(!ann.cover(11) && !bob.cover(usize::MAX));
        drop(bob);
        assert!(ann.cover(95));
        drop(ann);
        assert_eq!(budget.left.available_permits(), 100);
    }
}
