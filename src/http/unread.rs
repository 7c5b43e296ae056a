//! What a client still sends when it has been answered.
//!
//! Where a connection is closed with bytes in it that nobody has read, the system breaks it off at the other end: a client that
//! sends all of its body first never sees why it was refused. So the rest is read and dropped, for a short while.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::Service;

/// How long is read behind an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much.
const MOST_BYTES: usize = 64 << 20;
/// Of how many connections at a time: each has a place meanwhile that another could have.
const AT_ONCE: usize = 64;

/// Places of those whose rest is read.
#[derive(Debug)]
pub(super) struct Unread(Arc<Semaphore>);

impl Unread {
    pub(super) fn new() -> Unread {
        Unread(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// Reads on where the answer is there before the end of the body.
pub(super) async fn read_on(
    State(service): State<Service>,
    request: Request,
    next: Next,
) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let (tell, mut left) = oneshot::channel();
    let rest = Rest {
        // Who waits to be asked for the body sends none once there is an answer.
        is_coming: !head.headers.contains_key(header::EXPECT),
        body: Some((body.into_data_stream(), tell)),
    };
    let body = stream::unfold(rest, async |mut rest| {
        rest.is_coming = true;
        let piece = match &mut rest.body {
            Some((body, _)) => body.next().await,
            None => None,
        };
        if !matches!(piece, Some(Ok(_))) {
            rest.body = None;
        }
        piece.map(|piece| (piece, rest))
    });
    let request = Request::from_parts(head, Body::from_stream(body));
    let answer = next.run(request).await;
    if let Ok(body) = left.try_recv()
        && let Ok(place) = Arc::clone(&service.unread().0).try_acquire_owned()
    {
        let patience = PATIENCE.min(service.limits().body_time);
        // A task of its own, so it must not hold the store: that may be opened again once the service has stopped.
        tokio::spawn(drop_rest(body, patience, service.news().stopped(), place));
    }
    answer
}

/// A body, which is told when it is dropped before its end.
struct Rest {
    is_coming: bool,
    body: Option<(BodyDataStream, oneshot::Sender<BodyDataStream>)>,
}

impl Drop for Rest {
    fn drop(&mut self) {
        if let Some((body, tell)) = self.body.take()
            && self.is_coming
        {
            // Nobody listens where the request was broken off.
            let _ = tell.send(body);
        }
    }
}

async fn drop_rest(
    mut body: BodyDataStream,
    patience: Duration,
    stopped: impl Future<Output = ()>,
    place: OwnedSemaphorePermit,
) {
    let read = async {
        let mut count = 0;
        while let Some(Ok(piece)) = body.next().await
            && count < MOST_BYTES
        {
            count += piece.len();
        }
    };
    tokio::select! {
        _ = tokio::time::timeout(patience, read) => {}
        () = stopped => {}
    }
    drop(place);
}
