//! Drives: files put at once, downloaded, listed and deleted, as the clients of Deta Drive do it.

use serde_json::{Value, json};

use crate::server::{Client, Server};

impl Server {
    /// A client with an API key of the project `proj`.
    pub(crate) fn drive(&self, user: &str) -> Client {
        self.client("x-api-key", &self.key(user).key)
    }
}

pub(crate) const FILES: &str = "/v1/proj/photos/files";

pub(crate) fn put(client: &Client, name: &str, content: &[u8]) -> Value {
    let reply = client.send("POST", &format!("{FILES}?name={name}"), &[], content);
    assert_eq!(reply.status, 201, "{name}: {}", reply.text());
    reply.value()
}

#[track_caller]
pub(crate) fn refused(reply: &crate::server::Reply, status: u16) -> String {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.header("content-type"), "application/json");
    let value = reply.value();
    assert_eq!(value.as_object().unwrap().len(), 1);
    value["errors"][0].as_str().unwrap().to_owned()
}

#[test]
fn a_file_that_is_put_is_downloaded() {
    let server = Server::start();
    let drive = server.drive("admin");
    for (query, name, content_type, expected) in [
        ("a.txt", "a.txt", None, "text/plain"),
        ("a.png", "a.png", Some("binary/octet-stream"), "image/png"),
        (
            "list%2Fa+b.html",
            "list/a b.html",
            Some("text/x-own"),
            "text/x-own",
        ),
        (
            "list%2Fa%20c%2B",
            "list/a c+",
            None,
            "application/octet-stream",
        ),
        (
            "%C3%A4",
            "\u{e4}",
            Some("application/json"),
            "application/json",
        ),
    ] {
        let headers: Vec<_> = content_type
            .map(|given| ("content-type", given))
            .into_iter()
            .collect();
        let reply = drive.send(
            "POST",
            &format!("{FILES}?name={query}"),
            &headers,
            name.as_bytes(),
        );
        assert_eq!(reply.status, 201, "{}", reply.text());
        assert_eq!(
            reply.value(),
            json!({"name": name, "project_id": "proj", "drive_name": "photos"})
        );
        let got = drive.get(&format!("{FILES}/download?name={query}"));
        assert_eq!((got.status, got.text().as_str()), (200, name));
        assert_eq!(got.header("content-type"), expected, "{name}");
        assert_eq!(got.header("content-length"), name.len().to_string());
        assert_eq!(got.header("accept-ranges"), "bytes");
        assert!(
            server
                .store
                .exists(&format!("drive/proj/photos/{name}"))
                .unwrap()
        );
    }
    put(&drive, "a.txt", b"new");
    let part = drive.send(
        "GET",
        &format!("{FILES}/download?name=a.txt"),
        &[("range", "bytes=1-")],
        b"",
    );
    assert_eq!((part.status, part.text().as_str()), (206, "ew"));
    for name in ["none", "/a.txt", "a.txt/", "", "a%2F%2Fb", ".."] {
        refused(&drive.get(&format!("{FILES}/download?name={name}")), 404);
    }
}

#[test]
fn what_is_no_name_is_refused() {
    let server = Server::start();
    let drive = server.drive("admin");
    for name in ["", "+", "a/", "/a", "a%2F%2Fb", "..%2Fb", "a%00", "%FF"] {
        for address in [
            format!("{FILES}?name={name}"),
            format!("/v1/proj/photos/uploads?name={name}"),
        ] {
            refused(&drive.send("POST", &address, &[], b"x"), 400);
        }
    }
    refused(&drive.send("POST", FILES, &[], b"x"), 400);
    for address in [
        "/v1/proj/..%2Fother/files?name=a",
        "/v1/proj/a%2Fb/files?name=a",
    ] {
        refused(&drive.send("POST", address, &[], b"x"), 400);
    }
}

#[test]
fn only_a_key_of_the_project_opens_its_drives() {
    let server = Server::start();
    let key = server.key("admin").key;
    let other = server.key_for("admin", "other").key;
    server.user("rita", "reader", "");
    let reader = server.key("rita").key;
    put(&server.client("x-api-key", &key), "a", b"x");
    let session = server.admin().credentials[0].1.clone();
    let download = format!("{FILES}/download?name=a");
    for (header, value, status) in [
        ("x-api-key", key.clone(), 200),
        ("authorization", key.clone(), 200),
        ("authorization", format!("Bearer {key}"), 200),
        ("x-api-key", reader.clone(), 200),
        ("x-api-key", other, 401),
        ("x-api-key", format!("{key}x"), 401),
        ("x-api-key", "proj".to_owned(), 401),
        ("authorization", session, 401),
        ("x-nothing", key.clone(), 401),
    ] {
        let reply = server.client(header, &value).get(&download);
        match status {
            200 => assert_eq!(reply.text(), "x", "{header}"),
            status => drop(refused(&reply, status)),
        }
    }
    let rita = server.client("x-api-key", &reader);
    assert_eq!(rita.get(FILES).value(), json!({"names": ["a"]}));
    refused(
        &rita.send("POST", &format!("{FILES}?name=b"), &[], b"x"),
        403,
    );
    refused(&rita.json("DELETE", FILES, &json!({"names": ["a"]})), 403);
}

#[test]
fn no_project_has_a_name_of_the_interface() {
    let server = Server::start();
    let admin = server.admin();
    let description = admin.get("/v1/openapi.json").value();
    let own: Vec<&str> = description["paths"]
        .as_object()
        .unwrap()
        .keys()
        .filter_map(|path| path.strip_prefix("/v1/")?.split('/').next())
        .collect();
    assert!(own.len() > 10);
    for project in own {
        let new = json!({"user": "admin", "label": "", "project": project});
        admin.json("POST", "/v1/keys", &new).problem(400);
    }
}

const NAMES: [&str; 8] = [
    "a b",
    "list-a",
    "list-b",
    "list-c",
    "list/a",
    "list/b",
    "list/child/a",
    "list/child/b",
];

fn listed(drive: &Client, query: &str) -> Value {
    let reply = drive.get(&format!("{FILES}?{query}"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.value()
}

#[test]
fn names_are_listed_by_prefix_and_as_folders() {
    let server = Server::start();
    let drive = server.drive("admin");
    assert_eq!(listed(&drive, ""), json!({"names": []}));
    for name in NAMES.iter().rev() {
        put(&drive, &name.replace(' ', "+"), b"x");
    }
    for (query, expected) in [
        ("", &NAMES[..]),
        ("prefix=&recursive=true&limit=1000&last=", &NAMES[..]),
        ("prefix=list", &NAMES[1..]),
        ("prefix=list/", &NAMES[4..]),
        ("prefix=list/c", &NAMES[6..]),
        ("prefix=a%20b", &NAMES[..1]),
        ("prefix=/list", &[]),
        ("prefix=none", &[]),
        ("prefix=list//", &[]),
        (
            "recursive=false",
            &["a b", "list-a", "list-b", "list-c", "list/"],
        ),
        (
            "prefix=list&recursive=false",
            &["list-a", "list-b", "list-c", "list/"],
        ),
        (
            "prefix=list/&recursive=false",
            &["list/a", "list/b", "list/child/"],
        ),
        ("prefix=list/ch&recursive=false", &["list/child/"]),
        (
            "prefix=list/child/&recursive=false",
            &["list/child/a", "list/child/b"],
        ),
        ("prefix=/list&recursive=false", &[]),
        ("prefix=list//&recursive=false", &[]),
        ("prefix=../&recursive=false", &[]),
        ("last=list-c", &NAMES[4..]),
        ("last=list-bz", &NAMES[3..]),
        ("last=zz", &[]),
        ("prefix=list/&last=list-a", &NAMES[4..]),
        ("prefix=list/&recursive=false&last=list/b", &["list/child/"]),
        ("prefix=list/&recursive=false&last=list/child/", &[]),
        (
            "prefix=list/&recursive=false&last=list-a",
            &["list/a", "list/b", "list/child/"],
        ),
        ("prefix=list/&recursive=false&last=m", &[]),
    ] {
        assert_eq!(listed(&drive, query), json!({"names": expected}), "{query}");
    }
    // Clients send prefixes as they are, and what looks escaped may be in a name.
    put(&drive, "100%2520.txt", b"x");
    for query in [
        "prefix=100%20",
        "prefix=100%2520",
        "prefix=100%20&recursive=false",
        "prefix=100%20&limit=1",
    ] {
        assert_eq!(
            listed(&drive, query),
            json!({"names": ["100%20.txt"]}),
            "{query}"
        );
    }
    for query in ["prefix=100%21", "prefix=%FF"] {
        assert_eq!(listed(&drive, query), json!({"names": []}), "{query}");
    }
    let names = drive.json(
        "DELETE",
        FILES,
        &json!({"names": ["list/child/a", "list/child/b"]}),
    );
    assert_eq!(names.status, 200);
    let left = listed(&drive, "prefix=list/&recursive=false");
    assert_eq!(
        left,
        json!({"names": ["list/a", "list/b"]}),
        "a folder goes with its last file"
    );
}

#[test]
fn a_page_tells_where_the_next_one_begins_and_the_last_does_not() {
    let server = Server::start();
    let drive = server.drive("admin");
    for name in &NAMES[1..] {
        put(&drive, name, b"x");
    }
    for (query, expected) in [
        (
            "limit=3",
            json!({"paging": {"size": 3, "last": "list-c"}, "names": ["list-a", "list-b", "list-c"]}),
        ),
        (
            "limit=3&last=list-c",
            json!({"paging": {"size": 3, "last": "list/child/a"}, "names": ["list/a", "list/b", "list/child/a"]}),
        ),
        (
            "limit=3&last=list/child/a",
            json!({"names": ["list/child/b"]}),
        ),
        (
            "limit=4&prefix=list&recursive=false",
            json!({"names": ["list-a", "list-b", "list-c", "list/"]}),
        ),
        (
            "limit=3&prefix=list&recursive=false",
            json!({"paging": {"size": 3, "last": "list-c"}, "names": ["list-a", "list-b", "list-c"]}),
        ),
        ("limit=7", json!({"names": NAMES[1..]})),
    ] {
        assert_eq!(listed(&drive, query), expected, "{query}");
    }
    for limit in ["0", "-1", "x"] {
        refused(&drive.get(&format!("{FILES}?limit={limit}")), 400);
    }
}

/// They can be made by other ways into the store, and a client could not delete them.
#[test]
fn folders_without_a_file_are_not_told() {
    let server = Server::start();
    let drive = server.drive("admin");
    let files = server.store.scoped("drive/proj/photos").unwrap();
    for folder in ["a/empty", "b", "c", "d/e/f"] {
        files.create_folder(folder).unwrap();
    }
    for name in ["a/1", "c/2", "x"] {
        files.put(name, "x").unwrap();
    }
    for (query, expected) in [
        ("", json!({"names": ["a/1", "c/2", "x"]})),
        ("recursive=false", json!({"names": ["a/", "c/", "x"]})),
        ("recursive=false&prefix=a/", json!({"names": ["a/1"]})),
        ("recursive=false&prefix=d/", json!({"names": []})),
        ("limit=3", json!({"names": ["a/1", "c/2", "x"]})),
        (
            "limit=3&recursive=false",
            json!({"names": ["a/", "c/", "x"]}),
        ),
        (
            "limit=1",
            json!({"paging": {"size": 1, "last": "a/1"}, "names": ["a/1"]}),
        ),
        (
            "limit=1&recursive=false&last=a/",
            json!({"paging": {"size": 1, "last": "c/"}, "names": ["c/"]}),
        ),
    ] {
        assert_eq!(listed(&drive, query), expected, "{query}");
    }
    files.delete("x").unwrap();
    files.create_folder("z").unwrap();
    let last = json!({"names": ["c/"]});
    assert_eq!(listed(&drive, "limit=1&recursive=false&last=a/"), last);
}

/// The client of JavaScript runs in browsers, too.
#[test]
fn pages_of_other_origins_may_use_a_drive() {
    let server = Server::start();
    let drive = server.drive("admin");
    let asking = |method| {
        [
            ("origin", "https://example.org"),
            ("access-control-request-method", method),
            ("access-control-request-headers", "x-api-key,content-type"),
        ]
    };
    let uploads = "/v1/proj/photos/uploads";
    for (path, methods) in [
        (FILES.to_owned(), &["GET", "POST", "DELETE"][..]),
        (format!("{FILES}/download"), &["GET"]),
        (uploads.to_owned(), &["POST"]),
        (format!("{uploads}/x"), &["PATCH", "DELETE"]),
        (format!("{uploads}/x/parts"), &["POST"]),
    ] {
        for method in methods {
            let asked = server.nobody();
            let asked = asked.send("OPTIONS", &path, &asking(method), b"");
            assert_eq!(asked.status, 200, "{path}");
            assert_eq!(asked.header("access-control-allow-origin"), "*");
            let allowed = asked.header("access-control-allow-methods");
            assert!(allowed.contains(method), "{allowed}");
            let allowed = asked.header("access-control-allow-headers");
            for name in ["x-api-key", "authorization", "content-type"] {
                assert!(allowed.contains(name), "{allowed}");
            }
            assert_eq!(asked.header("access-control-allow-credentials"), "");
        }
    }
    put(&drive, "a", b"x");
    for address in [FILES.to_owned(), format!("{FILES}/download?name=none")] {
        let read = drive.send("GET", &address, &asking("GET")[..1], b"");
        assert_eq!(read.header("access-control-allow-origin"), "*");
    }
    // What is no drive is for pages of the service alone.
    let other = drive.send("GET", "/v1/entries", &asking("GET")[..1], b"");
    assert_eq!(other.header("access-control-allow-origin"), "");
}

/// It may look escaped, and nobody can tell any more whether it is.
#[test]
fn no_name_is_left_out_where_the_last_of_a_page_has_gone() {
    let server = Server::start();
    let drive = server.drive("admin");
    let files = server.store.scoped("drive/proj/photos").unwrap();
    for name in ["a!", "a%21", "a%7E", "a0", "az", "a~"] {
        files.put(name, "x").unwrap();
    }
    let follows = |last: &str, expected: &[&str]| {
        let told = listed(&drive, &format!("last={last}"));
        assert_eq!(told, json!({"names": expected}), "{last}");
    };
    follows("a%21", &["a%7E", "a0", "az", "a~"]);
    follows("a%7E", &["a0", "az", "a~"]);
    // One that a client has escaped.
    follows("a%7a", &["a~"]);
    for name in ["a%7E", "a~", "a%21", "a!"] {
        files.delete(name).unwrap();
    }
    follows("a%7E", &["a0", "az"]);
    follows("a%21", &["a0", "az"]);
}

#[test]
fn many_are_deleted_and_each_is_told() {
    let server = Server::start();
    let drive = server.drive("admin");
    for name in ["a", "b", "locked"] {
        put(&drive, name, b"x");
    }
    let files = server.store.scoped("drive/proj/photos").unwrap();
    files
        .lock("locked", komatik::Lock::new().edit("sesame-1"))
        .unwrap();
    let delete = |names: Value| drive.json("DELETE", FILES, &json!({"names": names}));
    // `/b` is no name of the file `b`.
    let answer = delete(json!(["a", "none", " ", "", "/b", "locked"])).value();
    assert_eq!(answer["deleted"], json!(["a", "none", "/b"]));
    let failed = answer["failed"].as_object().unwrap();
    assert_eq!(failed[""], "invalid name");
    assert!(
        failed["locked"].as_str().unwrap().contains("password"),
        "{failed:?}"
    );
    assert_eq!(failed.len(), 2);
    assert_eq!(listed(&drive, ""), json!({"names": ["b", "locked"]}));
    refused(&delete(json!(["", "  "])), 400);
    refused(&delete(json!([])), 400);
    refused(&delete(json!("a")), 400);
    refused(&delete(json!([1])), 400);
    refused(&drive.send("DELETE", FILES, &[], b"{\"names\""), 400);
    let most: Vec<String> = (0..1001).map(|number| format!("f{number}")).collect();
    refused(&delete(json!(most)), 400);
    assert_eq!(
        delete(json!(most[1..])).value()["deleted"]
            .as_array()
            .unwrap()
            .len(),
        1000
    );
}
