//! A part of a content, as `--range` names it.

use std::str::FromStr;

use super::failure::{Failure, Outcome};

/// Bytes of a content, both ends included, as in a range request of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Range {
    From(u64, Option<u64>),
    Last(u64),
}

impl FromStr for Range {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Range, &'static str> {
        const WRONG: &str = "it is none of A-B, A- and -N";
        let number = |text: &str| text.parse().map_err(|_| WRONG);
        match text.split_once('-').ok_or(WRONG)? {
            ("", last) => Ok(Range::Last(number(last)?)),
            (first, "") => Ok(Range::From(number(first)?, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                match first <= last {
                    true => Ok(Range::From(first, Some(last))),
                    false => Err("it ends before it begins"),
                }
            }
        }
    }
}

impl Range {
    /// Where it begins and ends, the end not included, in a content of this length. What lies behind the end is cut.
    pub(crate) fn within(self, length: u64) -> Outcome<(u64, u64)> {
        match self {
            Range::Last(count) => Ok((length.saturating_sub(count), length)),
            Range::From(first, _) if first > length || (first == length && length > 0) => {
                Err(Failure::usage(format!(
                    "the range begins behind the last of {length} bytes"
                )))
            }
            Range::From(first, last) => {
                let end = last.map_or(length, |last| last.saturating_add(1).min(length));
                Ok((first, end))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_http() {
        let within =
            |text: &str, length| text.parse::<Range>().map(|range| range.within(length).ok());
        assert_eq!(within("0-0", 10), Ok(Some((0, 1))));
        assert_eq!(within("2-5", 10), Ok(Some((2, 6))));
        assert_eq!(within("2-99", 10), Ok(Some((2, 10))));
        assert_eq!(within("9-", 10), Ok(Some((9, 10))));
        assert_eq!(within("10-", 10), Ok(None));
        assert_eq!(within("0-", 0), Ok(Some((0, 0))));
        assert_eq!(within("-3", 10), Ok(Some((7, 10))));
        assert_eq!(within("-30", 10), Ok(Some((0, 10))));
        assert_eq!(within(&format!("0-{}", u64::MAX), 10), Ok(Some((0, 10))));
        for wrong in ["", "-", "a-b", "5", "5-2", "1-2-3", "--3", "+1-2x"] {
            assert!(wrong.parse::<Range>().is_err(), "{wrong}");
        }
    }
}
