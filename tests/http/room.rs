//! Rooms, as clients of the handle generation use them.

use std::time::Duration;

use komatik::PutMode;
use serde_json::{Value, json};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::room_client::{Participant, Received, first_packet, later_packet, packed, sign};
use crate::server::Server;

#[test]
fn a_client_is_greeted_in_its_dialect() {
    let server = Server::start();
    let key = server.key("admin");
    let token = key.token("ann", json!([{"name": "role", "scope": "user"}]));
    let query = format!("/rooms/r?token={token}");
    let versioned = format!("{query}&v=0.29.4");
    let bearer = format!("Bearer {token}");
    let agent = "user-agent";
    type Case<'a> = (&'a str, Vec<(&'static str, &'a str)>, bool);
    let cases: [Case<'_>; 5] = [
        (&query, vec![(agent, "Python/3.11 aiohttp/3.9")], true),
        (&query, vec![], false),
        (&query, vec![(agent, "Dart/3")], false),
        (&versioned, vec![(agent, "Python/3.13 aiohttp/3.13")], false),
        (
            "/rooms/r?v=0.56.0",
            vec![("authorization", &bearer), (agent, "Python/3.13")],
            false,
        ),
    ];
    for (path, headers, is_bare) in cases {
        let mut ann = Participant::connect(&server, path, &headers).unwrap();
        let value = |received: &Received| match is_bare {
            true => serde_json::from_slice::<Value>(&received.body).unwrap(),
            false => received.unpacked().0,
        };
        let (ready, connected) = (ann.receive(), ann.receive());
        assert_eq!(ready.kind, "room_ready");
        let told = value(&ready);
        assert_eq!(told["room_name"], "r");
        let url = format!("ws://{}/rooms/r", server.address);
        assert_eq!(told["room_url"], url);
        assert!(told["session_id"].as_str().unwrap().len() > 20);
        assert_eq!(connected.kind, "connected");
        let told = value(&connected);
        assert_eq!(told["type"], "init");
        assert_eq!(told["participantId"], "ann");
        assert!(told["attributes"].is_object());
        // Answers are packed in every dialect.
        assert_eq!(
            ann.json("storage.exists", json!({"path": "a"})),
            json!({"exists": false})
        );
        ann.write("a", &[b"x"]);
        let event = ann.pushed.pop().unwrap_or_else(|| ann.receive());
        assert_eq!(event.kind, "storage.file.updated");
        assert_eq!(value(&event), json!({"path": "a", "participant_id": "ann"}));
        server.store.delete("rooms/proj/r/a").unwrap();
    }
}

#[test]
fn a_file_is_there_when_its_handle_is_closed() {
    let server = Server::start();
    let mut ann = server.enter(&server.key("admin"));
    let large: Vec<u8> = (0..=250).cycle().take(3_000_001).collect();
    let opened = ann.json(
        "storage.open",
        json!({"path": "docs/a.txt", "overwrite": true}),
    );
    assert!(opened["handle"].is_string(), "{opened}");
    let handle = json!({"handle": opened["handle"], "__meshagent__": {"v": 1, "otel": {}}});
    for piece in [&large[..10], b"", &large[10..1034], &large[1034..]] {
        let (answer, _) = ann.call_with("storage.write", &handle, piece);
        assert_eq!(answer, json!({"type": "empty"}));
    }
    assert_eq!(
        ann.json("storage.exists", json!({"path": "docs/a.txt"})),
        json!({"exists": false})
    );
    assert_eq!(
        ann.call("storage.close", handle.clone()),
        json!({"type": "empty"})
    );
    let (header, content) = ann.call_with("storage.download", &json!({"path": "/docs/a.txt"}), b"");
    assert_eq!(
        header,
        json!({"type": "file", "name": "a.txt", "mime_type": "text/plain"})
    );
    assert!(content == large);
    assert_eq!(
        server
            .store
            .get("rooms/proj/r/docs/a.txt")
            .unwrap()
            .unwrap(),
        large
    );
    assert_eq!(
        ann.code("storage.close", handle.clone()),
        3003,
        "closed once"
    );
    assert_eq!(ann.code("storage.write", handle), 3003);
    // `overwrite` has never kept this generation from replacing.
    ann.write("docs/a.txt", &[b"new"]);
    assert_eq!(ann.read("docs/a.txt"), b"new");
    ann.write("empty", &[]);
    assert_eq!(ann.read("empty"), b"");
}

#[test]
fn what_is_not_closed_has_not_happened() {
    let server = Server::start();
    let key = server.key("admin");
    let mut ann = server.enter(&key);
    ann.write("a", &[b"old"]);
    let open = json!({"path": "a", "overwrite": true});
    let opened = ann.json("storage.open", open.clone());
    ann.call_with(
        "storage.write",
        &json!({"handle": opened["handle"]}),
        b"lost",
    );
    drop(ann);
    let mut bob = server.enter(&key);
    assert_eq!(bob.read("a"), b"old");
    // Of two handles on one path, the one that is closed last has it.
    let (first, second) = (
        bob.json("storage.open", open.clone()),
        bob.json("storage.open", open),
    );
    assert_ne!(first["handle"], second["handle"]);
    for (opened, content) in [(&second, b"second"), (&first, b"first.")] {
        let handle = json!({"handle": opened["handle"]});
        bob.call_with("storage.write", &handle, content);
        bob.call("storage.close", handle);
        assert_eq!(bob.read("a"), content);
    }
}

/// The store has both; no client could tell them apart.
#[test]
fn no_file_has_the_name_of_a_folder() {
    let server = Server::start();
    let key = server.key("admin");
    let mut ann = server.enter(&key);
    ann.write("docs/a", &[b"1"]);
    ann.write("plain", &[b"2"]);
    for path in ["docs", "plain/below", "plain/far/below"] {
        let opened = ann.code("storage.open", json!({"path": path, "overwrite": true}));
        assert_eq!(opened, 3005, "{path}");
        let moved = json!({"source_path": "plain", "destination_path": path, "overwrite": true});
        if path == "docs" {
            assert_eq!(ann.code("storage.move", moved), 3005);
        }
    }
    assert_eq!(ann.read("plain"), b"2");
    ann.write("docs/deep/er", &[b"3"]);
}

/// Handles may be open for long, and what was free when one was opened is not when it is closed.
#[test]
fn no_file_takes_the_name_of_a_folder_that_came_meanwhile() {
    let server = Server::start();
    let key = server.key("admin");
    let mut ann = server.enter(&key);
    let room = server.store.scoped("rooms/proj/r").unwrap();
    for (path, meanwhile) in [("a", "a/below"), ("b/below", "b"), ("c/d/e", "c/d")] {
        let opened = ann.json("storage.open", json!({"path": path, "overwrite": true}));
        let handle = json!({"handle": opened["handle"]});
        ann.call_with("storage.write", &handle, b"late");
        room.put(meanwhile, "early").unwrap();
        assert_eq!(ann.code("storage.close", handle), 3005, "{path}");
        assert_eq!(room.metadata(path).unwrap(), None);
    }
    ann.write("file", &[b"1"]);
    let moved = json!({"source_path": "file", "destination_path": "d"});
    let code = server.amid(
        |tx| tx.put("rooms/proj/r/d/below", "early"),
        || ann.code("storage.move", moved),
    );
    assert_eq!(code, 3005);
    assert!(room.metadata("d").unwrap().is_none());
    assert_eq!(ann.read("file"), b"1");
}

#[test]
fn no_folder_takes_the_name_of_a_file() {
    let server = Server::start();
    let key = server.key("admin");
    let mut ann = server.enter(&key);
    ann.write("docs/a", &[b"1"]);
    ann.write("plain", &[b"2"]);
    for to in ["plain", "plain/below"] {
        for overwrite in [false, true] {
            let moved =
                json!({"source_path": "docs", "destination_path": to, "overwrite": overwrite});
            assert_eq!(ann.code("storage.move", moved), 3005, "{to}");
        }
    }
    let moved = json!({"source_path": "docs", "destination_path": "late"});
    let code = server.amid(
        |tx| tx.put("rooms/proj/r/late", "early"),
        || ann.code("storage.move", moved),
    );
    assert_eq!(code, 3005);
    assert_eq!(
        (ann.read("plain"), ann.read("docs/a")),
        (b"2".to_vec(), b"1".to_vec())
    );
    let moved = json!({"source_path": "docs", "destination_path": "other"});
    assert_eq!(ann.json("storage.move", moved), json!({}));
    assert_eq!(ann.read("other/a"), b"1");
}

/// What is sent of it is its JSON text, and not the form in which it is stored.
#[test]
fn the_size_of_a_document_is_that_of_what_is_read() {
    let server = Server::start();
    let key = server.key("admin");
    let room = server.store.scoped("rooms/proj/r").unwrap();
    room.save("settings", &json!({"width": 800})).unwrap();
    let mut ann = server.enter(&key);
    let read = ann.read("settings");
    assert_eq!(read, br#"{"width":800}"#);
    let stat = ann.json("storage.stat", json!({"path": "settings"}));
    assert_eq!(stat["size"], read.len());
    let listed = ann.json("storage.list", json!({"path": ""}));
    assert_eq!(listed["files"][0]["size"], read.len());
}

#[test]
fn files_and_folders_are_told() {
    let server = Server::start();
    let key = server.key("admin");
    let mut ann = server.enter(&key);
    for path in ["b.txt", "a/b/c", "a/d"] {
        ann.write(path, &[b"12345"]);
    }
    for (path, expected) in [
        ("a", true),
        ("a/b", true),
        ("a/b/c", true),
        ("/a/b/", true),
        ("./a", true),
        ("", true),
        (".", true),
        ("b", false),
        ("a/b/c/d", false),
        ("x", false),
    ] {
        let told = ann.json("storage.exists", json!({"path": path}));
        assert_eq!(told, json!({"exists": expected}), "{path}");
    }
    let stat = ann.json("storage.stat", json!({"path": "a/b/c"}));
    assert_eq!(
        stat.as_object().unwrap().keys().collect::<Vec<_>>(),
        [
            "name",
            "is_folder",
            "size",
            "created_at",
            "updated_at",
            "exists"
        ]
    );
    assert_eq!(
        (&stat["name"], &stat["size"], &stat["is_folder"]),
        (&"c".into(), &5.into(), &false.into())
    );
    let time = stat["updated_at"].as_str().unwrap();
    assert!(time.len() == "2026-01-01T00:00:00.000000+00:00".len() && time.ends_with("+00:00"));
    assert_eq!(
        ann.json("storage.stat", json!({"path": "a/b"})),
        json!({"name": "b", "is_folder": true, "size": null, "created_at": null, "updated_at": null, "exists": true})
    );
    assert_eq!(
        ann.json("storage.stat", json!({"path": "x"})),
        json!({"exists": false})
    );
    let mut names = |path: &str| {
        let told = ann.json("storage.list", json!({"path": path}));
        assert_eq!(told.as_object().unwrap().len(), 1);
        let files = told["files"].as_array().unwrap().clone();
        files
            .iter()
            .map(|file| {
                (
                    file["name"].as_str().unwrap().to_owned(),
                    file["is_folder"] == true,
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(""),
        [("a".to_owned(), true), ("b.txt".to_owned(), false)]
    );
    assert_eq!(
        names("/a/"),
        [("b".to_owned(), true), ("d".to_owned(), false)]
    );
    assert_eq!(names("none"), []);
    // The first clients take no folder without times.
    let path = format!("/rooms/r?token={}", key.token("bob", json!([])));
    let mut bob = Participant::connect(&server, &path, &[]).unwrap().greeted();
    let listed = bob.json("storage.list", json!({"path": ""}));
    assert_eq!(
        listed["files"][0]["created_at"],
        "1970-01-01T00:00:00.000000+00:00"
    );
}

#[test]
fn deleting_asks_before_it_takes_a_folder() {
    let server = Server::start();
    let mut ann = server.enter(&server.key("admin"));
    for path in ["f/a", "f/b/c", "file", "both", "locked/a"] {
        ann.write(path, &[b"x"]);
    }
    // As only the store's other faces make it.
    server.store.put("rooms/proj/r/both/below", "x").unwrap();
    let lock = komatik::Lock::new().edit("sesame");
    server.store.lock("rooms/proj/r/locked/a", lock).unwrap();
    for (request, code) in [
        (json!({"path": "f"}), Some(3002)),
        (json!({"path": "f", "recursive": null}), Some(3002)),
        (json!({"path": "locked"}), Some(3002)),
        (json!({"path": "locked", "recursive": true}), Some(1001)),
        (json!({"path": "f", "recursive": false}), Some(3002)),
        (json!({"path": "file", "recursive": true}), None),
        (json!({"path": "missing"}), None),
        (json!({"path": "f/b/c"}), None),
        (json!({"path": "both"}), None),
        (json!({"path": ""}), Some(3004)),
    ] {
        match code {
            Some(code) => assert_eq!(
                ann.code("storage.delete", request.clone()),
                code,
                "{request}"
            ),
            None => assert_eq!(
                ann.json("storage.delete", request.clone()),
                json!({}),
                "{request}"
            ),
        }
    }
    let mut exists =
        |path: &str| ann.json("storage.exists", json!({"path": path}))["exists"] == true;
    assert!(exists("f/a") && exists("both/below"));
    assert!(!exists("file") && !exists("f/b"));
    assert_eq!(
        ann.json("storage.delete", json!({"path": "f", "recursive": true})),
        json!({})
    );
    assert_eq!(
        ann.json("storage.exists", json!({"path": "f"})),
        json!({"exists": false})
    );
    assert!(server.store.exists("rooms/proj/r/both/below").unwrap());
}

#[test]
fn what_comes_into_a_folder_meanwhile_keeps_it() {
    let server = Server::start();
    let mut ann = server.enter(&server.key("admin"));
    let room = server.store.scoped("rooms/proj/r").unwrap();
    room.create_folder("f").unwrap();
    let code = server.amid(
        |tx| tx.create_folder("rooms/proj/r/f/made"),
        || ann.code("storage.delete", json!({"path": "f"})),
    );
    assert_eq!(code, 3002);
    assert!(room.is_folder("f/made").unwrap());
}

#[test]
fn failures_have_their_codes() {
    let server = Server::start();
    let mut ann = server.enter(&server.key("admin"));
    ann.write("there", &[b"x"]);
    ann.write("other", &[b"x"]);
    let locked = server.store.scoped("rooms/proj/r").unwrap();
    locked.put("locked", "x").unwrap();
    locked
        .lock("locked", komatik::Lock::new().view("pass-1").edit("pass-2"))
        .unwrap();
    for (kind, request, code) in [
        ("storage.exists", json!({"path": "../invalid.txt"}), 3004),
        ("storage.stat", json!({"path": "a//b"}), 3004),
        ("storage.open", json!({"path": "", "overwrite": true}), 3004),
        ("storage.list", json!({"path": "a/../b"}), 3004),
        ("storage.download", json!({"path": "missing"}), 3001),
        ("storage.download", json!({"path": "locked"}), 1001),
        ("storage.stat", json!({"path": "locked"}), 1001),
        ("storage.delete", json!({"path": "locked"}), 1001),
        (
            "storage.open",
            json!({"path": "locked", "overwrite": true}),
            1001,
        ),
        ("storage.download_url", json!({"path": "missing"}), 3001),
        (
            "storage.move",
            json!({"source_path": "missing", "destination_path": "x"}),
            3001,
        ),
        (
            "storage.move",
            json!({"source_path": "there", "destination_path": "other"}),
            3005,
        ),
        ("storage.write", json!({"handle": "none"}), 3003),
        ("storage.write", json!({"handle": 7}), 3003),
        ("storage.close", json!({}), 3003),
        ("storage.exists", json!({}), 1002),
        ("storage.exists", json!({"path": 1}), 1002),
        ("storage.unknown", json!({"path": "a"}), 1002),
        ("agent.ask", json!({}), 1002),
    ] {
        assert_eq!(ann.code(kind, request.clone()), code, "{kind} {request}");
    }
}

#[test]
fn a_download_url_opens_in_a_browser() {
    let server = Server::start();
    let mut ann = server.enter(&server.key("admin"));
    ann.write("plans/north 100%.txt", &[b"north"]);
    let path = json!({"path": "plans/north 100%.txt"});
    let told = ann.json("storage.download_url", path.clone());
    assert_eq!(told.as_object().unwrap().len(), 1);
    let url = told["url"].as_str().unwrap();
    let path_of = |url: &str| {
        url.strip_prefix(&format!("http://{}", server.address))
            .unwrap()
            .to_owned()
    };
    let got = server.nobody().get(&path_of(url));
    assert_eq!((got.status, got.text().as_str()), (200, "north"));
    assert!(got.header("content-disposition").starts_with("inline"));
    let mut saved = path;
    saved["download"] = true.into();
    let told = ann.json("storage.download_url", saved);
    let got = server.nobody().get(&path_of(told["url"].as_str().unwrap()));
    assert!(
        got.header("content-disposition").starts_with("attachment"),
        "{got:?}"
    );
    server
        .nobody()
        .get(&path_of(&url.replace("north", "south")))
        .problem(403);
}

#[test]
fn what_happens_is_told_to_everybody_in_the_room() {
    let server = Server::start();
    let key = server.key("admin");
    let (mut ann, mut bob) = (server.enter(&key), server.enter_as(&key, "bob", json!([])));
    ann.write("a", &[b"x"]);
    bob.json("storage.delete", json!({"path": "a"}));
    let room = server.store.scoped("rooms/proj/r").unwrap();
    room.create_folder("f").unwrap();
    server.store.put("rooms/proj/other/a", "x").unwrap();
    room.acting_as("somebody").put("b", "x").unwrap();
    room.rename("b", "c", PutMode::Create).unwrap();
    let event = |kind: &str, path: &str, participant: &str| {
        (
            format!("storage.file.{kind}"),
            json!({"path": path, "participant_id": participant}),
        )
    };
    for participant in [&mut ann, &mut bob] {
        for expected in [
            event("updated", "a", "ann"),
            event("deleted", "a", "bob"),
            event("updated", "b", "somebody"),
            event("deleted", "b", ""),
            event("updated", "c", ""),
        ] {
            assert_eq!(participant.next_pushed(), expected);
        }
    }
}

#[test]
fn who_is_in_a_room_does_not_keep_the_service_from_stopping() {
    let mut server = Server::start();
    let mut ann = server.enter(&server.key("admin"));
    let began = std::time::Instant::now();
    server.begin_stop();
    let reason = ann.frame().unwrap_err().unwrap();
    assert_eq!(u16::from(reason.code), 1001);
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(10));
}

/// TypeScript counts its messages from 0.
#[test]
fn a_message_may_have_the_number_0() {
    let server = Server::start();
    let mut ann = server.enter(&server.key("admin"));
    let body = packed(&json!({"path": "a"}), b"");
    ann.send_packet(first_packet(0, 1, "storage.exists"));
    ann.send_packet(later_packet(0, 1, &body));
    assert_eq!(ann.answer_to(0).0["json"], json!({"exists": false}));
}

#[test]
fn the_name_of_a_room_is_escaped_in_its_address() {
    let server = Server::start();
    let key = server.key("admin");
    let grants = json!([{"name": "room", "scope": "my room?"}]);
    let token = sign(&key.key, &json!({"name": "ann", "grants": grants}));
    let path = format!("/rooms/my%20room%3F?token={token}");
    let mut ann = Participant::connect(&server, &path, &[]).unwrap();
    let ready = ann.receive().unpacked().0;
    assert_eq!(ready["room_name"], "my room?");
    let url = format!("ws://{}/rooms/my%20room%3F", server.address);
    assert_eq!(ready["room_url"], url);
    ann.receive();
    ann.write("a", &[b"x"]);
    let told = ann.json("storage.download_url", json!({"path": "a"}));
    let path = told["url"].as_str().unwrap().split_once("/v1/").unwrap().1;
    assert_eq!(server.nobody().get(&format!("/v1/{path}")).text(), "x");
}

/// RFC 6455, section 5.5.1: else it looks to the participant as if the connection had broken.
#[test]
fn who_says_that_it_goes_is_answered() {
    let server = Server::start();
    let key = server.key("admin");
    let mut ann = server.enter(&key);
    let normal = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    ann.socket.close(Some(normal.clone())).unwrap();
    assert_eq!(ann.frame(), Err(Some(normal)));
    let ended = ann.socket.read();
    assert!(
        matches!(ended, Err(tungstenite::Error::ConnectionClosed)),
        "{ended:?}"
    );
}
