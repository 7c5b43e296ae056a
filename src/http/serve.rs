//! Listening: connections in, within the limits, until it is time to stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::middleware::from_fn_with_state;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

use super::drive::sweep_uploads;
use super::hosts::{self, Hosts};
use super::problem::{Answer, Problem};
use super::storage::merge_slashes;
use super::tls::Tls;
use super::{Encrypted, Limits, Peer, Service, unread};

/// How long to wait before the next connection is accepted, where the system could not give this one.
const BREATH: Duration = Duration::from_millis(100);
/// How often ended sessions, expired tokens and uploads that nobody ended are removed.
const SWEEP: Duration = Duration::from_secs(60 * 60);
/// Bytes of the head of a request at most.
const HEAD_BYTES: usize = 64 * 1024;
/// Connections at a time, whatever the limits say.
const MOST_CONNECTIONS: u32 = 65_536;

/// How a service is reached.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Endpoint {
    /// Encrypts every connection; without it they are as they are, which is for one machine only.
    pub tls: Option<Tls>,
    /// Names the service is known by, besides `localhost` and any address. A request for another is refused.
    pub hosts: Vec<String>,
}

/// Whether only this machine reaches the address. Any other needs an encrypted connection in front of the service:
/// passwords and sessions go over it as they are.
#[must_use]
pub fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Serves the listener until `stop` is done. Then no more connections are accepted, and requests under way have
/// [`Limits::stop_time`](super::Limits::stop_time) to end; those that take longer are broken off, and so are all where the
/// future is dropped. Of them nothing is stored but what a call to the store that had begun still does. What was
/// acknowledged is in the store in any case. With it the service has ended, also for who serves a clone of it.
///
/// It runs in a tokio runtime with I/O and time. The store is the caller's to close. Connections are not encrypted:
/// [`serve_at`] can.
///
/// # Errors
/// None at present: what fails is a connection, and the next one is served.
pub async fn serve(
    service: Service,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    serve_at(service, listener, Endpoint::default(), stop).await
}

/// As [`serve`], with encryption and names of its own.
///
/// # Errors
/// None at present: what fails is a connection, and the next one is served.
pub async fn serve_at(
    service: Service,
    listener: TcpListener,
    endpoint: Endpoint,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let hosts: Hosts = endpoint.hosts.into();
    let router = service
        .router()
        .layer(from_fn_with_state(hosts, hosts::check))
        .layer(from_fn_with_state(service.clone(), unread::read_on));
    let limits = service.limits().clone();
    let places = u32::try_from(limits.connections).unwrap_or(MOST_CONNECTIONS);
    let places = places.clamp(1, MOST_CONNECTIONS);
    let free = Arc::new(Semaphore::new(
        usize::try_from(places).unwrap_or(usize::MAX),
    ));
    let http1 = http1(&limits);
    let mut tasks = JoinSet::new();
    let sweeper = tasks.spawn(sweep(service.clone()));
    let end = End(service.clone());
    let mut stop = std::pin::pin!(stop);
    loop {
        let accept = async {
            // A place first: who finds none waits in the queue of the system.
            let place = Arc::clone(&free).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = accept => accepted,
            // Those that have ended would be kept otherwise.
            Some(_) = tasks.join_next() => continue,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let tls = endpoint.tls.clone();
                let (service, router) = (service.clone(), router.clone());
                let connection = connection(service, router, http1.clone(), tls, stream);
                tasks.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, %peer, "a connection ended early");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
    drop(listener);
    sweeper.abort();
    service.news().stop();
    let ended = async {
        // Every place is free again when the last connection has ended, but for those that became sessions of rooms.
        let _ = free.acquire_many(places).await;
        service.sessions().ended().await;
    };
    if tokio::time::timeout(limits.stop_time, ended).await.is_err() {
        tracing::warn!("requests under way took too long and were given up");
    }
    // Who is told that it has ended is not to see anything come after, but for calls to the store that had begun.
    drop(end);
    tasks.shutdown().await;
    service.sessions().ended().await;
    Ok(())
}

/// Breaks off what is no task of its own, sessions of rooms above all, when it is dropped: the future that serves may be as well.
struct End(Service);

impl Drop for End {
    fn drop(&mut self) {
        self.0.news().give_up();
    }
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Serves a connection, encrypted where there is a certificate.
async fn connection(
    service: Service,
    router: Router,
    http1: http1::Builder,
    tls: Option<Tls>,
    stream: TcpStream,
) -> Ended {
    // An answer of a few bytes is not to wait for more.
    stream.set_nodelay(true)?;
    let address = Peer(stream.peer_addr()?.ip().to_canonical());
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(service.limits().body_time));
    let stream = Box::pin(stream);
    let from = (address, Encrypted(tls.is_some()));
    let Some(tls) = tls else {
        return converse(service, router, http1, from, stream).await;
    };
    let time = service.limits().head_time;
    let stream = tokio::select! {
        agreed = tokio::time::timeout(time, tls.acceptor().accept(stream)) => agreed??,
        () = service.news().stopped() => return Ok(()),
    };
    converse(service, router, http1, from, stream).await
}

/// Answers requests until the connection ends, or until the one under way is answered and the service stops.
async fn converse(
    service: Service,
    router: Router,
    http1: http1::Builder,
    (address, encrypted): (Peer, Encrypted),
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Ended {
    // hyper counts the time from the first byte on only.
    let mut stream = BufReader::new(stream);
    tokio::select! {
        begun = tokio::time::timeout(service.limits().head_time, stream.fill_buf()) => {
            begun??;
        }
        () = service.news().stopped() => return Ok(()),
    }
    let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(address);
        request.extensions_mut().insert(encrypted);
        merge_slashes(&mut request);
        router.clone().oneshot(request)
    });
    let connection = http1.serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection.with_upgrades());
    tokio::select! {
        ended = connection.as_mut() => ended?,
        () = service.news().stopped() => {
            connection.as_mut().graceful_shutdown();
            connection.await?;
        }
    }
    Ok(())
}

/// How every connection is spoken to.
fn http1(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(HEAD_BYTES);
    builder
}

/// Removes now and then what has ended: sessions, tokens and uploads.
async fn sweep(service: Service) {
    loop {
        let swept = service.clone();
        let sweep = move || {
            sweep_all(&swept);
            Ok::<_, Problem>(())
        };
        // Where one panicked, the next may not.
        let _ = service.calls().run(sweep).await;
        tokio::time::sleep(SWEEP).await;
    }
}

/// What of it fails keeps no other. Who stops the service waits for its end.
fn sweep_all(service: &Service) {
    let (accounts, goes_on) = (service.accounts(), || !service.news().is_stopping());
    let now = SystemTime::now();
    let uploads = || Ok(sweep_uploads(&service.uploads()?, now, &goes_on)?);
    let sweeps: [(&str, &dyn Fn() -> Answer<usize>); 4] = [
        ("ended sessions", &|| accounts.sweep_sessions(&goes_on)),
        ("expired tokens of paths", &|| {
            accounts.sweep_path_tokens(&goes_on)
        }),
        ("expired tokens", &|| Ok(service.store().sweep_tokens()?)),
        ("uploads that nobody ended", &uploads),
    ];
    for (what, sweep) in sweeps {
        match sweep() {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "removed {what}"),
            Err(problem) => tracing::debug!("{what} stay for now: {}", problem.detail()),
        }
        if !goes_on() {
            return;
        }
    }
}

/// Done when the process is asked to end after the first poll: SIGINT or SIGTERM. SIGHUP is the caller's, to [`Tls::reload`] at.
///
/// # Errors
/// The operating system.
pub async fn stop_signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
