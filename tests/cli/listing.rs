//! Listings, trees, sizes, and what is known of one name.

use komatik::{Lock, PutOptions};
use serde_json::json;

use crate::testenv::Env;

fn filled() -> Env {
    Env::with(|store| {
        for key in ["a", "a/b", "docs/1.txt", "docs/2.png", "docs/deep/3.txt"] {
            store.put(key, key).unwrap();
        }
        store.save("d", &json!({"x": 1})).unwrap();
        store.create_folder("empty").unwrap();
        store.put("locked", "secret").unwrap();
        store.lock("locked", Lock::new().view("v")).unwrap();
    })
}

#[test]
fn ls_lists_folders_page_by_page() {
    let env = filled();
    assert_eq!(env.ok(&["ls"]), "a\na/\nd\ndocs/\nempty/\nlocked\n");
    assert_eq!(env.ok(&["ls", "docs"]), "1.txt\n2.png\ndeep/\n");
    assert_eq!(
        env.ok(&["ls", "/docs/", "-r"]),
        "1.txt\n2.png\ndeep/3.txt\n"
    );
    assert_eq!(env.ok(&["ls", "--limit", "2"]), "a\na/\n");
    assert_eq!(
        env.ok(&["ls", "--limit", "2", "--after", "a/"]),
        "d\ndocs/\n"
    );
    assert_eq!(
        env.ok(&["ls", "-r", "--glob", "**/*.txt"]),
        "docs/1.txt\ndocs/deep/3.txt\n"
    );
    assert_eq!(env.ok(&["ls", "-r", "--contains", "2."]), "docs/2.png\n");
    assert_eq!(env.ok(&["ls", "-r", "--glob", "nothing*"]), "");
    assert_eq!(env.ok(&["ls", "empty"]), "");
    env.fails(3, "not_found", &["ls", "nothing"]);
    env.fails(2, "usage", &["ls", "--glob", "["]);
    env.fails(2, "usage", &["ls", "a//b"]);
    let nothing = Env::with(|_| ());
    assert_eq!(nothing.ok(&["ls"]), "");
    assert_eq!(nothing.ok(&["tree"]), "(all)\n");
}

#[test]
fn ls_tells_more_where_it_is_asked() {
    let env = filled();
    let long = env.ok(&["ls", "-l"]);
    let lines: Vec<Vec<&str>> = long
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0][..4], ["blob", "1", "1", "B"]);
    assert_eq!(lines[0].last(), Some(&"a"));
    assert_eq!(lines[1], ["folder", "-", "-", "-", "-", "a/"]);
    assert_eq!(lines[2][..2], ["document", "6"]);
    assert_eq!(lines[5], ["locked", "-", "-", "-", "-", "locked"]);
    let items = env.objects(&["ls", "-r"]);
    assert_eq!(items.len(), 8);
    assert_eq!(items[2]["key"], "d");
    assert_eq!(items[2]["kind"], "document");
    assert_eq!(items[2]["revision"], 6);
    assert_eq!(items[2]["digest"].as_str().unwrap().len(), 64);
    let expected = json!({"kind": "folder", "name": "empty", "cursor": "empty/"});
    assert_eq!(items[6], expected);
    let expected = json!({"kind": null, "view_locked": true, "name": "locked", "cursor": "locked"});
    assert_eq!(items[7], expected);
}

#[test]
fn tree_draws_what_ls_lists() {
    let env = filled();
    let expected = "\
(all)
├── a
├── a/
│   └── b
├── d
├── docs/
│   ├── 1.txt
│   ├── 2.png
│   └── deep/
│       └── 3.txt
├── empty/
└── locked
";
    assert_eq!(env.ok(&["tree"]), expected);
    assert_eq!(
        env.ok(&["tree", "docs", "--depth", "1"]),
        "docs\n├── 1.txt\n├── 2.png\n└── deep/\n"
    );
    assert_eq!(env.ok(&["tree", "docs", "--depth", "0"]), "docs\n");
    assert_eq!(env.ok(&["tree", "docs", "--depth", "0", "--json"]), "");
    let objects = env.objects(&["tree", "docs"]);
    let keys: Vec<_> = objects
        .iter()
        .map(|object| (object["key"].clone(), object["depth"].clone()))
        .collect();
    assert_eq!(keys[2], (json!("docs/deep"), json!(1)));
    assert_eq!(keys[3], (json!("docs/deep/3.txt"), json!(2)));
    env.fails(3, "not_found", &["tree", "nothing"]);
}

#[test]
fn du_adds_up() {
    let env = filled();
    let objects = env.objects(&["du"]);
    let told: Vec<_> = objects
        .iter()
        .map(|object| {
            (
                object["folder"].as_str().unwrap(),
                object["entries"].as_u64().unwrap(),
                object["bytes"].as_u64().unwrap(),
            )
        })
        .collect();
    let document = env.object(&["stat", "d"])["size"].as_u64().unwrap();
    let docs = 10 + 10 + 15;
    assert_eq!(
        told,
        [
            ("a", 1, 3),
            ("docs", 3, docs),
            ("empty", 0, 0),
            ("", 7, 1 + 3 + docs + document)
        ]
    );
    assert_eq!(objects[3]["locked"], 1);
    assert_eq!(objects[3]["total"], true);
    assert!(
        env.ok(&["du", "docs"])
            .ends_with("35 B         3 entries  docs\n")
    );
    env.fails(3, "not_found", &["du", "nothing"]);
}

#[test]
fn stat_tells_all_that_is_known() {
    let env = filled();
    let store = env.store();
    let attributes = [("who".to_owned(), "\u{1b}[31mann".to_owned())].into();
    store
        .put_with("b", vec![0; 2000], PutOptions::new().attributes(attributes))
        .unwrap();
    drop(store);
    let text = env.ok(&["stat", "b"]);
    assert!(
        text.contains("size          1.95 KiB (2,000 bytes)\n"),
        "{text}"
    );
    assert!(
        text.ends_with("lock          none\nattribute     who=\\u{1b}[31mann\n"),
        "{text}"
    );
    let object = env.object(&["stat", "b"]);
    assert_eq!(object["attributes"], json!({"who": "\u{1b}[31mann"}));
    assert_eq!(object["size"], 2000);
    assert_eq!(
        env.object(&["stat", "/docs/"]),
        json!({"key": "docs", "kind": "folder"})
    );
    env.fails(3, "not_found", &["stat", "nothing"]);
    env.fails(6, "refused", &["stat", "locked"]);
}
