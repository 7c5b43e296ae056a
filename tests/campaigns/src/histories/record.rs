//! Histories as they are recorded: every call with the numbers of a clock before and behind it, by folder.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::folder::{Answer, Call, Folder};
use super::search::{self, Operation};

/// Numbers that grow with time, for all threads.
#[derive(Default)]
pub struct Clock(AtomicU64);

impl Clock {
    pub fn from(number: u64) -> Clock {
        Clock(AtomicU64::new(number))
    }

    pub fn now(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// An operation of a history.
pub type Recorded = Operation<Call, Answer>;

/// What was done in each folder.
#[derive(Default)]
pub struct History {
    folders: BTreeMap<usize, Vec<Recorded>>,
}

impl History {
    pub fn add(&mut self, folder: usize, operation: Recorded) {
        self.folders.entry(folder).or_default().push(operation);
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.folders.values().map(Vec::len).sum()
    }

    /// Whether every folder can be explained, and revisions are given in the order of time, each once.
    pub fn check(&self) -> Result<(), String> {
        check_revisions(self.folders.values().flatten())?;
        for (folder, operations) in &self.folders {
            search::check(Folder::default(), operations)
                .map_err(|what| format!("folder {folder}: {what}"))?;
        }
        Ok(())
    }
}

/// Of two writes anywhere in the store, the one that returned before the other was called has the lower revision.
fn check_revisions<'a>(operations: impl Iterator<Item = &'a Recorded>) -> Result<(), String> {
    let mut writes: Vec<(u64, &Recorded)> = operations
        .filter_map(|operation| match operation.answer {
            Some(Answer::Written(revision)) => Some((revision, operation)),
            _ => None,
        })
        .collect();
    writes.sort_by_key(|(revision, _)| *revision);
    if let Some(same) = writes.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!("one revision for two writes: {same:?}"));
    }
    // From the last one down: the earliest return of those behind.
    let mut earliest: Option<&Recorded> = None;
    for (_, write) in writes.into_iter().rev() {
        match earliest {
            Some(behind) if behind.returned < write.called => {
                return Err(format!(
                    "{behind:?} has a higher revision than the later {write:?}"
                ));
            }
            Some(behind) if behind.returned < write.returned => {}
            _ => earliest = Some(write),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histories::folder::Mode;

    fn write(folder: usize, called: u64, returned: u64, revision: u64) -> (usize, Recorded) {
        let operation = Operation {
            thread: 0,
            call: Call::Save(0, revision, Mode::Overwrite),
            called,
            returned,
            answer: Some(Answer::Written(revision)),
        };
        (folder, operation)
    }

    fn is_fine(writes: &[(usize, Recorded)]) -> bool {
        let mut history = History::default();
        for (folder, operation) in writes {
            history.add(*folder, operation.clone());
        }
        history.check().is_ok()
    }

    #[test]
    fn revisions_grow_with_time_over_all_folders() {
        assert!(is_fine(&[write(0, 0, 1, 1), write(1, 2, 3, 2)]));
        assert!(is_fine(&[write(0, 0, 9, 2), write(1, 2, 3, 1)]));
        assert!(is_fine(&[write(0, 0, 9, 1), write(1, 2, 3, 2)]));
        assert!(!is_fine(&[write(0, 0, 1, 2), write(1, 2, 3, 1)]));
        assert!(!is_fine(&[write(0, 0, 9, 1), write(1, 2, 3, 1)]));
    }
}
