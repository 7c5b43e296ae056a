//! Listening: connections in, within the limits, until it is time to stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use super::{Limits, Peer, Service};

/// How long to wait before the next connection is accepted, where the system could not give this one.
const BREATH: Duration = Duration::from_millis(100);
/// How often ended sessions are removed.
const SWEEP: Duration = Duration::from_secs(60 * 60);
/// Bytes of the head of a request at most.
const HEAD_BYTES: usize = 64 * 1024;

/// Whether only this machine reaches the address. Any other needs an encrypted connection in front of the service:
/// passwords and sessions go over it as they are.
#[must_use]
pub fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Serves the listener until `stop` is done. Then no more connections are accepted, and requests under way have
/// [`Limits::stop_time`](super::Limits::stop_time) to end. What was acknowledged is in the store in any case.
///
/// It runs in a tokio runtime with I/O and time. The store is the caller's to close.
///
/// # Errors
/// None at present: what fails is a connection, and the next one is served.
pub async fn serve(
    service: Service,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let router = service.router();
    let limits = service.limits().clone();
    let free = Arc::new(Semaphore::new(limits.connections.max(1)));
    let graceful = GracefulShutdown::new();
    let http1 = http1(&limits);
    let sweeper = tokio::spawn(sweep(service.clone()));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accept = async {
            // A place first: who finds none waits in the queue of the system.
            let place = Arc::clone(&free).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = accept => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let (service, router) = (service.clone(), router.clone());
        let (http1, watcher) = (http1.clone(), graceful.watcher());
        tokio::spawn(async move {
            if !speaks(&stream, &service).await {
                return;
            }
            let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
                let mut request = request.map(Body::new);
                let address = Peer(peer.ip().to_canonical());
                request.extensions_mut().insert(address);
                router.clone().oneshot(request)
            });
            let connection = http1.serve_connection_with_upgrades(TokioIo::new(stream), answer);
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%error, %peer, "a connection ended early");
            }
            drop(place);
        });
    }
    drop(listener);
    sweeper.abort();
    service.news().stop();
    if tokio::time::timeout(limits.stop_time, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests under way took too long and were given up");
    }
    Ok(())
}

/// Whether a new connection says anything in time; from its first byte on, hyper counts the time itself.
async fn speaks(stream: &TcpStream, service: &Service) -> bool {
    // An answer of a few bytes is not to wait for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "setting TCP_NODELAY");
    }
    tokio::select! {
        first = tokio::time::timeout(service.limits().head_time, stream.readable()) => {
            matches!(first, Ok(Ok(())))
        }
        () = service.news().stopped() => false,
    }
}

/// How every connection is spoken to.
fn http1(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(HEAD_BYTES);
    builder
}

/// Removes ended sessions now and then.
async fn sweep(service: Service) {
    loop {
        let accounts = service.accounts().clone();
        let swept = service.calls().run(move || accounts.sweep_sessions()).await;
        if let Ok(count @ 1..) = swept {
            tracing::debug!(count, "removed ended sessions");
        }
        tokio::time::sleep(SWEEP).await;
    }
}

/// Done when the process is asked to end: SIGINT or SIGTERM.
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
