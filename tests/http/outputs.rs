//! `komatik serve` where what it says cannot be written, or nobody reads it.

use std::io::{Read, Write, pipe};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::command::{Running, begin, client, komatik, signal, start, stop};

/// Files that the process may have: enough to serve by.
const FILES: usize = 64;

#[test]
fn a_warning_that_nobody_reads_ends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let plain = komatik(directory.path());
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -n {FILES}; exec \"$0\" \"$@\"")])
        .arg(plain.get_program())
        .args(plain.get_args())
        .args(["--listen", "127.0.0.1:0"])
        .stderr(writer);
    let (child, greeting) = begin(&mut command);
    let password = greeting["first_login"]["password"].as_str().unwrap();
    let admin = client(&greeting, password);
    // It warns of those that it has no more files for.
    let connections: Vec<_> = (0..2 * FILES)
        .map(|_| TcpStream::connect(admin.address).unwrap())
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    drop(connections);
    assert_eq!(admin.get("/healthz").status, 200);
    stop(child);
}

#[test]
fn a_first_password_that_could_not_be_told_is_told_the_next_time() {
    for is_full in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let mut command = komatik(directory.path());
        command.args(["--listen", "127.0.0.1:0"]);
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let output = match is_full {
            true => std::fs::File::create("/dev/full").unwrap().into(),
            false => OwnedFd::from(writer),
        };
        let ended = command.stdout(output).output().unwrap();
        let code = if is_full { 10 } else { 141 };
        assert_eq!(ended.status.code(), Some(code), "{ended:?}");
        let (child, greeting) = start(directory.path());
        let password = greeting["first_login"]["password"].as_str().unwrap();
        let sessions = client(&greeting, password).get("/v1/sessions");
        assert_eq!(sessions.status, 200);
        stop(child);
    }
}

/// An output that takes nothing before something is read from its other end.
fn full() -> (OwnedFd, UnixStream) {
    let (mut output, reader) = UnixStream::pair().unwrap();
    output.set_nonblocking(true).unwrap();
    for piece in [&[b'-'; 4096][..], b"-"] {
        while output.write_all(piece).is_ok() {}
    }
    output.set_nonblocking(false).unwrap();
    (output.into(), reader)
}

#[test]
fn a_signal_that_comes_as_it_starts_ends_it() {
    // Where nobody else takes it, once it is let go.
    let free = std::net::TcpListener::bind("127.0.0.78:0").unwrap();
    let address: SocketAddr = free.local_addr().unwrap();
    drop(free);
    for name in ["-TERM", "-INT"] {
        let directory = tempfile::tempdir().unwrap();
        let (output, mut reader) = full();
        let mut command = komatik(directory.path());
        command.args(["--listen", &address.to_string()]);
        let child = command.stdout(output).stdin(Stdio::null()).spawn();
        let mut child = Running(child.unwrap());
        drop(command);
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(20));
        }
        // It hangs in what it says first.
        std::thread::sleep(Duration::from_secs(1));
        signal(&child, name);
        std::thread::sleep(Duration::from_millis(300));
        let reading = std::thread::spawn(move || reader.read_to_end(&mut Vec::new()));
        let code = child.wait_at_most(Duration::from_secs(20)).code();
        // As any command does where the signal came before there was anything to serve.
        assert!(matches!(code, Some(0 | 130 | 143)), "{name}: {code:?}");
        reading.join().unwrap().unwrap();
    }
}
