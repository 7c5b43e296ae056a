//! How the command ends: an exit code for each kind of failure, so that a script can tell them apart.

use std::fmt::Write;

use komatik::Error;

/// What went wrong, as far as a script needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    WrongKind = 5,
    Refused = 6,
    InUse = 7,
    Damaged = 8,
    Compacted = 9,
    NoSpace = 10,
    Unsupported = 11,
    Incomplete = 12,
}

/// Every kind with its name in `--json` and what it means.
const KINDS: [(Exit, &str, &str); 12] = [
    (
        Exit::Failed,
        "failed",
        "the system refused, or a write failed",
    ),
    (
        Exit::Usage,
        "usage",
        "a wrong argument, key, document or limit",
    ),
    (
        Exit::NotFound,
        "not_found",
        "nothing of that name, or no store",
    ),
    (
        Exit::Conflict,
        "conflict",
        "the key is taken, or at another revision",
    ),
    (
        Exit::WrongKind,
        "wrong_kind",
        "a document where a blob is needed, or the other way round",
    ),
    (
        Exit::Refused,
        "refused",
        "locked, a wrong password, too many of them or a refused token",
    ),
    (Exit::InUse, "in_use", "another process has the store open"),
    (
        Exit::Damaged,
        "damaged",
        "stored bytes are not what was written",
    ),
    (
        Exit::Compacted,
        "compacted",
        "the history asked for is not kept",
    ),
    (Exit::NoSpace, "no_space", "the disk is full"),
    (
        Exit::Unsupported,
        "unsupported",
        "not a store, or one of another version",
    ),
    (
        Exit::Incomplete,
        "incomplete",
        "done, but for what was told on the way",
    ),
];

impl Exit {
    pub(crate) fn of(error: &Error) -> Exit {
        match error {
            Error::NotFound { .. } | Error::NoStore { .. } => Exit::NotFound,
            Error::AlreadyExists { .. } | Error::RevisionMismatch { .. } => Exit::Conflict,
            Error::WrongKind { .. } => Exit::WrongKind,
            Error::InvalidKey { .. }
            | Error::InvalidDocument { .. }
            | Error::InvalidArgument { .. }
            | Error::TooLarge { .. } => Exit::Usage,
            Error::Locked { .. }
            | Error::WrongPassword { .. }
            | Error::TooManyTries { .. }
            | Error::TokenRefused => Exit::Refused,
            Error::Compacted { .. } => Exit::Compacted,
            Error::Damaged { .. } => Exit::Damaged,
            Error::InUse { .. } => Exit::InUse,
            Error::Unsupported { .. } => Exit::Unsupported,
            Error::NoSpace { .. } => Exit::NoSpace,
            _ => Exit::Failed,
        }
    }

    #[expect(clippy::as_conversions, reason = "each kind is written with its code")]
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// The name in `--json`.
    pub(crate) fn name(self) -> &'static str {
        let kind = KINDS.iter().find(|(exit, ..)| *exit == self);
        kind.map_or("failed", |(_, name, _)| name)
    }
}

/// The codes as a table for the manual.
pub(crate) fn table() -> String {
    let mut table = "Exit codes, and their names in --json:\n\n   0  done\n".to_owned();
    for (exit, name, meaning) in KINDS {
        let code = exit.code();
        // A string takes everything.
        let _ = writeln!(table, "  {code:>2}  {name:<12} {meaning}");
    }
    table.push_str(
        " 130  Ctrl-C (143: terminated, 129: its terminal is gone): what was acknowledged stays\n",
    );
    table.push_str(" 141  nobody reads the output any more");
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_code_and_name() {
        for (index, (exit, name, _)) in KINDS.iter().enumerate() {
            assert_eq!(usize::from(exit.code()), index + 1);
            assert_eq!(exit.name(), *name);
            assert_eq!(
                KINDS.iter().filter(|(_, other, _)| other == name).count(),
                1
            );
        }
    }

    #[test]
    fn the_page_has_the_same_table() {
        let page = include_str!("../../docs/cli.md");
        for (exit, name, meaning) in KINDS {
            let row = format!("| {} | `{name}` | {meaning} |", exit.code());
            assert!(page.contains(&row), "{row}");
        }
    }
}
