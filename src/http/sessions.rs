//! Logging in and out: a session is a random token, good for a day.
//!
//! Which sessions an account has is told by names of documents below `sessions-of/<account>`: when each ends and began, and the
//! hash of its token. Who logs in reads no others.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::accounts::{Account, Accounts};
use super::auth::{self, Proof};
use super::key::SmallBody;
use super::passwords::{hash_of_secret, random_secret};
use super::problem::{Answer, Problem};
use super::readable::delete_readable;
use super::{Encrypted, Peer, Service};
use crate::Transaction;

const SESSIONS: &str = "sessions";
const SESSIONS_OF: &str = "sessions-of";
/// Sessions of an account at a time. Where another begins, the one that ends first goes.
const MOST: usize = 500;
/// Sessions that are removed in one commit.
const A_COMMIT: usize = 1_000;
/// Seconds that what was granted may lie ahead of the clock, which was set back then, and still be good.
pub(super) const AHEAD: u64 = 60;
/// The cookie a browser is given where it asks for one.
pub(super) const COOKIE: &str = "komatik-session";

pub(super) fn routes() -> Router<Service> {
    Router::new().route("/v1/sessions", post(log_in).get(show).delete(log_out))
}

/// A session as it is stored, below the hash of its token.
#[derive(Debug, Serialize, Deserialize)]
struct Session {
    user: String,
    /// That of the user when the session began.
    generation: String,
    /// Seconds since 1970. 0 for those of before it was noted.
    #[serde(default)]
    begun: u64,
    /// Seconds since 1970.
    expires: u64,
}

impl Session {
    fn named(&self, hash: &str) -> Named {
        Named {
            user: self.user.clone(),
            hash: hash.to_owned(),
            begun: self.begun,
            expires: self.expires,
        }
    }

    fn is_good(&self, now: u64) -> bool {
        !is_ahead(self.begun, now) && now < self.expires
    }
}

/// A session as it is found among those of its account.
struct Named {
    user: String,
    hash: String,
    begun: u64,
    expires: u64,
}

impl Named {
    fn key(&self) -> String {
        key_of(&self.hash)
    }

    /// The key by which it is one of the account's. They are sorted by the time.
    fn key_of_account(&self) -> String {
        let (user, hash) = (&self.user, &self.hash);
        let (begun, expires) = (self.begun, self.expires);
        format!("{SESSIONS_OF}/{user}/{expires:020}-{begun}-{hash}")
    }

    /// What the last segment of that key tells, `None` where it is none.
    fn of(user: &str, segment: &str) -> Option<Named> {
        let mut parts = segment.splitn(3, '-');
        Some(Named {
            user: user.to_owned(),
            expires: parts.next()?.parse().ok()?,
            begun: parts.next()?.parse().ok()?,
            hash: parts.next()?.to_owned(),
        })
    }

    /// Ends it; whether it was there. What cannot be read opens nothing.
    fn end(&self, tx: &mut Transaction<'_>) -> crate::Result<bool> {
        delete_readable(tx, &self.key_of_account())?;
        delete_readable(tx, &self.key())
    }
}

impl Accounts {
    /// Begins a session of an account that has just proved itself, and answers its token. Where the password has been
    /// changed since, it is the session of a former one, and opens nothing.
    pub(super) fn begin_session(&self, account: &Account, time: Duration) -> Answer<String> {
        let (token, now) = (random_secret()?, now());
        let session = Session {
            user: account.name.clone(),
            generation: account.generation.clone(),
            begun: now,
            expires: now.saturating_add(time.as_secs()),
        };
        let named = session.named(&hash_of_secret(&token));
        let too_many = self.sessions_too_many(&account.name, now)?;
        self.store.transaction(|tx| {
            for named in &too_many {
                named.end(tx)?;
            }
            tx.save(&named.key_of_account(), &())?;
            tx.save(&named.key(), &session)
        })?;
        Ok(token)
    }

    /// The sessions of an account that go where another begins.
    fn sessions_too_many(&self, user: &str, now: u64) -> Answer<Vec<Named>> {
        let items = self.store.list(&format!("{SESSIONS_OF}/{user}"))?;
        // What cannot be read is passed over: nobody is to be kept from logging in by it.
        let items = items.filter_map(|item| Named::of(user, &item.ok()?.name));
        let mut found: Vec<Named> = items.collect();
        // Before all others go those that are none while the clock is behind them.
        found.sort_by_key(|named| !is_ahead(named.begun, now));
        found.truncate((found.len() + 1).saturating_sub(MOST));
        Ok(found)
    }

    /// Whose session this is, `None` for nobody's or one that has ended.
    pub(super) fn account_of_session(&self, token: &str) -> Answer<Option<Account>> {
        let key = key_of(&hash_of_secret(token));
        let Some(session) = self.store.load::<Session>(&key)? else {
            return Ok(None);
        };
        let user = self.user(&session.user)?;
        let user = user.filter(|user| user.generation == session.generation);
        let user = user.filter(|_| session.is_good(now()));
        Ok(user.map(|user| Account {
            ends: Some(session.expires),
            ..Account::of(&session.user, &user)
        }))
    }

    /// Ends a session.
    pub(super) fn end_session(&self, token: &str) -> Answer<()> {
        let hash = hash_of_secret(token);
        if let Some(session) = self.store.load::<Session>(&key_of(&hash))? {
            let named = session.named(&hash);
            self.store.transaction(|tx| named.end(tx))?;
            self.let_pass()?;
        }
        Ok(())
    }

    /// Removes the sessions that have ended, as far as it goes on; how many.
    pub(super) fn sweep_sessions(&self, goes_on: &dyn Fn() -> bool) -> Answer<usize> {
        let (mut swept, mut ended) = (0, Vec::new());
        for session in self.readable::<Session>(SESSIONS)? {
            if !goes_on() {
                return Ok(swept);
            }
            let (hash, session) = session?;
            if session.expires <= now() {
                ended.push(session.named(&hash));
            }
            if ended.len() >= A_COMMIT {
                swept += self.end_sessions(&ended)?;
                ended.clear();
            }
        }
        Ok(swept + self.end_sessions(&ended)?)
    }

    fn end_sessions(&self, ended: &[Named]) -> Answer<usize> {
        // All other writers wait, so only where there is something to remove.
        if ended.is_empty() {
            return Ok(0);
        }
        Ok(self.store.transaction(|tx| {
            ended
                .iter()
                .try_fold(0, |count, named| Ok(count + usize::from(named.end(tx)?)))
        })?)
    }
}

fn key_of(hash: &str) -> String {
    format!("{SESSIONS}/{hash}")
}

/// Whether it was granted when the clock was ahead: it would be good for longer than any other.
fn is_ahead(granted: u64, now: u64) -> bool {
    granted > now.saturating_add(AHEAD)
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    name: String,
    password: String,
    /// Whether the token comes as a cookie, which a page cannot read, and not in the body.
    #[serde(default)]
    cookie: bool,
}

async fn log_in(
    State(service): State<Service>,
    Extension(peer): Extension<Peer>,
    Extension(encrypted): Extension<Encrypted>,
    SmallBody(login): SmallBody<Login>,
) -> Answer {
    let account = auth::with_password(&service, &login.name, &login.password, peer).await?;
    let time = service.limits().session_time;
    let (accounts, proven) = (service.accounts().clone(), account.clone());
    let token = service
        .calls()
        .run(move || accounts.begin_session(&proven, time))
        .await?;
    let mut answer = json!({
        "name": account.name,
        "role": account.role,
        "expires_in": time.as_secs(),
    });
    if !login.cookie {
        answer["token"] = token.into();
        return Ok((StatusCode::CREATED, Json(answer)).into_response());
    }
    let cookie = set_cookie(&token, time, encrypted)?;
    let headers = [(header::SET_COOKIE, cookie)];
    Ok((StatusCode::CREATED, headers, Json(answer)).into_response())
}

/// A cookie that no page reads, and that comes with no request another site has made.
fn set_cookie(token: &str, time: Duration, encrypted: Encrypted) -> Answer<HeaderValue> {
    let seconds = time.as_secs();
    // Over a connection that is not encrypted a browser would not take one that says so.
    let secure = match encrypted {
        Encrypted(true) => "; Secure",
        Encrypted(false) => "",
    };
    let cookie =
        format!("{COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::try_from(cookie).map_err(|_| Problem::internal("making a cookie"))
}

async fn show(account: Account) -> Json<serde_json::Value> {
    Json(json!({
        "name": account.name,
        "role": account.role,
        "root": account.root,
        "project": account.project,
    }))
}

async fn log_out(
    State(service): State<Service>,
    Extension(encrypted): Extension<Encrypted>,
    headers: HeaderMap,
) -> Answer {
    if let Some(Proof::Bearer(token)) = Proof::of(&headers)? {
        let accounts = service.accounts().clone();
        service
            .calls()
            .run(move || accounts.end_session(&token))
            .await?;
    }
    let cookie = set_cookie("", Duration::ZERO, encrypted)?;
    let answer: Response = (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response();
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::accounts::{Role, User};

    fn accounts() -> (crate::Store, Accounts, Account) {
        let store = crate::Store::in_memory().unwrap();
        let (accounts, _) = Accounts::open(&store).unwrap();
        let admin = Account::of("admin", &accounts.user("admin").unwrap().unwrap());
        (store, accounts, admin)
    }

    const DAY: u64 = 24 * 60 * 60;

    /// So many other sessions of `admin` that began then.
    fn fill(accounts: &Accounts, count: usize, begun: u64) {
        let filled = accounts.store.transaction(|tx| {
            (0..count).try_for_each(|number| {
                let key = format!("sessions-of/admin/{:020}-{begun}-{number}", begun + DAY);
                tx.save(&key, &())
            })
        });
        filled.unwrap();
    }

    fn count(accounts: &Accounts, folder: &str) -> usize {
        accounts.store.list(folder).unwrap().count()
    }

    #[test]
    fn an_account_has_so_many_sessions_and_ends_none_of_another() {
        let (_, accounts, admin) = accounts();
        let user = User::new("a long one", Role::Reader, "").unwrap();
        accounts.add_user("ann", &user).unwrap();
        let begin = |account: &Account, time| {
            let time = Duration::from_secs(time);
            accounts.begin_session(account, time).unwrap()
        };
        let opens = |token: &str| accounts.account_of_session(token).unwrap().is_some();
        let anns = begin(&Account::of("ann", &user), 60);
        let (first, second, long) = (begin(&admin, 70), begin(&admin, 80), begin(&admin, 9_999));
        fill(&accounts, MOST - 3, now());
        assert!(opens(&first));
        let another = begin(&admin, 90);
        assert!(!opens(&first));
        for token in [&anns, &second, &long, &another] {
            assert!(opens(token));
        }
        assert_eq!(count(&accounts, "sessions-of/admin"), MOST);
        accounts.end_session(&another).unwrap();
        accounts.end_session("none").unwrap();
        assert!(!opens(&another));
        begin(&admin, 90);
        assert!(opens(&second));
    }

    /// They open nothing, and would be the last to end.
    #[test]
    fn sessions_of_a_clock_that_was_ahead_leave_room_for_others() {
        let (_, accounts, admin) = accounts();
        fill(&accounts, MOST, now() + 9_999);
        let begin = || accounts.begin_session(&admin, Duration::from_secs(DAY));
        let tokens = [(); 2].map(|()| begin().unwrap());
        for token in tokens {
            assert!(accounts.account_of_session(&token).unwrap().is_some());
        }
        assert_eq!(count(&accounts, "sessions-of/admin"), MOST);
    }

    #[test]
    fn a_session_that_begins_ahead_of_the_clock_is_none() {
        let session = Session {
            user: String::new(),
            generation: String::new(),
            begun: 1_000,
            expires: 2_000,
        };
        for (now, expected) in [
            (1_000 - AHEAD - 1, false),
            (1_000 - AHEAD, true),
            (1_000, true),
            (1_999, true),
            (2_000, false),
        ] {
            assert_eq!(session.is_good(now), expected, "{now}");
        }
        let (_, accounts, admin) = accounts();
        let token = accounts
            .begin_session(&admin, Duration::from_secs(60))
            .unwrap();
        let key = key_of(&hash_of_secret(&token));
        let mut session: Session = accounts.store.load(&key).unwrap().unwrap();
        session.begun += 2 * AHEAD;
        accounts.store.save(&key, &session).unwrap();
        assert!(accounts.account_of_session(&token).unwrap().is_none());
    }

    #[test]
    fn a_session_of_before_goes_on() {
        let (_, accounts, admin) = accounts();
        let (key, expires) = (key_of(&hash_of_secret("token")), now() + 60);
        let session = json!({"user": "admin", "generation": admin.generation, "expires": expires});
        accounts.store.save(&key, &session).unwrap();
        assert!(accounts.account_of_session("token").unwrap().is_some());
        accounts.end_session("token").unwrap();
        assert!(!accounts.store.exists(&key).unwrap());
    }

    #[test]
    fn many_sessions_end_in_few_commits_and_none_once_it_is_to_stop() {
        let (store, accounts, admin) = accounts();
        for _ in 0..100 {
            accounts.begin_session(&admin, Duration::ZERO).unwrap();
        }
        let day = Duration::from_secs(DAY);
        let token = accounts.begin_session(&admin, day).unwrap();
        let revision = store.history().newest;
        assert_eq!(accounts.sweep_sessions(&|| false).unwrap(), 0);
        assert_eq!(store.history().newest, revision);
        assert_eq!(accounts.sweep_sessions(&|| true).unwrap(), 100);
        assert_eq!(store.history().newest, revision + 1);
        for folder in ["sessions", "sessions-of/admin"] {
            assert_eq!(count(&accounts, folder), 1);
        }
        assert!(accounts.account_of_session(&token).unwrap().is_some());
    }

    /// Between the check of a password and the session there is time for it to be changed.
    #[test]
    fn who_proved_a_former_password_gets_nothing_that_opens() {
        let (accounts, _) = Accounts::open(&crate::Store::in_memory().unwrap()).unwrap();
        let proven = || Account::of("admin", &accounts.user("admin").unwrap().unwrap());
        let day = Duration::from_secs(DAY);
        let before = proven();
        let token = accounts.begin_session(&before, day).unwrap();
        assert!(accounts.account_of_session(&token).unwrap().is_some());
        accounts
            .change_user("admin", Some("another password"), None, None)
            .unwrap();
        let late = accounts.begin_session(&before, day).unwrap();
        for token in [token, late] {
            assert!(accounts.account_of_session(&token).unwrap().is_none());
        }
        assert!(accounts.path_token("/storage/admin/a", &before).is_err());
        let token = accounts.begin_session(&proven(), day).unwrap();
        assert!(accounts.account_of_session(&token).unwrap().is_some());
        assert!(accounts.path_token("/storage/admin/a", &proven()).is_ok());
    }
}
