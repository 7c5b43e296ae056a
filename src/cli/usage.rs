//! How much lies where.

use komatik::{ListItem, ListOptions};
use serde_json::json;

use super::failure::Outcome;
use super::listing::require_folder;
use super::naming::bare;
use super::output::{BLUE, painted};
use super::passing::Passed;
use super::session::Session;
use super::{interrupt, show};

/// Tell how much a folder holds, and each folder in it
#[derive(clap::Args)]
pub(crate) struct Du {
    /// The folder [default: the root]
    #[arg(default_value = "", hide_default_value = true)]
    folder: String,
}

/// How much something holds.
#[derive(Default, Clone, Copy)]
struct Usage {
    entries: u64,
    bytes: u64,
    /// Entries whose size is not told, being locked.
    locked: u64,
}

impl Usage {
    fn add(&mut self, item: &ListItem) {
        match &item.metadata {
            Some(metadata) => self.bytes += metadata.size,
            None => self.locked += u64::from(!item.is_folder),
        }
        self.entries += u64::from(!item.is_folder);
    }

    fn tell(self, session: &Session, name: &str, is_total: bool) -> Outcome<()> {
        session.manner.answer(
            || {
                json!({
                    "folder": name,
                    "total": is_total,
                    "entries": self.entries,
                    "bytes": self.bytes,
                    "locked": self.locked,
                })
            },
            || {
                let name = if is_total && name.is_empty() {
                    "(all)"
                } else {
                    name
                };
                let locked = match self.locked {
                    0 => String::new(),
                    locked => format!(" and {locked} locked"),
                };
                let entries = show::number_of(self.entries, "entry", "entries");
                let name = painted(&show::name(name), BLUE);
                format!(
                    "{:>12}  {entries:>16}  {name}{locked}",
                    show::bytes(self.bytes)
                )
            },
        )
    }
}

impl Du {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        let options = ListOptions::new().recursive();
        let mut total = Usage::default();
        let mut passed = Passed::default();
        // Sorted, so that what lies in one folder comes together.
        let mut present: Option<(String, Usage)> = None;
        for item in session.store.list_with(&self.folder, options)? {
            interrupt::check()?;
            let Some(item) = passed.over(item)? else {
                continue;
            };
            total.add(&item);
            let cursor = item.cursor();
            let folder = cursor.split_once('/').map(|(folder, _)| folder);
            if present.as_ref().map(|(name, _)| name.as_str()) != folder
                && let Some((name, usage)) = present.take()
            {
                usage.tell(session, &name, false)?;
            }
            if let Some(folder) = folder {
                let new = || (folder.to_owned(), Usage::default());
                present.get_or_insert_with(new).1.add(&item);
            }
        }
        if let Some((name, usage)) = present {
            usage.tell(session, &name, false)?;
        }
        require_folder(session, &self.folder)?;
        let name = bare(&self.folder);
        total.tell(session, name, true)?;
        passed.check()
    }
}
