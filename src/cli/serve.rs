//! The store over HTTP.

use std::net::SocketAddr;

use komatik::http::{FirstPassword, Limits, Service, is_loopback, serve, stop_signal};

use super::failure::{Doing, Failure, Outcome};
use super::output::Manner;
use super::session::{Globals, Session};

/// Serve the store over HTTP, until Ctrl-C
///
/// The first time, an account `admin` is made and its password printed, once. Only this machine reaches the service: to
/// open it to others put a proxy in front that encrypts.
#[derive(clap::Args)]
pub(crate) struct Serve {
    /// Listen on this address; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Connections at a time; more wait
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections)]
    connections: usize,
}

impl Serve {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome<()> {
        if !is_loopback(self.listen) {
            return Err(Failure::usage(format!(
                "{} can be reached by other machines, and passwords would cross the network as they are",
                self.listen
            ))
            .advise("listen on 127.0.0.1 or [::1], and put a proxy that encrypts in front of it"));
        }
        globals.with_new_store(|session| self.serve(session))
    }

    fn serve(&self, session: &mut Session) -> Outcome<()> {
        let mut limits = Limits::default();
        limits.connections = self.connections;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .doing(|| "starting".to_owned())?;
        runtime.block_on(async {
            // Before the first account is made: its password is told only once, so nothing is to fail after it.
            let listener = tokio::net::TcpListener::bind(self.listen).await;
            let listener = listener.doing(|| format!("listening on {}", self.listen))?;
            let address = listener.local_addr().doing(|| "listening".to_owned())?;
            let (service, first) = Service::new(&session.store, limits)?;
            greet(session.manner, address, first.as_ref())?;
            let stop = async {
                if let Err(error) = stop_signal().await {
                    tracing::error!(%error, "no signal can be waited for");
                }
            };
            let served = serve(service, listener, stop).await;
            served.doing(|| "serving".to_owned())
        })
    }
}

/// Where it listens and, the first time, how to log in.
fn greet(manner: Manner, address: SocketAddr, first: Option<&FirstPassword>) -> Outcome<()> {
    let url = format!("http://{address}");
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
