//! The `komatik tour` command, from outside: what it prints, how it ends, and what it leaves.
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use komatik::{ListOptions, Store};
use tempfile::{TempDir, tempdir};

/// Every line of a whole tour begins with one of these, in this order.
const LINES: [&str; 22] = [
    "scan",
    "upload",
    "catalogue",
    "list",
    "page",
    "glob",
    "load",
    "merge",
    "race",
    "seek",
    "lock",
    "token",
    "watch",
    "folder",
    "transaction",
    "kill",
    "compact",
    "compare",
    "verify",
    "backup",
    "stats",
    "all held:",
];

/// The command, and the directory for its temporary files.
struct Tour {
    command: Command,
    temporary: TempDir,
}

impl Tour {
    fn of(directory: &Path) -> Tour {
        let temporary = tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_komatik"));
        command
            .arg("tour")
            .arg(directory)
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::null());
        Tour { command, temporary }
    }

    fn run(&mut self) -> Said {
        let said = Said::of(self.command.output().unwrap());
        self.assert_nothing_left();
        said
    }

    fn assert_nothing_left(&self) {
        let left = fs::read_dir(&self.temporary).unwrap();
        assert_eq!(left.count(), 0, "temporary files are left");
    }
}

struct Said {
    code: Option<i32>,
    output: String,
    complaint: String,
}

impl Said {
    fn of(output: Output) -> Said {
        Said {
            code: output.status.code(),
            output: String::from_utf8(output.stdout).unwrap(),
            complaint: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The tour went to its end, and said nothing else than its results.
    fn assert_held(&self) {
        assert_eq!((self.code, self.complaint.as_str()), (Some(0), ""));
        let lines = self.output.lines().filter(|line| !line.starts_with(' '));
        let lines: Vec<&str> = lines.collect();
        assert_eq!(lines.len(), LINES.len(), "{}", self.output);
        for (line, begins) in lines.iter().zip(LINES) {
            assert!(line.starts_with(begins), "{line:?} for {begins:?}");
        }
    }

    fn assert_failed(&self, with: &str) {
        assert_eq!((self.code, self.output.as_str()), (Some(1), ""));
        assert!(self.complaint.contains(with), "{}", self.complaint);
        assert_eq!(self.complaint.lines().count(), 1, "{}", self.complaint);
    }

    fn assert_has(&self, text: &str) {
        assert!(self.output.contains(text), "{text:?} in {}", self.output);
    }
}

fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A tree of 8 files, and of some that are not stored.
fn small_tree() -> TempDir {
    let tree = tempdir().unwrap();
    let directory = tree.path();
    write(directory, "empty", "");
    write(directory, "src/a.rs", "fn a() {}");
    write(directory, "src/deep/er/b.rs", "fn b() {}");
    write(directory, "src.rs", "a name that is sorted between folders");
    write(directory, "ä b/ß (1).txt", "names are not only ASCII");
    write(directory, "--keep", "a name that looks like an option");
    write(directory, "inline.bin", [1; 3_000]);
    write(directory, "chunks.bin", [2; 300_000]);
    write(directory, ".git/HEAD", "ref: refs/heads/main");
    write(
        directory,
        "target/CACHEDIR.TAG",
        "Signature: 8a477f597d28d172789f06886806bc55",
    );
    write(directory, "target/debug/a", "made again by every build");
    tree
}

#[test]
fn a_tour_that_is_interrupted_leaves_nothing() {
    let tree = small_tree();
    let mut tour = Tour::of(tree.path());
    let mut child = tour.command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("scan"));
    let uploads = |line: std::io::Result<String>| line.unwrap().starts_with("upload");
    assert!(lines.by_ref().any(uploads));
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status();
    assert!(sent.unwrap().success());
    let rest = lines.map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    tour.assert_nothing_left();
}

#[test]
fn a_small_tree_holds() {
    let tree = small_tree();
    let said = Tour::of(tree.path()).run();
    said.assert_held();
    said.assert_has("8 files, 296.01 KiB in 5 folders\n");
    said.assert_has("/.git: the data of Git\n");
    said.assert_has("/target: marked as a cache by CACHEDIR.TAG\n");
    said.assert_has("3 entries match **/*.rs");
    // Some more where they come faster than they are counted.
    said.assert_has(" durable documents acknowledged");
    said.assert_has("killed, reopened in");
    // With the large file that is made.
    said.assert_has("in 9 blobs, as in the files:");
    said.assert_has("all held: 9 files");
}

#[test]
fn the_store_is_kept_where_it_is_asked_for() {
    let (tree, kept) = (small_tree(), tempdir().unwrap());
    let directory = kept.path().join("store");
    let mut tour = Tour::of(tree.path());
    tour.command.arg("--keep").arg(&directory);
    tour.run().assert_held();

    let store = Store::open(&directory).unwrap();
    let files = store.list_with("files/tree", ListOptions::new().recursive());
    assert_eq!(files.unwrap().count(), 8);
    let content = store.get("files/tree/src/deep/er/b.rs").unwrap();
    assert_eq!(content.as_deref(), Some(&b"fn b() {}"[..]));
    let seen = store.load_at::<u64>("catalogue/tree/src/a.rs", "/seen/count");
    assert_eq!(seen.unwrap(), Some(2));
    drop(store);

    // What is there is never written over.
    let said = Said::of(tour.command.output().unwrap());
    assert_eq!(said.code, Some(1));
    assert!(said.complaint.contains("not empty"), "{}", said.complaint);
}

#[test]
fn an_empty_directory_holds() {
    let said = Tour::of(tempdir().unwrap().path()).run();
    said.assert_held();
    said.assert_has("0 files, 0 B in 1 folder\n");
}

#[test]
fn what_is_no_directory_is_told() {
    let tree = small_tree();
    let missing = Tour::of(&tree.path().join("missing")).run();
    missing.assert_failed("missing: No such file or directory");
    let file = Tour::of(&tree.path().join("empty")).run();
    file.assert_failed("empty: not a directory");
}

#[cfg(unix)]
#[test]
fn what_cannot_be_stored_is_skipped_and_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    let tree = tempdir().unwrap();
    let directory = tree.path();
    write(directory, "good", "good");
    write(directory, "back\\slash", "legal");
    write(
        directory,
        "bell\u{7}\nkomatik: all lost",
        "a control character",
    );
    fs::write(
        directory.join(OsStr::from_bytes(b"latin-\xe9")),
        "not UTF-8",
    )
    .unwrap();
    symlink(directory, directory.join("loop")).unwrap();
    symlink("nowhere", directory.join("dangling")).unwrap();
    let deep = ["d".repeat(200).as_str(); 5].join("/");
    write(directory, &format!("{deep}/filename"), "too long a key");
    let socket = std::os::unix::net::UnixListener::bind(directory.join("socket"));
    let unreadable = directory.join("unreadable");
    write(directory, "unreadable", "secret");
    fs::set_permissions(&unreadable, fs::Permissions::from_mode(0o000)).unwrap();
    let is_root = fs::File::open(&unreadable).is_ok();

    let said = Tour::of(directory).run();
    drop(socket);
    said.assert_held();
    said.assert_has(
        "/bell\\u{7}\\nkomatik: all lost: its name is no key: it holds a control character\n",
    );
    said.assert_has("its name is not UTF-8\n");
    said.assert_has("/loop: a symbolic link\n");
    said.assert_has("/dangling: a symbolic link\n");
    said.assert_has("/socket: not a file\n");
    said.assert_has("/filename: its name is no key: it is longer than 1,024 bytes\n");
    if is_root {
        said.assert_has("all held: 4 files");
    } else {
        said.assert_has("/unreadable: Permission denied");
        said.assert_has("all held: 3 files");
    }
}

/// Whoever reads may go at any time: before the first line, or after it.
#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_it_quietly() {
    let tree = small_tree();
    for lines in [0, 1] {
        let mut tour = Tour::of(tree.path());
        let piped = tour.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = piped.spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        for _ in 0..lines {
            output.read_line(&mut String::new()).unwrap();
        }
        drop(output);
        let said = Said::of(process.wait_with_output().unwrap());
        assert_eq!((said.code, said.complaint.as_str()), (Some(141), ""));
        tour.assert_nothing_left();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_told() {
    let tree = small_tree();
    let mut tour = Tour::of(tree.path());
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    tour.command.stdout(full);
    let said = tour.run();
    assert_eq!(said.code, Some(10), "{}", said.complaint);
    let told = "writing the output: No space left on device";
    assert!(said.complaint.contains(told), "{}", said.complaint);
}

#[test]
fn the_usage_is_told_and_nothing_hidden_is_in_it() {
    let komatik = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_komatik"));
        Said::of(command.args(arguments).output().unwrap())
    };
    let help = komatik(&["--help"]);
    assert_eq!((help.code, help.complaint.as_str()), (Some(0), ""));
    assert!(help.output.contains("tour") && !help.output.contains("crash-writer"));
    assert_eq!(komatik(&["tour", "--help"]).code, Some(0));
    let wrong = komatik(&["tour", "--wrong"]);
    assert_eq!((wrong.code, wrong.output.as_str()), (Some(2), ""));
}
