//! Tokens: capabilities to read one key, or to list one folder.

mod url;

use std::fmt;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use crate::backend::{Row, Tree, View};
use crate::blob::BlobReader;
use crate::draft::Draft;
use crate::error::{Error, Result};
use crate::format::{GrantRecord, from_micros, to_micros};
use crate::list::Listing;
use crate::lock::{Need, Passwords};
use crate::options::{Grant, ListOptions};
use crate::random;
use crate::store::Store;

/// A capability, from [`Store::grant`]: 256 random bits as 43 characters that need no escaping in a URL.
///
/// Whoever holds it can use it. It is shown by `Display`, never by `Debug`, and the store keeps only its hash.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The token as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn random() -> Result<Token> {
        let mut bytes = [0; 32];
        random::fill(&mut bytes)?;
        Ok(Token(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The key of its row. That a lookup by it takes longer or shorter tells of a hash, which is of no use to anyone.
    fn hash(&self) -> TokenHash {
        *blake3::hash(self.0.as_bytes()).as_bytes()
    }
}

/// A token as somebody sent it. Any text will do: one that was never granted is refused where it is used.
impl From<&str> for Token {
    fn from(text: &str) -> Token {
        Token(text.to_owned())
    }
}

impl From<String> for Token {
    fn from(text: String) -> Token {
        Token(text)
    }
}

/// Takes the same time wherever two tokens differ.
impl PartialEq for Token {
    fn eq(&self, other: &Token) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Token {}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What can be told of a token that was granted; not the token itself, which the store does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenInfo {
    /// The key it reads, or the folder it lists, relative to the scope it was asked in.
    pub key: String,
    /// Whether it lists a folder.
    pub folder: bool,
    /// When it was granted.
    pub created: SystemTime,
    /// When it stops working, `None` for never.
    pub expires: Option<SystemTime>,
}

type TokenHash = [u8; 32];

/// The hash of a token and its grant, from its row.
fn granted_of(key: &[u8], row: &Row) -> Result<(TokenHash, GrantRecord)> {
    let damaged = |_| Error::damaged("token", "the tokens");
    let hash = key.try_into().map_err(damaged)?;
    Ok((hash, GrantRecord::decode(&row.value)?))
}

fn is_expired(record: &GrantRecord, now: u64) -> bool {
    record.expires.is_some_and(|expires| expires <= now)
}

/// Tokens deleted in one commit, at most.
const TOKENS_A_COMMIT: usize = 10_000;

impl Store {
    /// Makes a token that reads this exact key, or with [`Grant::folder`] lists this exact folder (`""`: the root of
    /// this view), for whoever holds it, until it expires or is revoked. Nothing need be there yet.
    ///
    /// For an entry with a view password the caller must be able to read it; the token then reads it without a password.
    /// It stops working when the entry gets another lock with a view password, be it the same one. A token for a folder passes no lock.
    ///
    /// One commit, of one small row; no change is told.
    ///
    /// ```
    /// use std::time::Duration;
    /// use komatik::{Grant, Store};
    /// let store = Store::in_memory()?;
    /// store.put("plan.txt", "north")?;
    /// let token = store.grant("plan.txt", Grant::new().expires_in(Duration::from_secs(3600)))?;
    /// assert!(store.read_with(&token, "plan.txt")?.is_some());
    /// assert!(store.read_with(&token, "other.txt").is_err());
    /// assert_eq!(store.revoke("plan.txt")?, 1);
    /// assert!(store.read_with(&token, "plan.txt").is_err());
    /// # Ok::<(), komatik::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidKey`]; [`Error::Locked`] and [`Error::WrongPassword`]; and those of every write.
    pub fn grant(&self, key: &str, grant: Grant) -> Result<Token> {
        let name = if grant.folder {
            self.folder(key)?.as_str().to_owned()
        } else {
            self.key(key)?.as_str().to_owned()
        };
        let token = Token::random()?;
        self.write(|draft| {
            let mut lock = None;
            if !grant.folder
                && let Some(present) = draft.read(&name)?
            {
                draft.check_lock(&name, &present.record, Need::Read)?;
                lock = present.record.view_lock().map(|lock| lock.id);
            }
            let record = GrantRecord {
                name: name.clone(),
                folder: grant.folder,
                expires: grant.expires.map(to_micros),
                created: draft.now,
                lock,
            };
            draft.write_token(token.hash(), Some(record.encode()));
            Ok(())
        })?;
        Ok(token)
    }

    /// Reads an entry for the holder of a token, `None` where nothing is stored. The passwords of this view play no part.
    ///
    /// # Errors
    /// [`Error::TokenRefused`] where the token is unknown, expired, revoked, for another key or for a folder, or where
    /// the entry has got another lock since, be it with the same view password; and those of [`Store::reader`].
    pub fn read_with(&self, token: &Token, key: &str) -> Result<Option<BlobReader>> {
        let record = self.granted(token)?;
        if record.folder || self.key(key)?.as_str() != record.name {
            return Err(Error::TokenRefused);
        }
        let holder = Store {
            passwords: Passwords::admitting(record.lock),
            ..self.clone()
        };
        holder.reader(key).map_err(|error| match error {
            Error::Locked { .. } => Error::TokenRefused,
            error => error,
        })
    }

    /// Lists a folder for the holder of a token: its direct children, as [`Store::list_with`]. Metadata of entries with
    /// a view password is told only where this view offers the password.
    ///
    /// # Errors
    /// [`Error::TokenRefused`] where the token is unknown, expired, revoked, for another folder or for a key, and where
    /// the options ask for a recursive listing; and those of [`Store::list_with`].
    pub fn list_with_token(
        &self,
        token: &Token,
        folder: &str,
        options: ListOptions,
    ) -> Result<Listing> {
        let record = self.granted(token)?;
        let is_for = record.folder && self.folder(folder)?.as_str() == record.name;
        if !is_for || options.recursive {
            return Err(Error::TokenRefused);
        }
        self.list_with(folder, options)
    }

    /// Revokes every token for this exact key or folder. Answers how many there were that still worked.
    ///
    /// Reads every token of the store, which costs about a microsecond each. Expired ones it meets are deleted as well, behind
    /// the others, here and in [`Store::revoke_all`] and [`Store::tokens`]. One commit, or one for each 10,000 tokens.
    ///
    /// # Errors
    /// [`Error::InvalidKey`], and those of every write. [`Error::Damaged`] where some cannot be read, which open nothing: all
    /// others are revoked.
    pub fn revoke(&self, key: &str) -> Result<u64> {
        let folder = self.folder(key)?;
        self.revoke_where(|record| {
            // A key that has the name of the scope itself lies outside of it.
            record.name == folder.as_str() && self.token_name(record).is_some()
        })
    }

    /// Revokes every token for a key or folder in the scope of this view. Answers how many there were that still worked.
    ///
    /// # Errors
    /// Those of every write; [`Error::Damaged`] as in [`Store::revoke`].
    pub fn revoke_all(&self) -> Result<u64> {
        self.revoke_where(|record| self.token_name(record).is_some())
    }

    /// Revokes one token. Answers whether it still worked and was for something in the scope of this view.
    ///
    /// # Errors
    /// Those of every write.
    pub fn revoke_token(&self, token: &Token) -> Result<bool> {
        match self.granted(token) {
            Ok(_) => {
                self.delete_tokens(&[token.hash()])?;
                Ok(true)
            }
            Err(Error::TokenRefused) => {
                self.delete_tokens(&[])?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The tokens that work, for keys and folders in the scope of this view, in no particular order. Reads every token
    /// of the store, and deletes those that have expired, with a commit for each 10,000.
    ///
    /// # Errors
    /// A damaged row, or the operating system.
    pub fn tokens(&self) -> Result<Vec<TokenInfo>> {
        let mut working = Vec::new();
        let (expired, damaged) = self.each_token(|_, record| {
            working.extend(self.token_name(&record).map(|name| TokenInfo {
                key: name.to_owned(),
                folder: record.folder,
                created: from_micros(record.created),
                expires: record.expires.map(from_micros),
            }));
        })?;
        self.forget_tokens(&expired);
        damaged.map_or(Ok(working), Err)
    }

    /// What the token was granted for, in the scope of this view.
    fn granted(&self, token: &Token) -> Result<GrantRecord> {
        let hash = token.hash();
        let row = self
            .shared
            .backend
            .get(View::Settled, Tree::Tokens, &hash)?
            .ok_or(Error::TokenRefused)?;
        let record = GrantRecord::decode(&row.value)?;
        let is_expired = is_expired(&record, to_micros(SystemTime::now()));
        if is_expired || self.token_name(&record).is_none() {
            return Err(Error::TokenRefused);
        }
        Ok(record)
    }

    /// The key or folder of a token as this view names it, `None` where it lies outside.
    fn token_name<'a>(&self, record: &'a GrantRecord) -> Option<&'a str> {
        if record.folder && record.name == self.scope.as_str() {
            return Some("");
        }
        self.scope.strip(&record.name)
    }

    /// Tells of each token that has not expired. Answers the hashes of those that have, and the first damage: it is passed
    /// over, since a row that cannot be read opens nothing, and is not to keep others from being revoked.
    fn each_token(
        &self,
        mut tell: impl FnMut(TokenHash, GrantRecord),
    ) -> Result<(Vec<TokenHash>, Option<Error>)> {
        let now = to_micros(SystemTime::now());
        let mut scan = self.shared.backend.scan(Tree::Tokens, b"", None)?;
        let (mut expired, mut damaged) = (Vec::new(), None);
        loop {
            let found = match scan.next() {
                Ok(None) => return Ok((expired, damaged)),
                Ok(Some((key, row))) => granted_of(&key, &row),
                Err(error) => Err(error),
            };
            match found {
                Ok((hash, record)) if is_expired(&record, now) => expired.push(hash),
                Ok((hash, record)) => tell(hash, record),
                Err(error @ Error::Damaged { .. }) => drop(damaged.get_or_insert(error)),
                Err(error) => return Err(error),
            }
        }
    }

    fn revoke_where(&self, applies: impl Fn(&GrantRecord) -> bool) -> Result<u64> {
        let mut revoked = Vec::new();
        let (expired, damaged) = self.each_token(|hash, record| {
            if applies(&record) {
                revoked.push(hash);
            }
        })?;
        self.delete_tokens(&revoked)?;
        // However many they are, what was asked for is done.
        self.forget_tokens(&expired);
        let count = u64::try_from(revoked.len()).unwrap_or(u64::MAX);
        damaged.map_or(Ok(count), Err)
    }

    /// Deletes the tokens that have expired; how many.
    #[cfg(feature = "http")]
    pub(crate) fn sweep_tokens(&self) -> Result<usize> {
        // Damage is told to who asks for a token.
        let (expired, _) = self.each_token(|_, _| {})?;
        Ok(match self.forget_tokens(&expired) {
            true => expired.len(),
            false => 0,
        })
    }

    /// Deletes tokens that open nothing any more, as far as that can be done now.
    fn forget_tokens(&self, expired: &[TokenHash]) -> bool {
        let mut parts = expired.chunks(TOKENS_A_COMMIT);
        parts.all(|part| {
            self.try_write(|draft| deletion_of(part, draft))
                .inspect_err(|error| tracing::debug!(%error, "expired tokens stay for now"))
                .is_ok_and(|written| written.is_some())
        })
    }

    fn delete_tokens(&self, hashes: &[TokenHash]) -> Result<()> {
        if hashes.is_empty() {
            self.write(|draft| {
                draft.note_done();
                Ok(())
            })?;
        }
        for part in hashes.chunks(TOKENS_A_COMMIT) {
            self.write(|draft| deletion_of(part, draft))?;
        }
        Ok(())
    }
}

fn deletion_of(hashes: &[TokenHash], draft: &mut Draft<'_>) -> Result<()> {
    for hash in hashes {
        draft.write_token(*hash, None);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
