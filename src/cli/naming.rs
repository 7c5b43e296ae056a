//! Entries and folders get other names, are copied and made.

use komatik::{ListOptions, Store};
use serde_json::json;

use super::condition::Condition;
use super::exit::Exit;
use super::failure::{Failure, Outcome};
use super::session::Session;
use super::{reserved, show};

/// Give an entry or a folder another name, without copying its content
#[derive(clap::Args)]
pub(crate) struct Mv {
    /// The entry, or else the folder of this name; / at the end means the folder
    from: String,
    /// The new name; / at the end keeps the last segment of the old one
    to: String,
    #[command(flatten)]
    condition: Condition,
}

/// Copy an entry, or with -r a folder, without copying its content
///
/// With -r an entry of the folder's name is copied along, unless a / is at the end of the name.
/// A folder that was made and has something in it is in the copy only as long as something lies in it there. A copy within the
/// folder itself holds nothing of what lies at its own place. Of the root, the accounts of the service are not copied.
#[derive(clap::Args)]
pub(crate) struct Cp {
    /// The entry; with -r, also the folder of this name; / at the end means the folder
    from: String,
    /// The name of the copy; / at the end keeps the last segment
    to: String,
    /// Copy all of a folder, in one step
    #[arg(short, long)]
    recursive: bool,
    #[command(flatten)]
    condition: Condition,
}

/// Make a folder that stays when it is empty
#[derive(clap::Args)]
pub(crate) struct Mkdir {
    folder: String,
}

/// A key without the `/` that may stand at either end.
pub(crate) fn bare(key: &str) -> &str {
    let key = key.strip_prefix('/').unwrap_or(key);
    key.strip_suffix('/').unwrap_or(key)
}

/// What a key is called in its folder.
pub(crate) fn last_segment(key: &str) -> &str {
    let key = bare(key);
    key.rsplit_once('/').map_or(key, |(_, name)| name)
}

/// The name that is meant by `to`.
fn target(from: &str, to: &str) -> String {
    match to.ends_with('/') {
        true => format!("{to}{}", last_segment(from)),
        false => to.to_owned(),
    }
}

impl Mv {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        let to = target(&self.from, &self.to);
        let is_folder = self.from.ends_with('/') || !is_entry(&session.store, &self.from)?;
        if is_folder && self.condition.if_revision.is_some() {
            return Err(Failure::usage("a folder has no revision"));
        }
        let (moved, revision) = if is_folder {
            let moved = session.unlocked(|store| store.rename_folder(&self.from, &to));
            let moved = moved.map_err(|failure| match failure {
                Failure::Told(told) if told.exit == Exit::Conflict => {
                    let advice = "a folder does not replace another: move or delete that first";
                    Failure::Told(told).advise(advice)
                }
                failure => failure,
            })?;
            (moved, None)
        } else {
            let mode = self.condition.mode();
            let revision = session.unlocked(|store| store.rename(&self.from, &to, mode))?;
            (1, Some(revision))
        };
        session.manner.done(
            || json!({"from": self.from, "key": to, "entries": moved, "revision": revision}),
            || {
                let what = show::number_of(moved, "entry", "entries");
                format!("moved {} to {to}, {what}", self.from)
            },
        )
    }
}

/// Whether there is an entry of this name, also where its lock hides all else.
pub(crate) fn is_entry(store: &Store, key: &str) -> Outcome<bool> {
    match store.metadata(key) {
        Ok(metadata) => Ok(metadata.is_some()),
        Err(komatik::Error::Locked { .. } | komatik::Error::WrongPassword { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Whether what names a folder, without a `/` at its end, names an entry too.
pub(crate) fn has_entry(store: &Store, folder: &str) -> Outcome<bool> {
    Ok(!folder.is_empty() && !folder.ends_with('/') && is_entry(store, folder)?)
}

impl Cp {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        let to = target(&self.from, &self.to);
        let is_folder = self.from.ends_with('/') || session.store.is_folder(&self.from)?;
        // As `cp` has it: of an entry there is no more than itself.
        if self.recursive && (is_folder || !is_entry(&session.store, &self.from)?) {
            let has_entry = has_entry(&session.store, &self.from)?;
            let copied = session.unlocked(|store| self.copy_folder(store, &to, has_entry))?;
            let Some(copied) = copied else {
                return Err(Failure::not_found(&self.from));
            };
            return session.manner.done(
                || json!({"from": self.from, "key": to, "entries": copied}),
                || {
                    let what = show::number_of(copied, "entry", "entries");
                    format!("copied {} to {to}, {what}", self.from)
                },
            );
        }
        let mode = self.condition.mode();
        let copied = session.unlocked(|store| store.copy(&self.from, &to, mode));
        let copied = copied.map_err(|failure| {
            match is_entry(&session.store, &self.from).is_ok_and(|is_entry| !is_entry)
                && session.store.exists(&self.from).unwrap_or(false)
            {
                true => failure.advise("it is a folder; -r copies all of it"),
                false => failure,
            }
        })?;
        session.manner.done(
            || json!(copied),
            || format!("copied {} to {to}, revision {}", self.from, copied.revision),
        )
    }

    /// Copies all of a folder, and the entry of its name, in one commit; how many entries, `None` where there is no such folder.
    fn copy_folder(
        &self,
        store: &Store,
        to: &str,
        has_entry: bool,
    ) -> komatik::Result<Option<u64>> {
        // Names are those from there on, and the accounts of the service stay where nobody else reads them.
        let mut items: Vec<_> = reserved::view(store, &self.from)?
            .list_with("", ListOptions::new().recursive())?
            .collect::<komatik::Result<_>>()?;
        if items.is_empty() && !store.is_folder(&self.from)? {
            return Ok(None);
        }
        let (from, to) = (bare(&self.from), bare(to));
        if let Some(target) = below(from, to) {
            items.retain(|item| {
                let is_target = item.is_folder && item.name == target;
                !is_target && below(target, &item.name).is_none()
            });
        }
        if let Some(source) = below(to, from) {
            // A copy may lie where another is made of what was there, which comes before it then.
            items.sort_by_key(|item| {
                std::iter::successors(Some(&item.name[..]), |name| below(source, name)).count()
            });
        }
        let within = |folder: &str, name: &str| match folder.is_empty() {
            true => name.to_owned(),
            false => format!("{folder}/{name}"),
        };
        // For the same reason: first where something of the folder comes to its place, last where it comes to that of something.
        let is_first = below(to, from).is_some();
        store.transaction(|transaction| {
            if has_entry && is_first {
                transaction.copy(from, to, self.condition.mode())?;
            }
            if items.is_empty() {
                transaction.create_folder(to)?;
            }
            let mut copied = u64::from(has_entry);
            for item in &items {
                let target = within(to, &item.name);
                if item.is_folder {
                    transaction.create_folder(&target)?;
                    continue;
                }
                transaction.copy(&within(from, &item.name), &target, self.condition.mode())?;
                copied += 1;
            }
            if has_entry && !is_first {
                transaction.copy(from, to, self.condition.mode())?;
            }
            Ok(Some(copied))
        })
    }
}

/// The name in a folder of what lies somewhere below it.
fn below<'n>(folder: &str, name: &'n str) -> Option<&'n str> {
    match folder.is_empty() {
        true => Some(name).filter(|name| !name.is_empty()),
        false => name.strip_prefix(folder)?.strip_prefix('/'),
    }
}

impl Mkdir {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        session.store.create_folder(&self.folder)?;
        let folder = bare(&self.folder);
        session.manner.done(
            || json!({"key": folder, "kind": "folder"}),
            || format!("made the folder {folder}"),
        )
    }
}
