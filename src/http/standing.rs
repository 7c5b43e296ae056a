//! Whether a request that goes on for long still has the rights it began with.
//!
//! Who is answered for long is asked again by [`Standing`]. Whose body comes slowly is asked again by [`watch_body`], whatever
//! becomes of the body: an account that was removed must not go on writing, nor an admin who is none any more make another.

use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::Extensions;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{Stream, StreamExt, stream};

use super::Service;
use super::accounts::Account;
use super::auth::{Proof, refused};
use super::problem::{Answer, Problem};
use super::sessions::now;

/// A session ends without a change that could be noticed.
const ASKED_AGAIN: Duration = Duration::from_secs(60);

/// Who a request comes from that goes on for long, asked again whenever what the service keeps of accounts has changed.
pub(super) struct Standing {
    service: Service,
    proof: Proof,
    account: Account,
    /// The last change of accounts that is known to leave it be.
    seen: u64,
    /// When the session ends that it stands on, in seconds since 1970: nothing changes then that could be noticed.
    ends: Option<u64>,
}

impl Standing {
    /// # Errors
    /// Where the proof no longer is one of the same account, with the same rights.
    pub(super) async fn check(&mut self) -> Answer<()> {
        if self.ends.is_some_and(|ends| ends <= now()) {
            return Err(refused());
        }
        let last = self.service.news().of_accounts();
        if last == self.seen {
            return Ok(());
        }
        check(&self.service, &self.proof, &self.account).await?;
        self.seen = last;
        Ok(())
    }

    /// Done when the session ends.
    pub(super) async fn ended(&self) {
        match self.ends {
            Some(ends) => tokio::time::sleep(Duration::from_secs(ends.saturating_sub(now()))).await,
            None => std::future::pending().await,
        }
    }
}

impl FromRequestParts<Service> for Standing {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Answer<Standing> {
        let seen = service.news().of_accounts();
        let account = Account::from_request_parts(parts, service).await?;
        let proof = Proof::of(&parts.headers)?.ok_or_else(refused)?;
        let ends = match proof.clone() {
            Proof::Bearer(token) => {
                let accounts = service.accounts().clone();
                let look = move || accounts.end_of_session(&token);
                service.calls().run(look).await?
            }
            Proof::Password { .. } | Proof::ApiKey(_) => None,
        };
        Ok(Standing {
            service: service.clone(),
            proof,
            account,
            seen,
            ends,
        })
    }
}

/// Fails where the proof no longer is one of the same account, with the same rights.
async fn check(service: &Service, proof: &Proof, account: &Account) -> Answer<()> {
    let (accounts, proof) = (service.accounts().clone(), proof.clone());
    let found = service
        .calls()
        .run(move || proof.account_again(&accounts))
        .await?;
    match found.as_ref() == Some(account) {
        true => Ok(()),
        false => Err(Problem::unauthorized("the account has changed; ask again")),
    }
}

/// Who a request was found to come from, and by what.
#[derive(Clone, Default)]
struct Known(Arc<OnceLock<(Proof, Account)>>);

/// Notes who a request comes from: its body is taken as long as that is so.
pub(super) fn note(extensions: &Extensions, proof: Proof, account: &Account) {
    if let Some(known) = extensions.get::<Known>() {
        known.0.get_or_init(|| (proof, account.clone()));
    }
}

/// Ends a body when who sends it is no longer who they were found to be. Who reads it answers so, in the form of its protocol:
/// [`reason`] tells.
pub(super) async fn watch_body(
    State(service): State<Service>,
    request: Request,
    next: Next,
) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let sender = Sender {
        // Before anybody is known: what changes from here on is not missed.
        seen: service.news().of_accounts(),
        asked: Instant::now(),
        known: Known::default(),
        service,
    };
    let (mut head, body) = request.into_parts();
    head.extensions.insert(sender.known.clone());
    let body = Body::from_stream(sender.watched(body));
    next.run(Request::from_parts(head, body)).await
}

/// Why a body was ended.
#[derive(Debug)]
struct Ended(Problem);

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.detail())
    }
}

impl Error for Ended {}

/// Why a body was ended here, where it was.
pub(super) fn reason(error: &(dyn Error + 'static)) -> Option<Problem> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(Ended(problem)) = error.downcast_ref() {
            return Some(problem.clone());
        }
        cause = error.source();
    }
    None
}

/// Who a body comes from.
struct Sender {
    service: Service,
    known: Known,
    /// The last change of accounts that is known to leave it be.
    seen: u64,
    asked: Instant,
}

impl Sender {
    fn watched(self, body: Body) -> impl Stream<Item = Result<Bytes, axum::Error>> {
        let pieces = (self, Some(body.into_data_stream()));
        stream::unfold(pieces, async |(mut sender, body)| {
            let mut body = body?;
            let piece = body.next().await;
            // Also behind the last piece: what the body asks for is done then.
            match sender.check().await {
                Err(problem) => Some((Err(axum::Error::new(Ended(problem))), (sender, None))),
                Ok(()) => piece.map(|piece| (piece, (sender, Some(body)))),
            }
        })
    }

    async fn check(&mut self) -> Answer<()> {
        let Some((proof, account)) = self.known.0.get() else {
            return Ok(());
        };
        let last = self.service.news().of_accounts();
        if last == self.seen && self.asked.elapsed() < ASKED_AGAIN {
            return Ok(());
        }
        check(&self.service, proof, account).await?;
        (self.seen, self.asked) = (last, Instant::now());
        Ok(())
    }
}
