//! Ctrl-C and its like: the first asks the work to end in good order, the second ends the process.

use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::failure::{Failure, Outcome};

/// The signal that came, 0 for none.
static SIGNAL: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);
/// How long a wait goes on before it looks for a signal that came just before it.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

/// Whether SIGHUP is not to end this process, as `nohup` has it.
pub(crate) fn survives_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (SIGHUP - 1) & 1 == 1)
}

/// From here on a signal is noted, and a second one ends the process; SIGHUP where it is to end the work as well.
pub(crate) fn listen(also_hangup: bool) -> io::Result<()> {
    let is_second = Arc::new(AtomicBool::new(false));
    let hangup = (also_hangup && !survives_hangup()).then_some(SIGHUP);
    for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
        // In this order: the first signal finds the flag not set yet.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&is_second))?;
        flag::register(signal, Arc::clone(&is_second))?;
        let number = usize::try_from(signal).unwrap_or_default();
        flag::register_usize(signal, Arc::clone(&SIGNAL), number)?;
    }
    Ok(())
}

pub(crate) fn is_requested() -> bool {
    SIGNAL.load(Ordering::Relaxed) != 0
}

/// As a shell shows it.
pub(crate) fn exit_code() -> u8 {
    let signal = u8::try_from(SIGNAL.load(Ordering::Relaxed)).unwrap_or_default();
    128 + if signal == 0 { 2 } else { signal }
}

/// For between two steps of work.
pub(crate) fn check() -> Outcome<()> {
    match is_requested() {
        true => Err(Failure::Interrupted),
        false => Ok(()),
    }
}

/// For the progress functions of the store.
pub(crate) fn flow() -> ControlFlow<()> {
    match is_requested() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}

/// Sleeps, but not beyond a signal.
pub(crate) fn sleep(time: Duration) -> Outcome<()> {
    const PIECE: Duration = Duration::from_millis(50);
    let mut left = time;
    while !left.is_zero() {
        check()?;
        let piece = left.min(PIECE);
        std::thread::sleep(piece);
        left -= piece;
    }
    check()
}

/// A file, pipe or terminal that is read only as long as no signal has come, however long its bytes take.
pub(crate) struct Interruptible(pub(crate) File);

impl Read for Interruptible {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if is_requested() {
                return Err(komatik::Error::Cancelled.into());
            }
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&LOOK)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return self.0.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
