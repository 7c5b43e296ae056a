//! The care of the store, and what a change of a document would make of it.

use komatik::Store;
use komatik::http::Limits;
use serde_json::{Value, json};

use crate::server::{Reply, Server};

/// The events of an answer, each with its name.
fn events(reply: &Reply) -> Vec<(String, Value)> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("content-type"), "text/event-stream");
    let text = reply.text();
    let events = text.split("\n\n").filter(|event| !event.is_empty());
    events
        .map(|event| {
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            let data = serde_json::from_str(field("data: ").unwrap()).unwrap();
            (field("event: ").unwrap().to_owned(), data)
        })
        .collect()
}

#[test]
fn the_care_is_told_as_it_goes_on_and_is_for_admins() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    for number in 0..20 {
        store
            .put(&format!("b/{number}"), vec![number; 100_000])
            .unwrap();
    }
    let server = Server::with(&store, Limits::default());
    let writer = server.user("ann", "writer", "home/ann");
    for (method, path) in [
        ("GET", "/v1/stats"),
        ("POST", "/v1/verify"),
        ("POST", "/v1/compact"),
    ] {
        server.nobody().send(method, path, &[], b"").problem(401);
        writer.send(method, path, &[], b"").problem(403);
        let strange = [("sec-fetch-site", "cross-site")];
        if method == "POST" {
            server
                .admin()
                .send(method, path, &strange, b"")
                .problem(403);
        }
    }
    let stats = server.admin().get("/v1/stats").value();
    let expected = store.stats().unwrap();
    assert_eq!(stats["entries"], expected.entries);
    assert_eq!(stats["pack_bytes"], expected.pack_bytes);
    assert_eq!(stats["newest_revision"], expected.history.newest);

    let told = events(&server.admin().send("POST", "/v1/verify", &[], b""));
    let (name, report) = told.last().unwrap();
    assert_eq!((name.as_str(), &report["sound"]), ("done", &json!(true)));
    assert!(report["bytes"].as_u64().unwrap() >= 2_000_000, "{report}");
    let steps = &told[..told.len() - 1];
    assert!(!steps.is_empty());
    for (name, step) in steps {
        assert_eq!(name, "progress");
        assert!(step["phase"].is_string() && step["done"].is_u64(), "{step}");
    }

    for number in 0..15 {
        store.delete(&format!("b/{number}")).unwrap();
    }
    let told = events(&server.admin().send("POST", "/v1/compact", &[], b""));
    let (name, sizes) = told.last().unwrap();
    assert_eq!(name, "done");
    let size = |name: &str| sizes[name].as_u64().unwrap();
    assert!(size("pack_bytes") < 1_000_000, "{sizes}");
}

#[test]
fn what_is_damaged_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    store.put("large", vec![7; 1_000_000]).unwrap();
    let server = Server::with(&store, Limits::default());
    let packs = std::fs::read_dir(directory.path().join("packs")).unwrap();
    for pack in packs {
        let path = pack.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if bytes.len() > 500_000 {
            bytes[400_000] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let told = events(&server.admin().send("POST", "/v1/verify", &[], b""));
    let (name, report) = told.last().unwrap();
    assert_eq!((name.as_str(), &report["sound"]), ("done", &json!(false)));
    assert!(report["findings"][0]["problem"].is_string(), "{report}");
}

#[test]
fn a_change_is_rehearsed_without_being_made() {
    let server = Server::start();
    let admin = server.admin();
    let before = json!({"a": [1, 2], "n": u64::MAX});
    admin.json("PUT", "/v1/documents/d", &before);
    let revision = server.store.metadata("d").unwrap().unwrap().revision;
    let rehearse = |query: &str, content_type: &str, change: Value| {
        let path = format!("/v1/documents/d?dry_run=true{query}");
        admin.json_with("PATCH", &path, &[("content-type", content_type)], &change)
    };
    let own = "application/vnd.komatik.merge+json";
    let merged = rehearse("&arrays=append", own, json!({"a": [3], "b": null}));
    assert_eq!(
        merged.value(),
        json!({"a": [1, 2, 3], "n": u64::MAX, "b": null})
    );
    let merged = rehearse("", "application/merge-patch+json", json!({"a": null}));
    assert_eq!(merged.value(), json!({"n": u64::MAX}));
    let patch = json!([{"op": "remove", "path": "/n"}]);
    let patched = rehearse("", "application/json-patch+json", patch);
    assert_eq!(patched.value(), json!({"a": [1, 2]}));
    let wrong = json!([{"op": "remove", "path": "/none"}]);
    rehearse("", "application/json-patch+json", wrong).problem(422);
    let stale = [
        ("content-type", own),
        ("if-match", "\"1-0000000000000000\""),
    ];
    let path = "/v1/documents/d?dry_run=true";
    admin
        .json_with("PATCH", path, &stale, &json!({}))
        .problem(412);
    server.store.put("blob", "x").unwrap();
    admin
        .json_with(
            "PATCH",
            "/v1/documents/blob?dry_run=true",
            &[("content-type", own)],
            &json!({}),
        )
        .problem(409);
    let fresh = "/v1/documents/fresh?dry_run=true";
    let made = admin.json_with("PATCH", fresh, &[("content-type", own)], &json!({"x": 1}));
    assert_eq!(made.value(), json!({"x": 1}));
    assert!(!server.store.exists("fresh").unwrap());
    let after = server.store.metadata("d").unwrap().unwrap();
    assert_eq!(after.revision, revision);
    assert_eq!(server.store.load::<Value>("d").unwrap().unwrap(), before);
}
