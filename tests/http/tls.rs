//! Encrypted connections, and a certificate that is renewed while they are open.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use komatik::Store;
use komatik::http::{Endpoint, Limits, Tls};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tungstenite::client::IntoClientRequest;

use crate::command::{komatik, signal, start_with, stop};
use crate::room_client::Participant;
use crate::server::Server;

/// A certificate that vouches for itself, and its key, as files.
fn issue(directory: &Path) -> (PathBuf, PathBuf) {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = (directory.join("certificate.pem"), directory.join("key.pem"));
    std::fs::write(&files.0, issued.cert.pem()).unwrap();
    std::fs::write(&files.1, issued.signing_key.serialize_pem()).unwrap();
    files
}

type Encrypted = StreamOwned<ClientConnection, TcpStream>;

/// A connection that trusts this certificate and no other.
fn connect(address: SocketAddr, trusted: &[u8]) -> std::io::Result<Encrypted> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(trusted).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut stream = StreamOwned::new(client, stream);
    stream.flush()?;
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// Sends a request, and answers the head of what comes back and its body, which is short.
fn ask(stream: &mut Encrypted, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "closed: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap().parse().unwrap();
        if body.len() >= length {
            return text;
        }
    }
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[test]
fn a_certificate_is_renewed_without_dropping_a_connection() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = issue(directory.path());
    let first = std::fs::read(&certificate).unwrap();
    let arguments = [
        "--listen",
        "0.0.0.0:0",
        "--certificate",
        certificate.to_str().unwrap(),
        "--key",
        key.to_str().unwrap(),
    ];
    let (child, greeting) = start_with(&directory.path().join("store"), &arguments);
    let url = greeting["url"].as_str().unwrap();
    let port = url.strip_prefix("https://0.0.0.0:").unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()));
    let mut early = connect(address, &first).unwrap();
    assert!(ask(&mut early, HEALTH).ends_with("\r\n\r\nok"));

    let password = greeting["first_login"]["password"].as_str().unwrap();
    let login = format!("{{\"name\": \"admin\", \"password\": \"{password}\", \"cookie\": true}}");
    let length = login.len();
    let login = format!(
        "POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{login}"
    );
    let answer = ask(&mut early, &login);
    let cookie = answer.lines().find(|line| line.starts_with("set-cookie: "));
    assert!(
        cookie
            .unwrap()
            .ends_with("; HttpOnly; SameSite=Strict; Secure"),
        "{answer}"
    );

    let hang_up = || signal(&child, "-HUP");
    // Files that are no good change nothing; twice, since a second signal of the kind is no reason to end.
    std::fs::write(&certificate, "-----BEGIN CERTIFICATE-----\nx").unwrap();
    for _ in 0..2 {
        hang_up();
        std::thread::sleep(Duration::from_millis(200));
        connect(address, &first).unwrap();
    }
    issue(directory.path());
    let second = std::fs::read(&certificate).unwrap();
    hang_up();
    let began = Instant::now();
    while connect(address, &second).is_err() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "the old certificate stays"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    connect(address, &first).unwrap_err();
    let answer = ask(&mut early, HEALTH);
    assert!(answer.ends_with("\r\n\r\nok"), "it goes on: {answer}");
    drop(early);
    stop(child);
}

#[test]
fn a_certificate_that_is_no_good_is_told_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = issue(directory.path());
    let other = directory.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let (_, other_key) = issue(&other);
    let missing = directory.path().join("missing.pem");
    let store = directory.path().join("store");
    for (certificate, key, named) in [
        (&certificate, &other_key, &other_key),
        (&missing, &key, &missing),
        (&key, &key, &key),
        (&certificate, &certificate, &certificate),
    ] {
        let refused = komatik(&store)
            .arg("--certificate")
            .arg(certificate)
            .arg("--key")
            .arg(key)
            .output()
            .unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains(named.to_str().unwrap()), "{said}");
        assert!(!said.contains("PRIVATE"), "{said}");
        assert!(!store.exists());
    }
    let alone = komatik(&store)
        .arg("--certificate")
        .arg(&certificate)
        .output();
    assert_eq!(alone.unwrap().status.code(), Some(2), "a key is needed");
}

#[test]
fn who_does_not_encrypt_gets_nothing_and_who_is_silent_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = issue(directory.path());
    let trusted = std::fs::read(&certificate).unwrap();
    let mut limits = Limits::default();
    limits.head_time = Duration::from_secs(1);
    let mut endpoint = Endpoint::default();
    endpoint.tls = Some(Tls::from_files(certificate, key).unwrap());
    let server = Server::at(&Store::in_memory().unwrap(), limits, endpoint);
    let answer = server.raw(HEALTH.as_bytes());
    assert!(!answer.contains("HTTP/1.1"), "{answer}");
    let began = Instant::now();
    assert_eq!(server.raw(b""), "", "no handshake");
    let mut silent = connect(server.address, &trusted).unwrap();
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest);
    assert!(rest.is_empty(), "a handshake, and no request");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_room_tells_addresses_that_are_encrypted() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = issue(directory.path());
    let mut endpoint = Endpoint::default();
    endpoint.tls = Some(Tls::from_files(&certificate, &key).unwrap());
    let store = Store::in_memory().unwrap();
    // An API key is made where nothing is encrypted.
    let mut plain = Server::with(&store, Limits::default());
    let token = plain.key("admin").token("ann", serde_json::json!([]));
    plain.stop();
    let server = Server::at(&store, Limits::default(), endpoint);
    let trusted = std::fs::read(&certificate).unwrap();
    let stream = connect(server.address, &trusted).unwrap();
    let url = format!("ws://localhost/rooms/r?token={token}&v=0.56.0");
    let mut ann = Participant::over(stream, url.into_client_request().unwrap()).unwrap();
    let ready = ann.receive().unpacked().0;
    assert_eq!(ready["room_url"], "wss://localhost/rooms/r");
    ann.receive();
    ann.write("a", &[b"x"]);
    let told = ann.json("storage.download_url", serde_json::json!({"path": "a"}));
    let url = told["url"].as_str().unwrap();
    assert!(url.starts_with("https://localhost/v1/shared/"), "{url}");
}
