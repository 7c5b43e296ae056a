//! Logging in and out: a session is a random token, good for a day.

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
use super::key::LoginBody;
use super::passwords::{hash_of_secret, random_secret};
use super::problem::{Answer, Problem};
use super::{Encrypted, Peer, Service};

const SESSIONS: &str = "sessions";
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
    /// Seconds since 1970.
    expires: u64,
}

impl Accounts {
    /// Begins a session of an account that has just proved itself, and answers its token. Where the password has been
    /// changed since, it is the session of a former one, and opens nothing.
    pub(super) fn begin_session(&self, account: &Account, time: Duration) -> Answer<String> {
        let token = random_secret()?;
        let session = Session {
            user: account.name.clone(),
            generation: account.generation.clone(),
            expires: now().saturating_add(time.as_secs()),
        };
        self.store.save(&session_key(&token), &session)?;
        Ok(token)
    }

    /// Whose session this is, `None` for nobody's or one that has ended.
    pub(super) fn account_of_session(&self, token: &str) -> Answer<Option<Account>> {
        let Some(session) = self.store.load::<Session>(&session_key(token))? else {
            return Ok(None);
        };
        let user = self.user(&session.user)?;
        let user = user.filter(|user| user.generation == session.generation);
        let user = user.filter(|_| now() < session.expires);
        Ok(user.map(|user| Account {
            ends: Some(session.expires),
            ..Account::of(&session.user, &user)
        }))
    }

    /// Ends a session.
    pub(super) fn end_session(&self, token: &str) -> Answer<()> {
        self.store.delete(&session_key(token))?;
        self.let_pass()
    }

    /// Removes the sessions that have ended; how many.
    pub(super) fn sweep_sessions(&self) -> Answer<usize> {
        let mut swept = 0;
        for session in self.readable::<Session>(SESSIONS)? {
            let (name, session) = session?;
            if session.expires <= now() {
                swept += usize::from(self.store.delete(&format!("{SESSIONS}/{name}"))?);
            }
        }
        Ok(swept)
    }
}

fn session_key(token: &str) -> String {
    format!("{SESSIONS}/{}", hash_of_secret(token))
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
    LoginBody(login): LoginBody<Login>,
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

    /// Between the check of a password and the session there is time for it to be changed.
    #[test]
    fn who_proved_a_former_password_gets_nothing_that_opens() {
        let (accounts, _) = Accounts::open(&crate::Store::in_memory().unwrap()).unwrap();
        let proven = || Account::of("admin", &accounts.user("admin").unwrap().unwrap());
        let day = Duration::from_secs(24 * 60 * 60);
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
