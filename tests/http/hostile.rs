//! Requests that try to get where they may not, or to keep the service busy.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use komatik::Store;
use komatik::http::Limits;
use serde_json::json;

use crate::server::Server;

/// Ways to write a key that is not below the root of the user `ann`, and what each is answered.
const TRICKS: &[(&str, u16)] = &[
    ("../bob/secret", 400),
    ("..%2Fbob%2Fsecret", 400),
    ("%2e%2e/bob/secret", 400),
    ("%2E%2E%2Fbob/secret", 400),
    ("a/../../bob/secret", 400),
    ("a/%2e%2e/%2e%2e/bob/secret", 400),
    ("./secret", 400),
    ("a//secret", 400),
    ("a%2F%2Fsecret", 400),
    ("%2F%2Fsecret", 400),
    ("a%00", 400),
    ("secret%00.txt", 400),
    ("a%0d%0aset-cookie:%20x", 400),
    ("a%7F", 400),
    ("%FF%FE", 400),
    ("%C0%AE%C0%AE/bob/secret", 400),
    // Decoded once, these are names like any other, below the root.
    ("%252e%252e%252Fbob%252Fsecret", 404),
    ("..%5Cbob%5Csecret", 404),
    ("..\\bob\\secret", 404),
    ("%EF%BC%8E%EF%BC%8E/bob/secret", 404),
    ("%E2%80%A4%E2%80%A4/bob/secret", 404),
    ("..%E2%88%95bob%E2%88%95secret", 404),
    (".../bob/secret", 404),
    ("home/bob/secret", 404),
    ("%2Fhome%2Fbob%2Fsecret", 404),
    ("C:%5Csecret", 404),
    (".komatik/users/admin", 404),
    ("bob/secret", 404),
];

#[test]
fn no_key_leads_out_of_the_root() {
    let server = Server::start();
    let ann = server.user("ann", "writer", "home/ann");
    server.store.put("home/bob/secret", "bob's").unwrap();
    server.store.put("secret", "the root's").unwrap();
    let session = &ann.credentials[0].1;
    for (trick, status) in TRICKS {
        for kind in ["blobs", "documents"] {
            let request = format!(
                "GET /v1/{kind}/{trick} HTTP/1.1\r\nhost: localhost\r\nauthorization: {session}\r\nconnection: close\r\n\r\n"
            );
            let answer = server.raw(request.as_bytes());
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{trick}: {answer}"
            );
            assert!(
                !answer.contains("bob's") && !answer.contains("the root's"),
                "{trick}"
            );
        }
    }
    for (trick, status) in TRICKS {
        let request = format!(
            "PUT /v1/blobs/{trick} HTTP/1.1\r\nhost: localhost\r\nauthorization: {session}\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx"
        );
        let answer = server.raw(request.as_bytes());
        // Two of the ways are the same name.
        let is_stored = ["HTTP/1.1 201 ", "HTTP/1.1 200 "]
            .iter()
            .any(|head| answer.starts_with(head));
        match status {
            404 => assert!(is_stored, "{trick}: {answer}"),
            _ => assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{trick}: {answer}"
            ),
        }
    }
    assert_eq!(
        server.store.get("home/bob/secret").unwrap().unwrap(),
        "bob's"
    );
    assert_eq!(server.store.get("secret").unwrap().unwrap(), "the root's");
    let top: Vec<_> = server
        .store
        .list("")
        .unwrap()
        .map(|item| item.unwrap().name)
        .collect();
    assert_eq!(top, [".komatik", "home", "secret"]);
}

#[test]
fn nobody_reaches_the_accounts() {
    let server = Server::start();
    let admin = server.admin();
    for key in [
        ".komatik",
        ".komatik/users/admin",
        "/.komatik/users/admin",
        "%2Ekomatik/users/admin",
    ] {
        admin.get(&format!("/v1/documents/{key}")).problem(400);
        admin.put(&format!("/v1/blobs/{key}"), b"x").problem(400);
        admin
            .json("PUT", &format!("/v1/documents/{key}"), &json!(1))
            .problem(400);
    }
    server.log_in("admin", &server.password);
}

#[test]
fn a_problem_tells_no_more_than_it_must() {
    let server = Server::start();
    let ann = server.user("ann", "writer", "home/ann");
    let store = server.store.scoped("home/ann").unwrap();
    store.put("locked", "x").unwrap();
    store
        .lock(
            "locked",
            komatik::Lock::new().view("sesame-1").edit("sesame-2"),
        )
        .unwrap();
    let locked = ann.get("/v1/blobs/locked").problem(423);
    assert_eq!(
        (&locked["key"], &locked["needs"]),
        (&"locked".into(), &"view".into())
    );
    let offered = |password: &str| {
        ann.send(
            "GET",
            "/v1/blobs/locked",
            &[("komatik-password", password)],
            b"",
        )
    };
    let wrong = offered("guess-0").problem(403);
    assert!(!wrong.to_string().contains("guess-0"));
    assert_eq!(offered("sesame-1").text(), "x");
    let several = [
        ("komatik-password", "guess-0"),
        ("komatik-password", "sesame-2"),
    ];
    assert_eq!(
        ann.send("GET", "/v1/blobs/locked", &several, b"").text(),
        "x"
    );
    ann.put("/v1/blobs/locked", b"y").problem(423);
}

#[test]
fn addresses_and_methods_that_are_not_there_are_problems_too() {
    let server = Server::start();
    server.nobody().get("/v2/none").problem(404);
    let reply = server.nobody().send("DELETE", "/healthz", &[], b"");
    reply.problem(405);
    assert_eq!(reply.header("allow"), "GET,HEAD");
    assert_eq!(server.nobody().get("/healthz").text(), "ok");
}

#[test]
fn a_large_json_is_refused_before_it_is_read() {
    let mut limits = Limits::default();
    limits.json_bytes = 1000;
    let server = Server::with(&Store::in_memory().unwrap(), limits);
    let admin = server.admin();
    let fits = format!("\"{}\"", "x".repeat(998));
    let headers = [("content-type", "application/json")];
    assert_eq!(
        admin
            .send("PUT", "/v1/documents/d", &headers, fits.as_bytes())
            .status,
        201
    );
    let larger = format!("{fits} ");
    let problem = admin
        .send("PUT", "/v1/documents/d", &headers, larger.as_bytes())
        .problem(413);
    assert_eq!(problem["limit"], 1000);
    assert_eq!(
        admin.put("/v1/blobs/b", vec![0; 5000]).status,
        201,
        "a blob is streamed"
    );
}

/// In memory each of them takes many times what it takes in the text.
#[test]
fn a_json_of_very_many_values_is_refused_before_it_is_read() {
    let server = Server::start();
    let admin = server.admin();
    let zeros = |count: usize| format!("[0{}]", ",0".repeat(count - 1));
    let send = |path: &str, kind: &str, body: &str| {
        let headers = [("content-type", kind)];
        let method = match kind.contains("merge") {
            true => "PATCH",
            false => "PUT",
        };
        admin.send(method, path, &headers, body.as_bytes())
    };
    let (fits, larger) = (zeros(1_999_998), zeros(2_000_000));
    let json = "application/json";
    assert_eq!(send("/v1/documents/d", json, &fits).status, 201);
    for kind in [json, "application/merge-patch+json"] {
        let problem = send("/v1/documents/d", kind, &larger).problem(413);
        assert_eq!(problem["limit"], 2_000_000, "{problem}");
    }
    let text = format!("\"{larger}\"");
    assert_eq!(send("/v1/documents/d", json, &text).status, 200);
    let operation =
        format!("{{\"operations\":[{{\"op\":\"save\",\"key\":\"d\",\"value\":{larger}}}]}}");
    let headers = [("content-type", json)];
    admin
        .send("POST", "/v1/transactions", &headers, operation.as_bytes())
        .problem(413);
    // What is stored is read, whatever its size.
    let many: Vec<u8> = vec![0; 2_000_100];
    server.store.save("many", &many).unwrap();
    assert_eq!(admin.get("/v1/documents/many?pointer=/2000099").text(), "0");
}

const HEALTH: &[u8] = b"GET /healthz HTTP/1.0\r\n\r\n";

#[test]
fn who_sends_nothing_is_not_waited_for() {
    let mut limits = Limits::default();
    limits.head_time = Duration::from_secs(1);
    limits.body_time = Duration::from_secs(1);
    limits.connections = 1;
    let server = Server::with(&Store::in_memory().unwrap(), limits);
    let session = server.admin().credentials[0].1.clone();
    let began = Instant::now();
    let head = server.raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n");
    assert!(!head.contains("200 OK"), "{head}");
    let request = format!(
        "PUT /v1/blobs/b HTTP/1.1\r\nhost: localhost\r\nauthorization: {session}\r\ncontent-length: 10\r\n\r\nabc"
    );
    let body = server.raw(request.as_bytes());
    assert!(body.starts_with("HTTP/1.1 400 "), "{body}");
    assert!(!server.store.exists("b").unwrap());
    assert!(began.elapsed() < Duration::from_secs(15));
    // One connection at a time: the next one is served when the one before, which goes no further, is given up.
    for beginning in [&b""[..], b"P", b"GET"] {
        let mut idle = TcpStream::connect(server.address).unwrap();
        idle.write_all(beginning).unwrap();
        let answer = server.raw(HEALTH);
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
        drop(idle);
    }
}

#[test]
fn who_takes_nothing_is_not_waited_for() {
    let mut limits = Limits::default();
    limits.body_time = Duration::from_secs(1);
    limits.connections = 1;
    let server = Server::with(&Store::in_memory().unwrap(), limits);
    let admin = server.admin();
    let large = vec![0; 32 * 1024 * 1024];
    server.store.put("large", large).unwrap();
    let request = format!(
        "GET /v1/blobs/large HTTP/1.1\r\nhost: localhost\r\nauthorization: {}\r\n\r\n",
        admin.credentials[0].1
    );
    let mut deaf = TcpStream::connect(server.address).unwrap();
    deaf.write_all(request.as_bytes()).unwrap();
    // One connection at a time: another is served once that one is given up.
    let answer = server.raw(HEALTH);
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    drop(deaf);
}

#[test]
fn a_page_of_another_site_writes_nothing() {
    let server = Server::start();
    let admin = server.basic("admin", &server.password);
    let form =
        b"--X\r\ncontent-disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\nx\r\n--X--\r\n";
    let send = |site: &str| {
        let kind = ("content-type", "multipart/form-data; boundary=X");
        admin.send("POST", "/v1/blobs", &[kind, ("sec-fetch-site", site)], form)
    };
    for site in ["cross-site", "same-site", "x"] {
        send(site).problem(403);
    }
    assert!(!server.store.exists("a").unwrap());
    assert_eq!(send("same-origin").status, 201);
    let read = admin.send(
        "GET",
        "/v1/blobs/a",
        &[("sec-fetch-site", "cross-site")],
        b"",
    );
    assert_eq!(read.text(), "x");
}

#[test]
fn a_login_is_small() {
    let server = Server::start();
    for (path, name) in [("/v1/sessions", "name"), ("/auth/login", "username")] {
        let login = |length: usize| {
            let login = json!({name: "admin", "password": "x".repeat(length)});
            server.nobody().json("POST", path, &login).status
        };
        assert_eq!([login(10_000), login(20_000)], [401, 413], "{path}");
    }
}

#[test]
fn wrong_passwords_of_locks_keep_nobody_else_waiting() {
    let mut limits = Limits::default();
    limits.calls = 2;
    let server = Server::with(&Store::in_memory().unwrap(), limits);
    let admin = server.admin();
    admin.put("/v1/blobs/locked", "x");
    admin.put("/v1/blobs/open", "x");
    let lock = json!({"view": "sesame"});
    assert_eq!(admin.json("PUT", "/v1/locks/locked", &lock).status, 204);
    std::thread::scope(|scope| {
        let guesses: Vec<_> = (0..6)
            .map(|guesser| {
                let admin = admin.clone();
                scope.spawn(move || {
                    let wrong = [("komatik-password", ["a", "b", "c"][guesser % 3])];
                    let tries = (0..3).map(|_| admin.send("GET", "/v1/blobs/locked", &wrong, b""));
                    tries.map(|reply| reply.status).collect::<Vec<_>>()
                })
            })
            .collect();
        let began = Instant::now();
        while guesses.iter().any(|guess| !guess.is_finished()) {
            let asked = Instant::now();
            assert_eq!(admin.get("/v1/blobs/open").status, 200);
            assert!(asked.elapsed() < Duration::from_secs(10), "it waited");
            assert!(began.elapsed() < Duration::from_secs(60), "they wait");
        }
        let answers: Vec<_> = guesses
            .into_iter()
            .flat_map(|guess| guess.join().unwrap())
            .collect();
        assert!(answers.iter().all(|status| [403, 429].contains(status)));
        assert!(answers.contains(&429), "{answers:?}");
    });
    // One who offers several finds the right one among them, once it is the turn.
    admin.put("/v1/blobs/other", "x");
    assert_eq!(admin.json("PUT", "/v1/locks/other", &lock).status, 204);
    let mut offered = vec![("komatik-password", "wrong"); 7];
    offered.push(("komatik-password", "sesame"));
    assert_eq!(
        admin.send("GET", "/v1/blobs/other", &offered, b"").status,
        200
    );
}
