//! Who comes into a room: the token that was signed with an API key of the project.
//!
//! It is a JSON Web Token under HS256, whose secret is the API key itself. The service keeps no API key, but the SHA-256 of
//! it; keys are longer than a block of SHA-256, and for such a one HMAC by definition uses its hash (RFC 2104).

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jwt_compact::alg::{Hs256, Hs256Key};
use jwt_compact::{AlgorithmExt, Claims, UntrustedToken};
use serde::Deserialize;
use serde_json::Value;

use super::access::Access;
use crate::http::accounts::{Accounts, Role, check_name};
use crate::http::api_keys::ApiKey;
use crate::http::problem::{Answer, Problem};
use crate::http::sessions;

/// The newest version of a client whose tokens open all of a room where they say nothing of it.
const LAST_WITHOUT_SCOPE: [u32; 3] = [0, 3, 5];
/// Longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// What a token says, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
struct Said {
    name: String,
    #[serde(default)]
    grants: Vec<Granted>,
    /// The project.
    sub: Option<String>,
    /// The id of the API key.
    kid: Option<String>,
    /// Of the client that made it.
    version: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Granted {
    name: String,
    #[serde(default)]
    scope: Value,
}

/// Who may come in.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) project: String,
    pub(super) participant: String,
    pub(super) access: Access,
    pub(super) authority: Authority,
}

/// What an admission stands on. It ends with any of it.
#[derive(Debug, Clone)]
pub(super) struct Authority {
    /// The id of the API key.
    key: String,
    /// Whether the account of the key could write.
    may_write: bool,
    /// When the token ends, in seconds since 1970; the end of time where it says nothing of it.
    ends: i64,
}

impl Authority {
    /// Whether the key is still there, and its account may do what it might.
    pub(super) fn holds(&self, accounts: &Accounts) -> Answer<bool> {
        let found = accounts.key(&self.key)?;
        Ok(found.is_some_and(|(_, user)| user.role != Role::Reader || !self.may_write))
    }

    /// Fails where the token has ended, or what it was signed with is not what it was.
    pub(super) fn check(&self, accounts: &Accounts) -> Answer<()> {
        match !self.is_over() && self.holds(accounts)? {
            true => Ok(()),
            false => Err(Problem::unauthorized(
                "the token has ended, or its key is not what it was",
            )),
        }
    }

    /// Whether the token has ended.
    pub(super) fn is_over(&self) -> bool {
        self.ends <= now()
    }
}

/// The token of a request: in its headers, or in the address where a client knows no other way.
pub(super) fn token_of(headers: &HeaderMap, query: Option<&str>) -> Option<String> {
    if let Some(given) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = given.to_str().ok()?.split_once(' ')?;
        return scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| token.trim().to_owned());
    }
    query.map(str::to_owned)
}

/// What the bearer of this token may do in this room.
///
/// # Errors
/// 401 where the token is not signed by a key of its project or has ended, 403 where it is for another room.
pub(super) fn admit(accounts: &Accounts, token: &str, room: &str) -> Answer<Admission> {
    let refused =
        || Problem::unauthorized("the token is not signed with a key of the project, or has ended");
    if token.len() > MAX_TOKEN_BYTES {
        return Err(refused());
    }
    // Anybody can make one, and as deep as they like.
    if !has_claims_to_read(token) {
        return Err(refused());
    }
    let token = UntrustedToken::new(token).map_err(|_| refused())?;
    let claims = token.deserialize_claims_unchecked::<Said>();
    let said = claims.map_err(|_| refused())?.custom;
    let (id, key, ends) = signer(accounts, &token, &said)?.ok_or_else(refused)?;
    let user = accounts.user(&key.user)?.ok_or_else(refused)?;
    if !is_for(&said, room) {
        return Err(Problem::forbidden("the token is not for this room"));
    }
    if said.name.trim().is_empty() || said.name.len() > 255 {
        return Err(Problem::forbidden(
            "the name of a participant has 1 to 255 bytes",
        ));
    }
    let may_write = user.role != Role::Reader;
    Ok(Admission {
        project: key.project,
        access: access(&said, may_write),
        participant: said.name,
        authority: Authority {
            key: id,
            may_write,
            ends,
        },
    })
}

/// The key that has signed the token, with its id, and when the token ends. Some clients tell neither the key nor the project,
/// and any key may have signed.
fn signer(
    accounts: &Accounts,
    token: &UntrustedToken<'_>,
    said: &Said,
) -> Answer<Option<(String, ApiKey, i64)>> {
    let keys = match &said.kid {
        // Anybody may ask: where the key is named, no other is looked at.
        Some(id) if check_name(id).is_ok() => {
            let found = accounts.key(id)?;
            found
                .map(|(key, _)| (id.clone(), key))
                .into_iter()
                .collect()
        }
        Some(_) => Vec::new(),
        None => accounts.readable_keys()?,
    };
    let is_of_project = |key: &ApiKey| said.sub.as_ref().is_none_or(|sub| *sub == key.project);
    Ok(keys.into_iter().find_map(|(id, key)| {
        let ends = is_of_project(&key).then(|| end_if_signed_by(token, &key))??;
        Some((id, key, ends))
    }))
}

/// Whether what the token claims is within the limits of a document: a [`Value`] that reads itself, as `scope` does,
/// counts its levels anew in texts within texts.
fn has_claims_to_read(token: &str) -> bool {
    let claims = token.split('.').nth(1).unwrap_or_default();
    let claims = URL_SAFE_NO_PAD.decode(claims);
    claims.is_ok_and(|claims| crate::parse_json(claims).is_ok())
}

/// When the token ends, see [`Authority`]; `None` unless the key has signed it and it is its time.
fn end_if_signed_by(token: &UntrustedToken<'_>, key: &ApiKey) -> Option<i64> {
    let secret = STANDARD.decode(key.signing.as_str()).ok()?;
    if secret.is_empty() {
        return None;
    }
    let secret = Hs256Key::new(secret);
    let verified = Hs256.validator::<Said>(&secret).validate(token).ok()?;
    let claims = verified.claims();
    let ends = claims.expiration.map_or(i64::MAX, |end| end.timestamp());
    is_in_time(claims).then_some(ends)
}

fn now() -> i64 {
    i64::try_from(sessions::now()).unwrap_or(i64::MAX)
}

fn is_in_time(claims: &Claims<Said>) -> bool {
    let now = now();
    claims.expiration.is_none_or(|end| now < end.timestamp())
        && claims
            .not_before
            .is_none_or(|begin| begin.timestamp() <= now)
}

fn is_for(said: &Said, room: &str) -> bool {
    let mut rooms = said.grants.iter().filter(|grant| grant.name == "room");
    rooms.any(|grant| grant.scope == room)
}

fn access(said: &Said, may_write: bool) -> Access {
    match said.grants.iter().find(|grant| grant.name == "api") {
        Some(api) => Access::of_scope(&api.scope, may_write),
        None if is_of_old(said.version.as_deref()) => Access::all(may_write),
        None => Access::none(),
    }
}

/// Whether a client of this version has no scopes to grant.
fn is_of_old(version: Option<&str>) -> bool {
    let Some(version) = version else {
        return true;
    };
    let mut numbers = version
        .split('.')
        .map(|number| number.parse().unwrap_or(u32::MAX));
    let mut next = || numbers.next().unwrap_or(0);
    [next(), next(), next()] <= LAST_WITHOUT_SCOPE
}

#[cfg(test)]
mod tests {
    use jwt_compact::Header;
    use serde_json::json;

    use super::*;
    use crate::Store;
    use crate::http::accounts::FOLDER;
    use crate::http::passwords::hash_of_secret;

    /// Accounts with a key of the project `proj`, and the key.
    fn accounts(store: &Store) -> (Accounts, String) {
        let (accounts, _) = Accounts::open(store).unwrap();
        let key = accounts.add_key("admin", "", "proj").unwrap();
        (accounts, key)
    }

    /// A token for the room `r`.
    fn token(key: &str, kid: Option<&str>) -> String {
        let grants = json!([{"name": "room", "scope": "r"}]);
        let claims = json!({"name": "ann", "grants": grants, "sub": "proj", "kid": kid});
        let secret = Hs256Key::new(key.as_bytes());
        let token = Hs256.token(&Header::empty(), &Claims::new(claims), &secret);
        token.unwrap()
    }

    #[test]
    fn a_damaged_key_keeps_nobody_out_who_has_another() {
        let store = Store::in_memory().unwrap();
        let (accounts, key) = accounts(&store);
        store.save(&format!("{FOLDER}/keys/!"), &1).unwrap();
        let id = hash_of_secret(&key);
        for kid in [None, Some(id.as_str())] {
            admit(&accounts, &token(&key, kid), "r").unwrap();
        }
    }

    #[test]
    fn a_token_is_held_against_the_key_that_it_names() {
        let store = Store::in_memory().unwrap();
        let (accounts, signer) = accounts(&store);
        let other = accounts.add_key("admin", "", "other").unwrap();
        let admitted = |kid: &str| admit(&accounts, &token(&signer, Some(kid)), "r");
        assert!(admitted(&hash_of_secret(&signer)).is_ok());
        assert_eq!(admitted(&hash_of_secret(&other)).unwrap_err().status(), 401);
    }

    #[test]
    fn a_token_that_names_what_is_no_key_is_refused() {
        let store = Store::in_memory().unwrap();
        let (accounts, key) = accounts(&store);
        let other = hash_of_secret("other");
        for kid in ["", "..", "../users/admin", "/", &other, &"a".repeat(2000)] {
            let refused = admit(&accounts, &token(&key, Some(kid)), "r").unwrap_err();
            assert_eq!(refused.status().as_u16(), 401, "{kid}");
        }
    }

    #[test]
    fn claims_beyond_the_limits_of_a_document_are_not_read() {
        let has = |claims: &str| {
            let claims = URL_SAFE_NO_PAD.encode(claims);
            has_claims_to_read(&format!("e30.{claims}.c2ln"))
        };
        assert!(has(
            r#"{"name": "ann", "grants": [{"name": "api", "scope": {}}]}"#
        ));
        assert!(!has(&format!("{}{}", "[".repeat(129), "]".repeat(129))));
        let name = "$serde_json::private::RawValue";
        assert!(!has(&format!(
            r#"{{"name": "ann", "grants": [{{"name": "api", "scope": {{"{name}": "1"}}}}]}}"#
        )));
        for token in ["", "e30", "e30.!.c2ln", "e30..c2ln"] {
            assert!(!has_claims_to_read(token), "{token}");
        }
    }

    #[test]
    fn versions_are_compared_by_number() {
        for (version, expected) in [
            (None, true),
            (Some("0.0.21"), true),
            (Some("0.3.5"), true),
            (Some("0.3.6"), false),
            (Some("0.29.4"), false),
            (Some("1"), false),
            (Some("x"), false),
        ] {
            assert_eq!(is_of_old(version), expected, "{version:?}");
        }
    }
}
