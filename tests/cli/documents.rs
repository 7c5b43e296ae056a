//! Saving, loading, merging, patching and comparing documents.

use komatik::MAX_DOCUMENT_DEPTH;
use serde_json::{Value, json};

use crate::testenv::{Env, KEYS};

fn load(env: &Env, key: &str) -> Value {
    let store = env.store();
    store.load(key).unwrap().unwrap()
}

#[test]
fn json_comes_as_an_argument_a_file_or_a_pipe() {
    let env = Env::new();
    env.write("value.json", r#"{"from": "file"}"#);
    let said = env.run(&["save", "a", r#"{"from": "argument"}"#]);
    assert_eq!((said.code, said.text()), (Some(0), ""));
    assert_eq!(
        said.complaint,
        "made a store in store\nsaved a, revision 1\n"
    );
    env.ok(&["save", "b", "@value.json"]);
    for arguments in [&["save", "c", "-"][..], &["save", "d"]] {
        let said = env.run_with(arguments, r#"{"from": "pipe"}"#);
        assert_eq!((said.code, said.text()), (Some(0), ""));
    }
    env.ok(&["save", "e", "-5"]);
    env.ok(&["save", "f", r#""@value.json""#]);
    for (key, expected) in [
        ("a", json!({"from": "argument"})),
        ("b", json!({"from": "file"})),
        ("c", json!({"from": "pipe"})),
        ("d", json!({"from": "pipe"})),
        ("e", json!(-5)),
        ("f", json!("@value.json")),
    ] {
        assert_eq!(load(&env, key), expected);
        let loaded: Value = serde_json::from_str(&env.ok(&["load", key])).unwrap();
        assert_eq!(loaded, expected);
    }
}

#[test]
fn what_is_no_document_is_refused() {
    let env = Env::with(|_| ());
    let deep = |levels| "[".repeat(levels) + &"]".repeat(levels);
    env.ok(&["save", "deep", &deep(MAX_DOCUMENT_DEPTH)]);
    for wrong in [
        "",
        "{",
        "[1] 2",
        "nul",
        "1e999",
        "\u{feff}1",
        &deep(MAX_DOCUMENT_DEPTH + 1),
    ] {
        env.fails(2, "usage", &["save", "a", wrong]);
    }
    assert!(!env.store().exists("a").unwrap());
    env.fails(1, "failed", &["save", "a", "@missing.json"]);
    env.fails(2, "usage", &["save", "a//b", "1"]);
    env.fails(2, "usage", &["patch", "deep", "{}"]);
}

#[test]
fn every_legal_key_goes_in_and_out() {
    let env = Env::new();
    for key in KEYS {
        env.ok(&["save", "--", key, &json!({ "key": key }).to_string()]);
        let text = env.ok(&["load", "--pointer", "/key", "--raw", "--", key]);
        assert_eq!(text, format!("{key}\n"));
    }
    let listed = env.ok(&["ls", "-r"]);
    let mut expected = KEYS;
    expected.sort_unstable();
    assert_eq!(listed.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_part_is_named_by_a_pointer() {
    let env = Env::with(|store| {
        let value = json!({"size": {"width": 800}, "name": "a\nb", "list": [1, 2.50, null]});
        store.save("d", &value).unwrap();
    });
    assert_eq!(env.ok(&["load", "d", "-p", "/size/width"]), "800\n");
    assert_eq!(env.ok(&["load", "d", "-p", "/name"]), "\"a\\nb\"\n");
    assert_eq!(env.ok(&["load", "d", "-p", "/name", "--raw"]), "a\nb\n");
    assert_eq!(env.ok(&["load", "d", "-p", "/list/2"]), "null\n");
    assert_eq!(
        env.ok(&["load", "d", "-p", "/list", "--json"]),
        "[1,2.5,null]\n"
    );
    assert!(env.ok(&["load", "d"]).starts_with("{\n  \"size\": {\n"));
    let told = env.fails(3, "not_found", &["load", "d", "-p", "/nothing"]);
    assert!(told.contains("`d` has nothing at `/nothing`"), "{told}");
    env.fails(3, "not_found", &["load", "nothing", "-p", "/nothing"]);
    env.fails(2, "usage", &["load", "d", "-p", "nothing"]);
    env.fails(3, "not_found", &["load", "nothing"]);
}

#[test]
fn merging_does_with_arrays_and_null_what_it_is_told() {
    let cases: [(&[&str], Value); 6] = [
        (&[], json!({"a": [9, 2], "b": null, "c": 1})),
        (
            &["--arrays", "replace"],
            json!({"a": [9], "b": null, "c": 1}),
        ),
        (
            &["--arrays", "append"],
            json!({"a": [1, 2, 9], "b": null, "c": 1}),
        ),
        (
            &["--arrays", "union", "--nulls", "remove"],
            json!({"a": [1, 2, 9], "c": 1}),
        ),
        (&["--nulls", "remove"], json!({"a": [9, 2], "c": 1})),
        (&["--rfc7396"], json!({"a": [9], "c": 1})),
    ];
    for (how, expected) in cases {
        let env = Env::with(|store| {
            store.save("d", &json!({"a": [1, 2], "b": 7})).unwrap();
        });
        let merge = ["merge", "d", r#"{"a": [9], "b": null, "c": 1}"#];
        // The difference of the dry run is a patch that does the same.
        let patch = env.ok(&[&merge, how, &["--dry-run", "--json"]].concat());
        assert_eq!(load(&env, "d"), json!({"a": [1, 2], "b": 7}));
        env.ok(&[&merge[..], how].concat());
        assert_eq!(load(&env, "d"), expected, "{how:?}");
        env.ok(&["save", "d", r#"{"a": [1, 2], "b": 7}"#]);
        let said = env.run_with(&["patch", "d", "-"], patch);
        assert_eq!(said.code, Some(0), "{}", said.complaint);
        assert_eq!(load(&env, "d"), expected, "{how:?}");
    }
    let env = Env::new();
    env.fails(2, "usage", &["merge", "d", "{"]);
    assert_eq!(
        env.run(&["merge", "d", "1", "--rfc7396", "--nulls", "store"])
            .code,
        Some(2)
    );
    env.ok(&["merge", "d", r#"{"made": true}"#]);
    assert_eq!(load(&env, "d"), json!({"made": true}));
}

#[test]
fn a_difference_is_shown_line_by_line() {
    let env = Env::with(|store| {
        let value = json!({"size": {"width": 800}, "tags": ["a", "b", "c"], "old": 1});
        store.save("d", &value).unwrap();
    });
    let other = r#"{"size": {"width": 1024}, "tags": ["a"], "new": {"x": 1}}"#;
    let shown = env.ok(&["diff", "d", other]);
    let mut lines: Vec<&str> = shown.lines().collect();
    lines.sort_unstable();
    let expected = [
        "+ /new  {\"x\":1}",
        "- /old  1",
        "- /tags/1  \"b\"",
        "- /tags/1  \"c\"",
        "~ /size/width  800 → 1024",
    ];
    assert_eq!(lines, expected);
    let whole = env.ok(&["diff", "d", "5"]);
    assert!(
        whole.starts_with("~ (all)  {\"size\":") && whole.ends_with("} → 5\n"),
        "{whole}"
    );
    let patch = env.ok(&["diff", "d", other, "--json"]);
    assert_eq!(env.run_with(&["patch", "d"], patch).code, Some(0));
    assert_eq!(env.ok(&["diff", "d", other]), "");
    assert_eq!(env.ok(&["diff", "d", other, "--json"]), "[]\n");
    env.fails(3, "not_found", &["diff", "nothing", "1"]);
}

#[test]
fn a_patch_is_applied_whole_or_not_at_all() {
    let env = Env::with(|store| {
        store.save("d", &json!({"a": 1})).unwrap();
    });
    let fails = r#"[{"op":"add","path":"/b","value":2},{"op":"test","path":"/a","value":9}]"#;
    let told = env.fails(2, "usage", &["patch", "d", fails]);
    assert!(told.contains("operation 1"), "{told}");
    env.fails(2, "usage", &["patch", "d", fails, "--dry-run"]);
    assert_eq!(load(&env, "d"), json!({"a": 1}));
    let works = r#"[{"op":"replace","path":"/a","value":2}]"#;
    env.fails(4, "conflict", &["patch", "d", works, "--if-revision", "9"]);
    assert_eq!(env.ok(&["patch", "d", works, "--dry-run"]), "~ /a  1 → 2\n");
    assert_eq!(load(&env, "d"), json!({"a": 1}));
    let patched = env.object(&["patch", "d", works, "--if-revision", "1"]);
    assert_eq!(
        (&patched["key"], &patched["revision"]),
        (&json!("d"), &json!(2))
    );
    env.fails(3, "not_found", &["patch", "nothing", works]);
}

#[test]
fn conditions_and_kinds_are_held() {
    let env = Env::with(|store| {
        store.put("blob", "bytes").unwrap();
    });
    let saved = env.object(&["save", "d", "1", "--create", "--attribute", "who=ann=a"]);
    assert_eq!(saved["revision"], 2);
    assert_eq!(saved["attributes"], json!({"who": "ann=a"}));
    for command in ["save", "merge"] {
        let told = env.fails(4, "conflict", &[command, "d", "3", "--create"]);
        assert!(
            told.contains("`d` already exists\n  without `--create`"),
            "{told}"
        );
        env.fails(4, "conflict", &[command, "d", "3", "--if-revision", "1"]);
    }
    env.fails(4, "conflict", &["merge", "d", "3", "--create", "--dry-run"]);
    assert_eq!(load(&env, "d"), json!(1));
    assert_eq!(
        env.object(&["save", "d", "2", "--if-revision", "2"])["revision"],
        3
    );
    assert_eq!(
        env.object(&["merge", "d", "3", "--if-revision", "3"])["revision"],
        4
    );
    for arguments in [
        &["load", "blob"][..],
        &["merge", "blob", "1"],
        &["patch", "blob", "[]"],
        &["diff", "blob", "1"],
    ] {
        env.fails(5, "wrong_kind", arguments);
    }
}

/// Each operation takes an element out of the middle of what is left.
#[test]
fn a_long_array_that_is_cut_is_told_place_by_place() {
    let env = Env::with(|store| {
        let long: Vec<u32> = (0..100_000).collect();
        store.save("long", &json!({"list": long})).unwrap();
    });
    let told = env.ok(&["diff", "long", r#"{"list":[0,7]}"#]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 99_999);
    assert_eq!((lines[0], lines[1]), ("~ /list/1  1 → 7", "- /list/2  2"));
    assert_eq!(lines[99_998], "- /list/2  99999");
}
