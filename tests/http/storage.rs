//! HTTP storage: logging in, reading, listing and path tokens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::form::{CONTENT_TYPE, Part, form};
use crate::server::{Client, Reply, Server};

impl Server {
    /// Logs in as a client of the storage does.
    pub(crate) fn storage(&self, name: &str) -> Client {
        let login = json!({"username": name, "password": "a long one"});
        let reply = self.nobody().json("POST", "/auth/login", &login);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let token = reply.value()["access_token"].as_str().unwrap().to_owned();
        self.client("authorization", &token)
    }

    /// The user `ann` with some files, as a client of the storage.
    pub(crate) fn ann(&self) -> Client {
        self.user("ann", "writer", "home/ann");
        let store = self.store.scoped("home/ann").unwrap();
        for (key, content) in [
            ("a/b/deep.txt", "deep"),
            ("a/plan.txt", "north"),
            ("a-b/x", "x"),
            ("Z.txt", "Z"),
            (".hidden", "h"),
            ("page.html", "<b>"),
        ] {
            store.put(key, content).unwrap();
        }
        store.create_folder("empty").unwrap();
        self.storage("ann")
    }
}

impl Client {
    pub(crate) fn upload(&self, path: &str, parts: &[Part<'_>]) -> Reply {
        let headers = [("content-type", CONTENT_TYPE)];
        self.send("PUT", path, &headers, &form(parts))
    }

    pub(crate) fn act(&self, path: &str, action: &Value) -> Reply {
        self.json("POST", path, action)
    }

    fn token_for(&self, path: &str) -> String {
        let reply = self.act(path, &json!({"action": "MakePathToken"}));
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.value()["token"].as_str().unwrap().to_owned()
    }
}

impl Reply {
    /// Fails unless it is a JSON string with this status.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, text: &str) {
        assert_eq!((self.status, self.value()), (status, json!(text)));
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(self.header("www-authenticate"), "");
    }

    #[track_caller]
    pub(crate) fn is_missing(&self) {
        self.refused(404, "IO error No such file or directory (os error 2)");
    }
}

#[test]
fn a_login_answers_a_token_for_each_version_of_the_client() {
    let server = Server::start();
    server.user("ann", "writer", "home/ann");
    let login = |password: &str| {
        let login = json!({"username": "ann", "password": password});
        server.nobody().json("POST", "/auth/login", &login)
    };
    let answer = login("a long one").value();
    assert_eq!(answer["access_token"], answer["token"]);
    assert_eq!(answer["valid_for_seconds"], 86400);
    let wrong = "Login failed, incorrect username or password.";
    login("a wrong one").refused(401, wrong);
    let reply = server.nobody().json("POST", "/auth/login", &json!({}));
    assert_eq!((reply.status, reply.value().is_string()), (400, true));
    for _ in 0..9 {
        login("a wrong one").refused(401, wrong);
    }
    let throttled = login("another wrong one");
    assert_eq!(
        (throttled.status, throttled.value().is_string()),
        (429, true)
    );
    assert!(throttled.header("retry-after").parse::<u64>().unwrap() > 0);
}

#[test]
fn a_token_comes_in_a_header_or_a_cookie() {
    let server = Server::start();
    let ann = server.ann();
    let token = ann.credentials[0].1.clone();
    let cookie = server.client("cookie", &format!("x=y; bulgur-cloud-auth={token}"));
    for client in [&ann, &cookie] {
        assert_eq!(client.get("/storage/ann/Z.txt").text(), "Z");
        let stats = client.get("/api/stats").value();
        let uptime = stats["uptime"].as_str().unwrap();
        assert!(
            uptime.starts_with("PT") && uptime.ends_with('S'),
            "{uptime}"
        );
        assert_eq!(client.send("HEAD", "/api/stats", &[], b"").status, 200);
    }
    let strangers = [
        server.nobody(),
        server.bearer(&token),
        server.client("authorization", ""),
        server.client("authorization", "x"),
        server.client("cookie", "bulgur-cloud-auth=x"),
    ];
    for stranger in strangers {
        for path in [
            "/storage/ann/Z.txt",
            "/storage/ann/none",
            "/storage/ann",
            "/api/stats",
        ] {
            stranger.get(path).refused(401, "Failed");
        }
        assert_eq!(stranger.send("HEAD", "/storage/ann/", &[], b"").status, 401);
        stranger.delete("/storage/ann/Z.txt").refused(401, "Failed");
    }
    let nobody = server.nobody();
    assert_eq!(
        nobody.send("HEAD", "/is_bulgur_cloud", &[], b"").status,
        200
    );
    nobody.get("/banner/login").is_missing();
    server.user("bob", "writer", "home/bob");
    let bob = server.storage("bob");
    let refused = "User is not authorized to view this.";
    bob.get("/storage/ann/Z.txt").refused(401, refused);
    bob.delete("/storage/ann/Z.txt").refused(401, refused);
    let changed = json!({"password": "another one"});
    server.admin().json("PATCH", "/v1/users/ann", &changed);
    ann.get("/storage/ann/Z.txt").refused(401, "Failed");
}

#[test]
fn a_reader_reads() {
    let server = Server::start();
    server.user("eve", "reader", "home/eve");
    server.store.put("home/eve/a", "a").unwrap();
    let eve = server.storage("eve");
    assert_eq!(eve.get("/storage/eve/a").text(), "a");
    assert_eq!(eve.send("META", "/storage/eve/a", &[], b"").status, 200);
    assert_eq!(eve.delete("/storage/eve/a").status, 403);
    assert_eq!(
        eve.upload("/storage/eve/", &[Part::file("b", b"b")]).status,
        403
    );
    assert_eq!(
        eve.act("/storage/eve/f", &json!({"action": "CreateFolder"}))
            .status,
        403
    );
    assert!(server.store.exists("home/eve/a").unwrap());
}

#[test]
fn an_action_is_short() {
    let server = Server::start();
    let ann = server.ann();
    let action = json!({"action": "CreateFolder", "more": "x".repeat(20_000)});
    assert_eq!(ann.act("/storage/ann/new", &action).status, 413);
    assert!(!server.store.exists("home/ann/new").unwrap());
}

#[test]
fn files_are_sent_as_a_web_server_does() {
    let server = Server::start();
    let ann = server.ann();
    let read = ann.get("/storage/ann/a/plan.txt");
    assert_eq!((read.status, read.text().as_str()), (200, "north"));
    assert_eq!(read.header("content-type"), "text/plain");
    assert_eq!(read.header("content-length"), "5");
    let tag = read.header("etag");
    assert!(!tag.is_empty());
    let with = |name: &str, value: &str| {
        ann.send("GET", "/storage/ann//a///plan.txt", &[(name, value)], b"")
    };
    assert_eq!(with("if-none-match", tag).status, 304);
    let modified = ann.date_of("/storage/ann/a/plan.txt");
    assert_eq!(with("if-modified-since", &modified).status, 304);
    let part = with("range", "bytes=1-3");
    assert_eq!((part.status, part.text().as_str()), (206, "ort"));
    let beyond = with("range", "bytes=9-");
    assert_eq!((beyond.status, beyond.value().is_string()), (416, true));
    assert_eq!(beyond.header("content-range"), "bytes */5");
    let page = ann.get("/storage/ann/page.html");
    assert_eq!(page.header("content-type"), "text/html");
    assert!(
        page.header("content-security-policy")
            .starts_with("sandbox")
    );
    let head = ann.send("HEAD", "/storage/ann/a/plan.txt", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_ne!(head.header("content-length"), "5");
}

#[test]
fn what_a_path_is_depends_on_its_end() {
    let server = Server::start();
    let ann = server.ann();
    let folder = |size| Some(json!({"is_file": false, "size": size}));
    let file = |size| Some(json!({"is_file": true, "size": size}));
    for (path, expected) in [
        ("", folder(0)),
        ("/", folder(0)),
        ("/a", folder(0)),
        ("/a/", folder(0)),
        ("/a/b", folder(0)),
        ("/empty", folder(0)),
        ("/a/plan.txt", file(5)),
        ("/.hidden", file(1)),
        ("/a/plan.txt/", None),
        ("/a/plan", None),
        ("/none", None),
        ("/none/", None),
    ] {
        let path = format!("/storage/ann{path}");
        let meta = ann.send("META", &path, &[], b"");
        let head = ann.send("HEAD", &path, &[], b"");
        assert!(head.body.is_empty());
        match expected {
            Some(expected) => {
                assert_eq!((meta.status, meta.value()), (200, expected), "{path}");
                assert_eq!((head.status, ann.get(&path).status), (200, 200), "{path}");
            }
            None => {
                meta.is_missing();
                ann.get(&path).is_missing();
                assert_eq!(head.status, 404, "{path}");
            }
        }
    }
}

#[test]
fn the_size_of_a_document_is_that_of_what_is_read() {
    let server = Server::start();
    let ann = server.ann();
    let store = server.store.scoped("home/ann").unwrap();
    store.save("d/settings", &json!({"width": 800})).unwrap();
    let read = ann.get("/storage/ann/d/settings").body;
    let meta = ann.send("META", "/storage/ann/d/settings", &[], b"");
    assert_eq!(meta.value()["size"], read.len());
    let listed = ann.get("/storage/ann/d").value();
    assert_eq!(listed["entries"][0]["size"], read.len());
}

#[test]
fn a_folder_lists_folders_first_and_each_by_name() {
    let server = Server::start();
    let ann = server.ann();
    let listed = |path: &str| {
        let reply = ann.get(path);
        assert_eq!(reply.header("content-type"), "application/json");
        reply.value()
    };
    let entry = |name: &str, is_file: bool, size: u64| json!({"is_file": is_file, "name": name, "size": size});
    let root = json!({"entries": [
        entry("a", false, 0),
        entry("a-b", false, 0),
        entry("empty", false, 0),
        entry(".hidden", true, 1),
        entry("Z.txt", true, 1),
        entry("page.html", true, 3),
    ]});
    for path in ["/storage/ann", "/storage/ann/"] {
        assert_eq!(listed(path), root);
    }
    let deeper = json!({"entries": [entry("b", false, 0), entry("plan.txt", true, 5)]});
    for path in ["/storage/ann/a", "/storage/ann/a/"] {
        assert_eq!(listed(path), deeper);
    }
    assert_eq!(listed("/storage/ann/empty"), json!({"entries": []}));
    server.user("bob", "writer", "home/bob");
    let bob = server.storage("bob");
    assert_eq!(bob.get("/storage/bob/").value(), json!({"entries": []}));
}

#[test]
fn a_large_folder_is_listed_whole() {
    let server = Server::start();
    server.user("ann", "writer", "home/ann");
    let store = server.store.scoped("home/ann/many").unwrap();
    let names: Vec<String> = (0..2500).map(|number| format!("{number:04}")).collect();
    for names in names.chunks(500) {
        let put =
            |tx: &mut komatik::Transaction<'_>| names.iter().try_for_each(|name| tx.put(name, "x"));
        store.transaction(put).unwrap();
    }
    let listed = server.storage("ann").get("/storage/ann/many").value();
    let found: Vec<&str> = listed["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect();
    assert_eq!(found, names);
}

/// Between two looks at it, what is a file may become a folder, or the other way round.
#[test]
fn a_folder_is_listed_as_it_was_at_one_moment() {
    let server = Server::start();
    server.user("ann", "writer", "home/ann");
    let store = server.store.scoped("home/ann").unwrap();
    let fill = |tx: &mut komatik::Transaction<'_>| {
        (0..5000).try_for_each(|number| tx.put(&format!("f/{number:04}"), "x"))
    };
    store.transaction(fill).unwrap();
    store.put("f/x", "a file").unwrap();
    let ann = server.storage("ann");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let to_folder = |tx: &mut komatik::Transaction<'_>| {
                    tx.delete("f/x")?;
                    tx.create_folder("f/x")
                };
                let to_file = |tx: &mut komatik::Transaction<'_>| {
                    tx.delete_folder("f/x")?;
                    tx.put("f/x", "a file")
                };
                store.transaction(to_folder).unwrap();
                store.transaction(to_file).unwrap();
            }
        });
        let told: Vec<usize> = (0..20)
            .map(|_| {
                let listed = ann.get("/storage/ann/f").value();
                let entries = listed["entries"].as_array().unwrap();
                entries.iter().filter(|entry| entry["name"] == "x").count()
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(told, [1; 20]);
    });
}

#[test]
fn a_folder_that_has_gone_is_not_told_to_be_empty() {
    let server = Server::start();
    server.user("ann", "writer", "home/ann");
    let store = server.store.scoped("home/ann").unwrap();
    let ann = server.storage("ann");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                store.put("f/a", "x").unwrap();
                store.delete("f/a").unwrap();
            }
        });
        let told: Vec<_> = (0..200)
            .map(|_| {
                let listed = ann.get("/storage/ann/f");
                (listed.status, listed.text())
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        for (status, text) in told {
            let is_empty = text == "{\"entries\":[]}";
            assert!(
                status == 404 || (status == 200 && !is_empty),
                "{status}: {text}"
            );
        }
    });
}

#[test]
fn a_path_token_reads_one_exact_path() {
    let server = Server::start();
    let ann = server.ann();
    let paths = ["/", "/a", "/a/", "/a/plan.txt", "/a%20b", "/not/there"];
    let paths = paths.map(|path| format!("/storage/ann{path}"));
    let tokens = paths.each_ref().map(|path| ann.token_for(path));
    for (path, token) in paths.iter().zip(&tokens) {
        assert_eq!(token.len(), 21);
        assert!(
            token
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        assert_eq!(&ann.token_for(path), token, "it is the same again");
        for (other, of_other) in paths.iter().zip(&tokens) {
            let opened = server.nobody().get(&format!("{path}?token={of_other}"));
            let expected = match (
                path == other,
                path.ends_with("b") || path.ends_with("there"),
            ) {
                (false, _) => 401,
                (true, true) => 404,
                (true, false) => 200,
            };
            assert_eq!(opened.status, expected, "{path} with the token of {other}");
        }
    }
    let nobody = server.nobody();
    let [root, _, folder, file, spaced, late] = tokens;
    nobody
        .get(&format!("/storage/ann?token={root}"))
        .refused(401, "Failed");
    assert_eq!(
        nobody
            .get(&format!("/storage/ann/a/?token={folder}"))
            .value(),
        ann.get("/storage/ann/a").value()
    );
    nobody
        .get(&format!("/storage/ann/a/b/?token={folder}"))
        .refused(401, "Failed");
    let store = server.store.scoped("home/ann").unwrap();
    store.put("a b", "spaced").unwrap();
    store.put("not/there", "now").unwrap();
    for (path, token, expected) in [
        ("a%20b", &spaced, "spaced"),
        ("%61%20b", &spaced, "spaced"),
        ("not//there", &late, "now"),
        ("a/plan.txt", &file, "north"),
    ] {
        let opened = nobody.get(&format!("/storage/ann/{path}?x=y&token={token}"));
        assert_eq!(opened.text(), expected, "{path}");
    }
    let path = format!("/storage/ann/a/plan.txt?token={file}");
    assert_eq!(nobody.send("HEAD", &path, &[], b"").status, 200);
    for method in ["META", "DELETE", "PUT", "POST", "PROPFIND"] {
        nobody.send(method, &path, &[], b"").refused(401, "Failed");
    }
    nobody
        .get(&format!("/api/stats?token={file}"))
        .refused(401, "Failed");
    server.user("bob", "writer", "home/bob");
    assert_eq!(
        server.storage("bob").get(&path).text(),
        "north",
        "with a token of another user too"
    );
    assert_eq!(
        server.client("authorization", "x").get(&path).text(),
        "north"
    );
    server.admin().json(
        "PATCH",
        "/v1/users/ann",
        &json!({"password": "another one"}),
    );
    nobody.get(&path).refused(401, "Failed");
}

/// Of every path token, how many seconds it has left, after so many have gone by.
fn let_pass(server: &Server, seconds: u64) -> Vec<u64> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let stored = server.store.scoped(".komatik/path-tokens").unwrap();
    let mut left = Vec::new();
    for item in stored.list("").unwrap() {
        let name = item.unwrap().name;
        let mut document: Value = stored.load(&name).unwrap().unwrap();
        for token in document["tokens"].as_array_mut().unwrap() {
            let expires = token["expires"].as_u64().unwrap() - seconds;
            left.push(expires.saturating_sub(now));
            token["expires"] = expires.into();
        }
        stored.save(&name, &document).unwrap();
    }
    left
}

#[test]
fn a_path_token_lasts_a_day_and_is_kept() {
    let mut server = Server::start();
    let token = server.ann().token_for("/storage/ann/Z.txt");
    server.stop();
    let server = Server::with(&server.store, komatik::http::Limits::default());
    let ann = server.storage("ann");
    let opens = |token: &str| {
        let path = format!("/storage/ann/Z.txt?token={token}");
        server.nobody().get(&path).status == 200
    };
    assert!(opens(&token), "after a restart");
    let left = let_pass(&server, 18 * 3600 - 60);
    assert!(
        (6 * 3600 + 30..=6 * 3600 + 60).contains(&left[0]),
        "{left:?}"
    );
    assert_eq!(ann.token_for("/storage/ann/Z.txt"), token);
    let_pass(&server, 120);
    let next = ann.token_for("/storage/ann/Z.txt");
    assert_ne!(next, token);
    assert!(opens(&token) && opens(&next), "both, to the end of each");
    let_pass(&server, 6 * 3600);
    assert!(!opens(&token) && opens(&next));
    let_pass(&server, 18 * 3600);
    assert!(!opens(&next));
}

/// Its clients put a path behind an address that may end with a `/`.
#[test]
fn slashes_before_a_path_are_one() {
    let server = Server::start();
    let ann = server.ann();
    assert_eq!(ann.get("//storage/ann/Z.txt").text(), "Z");
    assert_eq!(ann.get("///storage//ann//a///plan.txt").text(), "north");
    let uploaded = ann.upload("//storage/ann/a", &[Part::file("new", b"new")]);
    assert_eq!(uploaded.status, 200, "{}", uploaded.text());
    let login = json!({"username": "ann", "password": "a long one"});
    let reply = server.nobody().json("POST", "//auth//login", &login);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(ann.get("//api/stats").status, 200);
    let head = ann.send("HEAD", "//is_bulgur_cloud", &[], b"");
    assert_eq!(head.status, 200);
    let token = ann.token_for("//storage/ann/Z.txt");
    let address = format!("/storage/ann/Z.txt?token={token}");
    assert_eq!(server.nobody().get(&address).text(), "Z");
    let address = format!("/{address}");
    assert_eq!(server.nobody().get(&address).text(), "Z");
    // Of no other protocol.
    server.admin().get("//v1/entries").problem(404);
}

#[test]
fn pages_of_other_origins_may_ask() {
    let server = Server::start();
    let ann = server.ann();
    let asking = [
        ("origin", "http://example.org"),
        ("access-control-request-method", "META"),
        (
            "access-control-request-headers",
            "authorization,content-type",
        ),
    ];
    for path in [
        "/storage/ann/a",
        "/auth/login",
        "/api/stats",
        "/is_bulgur_cloud",
    ] {
        let asked = server.nobody().send("OPTIONS", path, &asking, b"");
        assert_eq!(asked.status, 200, "{path}");
        assert_eq!(asked.header("access-control-allow-origin"), "*");
        for method in ["META", "PUT", "DELETE"] {
            let allowed = asked.header("access-control-allow-methods");
            assert!(allowed.contains(method), "{allowed}");
        }
        let allowed = asked.header("access-control-allow-headers");
        assert!(allowed.contains("authorization"), "{allowed}");
        assert_eq!(asked.header("access-control-allow-credentials"), "");
    }
    let read = ann.send("GET", "/storage/ann/Z.txt", &asking[..1], b"");
    assert_eq!(read.header("access-control-allow-origin"), "*");
}

#[test]
fn a_login_lasts_as_long_as_it_says() {
    let mut limits = komatik::http::Limits::default();
    limits.session_time = std::time::Duration::from_secs(5);
    let server = Server::with(&komatik::Store::in_memory().unwrap(), limits);
    let login = json!({"username": "admin", "password": server.password});
    let answer = server.nobody().json("POST", "/auth/login", &login).value();
    assert_eq!(answer["valid_for_seconds"], 5);
    let admin = server.client("authorization", answer["token"].as_str().unwrap());
    assert_eq!(admin.get("/storage/admin/").status, 200);
    std::thread::sleep(std::time::Duration::from_millis(5500));
    admin.get("/storage/admin/").refused(401, "Failed");
}
