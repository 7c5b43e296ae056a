//! Times as microseconds since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970; a clock before 1970 counts as 1970.
pub(crate) fn to_micros(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

/// The time, or the latest the platform can hold.
pub(crate) fn from_micros(micros: u64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_micros(micros))
        .unwrap_or(UNIX_EPOCH)
}
