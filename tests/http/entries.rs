//! Listings and their pages, metadata, folders, moves and copies.

use serde_json::{Value, json};

use crate::server::{Client, Server};

fn names(page: &Value) -> Vec<&str> {
    let entries = page["entries"].as_array().unwrap();
    entries
        .iter()
        .map(|item| item["name"].as_str().unwrap())
        .collect()
}

fn filled(server: &Server) -> Client {
    for key in ["a/1.txt", "a/2.png", "a/b/3.txt", "z.txt"] {
        server.store.put(key, "x").unwrap();
    }
    server.admin()
}

#[test]
fn a_listing_comes_in_pages() {
    let server = Server::start();
    let admin = filled(&server);
    let all = admin.get("/v1/entries").value();
    assert_eq!(names(&all), ["a", "z.txt"], "the accounts are not told");
    assert_eq!(
        (&all["entries"][0]["kind"], &all["entries"][1]["kind"]),
        (&json!("folder"), &json!("blob"))
    );
    assert_eq!(all["next"], Value::Null);
    let recursive = admin.get("/v1/entries?recursive=true").value();
    assert_eq!(
        names(&recursive),
        ["a/1.txt", "a/2.png", "a/b/3.txt", "z.txt"]
    );

    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = admin
            .get(&format!("/v1/entries?folder=a&limit=1{after}"))
            .value();
        seen.extend(names(&page).iter().map(ToString::to_string));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", next.replace('/', "%2F")),
            None => break,
        }
    }
    assert_eq!(seen, ["1.txt", "2.png", "b"]);
    let found = admin
        .get("/v1/entries?recursive=true&glob=**/*.txt")
        .value();
    assert_eq!(names(&found), ["a/1.txt", "a/b/3.txt", "z.txt"]);
    assert_eq!(
        names(&admin.get("/v1/entries?folder=a&contains=png").value()),
        ["2.png"]
    );
    admin.get("/v1/entries?glob=%5B").problem(400);
    admin.get("/v1/entries?folder=../x").problem(400);
    admin.get("/v1/entries?sort=size").problem(400);
}

/// Who asks for what is not there reads all of the store, but not in one call.
#[test]
fn a_page_may_end_before_anything_was_found() {
    let server = Server::start();
    let admin = server.admin();
    let filled = server.store.transaction(|tx| {
        (0..100_010).try_for_each(|number| tx.save(&format!("{number:06}"), &()))
    });
    filled.unwrap();
    for query in ["contains=10000", "recursive=true&contains=10000"] {
        let first = admin.get(&format!("/v1/entries?{query}")).value();
        assert_eq!(names(&first), ["010000"]);
        assert_eq!(first["next"], "099999", "{query}");
        let rest = admin
            .get(&format!("/v1/entries?{query}&after=099999"))
            .value();
        assert_eq!(names(&rest).len(), 10);
        assert_eq!(rest["next"], Value::Null);
    }
    let none = admin.get("/v1/entries?contains=zzzz").value();
    assert_eq!(none, json!({"entries": [], "next": "099999"}));
}

#[test]
fn metadata_is_told_and_an_entry_deleted_as_it_was_seen() {
    let server = Server::start();
    let admin = filled(&server);
    let seen = admin.get("/v1/entries/z.txt");
    assert_eq!(seen.value()["size"], 1);
    let tag = seen.header("etag").to_owned();
    let remove = |tag: &str| admin.send("DELETE", "/v1/entries/z.txt", &[("if-match", tag)], b"");
    admin.put("/v1/blobs/z.txt", b"new");
    remove(&tag).problem(412);
    assert!(server.store.exists("z.txt").unwrap());
    let tag = admin.get("/v1/entries/z.txt").header("etag").to_owned();
    assert_eq!(remove(&tag).status, 204);
    assert!(!server.store.exists("z.txt").unwrap());
    admin.delete("/v1/entries/z.txt").problem(404);
    admin.get("/v1/entries/z.txt").problem(404);
    assert_eq!(admin.delete("/v1/entries/a/1.txt").status, 204);
}

#[test]
fn folders_are_made_and_deleted_with_what_is_in_them() {
    let server = Server::start();
    let admin = filled(&server);
    assert_eq!(admin.put("/v1/folders/new/one", b"").status, 204);
    assert_eq!(names(&admin.get("/v1/entries?folder=new").value()), ["one"]);
    assert_eq!(
        admin.delete("/v1/folders/new/one").value(),
        json!({"deleted": 0})
    );
    assert!(!server.store.exists("new").unwrap());
    admin.put("/v1/folders/new/one/two", b"");
    admin.delete("/v1/folders/new").problem(409);
    assert!(server.store.is_folder("new/one/two").unwrap());
    let empty = admin.delete("/v1/folders/new/one/two");
    assert_eq!(empty.value(), json!({"deleted": 0}));
    admin.delete("/v1/folders/.komatik").problem(400);
    assert_eq!(admin.delete("/v1/folders/a").problem(409)["key"], "a");
    assert_eq!(server.store.list("a").unwrap().count(), 3);
    // Who would have to delete what is in it to find out is not asked for the password of it.
    let lock = json!({"edit": "sesame"});
    assert_eq!(admin.json("PUT", "/v1/locks/a/1.txt", &lock).status, 204);
    admin.delete("/v1/folders/a").problem(409);
    admin.delete("/v1/folders/a?recursive=true").problem(423);
    // And no password is tried for it, for which others would wait.
    let lock = json!({"view": "sesame"});
    let offered = [("komatik-password", "sesame")];
    let locked = admin.json_with("PUT", "/v1/locks/a/1.txt", &offered, &lock);
    assert_eq!(locked.status, 204);
    for _ in 0..12 {
        let wrong = [("komatik-password", "wrong")];
        admin
            .send("DELETE", "/v1/folders/a", &wrong, b"")
            .problem(409);
    }
    let told = admin
        .send("GET", "/v1/entries?folder=a", &offered, b"")
        .value();
    assert_eq!(told["entries"][0]["size"], 1, "{told}");
    let offered = [("komatik-password", "sesame")];
    let unlocked = admin.send("DELETE", "/v1/locks/a/1.txt", &offered, b"");
    assert_eq!(unlocked.status, 204);
    assert_eq!(
        admin.delete("/v1/folders/a?recursive=true").value(),
        json!({"deleted": 3})
    );
    assert!(!server.store.exists("a").unwrap());
}

/// To leave them out would do what was not asked for.
#[test]
fn conditions_that_are_not_heeded_are_refused() {
    let server = Server::start();
    let admin = filled(&server);
    let (from_to, nothing) = (json!({"from": "z.txt", "to": "y.txt"}), json!({}));
    let operations = json!({"operations": [{"op": "delete", "key": "z.txt"}]});
    for (method, path, body) in [
        ("POST", "/v1/move", &from_to),
        ("POST", "/v1/copy", &from_to),
        ("POST", "/v1/transactions", &operations),
        ("PUT", "/v1/folders/y.txt", &nothing),
        ("DELETE", "/v1/folders/a?recursive=true", &nothing),
        ("PUT", "/v1/locks/z.txt", &nothing),
        ("DELETE", "/v1/locks/z.txt", &nothing),
    ] {
        for condition in [
            ("if-match", "\"other\""),
            ("if-none-match", "*"),
            ("if-unmodified-since", "Sat, 29 Oct 1994 19:43:31 GMT"),
        ] {
            let refused = admin.json_with(method, path, &[condition], body);
            let told = refused.problem(400).to_string();
            assert!(told.contains("conditions"), "{method} {path}: {told}");
        }
    }
    assert_eq!(names(&admin.get("/v1/entries").value()), ["a", "z.txt"]);
}

#[test]
fn moves_and_copies_replace_only_what_they_are_told_to() {
    let server = Server::start();
    let admin = filled(&server);
    let send = |path: &str, body: Value| admin.json("POST", path, &body);
    send("/v1/copy", json!({"from": "z.txt", "to": "a/1.txt"})).problem(409);
    let copied = send("/v1/copy", json!({"from": "z.txt", "to": "y.txt"}));
    assert_eq!(
        (copied.status, &copied.value()["key"]),
        (201, &json!("y.txt"))
    );
    send("/v1/move", json!({"from": "z.txt", "to": "y.txt"})).problem(409);
    let moved = send(
        "/v1/move",
        json!({"from": "z.txt", "to": "y.txt", "overwrite": true}),
    );
    assert_eq!((moved.status, &moved.value()["moved"]), (200, &json!(1)));
    assert!(!server.store.exists("z.txt").unwrap());
    let moved = send("/v1/move", json!({"from": "a", "to": "c", "folder": true}));
    assert_eq!(moved.value(), json!({"moved": 3}));
    assert!(server.store.exists("c/b/3.txt").unwrap());
    send("/v1/move", json!({"from": "none", "to": "x"})).problem(404);
    send(
        "/v1/move",
        json!({"from": "c", "to": "d", "folder": true, "overwrite": true}),
    )
    .problem(400);
    send("/v1/copy", json!({"from": "c", "to": "d", "folder": true})).problem(400);
    send("/v1/move", json!({"from": "y.txt", "to": ".komatik/y"})).problem(400);
    send("/v1/move", json!({"from": "y.txt", "to": "../y"})).problem(400);
    send(
        "/v1/copy",
        json!({"from": ".komatik/users/admin", "to": "x"}),
    )
    .problem(400);
    send(
        "/v1/move",
        json!({"from": ".komatik", "to": "x", "folder": true}),
    )
    .problem(400);
    admin
        .delete("/v1/folders/.komatik?recursive=true")
        .problem(400);
    admin.get("/v1/entries?folder=.komatik").problem(400);
    server.log_in("admin", &server.password);
}
