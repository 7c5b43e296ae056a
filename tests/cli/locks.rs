//! Locks and tokens.

use std::io::Read;

use serde_json::json;

use crate::testenv::Env;

/// An entry with both passwords, and files that hold them.
fn locked() -> Env {
    let env = Env::new();
    env.write("view", "sesame\n");
    env.write("edit", "open up");
    env.write("both", "wrong\nsesame\nopen up\n");
    env.write("empty", "\n");
    env.ok(&["save", "diary", "\"dear\""]);
    let done = env.object(&[
        "lock",
        "diary",
        "--view-file",
        "view",
        "--edit-file",
        "edit",
    ]);
    assert_eq!(
        done,
        json!({"key": "diary", "view_locked": true, "edit_locked": true})
    );
    env
}

#[test]
fn a_lock_asks_for_its_passwords() {
    let env = locked();
    let told = env.fails(6, "refused", &["load", "diary"]);
    assert!(
        told.contains("its view password is needed\n  offer the password:"),
        "{told}"
    );
    let with = |arguments: &[&str], password: &str| {
        let mut command = env.command(arguments);
        command
            .env("KOMATIK_PASSWORD", password)
            .output()
            .unwrap()
            .status
            .code()
    };
    assert_eq!(with(&["load", "diary"], "sesame"), Some(0));
    assert_eq!(with(&["load", "diary"], "wrong"), Some(6));
    assert_eq!(with(&["load", "diary"], "wrong\nopen up"), Some(0));
    assert_eq!(with(&["save", "diary", "1"], "sesame"), Some(6));
    assert_eq!(
        env.ok(&["load", "diary", "--password-file", "both"]),
        "\"dear\"\n"
    );
    env.ok(&["merge", "diary", "2", "--password-file", "both"]);
    env.fails(
        1,
        "failed",
        &["load", "diary", "--password-file", "missing"],
    );
    for arguments in [
        &["get", "diary"][..],
        &["stat", "diary"],
        &["cp", "diary", "copy"],
        &["mv", "diary", "moved"],
        &["rm", "diary"],
        &["export", "archive"],
        &["token", "diary"],
        &["unlock", "diary"],
        &["put", "diary", "view"],
        &["append", "diary", "view"],
        &["lock", "diary", "--view-file", "view"],
    ] {
        env.fails(6, "refused", arguments);
    }
    assert!(!env.path("archive").exists());
}

#[test]
fn many_passwords_may_be_offered_and_the_last_one_opens() {
    let env = locked();
    env.write("many", "1\n2\n3\n4\n5\n6\nopen up\n");
    env.ok(&["save", "folder/inner", "1"]);
    env.ok(&["lock", "folder/inner", "--edit-file", "edit"]);
    let offering = |arguments: &[&str]| env.ok(&[arguments, &["--password-file", "many"]].concat());
    let patch = r#"[{"op": "replace", "path": "", "value": 2}]"#;
    offering(&["patch", "diary", patch]);
    offering(&["rm", "-r", "folder"]);
    offering(&["rm", "diary"]);
    assert_eq!(env.ok(&["ls", "-r"]), "");
}

#[test]
fn a_lock_is_changed_and_taken_off_by_who_knows_it() {
    let env = locked();
    env.ok(&[
        "lock",
        "diary",
        "--view-file",
        "edit",
        "--password-file",
        "both",
    ]);
    assert_eq!(
        env.ok(&["load", "diary", "--password-file", "edit"]),
        "\"dear\"\n"
    );
    env.ok(&["unlock", "diary", "--password-file", "edit"]);
    assert_eq!(env.ok(&["load", "diary"]), "\"dear\"\n");
    env.fails(3, "not_found", &["unlock", "diary"]);
    env.fails(3, "not_found", &["unlock", "nothing"]);
    env.fails(3, "not_found", &["lock", "nothing", "--view-file", "view"]);
    for wrong in ["empty", "both"] {
        let told = env.fails(2, "usage", &["lock", "diary", "--view-file", wrong]);
        assert!(told.contains("must hold one line"), "{told}");
    }
    let told = env.fails(2, "usage", &["lock", "diary", "--edit"]);
    assert!(
        told.contains("there is no terminal") && told.contains("--edit-file"),
        "{told}"
    );
    assert_eq!(env.run(&["lock", "diary"]).code, Some(2));
}

#[test]
fn a_password_is_never_told() {
    let env = locked();
    for arguments in [
        &["load", "diary"][..],
        &["stat", "diary", "--password-file", "both"],
        &["watch", "--since", "start", "--once"],
    ] {
        let said = env.run(&[arguments, &["--json"]].concat());
        let all = format!("{}{}", said.text(), said.complaint);
        assert!(!all.contains("sesame") && !all.contains("open up"), "{all}");
    }
}

#[test]
fn a_token_for_longer_than_there_are_dates_lasts_to_the_last_one() {
    let env = locked();
    let token = env.object(&["token", "other", "--expires", "9000years"]);
    assert_eq!(token["expires"], "9999-12-31T23:59:59.999999Z");
    assert_eq!(env.ok(&["tokens"]).lines().count(), 1);
}

#[test]
fn tokens_are_granted_listed_and_revoked() {
    let env = Env::with(|store| {
        store.put("plan.txt", "north").unwrap();
    });
    let token = env.ok(&["token", "plan.txt"]);
    let read = || {
        let store = env.store();
        let token = komatik::Token::from(token.trim());
        let reader = store.read_with(&token, "plan.txt");
        reader.map(|reader| {
            let mut text = String::new();
            reader.unwrap().read_to_string(&mut text).unwrap();
            text
        })
    };
    assert_eq!(read().unwrap(), "north");
    let granted = env.object(&["token", "docs", "--folder", "--expires", "24h"]);
    assert_eq!(granted["folder"], true);
    assert_eq!(granted["token"].as_str().unwrap().len(), 43);
    let url = env.ok(&["token", "plan.txt", "--url", "https://example.org/f"]);
    assert!(
        url.starts_with("https://example.org/f/plan.txt?token="),
        "{url}"
    );
    assert_eq!(
        env.run(&["token", "plan.txt", "--expires", "soon"]).code,
        Some(2)
    );

    let listed = env.objects(&["tokens"]);
    let keys: Vec<_> = listed
        .iter()
        .map(|token| token["key"].as_str().unwrap())
        .collect();
    assert_eq!(keys, ["docs", "plan.txt", "plan.txt"]);
    assert!(listed[0]["expires"].is_string() && listed[1]["expires"].is_null());
    let text = env.ok(&["tokens"]);
    assert!(!text.contains(token.trim()));
    assert!(text.lines().next().unwrap().ends_with("docs/"), "{text}");

    let revoked = env.run_with(&["revoke", "--token"], &token);
    assert_eq!(
        (revoked.code, revoked.text()),
        (Some(0), "1 token revoked\n")
    );
    assert!(read().is_err());
    for (unknown, code) in [("unknown", 3), (" \n", 2)] {
        let said = env.run_with(&["revoke", "--token"], unknown);
        assert_eq!((said.code, said.text()), (Some(code), ""));
    }
    assert_eq!(env.object(&["revoke", "plan.txt"]), json!({"revoked": 1}));
    assert_eq!(env.object(&["revoke", "--all"]), json!({"revoked": 1}));
    env.fails(
        2,
        "usage",
        &["token", "", "--folder", "--url", "https://example.org"],
    );
    assert_eq!(env.ok(&["tokens"]), "");
    assert_eq!(env.run(&["revoke"]).code, Some(2));
}
