//! Wrong tries on a password, and how they slow the next ones.
//!
//! Those who try the same password of a lock stand in a line. A listing, which offers what it has to every lock it
//! meets, stands in a line of its own: it neither slows those who mean this entry, nor is it slowed by them.

use std::collections::HashMap;
use std::time::Duration;

use crate::error::Access;
use crate::sync::{Condvar, Instant, Mutex};

/// Wrong tries that cost nothing.
const FREE_TRIES: u32 = 4;
/// What the first try beyond them waits; each further one twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest distance between two tries.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// A line in which nobody tries for so long starts anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Lines remembered; beyond, the one with the fewest wrong tries is forgotten, so that nobody gets rid of those on one lock by a few on
/// many others.
const MAX_LINES: usize = 4096;

/// What is tried, and in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Line {
    /// The id of the lock, which stays when a hash is strengthened.
    pub(super) lock: [u8; 16],
    /// Which of its passwords.
    pub(super) password: Access,
    pub(super) by_listing: bool,
}

/// The lines of all views of a store.
#[derive(Default)]
pub(crate) struct Tries {
    lines: Mutex<Lines>,
    /// Told when a try was right or wrong.
    news: Condvar,
}

#[derive(Default)]
struct Lines {
    by_line: HashMap<Line, Tried>,
    /// Of the next line to begin.
    number: u64,
}

#[derive(Clone, Copy)]
struct Tried {
    /// Another one once the line has begun anew.
    number: u64,
    /// Tries since the last right one, those included of which nothing is known yet.
    count: u32,
    /// Those of them that were wrong.
    wrong: u32,
    /// When the last of them may begin, which may be still to come.
    last: Instant,
}

impl Tried {
    /// Tries that still count.
    fn count_at(&self, now: Instant) -> u32 {
        match now.saturating_duration_since(self.last) > FORGOTTEN_AFTER {
            true => 0,
            false => self.count,
        }
    }
}

/// A place in a line that is not there yet.
#[derive(Debug, Clone, Copy)]
struct Place {
    number: u64,
    at: Instant,
}

impl Lines {
    /// Takes the next place in a line.
    ///
    /// It counts as wrong until something else is told, so that tries made side by side are slowed as well.
    ///
    /// # Errors
    /// How long the wait would be, where that is longer than `patience`. Then no place is taken.
    fn begin_at(
        &mut self,
        line: Line,
        patience: Duration,
        now: Instant,
    ) -> Result<Place, Duration> {
        let lines = &mut self.by_line;
        let before = (lines.get(&line).copied()).filter(|tried| tried.count_at(now) > 0);
        let (count, last) = before.map_or((0, now), |tried| (tried.count, tried.last));
        let at = now.max(last + delay(count));
        let wait = at.saturating_duration_since(now);
        if wait > patience {
            return Err(wait);
        }
        if lines.len() >= MAX_LINES && !lines.contains_key(&line) {
            let least = lines
                .iter()
                .min_by_key(|(_, tried)| (tried.count_at(now), tried.last));
            if let Some(least) = least.map(|(line, _)| *line) {
                lines.remove(&least);
            }
        }
        self.number += 1;
        let tried = Tried {
            number: before.map_or(self.number, |tried| tried.number),
            count: count.saturating_add(1),
            wrong: before.map_or(0, |tried| tried.wrong),
            last: at,
        };
        lines.insert(line, tried);
        let number = tried.number;
        Ok(Place { number, at })
    }

    /// A place was not made use of.
    fn take_back(&mut self, line: Line) {
        if let Some(tried) = self.by_line.get_mut(&line) {
            tried.count = tried.count.saturating_sub(1);
        }
    }
}

impl Tries {
    /// Waits for the turn of a caller in a line. It is to say what came of the try: [`Tries::opened`] or
    /// [`Tries::missed`]. Answers false where `is_known` says meanwhile that there is nothing to try any more.
    ///
    /// So many tries of the line are the caller's `own`, and not told yet. Where others try at the same time and nothing is known
    /// of them yet, it is waited for what becomes of those: a line in which all have the right password moves on as fast as that
    /// is verified.
    ///
    /// # Errors
    /// How long the wait would be, where that is longer than `patience`.
    pub(super) fn wait_for_turn(
        &self,
        line: Line,
        patience: Duration,
        own: usize,
        is_known: impl Fn() -> bool,
    ) -> Result<bool, Duration> {
        let deadline = Instant::now() + patience;
        let mut lines = self.lines.lock();
        loop {
            let now = Instant::now();
            let left = deadline.saturating_duration_since(now);
            match lines.begin_at(line, left, now) {
                Ok(place) => {
                    let is_same = |lines: &Lines| {
                        let tried = lines.by_line.get(&line);
                        tried.is_some_and(|tried| tried.number == place.number)
                    };
                    while Instant::now() < place.at && is_same(&lines) && !is_known() {
                        self.news.wait_until(&mut lines, place.at);
                    }
                    // After a try that was right the line begins anew, and nobody has a place in it.
                    if is_same(&lines) {
                        if !is_known() {
                            return Ok(true);
                        }
                        lines.take_back(line);
                    }
                }
                Err(wait) => {
                    let tried = lines.by_line.get(&line);
                    let no_news = tried.is_none_or(|tried| {
                        let unknown = tried.count.saturating_sub(tried.wrong);
                        tried.wrong >= FREE_TRIES
                            || usize::try_from(unknown).is_ok_and(|it| it <= own)
                    });
                    if no_news || self.news.wait_until(&mut lines, deadline).timed_out() {
                        return Err(
                            wait.saturating_sub(Instant::now().saturating_duration_since(now))
                        );
                    }
                }
            }
            if is_known() {
                return Ok(false);
            }
        }
    }

    /// A try was right, or whoever made it has another password of the lock, which does as well: what was wrong before is
    /// forgotten.
    pub(super) fn opened(&self, line: Line) {
        self.lines.lock().by_line.remove(&line);
        self.news.notify_all();
    }

    /// A try was wrong.
    pub(super) fn missed(&self, line: Line) {
        if let Some(tried) = self.lines.lock().by_line.get_mut(&line) {
            tried.wrong = tried.wrong.saturating_add(1);
        }
        self.news.notify_all();
    }
}

/// How far a try lies behind the one before it, after so many wrong ones.
fn delay(wrong: u32) -> Duration {
    match wrong.checked_sub(FREE_TRIES) {
        None => Duration::ZERO,
        Some(beyond) => {
            let doubled = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(beyond));
            doubled.min(LONGEST_DELAY)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const LINE: Line = line(1, Access::View, false);

    impl Tries {
        fn begin_at(
            &self,
            line: Line,
            patience: Duration,
            now: Instant,
        ) -> Result<Duration, Duration> {
            let place = self.lines.lock().begin_at(line, patience, now);
            place.map(|place| place.at.saturating_duration_since(now))
        }
    }

    const fn line(lock: u8, password: Access, by_listing: bool) -> Line {
        Line {
            lock: [lock; 16],
            password,
            by_listing,
        }
    }

    #[test]
    fn the_wait_doubles_to_its_bound_and_is_forgotten() {
        let tries = Tries::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..12 {
            let wait = tries.begin_at(LINE, MINUTE, now).unwrap();
            waits.push(wait.as_millis());
            now += wait;
        }
        assert_eq!(
            waits,
            [0, 0, 0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]
        );
        for other in [
            line(2, Access::View, false),
            line(1, Access::Edit, false),
            line(1, Access::View, true),
        ] {
            assert_eq!(tries.begin_at(other, MINUTE, now), Ok(Duration::ZERO));
        }
        now += FORGOTTEN_AFTER + Duration::from_millis(1);
        assert_eq!(tries.begin_at(LINE, MINUTE, now), Ok(Duration::ZERO));
    }

    /// However many try at once, no two of them do so together.
    #[test]
    fn tries_side_by_side_stand_in_line_as_far_as_it_reaches() {
        let tries = Tries::default();
        let now = Instant::now();
        let places: Vec<_> = (0..100)
            .map(|_| tries.begin_at(LINE, MINUTE, now))
            .collect();
        let (waits, refused) = places.split_at(places.partition_point(Result::is_ok));
        let waits: Vec<_> = waits.iter().map(|wait| wait.unwrap()).collect();
        assert_eq!(waits[6].as_millis(), 700);
        let distances = waits.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(distances.skip(9).all(|distance| distance == LONGEST_DELAY));
        assert!(
            waits.last() <= Some(&MINUTE) && waits.len() == 20,
            "{waits:?}"
        );
        assert!(
            refused
                .iter()
                .all(|place| *place > Ok(MINUTE) && place.is_err())
        );
        // Nobody who was refused has made the line longer.
        let later = now + LONGEST_DELAY;
        assert!(tries.begin_at(LINE, MINUTE, later).is_ok());
        assert!(tries.begin_at(LINE, MINUTE, later).is_err());
    }

    #[test]
    fn who_has_no_patience_takes_no_place() {
        let tries = Tries::default();
        let now = Instant::now();
        let first = || tries.begin_at(LINE, Duration::ZERO, now);
        assert!((0..4).all(|_| first() == Ok(Duration::ZERO)));
        assert!((0..9).all(|_| first() == Err(FIRST_DELAY)));
        assert_eq!(tries.begin_at(LINE, MINUTE, now), Ok(FIRST_DELAY));
    }

    #[test]
    fn a_right_try_starts_anew() {
        let tries = Tries::default();
        let now = Instant::now();
        let place = || tries.begin_at(LINE, MINUTE, now).unwrap();
        for _ in 0..10 {
            let _wait = place();
        }
        tries.opened(LINE);
        assert_eq!([place(), place(), place(), place()], [Duration::ZERO; 4]);
        assert_eq!(place(), FIRST_DELAY);
        tries.lines.lock().take_back(LINE);
        assert!(place() < FIRST_DELAY * 3);
    }

    #[test]
    fn the_map_is_bounded() {
        let tries = Tries::default();
        let now = Instant::now();
        for number in 0..5000_u64 {
            let mut line = LINE;
            line.lock[..8].copy_from_slice(&number.to_be_bytes());
            let _wait = tries.begin_at(line, MINUTE, now + Duration::from_micros(number));
        }
        assert_eq!(tries.lines.lock().by_line.len(), MAX_LINES);
    }

    #[test]
    fn many_tries_elsewhere_do_not_wash_away_those_on_one_lock() {
        let tries = Tries::default();
        let now = Instant::now();
        for _ in 0..5 {
            tries.begin_at(LINE, MINUTE, now).unwrap();
        }
        let flood = |until: u64, now: Instant| {
            for number in 0..until {
                let mut line = LINE;
                line.lock[..8].copy_from_slice(&(1000 + number).to_be_bytes());
                let _wait = tries.begin_at(line, MINUTE, now);
            }
        };
        flood(10_000, now + Duration::from_secs(1));
        let next = tries.begin_at(LINE, Duration::ZERO, now + Duration::from_millis(150));
        assert_eq!(next, Err(Duration::from_millis(150)));
        // Those that rested are the first to go.
        flood(10_000, now + FORGOTTEN_AFTER * 2);
        assert!(!tries.lines.lock().by_line.contains_key(&LINE));
    }
}
