//! The conditions of writes.

use crate::error::{Error, Result};
use crate::options::PutMode;

/// What must be true of a key for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    Anything,
    Free,
    Revision(u64),
    /// As it was when this revision, or nothing, was seen.
    Unchanged(Option<u64>),
}

impl From<PutMode> for Expect {
    fn from(mode: PutMode) -> Expect {
        match mode {
            PutMode::Overwrite => Expect::Anything,
            PutMode::Create => Expect::Free,
            PutMode::Update(revision) => Expect::Revision(revision),
        }
    }
}

impl Expect {
    /// Whether it is true of a key that is at revision `found`.
    pub(crate) fn check(self, name: &str, found: Option<u64>) -> Result<()> {
        let expected = match self {
            Expect::Anything => return Ok(()),
            Expect::Free if found.is_none() => return Ok(()),
            Expect::Free => {
                return Err(Error::AlreadyExists {
                    key: name.to_owned(),
                });
            }
            Expect::Revision(expected) => Some(expected),
            Expect::Unchanged(expected) => expected,
        };
        if found == expected {
            return Ok(());
        }
        Err(Error::RevisionMismatch {
            key: name.to_owned(),
            expected: expected.unwrap_or_default(),
            found,
        })
    }
}
