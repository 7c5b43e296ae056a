//! A participant of a room: packets and messages by hand, over the WebSocket of a library.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use jwt_compact::alg::{Hs256, Hs256Key};
use jwt_compact::{AlgorithmExt, Claims, Header};
use serde_json::{Map, Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Request;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::{Error, Message, WebSocket};

use crate::server::Server;

/// An API key of a project, and its id.
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) project: String,
    pub(crate) key: String,
}

impl Server {
    /// An API key for the project `proj`.
    pub(crate) fn key(&self, user: &str) -> Key {
        self.key_for(user, "proj")
    }

    pub(crate) fn key_for(&self, user: &str, project: &str) -> Key {
        let new = json!({"user": user, "label": "test", "project": project});
        let reply = self.admin().json("POST", "/v1/keys", &new);
        assert_eq!(reply.status, 201, "{reply:?}");
        let told = |member: &str| reply.value()[member].as_str().unwrap().to_owned();
        Key {
            id: told("id"),
            project: project.to_owned(),
            key: told("key"),
        }
    }

    /// Enters the room `r` as `ann`, as a client of the handle generation does.
    pub(crate) fn enter(&self, key: &Key) -> Participant {
        self.enter_as(key, "ann", json!([]))
    }

    pub(crate) fn enter_as(&self, key: &Key, name: &str, grants: Value) -> Participant {
        let token = key.token(name, grants);
        Participant::connect(self, &format!("/rooms/r?token={token}&v=0.29.4"), &[])
            .unwrap()
            .greeted()
    }

    /// Enters the room `r` as a client of the streaming generation does.
    pub(crate) fn enter_streaming(&self, key: &Key, name: &str) -> Participant {
        let bearer = format!("Bearer {}", key.token(name, json!([])));
        Participant::connect(self, "/rooms/r?v=0.56.0", &[("authorization", &bearer)])
            .unwrap()
            .greeted()
    }
}

impl Key {
    /// A token for the room `r`, with these grants besides.
    pub(crate) fn token(&self, name: &str, grants: Value) -> String {
        let mut all = vec![json!({"name": "room", "scope": "r"})];
        all.extend(grants.as_array().unwrap().iter().cloned());
        let claims = json!({"name": name, "grants": all, "sub": self.project, "kid": self.id});
        sign(&self.key, &claims)
    }
}

pub(crate) fn sign(secret: &str, claims: &Value) -> String {
    let claims: Map<String, Value> = claims.as_object().unwrap().clone();
    let key = Hs256Key::new(secret.as_bytes());
    Hs256
        .token(&Header::empty(), &Claims::new(claims), &key)
        .unwrap()
}

/// A message that came: its kind, the packets of its body put together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Received {
    pub(crate) id: u64,
    pub(crate) kind: String,
    pub(crate) body: Vec<u8>,
}

impl Received {
    /// The header and the trailer of a packed message.
    #[track_caller]
    pub(crate) fn unpacked(&self) -> (Value, Vec<u8>) {
        let length = u64::from_be_bytes(self.body[..8].try_into().unwrap());
        let (header, trailer) = self.body[8..].split_at(usize::try_from(length).unwrap());
        (serde_json::from_slice(header).unwrap(), trailer.to_vec())
    }
}

pub(crate) fn packed(header: &Value, trailer: &[u8]) -> Vec<u8> {
    let header = header.to_string();
    let mut body = (header.len() as u64).to_be_bytes().to_vec();
    body.extend(header.as_bytes());
    body.extend(trailer);
    body
}

pub(crate) fn first_packet(id: u64, total: u32, kind: &str) -> Vec<u8> {
    [
        &id.to_be_bytes(),
        &0_u32.to_be_bytes()[..],
        &total.to_be_bytes(),
        kind.as_bytes(),
    ]
    .concat()
}

pub(crate) fn later_packet(id: u64, number: u32, bytes: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes(), &number.to_be_bytes()[..], bytes].concat()
}

pub(crate) struct Participant<S = TcpStream> {
    pub(crate) socket: WebSocket<S>,
    last_id: u64,
    /// What came besides answers.
    pub(crate) pushed: Vec<Received>,
}

impl Participant {
    /// Connects, or answers the status of the refusal.
    pub(crate) fn connect(
        server: &Server,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Participant, u16> {
        let stream = TcpStream::connect(server.address).unwrap();
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).unwrap();
        stream.set_nodelay(true).unwrap();
        let url = format!("ws://{}{path}", server.address);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        Participant::over(stream, request)
    }
}

impl<S: Read + Write> Participant<S> {
    /// Connects by a stream that is there.
    pub(crate) fn over(stream: S, request: Request) -> Result<Participant<S>, u16> {
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Participant {
                socket,
                last_id: 0,
                pushed: Vec::new(),
            }),
            Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
                Err(response.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Reads the two messages that come first.
    pub(crate) fn greeted(mut self) -> Participant<S> {
        assert_eq!(self.receive().kind, "room_ready");
        assert_eq!(self.receive().kind, "connected");
        self
    }

    pub(crate) fn send_packet(&mut self, packet: Vec<u8>) {
        self.socket.send(Message::Binary(packet.into())).unwrap();
    }

    /// Sends a message and answers its id.
    pub(crate) fn send(&mut self, kind: &str, body: &[u8]) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        let total = u32::try_from(body.len().div_ceil(1024)).unwrap();
        let mut write = |packet: Vec<u8>| {
            self.socket.write(Message::Binary(packet.into())).unwrap();
        };
        write(first_packet(id, total, kind));
        for (number, piece) in (1..).zip(body.chunks(1024)) {
            write(later_packet(id, number, piece));
        }
        self.socket.flush().unwrap();
        id
    }

    /// The next frame that is not about the connection; the reason where it ends.
    pub(crate) fn frame(&mut self) -> Result<Vec<u8>, Option<CloseFrame>> {
        loop {
            match self.socket.read() {
                Ok(Message::Binary(packet)) => return Ok(packet.to_vec()),
                Ok(Message::Close(reason)) => return Err(reason),
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) fn receive(&mut self) -> Received {
        let first = self.frame().unwrap();
        let number = |at: std::ops::Range<usize>| u32::from_be_bytes(first[at].try_into().unwrap());
        assert_eq!(number(8..12), 0, "packet 0");
        let total = number(12..16);
        let mut body = Vec::new();
        for number in 1..=total {
            let packet = self.frame().unwrap();
            assert_eq!(packet[..8], first[..8], "nothing comes between");
            assert_eq!(packet[8..12], number.to_be_bytes());
            let is_full = packet.len() == 12 + 1024;
            assert!(is_full || (number == total && packet.len() > 12));
            body.extend(&packet[12..]);
        }
        Received {
            id: u64::from_be_bytes(first[..8].try_into().unwrap()),
            kind: String::from_utf8(first[16..].to_vec()).unwrap(),
            body,
        }
    }

    /// The answer to the message of this id.
    #[track_caller]
    pub(crate) fn answer_to(&mut self, id: u64) -> (Value, Vec<u8>) {
        loop {
            let received = self.receive();
            if received.kind == "__response__" {
                assert_eq!(received.id, id);
                return received.unpacked();
            }
            self.pushed.push(received);
        }
    }

    /// Asks, with bytes behind the header, and waits for the answer.
    #[track_caller]
    pub(crate) fn call_with(
        &mut self,
        kind: &str,
        header: &Value,
        trailer: &[u8],
    ) -> (Value, Vec<u8>) {
        let id = self.send(kind, &packed(header, trailer));
        self.answer_to(id)
    }

    #[track_caller]
    pub(crate) fn call(&mut self, kind: &str, header: Value) -> Value {
        self.call_with(kind, &header, b"").0
    }

    /// The `json` of an answer that is one.
    #[track_caller]
    pub(crate) fn json(&mut self, kind: &str, header: Value) -> Value {
        let answer = self.call(kind, header);
        assert_eq!(answer["type"], "json", "{answer}");
        answer["json"].clone()
    }

    /// The code of an answer that is an error.
    #[track_caller]
    pub(crate) fn code(&mut self, kind: &str, header: Value) -> Value {
        let answer = self.call(kind, header);
        assert_eq!(answer["type"], "error", "{answer}");
        assert!(answer["text"].as_str().is_some_and(|text| !text.is_empty()));
        answer["code"].clone()
    }

    /// Opens a file, writes these pieces and closes it.
    #[track_caller]
    pub(crate) fn write(&mut self, path: &str, pieces: &[&[u8]]) {
        let opened = self.json("storage.open", json!({"path": path, "overwrite": false}));
        let handle = json!({"handle": opened["handle"]});
        for piece in pieces {
            let (answer, _) = self.call_with("storage.write", &handle, piece);
            assert_eq!(answer, json!({"type": "empty"}));
        }
        assert_eq!(self.call("storage.close", handle), json!({"type": "empty"}));
    }

    #[track_caller]
    pub(crate) fn read(&mut self, path: &str) -> Vec<u8> {
        let (header, content) = self.call_with("storage.download", &json!({"path": path}), b"");
        assert_eq!(header["type"], "file", "{header}");
        content
    }

    /// The next message that is not an answer.
    pub(crate) fn next_pushed(&mut self) -> (String, Value) {
        let received = match self.pushed.is_empty() {
            true => self.receive(),
            false => self.pushed.remove(0),
        };
        let (header, _) = received.unpacked();
        (received.kind, header)
    }
}
