//! Who gets in, by which proof, and what they reach.

use komatik::http::{Limits, Service};
use komatik::{Lock, Store};
use serde_json::json;

use crate::server::Server;

#[test]
fn the_first_account_is_made_once() {
    let store = Store::in_memory().unwrap();
    let (_, first) = Service::new(&store, Limits::default()).unwrap();
    let first = first.unwrap();
    assert_eq!(first.name, "admin");
    assert_eq!(first.password.len(), 43);
    assert!(!format!("{first:?}").contains(&first.password));
    let (_, second) = Service::new(&store, Limits::default()).unwrap();
    assert!(second.is_none());
    let server = Server::with(&store, Limits::default());
    server.log_in("admin", &first.password);
}

/// Those a client has to offer, whoever serves.
#[test]
fn passwords_of_who_serves_open_nothing_for_others() {
    let store = Store::in_memory().unwrap();
    store.put("diary", "dear diary").unwrap();
    store
        .lock("diary", Lock::new().view("sesame").edit("sesame"))
        .unwrap();
    let serves = store.unlocked_with("sesame").acting_as("who serves");
    let server = Server::with(&serves, Limits::default());
    let admin = server.admin();
    admin.get("/v1/blobs/diary").problem(423);
    admin.put("/v1/blobs/diary", "overwritten").problem(423);
    admin.delete("/v1/entries/diary").problem(423);
    let with_it = admin.send(
        "GET",
        "/v1/blobs/diary",
        &[("komatik-password", "sesame")],
        b"",
    );
    assert_eq!(with_it.text(), "dear diary");
}

#[test]
fn every_proof_gets_in_and_nothing_else() {
    let server = Server::start();
    let admin = server.admin();
    let token = admin.credentials[0].1["Bearer ".len()..].to_owned();
    let new = json!({"user": "admin", "label": "a script", "project": "p1"});
    let made = admin.json("POST", "/v1/keys", &new);
    assert_eq!(made.status, 201, "{}", made.text());
    let key = made.value()["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("p1_"));
    let own = [
        server.basic("admin", &server.password),
        server.bearer(&token),
        server.bearer(&key),
        server.client("x-api-key", &key),
        server.client("cookie", &format!("a=b; komatik-session={token}")),
    ];
    for client in &own {
        let shown = client.get("/v1/sessions");
        assert_eq!(
            (shown.status, &shown.value()["name"]),
            (200, &json!("admin"))
        );
    }
    assert_eq!(own[2].get("/v1/sessions").value()["project"], "p1");
    for stranger in [
        server.nobody(),
        server.basic("admin", "wrong"),
        server.basic("nobody", &server.password),
        server.basic("../users/admin", &server.password),
        server.bearer(&token[1..]),
        server.bearer(""),
        server.client("x-api-key", "p1_x"),
        server.client("authorization", "Digest x"),
        server.client("cookie", "komatik-session=x"),
    ] {
        let refused = stranger.get("/v1/sessions");
        refused.problem(401);
        assert!(refused.headers.contains_key("www-authenticate"));
        stranger.put("/v1/blobs/a", b"x").problem(401);
    }
    assert!(!server.store.exists("a").unwrap());
    let id = made.value()["id"].as_str().unwrap().to_owned();
    assert_eq!(admin.delete(&format!("/v1/keys/{id}")).status, 204);
    own[3].get("/v1/sessions").problem(401);
}

/// To make what is stored of a password takes a while.
#[test]
fn a_password_and_a_role_that_change_at_once_are_both_changed() {
    let server = Server::start();
    server.user("ann", "writer", "home/ann");
    let admin = server.admin();
    let by_command = || komatik::http::set_password(&server.store, "ann", "by command").unwrap();
    let by_admin = || {
        let changed = json!({"password": "by the admin"});
        let reply = admin.json("PATCH", "/v1/users/ann", &changed);
        assert_eq!(reply.status, 204, "{}", reply.text());
    };
    let changes: [(&(dyn Fn() + Sync), &str); 2] =
        [(&by_command, "by command"), (&by_admin, "by the admin")];
    for (change, password) in changes {
        let key = ".komatik/users/ann";
        let with_role = |role: &str| {
            let role = json!({"role": role});
            move |tx: &mut komatik::Transaction<'_>| tx.merge(key, &role)
        };
        server.store.transaction(with_role("writer")).unwrap();
        server.amid(with_role("reader"), change);
        let ann = server.log_in("ann", password);
        ann.put("/v1/blobs/a", "x").problem(403);
    }
}

#[test]
fn a_session_ends() {
    let server = Server::start();
    let ann = server.user("ann", "writer", "home/ann");
    assert_eq!(ann.delete("/v1/sessions").status, 204);
    ann.get("/v1/sessions").problem(401);

    let ann = server.log_in("ann", "a long one");
    let changed = json!({"password": "another one"});
    assert_eq!(
        server
            .admin()
            .json("PATCH", "/v1/users/ann", &changed)
            .status,
        204
    );
    ann.get("/v1/sessions").problem(401);
    let ann = server.log_in("ann", "another one");
    assert_eq!(server.admin().delete("/v1/users/ann").status, 204);
    ann.get("/v1/sessions").problem(401);
    let again = json!({"password": "another one", "role": "writer"});
    assert_eq!(
        server.admin().json("PUT", "/v1/users/ann", &again).status,
        201
    );
    ann.get("/v1/sessions").problem(401);

    let mut limits = Limits::default();
    limits.session_time = std::time::Duration::ZERO;
    let server = Server::with(&Store::in_memory().unwrap(), limits);
    server.admin().get("/v1/sessions").problem(401);
}

#[test]
fn a_cookie_is_for_browsers_and_for_this_site_only() {
    let server = Server::start();
    let login = json!({"name": "admin", "password": server.password, "cookie": true});
    let reply = server.nobody().json("POST", "/v1/sessions", &login);
    assert!(reply.value().get("token").is_none());
    let cookie = reply.header("set-cookie");
    assert!(
        cookie.ends_with("; Path=/; Max-Age=86400; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    let pair = cookie.split(';').next().unwrap();
    assert_eq!(
        server.client("cookie", pair).get("/v1/sessions").status,
        200
    );
}

#[test]
fn guesses_are_slowed_by_name_and_address() {
    let server = Server::start();
    for _ in 0..10 {
        server
            .basic("admin", "wrong")
            .get("/v1/sessions")
            .problem(401);
    }
    let refused = server.basic("admin", &server.password).get("/v1/sessions");
    let problem = refused.problem(429);
    let seconds = problem["retry_in"].as_u64().unwrap();
    assert!((1..=60).contains(&seconds));
    assert_eq!(refused.header("retry-after"), seconds.to_string());
    let login = json!({"name": "someone", "password": "else"});
    server
        .nobody()
        .json("POST", "/v1/sessions", &login)
        .problem(429);
}

/// A try counts before it is made. That is to slow guesses, and not who has the password and asks for much at once.
#[test]
fn right_passwords_side_by_side_are_no_guesses() {
    let mut limits = Limits::default();
    limits.logins = 2;
    let server = Server::with(&Store::in_memory().unwrap(), limits);
    let client = server.basic("admin", &server.password);
    let all = std::sync::Barrier::new(24);
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..24)
            .map(|_| {
                scope.spawn(|| {
                    all.wait();
                    client.get("/v1/sessions").status
                })
            })
            .collect();
        for asked in asked {
            assert_eq!(asked.join().unwrap(), 200);
        }
    });
}

#[test]
fn roles_are_kept() {
    let server = Server::start();
    let writer = server.user("ann", "writer", "home/ann");
    let reader = server.user("bob", "reader", "home/ann");
    assert_eq!(writer.put("/v1/blobs/a", b"x").status, 201);
    assert_eq!(reader.get("/v1/blobs/a").text(), "x");
    reader.put("/v1/blobs/a", b"y").problem(403);
    reader
        .send("POST", "/v1/blobs/a", &[("upload-offset", "1")], b"y")
        .problem(403);
    reader
        .json("PUT", "/v1/documents/a", &json!(1))
        .problem(403);
    assert_eq!(reader.delete("/v1/sessions").status, 204);
    for path in ["/v1/users", "/v1/keys"] {
        writer.get(path).problem(403);
        assert_eq!(server.admin().get(path).status, 200);
    }
    let user = json!({"password": "a long one", "role": "admin"});
    writer.json("PUT", "/v1/users/eve", &user).problem(403);
    let key = json!({"user": "admin", "label": "", "project": "p"});
    writer.json("POST", "/v1/keys", &key).problem(403);
    assert_eq!(
        server
            .store
            .scoped("home/ann")
            .unwrap()
            .get("a")
            .unwrap()
            .unwrap(),
        "x"
    );
}

#[test]
fn accounts_are_checked_before_they_are_made() {
    let server = Server::start();
    let key = json!({"user": "admin", "label": "l", "project": "p", "signing": "QUJD"});
    server.admin().json("POST", "/v1/keys", &key).problem(400);
    let admin = server.admin();
    let add = |name: &str, password: &str, root: &str| {
        let user = json!({"password": password, "role": "writer", "root": root});
        admin.json("PUT", &format!("/v1/users/{name}"), &user)
    };
    for name in [
        "Ann",
        "a%2Fb",
        "..",
        "a%20b",
        "%C3%A9",
        ".ann",
        &"a".repeat(65),
    ] {
        let status = add(name, "a long one", "").status;
        assert!(matches!(status, 400 | 404), "{name}: {status}");
    }
    add("ann", "short", "").problem(400);
    for root in [".komatik", ".komatik/users", "/.komatik/", "../x", "a//b"] {
        add("ann", "a long one", root).problem(400);
    }
    assert_eq!(add("ann", "a long one", "").status, 201);
    add("ann", "a long one", "").problem(409);
    let demoted = json!({"role": "reader"});
    admin
        .json("PATCH", "/v1/users/admin", &demoted)
        .problem(409);
    admin.delete("/v1/users/admin").problem(409);
    admin
        .json("PATCH", "/v1/users/ann", &json!({"root": ".komatik"}))
        .problem(400);
    admin.json("PATCH", "/v1/users/ann", &json!({"role": "admin"}));
    assert_eq!(admin.json("PATCH", "/v1/users/admin", &demoted).status, 204);
    admin.get("/v1/users").problem(403);
}

#[test]
fn no_secret_is_kept() {
    let server = Server::start();
    let admin = server.admin();
    let token = admin.credentials[0].1["Bearer ".len()..].to_owned();
    let new = json!({"user": "admin", "label": "", "project": "p"});
    let key = admin.json("POST", "/v1/keys", &new).value()["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut seen = 0;
    let options = komatik::ListOptions::new().recursive();
    for item in server.store.list_with(".komatik", options).unwrap() {
        let name = format!(".komatik/{}", item.unwrap().name);
        let text = server.store.get(&name).unwrap().unwrap();
        let text = format!("{name} {}", String::from_utf8_lossy(&text));
        for secret in [
            &server.password,
            &token,
            &key,
            &key["p_".len()..].to_owned(),
        ] {
            assert!(!text.contains(secret.as_str()), "{text}");
        }
        seen += 1;
    }
    assert_eq!(seen, 4, "a user, a session and whose it is, and a key");
}
