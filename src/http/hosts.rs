//! The names that the service answers to.
//!
//! A page of another site can give its own name the address of this machine, and is then taken by a browser to be of the
//! same site: DNS rebinding. Such a request still says the name in `Host`. An address in place of a name cannot be given to
//! another machine, so it is always good.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// Names besides `localhost`.
pub(super) type Hosts = Arc<[String]>;

/// Refuses requests for a host that this service is not.
pub(super) async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    match asked(&request) {
        // No browser leaves it out.
        Asked::Nothing => next.run(request).await,
        Asked::Host(host) if is_own(&host, &hosts) => next.run(request).await,
        Asked::Host(_) | Asked::Unreadable => Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "the service is not known by the name in `Host`; `--host` makes one known",
        )
        .into_response(),
    }
}

enum Asked {
    Nothing,
    Host(String),
    Unreadable,
}

/// The host of the address, else of the header: RFC 9112, section 3.2.
fn asked(request: &Request) -> Asked {
    if let Some(host) = request.uri().host() {
        return Asked::Host(host.to_owned());
    }
    let mut given = request.headers().get_all(header::HOST).iter();
    match (given.next(), given.next()) {
        (None, _) => Asked::Nothing,
        (Some(host), None) => {
            let authority = Authority::try_from(host.as_bytes());
            authority.map_or(Asked::Unreadable, |host| {
                Asked::Host(host.host().to_owned())
            })
        }
        (Some(_), Some(_)) => Asked::Unreadable,
    }
}

fn is_own(host: &str, hosts: &[String]) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let bare = bare.unwrap_or(host).trim_end_matches('.');
    let is_named = |name: &str| bare.eq_ignore_ascii_case(name);
    bare.parse::<IpAddr>().is_ok()
        || is_named("localhost")
        || hosts.iter().any(|host| is_named(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_own_names_are_good_and_no_other() {
        let hosts = ["files.example.org".to_owned()];
        for host in [
            "127.0.0.1",
            "[::1]",
            "192.0.2.1",
            "localhost",
            "LOCALHOST.",
            "Files.Example.org",
        ] {
            assert!(is_own(host, &hosts), "{host}");
        }
        for host in [
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "",
            "127.0.0.1.nip.io",
        ] {
            assert!(!is_own(host, &hosts), "{host}");
        }
    }
}
