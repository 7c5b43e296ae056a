//! The way to the store, which is synchronous: each call runs on a thread that may wait, and so many at a time.
//!
//! Content goes in and out in pieces, each a call of its own: a slow client holds a piece of memory, never a thread, and is
//! asked for more, or given more, only when the piece before is done.

use std::io::Write;
use std::sync::Arc;

use axum::BoxError;
use axum::body::{Body, Bytes};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::Semaphore;

use super::problem::{Answer, Problem};
use super::standing;
use crate::{BlobReader, BlobWriter};

/// Bytes of content that one call reads or writes.
const PIECE_BYTES: usize = 256 * 1024;
/// How many pieces of a content are read ahead of the client.
const PIECES_AHEAD: usize = 2;

/// A writer in the hands of who may not wait. Dropped, it gives back what was written to it on a thread that may.
pub(super) struct Held(Option<Box<BlobWriter>>);

impl Held {
    pub(super) fn new(writer: BlobWriter) -> Held {
        Held(Some(Box::new(writer)))
    }

    /// For one who may wait, or holds it again.
    pub(super) fn release(mut self) -> Answer<BlobWriter> {
        let writer = self.0.take();
        writer
            .map(|writer| *writer)
            .ok_or_else(|| Problem::internal("a writer was lost"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Without a runtime nobody waits behind this thread.
        if let Some(writer) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(writer));
        }
    }
}

/// Calls to the store, of which so many run at a time.
#[derive(Debug, Clone)]
pub(super) struct Calls(Arc<Semaphore>);

impl Calls {
    pub(super) fn new(at_once: usize) -> Calls {
        let at_once = at_once.clamp(1, Semaphore::MAX_PERMITS);
        Calls(Arc::new(Semaphore::new(at_once)))
    }

    /// Does `work` on a thread that may wait, once it is its turn. What has begun is done to its end, also where the
    /// client has gone.
    pub(super) async fn run<T, E>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Answer<T>
    where
        T: Send + 'static,
        E: Into<Problem> + Send + 'static,
    {
        let turn = Arc::clone(&self.0).acquire_owned().await;
        let Ok(turn) = turn else {
            return Err(Problem::internal("no more calls are taken"));
        };
        let done = tokio::task::spawn_blocking(move || {
            let answer = work();
            drop(turn);
            answer
        });
        match done.await {
            Ok(answer) => answer.map_err(Into::into),
            Err(_) => Err(Problem::internal("a call to the store panicked")),
        }
    }

    /// Writes a body to its end; it is the caller's to commit.
    pub(super) async fn write<E>(
        &self,
        writer: BlobWriter,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Answer<BlobWriter>
    where
        E: Into<BoxError>,
    {
        let (mut held, mut body) = (Held::new(writer), std::pin::pin!(body));
        let mut is_more = true;
        while is_more {
            let (mut piece, mut count) = (Vec::new(), 0);
            while is_more && count < PIECE_BYTES {
                match body.next().await {
                    None => is_more = false,
                    Some(Ok(bytes)) => {
                        count += bytes.len();
                        piece.push(bytes);
                    }
                    Some(Err(error)) => return Err(cut_short(&*error.into())),
                }
            }
            if !piece.is_empty() {
                let write = move || write_all(held.release()?, &piece);
                held = Held::new(self.run(write).await?);
            }
        }
        held.release()
    }

    /// The bytes from `start` to `end` of what a reader has, read as they are sent.
    pub(super) fn body(&self, reader: &Arc<BlobReader>, start: u64, end: u64) -> Body {
        Body::from_stream(self.pieces(reader, start, end))
    }

    pub(super) fn pieces(
        &self,
        reader: &Arc<BlobReader>,
        start: u64,
        end: u64,
    ) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
        let (calls, reader) = (self.clone(), Arc::clone(reader));
        let step = u64::try_from(PIECE_BYTES).unwrap_or(u64::MAX);
        let starts = std::iter::successors(Some(start), move |start| start.checked_add(step))
            .take_while(move |start| *start < end);
        stream::iter(starts)
            .map(move |start| {
                let (calls, reader) = (calls.clone(), Arc::clone(&reader));
                async move {
                    let length = usize::try_from(end - start).unwrap_or(usize::MAX);
                    let mut piece = vec![0; length.min(PIECE_BYTES)];
                    let read = move || {
                        reader.read_exact_at(&mut piece, start)?;
                        Ok::<_, crate::Error>(Bytes::from(piece))
                    };
                    // The head is sent; what is left is to break off, so that the client sees that it is not all.
                    calls
                        .run(read)
                        .await
                        .map_err(|problem| std::io::Error::other(problem.detail().to_owned()))
                }
            })
            .buffered(PIECES_AHEAD)
    }
}

fn write_all(mut writer: BlobWriter, piece: &[Bytes]) -> Answer<BlobWriter> {
    for bytes in piece {
        writer
            .write_all(bytes)
            .map_err(|error| match error.downcast::<crate::Error>() {
                Ok(own) => own.into(),
                Err(_) => Problem::internal("a writer failed"),
            })?;
    }
    Ok(writer)
}

/// A body that ended before its end. Of a form, files that came whole before are stored.
pub(super) fn cut_short(error: &(dyn std::error::Error + 'static)) -> Problem {
    if let Some(reason) = standing::reason(error) {
        return reason;
    }
    tracing::debug!(%error, "a body was cut short");
    Problem::bad_request(
        "the body was cut short, or took too long; what was under way is not written",
    )
}
