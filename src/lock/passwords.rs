//! The passwords a view offers, and Argon2id.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use argon2::password_hash::{Error as HashError, PasswordHash, SaltString};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};

use crate::error::{Error, Result};
use crate::format::LockRecord;
use crate::options::PasswordCost;
use crate::random;
use crate::sync::Mutex;

/// The longest password in bytes.
pub const MAX_PASSWORD_BYTES: usize = 1024;
/// Passwords of a view that are one try at a lock: a keyring is no guess, but must not make guessing cheap.
const MAX_TOGETHER: usize = 32;
/// Hashes one view remembers its answers for, in some 15 MiB.
const MAX_REMEMBERED: usize = 100_000;

/// The passwords a view offers, and what it has learnt about the hashes it met. Clones share both.
#[derive(Clone, Default)]
pub(crate) struct Passwords {
    offered: Arc<Offered>,
    /// A lock that is passed without a password, for reading.
    admitted: Option<[u8; 16]>,
}

#[derive(Default)]
struct Offered {
    /// From the oldest to the newest; those that none can be are left out: they are no guesses, and slow nobody.
    passwords: Vec<Secret>,
    /// Whether there was any, be it such a one.
    is_any: bool,
    /// By the BLAKE3 of a PHC string, whether one of the passwords is right.
    answers: Mutex<HashMap<[u8; 32], Answer>>,
}

/// What was found out of a PHC string.
#[derive(Clone)]
enum Answer {
    /// Those offered at these places are not.
    Wrong(Range<usize>),
    /// Right, and where the store asks for a higher cost than the string has, one of that cost for the same password.
    Right { stronger: Option<Arc<str>> },
}

/// Passwords to try on a hash together.
pub(super) struct Guesses<'a> {
    pub(super) passwords: Vec<&'a [u8]>,
    /// From this place on to the newest none is right, where none of these is.
    wrong_from: usize,
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
        if can_be(password.as_bytes()) {
            passwords.push(Secret(password.as_bytes().into()));
        }
        Passwords {
            offered: Arc::new(Offered {
                passwords,
                is_any: true,
                answers: Mutex::new(self.offered.answers.lock().clone()),
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
        !self.offered.is_any
    }

    /// Whether one of them is right for this hash, where that is known.
    pub(super) fn known(&self, phc: &str) -> Option<bool> {
        let answers = self.offered.answers.lock();
        match answers.get(&fingerprint(phc)) {
            Some(Answer::Right { .. }) => Some(true),
            Some(Answer::Wrong(wrong)) if *wrong == self.all() => Some(false),
            Some(Answer::Wrong(_)) => None,
            None => self.all().is_empty().then_some(false),
        }
    }

    /// The next to try on a hash: the newest of those of which nothing is known. `None` where there are no more.
    pub(super) fn guesses(&self, phc: &str) -> Option<Guesses<'_>> {
        let all = &self.offered.passwords;
        let wrong = match self.offered.answers.lock().get(&fingerprint(phc)) {
            Some(Answer::Wrong(wrong)) => wrong.clone(),
            Some(Answer::Right { .. }) | None => all.len()..all.len(),
        };
        let (older, newer) = (&all[..wrong.start], &all[wrong.end..]);
        let untried = newer.iter().rev().chain(older.iter().rev());
        let passwords: Vec<_> = untried.take(MAX_TOGETHER).map(|it| &*it.0).collect();
        // One range is remembered. Where it does not reach the newer ones, they take its place.
        let wrong_from = match passwords.len().checked_sub(newer.len()) {
            Some(older) => wrong.start - older,
            None => all.len() - passwords.len(),
        };
        (!passwords.is_empty()).then_some(Guesses {
            passwords,
            wrong_from,
        })
    }

    /// None of the guesses is right for `phc`.
    pub(super) fn remember_wrong(&self, phc: &str, guesses: &Guesses<'_>) {
        let mut answers = self.offered.answers.lock();
        let end = self.all().end;
        let start = match answers.get(&fingerprint(phc)) {
            // Another thread has found out more.
            Some(Answer::Right { .. }) => return,
            Some(Answer::Wrong(wrong)) if wrong.end == end => wrong.start.min(guesses.wrong_from),
            Some(Answer::Wrong(_)) | None => guesses.wrong_from,
        };
        remember(&mut answers, phc, Answer::Wrong(start..end));
    }

    /// One of them is right for `phc`, and for `stronger` as well, which is to take its place.
    pub(super) fn remember_right(&self, phc: &str, stronger: Option<String>) {
        let mut answers = self.offered.answers.lock();
        if let Some(stronger) = &stronger {
            remember(&mut answers, stronger, Answer::Right { stronger: None });
        }
        let stronger = stronger.map(Arc::from);
        remember(&mut answers, phc, Answer::Right { stronger });
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

    /// The places of all that are offered.
    fn all(&self) -> Range<usize> {
        0..self.offered.passwords.len()
    }
}

fn remember(answers: &mut HashMap<[u8; 32], Answer>, phc: &str, answer: Answer) {
    let name = fingerprint(phc);
    // One is forgotten, whichever it is: who goes through all of them again and again finds the others.
    if answers.len() >= MAX_REMEMBERED
        && !answers.contains_key(&name)
        && let Some(other) = answers.keys().next().copied()
    {
        answers.remove(&other);
    }
    answers.insert(name, answer);
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
    random::fill(&mut salt)?;
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
    fn one_more_password_is_the_only_one_to_try() {
        let one = Passwords::default().with("a");
        one.remember_wrong("x", &one.guesses("x").unwrap());
        one.remember_right("y", Some("z".to_owned()));
        let two = one.with("").with("b");
        assert_eq!(two.known("x"), None);
        assert_eq!(two.guesses("x").unwrap().passwords, [b"b"]);
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

    /// The newest first, and each once, whenever others are added.
    #[test]
    fn each_password_is_tried_on_a_hash_once() {
        let add = |passwords: &Passwords, numbers: Range<usize>| {
            numbers.fold(passwords.clone(), |all, number| {
                all.with(&number.to_string())
            })
        };
        let next = |passwords: &Passwords| {
            let guesses = passwords.guesses("x")?;
            passwords.remember_wrong("x", &guesses);
            let told = guesses
                .passwords
                .iter()
                .map(|it| std::str::from_utf8(it).unwrap());
            Some(told.map(|it| it.parse().unwrap()).collect::<Vec<usize>>())
        };
        let down = |numbers: Range<usize>| numbers.rev().collect::<Vec<_>>();
        let fifty = add(&Passwords::default(), 0..50);
        assert_eq!(next(&fifty), Some(down(18..50)));
        assert_eq!(fifty.known("x"), None);
        let sixty = add(&fifty, 50..60);
        assert_eq!(next(&sixty), Some([down(50..60), down(0..18)].concat()));
        assert_eq!((sixty.known("x"), next(&sixty)), (Some(false), None));
        // The view it comes from goes on by itself.
        assert_eq!(next(&fifty), Some(down(0..18)));
        assert_eq!((fifty.known("x"), next(&fifty)), (Some(false), None));
        // More new ones than are tried together: none of them is left out.
        let hundred = add(&fifty, 50..100);
        assert_eq!(next(&hundred), Some(down(68..100)));
        let mut rest = Vec::new();
        while let Some(tried) = next(&hundred) {
            rest.extend(tried);
        }
        assert_eq!(rest, down(0..68));
        // What another thread found out stays.
        let again = add(&fifty, 50..60);
        let slow = again.guesses("x").unwrap();
        again.remember_right("x", None);
        again.remember_wrong("x", &slow);
        assert_eq!(again.known("x"), Some(true));
        assert_eq!(Passwords::default().with("").known("x"), Some(false));
    }

    #[test]
    fn beyond_the_bound_only_as_many_are_forgotten() {
        let passwords = Passwords::default().with("a");
        let phc = |number: usize| number.to_string();
        for number in 0..MAX_REMEMBERED + 10 {
            passwords.remember_right(&phc(number), None);
        }
        let is_known = |number: &usize| passwords.known(&phc(*number)).is_some();
        let known = (0..MAX_REMEMBERED + 10).filter(is_known).count();
        assert_eq!(known, MAX_REMEMBERED);
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
