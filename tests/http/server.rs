//! A service on a free port, and a client of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use komatik::http::{Endpoint, Limits, Service, serve_at};
use komatik::{Store, Transaction};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use ureq::Agent;
use ureq::http::{HeaderMap, Request};

/// A service of a store in memory, stopped when it is dropped.
pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) address: SocketAddr,
    /// Of the account `admin`.
    pub(crate) password: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start() -> Server {
        Server::with(&Store::in_memory().unwrap(), Limits::default())
    }

    pub(crate) fn with(store: &Store, limits: Limits) -> Server {
        Server::at(store, limits, Endpoint::default())
    }

    pub(crate) fn at(store: &Store, limits: Limits, endpoint: Endpoint) -> Server {
        let (service, first) = Service::new(store, limits).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let stop = async {
                    let _ = stopped.await;
                };
                serve_at(service, listener, endpoint, stop).await.unwrap();
            });
        });
        Server {
            store: store.clone(),
            address: told.recv().unwrap(),
            password: first.map_or_else(String::new, |first| first.password),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Asks the service to stop, and waits until it has.
    pub(crate) fn stop(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    pub(crate) fn begin_stop(&mut self) {
        self.stop.take();
    }

    /// Without credentials.
    pub(crate) fn nobody(&self) -> Client {
        Client {
            address: self.address,
            credentials: Vec::new(),
        }
    }

    /// The first account, with a session.
    pub(crate) fn admin(&self) -> Client {
        self.log_in("admin", &self.password)
    }

    pub(crate) fn log_in(&self, name: &str, password: &str) -> Client {
        let login = json!({"name": name, "password": password});
        let reply = self.nobody().json("POST", "/v1/sessions", &login);
        assert_eq!(reply.status, 201, "{reply:?}");
        self.bearer(reply.value()["token"].as_str().unwrap())
    }

    pub(crate) fn bearer(&self, token: &str) -> Client {
        self.client("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn basic(&self, name: &str, password: &str) -> Client {
        Client::basic(self.address, name, password)
    }

    pub(crate) fn client(&self, header: &str, value: &str) -> Client {
        Client {
            address: self.address,
            credentials: vec![(header.to_owned(), value.to_owned())],
        }
    }

    /// A user of its own, logged in.
    pub(crate) fn user(&self, name: &str, role: &str, root: &str) -> Client {
        let user = json!({"password": "a long one", "role": role, "root": root});
        let reply = self
            .admin()
            .json("PUT", &format!("/v1/users/{name}"), &user);
        assert_eq!(reply.status, 201, "{reply:?}");
        self.log_in(name, "a long one")
    }

    /// What `ask` answers where it comes while a transaction is under way, and its own, if it needs one, has to wait for the
    /// end of that.
    pub(crate) fn amid<R: Send>(
        &self,
        change: impl FnOnce(&mut Transaction<'_>) -> komatik::Result<()>,
        ask: impl FnOnce() -> R + Send,
    ) -> R {
        std::thread::scope(|threads| {
            let asked = self.store.transaction(|tx| {
                let asked = threads.spawn(ask);
                // Time for it to look at what is there, and to come to where it waits.
                std::thread::sleep(Duration::from_millis(300));
                change(tx)?;
                Ok(asked)
            });
            asked.unwrap().join().unwrap()
        })
    }

    /// A request that waits to be asked for its body, by one whose credentials come in a header.
    pub(crate) fn begin(&self, client: &Client, head: &str, body_bytes: usize) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).unwrap();
        let (name, value) = &client.credentials[0];
        let head = format!(
            "{head}\r\nhost: localhost\r\n{name}: {value}\r\ncontent-length: {body_bytes}\r\n\
             expect: 100-continue\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut asked = [0; 25];
        stream.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream
    }

    /// Sends bytes as they are, and answers all that comes back until the connection is closed or silent.
    pub(crate) fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) credentials: Vec<(String, String)>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn basic(address: SocketAddr, name: &str, password: &str) -> Client {
        let encoded = STANDARD.encode(format!("{name}:{password}"));
        Client {
            address,
            credentials: vec![("authorization".to_owned(), format!("Basic {encoded}"))],
        }
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .allow_non_standard_methods(true)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        let url = format!("http://{}{path}", self.address);
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in &self.credentials {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = match body.is_empty() && !matches!(method, "PUT" | "POST" | "PATCH") {
            true => agent.run(request.body(()).unwrap()),
            false => agent.run(request.body(body).unwrap()),
        };
        let mut answer = answer.unwrap();
        let body = answer.body_mut().with_config().limit(1 << 30).read_to_vec();
        Reply {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: body.unwrap(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    /// When what is there was written, once the service tells.
    #[track_caller]
    pub(crate) fn date_of(&self, path: &str) -> String {
        let began = Instant::now();
        loop {
            let reply = self.get(path);
            let date = reply.header("last-modified");
            if !date.is_empty() {
                return date.to_owned();
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{reply:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub(crate) fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], b"")
    }

    pub(crate) fn put(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.send("PUT", path, &[], body.as_ref())
    }

    pub(crate) fn json(&self, method: &str, path: &str, value: &Value) -> Reply {
        self.json_with(method, path, &[], value)
    }

    pub(crate) fn json_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        value: &Value,
    ) -> Reply {
        let mut headers = headers.to_vec();
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            headers.push(("content-type", "application/json"));
        }
        self.send(method, path, &headers, value.to_string().as_bytes())
    }
}

impl Reply {
    #[track_caller]
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// Fails unless it is problem details of this status; answers them.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let value = self.value();
        assert_eq!(value["status"], status);
        assert!(
            value["title"].is_string() && value["detail"].is_string(),
            "{value}"
        );
        value
    }
}
