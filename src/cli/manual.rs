//! The command about itself: completions for shells, and manual pages.

use std::io::Write;
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;

use super::failure::{Doing, Outcome};
use super::{Arguments, output};

/// Print completions for a shell
#[derive(clap::Args)]
pub(crate) struct Completions {
    shell: Shell,
}

/// Print the manual page, or write one for every command
#[derive(clap::Args)]
pub(crate) struct Man {
    /// Directory for the pages; without it, the one of the whole is printed
    directory: Option<PathBuf>,
}

impl Completions {
    pub(crate) fn run(&self) -> Outcome<()> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "komatik", &mut text);
        output::written(output::bytes()?.write_all(&text))
    }
}

impl Man {
    pub(crate) fn run(&self) -> Outcome<()> {
        let command = Arguments::command();
        let writing = || "writing the manual".to_owned();
        let Some(directory) = &self.directory else {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(command).render(&mut page);
            rendered.doing(writing)?;
            return output::written(output::bytes()?.write_all(&page));
        };
        std::fs::create_dir_all(directory).doing(|| format!("making {}", directory.display()))?;
        clap_mangen::generate_to(command, directory).doing(writing)
    }
}
