//! Results go to standard output, line by line; progress and complaints to standard error.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::ops::ControlFlow;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use komatik::Step;

use super::failure::{Failure, Outcome};

/// Writes a line of the result.
pub(crate) fn line(text: &str) -> Outcome<()> {
    // Standard output hands every whole line on by itself.
    writeln!(io::stdout(), "{text}").map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::ClosedPipe,
        _ => Failure::told(format!("writing the output: {error}")),
    })
}

/// Tells why the command failed, where somebody listens.
pub(crate) fn complain(failure: &Failure) {
    if let Failure::Told(text) = failure {
        let _ = writeln!(io::stderr(), "komatik: {text}");
    }
}

/// A bar on the terminal, if there is one, for work that takes its time. It goes when it is dropped.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// A bar over so many bytes.
    pub(crate) fn of_bytes(total: u64) -> Bar {
        Bar::new(total, "{bar:40} {bytes}/{total_bytes}, {bytes_per_sec}")
    }

    /// A bar over so many of anything else.
    pub(crate) fn of_items(total: usize) -> Bar {
        let total = u64::try_from(total).unwrap_or(u64::MAX);
        Bar::new(total, "{bar:40} {human_pos}/{human_len} {msg}")
    }

    fn new(total: u64, template: &str) -> Bar {
        if !io::stderr().is_terminal() {
            return Bar(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Bar(bar)
    }

    pub(crate) fn advance(&self, by: u64) {
        self.0.inc(by);
    }

    /// Shows where the store says it is.
    pub(crate) fn follow(&self, step: Step) -> ControlFlow<()> {
        self.0.set_message(step.phase);
        self.0.set_length(step.total.unwrap_or(step.done));
        self.0.set_position(step.done);
        ControlFlow::Continue(())
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
