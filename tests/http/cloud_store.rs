//! CloudStore: values of an account, saved, merged, loaded and listed.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{Client, Reply, Server};

impl Server {
    /// An API key of the user, who is made.
    pub(crate) fn api_key(&self, name: &str, role: &str) -> String {
        self.user(name, role, &format!("home/{name}"));
        let key = json!({"user": name, "label": "CloudStore", "project": "games"});
        let made = self.admin().json("POST", "/v1/keys", &key);
        assert_eq!(made.status, 201, "{}", made.text());
        made.value()["key"].as_str().unwrap().to_owned()
    }
}

/// A client of CloudStore, as the one of Python and those of JavaScript send.
struct CloudStore {
    client: Client,
    key: String,
}

impl CloudStore {
    fn of(server: &Server, key: &str) -> CloudStore {
        CloudStore {
            client: server.nobody(),
            key: key.to_owned(),
        }
    }

    fn send(&self, path: &str, file: &str, options: Option<&str>, more: &Value) -> Value {
        let mut body = json!({"key": self.key, "file": file, "options": options, "id": "_data"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let headers = [("content-type", "application/json; charset=UTF-8")];
        self.client
            .json_with("POST", path, &headers, &body)
            .answer()
    }

    fn save(&self, file: &str, value: Value) -> Value {
        self.send(
            "/cloudstore/store/save",
            file,
            None,
            &json!({"value": value}),
        )
    }

    fn merge(&self, file: &str, value: Value) -> Value {
        self.send(
            "/cloudstore/store/save",
            file,
            Some("merge"),
            &json!({"value": value}),
        )
    }

    fn delete(&self, file: &str) -> Value {
        self.send(
            "/cloudstore/store/save",
            file,
            Some("delete"),
            &json!({"password": null}),
        )
    }

    fn load(&self, file: &str) -> Value {
        self.send(
            "/cloudstore/store/load",
            file,
            None,
            &json!({"password": null}),
        )
    }

    fn list(&self, file: &str) -> Value {
        self.send("/cloudstore/store/load", file, Some("list"), &json!({}))
    }
}

impl Reply {
    /// The answer, which has these members and this status whatever it says.
    #[track_caller]
    pub(crate) fn answer(&self) -> Value {
        assert_eq!(
            (self.status, self.header("content-type")),
            (200, "application/json")
        );
        let value = self.value();
        let names: Vec<_> = value.as_object().unwrap().keys().collect();
        assert_eq!(names, ["error", "message", "data"]);
        value
    }
}

fn said(message: &str) -> Value {
    json!({"error": null, "message": message, "data": null})
}

fn loaded(value: Value) -> Value {
    json!({"error": null, "message": value, "data": value})
}

#[track_caller]
fn fails(answer: &Value, error: &str) {
    assert_eq!(answer["error"], error, "{answer}");
    assert!(
        answer["message"]
            .as_str()
            .is_some_and(|message| !message.is_empty())
    );
    assert_eq!(answer["data"], Value::Null);
}

#[test]
fn values_are_saved_and_loaded_whatever_they_are() {
    let server = Server::start();
    let cloud = CloudStore::of(&server, &server.api_key("ann", "writer"));
    for value in [
        json!({"Apples": 8, "Oranges": {"deep": [1, null, "x"]}}),
        json!([1, 2]),
        json!("text"),
        json!(12.5),
        json!(0),
        json!(false),
        json!(null),
        json!(""),
    ] {
        assert_eq!(
            cloud.save("Shopping_List", value.clone()),
            said("Entry saved")
        );
        assert_eq!(cloud.load("Shopping_List"), loaded(value));
    }
    // What JavaScript calls undefined does not arrive.
    let sent = cloud.send("/cloudstore/store/save", "none", None, &json!({}));
    assert_eq!(sent, said("Entry saved"));
    assert_eq!(cloud.load("none"), loaded(Value::Null));
    assert_eq!(cloud.delete("none"), said("Entry deleted"));
    fails(&cloud.delete("none"), "NoFile");
    fails(&cloud.load("none"), "NoFile");
    fails(&cloud.load("shopping_list"), "NoFile");
    let stored = server.store.scoped("home/ann/cloudstore/data").unwrap();
    assert_eq!(
        stored.load::<Value>("Shopping_List").unwrap(),
        Some(json!(""))
    );
}

#[test]
fn a_merge_is_that_of_lodash() {
    let server = Server::start();
    let cloud = CloudStore::of(&server, &server.api_key("ann", "writer"));
    assert_eq!(cloud.merge("new", json!([1, 2])), said("Entry saved"));
    assert_eq!(
        cloud.load("new"),
        loaded(json!([1, 2])),
        "what is missing is made"
    );
    for (present, merged, expected) in [
        (
            json!({"a": [1, 2, 3]}),
            json!({"a": [9]}),
            json!({"a": [9, 2, 3]}),
        ),
        (
            json!({"a": [1, 2]}),
            json!({"a": {"0": 7, "k": 1}}),
            json!({"a": [7, 2]}),
        ),
        (json!([1, 2]), json!([7]), json!([7, 2])),
        (json!("str"), json!({"a": 1}), json!("str")),
        (
            json!({"a": 1, "b": 2}),
            json!({"a": null}),
            json!({"a": null, "b": 2}),
        ),
    ] {
        cloud.save("f", present);
        assert_eq!(cloud.merge("f", merged), said("Entry saved"));
        assert_eq!(cloud.load("f"), loaded(expected));
    }
    cloud.save("f", json!([]));
    fails(&cloud.merge("f", json!({"4294967294": 1})), "BadRequest");
    assert_eq!(cloud.load("f"), loaded(json!([])));
}

/// One merge makes 100,000 elements at most, but may be made again and again.
#[test]
fn what_a_merge_comes_to_has_no_more_values_than_a_body() {
    let server = Server::start();
    let cloud = CloudStore::of(&server, &server.api_key("ann", "writer"));
    cloud.save("f", json!({"a": vec![0; 1_950_000]}));
    fails(&cloud.merge("f", json!({"a": {"2000000": 1}})), "TooLarge");
    assert_eq!(
        cloud.merge("f", json!({"a": {"1999990": 1}})),
        said("Entry saved")
    );
}

#[test]
fn merges_at_the_same_time_are_all_kept() {
    let server = Server::start();
    let key = server.api_key("ann", "writer");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let cloud = CloudStore::of(&server, &key);
            scope.spawn(move || {
                for round in 0..20 {
                    let value = json!({(format!("{thread} {round}")): round});
                    assert_eq!(cloud.merge("f", value), said("Entry saved"));
                }
            });
        }
    });
    let found = CloudStore::of(&server, &key).load("f");
    assert_eq!(found["data"].as_object().unwrap().len(), 160);
}

#[test]
fn a_list_has_the_names_that_contain_a_word() {
    let server = Server::start();
    let cloud = CloudStore::of(&server, &server.api_key("ann", "writer"));
    assert_eq!(cloud.list(""), loaded(json!("")));
    for file in ["steve1", "steve2", "Steve3", "other", "sub/steve4"] {
        cloud.save(file, json!(1));
    }
    for (word, expected) in [
        ("", "Steve3,other,steve1,steve2,sub/steve4"),
        ("steve", "steve1,steve2,sub/steve4"),
        ("Steve", "Steve3"),
        ("1", "steve1"),
        ("*", ""),
        ("none", ""),
    ] {
        assert_eq!(cloud.list(word), loaded(json!(expected)), "{word}");
    }
    let all = loaded(json!("Steve3,other,steve1,steve2,sub/steve4"));
    for body in [
        json!({"key": cloud.key, "options": "list"}),
        json!({"key": cloud.key, "options": "list", "file": null}),
    ] {
        let listed = cloud.client.json("POST", "/cloudstore/store/load", &body);
        assert_eq!(listed.answer(), all);
    }
}

#[test]
fn passwords_are_the_locks_of_the_store() {
    let server = Server::start();
    let cloud = CloudStore::of(&server, &server.api_key("ann", "writer"));
    let ann = server.log_in("ann", "a long one");
    cloud.save("seen", json!({"a": 1}));
    cloud.save("hidden", json!({"a": 1}));
    for (file, lock) in [
        ("seen", json!({"edit": "sesame-2"})),
        ("hidden", json!({"view": "sesame-1", "edit": "sesame-2"})),
    ] {
        let path = format!("/v1/locks/cloudstore/data/{file}");
        assert_eq!(ann.json("PUT", &path, &lock).status, 204);
    }
    let save = "/cloudstore/store/save";
    let load = "/cloudstore/store/load";
    for (path, file, options, password, opens) in [
        (load, "seen", None, None, true),
        (load, "hidden", None, None, false),
        (load, "hidden", None, Some("wrong"), false),
        (load, "hidden", None, Some(""), false),
        (load, "hidden", None, Some("sesame-1"), true),
        (load, "hidden", None, Some("sesame-2"), true),
        (save, "seen", None, None, false),
        (save, "seen", Some("merge"), Some("wrong"), false),
        (save, "seen", Some("delete"), None, false),
        (save, "hidden", None, Some("sesame-1"), false),
        (save, "seen", None, Some("sesame-2"), true),
        (save, "hidden", Some("merge"), Some("sesame-2"), true),
        (save, "hidden", Some("delete"), Some("sesame-2"), true),
    ] {
        for offered in ["password", "dataPass"] {
            let more = json!({"value": {"b": 2}, offered: password});
            let answer = cloud.send(path, file, options, &more);
            match opens {
                true if options == Some("delete") && offered == "dataPass" => {
                    fails(&answer, "NoFile");
                }
                true => assert_eq!(answer["error"], Value::Null, "{answer}"),
                false => fails(&answer, "Locked"),
            }
        }
    }
    assert_eq!(cloud.list(""), loaded(json!("seen")), "names are told");
    assert_eq!(cloud.load("seen"), loaded(json!({"b": 2})));
    cloud.save("number", json!(1));
    ann.json(
        "PUT",
        "/v1/locks/cloudstore/data/number",
        &json!({"view": "12345"}),
    );
    let answer = cloud.send(load, "number", None, &json!({"password": 12345}));
    assert_eq!(answer, loaded(json!(1)));
}

#[test]
fn an_api_key_opens_what_is_its_account_s() {
    let server = Server::start();
    let ann = CloudStore::of(&server, &server.api_key("ann", "writer"));
    let bob = CloudStore::of(&server, &server.api_key("bob", "writer"));
    let eve = CloudStore::of(&server, &server.api_key("eve", "reader"));
    ann.save("f", json!("ann's"));
    fails(&bob.load("f"), "NoFile");
    server.store.save("home/eve/cloudstore/data/f", &1).unwrap();
    assert_eq!(eve.load("f"), loaded(json!(1)));
    assert_eq!(eve.list(""), loaded(json!("f")));
    fails(&eve.save("f", json!(2)), "ReadOnly");
    fails(&eve.delete("f"), "ReadOnly");
    for key in ["", "x", "games_x", &ann.key[..ann.key.len() - 1]] {
        let nobody = CloudStore::of(&server, key);
        fails(&nobody.load("f"), "BadKey");
        fails(&nobody.list(""), "BadKey");
        fails(&nobody.save("f", json!(1)), "BadKey");
        fails(&nobody.delete("f"), "BadKey");
    }
    let session = server.log_in("ann", "a long one").credentials[0].1.clone();
    let session = session.strip_prefix("Bearer ").unwrap();
    fails(&CloudStore::of(&server, session).load("f"), "BadKey");
    assert_eq!(ann.load("f"), loaded(json!("ann's")));
}

#[test]
fn whatever_is_sent_is_answered_in_the_same_form() {
    let mut limits = komatik::http::Limits::default();
    limits.json_bytes = 10_000;
    let server = Server::with(&komatik::Store::in_memory().unwrap(), limits);
    let cloud = CloudStore::of(&server, &server.api_key("ann", "writer"));
    let key = &cloud.key;
    let body = |members: Value| members.to_string();
    let large = "x".repeat(20_000);
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    for (text, error) in [
        (String::new(), "BadRequest"),
        ("{".to_owned(), "BadRequest"),
        ("[]".to_owned(), "BadRequest"),
        ("\u{0}".to_owned(), "BadRequest"),
        (body(json!({"key": key})), "BadRequest"),
        (body(json!({"key": 7, "file": "f"})), "BadRequest"),
        (body(json!({"key": key, "file": ["f"]})), "BadRequest"),
        (
            body(json!({"key": key, "file": "f", "options": "burn"})),
            "BadRequest",
        ),
        (
            body(json!({"key": key, "file": "f", "options": 1})),
            "BadRequest",
        ),
        (
            body(json!({"key": key, "file": "f", "password": ["x"]})),
            "BadRequest",
        ),
        (
            body(json!({"key": key, "file": "f", "value": large})),
            "TooLarge",
        ),
        (
            format!("{{\"key\":\"{key}\",\"file\":\"f\",\"value\":{deep}}}"),
            "BadRequest",
        ),
        (
            body(json!({"key": key, "file": "", "value": 1})),
            "BadRequest",
        ),
        (
            body(json!({"key": key, "file": "../media/x", "value": 1})),
            "BadRequest",
        ),
        (
            body(json!({"key": key, "file": "a//b", "value": 1})),
            "BadRequest",
        ),
        (
            body(json!({"key": key, "file": "a\u{0}", "value": 1})),
            "BadRequest",
        ),
        (
            body(json!({"key": key, "file": "x".repeat(300), "value": 1})),
            "BadRequest",
        ),
    ] {
        for path in ["/cloudstore/store/save", "/cloudstore/store/load"] {
            // No header says what it is: that it comes by this path does.
            let answer = server
                .nobody()
                .send("POST", path, &[], text.as_bytes())
                .answer();
            match (error, path.ends_with("load")) {
                ("BadRequest", true) if text.contains("\"value\":1") => {
                    assert_ne!(answer["error"], Value::Null, "{text}");
                }
                _ => fails(&answer, error),
            }
        }
    }
    let left = server.store.scoped("home/ann").unwrap();
    assert_eq!(left.list("").unwrap().count(), 0);
}

#[test]
fn pages_of_other_origins_may_ask_here_too() {
    let server = Server::start();
    let asking = [
        ("origin", "null"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    for path in ["store/save", "store/load", "upload-2"] {
        let path = format!("/cloudstore/{path}");
        let asked = server.nobody().send("OPTIONS", &path, &asking, b"");
        assert_eq!(asked.status, 200);
        assert_eq!(asked.header("access-control-allow-origin"), "*");
        assert!(
            asked
                .header("access-control-allow-headers")
                .contains("content-type")
        );
        let sent = server.nobody().send("POST", &path, &asking[..1], b"");
        assert_eq!(sent.header("access-control-allow-origin"), "*");
    }
}

#[test]
fn a_key_is_looked_at_before_what_comes_with_it() {
    let server = Server::start();
    let key = server.api_key("ann", "writer");
    for (key, error) in [("x", "BadKey"), (key.as_str(), "BadRequest")] {
        let body = json!({"file": ["no name"], "value": 1, "key": key});
        for path in ["/cloudstore/store/save", "/cloudstore/store/load"] {
            let answer = server.nobody().json("POST", path, &body).answer();
            fails(&answer, error);
        }
    }
}

#[test]
fn bodies_take_only_so_much_memory_together() {
    let mut limits = komatik::http::Limits::default();
    limits.json_bytes = 1 << 20;
    let server = Server::with(&komatik::Store::in_memory().unwrap(), limits);
    let cloud = CloudStore::of(&server, &server.api_key("ann", "writer"));
    let begin = || {
        let mut stream = TcpStream::connect(server.address).unwrap();
        let head = "POST /cloudstore/store/save HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1048576\r\n\r\n";
        let begin = [head.as_bytes(), &[b' '; 1_000_000]].concat();
        // It may be refused before all of it is there.
        let _ = stream.write_all(&begin);
        stream
    };
    let mut begun: Vec<TcpStream> = (0..2).map(|_| begin()).collect();
    let value = json!("x".repeat(280_000));
    let began = Instant::now();
    while cloud.save("f", value.clone())["error"] != "Unavailable" {
        assert!(began.elapsed() < Duration::from_secs(20), "there is room");
        begun.push(begin());
    }
    let small = json!("x".repeat(60_000));
    assert_eq!(cloud.save("small", small), said("Entry saved"));
    drop(begun);
    let began = Instant::now();
    while cloud.save("f", value.clone())["error"] != Value::Null {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "no room is given back"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
