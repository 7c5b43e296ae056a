//! Entries and folders are deleted.

use komatik::{Key, ListOptions, Store};
use serde_json::json;

use super::failure::{Failure, Outcome};
use super::naming::{bare, is_entry};
use super::output::Lines;
use super::session::Session;
use super::{interrupt, show};

/// Delete entries; with -r, also all below them
#[derive(clap::Args)]
pub(crate) struct Rm {
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    /// Also the folder of this name, with all in it, in one step
    #[arg(short, long)]
    recursive: bool,
    /// Nothing there is no failure
    #[arg(short, long)]
    force: bool,
    /// Only tell what would be deleted
    #[arg(long)]
    dry_run: bool,
}

impl Rm {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        for key in &self.keys {
            interrupt::check()?;
            // The root, and what is no name, is refused before anything is told of it.
            Key::parse(key)?;
            match self.dry_run {
                true => self.tell(session, key)?,
                false => self.delete(session, key)?,
            }
        }
        Ok(())
    }

    fn delete(&self, session: &mut Session, key: &str) -> Outcome<()> {
        // What was there as the folder and as the entry of this name, each gone in the same step.
        let is_both = self.recursive && !key.ends_with('/') && is_entry(&session.store, key)?;
        let (is_there, entries) = session.unlocked(|store| match is_both {
            true => self.delete_both(store, key),
            // Not in a transaction, which does not wait: where many passwords are offered, each must be tried.
            false if self.recursive => {
                let is_there = is_there(store, key)?;
                let entries = is_there.then(|| store.delete_folder(key)).transpose()?;
                Ok((is_there, entries))
            }
            false if !key.ends_with('/') && store.delete(key)? => Ok((true, Some(1))),
            false => Ok((is_there(store, key)?, None)),
        })?;
        let deleted = match (is_there, entries) {
            (true, Some(entries)) => entries,
            (true, None) => {
                return Err(is_a_folder(key));
            }
            (false, _) if self.force => return Ok(()),
            (false, _) => return Err(Failure::not_found(key)),
        };
        session.manner.done(
            || json!({"key": key, "deleted": deleted}),
            || {
                format!(
                    "deleted {key}, {}",
                    show::number_of(deleted, "entry", "entries")
                )
            },
        )
    }

    fn delete_both(&self, store: &Store, key: &str) -> komatik::Result<(bool, Option<u64>)> {
        store.transaction(|transaction| {
            let is_there = transaction.exists(key)?;
            let entries = transaction.delete_folder(key)?;
            let deleted = transaction.delete(key)?;
            Ok((is_there, Some(entries + u64::from(deleted))))
        })
    }

    /// Tells what [`Rm::delete`] would delete.
    fn tell(&self, session: &Session, key: &str) -> Outcome<()> {
        let mut lines = Lines::new();
        if !self.force && !is_there(&session.store, key)? {
            return Err(Failure::not_found(key));
        }
        let is_entry = !key.ends_with('/') && is_entry(&session.store, key)?;
        if !self.recursive && !is_entry && is_there(&session.store, key)? {
            return Err(is_a_folder(key));
        }
        let mut line = |key: &str| {
            lines.line(&match session.manner.json {
                true => json!({"key": key}).to_string(),
                false => show::name(key).into_owned(),
            })
        };
        let name = bare(key);
        if is_entry {
            line(name)?;
        }
        if self.recursive {
            for item in session
                .store
                .list_with(key, ListOptions::new().recursive())?
            {
                interrupt::check()?;
                line(&format!("{name}/{}", item?.cursor()))?;
            }
        }
        lines.finish()
    }
}

/// Whether there is something of the name, which of the folder alone has a `/` at its end.
fn is_there(store: &Store, key: &str) -> komatik::Result<bool> {
    match key.ends_with('/') {
        true => store.is_folder(key),
        false => store.exists(key),
    }
}

fn is_a_folder(key: &str) -> Failure {
    Failure::not_found(key).advise("it is a folder; -r deletes all of it")
}
