//! Whether a request that goes on for long still has the rights it began with.
//!
//! Who is answered for long is asked again by [`Standing`]. Whose body comes slowly is asked again by [`watch_body`], whatever
//! becomes of the body: an account that was removed must not go on writing, nor an admin who is none any more make another.
//! And whoever writes to what the store holds is asked again at the commit itself, by [`guarded`]: behind the last byte of
//! the body it may take minutes until passwords are tried, or the parts of an upload put together.

use std::error::Error;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

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
use crate::Store;

/// Who a request comes from that goes on for long, asked again whenever what the service keeps of accounts has changed.
pub(super) struct Standing {
    service: Service,
    proof: Proof,
    account: Account,
    /// The last change of accounts that is known to leave it be.
    seen: u64,
}

impl Standing {
    /// # Errors
    /// Where the proof no longer is one of the same account, with the same rights.
    pub(super) async fn check(&mut self) -> Answer<()> {
        check_since(&self.service, &self.proof, &self.account, &mut self.seen).await
    }

    /// Done when the session ends.
    pub(super) async fn ended(&self) {
        match self.account.ends {
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
        Ok(Standing {
            service: service.clone(),
            proof,
            account,
            seen,
        })
    }
}

/// Fails where the proof no longer is one of the same account, with the same rights. Nothing is asked where nothing has
/// changed since the change that was `seen`.
async fn check_since(
    service: &Service,
    proof: &Proof,
    account: &Account,
    seen: &mut u64,
) -> Answer<()> {
    // The end of a session changes nothing that could be noticed.
    if account.ends.is_some_and(|ends| ends <= now()) {
        return Err(refused());
    }
    let last = service.news().of_accounts();
    if last == *seen {
        return Ok(());
    }
    let (known, proof, account) = (service.clone(), proof.clone(), account.clone());
    let look = move || check_now(&known, &proof, &account);
    service.calls().run(look).await?;
    *seen = last;
    Ok(())
}

/// Fails where the proof no longer is one of the same account, with the same rights. Waits for the store.
fn check_now(service: &Service, proof: &Proof, account: &Account) -> Answer<()> {
    let found = proof.account_again(service.accounts())?;
    match found.as_ref() == Some(account) {
        true => Ok(()),
        false => Err(Problem::unauthorized("the account has changed; ask again")),
    }
}

/// The same view, through which nothing is committed once the proof is not one of the same account, with the same rights.
pub(super) fn guarded(service: &Service, view: &Store, proof: Proof, account: &Account) -> Store {
    let (service, account) = (service.clone(), account.clone());
    permitted_by(view, move || check_now(&service, &proof, &account))
}

/// The same view, through which nothing is committed once `check` fails. [`reason`] finds the problem in the error.
pub(super) fn permitted_by(
    view: &Store,
    check: impl Fn() -> Answer<()> + Send + Sync + 'static,
) -> Store {
    let refused = |problem| {
        let ended = io::Error::other(Ended(problem));
        crate::Error::io("asking again who a request comes from", ended)
    };
    view.permitted_by(Arc::new(move || check().map_err(refused)))
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
        known: Known::default(),
        service,
    };
    let (mut head, body) = request.into_parts();
    head.extensions.insert(sender.known.clone());
    let body = Body::from_stream(sender.watched(body));
    next.run(Request::from_parts(head, body)).await
}

/// Why a body was ended, or a commit refused.
#[derive(Debug)]
struct Ended(Problem);

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.detail())
    }
}

impl Error for Ended {}

/// Why a body was ended here or a commit refused, where it was.
pub(super) fn reason(error: &(dyn Error + 'static)) -> Option<Problem> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(Ended(problem)) = error.downcast_ref() {
            return Some(problem.clone());
        }
        // What an error of `std::io` wraps is not its source.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// Who a body comes from.
struct Sender {
    service: Service,
    known: Known,
    /// The last change of accounts that is known to leave it be.
    seen: u64,
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
        check_since(&self.service, proof, account, &mut self.seen).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::http::accounts::{Accounts, Role, User};

    /// Between the look at the rights and the commit. Where the store is slow to settle what takes them away,
    /// [`Store::look_alone`] sees to it, and is held to it by a test of its own.
    #[test]
    fn who_takes_rights_away_waits_for_who_was_asked_before() {
        let store = Store::in_memory().unwrap();
        let (accounts, _) = Accounts::open(&store).unwrap();
        let user = User::new("a long one", Role::Writer, "home/ann").unwrap();
        accounts.add_user("ann", &user).unwrap();
        accounts.add_key("ann", "", "proj").unwrap();
        let (id, _) = accounts.keys().unwrap().remove(0);
        let session = Account::of("ann", &user);
        let session = accounts.begin_session(&session, Duration::from_secs(60));
        let session = session.unwrap();

        let ways: [&(dyn Fn() + Sync); 4] = [
            &|| accounts.end_session(&session).unwrap(),
            &|| assert!(accounts.remove_key(&id).unwrap()),
            &|| {
                let reader = Some(Role::Reader);
                accounts.change_user("ann", None, reader, None).unwrap();
            },
            &|| assert!(accounts.remove_user("ann").unwrap()),
        ];
        for (number, take) in ways.into_iter().enumerate() {
            let (asked, go) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
            let permit = {
                let (asked, go) = (asked.clone(), go.clone());
                move || {
                    asked.wait();
                    go.wait();
                    Ok(())
                }
            };
            let (view, key) = (permitted_by(&store, permit), format!("of-{number}"));
            std::thread::scope(|threads| {
                threads.spawn(|| view.save(&key, &1).unwrap());
                asked.wait();
                let (taken, is_taken) = channel();
                threads.spawn(move || {
                    take();
                    taken.send(()).unwrap();
                });
                let early = is_taken.recv_timeout(Duration::from_millis(100));
                // Who has no session ends none, and is not waited for.
                accounts.end_session("none").unwrap();
                go.wait();
                assert!(early.is_err(), "way {number} is done before the writer is");
                is_taken.recv().unwrap();
                assert!(store.exists(&key).unwrap());
            });
        }
    }
}
