//! `komatik serve`, black box.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::server::Client;

pub(crate) fn komatik(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_komatik"));
    command
        .arg("--store")
        .arg(directory)
        .arg("--json")
        .arg("serve");
    command
}

/// A process that does not outlive a test that fails: whoever waits for the end of its output would wait for ever.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }

    #[track_caller]
    pub(crate) fn wait_at_most(&mut self, time: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(ended) = self.0.try_wait().unwrap() {
                return ended;
            }
            assert!(began.elapsed() < time, "it has not ended");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service in a process of its own, and what it said first.
pub(crate) fn start(directory: &Path) -> (Running, Value) {
    start_with(directory, &["--listen", "127.0.0.1:0"])
}

pub(crate) fn start_with(directory: &Path, arguments: &[&str]) -> (Running, Value) {
    begin(komatik(directory).args(arguments))
}

pub(crate) fn begin(command: &mut Command) -> (Running, Value) {
    let mut child = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

pub(crate) fn client(greeting: &Value, password: &str) -> Client {
    let address = greeting["url"]
        .as_str()
        .unwrap()
        .strip_prefix("http://")
        .unwrap();
    Client::basic(address.parse().unwrap(), "admin", password)
}

pub(crate) fn stop(mut child: Running) {
    signal(&child, "-TERM");
    assert_eq!(child.wait().code(), Some(0));
}

pub(crate) fn signal(child: &Running, signal: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args([signal, &id]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn the_end_of_its_terminal_ends_it_but_behind_nohup() {
    let directory = tempfile::tempdir().unwrap();
    let plain = komatik(directory.path());
    let started_by = |starter: &[&str]| {
        let mut command = Command::new(starter[0]);
        let command = command.args(&starter[1..]).arg(plain.get_program());
        begin(
            command
                .args(plain.get_args())
                .args(["--listen", "127.0.0.1:0"]),
        )
    };
    // The tests themselves may be behind nohup.
    let (mut child, greeting) = started_by(&["env", "--default-signal=HUP"]);
    signal(&child, "-HUP");
    assert_eq!(child.wait().code(), Some(0));
    let (child, again) = started_by(&["nohup"]);
    signal(&child, "-HUP");
    std::thread::sleep(Duration::from_millis(300));
    let password = greeting["first_login"]["password"].as_str().unwrap();
    assert_eq!(client(&again, password).get("/v1/sessions").status, 200);
    stop(child);
}

#[test]
fn what_was_acknowledged_is_there_the_next_time() {
    let directory = tempfile::tempdir().unwrap();
    let (child, greeting) = start(directory.path());
    let password = greeting["first_login"]["password"]
        .as_str()
        .unwrap()
        .to_owned();
    let admin = client(&greeting, &password);
    assert_eq!(admin.put("/v1/blobs/a", b"kept").status, 201);
    stop(child);
    let (child, greeting) = start(directory.path());
    assert_eq!(greeting["first_login"], Value::Null, "it is told once");
    assert_eq!(
        client(&greeting, &password).get("/v1/blobs/a").text(),
        "kept"
    );
    stop(child);
}

#[test]
fn a_lost_password_is_replaced_while_nothing_serves() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    let (child, greeting) = start(&store);
    let first = greeting["first_login"]["password"].as_str().unwrap();
    let file = directory.path().join("new");
    let account = |name: &str, password: &str| {
        std::fs::write(&file, password).unwrap();
        let set = Command::new(env!("CARGO_BIN_EXE_komatik"))
            .arg("--store")
            .arg(&store)
            .args(["--wait", "0s", "account", name, "--login-file"])
            .arg(&file)
            .output()
            .unwrap();
        (
            set.status.code().unwrap(),
            String::from_utf8(set.stderr).unwrap(),
        )
    };
    let (code, said) = account("admin", "a fresh one\n");
    assert_eq!(code, 7, "the service has the store: {said}");
    assert_eq!(client(&greeting, first).get("/v1/sessions").status, 200);
    stop(child);
    assert_eq!(account("nobody", "a fresh one\n").0, 3);
    assert_eq!(account("admin", "short\n").0, 2);
    let (code, said) = account("admin", "a fresh one\n");
    assert_eq!((code, said.as_str()), (0, "admin has a new password\n"));
    let (child, greeting) = start(&store);
    client(&greeting, first).get("/v1/sessions").problem(401);
    assert_eq!(
        client(&greeting, "a fresh one").get("/v1/sessions").status,
        200
    );
    stop(child);
}

/// Whether a program is there to be run.
fn is_there(program: &str) -> bool {
    let asked = Command::new(program).arg("--version").output();
    asked.is_ok_and(|answer| answer.status.success())
}

/// The page tells of 127.0.0.1:8080; here each run takes a port that is free, where nobody else takes it, once it is let go.
#[test]
fn the_page_about_the_service_goes_as_it_says() {
    if !is_there("curl") {
        eprintln!("skipped: the_page_about_the_service_goes_as_it_says, there is no curl");
        return;
    }
    let free = std::net::TcpListener::bind("127.0.0.77:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let page = include_str!("../../docs/service.md").replace("127.0.0.1:8080", &address);
    let blocks = page.split("```console\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap().lines());
    let (mut script, mut expected) = (String::from("exec 2>&1\n"), Vec::new());
    for line in lines {
        match line.strip_prefix("$ ") {
            Some(command) => script.push_str(&format!("{command}\n")),
            None => expected.push(line),
        }
    }
    assert!(script.lines().count() > 10, "{script}");
    let directory = tempfile::tempdir().unwrap();
    let own = Path::new(env!("CARGO_BIN_EXE_komatik")).parent().unwrap();
    let path = format!("{}:{}", own.display(), std::env::var("PATH").unwrap());
    let said = Command::new("sh")
        .args(["-c", &script])
        .current_dir(directory.path())
        .env("PATH", path)
        .env_remove("KOMATIK_STORE")
        .env_remove("KOMATIK_PASSWORD")
        .output()
        .unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_unit_for_systemd_names_options_that_are_there() {
    let unit = include_str!("../../docs/komatik.service");
    let start = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let arguments: Vec<&str> = start.unwrap().split(' ').collect();
    assert_eq!(arguments[0], "/usr/local/bin/komatik");
    let help = Command::new(env!("CARGO_BIN_EXE_komatik"))
        .args(["help", "serve"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for option in arguments
        .iter()
        .filter(|argument| argument.starts_with("--"))
    {
        assert!(help.contains(&format!("{option} <")), "{option} in {help}");
    }
}

/// systemd gives 1,024 files where nothing is said, and each connection and each session of a room is one.
#[test]
fn the_unit_for_systemd_has_files_enough_for_its_connections() {
    let unit = include_str!("../../docs/komatik.service");
    let files = unit
        .lines()
        .find_map(|line| line.strip_prefix("LimitNOFILE="));
    let files: usize = files.unwrap().parse().unwrap();
    assert!(files >= 4 * komatik::http::Limits::default().connections);
}

#[test]
fn it_listens_to_this_machine_only() {
    for address in [
        "0.0.0.0:0",
        "[::]:0",
        "192.0.2.1:8080",
        "[::ffff:192.0.2.1]:8080",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let refused = komatik(directory.path())
            .args(["--listen", address])
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(2), "{address}");
        assert!(refused.stdout.is_empty());
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 0, "no store, and no account");
    }
}

#[test]
fn what_only_an_operator_can_mend_is_told_on_standard_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = komatik::Store::open(&path).unwrap();
    store.put("b", vec![7; 40_000]).unwrap();
    drop(store);
    let pack = std::fs::read_dir(path.join("packs")).unwrap().next();
    let pack = pack.unwrap().unwrap().path();
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let log = directory.path().join("log");
    let mut command = komatik(&path);
    command.args(["--listen", "127.0.0.1:0"]);
    command.stderr(std::fs::File::create(&log).unwrap());
    let (child, greeting) = begin(&mut command);
    let password = greeting["first_login"]["password"].as_str().unwrap();
    client(&greeting, password).get("/v1/blobs/b").problem(500);
    stop(child);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("ERROR") && log.contains("damaged"), "{log}");
    assert!(!log.contains(password), "{log}");
}
