//! The description of the interface, and the figures of the service.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use komatik::Lock;
use serde_json::{Value, json};

use crate::server::{Reply, Server};

/// Every `.route("…"` of the sources.
fn routes_of_sources(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            routes_of_sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for (at, _) in text.match_indices(".route(") {
                let rest = text[at + ".route(".len()..].trim_start();
                let path = rest.strip_prefix('"').unwrap();
                found.insert(path.split('"').next().unwrap().replace("{*", "{"));
            }
        }
    }
}

/// What the service takes at an address, as it says itself.
fn methods_of_service(server: &Server, path: &str) -> BTreeSet<String> {
    let path = path.replace(['{', '}'], "");
    let reply = server.nobody().send("PROPFIND", &path, &[], b"");
    assert_eq!(reply.status, 405, "{path}: {}", reply.text());
    let allowed = reply.header("allow").to_ascii_lowercase();
    // axum answers HEAD wherever there is a GET.
    let methods = allowed.split(',').filter(|method| *method != "head");
    methods.map(str::to_owned).collect()
}

#[test]
fn the_description_has_every_route_and_no_other() {
    let server = Server::start();
    let reply = server.nobody().get("/v1/openapi.json");
    assert_eq!(reply.header("content-type"), "application/json");
    let described: BTreeMap<String, BTreeSet<String>> = reply.value()["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            let methods = methods.filter(|method| *method != "head").cloned();
            (path.clone(), methods.collect())
        })
        .collect();
    let mut routes = BTreeSet::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    routes_of_sources(&sources, &mut routes);
    // Others are of protocols that are described elsewhere.
    let own = |path: &&String| match path.strip_prefix("/v1/") {
        Some(rest) => !rest.starts_with("{project}/"),
        None => !path[1..].contains('/') && *path != "/is_bulgur_cloud",
    };
    let routes: BTreeSet<_> = routes.iter().filter(own).collect();
    assert_eq!(described.keys().collect::<BTreeSet<_>>(), routes);
    for (path, methods) in &described {
        assert_eq!(&methods_of_service(&server, path), methods, "{path}");
    }
}

#[test]
fn every_reference_of_the_description_leads_somewhere() {
    let document = Server::start().nobody().get("/v1/openapi.json").value();
    let text = document.to_string();
    let mut count = 0;
    for part in text.split("\"$ref\":\"#").skip(1) {
        let pointer = part.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
        count += 1;
    }
    assert!(count > 20);
}

/// What of `value` is not as `schema` says: members that it does not name, those that it needs, and other types.
fn misfits(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(&reference[1..]).unwrap();
        return misfits(document, schema, value, at, found);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allows = |types: &Value| {
        types == kind || types.as_array().is_some_and(|of| of.contains(&kind.into()))
    };
    if !allows(&schema["type"]) {
        found.push(format!("{at} is {value}, not {}", schema["type"]));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        found.push(format!("{at} is {value}, none of {allowed:?}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        misfits(
            document,
            &schema["items"],
            item,
            &format!("{at}/{index}"),
            found,
        );
    }
    for needed in schema["required"].as_array().into_iter().flatten() {
        if value.get(needed.as_str().unwrap()).is_none() {
            found.push(format!("{at} has no {needed}"));
        }
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        match (
            schema["properties"].get(name),
            &schema["additionalProperties"],
        ) {
            (Some(schema), _) | (None, schema @ Value::Object(_)) => {
                misfits(document, schema, member, &format!("{at}/{name}"), found);
            }
            _ => found.push(format!("{at} has {name}")),
        }
    }
}

#[test]
fn answers_are_as_they_are_described() {
    let server = Server::start();
    let (admin, nobody) = (server.admin(), server.nobody());
    let document = nobody.get("/v1/openapi.json").value();
    let fits = |method: &str, route: &str, reply: Reply| {
        let described = &document["paths"][route][method]["responses"][reply.status.to_string()];
        let schema = &described["content"]["application/json"]["schema"];
        let mut found = Vec::new();
        misfits(&document, schema, &reply.value(), route, &mut found);
        assert_eq!(found, [""; 0], "{method} {route}: {}", reply.text());
        assert!(
            schema["properties"].is_object() || schema["$ref"].is_string(),
            "{schema}"
        );
    };
    let login = json!({"name": "admin", "password": server.password});
    fits(
        "post",
        "/v1/sessions",
        nobody.json("POST", "/v1/sessions", &login),
    );
    fits("get", "/v1/sessions", admin.get("/v1/sessions"));
    fits("get", "/v1/users", admin.get("/v1/users"));
    let key = json!({"user": "admin", "label": "test", "project": "proj"});
    fits("post", "/v1/keys", admin.json("POST", "/v1/keys", &key));
    fits("get", "/v1/keys", admin.get("/v1/keys"));
    let document_key = "/v1/documents/{key}";
    fits(
        "put",
        document_key,
        admin.json("PUT", "/v1/documents/a/plan", &json!([1])),
    );
    let attributed = [("komatik-attribute", "colour=red")];
    fits(
        "put",
        "/v1/blobs/{key}",
        admin.send("PUT", "/v1/blobs/a/secret", &attributed, b"1"),
    );
    fits(
        "get",
        "/v1/entries/{key}",
        admin.get("/v1/entries/a/secret"),
    );
    fits(
        "post",
        "/v1/tokens/{key}",
        admin.json("POST", "/v1/tokens/a/plan", &json!({"expires_in": 60})),
    );
    fits(
        "post",
        "/v1/tokens",
        admin.json("POST", "/v1/tokens", &json!({})),
    );
    fits("get", "/v1/tokens", admin.get("/v1/tokens"));
    fits("delete", "/v1/tokens", admin.delete("/v1/tokens"));
    let moved = json!({"from": "a/plan", "to": "a/old"});
    fits("post", "/v1/move", admin.json("POST", "/v1/move", &moved));
    server.store.create_folder("a/made").unwrap();
    server
        .store
        .lock("a/secret", Lock::new().view("word"))
        .unwrap();
    fits("get", "/v1/entries", admin.get("/v1/entries?folder=a"));
    let operations = json!({"operations": [
        {"op": "save", "key": "b", "value": 1}, {"op": "delete", "key": "b"},
        {"op": "move_folder", "from": "a", "to": "c"}, {"op": "delete_folder", "folder": "c/made"},
    ]});
    fits(
        "post",
        "/v1/transactions",
        admin.json("POST", "/v1/transactions", &operations),
    );
    fits("get", "/v1/changes", admin.get("/v1/changes?after=0"));
    fits(
        "delete",
        "/v1/folders/{folder}",
        admin.delete("/v1/folders/nothing?recursive=true"),
    );
    fits("get", "/v1/stats", admin.get("/v1/stats"));
}

#[test]
fn the_figures_count_what_happened() {
    let server = Server::start();
    let ann = server.user("ann", "writer", "home/ann");
    ann.get("/metrics").problem(403);
    server.nobody().get("/metrics").problem(401);
    ann.put("/v1/blobs/a", vec![0; 5000]);
    ann.get("/v1/blobs/a");
    ann.get("/v1/blobs/b");
    ann.get("/v2/any/thing");
    let figures = server.admin().get("/metrics");
    assert!(
        figures
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let text = figures.text();
    let figure = |line: &str| -> u64 {
        let found = text
            .lines()
            .find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        found
            .unwrap_or_else(|| panic!("no {line} in {text}"))
            .parse()
            .unwrap()
    };
    let requests = |method: &str, route: &str, status: u16| {
        figure(&format!(
            "komatik_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}"
        ))
    };
    assert_eq!(requests("PUT", "/v1/blobs/{*key}", 201), 1);
    assert_eq!(requests("GET", "/v1/blobs/{*key}", 200), 1);
    assert_eq!(requests("GET", "/v1/blobs/{*key}", 404), 1);
    assert_eq!(requests("GET", "none", 404), 1);
    let seconds = "komatik_http_request_duration_seconds_count{route=\"/v1/blobs/{*key}\"}";
    assert_eq!(figure(seconds), 3);
    assert!(figure("komatik_http_received_bytes_total") >= 5000);
    assert!(figure("komatik_http_sent_bytes_total") >= 5000);
    assert_eq!(
        figure("komatik_store_entries"),
        server.store.stats().unwrap().entries
    );
    assert_eq!(figure("komatik_store_chunk_bytes"), 5000);
    assert_eq!(text.matches("# EOF\n").count(), 1);
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn an_answer_tells_its_length() {
    let server = Server::start();
    let admin = server.admin();
    for path in ["/healthz", "/v1/entries", "/v1/openapi.json", "/"] {
        let answer = admin.get(path);
        let length = answer.text().len().to_string();
        assert_eq!(answer.header("content-length"), length, "{path}");
    }
    let request = b"GET /healthz HTTP/1.0\r\nconnection: keep-alive\r\n\r\n";
    let twice = server.raw(&[&request[..], &request[..21], b"\r\n\r\n"].concat());
    assert_eq!(twice.matches("200 OK").count(), 2, "{twice}");
}
