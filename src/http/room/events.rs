//! What a participant is told of the service's own accord: that it is in the room, and what happens there.

use serde_json::{Value, json};

use super::message;
use super::outbox::Gone;
use super::session::Session;
use crate::http::changes::Follower;
use crate::http::passwords::random_secret;
use crate::http::shared;
use crate::{Change, ChangeKind, Kind};

/// How many changes are read at a time.
const BATCH: usize = 100;

impl Session {
    /// What comes first: a client waits for both.
    pub(super) async fn greet(&mut self) -> Result<(), Gone> {
        let session_id = random_secret().map_err(|_| Gone)?;
        let host = self
            .room
            .base
            .strip_prefix("http")
            .unwrap_or(&self.room.base);
        let ready = json!({
            "room_name": self.name,
            "room_url": format!("ws{host}/rooms/{}", shared::escaped(&self.name)),
            "session_id": session_id,
        });
        self.push("room_ready", &ready).await?;
        let connected = json!({
            "type": "init",
            "participantId": self.participant,
            "attributes": {"name": self.participant},
        });
        self.push("connected", &connected).await
    }

    /// Sends what is no answer, in the dialect of the client.
    async fn push(&mut self, kind: &str, value: &Value) -> Result<(), Gone> {
        let body = match self.dialect.is_bare {
            true => value.to_string().into_bytes(),
            false => message::pack(value),
        };
        self.outbox.push(kind, &body).await
    }

    /// Tells what happened in the room, also by the participant itself: some of it, so that what it asks meanwhile gets
    /// its turn. Answers whether there may be more.
    pub(super) async fn tell_changes(&mut self, follower: &mut Follower) -> Result<bool, Gone> {
        // One that fell behind the history has missed something; to end here is to say so.
        let changes = follower.read(BATCH).await.map_err(|_| Gone)?;
        for change in &changes {
            self.tell(change).await?;
        }
        Ok(!changes.is_empty())
    }

    async fn tell(&mut self, change: &Change) -> Result<(), Gone> {
        if change.entry == Kind::Folder {
            return Ok(());
        }
        match &change.kind {
            ChangeKind::Put => {
                self.tell_file("storage.file.updated", &change.key, change)
                    .await
            }
            ChangeKind::Delete => {
                self.tell_file("storage.file.deleted", &change.key, change)
                    .await
            }
            ChangeKind::Move { from } => {
                let shown = |path: &str| self.room.access.shows_file(path);
                if !self.dialect.is_streaming || !shown(from) || !shown(&change.key) {
                    self.tell_file("storage.file.deleted", from, change).await?;
                    return self
                        .tell_file("storage.file.updated", &change.key, change)
                        .await;
                }
                let moved = json!({
                    "source_path": from,
                    "destination_path": change.key,
                    "participant_id": change.participant.as_deref().unwrap_or(""),
                });
                self.push("storage.file.moved", &moved).await
            }
        }
    }

    async fn tell_file(&mut self, kind: &str, path: &str, change: &Change) -> Result<(), Gone> {
        if !self.room.access.shows_file(path) {
            return Ok(());
        }
        let participant = change.participant.as_deref().unwrap_or("");
        let event = json!({"path": path, "participant_id": participant});
        self.push(kind, &event).await
    }
}
