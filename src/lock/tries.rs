//! Wrong tries on a lock, and how they slow the next ones.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Wrong tries that cost nothing.
const FREE_TRIES: u32 = 4;
/// What the first try beyond them waits; each further one twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest distance between two tries.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// The longest any caller is held, however many try at once: nobody must be able to shut out the owner for good.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A lock that nobody tries for so long starts anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Locks remembered; beyond, the one that rested longest is forgotten.
const MAX_LOCKS: usize = 4096;

/// Counts tries by the id of the lock, for all views of a store.
#[derive(Default)]
pub(crate) struct Tries(Mutex<HashMap<[u8; 16], Tried>>);

#[derive(Clone, Copy)]
struct Tried {
    /// Tries since the last right one.
    count: u32,
    /// When the last of them may begin, which may be still to come.
    last: Instant,
}

impl Tries {
    /// Takes the next place in the line of those who try this lock. Answers how long to wait before the try.
    ///
    /// It counts as wrong until [`Tries::succeeded`], so that tries made side by side are slowed as well.
    pub(super) fn begin(&self, lock: [u8; 16]) -> Duration {
        self.begin_at(lock, Instant::now())
    }

    fn begin_at(&self, lock: [u8; 16], now: Instant) -> Duration {
        let mut locks = self.0.lock();
        if locks.len() >= MAX_LOCKS && !locks.contains_key(&lock) {
            let rested = locks.iter().min_by_key(|(_, tried)| tried.last);
            if let Some(oldest) = rested.map(|(id, _)| *id) {
                locks.remove(&oldest);
            }
        }
        let tried = locks.entry(lock).or_insert(Tried {
            count: 0,
            last: now,
        });
        if now.saturating_duration_since(tried.last) > FORGOTTEN_AFTER {
            tried.count = 0;
        }
        let place = now.max(tried.last + delay(tried.count));
        let place = place.min(now + LONGEST_WAIT);
        tried.count = tried.count.saturating_add(1);
        tried.last = place;
        place.saturating_duration_since(now)
    }

    /// The try was right, or came to no answer: what was wrong before is forgotten.
    pub(super) fn succeeded(&self, lock: [u8; 16]) {
        self.0.lock().remove(&lock);
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

    const LOCK: [u8; 16] = [1; 16];

    #[test]
    fn the_wait_doubles_to_its_bound_and_is_forgotten() {
        let tries = Tries::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..12 {
            let wait = tries.begin_at(LOCK, now);
            waits.push(wait.as_millis());
            now += wait;
        }
        assert_eq!(
            waits,
            [0, 0, 0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]
        );
        assert_eq!(tries.begin_at([2; 16], now), Duration::ZERO, "another lock");
        now += FORGOTTEN_AFTER + Duration::from_millis(1);
        assert_eq!(tries.begin_at(LOCK, now), Duration::ZERO);
    }

    #[test]
    fn tries_side_by_side_stand_in_line_and_nobody_waits_for_ever() {
        let tries = Tries::default();
        let now = Instant::now();
        let waits: Vec<_> = (0..40).map(|_| tries.begin_at(LOCK, now)).collect();
        assert!(waits.is_sorted());
        assert_eq!(waits[6].as_millis(), 700);
        assert_eq!(waits.last(), Some(&LONGEST_WAIT));
    }

    #[test]
    fn a_right_try_starts_anew() {
        let tries = Tries::default();
        let now = Instant::now();
        for _ in 0..10 {
            let _wait = tries.begin_at(LOCK, now);
        }
        tries.succeeded(LOCK);
        assert_eq!(tries.begin_at(LOCK, now), Duration::ZERO);
    }

    #[test]
    fn the_map_is_bounded() {
        let tries = Tries::default();
        let now = Instant::now();
        for number in 0..5000_u64 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            tries.begin_at(id, now + Duration::from_micros(number));
        }
        assert_eq!(tries.0.lock().len(), MAX_LOCKS);
    }
}
