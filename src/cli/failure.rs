//! Why a command did not do what was asked.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

use super::exit::Exit;
use super::interrupt;

pub(crate) type Outcome<T> = Result<T, Failure>;

/// The exit code of a program that `SIGPIPE` ended, as a shell shows it.
const CLOSED_PIPE_CODE: u8 = 128 + 13;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody reads the output any more: there is nothing to say, and nobody to say it to.
    ClosedPipe,
    /// A signal asked to stop, and nothing is left half done.
    Interrupted,
    /// What a person should read.
    Told(Told),
}

/// What a person should read, and a script can tell by its kind.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) exit: Exit,
    pub(crate) text: String,
    /// What to do about it.
    pub(crate) advice: Option<String>,
}

impl Failure {
    pub(crate) fn told(text: impl Into<String>) -> Failure {
        Failure::of(Exit::Failed, text)
    }

    pub(crate) fn usage(text: impl Into<String>) -> Failure {
        Failure::of(Exit::Usage, text)
    }

    pub(crate) fn not_found(key: &str) -> Failure {
        let key = key.to_owned();
        komatik::Error::NotFound { key }.into()
    }

    pub(crate) fn of(exit: Exit, text: impl Into<String>) -> Failure {
        Failure::Told(Told {
            exit,
            text: text.into(),
            advice: None,
        })
    }

    pub(crate) fn advise(self, advice: impl Into<String>) -> Failure {
        match self {
            Failure::Told(told) => Failure::Told(Told {
                advice: Some(advice.into()),
                ..told
            }),
            other => other,
        }
    }

    /// The failure of the part of the work that has this name.
    pub(crate) fn in_step(self, step: &str) -> Failure {
        match self {
            Failure::Told(told) => Failure::Told(Told {
                text: format!("{step}: {}", told.text),
                ..told
            }),
            other => other,
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::ClosedPipe => CLOSED_PIPE_CODE,
            Failure::Interrupted => interrupt::exit_code(),
            Failure::Told(told) => told.exit.code(),
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::ClosedPipe => f.write_str("nobody reads the output"),
            Failure::Interrupted => f.write_str("interrupted"),
            Failure::Told(told) => f.write_str(&told.text),
        }
    }
}

impl From<komatik::Error> for Failure {
    fn from(error: komatik::Error) -> Failure {
        match &error {
            komatik::Error::Cancelled => return Failure::Interrupted,
            komatik::Error::Io { source, .. } if source.kind() == ErrorKind::BrokenPipe => {
                return Failure::ClosedPipe;
            }
            // What an input answered that was read through the store.
            komatik::Error::Io { source, .. } if is_cancelled(source) => {
                return Failure::Interrupted;
            }
            _ => {}
        }
        Failure::Told(Told {
            exit: Exit::of(&error),
            text: with_causes(&error),
            advice: advice(&error),
        })
    }
}

fn is_cancelled(error: &io::Error) -> bool {
    let inner = error.get_ref();
    let inner = inner.and_then(|inner| inner.downcast_ref::<komatik::Error>());
    matches!(inner, Some(komatik::Error::Cancelled))
}

/// What to do about it, where the tool has an answer that the error does not give.
fn advice(error: &komatik::Error) -> Option<String> {
    use komatik::Error;
    let advice = match error {
        Error::NoStore { .. } => {
            "`save`, `put`, `sync` and `import` make one; `restore` makes one of a backup"
        }
        Error::InUse { .. } => {
            "one process has a store at a time: end that one, or look from inside of it; \
             `--wait 1m` waits until it is free"
        }
        Error::Locked { .. } => {
            "offer the password: `--password-file FILE`, the variable KOMATIK_PASSWORD, or at the \
             prompt of a terminal"
        }
        Error::Damaged {
            what: "archive", ..
        } => "what came before it is in the store; `--overwrite` takes in a sound copy as a whole",
        Error::Damaged { .. } => {
            "`verify` tells all that is damaged; `repair INTO` saves what can be saved"
        }
        Error::Compacted { oldest } => {
            return Some(format!(
                "list what is there, then `watch --since now`; `--since {}` tells what is still kept",
                oldest.saturating_sub(1)
            ));
        }
        Error::AlreadyExists { .. } => "without `--create` it is replaced",
        Error::RevisionMismatch { .. } => "load it again, decide, and name the revision it has now",
        Error::Poisoned { .. } => "look whether it was done, then do it again",
        Error::NoSpace { .. } => "free some room; `compact` gives back what was deleted",
        _ => return None,
    };
    Some(advice.to_owned())
}

/// What an error says, and each of its causes.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Says what was being done when the operating system refused.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Outcome<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Outcome<T> {
        // A reader of the store answers its own errors through `std::io`.
        self.map_err(|error| match error.downcast::<komatik::Error>() {
            Ok(own) => own.into(),
            Err(error) => Failure::of(exit_of(error.kind()), format!("{}: {error}", what())),
        })
    }
}

fn exit_of(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Exit::NoSpace,
        _ => Exit::Failed,
    }
}

/// Fails with what `otherwise` says where something does not hold.
pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Outcome<()> {
    if holds {
        Ok(())
    } else {
        Err(Failure::told(otherwise()))
    }
}
