//! The rights of a request are asked again where it commits: passwords may be tried for long behind the last byte of it, and
//! other writers be waited for.

use std::time::Duration;

use serde_json::{Value, json};

use crate::server::{Client, Reply, Server};

const ENTRIES: usize = 5;

/// A service, and `ann` with entries in `f` that a password opens.
fn begin() -> (Server, Client) {
    let server = Server::start();
    let ann = server.user("ann", "writer", "home/ann");
    for entry in 0..ENTRIES {
        let key = format!("home/ann/f/{entry}");
        server.store.save(&key, &1).unwrap();
        let lock = komatik::Lock::new().edit("sesame");
        server.store.lock(&key, lock).unwrap();
    }
    (server, ann)
}

/// What `ask` answers with the password, where `ann` is removed while it waits for its turn behind those of others.
fn removed_meanwhile(server: &Server, ask: impl FnOnce(&[(&str, &str)]) -> Reply + Send) -> Reply {
    std::thread::scope(|threads| {
        for entry in 0..ENTRIES {
            // The next one waits for 800 ms, at each of them.
            threads.spawn(move || {
                for guess in 0..7 {
                    let view = server.store.unlocked_with(&guess.to_string());
                    view.delete(&format!("home/ann/f/{entry}")).unwrap_err();
                }
            });
        }
    });
    let admin = server.admin();
    std::thread::scope(|threads| {
        let asked = threads.spawn(move || ask(&[("komatik-password", "sesame")]));
        std::thread::sleep(Duration::from_millis(100));
        let removed = admin.delete("/v1/users/ann");
        assert_eq!(removed.status, 204);
        assert!(!asked.is_finished(), "there was nothing to wait for");
        asked.join().unwrap()
    })
}

#[track_caller]
fn assert_unchanged(server: &Server) {
    for entry in 0..ENTRIES {
        let value: Option<Value> = server.store.load(&format!("home/ann/f/{entry}")).unwrap();
        assert_eq!(value, Some(json!(1)), "{entry}");
    }
}

#[test]
fn who_is_removed_while_passwords_are_tried_commits_no_transaction() {
    let (server, ann) = begin();
    let saves = (0..ENTRIES).map(|entry| {
        let key = format!("f/{entry}");
        json!({"op": "save", "key": key, "value": 2})
    });
    let operations = json!({"operations": saves.collect::<Vec<_>>()});
    let reply = removed_meanwhile(&server, |offered| {
        ann.json_with("POST", "/v1/transactions", offered, &operations)
    });
    let problem = reply.problem(401);
    assert!(problem.get("operation").is_none(), "{problem}");
    assert_unchanged(&server);
}

#[test]
fn who_is_removed_while_passwords_are_tried_deletes_and_moves_no_folder() {
    let (server, ann) = begin();
    let reply = removed_meanwhile(&server, |offered| {
        ann.send("DELETE", "/v1/folders/f?recursive=true", offered, b"")
    });
    reply.problem(401);
    assert_unchanged(&server);
    let ann = server.user("ann", "writer", "home/ann");
    let to = json!({"from": "f", "to": "g", "folder": true});
    let reply = removed_meanwhile(&server, |offered| {
        ann.json_with("POST", "/v1/move", offered, &to)
    });
    reply.problem(401);
    assert_unchanged(&server);
}

/// Each in its own protocol, and with what its own protocol answers.
#[test]
fn who_is_removed_while_others_are_waited_for_commits_nothing() {
    let server = Server::start();
    let all = |server: &Server| {
        let all = komatik::ListOptions::new().recursive();
        let items = server.store.list_with("", all).unwrap();
        let keys = items.map(|item| item.unwrap().name);
        keys.filter(|key| !key.starts_with(".komatik"))
            .collect::<Vec<_>>()
    };
    type Ask = fn(&Server, &Client, &Client, &Client) -> Reply;
    let cases: [(Ask, u16); 5] = [
        (
            |_, ann, _, _| ann.delete("/v1/folders/there?recursive=true"),
            401,
        ),
        (
            |_, ann, _, _| {
                let to = json!({"from": "there", "to": "g", "folder": true});
                ann.json("POST", "/v1/move", &to)
            },
            401,
        ),
        (
            |server, _, drive, _| {
                let uploads = server.store.list("uploads/proj/photos").unwrap();
                let id = uploads.map(|item| item.unwrap().name).next().unwrap();
                let end = format!("/v1/proj/photos/uploads/{id}?name=file");
                drive.send("PATCH", &end, &[], b"")
            },
            401,
        ),
        (
            |_, _, _, storage| storage.delete("/storage/ann/there/"),
            401,
        ),
        (
            |_, _, drive, _| {
                let key = &drive.credentials[0].1;
                let save = json!({"key": key, "file": "f", "value": 1, "options": "merge"});
                drive.json("POST", "/cloudstore/store/save", &save)
            },
            200,
        ),
    ];
    for (number, (ask, status)) in cases.into_iter().enumerate() {
        let ann = server.user("ann", "writer", "home/ann");
        let (drive, storage) = (server.drive("ann"), server.storage("ann"));
        server.store.put("home/ann/there/file", "there").unwrap();
        if number == 0 {
            let begun = drive.send("POST", "/v1/proj/photos/uploads?name=file", &[], b"");
            let id = begun.value()["upload_id"].as_str().unwrap().to_owned();
            let part = format!("/v1/proj/photos/uploads/{id}/parts?name=file&part=1");
            assert_eq!(drive.send("POST", &part, &[], b"part").status, 200);
        }
        let before = all(&server);
        let reply = server.amid(
            |tx| tx.delete(".komatik/users/ann").map(drop),
            || ask(&server, &ann, &drive, &storage),
        );
        assert_eq!(reply.status, status, "{number}: {}", reply.text());
        if status == 200 {
            assert_eq!(reply.value()["error"], "BadKey", "{}", reply.text());
        }
        assert_eq!(all(&server), before, "{number}");
    }
}
