//! Blobs: streamed in and out, in ranges, in pieces, from forms.

use std::io::{Read, Write};
use std::time::Duration;

use komatik::Store;
use komatik::http::Limits;

use crate::server::Server;

fn bytes(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

#[test]
fn a_blob_comes_back_as_it_was_put() {
    let server = Server::start();
    let admin = server.admin();
    for (name, length) in [
        ("empty.bin", 0),
        ("small.txt", 10),
        ("large.mp4", 3_000_001),
    ] {
        let path = format!("/v1/blobs/media/{name}");
        let content = bytes(length);
        let put = admin.put(&path, &content);
        assert_eq!(put.status, 201, "{}", put.text());
        assert_eq!(put.value()["size"], length);
        let got = admin.get(&path);
        assert_eq!((got.status, got.body == content), (200, true), "{name}");
        assert_eq!(got.header("etag"), put.header("etag"));
        assert_eq!(got.header("content-length"), length.to_string());
        assert_eq!(got.header("accept-ranges"), "bytes");
        assert_eq!(got.header("x-content-type-options"), "nosniff");
        let head = admin.send("HEAD", &path, &[], b"");
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), length.to_string());
        assert_eq!(head.header("upload-offset"), length.to_string());
    }
    assert_eq!(
        admin
            .get("/v1/blobs/media/large.mp4")
            .header("content-type"),
        "video/mp4"
    );
    let headers = [
        ("content-type", "text/x-own; a=b"),
        ("komatik-attribute", "title=A b"),
        ("komatik-attribute", "by=ann"),
    ];
    let put = admin.send("PUT", "/v1/blobs/typed", &headers, b"x").value();
    assert_eq!(put["content_type"], "text/x-own; a=b");
    assert_eq!(
        put["attributes"],
        serde_json::json!({"by": "ann", "title": "A b"})
    );
    admin.get("/v1/blobs/none").problem(404);
}

#[test]
fn ranges_are_sent_as_asked() {
    let server = Server::start();
    let admin = server.admin();
    let content = bytes(700_000);
    admin.put("/v1/blobs/b", &content);
    let tag = admin.get("/v1/blobs/b").header("etag").to_owned();
    let ask = |range: &str| admin.send("GET", "/v1/blobs/b", &[("range", range)], b"");
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=100-599999", 100, 600_000),
        ("bytes=699999-", 699_999, 700_000),
        ("bytes=-5", 699_995, 700_000),
        ("bytes=5-9999999", 5, 700_000),
    ] {
        let part = ask(range);
        assert_eq!(part.status, 206, "{range}");
        assert!(part.body == content[start..end], "{range}");
        let told = format!("bytes {start}-{}/700000", end - 1);
        assert_eq!(part.header("content-range"), told);
    }
    for ignored in ["lines=0-1", "bytes=x", "bytes=9-1"] {
        assert_eq!(ask(ignored).status, 200, "{ignored}");
    }
    let beyond = ask("bytes=700000-");
    beyond.problem(416);
    assert_eq!(beyond.header("content-range"), "bytes */700000");
    let if_range = |tag: &str| {
        let headers = [("range", "bytes=0-1"), ("if-range", tag)];
        admin.send("GET", "/v1/blobs/b", &headers, b"").status
    };
    assert_eq!((if_range(&tag), if_range("\"other\"")), (206, 200));
    let date = admin.date_of("/v1/blobs/b");
    for weak in [&date, &format!("W/{tag}"), "?", "\"", ""] {
        assert_eq!(if_range(weak), 200, "{weak}");
    }
}

#[test]
fn ranges_go_as_far_as_there_are_bytes() {
    let server = Server::start();
    let admin = server.admin();
    admin.put("/v1/blobs/none", b"");
    admin.put("/v1/blobs/few", bytes(500));
    let ask = |key: &str, range: &str| {
        let path = format!("/v1/blobs/{key}");
        admin.send("GET", &path, &[("range", range)], b"")
    };
    for range in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
        let empty = ask("none", range);
        empty.problem(416);
        assert_eq!(empty.header("content-range"), "bytes */0", "{range}");
    }
    let last = ask("few", "bytes=-65536");
    assert_eq!((last.status, last.body), (206, bytes(500)));
    let first = ask("few", "bytes=0-1,600-700");
    assert_eq!(first.header("content-range"), "bytes 0-1/500");
    assert_eq!((first.status, first.body.len()), (206, 2));
    ask("few", "bytes=0-5,5-9").problem(416);
}

#[test]
fn several_ranges_are_parts_of_one_answer() {
    let server = Server::start();
    let admin = server.admin();
    admin.send(
        "PUT",
        "/v1/blobs/b",
        &[("content-type", "text/plain")],
        b"0123456789",
    );
    let reply = admin.send("GET", "/v1/blobs/b", &[("range", "bytes=0-1,5-6,-1")], b"");
    assert_eq!(reply.status, 206);
    let kind = reply.header("content-type");
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let expected: String = [("0-1", "01"), ("5-6", "56"), ("9-9", "9")]
        .iter()
        .map(|(range, text)| {
            format!(
                "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes {range}/10\r\n\r\n{text}"
            )
        })
        .collect();
    assert_eq!(reply.text(), format!("{expected}\r\n--{boundary}--\r\n"));
    assert_eq!(reply.header("content-length"), reply.body.len().to_string());
}

#[test]
fn an_upload_goes_on_where_it_is() {
    let server = Server::start();
    let admin = server.admin();
    let append = |offset: &str, body: &[u8]| {
        admin.send("POST", "/v1/blobs/log", &[("upload-offset", offset)], body)
    };
    assert_eq!(append("1", b"x").problem(409)["found"], 0);
    let first = append("0", b"abc");
    assert_eq!((first.status, first.header("upload-offset")), (201, "3"));
    let late = append("0", b"abc");
    assert_eq!(late.problem(409)["found"], 3);
    assert_eq!(late.header("upload-offset"), "3");
    let second = append("3", b"de");
    assert_eq!((second.status, second.header("upload-offset")), (200, "5"));
    assert_eq!(admin.get("/v1/blobs/log").text(), "abcde");
    admin.send("POST", "/v1/blobs/log", &[], b"x").problem(400);
    append("-1", b"x").problem(400);
    let headers = [("content-range", "bytes 0-1/2")];
    admin
        .send("PUT", "/v1/blobs/log", &headers, b"xx")
        .problem(400);
    assert_eq!(admin.get("/v1/blobs/log").text(), "abcde");
}

#[test]
fn a_form_brings_files_into_a_folder() {
    let server = Server::start();
    let admin = server.admin();
    let form = |path: &str, names: &[&str]| {
        let mut body = String::new();
        for name in names {
            body += &format!(
                "--XX\r\ncontent-disposition: form-data; name=\"f\"; filename=\"{name}\"\r\ncontent-type: text/plain\r\n\r\nin {name}\r\n"
            );
        }
        body +=
            "--XX\r\ncontent-disposition: form-data; name=\"note\"\r\n\r\nno file\r\n--XX--\r\n";
        let headers = [("content-type", "multipart/form-data; boundary=XX")];
        admin.send("POST", path, &headers, body.as_bytes())
    };
    let reply = form("/v1/blobs/inbox", &["a.txt", "C:/dir/b.txt"]);
    assert_eq!(reply.status, 201, "{}", reply.text());
    let stored = reply.value();
    assert_eq!(stored["stored"][0]["key"], "inbox/a.txt");
    assert_eq!(stored["stored"][1]["key"], "inbox/b.txt");
    assert_eq!(admin.get("/v1/blobs/inbox/b.txt").text(), "in C:/dir/b.txt");
    assert_eq!(form("/v1/blobs", &["top.txt"]).status, 201);
    assert_eq!(admin.get("/v1/blobs/top.txt").text(), "in top.txt");
    let partly = form("/v1/blobs/inbox", &["c.txt", ".."]).problem(400);
    assert_eq!(partly["stored"][0]["key"], "inbox/c.txt");
    let twice = form("/v1/blobs/inbox", &["x/same.txt", "y/same.txt"]).problem(400);
    assert_eq!(twice["stored"].as_array().unwrap().len(), 1);
    let first = admin.get("/v1/blobs/inbox/same.txt");
    assert_eq!(first.text(), "in x/same.txt");
    // What has no name must not become what has that of the folder.
    admin.put("/v1/blobs/docs", b"precious");
    let reply = form("/v1/blobs/docs", &["", "d.txt"]);
    assert_eq!(reply.status, 201, "a field that was left empty");
    assert_eq!(reply.value()["stored"].as_array().unwrap().len(), 1);
    form("/v1/blobs/docs", &["a/"]).problem(400);
    assert_eq!(admin.get("/v1/blobs/docs").text(), "precious");
}

/// A form of files that are named by these parameters.
fn form_of(names: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for name in names {
        body.extend_from_slice(b"--XX\r\ncontent-disposition: form-data; name=\"file\"; ");
        body.extend_from_slice(name);
        body.extend_from_slice(b"\r\n\r\ncontent\r\n");
    }
    body.extend_from_slice(b"--XX--\r\n");
    body
}

const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=XX");

/// As clients send names of other than ASCII: in UTF-8, by RFC 8187 alone, or behind or before what others are to read.
#[test]
fn a_file_of_a_form_has_the_name_it_was_sent_with() {
    let server = Server::start();
    server.user("ann", "writer", "home/ann");
    let ann = server.storage("ann");
    let admin = server.admin();
    for (number, (name, expected)) in [
        ("filename=\"\u{dc} 1.txt\"".as_bytes(), "\u{dc} 1.txt"),
        (b"filename*=UTF-8''%C3%9C.txt", "\u{dc}.txt"),
        (b"filename*=\"utf-8'en'%c3%9c%201.txt\"", "\u{dc} 1.txt"),
        (
            b"filename*=utf-8''%C3%9C.txt; filename=\"U.txt\"",
            "\u{dc}.txt",
        ),
        (
            b"filename=\"=?utf-8?B?w5wudHh0?=\"; filename*=utf-8''%C3%9C.txt",
            "\u{dc}.txt",
        ),
        (
            b"filename=\"\xdc.txt\"; filename*=utf-8''%C3%9C.txt",
            "\u{dc}.txt",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let body = form_of(&[name]);
        let path = format!("/v1/blobs/{number}");
        let stored = admin.send("POST", &path, &[FORM], &body);
        assert_eq!(stored.status, 201, "{}", stored.text());
        let key = format!("{number}/{expected}");
        assert_eq!(stored.value()["stored"][0]["key"], key.as_str());
        let path = format!("/storage/ann/{number}/");
        let stored = ann.send("PUT", &path, &[FORM], &body);
        let key = format!("storage/ann/{number}/{expected}");
        assert_eq!(stored.value()["files_written"][0], key.as_str());
    }
}

/// A file that is passed over, and told to be stored with the others, is lost.
#[test]
fn a_file_of_a_form_whose_name_cannot_be_read_is_refused() {
    let server = Server::start();
    server.user("ann", "writer", "home/ann");
    let ann = server.storage("ann");
    let admin = server.admin();
    for name in [
        &b"filename=\"\xdc.txt\""[..],
        b"filename=\"\xdc.txt\"; filename*=utf-8''%DC.txt",
        b"filename*=iso-8859-1''%DC.txt",
        b"filename*=U.txt",
        b"filename*0*=utf-8''%C3; filename*1*=%9C.txt",
        b"filename=\"U.txt",
        b"filename",
    ] {
        let body = form_of(&[b"filename=a", name]);
        let refused = admin.send("POST", "/v1/blobs/f", &[FORM], &body);
        let shown = String::from_utf8_lossy(name);
        assert_eq!(refused.status, 400, "{shown}: {}", refused.text());
        assert_eq!(refused.problem(400)["stored"][0]["key"], "f/a");
        let refused = ann.send("PUT", "/storage/ann/", &[FORM], &body);
        assert_eq!(refused.status, 400, "{shown}: {}", refused.text());
        let stored = server.nobody();
        let stored = stored.send("POST", "/cloudstore/upload-2", &[FORM], &form_of(&[name]));
        assert_eq!(stored.value()["error"], "BadRequest", "{shown}");
        assert_eq!(server.store.list("f").unwrap().count(), 1, "{shown}");
    }
}

#[test]
fn a_form_heeds_the_condition_that_nothing_is_there() {
    let server = Server::start();
    let admin = server.admin();
    server.store.put("f/b", "precious").unwrap();
    let send = |condition: (&str, &str), names: &[&[u8]]| {
        admin.send("POST", "/v1/blobs/f", &[FORM, condition], &form_of(names))
    };
    let free = ("if-none-match", "*");
    assert_eq!(send(free, &[b"filename=new"]).status, 201);
    let refused = send(free, &[b"filename=a", b"filename=b", b"filename=c"]);
    assert_eq!(refused.problem(412)["stored"][0]["key"], "f/a");
    assert_eq!(server.store.get("f/b").unwrap().unwrap(), "precious");
    assert!(!server.store.exists("f/c").unwrap());
    for other in [
        ("if-match", "*"),
        ("if-none-match", "\"a\""),
        ("if-unmodified-since", "Fri, 01 Jan 2100 00:00:00 GMT"),
    ] {
        send(other, &[b"filename=d"]).problem(400);
    }
    assert!(!server.store.exists("f/d").unwrap());
}

/// Many clients join lines of one name.
#[test]
fn attributes_are_the_same_in_one_line_or_in_several() {
    let server = Server::start();
    let admin = server.admin();
    let name = "komatik-attribute";
    for lines in [
        vec![
            (name, "author=Ann B%2C C"),
            (name, "lang=de"),
            (name, "part=100%"),
        ],
        vec![(name, "author=Ann B%2c C, lang=de,part=100%25")],
        vec![
            (name, " , author = Ann%20B%2C C ,lang=d%65"),
            (name, ",part=100%,"),
        ],
    ] {
        let put = admin.send("PUT", "/v1/blobs/b", &lines, b"x");
        assert_eq!(
            put.value()["attributes"],
            serde_json::json!({"author": "Ann B, C", "lang": "de", "part": "100%"}),
            "{lines:?}"
        );
    }
    for wrong in ["author=ann, de", "lang%3Dde", "author=%FF"] {
        let refused = admin.send("PUT", "/v1/blobs/b", &[(name, wrong)], b"x");
        refused.problem(400);
    }
    let put = admin.send("PUT", "/v1/blobs/b", &[(name, "a%3Db=c%3Dd=e")], b"x");
    let expected = serde_json::json!({"a=b": "c=d=e"});
    assert_eq!(put.value()["attributes"], expected);
}

/// What is stored is what was sent, and nobody would know that it is still to be decoded.
#[test]
fn content_that_is_encoded_is_refused() {
    let server = Server::start();
    server.user("ann", "writer", "home/ann");
    let (admin, ann, drive) = (server.admin(), server.storage("ann"), server.drive("ann"));
    let json = ("content-type", "application/json");
    let offset = ("upload-offset", "0");
    let form = form_of(&[b"filename=a"]);
    let begun = drive.send("POST", "/v1/proj/photos/uploads?name=p", &[], b"");
    let id = begun.value()["upload_id"].as_str().unwrap().to_owned();
    let part = format!("/v1/proj/photos/uploads/{id}/parts?name=p&part=1");
    let merge = ("content-type", "application/merge-patch+json");
    let all: [(_, _, &str, _, &[u8]); 8] = [
        (&admin, "PUT", "/v1/blobs/b", ("x-y", "z"), b"x"),
        (&admin, "POST", "/v1/blobs/log", offset, b"x"),
        (&admin, "POST", "/v1/blobs", FORM, &form),
        (&admin, "PUT", "/v1/documents/d", json, b"{}"),
        (&admin, "PATCH", "/v1/documents/d", merge, b"{}"),
        (
            &drive,
            "POST",
            "/v1/proj/photos/files?name=f",
            ("x-y", "z"),
            b"x",
        ),
        (&drive, "POST", &part, ("x-y", "z"), b"x"),
        (&ann, "PUT", "/storage/ann/", FORM, &form),
    ];
    for (client, method, path, header, body) in all {
        for coding in ["gzip", "identity, br", "GZIP"] {
            let headers = [header, ("content-encoding", coding)];
            let refused = client.send(method, path, &headers, body);
            assert_eq!(refused.status, 415, "{method} {path}: {}", refused.text());
        }
        let headers = [header, ("content-encoding", "Identity")];
        let stored = client.send(method, path, &headers, body);
        assert!(stored.status < 300, "{method} {path}: {}", stored.text());
    }
    let headers = [("content-encoding", "gzip")];
    let refused = admin.send("PUT", "/v1/blobs/b", &headers, b"x");
    assert_eq!(refused.header("accept-encoding"), "identity");
}

/// The files that came whole are stored, which the answer does not deny.
#[test]
fn a_form_that_breaks_off_tells_what_is_stored() {
    let mut limits = Limits::default();
    limits.body_time = Duration::from_secs(1);
    let server = Server::with(&Store::in_memory().unwrap(), limits);
    let session = server.admin().credentials[0].1.clone();
    let head = "--XX\r\ncontent-disposition: form-data; name=\"f\"; filename";
    let answer = server.raw(
        format!(
            "POST /v1/blobs/inbox HTTP/1.1\r\nhost: localhost\r\nauthorization: {session}\r\n\
             content-type: multipart/form-data; boundary=XX\r\ncontent-length: 9999\r\n\r\n\
             {head}=\"a\"\r\n\r\nwhole\r\n{head}=\"b\"\r\n\r\nhal"
        )
        .as_bytes(),
    );
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("\"key\":\"inbox/a\""), "{answer}");
    assert!(answer.contains("under way is not written"), "{answer}");
    assert!(!answer.contains("nothing was written"), "{answer}");
    assert!(server.store.exists("inbox/a").unwrap());
    assert!(!server.store.exists("inbox/b").unwrap());
}

#[test]
fn what_a_browser_would_run_is_sandboxed_and_names_are_told() {
    let server = Server::start();
    let admin = server.admin();
    admin.put("/v1/blobs/a/page.html", b"<script>1</script>");
    let page = admin.get("/v1/blobs/a/page.html");
    assert!(
        page.header("content-security-policy")
            .starts_with("sandbox; default-src 'none'")
    );
    assert!(
        page.header("content-disposition")
            .starts_with("inline; filename=\"page.html\"")
    );
    let saved = admin.get("/v1/blobs/a/page.html?disposition=attachment");
    assert!(
        saved
            .header("content-disposition")
            .starts_with("attachment; ")
    );
    admin.put("/v1/blobs/a/plan.txt", b"x");
    assert_eq!(
        admin
            .get("/v1/blobs/a/plan.txt")
            .header("content-security-policy"),
        ""
    );
}

/// However its type is written, and wherever it is opened: one who may write is not to run what they like in the browser of
/// one who reads.
#[test]
fn what_a_browser_might_run_is_sandboxed_wherever_it_is_opened() {
    let server = Server::start();
    let ann = server.user("ann", "writer", "home/ann");
    let session = ann.credentials[0].1.trim_start_matches("Bearer ");
    let storage = server.client("authorization", session);
    for (content_type, is_passive) in [
        ("text/html (x", false),
        ("text/html x", false),
        ("text/plain, text/html", false),
        ("text/plain;a,text/html", false),
        ("text/xsl", false),
        ("multipart/x-mixed-replace;boundary=x", false),
        ("audio/x+xml", false),
        ("text/plain; charset=utf-8", true),
        ("video/mp4", true),
    ] {
        let typed = [("content-type", content_type)];
        let put = ann.send("PUT", "/v1/blobs/b", &typed, b"<script>1</script>");
        assert!(put.status < 300, "{}", put.text());
        let granted = ann.json("POST", "/v1/tokens/b", &serde_json::json!({}));
        let shared = granted.value()["path"].as_str().unwrap().to_owned();
        for opened in [
            ann.get("/v1/blobs/b"),
            ann.send("GET", "/v1/blobs/b", &[("range", "bytes=0-7")], b""),
            server.nobody().get(&shared),
            storage.get("/storage/ann/b"),
        ] {
            assert!(opened.status < 300, "{}", opened.text());
            let policy = opened.header("content-security-policy");
            assert_eq!(policy.is_empty(), is_passive, "{content_type}: {policy}");
            assert!(is_passive || policy.starts_with("sandbox; "), "{policy}");
        }
    }
}

#[test]
fn a_date_that_cannot_be_read_is_no_reason_to_send_nothing() {
    let server = Server::start();
    let admin = server.admin();
    admin.put("/v1/blobs/b", b"x");
    let since = |name: &str, date: &str| admin.send("GET", "/v1/blobs/b", &[(name, date)], b"");
    assert_eq!(since("if-modified-since", "yesterday").text(), "x");
    let date = admin.date_of("/v1/blobs/b");
    assert_eq!(since("if-modified-since", &date).status, 304);
    since("if-unmodified-since", "yesterday").problem(400);
}

#[test]
fn conditions_hold_for_contents_too() {
    let server = Server::start();
    let admin = server.admin();
    let put = |name: &str, value: &str| admin.send("PUT", "/v1/blobs/b", &[(name, value)], b"x");
    assert_eq!(put("if-none-match", "*").status, 201);
    put("if-none-match", "*").problem(412);
    let tag = admin.get("/v1/blobs/b").header("etag").to_owned();
    assert_eq!(put("if-match", &tag).status, 200);
    put("if-match", &tag).problem(412);
    let tag = admin.get("/v1/blobs/b").header("etag").to_owned();
    put("if-none-match", &format!("\"a,b\" , W/\"c\",{tag}")).problem(412);
    let bare = tag.trim_matches('"');
    for unreadable in [bare, "garbage", "\"a", "W/", ",", "", "*, *"] {
        put("if-none-match", unreadable).problem(400);
        put("if-match", unreadable).problem(412);
    }
    // Of several lines, each of which could be read.
    for second in ["*", tag.as_str()] {
        let lines = [("if-none-match", "*"), ("if-none-match", second)];
        admin.send("PUT", "/v1/blobs/b", &lines, b"y").problem(400);
    }
    let lines = [("if-none-match", "\"a\""), ("if-none-match", tag.as_str())];
    admin.send("PUT", "/v1/blobs/b", &lines, b"y").problem(412);
    put("if-none-match", &format!("\"ä\", {tag}")).problem(400);
    assert_eq!(admin.get("/v1/blobs/b").header("etag"), tag);
}

/// The content may take long to come.
#[test]
fn conditions_are_asked_again_when_the_content_is_there() {
    let server = Server::start();
    let admin = server.admin();
    let other = |content: &str| drop(server.store.put("b", content).unwrap());
    let tag = || admin.get("/v1/blobs/b").header("etag").to_owned();
    other("first");
    let (first, never) = (tag(), "Fri, 01 Jan 2100 00:00:00 GMT");
    let put = |condition: &str, meanwhile: &dyn Fn()| {
        let head = format!("PUT /v1/blobs/b HTTP/1.1\r\n{condition}");
        let mut stream = server.begin(&admin, &head, 3);
        meanwhile();
        stream.write_all(b"own").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    other("second");
    let second = tag();
    for condition in [
        "if-match: *".to_owned(),
        format!("if-none-match: {first}"),
        format!("if-unmodified-since: {never}"),
    ] {
        let answer = put(&condition, &|| other("meanwhile"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{condition}: {answer}");
        let (own, told) = (tag(), format!("etag: {}\r\n", tag()));
        assert!(answer.contains(&told), "{own} in {answer}");
        assert_eq!(admin.get("/v1/blobs/b").text(), "own");
    }
    let current = tag();
    assert_ne!(current, second);
    let answer = put(&format!("if-match: {current}"), &|| other("meanwhile"));
    assert!(answer.starts_with("HTTP/1.1 412 "), "{answer}");
    assert_eq!(admin.get("/v1/blobs/b").text(), "meanwhile");
    let answer = put("if-match: *", &|| {
        assert!(server.store.delete("b").unwrap())
    });
    assert!(answer.starts_with("HTTP/1.1 412 "), "{answer}");
    let answer = put("if-none-match: *", &|| other("meanwhile"));
    assert!(answer.starts_with("HTTP/1.1 412 "), "{answer}");
    assert_eq!(admin.get("/v1/blobs/b").text(), "meanwhile");
}
