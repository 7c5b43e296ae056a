//! Which names the service answers to.

use komatik::Store;
use komatik::http::{Endpoint, Limits};

use crate::server::Server;

#[test]
fn a_name_of_another_site_is_refused_before_anything_is_done() {
    let mut endpoint = Endpoint::default();
    endpoint.hosts = vec!["files.example.org".to_owned()];
    let server = Server::at(&Store::in_memory().unwrap(), Limits::default(), endpoint);
    let session = server.admin().credentials[0].1.clone();
    let status = |target: &str, hosts: &str| {
        let request = format!(
            "PUT {target} HTTP/1.1\r\n{hosts}authorization: {session}\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx"
        );
        let answer = server.raw(request.as_bytes());
        let status = answer.split(' ').nth(1).map(str::to_owned);
        status.unwrap_or_else(|| panic!("no answer: {answer}"))
    };
    for host in [
        "evil.example.com",
        "localhost.evil.example.com",
        "evil.example.com:8080",
        "",
        "a b",
        "[::1",
    ] {
        assert_eq!(
            status("/v1/blobs/a", &format!("host: {host}\r\n")),
            "421",
            "{host}"
        );
    }
    let two = "host: localhost\r\nhost: evil.example.com\r\n";
    assert_eq!(status("/v1/blobs/a", two), "421");
    let absolute = "http://evil.example.com/v1/blobs/a";
    assert_eq!(status(absolute, "host: localhost\r\n"), "421");
    assert!(!server.store.exists("a").unwrap());
    for host in [
        "localhost",
        "127.0.0.1:9",
        "[::1]:9",
        "192.0.2.7",
        "FILES.example.org",
        "files.example.org:443",
    ] {
        let key = format!("/v1/blobs/{}", host.len());
        let told = status(&key, &format!("host: {host}\r\n"));
        assert!(["200", "201"].contains(&told.as_str()), "{host}: {told}");
    }
}
