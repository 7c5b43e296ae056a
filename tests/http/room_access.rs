//! Rooms: who may enter, and how far they reach.

use serde_json::{Value, json};

use crate::room_client::{Participant, sign};
use crate::server::Server;

#[test]
fn a_participant_reaches_what_its_token_grants() {
    let server = Server::start();
    let key = server.key("admin");
    let room = server.store.scoped("rooms/proj/r").unwrap();
    for path in ["open/a", "fixed/a", "secret/a"] {
        room.put(path, "x").unwrap();
    }
    let storage = json!({"paths": [{"path": "fixed/", "read_only": true}, {"path": "open/"}]});
    let grant = json!([{"name": "api", "scope": {"storage": storage}}]);
    let mut ann = server.enter_as(&key, "ann", grant);
    for kind in [
        "exists",
        "stat",
        "list",
        "download",
        "download_url",
        "open",
        "delete",
    ] {
        let code = ann.code(&format!("storage.{kind}"), json!({"path": "secret/a"}));
        assert_eq!(code, 1001, "{kind}");
    }
    for (kind, request) in [
        ("list", json!({"path": ""})),
        ("open", json!({"path": "fixed/a"})),
        ("delete", json!({"path": "fixed", "recursive": true})),
        (
            "move",
            json!({"source_path": "fixed/a", "destination_path": "open/b"}),
        ),
        (
            "move",
            json!({"source_path": "open/a", "destination_path": "secret/b"}),
        ),
    ] {
        let code = ann.code(&format!("storage.{kind}"), request.clone());
        assert_eq!(code, 1001, "{kind} {request}");
    }
    assert_eq!(ann.read("fixed/a"), b"x");
    ann.write("open/b", &[b"y"]);
    room.put("secret/b", "x").unwrap();
    room.put("open/c", "x").unwrap();
    let updated = |path: &str, by: &str| {
        (
            "storage.file.updated".to_owned(),
            json!({"path": path, "participant_id": by}),
        )
    };
    assert_eq!(ann.next_pushed(), updated("open/b", "ann"));
    assert_eq!(
        ann.next_pushed(),
        updated("open/c", ""),
        "nothing is told of what is secret"
    );
    // A key of one who may only read gives no more than that.
    server.user("rita", "reader", "");
    let mut rita = server.enter(&server.key("rita"));
    assert_eq!(rita.read("open/b"), b"y");
    assert_eq!(rita.code("storage.open", json!({"path": "x"})), 1001);
    assert_eq!(rita.code("storage.delete", json!({"path": "open/b"})), 1001);
}

#[test]
fn only_a_token_signed_for_the_room_opens_it() {
    let server = Server::start();
    let key = server.key("admin");
    let other = server.key_for("admin", "another");
    let grants = json!([{"name": "room", "scope": "r"}]);
    let enter = |token: &str| {
        Participant::connect(&server, &format!("/rooms/r?token={token}"), &[]).map(drop)
    };
    let unsigned = {
        use base64::Engine;
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let claims = json!({"name": "ann", "grants": grants, "sub": "proj", "kid": key.id});
        format!(
            "{}.{}.",
            encode(r#"{"alg":"none","typ":"JWT"}"#),
            encode(&claims.to_string())
        )
    };
    let signed = |mut claims: Value| {
        claims["name"] = "ann".into();
        if claims.get("grants").is_none() {
            claims["grants"] = grants.clone();
        }
        sign(&key.key, &claims)
    };
    for (token, expected, why) in [
        (
            signed(json!({"sub": "proj", "kid": key.id})),
            None,
            "all is told",
        ),
        (signed(json!({"sub": "proj"})), None, "no key is named"),
        (signed(json!({})), None, "nothing is named"),
        (signed(json!({"exp": 4_000_000_000_u64})), None, "in time"),
        (signed(json!({"exp": 1_000_000_000})), Some(401), "ended"),
        (
            signed(json!({"nbf": 4_000_000_000_u64})),
            Some(401),
            "not yet",
        ),
        (
            signed(json!({"sub": "another"})),
            Some(401),
            "another project",
        ),
        (signed(json!({"kid": other.id})), Some(401), "another key"),
        (signed(json!({"grants": []})), Some(403), "no room"),
        (
            signed(json!({"grants": [{"name": "room", "scope": "s"}]})),
            Some(403),
            "another room",
        ),
        (
            sign(
                "guess",
                &json!({"name": "ann", "grants": grants, "sub": "proj"}),
            ),
            Some(401),
            "a guess",
        ),
        (
            sign("", &json!({"name": "ann", "grants": grants, "sub": "proj"})),
            Some(401),
            "no secret",
        ),
        (
            sign(&key.key, &json!({"name": "", "grants": grants})),
            Some(403),
            "no name",
        ),
        (unsigned, Some(401), "not signed"),
        (key.key.clone(), Some(401), "the key itself"),
        (String::new(), Some(401), "empty"),
    ] {
        assert_eq!(enter(&token).err(), expected, "{why}");
    }
    let refused = Participant::connect(&server, "/rooms/r", &[]).map(drop);
    assert_eq!(refused.err(), Some(401));
    let plain = server.nobody().get("/rooms/r?token=x");
    plain.problem(426);
    // A room is of the project whose key has signed.
    server.enter(&other).write("a", &[b"x"]);
    assert!(server.store.exists("rooms/another/r/a").unwrap());
    // A key that is revoked opens nothing.
    server.admin().delete(&format!("/v1/keys/{}", other.id));
    let token = other.token("ann", json!([]));
    assert_eq!(enter(&token).err(), Some(401));
}
