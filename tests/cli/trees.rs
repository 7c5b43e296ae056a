//! Whole trees in and out, and made the same.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::testenv::{Env, KEYS, Said};

/// Every file and directory below a directory, with the bytes of the files.
fn tree(root: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            if path.is_dir() {
                found.insert(name, None);
                waiting.push(path);
            } else {
                found.insert(name, Some(fs::read(&path).unwrap()));
            }
        }
    }
    found
}

/// Files of every size and name, and a directory with nothing in it.
fn filled() -> Env {
    let env = Env::new();
    for (number, key) in KEYS.into_iter().enumerate() {
        env.write(&format!("in/{key}"), vec![7; number * 7_000]);
    }
    env.write("in/deep/er/and/deeper/file", "x");
    fs::create_dir_all(env.path("in/empty/below")).unwrap();
    env
}

#[test]
fn a_tree_comes_out_as_it_went_in() {
    let env = filled();
    let stored = env.object(&["put", "-r", "in", "folder"]);
    assert_eq!(stored["files"], KEYS.len() + 1);
    assert_eq!(stored["skipped"], json!([]));
    env.ok(&["get", "-r", "folder", "out"]);
    assert_eq!(tree(&env.path("out")), tree(&env.path("in")));
    // Again, over what is there; and from the root of the store.
    env.ok(&["get", "-r", "folder", "out"]);
    env.ok(&["get", "-r", "/", "all"]);
    assert_eq!(tree(&env.path("all/folder")), tree(&env.path("in")));
    let said = env.run(&["get", "-r", "folder", "out", "--quiet"]);
    assert_eq!((said.text(), said.complaint.as_str()), ("", ""));
    assert!(env.path("out/empty/below").is_dir());
}

#[test]
fn what_cannot_be_stored_is_named_and_the_rest_is_stored() {
    let env = Env::new();
    env.write("in/good", "good");
    env.write("in/bell\u{7}", "a control character");
    fs::write(
        env.path("in")
            .join(std::ffi::OsStr::from_bytes(b"latin-\xe9")),
        "x",
    )
    .unwrap();
    symlink("good", env.path("in/link")).unwrap();
    env.write(
        &format!("in/{}/file", ["d".repeat(250).as_str(); 4].join("/")),
        "too long in folder",
    );
    let said = env.run(&["put", "-r", "in", "a folder with a name of some length"]);
    assert_eq!(said.code, Some(12), "{}", said.complaint);
    for part in [
        "bell\\u{7}: its name is no key: it holds a control character\n",
        "its name is not UTF-8\n",
        "in/link: a symbolic link\n",
        "file: its name is no key: it is longer than 1,024 bytes\n",
        "komatik: 3 of them were skipped\n",
    ] {
        assert!(
            said.complaint.contains(part),
            "{part} in {}",
            said.complaint
        );
    }
    assert!(!said.complaint.contains('\u{7}'));
    assert_eq!(
        env.ok(&["ls", "-r"]),
        "a folder with a name of some length/good\n"
    );
    // A link alone is no failure: no store is for it.
    let only_link = Env::new();
    only_link.write("in/good", "good");
    symlink("good", only_link.path("in/link")).unwrap();
    let said = only_link.run(&["put", "-r", "in", "f", "--json"]);
    assert_eq!(said.code, Some(0));
    assert_eq!(said.objects()[0]["skipped"][0]["failed"], false);
}

#[test]
fn a_name_that_is_an_entry_and_a_folder_is_told() {
    let env = Env::with(|store| {
        for key in ["f/a", "f/a/b", "f/c"] {
            store.put(key, key).unwrap();
        }
    });
    let said = env.run(&["get", "-r", "f", "out"]);
    assert_eq!(said.code, Some(12));
    assert!(
        said.complaint.contains("a file has the name of its folder"),
        "{}",
        said.complaint
    );
    assert_eq!(fs::read(env.path("out/c")).unwrap(), b"f/c");
    assert_eq!(env.run(&["put", "-r", "missing", "f"]).code, Some(1));
    env.fails(3, "not_found", &["get", "-r", "missing", "out"]);
    env.fails(2, "usage", &["get", "-r", "f", "-"]);
}

#[test]
fn sync_moves_what_differs_and_nothing_else() {
    let env = filled();
    let first = env.object(&["sync", "in", "folder"]);
    assert_eq!(
        (&first["files"], &first["unchanged"]),
        (&json!(14), &json!(0))
    );
    let revision = env.store().history().newest;
    let second = env.object(&["sync", "in", "folder", "--delete"]);
    assert_eq!(
        (&second["files"], &second["unchanged"]),
        (&json!(0), &json!(14))
    );
    assert_eq!(
        env.store().history().newest,
        revision,
        "nothing was written"
    );

    // The same length and another content; a new one; one less; another empty directory.
    env.write("in/back\\slash", vec![8; 7 * 7_000]);
    env.write("in/new/file", "new");
    fs::remove_file(env.path("in/~")).unwrap();
    fs::remove_dir(env.path("in/empty/below")).unwrap();
    let planned: Vec<Value> = env.objects(&["sync", "in", "folder", "--delete", "--dry-run"]);
    let planned: Vec<_> = planned
        .iter()
        .map(|line| {
            (
                line["action"].as_str().unwrap(),
                line["name"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("put", "back\\slash"),
        ("put", "new/file"),
        ("make", "empty"),
        ("delete", "empty/below"),
        ("delete", "~"),
    ];
    let sorted = |mut plan: Vec<(&'static str, &'static str)>| {
        plan.sort_unstable();
        plan
    };
    let mut planned_sorted = planned.clone();
    planned_sorted.sort_unstable();
    assert_eq!(planned_sorted, sorted(expected.to_vec()));
    assert_eq!(
        env.store().history().newest,
        revision,
        "nothing was written"
    );
    env.ok(&["sync", "in", "folder", "--delete"]);
    env.ok(&["get", "-r", "folder", "out"]);
    assert_eq!(tree(&env.path("out")), tree(&env.path("in")));
}

#[test]
fn sync_tells_entries_from_folders_of_their_name() {
    let env = Env::with(|store| {
        store.put("site/x", "a stale file").unwrap();
        store.create_folder("site/made/below").unwrap();
        store.create_folder("site/made").unwrap();
        store.put("site/made/below/deep", "goes").unwrap();
        store.create_folder("site/y").unwrap();
    });
    fs::create_dir_all(env.path("www/x")).unwrap();
    env.write("www/y", "a file now");
    env.ok(&["sync", "www", "site", "--delete"]);
    assert_eq!(env.ok(&["ls", "-r", "site"]), "x/\ny\n");
    env.ok(&["sync", "--get", "site", "out"]);
    assert_eq!(tree(&env.path("out")), tree(&env.path("www")));
}

#[test]
fn what_sync_would_do_makes_no_store() {
    let env = filled();
    let store = ["--store", "none"];
    let planned = env.ok(&[&store[..], &["sync", "in", "folder", "--dry-run"]].concat());
    assert_eq!(
        planned
            .lines()
            .filter(|line| line.starts_with("put "))
            .count(),
        14
    );
    assert!(!env.path("none").exists());
}

#[test]
fn sync_goes_the_other_way_as_well() {
    let env = filled();
    env.ok(&["put", "-r", "in", "folder"]);
    env.write("out/extra/deep/file", "goes");
    env.write("out/~", "is replaced");
    fs::create_dir_all(env.path("out/nothing")).unwrap();
    let kept = env.object(&["sync", "--get", "folder", "out"]);
    assert_eq!(kept["deleted"], 0);
    assert!(env.path("out/extra/deep/file").is_file());
    let deleted = env.object(&["sync", "--get", "folder", "out", "--delete"]);
    assert_eq!(
        (&deleted["files"], &deleted["deleted"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(tree(&env.path("out")), tree(&env.path("in")));
}

/// A directory that holds only directories is empty once those are gone.
#[test]
fn sync_deletes_what_is_empty_all_the_way_up() {
    let env = Env::new();
    std::fs::create_dir_all(env.path("out/a/b/c")).unwrap();
    std::fs::create_dir_all(env.path("out/a/b/d")).unwrap();
    std::fs::create_dir_all(env.path("out/kept/e")).unwrap();
    env.write("in/kept/file", "x");
    env.ok(&["put", "-r", "in", "site"]);
    env.ok(&["sync", "--get", "site", "out", "--delete"]);
    assert!(!env.path("out/a").exists());
    assert!(env.path("out/kept/file").exists() && !env.path("out/kept/e").exists());
}

#[test]
fn sync_deletes_nothing_where_something_was_skipped() {
    let env = Env::with(|store| {
        store.put("f/gone", "x").unwrap();
    });
    env.write("in/bell\u{7}", "cannot be a key");
    let said = env.run(&["sync", "in", "f", "--delete"]);
    assert_eq!(said.code, Some(12));
    assert!(
        said.complaint.contains("nothing is deleted"),
        "{}",
        said.complaint
    );
    assert_eq!(env.ok(&["ls", "f"]), "gone\n");
}

/// By a way that leads there only once what is missing of it has been made.
#[test]
fn no_tree_is_written_into_the_store_itself() {
    let env = Env::with(|store| {
        store.put("f/superblock", "x").unwrap();
    });
    for command in [&["get", "-r"][..], &["sync", "--get"]] {
        for directory in [
            "new/../store",
            "new/./x/../../store/journal",
            "store/../store",
            "a/../a/../store",
        ] {
            let told = env.fails(2, "usage", &[command, &["f", directory]].concat());
            assert!(told.contains("where the store itself lies"), "{told}");
            assert!(!env.path("new").exists() && !env.path("a").exists());
        }
        env.fails(2, "usage", &[command, &["f", ""]].concat());
        env.ok(&[command, &["f", "new/../beside"]].concat());
        assert_eq!(fs::read(env.path("beside/superblock")).unwrap(), b"x");
        fs::remove_dir_all(env.path("beside")).unwrap();
        fs::remove_dir_all(env.path("new")).unwrap();
    }
    assert_eq!(env.object(&["verify"])["sound"], true);
}

#[test]
fn the_entry_of_a_folders_name_is_told_of_where_it_stays_behind() {
    let env = Env::with(|store| {
        store.put("f", "entry").unwrap();
        store.put("f/1", "one").unwrap();
    });
    for command in [&["get", "-r"][..], &["sync", "--get"]] {
        let told = |folder| {
            let said = env.run(&[command, &[folder, "out"]].concat());
            assert_eq!(said.code, Some(0));
            said.complaint.contains("f: the entry of this name")
        };
        assert!(told("f") && !told("f/"));
    }
}

#[test]
fn sync_into_a_directory_tells_what_it_could_not_look_at() {
    let env = Env::with(|store| {
        store.put("f/there", "x").unwrap();
    });
    env.ok(&["get", "-r", "f", "out"]);
    let unnamed = env
        .path("out")
        .join(std::ffi::OsStr::from_bytes(b"latin-\xe9"));
    fs::write(&unnamed, "x").unwrap();
    symlink("there", env.path("out/link")).unwrap();
    for is_rehearsal in [true, false] {
        env.write("out/extra", "goes");
        let mut command = vec!["sync", "--get", "f", "out", "--delete"];
        command.extend(is_rehearsal.then_some("--dry-run"));
        let said = env.run(&command);
        assert_eq!(said.code, Some(12), "{}", said.complaint);
        for told in [
            "its name is not UTF-8\n",
            "out/link: a symbolic link\n",
            "komatik: 1 of them was skipped\n",
        ] {
            assert!(
                said.complaint.contains(told),
                "{told} in {}",
                said.complaint
            );
        }
        assert_eq!(env.path("out/extra").exists(), is_rehearsal);
    }
    assert!(unnamed.exists() && env.path("out/link").is_symlink());
}

/// The directory is walked through first; to store what is in it may take long.
#[test]
fn sync_deletes_no_entry_whose_file_came_meanwhile() {
    let env = Env::with(|store| {
        for key in ["f/late", "f/gone", "f/link", "f/link/below/it", "f/links"] {
            store.put(key, key).unwrap();
        }
        store.create_folder("f/made").unwrap();
    });
    env.write("in/there", "x");
    symlink("there", env.path("in/link")).unwrap();
    let in_use = env.store();
    let mut sync = env.command(&["sync", "in", "f", "--delete", "--wait", "30s", "--json"]);
    let sync = env.start(&mut sync);
    // It has walked by the time it waits for the store.
    std::thread::sleep(Duration::from_millis(1000));
    env.write("in/late", "late");
    fs::create_dir(env.path("in/made")).unwrap();
    in_use.close().unwrap();
    let said = Said::of(sync.wait_with_output().unwrap());
    assert_eq!(said.code, Some(0), "{}", said.complaint);
    assert_eq!(said.objects()[0]["deleted"], 2);
    assert_eq!(
        env.ok(&["ls", "-r", "f"]),
        "late\nlink\nlink/below/it\nmade/\nthere\n"
    );
}

#[test]
fn what_a_killed_command_left_of_a_file_is_no_entry() {
    let env = Env::with(|_| ());
    for name in [
        "in/.komatik-a1B2c3D4e5F6.part",
        "in/.komatik-notes",
        "in/there",
    ] {
        env.write(name, "x");
    }
    for command in [
        &["sync", "in", "f", "--delete"][..],
        &["put", "-r", "in", "f"],
    ] {
        let said = env.run(command);
        assert_eq!(said.code, Some(0), "{}", said.complaint);
        assert!(said.complaint.contains("a1B2c3"), "{}", said.complaint);
        assert_eq!(env.ok(&["ls", "f"]), ".komatik-notes\nthere\n");
    }
    env.ok(&["sync", "--get", "f", "in", "--delete"]);
    let left = fs::read_dir(env.path("in")).unwrap().count();
    assert_eq!(left, 2);
}

#[test]
fn sync_leaves_a_document_a_document() {
    let env = Env::with(|store| {
        store.save("f/d", &json!({"a": 1})).unwrap();
    });
    env.ok(&["sync", "--get", "f", "dir"]);
    assert_eq!(fs::read(env.path("dir/d")).unwrap(), br#"{"a":1}"#);
    env.write("dir/d", "{ \"a\": 1 }\n");
    assert_eq!(env.object(&["sync", "dir", "f"])["unchanged"], 1);
    assert_eq!(env.object(&["sync", "--get", "f", "dir"])["unchanged"], 1);
    env.write("dir/d", r#"{"a": 2}"#);
    assert_eq!(env.object(&["sync", "dir", "f"])["files"], 1);
    assert_eq!(env.ok(&["load", "f/d", "--json"]), "{\"a\":2}\n");
    env.write("dir/d", "no JSON");
    assert_eq!(env.run(&["sync", "dir", "f"]).code, Some(12));
    assert_eq!(env.ok(&["load", "f/d", "--json"]), "{\"a\":2}\n");
}

/// Values that compare as equal may have texts that differ.
#[test]
fn sync_takes_documents_for_the_same_only_where_their_texts_are() {
    let env = Env::with(|store| {
        store
            .save("f/d", &json!({"a": 1, "b": 0.0, "c": 1}))
            .unwrap();
    });
    let texts = [
        r#"{"c":1,"b":0.0,"a":1}"#,
        r#"{"c":1,"b":-0.0,"a":1}"#,
        r#"{"c":1.0,"b":-0.0,"a":1}"#,
    ];
    for text in texts {
        env.write("dir/d", text);
        assert_eq!(env.object(&["sync", "dir", "f"])["files"], 1, "{text}");
        assert_eq!(env.ok(&["get", "f/d"]), text);
    }
    for text in texts {
        env.ok(&["save", "f/d", text]);
        let got = env.object(&["sync", "--get", "f", "dir"]);
        assert_eq!(got["files"], 1, "{text}");
        assert_eq!(fs::read(env.path("dir/d")).unwrap(), text.as_bytes());
        let again = env.object(&["sync", "--get", "f", "dir"]);
        assert_eq!(again["unchanged"], 1, "{text}");
    }
}

/// It is not read into memory to find out.
#[test]
fn sync_reads_no_file_that_is_longer_than_any_document() {
    let env = Env::with(|store| {
        store.save("f/d", &json!({"a": 1})).unwrap();
        store.put("f/b", "b").unwrap();
    });
    env.write("in/b", "b");
    let file = fs::File::create(env.path("in/d")).unwrap();
    file.set_len(513 << 20).unwrap();
    let said = env.run(&["sync", "in", "f"]);
    assert_eq!(said.code, Some(12), "{}", said.complaint);
    let skipped = "in/d: the JSON text is longer than any document\n";
    assert!(said.complaint.contains(skipped), "{}", said.complaint);
    env.ok(&["sync", "--get", "f", "in"]);
    assert_eq!(fs::read(env.path("in/d")).unwrap(), br#"{"a":1}"#);
}
