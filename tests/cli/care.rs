//! Sizes, soundness, space, and copies of a store.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use komatik::{History, Store};
use serde_json::json;

use crate::testenv::{Env, Said};

fn filled() -> Env {
    Env::with(|store| {
        for number in 0..20_u8 {
            store
                .put(&format!("blobs/{number}"), vec![number; 200_000])
                .unwrap();
        }
        store.save("documents/a", &json!({"a": 1})).unwrap();
        store.create_folder("empty").unwrap();
        store.grant("documents/a", komatik::Grant::new()).unwrap();
    })
}

fn file_in(directory: &Path) -> PathBuf {
    let mut entries = fs::read_dir(directory).unwrap();
    entries.next().unwrap().unwrap().path()
}

/// Turns one byte in the middle of a pack.
fn damage(env: &Env) {
    let path = file_in(&env.path("store/packs"));
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn stats_and_verify_tell_of_a_sound_store() {
    let env = filled();
    let stats = env.object(&["stats"]);
    assert_eq!(
        (&stats["entries"], &stats["tokens"]),
        (&json!(22), &json!(1))
    );
    assert_eq!(stats["chunk_bytes"], 4_000_000);
    assert!(
        env.ok(&["stats"])
            .contains("history       revisions 1 to 23\n")
    );
    let report = env.object(&["verify"]);
    assert_eq!(
        (&report["sound"], &report["entries"]),
        (&json!(true), &json!(21))
    );
    assert_eq!(report["findings"], json!([]));
    let said = env.run(&["verify"]);
    assert_eq!((said.code, said.text()), (Some(0), ""));
    assert!(
        said.complaint.starts_with("sound: 21 entries, 3.81 MiB"),
        "{}",
        said.complaint
    );
}

#[test]
fn a_damaged_row_hides_none_of_the_others() {
    let names: Vec<String> = (0..400).map(|number| format!("f/{number:03}")).collect();
    let env = Env::new();
    // With a history that does not reach back: from one that does all would come back by itself.
    let store = Store::builder(env.path("store"))
        .history(History::of_bytes(1))
        .open()
        .unwrap();
    for name in &names {
        let text = format!("the text of {name} {}", "and more ".repeat(40));
        store.save(name, &json!({ "text": text })).unwrap();
    }
    store.close().unwrap();
    // What sled reads no more when it opens is met by who reads the row.
    env.ok(&["stats"]);
    let trees = env.path("store/trees/db");
    let mut bytes = fs::read(&trees).unwrap();
    let marker = b"the text of f/200";
    for at in 0..bytes.len() - marker.len() {
        if bytes[at..].starts_with(marker) {
            bytes[at] ^= 1;
        }
    }
    fs::write(&trees, bytes).unwrap();
    fs::rename(env.path("store"), env.path("damaged")).unwrap();
    // Each time anew: once damage was met, the next opening wants to know all that is lost, and refuses.
    let run = |arguments: &[&str]| {
        let _ = fs::remove_dir_all(env.path("store"));
        let copied = Command::new("cp")
            .arg("-r")
            .args([env.path("damaged"), env.path("store")])
            .status();
        assert!(copied.unwrap().success());
        env.run(arguments)
    };

    let is_told = |listed: &[&str], what: &str| {
        let count = listed.len();
        assert!((300..400).contains(&count), "{what}: {count}");
        assert!(!listed.contains(&"200"), "{what}");
        assert!(listed.contains(&"000") && listed.contains(&"399"), "{what}");
    };
    for command in [["ls", "f"], ["ls", "-r"], ["tree", "f"]] {
        let said = run(&command);
        assert_eq!(said.code, Some(8), "{}", said.complaint);
        assert!(
            said.complaint.contains("not all is listed"),
            "{}",
            said.complaint
        );
        let lines = said.text().lines();
        let names = lines.filter_map(|line| line.get(line.len().saturating_sub(3)..));
        is_told(&names.collect::<Vec<_>>(), command[0]);
    }
    let used = run(&["du", "--json"]);
    assert_eq!(used.code, Some(8), "{}", used.complaint);
    let entries = &used.objects().pop().unwrap()["entries"];
    assert!((300..400).contains(&entries.as_u64().unwrap()), "{entries}");
    let got = run(&["get", "-r", "f", "out"]);
    assert_eq!(got.code, Some(12), "{}", got.complaint);
    let written: Vec<String> = fs::read_dir(env.path("out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let written: Vec<&str> = written.iter().map(String::as_str).collect();
    is_told(&written, "get");
}

#[test]
fn damage_is_told_and_the_rest_is_saved() {
    let env = filled();
    damage(&env);
    let said = env.run(&["verify"]);
    assert_eq!(said.code, Some(8), "{}", said.complaint);
    assert!(said.text().contains("packs/"), "{}", said.text());
    assert!(
        said.complaint.contains("`repair INTO` saves"),
        "{}",
        said.complaint
    );
    let json = env.run(&["verify", "--json"]);
    let report = &json.objects()[0];
    assert_eq!((json.code, &report["sound"]), (Some(8), &json!(false)));
    assert!(!report["findings"].as_array().unwrap().is_empty());

    // What can be read of a folder is written out, and what cannot is named.
    let got = env.run(&["get", "-r", "blobs", "out"]);
    assert_eq!(got.code, Some(12), "{}", got.complaint);
    let is_lost = |number: &u8| !env.path(&format!("out/{number}")).exists();
    let lost: Vec<u8> = (0..20).filter(is_lost).collect();
    assert_eq!(lost.len(), 1);
    let read = env.run(&["get", &format!("blobs/{}", lost[0])]);
    assert_eq!(read.code, Some(8), "{}", read.complaint);

    let repaired = env.run(&["repair", "saved"]);
    assert_eq!(repaired.code, Some(8), "{}", repaired.complaint);
    assert!(repaired.text().contains("blobs/"), "{}", repaired.text());
    let saved = env.run(&["--store", "saved", "verify", "--json"]);
    assert_eq!(saved.code, Some(0));
    assert_eq!(saved.objects()[0]["entries"], 20);
    assert_eq!(
        env.run(&["repair", "saved"]).code,
        Some(1),
        "it is not empty"
    );
    assert_eq!(
        env.run(&["--store", "saved", "stats"]).code,
        Some(0),
        "and stays"
    );
}

#[test]
fn a_sound_store_is_repaired_without_a_loss() {
    let env = filled();
    let repaired = env.object(&["repair", "copy", "--quiet"]);
    assert_eq!(repaired, json!({"entries": 22, "lost": []}));
}

/// The command where so many files may be open, `taken` of them by others.
fn run_with_files(env: &Env, files: u32, taken: u32, arguments: &[&str]) -> Said {
    let plain = env.command(arguments);
    let take: String = (3..3 + taken)
        .map(|number| format!("exec {number}</dev/null; "))
        .collect();
    let mut command = Command::new("bash");
    command
        .args([
            "-c",
            &format!("{take} ulimit -n {files}; exec \"$0\" \"$@\""),
        ])
        .arg(plain.get_program())
        .args(plain.get_args())
        .current_dir(env.directory())
        .env("KOMATIK_STORE", "store");
    Said::of(command.output().unwrap())
}

#[test]
fn a_store_has_more_packs_than_files_may_be_open() {
    const PACKS: u8 = 60;
    let env = Env::new();
    for number in 0..PACKS {
        // Each opening begins a pack of its own.
        let store = env.store();
        let content = vec![number; 10_000];
        let eventual = store.with_durability(komatik::Durability::Eventual);
        eventual.put(&format!("blobs/{number}"), content).unwrap();
        store.close().unwrap();
    }
    let packs = fs::read_dir(env.path("store/packs")).unwrap().count();
    assert_eq!(packs, usize::from(PACKS));

    for (files, taken) in [(40, 0), (40, 10)] {
        let exported = run_with_files(&env, files, taken, &["export", "-"]);
        assert_eq!(exported.code, Some(0), "{}", exported.complaint);
        assert!(exported.output.len() > 60 * 10_000);
        let verified = run_with_files(&env, files, taken, &["verify"]);
        assert_eq!(verified.code, Some(0), "{}", verified.complaint);
    }
    // With too few it fails, and takes nothing for lost.
    let mut repaired = 0;
    for files in 8..40 {
        let said = run_with_files(&env, files, 0, &["repair", "saved", "--json"]);
        if said.code == Some(0) {
            assert_eq!(said.objects()[0], json!({"entries": 60, "lost": []}));
            fs::remove_dir_all(env.path("saved")).unwrap();
            repaired += 1;
        } else {
            assert_ne!(said.code, Some(8), "{files} files: {said:?}");
            assert!(!env.path("saved").exists(), "{files} files");
        }
    }
    assert!(repaired > 20, "{repaired}");
}

#[test]
fn compact_gives_space_back() {
    let env = filled();
    env.ok(&["rm", "-r", "blobs"]);
    let compacted = env.object(&["compact"]);
    assert_eq!(compacted["dead_bytes"], 0);
    assert_eq!(compacted["pack_bytes"], 0);
    assert!(env.run(&["compact"]).complaint.contains("of it dead"));
}

#[test]
fn a_backup_restores_everything() {
    let env = filled();
    let done = env.object(&["backup", "copy"]);
    assert_eq!(done, json!({"directory": "copy", "entries": 22}));
    env.fails(1, "failed", &["backup", "copy"]);
    let told = env.fails(4, "conflict", &["restore", "copy"]);
    assert!(told.contains("move that away first"), "{told}");
    fs::rename(env.path("store"), env.path("away")).unwrap();
    env.fails(3, "not_found", &["restore", "missing"]);
    assert!(!env.path("store").exists());
    env.ok(&["restore", "copy"]);
    let list = |store: &str| env.ok(&["--store", store, "ls", "-r", "-l"]);
    assert_eq!(list("store"), list("away"));
    assert_eq!(env.objects(&["tokens"]).len(), 1);
    assert_eq!(list("copy"), list("away"), "the backup stays");
}

/// What passwords open is in it, and of the root the accounts.
#[test]
fn a_new_archive_only_its_owner_may_read() {
    let env = filled();
    let mode = || {
        let file = fs::metadata(env.path("all.tar")).unwrap();
        file.permissions().mode() & 0o777
    };
    env.ok(&["export", "all.tar"]);
    assert_eq!(mode(), 0o600);
    fs::set_permissions(env.path("all.tar"), fs::Permissions::from_mode(0o640)).unwrap();
    env.ok(&["export", "all.tar"]);
    assert_eq!(mode(), 0o640, "one that is there stays as it is");
}

/// Who made the archive would say who may log in.
#[test]
fn the_accounts_of_the_service_come_in_only_where_they_are_asked_for() {
    let env = Env::with(|store| {
        store
            .save(".komatik/users/mallory", &json!({"role": "admin"}))
            .unwrap();
        store.put("page", "north").unwrap();
        store.put("zone", "last").unwrap();
    });
    env.ok(&["export", "all.tar"]);
    let import = |store: &str, options: &[&str]| {
        let said =
            env.run(&[&["--store", store, "import", "all.tar", "--quiet"], options].concat());
        (said, env.ok(&["--store", store, "ls", "-r"]))
    };
    let (said, there) = import("new", &[]);
    assert_eq!(said.code, Some(12), "{}", said.complaint);
    assert!(said.complaint.contains("--accounts"), "{}", said.complaint);
    assert_eq!(said.complaint.matches(".komatik").count(), 1);
    assert_eq!(there, "page\nzone\n");
    let (said, there) = import("new", &["--overwrite", "--accounts"]);
    assert_eq!((said.code, &*said.complaint), (Some(0), ""));
    assert_eq!(there, ".komatik/users/mallory\npage\nzone\n");
    // What has the name in another folder is nobody's account.
    let (said, there) = import("other", &["--folder", "in"]);
    assert_eq!((said.code, &*said.complaint), (Some(0), ""));
    assert_eq!(there, "in/.komatik/users/mallory\nin/page\nin/zone\n");
    let told = env.run(&["--store", "json", "import", "all.tar", "--json"]);
    assert_eq!(told.objects(), [json!({"entries": 2})]);
    assert!(
        told.complaint.contains(r#""error":"incomplete""#),
        "{}",
        told.complaint
    );
}

#[test]
fn an_archive_goes_out_and_in() {
    let env = filled();
    let exported = env.object(&["export", "all.tar"]);
    assert_eq!(exported, json!({"entries": 21}));
    let piped = env.run(&["export"]);
    assert_eq!(piped.code, Some(0));
    assert!(piped.output == fs::read(env.path("all.tar")).unwrap());
    let told = env.fails(4, "conflict", &["import", "all.tar"]);
    assert!(told.contains("--overwrite"), "{told}");
    env.ok(&["import", "all.tar", "--overwrite"]);
    let said = env.run_with(
        &["--store", "new", "import", "--folder", "in"],
        &piped.output,
    );
    assert_eq!(said.code, Some(0), "{}", said.complaint);
    let new = Store::open(env.path("new")).unwrap();
    assert_eq!(new.get("in/blobs/7").unwrap().unwrap(), vec![7; 200_000]);
    assert!(new.exists("in/empty").unwrap());
    drop(new);
    env.ok(&[
        "--store",
        "new",
        "export",
        "part.tar",
        "--folder",
        "in/documents",
    ]);
    env.ok(&["--store", "part", "import", "part.tar"]);
    assert_eq!(env.ok(&["--store", "part", "ls", "-r"]), "a\n");

    env.write("no.tar", "no archive");
    let refused = env.run(&["--store", "other", "import", "no.tar"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let cut = &piped.output[..piped.output.len() / 2];
    let refused = env.run_with(&["--store", "other", "import"], cut);
    assert_eq!(refused.code, Some(8), "{refused:?}");
    // It is not the store that is damaged.
    assert!(!refused.complaint.contains("verify"), "{refused:?}");
    env.fails(1, "failed", &["import", "missing.tar"]);
}
