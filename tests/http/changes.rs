//! Changes: asked for again and again, or streamed, and never one left out.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use komatik::http::Limits;
use serde_json::Value;

use crate::server::Server;

fn keys(answer: &Value) -> Vec<&str> {
    let changes = answer["changes"].as_array().unwrap();
    changes
        .iter()
        .map(|change| change["key"].as_str().unwrap())
        .collect()
}

#[test]
fn changes_are_read_on_from_a_position() {
    let server = Server::start();
    let ann = server.user("ann", "writer", "home/ann");
    ann.put("/v1/blobs/a/1", b"x");
    server.store.put("home/bob/1", "x").unwrap();
    ann.put("/v1/blobs/b", b"x");
    ann.delete("/v1/entries/b");
    let all = ann.get("/v1/changes?after=start").value();
    assert_eq!(
        keys(&all),
        ["a/1", "b", "b"],
        "nothing from outside, and no accounts"
    );
    let last = &all["changes"][2];
    assert_eq!(
        (&last["change"], &last["participant"]),
        (&"delete".into(), &"ann".into())
    );
    assert_eq!(all["caught_up"], true);
    assert_eq!(
        keys(&ann.get("/v1/changes?after=start&folder=a").value()),
        ["a/1"]
    );
    let mut seen = Vec::new();
    let mut after = "start".to_owned();
    for _ in 0..3 {
        let page = ann
            .get(&format!("/v1/changes?limit=1&after={after}"))
            .value();
        seen.extend(keys(&page).iter().map(ToString::to_string));
        after = page["position"].to_string();
    }
    assert_eq!(seen, ["a/1", "b", "b"]);
    let admin = server.admin();
    let all = admin.get("/v1/changes?after=start&limit=10000").value();
    assert!(
        keys(&all).iter().all(|key| !key.starts_with(".komatik")),
        "{all}"
    );
    ann.get("/v1/changes?after=yesterday").problem(400);
    ann.get("/v1/changes?folder=..").problem(400);
}

#[test]
fn a_change_is_waited_for() {
    let server = Server::start();
    let ann = server.user("ann", "writer", "home/ann");
    let began = Instant::now();
    let none = ann.get("/v1/changes?timeout=1").value();
    assert!(keys(&none).is_empty() && began.elapsed() >= Duration::from_secs(1));
    let position = &none["position"];
    let store = server.store.clone();
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        store.put("elsewhere", "x").unwrap();
        store.put("home/ann/news", "x").unwrap();
    });
    let began = Instant::now();
    let some = ann
        .get(&format!("/v1/changes?timeout=60&after={position}"))
        .value();
    assert_eq!(keys(&some), ["news"]);
    assert!(began.elapsed() < Duration::from_secs(30));
    writer.join().unwrap();
}

/// The stream of events, behind the head of the answer.
fn listen(server: &Server, session: &str, more: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let request = format!(
        "GET /v1/changes HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nauthorization: {session}\r\n{more}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 200 OK\r\n");
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).unwrap();
    }
    stream
}

/// The next event: its name, its data, and its id where it has one.
fn next(stream: &mut BufReader<TcpStream>) -> (String, Value, Option<String>) {
    let (mut name, mut data, mut id) = (String::new(), Value::Null, None);
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < Duration::from_secs(30), "no event comes");
        let mut line = String::new();
        assert!(
            stream.read_line(&mut line).unwrap() > 0,
            "the stream has ended"
        );
        match line.trim_end().split_once(": ") {
            Some(("event", value)) => name = value.to_owned(),
            Some(("data", value)) => data = serde_json::from_str(value).unwrap(),
            Some(("id", value)) => id = Some(value.to_owned()),
            // Sizes of pieces, and what is between them.
            _ if line == "\n" && !name.is_empty() => return (name, data, id),
            // Of an event that only tells how far the stream is.
            _ if line == "\n" => id = None,
            _ => {}
        }
    }
}

#[test]
fn events_go_on_after_the_last_one_seen() {
    let mut server = Server::start();
    let ann = server.user("ann", "writer", "home/ann");
    let session = ann.credentials[0].1.clone();
    let mut stream = listen(&server, &session, "");
    std::thread::sleep(Duration::from_millis(300));
    let store = server.store.scoped("home/ann").unwrap();
    store.put("a", "x").unwrap();
    let (name, data, id) = next(&mut stream);
    assert_eq!((name.as_str(), &data["key"]), ("put", &"a".into()));
    let id = id.unwrap();
    drop(stream);
    store
        .transaction(|tx| {
            tx.put("b", "x")?;
            tx.rename("a", "c", komatik::PutMode::Create)
        })
        .unwrap();
    let mut stream = listen(&server, &session, &format!("last-event-id: {id}\r\n"));
    let (first, second) = (next(&mut stream), next(&mut stream));
    assert_eq!(
        (first.0.as_str(), &first.1["key"], first.2),
        ("put", &"b".into(), None)
    );
    assert_eq!(
        (second.0.as_str(), &second.1["from"]),
        ("move", &"a".into())
    );
    assert!(second.2.unwrap().parse::<u64>().unwrap() > id.parse().unwrap());
    // Who listens does not keep the service from stopping.
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(10));
}

/// It comes in parts, of which only the last is a place to go on from: who breaks off before it gets all of it again.
#[test]
fn a_large_commit_is_told_in_order_and_again_to_who_breaks_off() {
    const CHANGES: usize = 1_234;
    let server = Server::start();
    let ann = server.user("ann", "writer", "home/ann");
    let session = ann.credentials[0].1.clone();
    let store = server.store.scoped("home/ann").unwrap();
    let before = store.put("before", "x").unwrap().revision;
    let written = store.transaction(|tx| {
        (0..CHANGES).try_for_each(|number| tx.put(&format!("a/{number}"), "x").map(drop))
    });
    written.unwrap();
    store.put("behind", "x").unwrap();
    let seen = format!("last-event-id: {before}\r\n");
    for break_off in [500, CHANGES] {
        let mut stream = listen(&server, &session, &seen);
        for number in 0..break_off {
            let (_, data, id) = next(&mut stream);
            assert_eq!(data["key"], format!("a/{number}"));
            assert_eq!(id.is_some(), number + 1 == CHANGES);
        }
    }
    let mut stream = listen(&server, &session, &seen);
    let (_, _, id) = (0..CHANGES).map(|_| next(&mut stream)).last().unwrap();
    drop(stream);
    let seen = format!("last-event-id: {}\r\n", id.unwrap());
    let (_, data, _) = next(&mut listen(&server, &session, &seen));
    assert_eq!(data["key"], "behind");
    // Who asks again and again gets whole commits.
    let page = ann.get(&format!("/v1/changes?limit=10&after={before}"));
    let page = page.value();
    assert_eq!(keys(&page).len(), CHANGES);
    let members: Vec<_> = page.as_object().unwrap().keys().collect();
    assert_eq!(members, ["changes", "position", "caught_up"]);
    assert_eq!(
        (&page["caught_up"], &page["position"]),
        (&false.into(), &page["changes"][0]["revision"])
    );
}

/// At once, and not when the next change comes; what becomes of others does not matter.
#[test]
fn a_stream_ends_with_the_rights_it_stands_on() {
    let server = Server::start();
    let ann = server.user("ann", "writer", "home/ann");
    let session = ann.credentials[0].1.clone();
    let mut stream = listen(&server, &session, "");
    std::thread::sleep(Duration::from_millis(300));
    server.user("bob", "writer", "home/bob");
    server.store.put("home/ann/a", "x").unwrap();
    assert_eq!(next(&mut stream).0, "put");
    let waiting = std::thread::spawn(move || ann.get("/v1/changes?timeout=60").problem(401));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(server.admin().delete("/v1/users/ann").status, 204);
    let (name, problem, _) = next(&mut stream);
    assert_eq!(
        (name.as_str(), &problem["status"]),
        ("problem", &401.into())
    );
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stream, &mut rest).unwrap();
    assert!(!rest.contains("event"), "{rest}");
    waiting.join().unwrap();
}

/// Though nothing changes when its time is over.
#[test]
fn a_stream_ends_with_its_session() {
    let mut limits = Limits::default();
    limits.session_time = Duration::from_secs(3);
    let server = Server::with(&komatik::Store::in_memory().unwrap(), limits);
    let ann = server.user("ann", "writer", "home/ann");
    let session = ann.credentials[0].1.clone();
    let began = Instant::now();
    let mut stream = listen(&server, &session, "");
    let waiting = std::thread::spawn(move || ann.get("/v1/changes?timeout=60").problem(401));
    let (name, problem, _) = next(&mut stream);
    assert_eq!(
        (name.as_str(), &problem["status"]),
        ("problem", &401.into())
    );
    waiting.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(20));
}

/// The next event of which the id is all.
fn next_place(stream: &mut BufReader<TcpStream>) -> u64 {
    let (mut id, began) = (None, Instant::now());
    loop {
        assert!(began.elapsed() < Duration::from_secs(30), "no place comes");
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0);
        match line.trim_end().split_once(": ") {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some((name, _)) if !name.is_empty() => panic!("{line}"),
            _ if line == "\n" && id.is_some() => return id.unwrap().parse().unwrap(),
            _ => {}
        }
    }
}

/// As a browser does, which knows no other place to go on from than the last id.
#[test]
fn a_stream_that_was_idle_goes_on_where_it_was() {
    let server = Server::start();
    let ann = server.user("ann", "writer", "home/ann");
    let session = ann.credentials[0].1.clone();
    let mut stream = listen(&server, &session, "");
    let place = next_place(&mut stream);
    drop(stream);
    server.store.put("home/ann/meanwhile", "x").unwrap();
    let mut stream = listen(&server, &session, &format!("last-event-id: {place}\r\n"));
    assert_eq!(next_place(&mut stream), place);
    let (_, data, id) = next(&mut stream);
    assert_eq!(data["key"], "meanwhile");
    assert!(id.unwrap().parse::<u64>().unwrap() > place);
}

/// Else the history would leave behind who has missed nothing.
#[test]
fn an_idle_stream_tells_how_far_it_is() {
    let store = komatik::Store::builder_in_memory()
        .history(komatik::History::unlimited().revisions(55))
        .open()
        .unwrap();
    let server = Server::with(&store, Limits::default());
    let ann = server.user("ann", "writer", "home/ann");
    let session = ann.credentials[0].1.clone();
    let mut stream = listen(&server, &session, "");
    let first = next_place(&mut stream);
    let began = Instant::now();
    for number in 0..60 {
        store.put("elsewhere", number.to_string()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    let second = next_place(&mut stream);
    assert_eq!(second, store.history().newest);
    assert!(store.history().oldest > first + 1, "it would be too late");
    assert!(began.elapsed() > Duration::from_secs(10), "too often");
    drop(stream);
    store.put("home/ann/meanwhile", "x").unwrap();
    let seen = format!("last-event-id: {second}\r\n");
    let (name, data, _) = next(&mut listen(&server, &session, &seen));
    assert_eq!((name.as_str(), &data["key"]), ("put", &"meanwhile".into()));
}

#[test]
fn a_history_that_is_gone_is_told() {
    let store = komatik::Store::builder_in_memory()
        .history(komatik::History::unlimited().revisions(5))
        .open()
        .unwrap();
    let server = Server::with(&store, Limits::default());
    let admin = server.admin();
    for number in 0..20 {
        server.store.put("a", number.to_string()).unwrap();
    }
    let oldest = admin.get("/v1/changes?after=1").problem(410)["oldest"]
        .as_u64()
        .unwrap();
    assert!(oldest > 2);
    let session = admin.credentials[0].1.clone();
    let mut stream = listen(&server, &session, "last-event-id: 1\r\n");
    let (name, data, id) = next(&mut stream);
    assert_eq!(
        (name.as_str(), &data["oldest"], id),
        ("problem", &oldest.into(), None)
    );
}
