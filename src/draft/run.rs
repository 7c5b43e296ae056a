//! Running the closures of drafts: side by side, or alone.

use std::cell::RefCell;
use std::mem::ManuallyDrop;

use super::{Again, Asked, Draft, Passed, Run};
use crate::backend::Outcome;
use crate::error::{Error, Result};
use crate::format::ChangeRecord;
use crate::lock::Trying;
use crate::options::Durability;
use crate::store::{Shared, Store};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, thread_local};
use crate::upload::Upload;

/// Rounds a closure runs side by side with other writers before it runs alone.
const ROUNDS_TOGETHER: usize = 8;
/// The longest name of a participant, in bytes of UTF-8.
const MAX_PARTICIPANT_BYTES: usize = 255;

/// Lets single writes run side by side, and what must not be disturbed alone.
#[derive(Default)]
pub(crate) struct Gate {
    lock: RwLock<()>,
    last_ordered: AtomicU64,
    is_closed: AtomicBool,
}

impl Gate {
    /// Nobody gets in any more, not even who has nothing to write.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }
}

thread_local! {
    /// The stores in whose closures this thread is: a write from there would wait for itself. Not dropped with the thread, since
    /// what is dropped then may write as well; it has memory only while the thread is in one.
    static INSIDE: ManuallyDrop<RefCell<Vec<*const Shared>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

struct InsideGuard;

impl InsideGuard {
    fn enter(shared: &Shared) -> Result<InsideGuard> {
        InsideGuard::check(shared)?;
        let _ = INSIDE.try_with(|inside| inside.borrow_mut().push(shared));
        Ok(InsideGuard)
    }

    /// Whether it may be entered.
    fn check(shared: &Shared) -> Result<()> {
        if shared.gate.is_closed.load(Ordering::Acquire) {
            return Err(Error::Misuse {
                reason: "the store is closed",
            });
        }
        // In a process that was forked off, the gate may be held by a thread that is not there.
        shared.backend.check_open()?;
        let is_inside = INSIDE.try_with(|inside| {
            let inside = inside.borrow();
            inside.iter().any(|other| std::ptr::eq(*other, shared))
        });
        match is_inside {
            Ok(true) => Err(Error::Misuse {
                reason: "a write to the store from inside a transaction on it; use the transaction's own methods",
            }),
            Ok(false) | Err(_) => Ok(()),
        }
    }
}

impl Drop for InsideGuard {
    fn drop(&mut self) {
        let _ = INSIDE.try_with(|inside| {
            let mut inside = inside.borrow_mut();
            inside.pop();
            if inside.is_empty() {
                inside.shrink_to_fit();
            }
        });
    }
}

/// While it lives, no other writer orders a commit.
struct Alone<'a> {
    _alone: RwLockWriteGuard<'a, ()>,
    _inside: InsideGuard,
}

/// What became of a run of a closure.
enum Round<R> {
    Ordered(R, Ordered),
    Verify(Vec<Asked>),
    Stale,
    Refused(Error, Reads),
}

/// On how many rows a refusal was decided.
enum Reads {
    One,
    Several,
}

/// Where a draft that no other writer can have disturbed is refused all the same.
const DISTURBED: Error = Error::Misuse {
    reason: "another program writes to the same backend; run the transaction again",
};

impl Store {
    /// Runs `body` until its draft is committed, side by side with other writers. Answers what the last run answered,
    /// and the revision (`None` where there was nothing to write).
    pub(crate) fn write<R>(
        &self,
        mut body: impl FnMut(&mut Draft<'_>) -> Result<R>,
    ) -> Result<(R, Option<u64>)> {
        self.check_participant()?;
        let mut passed = Passed::new();
        let mut rounds = 0;
        while rounds < ROUNDS_TOGETHER {
            let beside_others = self.enter_shared()?;
            let draft = Draft::new(self, Run::Together, passed.clone());
            let round = self.round(draft, &mut body)?;
            drop(beside_others);
            match round {
                Round::Ordered(answer, ordered) => return Ok((answer, self.finish(ordered)?)),
                // Each lock is verified once, so this is not a round that others won.
                Round::Verify(asked) => self.verify_all(asked, &mut passed)?,
                Round::Stale => rounds += 1,
                // Rows that were read one after the other need never have been so together.
                Round::Refused(
                    Error::AlreadyExists { .. } | Error::RevisionMismatch { .. },
                    Reads::Several,
                ) => break,
                Round::Refused(error, _) => return Err(self.refused(error)),
            }
        }
        self.rounds_alone(body, passed)
    }

    /// Runs `body` once for what a reader writes by the way; `None` where it was left, which is the case where the reader would
    /// have to wait: who has the gate may be waiting for it.
    pub(crate) fn try_write<R>(
        &self,
        mut body: impl FnMut(&mut Draft<'_>) -> Result<R>,
    ) -> Result<Option<(R, Option<u64>)>> {
        InsideGuard::check(&self.shared)?;
        let Some(beside_others) = self.shared.gate.lock.try_read() else {
            return Ok(None);
        };
        let draft = Draft::new(self, Run::Together, Passed::new());
        let round = self.round(draft, &mut body)?;
        drop(beside_others);
        match round {
            Round::Ordered(answer, ordered) => Ok(Some((answer, self.finish(ordered)?))),
            Round::Verify(_) | Round::Stale => Ok(None),
            Round::Refused(error, _) => Err(error),
        }
    }

    /// Runs `body` with no other writer beside it and every earlier commit settled: once, and again where passwords had
    /// to be verified, for which nobody waits.
    pub(crate) fn write_alone<R>(
        &self,
        body: impl FnMut(&mut Draft<'_>) -> Result<R>,
    ) -> Result<(R, Option<u64>)> {
        self.check_participant()?;
        self.rounds_alone(body, Passed::new())
    }

    fn rounds_alone<R>(
        &self,
        mut body: impl FnMut(&mut Draft<'_>) -> Result<R>,
        mut passed: Passed,
    ) -> Result<(R, Option<u64>)> {
        loop {
            let alone = self.enter_alone()?;
            let draft = Draft::new(self, Run::Alone, passed.clone());
            let round = self.round(draft, &mut body)?;
            drop(alone);
            match round {
                Round::Ordered(answer, ordered) => return Ok((answer, self.finish(ordered)?)),
                Round::Verify(asked) => self.verify_all(asked, &mut passed)?,
                Round::Stale => return Err(DISTURBED),
                Round::Refused(error, _) => return Err(error),
            }
        }
    }

    fn round<'a, R>(
        &'a self,
        mut draft: Draft<'a>,
        body: &mut impl FnMut(&mut Draft<'_>) -> Result<R>,
    ) -> Result<Round<R>> {
        let answer = body(&mut draft);
        match draft.again.take() {
            Some(Again::Verify(asked)) => return Ok(Round::Verify(asked)),
            Some(Again::Stale) => return Ok(Round::Stale),
            None => {}
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let reads = match draft.reads.len() {
                    0 | 1 => Reads::One,
                    _ => Reads::Several,
                };
                return Ok(Round::Refused(error, reads));
            }
        };
        Ok(match self.order(draft)? {
            Some(ordered) => Round::Ordered(answer, ordered),
            None => Round::Stale,
        })
    }

    fn verify_all(&self, asked: Vec<Asked>, passed: &mut Passed) -> Result<()> {
        for Asked { key, lock, need } in asked {
            self.verify_lock(&key, &lock, need, Trying::Call)?;
            passed.insert((lock.id, need));
        }
        Ok(())
    }

    /// Runs `body` once, with no other writer beside it and every earlier commit settled; it has the draft while it runs.
    pub(crate) fn run_once<'a, R>(
        &'a self,
        body: impl FnOnce(Draft<'a>) -> Result<(Draft<'a>, R)>,
    ) -> Result<(R, Option<u64>)> {
        self.check_participant()?;
        let alone = self.enter_alone()?;
        let (draft, answer) = body(Draft::new(self, Run::Once, Passed::new()))?;
        let ordered = self.order(draft)?.ok_or(DISTURBED)?;
        drop(alone);
        Ok((answer, self.finish(ordered)?))
    }

    /// Runs `look` while no commit can be ordered and every earlier one has settled, but those that never will: scans do not
    /// show them.
    pub(crate) fn look_alone<R>(&self, look: impl FnOnce() -> Result<R>) -> Result<R> {
        let _inside = InsideGuard::enter(&self.shared)?;
        let _alone = self.shared.gate.lock.write();
        match self.settle_ordered() {
            Ok(()) | Err(Error::Poisoned { .. }) => look(),
            Err(error) => Err(error),
        }
    }

    /// Waits until everything ordered so far has settled.
    pub(crate) fn settle_ordered(&self) -> Result<()> {
        match self.shared.gate.last_ordered.load(Ordering::Acquire) {
            0 => Ok(()),
            revision => self.shared.backend.settle(revision),
        }
    }

    /// The error of a write that was decided on the latest rows, once they have settled: whoever is told that a key is
    /// taken finds the entry when it looks.
    pub(crate) fn refused(&self, error: Error) -> Error {
        match self.settle_ordered() {
            Ok(()) => error,
            Err(unsettled) => unsettled,
        }
    }

    fn enter_shared(&self) -> Result<RwLockReadGuard<'_, ()>> {
        // The closures of single writes call no one, so nothing is noted of the thread.
        InsideGuard::check(&self.shared)?;
        Ok(self.shared.gate.lock.read())
    }

    fn enter_alone(&self) -> Result<Alone<'_>> {
        let inside = InsideGuard::enter(&self.shared)?;
        let alone = self.shared.gate.lock.write();
        // What is ordered but not settled would be missing from scans.
        self.settle_ordered()?;
        Ok(Alone {
            _alone: alone,
            _inside: inside,
        })
    }

    /// Whether the participant can be told in changes. Asked at every write, and before content is uploaded for one.
    pub(crate) fn check_participant(&self) -> Result<()> {
        let reason = match self.participant.as_deref() {
            Some(name) if name.len() > MAX_PARTICIPANT_BYTES => "it is longer than 255 bytes",
            Some(name) if name.chars().any(char::is_control) => "it holds a control character",
            _ => return Ok(()),
        };
        Err(Error::InvalidArgument {
            what: "participant",
            reason: reason.to_owned(),
        })
    }

    /// Orders the draft's commit; `None` where it was refused.
    fn order(&self, draft: Draft<'_>) -> Result<Option<Ordered>> {
        if draft.doomed {
            return Err(Error::Misuse {
                reason: "a part of the transaction failed half-way, and its error was ignored",
            });
        }
        let found_done = draft.found_done;
        let (commit, changes, uploads) = draft.into_commit();
        if commit.writes.is_empty() {
            return Ok(Some(Ordered {
                revision: None,
                found_done,
                changes: Vec::new(),
            }));
        }
        // As late as it can be: to get here may have taken minutes.
        if let Some(permit) = &self.permit {
            permit()?;
        }
        let shared = &self.shared;
        let outcome = shared.backend.commit(commit, &mut |revision| {
            shared
                .gate
                .last_ordered
                .fetch_max(revision, Ordering::AcqRel);
            shared.delivery.announce(revision);
        })?;
        Ok(match outcome {
            Outcome::Refused(_) => None,
            Outcome::Ordered(revision) => {
                uploads.iter().for_each(Upload::adopted);
                Some(Ordered {
                    revision: Some(revision),
                    found_done,
                    changes,
                })
            }
        })
    }

    /// Waits until the commit is as durable as was asked for, then tells the callbacks and watchers. An answer without a commit
    /// waits for what it was decided on; and where a write found all as it was to be, by `Eventual` commits perhaps, that
    /// is made as durable as the write would have been.
    fn finish(&self, ordered: Ordered) -> Result<Option<u64>> {
        let Some(revision) = ordered.revision else {
            match (ordered.found_done, self.durability) {
                (true, Durability::Immediate) => self.shared.backend.flush()?,
                _ => self.settle_ordered()?,
            }
            return Ok(None);
        };
        let settled = self.shared.backend.settle(revision);
        let changes = if settled.is_ok() {
            ordered.changes
        } else {
            Vec::new()
        };
        self.shared.delivery.deliver(revision, changes);
        settled?;
        Ok(Some(revision))
    }
}

struct Ordered {
    revision: Option<u64>,
    /// See [`Draft::note_done`].
    found_done: bool,
    changes: Vec<ChangeRecord>,
}

#[cfg(test)]
mod tests;
