//! Trees that fail when a test wants it.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{TreeWrite, Trees};
use crate::backend::Tree;
use crate::error::{Error, Result};
use crate::report::Finding;

/// What can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
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

/// Passes everything on to other trees, but for one operation at one moment. Failing to apply leaves half of the rows
/// applied, as a real failure may.
pub(crate) struct FaultTrees {
    inner: Arc<dyn Trees>,
    fault: Mutex<Option<Fault>>,
}

impl FaultTrees {
    pub(crate) fn new(inner: Arc<dyn Trees>) -> FaultTrees {
        FaultTrees {
            inner,
            fault: Mutex::new(None),
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
        self.inner.get(tree, key)
    }

    fn range(
        &self,
        tree: Tree,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        self.inner.range(tree, start, end, limit)
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

    fn check(&self) -> Vec<Finding> {
        self.inner.check()
    }

    fn close(&self) -> Result<()> {
        self.inner.close()
    }
}
