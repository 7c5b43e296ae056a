//! Blobs in, out and appended to, one at a time.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::testenv::{Env, KEYS};

fn bytes(count: usize) -> Vec<u8> {
    (0..=250).cycle().take(count).collect()
}

#[test]
fn bytes_go_in_and_out_by_files_and_pipes() {
    let env = Env::new();
    for size in [0, 1, 5_000, 300_000] {
        let content = bytes(size);
        env.write("in.bin", &content);
        env.ok(&["put", "file", "in.bin"]);
        assert_eq!(env.run_with(&["put", "pipe"], &content).code, Some(0));
        assert_eq!(env.run_with(&["put", "dash", "-"], &content).code, Some(0));
        for key in ["file", "pipe", "dash"] {
            assert!(env.run(&["get", key]).output == content, "{key} of {size}");
            assert!(
                env.run(&["get", key, "-"]).output == content,
                "{key} of {size}"
            );
            env.ok(&["get", key, "out.bin"]);
            assert!(
                fs::read(env.path("out.bin")).unwrap() == content,
                "{key} of {size}"
            );
        }
    }
    let stored = env.object(&[
        "put",
        "typed",
        "in.bin",
        "--content-type",
        "x/y",
        "--attribute",
        "a=b",
    ]);
    assert_eq!(stored["content_type"], "x/y");
    assert_eq!(stored["attributes"], json!({"a": "b"}));
    assert_eq!(stored["size"], 300_000);
    let written = env.object(&["get", "typed", "out.bin"]);
    assert_eq!(written["digest"], stored["digest"]);
}

#[test]
fn a_slash_at_the_end_keeps_the_name() {
    let env = Env::new();
    env.write("in/plan.txt", "north");
    env.ok(&["put", "rooms/42/", "in/plan.txt"]);
    assert_eq!(env.ok(&["get", "rooms/42/plan.txt"]), "north");
    fs::create_dir(env.path("out")).unwrap();
    env.ok(&["get", "rooms/42/plan.txt", "out"]);
    assert_eq!(fs::read(env.path("out/plan.txt")).unwrap(), b"north");
}

/// Each would be written over the one before.
#[test]
fn what_has_no_name_to_keep_needs_a_key() {
    let env = Env::new();
    env.write("in/plan.txt", "north");
    let unnamed = env.path("in").join(OsStr::from_bytes(b"latin-\xe9"));
    fs::write(&unnamed, "x").unwrap();
    env.ok(&["put", "photos", "in/plan.txt"]);
    let put = [OsStr::new("put"), OsStr::new("photos/")];
    for file in [
        None,
        Some(OsStr::new("-")),
        Some(OsStr::new("..")),
        Some(unnamed.as_os_str()),
    ] {
        let said = env.run(&[&put[..], file.as_slice()].concat());
        assert_eq!(said.code, Some(2), "{file:?}: {}", said.complaint);
        assert!(
            said.complaint.contains("name the whole key"),
            "{}",
            said.complaint
        );
        assert_eq!(env.ok(&["get", "photos"]), "north");
        assert_eq!(env.ok(&["ls", "-r"]), "photos\n");
    }
    env.write("-", "dash");
    env.ok(&["put", "photos/", "./-"]);
    assert_eq!(env.ok(&["get", "photos/-"]), "dash");
}

#[test]
fn a_range_is_what_is_asked_for() {
    let env = Env::with(|store| {
        store.put("small", "0123456789").unwrap();
        store.put("large", bytes(300_000)).unwrap();
    });
    for (range, expected) in [
        ("0-0", "0"),
        ("2-4", "234"),
        ("7-", "789"),
        ("-2", "89"),
        ("8-99", "89"),
    ] {
        assert_eq!(env.ok(&["get", "small", "--range", range]), expected);
    }
    let said = env.run(&["get", "large", "--range", "65530-131080"]);
    assert!(said.output == bytes(300_000)[65_530..=131_080]);
    env.ok(&["get", "large", "part", "--range", "-100000"]);
    assert!(fs::read(env.path("part")).unwrap() == bytes(300_000)[200_000..]);
    env.fails(2, "usage", &["get", "small", "--range", "10-"]);
    assert_eq!(env.run(&["get", "small", "--range", "4-2"]).code, Some(2));
}

#[test]
fn appending_goes_on_behind_the_last_byte() {
    let env = Env::new();
    env.write("more", "second\n");
    assert_eq!(env.run_with(&["append", "log"], "first\n").code, Some(0));
    let appended = env.object(&["append", "log", "more"]);
    assert_eq!(appended["size"], 13);
    assert_eq!(env.ok(&["get", "log"]), "first\nsecond\n");
    env.ok(&["save", "document", "1"]);
    env.fails(5, "wrong_kind", &["append", "document", "more"]);
}

#[test]
fn conditions_are_held_before_all_is_read() {
    let env = Env::with(|store| {
        store.put("b", "old").unwrap();
    });
    env.write("new", "new");
    env.fails(4, "conflict", &["put", "b", "new", "--create"]);
    env.fails(4, "conflict", &["put", "b", "new", "--if-revision", "7"]);
    // Nobody closes this input: reading it would never end.
    let mut child = env.start(
        env.command(&["put", "b", "--create"])
            .stdin(std::process::Stdio::piped()),
    );
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"x").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(4));
    drop(input);
    assert_eq!(env.ok(&["get", "b"]), "old");
    env.ok(&["put", "b", "new", "--if-revision", "1"]);
    assert_eq!(env.ok(&["get", "b"]), "new");
}

/// The second does not open the store before the first has: it would find the input at its end, and store nothing.
#[test]
fn one_command_may_feed_another_on_the_same_store() {
    let env = Env::with(|store| {
        store.put("a", "content").unwrap();
    });
    for _ in 0..5 {
        env.store_when_free().put("b", "old").unwrap();
        // As late as the system may start it.
        let get = format!(
            "sleep 0.2; {} --store \"$0\" get a",
            env!("CARGO_BIN_EXE_komatik")
        );
        let mut get = Command::new("sh")
            .args(["-c", &get])
            .arg(env.path("store"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut put = env.start(env.command(&["put", "b"]).stdin(get.stdout.take().unwrap()));
        assert!(get.wait().unwrap().success() && put.wait().unwrap().success());
        assert_eq!(env.ok(&["get", "b"]), "content");
    }
}

/// A file there would be overwritten, or be in the way of one of the store's.
#[test]
fn nothing_is_written_into_the_store_itself() {
    let env = Env::with(|store| {
        store.put("c", "content").unwrap();
    });
    for name in ["store", "store/superblock", "store/new"] {
        let target = env.path(name).display().to_string();
        env.fails(2, "usage", &["get", "c", &target]);
        if name != "store" {
            env.fails(2, "usage", &["export", &target]);
        }
    }
    assert_eq!(env.ok(&["get", "c"]), "content");
}

#[test]
fn a_full_disk_behind_the_output_is_told_as_such() {
    let env = Env::with(|store| {
        store.put("c", "content").unwrap();
        store.save("d", &1).unwrap();
    });
    for command in [&["get", "c"][..], &["load", "d"], &["ls"], &["stats"]] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut command = env.command(command);
        let ended = command.stdout(full).stderr(Stdio::null()).status().unwrap();
        assert_eq!(ended.code(), Some(10), "{command:?}");
    }
}

#[test]
fn what_is_not_there_is_told() {
    let env = Env::with(|store| {
        store.put("folder/b", "x").unwrap();
    });
    env.fails(3, "not_found", &["get", "nothing"]);
    let told = env.fails(3, "not_found", &["get", "folder"]);
    assert!(told.contains("-r writes all of it"), "{told}");
    env.fails(1, "failed", &["put", "b", "missing"]);
    env.fails(1, "failed", &["append", "b", "missing"]);
    let told = env.fails(2, "usage", &["put", "b", "store"]);
    assert!(told.contains("`put -r` takes all of it"), "{told}");
    env.write("file", "x");
    env.fails(2, "usage", &["put", "a/../b", "file"]);
    env.fails(1, "failed", &["get", "folder/b", "missing/out"]);
    assert!(!env.store().exists("b").unwrap());
}

#[test]
fn append_keeps_the_name_of_the_file_where_asked() {
    let env = Env::new();
    for name in ["one.log", "two.log"] {
        env.write(name, name);
        env.ok(&["append", "logs/", name]);
    }
    assert_eq!(env.ok(&["ls", "-r"]), "logs/one.log\nlogs/two.log\n");
    assert_eq!(env.run_with(&["append", "logs/"], "x").code, Some(2));
}

#[test]
fn a_file_is_replaced_whole_and_stays_what_it_was() {
    let env = Env::with(|store| {
        store.put("b", "new").unwrap();
    });
    env.write("target", "old");
    fs::set_permissions(env.path("target"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("target", env.path("link")).unwrap();
    env.ok(&["get", "b", "link"]);
    assert!(env.path("link").is_symlink());
    assert_eq!(fs::read(env.path("target")).unwrap(), b"new");
    let mode = fs::metadata(env.path("target"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    // Whatever the mask takes from a file that is new.
    for (found, kept) in [(0o666, 0o666), (0o4755, 0o755)] {
        fs::set_permissions(env.path("target"), fs::Permissions::from_mode(found)).unwrap();
        let mut get = Command::new("sh");
        get.args(["-c", "umask 022; exec \"$0\" get b target"])
            .arg(env!("CARGO_BIN_EXE_komatik"))
            .current_dir(env.directory())
            .env("KOMATIK_STORE", "store");
        assert!(get.output().unwrap().status.success());
        let mode = fs::metadata(env.path("target"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, kept, "{found:o}");
    }
    env.ok(&["get", "b", "/dev/null"]);
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}

#[test]
fn a_document_is_written_out_as_its_text() {
    let env = Env::new();
    env.ok(&["save", "d", r#"{"z": 1, "a": [2]}"#]);
    assert_eq!(env.ok(&["get", "d"]), r#"{"z":1,"a":[2]}"#);
}

#[test]
fn names_of_every_kind_go_in_and_out() {
    let env = Env::new();
    fs::create_dir(env.path("files")).unwrap();
    for (number, key) in KEYS.into_iter().enumerate() {
        // What a key must not be a file may well be.
        let name =
            std::ffi::OsString::from_vec(format!("files/{number}\n\u{1b}[2J\u{0080}").into_bytes());
        fs::write(env.directory().join(&name), key).unwrap();
        env.ok(&[
            "put".as_ref(),
            "--".as_ref(),
            key.as_ref(),
            name.as_os_str(),
        ]);
        assert_eq!(env.ok(&["get", "--", key]), key);
        let out =
            std::ffi::OsString::from_vec([b"out-\xff", number.to_string().as_bytes()].concat());
        env.ok(&["get".as_ref(), "--".as_ref(), key.as_ref(), out.as_os_str()]);
        assert_eq!(
            fs::read(env.directory().join(&out)).unwrap(),
            key.as_bytes()
        );
    }
    let not_text = std::ffi::OsString::from_vec(b"\xff".to_vec());
    let said = env.run(&["put".as_ref(), not_text.as_os_str()]);
    assert_eq!(said.code, Some(2));
}
