//! Stopping: what is under way ends, what was acknowledged stays.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use komatik::Store;
use komatik::http::{Limits, Service, serve};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tungstenite::client::IntoClientRequest;

use crate::room_client::{Key, Participant, packed};
use crate::server::{Client, Server};

/// A service beside others in a runtime that goes on without it.
struct Guest {
    address: SocketAddr,
    password: String,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Guest {
    async fn of(store: &Store, limits: Limits) -> Guest {
        let (service, first) = Service::new(store, limits).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(serve(service, listener, async {
            let _ = stopped.await;
        }));
        Guest {
            address,
            password: first.unwrap().password,
            stop,
            served,
        }
    }

    fn admin(&self) -> Client {
        Client::basic(self.address, "admin", &self.password)
    }

    /// Half of a blob `b` of six bytes.
    fn half_a_blob(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let (name, value) = &self.admin().credentials[0];
        let head = format!(
            "PUT /v1/blobs/b HTTP/1.1\r\nhost: localhost\r\n{name}: {value}\r\ncontent-length: 6\r\n\r\nabc"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    /// A participant of a room who takes nothing of a large file it has asked for.
    fn slow_participant(&self, store: &Store) -> Participant {
        store.put("rooms/proj/r/large", vec![7; 64 << 20]).unwrap();
        let new = json!({"user": "admin", "label": "test", "project": "proj"});
        let made = self.admin().json("POST", "/v1/keys", &new).value();
        let key = Key {
            id: made["id"].as_str().unwrap().to_owned(),
            project: "proj".to_owned(),
            key: made["key"].as_str().unwrap().to_owned(),
        };
        let token = key.token("ann", json!([]));
        let url = format!("ws://{}/rooms/r?token={token}&v=0.29.4", self.address);
        let stream = TcpStream::connect(self.address).unwrap();
        let ann = Participant::over(stream, url.into_client_request().unwrap());
        let mut ann = ann.unwrap().greeted();
        ann.send("storage.download", &packed(&json!({"path": "large"}), b""));
        ann
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn a_request_under_way_is_done_and_no_other_is_taken() {
    let mut server = Server::start();
    let mut stream = server.begin(&server.admin(), "PUT /v1/blobs/b HTTP/1.1", 6);
    stream.write_all(b"abc").unwrap();
    server.begin_stop();
    let refused = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        TcpStream::connect(server.address).is_err()
    });
    assert!(refused, "it still accepts connections");
    stream.write_all(b"def").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    server.stop();
    assert_eq!(server.store.get("b").unwrap().unwrap(), "abcdef");
}

#[test]
fn who_takes_too_long_is_given_up() {
    let mut limits = Limits::default();
    limits.stop_time = Duration::from_millis(200);
    let mut server = Server::with(&Store::in_memory().unwrap(), limits);
    let mut stream = server.begin(&server.admin(), "PUT /v1/blobs/b HTTP/1.1", 6);
    stream.write_all(b"abc").unwrap();
    server.stop();
    assert!(!server.store.exists("b").unwrap());
}

#[test]
fn what_was_given_up_does_not_go_on_behind_its_back() {
    let store = Store::in_memory().unwrap();
    let mut limits = Limits::default();
    limits.stop_time = Duration::from_millis(200);
    let runtime = runtime();
    let guest = runtime.block_on(Guest::of(&store, limits));
    let mut stream = guest.half_a_blob();
    std::thread::sleep(Duration::from_millis(300));
    drop(guest.stop);
    runtime.block_on(guest.served).unwrap().unwrap();
    // It may be closed by then.
    let _ = stream.write_all(b"def");
    std::thread::sleep(Duration::from_millis(500));
    assert!(!store.exists("b").unwrap());
}

/// Neither what sweeps, nor connections, nor sessions of rooms.
#[test]
fn of_a_service_that_is_dropped_nothing_holds_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let runtime = runtime();
    let guest = runtime.block_on(Guest::of(&store, Limits::default()));
    let _half = guest.half_a_blob();
    let _participant = guest.slow_participant(&store);
    let _idle = TcpStream::connect(guest.address).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    guest.served.abort();
    assert!(runtime.block_on(guest.served).unwrap_err().is_cancelled());
    drop(store);
    let began = Instant::now();
    while let Err(error) = Store::open(directory.path()) {
        assert!(began.elapsed() < Duration::from_secs(60), "{error}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
