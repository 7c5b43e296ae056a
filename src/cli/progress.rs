//! Bars for work that takes its time: on a terminal, where one is wanted, and nowhere else.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use komatik::Step;

use super::interrupt;
use super::output::Manner;

/// A bar on the terminal, if there is one. It goes when it is dropped.
pub(crate) struct Bar(ProgressBar);

const BYTES: &str = "{bar:40} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
const BYTES_WITHOUT_END: &str = "{spinner} {bytes}, {bytes_per_sec}";
const ITEMS: &str = "{bar:40} {human_pos}/{human_len} {msg}";

impl Bar {
    /// A bar over so many bytes.
    pub(crate) fn of_bytes(total: u64) -> Bar {
        Bar::new(Some(total), BYTES)
    }

    /// A bar over so many of anything else.
    pub(crate) fn of_items(total: usize) -> Bar {
        Bar::new(Some(u64::try_from(total).unwrap_or(u64::MAX)), ITEMS)
    }

    pub(crate) fn hidden() -> Bar {
        Bar(ProgressBar::hidden())
    }

    fn new(total: Option<u64>, template: &str) -> Bar {
        if !io::stderr().is_terminal() {
            return Bar::hidden();
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Bar(bar)
    }

    pub(crate) fn set_total(&self, total: u64) {
        self.0.set_length(total);
    }

    pub(crate) fn advance(&self, by: u64) {
        self.0.inc(by);
    }

    /// Shows that so much is done. Answers whether to go on.
    pub(crate) fn reach(&self, done: u64) -> ControlFlow<()> {
        self.0.set_position(done);
        interrupt::flow()
    }

    /// Shows where the store says it is. Answers whether to go on.
    pub(crate) fn follow(&self, step: Step) -> ControlFlow<()> {
        self.0.set_message(step.phase);
        self.0.set_length(step.total.unwrap_or(step.done));
        self.0.set_position(step.done);
        interrupt::flow()
    }

    /// Lets a line be written where the bar is.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Manner {
    /// A bar over so many bytes; `None` where nobody knows how many.
    pub(crate) fn bar_of_bytes(self, total: Option<u64>) -> Bar {
        match (self.quiet, total) {
            (true, _) => Bar::hidden(),
            (false, Some(total)) => Bar::of_bytes(total),
            (false, None) => Bar::new(None, BYTES_WITHOUT_END),
        }
    }

    /// A bar that follows what the store says.
    pub(crate) fn bar(self) -> Bar {
        match self.quiet {
            true => Bar::hidden(),
            false => Bar::of_items(0),
        }
    }
}
