//! What a token opens, and until when.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics fails"
)]

mod common;

use std::io::Read;
use std::time::{Duration, SystemTime};

use common::{Case, stores_with};
use komatik::{Error, Grant, ListOptions, Lock, PasswordCost, Store, Token};

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
        let short = Grant::new().expires_in(Duration::from_millis(50));
        let short = store.grant("a", short).unwrap();
        assert!(reads(&store, &short, "a"));
        std::thread::sleep(Duration::from_millis(60));
        assert!(!reads(&store, &short, "a"));
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
