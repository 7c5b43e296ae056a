//! `komatik serve` where what it says cannot be written, or nobody reads it.

use std::io::pipe;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::command::{begin, client, komatik, stop};

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
