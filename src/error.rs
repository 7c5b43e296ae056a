//! The one error type, below everything else.

use std::path::PathBuf;
use std::time::Duration;

/// What every fallible operation of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, named for what the caller can do about it.
///
/// `Display` states the fact of this layer; the cause, where there is one, is in
/// [`source`](std::error::Error::source), but for [`Poisoned`](Error::Poisoned), which is answered many times of one cause and tells
/// it in its text. No variant ever holds a password or a token.
///
/// Any call may answer [`Damaged`](Error::Damaged), [`Io`](Error::Io), and [`Misuse`](Error::Misuse) once the store is closed. Where a
/// method has "those of every write", they are these, [`NoSpace`](Error::NoSpace), [`Poisoned`](Error::Poisoned),
/// [`TooLarge`](Error::TooLarge) where one commit would hold too much, [`InvalidKey`](Error::InvalidKey) where it is given a key, and
/// [`Misuse`](Error::Misuse) from inside a transaction on the same store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing is stored under a key whose presence the call asserted (`rename`, `copy`, `lock`, `patch`…).
    #[error("nothing is stored at `{key}`")]
    NotFound {
        /// The key, as the view of the caller names it.
        key: String,
    },

    /// The call asked to create, and the key is taken.
    #[error("`{key}` already exists")]
    AlreadyExists {
        /// The key, as the view of the caller names it.
        key: String,
    },

    /// The call asked for a revision that is not the present one. Load, decide and try again.
    #[error("`{key}` is not at revision {expected}: {}", found.map_or("it does not exist".to_owned(), |found| format!("it is at {found}")))]
    RevisionMismatch {
        /// The key, as the view of the caller names it.
        key: String,
        /// The revision the caller named.
        expected: u64,
        /// The revision the entry has, `None` where it does not exist.
        found: Option<u64>,
    },

    /// The entry is a document where a blob was asked for, or the other way round.
    #[error("`{key}` is a {found}, not a {expected}")]
    WrongKind {
        /// The key, as the view of the caller names it.
        key: String,
        /// What the call needs.
        expected: &'static str,
        /// What is stored.
        found: &'static str,
    },

    /// A key or folder that breaks a rule of [`Key`](crate::Key).
    #[error("invalid key `{}`: {rule}", key.escape_debug())]
    InvalidKey {
        /// The key, as the caller gave it, cut where it is very long.
        key: String,
        /// The rule it breaks.
        rule: &'static str,
    },

    /// A value that JSON, or this document, cannot hold: NaN, bytes, a level too deep, a pointer or patch that does not fit. Also a
    /// document that does not fit the Rust type it is asked for as.
    #[error("invalid document: {reason}")]
    InvalidDocument {
        /// What is wrong with it, and where.
        reason: String,
    },

    /// A setting or argument outside of what it may be.
    #[error("invalid {what}: {reason}")]
    InvalidArgument {
        /// Which argument.
        what: &'static str,
        /// The rule it breaks.
        reason: String,
    },

    /// The entry has a lock and the caller offered no password for it.
    #[error("`{key}` is locked: its {needs} password is needed")]
    Locked {
        /// The key, as the view of the caller names it.
        key: String,
        /// Which password would open it.
        needs: Access,
    },

    /// The entry has a lock and the password offered does not open it.
    #[error("the password offered does not open `{key}`: its {needs} password is needed")]
    WrongPassword {
        /// The key, as the view of the caller names it.
        key: String,
        /// Which password would open it.
        needs: Access,
    },

    /// Too many wrong passwords were tried on the entry of late, and this call would have to wait longer than it may. Not all
    /// that are offered were tried, so a right one may be among them.
    #[error("too many wrong passwords were tried on `{key}`: try again in {} s", retry_in.as_secs() + 1)]
    TooManyTries {
        /// The key, as the view of the caller names it.
        key: String,
        /// After which time a try is worth while, if nobody else is quicker.
        retry_in: Duration,
    },

    /// The token is unknown, expired, revoked, made for another key, or made before the entry was locked.
    #[error("the token does not open this key")]
    TokenRefused,

    /// The history asked for is no longer kept, or is not this store's: what was asked for lies ahead of it, is of another copy of
    /// it, or was taken back by a power cut. Read the present state, then watch from there.
    #[error(
        "the place that was asked for is not in the history, which can be read from revision {oldest} on"
    )]
    Compacted {
        /// The first revision from which on the history can be read without a gap.
        oldest: u64,
    },

    /// A value above a stated limit.
    #[error("{what} is too large: {found}, at most {limit}")]
    TooLarge {
        /// Which value, and its unit.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// What was found.
        found: u64,
    },

    /// Stored bytes are not what was written. They are never returned.
    #[error("damaged {what} at {location}")]
    Damaged {
        /// What kind of thing is damaged.
        what: &'static str,
        /// Where it lies: a key, which may be followed by the part of its content, or a file and an offset.
        location: String,
    },

    /// The directory is missing or empty, and the caller asked not to [make a store](crate::StoreBuilder::create).
    #[error("there is no store at {}", path.display())]
    NoStore {
        /// The directory.
        path: PathBuf,
    },

    /// Another process, or another handle of this one, has the store open.
    #[error("the store at {} is in use{}", path.display(), by.as_ref().map_or(String::new(), |by| format!(" by {by}")))]
    InUse {
        /// The directory of the store.
        path: PathBuf,
        /// Who has it and since when, where the lock file says.
        by: Option<String>,
    },

    /// The directory holds something this version cannot read, or the platform cannot keep a promise that was asked for.
    #[error("unsupported: {found}")]
    Unsupported {
        /// What was found, and what is needed.
        found: String,
    },

    /// A write failed in a way that leaves open what reached the disk. Whether a write that answers this happened is known
    /// once the store is opened again: look then. Until then reads go on, and writes are refused, and so are transactions, also
    /// those that only read. Where it was sled's own writing that failed, some reads may answer [`Error::Io`] as well.
    #[error(
        "a write failed, and whether it reached the disk is not known before the store is opened again: {cause}"
    )]
    Poisoned {
        /// The failure.
        cause: String,
    },

    /// The store is called from where it cannot answer: a write from inside a transaction's closure, or after `close`.
    #[error("not possible here: {reason}")]
    Misuse {
        /// What was done, and what to do instead.
        reason: &'static str,
    },

    /// The caller's progress function, or the body of its transaction, asked to stop. Nothing is lost, and nothing was done, but for an import, of which
    /// the entries so far stay, a compaction, and what an export has written.
    #[error("cancelled")]
    Cancelled,

    /// There is too little room on the disk. Nothing acknowledged is lost, and nothing was done (of what takes several commits,
    /// as an import does, those before it were): reads and deletes go on, and writes do once there is room again.
    #[error("no space left while {doing}")]
    NoSpace {
        /// What was being done, and to which file.
        doing: String,
        /// The cause.
        source: std::io::Error,
    },

    /// The operating system refused. The write that answers this did not happen; of calls that make several commits (an import, a
    /// compaction, thousands of tokens revoked at once) those before it did.
    #[error("i/o error while {doing}")]
    Io {
        /// What was being done, and to which file.
        doing: String,
        /// The cause.
        source: std::io::Error,
    },
}

/// Which of an entry's passwords a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Access {
    /// The password needed to read.
    View,
    /// The password needed to write, merge, move or delete.
    Edit,
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Access::View => "view",
            Access::Edit => "edit",
        })
    }
}

impl Error {
    /// Wraps an operating-system error with what was being done; a full disk becomes [`Error::NoSpace`].
    pub(crate) fn io(doing: impl Into<String>, source: std::io::Error) -> Self {
        let doing = doing.into();
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Error::NoSpace { doing, source }
            }
            _ => Error::Io { doing, source },
        }
    }

    pub(crate) fn damaged(what: &'static str, location: impl Into<String>) -> Self {
        Error::Damaged {
            what,
            location: location.into(),
        }
    }
}

/// So that a reader or writer of this crate can be used through `std::io`; the error stays reachable by `get_ref`.
impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        use std::io::ErrorKind;
        let kind = match &error {
            Error::NotFound { .. } | Error::NoStore { .. } => ErrorKind::NotFound,
            Error::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Error::Locked { .. }
            | Error::WrongPassword { .. }
            | Error::TooManyTries { .. }
            | Error::TokenRefused => ErrorKind::PermissionDenied,
            Error::Damaged { .. } => ErrorKind::InvalidData,
            Error::InvalidKey { .. } | Error::InvalidArgument { .. } => ErrorKind::InvalidInput,
            Error::TooLarge { .. } => ErrorKind::FileTooLarge,
            Error::NoSpace { source, .. } | Error::Io { source, .. } => source.kind(),
            _ => ErrorKind::Other,
        };
        std::io::Error::new(kind, error)
    }
}
