//! What a participant does with paths: from the input of a request to what is answered. Synchronous, as the store is.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::access::{Access, Action, plain};
use super::message::{Code, Fault, Header};
use crate::http::content::{size_of, size_when_listed};
use crate::http::problem::Problem;
use crate::http::shared;
use crate::{
    BlobReader, BlobWriter, Error, Grant, ListItem, Metadata, PutMode, Store, Transaction,
    WriteOptions,
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
        let size = known.as_ref();
        let size = size.map(|known| size_of(&self.store, &path, known));
        let known = known.as_ref().zip(size.transpose()?);
        let mut stat = self.show(&path, known.is_none(), known);
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
            let size = size_when_listed(&self.store, metadata.as_ref())?;
            files.push(self.show(&at, is_folder, metadata.as_ref().zip(size)));
            if files.len() > MOST_ITEMS {
                let reason = "the folder has more than 100,000 items";
                return Err(Fault::new(Code::OperationFailed, reason));
            }
        }
        Ok(json!({"files": files}))
    }

    /// What is told of a path, with what is known of the file and its size.
    fn show(&self, path: &str, is_folder: bool, known: Option<(&Metadata, u64)>) -> Value {
        let time = |time: fn(&Metadata) -> SystemTime| match known {
            Some((known, _)) => Some(show_time(time(known))),
            None => self.wants_times.then(|| show_time(SystemTime::UNIX_EPOCH)),
        };
        json!({
            "name": name_of(path),
            "is_folder": is_folder,
            "size": known.map(|(_, size)| size),
            "created_at": time(|known| known.created),
            "updated_at": time(|known| known.updated),
        })
    }

    /// What is not there is deleted as well.
    fn delete(&self, input: &Header) -> Done {
        let path = path_of(input, "path")?;
        let recursive = flag(input, "recursive");
        self.allow(Action::Delete, &path, recursive)?;
        let is_held = self.store.transaction(|tx| {
            if tx.delete(&path)? && !recursive {
                return Ok(false);
            }
            // The store shows the folder as it was before, and nobody else writes to it now.
            if !recursive && self.store.list(&path)?.next().is_some() {
                return Ok(true);
            }
            tx.delete_folder(&path).map(|_| false)
        })?;
        if is_held {
            let reason = format!("the folder `{path}` is not empty, and `recursive` is not set");
            return Err(Fault::new(Code::RecursiveRequired, reason));
        }
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
        self.store
            .transaction(|tx| self.relocate_in(tx, &from, &to, mode))??;
        Ok(json!({}))
    }

    /// Nothing has been written where it is refused.
    fn relocate_in(
        &self,
        tx: &mut Transaction<'_>,
        from: &str,
        to: &str,
        mode: PutMode,
    ) -> crate::Result<Done<()>> {
        if let Err(refused) = self.check_place(tx, to)? {
            return Ok(Err(refused));
        }
        match tx.rename(from, to, mode) {
            Err(Error::NotFound { .. }) if tx.is_folder(from)? => {}
            moved => return moved.map(Ok),
        }
        let is_allowed = [Action::Read, Action::Delete]
            .into_iter()
            .try_for_each(|action| self.allow(action, from, true))
            .and_then(|()| self.allow(Action::Write, to, true));
        if let Err(denied) = is_allowed {
            return Ok(Err(denied));
        }
        // The store would have a folder beside a file of its name.
        if tx.exists(to)? {
            return Ok(Err(taken(to, "there already")));
        }
        tx.rename_folder(from, to).map(|_| Ok(()))
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

    /// The path of a file, and a writer of it. Nothing is seen of it before [`Room::commit`].
    pub(super) fn upload(
        &self,
        input: &Header,
        options: WriteOptions,
    ) -> Done<(String, BlobWriter)> {
        let path = path_of(input, "path")?;
        self.allow(Action::Write, &path, false)?;
        // Before the content comes: it may be large.
        self.store.transaction(|tx| self.check_place(tx, &path))??;
        let writer = self.store.writer(&path, options)?;
        Ok((path, writer))
    }

    /// Makes what was written the content of the file, unless its place was taken meanwhile.
    pub(super) fn commit(&self, path: &str, mut writer: BlobWriter) -> Done<()> {
        writer.prepare()?;
        self.store
            .transaction(|tx| match self.check_place(tx, path)? {
                Ok(()) => tx.commit_blob(writer).map(Ok),
                refused => Ok(refused),
            })?
    }

    /// Fails where there is a folder of this name, or a file of the name of a folder above: the store has both, and no client
    /// could tell them apart. To whom it is not shown it is denied, and not told why.
    fn check_place(&self, tx: &mut Transaction<'_>, path: &str) -> crate::Result<Done<()>> {
        // The root is no path of a file, and that is told as such.
        if !path.is_empty() && tx.is_folder(path)? {
            return Ok(Err(match self.access.shows(path) {
                true => taken(path, "a folder"),
                false => denied(path),
            }));
        }
        for (end, _) in path.match_indices('/') {
            let above = &path[..end];
            match (tx.metadata(above), self.access.shows_file(above)) {
                (Ok(None), _) => {}
                (Ok(Some(_)), true) => return Ok(Err(taken(above, "a file"))),
                (Err(error), true) => return Err(error),
                // Where the store has both already, a folder may go on that is all its users see.
                (_, false) if tx.is_folder(above)? => {}
                // Nor is it told why the file cannot be read.
                (_, false) => return Ok(Err(denied(path))),
            }
        }
        Ok(Ok(()))
    }
}

fn taken(path: &str, what: &str) -> Fault {
    Fault::new(Code::AlreadyExists, format!("`{path}` is {what}"))
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
