//! Transactions: all of it or nothing, and the failed operation is named.

use komatik::http::Limits;
use komatik::{Lock, PasswordCost, Store};
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
    let before = store.history().newest;
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
    assert_eq!(store.history().newest, before + 1, "one commit");
    assert_eq!(results["revision"], before + 1);
    let nothing = json!({"operations": [{"op": "delete", "key": "none"}]});
    let done = ann.json("POST", "/v1/transactions", &nothing).value();
    assert_eq!(
        done,
        json!({"results": [{"deleted": false}], "revision": null})
    );
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
    let late = json!({"op": "patch", "key": "a", "patch": [], "mode": {"update": 1_000}});
    assert_eq!(fails(late, 412)["operation"], 1);
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
    server.store.save("home/ann/there", &0).unwrap();
    for op in ["copy", "move"] {
        let plain = json!({"op": op, "from": "s", "to": "there"});
        let (mut overwrite, mut create) = (plain.clone(), plain.clone());
        overwrite["mode"] = "overwrite".into();
        create["mode"] = "create".into();
        for refused in [plain, create] {
            assert_eq!(fails(refused, 409)["operation"], 1);
        }
        let save = json!({"op": "save", "key": "s", "value": 1});
        let told = json!({"operations": [save, overwrite, {"op": "delete", "key": "s"}]});
        let done = ann.json("POST", "/v1/transactions", &told);
        assert_eq!(done.status, 200, "{}", done.text());
    }
    fails(json!({"op": "explode"}), 400);
    fails(json!({"op": "delete", "key": "s", "extra": 1}), 400);
}

/// Where it had to verify them itself while others wait, it would be refused at once behind as many wrong ones. Each
/// operation is on an entry that only it opens.
#[test]
fn passwords_are_verified_before_it_begins() {
    let server = Server::start();
    let admin = server.admin();
    let operations = [
        json!({"op": "check", "key": "1/a", "revision": 0}),
        json!({"op": "save", "key": "2/a", "value": 1}),
        json!({"op": "merge", "key": "3/a", "value": {}}),
        json!({"op": "merge_patch", "key": "4/a", "value": {}}),
        json!({"op": "patch", "key": "5/a", "patch": []}),
        json!({"op": "put", "key": "6/a", "content": "AAEC"}),
        json!({"op": "delete", "key": "7/a"}),
        json!({"op": "move", "from": "8/a", "to": "8/b"}),
        json!({"op": "copy", "from": "9/a", "to": "9/b"}),
        json!({"op": "copy", "from": "open", "to": "10/a", "mode": "overwrite"}),
        json!({"op": "delete_folder", "folder": "11"}),
        json!({"op": "move_folder", "from": "12", "to": "13"}),
    ];
    server.store.save("open", &1).unwrap();
    for (index, mut operation) in operations.into_iter().enumerate() {
        let key = format!("{}/a", index + 1);
        server.store.save(&key, &json!({})).unwrap();
        let (lock, wrong) = match index {
            0 | 8 => (json!({"view": "sesame"}), "GET"),
            _ => (json!({"edit": "sesame"}), "DELETE"),
        };
        let path = format!("/v1/locks/{key}");
        assert_eq!(admin.json("PUT", &path, &lock).status, 204);
        let path = format!("/v1/entries/{key}");
        for _ in 0..5 {
            let tried = [("komatik-password", "wrong")];
            admin.send(wrong, &path, &tried, b"").problem(403);
        }
        if index == 0 {
            let revision = server.store.unlocked_with("sesame").metadata(&key);
            operation["revision"] = revision.unwrap().unwrap().revision.into();
        }
        let operation = json!({"operations": [operation]});
        let offered = [("komatik-password", "sesame")];
        let done = admin.json_with("POST", "/v1/transactions", &offered, &operation);
        assert_eq!(done.status, 200, "{operation}: {}", done.text());
    }
}

/// What an entry was before the transaction is no reason to refuse what it does.
#[test]
fn a_lock_that_is_gone_by_then_is_not_asked() {
    let server = Server::start();
    let admin = server.admin();
    for key in ["a", "b"] {
        server.store.save(key, &1).unwrap();
        let path = format!("/v1/locks/{key}");
        let locked = admin.json("PUT", &path, &json!({"view": "sesame"}));
        assert_eq!(locked.status, 204);
    }
    let operations = json!({"operations": [
        {"op": "delete", "key": "a"},
        {"op": "check", "key": "a"},
        {"op": "check", "key": "b"},
    ]});
    for (offered, status) in [(vec![], 423), (vec![("komatik-password", "wrong")], 403)] {
        let refused = admin.json_with("POST", "/v1/transactions", &offered, &operations);
        assert_eq!(refused.problem(status)["operation"], 2);
    }
    let few = json!({"operations": [{"op": "delete", "key": "a"}, {"op": "check", "key": "a"}]});
    let offered = [("komatik-password", "wrong")];
    let done = admin.json_with("POST", "/v1/transactions", &offered, &few);
    assert_eq!(done.status, 200, "{}", done.text());
}

/// Of more the view would not remember all, and the transaction would verify them again.
#[test]
fn it_has_to_do_with_so_many_locked_entries() {
    let store = Store::builder_in_memory()
        .password_cost(PasswordCost::new(8, 1))
        .open()
        .unwrap();
    for index in 0..=1000 {
        store.save(&format!("f/{index}"), &1).unwrap();
        store.save(&format!("open/{index}"), &1).unwrap();
        let lock = Lock::new().edit("sesame");
        store.lock(&format!("f/{index}"), lock).unwrap();
    }
    let server = Server::with(&store, Limits::default());
    let admin = server.admin();
    let send = |operations: serde_json::Value| {
        let offered = [("komatik-password", "sesame")];
        let operations = json!({"operations": operations});
        admin.json_with("POST", "/v1/transactions", &offered, &operations)
    };
    let folder = json!({"op": "delete_folder", "folder": "f"});
    let open = json!({"op": "delete_folder", "folder": "open"});
    let refused = send(json!([open, folder])).problem(413);
    assert_eq!(
        (&refused["limit"], &refused["operation"]),
        (&json!(1000), &json!(1))
    );
    assert!(store.exists("open/0").unwrap());
    let one = json!({"op": "delete", "key": "f/0"});
    assert_eq!(send(json!([one, one, one])).status, 200);
    let done = send(json!([open, folder]));
    assert_eq!(done.value()["results"][1], json!({"deleted": 1000}));
}

/// All writers wait for it, and each operation handles the whole document again.
#[test]
fn what_a_transaction_handles_again_and_again_is_bounded() {
    let server = Server::start();
    let admin = server.admin();
    let large: Vec<String> = (0..20_000)
        .map(|number| format!("{number:0>100}"))
        .collect();
    server.store.save("large", &json!({"list": large})).unwrap();
    let before = server.store.metadata("large").unwrap().unwrap().revision;
    let merge = json!({"op": "merge", "key": "large", "value": {"z": 1}});
    let patch =
        json!({"op": "patch", "key": "large", "patch": [{"op": "add", "path": "/z", "value": 1}]});
    for operation in [merge, patch] {
        let many = json!({"operations": vec![operation.clone(); 100]});
        let refused = admin.json("POST", "/v1/transactions", &many).problem(413);
        assert!(refused["operation"].as_u64().unwrap() > 10, "{refused}");
        let revision = server.store.metadata("large").unwrap().unwrap().revision;
        assert_eq!(revision, before);
    }
    let few = json!({"operations": [{"op": "merge", "key": "large", "value": {"z": 1}}]});
    assert_eq!(admin.json("POST", "/v1/transactions", &few).status, 200);
}

/// A folder that was emptied is looked through again.
#[test]
fn what_a_transaction_passes_again_and_again_is_bounded() {
    let server = Server::start();
    let admin = server.admin();
    let filled = server
        .store
        .transaction(|tx| (0..1000).try_for_each(|number| tx.save(&format!("f/{number}"), &1)));
    filled.unwrap();
    let delete = json!({"op": "delete_folder", "folder": "f"});
    let many = json!({"operations": vec![delete.clone(); 10_000]});
    let refused = admin.json("POST", "/v1/transactions", &many).problem(413);
    assert!(refused["operation"].as_u64().unwrap() > 500, "{refused}");
    assert!(server.store.exists("f/0").unwrap());
    let few = json!({"operations": vec![delete; 10]});
    let done = admin.json("POST", "/v1/transactions", &few).value();
    assert_eq!(done["results"][0], json!({"deleted": 1000}));
}

/// Nor can many patches do together what one may not.
#[test]
fn the_patches_of_a_transaction_have_one_budget() {
    let server = Server::start();
    let admin = server.admin();
    server.store.save("small", &json!({"a": [0]})).unwrap();
    // Each doubles the list: some 128 MiB, and nothing of it stays.
    let copy = json!({"op": "copy", "from": "/a", "path": "/a/-"});
    let mut patch = vec![copy; 20];
    patch.push(json!({"op": "replace", "path": "/a", "value": [0]}));
    let operation = json!({"op": "patch", "key": "small", "patch": patch});
    let transaction = |times: usize| json!({"operations": vec![operation.clone(); times]});
    let refused = admin.json("POST", "/v1/transactions", &transaction(4));
    let refused = refused.problem(422);
    assert!(refused["operation"].as_u64().unwrap() > 0, "{refused}");
    let reason = refused["detail"].as_str().unwrap();
    assert!(reason.contains("too much memory"), "{refused}");
    let done = admin.json("POST", "/v1/transactions", &transaction(1));
    assert_eq!(done.status, 200, "{}", done.text());
}
