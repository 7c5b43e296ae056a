//! Drives: files that come in parts, and bodies that are too large or break off.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use komatik::Store;
use komatik::http::Limits;
use serde_json::json;

use crate::drive::{FILES, put, refused};
use crate::server::{Client, Server};

const UPLOADS: &str = "/v1/proj/photos/uploads";
const MEBIBYTE: usize = 1024 * 1024;

fn begin(drive: &Client, name: &str) -> String {
    let headers = [("content-type", "binary/octet-stream")];
    let reply = drive.send("POST", &format!("{UPLOADS}?name={name}"), &headers, b"");
    assert_eq!(reply.status, 202, "{}", reply.text());
    let mut value = reply.value();
    let id = value["upload_id"].as_str().unwrap().to_owned();
    value["upload_id"] = "id".into();
    assert_eq!(
        value,
        json!({"name": name, "project_id": "proj", "drive_name": "photos", "upload_id": "id"})
    );
    id
}

fn part(drive: &Client, id: &str, name: &str, part: usize, content: &[u8]) {
    let address = format!("{UPLOADS}/{id}/parts?name={name}&part={part}");
    let reply = drive.send("POST", &address, &[], content);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let value = reply.value();
    assert_eq!(
        (&value["name"], &value["part"]),
        (&name.into(), &part.into())
    );
    assert_eq!(value["upload_id"], id);
}

#[test]
fn a_file_is_there_when_its_parts_are() {
    let server = Server::start();
    let drive = server.drive("admin");
    let content: Vec<u8> = (0..=250).cycle().take(25 * MEBIBYTE + 7).collect();
    let pieces: Vec<&[u8]> = content.chunks(10 * MEBIBYTE).collect();
    let id = begin(&drive, "big.mp4");
    // In any order, and one of them twice.
    for number in [3, 1, 2] {
        part(&drive, &id, "big.mp4", number, b"not this");
        part(&drive, &id, "big.mp4", number, pieces[number - 1]);
    }
    refused(&drive.get(&format!("{FILES}/download?name=big.mp4")), 404);
    assert_eq!(drive.get(FILES).value(), json!({"names": []}));
    let ended = drive.send("PATCH", &format!("{UPLOADS}/{id}?name=big.mp4"), &[], b"");
    assert_eq!(ended.status, 200, "{}", ended.text());
    assert_eq!(ended.value()["name"], "big.mp4");
    let got = drive.get(&format!("{FILES}/download?name=big.mp4"));
    assert!(got.body == content);
    assert_eq!(got.header("content-type"), "video/mp4");
    assert_eq!(drive.get(FILES).value(), json!({"names": ["big.mp4"]}));
    assert!(
        !server.store.exists("uploads").unwrap(),
        "nothing is left of the parts"
    );
    refused(
        &drive.send("PATCH", &format!("{UPLOADS}/{id}?name=big.mp4"), &[], b""),
        404,
    );
}

/// Of one client it comes with the parts, of the other with the beginning.
#[test]
fn a_file_of_parts_has_the_type_that_it_was_told() {
    let server = Server::start();
    let drive = server.drive("admin");
    let untold = "binary/octet-stream";
    for (number, (begun, first, expected)) in [
        (None, Some("text/x-own"), "text/x-own"),
        (Some(untold), Some("text/x-own"), "text/x-own"),
        (Some("application/json"), Some("text/x-own"), "text/x-own"),
        (Some("text/x-own"), None, "text/x-own"),
        (
            None,
            Some("application/octet-stream"),
            "application/octet-stream",
        ),
        (Some(untold), Some(untold), "image/png"),
        (None, None, "image/png"),
    ]
    .into_iter()
    .enumerate()
    {
        let headers = |given: Option<&'static str>| {
            let headers = given.map(|given| ("content-type", given));
            headers.into_iter().collect::<Vec<_>>()
        };
        let name = format!("{number}.png");
        let address = format!("{UPLOADS}?name={name}");
        let id = drive.send("POST", &address, &headers(begun), b"").value();
        let id = id["upload_id"].as_str().unwrap().to_owned();
        for (part, given) in [(2, Some("text/x-second")), (1, first)] {
            let address = format!("{UPLOADS}/{id}/parts?name={name}&part={part}");
            let sent = drive.send("POST", &address, &headers(given), b"x");
            assert_eq!(sent.status, 200, "{}", sent.text());
        }
        drive.send("PATCH", &format!("{UPLOADS}/{id}?name={name}"), &[], b"");
        let got = drive.get(&format!("{FILES}/download?name={name}"));
        assert_eq!(got.text(), "xx");
        assert_eq!(got.header("content-type"), expected, "{number}");
    }
}

#[test]
fn no_parts_make_an_empty_file_and_a_gap_makes_none() {
    let server = Server::start();
    let drive = server.drive("admin");
    let id = begin(&drive, "empty");
    assert_eq!(
        drive
            .send("PATCH", &format!("{UPLOADS}/{id}?name=empty"), &[], b"")
            .status,
        200
    );
    assert_eq!(drive.get(&format!("{FILES}/download?name=empty")).body, b"");
    let id = begin(&drive, "gap");
    part(&drive, &id, "gap", 1, b"x");
    part(&drive, &id, "gap", 3, b"x");
    let reason = refused(
        &drive.send("PATCH", &format!("{UPLOADS}/{id}?name=gap"), &[], b""),
        400,
    );
    assert!(reason.contains("part 2"), "{reason}");
    part(&drive, &id, "gap", 2, b"y");
    assert_eq!(
        drive
            .send("PATCH", &format!("{UPLOADS}/{id}?name=gap"), &[], b"")
            .status,
        200
    );
    assert_eq!(
        drive.get(&format!("{FILES}/download?name=gap")).text(),
        "xyx"
    );
}

#[test]
fn an_upload_is_given_up() {
    let server = Server::start();
    let drive = server.drive("admin");
    let id = begin(&drive, "a");
    part(&drive, &id, "a", 1, b"x");
    let given_up = drive.delete(&format!("{UPLOADS}/{id}?name=a"));
    assert_eq!(
        (given_up.status, &given_up.value()["name"]),
        (200, &"a".into())
    );
    assert!(!server.store.exists("uploads").unwrap());
    let other = begin(&drive, "b");
    for (method, address) in [
        ("POST", format!("{UPLOADS}/{id}/parts?name=a&part=1")),
        ("PATCH", format!("{UPLOADS}/{id}?name=a")),
        ("DELETE", format!("{UPLOADS}/{id}?name=a")),
        ("PATCH", format!("{UPLOADS}/{other}?name=a")),
        ("PATCH", format!("{UPLOADS}/..?name=a")),
        ("DELETE", format!("{UPLOADS}/{other}%2F00001?name=b")),
        ("PATCH", format!("/v1/proj/other/uploads/{other}?name=b")),
    ] {
        refused(&drive.send(method, &address, &[], b""), 404);
    }
    for part in ["", "&part=0", "&part=-1", "&part=99999"] {
        let address = format!("{UPLOADS}/{other}/parts?name=b{part}");
        refused(&drive.send("POST", &address, &[], b"x"), 400);
    }
}

#[test]
fn more_than_ten_mebibytes_come_in_parts() {
    let server = Server::start();
    let drive = server.drive("admin");
    let most = vec![7; 10 * MEBIBYTE];
    put(&drive, "most", &most);
    let more = vec![7; 10 * MEBIBYTE + 1];
    let reply = drive.send("POST", &format!("{FILES}?name=more"), &[], &more);
    assert!(refused(&reply, 413).contains("in parts"));
    let id = begin(&drive, "parts");
    let address = format!("{UPLOADS}/{id}/parts?name=parts&part=1");
    refused(&drive.send("POST", &address, &[], &more), 413);
    part(&drive, &id, "parts", 1, &most);
    assert_eq!(drive.get(FILES).value(), json!({"names": ["most"]}));
}

#[test]
fn a_body_that_breaks_off_stores_nothing() {
    let server = Server::start();
    let key = server.key("admin").key;
    let drive = server.client("x-api-key", &key);
    let id = begin(&drive, "b");
    for address in [
        format!("{FILES}?name=a"),
        format!("{UPLOADS}/{id}/parts?name=b&part=1"),
    ] {
        let request = format!(
            "POST {address} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n5\r\nabcde\r\nzz\r\n"
        );
        let answer = server.raw(request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("{\"errors\":["), "{answer}");
    }
    assert_eq!(drive.get(FILES).value(), json!({"names": []}));
    assert!(
        !server
            .store
            .exists(&format!("uploads/proj/photos/{id}/00001"))
            .unwrap()
    );
}

#[test]
fn an_upload_ends_once() {
    let server = Server::start();
    let drive = server.drive("admin");
    let id = begin(&drive, "a");
    for number in 1..=3 {
        part(&drive, &id, "a", number, &[7; MEBIBYTE]);
    }
    let address = format!("{UPLOADS}/{id}?name=a");
    let mut statuses = std::thread::scope(|scope| {
        let ending: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| drive.send("PATCH", &address, &[], b"").status))
            .collect();
        let ended = ending.into_iter().map(|ending| ending.join().unwrap());
        ended.collect::<Vec<_>>()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 404, 404, 404]);
}

#[test]
fn a_part_of_an_upload_that_is_given_up_meanwhile_is_not_kept() {
    let server = Server::start();
    let key = server.key("admin").key;
    let drive = server.client("x-api-key", &key);
    let id = begin(&drive, "a");
    let mut stream = TcpStream::connect(server.address).unwrap();
    let head = format!(
        "POST {UPLOADS}/{id}/parts?name=a&part=1 HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\ncontent-length: 10\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    // It comes when the body is asked for, which is behind the look at the upload.
    stream.read_exact(&mut go_on).unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100 "));
    assert_eq!(drive.delete(&format!("{UPLOADS}/{id}?name=a")).status, 200);
    stream.write_all(b"0123456789").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(!server.store.exists("uploads").unwrap());
}

/// A part whose upload is not there, and of whose drive nobody asks.
#[test]
fn what_nobody_ended_goes_from_every_drive() {
    let store = Store::in_memory().unwrap();
    let left = format!("uploads/other/films/{}", "a".repeat(43));
    store.put(&format!("{left}/00001"), "x").unwrap();
    let server = Server::with(&store, Limits::default());
    let began = Instant::now();
    while server.store.exists(&left).unwrap() {
        assert!(began.elapsed() < Duration::from_secs(30), "it stays");
        std::thread::sleep(Duration::from_millis(20));
    }
}
