//! Who sends a body slowly has no longer the rights that a request began with than they are theirs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use komatik::Store;
use komatik::http::Limits;
use serde_json::json;

use crate::drive::FILES;
use crate::form::{CONTENT_TYPE, Part, form};
use crate::server::{Client, Server};

/// A request of which the end is still to come.
struct Slow {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Slow {
    fn begin(client: &Client, request: &str, content_type: &str, body: &[u8]) -> Slow {
        let mut stream = TcpStream::connect(client.address).unwrap();
        let (name, value) = &client.credentials[0];
        let head = format!(
            "{request} HTTP/1.1\r\nhost: localhost\r\n{name}: {value}\r\ncontent-type: {content_type}\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        // Of a form the end of its last file.
        let rest = match content_type == CONTENT_TYPE {
            true => body.len() / 4,
            false => 1,
        };
        let (now, rest) = body.split_at(body.len() - rest);
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(now).unwrap();
        Slow {
            stream,
            rest: rest.to_owned(),
        }
    }

    /// The status and the body.
    fn end(mut self) -> (u16, String) {
        // Refused already, it may be.
        let _ = self.stream.write_all(&self.rest);
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split("\r\n\r\n").last().unwrap();
        (status, body.to_owned())
    }
}

/// Everything that a user of an own folder, and of a drive, may send slowly; and one admin.
fn all(server: &Server, user: &Client, admin: &Client) -> Vec<Slow> {
    const JSON: &str = "application/json";
    let parts = [Part::file("one", b"1"), Part::file("two", b"2")];
    let new = json!({"password": "a long one", "role": "admin"}).to_string();
    let storage = server.storage("ann");
    let drive = server.drive("ann");
    let begun = vec![
        Slow::begin(user, "PUT /v1/blobs/blob", "text/plain", b"blob"),
        Slow::begin(user, "PUT /v1/documents/document", JSON, b"{\"a\": 1}"),
        Slow::begin(user, "POST /v1/blobs/form", CONTENT_TYPE, &form(&parts)),
        Slow::begin(
            user,
            "POST /v1/copy",
            JSON,
            br#"{"from": "there", "to": "copy"}"#,
        ),
        Slow::begin(user, "POST /v1/tokens/there", JSON, b"{ }"),
        Slow::begin(user, "PUT /v1/locks/there", JSON, br#"{"edit": "x"}"#),
        Slow::begin(
            &storage,
            "PUT /storage/ann/storage",
            CONTENT_TYPE,
            &form(&parts),
        ),
        Slow::begin(
            &drive,
            &format!("POST {FILES}?name=drive"),
            "text/plain",
            b"drive",
        ),
        Slow::begin(admin, "PUT /v1/users/eve", JSON, new.as_bytes()),
    ];
    // So that each is known.
    std::thread::sleep(Duration::from_millis(500));
    begun
}

fn keys(server: &Server) -> Vec<String> {
    let all = komatik::ListOptions::new().recursive();
    let items = server.store.list_with("", all).unwrap();
    let keys = items.map(|item| item.unwrap().name);
    keys.filter(|key| !key.starts_with(".komatik/sessions"))
        .collect()
}

/// The service, an admin who may be removed, and `ann` with a file.
fn begin() -> (Server, Client, Client) {
    let server = Server::start();
    let bob = server.user("bob", "admin", "home/bob");
    let ann = server.user("ann", "writer", "home/ann");
    server.store.put("home/ann/there", "there").unwrap();
    // A key of its own for what follows.
    server.drive("ann");
    (server, ann, bob)
}

#[test]
fn who_is_removed_ends_nothing_that_is_under_way() {
    let (server, ann, bob) = begin();
    let under_way = all(&server, &ann, &bob);
    let before = keys(&server);
    for name in ["ann", "bob"] {
        let removed = server
            .admin()
            .send("DELETE", &format!("/v1/users/{name}"), &[], b"");
        assert_eq!(removed.status, 204);
    }
    let mut bodies = Vec::new();
    for (number, slow) in under_way.into_iter().enumerate() {
        let (status, body) = slow.end();
        assert_eq!(status, 401, "{number}: {body}");
        bodies.push(body);
    }
    // Each in the form of its protocol: what is stored of a form, a JSON string, a list.
    assert!(bodies[2].contains(r#""stored":[{"#), "{}", bodies[2]);
    assert!(bodies[6].starts_with('"'), "{}", bodies[6]);
    assert!(bodies[7].starts_with(r#"{"errors":["#), "{}", bodies[7]);
    let is_left = |key: &String| !key.starts_with(".komatik");
    let (before, after): (Vec<_>, Vec<_>) = (
        before.into_iter().filter(is_left).collect(),
        keys(&server).into_iter().filter(is_left).collect(),
    );
    // Of the forms the first file was whole before.
    let more: Vec<_> = after.iter().filter(|key| !before.contains(key)).collect();
    assert_eq!(more, Vec::<&String>::new());
    let users = server.admin().get("/v1/users").value();
    assert_eq!(users["users"].as_array().unwrap().len(), 1, "{users}");
    assert_eq!(server.store.tokens().unwrap().len(), 0);
    server.store.put("home/ann/there", "not locked").unwrap();
}

/// Nothing changes then that the service could notice.
#[test]
fn a_session_that_ends_takes_what_is_under_way_with_it() {
    let mut limits = Limits::default();
    limits.session_time = Duration::from_secs(5);
    let server = Server::with(&Store::in_memory().unwrap(), limits);
    let ann = server.user("ann", "writer", "home/ann");
    let new = json!({"password": "a long one", "role": "admin"}).to_string();
    let user = Slow::begin(
        &server.admin(),
        "PUT /v1/users/eve",
        "application/json",
        new.as_bytes(),
    );
    let blob = Slow::begin(&ann, "PUT /v1/blobs/blob", "text/plain", b"blob");
    std::thread::sleep(Duration::from_millis(5500));
    for slow in [user, blob] {
        let (status, body) = slow.end();
        assert_eq!(status, 401, "{body}");
    }
    assert!(!server.store.exists(".komatik/users/eve").unwrap());
    assert!(!server.store.exists("home/ann/blob").unwrap());
}

#[test]
fn another_role_or_root_ends_what_is_under_way_and_another_account_does_not() {
    let (server, ann, bob) = begin();
    let under_way = all(&server, &ann, &bob);
    server.user("carl", "writer", "home/carl");
    for (number, slow) in under_way.into_iter().enumerate() {
        assert!((200..300).contains(&slow.end().0), "{number}");
    }
    for change in [json!({"role": "reader"}), json!({"root": "home/other"})] {
        let slow = Slow::begin(&ann, "PUT /v1/blobs/late", "text/plain", b"late");
        std::thread::sleep(Duration::from_millis(300));
        let changed = server.admin().json("PATCH", "/v1/users/ann", &change);
        assert_eq!(changed.status, 204);
        assert_eq!(slow.end().0, 401, "{change}");
        let back = json!({"role": "writer", "root": "home/ann"});
        server.admin().json("PATCH", "/v1/users/ann", &back);
    }
    assert!(!server.store.exists("home/ann/late").unwrap());
}
