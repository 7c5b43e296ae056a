//! Trees that fail when a test wants it: at a moment, or at a place.

use std::sync::Arc;

use bytes::Bytes;

use super::{TreeWrite, Trees};
use crate::backend::Tree;
use crate::error::{Error, Result};
use crate::report::Finding;
use crate::sync::Mutex;

/// What can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Range,
    Apply,
    Flush,
}

/// How long a failure lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    Once,
    ForEver,
}

struct Fault {
    operation: Operation,
    /// How many calls still succeed.
    remaining: u64,
    lasting: Lasting,
}

/// A leaf that cannot be read: the rows of a tree from the first key to the second, or to the end.
type BadLeaf = (Tree, Bytes, Option<Bytes>);

/// Passes everything on to other trees, but for one operation at one moment, and for reads of bad leaves. Failing to
/// apply leaves half of the rows applied, as a real failure may.
pub(crate) struct FaultTrees {
    inner: Arc<dyn Trees>,
    fault: Mutex<Option<Fault>>,
    bad: Mutex<Vec<BadLeaf>>,
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl FaultTrees {
    pub(crate) fn new(inner: Arc<dyn Trees>) -> FaultTrees {
        FaultTrees {
            inner,
            fault: Mutex::new(None),
            bad: Mutex::default(),
            meanwhile: Mutex::default(),
        }
    }

    /// Does this when rows are next asked for, before they are read.
    pub(crate) fn do_meanwhile(&self, work: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock() = Some(Box::new(work));
    }

    /// From now on the rows from `start` to `end` cannot be read.
    pub(crate) fn damage(&self, tree: Tree, start: impl AsRef<[u8]>, end: Option<&[u8]>) {
        let end = end.map(Bytes::copy_from_slice);
        let start = Bytes::copy_from_slice(start.as_ref());
        self.bad.lock().push((tree, start, end));
    }

    /// Fails where one of the leaves that hold the places from `first` to `last` is bad.
    fn cross(&self, tree: Tree, first: &[u8], last: Option<&[u8]>) -> Result<()> {
        let bad = self.bad.lock();
        let is_crossed = |(of, start, end): &&BadLeaf| {
            *of == tree
                && last.is_none_or(|last| &start[..] <= last)
                && end.as_ref().is_none_or(|end| first < &end[..])
        };
        match bad.iter().find(is_crossed) {
            Some((_, start, _)) => Err(Error::damaged("leaf", start.escape_ascii().to_string())),
            None => Ok(()),
        }
    }

    /// From now on the call number `nth` of `operation`, counted from 1, fails.
    pub(crate) fn fail(&self, operation: Operation, nth: u64, lasting: Lasting) {
        *self.fault.lock() = Some(Fault {
            operation,
            remaining: nth - 1,
            lasting,
        });
    }

    pub(crate) fn heal(&self) {
        *self.fault.lock() = None;
        self.bad.lock().clear();
    }

    fn strike(&self, operation: Operation) -> Result<()> {
        let mut fault = self.fault.lock();
        match &mut *fault {
            Some(due) if due.operation == operation && due.remaining == 0 => {
                if due.lasting == Lasting::Once {
                    *fault = None;
                }
                let source = std::io::Error::other("injected fault");
                Err(Error::io(format!("{operation:?}"), source))
            }
            Some(coming) if coming.operation == operation => {
                coming.remaining -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Trees for FaultTrees {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Bytes>> {
        self.strike(Operation::Get)?;
        self.cross(tree, key, Some(key))?;
        self.inner.get(tree, key)
    }

    fn range(
        &self,
        tree: Tree,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        if end.is_some_and(|end| end <= start) {
            return Ok(Vec::new());
        }
        self.strike(Operation::Range)?;
        let meanwhile = self.meanwhile.lock().take();
        if let Some(work) = meanwhile {
            work();
        }
        let rows = self.inner.range(tree, start, end, limit)?;
        let last = match rows.last() {
            Some((last, _)) if rows.len() == limit => Some(&last[..]),
            // It went on looking, to the end or the leaf that holds it.
            _ => end,
        };
        self.cross(tree, start, last)?;
        Ok(rows)
    }

    fn apply(&self, rows: &mut dyn Iterator<Item = TreeWrite>) -> Result<()> {
        let Err(error) = self.strike(Operation::Apply) else {
            return self.inner.apply(rows);
        };
        let rows: Vec<_> = rows.collect();
        let half = rows.len() / 2;
        self.inner.apply(&mut rows.into_iter().take(half))?;
        Err(error)
    }

    fn flush(&self) -> Result<()> {
        self.strike(Operation::Flush)?;
        self.inner.flush()
    }

    fn size_on_disk(&self) -> Result<u64> {
        self.inner.size_on_disk()
    }

    fn check(&self) -> Result<Vec<Finding>> {
        self.inner.check()
    }

    fn close(&self) -> Result<()> {
        self.inner.close()
    }
}
