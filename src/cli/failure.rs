//! Why a command did not do what was asked.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitCode;

pub(crate) type Outcome<T> = Result<T, Failure>;

/// The exit code of a program that `SIGPIPE` ended, as a shell shows it.
const CLOSED_PIPE_CODE: u8 = 128 + 13;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody reads the output any more: there is nothing to say, and nobody to say it to.
    ClosedPipe,
    /// What a person should read.
    Told(String),
}

impl Failure {
    pub(crate) fn told(text: impl Into<String>) -> Failure {
        Failure::Told(text.into())
    }

    /// The failure of the part of the work that has this name.
    pub(crate) fn in_step(self, step: &str) -> Failure {
        match self {
            Failure::ClosedPipe => Failure::ClosedPipe,
            Failure::Told(text) => Failure::Told(format!("{step}: {text}")),
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Failure::ClosedPipe => ExitCode::from(CLOSED_PIPE_CODE),
            Failure::Told(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::ClosedPipe => f.write_str("nobody reads the output"),
            Failure::Told(text) => f.write_str(text),
        }
    }
}

impl From<komatik::Error> for Failure {
    fn from(error: komatik::Error) -> Failure {
        Failure::Told(with_causes(&error))
    }
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
        self.map_err(|error| Failure::Told(format!("{}: {error}", what())))
    }
}

/// Fails with what `otherwise` says where something does not hold.
pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Outcome<()> {
    if holds {
        Ok(())
    } else {
        Err(Failure::Told(otherwise()))
    }
}
