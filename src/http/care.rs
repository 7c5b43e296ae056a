//! `/v1/stats`, `/v1/verify` and `/v1/compact`: how large the store is, whether it is sound, and giving space back. For
//! admins.
//!
//! What takes long answers a stream of events: `progress`, and `done` or `problem` at the end. Who goes away stops it.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Service;
use super::auth::Admin;
use super::problem::{Answer, Problem};
use crate::{Result, Step, Store};

/// How often a step is told.
const TELL: Duration = Duration::from_millis(100);
/// How many events may wait for a slow client; steps beyond are left out.
const WAITING: usize = 8;

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/v1/stats", get(stats))
        .route("/v1/verify", post(verify))
        .route("/v1/compact", post(compact))
}

async fn stats(State(service): State<Service>, _: Admin) -> Answer<Json<Value>> {
    let store = service.store().clone();
    let stats = service.calls().run(move || store.stats()).await?;
    Ok(Json(json!(stats)))
}

async fn verify(State(service): State<Service>, _: Admin) -> Response {
    watched(&service, |store, progress| {
        let report = store.verify(progress)?;
        Ok(json!(report))
    })
}

async fn compact(State(service): State<Service>, _: Admin) -> Response {
    watched(&service, |store, progress| {
        let before = store.stats()?.pack_bytes;
        store.compact(progress)?;
        let stats = store.stats()?;
        Ok(json!({
            "pack_bytes_before": before,
            "pack_bytes": stats.pack_bytes,
            "dead_bytes": stats.dead_bytes,
        }))
    })
}

/// Does long work, and tells where it is as it goes on.
fn watched(
    service: &Service,
    work: impl FnOnce(&Store, &mut dyn FnMut(Step) -> ControlFlow<()>) -> Result<Value> + Send + 'static,
) -> Response {
    let (tell, told) = mpsc::channel(WAITING);
    let service = service.clone();
    tokio::spawn(async move {
        let (store, ends, steps) = (service.store().clone(), service.clone(), tell.clone());
        let mut last: Option<Instant> = None;
        let mut progress = move |step: Step| {
            if steps.is_closed() || ends.news().is_stopping() {
                return ControlFlow::Break(());
            }
            if last.is_none_or(|last| last.elapsed() >= TELL) {
                last = Some(Instant::now());
                // Where the client is slow, the next step will do.
                let _ = steps.try_send(step_event(step));
            }
            ControlFlow::Continue(())
        };
        let work = move || work(&store, &mut progress);
        let done = service.calls().run(work).await;
        // The client may have gone.
        let _ = tell.send(end_event(done)).await;
    });
    let events = stream::unfold(told, |mut told| async {
        let event = told.recv().await?;
        Some((Ok::<_, Infallible>(event), told))
    });
    Sse::new(events).into_response()
}

fn step_event(step: Step) -> Event {
    let data = json!({"phase": step.phase, "done": step.done, "total": step.total});
    Event::default().event("progress").data(data.to_string())
}

/// The head is sent by then, so a problem is an event too.
fn end_event(done: Answer<Value>) -> Event {
    let (name, data) = match done {
        Ok(value) => ("done", value),
        Err(problem) => ("problem", Problem::into_value(problem)),
    };
    Event::default().event(name).data(data.to_string())
}
