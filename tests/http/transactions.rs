//! Transactions: all of it or nothing, and the failed operation is named.

use serde_json::json;

use crate::server::Server;

#[test]
fn every_operation_is_done_in_one_commit() {
    let server = Server::start();
    let ann = server.user("ann", "writer", "home/ann");
    let store = server.store.scoped("home/ann").unwrap();
    store.save("d", &json!({"a": [1]})).unwrap();
    store.put("old", "old").unwrap();
    store.put("gone/1", "x").unwrap();
    store.put("f/1", "x").unwrap();
    let before = store.history().newest();
    let operations = json!({"operations": [
        {"op": "check", "key": "d", "revision": store.metadata("d").unwrap().unwrap().revision},
        {"op": "check", "key": "none"},
        {"op": "save", "key": "s", "value": 1, "mode": "create"},
        {"op": "merge", "key": "d", "value": {"a": [2]}, "options": {"arrays": "append"}},
        {"op": "merge_patch", "key": "d", "value": {"b": 1, "c": null}},
        {"op": "patch", "key": "d", "patch": [{"op": "add", "path": "/p", "value": true}]},
        {"op": "put", "key": "b", "content": "AAEC", "content_type": "x/y"},
        {"op": "copy", "from": "b", "to": "b2"},
        {"op": "move", "from": "old", "to": "new"},
        {"op": "delete", "key": "none"},
        {"op": "create_folder", "folder": "made"},
        {"op": "delete_folder", "folder": "gone"},
        {"op": "move_folder", "from": "f", "to": "g"},
    ]});
    let done = ann.json("POST", "/v1/transactions", &operations);
    assert_eq!(done.status, 200, "{}", done.text());
    let results = done.value();
    assert_eq!(results["results"][9], json!({"deleted": false}));
    assert_eq!(results["results"][11], json!({"deleted": 1}));
    assert_eq!(results["results"][12], json!({"moved": 1}));
    assert_eq!(store.history().newest(), before + 1, "one commit");
    let document: serde_json::Value = store.load("d").unwrap().unwrap();
    assert_eq!(document, json!({"a": [1, 2], "b": 1, "p": true}));
    assert_eq!(store.get("b2").unwrap().unwrap(), [0, 1, 2][..]);
    assert_eq!(store.metadata("b").unwrap().unwrap().content_type, "x/y");
    for (key, is_there) in [
        ("s", true),
        ("new", true),
        ("old", false),
        ("gone", false),
        ("g/1", true),
        ("made", true),
    ] {
        assert_eq!(store.exists(key).unwrap(), is_there, "{key}");
    }
}

#[test]
fn nothing_is_done_where_one_fails() {
    let server = Server::start();
    let ann = server.user("ann", "writer", "home/ann");
    let fails = |second: serde_json::Value, status: u16| {
        let operations = json!({"operations": [{"op": "save", "key": "s", "value": 1}, second]});
        let problem = ann
            .json("POST", "/v1/transactions", &operations)
            .problem(status);
        assert!(!server.store.exists("home/ann/s").unwrap(), "{problem}");
        problem
    };
    assert_eq!(
        fails(json!({"op": "patch", "key": "x", "patch": []}), 404)["operation"],
        1
    );
    assert_eq!(
        fails(json!({"op": "check", "key": "x", "revision": 3}), 412)["operation"],
        1
    );
    assert_eq!(
        fails(json!({"op": "check", "key": "s"}), 409)["operation"],
        1
    );
    assert_eq!(
        fails(
            json!({"op": "save", "key": "s", "value": 1, "mode": {"update": 9}}),
            412
        )["expected"],
        9
    );
    assert_eq!(
        fails(json!({"op": "put", "key": "b", "content": "?"}), 400)["operation"],
        1
    );
    assert_eq!(
        fails(json!({"op": "delete", "key": "../bob/x"}), 400)["operation"],
        1
    );
    fails(json!({"op": "copy", "from": "s", "to": "a//b"}), 400);
    fails(json!({"op": "explode"}), 400);
    fails(json!({"op": "delete", "key": "s", "extra": 1}), 400);
}
