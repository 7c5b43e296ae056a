//! Mistakes that must be found, so that finding none means something.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex};

fn assert_found(mistake: impl Fn() + Send + Sync + 'static) {
    let found = catch_unwind(AssertUnwindSafe(|| explore(mistake)));
    assert!(found.is_err(), "the mistake was not found");
}

/// Looks before it takes the lock it waits with.
fn wait_carelessly(wait: impl Fn(&Condvar, &Mutex<bool>) + Send + Sync + 'static) {
    let shared = Arc::new((Mutex::new(false), Condvar::new()));
    let (lock, told) = &*shared;
    thread::scope(|threads| {
        threads.spawn(|| {
            if !*lock.lock() {
                wait(told, lock);
            }
        });
        threads.spawn(|| {
            *lock.lock() = true;
            told.notify_all();
        });
    });
}

#[test]
fn a_lost_wake_up_is_found() {
    assert_found(|| wait_carelessly(|told, lock| told.wait(&mut lock.lock())));
}

#[test]
fn a_lost_wake_up_that_the_clock_would_rescue_is_found_when_time_stops() {
    let wait = |told: &Condvar, lock: &Mutex<bool>| {
        told.wait_for(&mut lock.lock(), Duration::from_secs(1));
    };
    explore(move || wait_carelessly(wait));
    assert_found(move || {
        stop_time();
        wait_carelessly(wait);
    });
}

#[test]
fn an_addition_in_two_steps_is_found() {
    assert_found(|| {
        let count = AtomicU64::new(0);
        thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    let before = count.load(Ordering::Acquire);
                    count.store(before + 1, Ordering::Release);
                });
            }
        });
        assert_eq!(count.load(Ordering::Acquire), 2);
    });
}
