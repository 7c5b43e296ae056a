//! Packets and messages that are none, and participants that want too much.

use std::time::Duration;

use serde_json::json;
use tungstenite::Message;

use crate::room_client::{Participant, first_packet, later_packet, packed};
use crate::server::Server;

/// The participant is served as before.
#[track_caller]
fn goes_on(participant: &mut Participant, why: &str) {
    let told = participant.json("storage.exists", json!({"path": "x"}));
    assert_eq!(told, json!({"exists": false}), "{why}");
}

#[test]
fn a_packet_out_of_order_is_answered_and_the_next_message_is_served() {
    let server = Server::start();
    let mut ann = server.enter(&server.key("admin"));
    let exists = packed(&json!({"path": "x"}), b"");
    let begin = || first_packet(77, 3, "storage.exists");
    let kind = "k".repeat(257);
    let cases: Vec<(Vec<Vec<u8>>, bool, &str)> = vec![
        (vec![begin(), later_packet(77, 2, &exists)], true, "a gap"),
        (
            vec![begin(), later_packet(78, 1, &exists)],
            true,
            "another message",
        ),
        (
            vec![
                begin(),
                later_packet(77, 1, &exists),
                later_packet(77, 1, b""),
            ],
            true,
            "twice",
        ),
        (
            vec![begin(), later_packet(77, 1, &[0; 1025])],
            true,
            "too large",
        ),
        (vec![begin(), vec![1, 2, 3]], true, "too short"),
        (vec![first_packet(77, 1, &kind)], true, "a long kind"),
        (
            vec![first_packet(77, 1, "x")[..15].to_vec()],
            true,
            "no total",
        ),
        (
            vec![[first_packet(77, 1, ""), vec![0xff]].concat()],
            true,
            "no UTF-8",
        ),
        (
            vec![later_packet(77, 1, &exists)],
            false,
            "nothing has begun",
        ),
        (vec![vec![]], false, "empty"),
        (vec![vec![0; 60_000]], true, "a large packet 0"),
    ];
    for (packets, is_answered, why) in cases {
        let id = if why == "a large packet 0" { 0 } else { 77 };
        for packet in packets {
            ann.send_packet(packet);
        }
        if is_answered {
            let (answer, _) = ann.answer_to(id);
            assert_eq!(
                (&answer["type"], &answer["code"]),
                (&"error".into(), &1002.into()),
                "{why}"
            );
        }
        goes_on(&mut ann, why);
    }
    // One that begins too early and badly is lost as well as the one before it.
    ann.send_packet(begin());
    ann.send_packet(first_packet(78, 1, &kind));
    assert_eq!(ann.answer_to(77).0["code"], 1002);
    assert_eq!(ann.answer_to(78).0["code"], 1002);
    // One that begins too early is served, and the one before it is lost.
    ann.send_packet(begin());
    let id = ann.send("storage.exists", &exists);
    assert_eq!(ann.answer_to(77).0["code"], 1002);
    assert_eq!(ann.answer_to(id).0["json"], json!({"exists": false}));
}

#[test]
fn a_message_that_is_none_is_answered() {
    let server = Server::start();
    let mut ann = server.enter(&server.key("admin"));
    let with_length = |length: u64, bytes: &[u8]| [&length.to_be_bytes()[..], bytes].concat();
    for (body, why) in [
        (Vec::new(), "empty"),
        (vec![0, 0, 0], "no length"),
        (with_length(100, b"{}"), "shorter than it says"),
        (with_length(0, b""), "no header"),
        (with_length(2, b"[]"), "no object"),
        (with_length(3, b"{\"a"), "no JSON"),
        (with_length(2, b"\xff\xff"), "no UTF-8"),
        (with_length(u64::MAX, b"{}"), "a huge header"),
        (
            with_length(256 * 1024 + 1, &[b' '; 300_000]),
            "a header too large",
        ),
        (with_length(200_000, &[b'['; 200_000]), "a deep header"),
        (
            packed(&json!({"path": "x", "y": vec![0; 1100]}), b""),
            "too many values",
        ),
    ] {
        let id = ann.send("storage.exists", &body);
        let (answer, _) = ann.answer_to(id);
        assert_eq!(
            (&answer["type"], &answer["code"]),
            (&"error".into(), &1002.into()),
            "{why}"
        );
        goes_on(&mut ann, why);
    }
    // Bytes that nobody asked for are passed over.
    let (answer, _) = ann.call_with("storage.exists", &json!({"path": "x"}), &[7; 5_000_000]);
    assert_eq!(answer["json"], json!({"exists": false}));
}

#[test]
fn a_huge_total_costs_nothing() {
    let server = Server::start();
    let mut ann = server.enter(&server.key("admin"));
    for id in 0..1000 {
        ann.send_packet(first_packet(id, u32::MAX, "storage.exists"));
        if id > 0 {
            assert_eq!(ann.answer_to(id - 1).0["code"], 1002);
        }
    }
    let id = ann.send("storage.exists", &packed(&json!({"path": "x"}), b""));
    assert_eq!(ann.answer_to(999).0["code"], 1002);
    assert_eq!(ann.answer_to(id).0["json"], json!({"exists": false}));
}

#[test]
fn a_write_that_breaks_off_takes_its_handle_with_it() {
    let server = Server::start();
    let mut ann = server.enter(&server.key("admin"));
    let opened = ann.json("storage.open", json!({"path": "a", "overwrite": true}));
    let handle = json!({"handle": opened["handle"]});
    ann.call_with("storage.write", &handle, b"whole");
    ann.send_packet(first_packet(77, 5, "storage.write"));
    ann.send_packet(later_packet(77, 1, &packed(&handle, b"half")));
    ann.send_packet(later_packet(77, 3, b"gap"));
    assert_eq!(ann.answer_to(77).0["code"], 1002);
    assert_eq!(ann.code("storage.write", handle.clone()), 3003);
    assert_eq!(ann.code("storage.close", handle), 3003);
    assert!(!server.store.exists("rooms/proj/r/a").unwrap());
}

#[test]
fn only_so_many_files_are_open_at_a_time() {
    let server = Server::start();
    let mut ann = server.enter(&server.key("admin"));
    let open = |number: usize| json!({"path": format!("f{number}"), "overwrite": true});
    let handles: Vec<_> = (0..32)
        .map(|number| ann.json("storage.open", open(number))["handle"].clone())
        .collect();
    assert_eq!(ann.code("storage.open", open(32)), 1008);
    ann.call("storage.close", json!({"handle": handles[3]}));
    ann.json("storage.open", open(32));
}

#[test]
fn only_so_many_files_are_open_in_all_rooms() {
    let server = Server::start();
    let key = server.key("admin");
    let open = |number: usize| json!({"path": format!("f{number}"), "overwrite": true});
    let mut full: Vec<Participant> = (0..12)
        .map(|_| {
            let mut participant = server.enter(&key);
            for number in 0..32 {
                participant.json("storage.open", open(number));
            }
            participant
        })
        .collect();
    let mut last = server.enter(&key);
    for number in 0..400 - 12 * 32 {
        last.json("storage.open", open(number));
    }
    assert_eq!(last.code("storage.open", open(99)), 1008);
    goes_on(&mut last, "only writing is refused");
    // Who goes leaves a place.
    full.pop();
    let began = std::time::Instant::now();
    while last.call("storage.open", open(99))["type"] == "error" {
        assert!(began.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn frames_that_are_no_packets_end_the_connection() {
    let server = Server::start();
    let key = server.key("admin");
    let mut ann = server.enter(&key);
    ann.socket.send(Message::Text("hello".into())).unwrap();
    let reason = ann.frame().unwrap_err().unwrap();
    assert_eq!(u16::from(reason.code), 1003);
    let mut bob = server.enter(&key);
    let _ = bob.socket.send(Message::Binary(vec![0; 100_000].into()));
    bob.socket
        .get_ref()
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    assert!(matches!(bob.socket.read(), Err(_) | Ok(Message::Close(_))));
    let mut carol = server.enter(&key);
    goes_on(&mut carol, "others are served");
    carol.socket.send(Message::Ping(vec![1, 2].into())).unwrap();
    assert_eq!(
        carol.socket.read().unwrap(),
        Message::Pong(vec![1, 2].into())
    );
}

#[test]
fn there_are_only_so_many_participants() {
    let mut limits = komatik::http::Limits::default();
    limits.connections = 2;
    let server = Server::with(&komatik::Store::in_memory().unwrap(), limits);
    let key = server.key("admin");
    let ann = server.enter(&key);
    let mut bob = server.enter(&key);
    let path = format!("/rooms/r?token={}", key.token("carol", json!([])));
    let refused = Participant::connect(&server, &path, &[]).map(drop);
    assert_eq!(refused.err(), Some(503));
    drop(ann);
    let began = std::time::Instant::now();
    while Participant::connect(&server, &path, &[]).is_err() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "the place is free again"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    goes_on(&mut bob, "who is in stays");
}
