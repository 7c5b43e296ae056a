//! A store served over HTTP.
//!
//! [`Service`] is a store, the accounts that may use it and the limits that hold; its router has every route, one
//! file a topic, each with a `routes()` that is merged there. [`serve`] listens.
//!
//! ```no_run
//! use komatik::http::{Limits, Service, serve, stop_signal};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = komatik::Store::open("app-data")?;
//! let mut limits = Limits::default();
//! limits.calls = 16;
//! let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
//! runtime.block_on(async {
//!     // First of all: the password of the first account is told once, and nothing is to fail behind it.
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//!     let (service, first) = Service::new(&store, limits)?;
//!     if let Some(first) = first {
//!         println!("{} may log in with {}", first.name, first.password);
//!     }
//!     serve(service, listener, async { drop(stop_signal().await) }).await?;
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })?;
//! store.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! A request comes in through `auth`, which turns credentials into a `Caller`: a view of the store that sees only what the
//! account may reach and acts in its name; `scopes` makes every such view. The store is synchronous, so handlers call it
//! through `blocking`. What it answers goes out as JSON, as a stream by `content`, or as the details of a `problem`.
//!
//! Other protocols over the same store are routes as well, each with a file or folder of its own beside these.

mod accounts;
mod api_keys;
mod asking;
mod auth;
mod blobs;
mod blocking;
mod budget;
mod care;
mod changes;
mod cloud_store;
mod conditions;
mod content;
mod cross_origin;
mod documents;
mod drive;
mod entries;
mod file_name;
mod form;
mod hosts;
mod key;
mod lists;
mod locks;
mod metrics;
mod openapi;
mod page;
mod passwords;
mod people;
mod problem;
mod ranges;
mod readable;
mod remembered;
mod room;
mod scopes;
mod serve;
mod sessions;
mod shared;
mod show;
mod standing;
mod storage;
mod strangers;
mod throttle;
mod tls;
mod tokens;
mod transactions;
mod unread;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::{Result, Store};
use accounts::Accounts;
use blocking::Calls;
use changes::News;
use key::MOST_VALUES;
use metrics::Metrics;
use problem::Problem;
use room::Sessions;
use strangers::Strangers;
use throttle::Throttle;
use unread::Unread;

pub use accounts::{FirstPassword, set_password};
#[cfg(fuzzing)]
#[doc(hidden)]
pub use room::fuzz_packets;
pub use serve::{Endpoint, is_loopback, serve, serve_at, stop_signal};
pub use tls::Tls;

/// How long a call waits for its turn where wrong passwords were tried on a lock: it has one of few threads meanwhile. A
/// client that is refused is told when to come again. It is enough for one that offers all the passwords it may.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// What a client may ask of the service at most. Nothing that a connection does is waited for longer than a year, whatever they
/// say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections open at a time; more wait to be accepted. As many sessions of rooms at a time, which are not counted as
    /// connections; more are refused. Default: 1,024.
    pub connections: usize,
    /// How long a client may take to send the head of a request. Default: 10 s.
    pub head_time: Duration,
    /// How long a client may take to send the next piece of a body, or to take any of an answer. Default: 30 s.
    pub body_time: Duration,
    /// Largest body of a request that is read into memory: JSON of every kind, but for logins, which have 16 KiB. It has at
    /// most 2,000,000 values and names of members, each of which takes some hundred bytes once it is read. Where a body comes
    /// before it is known whose it is, all of them together have twice as much. Default: 64 MiB. Contents of blobs are
    /// streamed and have no limit.
    pub json_bytes: usize,
    /// Calls to the store at a time; more wait. Default: 64.
    pub calls: usize,
    /// How long requests under way may go on when the service stops. Default: 30 s.
    pub stop_time: Duration,
    /// How long a session lasts. Default: 24 hours.
    pub session_time: Duration,
    /// Failed logins a minute, for each name and for each address. Default: 10.
    pub logins: usize,
}

/// Longer times are taken for a year: added to a clock they would overflow.
const LONGEST_TIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Limits {
    /// As far as clocks reach.
    fn within_reach(self) -> Limits {
        Limits {
            head_time: self.head_time.min(LONGEST_TIME),
            body_time: self.body_time.min(LONGEST_TIME),
            stop_time: self.stop_time.min(LONGEST_TIME),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 1024,
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            json_bytes: 64 * 1024 * 1024,
            calls: 64,
            stop_time: Duration::from_secs(30),
            session_time: Duration::from_secs(24 * 60 * 60),
            logins: 10,
        }
    }
}

/// A store, its accounts and the limits of the service. Cloning is shallow.
#[derive(Debug, Clone)]
pub struct Service(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// All of the store, but for the accounts.
    store: Store,
    accounts: Accounts,
    calls: Calls,
    throttle: Throttle,
    strangers: Strangers,
    news: News,
    /// In rooms.
    sessions: Sessions,
    metrics: Metrics,
    unread: Unread,
    limits: Limits,
}

/// The other end of the connection a request came by.
#[derive(Debug, Clone, Copy)]
struct Peer(IpAddr);

/// Whether nobody between the two ends of a connection reads along.
#[derive(Debug, Clone, Copy)]
struct Encrypted(bool);

impl Service {
    /// A service of this store. Where the store has no account yet, `admin` is made with a random password, which is
    /// answered and never told again.
    ///
    /// Passwords that the view offers are not those of the clients, who offer their own: the service forgets them, and
    /// the name the view acts under.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) on a view that hides a folder; those of every read and
    /// write.
    pub fn new(store: &Store, limits: Limits) -> Result<(Service, Option<FirstPassword>)> {
        let limits = limits.within_reach();
        let store = &store.of_nobody();
        // Before an account is made of which only the answer tells the password.
        let all = store.without(accounts::FOLDER)?;
        let (accounts, first) = Accounts::open(store)?;
        let service = Service(Arc::new(Shared {
            store: all
                .with_patience(LOCK_PATIENCE)
                .with_most_values(MOST_VALUES),
            accounts,
            calls: Calls::new(limits.calls),
            throttle: Throttle::new(limits.logins),
            strangers: Strangers::new(limits.json_bytes),
            news: News::of(store),
            sessions: Sessions::new(limits.connections),
            metrics: Metrics::new(),
            unread: Unread::new(),
            limits,
        }));
        Ok((service, first))
    }

    /// Every route of the service, as [`serve`] answers them: it tells each whom it talks to.
    fn router(&self) -> Router {
        let nosniff = SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        let no_referrer = SetResponseHeaderLayer::if_not_present(
            HeaderName::from_static("referrer-policy"),
            HeaderValue::from_static("no-referrer"),
        );
        Router::new()
            .route("/healthz", get(|| async { "ok" }))
            .merge(blobs::routes())
            .merge(care::routes())
            .merge(changes::routes())
            .merge(cloud_store::routes())
            .merge(documents::routes())
            .merge(drive::routes())
            .merge(entries::routes())
            .merge(locks::routes())
            .merge(metrics::routes())
            .merge(openapi::routes())
            .merge(page::routes())
            .merge(people::routes())
            .merge(room::routes())
            .merge(sessions::routes())
            .merge(shared::routes())
            .merge(storage::routes())
            .merge(tokens::routes())
            .merge(transactions::routes())
            .fallback(|| async { Problem::no_route() })
            .method_not_allowed_fallback(|| async { Problem::no_method() })
            .layer(RequestBodyTimeoutLayer::new(self.0.limits.body_time))
            .layer(from_fn_with_state(self.clone(), standing::watch_body))
            .layer(CatchPanicLayer::custom(
                |_: Box<dyn std::any::Any + Send>| {
                    Problem::internal("a handler panicked").into_response()
                },
            ))
            .layer(from_fn(auth::leave_asking_to_pages))
            .layer(from_fn_with_state(self.clone(), metrics::count))
            .layer(nosniff)
            .layer(no_referrer)
            .with_state(self.clone())
    }

    /// The store without the accounts; nobody in particular acts.
    fn store(&self) -> &Store {
        &self.0.store
    }

    fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    fn calls(&self) -> &Calls {
        &self.0.calls
    }

    fn throttle(&self) -> &Throttle {
        &self.0.throttle
    }

    fn strangers(&self) -> &Strangers {
        &self.0.strangers
    }

    fn news(&self) -> &News {
        &self.0.news
    }

    fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    fn unread(&self) -> &Unread {
        &self.0.unread
    }

    fn limits(&self) -> &Limits {
        &self.0.limits
    }
}
