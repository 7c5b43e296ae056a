//! How long a participant may say nothing.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How often one that says nothing is asked whether it is there.
const ASKED_EVERY: Duration = Duration::from_secs(30);
/// After so many times without an answer it is not.
const TIMES: u32 = 3;

pub(super) struct Silence {
    asked: u32,
    /// When it is asked again.
    next: Instant,
}

impl Silence {
    /// As one begins, or is broken: the participant has said something and been answered. While it is answered, which
    /// may take long, it is not silent.
    pub(super) fn begin() -> Silence {
        Silence::begin_at(Instant::now())
    }

    fn begin_at(now: Instant) -> Silence {
        Silence {
            asked: 0,
            next: now + ASKED_EVERY,
        }
    }

    /// Done when it is time to ask.
    pub(super) async fn lasts(&self) {
        sleep_until(self.next).await;
    }

    /// Counts that it is asked. True where it was too often.
    pub(super) fn ask(&mut self) -> bool {
        self.ask_at(Instant::now())
    }

    fn ask_at(&mut self, now: Instant) -> bool {
        self.asked += 1;
        self.next = now + ASKED_EVERY;
        self.asked > TIMES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_late_to_ask_does_not_make_up_for_it() {
        let now = Instant::now();
        let mut silence = Silence::begin_at(now);
        let late = now + ASKED_EVERY * 10;
        for times in 0..TIMES {
            let asked = late + ASKED_EVERY * times;
            assert!(silence.next <= asked, "it is time");
            assert!(!silence.ask_at(asked));
            assert_eq!(silence.next, asked + ASKED_EVERY);
        }
        assert!(silence.ask_at(silence.next));
    }
}
