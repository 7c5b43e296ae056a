//! The passwords a view offers, and Argon2id.

use std::collections::HashMap;
use std::sync::Arc;

use argon2::password_hash::{Error as HashError, PasswordHash, SaltString};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};

use crate::error::{Error, Result};
use crate::format::LockRecord;
use crate::options::PasswordCost;
use crate::sync::Mutex;

/// The longest password in bytes.
pub const MAX_PASSWORD_BYTES: usize = 1024;
/// Hashes one view remembers its answers for; beyond, it begins anew.
const MAX_REMEMBERED: usize = 16 * 1024;

/// The passwords a view offers, and what it has learnt about the hashes it met. Clones share both.
#[derive(Clone, Default)]
pub(crate) struct Passwords {
    offered: Arc<Offered>,
    /// A lock that is passed without a password, for reading.
    admitted: Option<[u8; 16]>,
}

#[derive(Default)]
struct Offered {
    passwords: Vec<Secret>,
    /// By the BLAKE3 of a PHC string, whether one of the passwords is right.
    answers: Mutex<HashMap<[u8; 32], Answer>>,
}

/// What was found out of a PHC string.
#[derive(Clone)]
enum Answer {
    Wrong,
    /// Right, and where the store asks for a higher cost than the string has, one of that cost for the same password.
    Right {
        stronger: Option<Arc<str>>,
    },
}

/// A password; its memory is overwritten when it goes.
#[derive(Clone)]
struct Secret(Box<[u8]>);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // Otherwise the compiler may drop a write that nobody reads.
        std::hint::black_box(&self.0);
    }
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passwords(…)")
    }
}

impl Passwords {
    /// These and one more.
    pub(crate) fn with(&self, password: &str) -> Passwords {
        let mut passwords = self.offered.passwords.clone();
        passwords.push(Secret(password.as_bytes().into()));
        // What was right stays right; what was wrong may be right with the new one.
        let mut answers = self.offered.answers.lock().clone();
        answers.retain(|_, answer| matches!(answer, Answer::Right { .. }));
        Passwords {
            offered: Arc::new(Offered {
                passwords,
                answers: Mutex::new(answers),
            }),
            admitted: self.admitted,
        }
    }

    /// No passwords, and a lock that is passed for reading: what the holder of a token has.
    pub(crate) fn admitting(lock: Option<[u8; 16]>) -> Passwords {
        Passwords {
            admitted: lock,
            ..Passwords::default()
        }
    }

    pub(super) fn admits(&self, lock: [u8; 16]) -> bool {
        self.admitted == Some(lock)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.offered.passwords.is_empty()
    }

    /// Whether one of them is right for this hash, where that is known.
    pub(super) fn known(&self, phc: &str) -> Option<bool> {
        let answers = self.offered.answers.lock();
        let answer = answers.get(&fingerprint(phc))?;
        Some(matches!(answer, Answer::Right { .. }))
    }

    pub(super) fn remember_wrong(&self, phc: &str) {
        self.remember(phc, Answer::Wrong);
    }

    /// One of them is right for `phc`, and for `stronger` as well, which is to take its place.
    pub(super) fn remember_right(&self, phc: &str, stronger: Option<String>) {
        if let Some(stronger) = &stronger {
            self.remember(stronger, Answer::Right { stronger: None });
        }
        let stronger = stronger.map(Arc::from);
        self.remember(phc, Answer::Right { stronger });
    }

    fn remember(&self, phc: &str, answer: Answer) {
        let mut answers = self.offered.answers.lock();
        if answers.len() >= MAX_REMEMBERED {
            answers.clear();
        }
        answers.insert(fingerprint(phc), answer);
    }

    /// The lock with what is to take the place of its hashes; `None` where nothing is.
    pub(crate) fn strengthened(&self, lock: &LockRecord) -> Option<LockRecord> {
        if self.is_empty() {
            return None;
        }
        let mut strengthened = lock.clone();
        let mut is_stronger = false;
        let answers = self.offered.answers.lock();
        for slot in [&mut strengthened.view, &mut strengthened.edit] {
            let Some(phc) = slot else { continue };
            if let Some(Answer::Right { stronger }) = answers.get(&fingerprint(phc))
                && let Some(stronger) = stronger
            {
                *phc = stronger.as_ref().to_owned();
                is_stronger = true;
            }
        }
        is_stronger.then_some(strengthened)
    }

    /// The passwords that are offered, but for those that none can be: they are no guesses, and slow nobody.
    pub(super) fn guesses(&self) -> impl Iterator<Item = &[u8]> {
        let offered = self.offered.passwords.iter().map(|secret| &*secret.0);
        offered.filter(|password| can_be(password))
    }
}

/// The most memory that a check may take.
const MAX_MEMORY_KIB: u32 = 1024 * 1024;
/// The most that a check may cost, in KiB times passes: some ten seconds.
const MAX_COST: u64 = 16 * 1024 * 1024;

/// A short name for a hash: it is salted, so no two locks share one.
fn fingerprint(phc: &str) -> [u8; 32] {
    *blake3::hash(phc.as_bytes()).as_bytes()
}

/// The Argon2id parameters of a cost.
///
/// # Errors
/// [`Error::InvalidArgument`] where Argon2 has no such parameters.
fn parameters(cost: PasswordCost) -> Result<Params> {
    Params::new(cost.memory_kib, cost.passes, 1, None).map_err(|error| Error::InvalidArgument {
        what: "password_cost",
        reason: error.to_string(),
    })
}

/// Checks a cost before a store is opened with it.
pub(crate) fn check_cost(cost: PasswordCost) -> Result<()> {
    let product = u64::from(cost.memory_kib) * u64::from(cost.passes);
    if cost.memory_kib > MAX_MEMORY_KIB || product > MAX_COST {
        return Err(Error::InvalidArgument {
            what: "password_cost",
            reason: "memory is more than 1 GiB, or that times the passes more than 16 GiB"
                .to_owned(),
        });
    }
    parameters(cost).map(drop)
}

/// Checks a password that is to become part of a lock.
pub(super) fn check_password(password: &str) -> Result<()> {
    let reason = match password.len() {
        0 => "it is empty",
        1..=MAX_PASSWORD_BYTES => return Ok(()),
        _ => "it is longer than 1,024 bytes",
    };
    Err(Error::InvalidArgument {
        what: "password",
        reason: reason.to_owned(),
    })
}

/// The PHC string of a password under a fresh salt. Slow, as `cost` says.
pub(super) fn hash(password: &[u8], cost: PasswordCost) -> Result<String> {
    let mut salt = [0_u8; 16];
    fill_random(&mut salt)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters(cost)?);
    let salt = SaltString::encode_b64(&salt).map_err(|error| refused(&error))?;
    let phc = argon2
        .hash_password(password, &salt)
        .map_err(|error| refused(&error))?;
    Ok(phc.to_string())
}

fn refused(error: &HashError) -> Error {
    Error::InvalidArgument {
        what: "password",
        reason: error.to_string(),
    }
}

/// Whether trying the hash costs no more than anybody may ask for: what costs more was not written by this program, and may
/// take all memory or all day.
fn may_be_ours(hash: &PasswordHash<'_>) -> bool {
    Params::try_from(hash)
        .is_ok_and(|found| check_cost(PasswordCost::new(found.m_cost(), found.t_cost())).is_ok())
}

/// Whether there can be a password like this.
fn can_be(password: &[u8]) -> bool {
    (1..=MAX_PASSWORD_BYTES).contains(&password.len())
}

/// Whether the password is the one of the PHC string; compares in constant time. Slow, as the PHC string says.
pub(super) fn is_right(key: &str, phc: &str, password: &[u8]) -> Result<bool> {
    if !can_be(password) {
        return Ok(false);
    }
    let damaged = || Error::damaged("lock", key);
    let parsed = PasswordHash::new(phc).map_err(|_| damaged())?;
    if parsed.hash.is_none() || !may_be_ours(&parsed) {
        return Err(damaged());
    }
    match Argon2::default().verify_password(password, &parsed) {
        Ok(()) => Ok(true),
        Err(HashError::Password) => Ok(false),
        Err(_) => Err(damaged()),
    }
}

/// Whether the PHC string is cheaper to try than `cost` asks, in memory or in passes.
pub(super) fn is_weaker(phc: &str, cost: PasswordCost) -> bool {
    PasswordHash::new(phc)
        .and_then(|parsed| Params::try_from(&parsed))
        .is_ok_and(|found| found.m_cost() < cost.memory_kib || found.t_cost() < cost.passes)
}

/// Random bytes from the operating system.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|error| {
        Error::io(
            "asking the system for random bytes",
            std::io::Error::other(error.to_string()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: PasswordCost = PasswordCost {
        memory_kib: 8,
        passes: 1,
    };

    #[test]
    fn a_hash_opens_to_its_password_only_and_never_repeats() {
        let phc = hash(b"right", CHEAP).unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{phc}");
        assert_ne!(phc, hash(b"right", CHEAP).unwrap());
        assert!(is_right("k", &phc, b"right").unwrap());
        for wrong in [&b"wrong"[..], b"", b"right ", &[b'r'; 1025]] {
            assert!(!is_right("k", &phc, wrong).unwrap());
        }
        // What costs all memory, or all day, is none that was made here.
        let costly =
            |memory: u32, passes: u32| phc.replace("m=8,t=1", &format!("m={memory},t={passes}"));
        for phc in [
            "$argon2id$nonsense".to_owned(),
            costly(u32::MAX, 1),
            costly((1 << 20) + 1, 1),
            costly(8, u32::MAX),
        ] {
            let answer = is_right("k", &phc, b"right");
            assert!(matches!(answer, Err(Error::Damaged { .. })), "{phc}");
        }
        assert!(check_cost(PasswordCost::new(1 << 20, 16)).is_ok());
        assert!(check_cost(PasswordCost::new(1 << 20, 17)).is_err());
    }

    #[test]
    fn weaker_is_less_of_either() {
        let phc = hash(b"p", PasswordCost::new(16, 2)).unwrap();
        assert!(!is_weaker(&phc, PasswordCost::new(16, 2)));
        assert!(!is_weaker(&phc, PasswordCost::new(8, 1)));
        assert!(is_weaker(&phc, PasswordCost::new(32, 1)));
        assert!(is_weaker(&phc, PasswordCost::new(8, 3)));
    }

    #[test]
    fn one_more_password_forgets_what_was_wrong() {
        let one = Passwords::default().with("a");
        one.remember_wrong("x");
        one.remember_right("y", Some("z".to_owned()));
        let two = one.with("b");
        assert_eq!(two.known("x"), None);
        assert_eq!(two.known("y"), Some(true));
        assert_eq!(two.known("z"), Some(true));
        let lock = LockRecord {
            id: [0; 16],
            view: Some("x".to_owned()),
            edit: Some("y".to_owned()),
        };
        let stronger = two.strengthened(&lock).unwrap();
        assert_eq!(
            (stronger.view.as_deref(), stronger.edit.as_deref()),
            (Some("x"), Some("z"))
        );
        assert!(two.strengthened(&stronger).is_none());
        assert_eq!(one.known("x"), Some(false));
        assert!(!format!("{two:?}").contains('b'));
    }

    #[test]
    fn costs_and_passwords_have_bounds() {
        assert!(check_cost(PasswordCost::new(8, 1)).is_ok());
        assert!(check_cost(PasswordCost::new(7, 1)).is_err());
        assert!(check_cost(PasswordCost::new(8, 0)).is_err());
        assert!(check_password("").is_err());
        assert!(check_password(&"x".repeat(1024)).is_ok());
        assert!(check_password(&"x".repeat(1025)).is_err());
    }
}
