//! `komatik serve`, black box.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::server::Client;

fn komatik(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_komatik"));
    command
        .arg("--store")
        .arg(directory)
        .arg("--json")
        .arg("serve");
    command
}

/// A service in a process of its own, and what it said first.
pub(crate) fn start(directory: &Path) -> (Child, Value) {
    let mut child = komatik(directory)
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

pub(crate) fn client(greeting: &Value, password: &str) -> Client {
    let address = greeting["url"]
        .as_str()
        .unwrap()
        .strip_prefix("http://")
        .unwrap();
    Client::basic(address.parse().unwrap(), "admin", password)
}

pub(crate) fn stop(mut child: Child) {
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_was_acknowledged_is_there_the_next_time() {
    let directory = tempfile::tempdir().unwrap();
    let (child, greeting) = start(directory.path());
    let password = greeting["first_login"]["password"]
        .as_str()
        .unwrap()
        .to_owned();
    let admin = client(&greeting, &password);
    assert_eq!(admin.put("/v1/blobs/a", b"kept").status, 201);
    stop(child);
    let (child, greeting) = start(directory.path());
    assert_eq!(greeting["first_login"], Value::Null, "it is told once");
    assert_eq!(
        client(&greeting, &password).get("/v1/blobs/a").text(),
        "kept"
    );
    stop(child);
}

#[test]
fn it_listens_to_this_machine_only() {
    for address in [
        "0.0.0.0:0",
        "[::]:0",
        "192.0.2.1:8080",
        "[::ffff:192.0.2.1]:8080",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let refused = komatik(directory.path())
            .args(["--listen", address])
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(2), "{address}");
        assert!(refused.stdout.is_empty());
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 0, "no store, and no account");
    }
}
