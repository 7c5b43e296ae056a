//! Who may do what: tokens, locks, and what a password costs.

use std::time::{Duration, SystemTime};

use crate::format::{from_micros, to_micros};

/// What a token may do, and how long.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Grant {
    /// When the token stops working; `None` for never.
    pub expires: Option<SystemTime>,
    /// Whether it lists this exact folder instead of reading this exact key.
    pub folder: bool,
}

impl Grant {
    /// Reads one key, until revoked.
    #[must_use]
    pub fn new() -> Grant {
        Grant::default()
    }

    /// Stops working at this time.
    #[must_use]
    pub fn expires(self, time: SystemTime) -> Grant {
        Grant {
            expires: Some(with_a_text(time)),
            ..self
        }
    }

    /// Stops working after this time from now.
    #[must_use]
    pub fn expires_in(self, time: Duration) -> Grant {
        Grant {
            expires: SystemTime::now().checked_add(time).map(with_a_text),
            ..self
        }
    }

    /// Lists one folder.
    #[must_use]
    pub fn folder(self) -> Grant {
        Grant {
            folder: true,
            ..self
        }
    }
}

/// The time, or the nearest that RFC 3339 has a text for.
fn with_a_text(time: SystemTime) -> SystemTime {
    from_micros(to_micros(time))
}

/// The passwords of a lock. At least one must be there, and none may be empty.
///
/// | to | is needed |
/// |---|---|
/// | read (load, get, a reader, metadata, copy from, export, grant a token) | the view password, where there is one; the edit password does as well |
/// | overwrite, delete, rename | the edit password, where there is one |
/// | merge, patch, append: what reads and writes | both of the above |
/// | change or remove the lock | the edit password, where there is one, else the view password |
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Lock {
    /// The password needed to read; `None` lets everybody read.
    pub view: Option<String>,
    /// The password needed to write, merge, move or delete; `None` lets everybody write.
    pub edit: Option<String>,
}

impl Lock {
    /// No password yet.
    #[must_use]
    pub fn new() -> Lock {
        Lock::default()
    }

    /// Sets the password needed to read.
    #[must_use]
    pub fn view(self, password: impl Into<String>) -> Lock {
        Lock {
            view: Some(password.into()),
            ..self
        }
    }

    /// Sets the password needed to write.
    #[must_use]
    pub fn edit(self, password: impl Into<String>) -> Lock {
        Lock {
            edit: Some(password.into()),
            ..self
        }
    }
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lock")
            .field("view", &self.view.as_ref().map(|_| "…"))
            .field("edit", &self.edit.as_ref().map(|_| "…"))
            .finish()
    }
}

/// What a password check costs: the parameters of Argon2id. The default is 19 MiB, 2 passes, 1 lane.
///
/// Raise it and existing locks follow, a password each: when an entry is next written by who offers it, in the same
/// commit; or when it is next read by such a view, in a commit of its own, durable as
/// [`Durability::Eventual`](crate::Durability::Eventual), that gives the entry a new revision and of which no change is told:
/// a revision or `ETag` noted before no longer fits. A listing writes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PasswordCost {
    /// Memory in KiB, at least 8 and at most 1 GiB; times the passes at most 16 GiB.
    pub memory_kib: u32,
    /// Passes, at least 1.
    pub passes: u32,
}

impl PasswordCost {
    /// A cost of so much memory and so many passes.
    #[must_use]
    pub const fn new(memory_kib: u32, passes: u32) -> PasswordCost {
        PasswordCost { memory_kib, passes }
    }
}

impl Default for PasswordCost {
    fn default() -> Self {
        PasswordCost::new(19 * 1024, 2)
    }
}
