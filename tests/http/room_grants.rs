//! Rooms: how far a grant reaches, and how long.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use komatik::{Lock, Store};
use serde_json::{Value, json};
use tungstenite::Message;

use crate::room_client::{Participant, first_packet, later_packet, packed, sign};
use crate::server::Server;

/// More than lies between a service and who reads nothing.
const LARGE: usize = 48 << 20;

/// A room with these files in it.
fn room(server: &Server, paths: &[&str]) -> Store {
    let room = server.store.scoped("rooms/proj/r").unwrap();
    for path in paths {
        room.put(path, "x").unwrap();
    }
    room
}

/// Enters with grants of the later generation.
fn enter_by_rules(server: &Server, rules: &Value) -> Participant {
    let scope = json!({"storage": {"files": {"paths": rules}}});
    let key = server.key("admin");
    server.enter_as(&key, "ann", json!([{"name": "api", "scope": scope}]))
}

/// The names of what a listing tells, folders with a `/`.
fn list(participant: &mut Participant, path: &str) -> Vec<String> {
    let told = participant.json("storage.list", json!({"path": path}));
    let files = told["files"].as_array().unwrap().iter();
    files
        .map(|file| {
            let name = file["name"].as_str().unwrap();
            let end = if file["is_folder"] == true { "/" } else { "" };
            format!("{name}{end}")
        })
        .collect()
}

#[test]
fn a_listing_tells_only_what_is_granted() {
    let server = Server::start();
    room(
        &server,
        &[
            "secret", "b", "b/c/1", "b/c/x/2", "b/d", "e/f", "g/h/i", "g/j",
        ],
    );
    let mut ann = enter_by_rules(
        &server,
        &json!([
            {"path": "b/c", "recursive": false, "actions": ["list"], "excluded_paths": ["b/c/x"]},
            {"path": "g", "recursive": true, "actions": ["list", "read"], "excluded_paths": ["g/h"]},
        ]),
    );
    for (path, expected) in [
        ("", vec!["b/", "g/"]),
        ("b", vec!["c/"]),
        ("b/c", vec!["1"]),
        ("g", vec!["j"]),
    ] {
        assert_eq!(list(&mut ann, path), expected, "{path}");
    }
    for path in ["e", "b/d", "b/c/x", "g/h"] {
        assert_eq!(
            ann.code("storage.list", json!({"path": path})),
            1001,
            "{path}"
        );
    }
    let stat = ann.json("storage.stat", json!({"path": "b"}));
    assert_eq!(stat["is_folder"], true, "the file of the name is not told");
}

#[test]
fn exclusions_hold_however_they_are_written() {
    let server = Server::start();
    room(&server, &["a/x/1", "a/y"]);
    for excluded in ["a/x", "a/x/", "/a/x", "/a/x/", "./a/x"] {
        let rules = json!([{
            "path": "/a/",
            "recursive": true,
            "actions": ["list", "read", "delete"],
            "excluded_paths": [excluded],
        }]);
        let mut ann = enter_by_rules(&server, &rules);
        assert_eq!(ann.read("a/y"), b"x", "{excluded}");
        assert_eq!(ann.code("storage.download", json!({"path": "a/x/1"})), 1001);
        let all = json!({"path": "a", "recursive": true});
        assert_eq!(ann.code("storage.delete", all), 1001, "{excluded}");
    }
    // One that could never match opens nothing.
    let rules = json!([{
        "path": "a",
        "recursive": true,
        "actions": ["read"],
        "excluded_paths": ["a//x"],
    }]);
    let mut ann = enter_by_rules(&server, &rules);
    assert_eq!(ann.code("storage.download", json!({"path": "a/y"})), 1001);
}

#[test]
fn a_folder_is_moved_by_who_may_read_all_of_it() {
    let server = Server::start();
    let room = room(&server, &["a/x", "a/y", "c/y"]);
    let mut ann = enter_by_rules(
        &server,
        &json!([
            {"path": "a", "recursive": true, "actions": ["read"], "excluded_paths": ["a/x"]},
            {"path": "a", "recursive": true, "actions": ["delete"]},
            {"path": "b", "recursive": true, "actions": ["read", "write"]},
            {"path": "c", "recursive": true, "actions": ["read", "delete"]},
        ]),
    );
    let mut relocate = |from: &str, to: &str| {
        let input = json!({"source_path": from, "destination_path": to});
        ann.call("storage.move", input)["code"].clone()
    };
    assert_eq!(relocate("a", "b"), 1001);
    assert_eq!(relocate("c", "b"), Value::Null);
    assert!(room.exists("a/x").unwrap() && room.exists("b/y").unwrap());
}

/// No client could tell the two apart.
#[test]
fn who_sees_nothing_makes_no_file_and_folder_of_one_name() {
    let server = Server::start();
    let room = room(&server, &["a/file", "a/folder/x", "a/locked"]);
    room.lock("a/locked", Lock::new().view("sesame")).unwrap();
    let mut ann = enter_by_rules(
        &server,
        &json!([{"path": "a", "recursive": true, "actions": ["write"]}]),
    );
    for path in ["a/folder", "a/file/x", "a/locked/x"] {
        let open = json!({"path": path, "overwrite": true});
        let refused = ann.call("storage.open", open);
        assert_eq!(refused["code"], 1001, "{path}");
        let told = refused.to_string();
        assert!(told.contains("does not allow"), "{path}: {told}");
    }
    let both = json!({"path": "a/folder/y", "overwrite": true});
    room.put("a/folder", "x").unwrap();
    assert_eq!(ann.call("storage.open", both)["type"], "json");
    ann.write("a/new/x", &[b"x"]);
    assert!(room.exists("a/new/x").unwrap());
}

#[test]
fn a_prefix_that_ends_with_a_slash_is_about_what_is_below_it() {
    let server = Server::start();
    let room = room(&server, &["open", "open/a", "shut"]);
    let grant = json!([{"name": "api", "scope": {"storage": {"paths": [{"path": "open/"}]}}}]);
    let mut ann = server.enter_as(&server.key("admin"), "ann", grant);
    for (kind, request) in [
        ("open", json!({"path": "open"})),
        ("download", json!({"path": "open"})),
        ("download_url", json!({"path": "open"})),
        ("delete", json!({"path": "open"})),
        ("delete", json!({"path": "open", "recursive": true})),
        (
            "move",
            json!({"source_path": "open", "destination_path": "open/b"}),
        ),
        ("list", json!({"path": ""})),
    ] {
        let code = ann.code(&format!("storage.{kind}"), request.clone());
        assert_eq!(code, 1001, "{kind} {request}");
    }
    assert_eq!(list(&mut ann, "open"), ["a"]);
    let stat = ann.json("storage.stat", json!({"path": "open"}));
    assert_eq!(
        (&stat["is_folder"], &stat["size"]),
        (&true.into(), &Value::Null)
    );
    // Nor is it told what becomes of the file.
    room.put("open", "y").unwrap();
    ann.write("open/a", &[b"y"]);
    assert_eq!(ann.next_pushed().1["path"], "open/a");
}

/// The next that comes is the end of the session, for a reason of policy.
#[track_caller]
fn is_shown_out(mut participant: Participant) {
    let reason = participant.frame().unwrap_err().unwrap();
    assert_eq!(u16::from(reason.code), 1008);
}

#[test]
fn a_session_ends_with_what_it_stands_on() {
    let server = Server::start();
    let admin = server.admin();
    for name in ["bob", "carol"] {
        server.user(name, "writer", "");
    }
    let (key, other) = (server.key("admin"), server.key("admin"));
    let [bob, carol] = ["bob", "carol"].map(|name| server.enter(&server.key(name)));
    let (ann, mut stays) = (server.enter(&key), server.enter(&other));
    assert_eq!(admin.delete(&format!("/v1/keys/{}", key.id)).status, 204);
    is_shown_out(ann);
    assert_eq!(admin.delete("/v1/users/bob").status, 204);
    is_shown_out(bob);
    let reader = json!({"role": "reader"});
    assert_eq!(admin.json("PATCH", "/v1/users/carol", &reader).status, 204);
    is_shown_out(carol);
    stays.write("a", &[b"x"]);
    // One that is in the middle of something.
    let opened = stays.json("storage.open", json!({"path": "b", "overwrite": true}));
    assert_eq!(admin.delete(&format!("/v1/keys/{}", other.id)).status, 204);
    let close = packed(&json!({"handle": opened["handle"]}), b"");
    for packet in [
        first_packet(77, 1, "storage.close"),
        later_packet(77, 1, &close),
    ] {
        // It may be gone by now.
        let _ = stays.socket.send(Message::Binary(packet.into()));
    }
    while stays.socket.read().is_ok() {}
    assert!(!server.store.exists("rooms/proj/r/b").unwrap());
}

#[test]
fn a_session_ends_with_its_token() {
    let server = Server::start();
    let key = server.key("admin");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ends = now.as_secs() + 5;
    let claims = json!({"name": "ann", "grants": [{"name": "room", "scope": "r"}], "exp": ends});
    let path = format!("/rooms/r?token={}&v=0.29.4", sign(&key.key, &claims));
    let mut ann = Participant::connect(&server, &path, &[]).unwrap().greeted();
    ann.json("storage.list", json!({"path": ""}));
    let opened = ann.json("storage.open", json!({"path": "a", "overwrite": true}));
    std::thread::sleep(Duration::from_secs(6));
    ann.send(
        "storage.close",
        &packed(&json!({"handle": opened["handle"]}), b""),
    );
    is_shown_out(ann);
    assert!(!server.store.exists("rooms/proj/r/a").unwrap());
}

/// A token of a client that has scopes, but grants none.
#[test]
fn a_later_token_without_a_grant_opens_nothing_in_the_room() {
    let server = Server::start();
    room(&server, &["a"]);
    let key = server.key("admin");
    for (version, opens) in [("0.3.5", true), ("0.3.6", false), ("0.29.4", false)] {
        let grants = json!([{"name": "room", "scope": "r"}]);
        let claims = json!({"name": "ann", "grants": grants, "version": version});
        let path = format!("/rooms/r?token={}&v={version}", sign(&key.key, &claims));
        let mut ann = Participant::connect(&server, &path, &[]).unwrap().greeted();
        for kind in ["exists", "stat", "list", "download", "open", "delete"] {
            let request = json!({"path": "a", "recursive": true});
            let answer = ann.call(&format!("storage.{kind}"), request);
            let code = answer["code"].clone();
            assert_eq!(code == 1001, !opens, "{version} {kind}: {answer}");
        }
        room(&server, &["a"]);
    }
}

/// However large the file and slow the participant.
#[test]
fn a_download_ends_with_what_the_participant_came_in_by() {
    let server = Server::start();
    let room = room(&server, &[]);
    room.put("large", vec![1; LARGE]).unwrap();
    let key = server.key("admin");
    let mut ann = server.enter(&key);
    ann.send("storage.download", &packed(&json!({"path": "large"}), b""));
    ann.frame().unwrap();
    let revoked = server.admin().delete(&format!("/v1/keys/{}", key.id));
    assert_eq!(revoked.status, 204);
    let mut received = 0;
    let reason = loop {
        match ann.frame() {
            Ok(packet) => received += packet.len() - 12,
            Err(reason) => break reason.unwrap(),
        }
        assert!(received < LARGE, "all of it came");
    };
    assert_eq!(u16::from(reason.code), 1008);
}
