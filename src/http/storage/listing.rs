//! A folder as its client gets it: the folders in it, then the files, each by name.

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;

use super::super::Service;
use super::super::content::size_of;
use super::super::problem::Answer;
use crate::{Listing, Store};

/// How many entries are read at a time.
const PIECE: usize = 1000;

/// What is left to be told of a folder.
struct Telling {
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

/// Streams the folder; what the protocol lacks is pages.
pub(super) async fn send(service: &Service, store: Store, folder: String) -> Answer<Response> {
    let open = move || {
        let mut folders = Vec::new();
        for item in store.list(&folder)? {
            let item = item?;
            if item.is_folder {
                folders.push(item.name);
            }
        }
        folders.sort_unstable();
        Ok::<_, crate::Error>(Telling {
            folders: folders.into_iter(),
            files: store.list(&folder)?,
            store,
            state: State::Begin,
        })
    };
    let telling = service.calls().run(open).await?;
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
    Ok((json, Body::from_stream(pieces)).into_response())
}

impl Telling {
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
                // What has a view password tells its name only.
                let size = item
                    .metadata
                    .map_or(Ok(0), |known| size_of(&self.store, &known.key, &known))?;
                return Ok(Some(
                    json!({"is_file": true, "name": item.name, "size": size}),
                ));
            }
        }
        Ok(None)
    }
}
