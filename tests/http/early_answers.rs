//! Answers that are there before the body of the request: who is still sending gets to read them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::server::{Client, Server};

const MEBIBYTE: usize = 1024 * 1024;
/// How long a body is read on for behind an answer, nearly.
const PATIENCE: Duration = Duration::from_millis(4500);

/// A request that is refused by its head, its body still to be sent.
fn refused(server: &Server, admin: &Client, more: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).unwrap();
    let patience = Some(Duration::from_secs(30));
    stream.set_read_timeout(patience).unwrap();
    let (name, value) = &admin.credentials[0];
    let head = format!(
        "PUT /v1/blobs/b HTTP/1.1\r\nhost: localhost\r\n{name}: {value}\r\nif-none-match: *\r\n{more}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// The status of the next answer, which is read to its end.
fn status(stream: &mut BufReader<TcpStream>) -> u16 {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "{head}");
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        head += &line;
    }
    stream.read_exact(&mut vec![0; length]).unwrap();
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

fn begin() -> (Server, Client) {
    let server = Server::start();
    server.store.put("b", "precious").unwrap();
    let admin = server.admin();
    (server, admin)
}

/// Many a client sends all of its body before it reads.
#[test]
fn a_refusal_is_read_by_who_sends_the_whole_body_first() {
    let (server, admin) = begin();
    let length = format!("content-length: {}\r\n", 8 * MEBIBYTE);
    let mut stream = refused(&server, &admin, &length);
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..8 {
        stream.write_all(&vec![7; MEBIBYTE]).unwrap();
    }
    let mut stream = BufReader::new(stream);
    assert_eq!(status(&mut stream), 412);
    // The connection is as good as before.
    let next = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.get_mut().write_all(next).unwrap();
    assert_eq!(status(&mut stream), 200);
    assert_eq!(server.store.get("b").unwrap().unwrap(), "precious");
}

/// None of it comes, and what comes next would be taken for it.
#[test]
fn a_body_that_waits_to_be_asked_for_is_not_waited_for() {
    let (server, admin) = begin();
    let more = "content-length: 9\r\nexpect: 100-continue\r\n";
    let mut stream = BufReader::new(refused(&server, &admin, more));
    assert_eq!(status(&mut stream), 412);
    let began = Instant::now();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn only_so_much_is_read_behind_an_answer() {
    let (server, admin) = begin();
    let mut stream = refused(&server, &admin, "transfer-encoding: chunked\r\n");
    let piece = [b"100000\r\n", &vec![7; MEBIBYTE][..], b"\r\n"].concat();
    let taken = (0..1024)
        .take_while(|_| stream.write_all(&piece).is_ok())
        .count();
    assert!((64..200).contains(&taken), "{taken} MiB");
}

#[test]
fn only_so_long_is_read_behind_an_answer() {
    let (server, admin) = begin();
    let began = Instant::now();
    let mut stream = refused(&server, &admin, "content-length: 9\r\n");
    stream.write_all(b"half").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 412 "), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn who_is_still_sending_does_not_keep_the_service_from_stopping() {
    let (mut server, admin) = begin();
    let stream = refused(&server, &admin, "content-length: 9\r\n");
    let mut stream = BufReader::new(stream);
    assert_eq!(status(&mut stream), 412);
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < PATIENCE);
}
