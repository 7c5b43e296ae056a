//! Numbers, times and names as people read them.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use humansize::{BINARY, format_size};

/// `1.5 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    format_size(bytes, BINARY)
}

/// `12,345`.
pub(crate) fn count(count: impl TryInto<u64>) -> String {
    let digits = count.try_into().unwrap_or(u64::MAX).to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 file`, `12,345 files`.
pub(crate) fn number_of(number: impl TryInto<u64>, one: &str, many: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `1.23 s`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 0.001 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

/// `2026-11-24T22:45:25Z`.
pub(crate) fn moment(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// The text without a character that could move the cursor, change the order of others or not be seen.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match is_unsafe(char) {
            true => safe.extend(char.escape_default()),
            false => safe.push(char),
        }
    }
    Cow::Owned(safe)
}

/// A key or name in a result: as it is for a program, safe for a terminal.
pub(crate) fn name(name: &str) -> Cow<'_, str> {
    match super::output::is_terminal() {
        true => safe(name),
        false => Cow::Borrowed(name),
    }
}

/// Text of several lines in a result: as it is for a program, each line safe for a terminal.
pub(crate) fn text(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(name).collect();
    lines.join("\n")
}

pub(crate) fn is_unsafe(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

/// `123 MiB/s`.
pub(crate) fn byte_rate(bytes: u64, time: Duration) -> String {
    match per_second(bytes, time) {
        Some(rate) => format!("{}/s", format_size(rate, BINARY.decimal_places(0))),
        None => "at once".to_owned(),
    }
}

/// `12,345/s`.
pub(crate) fn rate(number: impl TryInto<u64>, time: Duration) -> String {
    match per_second(number.try_into().unwrap_or(u64::MAX), time) {
        Some(rate) => format!("{}/s", count(rate)),
        None => "at once".to_owned(),
    }
}

/// Whole units a second; `None` where no time was taken.
fn per_second(number: u64, time: Duration) -> Option<u64> {
    let rate =
        u128::from(number) * 1_000_000_000 / Some(time.as_nanos()).filter(|&nanos| nanos > 0)?;
    Some(u64::try_from(rate).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        let shown: Vec<String> = [0_u64, 999, 1_000, 12_345, 1_234_567]
            .into_iter()
            .map(count)
            .collect();
        assert_eq!(shown, ["0", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!(number_of(1_usize, "file", "files"), "1 file");
        assert_eq!(number_of(0_usize, "file", "files"), "0 files");
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(safe("ä b/ß"), "ä b/ß");
        assert_eq!(safe("\u{1b}[2J\n\u{9b}"), "\\u{1b}[2J\\n\\u{9b}");
        assert_eq!(safe("a\u{202e}txt.exe"), "a\\u{202e}txt.exe");
    }

    #[test]
    fn times_and_rates_have_the_unit_that_fits() {
        assert_eq!(time(Duration::from_micros(42)), "42 µs");
        assert_eq!(time(Duration::from_micros(1_250)), "1.2 ms");
        assert_eq!(time(Duration::from_millis(1_500)), "1.50 s");
        assert_eq!(rate(500_u64, Duration::from_millis(250)), "2,000/s");
        assert_eq!(byte_rate(1 << 20, Duration::from_millis(500)), "2 MiB/s");
        assert_eq!(rate(1_u64, Duration::ZERO), "at once");
    }
}
