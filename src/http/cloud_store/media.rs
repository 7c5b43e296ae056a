//! Media of CloudStore: brought in a form, and opened by whoever has the path.
//!
//! The path has a folder that nobody can guess, one for each file: who has the path of one learns nothing of another. Which
//! file is in it the service keeps as `media/<folder>`, and the folder of a file as `media-of/<account>/<file>`.

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::accounts::{Account, Accounts};
use super::super::asking::ask_to_write;
use super::super::auth::{MOST_PASSWORDS, Proof};
use super::super::blocking::{Held, cut_short};
use super::super::budget::Share;
use super::super::content::{Content, Disposition, send};
use super::super::form::{Form, Part, unplaced};
use super::super::passwords::{hash_of_secret, random_secret};
use super::super::problem::{self, Problem};
use super::super::readable::is_damage;
use super::super::scopes::CloudStore;
use super::super::strangers::PATIENCE;
use super::super::{Service, standing};
use super::answer::{Answer, Done, Failure};
use super::{Access, account_of, unlocked};
use crate::{Error, MAX_PASSWORD_BYTES, WriteOptions};

/// How many characters of a hash a folder has: 128 bits.
const FOLDER_CHARS: usize = 32;
/// Largest media. It may be here before it is known whose it is, so there has to be a limit.
const MAX_MEDIA_BYTES: usize = 1 << 30;
/// Longest text in a field of the form.
const MAX_FIELD_BYTES: usize = MAX_PASSWORD_BYTES;

/// What is in a folder.
#[derive(Serialize, Deserialize)]
struct Kept {
    account: String,
    file: String,
    /// The [`Account::id`].
    #[serde(default)]
    user_id: String,
}

impl Accounts {
    /// The folder of a file of an account, the same at each call.
    pub(in crate::http) fn media_folder(
        &self,
        account: &Account,
        file: &str,
    ) -> problem::Answer<String> {
        let mut fresh = hash_of_secret(&random_secret()?);
        fresh.truncate(FOLDER_CHARS);
        let kept = Kept {
            account: account.name.clone(),
            file: file.to_owned(),
            user_id: account.id.clone(),
        };
        Ok(self.store.transaction(|tx| {
            let known = format!("media-of/{}/{file}", account.name);
            if let Some(folder) = tx.load::<String>(&known)? {
                match tx.load::<Kept>(&format!("media/{folder}")) {
                    Ok(Some(kept)) if kept.user_id == account.id => return Ok(folder),
                    // Another account's, or it leads nowhere.
                    Ok(_) => {}
                    Err(error) if is_damage(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            tx.save(&known, &fresh)?;
            tx.save(&format!("media/{fresh}"), &kept)?;
            Ok(fresh)
        })?)
    }

    /// What is kept of the media of an account, which no later one of the name is to have.
    pub(in crate::http) fn media_of(&self, account: &str) -> problem::Answer<Vec<String>> {
        let (mut kept, mut is_damaged) = (Vec::new(), false);
        for found in self.each::<String>(&format!("media-of/{account}"))? {
            match found {
                Ok((file, folder)) => {
                    kept.push(format!("media-of/{account}/{file}"));
                    kept.push(format!("media/{folder}"));
                }
                Err(error) if is_damage(&error) => is_damaged = true,
                Err(error) => return Err(error.into()),
            }
        }
        if is_damaged {
            // Which these were is told by the folders alone.
            for found in self.readable::<Kept>("media")? {
                let (
                    folder,
                    Kept {
                        account: of, file, ..
                    },
                ) = found?;
                if of == account {
                    kept.push(format!("media-of/{account}/{file}"));
                    kept.push(format!("media/{folder}"));
                }
            }
        }
        Ok(kept)
    }

    /// Whose file of this name is in the folder, `None` where there is none.
    pub(in crate::http) fn account_of_media(
        &self,
        folder: &str,
        file: &str,
    ) -> problem::Answer<Option<Account>> {
        let is_folder =
            folder.len() == FOLDER_CHARS && folder.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_folder {
            return Ok(None);
        }
        let kept = self.store.load::<Kept>(&format!("media/{folder}"))?;
        let Some(kept) = kept.filter(|kept| kept.file == file) else {
            return Ok(None);
        };
        let user = self.user(&kept.account)?;
        let user = user.filter(|user| user.id == kept.user_id);
        Ok(user.map(|user| Account::of(&kept.account, &user)))
    }
}

/// A file that came in.
struct Came {
    writer: Held,
    name: String,
    content_type: String,
}

/// The fields of a form, in whatever order they come: of one client the file is first.
#[derive(Default)]
struct Fields {
    /// One that is known.
    key: Option<String>,
    passwords: Vec<String>,
    file: Option<Came>,
    /// What a file takes that came before the key.
    share: Option<Share>,
}

impl Fields {
    /// Takes the next part of the form; false where there is none.
    async fn take(&mut self, service: &Service, form: &mut Form) -> Result<bool, Failure> {
        let Some(part) = form.next().await? else {
            return Ok(false);
        };
        match part.name() {
            "key" => {
                if let Some(key) = text(part).await? {
                    check_key(service, key.clone()).await?;
                    self.key = Some(key);
                    self.share = None;
                }
            }
            "password" | "mediaPass" => {
                self.passwords.extend(text(part).await?);
                if self.passwords.len() > MOST_PASSWORDS {
                    return Err(Failure::bad_request("more than 8 passwords are offered"));
                }
            }
            "file" if self.file.is_none() => {
                if self.key.is_none() {
                    self.share = Some(service.strangers().media.share());
                }
                self.file = Some(receive(service, part, self.share.as_mut()).await?);
            }
            _ => part.skip().await?,
        }
        Ok(true)
    }

    /// Makes the file one of the account, as far as its key and the passwords go now. Synchronous, as the store is.
    fn commit(self, service: &Service) -> Result<Value, Failure> {
        let key = self.key.ok_or_else(Failure::bad_key)?;
        let account = account_of(service, &key, Access::Write)?;
        let Came {
            writer,
            name,
            content_type,
        } = self
            .file
            .ok_or_else(|| Failure::bad_request("the form has no field `file`"))?;
        let store = service.cloud_store_of(&account, CloudStore::Media)?;
        let store = standing::guarded(service, &store, Proof::ApiKey(key), &account);
        let passwords = self.passwords.iter();
        let store = passwords.fold(store, |store, password| unlocked(store, password));
        ask_to_write(&store, &name)?;
        let folder = service.accounts().media_folder(&account, &name)?;
        let mut writer = writer.release()?;
        writer.prepare()?;
        let size = writer.size();
        store.transaction(|tx| tx.commit_blob_as(&name, writer))?;
        Ok(json!({
            "id": format!("{folder}/{name}"),
            "name": name,
            "folder": folder,
            "mimetype": content_type,
            "size": size,
        }))
    }
}

/// Fails where it is nobody's key, or of one who may only read.
async fn check_key(service: &Service, key: String) -> Result<(), Failure> {
    let known = service.clone();
    let look = move || Ok::<_, Problem>(account_of(&known, &key, Access::Write));
    service.calls().run(look).await?.map(drop)
}

pub(super) async fn upload(State(service): State<Service>, request: Request) -> Answer {
    let mut form = Form::of(request, &service).await?;
    let mut fields = Fields::default();
    let too_late = Instant::now() + PATIENCE;
    loop {
        let is_known = fields.key.is_some();
        let taken = fields.take(&service, &mut form);
        let is_more = match is_known {
            true => taken.await?,
            false => match tokio::time::timeout_at(too_late, taken).await {
                Ok(is_more) => is_more?,
                Err(late) => return Err(cut_short(&late).into()),
            },
        };
        if !is_more {
            break;
        }
    }
    let known = service.clone();
    let commit = move || Ok::<_, Problem>(fields.commit(&known));
    let data = service.calls().run(commit).await??;
    Ok(Done::with("File Uploaded", &data))
}

/// The text of a field, `None` where the client had nothing to put into it.
async fn text(part: Part<'_>) -> problem::Answer<Option<String>> {
    let text = part.text(MAX_FIELD_BYTES).await?;
    Ok(Some(text).filter(|text| !matches!(text.as_str(), "" | "undefined" | "null")))
}

/// Writes the file where nobody sees it, until it is known whose it is. It takes no more than it may, and what `share`
/// has room for.
async fn receive(
    service: &Service,
    part: Part<'_>,
    mut share: Option<&mut Share>,
) -> Result<Came, Failure> {
    let name = part
        .file_name()
        .ok_or_else(|| Failure::bad_request("the field `file` has no name of a file"))?;
    let content_type = match part.content_type() {
        Some(given) => given.to_owned(),
        None => mime_guess::from_path(&name)
            .first_or_octet_stream()
            .to_string(),
    };
    let mut cover = |bytes| share.as_mut().is_none_or(|share| share.cover(bytes));
    if !cover(1) {
        return Err(Failure::busy());
    }
    let options = WriteOptions::new().content_type(content_type.as_str());
    let (store, named) = (service.store().clone(), name.clone());
    let open = move || unplaced(&store, &named, options);
    let writer = service.calls().run(open).await?;
    let (mut size, mut has_room) = (0_usize, true);
    let within = part.content().map(|piece| {
        let bytes = piece.map_err(|error| error.body_text())?;
        size = size.saturating_add(bytes.len());
        has_room = size <= MAX_MEDIA_BYTES && cover(size);
        match has_room {
            true => Ok(bytes),
            false => Err("there is no room for the file".to_owned()),
        }
    });
    let written = service.calls().write(writer, within).await;
    match (has_room, size <= MAX_MEDIA_BYTES) {
        (true, _) => Ok(Came {
            writer: Held::new(written?),
            name,
            content_type,
        }),
        (false, true) => Err(Failure::busy()),
        (false, false) => {
            let limit = u64::try_from(MAX_MEDIA_BYTES).unwrap_or(u64::MAX);
            Err(Failure::from(Error::TooLarge {
                what: "bytes of the file",
                limit,
                found: limit.saturating_add(1),
            }))
        }
    }
}

/// Opens a file for whoever has its path: a browser, say.
pub(super) async fn open(
    State(service): State<Service>,
    Path((folder, name)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> problem::Answer<Response> {
    let (accounts, found) = (service.accounts().clone(), service.clone());
    let open = move || {
        let missing = || Problem::not_found(&name);
        let account = accounts.account_of_media(&folder, &name)?;
        let account = account.ok_or_else(missing)?;
        let store = found.cloud_store_of(&account, CloudStore::Media)?;
        let reader = store.reader(&name)?.ok_or_else(missing)?;
        Ok::<_, Problem>(Content::of(reader)?)
    };
    let content = service.calls().run(open).await?;
    send(
        service.calls(),
        content,
        &method,
        &headers,
        Disposition::Inline,
    )
}
