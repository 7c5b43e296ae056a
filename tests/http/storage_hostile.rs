//! HTTP storage: requests that try to get out, to leave halves, or to fill the memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::form::{CONTENT_TYPE, Part, form};
use crate::server::{Client, Server};

/// Sends it as it is, on a connection of its own.
fn raw(server: &Server, client: &Client, head: &str, body: &[u8]) -> String {
    let token = &client.credentials[0].1;
    let head =
        format!("{head}\r\nhost: localhost\r\nauthorization: {token}\r\nconnection: close\r\n\r\n");
    server.raw(&[head.as_bytes(), body].concat())
}

#[test]
fn no_path_leads_out_of_the_storage_of_the_user() {
    let server = Server::start();
    let ann = server.ann();
    server.store.put("home/bob/secret", "bob's").unwrap();
    for (path, status) in [
        ("/storage/ann/../bob/secret", 401),
        ("/storage/ann/..%2Fbob%2Fsecret", 401),
        ("/storage/ann/%2e%2e/bob/secret", 401),
        ("/storage/ann/a/..%2f..%2fbob/secret", 401),
        ("/storage/../storage/bob/secret", 401),
        ("/storage/%2e%2e/bob/secret", 401),
        ("/storage/ann%2F..%2Fbob/secret", 401),
        ("/storage/bob/secret", 401),
        ("/storage/bob", 401),
        ("/storage/.komatik/users", 401),
        ("/storage/ann/a/../a/plan.txt", 400),
        ("/storage/ann/./Z.txt", 400),
        ("/storage/ann/%2Fetc/passwd", 400),
        ("/storage/ann/a%2F%2Fb", 400),
        ("/storage/ann/a%00", 400),
        ("/storage/ann/a%0d%0ab", 400),
        ("/storage/ann/%ff", 400),
        ("/storage/ann/%252e%252e%252Fbob", 404),
        ("/storage/ann/..%5Cbob%5Csecret", 404),
        ("/storage/ann/home/bob/secret", 404),
        ("/storage/ann/.komatik/users/admin", 404),
    ] {
        for method in ["GET", "HEAD", "META", "DELETE"] {
            let answer = raw(&server, &ann, &format!("{method} {path} HTTP/1.1"), b"");
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{method} {path}: {answer}"
            );
            assert!(!answer.contains("bob's"));
        }
        if status == 404 {
            continue;
        }
        let body = form(&[Part::file("x", b"x")]);
        let length = body.len();
        let head = format!(
            "PUT {path} HTTP/1.1\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {length}"
        );
        let answer = raw(&server, &ann, &head, &body);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {answer}"
        );
        let action = r#"{"action":"MakePathToken"}"#;
        let length = action.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: {length}"
        );
        if status == 401 {
            let answer = raw(&server, &ann, &head, action.as_bytes());
            assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
        }
    }
    let home: Vec<_> = server
        .store
        .list("home")
        .unwrap()
        .map(|item| item.unwrap().name)
        .collect();
    assert_eq!(home, ["ann", "bob"]);
    assert_eq!(server.store.list("home/bob").unwrap().count(), 1);
}

#[test]
fn no_half_of_a_file_is_stored() {
    let server = Server::start();
    server.user("ann", "writer", "home/ann");
    let ann = server.storage("ann");
    let whole = form(&[
        Part::file("first", b"1"),
        Part::file("second", &[7; 100_000]),
    ]);
    let second = whole
        .windows(6)
        .position(|bytes| bytes == b"second")
        .unwrap();
    // Cut in the second part, at several places: the first is there, the second is not.
    for (round, cut) in [second, second + 20, whole.len() - 50_000, whole.len() - 20]
        .into_iter()
        .enumerate()
    {
        let folder = format!("f{round}");
        let head = format!(
            "PUT /storage/ann/{folder} HTTP/1.1\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {}",
            cut
        );
        let answer = raw(&server, &ann, &head, &whole[..cut]);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{cut}: {answer}");
        assert!(answer.contains("\"File upload error "), "{answer}");
        let store = server.store.scoped(&format!("home/ann/{folder}")).unwrap();
        let names: Vec<_> = store
            .list("")
            .unwrap()
            .map(|item| item.unwrap().name)
            .collect();
        assert_eq!(names, ["first"]);
    }
    for (content_type, body) in [
        (CONTENT_TYPE, &b"no form at all"[..]),
        (CONTENT_TYPE, b""),
        (CONTENT_TYPE, b"--a--boundary\r\n\r\nno name of a field"),
        (
            CONTENT_TYPE,
            b"--a--boundary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n",
        ),
        ("multipart/form-data", b"--x\r\n"),
        ("text/plain", b"x"),
    ] {
        let headers = [("content-type", content_type)];
        let reply = ann.send("PUT", "/storage/ann/bad", &headers, body);
        assert_eq!(
            reply.status,
            400,
            "{:?}: {}",
            body.escape_ascii().to_string(),
            reply.text()
        );
        assert!(
            reply
                .value()
                .as_str()
                .unwrap()
                .starts_with("File upload error ")
        );
    }
    assert!(!server.store.exists("home/ann/bad").unwrap());
}

#[test]
fn a_body_that_breaks_off_stores_nothing() {
    let server = Server::start();
    server.user("ann", "writer", "home/ann");
    let ann = server.storage("ann");
    let body = form(&[Part::file("x", &[7; 10_000])]);
    let head = format!(
        "PUT /storage/ann/ HTTP/1.1\r\nhost: localhost\r\nauthorization: {}\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {}\r\n\r\n",
        ann.credentials[0].1,
        body.len()
    );
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body[..5000]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    assert_eq!(
        ann.get("/storage/ann/").value()["entries"],
        serde_json::json!([])
    );
}
