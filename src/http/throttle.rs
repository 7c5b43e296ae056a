//! Passwords that do not fit are slowed: so many a minute for each name, and for each address. Few are checked at a time.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Answer, Problem};

/// How many tries are made at a time, whoever makes them: each takes 19 MiB and a core.
const AT_ONCE: usize = 2;
/// How long a try counts.
const WINDOW: Duration = Duration::from_secs(60);
/// Names and addresses that are kept in mind before the ones without a recent try are dropped.
const SWEEP_ABOVE: usize = 10_000;

/// What one customer of a network has of IPv6 addresses: they differ in the last 64 bits only.
const NETWORK: u128 = u128::MAX << 64;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Whose {
    Name(String),
    Address(IpAddr),
}

impl Whose {
    /// All addresses that one client may have are one.
    fn address(address: IpAddr) -> Whose {
        Whose::Address(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
            address => address,
        })
    }
}

/// The tries of late.
#[derive(Debug)]
pub(super) struct Throttle {
    limit: usize,
    turns: Arc<Semaphore>,
    tries: Mutex<HashMap<Whose, VecDeque<Instant>>>,
}

/// A try under way. It counts as failed unless it [succeeds](Try::succeeded).
#[must_use]
pub(super) struct Try<'a> {
    throttle: &'a Throttle,
    name: Whose,
    address: Whose,
    time: Instant,
}

impl Throttle {
    pub(super) fn new(limit: usize) -> Throttle {
        let limit = limit.max(1);
        Throttle {
            limit,
            // A try counts while it is made: of right ones side by side none is to be refused.
            turns: Arc::new(Semaphore::new(AT_ONCE.min(limit))),
            tries: Mutex::new(HashMap::new()),
        }
    }

    /// Waits for the turn to make a try, which lasts until it is dropped.
    pub(super) async fn turn(&self) -> Answer<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        turn.map_err(|_| Problem::internal("no more tries are made"))
    }

    /// Counts a try before it is made, so that many at once are no way around the limit.
    ///
    /// # Errors
    /// 429 where there were too many of late; this one is not to be made then.
    pub(super) fn begin(&self, name: &str, address: IpAddr) -> Answer<Try<'_>> {
        self.begin_at(name, address, Instant::now())
    }

    fn begin_at(&self, name: &str, address: IpAddr, now: Instant) -> Answer<Try<'_>> {
        // A name of any length would be kept for a minute.
        let name = Whose::Name(name.chars().take(64).collect());
        let address = Whose::address(address);
        let mut tries = self.tries();
        if tries.len() > SWEEP_ABOVE {
            tries.retain(|_, times| {
                drop_old(times, now);
                !times.is_empty()
            });
        }
        for whose in [&name, &address] {
            let times = tries.entry(whose.clone()).or_default();
            drop_old(times, now);
            if let Some(first) = times.front().filter(|_| times.len() >= self.limit) {
                let retry_in = WINDOW.saturating_sub(now.saturating_duration_since(*first));
                return Err(Problem::too_many(
                    "too many logins failed of late",
                    retry_in,
                ));
            }
        }
        for whose in [&name, &address] {
            tries.entry(whose.clone()).or_default().push_back(now);
        }
        drop(tries);
        Ok(Try {
            throttle: self,
            name,
            address,
            time: now,
        })
    }

    fn tries(&self) -> MutexGuard<'_, HashMap<Whose, VecDeque<Instant>>> {
        // Nothing is left half done where a holder panicked.
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Try<'_> {
    /// The password was right: this try, and no other, is forgotten.
    pub(super) fn succeeded(self) {
        let mut tries = self.throttle.tries();
        for whose in [&self.name, &self.address] {
            if let Some(times) = tries.get_mut(whose)
                && let Some(index) = times.iter().position(|time| *time == self.time)
            {
                times.remove(index);
            }
        }
    }
}

fn drop_old(times: &mut VecDeque<Instant>, now: Instant) {
    while times
        .front()
        .is_some_and(|time| now.saturating_duration_since(*time) >= WINDOW)
    {
        times.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    #[test]
    fn failures_count_by_name_and_by_address_for_a_minute() {
        let throttle = Throttle::new(2);
        let now = Instant::now();
        let fails = |name: &str, address, after: u64| {
            let begun = throttle.begin_at(name, address, now + Duration::from_secs(after));
            begun.map(drop).is_err()
        };
        assert!(!fails("ann", HERE, 0));
        assert!(!fails("ann", HERE, 1));
        assert!(fails("ann", THERE, 2), "by name");
        assert!(fails("bob", HERE, 2), "by address");
        assert!(!fails("bob", THERE, 2));
        assert!(fails("ann", HERE, 59));
        assert!(!fails("ann", HERE, 60), "the first is forgotten");
        assert!(fails("ann", HERE, 60), "the second is not");
    }

    #[test]
    fn the_addresses_of_one_network_are_one() {
        let throttle = Throttle::new(1);
        let now = Instant::now();
        let mut names = 0..;
        let mut fails = |address: &str| {
            let name = names.next().unwrap_or(0).to_string();
            let begun = throttle.begin_at(&name, address.parse().unwrap(), now);
            begun.map(drop).is_err()
        };
        assert!(!fails("2001:db8:0:1::1"));
        assert!(fails("2001:db8:0:1:ffff::2"), "the same network");
        assert!(!fails("2001:db8:0:2::1"), "another");
        assert!(!fails("192.0.2.1"));
        assert!(!fails("192.0.2.2"));
        assert!(fails("::ffff:192.0.2.2"), "as IPv6 has it");
        assert!(!fails("::ffff:192.0.2.3"));
    }

    #[test]
    fn a_success_forgets_its_own_try_only() {
        let throttle = Throttle::new(2);
        let now = Instant::now();
        drop(throttle.begin_at("ann", HERE, now).unwrap());
        for _ in 0..3 {
            throttle.begin_at("bob", HERE, now).unwrap().succeeded();
        }
        drop(throttle.begin_at("ann", HERE, now).unwrap());
        assert!(throttle.begin_at("bob", HERE, now).is_err());
    }
}
