//! One participant in a room: what it sends is done in its order, and what happens in the room is told to it.
//!
//! All of it is one task, so that no message comes between the packets of another.

use std::collections::HashMap;

use axum::extract::ws::{Message, WebSocket, close_code};

use super::auth::Authority;
use super::files::{handle_of, no_handle};
use super::inflow::{Inflow, done};
use super::message::{Fault, Header, Reply, Unpacker};
use super::operations::Room;
use super::outbox::{Gone, Outbox};
use super::packet::{OutOfOrder, Packets, Piece};
use super::presence::Presence;
use super::silence::Silence;
use super::streaming::{REQUEST_CHUNK, Transfer};
use crate::Since;
use crate::http::Service;
use crate::http::changes::Follower;

/// How a client speaks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    /// Whether what comes of the server's own accord is JSON as it is, not packed.
    pub(super) is_bare: bool,
    /// Whether a move is told as one.
    pub(super) is_streaming: bool,
}

pub(super) struct Session {
    pub(super) service: Service,
    pub(super) room: Room,
    /// Of the room.
    pub(super) name: String,
    pub(super) participant: String,
    pub(super) presence: Presence,
    pub(super) dialect: Dialect,
    pub(super) outbox: Outbox,
    packets: Packets,
    incoming: Option<Incoming>,
    pub(super) handles: HashMap<String, Inflow>,
    pub(super) last_handle: u64,
    pub(super) transfers: HashMap<String, Transfer>,
}

/// A message that has begun.
struct Incoming {
    id: u64,
    kind: String,
    unpacker: Unpacker,
    header: Option<Header>,
    /// Where the bytes behind the header go; without it they are passed over.
    sink: Option<(Target, Inflow)>,
    fault: Option<Fault>,
}

/// What an [`Inflow`] belongs to.
enum Target {
    Handle(String),
    Transfer { id: String, size: Option<u64> },
}

impl Session {
    pub(super) fn new(
        service: Service,
        room: Room,
        name: String,
        (participant, authority): (String, Authority),
        dialect: Dialect,
        socket: WebSocket,
    ) -> Session {
        Session {
            outbox: Outbox::new(socket, service.limits().body_time),
            presence: Presence::new(service.clone(), authority),
            service,
            room,
            name,
            participant,
            dialect,
            packets: Packets::default(),
            incoming: None,
            handles: HashMap::new(),
            last_handle: 0,
            transfers: HashMap::new(),
        }
    }

    /// Serves the participant until it goes, or the service stops. What it has not closed has not happened.
    pub(super) async fn run(mut self) {
        let farewell =
            self.converse()
                .await
                .unwrap_or_else(|Gone| match self.presence.has_ended() {
                    true => Farewell::Refused,
                    false => Farewell::Gone,
                });
        let (code, reason) = match farewell {
            Farewell::Gone => return,
            Farewell::Left => return self.outbox.let_go().await,
            Farewell::Text => (close_code::UNSUPPORTED, "only binary messages"),
            Farewell::Stopping => (close_code::AWAY, "the service is stopping"),
            Farewell::Refused => (
                close_code::POLICY,
                "the token has ended, or its key is not what it was",
            ),
        };
        self.outbox.close(code, reason).await;
    }

    async fn converse(&mut self) -> Result<Farewell, Gone> {
        let store = self.room.store.clone();
        let follower = Follower::begin(&self.service, store, String::new(), Since::Now);
        let mut follower = follower.await.map_err(|_| Gone)?;
        self.greet().await?;
        let mut silence = Silence::begin();
        loop {
            tokio::select! {
                received = self.outbox.receive() => {
                    match received {
                        Some(Message::Binary(packet)) => {
                            if let Some(whole) = self.take(&packet).await? {
                                if !self.presence.stands().await {
                                    return Ok(Farewell::Refused);
                                }
                                self.finish(whole).await?;
                            }
                        }
                        Some(Message::Text(_)) => return Ok(Farewell::Text),
                        Some(Message::Ping(_) | Message::Pong(_)) => {}
                        Some(Message::Close(_)) => return Ok(Farewell::Left),
                        None => return Ok(Farewell::Gone),
                    }
                    silence = Silence::begin();
                }
                is_more = follower.wait() => match is_more {
                    true if self.presence.stands().await => {
                        if self.tell_changes(&mut follower).await? {
                            follower.look_again();
                        }
                    }
                    true => return Ok(Farewell::Refused),
                    false => return Ok(Farewell::Stopping),
                },
                () = silence.lasts() => {
                    if silence.ask() {
                        return Ok(Farewell::Gone);
                    }
                    if !self.presence.stands().await {
                        return Ok(Farewell::Refused);
                    }
                    self.outbox.ping().await?;
                }
            }
        }
    }

    /// Takes a packet. Answers the message that is whole with it.
    async fn take(&mut self, packet: &[u8]) -> Result<Option<Incoming>, Gone> {
        let piece = match self.packets.take(packet) {
            Ok(piece) => piece,
            Err(wrong) => {
                // With it goes what the message was writing to: half a write would be in the file.
                let was_under_way = self.incoming.take().is_some();
                self.tell_lost(wrong).await?;
                if !was_under_way {
                    return Ok(None);
                }
                // It may begin the next message.
                match self.packets.take(packet) {
                    Ok(piece) => piece,
                    Err(wrong) => return self.tell_lost(wrong).await.map(|()| None),
                }
            }
        };
        let is_last = match piece {
            Piece::Begin { id, kind, is_whole } => {
                self.incoming = Some(Incoming {
                    id,
                    kind: kind.to_owned(),
                    unpacker: Unpacker::default(),
                    header: None,
                    sink: None,
                    fault: None,
                });
                is_whole
            }
            Piece::Payload { bytes, is_last } => {
                self.absorb(bytes).await;
                is_last
            }
        };
        Ok(self.incoming.take_if(|_| is_last))
    }

    async fn tell_lost(&mut self, wrong: OutOfOrder) -> Result<(), Gone> {
        match wrong.lost {
            Some(id) => {
                let fault = Reply::Fault(Fault::invalid(wrong.reason));
                self.outbox.reply(id, &fault).await
            }
            None => Ok(()),
        }
    }

    /// Takes the next bytes of the message under way.
    async fn absorb(&mut self, bytes: &[u8]) {
        let Some(mut incoming) = self.incoming.take_if(|incoming| incoming.fault.is_none()) else {
            return;
        };
        match incoming.unpacker.take(bytes) {
            Err(malformed) => incoming.fault = Some(Fault::invalid(malformed.0)),
            Ok((header, trailer)) => {
                if let Some(header) = header {
                    incoming.sink = self.sink_of(&incoming.kind, &header);
                    incoming.header = Some(header);
                }
                if let Some((_, inflow)) = &mut incoming.sink
                    && let Err(fault) = inflow.push(self.service.calls(), trailer).await
                {
                    incoming.sink = None;
                    incoming.fault = Some(fault);
                }
            }
        }
        self.incoming = Some(incoming);
    }

    /// Where the bytes behind this header go. It is the message's until the message ends.
    fn sink_of(&mut self, kind: &str, header: &Header) -> Option<(Target, Inflow)> {
        match kind {
            "storage.write" => {
                let handle = handle_of(header);
                let inflow = self.handles.remove(&handle)?;
                Some((Target::Handle(handle), inflow))
            }
            REQUEST_CHUNK => {
                let id = header.get("tool_call_id")?.as_str()?;
                header
                    .get("chunk")
                    .filter(|chunk| chunk["headers"]["kind"] == "data")?;
                match self.transfers.remove(id)? {
                    Transfer::Upload { inflow, size } => {
                        let id = id.to_owned();
                        Some((Target::Transfer { id, size }, inflow))
                    }
                    other => {
                        self.transfers.insert(id.to_owned(), other);
                        None
                    }
                }
            }
            _ => None,
        }
    }

    /// Does what a whole message asks.
    async fn finish(&mut self, incoming: Incoming) -> Result<(), Gone> {
        let Incoming {
            id,
            kind,
            header,
            sink,
            fault,
            ..
        } = incoming;
        let mut is_written = false;
        match sink {
            Some((Target::Handle(handle), inflow)) => {
                self.handles.insert(handle, inflow);
                is_written = true;
            }
            Some((Target::Transfer { id, size }, inflow)) => {
                self.transfers.insert(id, Transfer::Upload { inflow, size });
            }
            None => {}
        }
        let header = match (fault, header) {
            (None, Some(header)) => header,
            (Some(fault), Some(header)) if kind == REQUEST_CHUNK => {
                self.outbox.reply(id, &Reply::Empty).await?;
                return self.fail_call(&header, &fault).await;
            }
            (Some(fault), _) => return self.outbox.reply(id, &Reply::Fault(fault)).await,
            (None, None) => {
                let fault = Fault::invalid("the message ends before its header does");
                return self.outbox.reply(id, &Reply::Fault(fault)).await;
            }
        };
        let reply = match kind.as_str() {
            "storage.open" => self.open(header).await,
            "storage.write" if is_written => Ok(Reply::Empty),
            "storage.write" => Err(no_handle(&header)),
            "storage.close" => self.close(&header).await,
            "storage.download" => return self.download(id, header).await,
            "room.invoke_tool" => self.invoke(header).await,
            REQUEST_CHUNK => {
                // Some clients wait for it before they send the next chunk, and no client minds it.
                self.outbox.reply(id, &Reply::Empty).await?;
                return self.take_chunk(&header).await;
            }
            kind => self.operate(kind.strip_prefix("storage."), header).await,
        };
        self.outbox
            .reply(id, &reply.unwrap_or_else(Reply::Fault))
            .await
    }

    /// Does an operation on paths.
    pub(super) async fn operate(
        &mut self,
        operation: Option<&str>,
        input: Header,
    ) -> Result<Reply, Fault> {
        let unknown = || Fault::invalid("the service knows no such request");
        let operation = operation.ok_or_else(unknown)?.to_owned();
        let room = self.room.clone();
        let json = done(self.service.calls(), move || {
            room.operate(&operation, &input)
                .unwrap_or_else(|| Err(unknown()))
        });
        json.await.map(Reply::Json)
    }
}

/// How a session ends.
enum Farewell {
    /// The participant has gone.
    Gone,
    /// It has said that it goes.
    Left,
    /// It sent text.
    Text,
    /// The service stops.
    Stopping,
    /// What it came in with does not stand any more.
    Refused,
}
