//! A directory with a store in it, and the command run there as a user runs it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use komatik::{Durability, Store};
use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Env {
    directory: TempDir,
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) output: Vec<u8>,
    pub(crate) complaint: String,
}

impl Said {
    pub(crate) fn of(output: Output) -> Said {
        Said {
            code: output.status.code(),
            output: output.stdout,
            complaint: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.output).unwrap()
    }

    /// The objects of `--json`, one a line.
    #[track_caller]
    pub(crate) fn objects(&self) -> Vec<Value> {
        let lines = self.text().lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Env {
    pub(crate) fn new() -> Env {
        Env {
            directory: directory(),
        }
    }

    /// With a store that holds what `fill` puts into it.
    pub(crate) fn with(fill: impl FnOnce(&Store)) -> Env {
        let env = Env::new();
        let store = env.store();
        fill(&store.with_durability(Durability::Eventual));
        store.close().unwrap();
        env
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file, with the directories above it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        name.to_owned()
    }

    /// The store as a program sees it; the command finds it in use meanwhile.
    pub(crate) fn store(&self) -> Store {
        Store::open(self.path("store")).unwrap()
    }

    /// The store once another process lets go of it.
    pub(crate) fn store_when_free(&self) -> Store {
        let mut store = None;
        wait_until(|| {
            store = Store::open(self.path("store")).ok();
            store.is_some()
        });
        store.unwrap()
    }

    /// The command, with the store of this directory and no input.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_komatik"));
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env("KOMATIK_STORE", "store")
            .env_remove("KOMATIK_PASSWORD")
            .env_remove("NO_COLOR")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Said {
        Said::of(self.command(arguments).output().unwrap())
    }

    pub(crate) fn run_with(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Said {
        let mut child = self.start(self.command(arguments).stdin(Stdio::piped()));
        // It may end before it has read all of it.
        let _ = child.stdin.take().unwrap().write_all(input.as_ref());
        Said::of(child.wait_with_output().unwrap())
    }

    /// Starts the command with pipes for what it says.
    pub(crate) fn start(&self, command: &mut Command) -> Child {
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        piped.spawn().unwrap()
    }

    /// What the command answers, which must succeed.
    #[track_caller]
    pub(crate) fn ok<S: AsRef<OsStr> + std::fmt::Debug>(&self, arguments: &[S]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.complaint);
        said.text().to_owned()
    }

    /// The one object the command answers with `--json`, which must succeed and say nothing else.
    #[track_caller]
    pub(crate) fn object(&self, arguments: &[&str]) -> Value {
        let mut objects = self.objects(arguments);
        assert_eq!(objects.len(), 1, "{arguments:?}");
        objects.remove(0)
    }

    #[track_caller]
    pub(crate) fn objects(&self, arguments: &[&str]) -> Vec<Value> {
        let said = self.run(&[arguments, &["--json"]].concat());
        let complaint = said.complaint.as_str();
        assert_eq!((said.code, complaint), (Some(0), ""), "{arguments:?}");
        said.objects()
    }

    /// What the command complains of, which must end with this code and answer nothing. With `--json` it must say the
    /// same, under the name of its kind.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, kind: &str, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        let ended = (said.code, said.text());
        assert_eq!(ended, (Some(code), ""), "{arguments:?}: {}", said.complaint);
        assert!(
            said.complaint.starts_with("komatik: "),
            "{}",
            said.complaint
        );
        let told = self.run(&[arguments, &["--json"]].concat());
        assert_eq!((told.code, told.text()), (Some(code), ""), "{arguments:?}");
        let object: Value = serde_json::from_str(&told.complaint).unwrap();
        assert_eq!(object["error"], kind, "{arguments:?}");
        assert_eq!(object["exit"], code);
        let message = object["message"].as_str().unwrap();
        assert!(
            said.complaint.contains(message),
            "{message} in {}",
            said.complaint
        );
        said.complaint
    }
}

/// A directory in memory, where there is a place for that with so much room that all tests together do not fill it: what a power
/// cut leaves is tested elsewhere, and here most of the time would go to waiting for a disk.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let found = rustix::fs::statvfs(memory);
    let has_room = found.is_ok_and(|found| found.f_bavail * found.f_frsize >= 2 << 30);
    let in_memory = has_room.then(|| tempfile::tempdir_in(memory).ok());
    in_memory
        .flatten()
        .unwrap_or_else(|| tempfile::tempdir().unwrap())
}

/// Sends a signal, as a terminal does at Ctrl-C.
pub(crate) fn signal(child: &Child, name: &str) {
    let mut kill = Command::new("kill");
    let sent = kill
        .args([format!("-{name}"), child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// Waits until it is so.
#[track_caller]
pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "it did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every key that may have to be quoted, escaped or told from an option, a file or JSON.
pub(crate) const KEYS: [&str; 13] = [
    "--help",
    "-",
    "-r",
    "@file",
    "a b/ c ",
    "...",
    "*?[a]{b}",
    "back\\slash",
    "quote\"'`$(x)",
    "%41%2f",
    "ä/ß/🛷",
    "~",
    "a:b|c;d&e<f>g",
];
