//! HTTP storage: what forms cost, in a process of its own.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::command;
use crate::form::CONTENT_TYPE;
use crate::server::Client;

const TOTAL: usize = 300 << 20;
/// What the process may have had at most. Hashing a password takes 19 MiB, and the store has its caches.
const MOST: u64 = 200 << 20;

/// Bytes of memory that a process has at most had.
fn peak_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// Sends the beginning of a form, so many bytes more of the same and the end, and answers what comes back.
fn flood(client: &Client, request: &str, begin: &[u8], end: &[u8]) -> String {
    let token = &client.credentials[0].1;
    let length = begin.len() + TOTAL + end.len();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: localhost\r\nauthorization: {token}\r\nconnection: close\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {length}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(client.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream
        .write_all(&[head.as_bytes(), begin].concat())
        .unwrap();
    let piece = vec![b'x'; 1 << 20];
    // The service may answer before it has read all, and close.
    let all = (0..TOTAL / piece.len()).all(|_| stream.write_all(&piece).is_ok());
    if all {
        let _ = stream.write_all(end);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_form_costs_little_memory_whatever_is_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let (child, greeting) = command::start(directory.path());
    let password = &greeting["first_login"]["password"];
    let admin = command::client(&greeting, password.as_str().unwrap());
    let login = json!({"username": "admin", "password": password});
    let login = admin.json("POST", "/auth/login", &login).value();
    let token = login["access_token"].as_str().unwrap().to_owned();
    let storage = Client {
        credentials: vec![("authorization".to_owned(), token)],
        ..admin.clone()
    };
    let file =
        b"--a--boundary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"big\"\r\n\r\n";
    let end = b"\r\n--a--boundary--\r\n";
    let put = "PUT /storage/admin/";
    let answer = flood(&storage, put, file, end);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let meta = storage.send("META", "/storage/admin/big", &[], b"").value();
    assert_eq!(meta["size"], TOTAL);
    // The head of a part that has no end, the name of a field, and what stands before the first part.
    let head =
        b"--a--boundary\r\nContent-Disposition: form-data; name=\"f\"; filename=\"y\"\r\nX-Y: ";
    let name = b"--a--boundary\r\nContent-Disposition: form-data; name=\"";
    for (client, request) in [(&storage, put), (&admin, "POST /v1/blobs/form")] {
        for begin in [&head[..], name, b""] {
            let answer = flood(client, request, begin, end);
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
                "{answer}"
            );
        }
    }
    // A file before the key, and the key itself.
    let upload = "POST /cloudstore/upload-2";
    let key = b"--a--boundary\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n";
    for begin in [&file[..], key] {
        let answer = flood(&storage, upload, begin, end);
        assert!(
            answer.is_empty() || answer.contains("\"error\":\"Bad"),
            "{answer}"
        );
    }
    let peak = peak_memory(child.id());
    assert!(peak < MOST, "{} MiB", peak >> 20);
    let listed = storage.get("/storage/admin/").value();
    assert_eq!(listed["entries"].as_array().unwrap().len(), 1, "{listed}");
    command::stop(child);
}
