//! Trees keep to their directory: nothing outside of it is written, and nothing of the store.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::testenv::Env;

/// The names of the files of a store, but of those that each opening makes anew.
fn names(env: &Env) -> Vec<String> {
    let mut names = Vec::new();
    let mut waiting = vec![env.path("store")];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            names.push(path.display().to_string());
            if path.is_dir() {
                waiting.push(path);
            }
        }
    }
    names.retain(|name| !name.contains("snap."));
    names.sort();
    names
}

#[test]
fn a_folder_that_is_not_there_empties_no_directory() {
    let env = Env::with(|store| {
        store.put("www/a", "a").unwrap();
        store.put("entry", "e").unwrap();
    });
    env.write("site/precious", "mine");
    for folder in ["wwww", "entry"] {
        env.fails(
            3,
            "not_found",
            &["sync", "--get", folder, "site", "--delete"],
        );
        env.fails(3, "not_found", &["sync", "--get", folder, "new"]);
        env.fails(3, "not_found", &["get", "-r", folder, "new"]);
        env.fails(
            3,
            "not_found",
            &["export", "site/precious", "--folder", folder],
        );
    }
    assert_eq!(fs::read(env.path("site/precious")).unwrap(), b"mine");
    assert!(!env.path("new").exists());
    env.ok(&["sync", "--get", "www", "site", "--delete"]);
    assert!(!env.path("site/precious").exists());
    assert_eq!(fs::read(env.path("site/a")).unwrap(), b"a");
}

#[test]
fn the_store_is_no_part_of_a_tree() {
    let env = Env::with(|store| {
        store.put("site/page", "north").unwrap();
        store.put("bad/store/superblock", "not one").unwrap();
        store.put("bad/store/new", "x").unwrap();
        store.put("bad/good", "good").unwrap();
    });
    env.write("beside", "x");
    let before = names(&env);
    // Into the directory that the store lies in: what is not in the folder goes, but the store.
    env.ok(&["sync", "--get", "site", ".", "--delete"]);
    assert!(!env.path("beside").exists());
    let said = env.run(&["get", "-r", "bad", "."]);
    assert_eq!(said.code, Some(12), "{}", said.complaint);
    let told = "store/superblock: the store itself lies there";
    assert!(said.complaint.contains(told), "{}", said.complaint);
    assert_eq!(fs::read(env.path("good")).unwrap(), b"good");
    // Out of it: all but the store.
    let said = &env.run(&["put", "-r", ".", "copy", "--json"]).objects()[0];
    assert_eq!(said["files"], 2);
    assert_eq!(said["skipped"][0]["reason"], "the store itself");
    assert_eq!(said["skipped"][0]["failed"], false);
    let said = &env
        .run(&["sync", ".", "copy", "--delete", "--json"])
        .objects()[0];
    assert_eq!(
        (&said["unchanged"], &said["deleted"]),
        (&2.into(), &0.into())
    );
    // And nothing in it, by whatever name.
    symlink("store", env.path("link")).unwrap();
    for place in ["store", "store/trees", "./store/deeper/new", "link/trees"] {
        env.fails(2, "usage", &["get", "-r", "site", place]);
        env.fails(2, "usage", &["sync", "--get", "site", place, "--delete"]);
    }
    for place in ["store", "store/packs", "link"] {
        env.fails(2, "usage", &["put", "-r", place, "f"]);
        env.fails(2, "usage", &["sync", place, "f"]);
    }
    assert_eq!(names(&env), before);
    assert_eq!(env.ok(&["verify"]).lines().count(), 0);
}

#[test]
fn links_and_pipes_in_a_directory_are_not_written_through() {
    let env = Env::with(|store| {
        for key in [
            "f/link",
            "f/dir/file",
            "f/pipe",
            "f/sub/folder/file",
            "f/good",
        ] {
            store.put(key, key).unwrap();
        }
        store.save("f/document", &1).unwrap();
        store.create_folder("f/empty").unwrap();
    });
    env.write("outside/target", "theirs");
    fs::create_dir_all(env.path("out/sub")).unwrap();
    let link = |from: &str, to: &str| symlink(to, env.path(from)).unwrap();
    link("out/link", "../outside/target");
    link("out/document", "../outside/target");
    link("out/dir", "../outside");
    link("out/sub/folder", "../../outside");
    link("out/empty", "../outside");
    mknodat(
        CWD,
        env.path("out/pipe"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    for command in [
        &["get", "-r", "f", "out"][..],
        &["sync", "--get", "f", "out"],
    ] {
        let said = env.run(command);
        assert_eq!(said.code, Some(12), "{}", said.complaint);
        for told in [
            "out/link: a symbolic link has its name\n",
            "out/document: a symbolic link has its name\n",
            "out/empty: a symbolic link has its name\n",
            "out/dir/file: a symbolic link has the name of its folder out/dir\n",
            "out/sub/folder/file: a symbolic link has the name of its folder out/sub/folder\n",
            "out/pipe: what has its name is no file\n",
        ] {
            assert!(
                said.complaint.contains(told),
                "{told} in {}",
                said.complaint
            );
        }
        assert_eq!(fs::read(env.path("out/good")).unwrap(), b"f/good");
    }
    assert_eq!(fs::read(env.path("outside/target")).unwrap(), b"theirs");
    assert_eq!(fs::read_dir(env.path("outside")).unwrap().count(), 1);
    assert!(Path::new(&env.path("out/link")).is_symlink());
    // Nothing is deleted where something was skipped.
    env.write("out/more", "x");
    env.run(&["sync", "--get", "f", "out", "--delete"]);
    assert!(env.path("out/more").exists());
}

/// A tree keeps neither that they are documents nor that nobody else may read them.
/// Which somebody may have made before there was a service.
#[test]
fn what_is_only_named_as_the_accounts_of_the_service_is_told() {
    let env = Env::with(|store| drop(store.put("gone", "x").unwrap()));
    env.write("d/.komatik", "mine");
    env.write("d/a", "x");
    for command in [
        &["sync", "d", "/", "--delete"][..],
        &["put", "-r", "d", "/"],
    ] {
        let said = env.run(command);
        assert_eq!(said.code, Some(0), "{}", said.complaint);
        assert!(
            said.complaint.contains("/.komatik: its name is"),
            "{}",
            said.complaint
        );
        assert_eq!(env.ok(&["ls"]), "a\n");
    }
    env.store().put(".komatik", "an entry").unwrap();
    let said = env.run(&["get", "-r", "/", "out"]);
    assert_eq!(said.code, Some(12));
    assert!(
        said.complaint.contains("/.komatik: its name is"),
        "{}",
        said.complaint
    );
}

#[test]
fn the_accounts_of_the_service_are_no_part_of_a_tree_of_the_root() {
    let env = Env::with(|store| {
        store
            .save(".komatik/users/admin", &json!({"password": "of today"}))
            .unwrap();
        store.put("page", "north").unwrap();
        store.put("gone", "x").unwrap();
    });
    let passing_over = |arguments: &[&str]| {
        let said = env.run(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.complaint);
        let told = said
            .complaint
            .matches("/.komatik: the accounts of the service\n");
        assert_eq!(told.count(), 1, "{arguments:?}: {}", said.complaint);
    };
    let are_as_they_were = || {
        let store = env.store();
        let account = store.load::<serde_json::Value>(".komatik/users/admin");
        assert_eq!(account.unwrap(), Some(json!({"password": "of today"})));
        assert_eq!(store.list(".komatik/users").unwrap().count(), 1);
    };
    for folder in ["", "/"] {
        passing_over(&["get", "-r", folder, "copy"]);
        passing_over(&["sync", "--get", folder, "copy"]);
    }
    env.ok(&["cp", "-r", "/", "within"]);
    assert_eq!(env.ok(&["ls", "-r", "within"]), "gone\npage\n");
    env.ok(&["rm", "-r", "within"]);
    assert_eq!(fs::read(env.path("copy/page")).unwrap(), b"north");
    assert!(!env.path("copy/.komatik").exists());
    // A store without a service has nothing to tell of.
    fs::remove_file(env.path("copy/gone")).unwrap();
    for command in [&["put", "-r", "copy", "/"][..], &["sync", "copy", "/"]] {
        let new = [&["--store", "new", "--json"], command].concat();
        env.ok(&new);
        assert_eq!(env.run(&new).complaint, "");
        assert_eq!(env.run(command).code, Some(0));
    }
    env.ok(&["--store", "new", "get", "-r", "/", "other", "--json"]);
    // Out of a directory that has some of another day.
    for name in ["copy/.komatik/users/admin", "copy/.komatik/users/mallory"] {
        env.write(name, r#"{"password": "of Monday"}"#);
    }
    passing_over(&["put", "-r", "copy", "/"]);
    passing_over(&["sync", "copy", "/"]);
    are_as_they_were();
    passing_over(&["sync", "copy", "", "--delete"]);
    assert_eq!(env.ok(&["ls"]), ".komatik/\npage\n");
    are_as_they_were();
    env.write("copy/more", "x");
    passing_over(&["sync", "--get", "/", "copy", "--delete"]);
    assert!(!env.path("copy/more").exists());
    assert!(env.path("copy/.komatik/users/mallory").exists());
    fs::rename(env.path("copy/.komatik"), env.path("accounts")).unwrap();
    passing_over(&["sync", "copy", "/", "--delete"]);
    are_as_they_were();
    // Who names the folder means it, and in another one the name is as any.
    env.ok(&["sync", "--get", "/.komatik/", "named"]);
    assert!(env.path("named/users/admin").is_file());
    env.ok(&["sync", "accounts", ".komatik"]);
    assert!(
        env.ok(&["load", ".komatik/users/admin"])
            .contains("of Monday")
    );
    fs::rename(env.path("accounts"), env.path("copy/.komatik")).unwrap();
    env.ok(&["put", "-r", "copy", "in"]);
    assert_eq!(env.ok(&["ls", "in/.komatik/users"]), "admin\nmallory\n");
}
