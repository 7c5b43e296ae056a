//! `/cloudstore`: values and media of an account, as clients of DroidScript's CloudStore know them.
//!
//! The API key in the body says whose they are. Values are documents below `cloudstore/data/` of the account, media blobs
//! below `cloudstore/media/`; their passwords are locks of the store, put on by `/v1/locks`.

mod answer;
mod media;
mod merge;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, header};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::Value;

use super::Service;
use super::accounts::{Account, Role};
use super::cross_origin::{any_origin, preflight};
use super::key::{WholeBody, parse_json};
use super::problem;
use super::scopes::CloudStore;
use crate::{ListOptions, Store, WriteOptions};
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

/// What a client sends; members that say nothing new are passed over.
#[derive(Deserialize)]
struct Asked {
    key: String,
    file: String,
    options: Option<String>,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    password: Value,
    #[serde(default, rename = "dataPass")]
    data_pass: Value,
}

impl Asked {
    fn of(body: problem::Answer<WholeBody>) -> Result<Asked, Failure> {
        let WholeBody(body) = body?;
        let value = parse_json(&body)?;
        serde_json::from_value(value)
            .map_err(|error| Failure::bad_request(format!("the body: {error}")))
    }

    /// The values of the account, with the passwords that are offered.
    async fn data(&self, service: &Service, access: Access) -> Result<Store, Failure> {
        let account = account(service, self.key.clone(), access).await?;
        let store = service.cloud_store_of(&account, CloudStore::Data)?;
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
}

/// What a request is going to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// Whose API key this is.
async fn account(service: &Service, key: String, access: Access) -> Result<Account, Failure> {
    let accounts = service.accounts().clone();
    let look = move || accounts.account_of_key(&key);
    let account = service.calls().run(look).await?;
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

async fn save(State(service): State<Service>, body: problem::Answer<WholeBody>) -> Answer {
    let asked = Asked::of(body)?;
    let store = asked.data(&service, Access::Write).await?;
    let Asked {
        file,
        options,
        value,
        ..
    } = asked;
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

/// Asks the lock of what would be replaced: in a transaction, other writers would wait while passwords are verified.
fn ask_lock(store: &Store, key: &str) -> crate::Result<()> {
    store.writer(key, WriteOptions::new()).map(drop)
}

/// In one step: of two merges at a time none is lost.
fn merge_into(store: &Store, file: &str, value: Value) -> crate::Result<Result<(), Failure>> {
    ask_lock(store, file)?;
    store.metadata(file)?;
    store.transaction(|tx| {
        let merged = match tx.load::<Value>(file)? {
            None => value,
            Some(mut present) => match merge::merge(&mut present, value) {
                Ok(()) => present,
                Err(merge::TooSparse) => {
                    let refused = "an index lies too far behind the end of its array";
                    return Ok(Err(Failure::bad_request(refused)));
                }
            },
        };
        tx.save(file, &merged).map(Ok)
    })
}

async fn load(State(service): State<Service>, body: problem::Answer<WholeBody>) -> Answer {
    let asked = Asked::of(body)?;
    let store = asked.data(&service, Access::Read).await?;
    let Asked { file, options, .. } = asked;
    let read = move || -> problem::Answer<Result<Value, Failure>> {
        Ok(match options.as_deref() {
            None | Some("") => store.load(&file)?.ok_or_else(Failure::no_file),
            Some("list") => Ok(names(&store, file)?.into()),
            Some(_) => Err(Failure::bad_request("no such `options`")),
        })
    };
    let value = service.calls().run(read).await??;
    Ok(Done::loaded(value))
}

/// The names that contain the text, behind each other.
fn names(store: &Store, containing: String) -> crate::Result<String> {
    let options = ListOptions::new().recursive().contains(containing);
    let mut names = Vec::new();
    for item in store.list_with("", options)? {
        let item = item?;
        if !item.is_folder {
            names.push(item.name);
        }
    }
    Ok(names.join(","))
}
