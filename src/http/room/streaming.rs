//! Contents in chunks, each sent when the other side asks for it: uploads and downloads as calls of a tool.

use std::sync::Arc;

use serde_json::{Value, json};

use super::inflow::{Inflow, done};
use super::message::{self, Fault, Header, Reply};
use super::operations::name_and_type;
use super::outbox::{Content, Gone};
use super::session::Session;
use crate::{BlobReader, PutMode, PutOptions, WriteOptions};

/// Bytes that an upload is asked for at a time.
const PULL_BYTES: usize = 64 * 1024;
/// Bytes that a download is sent at a time at most.
const MOST_CHUNK_BYTES: u64 = 1024 * 1024;
/// Most bytes of the name that a client gives a call.
const MOST_ID_BYTES: usize = 256;
/// The kinds of the messages that are chunks of a call.
pub(super) const REQUEST_CHUNK: &str = "room.tool_call_request_chunk";
const RESPONSE_CHUNK: &str = "room.tool_call_response_chunk";

/// A call that has been opened.
pub(super) enum Transfer {
    /// It has not said which file it is about.
    OpenedUpload,
    OpenedDownload,
    Upload {
        inflow: Inflow,
        /// How many bytes the client has said there will be.
        size: Option<u64>,
    },
    Download {
        reader: Arc<BlobReader>,
        sent: u64,
        chunk: u64,
    },
}

/// What comes of a chunk.
enum Outcome {
    /// The call goes on, and the client is sent this.
    Next(Transfer, Value),
    /// The call goes on with content.
    Send(Transfer, Content),
    /// The call has ended well, with this.
    Last(Value),
    /// The call has ended well.
    Done,
}

fn text(header: &Header, member: &str) -> Option<String> {
    header
        .get(member)
        .and_then(Value::as_str)
        .map(str::to_owned)
}

fn closed() -> Value {
    json!({"type": "control", "method": "close", "status_code": 1000})
}

fn binary(headers: Value) -> Value {
    json!({"type": "binary", "headers": headers})
}

impl Session {
    /// Calls a tool.
    pub(super) async fn invoke(&mut self, header: Header) -> Result<Reply, Fault> {
        self.dialect.is_streaming = true;
        if header.get("toolkit").and_then(Value::as_str) != Some("storage") {
            return Err(Fault::invalid("the only toolkit is `storage`"));
        }
        let tool = text(&header, "tool").unwrap_or_default();
        let arguments = header.get("arguments").unwrap_or(&Value::Null);
        if arguments["type"] == "control" && arguments["method"] == "open" {
            let id = text(&header, "tool_call_id").filter(|id| !id.is_empty());
            let id = id.ok_or_else(|| Fault::invalid("`tool_call_id` is missing"))?;
            if id.len() > MOST_ID_BYTES {
                return Err(Fault::invalid("`tool_call_id` is longer than 256 bytes"));
            }
            return self.open_transfer(&tool, id);
        }
        match arguments["json"].as_object() {
            Some(input) => self.operate(Some(&tool), input.clone()).await,
            None => Err(Fault::invalid(
                "`arguments` hold neither `json` nor `control`",
            )),
        }
    }

    fn open_transfer(&mut self, tool: &str, id: String) -> Result<Reply, Fault> {
        self.has_room()?;
        let transfer = match tool {
            "upload" => Transfer::OpenedUpload,
            "download" => Transfer::OpenedDownload,
            _ => return Err(Fault::invalid(format!("`{tool}` takes no stream"))),
        };
        if self.transfers.contains_key(&id) {
            return Err(Fault::invalid("the call is open already"));
        }
        self.transfers.insert(id, transfer);
        Ok(Reply::Open)
    }

    /// Takes a chunk of a call. One of a call that has ended, or of none, is passed over.
    pub(super) async fn take_chunk(&mut self, header: &Header) -> Result<(), Gone> {
        let Some(id) = text(header, "tool_call_id") else {
            return Ok(());
        };
        let Some(transfer) = self.transfers.remove(&id) else {
            return Ok(());
        };
        let chunk = header.get("chunk").unwrap_or(&Value::Null);
        match self.advance(transfer, chunk).await {
            Ok(Outcome::Next(transfer, content)) => {
                self.transfers.insert(id.clone(), transfer);
                self.send_chunk(&id, &content).await
            }
            Ok(Outcome::Send(transfer, content)) => {
                let is_last = content.end == content.reader.len();
                let header = json!({"tool_call_id": id, "chunk": binary(json!({"kind": "data"}))});
                let calls = self.service.calls();
                self.outbox
                    .push_content(calls, RESPONSE_CHUNK, &header, content, &mut self.presence)
                    .await?;
                if is_last {
                    return self.send_chunk(&id, &closed()).await;
                }
                self.transfers.insert(id, transfer);
                Ok(())
            }
            Ok(Outcome::Last(content)) => {
                self.send_chunk(&id, &content).await?;
                self.send_chunk(&id, &closed()).await
            }
            Ok(Outcome::Done) => self.send_chunk(&id, &closed()).await,
            Err(fault) => self.send_chunk(&id, &fault.content()).await,
        }
    }

    /// Ends the call that a chunk is of, where its bytes could not be taken.
    pub(super) async fn fail_call(&mut self, header: &Header, fault: &Fault) -> Result<(), Gone> {
        match text(header, "tool_call_id") {
            Some(id) => self.send_chunk(&id, &fault.content()).await,
            None => Ok(()),
        }
    }

    async fn send_chunk(&mut self, id: &str, content: &Value) -> Result<(), Gone> {
        let header = json!({"tool_call_id": id, "chunk": content});
        self.outbox
            .push(RESPONSE_CHUNK, &message::pack(&header))
            .await
    }

    async fn advance(&mut self, transfer: Transfer, chunk: &Value) -> Result<Outcome, Fault> {
        let kind = chunk["headers"]["kind"].as_str().unwrap_or("");
        if chunk["type"] == "control" && chunk["method"] == "close" {
            return self.end(transfer).await;
        }
        match (transfer, kind) {
            (Transfer::OpenedUpload, "start") => self.begin_upload(chunk).await,
            (upload @ Transfer::Upload { .. }, "data") => Ok(Outcome::Next(upload, pull())),
            (Transfer::OpenedDownload, "start") => self.begin_download(chunk).await,
            (
                Transfer::Download {
                    reader,
                    sent,
                    chunk,
                },
                "pull",
            ) => {
                let end = sent.saturating_add(chunk).min(reader.len());
                let content = Content {
                    reader: Arc::clone(&reader),
                    start: sent,
                    end,
                };
                let sent = end;
                Ok(Outcome::Send(
                    Transfer::Download {
                        reader,
                        sent,
                        chunk,
                    },
                    content,
                ))
            }
            _ => Err(Fault::invalid(format!(
                "the call does not expect a chunk of the kind `{kind}` now"
            ))),
        }
    }

    async fn begin_upload(&mut self, chunk: &Value) -> Result<Outcome, Fault> {
        let input = start_of(chunk)?;
        let size = input.get("size").and_then(Value::as_u64);
        let mode = match input.get("overwrite").and_then(Value::as_bool) {
            Some(true) => PutMode::Overwrite,
            Some(false) | None => PutMode::Create,
        };
        let mut options = WriteOptions::from(PutOptions::new().mode(mode));
        options.content_type = text(&input, "mime_type").filter(|given| !given.is_empty());
        let room = self.room.clone();
        let share = self.share()?;
        let open = move || room.upload(&input, options);
        let inflow = Inflow::new(done(self.service.calls(), open).await?, share);
        Ok(Outcome::Next(Transfer::Upload { inflow, size }, pull()))
    }

    async fn begin_download(&mut self, chunk: &Value) -> Result<Outcome, Fault> {
        let input = start_of(chunk)?;
        let asked = input.get("chunk_size").and_then(Value::as_u64);
        let room = self.room.clone();
        let reader = done(self.service.calls(), move || room.download(&input)).await?;
        let size = reader.len();
        let (name, mime_type) = name_and_type(reader.metadata());
        let start = binary(json!({
            "kind": "start",
            "name": name,
            "mime_type": mime_type,
            "size": size,
        }));
        if size == 0 {
            // Who knows that nothing is to come asks for nothing.
            return Ok(Outcome::Last(start));
        }
        let download = Transfer::Download {
            reader: Arc::new(reader),
            sent: 0,
            chunk: asked.unwrap_or(MOST_CHUNK_BYTES).clamp(1, MOST_CHUNK_BYTES),
        };
        Ok(Outcome::Next(download, start))
    }

    /// The client has no more to say.
    async fn end(&mut self, transfer: Transfer) -> Result<Outcome, Fault> {
        match transfer {
            Transfer::Upload { inflow, size } => {
                let received = inflow.received();
                if let Some(size) = size.filter(|size| *size != received) {
                    return Err(Fault::invalid(format!(
                        "{received} bytes came of the {size} that were to come; nothing is stored"
                    )));
                }
                inflow.commit(self.service.calls(), &self.room).await?;
                Ok(Outcome::Done)
            }
            Transfer::OpenedUpload => Err(Fault::invalid("the call ended before it began")),
            Transfer::OpenedDownload | Transfer::Download { .. } => Ok(Outcome::Done),
        }
    }
}

fn pull() -> Value {
    binary(json!({"kind": "pull", "chunk_size": PULL_BYTES}))
}

/// The headers of a chunk that says which file a call is about.
fn start_of(chunk: &Value) -> Result<Header, Fault> {
    let headers = chunk["headers"].as_object().cloned();
    headers.ok_or_else(|| Fault::invalid("a chunk has no headers"))
}
