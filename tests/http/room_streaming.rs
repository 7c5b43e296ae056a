//! Rooms, as clients of the streaming generation use them.

use serde_json::{Value, json};

use crate::room_client::{Participant, packed};
use crate::server::Server;

impl Participant {
    /// Calls a tool with plain input.
    #[track_caller]
    fn invoke(&mut self, tool: &str, input: &Value) -> Value {
        let arguments = json!({"type": "json", "json": input});
        self.call("room.invoke_tool", call_of(tool, "plain", &arguments))
    }

    #[track_caller]
    fn open_stream(&mut self, tool: &str, id: &str) {
        let arguments = json!({"type": "control", "method": "open"});
        let answer = self.call("room.invoke_tool", call_of(tool, id, &arguments));
        assert_eq!(answer, json!({"type": "control", "method": "open"}));
    }

    /// Sends a chunk, and waits for the answer that it came.
    #[track_caller]
    fn chunk(&mut self, id: &str, headers: Value, bytes: &[u8]) {
        let chunk = json!({"type": "binary", "headers": headers});
        self.send_chunk(id, &chunk, bytes);
    }

    #[track_caller]
    fn close_stream(&mut self, id: &str) {
        self.send_chunk(
            id,
            &json!({"type": "control", "method": "close", "status_code": 1000}),
            b"",
        );
    }

    #[track_caller]
    fn send_chunk(&mut self, id: &str, chunk: &Value, bytes: &[u8]) {
        let header = json!({"tool_call_id": id, "chunk": chunk});
        let (answer, _) = self.call_with("room.tool_call_request_chunk", &header, bytes);
        assert_eq!(answer, json!({"type": "empty"}));
    }

    /// The next chunk of a call, and the bytes behind it. What else was told is passed over.
    #[track_caller]
    fn next_chunk(&mut self, id: &str) -> (Value, Vec<u8>) {
        loop {
            let received = match self.pushed.is_empty() {
                true => self.receive(),
                false => self.pushed.remove(0),
            };
            if received.kind == "room.tool_call_response_chunk" {
                let (header, bytes) = received.unpacked();
                assert_eq!(header["tool_call_id"], id);
                return (header["chunk"].clone(), bytes);
            }
            assert!(received.kind.starts_with("storage.file."), "{received:?}");
        }
    }

    /// Uploads in pieces of so many bytes; the last chunk of the call.
    #[track_caller]
    fn upload(&mut self, start: Value, content: &[u8], piece: usize) -> Value {
        self.open_stream("upload", "up");
        self.chunk("up", start, b"");
        for piece in content.chunks(piece) {
            let (chunk, _) = self.next_chunk("up");
            if chunk["type"] == "error" {
                return chunk;
            }
            assert_eq!(chunk["headers"]["kind"], "pull");
            assert!(chunk["headers"]["chunk_size"].as_u64().unwrap() > 0);
            assert_eq!(chunk["headers"].as_object().unwrap().len(), 2);
            self.chunk("up", json!({"kind": "data"}), piece);
        }
        let (chunk, _) = self.next_chunk("up");
        if chunk["type"] == "error" {
            return chunk;
        }
        assert_eq!(chunk["headers"]["kind"], "pull");
        self.close_stream("up");
        self.next_chunk("up").0
    }

    /// Downloads in chunks of so many bytes: what is told first, the content, and how many chunks it came in.
    #[track_caller]
    fn download(&mut self, path: &str, chunk_size: u64) -> (Value, Vec<u8>, usize) {
        self.open_stream("download", "down");
        self.chunk(
            "down",
            json!({"kind": "start", "path": path, "chunk_size": chunk_size}),
            b"",
        );
        let (start, none) = self.next_chunk("down");
        assert!(none.is_empty());
        let (mut content, mut chunks) = (Vec::new(), 0);
        while (content.len() as u64) < start["headers"]["size"].as_u64().unwrap_or(0) {
            self.chunk("down", json!({"kind": "pull"}), b"");
            let (chunk, bytes) = self.next_chunk("down");
            assert_eq!(
                chunk,
                json!({"type": "binary", "headers": {"kind": "data"}})
            );
            content.extend(bytes);
            chunks += 1;
        }
        (start, content, chunks)
    }
}

fn call_of(tool: &str, id: &str, arguments: &Value) -> Value {
    json!({
        "toolkit": "storage",
        "tool": tool,
        "participant_id": null,
        "on_behalf_of_id": null,
        "tool_call_id": id,
        "arguments": arguments,
    })
}

fn start(path: &str, size: Option<usize>, overwrite: bool) -> Value {
    json!({
        "kind": "start",
        "path": path,
        "overwrite": overwrite,
        "name": "other.name",
        "mime_type": "text/x-own",
        "size": size,
    })
}

fn is_closed(chunk: &Value) -> bool {
    chunk["type"] == "control" && chunk["method"] == "close"
}

#[test]
fn the_name_of_a_call_is_short() {
    let server = Server::start();
    let mut ann = server.enter_streaming(&server.key("admin"), "ann");
    let open = json!({"type": "control", "method": "open"});
    let mut answer = |id: &str| ann.call("room.invoke_tool", call_of("upload", id, &open));
    assert_eq!(answer(&"i".repeat(257))["code"], 1002);
    assert_eq!(answer(&"i".repeat(256)), open);
}

#[test]
fn plain_operations_answer_exactly_what_clients_allow() {
    let server = Server::start();
    let mut ann = server.enter_streaming(&server.key("admin"), "ann");
    server.store.put("rooms/proj/r/a/b", "12345").unwrap();
    let keys = |answer: &Value| -> Vec<String> {
        assert_eq!(answer["type"], "json", "{answer}");
        answer["json"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(
        keys(&ann.invoke("exists", &json!({"path": "a"}))),
        ["exists"]
    );
    let stat = ann.invoke("stat", &json!({"path": "a/b"}));
    let mut members = keys(&stat);
    members.sort();
    assert_eq!(
        members,
        [
            "created_at",
            "exists",
            "is_folder",
            "name",
            "size",
            "updated_at"
        ]
    );
    assert_eq!(stat["json"]["size"], 5);
    assert_eq!(keys(&ann.invoke("list", &json!({"path": ""}))), ["files"]);
    assert_eq!(
        keys(&ann.invoke("download_url", &json!({"path": "a/b", "download": true}))),
        ["url"]
    );
    let moved = json!({"source_path": "a/b", "destination_path": "c", "overwrite": false});
    assert_eq!(keys(&ann.invoke("move", &moved)), [""; 0]);
    let event = ann.next_pushed();
    assert_eq!(event.0, "storage.file.updated", "what was put");
    let event = ann.next_pushed();
    let told = json!({"source_path": "a/b", "destination_path": "c", "participant_id": "ann"});
    assert_eq!(event, ("storage.file.moved".to_owned(), told));
    assert_eq!(
        keys(&ann.invoke("delete", &json!({"path": "c", "recursive": null}))),
        [""; 0]
    );
    for (tool, input, code) in [
        ("delete", json!({"path": "../c"}), 3004),
        (
            "move",
            json!({"source_path": "x", "destination_path": "y"}),
            3001,
        ),
        ("upload", json!({"path": "x"}), 1002),
        ("none", json!({"path": "x"}), 1002),
    ] {
        let answer = ann.invoke(tool, &input);
        assert_eq!(
            (&answer["type"], &answer["code"]),
            (&"error".into(), &code.into()),
            "{tool}"
        );
    }
    let mut other = call_of(
        "exists",
        "plain",
        &json!({"type": "json", "json": {"path": ""}}),
    );
    other["toolkit"] = "agents".into();
    assert_eq!(ann.code("room.invoke_tool", other), 1002);
    assert_eq!(
        ann.code(
            "room.invoke_tool",
            call_of("exists", "plain", &json!({"type": "empty"}))
        ),
        1002
    );
    assert_eq!(
        ann.code(
            "room.invoke_tool",
            call_of("list", "id", &json!({"type": "control", "method": "open"}))
        ),
        1002
    );
}

#[test]
fn moving_replaces_only_where_it_is_said() {
    let server = Server::start();
    let mut ann = server.enter_streaming(&server.key("admin"), "ann");
    let room = server.store.scoped("rooms/proj/r").unwrap();
    for (path, content) in [("a", "A"), ("b", "B"), ("f/x", "X"), ("g/y", "Y")] {
        room.put(path, content).unwrap();
    }
    let mut relocate = |from: &str, to: &str, overwrite: bool| {
        let input = json!({"source_path": from, "destination_path": to, "overwrite": overwrite});
        ann.invoke("move", &input)["code"].clone()
    };
    assert_eq!(relocate("a", "b", false), 3005);
    assert_eq!(relocate("a", "b", true), Value::Null);
    assert_eq!(room.get("b").unwrap().unwrap(), "A");
    assert_eq!(relocate("f", "h/i", false), Value::Null, "a folder");
    assert_eq!(room.get("h/i/x").unwrap().unwrap(), "X");
    assert_eq!(relocate("g", "h", true), 3005, "no folder replaces another");
}

#[test]
fn contents_go_up_and_come_down_in_chunks() {
    let server = Server::start();
    let mut ann = server.enter_streaming(&server.key("admin"), "ann");
    let content: Vec<u8> = (0..=250).cycle().take(300_000).collect();
    for (path, length, size) in [
        ("a/b.txt", 300_000, Some(300_000)),
        ("c", 100_000, None),
        ("zero", 0, Some(0)),
    ] {
        let content = &content[..length];
        let last = ann.upload(start(path, size, false), content, 65_536);
        assert!(is_closed(&last), "{last}");
        // The event of it comes behind.
        let (kind, event) = ann.next_pushed();
        assert_eq!(
            (kind.as_str(), &event["path"]),
            ("storage.file.updated", &path.into())
        );
        let (start, came, chunks) = ann.download(path, 65_536);
        let name = path.rsplit('/').next().unwrap();
        assert_eq!(
            start,
            json!({"type": "binary", "headers": {"kind": "start", "name": name, "mime_type": "text/x-own", "size": length}})
        );
        assert!(came == content);
        assert_eq!(chunks, length.div_ceil(65_536));
        assert!(is_closed(&ann.next_chunk("down").0), "nobody asked for it");
        ann.close_stream("down");
    }
    let (_, came, chunks) = ann.download("c", 1000);
    assert_eq!((came.len(), chunks), (100_000, 100));
}

#[test]
fn an_upload_that_fails_leaves_nothing() {
    let server = Server::start();
    let key = server.key("admin");
    let mut ann = server.enter_streaming(&key, "ann");
    let room = server.store.scoped("rooms/proj/r").unwrap();
    room.put("there", "old").unwrap();
    let error = |chunk: &Value| (chunk["type"].clone(), chunk["code"].clone());
    let failed = |code: u16| (Value::from("error"), Value::from(code));
    let last = ann.upload(start("there", None, false), b"new", 10);
    assert_eq!(error(&last), failed(3005));
    assert!(is_closed(&ann.upload(
        start("there", None, true),
        b"new",
        10
    )));
    assert_eq!(room.get("there").unwrap().unwrap(), "new");
    for size in [2, 4] {
        let last = ann.upload(start("short", Some(size), false), b"abc", 10);
        assert_eq!(error(&last), failed(1002), "{size}");
    }
    assert_eq!(
        error(&ann.upload(start("../x", None, false), b"x", 1)),
        failed(3004)
    );
    // One that is never closed.
    ann.open_stream("upload", "up");
    ann.chunk("up", start("never", None, false), b"");
    ann.next_chunk("up");
    ann.chunk("up", json!({"kind": "data"}), b"abc");
    ann.next_chunk("up");
    drop(ann);
    let mut ann = server.enter_streaming(&key, "ann");
    for path in ["short", "never"] {
        assert_eq!(
            ann.invoke("exists", &json!({"path": path}))["json"],
            json!({"exists": false})
        );
    }
    // Chunks that are not what the call expects end it.
    for (tool, chunk) in [
        ("upload", json!({"kind": "data"})),
        ("upload", json!({"kind": "pull"})),
        ("download", json!({"kind": "pull"})),
        ("download", json!({"kind": "none"})),
        ("upload", json!({})),
    ] {
        ann.open_stream(tool, "odd");
        ann.chunk("odd", chunk.clone(), b"abc");
        assert_eq!(
            error(&ann.next_chunk("odd").0),
            failed(1002),
            "{tool} {chunk}"
        );
    }
    ann.open_stream("download", "gone");
    ann.chunk(
        "gone",
        json!({"kind": "start", "path": "gone", "chunk_size": 10}),
        b"",
    );
    assert_eq!(error(&ann.next_chunk("gone").0), failed(3001));
    // Of a call that is not there, a chunk is passed over.
    ann.chunk("nobody", json!({"kind": "pull"}), b"");
    ann.close_stream("nobody");
    let body = packed(&json!({}), b"");
    let id = ann.send("room.tool_call_request_chunk", &body);
    assert_eq!(ann.answer_to(id).0, json!({"type": "empty"}));
}

#[test]
fn a_reader_reads_by_calls_of_tools_as_well() {
    let server = Server::start();
    server.user("rita", "reader", "");
    server.store.put("rooms/proj/r/a", "north").unwrap();
    let mut rita = server.enter_streaming(&server.key("rita"), "rita");
    let moved = json!({"source_path": "a", "destination_path": "b"});
    for (tool, input) in [("delete", json!({"path": "a"})), ("move", moved)] {
        assert_eq!(rita.invoke(tool, &input)["code"], 1001, "{tool}");
    }
    let last = rita.upload(start("b", None, true), b"x", 10);
    assert_eq!(
        (&last["type"], &last["code"]),
        (&"error".into(), &1001.into())
    );
    let (_, content, _) = rita.download("a", 10);
    assert_eq!(content, b"north");
    // What a token does not grant is not downloaded either.
    let scope = json!({"storage": {"paths": [{"path": "b"}]}});
    let grant = json!([{"name": "api", "scope": scope}]);
    let mut ann = server.enter_as(&server.key("admin"), "ann", grant);
    let (refused, ..) = ann.download("a", 10);
    assert_eq!(refused["code"], 1001, "{refused}");
    let last = ann.upload(start("a", None, true), b"x", 10);
    assert_eq!(last["code"], 1001, "{last}");
    assert_eq!(
        server.store.get("rooms/proj/r/a").unwrap().unwrap(),
        "north"
    );
}

/// Python sends on without waiting for the answer to each chunk.
#[test]
fn chunks_come_without_waiting_for_their_answers() {
    let server = Server::start();
    let mut ann = server.enter_streaming(&server.key("admin"), "ann");
    let content: Vec<u8> = (0..=250).cycle().take(100_000).collect();
    ann.open_stream("upload", "up");
    let binary = |headers: Value| json!({"type": "binary", "headers": headers});
    let mut chunks = vec![(binary(start("a", None, true)), &b""[..])];
    chunks.extend(
        content
            .chunks(10_000)
            .map(|piece| (binary(json!({"kind": "data"})), piece)),
    );
    chunks.push((
        json!({"type": "control", "method": "close", "status_code": 1000}),
        b"",
    ));
    let sent: Vec<u64> = chunks
        .iter()
        .map(|(chunk, bytes)| {
            let header = json!({"tool_call_id": "up", "chunk": chunk});
            ann.send("room.tool_call_request_chunk", &packed(&header, bytes))
        })
        .collect();
    for id in sent {
        assert_eq!(ann.answer_to(id).0, json!({"type": "empty"}));
    }
    for _ in 0..=10 {
        assert_eq!(ann.next_chunk("up").0["headers"]["kind"], "pull");
    }
    assert!(is_closed(&ann.next_chunk("up").0));
    let stored = server.store.get("rooms/proj/r/a").unwrap().unwrap();
    assert!(stored == content);
}

#[test]
fn no_upload_takes_the_name_of_a_folder_that_came_meanwhile() {
    let server = Server::start();
    let mut ann = server.enter_streaming(&server.key("admin"), "ann");
    let room = server.store.scoped("rooms/proj/r").unwrap();
    ann.open_stream("upload", "up");
    let start = json!({"kind": "start", "path": "a", "overwrite": true});
    ann.chunk("up", start, b"");
    assert_eq!(ann.next_chunk("up").0["headers"]["kind"], "pull");
    ann.chunk("up", json!({"kind": "data"}), b"late");
    assert_eq!(ann.next_chunk("up").0["headers"]["kind"], "pull");
    room.put("a/below", "early").unwrap();
    ann.close_stream("up");
    let (answer, _) = ann.next_chunk("up");
    assert_eq!(
        (&answer["type"], &answer["code"]),
        (&json!("error"), &json!(3005))
    );
    assert!(room.metadata("a").unwrap().is_none());
}
