//! API keys: made, found by their hash, and revoked.

use std::sync::PoisonError;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::accounts::{Account, Accounts, User, check_name, missing};
use super::passwords::{hash_of_secret, random_secret};
use super::problem::{Answer, Problem};

const KEYS: &str = "keys";
/// What comes behind `/v1/` in addresses that are not of projects.
const RESERVED: [&str; 18] = [
    "blobs",
    "changes",
    "compact",
    "copy",
    "documents",
    "entries",
    "folders",
    "keys",
    "locks",
    "move",
    "openapi.json",
    "sessions",
    "shared",
    "stats",
    "tokens",
    "transactions",
    "users",
    "verify",
];

/// An API key as it is stored, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ApiKey {
    /// Whose it is.
    pub(super) user: String,
    /// The [`User::id`] of whose it is.
    #[serde(default)]
    pub(super) user_id: String,
    /// What it is for, in the words of who made it.
    pub(super) label: String,
    /// The project that it names, for protocols that have projects.
    pub(super) project: String,
    /// What a token is verified with that was signed by the key.
    #[serde(default)]
    pub(super) signing: Signing,
}

/// The SHA-256 of an API key in base64, by which HMAC knows the key: a key is longer than a block of the hash. Whoever has
/// it can sign tokens, but cannot offer it as the key.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Signing(String);

impl Signing {
    fn of(key: &str) -> Signing {
        Signing(STANDARD.encode(Sha256::digest(key)))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Signing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signing(…)")
    }
}

impl Accounts {
    /// Makes an API key of a user, for a project: the project, `_`, and a secret of 86 characters. Only this answer tells
    /// it.
    pub(super) fn add_key(&self, user: &str, label: &str, project: &str) -> Answer<String> {
        check_project(project)?;
        // More than the 64 bytes of a block of SHA-256, see `Signing`.
        let secret = format!("{project}_{}{}", random_secret()?, random_secret()?);
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.user(user)?.ok_or_else(|| missing(user))?;
        let key = ApiKey {
            user: user.to_owned(),
            user_id: found.id,
            label: label.to_owned(),
            project: project.to_owned(),
            signing: Signing::of(&secret),
        };
        self.store
            .save(&key_of_key(&hash_of_secret(&secret)), &key)?;
        Ok(secret)
    }

    /// Every key, by the hash of its secret.
    pub(super) fn keys(&self) -> Answer<Vec<(String, ApiKey)>> {
        Ok(self.each(KEYS)?.collect::<crate::Result<_>>()?)
    }

    /// As [`Accounts::keys`], without those that cannot be read.
    pub(super) fn readable_keys(&self) -> Answer<Vec<(String, ApiKey)>> {
        Ok(self.readable(KEYS)?.collect::<crate::Result<_>>()?)
    }

    /// The key with this hash, and who it is of.
    pub(super) fn key(&self, hash: &str) -> Answer<Option<(ApiKey, User)>> {
        let Some(key) = self.store.load::<ApiKey>(&key_of_key(hash))? else {
            return Ok(None);
        };
        let user = self.user_of(&key)?;
        Ok(user.map(|user| (key, user)))
    }

    fn user_of(&self, key: &ApiKey) -> Answer<Option<User>> {
        let user = self.user(&key.user)?;
        Ok(user.filter(|user| user.id == key.user_id))
    }

    /// Revokes the key with this hash. Answers whether there was one.
    pub(super) fn remove_key(&self, hash: &str) -> Answer<bool> {
        check_name(hash)?;
        let was_there = self.store.delete(&key_of_key(hash))?;
        self.let_pass()?;
        Ok(was_there)
    }

    /// Whose API key this is, `None` for nobody's.
    pub(super) fn account_of_key(&self, secret: &str) -> Answer<Option<Account>> {
        let hash = hash_of_secret(secret);
        // Before anything is read: what is committed meanwhile is not to be missed.
        let revision = self.store.history().newest;
        let account = self.key(&hash)?.map(|(key, user)| Account {
            project: Some(key.project),
            ..Account::of(&key.user, &user)
        });
        if let Some(account) = &account {
            self.remembered.keep(hash, account, revision);
        }
        Ok(account)
    }

    /// Whose API key this is, where it was offered since the store last changed. It asks nothing of the store, and may
    /// be called where no one may wait.
    pub(super) fn remembered_key(&self, secret: &str) -> Option<Account> {
        let revision = self.store.history().newest;
        self.remembered.get(&hash_of_secret(secret), revision)
    }
}

pub(super) fn key_of_key(hash: &str) -> String {
    format!("{KEYS}/{hash}")
}

/// As a name, without the `_` that ends it in an API key, and none that the interface of the service has below `/v1/`: a
/// project has its drives there.
pub(super) fn check_project(project: &str) -> Answer<()> {
    if project.contains('_') {
        return Err(Problem::bad_request("the name of a project has no `_`"));
    }
    if RESERVED.contains(&project) {
        return Err(Problem::bad_request("this name is the service's own"));
    }
    check_name(project)
}
