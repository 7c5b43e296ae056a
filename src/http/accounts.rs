//! Who may use the service: users and their keys, as documents of the store below a folder that no user reaches.
//!
//! | document | tells |
//! |---|---|
//! | `users/<name>` | the hash of the password, the role, the root |
//! | `keys/<hash>` | whose API key it is, for which project, and how it signs |
//! | `sessions/<hash>` | whose session it is, since when and until when |
//! | `sessions-of/<name>/<end>-<begin>-<hash>` | that it is one of theirs; nothing else |
//!
//! A key or a session is found by the hash of its secret; the secret itself is nowhere.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::api_keys::key_of_key;
use super::passwords::{self, Checker, random_secret};
use super::problem::{Answer, Problem};
use super::readable::delete_readable;
use super::remembered::Remembered;
use crate::{Error, PutOptions, Store};

/// Where the service keeps what is its own.
pub(super) const FOLDER: &str = ".komatik";
const USERS: &str = "users";
/// The account that a store begins with.
const FIRST: &str = "admin";
/// Longest name of a user or project, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// What a user may do in the part of the store that is theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// Also make, change and remove users and keys, and see the figures of the service.
    Admin,
    /// Read and write.
    Writer,
    /// Read.
    Reader,
}

/// A user as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct User {
    /// Argon2id, as a PHC string.
    password: String,
    pub(super) role: Role,
    /// The folder that is the user's whole world; empty for all of the store but the accounts.
    pub(super) root: String,
    /// Another with each password, so that sessions end when it is changed.
    pub(super) generation: String,
    /// Another for each user that is made, so that what one of a name had is not one's who has the name later. Empty for
    /// those from before there were any.
    #[serde(default)]
    pub(super) id: String,
}

/// Who a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) root: String,
    /// The project of the API key that was offered, `None` for another proof.
    pub(super) project: Option<String>,
    /// That of the user when the proof was found to be right.
    pub(super) generation: String,
    /// The [`User::id`].
    pub(super) id: String,
    /// When the session ends that was offered, in seconds since 1970; `None` for another proof.
    pub(super) ends: Option<u64>,
}

impl Account {
    pub(super) fn of(name: &str, user: &User) -> Account {
        Account {
            name: name.to_owned(),
            role: user.role,
            root: user.root.clone(),
            project: None,
            generation: user.generation.clone(),
            id: user.id.clone(),
            ends: None,
        }
    }
}

/// The name and the password of the account that a new service begins with.
#[derive(Clone)]
pub struct FirstPassword {
    /// The name to log in with.
    pub name: &'static str,
    /// The password, which only this value tells.
    pub password: String,
}

impl FirstPassword {
    /// Removes the account again, where its password could be told to nobody: the next service of the store makes it anew.
    /// For before anybody has logged in.
    ///
    /// # Errors
    /// Those of every write.
    pub fn take_back(self, store: &Store) -> crate::Result<()> {
        let accounts = store.of_nobody().scoped(FOLDER)?;
        accounts.delete(&user_key(self.name))?;
        Ok(())
    }
}

impl std::fmt::Debug for FirstPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirstPassword")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The accounts of a store. Its calls are synchronous, as those of the store are.
#[derive(Debug, Clone)]
pub(super) struct Accounts {
    pub(super) store: Store,
    checker: Arc<Checker>,
    /// Held while accounts are changed, so that what a change looks at stays as it is. Only this process has the store.
    pub(super) changing: Arc<Mutex<()>>,
    pub(super) remembered: Arc<Remembered>,
}

impl Accounts {
    /// The accounts of this store; the first one is made where there is none.
    pub(super) fn open(store: &Store) -> crate::Result<(Accounts, Option<FirstPassword>)> {
        let accounts = Accounts {
            store: store.scoped(FOLDER)?,
            checker: Arc::new(Checker::new().map_err(no_random)?),
            changing: Arc::default(),
            remembered: Arc::default(),
        };
        if accounts.store.list(USERS)?.next().transpose()?.is_some() {
            return Ok((accounts, None));
        }
        let password = random_secret().map_err(no_random)?;
        let first = User::new(&password, Role::Admin, "").map_err(no_random)?;
        accounts
            .store
            .save_with(&user_key(FIRST), &first, PutOptions::create())?;
        let first = FirstPassword {
            name: FIRST,
            password,
        };
        Ok((accounts, Some(first)))
    }

    pub(super) fn user(&self, name: &str) -> Answer<Option<User>> {
        // What is no name is nobody's, and no reason to tell anything else.
        match check_name(name) {
            Ok(()) => Ok(self.store.load(&user_key(name))?),
            Err(_) => Ok(None),
        }
    }

    pub(super) fn users(&self) -> Answer<Vec<Account>> {
        let users = self.each(USERS)?;
        let users = users.map(|user| user.map(|(name, user)| Account::of(&name, &user)));
        Ok(users.collect::<crate::Result<_>>()?)
    }

    /// Makes a user.
    pub(super) fn add_user(&self, name: &str, user: &User) -> Answer<()> {
        check_name(name)?;
        check_root(&user.root)?;
        self.store
            .save_with(&user_key(name), user, PutOptions::create())?;
        Ok(())
    }

    /// Changes what is given of a user, in one step. Where the password is, its sessions end.
    pub(super) fn change_user(
        &self,
        name: &str,
        password: Option<&str>,
        role: Option<Role>,
        root: Option<&str>,
    ) -> Answer<()> {
        check_name(name)?;
        root.map(check_root).transpose()?;
        let fresh = password.map(Fresh::of).transpose()?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if role.is_some_and(|role| role != Role::Admin) {
            self.check_admin_but(name)?;
        }
        change(&self.store, name, |user| {
            if let Some(fresh) = fresh {
                fresh.give(user);
            }
            user.role = role.unwrap_or(user.role);
            if let Some(root) = root {
                root.clone_into(&mut user.root);
            }
        })?;
        self.let_pass()
    }

    /// Waits for the writers that were asked for their rights before, see [`standing::guarded`](super::standing::guarded):
    /// once this is done nothing more is committed by rights that were taken away.
    pub(super) fn let_pass(&self) -> Answer<()> {
        Ok(self.store.look_alone(|| Ok(()))?)
    }

    /// Fails where this is the only admin: nobody could make another.
    fn check_admin_but(&self, name: &str) -> Answer<()> {
        let (mut is_admin, mut has_other) = (false, false);
        for user in self.readable::<User>(USERS)? {
            let (other, user) = user?;
            if user.role == Role::Admin {
                is_admin |= other == name;
                has_other |= other != name;
            }
        }
        if has_other || !is_admin {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::CONFLICT,
            "the only admin cannot be removed or get another role",
        ))
    }

    /// Removes a user with its keys and the paths of its media, in one step; its sessions end. Answers whether there was one. What it
    /// stored stays.
    pub(super) fn remove_user(&self, name: &str) -> Answer<bool> {
        check_name(name)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_admin_but(name)?;
        let (keys, media) = (self.readable_keys()?, self.media_of(name)?);
        // Sessions name the generation of the user, keys and media its id, which no later user of the name has.
        let was_there = self.store.transaction(|tx| {
            for (hash, _) in keys.iter().filter(|(_, key)| key.user == name) {
                tx.delete(&key_of_key(hash))?;
            }
            for media in &media {
                // One that cannot be read leads to nobody's media.
                delete_readable(tx, media)?;
            }
            tx.delete(&user_key(name))
        })?;
        self.let_pass()?;
        Ok(was_there)
    }

    /// Whether the password is right; `None` for a user that is not there takes as long.
    pub(super) fn is_password(&self, user: Option<&User>, password: &str) -> bool {
        let phc = user.map(|user| user.password.as_str());
        self.checker.check(phc, password)
    }

    /// Whether the password was right a short while ago.
    pub(super) fn remembers(&self, user: &User, password: &str) -> bool {
        self.checker.remembers(&user.password, password)
    }
}

/// Gives an account of a store a new password, for who has lost it. Its sessions end; its API keys go on.
///
/// # Errors
/// [`Error::NotFound`] where the store has no such account; [`Error::InvalidArgument`] for a password of less than 8
/// characters or more than 1,024 bytes; those of every read and write.
pub fn set_password(store: &Store, name: &str, password: &str) -> crate::Result<()> {
    let store = store.scoped(FOLDER)?;
    if check_name(name).is_err() || !store.exists(&user_key(name))? {
        return Err(missing(name));
    }
    let fresh = Fresh::of(password).map_err(|problem| Error::InvalidArgument {
        what: "password",
        reason: problem.detail().to_owned(),
    })?;
    change(&store, name, |user| fresh.give(user))
}

/// A password as it is stored, made before anybody has to wait for it: that takes some 20 ms.
struct Fresh {
    password: String,
    generation: String,
}

impl Fresh {
    fn of(password: &str) -> Answer<Fresh> {
        Ok(Fresh {
            password: passwords::hash(password)?,
            generation: random_secret()?,
        })
    }

    fn give(self, user: &mut User) {
        user.password = self.password;
        user.generation = self.generation;
    }
}

/// Changes a user in one step: who else changes it meanwhile may do so by another view of the store.
fn change(store: &Store, name: &str, change: impl FnOnce(&mut User)) -> crate::Result<()> {
    let key = user_key(name);
    store.transaction(|tx| {
        let mut user: User = tx.load(&key)?.ok_or_else(|| missing(name))?;
        change(&mut user);
        tx.save(&key, &user)
    })
}

fn no_random(_: Problem) -> Error {
    Error::Misuse {
        reason: "the system has no random bytes to make a password of",
    }
}

impl User {
    pub(super) fn new(password: &str, role: Role, root: &str) -> Answer<User> {
        let fresh = Fresh::of(password)?;
        Ok(User {
            password: fresh.password,
            role,
            root: root.to_owned(),
            generation: fresh.generation,
            id: random_secret()?,
        })
    }
}

pub(super) fn user_key(name: &str) -> String {
    format!("{USERS}/{name}")
}

pub(super) fn missing(name: &str) -> Error {
    Error::NotFound {
        key: name.to_owned(),
    }
}

/// A name that is the same however it is written, and harmless wherever it is shown.
pub(super) fn check_name(name: &str) -> Answer<()> {
    let is_harmless = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'@');
    let begins_well = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins_well && name.len() <= MAX_NAME_BYTES && name.bytes().all(is_harmless) {
        return Ok(());
    }
    Err(Problem::bad_request(
        "a name has at most 64 of a-z, 0-9, `.`, `-`, `_` and `@`, and begins with a letter or digit",
    ))
}

/// A root is a folder, of all but the service's own.
fn check_root(root: &str) -> Answer<()> {
    let folder = crate::Folder::parse(root)?;
    if folder.as_prefix().starts_with(&format!("{FOLDER}/")) {
        return Err(Problem::bad_request("this folder is the service's own"));
    }
    Ok(())
}
