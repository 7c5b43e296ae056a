//! Files that a participant writes under handles, and those it downloads whole.

use std::sync::Arc;

use serde_json::{Value, json};

use super::inflow::{Inflow, done};
use super::message::{Code, Fault, Header, Reply};
use super::operations::name_and_type;
use super::outbox::{Content, Gone};
use super::session::Session;
use crate::WriteOptions;
use crate::http::budget::Share;

/// Handles and transfers that a session has open at most.
const MOST_OPEN: usize = 32;

impl Session {
    /// Whether one more may be open.
    pub(super) fn has_room(&self) -> Result<(), Fault> {
        match self.handles.len() + self.transfers.len() < MOST_OPEN {
            true => Ok(()),
            false => Err(Fault::new(
                Code::OperationFailed,
                "32 files are open at a time; close one",
            )),
        }
    }

    /// Room for one more file that is being written.
    pub(super) fn share(&self) -> Result<Share, Fault> {
        let mut share = self.service.sessions().files.share();
        match share.cover(1) {
            true => Ok(share),
            false => Err(Fault::new(
                Code::OperationFailed,
                "as many files are being written as there may; try again later",
            )),
        }
    }

    /// Whatever is at the path is replaced when the handle is closed, `overwrite` or not, as it always was.
    pub(super) async fn open(&mut self, header: Header) -> Result<Reply, Fault> {
        self.has_room()?;
        let share = self.share()?;
        let room = self.room.clone();
        let open = move || room.upload(&header, WriteOptions::new());
        let opened = done(self.service.calls(), open).await?;
        self.last_handle += 1;
        let handle = self.last_handle.to_string();
        self.handles
            .insert(handle.clone(), Inflow::new(opened, share));
        Ok(Reply::Json(json!({"handle": handle})))
    }

    pub(super) async fn close(&mut self, header: &Header) -> Result<Reply, Fault> {
        let inflow = self.handles.remove(&handle_of(header));
        let inflow = inflow.ok_or_else(|| no_handle(header))?;
        inflow.commit(self.service.calls(), &self.room).await?;
        Ok(Reply::Empty)
    }

    pub(super) async fn download(&mut self, id: u64, header: Header) -> Result<(), Gone> {
        let room = self.room.clone();
        let opened = done(self.service.calls(), move || room.download(&header)).await;
        let reader = match opened {
            Ok(reader) => reader,
            Err(fault) => return self.outbox.reply(id, &Reply::Fault(fault)).await,
        };
        let (name, mime_type) = name_and_type(reader.metadata());
        let header = json!({"type": "file", "name": name, "mime_type": mime_type});
        let content = Content {
            start: 0,
            end: reader.len(),
            reader: Arc::new(reader),
        };
        self.outbox
            .reply_content(
                self.service.calls(),
                id,
                &header,
                content,
                &mut self.presence,
            )
            .await
    }
}

pub(super) fn handle_of(header: &Header) -> String {
    match header.get("handle") {
        Some(Value::String(handle)) => handle.clone(),
        Some(handle) => handle.to_string(),
        None => String::new(),
    }
}

pub(super) fn no_handle(header: &Header) -> Fault {
    let reason = format!("no file is open under the handle `{}`", handle_of(header));
    Fault::new(Code::InvalidHandle, reason)
}
