//! The accounts of `komatik serve`, while it does not run.

use std::path::PathBuf;

use serde_json::json;

use super::failure::Outcome;
use super::password;
use super::session::Session;

/// Give an account of the service a new password
///
/// For who has lost it: while the service runs, an admin does it there. Asks for the password at the terminal, or takes
/// it from a file. The sessions of the account end; its API keys go on.
#[derive(clap::Args)]
pub(crate) struct Account {
    /// Name of the account
    name: String,
    /// Take the new password from the one line of this file
    #[arg(long, value_name = "FILE")]
    login_file: Option<PathBuf>,
}

impl Account {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        let password = match &self.login_file {
            Some(file) => password::only(file)?,
            None => password::ask_new("login")?,
        };
        komatik::http::set_password(&session.store, &self.name, &password)?;
        session.manner.done(
            || json!({"name": self.name}),
            || format!("{} has a new password", self.name),
        )
    }
}
