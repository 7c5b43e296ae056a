//! Path tokens: each opens one exact path for reading, for a day, to whoever has it.
//!
//! The service keeps them itself, as the document `path-tokens/<hash of the path>`: who asks again is to get the same
//! token, and of its own tokens the store knows only hashes. They are bound to a path as it is written, not to a key.

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::super::accounts::{Account, Accounts, User, user_key};
use super::super::passwords::{hash_of_secret, random_secret};
use super::super::problem::{Answer, Problem};
use super::super::sessions::{AHEAD, now};

const PATH_TOKENS: &str = "path-tokens";
/// How many characters of a random secret a token has: 126 bits.
const TOKEN_CHARS: usize = 21;
/// Seconds that a token is good for.
const VALID: u64 = 24 * 60 * 60;
/// Seconds that a token must have left to be given out again.
const LEFT_FOR_REUSE: u64 = 6 * 60 * 60;

/// The tokens of one path as they are stored.
#[derive(Default, Serialize, Deserialize)]
struct PathTokens {
    user: String,
    /// That of the user when the tokens were made: they end with the password.
    generation: String,
    /// The newest last.
    tokens: Vec<PathToken>,
}

#[derive(Serialize, Deserialize)]
struct PathToken {
    token: String,
    /// Seconds since 1970.
    expires: u64,
}

impl PathToken {
    /// One that was made when the clock was ahead would be good for longer than any other.
    fn is_good(&self, now: u64) -> bool {
        let left = self.expires.saturating_sub(now);
        (1..=VALID + AHEAD).contains(&left)
    }
}

impl PathTokens {
    fn drop_expired(&mut self, now: u64) {
        self.tokens.retain(|token| now < token.expires);
    }

    /// The newest token, while it has time left to be given out again.
    fn given(&self, now: u64) -> Option<String> {
        let newest = self.tokens.last()?;
        let has_time = newest.expires.saturating_sub(now) > LEFT_FOR_REUSE;
        (has_time && newest.is_good(now)).then(|| newest.token.clone())
    }

    /// Adds a fresh token. The old ones stay good to their end.
    fn add(&mut self, now: u64, fresh: String) {
        self.drop_expired(now);
        self.tokens.push(PathToken {
            token: fresh,
            expires: now.saturating_add(VALID),
        });
    }

    fn has(&self, token: &str, now: u64) -> bool {
        // All of them are compared, so that the time tells nothing of which one it is.
        self.tokens.iter().fold(false, |found, known| {
            let is_same: bool = known.token.as_bytes().ct_eq(token.as_bytes()).into();
            found | (is_same && known.is_good(now))
        })
    }
}

impl Accounts {
    /// A token for a path of a user, that ends with the password the account has proved itself by.
    pub(in super::super) fn path_token(&self, path: &str, account: &Account) -> Answer<String> {
        let mut fresh = random_secret()?;
        fresh.truncate(TOKEN_CHARS);
        let key = key_of(path);
        let given = self.store.transaction(|tx| {
            let user = tx.load::<User>(&user_key(&account.name))?;
            // The tokens that are there are those of the password of now.
            if user.is_none_or(|user| user.generation != account.generation) {
                return Ok(None);
            }
            let stored = tx.load::<PathTokens>(&key)?;
            let same = |tokens: &PathTokens| {
                tokens.user == account.name && tokens.generation == account.generation
            };
            let mut tokens = stored.filter(same).unwrap_or_else(|| PathTokens {
                user: account.name.clone(),
                generation: account.generation.clone(),
                tokens: Vec::new(),
            });
            let now = now();
            if let Some(given) = tokens.given(now) {
                return Ok(Some(given));
            }
            tokens.add(now, fresh.clone());
            tx.save(&key, &tokens)?;
            Ok(Some(fresh))
        })?;
        given.ok_or_else(|| Problem::unauthorized("the account has changed; log in again"))
    }

    /// Whose path this token opens, `None` where it does not.
    pub(super) fn account_of_path_token(&self, path: &str, token: &str) -> Answer<Option<Account>> {
        let Some(tokens) = self.store.load::<PathTokens>(&key_of(path))? else {
            return Ok(None);
        };
        if !tokens.has(token, now()) {
            return Ok(None);
        }
        let user = self.user(&tokens.user)?;
        let user = user.filter(|user| user.generation == tokens.generation);
        Ok(user.map(|user| Account::of(&tokens.user, &user)))
    }

    /// Removes the tokens that have expired, as far as it goes on; of how many paths none is left.
    pub(in super::super) fn sweep_path_tokens(&self, goes_on: &dyn Fn() -> bool) -> Answer<usize> {
        let mut swept = 0;
        for found in self.readable::<PathTokens>(PATH_TOKENS)? {
            if !goes_on() {
                break;
            }
            let (path, mut tokens) = found?;
            tokens.drop_expired(now());
            if !tokens.tokens.is_empty() {
                continue;
            }
            let key = format!("{PATH_TOKENS}/{path}");
            // Another request may just be making one: all other writers wait, so only where there is something to remove.
            swept += self.store.transaction(|tx| {
                let mut tokens = tx.load::<PathTokens>(&key)?.unwrap_or_default();
                tokens.drop_expired(now());
                match tokens.tokens.is_empty() {
                    true => Ok(usize::from(tx.delete(&key)?)),
                    false => Ok(0),
                }
            })?;
        }
        Ok(swept)
    }
}

fn key_of(path: &str) -> String {
    format!("{PATH_TOKENS}/{}", hash_of_secret(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_given_again_while_it_has_more_than_six_hours_left() {
        let hours = |count: u64| 1_000_000 + count * 60 * 60;
        let mut tokens = PathTokens::default();
        assert_eq!(tokens.given(hours(0)), None);
        tokens.add(hours(0), "a".to_owned());
        assert_eq!(tokens.given(hours(18) - 1).as_deref(), Some("a"));
        assert_eq!(tokens.given(hours(18)), None);
        tokens.add(hours(18), "b".to_owned());
        assert_eq!(tokens.given(hours(18)).as_deref(), Some("b"));
        assert!(tokens.has("a", hours(24) - 1), "the old one stays good");
        assert!(!tokens.has("a", hours(24)));
        assert!(tokens.has("b", hours(42) - 1));
        assert!(!tokens.has("b", hours(42)));
        assert!(!tokens.has("", hours(0)));
        assert_eq!(tokens.given(hours(43)), None);
        tokens.add(hours(42), "c".to_owned());
        assert_eq!(tokens.tokens.len(), 1);
    }

    #[test]
    fn a_token_of_a_clock_that_was_ahead_opens_nothing() {
        let mut tokens = PathTokens::default();
        tokens.add(1_000_000, "ahead".to_owned());
        let now = 1_000_000 - AHEAD - 1;
        assert!(!tokens.has("ahead", now));
        assert_eq!(tokens.given(now), None);
        assert!(tokens.has("ahead", now + 1));
        assert_eq!(tokens.given(now + 1).as_deref(), Some("ahead"));
        tokens.add(now, "fresh".to_owned());
        assert_eq!(tokens.given(now).as_deref(), Some("fresh"));
    }

    #[test]
    fn a_token_that_is_given_again_costs_no_commit() {
        let store = crate::Store::in_memory().unwrap();
        let (accounts, _) = Accounts::open(&store).unwrap();
        let admin = Account::of("admin", &accounts.user("admin").unwrap().unwrap());
        let ask = || accounts.path_token("/storage/admin/a", &admin).unwrap();
        let first = ask();
        let revision = store.history().newest;
        assert_eq!(ask(), first);
        assert_eq!(store.history().newest, revision);
    }

    #[test]
    fn a_sweep_with_nothing_to_remove_waits_for_nobody() {
        let store = crate::Store::in_memory().unwrap();
        let (accounts, _) = Accounts::open(&store).unwrap();
        let admin = Account::of("admin", &accounts.user("admin").unwrap().unwrap());
        accounts.path_token("/storage/admin/a", &admin).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let swept = store.transaction(|_| {
            std::thread::spawn(move || tell.send(accounts.sweep_path_tokens(&|| true).unwrap()));
            Ok(told.recv_timeout(std::time::Duration::from_secs(5)))
        });
        assert_eq!(swept.unwrap(), Ok(0));
    }

    #[test]
    fn what_has_expired_is_swept() {
        let (accounts, _) = Accounts::open(&crate::Store::in_memory().unwrap()).unwrap();
        let paths = ["/storage/admin/a", "/storage/admin/b"];
        let admin = Account::of("admin", &accounts.user("admin").unwrap().unwrap());
        for path in paths {
            accounts.path_token(path, &admin).unwrap();
        }
        assert_eq!(accounts.sweep_path_tokens(&|| true).unwrap(), 0);
        let key = key_of(paths[0]);
        let mut tokens: PathTokens = accounts.store.load(&key).unwrap().unwrap();
        tokens.tokens[0].expires = now();
        accounts.store.save(&key, &tokens).unwrap();
        assert_eq!(accounts.sweep_path_tokens(&|| true).unwrap(), 1);
        assert!(!accounts.store.exists(&key).unwrap());
        assert!(accounts.store.exists(&key_of(paths[1])).unwrap());
    }
}
