//! Results go to standard output; notes, progress and complaints to standard error.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, StdoutLock, Write};
use std::os::fd::AsFd;

use anstream::{AutoStream, ColorChoice};
use clap::builder::styling::{AnsiColor, Style};
use serde_json::{Value, json};

use super::failure::{Doing, Failure, Outcome};
use super::show;

pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(crate) const BLUE: Style = AnsiColor::Blue.on_default().bold();

/// How the command answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
}

impl Manner {
    /// Writes the result: as an object, or as text for people.
    pub(crate) fn answer(
        self,
        value: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> Outcome<()> {
        match self.json {
            true => line(&value().to_string()),
            false => line(&text()),
        }
    }

    /// Writes the result of a command whose success says enough: as an object, or a note that may be left out.
    pub(crate) fn done(
        self,
        value: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> Outcome<()> {
        if self.json {
            return line(&value().to_string());
        }
        self.note(&text());
        Ok(())
    }

    /// Tells a person what was done. It is no result, and nobody need listen.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet && !self.json {
            let _ = writeln!(io::stderr(), "{}", show::safe(text));
        }
    }
}

/// Writes a line of the result.
pub(crate) fn line(text: &str) -> Outcome<()> {
    // Standard output hands every whole line on by itself.
    written(writeln!(io::stdout(), "{text}"))
}

/// Writes many lines of the result.
pub(crate) struct Lines(BufWriter<StdoutLock<'static>>);

impl Lines {
    pub(crate) fn new() -> Lines {
        Lines(BufWriter::with_capacity(64 * 1024, io::stdout().lock()))
    }

    pub(crate) fn line(&mut self, text: &str) -> Outcome<()> {
        written(writeln!(self.0, "{text}"))
    }

    pub(crate) fn finish(mut self) -> Outcome<()> {
        written(self.0.flush())
    }
}

/// Standard output for bytes, without the buffer that is for lines.
pub(crate) fn bytes() -> Outcome<File> {
    let descriptor = io::stdout().as_fd().try_clone_to_owned();
    descriptor
        .map(File::from)
        .doing(|| "opening the output".to_owned())
}

/// What became of writing to standard output.
pub(crate) fn written(result: io::Result<()>) -> Outcome<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::ClosedPipe),
        written => written.doing(|| "writing the output".to_owned()),
    }
}

/// Whether a person reads the result.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// The text of a result in this style, where the result is shown in colour.
pub(crate) fn painted(text: &str, style: Style) -> String {
    paint(text, style, AutoStream::choice(&io::stdout()))
}

fn paint(text: &str, style: Style, choice: ColorChoice) -> String {
    match choice {
        ColorChoice::Never => text.to_owned(),
        _ => format!("{style}{text}{style:#}"),
    }
}

/// Tells of something that was left out or is odd.
pub(crate) fn warn(text: &str) {
    complain_in(YELLOW, text);
}

/// Tells why the command failed, where somebody listens.
pub(crate) fn complain(failure: &Failure, json: bool) {
    let Failure::Told(told) = failure else {
        return;
    };
    if json {
        let value = json!({
            "error": told.exit.name(),
            "exit": told.exit.code(),
            "message": told.text,
            "advice": told.advice,
        });
        let _ = writeln!(io::stderr(), "{value}");
        return;
    }
    complain_in(RED, &told.text);
    if let Some(advice) = &told.advice {
        let _ = writeln!(io::stderr(), "  {}", show::safe(advice));
    }
}

fn complain_in(style: Style, text: &str) {
    let name = paint("komatik:", style, AutoStream::choice(&io::stderr()));
    let _ = writeln!(io::stderr(), "{name} {}", show::safe(text));
}
