//! Limits that are none.

use std::time::Duration;

use komatik::Store;
use komatik::http::{Limits, Service};
use serde_json::json;

use crate::server::Server;

#[test]
fn any_number_of_calls_may_be_allowed_and_the_first_password_is_told() {
    let mut limits = Limits::default();
    limits.calls = usize::MAX;
    let (_, first) = Service::new(&Store::in_memory().unwrap(), limits).unwrap();
    assert!(first.is_some());
}

#[test]
fn time_without_end_may_be_allowed() {
    for head_time in [Duration::MAX, Limits::default().head_time] {
        let mut limits = Limits::default();
        limits.head_time = head_time;
        limits.body_time = Duration::MAX;
        limits.stop_time = Duration::MAX;
        limits.session_time = Duration::MAX;
        let mut server = Server::with(&Store::in_memory().unwrap(), limits);
        let health =
            server.raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        assert!(health.starts_with("HTTP/1.1 200 "), "{health}");
        let admin = server.admin();
        assert_eq!(admin.put("/v1/blobs/b", b"x").status, 201);
        let key = server.key("admin");
        let mut ann = server.enter(&key);
        ann.write("a", &[b"x"]);
        let saved = admin.json("PUT", "/v1/documents/d", &json!({"a": 1}));
        assert_eq!(saved.status, 201);
        drop(ann);
        server.stop();
    }
}

#[test]
fn any_number_of_all_there_is_may_be_allowed() {
    let mut limits = Limits::default();
    limits.connections = usize::MAX;
    limits.json_bytes = usize::MAX;
    limits.calls = usize::MAX;
    limits.logins = usize::MAX;
    let server = Server::with(&Store::in_memory().unwrap(), limits);
    let admin = server.admin();
    let saved = admin.json("PUT", "/v1/documents/d", &json!({"a": 1}));
    assert_eq!(saved.status, 201);
    let upload = server.nobody().put("/cloudstore/upload", b"x");
    assert!(upload.status < 500, "{upload:?}");
}
