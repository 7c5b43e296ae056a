//! This program again, as a process that may be killed, hang or panic without taking the campaign along.

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A process that works for a campaign.
pub struct Worker<T> {
    child: Child,
    said: Option<JoinHandle<T>>,
    errors: Option<JoinHandle<String>>,
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
        places.any(|line| !line.contains("/sled-0.34.7/"))
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

    /// Waits for its end, for at most so long.
    pub fn wait(mut self, limit: Duration) -> Ended<T> {
        let until = Instant::now() + limit;
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return self.ended(Some(status));
            }
            if Instant::now() > until {
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
