//! Stopping: what is under way ends, what was acknowledged stays.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use komatik::Store;
use komatik::http::Limits;

use crate::server::Server;

#[test]
fn a_request_under_way_is_done_and_no_other_is_taken() {
    let mut server = Server::start();
    let session = server.admin().credentials[0].1.clone();
    let mut stream = TcpStream::connect(server.address).unwrap();
    let head = format!(
        "PUT /v1/blobs/b HTTP/1.1\r\nhost: localhost\r\nauthorization: {session}\r\ncontent-length: 6\r\n\r\nabc"
    );
    stream.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    server.begin_stop();
    let refused = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        TcpStream::connect(server.address).is_err()
    });
    assert!(refused, "it still accepts connections");
    stream.write_all(b"def").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    server.stop();
    assert_eq!(server.store.get("b").unwrap().unwrap(), "abcdef");
}

#[test]
fn who_takes_too_long_is_given_up() {
    let mut limits = Limits::default();
    limits.stop_time = Duration::from_millis(200);
    let mut server = Server::with(&Store::in_memory().unwrap(), limits);
    let session = server.admin().credentials[0].1.clone();
    let mut stream = TcpStream::connect(server.address).unwrap();
    let head = format!(
        "PUT /v1/blobs/b HTTP/1.1\r\nhost: localhost\r\nauthorization: {session}\r\ncontent-length: 6\r\n\r\nabc"
    );
    stream.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    server.stop();
    assert!(!server.store.exists("b").unwrap());
}
