//! The page at `/`: what is sent, and what a browser makes of it.

mod browser;
mod using;
mod writing;

use crate::server::Server;

#[test]
fn the_page_is_of_one_version_and_runs_nothing_else() {
    let server = Server::start();
    let page = server.nobody().get("/");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let html = page.text();
    let parts: Vec<&str> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|mark| html.split(mark).skip(1))
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert!(parts.len() >= 4, "{parts:?}");
    for part in ["/"].iter().chain(&parts) {
        let sent = server.nobody().get(part);
        assert_eq!(sent.status, 200, "{part}");
        let policy = sent.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(!policy.contains("http"), "{policy}");
        // Both hold: what is stored here is no script of the page.
        assert!(policy.contains("; script-src 'self'; "), "{policy}");
        assert!(
            policy.ends_with(", script-src *:*/page/script.js"),
            "{policy}"
        );
        assert_eq!(sent.header("x-content-type-options"), "nosniff");
        assert_eq!(sent.header("cache-control"), "no-cache");
        let tag = sent.header("etag");
        let again = server
            .nobody()
            .send("GET", part, &[("if-none-match", tag)], b"");
        assert_eq!((again.status, again.body.len()), (304, 0), "{part}");
        let other = [("if-none-match", "\"other\"")];
        assert_eq!(server.nobody().send("GET", part, &other, b"").status, 200);
    }
}

/// What is inline the policy forbids, and what makes HTML of text it forbids as well: neither is to be there in vain.
#[test]
fn nothing_is_inline_and_no_text_becomes_html() {
    let html = include_str!("../../../src/http/page/page.html");
    for inline in ["<style", " style=", " onclick", "javascript:"] {
        assert!(!html.contains(inline), "{inline}");
    }
    let scripts = html.split("<script").skip(1);
    assert!(
        scripts
            .clone()
            .all(|script| script.contains("src=\"/page/"))
    );
    let script = include_str!("../../../src/http/page/script.js");
    for dangerous in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "eval(",
        "document.write",
        "srcdoc",
    ] {
        assert!(!script.contains(dangerous), "{dangerous}");
    }
}

#[test]
fn a_script_is_not_asked_for_a_password_by_the_browser() {
    let server = Server::start();
    let ways = |mode: &str| {
        let reply = server
            .nobody()
            .send("GET", "/v1/sessions", &[("sec-fetch-mode", mode)], b"");
        reply.problem(401);
        let ways = reply.headers.get_all("www-authenticate").iter();
        ways.map(|way| way.to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    for script in ["cors", "same-origin", "no-cors"] {
        assert_eq!(ways(script), ["Bearer"], "{script}");
    }
    assert!(ways("navigate").iter().any(|way| way.starts_with("Basic")));
}
