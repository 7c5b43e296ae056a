//! The path of a request to the storage: whose it is, and what in it is meant.

use axum::http::{Request, Uri};
use percent_encoding::percent_decode_str;

use super::login;
use super::refusal::Refusal;

/// What the path of an address names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) user: String,
    /// Relative to what the user has; empty for all of it.
    pub(super) key: String,
    /// Whether only a folder can be meant: it ends with a `/`.
    pub(super) is_folder: bool,
    /// The path as it was sent, decoded. What a path token is bound to.
    pub(super) path: String,
}

impl Place {
    /// Of the path of an address, as it was sent. Several `/` in a row are one; one that was escaped is a separator like
    /// any other, but never merged.
    pub(super) fn of(sent: &str) -> Result<Place, Refusal> {
        let merged = merged(sent);
        let path = percent_decode_str(&merged).decode_utf8();
        let path = path.map_err(|_| Refusal::bad_path())?.into_owned();
        let rest = path
            .strip_prefix("/storage/")
            .ok_or_else(Refusal::bad_path)?;
        let (user, key) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Place {
            user: user.to_owned(),
            is_folder: key.is_empty() || key.ends_with('/'),
            key: checked(key)?.to_owned(),
            path: path.clone(),
        })
    }

    /// Of the target of a move: `/<user>/<path>`.
    pub(super) fn of_target(target: &str) -> Result<Place, Refusal> {
        let segments: Vec<&str> = target.split('/').filter(|part| !part.is_empty()).collect();
        let (user, rest) = segments.split_first().ok_or_else(Refusal::bad_path)?;
        let key = rest.join("/");
        Ok(Place {
            user: (*user).to_owned(),
            is_folder: key.is_empty(),
            key: checked(&key)?.to_owned(),
            path: target.to_owned(),
        })
    }

    pub(super) fn is_root(&self) -> bool {
        self.key.is_empty()
    }

    /// The folder that this lies in.
    pub(super) fn parent(&self) -> &str {
        self.key.rsplit_once('/').map_or("", |(parent, _)| parent)
    }
}

/// A path in which several `/` in a row are one.
fn merged(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for char in path.chars() {
        if char != '/' || !merged.ends_with('/') {
            merged.push(char);
        }
    }
    merged
}

/// Leads an address with several `/` in a row to the route it is meant for: the clients put a path that begins with one behind
/// an address that may end with one. Of other protocols addresses are as they are.
pub(in crate::http) fn merge_slashes<B>(request: &mut Request<B>) {
    let uri = request.uri();
    if !uri.path().contains("//") {
        return;
    }
    let path = merged(uri.path());
    if !path.starts_with("/storage/") && !login::ADDRESSES.contains(&path.as_str()) {
        return;
    }
    let query = uri.query().map(|query| format!("?{query}"));
    let whole = format!("{path}{}", query.unwrap_or_default());
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = whole.parse().ok();
    if let Ok(merged) = Uri::from_parts(parts) {
        *request.uri_mut() = merged;
    }
}

/// The key without the `/` that ends it. What else a key may be, the store decides.
fn checked(key: &str) -> Result<&str, Refusal> {
    let mut depth = 0_usize;
    for segment in key.split('/') {
        match segment {
            ".." => depth = depth.checked_sub(1).ok_or_else(Refusal::not_yours)?,
            "" | "." => {}
            _ => depth += 1,
        }
    }
    if key.starts_with('/') {
        return Err(Refusal::bad_path());
    }
    Ok(key.strip_suffix('/').unwrap_or(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(place: Result<Place, Refusal>, expected: Result<(&str, &str, bool), u16>) {
        match (place, expected) {
            (Ok(place), Ok((user, key, is_folder))) => {
                let found = (place.user.as_str(), place.key.as_str(), place.is_folder);
                assert_eq!(found, (user, key, is_folder));
            }
            (Err(refusal), Err(status)) => assert_eq!(refusal.status(), status),
            (place, expected) => panic!("{place:?} is not {expected:?}"),
        }
    }

    #[test]
    fn paths_are_decoded_once_and_never_lead_out() {
        for (sent, expected) in [
            ("/storage/ann", Ok(("ann", "", true))),
            ("/storage/ann/", Ok(("ann", "", true))),
            ("/storage/ann/a/b.txt", Ok(("ann", "a/b.txt", false))),
            ("/storage/ann/a/", Ok(("ann", "a", true))),
            ("/storage//ann///a//b", Ok(("ann", "a/b", false))),
            ("/storage/ann/a%20b%2Fc", Ok(("ann", "a b/c", false))),
            ("/storage/ann/%252e%252e", Ok(("ann", "%2e%2e", false))),
            ("/storage/ann/..", Err(401)),
            ("/storage/ann/%2e%2e/bob", Err(401)),
            ("/storage/ann/a/..%2f..%2fbob", Err(401)),
            ("/storage/ann/%2Fetc", Err(400)),
            ("/storage/ann/%ff", Err(400)),
        ] {
            check(Place::of(sent), expected);
        }
    }

    #[test]
    fn targets_of_moves_are_relative_to_the_storage() {
        for (target, expected) in [
            ("/ann/a/b", Ok(("ann", "a/b", false))),
            ("ann//a/b/", Ok(("ann", "a/b", false))),
            ("/ann", Ok(("ann", "", true))),
            ("", Err(400)),
            ("//", Err(400)),
            ("/ann/../bob/a", Err(401)),
        ] {
            check(Place::of_target(target), expected);
        }
    }

    #[test]
    fn a_place_lies_in_its_parent() {
        let parent = |sent| Place::of(sent).unwrap().parent().to_owned();
        assert_eq!(parent("/storage/ann/a"), "");
        assert_eq!(parent("/storage/ann/a/b/"), "a");
    }
}
