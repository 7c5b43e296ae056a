//! Tokens, and what they open.

use std::io::Read;
use std::time::SystemTime;

use komatik::{Grant, ListOptions, Store, Token};

use super::compare::{check_metadata, check_refusal};
use super::listing::check_items;
use super::operation::{Caller, Key};
use super::state::{Attribution, Entry, Refusal, State, whole_key};

/// A token that was granted.
#[derive(Debug)]
struct Granted {
    token: Token,
    name: String,
    is_folder: bool,
    is_expired: bool,
    is_revoked: bool,
    /// The lock it passes.
    lock: Option<u64>,
}

impl Granted {
    fn works(&self) -> bool {
        !self.is_expired && !self.is_revoked
    }
}

#[derive(Debug, Default)]
pub struct Tokens(Vec<Granted>);

impl Tokens {
    pub fn grant(
        &mut self,
        view: &Store,
        state: &State,
        caller: Caller,
        (key, is_folder, is_expired): (Key, bool, bool),
    ) {
        let expected = whole_key(caller, key).and_then(|name| {
            if is_folder {
                return Ok((name, None));
            }
            let entry = state.readable(caller, &name)?;
            let lock = entry.and_then(|entry| entry.lock);
            let lock = lock.filter(|lock| lock.view.is_some()).map(|lock| lock.id);
            Ok((name, lock))
        });
        let mut grant = Grant::new();
        grant.folder = is_folder;
        grant.expires = is_expired.then_some(SystemTime::UNIX_EPOCH);
        let found = view.grant(key, grant);
        let token = check_refusal(&expected, found, caller);
        if let (Some(token), Ok((name, lock))) = (token, expected) {
            self.0.push(Granted {
                token,
                name,
                is_folder,
                is_expired,
                is_revoked: false,
                lock,
            });
        }
    }

    /// Uses a token for its own name or another; `store` is one that offers no password.
    pub fn redeem(&self, store: &Store, state: &State, number: usize, other: Option<Key>) {
        let Some(granted) = self.at(number) else {
            return;
        };
        let token = Token::from(granted.token.as_str());
        let name = other.unwrap_or(&granted.name);
        let is_for =
            |is_folder| granted.works() && granted.is_folder == is_folder && granted.name == name;
        let expected = match is_for(true) {
            true => Ok(state.list_of(name)),
            false => Err(Refusal::TokenRefused),
        };
        let found = store.list_with_token(&token, name, ListOptions::new());
        let nobody = Caller::default();
        if let Some(found) = check_refusal(&expected, found, nobody) {
            let found: Vec<_> = found.map(Result::unwrap).collect();
            check_items(&found, &expected.unwrap(), nobody);
        }
        let expected = match is_for(false) {
            true => opened(granted, state.entries.get(name)),
            false => Err(Refusal::TokenRefused),
        };
        let found = store.read_with(&token, name);
        match (check_refusal(&expected, found, nobody), expected) {
            (Some(Some(mut reader)), Ok(Some(entry))) => {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).unwrap();
                assert!(bytes == entry.content.shown(), "what a token reads");
                check_metadata(reader.metadata(), name, entry, nobody, Attribution::Told);
            }
            (Some(None) | None, Ok(None) | Err(_)) => {}
            (found, expected) => panic!("answered {found:?}, expected {expected:?}"),
        }
    }

    pub fn revoke(&mut self, store: &Store, key: Key) {
        let revoked = self.end(|granted| granted.name == key);
        assert_eq!(store.revoke(key).unwrap(), revoked);
    }

    pub fn revoke_all(&mut self, store: &Store) {
        let revoked = self.end(|_| true);
        assert_eq!(store.revoke_all().unwrap(), revoked);
    }

    pub fn revoke_one(&mut self, store: &Store, number: usize) {
        if let Some(token) = self.at(number).map(|granted| granted.token.clone()) {
            let revoked = self.end(|granted| granted.token == token) == 1;
            assert_eq!(store.revoke_token(&token).unwrap(), revoked);
        }
    }

    pub fn check_all(&self, store: &Store) {
        let told = store.tokens().unwrap().into_iter();
        let mut told: Vec<_> = told.map(|info| (info.key, info.folder)).collect();
        let working = self.0.iter().filter(|granted| granted.works());
        let mut expected: Vec<_> = working
            .map(|granted| (granted.name.clone(), granted.is_folder))
            .collect();
        told.sort();
        expected.sort();
        assert_eq!(told, expected);
    }

    fn at(&self, number: usize) -> Option<&Granted> {
        self.0.get(number % self.0.len().max(1))
    }

    /// Ends what works and `is_meant`; how many.
    fn end(&mut self, is_meant: impl Fn(&Granted) -> bool) -> u64 {
        let mut ended = 0;
        for granted in &mut self.0 {
            if granted.works() && is_meant(granted) {
                granted.is_revoked = true;
                ended += 1;
            }
        }
        ended
    }
}

/// What a token for this entry gets to read.
fn opened<'a>(granted: &Granted, entry: Option<&'a Entry>) -> Result<Option<&'a Entry>, Refusal> {
    let lock = entry.and_then(|entry| entry.lock);
    match lock.filter(|lock| lock.view.is_some()) {
        Some(lock) if granted.lock != Some(lock.id) => Err(Refusal::TokenRefused),
        _ => Ok(entry),
    }
}
