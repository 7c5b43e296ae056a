//! What a participant does with paths: from the input of a request to what is answered. Synchronous, as the store is.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::access::{Access, Action, plain};
use super::message::{Code, Fault, Header};
use crate::http::content::size_of;
use crate::http::problem::Problem;
use crate::http::shared;
use crate::{
    BlobReader, BlobWriter, Error, Grant, ListItem, Metadata, PutMode, Store, WriteOptions,
};

/// How many items of a folder are listed; the protocol has no pages.
const MOST_ITEMS: usize = 100_000;
/// How long the address of a download works.
const URL_LASTS: Duration = Duration::from_secs(24 * 60 * 60);

type Done<T = Value> = Result<T, Fault>;

/// A room as one participant sees it.
#[derive(Debug, Clone)]
pub(super) struct Room {
    pub(super) store: Store,
    pub(super) access: Access,
    /// Where the service is, as the participant came to it: `http://host`.
    pub(super) base: String,
    /// The folder of the store that the room is.
    pub(super) root: String,
    /// Whether the client takes only items that have times, which folders have not.
    pub(super) wants_times: bool,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        let code = match &error {
            Error::NotFound { .. } => Code::NotFound,
            Error::AlreadyExists { .. } => Code::AlreadyExists,
            Error::InvalidKey { .. } => Code::InvalidPath,
            Error::Locked { .. } | Error::WrongPassword { .. } | Error::TooManyTries { .. } => {
                Code::PermissionDenied
            }
            Error::InvalidArgument { .. } | Error::WrongKind { .. } => Code::InvalidRequest,
            _ => Code::OperationFailed,
        };
        Fault::new(code, Problem::from(error).detail())
    }
}

fn path_of(input: &Header, member: &str) -> Done<String> {
    let path = input.get(member).and_then(Value::as_str);
    let path = path.ok_or_else(|| Fault::invalid(format!("`{member}` is no string")))?;
    let path = plain(path);
    crate::Folder::parse(path)?;
    Ok(path.to_owned())
}

fn flag(input: &Header, member: &str) -> bool {
    input.get(member).and_then(Value::as_bool).unwrap_or(false)
}

fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

impl Room {
    /// Does what is asked of a path. `None` where there is no such operation.
    pub(super) fn operate(&self, operation: &str, input: &Header) -> Option<Done> {
        Some(match operation {
            "exists" => self.exists(input),
            "stat" => self.stat(input),
            "list" => self.list(input),
            "delete" => self.delete(input),
            "move" => self.relocate(input),
            "download_url" => self.download_url(input),
            _ => return None,
        })
    }

    fn allow(&self, action: Action, path: &str, subtree: bool) -> Done<()> {
        match self.access.allows(action, path, subtree) {
            true => Ok(()),
            false => Err(denied(path)),
        }
    }

    fn path_shown(&self, input: &Header) -> Done<String> {
        let path = path_of(input, "path")?;
        match self.access.shows(&path) {
            true => Ok(path),
            false => Err(denied(&path)),
        }
    }

    fn exists(&self, input: &Header) -> Done {
        let path = self.path_shown(input)?;
        let exists = match path.is_empty() || !self.access.shows_file(&path) {
            true => self.store.is_folder(&path)?,
            false => self.store.exists(&path)?,
        };
        Ok(json!({"exists": exists}))
    }

    fn stat(&self, input: &Header) -> Done {
        let path = self.path_shown(input)?;
        // Of a folder that only leads to what may be seen, an entry of its name is not told.
        let known = match path.is_empty() || !self.access.shows_file(&path) {
            true => None,
            false => self.store.metadata(&path)?,
        };
        if known.is_none() && !self.store.is_folder(&path)? {
            return Ok(json!({"exists": false}));
        }
        let mut stat = self.show(&path, known.is_none(), known.as_ref())?;
        stat["exists"] = true.into();
        Ok(stat)
    }

    fn list(&self, input: &Header) -> Done {
        let path = path_of(input, "path")?;
        self.allow(Action::List, &path, false)?;
        let mut files = Vec::new();
        for item in self.store.list(&path)? {
            let ListItem {
                name,
                is_folder,
                metadata,
                ..
            } = item?;
            let at = match path.as_str() {
                "" => name.clone(),
                folder => format!("{folder}/{name}"),
            };
            if !self.access.lists(&path, &at, is_folder) {
                continue;
            }
            files.push(self.show(&at, is_folder, metadata.as_ref())?);
            if files.len() > MOST_ITEMS {
                let reason = "the folder has more than 100,000 items";
                return Err(Fault::new(Code::OperationFailed, reason));
            }
        }
        Ok(json!({"files": files}))
    }

    fn show(&self, path: &str, is_folder: bool, known: Option<&Metadata>) -> Done {
        let size = known.map(|known| size_of(&self.store, path, known));
        let time = |time: fn(&Metadata) -> SystemTime| match known {
            Some(known) => Some(show_time(time(known))),
            None => self.wants_times.then(|| show_time(SystemTime::UNIX_EPOCH)),
        };
        Ok(json!({
            "name": name_of(path),
            "is_folder": is_folder,
            "size": size.transpose()?,
            "created_at": time(|known| known.created),
            "updated_at": time(|known| known.updated),
        }))
    }

    /// What is not there is deleted as well.
    fn delete(&self, input: &Header) -> Done {
        let path = path_of(input, "path")?;
        let recursive = flag(input, "recursive");
        self.allow(Action::Delete, &path, recursive)?;
        // The transaction finds out as well, but by deleting all of it.
        let has_items = !recursive && self.store.list(&path)?.next().is_some();
        let mut is_held = false;
        let deleted = self.store.transaction(|tx| {
            let is_entry = tx.delete(&path)?;
            if is_entry && !recursive {
                return Ok(());
            }
            is_held = has_items || (tx.delete_folder(&path)? > 0 && !recursive);
            match is_held {
                true => Err(Error::Cancelled),
                false => Ok(()),
            }
        });
        if is_held {
            let reason = format!("the folder `{path}` is not empty, and `recursive` is not set");
            return Err(Fault::new(Code::RecursiveRequired, reason));
        }
        deleted?;
        Ok(json!({}))
    }

    fn relocate(&self, input: &Header) -> Done {
        let from = path_of(input, "source_path")?;
        let to = path_of(input, "destination_path")?;
        let mode = match flag(input, "overwrite") {
            true => PutMode::Overwrite,
            false => PutMode::Create,
        };
        for action in [Action::Read, Action::Delete] {
            self.allow(action, &from, false)?;
        }
        self.allow(Action::Write, &to, false)?;
        self.check_place_of_file(&to)?;
        match self.store.rename(&from, &to, mode) {
            Err(Error::NotFound { .. }) if self.store.exists(&from)? => {
                for action in [Action::Read, Action::Delete] {
                    self.allow(action, &from, true)?;
                }
                self.allow(Action::Write, &to, true)?;
                self.store.rename_folder(&from, &to)?;
            }
            moved => drop(moved?),
        }
        Ok(json!({}))
    }

    /// An address that a browser opens, with a token of the store in it.
    fn download_url(&self, input: &Header) -> Done {
        let path = path_of(input, "path")?;
        self.allow(Action::Presign, &path, false)?;
        if self.store.metadata(&path)?.is_none() {
            return Err(missing(&path));
        }
        let token = self
            .store
            .grant(&path, Grant::new().expires_in(URL_LASTS))?;
        let address = shared::path_of(&token, &self.root, &path, false);
        let query = match flag(input, "download") {
            true => "?disposition=attachment",
            false => "",
        };
        Ok(json!({"url": format!("{}{address}{query}", self.base)}))
    }

    /// The content of a file.
    pub(super) fn download(&self, input: &Header) -> Done<BlobReader> {
        let path = path_of(input, "path")?;
        self.allow(Action::Read, &path, false)?;
        self.store.reader(&path)?.ok_or_else(|| missing(&path))
    }

    /// A writer of a file. Nothing is seen of it before its commit.
    pub(super) fn upload(&self, input: &Header, options: WriteOptions) -> Done<BlobWriter> {
        let path = path_of(input, "path")?;
        self.allow(Action::Write, &path, false)?;
        self.check_place_of_file(&path)?;
        Ok(self.store.writer(&path, options)?)
    }

    /// Fails where there is a folder of this name, or a file of the name of a folder above: the store has both, and no client
    /// could tell them apart.
    fn check_place_of_file(&self, path: &str) -> Done<()> {
        // The root is no path of a file, and that is told as such.
        if !path.is_empty() && self.access.shows(path) && self.store.is_folder(path)? {
            let reason = format!("`{path}` is a folder");
            return Err(Fault::new(Code::AlreadyExists, reason));
        }
        for (end, _) in path.match_indices('/') {
            let above = &path[..end];
            let is_told = self.access.shows_file(above);
            if is_told && self.store.metadata(above)?.is_some() {
                let reason = format!("`{above}` is a file");
                return Err(Fault::new(Code::AlreadyExists, reason));
            }
        }
        Ok(())
    }
}

fn denied(path: &str) -> Fault {
    let reason = format!("the token does not allow this for `{path}`");
    Fault::new(Code::PermissionDenied, reason)
}

fn missing(path: &str) -> Fault {
    Fault::new(Code::NotFound, format!("`{path}` is no file"))
}

/// The name and type that a download is told with.
pub(super) fn name_and_type(file: &Metadata) -> (&str, &str) {
    (name_of(&file.key), &file.content_type)
}

/// As Python reads it before 3.11 as well: with an offset, not with a `Z`.
fn show_time(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_micros(time).to_string();
    format!("{}+00:00", text.trim_end_matches('Z'))
}
