//! The way out to a participant: whole messages, one after the other.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;

use super::message::{self, RESPONSE, Reply};
use super::packet;
use super::presence::Presence;
use crate::BlobReader;
use crate::http::blocking::Calls;

/// The participant is not there any more, does not take what it is sent, or may not have it any more.
#[derive(Debug)]
pub(super) struct Gone;

/// A part of what a reader has.
pub(super) struct Content {
    pub(super) reader: Arc<BlobReader>,
    pub(super) start: u64,
    pub(super) end: u64,
}

pub(super) struct Outbox {
    socket: WebSocket,
    /// How long the participant may take for the next packet.
    patience: Duration,
    /// Messages that are no answers have numbers of their own.
    last_id: u64,
}

impl Outbox {
    pub(super) fn new(socket: WebSocket, patience: Duration) -> Outbox {
        Outbox {
            socket,
            patience,
            last_id: 0,
        }
    }

    /// What comes in; `None` where the connection has ended.
    pub(super) async fn receive(&mut self) -> Option<Message> {
        self.socket.recv().await?.ok()
    }

    /// Answers the request of this id.
    pub(super) async fn reply(&mut self, id: u64, reply: &Reply) -> Result<(), Gone> {
        self.send(id, RESPONSE, &message::pack(&reply.header()))
            .await
    }

    /// Sends a message of its own accord.
    pub(super) async fn push(&mut self, kind: &str, body: &[u8]) -> Result<(), Gone> {
        self.last_id += 1;
        self.send(self.last_id, kind, body).await
    }

    async fn send(&mut self, id: u64, kind: &str, body: &[u8]) -> Result<(), Gone> {
        for packet in message::packets(id, kind, body) {
            self.feed(packet).await?;
        }
        self.flush().await
    }

    /// Answers with content behind the header, read as it is sent.
    pub(super) async fn reply_content(
        &mut self,
        calls: &Calls,
        id: u64,
        header: &Value,
        content: Content,
        presence: &mut Presence,
    ) -> Result<(), Gone> {
        self.send_content(calls, id, RESPONSE, header, content, presence)
            .await
    }

    /// Sends content behind the header of its own accord.
    pub(super) async fn push_content(
        &mut self,
        calls: &Calls,
        kind: &str,
        header: &Value,
        content: Content,
        presence: &mut Presence,
    ) -> Result<(), Gone> {
        self.last_id += 1;
        self.send_content(calls, self.last_id, kind, header, content, presence)
            .await
    }

    async fn send_content(
        &mut self,
        calls: &Calls,
        id: u64,
        kind: &str,
        header: &Value,
        content: Content,
        presence: &mut Presence,
    ) -> Result<(), Gone> {
        let mut waiting = message::pack(header);
        let length =
            u64::try_from(waiting.len()).unwrap_or(u64::MAX) + (content.end - content.start);
        let total = packet::count(length).ok_or(Gone)?;
        self.feed(packet::first(id, kind, total)).await?;
        let pieces = calls.pieces(&content.reader, content.start, content.end);
        let mut pieces = std::pin::pin!(pieces);
        let mut number = 0;
        loop {
            let mut whole = waiting.chunks_exact(packet::PAYLOAD_BYTES);
            for payload in whole.by_ref() {
                number += 1;
                self.feed(packet::later(id, number, payload)).await?;
            }
            waiting = whole.remainder().to_vec();
            // Who takes it slowly has it for no longer than they may.
            if !presence.stands().await {
                return Err(Gone);
            }
            match pieces.next().await {
                Some(Ok(piece)) => waiting.extend_from_slice(&piece),
                // The message cannot be told whole, and only the end of the connection says so.
                Some(Err(_)) => return Err(Gone),
                None => break,
            }
        }
        if !waiting.is_empty() {
            self.feed(packet::later(id, number + 1, &waiting)).await?;
        }
        self.flush().await
    }

    async fn feed(&mut self, packet: Vec<u8>) -> Result<(), Gone> {
        let message = Message::Binary(Bytes::from(packet));
        let fed = tokio::time::timeout(self.patience, self.socket.feed(message));
        fed.await.ok().and_then(Result::ok).ok_or(Gone)
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        let flushed = tokio::time::timeout(self.patience, self.socket.flush());
        flushed.await.ok().and_then(Result::ok).ok_or(Gone)
    }

    /// Asks whether the participant is still there.
    pub(super) async fn ping(&mut self) -> Result<(), Gone> {
        let sent = self.socket.send(Message::Ping(Bytes::new()));
        let sent = tokio::time::timeout(self.patience, sent);
        sent.await.ok().and_then(Result::ok).ok_or(Gone)
    }

    /// Ends the connection of one who has said that it goes: the library has the answer ready (RFC 6455, section 5.5.1).
    pub(super) async fn let_go(mut self) {
        let _ = tokio::time::timeout(self.patience, self.socket.flush()).await;
    }

    /// Ends the connection, and says why.
    pub(super) async fn close(mut self, code: u16, reason: &'static str) {
        let reason = Message::Close(Some(CloseFrame {
            code,
            reason: reason.into(),
        }));
        // Whoever is gone needs no reason.
        let _ = tokio::time::timeout(self.patience, self.socket.send(reason)).await;
    }
}
