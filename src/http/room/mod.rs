//! `/rooms/<room>`: the storage of a room over a WebSocket, as the clients of MeshAgent speak to it.
//!
//! [`packet`] cuts messages for the wire, [`message`] is what they hold. A [`session`] is one participant: what it asks is
//! done by [`operations`] as far as its [`access`] goes, by [`files`] under handles, and by [`streaming`] where contents come
//! and go in chunks; what happens is told by [`events`].

mod access;
mod auth;
mod events;
mod files;
mod inflow;
mod message;
mod operations;
mod outbox;
mod packet;
mod presence;
mod session;
mod silence;
mod streaming;

use std::sync::Arc;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Path, Query, State, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::budget::Budget;
use super::problem::{Answer, Problem};
use super::scopes::Place;
use super::{Encrypted, Service, standing};
use operations::Room;
use session::{Dialect, Session};

/// Largest frame that is read. It is larger than any packet, so that one which is too large is answered.
const MAX_FRAME_BYTES: usize = 64 * 1024;

/// Memory that a file which is being written takes at most: what its writer holds, and what is collected for it.
const FILE_BYTES: usize = (1 << 20) + (1 << 18);
/// Memory for all of them.
const FILES_BYTES: usize = 400 * FILE_BYTES;

#[cfg(fuzzing)]
#[doc(hidden)]
pub use packet::fuzz as fuzz_packets;

pub(super) fn routes() -> Router<Service> {
    Router::new().route("/rooms/{room}", get(connect))
}

/// Places for sessions: an upgraded connection is no longer counted with the others.
#[derive(Debug)]
pub(super) struct Sessions {
    places: Arc<Semaphore>,
    all: u32,
    /// Memory for the files that they are writing.
    files: Budget,
}

impl Sessions {
    pub(super) fn new(at_once: usize) -> Sessions {
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let all = u32::try_from(at_once).map_or(most, |all| all.clamp(1, most));
        Sessions {
            places: Arc::new(Semaphore::new(usize::try_from(all).unwrap_or(1))),
            all,
            files: Budget::new(FILES_BYTES, FILE_BYTES),
        }
    }

    /// Done when no session is left.
    pub(super) async fn ended(&self) {
        // Nobody closes the semaphore.
        let _ = self.places.acquire_many(self.all).await;
    }
}

#[derive(Deserialize)]
struct Asked {
    token: Option<String>,
    /// The version of the client.
    v: Option<String>,
}

async fn connect(
    State(service): State<Service>,
    Path(room): Path<String>,
    Query(asked): Query<Asked>,
    Extension(encrypted): Extension<Encrypted>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer<Response> {
    let upgrade = upgrade.map_err(|rejection| {
        Problem::new(
            StatusCode::UPGRADE_REQUIRED,
            format!("a room is entered by WebSocket: {}", rejection.body_text()),
        )
    })?;
    let token = auth::token_of(&headers, asked.token.as_deref());
    let token = token.ok_or_else(|| Problem::unauthorized("a token is needed"))?;
    let (accounts, named) = (service.accounts().clone(), room.clone());
    let admit = move || auth::admit(&accounts, &token, &named);
    let admission = service.calls().run(admit).await?;
    let admitted = (admission.participant, admission.authority);
    let participant = &admitted.0;
    let store = service.place_of(Place::Room, &admission.project, &room, participant)?;
    let (accounts, authority) = (service.accounts().clone(), admitted.1.clone());
    let store = standing::permitted_by(&store, move || authority.check(&accounts));
    let place = Arc::clone(&service.sessions().places).try_acquire_owned();
    let place = place.map_err(|_| {
        let reason = "there are as many participants as there may be; try again later";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason)
    })?;
    let seen = Room {
        store,
        access: admission.access,
        base: base_of(&headers, encrypted),
        root: format!("rooms/{}/{room}", admission.project),
        wants_times: asked.v.is_none(),
    };
    let dialect = Dialect {
        is_bare: asked.v.is_none() && is_python(&headers),
        is_streaming: headers.contains_key(header::AUTHORIZATION),
    };
    let upgrade = upgrade
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES);
    Ok(upgrade.on_upgrade(async move |socket| {
        let session = Session::new(service.clone(), seen, room, admitted, dialect, socket);
        tokio::select! {
            () = session.run() => {}
            () = service.news().given_up() => {}
        }
        drop(place);
    }))
}

/// Where the client has found the service, as far as it tells.
fn base_of(headers: &HeaderMap, encrypted: Encrypted) -> String {
    let told = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = match (encrypted, told("x-forwarded-proto")) {
        (Encrypted(true), _) | (_, Some("https")) => "https",
        _ => "http",
    };
    format!("{scheme}://{}", told("host").unwrap_or("localhost"))
}

/// The first Python clients name no version, but the language.
fn is_python(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT);
    agent.is_some_and(|agent| agent.as_bytes().starts_with(b"Python/"))
}
