//! Locks put on entries and taken off.

use std::path::PathBuf;

use komatik::Lock as Passwords;
use serde_json::json;

use super::failure::{Failure, Outcome};
use super::password;
use super::session::Session;

/// Put a lock on an entry, in place of the one it may have
///
/// Asks for each new password at the terminal, or takes it from a file. The password that opens the present lock is
/// offered as always: --password-file, KOMATIK_PASSWORD, or the prompt.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("passwords").required(true).multiple(true).args(["view", "view_file", "edit", "edit_file"])))]
pub(crate) struct Lock {
    key: String,
    /// Ask for a password that will be needed to read
    #[arg(long)]
    view: bool,
    /// The same, from the one line of this file
    #[arg(long, value_name = "FILE", conflicts_with = "view")]
    view_file: Option<PathBuf>,
    /// Ask for a password that will be needed to write, move or delete
    #[arg(long)]
    edit: bool,
    /// The same, from the one line of this file
    #[arg(long, value_name = "FILE", conflicts_with = "edit")]
    edit_file: Option<PathBuf>,
}

/// Take the lock off an entry
#[derive(clap::Args)]
pub(crate) struct Unlock {
    key: String,
}

impl Lock {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        let mut lock = Passwords::new();
        lock.view = new(self.view, self.view_file.as_ref(), "view")?;
        lock.edit = new(self.edit, self.edit_file.as_ref(), "edit")?;
        session.unlocked(|store| store.lock(&self.key, lock.clone()))?;
        session.manner.done(
            || {
                json!({
                    "key": self.key,
                    "view_locked": lock.view.is_some(),
                    "edit_locked": lock.edit.is_some(),
                })
            },
            || format!("locked {}", self.key),
        )
    }
}

fn new(asks: bool, file: Option<&PathBuf>, what: &str) -> Outcome<Option<String>> {
    match file {
        Some(file) => password::only(file).map(Some),
        None if asks => password::ask_new(what).map(Some),
        None => Ok(None),
    }
}

impl Unlock {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        let was_locked = session.unlocked(|store| store.unlock(&self.key))?;
        if !was_locked {
            return Err(Failure::of(
                super::exit::Exit::NotFound,
                format!("`{}` has no lock", self.key),
            ));
        }
        session.manner.done(
            || json!({"key": self.key, "view_locked": false, "edit_locked": false}),
            || format!("unlocked {}", self.key),
        )
    }
}
