//! HTTP storage: uploads, folders, moves and deletions.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::form::{CONTENT_TYPE, Part, form};
use crate::server::{Client, Server};

const EXISTS: &str = "IO error File exists (os error 17)";
const MISSING: &str = "IO error No such file or directory (os error 2)";
const NOT_EMPTY: &str = "IO error Directory not empty (os error 39)";
const IS_FOLDER: &str = "IO error Is a directory (os error 21)";
const NO_FOLDER: &str = "IO error Not a directory (os error 20)";
const INVALID: &str = "IO error Invalid argument (os error 22)";

/// Every file below a folder, with its content.
fn files(server: &Server) -> Vec<(String, String)> {
    let store = server.store.scoped("home/ann").unwrap();
    let options = komatik::ListOptions::new().recursive();
    let names = store
        .list_with("", options)
        .unwrap()
        .map(|item| item.unwrap());
    names
        .map(|item| {
            let content = store.get(&item.name).unwrap();
            let content = content.map(|content| String::from_utf8(content.to_vec()).unwrap());
            (item.cursor(), content.unwrap_or_default())
        })
        .collect()
}

fn move_to(client: &Client, from: &str, to: &str) -> crate::server::Reply {
    let action = json!({"action": "Move", "new_path": to});
    client.act(&format!("/storage/ann/{from}"), &action)
}

#[test]
fn an_upload_finds_a_free_name_for_each_file() {
    let server = Server::start();
    server.user("ann", "writer", "home/ann");
    let ann = server.storage("ann");
    let parts = [
        Part::file("plan.txt", b"1"),
        Part {
            content_type: Some("application/x-other"),
            ..Part::file("plan.txt", b"2")
        },
        Part::file("a/../b:.txt", b"3"),
    ];
    let written = ann.upload("/storage/ann/new/", &parts);
    let expected = ["new/plan.txt", "new/plan (1).txt", "new/a..b.txt"];
    let expected = expected.map(|path| format!("storage/ann/{path}"));
    assert_eq!(
        (written.status, written.value()),
        (200, json!({"files_written": expected}))
    );
    let again = ann.upload("/storage/ann/new", &parts[..1]).value();
    assert_eq!(
        again["files_written"],
        json!(["storage/ann/new/plan (2).txt"])
    );
    let read = ann.get("/storage/ann/new/plan%20(1).txt");
    assert_eq!(
        (read.header("content-type"), read.text().as_str()),
        ("text/plain", "2")
    );
    let unnamed = [
        Part::text("file", "no name"),
        Part::file("..", b"nothing left"),
    ];
    let written = ann.upload("/storage/ann", &unnamed).value();
    for path in written["files_written"].as_array().unwrap() {
        let name = path.as_str().unwrap().strip_prefix("storage/ann/").unwrap();
        assert_eq!(name.len(), 21);
        assert!(server.store.exists(&format!("home/ann/{name}")).unwrap());
    }
    let taken = server.store.scoped("home/ann/taken").unwrap();
    taken.create_folder("x.y").unwrap();
    for number in 1..100 {
        taken.put(&format!("x ({number}).y"), "").unwrap();
    }
    let written = ann
        .upload("/storage/ann/taken", &[Part::file("x.y", b"last")])
        .value();
    let path = written["files_written"][0].as_str().unwrap();
    assert_eq!(path.len(), "storage/ann/taken/x ().y".len() + 21, "{path}");
}

#[test]
fn an_upload_makes_its_folder_but_no_more() {
    let server = Server::start();
    server.user("ann", "writer", "home/ann");
    let ann = server.storage("ann");
    let part = [Part::file("f", b"f")];
    ann.upload("/storage/ann/a/b", &part).is_missing();
    assert_eq!(files(&server), []);
    assert_eq!(
        ann.upload("/storage/ann/a/", &[]).value(),
        json!({"files_written": []})
    );
    assert_eq!(ann.upload("/storage/ann/a/b", &part).status, 200);
    ann.upload("/storage/ann/a/b/f", &part).refused(400, EXISTS);
    ann.upload("/storage/ann/a/b/f/g", &part).is_missing();
    assert_eq!(files(&server), [("a/b/f".to_owned(), "f".to_owned())]);
    ann.delete("/storage/ann/a/b/f");
    let listed = ann.get("/storage/ann/a/b").value();
    assert_eq!(listed, json!({"entries": []}), "it is one that stays");
}

/// Nor does it fail for it: each file was there, and whole, when its part had ended.
#[test]
fn an_upload_does_not_bring_a_folder_back() {
    let server = Server::start();
    server.user("ann", "writer", "home/ann");
    let ann = server.storage("ann");
    let body = form(&[Part::file("f", b"f")]);
    let (part, end) = body.split_at(body.len() - "--\r\n".len());
    let home = server.store.scoped("home/ann").unwrap();
    for is_taken in [false, true] {
        let head = format!("PUT /storage/ann/new HTTP/1.1\r\ncontent-type: {CONTENT_TYPE}");
        let mut stream = server.begin(&ann, &head, body.len());
        stream.write_all(part).unwrap();
        let begun = Instant::now();
        while !home.exists("new/f").unwrap() {
            assert!(begun.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(ann.delete("/storage/ann/new").status, 200);
        if is_taken {
            home.put("new", "a file now").unwrap();
        }
        stream.write_all(end).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("storage/ann/new/f"), "{answer}");
        assert!(!home.is_folder("new").unwrap());
    }
}

/// Into folders that are not there yet, as that is where they meet.
#[test]
fn two_uploads_at_once_both_keep_their_file() {
    let server = Server::start();
    server.user("ann", "writer", "home/ann");
    let ann = server.storage("ann");
    for folder in 0..10 {
        let path = format!("/storage/ann/{folder}");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (ann, path) = (ann.clone(), &path);
                scope.spawn(move || {
                    let content = format!("{folder} {number}");
                    let written = ann.upload(path, &[Part::file("x", content.as_bytes())]);
                    assert_eq!(written.status, 200, "{}", written.text());
                });
            }
        });
    }
    let mut contents: Vec<_> = files(&server)
        .into_iter()
        .map(|(_, content)| content)
        .collect();
    contents.sort();
    let folders = (0..10).flat_map(|folder| (0..8).map(move |number| (folder, number)));
    let expected: Vec<_> = folders
        .map(|(folder, number)| format!("{folder} {number}"))
        .collect();
    assert_eq!(contents, expected);
}

#[test]
fn folders_are_made_one_at_a_time() {
    let server = Server::start();
    let ann = server.ann();
    for (path, expected) in [
        ("new", Ok(())),
        ("new", Err((400, EXISTS))),
        ("new/", Err((400, EXISTS))),
        ("new/er/", Ok(())),
        ("none/new", Err((404, MISSING))),
        ("Z.txt", Err((400, EXISTS))),
        ("Z.txt/new", Err((404, MISSING))),
        ("", Err((400, EXISTS))),
    ] {
        let made = ann.act(
            &format!("/storage/ann/{path}"),
            &json!({"action": "CreateFolder"}),
        );
        match expected {
            Ok(()) => {
                assert_eq!(
                    (made.status, made.value()),
                    (200, json!({"status": "ok"})),
                    "{path}"
                );
                let listed = ann.get(&format!("/storage/ann/{path}"));
                assert_eq!(listed.value(), json!({"entries": []}));
            }
            Err((status, text)) => made.refused(status, text),
        }
    }
}

#[test]
fn a_move_is_a_rename_of_a_file_system() {
    for (from, to, expected) in [
        ("a/plan.txt", "/ann/moved.txt", Ok("moved.txt")),
        ("a/plan.txt", "ann//a/moved.txt", Ok("a/moved.txt")),
        ("a/plan.txt", "/ann/Z.txt", Ok("Z.txt")),
        ("a/plan.txt", "/ann/a/plan.txt", Ok("a/plan.txt")),
        ("a", "/ann/new", Ok("new/plan.txt")),
        ("a/", "/ann/empty", Ok("empty/plan.txt")),
        ("a", "/ann/empty/a", Ok("empty/a/plan.txt")),
        ("a", "/ann/a", Ok("a/plan.txt")),
        ("a", "/ann/a-b", Err((500, NOT_EMPTY))),
        ("a", "/ann", Err((500, NOT_EMPTY))),
        ("a", "/ann/Z.txt", Err((500, NO_FOLDER))),
        ("a", "/ann/a/b/c", Err((500, INVALID))),
        ("a/plan.txt", "/ann/empty", Err((500, IS_FOLDER))),
        ("a/plan.txt", "/ann/none/plan.txt", Err((404, MISSING))),
        ("a/plan.txt", "/ann/Z.txt/plan.txt", Err((404, MISSING))),
        ("a/none", "/ann/new", Err((404, MISSING))),
        ("a/plan.txt/", "/ann/new", Err((404, MISSING))),
        ("a/plan.txt", "", Err((400, "Bad path"))),
        ("a/plan.txt", "/", Err((400, "Bad path"))),
        ("", "/ann/new", Err((400, "Bad path"))),
        ("a/plan.txt", "/ann/b\u{0}", Err((400, "Bad path"))),
        (
            "a/plan.txt",
            "/bob/plan.txt",
            Err((401, "User is not authorized to view this.")),
        ),
        (
            "a/plan.txt",
            "/ann/../bob/x",
            Err((401, "User is not authorized to view this.")),
        ),
    ] {
        let server = Server::start();
        let ann = server.ann();
        let before = files(&server);
        let moved = move_to(&ann, from, to);
        match expected {
            Ok(at) => {
                assert_eq!(moved.value(), json!({"status": "ok"}), "{from} {to}");
                assert_eq!(
                    ann.get(&format!("/storage/ann/{at}")).text(),
                    "north",
                    "{from} {to}"
                );
                assert_eq!(
                    files(&server)
                        .iter()
                        .filter(|(_, text)| text == "north")
                        .count(),
                    1
                );
            }
            Err((status, text)) => {
                moved.refused(status, text);
                assert_eq!(files(&server), before, "{from} {to}");
            }
        }
    }
}

#[test]
fn what_comes_into_a_folder_meanwhile_keeps_it_from_being_replaced() {
    let server = Server::start();
    let ann = server.ann();
    let moved = server.amid(
        |tx| tx.create_folder("home/ann/empty/made"),
        || move_to(&ann, "a", "/ann/empty"),
    );
    moved.refused(500, NOT_EMPTY);
    assert!(server.store.is_folder("home/ann/empty/made").unwrap());
    assert_eq!(ann.get("/storage/ann/a/plan.txt").text(), "north");
}

#[test]
fn a_deletion_takes_all_that_is_in_a_folder_and_no_more() {
    let server = Server::start();
    let ann = server.ann();
    for (path, expected) in [
        ("a/plan.txt/", Err((404, MISSING))),
        ("a/plan.txt", Ok(())),
        ("a/plan.txt", Err((404, MISSING))),
        ("a-b/x", Ok(())),
        ("", Err((400, "Bad path"))),
        ("none", Err((404, MISSING))),
        ("a", Ok(())),
        ("empty/", Ok(())),
    ] {
        let deleted = ann.delete(&format!("/storage/ann/{path}"));
        match expected {
            Ok(()) => assert_eq!(deleted.value(), json!({"status": "ok"}), "{path}"),
            Err((status, text)) => deleted.refused(status, text),
        }
    }
    let left: Vec<_> = files(&server).into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, [".hidden", "Z.txt", "a-b/", "page.html"]);
    assert_eq!(
        ann.get("/storage/ann/a-b").value(),
        json!({"entries": []}),
        "it stays"
    );
}

#[test]
fn a_locked_file_keeps_its_folder() {
    let server = Server::start();
    let ann = server.ann();
    let store = server.store.scoped("home/ann").unwrap();
    let lock = komatik::Lock::new().view("sesame-1").edit("sesame-2");
    store.lock("a/b/deep.txt", lock).unwrap();
    let before: Vec<Value> = vec![ann.get("/storage/ann/a").value()];
    for refused in [
        ann.get("/storage/ann/a/b/deep.txt"),
        ann.delete("/storage/ann/a"),
        ann.delete("/storage/ann/a/b/deep.txt"),
        move_to(&ann, "a", "/ann/new"),
        move_to(&ann, "Z.txt", "/ann/a/b/deep.txt"),
    ] {
        assert_eq!((refused.status, refused.value().is_string()), (423, true));
    }
    assert_eq!(vec![ann.get("/storage/ann/a").value()], before);
    let listed = ann.get("/storage/ann/a/b").value();
    assert_eq!(
        listed["entries"][0],
        json!({"is_file": true, "name": "deep.txt", "size": 0})
    );
}

#[test]
fn what_cannot_be_read_is_not_done() {
    let server = Server::start();
    let ann = server.ann();
    for body in [
        "",
        "{}",
        "[]",
        "{\"action\":\"Burn\"}",
        "{\"action\":\"Move\"}",
        "\u{0}",
    ] {
        let headers = [("content-type", "application/json")];
        let reply = ann.send("POST", "/storage/ann/a", &headers, body.as_bytes());
        assert_eq!(
            (reply.status, reply.value().is_string()),
            (400, true),
            "{body}"
        );
    }
    let action = json!({"action": "CreateFolder"}).to_string();
    let headers = [("content-type", "text/plain")];
    let reply = ann.send("POST", "/storage/ann/new", &headers, action.as_bytes());
    assert_eq!(
        reply.status, 415,
        "a page of another origin could send it with the cookie"
    );
    let refused = ann.send("PATCH", "/storage/ann/a", &[], b"");
    assert_eq!(refused.status, 405);
    assert_eq!(
        refused.header("allow"),
        "GET, HEAD, POST, PUT, DELETE, META"
    );
}
