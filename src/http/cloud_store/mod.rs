//! `/cloudstore`: values and media of an account, as clients of DroidScript's CloudStore know them.
//!
//! The API key in the body says whose they are. Values are documents below `cloudstore/data/` of the account, media blobs
//! below `cloudstore/media/`; their passwords are locks of the store, put on by `/v1/locks`.

mod answer;
mod media;
mod merge;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, header};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::Value;

use super::accounts::{Account, Role};
use super::asking::ask_for_all;
use super::auth::Proof;
use super::blocking::cut_short;
use super::conditions::TRIES;
use super::cross_origin::{any_origin, preflight};
use super::key::{parse_json, whole_within};
use super::problem::{self, Problem};
use super::scopes::CloudStore;
use super::strangers::PATIENCE;
use super::{Service, standing};
use crate::{Error, ListOptions, PutMode, PutOptions, Store};
use answer::{Answer, Done, Failure};

pub(super) fn routes() -> Router<Service> {
    let methods = vec![Method::GET, Method::HEAD, Method::POST];
    Router::new()
        .route("/cloudstore/store/save", post(save).options(preflight))
        .route("/cloudstore/store/load", post(load).options(preflight))
        .route(
            "/cloudstore/upload-2",
            post(media::upload).options(preflight),
        )
        .route(
            "/cloudstore/files/{folder}/{name}",
            get(media::open).options(preflight),
        )
        // Media are streamed, and have a limit of their own.
        .layer(DefaultBodyLimit::disable())
        .layer(any_origin(methods, vec![header::CONTENT_TYPE]))
}

/// The option that asks for names.
const LIST: &str = "list";
/// How many names are told at once.
const MOST_NAMES: usize = 100_000;

/// What a client sends; members that say nothing new are passed over.
#[derive(Deserialize)]
struct Asked {
    /// Absent or null where all is to be listed.
    file: Option<String>,
    options: Option<String>,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    password: Value,
    #[serde(default, rename = "dataPass")]
    data_pass: Value,
}

/// Of what a client sends, what is read before it is known whose key it has.
#[derive(Deserialize)]
struct Offered {
    key: String,
}

impl Asked {
    /// What is asked, and the values of the account whose key it is asked with. Synchronous, as the store is.
    fn of(service: &Service, body: &[u8], access: Access) -> Result<(Asked, Store), Failure> {
        let wrong = |error| Failure::bad_request(format!("the body: {error}"));
        let Offered { key } = serde_json::from_slice(body).map_err(wrong)?;
        let account = account_of(service, &key, access)?;
        let asked: Asked = serde_json::from_value(parse_json(body)?).map_err(wrong)?;
        let store = service.cloud_store_of(&account, CloudStore::Data)?;
        let store = standing::guarded(service, &store, Proof::ApiKey(key), &account);
        // To tell names opens nothing: none is tried for that.
        let store = match asked.options.as_deref() {
            Some(LIST) => store,
            _ => asked.offer_passwords(store)?,
        };
        Ok((asked, store))
    }

    fn offer_passwords(&self, store: Store) -> Result<Store, Failure> {
        let passwords = [&self.password, &self.data_pass];
        passwords.into_iter().try_fold(store, |store, password| {
            Ok(match password {
                Value::Null => store,
                Value::String(password) => unlocked(store, password),
                Value::Number(password) => unlocked(store, &password.to_string()),
                _ => return Err(Failure::bad_request("a password is a text")),
            })
        })
    }

    fn file(self) -> Result<String, Failure> {
        let missing = || Failure::bad_request("the body: `file` is missing");
        self.file.ok_or_else(missing)
    }
}

/// Reads a request to its end. The key is somewhere in it, so it is a stranger's until then.
async fn take(
    service: &Service,
    request: Request,
    access: Access,
) -> Result<(Asked, Store), Failure> {
    let mut share = service.strangers().bodies.share();
    let body = whole_within(request, service.limits().json_bytes, &mut share);
    let body = match tokio::time::timeout(PATIENCE, body).await {
        Ok(body) => body?,
        Err(late) => return Err(cut_short(&late).into()),
    };
    let known = service.clone();
    let read = move || {
        let asked = Asked::of(&known, &body, access);
        drop((body, share));
        Ok::<_, Problem>(asked)
    };
    service.calls().run(read).await?
}

/// What a request is going to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// Whose API key this is.
fn account_of(service: &Service, key: &str, access: Access) -> Result<Account, Failure> {
    let account = service.accounts().account_of_key(key)?;
    let account = account.ok_or_else(Failure::bad_key)?;
    if account.role == Role::Reader && access == Access::Write {
        return Err(Failure::read_only());
    }
    Ok(account)
}

fn unlocked(store: Store, password: &str) -> Store {
    match password {
        "" => store,
        password => store.unlocked_with(password),
    }
}

async fn save(State(service): State<Service>, request: Request) -> Answer {
    let (mut asked, store) = take(&service, request, Access::Write).await?;
    let (options, value) = (asked.options.take(), asked.value.take());
    let file = asked.file()?;
    let write = move || -> problem::Answer<Result<&str, Failure>> {
        Ok(match options.as_deref() {
            None | Some("") => {
                store.save(&file, &value)?;
                Ok("Entry saved")
            }
            Some("merge") => merge_into(&store, &file, value)?.map(|()| "Entry saved"),
            Some("delete") => match store.delete(&file)? {
                true => Ok("Entry deleted"),
                false => Err(Failure::no_file()),
            },
            Some(_) => Err(Failure::bad_request("no such `options`")),
        })
    };
    let message = service.calls().run(write).await??;
    Ok(Done::said(message))
}

/// Of two merges at a time none is lost. As long as nobody else writes the value meanwhile, no other writer of the store waits
/// for it; else it is done in one step.
fn merge_into(store: &Store, file: &str, value: Value) -> problem::Answer<Result<(), Failure>> {
    for _ in 0..TRIES {
        let (mode, present) = match store.part_at(file, "")? {
            Some((metadata, present)) => (PutMode::Update(metadata.revision), present),
            None => (PutMode::Create, None),
        };
        let merged = match merged(store, present, value.clone()) {
            Ok(merged) => merged,
            Err(refused) => return Ok(Err(refused)),
        };
        match store.save_with(file, &merged, PutOptions::new().mode(mode)) {
            Err(Error::RevisionMismatch { .. } | Error::AlreadyExists { .. }) => {}
            saved => return Ok(saved.map(|_| Ok(()))?),
        }
    }
    ask_for_all(store, file)?;
    let saved = store.transaction(|tx| match merged(store, tx.load(file)?, value) {
        Ok(merged) => tx.save(file, &merged).map(Ok),
        Err(refused) => Ok(Err(refused)),
    });
    Ok(saved?)
}

fn merged(store: &Store, present: Option<Value>, value: Value) -> Result<Value, Failure> {
    let merged = match present {
        None => value,
        Some(mut present) => {
            merge::merge(&mut present, value).map_err(|merge::TooMany| {
                let refused = "the merged value would have too many elements that were not sent";
                Failure::bad_request(refused)
            })?;
            present
        }
    };
    store.check_values(&merged)?;
    Ok(merged)
}

async fn load(State(service): State<Service>, request: Request) -> Answer {
    let (asked, store) = take(&service, request, Access::Read).await?;
    let read = move || -> problem::Answer<Result<Done, Failure>> {
        Ok(match asked.options.as_deref() {
            None | Some("") => match asked.file() {
                Ok(file) => {
                    let value: Option<Value> = store.load(&file)?;
                    value
                        .as_ref()
                        .map(Done::loaded)
                        .ok_or_else(Failure::no_file)
                }
                Err(missing) => Err(missing),
            },
            Some(LIST) => {
                let names = names(&store, asked.file.unwrap_or_default())?;
                names.map(|names| Done::loaded(&names.into()))
            }
            Some(_) => Err(Failure::bad_request("no such `options`")),
        })
    };
    service.calls().run(read).await?
}

/// The names that contain the text, behind each other.
fn names(store: &Store, containing: String) -> crate::Result<Result<String, Failure>> {
    let options = ListOptions::new().recursive().contains(containing);
    let mut names = Vec::new();
    for item in store.list_with("", options)? {
        let item = item?;
        if item.is_folder {
            continue;
        }
        if names.len() == MOST_NAMES {
            let refused =
                format!("more than {MOST_NAMES} names: ask for those that contain a text");
            return Ok(Err(Failure::bad_request(refused)));
        }
        names.push(item.name);
    }
    Ok(Ok(names.join(",")))
}
