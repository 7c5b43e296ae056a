//! Bytes on their way into a file, a packet at a time.

use std::convert::Infallible;

use axum::body::Bytes;
use futures_util::stream;

use super::message::{Code, Fault};
use super::operations::Room;
use crate::BlobWriter;
use crate::http::blocking::{Calls, Held};
use crate::http::budget::Share;
use crate::http::problem::Problem;

/// Bytes that are collected before they are written.
const PIECE_BYTES: usize = 256 * 1024;

/// A writer, and what it has not been given yet.
pub(super) struct Inflow {
    /// Of the file.
    path: String,
    /// None once a write has failed.
    writer: Option<Held>,
    pending: Vec<u8>,
    received: u64,
    /// What it takes of the memory that is for files being written.
    _share: Share,
}

impl Inflow {
    /// Into the file of this path, by this writer of it.
    pub(super) fn new((path, writer): (String, BlobWriter), share: Share) -> Inflow {
        Inflow {
            path,
            writer: Some(Held::new(writer)),
            pending: Vec::new(),
            received: 0,
            _share: share,
        }
    }

    /// How many bytes came.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) async fn push(&mut self, calls: &Calls, bytes: &[u8]) -> Result<(), Fault> {
        self.received += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.pending.extend_from_slice(bytes);
        match self.pending.len() >= PIECE_BYTES {
            true => self.flush(calls).await,
            false => Ok(()),
        }
    }

    async fn flush(&mut self, calls: &Calls) -> Result<(), Fault> {
        let writer = self.writer.take().ok_or_else(failed)?.release()?;
        let piece = Bytes::from(std::mem::take(&mut self.pending));
        let written = calls.write(writer, stream::iter([Ok::<_, Infallible>(piece)]));
        self.writer = Some(Held::new(written.await?));
        Ok(())
    }

    /// Makes all of it the content of the file in the room.
    pub(super) async fn commit(mut self, calls: &Calls, room: &Room) -> Result<(), Fault> {
        self.flush(calls).await?;
        let writer = self.writer.take().ok_or_else(failed)?;
        let (room, path) = (room.clone(), self.path);
        done(calls, move || room.commit(&path, writer.release()?)).await
    }
}

fn failed() -> Fault {
    Fault::new(Code::InvalidHandle, "a write failed; open the file again")
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Fault {
        Fault::new(Code::OperationFailed, problem.detail())
    }
}

/// Does what the store is asked for on a thread that may wait.
pub(super) async fn done<T: Send + 'static>(
    calls: &Calls,
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    calls.run(move || Ok::<_, Problem>(work())).await?
}
