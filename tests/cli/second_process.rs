//! A store that another process has open.

use std::time::{Duration, Instant};

use crate::testenv::Env;

#[test]
fn who_has_the_store_and_what_to_do_is_told() {
    let env = Env::with(|store| {
        store.put("a", "1").unwrap();
    });
    let store = env.store();
    for arguments in [
        &["ls"][..],
        &["save", "a", "1"],
        &["watch", "--once"],
        &["verify"],
        &["repair", "into"],
        &["restore", "store", "--store", "other"],
    ] {
        let told = env.fails(7, "in_use", &[arguments, &["--wait", "0s"]].concat());
        let by = format!("is in use by process {} since 20", std::process::id());
        assert!(told.contains(&by), "{told}");
        assert!(
            told.contains("\n  one process has a store at a time"),
            "{told}"
        );
    }
    assert!(!env.path("into").exists() && !env.path("other").exists());
    drop(store);
    assert_eq!(env.ok(&["ls", "--wait", "0s"]), "a\n");
}

#[test]
fn it_waits_as_long_as_it_is_told() {
    let env = Env::with(|_| ());
    let store = env.store();
    let begun = Instant::now();
    assert_eq!(env.run(&["ls", "--wait", "300ms"]).code, Some(7));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let waiting = env.start(&mut env.command(&["ls", "--wait", "1m"]));
    std::thread::sleep(Duration::from_millis(300));
    drop(store);
    assert_eq!(waiting.wait_with_output().unwrap().status.code(), Some(0));
    assert_eq!(env.run(&["ls", "--wait", "long"]).code, Some(2));
}

#[test]
fn no_store_is_made_for_what_cannot_be_stored() {
    let env = Env::new();
    for arguments in [
        &["save", "a", "{"][..],
        &["merge", "a", "{"],
        &["merge", "a", "1", "--dry-run"],
        &["put", "a", "missing"],
        &["append", "a", "missing"],
        &["put", "-r", "missing", "a"],
        &["sync", "missing", "a"],
        &["import", "missing"],
    ] {
        let said = env.run(arguments);
        assert!(matches!(said.code, Some(1..=3)), "{arguments:?} {said:?}");
        assert!(!env.path("store").exists(), "{arguments:?}");
    }
}

#[test]
fn many_at_once_come_one_after_the_other() {
    let env = Env::with(|_| ());
    let add = |number: u32| {
        let value = format!(r#"{{"n{number}": true}}"#);
        env.start(&mut env.command(&["merge", "all", &value, "--wait", "1m"]))
    };
    let children: Vec<_> = (0..20).map(add).collect();
    for child in children {
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    }
    let all: serde_json::Value = serde_json::from_str(&env.ok(&["load", "all"])).unwrap();
    assert_eq!(all.as_object().unwrap().len(), 20);
}

#[test]
fn what_is_no_store_is_told_and_left_alone() {
    let env = Env::new();
    let reading = [
        &["ls"][..],
        &["tree"],
        &["du"],
        &["stat", "a"],
        &["load", "a"],
        &["diff", "a", "1"],
        &["patch", "a", "[]"],
        &["get", "a"],
        &["get", "-r", "a", "out"],
        &["sync", "--get", "a", "out"],
        &["mv", "a", "b"],
        &["cp", "a", "b"],
        &["rm", "a"],
        &["unlock", "a"],
        &["token", "a"],
        &["tokens"],
        &["revoke", "a"],
        &["watch"],
        &["stats"],
        &["verify"],
        &["compact"],
        &["backup", "out"],
        &["export", "out"],
    ];
    for arguments in reading {
        let told = env.fails(3, "not_found", arguments);
        assert!(told.contains("there is no store at store\n"), "{told}");
        assert_eq!(
            std::fs::read_dir(env.directory()).unwrap().count(),
            0,
            "{arguments:?}"
        );
    }
    std::fs::create_dir(env.path("store")).unwrap();
    env.fails(3, "not_found", &["ls"]);
    env.write("store/letter.txt", "not a store");
    env.fails(11, "unsupported", &["ls"]);
    env.fails(11, "unsupported", &["save", "a", "1"]);
    let mut command = env.command(&["ls"]);
    let said = command.env_remove("KOMATIK_STORE").output().unwrap();
    assert_eq!(said.status.code(), Some(2));
    assert!(
        String::from_utf8(said.stderr)
            .unwrap()
            .contains("--store DIR, or set KOMATIK_STORE")
    );
}
