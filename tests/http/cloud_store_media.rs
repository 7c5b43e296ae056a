//! CloudStore: media, brought in forms and opened by their paths.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::form::{CONTENT_TYPE, Part, form};
use crate::server::Server;

fn upload(server: &Server, parts: &[Part<'_>]) -> Value {
    let headers = [("content-type", CONTENT_TYPE)];
    let body = form(parts);
    let reply = server
        .nobody()
        .send("POST", "/cloudstore/upload-2", &headers, &body);
    reply.answer()
}

fn image<'a>(name: &'a str, content: &'a [u8]) -> Part<'a> {
    Part {
        content_type: Some("image/jpg"),
        ..Part::file(name, content)
    }
}

/// The names of what the account has.
fn media(server: &Server, account: &str) -> Vec<String> {
    let folder = format!("home/{account}/cloudstore/media");
    let listing = server.store.list(&folder).unwrap();
    listing.map(|item| item.unwrap().cursor()).collect()
}

#[test]
fn a_file_is_taken_in_whatever_order_the_fields_come() {
    let server = Server::start();
    let key = server.api_key("ann", "writer");
    let (key, unset) = (Part::text("key", &key), Part::text("password", "undefined"));
    let media_pass = Part::text("mediaPass", "undefined");
    let mut folders = Vec::new();
    for (name, parts) in [
        // JavaScript 1.0 and 1.1, then Python.
        ("jazz1.jpg", vec![image("jazz1.jpg", b"north"), key, unset]),
        (
            "jazz2.jpg",
            vec![image("jazz2.jpg", b"north"), key, unset, media_pass],
        ),
        ("jazz3.jpg", vec![key, image("jazz3.jpg", b"north")]),
        ("blob", vec![image("blob", b"north"), key, unset]),
    ] {
        let answer = upload(&server, &parts);
        assert_eq!(
            (&answer["error"], &answer["message"]),
            (&Value::Null, &json!("File Uploaded"))
        );
        let data = &answer["data"];
        let folder = data["folder"].as_str().unwrap().to_owned();
        assert_eq!(folder.len(), 32);
        assert!(folder.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let expected = json!({
            "id": format!("{folder}/{name}"),
            "name": name,
            "folder": folder,
            "mimetype": "image/jpg",
            "size": 5,
        });
        assert_eq!(*data, expected);
        let path = format!("/cloudstore/files/{folder}/{name}");
        let opened = server.nobody().get(&path);
        assert_eq!((opened.status, opened.text().as_str()), (200, "north"));
        assert_eq!(opened.header("content-type"), "image/jpg");
        assert!(opened.header("content-disposition").starts_with("inline"));
        let head = server.nobody().send("HEAD", &path, &[], b"");
        assert_eq!((head.status, head.header("content-length")), (200, "5"));
        let part = server
            .nobody()
            .send("GET", &path, &[("range", "bytes=0-1")], b"");
        assert_eq!((part.status, part.text().as_str()), (206, "no"));
        folders.push(folder);
    }
    for (folder, other) in [(0, "jazz2.jpg"), (1, "jazz1.jpg"), (2, "blob")] {
        let path = format!("/cloudstore/files/{}/{other}", folders[folder]);
        let probed = server.nobody().get(&path);
        assert_eq!(probed.status, 404, "one path tells nothing of another");
    }
    let again = upload(&server, &[key, image("jazz1.jpg", b"south")]);
    assert_eq!(again["data"]["folder"], folders[0].as_str(), "it stays");
    assert_eq!(
        media(&server, "ann"),
        ["blob", "jazz1.jpg", "jazz2.jpg", "jazz3.jpg"]
    );
}

#[test]
fn a_file_without_a_type_has_that_of_its_name() {
    let server = Server::start();
    let key = server.api_key("ann", "writer");
    for (name, expected) in [("a.png", "image/png"), ("a", "application/octet-stream")] {
        let answer = upload(&server, &[Part::file(name, b"x"), Part::text("key", &key)]);
        assert_eq!(answer["data"]["mimetype"], expected);
    }
}

#[test]
fn media_are_replaced_by_who_has_the_password() {
    let server = Server::start();
    let key = server.api_key("ann", "writer");
    let key = Part::text("key", &key);
    let first = upload(&server, &[image("a.jpg", b"1"), key]);
    let ann = server.log_in("ann", "a long one");
    let lock = json!({"edit": "12345"});
    assert_eq!(
        ann.json("PUT", "/v1/locks/cloudstore/media/a.jpg", &lock)
            .status,
        204
    );
    let path = format!(
        "/cloudstore/files/{}",
        first["data"]["id"].as_str().unwrap()
    );
    for (field, password, opens) in [
        ("password", "undefined", false),
        ("password", "", false),
        ("password", "wrong", false),
        ("mediaPass", "undefined", false),
        ("password", "12345", true),
        ("mediaPass", "12345", true),
    ] {
        let parts = [
            image("a.jpg", password.as_bytes()),
            key,
            Part::text(field, password),
        ];
        let answer = upload(&server, &parts);
        match opens {
            false => assert_eq!(answer["error"], "Locked", "{field} {password}"),
            true => assert_eq!(
                answer["data"]["id"], first["data"]["id"],
                "{field} {password}"
            ),
        }
        let expected = if opens { "12345" } else { "1" };
        assert_eq!(server.nobody().get(&path).text(), expected);
    }
}

#[test]
fn the_paths_of_media_are_their_own_and_stay() {
    let mut server = Server::start();
    let keys = ["ann", "bob"].map(|name| server.api_key(name, "writer"));
    let uploaded = keys.each_ref().map(|key| {
        let parts = [image("a.jpg", key.as_bytes()), Part::text("key", key)];
        upload(&server, &parts)["data"]["folder"]
            .as_str()
            .unwrap()
            .to_owned()
    });
    assert_ne!(uploaded[0], uploaded[1]);
    let password = server.password.clone();
    server.stop();
    let server = Server::with(&server.store, komatik::http::Limits::default());
    let open = |folder: &str, name: &str| {
        server
            .nobody()
            .get(&format!("/cloudstore/files/{folder}/{name}"))
    };
    for (folder, key) in uploaded.iter().zip(&keys) {
        assert_eq!(open(folder, "a.jpg").text(), *key, "after a restart");
        assert_eq!(open(folder, "none").status, 404);
        assert_eq!(open(folder, "..%2Fdata%2Fx").status, 404);
        assert_eq!(open(folder, "%2e%2e").status, 404);
    }
    for folder in [
        "x",
        "ann",
        &"0".repeat(32),
        "..",
        &uploaded[0].to_uppercase(),
        &"/".repeat(32),
    ] {
        assert_eq!(open(folder, "a.jpg").status, 404, "{folder}");
    }
    let admin = server.log_in("admin", &password);
    assert_eq!(admin.delete("/v1/users/ann").status, 204);
    assert_eq!(open(&uploaded[0], "a.jpg").status, 404);
}

#[test]
fn what_is_no_upload_leaves_nothing() {
    let server = Server::start();
    let key = server.api_key("ann", "writer");
    let reader = server.api_key("eve", "reader");
    let (key, reader) = (Part::text("key", &key), Part::text("key", &reader));
    let file = image("a.jpg", b"x");
    let long = "x".repeat(100_000);
    for (parts, error) in [
        (vec![], "BadKey"),
        (vec![file], "BadKey"),
        (vec![file, Part::text("key", "x")], "BadKey"),
        (vec![file, Part::text("key", "undefined")], "BadKey"),
        (vec![Part::text("key", "x"), file], "BadKey"),
        (vec![key], "BadRequest"),
        (
            vec![key, Part::text("file", "a file without a name")],
            "BadRequest",
        ),
        (vec![key, Part::file("..", b"x")], "BadRequest"),
        (vec![file, reader], "ReadOnly"),
        (vec![reader, file], "ReadOnly"),
        (vec![file, Part::text("key", &long)], "BadRequest"),
        (vec![file, key, Part::text("password", &long)], "BadRequest"),
    ] {
        let answer = upload(&server, &parts);
        assert_eq!(
            (&answer["error"], &answer["data"]),
            (&json!(error), &Value::Null),
            "{answer}"
        );
    }
    let whole = form(&[image("a.jpg", &[7; 10_000]), key]);
    for (content_type, body) in [
        (CONTENT_TYPE, &whole[..5000]),
        (CONTENT_TYPE, &whole[..whole.len() - 15]),
        (CONTENT_TYPE, b""),
        ("multipart/form-data", &whole),
        ("application/json", b"{}"),
    ] {
        let headers = [("content-type", content_type)];
        let reply = server
            .nobody()
            .send("POST", "/cloudstore/upload-2", &headers, body);
        assert_eq!(reply.answer()["error"], "BadRequest");
    }
    for account in ["ann", "eve"] {
        assert_eq!(media(&server, account), [""; 0]);
    }
    let top: Vec<_> = server
        .store
        .list("")
        .unwrap()
        .map(|item| item.unwrap().name)
        .collect();
    assert_eq!(
        top,
        [".komatik"],
        "nothing lies where files are before it is known whose"
    );
    let more = [Part::text("other", &long), file, key, image("b.jpg", b"y")];
    let answer = upload(&server, &more);
    assert_eq!(answer["data"]["name"], "a.jpg", "of two files the first");
    assert_eq!(media(&server, "ann"), ["a.jpg"]);
}

#[test]
fn a_form_has_only_so_many_parts_and_passwords() {
    let server = Server::start();
    let key = server.api_key("ann", "writer");
    let (file, key) = (image("a.jpg", b"x"), Part::text("key", &key));
    let offered = |count| vec![Part::text("password", "x"); count];
    let answer = upload(&server, &[offered(9), vec![file, key]].concat());
    assert_eq!(answer["error"], "BadRequest", "{answer}");
    let answer = upload(&server, &[offered(8), vec![file, key]].concat());
    assert_eq!(answer["error"], Value::Null, "{answer}");
    let others = vec![Part::text("other", "x"); 10_000];
    let answer = upload(&server, &[others, vec![file, key]].concat());
    assert_eq!(answer["error"], "BadRequest", "{answer}");
}

#[test]
fn only_so_much_comes_before_its_key() {
    let server = Server::start();
    let key = server.api_key("ann", "writer");
    let (file, key) = (image("a.jpg", b"x"), Part::text("key", &key));
    let begin = || {
        let mut stream = TcpStream::connect(server.address).unwrap();
        let unset = Part::text("key", "undefined");
        let whole = form(&[
            Part::file("held", &[7; 100]),
            unset,
            Part::text("id", "0123456789"),
        ]);
        let begin = &whole[..whole.len() - 30];
        let head = format!(
            "POST /cloudstore/upload-2 HTTP/1.1\r\nhost: localhost\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {}\r\n\r\n",
            whole.len()
        );
        stream
            .write_all(&[head.as_bytes(), begin].concat())
            .unwrap();
        stream
    };
    let mut begun: Vec<TcpStream> = (0..32).map(|_| begin()).collect();
    let began = Instant::now();
    while upload(&server, &[file, key])["error"] != "Unavailable" {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "there is a place"
        );
        // One that came while this had the last place was refused.
        begun.push(begin());
    }
    assert_eq!(upload(&server, &[key, file])["error"], Value::Null);
    drop(begun);
    let began = Instant::now();
    while upload(&server, &[file, key])["error"] != Value::Null {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "no place is given back"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn media_with_a_view_password_are_opened_by_nobody_and_others_by_any_page() {
    let server = Server::start();
    let key = server.api_key("ann", "writer");
    let key = Part::text("key", &key);
    let [open, locked] = ["a.jpg", "b.jpg"].map(|name| {
        let answer = upload(&server, &[image(name, b"x"), key]);
        format!(
            "/cloudstore/files/{}",
            answer["data"]["id"].as_str().unwrap()
        )
    });
    let lock = json!({"view": "sesame"});
    let ann = server.log_in("ann", "a long one");
    let path = "/v1/locks/cloudstore/media/b.jpg";
    assert_eq!(ann.json("PUT", path, &lock).status, 204);
    let from_page = [("origin", "https://example.org")];
    for (path, status) in [(&open, 200), (&locked, 423)] {
        let opened = server.nobody().send("GET", path, &from_page, b"");
        assert_eq!(opened.status, status, "{}", opened.text());
        assert_eq!(opened.header("access-control-allow-origin"), "*");
        assert_eq!(opened.text() == "x", status == 200);
    }
}

/// Whoever has the path of a file of somebody who is gone has none of a later namesake's.
#[test]
fn the_paths_of_media_go_with_their_account() {
    let server = Server::start();
    let bring = |key: &str, content: &[u8]| {
        let answer = upload(&server, &[Part::text("key", key), image("cv.jpg", content)]);
        answer["data"]["folder"].as_str().unwrap().to_owned()
    };
    let read = |folder: &str| {
        server
            .nobody()
            .get(&format!("/cloudstore/files/{folder}/cv.jpg"))
    };
    let folder = bring(&server.api_key("bob", "writer"), b"of the first");
    assert_eq!(read(&folder).text(), "of the first");
    let removed = server.admin().send("DELETE", "/v1/users/bob", &[], b"");
    assert_eq!(removed.status, 204);
    let another = bring(&server.api_key("bob", "writer"), b"of the second");
    assert_ne!(folder, another);
    assert_eq!(read(&folder).status, 404);
    assert_eq!(read(&another).text(), "of the second");
}
