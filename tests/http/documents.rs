//! Documents: saved, read by parts, merged, patched, and never over another's change unseen.

use serde_json::{Value, json};

use crate::server::Server;

#[test]
fn a_document_comes_back_as_it_was_saved() {
    let server = Server::start();
    let admin = server.admin();
    let value = json!({"b": 1, "a": [null, 1.5, "\u{e9}"], "big": u64::MAX});
    let saved = admin.json("PUT", "/v1/documents/settings/window", &value);
    assert_eq!(saved.status, 201, "{saved:?}");
    assert_eq!(saved.value()["key"], "settings/window");
    let loaded = admin.get("/v1/documents/settings/window");
    assert_eq!((loaded.status, loaded.text()), (200, value.to_string()));
    assert_eq!(loaded.header("content-type"), "application/json");
    assert_eq!(loaded.header("etag"), saved.header("etag"));
    let tag = loaded.header("etag");
    for (header, status) in [(tag, 304), ("\"other\"", 200)] {
        let path = "/v1/documents/settings/window";
        for path in [path.to_owned(), format!("{path}?pointer=/b")] {
            let asked = admin.send("GET", &path, &[("if-none-match", header)], b"");
            assert_eq!(
                (asked.status, asked.header("etag")),
                (status, tag),
                "{path}"
            );
        }
    }
    let again = admin.json("PUT", "/v1/documents/settings/window", &json!(1));
    assert_eq!(again.status, 200);
    assert_ne!(again.header("etag"), saved.header("etag"));
    assert_eq!(
        server.store.load::<u8>("settings/window").unwrap(),
        Some(1),
        "the root of an admin is that of the store"
    );
}

#[test]
fn a_pointer_reads_a_part() {
    let server = Server::start();
    let admin = server.admin();
    admin.json("PUT", "/v1/documents/d", &json!({"a": {"b/c": [1, 2]}}));
    let part = admin.get("/v1/documents/d?pointer=/a/b~1c/1");
    assert_eq!((part.status, part.text().as_str()), (200, "2"));
    assert_eq!(
        admin.get("/v1/documents/d?pointer=").value(),
        json!({"a": {"b/c": [1, 2]}})
    );
    assert_eq!(
        admin.get("/v1/documents/d?pointer=/x").problem(404)["pointer"],
        "/x"
    );
    for none in ["x", "/a~2b", "/~"] {
        admin
            .get(&format!("/v1/documents/d?pointer={none}"))
            .problem(400);
    }
    admin.get("/v1/documents/d?point=x").problem(400);
    assert_eq!(admin.get("/v1/documents/none").problem(404)["key"], "none");
    admin.put("/v1/blobs/blob", b"x");
    let wrong = admin.get("/v1/documents/blob").problem(409);
    assert_eq!(
        (&wrong["expected"], &wrong["found"]),
        (&json!("document"), &json!("blob"))
    );
    admin.get("/v1/documents/blob?pointer=").problem(409);
}

#[test]
fn the_content_type_says_how_a_document_is_changed() {
    let server = Server::start();
    let admin = server.admin();
    let change = |query: &str, kind: &str, body| {
        admin.json("PUT", "/v1/documents/d", &json!({"a": [1, 2], "n": 1}));
        let headers = [("content-type", kind)];
        let reply = admin.json_with("PATCH", &format!("/v1/documents/d{query}"), &headers, &body);
        assert_eq!(reply.status, 200, "{}", reply.text());
        admin.get("/v1/documents/d").value()
    };
    let merge = json!({"a": [3], "n": null});
    let own = "application/vnd.komatik.merge+json";
    let kept = "application/merge-patch+json; charset=utf-8";
    assert_eq!(change("", kept, merge.clone()), json!({"a": [3]}));
    assert_eq!(
        change("", own, merge.clone()),
        json!({"a": [3, 2], "n": null})
    );
    assert_eq!(
        change("?arrays=append&nulls=remove", own, merge.clone()),
        json!({"a": [1, 2, 3]})
    );
    assert_eq!(
        change("?arrays=union", own, json!({"a": [2, 3]})),
        json!({"a": [1, 2, 3], "n": 1})
    );
    let patch = json!([{"op": "test", "path": "/n", "value": 1}, {"op": "remove", "path": "/a/0"}]);
    let json_patch = [("content-type", "application/json-patch+json")];
    assert_eq!(
        change("", json_patch[0].1, patch.clone()),
        json!({"a": [2], "n": 1})
    );

    let send = |query: &str, kind: &str, body: &[u8]| {
        let path = format!("/v1/documents/d{query}");
        admin.send("PATCH", &path, &[("content-type", kind)], body)
    };
    send("", "application/json", b"{}").problem(415);
    send("?arrays=append", "application/merge-patch+json", b"{}").problem(400);
    send("?arrays=sideways", own, b"{}").problem(400);
    send("", own, b"{").problem(400);
    send("", json_patch[0].1, b"{}").problem(400);
    send("", json_patch[0].1, br#"[{"op": "remove", "path": "/x"}]"#).problem(422);
    let missing = admin.json_with("PATCH", "/v1/documents/none", &json_patch, &patch);
    missing.problem(404);
}

/// A body has at most as many values, but may be merged again and again.
#[test]
fn what_a_change_comes_to_has_no_more_values_than_a_body() {
    let server = Server::start();
    let admin = server.admin();
    let (half, rest) = (vec![0; 1_000_000], vec![0; 999_998]);
    admin.json("PUT", "/v1/documents/d", &json!({"a": half}));
    let own = [("content-type", "application/vnd.komatik.merge+json")];
    let append =
        |more: &Value| admin.json_with("PATCH", "/v1/documents/d?arrays=append", &own, more);
    let refused = append(&json!({"a": half})).problem(413);
    assert_eq!(
        (&refused["limit"], &refused["found"]),
        (&2_000_000.into(), &2_000_003.into())
    );
    let merge =
        json!({"op": "merge", "key": "d", "value": {"a": half}, "options": {"arrays": "append"}});
    let operations = json!({"operations": [merge]});
    admin
        .json("POST", "/v1/transactions", &operations)
        .problem(413);
    assert_eq!(append(&json!({"a": rest[1..]})).status, 200);
    let json_patch = [("content-type", "application/json-patch+json")];
    let patch = json!([{"op": "add", "path": "/b", "value": 0}]);
    admin
        .json_with("PATCH", "/v1/documents/d", &json_patch, &patch)
        .problem(413);
    // A program may have more.
    server.store.merge("d", &json!({"b": 0})).unwrap();
}

#[test]
fn conditions_hold_at_the_write() {
    let server = Server::start();
    let admin = server.admin();
    let path = "/v1/documents/d";
    let put = |name: &str, value: &str| admin.json_with("PUT", path, &[(name, value)], &json!(1));
    put("if-match", "*").problem(412);
    assert_eq!(put("if-none-match", "*").status, 201);
    put("if-none-match", "*").problem(412);
    let first = admin.get(path).header("etag").to_owned();
    assert_eq!(put("if-match", &first).status, 200);
    put("if-match", &first).problem(412);
    put("if-match", "\"one\", \"another\"").problem(412);
    assert_eq!(put("if-match", "*").status, 200);
    put("if-match", "no tag").problem(412);

    let tag = admin.get(path).header("etag").to_owned();
    let ask = |name: &str, value: &str| admin.send("GET", path, &[(name, value)], b"");
    let fresh = ask("if-none-match", &tag);
    assert_eq!((fresh.status, fresh.body.len()), (304, 0));
    assert_eq!(fresh.header("etag"), tag);
    assert_eq!(ask("if-none-match", &first).status, 200);
    ask("if-match", &first).problem(412);
    let modified = admin.date_of(path);
    assert_eq!(ask("if-modified-since", &modified).status, 304);

    let patch = json!([{"op": "replace", "path": "", "value": 2}]);
    let change = |tag: &str| {
        let headers = [
            ("content-type", "application/json-patch+json"),
            ("if-match", tag),
        ];
        admin.json_with("PATCH", path, &headers, &patch)
    };
    change(&first).problem(412);
    assert_eq!(admin.get(path).text(), "1");
    // That it is no document is not that it has changed: to ask again would not help.
    admin.put("/v1/blobs/b", "no document");
    let of_blob = admin.get("/v1/blobs/b").header("etag").to_owned();
    let headers = [
        ("content-type", "application/json-patch+json"),
        ("if-match", of_blob.as_str()),
    ];
    let answer = admin.json_with("PATCH", "/v1/documents/b", &headers, &patch);
    answer.problem(409);
    assert_eq!(change(&tag).status, 200);
    assert_eq!(admin.get(path).text(), "2");
}

/// That of a rehearsal would be of a document that the conditions were not asked of.
#[test]
fn conditions_hold_at_a_rehearsal() {
    let server = Server::start();
    let admin = server.admin();
    admin.json("PUT", "/v1/documents/d", &json!({"a": 1}));
    let tag = admin.get("/v1/documents/d").header("etag").to_owned();
    let headers = [
        ("content-type", "application/merge-patch+json"),
        ("if-match", tag.as_str()),
    ];
    let path = "/v1/documents/d?dry_run=true";
    let rehearse = || admin.json_with("PATCH", path, &headers, &json!({"b": 2}));
    assert_eq!(rehearse().value(), json!({"a": 1, "b": 2}));
    let answer = server.amid(|tx| tx.save("d", &json!({"a": 3})), rehearse);
    answer.problem(412);
    assert_eq!(admin.get("/v1/documents/d").value(), json!({"a": 3}));
}

#[test]
fn what_is_no_document_is_refused_and_nothing_is_written() {
    let server = Server::start();
    let admin = server.admin();
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    for (kind, body, status) in [
        ("application/json", "{", 400),
        ("application/json", "", 400),
        ("application/json", "\u{0}", 400),
        ("application/json", deep.as_str(), 400),
        ("text/plain", "{}", 415),
    ] {
        let reply = admin.send(
            "PUT",
            "/v1/documents/d",
            &[("content-type", kind)],
            body.as_bytes(),
        );
        reply.problem(status);
    }
    assert!(!server.store.exists("d").unwrap());
    let fits = format!("{}{}", "[".repeat(128), "]".repeat(128));
    let headers = [("content-type", "application/json")];
    assert_eq!(
        admin
            .send("PUT", "/v1/documents/d", &headers, fits.as_bytes())
            .status,
        201
    );
}
