//! Times as microseconds since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last microsecond of the year 9999, behind which RFC 3339 has no text for a time.
const LATEST_MICROS: u64 = 253_402_300_799_999_999;

/// Microseconds since 1970; a clock before 1970 counts as 1970.
pub(crate) fn to_micros(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

/// The time, or the latest that has a text.
pub(crate) fn from_micros(micros: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(micros.min(LATEST_MICROS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_read_has_a_text() {
        let told = |micros| humantime::format_rfc3339_micros(from_micros(micros)).to_string();
        assert_eq!(told(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(told(u64::MAX), "9999-12-31T23:59:59.999999Z");
    }
}
