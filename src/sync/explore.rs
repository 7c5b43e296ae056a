//! Running a test under many schedules.
//!
//! ```text
//! RUSTFLAGS='--cfg shuttle' cargo test --lib --target-dir target/shuttle schedules
//! ```
//!
//! With `--release` it builds for longer and runs about three times as fast.
//!
//! Half of the schedules are random at every point, half let one thread run on but for a few changes at random points
//! (PCT), which finds what needs few changes at the right places. A failure tells its seed and, in the line behind
//! `failing schedule`, itself: that test alone with `KOMATIK_SCHEDULE` set to it runs the same order once more.
//!
//! ```text
//! KOMATIK_SCHEDULES   how many schedules each test runs; 200 unless set
//! KOMATIK_SEED        where the random numbers begin; another place each time unless set
//! KOMATIK_SCHEDULE    one schedule, as a failure told it, to run instead
//! ```

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, Runner};

use super::scheduled::begin_time;

const SCHEDULES: usize = 200;
/// Changes of thread that PCT makes at random points.
const DEPTH: usize = 3;
/// As a thread of the system would have; shuttle's own are of 32 KiB.
const STACK_BYTES: usize = 1024 * 1024;

/// Runs `schedule` under many schedules. What it does must depend on nothing else.
pub(crate) fn explore(schedule: impl Fn() + Send + Sync + 'static) {
    let schedule = Arc::new(schedule);
    if let Ok(told) = env::var("KOMATIK_SCHEDULE") {
        run(
            "replay",
            ReplayScheduler::new_from_encoded(&told),
            &schedule,
        );
        return;
    }
    let count = number("KOMATIK_SCHEDULES").map_or(SCHEDULES, |count| count.try_into().unwrap());
    let seed = number("KOMATIK_SEED").unwrap_or_else(fresh_seed);
    let name = format!("seed {seed}");
    let random = RandomScheduler::new_from_seed(seed, count.div_ceil(2));
    run(&format!("{name}, random"), random, &schedule);
    let pct = PctScheduler::new_from_seed(seed, DEPTH, count / 2);
    run(&format!("{name}, PCT"), pct, &schedule);
}

fn run(
    name: &str,
    scheduler: impl Scheduler + 'static,
    schedule: &Arc<impl Fn() + Send + Sync + 'static>,
) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    // Of what the module of the stand-ins says: all orders are sequentially consistent.
    config.silence_warnings = true;
    let begun = Instant::now();
    let runs = Arc::new(AtomicUsize::new(0));
    let (counted, schedule) = (Arc::clone(&runs), Arc::clone(schedule));
    let ended = catch_unwind(AssertUnwindSafe(|| {
        Runner::new(scheduler, config).run(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            begin_time();
            schedule();
        })
    }));
    let runs = runs.load(Ordering::Relaxed);
    let how = if ended.is_ok() { "done" } else { "FAILED" };
    println!(
        "{name}: {how} after {runs} schedules, {:.1?}",
        begun.elapsed()
    );
    if let Err(panic) = ended {
        resume_unwind(panic);
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

fn fresh_seed() -> u64 {
    let mut seed = [0; 4];
    getrandom::fill(&mut seed).unwrap();
    u32::from_be_bytes(seed).into()
}
