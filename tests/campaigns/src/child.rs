//! This program again, as a process that may be killed, hang or panic without taking the campaign along.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How many times longer a process may take than it may use a processor.
const PATIENCE: u32 = 10;
/// In the paths of its files.
const SLED: &str = "/sled-0.34.7/";

/// A process that works for a campaign.
pub struct Worker<T> {
    child: Child,
    said: Option<JoinHandle<T>>,
    errors: Option<JoinHandle<String>>,
}

/// Says nothing of the panics of sled, which are its way where a disk is gone.
pub fn hush_sled() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_of_sled = |at: &std::panic::Location<'_>| at.file().contains(SLED);
        if !panic.location().is_some_and(is_of_sled) {
            told(panic);
        }
    }));
}

/// How it ended.
pub struct Ended<T> {
    /// `None` where it had to be killed.
    pub status: Option<ExitStatus>,
    pub said: T,
    pub errors: String,
}

impl<T> Ended<T> {
    /// Whether it panicked. sled does where a disk fails; the store contains that, and the text is all one sees of it.
    pub fn panicked(&self) -> bool {
        let mut places = self
            .errors
            .lines()
            .filter(|line| line.contains("panicked at"));
        places.any(|line| !line.contains(SLED))
    }
}

impl<T: Send + 'static> Worker<T> {
    /// Starts this program with these arguments; `read` takes what it says.
    pub fn start<A: AsRef<OsStr>>(
        arguments: impl IntoIterator<Item = A>,
        read: impl FnOnce(std::process::ChildStdout) -> T + Send + 'static,
    ) -> Worker<T> {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let said = std::thread::spawn(move || read(stdout));
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        Worker {
            child,
            said: Some(said),
            errors: Some(errors),
        }
    }

    /// Kills it now, unless it has ended by itself.
    pub fn kill(mut self) -> Ended<T> {
        let status = self.child.try_wait().unwrap();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.ended(status)
    }

    /// Waits for its end, for at most so much of the processor's time: others may use it as well. Who uses none is waited for
    /// [`PATIENCE`] times as long.
    pub fn wait(mut self, limit: Duration) -> Ended<T> {
        let until = Instant::now() + limit * PATIENCE;
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return self.ended(Some(status));
            }
            if Instant::now() > until || processor_time(self.child.id()) > limit {
                return self.kill();
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn ended(mut self, status: Option<ExitStatus>) -> Ended<T> {
        Ended {
            status,
            said: self.said.take().unwrap().join().unwrap(),
            errors: self.errors.take().unwrap().join().unwrap(),
        }
    }
}

/// What a process has used of the processors, zero where nobody knows.
fn processor_time(process: u32) -> Duration {
    // The fields behind the name, which may hold anything, are numbers: user and system time in hundredths of a second.
    let told = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = told
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

/// Starts this program with these arguments, waits for its end, and answers the lines it said.
pub fn said<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    limit: Duration,
) -> Ended<Vec<String>> {
    let read = |output| {
        let lines = BufReader::new(output).lines();
        lines.map_while(Result::ok).collect()
    };
    Worker::start(arguments, read).wait(limit)
}

/// Ends this process where it is busy with one thing for too long.
pub struct Watchdog {
    busy: Arc<Mutex<(Instant, String)>>,
}

impl Watchdog {
    pub fn start(limit: Duration) -> Watchdog {
        let busy = Arc::new(Mutex::new((Instant::now(), "beginning".to_owned())));
        let watched = Arc::clone(&busy);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_millis(100));
                let busy = watched.lock().unwrap();
                if busy.0.elapsed() > limit {
                    println!("{HANGS} {}", busy.1);
                    std::process::exit(HUNG);
                }
            }
        });
        Watchdog { busy }
    }

    /// From now on this is done.
    pub fn begin(&self, what: String) {
        *self.busy.lock().unwrap() = (Instant::now(), what);
    }
}

/// What the watchdog says, before what hangs.
pub const HANGS: &str = "hangs";
const HUNG: i32 = 86;

/// Panics since the last look.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Remembers panics instead of printing them, but for those of sled, which the store contains.
pub fn remember_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let place = place.unwrap_or_default();
        if !place.contains("/sled-0.34.7/") {
            let text = panic.payload_as_str().unwrap_or_default();
            let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
            panics.push(format!("panic at {place}: {text}"));
        }
    }));
}

/// Fails where there were panics since the last call.
pub fn no_panics() -> Result<(), String> {
    let panics = std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner));
    match panics.is_empty() {
        true => Ok(()),
        false => Err(panics.join("; ")),
    }
}

/// Runs a check in a process of its own kind; a panic fails it.
pub fn guarded<R>(check: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
    no_panics()?;
    checked.unwrap_or_else(|_| Err("a panic of sled came through".to_owned()))
}
