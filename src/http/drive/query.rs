//! The query of a request to a drive. Clients escape names, but send prefixes and cursors as they are.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::{Answer, Refusal};
use crate::http::Service;

/// How many names a page has at most, and where the request does not say.
const PAGE: usize = 1000;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) name: String,
    pub(super) part: Option<u16>,
    pub(super) limit: usize,
    pub(super) prefix: String,
    /// As it was sent: a name may hold what looks escaped.
    pub(super) prefix_as_sent: String,
    /// The last name of the page before; empty for the first page.
    pub(super) last: String,
    /// As it was sent.
    pub(super) last_as_sent: String,
    pub(super) recursive: bool,
}

impl FromRequestParts<Service> for Query {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Service) -> Answer<Query> {
        Query::parse(parts.uri.query().unwrap_or(""))
    }
}

impl Query {
    pub(super) fn parse(text: &str) -> Answer<Query> {
        let mut query = Query {
            name: String::new(),
            part: None,
            limit: PAGE,
            prefix: String::new(),
            prefix_as_sent: String::new(),
            last: String::new(),
            last_as_sent: String::new(),
            recursive: true,
        };
        for (member, value) in members(text) {
            let value = value.as_str();
            match member {
                // Python writes a space as `+`, JavaScript as `%20`; both escape a plus.
                "name" => query.name = decode(&value.replace('+', " "))?,
                "prefix" => {
                    query.prefix = decoded_or_sent(value);
                    query.prefix_as_sent = value.to_owned();
                }
                "last" => {
                    query.last = decoded_or_sent(value);
                    query.last_as_sent = value.to_owned();
                }
                "recursive" => query.recursive = value != "false",
                "part" => query.part = Some(part(value)?),
                "limit" if !value.is_empty() => query.limit = limit(value)?,
                _ => {}
            }
        }
        Ok(query)
    }
}

/// The members of a query and their values. What follows a prefix or a cursor and is no member is part of it: a `&` in
/// them is not escaped.
fn members(text: &str) -> Vec<(&str, String)> {
    const KNOWN: [&str; 6] = ["name", "prefix", "last", "recursive", "part", "limit"];
    let mut members: Vec<(&str, String)> = Vec::new();
    for pair in text.split('&') {
        let (member, value) = pair.split_once('=').unwrap_or((pair, ""));
        match members.last_mut() {
            Some(("prefix" | "last", before)) if !KNOWN.contains(&member) => {
                before.push('&');
                before.push_str(pair);
            }
            _ => members.push((member, value.to_owned())),
        }
    }
    members
}

fn decode(text: &str) -> Answer<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(Cow::into_owned)
        .map_err(|_| Refusal::bad_request("the query is not UTF-8"))
}

/// What is no escaped text was not escaped.
fn decoded_or_sent(text: &str) -> String {
    decode(text).unwrap_or_else(|_| text.to_owned())
}

fn limit(text: &str) -> Answer<usize> {
    match text.parse() {
        Ok(limit @ 1..) => Ok(usize::min(limit, PAGE)),
        Ok(0) | Err(_) => Err(Refusal::bad_request("limit is no number from 1 to 1000")),
    }
}

fn part(text: &str) -> Answer<u16> {
    match text.parse() {
        Ok(part @ 1..) => Ok(part),
        Ok(0) | Err(_) => Err(Refusal::bad_request("part is no number from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_as_either_client_escapes_them() {
        for (text, expected) in [
            ("name=a+b", "a b"),
            ("name=a%20b", "a b"),
            ("name=a%2Bb", "a+b"),
            ("name=list%2F%C3%A4&part=3", "list/\u{e4}"),
            ("name=100%25", "100%"),
        ] {
            assert_eq!(Query::parse(text).unwrap().name, expected);
        }
        assert!(Query::parse("name=%FF").is_err());
    }

    #[test]
    fn prefixes_and_cursors_come_as_they_are() {
        let query = Query::parse("prefix=a+b/100%&recursive=false&limit=3&last=a+b/1=2").unwrap();
        assert_eq!((query.prefix.as_str(), query.limit), ("a+b/100%", 3));
        assert_eq!((query.last.as_str(), query.recursive), ("a+b/1=2", false));
        let query = Query::parse("prefix=R&D=1&last=R&D-0001&limit=2").unwrap();
        assert_eq!(
            (query.prefix.as_str(), query.last.as_str(), query.limit),
            ("R&D=1", "R&D-0001", 2)
        );
        let query = Query::parse("prefix=&recursive=true&limit=&last=").unwrap();
        assert_eq!(query, Query::parse("").unwrap());
        for refused in ["limit=0", "limit=-1", "limit=many", "part=0", "part=65536"] {
            assert!(Query::parse(refused).is_err(), "{refused}");
        }
        assert_eq!(Query::parse("limit=5000").unwrap().limit, 1000);
    }
}
