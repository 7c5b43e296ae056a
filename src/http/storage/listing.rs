//! A folder as its client gets it: the folders in it, then the files, each by name.

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;

use super::super::Service;
use super::super::content::size_when_listed;
use super::super::problem::Answer;
use crate::{Listing, Result, Store};

/// How many entries are read at a time.
const PIECE: usize = 1000;

/// How often it is tried to look at a folder while nobody writes, before others are made to wait.
const TRIES: usize = 16;

/// What is left to be told of a folder.
pub(super) struct Telling {
    /// In memory: a listing has `a-b/` before `a/`, and the names are to be in order. Files it has in order.
    folders: std::vec::IntoIter<String>,
    files: Listing,
    /// The store that is listed.
    store: Store,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Begin,
    Amid,
    Done,
}

/// Two listings of a folder of one moment; `None` where it was no folder.
fn listings(store: &Store, folder: &str) -> Result<Option<(Listing, Listing)>> {
    let look = || {
        let listings = (store.list(folder)?, store.list(folder)?);
        Ok(store.is_folder(folder)?.then_some(listings))
    };
    for _ in 0..TRIES {
        let newest = store.history().newest;
        let seen = look()?;
        if store.history().newest == newest {
            return Ok(seen);
        }
    }
    store.transaction(|_| look())
}

/// Streams the folder; what the protocol lacks is pages.
pub(super) fn send(service: &Service, telling: Telling) -> Response {
    let calls = service.calls().clone();
    let pieces = stream::try_unfold(telling, move |telling| {
        let calls = calls.clone();
        async move {
            if telling.state == State::Done {
                return Ok(None);
            }
            let piece = calls.run(move || telling.piece()).await;
            // The head is sent: to break off tells the client that it is not all.
            piece
                .map(Some)
                .map_err(|problem| std::io::Error::other(problem.detail().to_owned()))
        }
    });
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, Body::from_stream(pieces)).into_response()
}

impl Telling {
    /// `None` where there is no such folder.
    pub(super) fn of(store: Store, folder: &str) -> Result<Option<Telling>> {
        let Some((items, files)) = listings(&store, folder)? else {
            return Ok(None);
        };
        let mut folders = Vec::new();
        for item in items {
            let item = item?;
            if item.is_folder {
                folders.push(item.name);
            }
        }
        folders.sort_unstable();
        Ok(Some(Telling {
            folders: folders.into_iter(),
            files,
            store,
            state: State::Begin,
        }))
    }

    fn piece(mut self) -> Answer<(Bytes, Telling)> {
        let mut text = String::new();
        if self.state == State::Begin {
            text.push_str("{\"entries\":[");
        }
        for _ in 0..PIECE {
            let Some(entry) = self.next_entry()? else {
                text.push_str("]}");
                self.state = State::Done;
                break;
            };
            if self.state == State::Amid {
                text.push(',');
            }
            self.state = State::Amid;
            text.push_str(&entry.to_string());
        }
        Ok((text.into(), self))
    }

    fn next_entry(&mut self) -> Answer<Option<serde_json::Value>> {
        if let Some(name) = self.folders.next() {
            return Ok(Some(json!({"is_file": false, "name": name, "size": 0})));
        }
        for item in self.files.by_ref() {
            let item = item?;
            if !item.is_folder {
                let size = size_when_listed(&self.store, item.metadata.as_ref())?;
                let size = size.unwrap_or(0);
                return Ok(Some(
                    json!({"is_file": true, "name": item.name, "size": size}),
                ));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lock;

    /// The listing tells how it was; its size has to be read, which is not allowed any more.
    #[test]
    fn a_document_that_is_locked_meanwhile_does_not_break_the_listing_off() {
        let store = Store::in_memory().unwrap();
        store.save("f/a", "north").unwrap();
        store.save("f/b", "south").unwrap();
        let telling = Telling::of(store.clone(), "f").unwrap().unwrap();
        let lock = Lock::new().view("sesame-1").edit("sesame-2");
        store.lock("f/a", lock).unwrap();
        let (text, _) = telling.piece().unwrap();
        let told: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let entry = |name: &str, size: u64| json!({"is_file": true, "name": name, "size": size});
        assert_eq!(told["entries"], json!([entry("a", 0), entry("b", 7)]));
    }
}
