//! The store over HTTP.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use komatik::http::{Endpoint, FirstPassword, Limits, Service, Tls, is_loopback, serve_at};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::{Doing, Failure, Outcome};
use super::interrupt;
use super::output::{self, Manner};
use super::session::{Globals, Session};

/// Serve the store over HTTP, with a page for people, until Ctrl-C
///
/// The first time, an account `admin` is made and its password printed, once. Without a certificate only this machine
/// reaches the service: to open it to others give one, or put a proxy in front that encrypts.
#[derive(clap::Args)]
pub(crate) struct Serve {
    /// Listen on this address; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Encrypt with the certificate in this PEM file, followed by those between it and the root; SIGHUP reads it again
    #[arg(long, value_name = "FILE", requires = "key_file")]
    certificate: Option<PathBuf>,
    /// The key of the certificate, in a PEM file
    #[arg(long = "key", value_name = "FILE", requires = "certificate")]
    key_file: Option<PathBuf>,
    /// Answer also to this name, besides localhost and any address; may be given several times
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Connections at a time, more wait; and sessions of rooms
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections)]
    connections: usize,
}

impl Serve {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome<()> {
        let tls = match (&self.certificate, &self.key_file) {
            (Some(certificate), Some(key)) => {
                Some(Tls::from_files(certificate, key).doing(|| "the certificate".to_owned())?)
            }
            _ => None,
        };
        if tls.is_none() && !is_loopback(self.listen) {
            return Err(Failure::usage(format!(
                "{} can be reached by other machines, and passwords would cross the network as they are",
                self.listen
            ))
            .advise(
                "give `--certificate FILE --key FILE`, or listen on 127.0.0.1 or [::1] with a proxy that encrypts in front",
            ));
        }
        globals.with_new_store(|session| self.serve(session, tls.as_ref()))
    }

    fn serve(&self, session: &mut Session, tls: Option<&Tls>) -> Outcome<()> {
        log();
        let mut limits = Limits::default();
        limits.connections = self.connections;
        let mut endpoint = Endpoint::default();
        endpoint.tls = tls.cloned();
        endpoint.hosts.clone_from(&self.hosts);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .doing(|| "starting".to_owned())?;
        runtime.block_on(async {
            // Before the first account is made: its password is told only once, so nothing is to fail after it.
            let listener = tokio::net::TcpListener::bind(self.listen).await;
            let listener = listener.doing(|| format!("listening on {}", self.listen))?;
            let address = listener.local_addr().doing(|| "listening".to_owned())?;
            let signals = Signals::from_now_on().doing(|| "listening".to_owned())?;
            // A signal that came earlier is known to it only.
            interrupt::check()?;
            let (service, first) = Service::new(&session.store, limits)?;
            let scheme = if tls.is_some() { "https" } else { "http" };
            let url = format!("{scheme}://{address}");
            if let Err(failure) = greet(session.manner, &url, first.as_ref()) {
                // Nobody knows its password, and no other start would tell one.
                if let Some(first) = first {
                    first.take_back(&session.store)?;
                }
                return Err(failure);
            }
            let stop = asked_to_stop(session.manner, tls.cloned(), signals);
            let served = serve_at(service, listener, endpoint, stop).await;
            served.doing(|| "serving".to_owned())
        })
    }
}

/// Has warnings and errors written to standard error, a line each: what answers tell only an operator can mend is there.
fn log() {
    let lines = tracing_subscriber::fmt()
        // It would tell that nobody reads standard error on standard error, and panic at that.
        .log_internal_errors(false)
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    // Where there is one already, that is it.
    let _ = lines.try_init();
}

/// Signals are noted here from the start on, also while nobody waits for them.
struct Signals {
    interrupts: Signal,
    terminations: Signal,
    hangups: Signal,
    survives_hangup: bool,
}

impl Signals {
    fn from_now_on() -> io::Result<Signals> {
        Ok(Signals {
            // Asked before it is caught, which is the end of being ignored.
            survives_hangup: interrupt::survives_hangup(),
            hangups: signal(SignalKind::hangup())?,
            interrupts: signal(SignalKind::interrupt())?,
            terminations: signal(SignalKind::terminate())?,
        })
    }
}

/// Done when it is time to stop. With a certificate, SIGHUP reads that again; without one, it ends the service as well, where it
/// is not to be ignored.
async fn asked_to_stop(manner: Manner, tls: Option<Tls>, mut signals: Signals) {
    tokio::select! {
        _ = signals.interrupts.recv() => {}
        _ = signals.terminations.recv() => {}
        () = on_hangups(manner, tls, signals.survives_hangup, signals.hangups) => {}
    }
}

async fn on_hangups(manner: Manner, tls: Option<Tls>, survives: bool, mut hangups: Signal) {
    while hangups.recv().await.is_some() {
        match tls.as_ref().map(Tls::reload) {
            None if survives => {}
            None => return,
            Some(Ok(())) => manner.note("the certificate was read again"),
            Some(Err(error)) => {
                output::warn(&format!("the certificate stays as it was: {error}"));
            }
        }
    }
    std::future::pending().await
}

/// Where it listens and, the first time, how to log in.
fn greet(manner: Manner, url: &str, first: Option<&FirstPassword>) -> Outcome<()> {
    manner.answer(
        || {
            serde_json::json!({
                "url": url,
                "first_login": first.map(|first| {
                    serde_json::json!({"name": first.name, "password": first.password})
                }),
            })
        },
        || match first {
            None => format!("serving {url}"),
            Some(FirstPassword { name, password }) => format!(
                "serving {url}\n\nThe first account, told only now:\n  name      {name}\n  password  {password}\n\
                 Log in, or offer both with each request:\n  curl -u {name}:{password} {url}/v1/sessions\n"
            ),
        },
    )
}
