//! What every command is given: the store, in whose name, with which passwords, and how to answer.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use komatik::{Error, Store};

use super::failure::{Failure, Outcome};
use super::output::Manner;
use super::target::StoreDirectory;
use super::{interrupt, password, show};

/// How often a store in use is tried.
pub(crate) const TRY: Duration = Duration::from_millis(20);
/// How often a person may mistype a password.
const ASKED: usize = 3;

/// Settings every command takes.
#[derive(clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Globals {
    /// Directory of the store [without: the variable KOMATIK_STORE]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "KOMATIK_STORE",
        hide_env = true
    )]
    store: Option<PathBuf>,
    /// Act under this name, which changes tell
    #[arg(long = "as", global = true, value_name = "NAME")]
    participant: Option<String>,
    /// Offer the passwords in this file, one a line [without: the variable KOMATIK_PASSWORD, or a prompt]
    #[arg(long, global = true, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Wait so long for a store that is in use
    #[arg(long, global = true, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Answer in JSON: an object a line
    #[arg(long, global = true)]
    json: bool,
    /// No notes and no progress
    #[arg(long, short, global = true)]
    quiet: bool,
}

impl Globals {
    pub(crate) fn manner(&self) -> Manner {
        Manner {
            json: self.json,
            quiet: self.quiet,
        }
    }

    pub(crate) fn directory(&self) -> Outcome<&Path> {
        self.store
            .as_deref()
            .ok_or_else(|| Failure::usage("which store? Give --store DIR, or set KOMATIK_STORE"))
    }

    /// Does `work` with the store, which must be there, and closes it.
    pub(crate) fn with_store(&self, work: impl FnOnce(&mut Session) -> Outcome<()>) -> Outcome<()> {
        self.open()?.finish(work)
    }

    /// Does `work` with the store, which is made where there is none, and closes it.
    pub(crate) fn with_new_store(
        &self,
        work: impl FnOnce(&mut Session) -> Outcome<()>,
    ) -> Outcome<()> {
        let session = match self.try_open(false, self.wait)? {
            Some(session) => session,
            None => {
                let session = self.try_open(true, self.wait)?;
                let directory = self.directory()?.display();
                self.manner().note(&format!("made a store in {directory}"));
                session.ok_or_else(|| Failure::told("the store is gone again"))?
            }
        };
        session.finish(work)
    }

    /// Does `work`, which only tells what would be done, with the store; where there is none, with one that is nowhere.
    pub(crate) fn rehearse(&self, work: impl FnOnce(&mut Session) -> Outcome<()>) -> Outcome<()> {
        let session = match self.try_open(false, self.wait)? {
            Some(session) => session,
            None => self.session(Store::in_memory()?)?,
        };
        session.finish(work)
    }

    /// Opens the store, which must be there.
    pub(crate) fn open(&self) -> Outcome<Session> {
        self.open_within(self.wait)
    }

    /// As [`open`](Self::open), where it is free now.
    pub(crate) fn open_at_once(&self) -> Outcome<Session> {
        self.open_within(Duration::ZERO)
    }

    fn open_within(&self, wait: Duration) -> Outcome<Session> {
        let path = self.directory()?.to_owned();
        let session = self.try_open(false, wait)?;
        session.ok_or_else(|| Error::NoStore { path }.into())
    }

    /// How long a store that is in use is waited for.
    pub(crate) fn wait(&self) -> Duration {
        self.wait
    }

    /// Opens the store, once it is free; `None` where there is none.
    fn try_open(&self, create: bool, wait: Duration) -> Outcome<Option<Session>> {
        let directory = self.directory()?;
        let deadline = Instant::now().checked_add(wait);
        let store = loop {
            match Store::builder(directory).create(create).open() {
                Ok(store) => break store,
                Err(Error::NoStore { .. }) if !create => return Ok(None),
                Err(Error::InUse { .. })
                    if deadline.is_none_or(|deadline| Instant::now() < deadline) =>
                {
                    interrupt::sleep(TRY)?;
                }
                Err(error) => return Err(error.into()),
            }
        };
        self.session(store).map(Some)
    }

    fn session(&self, mut store: Store) -> Outcome<Session> {
        if let Some(participant) = &self.participant {
            store = store.acting_as(participant);
        }
        for password in password::offered(self.password_file.as_deref())? {
            store = store.unlocked_with(&password);
        }
        Ok(Session {
            store,
            directory: StoreDirectory::at(self.directory()?),
            manner: self.manner(),
        })
    }
}

/// An open store, and how to answer.
pub(crate) struct Session {
    pub(crate) store: Store,
    pub(crate) directory: StoreDirectory,
    pub(crate) manner: Manner,
}

impl Session {
    /// Does `work` and closes the store. Where both fail, the first failure is told.
    pub(crate) fn finish(mut self, work: impl FnOnce(&mut Session) -> Outcome<()>) -> Outcome<()> {
        let worked = work(&mut self);
        let closed = self.store.close();
        worked?;
        Ok(closed?)
    }

    /// Makes a call that may meet a lock. Where it does and a person is there, asks for the password and calls again.
    pub(crate) fn unlocked<T>(
        &mut self,
        mut call: impl FnMut(&Store) -> komatik::Result<T>,
    ) -> Outcome<T> {
        let mut asked = 0;
        loop {
            let prompt = match call(&self.store) {
                Err(Error::Locked { key, needs }) if asked < ASKED && password::can_ask() => {
                    format!("The {needs} password of {}: ", show::safe(&key))
                }
                Err(Error::WrongPassword { key, needs }) if (1..ASKED).contains(&asked) => {
                    format!(
                        "It does not open it. The {needs} password of {}: ",
                        show::safe(&key)
                    )
                }
                other => return Ok(other?),
            };
            asked += 1;
            self.store = self.store.unlocked_with(&password::ask(&prompt)?);
        }
    }
}
