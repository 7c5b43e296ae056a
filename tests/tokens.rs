//! What a token opens, and until when.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics fails"
)]

mod common;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{Case, stores_with};
use komatik::{Error, Grant, Key, ListOptions, Lock, PasswordCost, Store, Token, TokenInfo};
use percent_encoding::percent_decode_str;
use proptest::prelude::*;

/// A store of each kind, with a few entries.
fn stores() -> Vec<Case> {
    let cases = stores_with(|builder| builder.password_cost(PasswordCost::new(8, 1)));
    for case in &cases {
        for key in ["a", "dir/b", "dir/sub/c"] {
            case.store.put(key, "content").unwrap();
        }
    }
    cases
}

/// Whether the token reads the key.
fn reads(store: &Store, token: &Token, key: &str) -> bool {
    match store.read_with(token, key) {
        Ok(reader) => {
            let mut text = String::new();
            if let Some(mut reader) = reader {
                reader.read_to_string(&mut text).unwrap();
                assert_eq!(text, "content");
            }
            true
        }
        Err(Error::TokenRefused) => false,
        Err(error) => panic!("{error}"),
    }
}

fn lists(store: &Store, token: &Token, folder: &str, options: ListOptions) -> bool {
    match store.list_with_token(token, folder, options) {
        Ok(listing) => listing.map(Result::unwrap).count() > 0,
        Err(Error::TokenRefused) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_token_reads_its_key_and_no_other() {
    for case in stores() {
        let store = case.store.clone();
        let token = store.grant("dir/b", Grant::new()).unwrap();
        assert!(reads(&store, &token, "dir/b"));
        assert!(reads(&store, &Token::from(token.to_string()), "/dir/b/"));
        for other in ["a", "dir", "dir/sub/c", "dir/b/x"] {
            assert!(!reads(&store, &token, other));
        }
        assert!(!lists(&store, &token, "dir/b", ListOptions::new()));
        for stranger in ["", "x", &token.as_str()[..42], &format!("{token}=")] {
            assert!(!reads(&store, &Token::from(stranger), "dir/b"));
        }
        store.delete("dir/b").unwrap();
        assert!(store.read_with(&token, "dir/b").unwrap().is_none());
        let early = store.grant("not/yet", Grant::new()).unwrap();
        store.put("not/yet", "content").unwrap();
        assert!(reads(&store, &early, "not/yet"));
    }
}

#[test]
fn a_folder_token_lists_its_folder_only() {
    for case in stores() {
        let store = case.store.clone();
        let token = store.grant("dir", Grant::new().folder()).unwrap();
        assert!(lists(&store, &token, "dir", ListOptions::new()));
        assert!(!lists(
            &store,
            &token,
            "dir",
            ListOptions::new().recursive()
        ));
        assert!(!lists(&store, &token, "dir/sub", ListOptions::new()));
        assert!(!lists(&store, &token, "", ListOptions::new()));
        assert!(!reads(&store, &token, "dir/b"));
        let root = store.grant("", Grant::new().folder()).unwrap();
        assert!(lists(&store, &root, "", ListOptions::new()));
        assert!(!lists(&store, &root, "dir", ListOptions::new()));
    }
}

#[test]
fn tokens_end_when_they_expire_or_are_revoked() {
    for case in stores() {
        let store = case.store.clone();
        let past = SystemTime::now() - Duration::from_secs(1);
        let expired = store.grant("a", Grant::new().expires(past)).unwrap();
        assert!(!reads(&store, &expired, "a"));
        let short = Grant::new().expires_in(Duration::from_secs(2));
        let short = store.grant("a", short).unwrap();
        assert!(reads(&store, &short, "a"));
        let begun = Instant::now();
        while reads(&store, &short, "a") {
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        let long = || store.grant("a", Grant::new().expires_in(Duration::from_secs(60)));
        let (one, two, other) = (
            long().unwrap(),
            long().unwrap(),
            store.grant("dir/b", Grant::new()).unwrap(),
        );
        assert_eq!(store.stats().unwrap().tokens, 5);
        assert_eq!(
            store.revoke("a").unwrap(),
            2,
            "the expired ones do not count"
        );
        assert_eq!(store.stats().unwrap().tokens, 1, "but they are gone");
        assert!(!reads(&store, &one, "a") && !reads(&store, &two, "a"));
        assert!(reads(&store, &other, "dir/b"));
        assert!(store.revoke_token(&other).unwrap());
        assert!(!store.revoke_token(&other).unwrap());
        assert!(!reads(&store, &other, "dir/b"));
    }
}

#[test]
fn tokens_are_told_and_revoked_within_the_scope() {
    for case in stores() {
        let store = case.store.clone();
        let dir = store.scoped("dir").unwrap();
        let outer = store.grant("dir", Grant::new()).unwrap();
        let inner = dir.grant("b", Grant::new()).unwrap();
        let folder = dir.grant("", Grant::new().folder()).unwrap();
        store
            .grant("a", Grant::new().expires(SystemTime::UNIX_EPOCH))
            .unwrap();
        assert!(reads(&store, &inner, "dir/b"));
        assert!(reads(&dir, &inner, "b"));
        assert!(!reads(&dir, &store.grant("a", Grant::new()).unwrap(), "a"));
        let told = |store: &Store| {
            let mut told: Vec<_> = store
                .tokens()
                .unwrap()
                .into_iter()
                .map(|t| (t.key, t.folder))
                .collect();
            told.sort();
            told
        };
        assert_eq!(told(&dir), [(String::new(), true), ("b".into(), false)]);
        assert_eq!(told(&store).len(), 4);
        assert_eq!(store.stats().unwrap().tokens, 4, "the expired one is swept");
        assert!(!dir.revoke_token(&outer).unwrap());
        assert_eq!(dir.revoke("").unwrap(), 1);
        assert!(!lists(&dir, &folder, "", ListOptions::new()));
        assert_eq!(dir.revoke_all().unwrap(), 1);
        assert!(reads(&store, &outer, "dir"));
        assert_eq!(store.revoke_all().unwrap(), 2);
        assert!(store.tokens().unwrap().is_empty());
    }
}

#[test]
fn a_token_passes_the_lock_it_was_granted_under_and_no_later_one() {
    for case in stores() {
        let store = case.store.clone();
        let before = store.grant("a", Grant::new()).unwrap();
        store.lock("a", Lock::new().view("v").edit("e")).unwrap();
        assert!(
            !reads(&store, &before, "a"),
            "granted before there was a lock"
        );
        assert!(matches!(
            store.grant("a", Grant::new()),
            Err(Error::Locked { .. })
        ));
        let reader = store.unlocked_with("v");
        let token = reader.grant("a", Grant::new()).unwrap();
        assert!(reads(&store, &token, "a"));
        store.unlocked_with("e").put("a", "content").unwrap();
        assert!(reads(&store, &token, "a"), "overwriting keeps the lock");
        store
            .unlocked_with("e")
            .lock("a", Lock::new().view("w"))
            .unwrap();
        assert!(!reads(&store, &token, "a"));
        assert!(store.unlocked_with("w").unlock("a").unwrap());
        assert!(reads(&store, &token, "a"), "open to everybody");
        store.lock("a", Lock::new().edit("e")).unwrap();
        assert!(
            reads(&store, &before, "a"),
            "a lock that lets everybody read"
        );
    }
}

#[test]
fn tokens_are_long_random_and_shown_only_where_asked() {
    for case in stores() {
        let store = case.store.clone();
        let tokens = [(); 3].map(|()| store.grant("a", Grant::new()).unwrap());
        for token in &tokens {
            assert_eq!(token.as_str().len(), 43);
            assert!(
                token
                    .as_str()
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            );
            assert!(!format!("{token:?}").contains(token.as_str()));
        }
        assert!(tokens[0] != tokens[1] && tokens[1] != tokens[2]);
        let error = store.read_with(&tokens[0], "dir/b").unwrap_err();
        assert!(!format!("{error:?}").contains(tokens[0].as_str()));
    }
}

#[test]
fn addresses_escape_every_legal_key() {
    for case in stores() {
        let store = case.store.clone();
        let url = |base: &str, key: &str| store.download_url(base, key).unwrap();
        assert_eq!(url("http://h/f", "a/b c"), "http://h/f/a/b%20c");
        assert_eq!(url("http://h/f/", "100%"), "http://h/f/100%25");
        assert_eq!(url("", "ä?#&+=\\:;@"), "/%C3%A4%3F%23%26%2B%3D%5C%3A%3B%40");
        assert_eq!(url("", "A-z_0.9~"), "/A-z_0.9~");
        let inside = store.scoped("dir").unwrap();
        assert_eq!(inside.download_url("/x", "b").unwrap(), "/x/dir/b");
        let token = store.grant("a", Grant::new()).unwrap();
        assert_eq!(
            store.download_url_with("http://h", "a", &token).unwrap(),
            format!("http://h/a?token={token}")
        );
        assert!(store.download_url("http://h", "../a").is_err());
    }
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files
}

fn is_in_a_file(directory: &Path, text: &str) -> bool {
    files(directory).iter().any(|file| {
        let bytes = std::fs::read(file).unwrap();
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    })
}

#[test]
fn what_becomes_of_tokens_survives_a_restart() {
    for case in stores() {
        let Some(path) = case.path() else { continue };
        let store = case.store.clone();
        store.lock("a", Lock::new().view("v")).unwrap();
        let viewer = store.unlocked_with("v");
        let hours = |hours: u64| Grant::new().expires_in(Duration::from_secs(3600 * hours));
        let soon = SystemTime::now() + Duration::from_secs(5);
        let kept = store.grant("dir/b", Grant::new()).unwrap();
        let long = viewer.grant("a", hours(1)).unwrap();
        let short = store.grant("dir/b", Grant::new().expires(soon)).unwrap();
        let folder = store.grant("dir", hours(2).folder()).unwrap();
        let revoked = store.grant("dir/sub/c", Grant::new()).unwrap();
        assert!(
            [&kept, &short]
                .iter()
                .all(|token| reads(&store, token, "dir/b"))
        );
        assert!(store.revoke_token(&revoked).unwrap());
        let mut told = store.tokens().unwrap();
        store.close().unwrap();
        drop((store, viewer));

        let left = soon.duration_since(SystemTime::now());
        std::thread::sleep(left.unwrap_or_default() + Duration::from_millis(10));
        let store = Store::open(&path).unwrap();
        assert!(reads(&store, &kept, "dir/b"));
        assert!(
            reads(&store, &long, "a"),
            "past the lock it was granted under"
        );
        assert!(!reads(&store, &long, "dir/b"));
        assert!(lists(&store, &folder, "dir", ListOptions::new()));
        assert!(!reads(&store, &short, "dir/b"), "expired meanwhile");
        assert!(!reads(&store, &revoked, "dir/sub/c"));
        told.retain(|info| info.key != "dir/b" || info.expires.is_none());
        let by_key = |info: &TokenInfo| (info.key.clone(), info.created);
        told.sort_by_key(by_key);
        let mut now = store.tokens().unwrap();
        now.sort_by_key(by_key);
        assert_eq!(now, told);
        assert_eq!(store.revoke("dir/b").unwrap(), 1);
        store.close().unwrap();
        drop(store);

        let store = Store::open(&path).unwrap();
        assert!(!reads(&store, &kept, "dir/b"));
        assert!(reads(&store, &long, "a"));
        assert_eq!(store.revoke_all().unwrap(), 2);
        store.close().unwrap();
        drop(store);
        let store = Store::open(&path).unwrap();
        assert!(!reads(&store, &long, "a") && store.tokens().unwrap().is_empty());
    }
}

/// Whoever reads the directory must not find what opens it from outside. The control shows that the search finds things.
#[test]
fn a_token_is_in_no_file_of_the_store() {
    for case in stores() {
        let Some(path) = case.path() else { continue };
        let store = case.store.clone();
        let tokens: Vec<Token> = ["a", "dir/b", "to be revoked"]
            .iter()
            .map(|key| store.grant(key, Grant::new()).unwrap())
            .collect();
        store.revoke_token(&tokens[2]).unwrap();
        store
            .put("control", tokens[0].as_str().replace('-', "_"))
            .unwrap();
        store.flush().unwrap();
        let found = |text: &str| is_in_a_file(&path, text);
        let control = tokens[0].as_str().replace('-', "_");
        for is_closed in [false, true] {
            assert!(found("to be revoked"), "the key of a token");
            assert!(found(&control));
            for (number, token) in tokens.iter().enumerate() {
                let is_control = token.as_str() == control;
                assert!(is_control || !found(token.as_str()), "{number} {is_closed}");
                let bytes = URL_SAFE_NO_PAD.decode(token.as_str()).unwrap();
                let is_there = files(&path).iter().any(|file| {
                    let file = std::fs::read(file).unwrap();
                    file.windows(bytes.len()).any(|window| window == bytes)
                });
                assert!(!is_there, "{number} {is_closed}");
            }
            if !is_closed {
                store.close().unwrap();
            }
        }
    }
}

/// Any legal key: what breaks a rule is left out.
fn any_key() -> impl Strategy<Value = String> {
    let segment = prop_oneof!["[a-z0-9.~_-]{1,8}", "[ -~]{1,12}", "\\PC{1,20}"];
    let key = prop::collection::vec(segment, 1..5).prop_map(|segments| segments.join("/"));
    key.prop_filter("a legal key", |key| {
        Key::parse(key).is_ok_and(|parsed| parsed.as_str() == key)
    })
}

proptest! {
    /// An address has only what may stand in the path of a URL, has as many segments as the key, and decodes to it.
    #[test]
    fn an_address_decodes_to_its_key(key in any_key(), scope in any_key()) {
        let store = Store::in_memory().unwrap();
        let token = Token::from("a/b?c&d=e");
        let base = "https://example.org/files";
        for (view, whole) in [
            (store.clone(), key.clone()),
            (store.scoped(&scope).unwrap(), format!("{scope}/{key}")),
        ] {
            let url = view.download_url(base, &key).unwrap();
            let path = url.strip_prefix(base).unwrap().strip_prefix('/').unwrap();
            let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte);
            prop_assert!(path.bytes().all(is_unreserved), "{path}");
            prop_assert_eq!(path.split('/').count(), whole.split('/').count());
            let decoded = percent_decode_str(path).decode_utf8().unwrap();
            prop_assert_eq!(&decoded, &whole);
            let parsed = Key::parse(&decoded).unwrap();
            prop_assert_eq!(parsed.as_str(), whole);
            let with_token = view.download_url_with(base, &key, &token).unwrap();
            prop_assert_eq!(with_token, format!("{url}?token=a/b%3Fc%26d%3De"));
        }
    }
}

/// However many have piled up, those that are asked for go.
#[test]
fn expired_tokens_keep_none_from_being_revoked() {
    let store = Store::in_memory().unwrap();
    store.save("a", &1).unwrap();
    for _ in 0..20_001 {
        store
            .grant("a", Grant::new().expires_in(Duration::ZERO))
            .unwrap();
    }
    let token = store.grant("a", Grant::new()).unwrap();
    assert_eq!(store.revoke("a").unwrap(), 1);
    assert!(store.read_with(&token, "a").is_err());
    assert_eq!(store.stats().unwrap().tokens, 0);
}
