//! Entries and folders renamed, copied, made and deleted.

use komatik::Lock;
use serde_json::json;

use crate::testenv::Env;

fn filled() -> Env {
    Env::with(|store| {
        for key in ["a", "f/1", "f/deep/2"] {
            store.put(key, key).unwrap();
        }
        store.create_folder("f/empty").unwrap();
    })
}

#[test]
fn mv_renames_an_entry_or_else_the_folder() {
    let env = filled();
    env.ok(&["mv", "a", "b"]);
    env.ok(&["mv", "b", "in/"]);
    assert_eq!(env.ok(&["get", "in/b"]), "a");
    assert_eq!(env.object(&["mv", "f", "g"])["entries"], 2);
    assert_eq!(env.ok(&["ls", "-r"]), "g/1\ng/deep/2\ng/empty/\nin/b\n");
    env.fails(3, "not_found", &["mv", "f", "h"]);
    env.fails(4, "conflict", &["mv", "in/b", "g/1", "--create"]);
    let told = env.fails(4, "conflict", &["mv", "g", "in"]);
    assert!(told.contains("move or delete that first"), "{told}");
    env.fails(2, "usage", &["mv", "g", "g/deep"]);
    env.ok(&["mv", "in/b", "g/1"]);
    assert_eq!(env.ok(&["get", "g/1"]), "a");
    // Of an entry and a folder of one name, the / at the end means the folder.
    env.ok(&["save", "g", "1"]);
    env.ok(&["mv", "g/", "h"]);
    assert_eq!(env.ok(&["load", "g"]), "1\n");
    assert_eq!(env.ok(&["get", "h/1"]), "a");
    env.fails(2, "usage", &["mv", "h/", "x", "--if-revision", "1"]);
    env.ok(&["mv", "h/", "x/"]);
    assert_eq!(env.ok(&["get", "x/h/1"]), "a");
}

#[test]
fn cp_copies_an_entry_and_with_r_a_folder_in_one_step() {
    let env = filled();
    let copied = env.object(&["cp", "a", "copies/"]);
    assert_eq!(copied["key"], "copies/a");
    env.fails(4, "conflict", &["cp", "f/1", "a", "--create"]);
    env.fails(3, "not_found", &["cp", "nothing", "b"]);
    let told = env.fails(3, "not_found", &["cp", "f", "g"]);
    assert!(told.contains("-r copies all of it"), "{told}");
    let before = env.store().history().newest;
    assert_eq!(env.object(&["cp", "-r", "f", "g"])["entries"], 2);
    assert_eq!(env.store().history().newest, before + 1);
    assert_eq!(env.ok(&["ls", "-r", "g"]), "1\ndeep/2\nempty/\n");
    assert_eq!(env.ok(&["get", "g/deep/2"]), "f/deep/2");
    env.fails(4, "conflict", &["cp", "-r", "f", "g", "--create"]);
    env.fails(3, "not_found", &["cp", "-r", "nothing", "g"]);
    env.ok(&["cp", "-r", "f/empty", "alone"]);
    assert_eq!(env.object(&["stat", "alone"])["kind"], "folder");
    env.ok(&["cp", "-r", "a", "b"]);
    assert_eq!(env.ok(&["get", "b"]), "a");
    env.fails(3, "not_found", &["cp", "-r", "a/", "c"]);
}

#[test]
fn a_copy_within_the_folder_itself_or_over_it_is_of_what_was_there() {
    let env = Env::new();
    let put = |key: &str, text: &str| drop(env.store().put(key, text).unwrap());
    for from in ["docs/", "/"] {
        let within = |name: &str| format!("{from}{name}");
        env.ok(&["mkdir", &within("backup")]);
        for text in ["1", "2"] {
            put(&within("a"), text);
            env.ok(&["cp", "-r", from, &within("backup")]);
            assert_eq!(env.ok(&["get", &within("backup/a")]), text);
            env.fails(3, "not_found", &["ls", &within("backup/backup")]);
        }
    }
    assert_eq!(env.ok(&["get", "backup/docs/backup/a"]), "2");
    for key in ["x", "b/x", "b/b/x"] {
        put(&format!("up/b/{key}"), key);
    }
    assert_eq!(env.object(&["cp", "-r", "up/b", "up"])["entries"], 3);
    for key in ["x", "b/x", "b/b/x"] {
        assert_eq!(env.ok(&["get", &format!("up/{key}")]), key);
    }
}

/// What `rm -r` deletes, `cp -r` copies.
#[test]
fn a_copy_has_the_entry_of_the_folders_name_too() {
    let env = filled();
    let put = |key: &str, text: &str| drop(env.store().put(key, text).unwrap());
    put("f", "entry");
    assert_eq!(env.object(&["cp", "-r", "f", "g"])["entries"], 3);
    assert_eq!(env.ok(&["get", "g"]), "entry");
    assert_eq!(env.object(&["cp", "-r", "f/", "h"])["entries"], 2);
    env.fails(3, "not_found", &["get", "h"]);
    // Over what is copied from, in either direction.
    put("f/in", "within");
    env.ok(&["cp", "-r", "f", "f/in"]);
    assert_eq!(env.ok(&["get", "f/in"]), "entry");
    assert_eq!(env.ok(&["get", "f/in/1"]), "f/1");
    for (key, text) in [("up/b", "1"), ("up/b/b", "2"), ("up/b/b/b", "3")] {
        put(key, text);
    }
    assert_eq!(env.object(&["cp", "-r", "up/b", "up"])["entries"], 3);
    for (key, text) in [("up", "1"), ("up/b", "2"), ("up/b/b", "3")] {
        assert_eq!(env.ok(&["get", key]), text, "{key}");
    }
}

#[test]
fn rm_deletes_what_it_is_told_and_tells_before_where_asked() {
    let env = filled();
    env.ok(&["save", "f", "1"]);
    assert_eq!(
        env.ok(&["rm", "-r", "f", "--dry-run"]),
        "f\nf/1\nf/deep/2\nf/empty/\n"
    );
    let told: Vec<_> = env.objects(&["rm", "-r", "f/", "--dry-run"]);
    assert_eq!(told[0], json!({"key": "f/1"}));
    assert_eq!(env.ok(&["ls", "-r", "f"]), "1\ndeep/2\nempty/\n");
    env.ok(&["rm", "f/1", "a"]);
    env.fails(3, "not_found", &["rm", "a"]);
    env.fails(3, "not_found", &["rm", "-r", "a", "--dry-run"]);
    env.fails(3, "not_found", &["rm", "f/deep", "--dry-run"]);
    env.ok(&["rm", "-f", "a"]);
    env.ok(&["rm", "-r", "-f", "a"]);
    assert_eq!(env.object(&["rm", "-r", "f/"])["deleted"], 1);
    assert_eq!(env.ok(&["ls"]), "f\n");
    env.ok(&["mkdir", "f/sub"]);
    let before = env.store().history().newest;
    assert_eq!(env.object(&["rm", "-r", "f"])["deleted"], 1);
    assert_eq!(env.store().history().newest, before + 1, "in one step");
    assert_eq!(env.ok(&["ls"]), "");
    env.ok(&["mkdir", "folder"]);
    let told = env.fails(3, "not_found", &["rm", "folder"]);
    assert!(told.contains("-r deletes all of it"), "{told}");
    env.ok(&["rm", "-r", "folder"]);
    env.ok(&["save", "entry", "1"]);
    for told in [
        &["rm", "-r", "entry/"][..],
        &["rm", "entry/"],
        &["rm", "-r", "entry/", "--dry-run"],
    ] {
        let told = env.fails(3, "not_found", told);
        assert!(!told.contains("folder"), "{told}");
    }
    for what in ["ls", "tree", "du"] {
        env.fails(3, "not_found", &[what, "entry"]);
    }
    for root in ["/", ""] {
        for how in [&["-r"][..], &["-r", "--dry-run"], &["--dry-run"], &["-f"]] {
            let told = env.fails(2, "usage", &[&["rm", root], how].concat());
            assert!(!told.contains("-r deletes"), "{told}");
        }
    }
    assert_eq!(env.run(&["rm"]).code, Some(2));
}

#[test]
fn nothing_is_deleted_where_one_entry_is_locked() {
    let env = filled();
    let store = env.store();
    store.lock("f/deep/2", Lock::new().edit("e")).unwrap();
    drop(store);
    env.fails(6, "refused", &["rm", "-r", "f"]);
    env.fails(6, "refused", &["mv", "f", "g"]);
    assert_eq!(env.ok(&["ls", "-r", "f"]), "1\ndeep/2\nempty/\n");
    env.write("password", "e\n");
    env.ok(&["rm", "-r", "f", "--password-file", "password"]);
    assert_eq!(env.ok(&["ls"]), "a\n");
}

#[test]
fn mkdir_makes_a_folder_that_stays() {
    let env = Env::new();
    assert_eq!(env.ok(&["mkdir", "a/b"]), "");
    env.ok(&["mkdir", "a/b"]);
    assert_eq!(env.ok(&["ls", "-r"]), "a/b/\n");
    env.fails(2, "usage", &["mkdir", "/"]);
}
