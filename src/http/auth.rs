//! Who a request comes from, and the view of the store that it gets.
//!
//! `Authorization: Bearer` with a session or an API key, `Authorization: Basic` with name and password, `X-API-Key`, or the
//! cookie of a session. Random secrets are found by their hash; passwords are compared by Argon2.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use headers::authorization::{Basic, Bearer};
use headers::{Authorization, Cookie, HeaderMapExt};

use super::accounts::{Account, Accounts, Role, User};
use super::lists::{decoded, elements};
use super::problem::{Answer, Problem};
use super::sessions::COOKIE;
use super::{Peer, Service, standing};
use crate::Store;

/// A password of locks, as it is; it may be there several times.
const PASSWORD: HeaderName = HeaderName::from_static("komatik-password");
/// Passwords of locks as a list, for clients that cannot send a line several times.
const PASSWORDS: HeaderName = HeaderName::from_static("komatik-passwords");
/// How many of them a request may offer.
pub(super) const MOST_PASSWORDS: usize = 8;

/// What a request proves who it comes from with.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// The token of a session, or an API key.
    Bearer(String),
    Password {
        name: String,
        password: String,
    },
    ApiKey(String),
}

impl Proof {
    /// The proof in these headers, `None` where there is none.
    pub(super) fn of(headers: &HeaderMap) -> Answer<Option<Proof>> {
        if let Some(key) = headers.get("x-api-key") {
            let key = key.to_str().map_err(|_| refused())?;
            return Ok(Some(Proof::ApiKey(key.to_owned())));
        }
        if headers.contains_key(header::AUTHORIZATION) {
            if let Some(Authorization(bearer)) = headers.typed_get::<Authorization<Bearer>>() {
                return Ok(Some(Proof::Bearer(bearer.token().to_owned())));
            }
            let Some(Authorization(basic)) = headers.typed_get::<Authorization<Basic>>() else {
                return Err(Problem::unauthorized(
                    "`Authorization` is neither Bearer nor Basic",
                ));
            };
            return Ok(Some(Proof::Password {
                name: basic.username().to_owned(),
                password: basic.password().to_owned(),
            }));
        }
        let cookies = headers.typed_get::<Cookie>();
        let session = cookies.as_ref().and_then(|cookies| cookies.get(COOKIE));
        Ok(session.map(|token| Proof::Bearer(token.to_owned())))
    }

    /// The account that a proof is of which was found to be right before. A password is not tried again: the account would
    /// have another generation with another one.
    pub(super) fn account_again(&self, accounts: &Accounts) -> Answer<Option<Account>> {
        match self {
            Proof::Password { name, .. } => {
                let user = accounts.user(name)?;
                Ok(user.map(|user| Account::of(name, &user)))
            }
            Proof::ApiKey(key) => accounts.account_of_key(key),
            Proof::Bearer(token) => match accounts.account_of_session(token)? {
                Some(account) => Ok(Some(account)),
                None => accounts.account_of_key(token),
            },
        }
    }
}

/// The account that the proof is of.
pub(super) async fn account(service: &Service, proof: Proof, peer: Peer) -> Answer<Account> {
    let accounts = service.accounts().clone();
    if let Proof::ApiKey(secret) | Proof::Bearer(secret) = &proof
        && let Some(account) = accounts.remembered_key(secret)
    {
        return Ok(account);
    }
    if let Proof::Password { name, password } = &proof {
        return with_password(service, name, password, peer).await;
    }
    let look = move || proof.account_again(&accounts);
    service.calls().run(look).await?.ok_or_else(refused)
}

/// The account that name and password are of. Wrong ones are slowed.
pub(super) async fn with_password(
    service: &Service,
    name: &str,
    password: &str,
    peer: Peer,
) -> Answer<Account> {
    let login = Arc::new(Login {
        service: service.clone(),
        name: name.to_owned(),
        password: password.to_owned(),
    });
    let known = Arc::clone(&login);
    let look = move || known.remembered().map(|(_, account)| account);
    if let Some(account) = service.calls().run(look).await? {
        return Ok(account);
    }
    // Before the call, so that who waits for the turn holds no thread.
    let turn = service.throttle().turn().await?;
    let check = move || {
        let account = login.check(peer);
        drop(turn);
        account
    };
    service.calls().run(check).await
}

/// A name and a password.
struct Login {
    service: Service,
    name: String,
    password: String,
}

impl Login {
    /// The user of the name, and the account where the password was right a short while ago.
    fn remembered(&self) -> Answer<(Option<User>, Option<Account>)> {
        let accounts = self.service.accounts();
        let user = accounts.user(&self.name)?;
        let known = user.as_ref();
        let known = known.filter(|user| accounts.remembers(user, &self.password));
        let account = known.map(|user| Account::of(&self.name, user));
        Ok((user, account))
    }

    /// Tries the password, unless the one before in the line was the same and right.
    fn check(&self, peer: Peer) -> Answer<Account> {
        let (user, account) = self.remembered()?;
        if let Some(account) = account {
            return Ok(account);
        }
        let attempt = self.service.throttle().begin(&self.name, peer.0)?;
        let accounts = self.service.accounts();
        if !accounts.is_password(user.as_ref(), &self.password) {
            return Err(refused());
        }
        attempt.succeeded();
        user.map(|user| Account::of(&self.name, &user))
            .ok_or_else(refused)
    }
}

/// It says the same whatever was wrong, so that nobody learns which names there are.
pub(super) fn refused() -> Problem {
    Problem::unauthorized("the name, password, key or session is not right, or has ended")
}

/// Whoever the request comes from, without a view of the store.
impl FromRequestParts<Service> for Account {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Answer<Account> {
        check_site(parts)?;
        let proof = Proof::of(&parts.headers)?;
        let proof = proof.ok_or_else(|| Problem::unauthorized("log in, or offer a key"))?;
        let account = account(service, proof.clone(), peer(parts)?).await?;
        standing::note(&parts.extensions, proof, &account);
        Ok(account)
    }
}

fn peer(parts: &Parts) -> Answer<Peer> {
    let peer = parts.extensions.get::<Peer>().copied();
    peer.ok_or_else(|| Problem::internal("a request without an address"))
}

/// A page of another site may not write in the name of who looks at it: a browser adds cookies, and the password it was
/// given, by itself.
fn check_site(parts: &Parts) -> Answer<()> {
    let site = parts.headers.get("sec-fetch-site");
    let is_own = site.is_none_or(|site| site == "same-origin" || site == "none");
    match is_own || is_safe(&parts.method) {
        true => Ok(()),
        false => Err(Problem::forbidden("a page of another site may not write")),
    }
}

/// Keeps a browser from asking for name and password over a page whose script meets a 401: it does where `Basic` is a way,
/// and the page has its own form.
pub(super) async fn leave_asking_to_pages(request: Request, next: Next) -> Response {
    let mode = request.headers().get("sec-fetch-mode");
    let is_script = mode.is_some_and(|mode| mode != "navigate");
    let mut response = next.run(request).await;
    if is_script && response.status() == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer");
        let headers = response.headers_mut();
        headers.insert(header::WWW_AUTHENTICATE, bearer);
    }
    response
}

/// Who the request comes from, and what they may reach.
pub(super) struct Caller {
    pub(super) account: Account,
    /// Only what the account may reach, in its name, with the passwords of the request.
    pub(super) store: Store,
    /// The same without the passwords, where there are any.
    pub(super) without_passwords: Option<Store>,
}

impl FromRequestParts<Service> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Answer<Caller> {
        let account = Account::from_request_parts(parts, service).await?;
        if account.role == Role::Reader && !is_safe(&parts.method) {
            return Err(Problem::forbidden("this account may only read"));
        }
        let mut view = service.view_of(&account)?;
        if !is_safe(&parts.method) {
            let proof = Proof::of(&parts.headers)?.ok_or_else(refused)?;
            view = standing::guarded(service, &view, proof, &account);
        }
        let has_passwords = [PASSWORD, PASSWORDS].map(|name| parts.headers.contains_key(name));
        let without_passwords = has_passwords.contains(&true).then(|| view.clone());
        let store = with_passwords(view, &parts.headers)?;
        Ok(Caller {
            account,
            store,
            without_passwords,
        })
    }
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The view with the passwords that the request offers for locks.
pub(super) fn with_passwords(store: Store, headers: &HeaderMap) -> Answer<Store> {
    let lines = headers.get_all(PASSWORD).into_iter();
    let lines = lines.map(|line| String::from_utf8(line.as_bytes().to_vec()).ok());
    let list = elements(headers, PASSWORDS).map(decoded);
    let offered: Vec<_> = lines.chain(list).take(MOST_PASSWORDS + 1).collect();
    if offered.len() > MOST_PASSWORDS {
        return Err(Problem::bad_request("more than 8 passwords are offered"));
    }
    offered.into_iter().try_fold(store, |store, password| {
        let password = password.ok_or_else(|| Problem::bad_request("a password is not UTF-8"))?;
        Ok(store.unlocked_with(&password))
    })
}

/// An account that may change accounts and see the figures of the service.
pub(super) struct Admin;

impl FromRequestParts<Service> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Answer<Admin> {
        let account = Account::from_request_parts(parts, service).await?;
        match account.role {
            Role::Admin => Ok(Admin),
            Role::Writer | Role::Reader => Err(Problem::forbidden("only an admin may do this")),
        }
    }
}
