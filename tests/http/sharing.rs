//! Locks, and tokens for those who have no account.

use serde_json::json;

use crate::server::Server;

#[test]
fn a_lock_is_put_on_changed_and_taken_off() {
    let server = Server::start();
    let ann = server.user("ann", "writer", "home/ann");
    ann.put("/v1/blobs/plan", b"north");
    assert_eq!(
        ann.json("PUT", "/v1/locks/plan", &json!({"edit": "secret-1"}))
            .status,
        204
    );
    ann.put("/v1/blobs/plan", b"south").problem(423);
    ann.json("PUT", "/v1/locks/plan", &json!({"edit": "secret-2"}))
        .problem(423);
    let offered = [("komatik-password", "secret-1")];
    let changed = ann.json_with(
        "PUT",
        "/v1/locks/plan",
        &offered,
        &json!({"view": "secret-2"}),
    );
    assert_eq!(changed.status, 204);
    ann.get("/v1/blobs/plan").problem(423);
    let listed = ann.get("/v1/entries").value();
    assert_eq!(listed["entries"][0]["kind"], serde_json::Value::Null);
    ann.send("DELETE", "/v1/locks/plan", &offered, b"")
        .problem(403);
    let offered = [("komatik-password", "secret-2")];
    assert_eq!(
        ann.send("DELETE", "/v1/locks/plan", &offered, b"").status,
        204
    );
    assert_eq!(ann.get("/v1/blobs/plan").text(), "north");
    ann.json("PUT", "/v1/locks/none", &json!({"edit": "x"}))
        .problem(404);
    ann.json("PUT", "/v1/locks/plan", &json!({})).problem(400);
}

/// HTTP takes them off, or does not let them through.
#[test]
fn a_password_that_no_request_could_offer_is_no_lock() {
    let server = Server::start();
    let admin = server.admin();
    server.store.put("plan", "x").unwrap();
    for password in [
        " sesame", "sesame ", "ses\name", "sesame\t", "\u{7f}", "a\u{0}b",
    ] {
        for kind in ["view", "edit"] {
            let lock = json!({kind: password});
            let refused = admin.json("PUT", "/v1/locks/plan", &lock).problem(400);
            assert!(!refused.to_string().contains("ses"), "{refused}");
        }
    }
    assert_eq!(admin.get("/v1/blobs/plan").text(), "x");
    let lock = json!({"view": "open sesame"});
    assert_eq!(admin.json("PUT", "/v1/locks/plan", &lock).status, 204);
    let offered = [("komatik-password", "open sesame")];
    let read = admin.send("GET", "/v1/blobs/plan", &offered, b"");
    assert_eq!(read.text(), "x");
}

/// For clients that cannot send a line twice.
#[test]
fn several_passwords_come_in_one_line() {
    let server = Server::start();
    let admin = server.admin();
    server.store.put("plan", "x").unwrap();
    server.store.put("other", "y").unwrap();
    let lock = |key: &str, password: &str| {
        let lock = komatik::Lock::new().view(password);
        server.store.lock(key, lock).unwrap();
    };
    lock("plan", "one, two");
    lock("other", " \u{e4}%41\n");
    let get = |key: &str, headers: &[(&str, &str)]| {
        admin.send("GET", &format!("/v1/blobs/{key}"), headers, b"")
    };
    let both = ("komatik-passwords", "one%2C%20two, %20%C3%A4%2541%0A,");
    assert_eq!(get("plan", &[both]).text(), "x");
    assert_eq!(get("other", &[both]).text(), "y");
    // A password is a line as it is.
    assert_eq!(get("plan", &[("komatik-password", "one, two")]).text(), "x");
    get("plan", &[("komatik-password", "one%2C%20two")]).problem(403);
    get("plan", &[("komatik-passwords", "one, two")]).problem(403);
    get("plan", &[("komatik-passwords", "%FF")]).problem(400);
    // All of them together are no more than they were.
    server.store.put("third", "z").unwrap();
    lock("third", "six");
    let mut many = vec![("komatik-password", "x"); 2];
    many.push(("komatik-passwords", "1,2,3,4,5,six"));
    assert_eq!(get("third", &many).status, 200);
    many.push(("komatik-passwords", "7"));
    get("third", &many).problem(400);
    // A transaction asks the locks it has to do with beforehand.
    let operations = json!({"operations": [{"op": "check", "key": "plan", "revision": 1}]});
    let asked = admin.json_with("POST", "/v1/transactions", &[both], &operations);
    assert_eq!(asked.status, 412, "{}", asked.text());
}

/// Those who pass it on append what they like.
#[test]
fn a_link_is_good_with_something_appended() {
    let server = Server::start();
    let admin = server.admin();
    server.store.put("a/plan", "north").unwrap();
    let shared = |key: &str, folder: bool| {
        let path = format!("/v1/tokens/{key}");
        let granted = admin.json("POST", &path, &json!({"folder": folder}));
        granted.value()["path"].as_str().unwrap().to_owned()
    };
    let (file, folder) = (shared("a/plan", false), shared("a", true));
    for more in ["?fbclid=x", "?utm_source=x&disposition=attachment&gclid="] {
        let read = server.nobody().get(&format!("{file}{more}"));
        assert_eq!(read.text(), "north");
        let listed = server.nobody().get(&format!("{folder}{more}"));
        assert_eq!(listed.value()["entries"][0]["name"], "plan");
    }
    let wrong = format!("{file}?disposition=x");
    server.nobody().get(&wrong).problem(400);
}

/// Where it had to be verified while others wait, it would be refused at once behind as many wrong ones.
#[test]
fn a_password_is_verified_before_what_is_done_in_one_step() {
    let server = Server::start();
    let admin = server.admin();
    let lock = json!({"edit": "sesame"});
    let right = ("komatik-password", "sesame");
    for key in ["a", "b"] {
        server.store.save(key, &json!({})).unwrap();
        let locked = admin.json("PUT", &format!("/v1/locks/{key}"), &lock);
        assert_eq!(locked.status, 204);
    }
    let guess = |key: &str| {
        for _ in 0..5 {
            let wrong = [("komatik-password", "wrong")];
            let path = format!("/v1/entries/{key}");
            admin.send("DELETE", &path, &wrong, b"").problem(403);
        }
    };
    let tag = admin.get("/v1/entries/a").header("etag").to_owned();
    guess("a");
    let headers = [right, ("if-match", &tag)];
    let removed = admin.send("DELETE", "/v1/entries/a", &headers, b"");
    assert_eq!(removed.status, 204, "{}", removed.text());
    guess("b");
    let path = "/v1/documents/b?dry_run=true";
    let headers = [right, ("content-type", "application/merge-patch+json")];
    let rehearsed = admin.json_with("PATCH", path, &headers, &json!({"n": 1}));
    assert_eq!(rehearsed.value(), json!({"n": 1}));
}

#[test]
fn a_token_opens_one_key_until_it_is_revoked() {
    let server = Server::start();
    let ann = server.user("ann", "writer", "home/ann");
    ann.put("/v1/blobs/a%20b/pl%C3%A4n.html", b"<b>");
    ann.put("/v1/blobs/other", b"other");
    let granted = ann.json("POST", "/v1/tokens/a%20b/pl%C3%A4n.html", &json!({}));
    assert_eq!(granted.status, 201, "{}", granted.text());
    let path = granted.value()["path"].as_str().unwrap().to_owned();
    assert!(path.ends_with("/home/ann/a%20b/pl%C3%A4n.html"), "{path}");
    let read = server
        .nobody()
        .send("GET", &path, &[("range", "bytes=1-1")], b"");
    assert_eq!((read.status, read.text().as_str()), (206, "b"));
    assert_eq!(read.header("x-content-type-options"), "nosniff");
    assert!(
        read.header("content-security-policy")
            .starts_with("sandbox")
    );
    let saved = server
        .nobody()
        .get(&format!("{path}?disposition=attachment"));
    assert!(
        saved
            .header("content-disposition")
            .starts_with("attachment; ")
    );
    let token = granted.value()["token"].as_str().unwrap().to_owned();
    let stranger = server.nobody();
    stranger
        .get(&format!("/v1/shared/{token}/home/ann/other"))
        .problem(403);
    stranger
        .get(&format!("/v1/shared/{token}/home/ann/"))
        .problem(403);
    stranger.get(&format!("/v1/shared/{token}/")).problem(403);
    stranger.get(&path.replace(&token, "x")).problem(403);
    assert_eq!(stranger.put(&path, b"x").status, 405);
    let listed = ann.get("/v1/tokens");
    assert_eq!(listed.value()["tokens"][0]["key"], "a b/pl\u{e4}n.html");
    assert!(!listed.text().contains(&token));
    let bob = server.user("bob", "writer", "home/bob");
    assert_eq!(bob.get("/v1/tokens").value(), json!({"tokens": []}));
    assert_eq!(bob.delete("/v1/tokens").value(), json!({"revoked": 0}));
    assert_eq!(
        ann.delete("/v1/tokens/a%20b/pl%C3%A4n.html").value(),
        json!({"revoked": 1})
    );
    stranger.get(&path).problem(403);
}

#[test]
fn a_token_for_a_folder_lists_it_and_an_expired_one_nothing() {
    let server = Server::start();
    let ann = server.user("ann", "writer", "home/ann");
    ann.put("/v1/blobs/a/1", b"x");
    ann.put("/v1/blobs/a/b/2", b"x");
    for (key, asked, names) in [
        ("/a", json!({"folder": true}), vec!["1", "b"]),
        ("", json!({"folder": true}), vec!["a"]),
        ("", json!({"expires_in": null}), vec!["a"]),
    ] {
        let granted = ann.json("POST", &format!("/v1/tokens{key}"), &asked);
        assert_eq!(granted.value()["folder"], true, "{}", granted.text());
        let path = granted.value()["path"].as_str().unwrap().to_owned();
        let listed = server.nobody().get(&path);
        assert_eq!(listed.status, 200, "{path}: {}", listed.text());
        let found = listed.value();
        let found: Vec<_> = found["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| &item["name"])
            .collect();
        assert_eq!(found, names);
        server.nobody().get(&format!("{path}b/")).problem(403);
        server.nobody().get(&format!("{path}1")).problem(403);
    }
    ann.json("POST", "/v1/tokens", &json!({"folder": false}))
        .problem(400);
    let admin = server.admin();
    let granted = admin
        .json("POST", "/v1/tokens", &json!({"folder": true}))
        .value();
    let listed = server
        .nobody()
        .get(granted["path"].as_str().unwrap())
        .value();
    assert_eq!(
        listed["entries"].as_array().unwrap().len(),
        1,
        "not the accounts: {listed}"
    );
    let granted = ann
        .json("POST", "/v1/tokens/a/1", &json!({"expires_in": 0}))
        .value();
    server
        .nobody()
        .get(granted["path"].as_str().unwrap())
        .problem(403);
    let granted = ann
        .json("POST", "/v1/tokens/a/1", &json!({"expires_in": 60}))
        .value();
    assert_eq!(
        server
            .nobody()
            .get(granted["path"].as_str().unwrap())
            .text(),
        "x"
    );
}
