//! Passwords of accounts, and the random secrets that stand for them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::problem::{Answer, Problem};

/// Shortest password of an account, in characters.
pub(super) const MIN_PASSWORD_CHARS: usize = 8;
/// Longest password of an account, in bytes.
pub(super) const MAX_PASSWORD_BYTES: usize = 1024;
/// The most that trying a password may take: far more than it does.
const MOST_MEMORY_KIB: u32 = 256 * 1024;
const MOST_PASSES: u32 = 16;
/// How long a password that was right need not be hashed again.
const REMEMBERED: Duration = Duration::from_secs(300);
/// How many are remembered.
const MOST_REMEMBERED: usize = 1024;

/// What was granted without limit of guesses needs no slow hash: 256 random bits as 43 characters.
pub(super) fn random_secret() -> Answer<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| Problem::internal("the system has no random bytes"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What a random secret is found by: its BLAKE3 hash, in hexadecimal.
pub(super) fn hash_of_secret(secret: &str) -> String {
    blake3::hash(secret.as_bytes()).to_hex().to_string()
}

/// Argon2id at 19 MiB and 2 passes, whatever the defaults of the library become.
fn argon2() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// A PHC string of the password. Slow on purpose.
pub(super) fn hash(password: &str) -> Answer<String> {
    let is_short = password.chars().count() < MIN_PASSWORD_CHARS;
    if is_short || password.len() > MAX_PASSWORD_BYTES {
        return Err(Problem::bad_request(
            "a password has at least 8 characters and at most 1,024 bytes",
        ));
    }
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|_| Problem::internal("the system has no random bytes"))?;
    let salt = SaltString::encode_b64(&salt).map_err(|_| Problem::internal("making a salt"))?;
    let hashed = argon2().hash_password(password.as_bytes(), &salt);
    hashed
        .map(|hash| hash.to_string())
        .map_err(|_| Problem::internal("hashing a password"))
}

/// Whether trying the hash costs no more than any that was ever written here: another may take all memory or all day.
fn is_bearable(hash: &PasswordHash<'_>) -> bool {
    Params::try_from(hash)
        .is_ok_and(|found| found.m_cost() <= MOST_MEMORY_KIB && found.t_cost() <= MOST_PASSES)
}

/// Checks passwords, and remembers for a while which were right.
pub(super) struct Checker {
    /// Only this process can make the hashes it remembers, so they are of no use to one who reads its memory later.
    key: [u8; 32],
    /// Takes as long as a real one where there is no such account.
    decoy: String,
    right: Mutex<HashMap<blake3::Hash, Instant>>,
}

impl std::fmt::Debug for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Checker")
    }
}

impl Checker {
    pub(super) fn new() -> Answer<Checker> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)
            .map_err(|_| Problem::internal("the system has no random bytes"))?;
        Ok(Checker {
            key,
            decoy: hash(&random_secret()?)?,
            right: Mutex::new(HashMap::new()),
        })
    }

    /// Whether the password was right a short while ago. Quick, and tells nothing of one that is wrong.
    pub(super) fn remembers(&self, phc: &str, password: &str) -> bool {
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        right
            .get(&self.mark(phc, password))
            .is_some_and(|time| time.elapsed() < REMEMBERED)
    }

    /// Whether the password is the one of this PHC string, `None` for an account that is not there. Slow on purpose,
    /// and as slow in each case.
    pub(super) fn check(&self, phc: Option<&str>, password: &str) -> bool {
        let Ok(parsed) = PasswordHash::new(phc.unwrap_or(&self.decoy)) else {
            return false;
        };
        if password.len() > MAX_PASSWORD_BYTES || !is_bearable(&parsed) {
            return false;
        }
        let is_right = Argon2::default()
            .verify_password(password.as_bytes(), &parsed)
            .is_ok();
        let Some(phc) = phc.filter(|_| is_right) else {
            return false;
        };
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.len() >= MOST_REMEMBERED {
            right.retain(|_, time| time.elapsed() < REMEMBERED);
        }
        if right.len() < MOST_REMEMBERED {
            right.insert(self.mark(phc, password), Instant::now());
        }
        true
    }

    /// What stands for a password of an account. It holds the hash of the password, so that a new one has another.
    fn mark(&self, phc: &str, password: &str) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher
            .update(phc.as_bytes())
            .update(&[0])
            .update(password.as_bytes());
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_of_this_hash_is_right_and_remembered() {
        let checker = Checker::new().unwrap();
        let phc = hash("correct horse").unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(!checker.remembers(&phc, "correct horse"));
        assert!(checker.check(Some(&phc), "correct horse"));
        assert!(checker.remembers(&phc, "correct horse"));
        assert!(!checker.check(Some(&phc), "correct hors"));
        assert!(!checker.remembers(&phc, "correct hors"));
        assert!(!checker.check(None, "correct horse"));
        let other = hash("correct horse").unwrap();
        assert!(!checker.remembers(&other, "correct horse"), "another salt");
        // As a document of the store that somebody has made: it would take all memory.
        let costly = phc.replace("m=19456", "m=4294967295");
        assert!(!checker.check(Some(&costly), "correct horse"));
    }

    #[test]
    fn passwords_have_a_least_and_a_greatest_length() {
        assert!(hash("7 chars").is_err());
        assert!(hash(&"x".repeat(MAX_PASSWORD_BYTES + 1)).is_err());
    }
}
