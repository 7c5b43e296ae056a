//! Which names a listing tells.

use globset::{GlobBuilder, GlobMatcher};

use crate::error::{Error, Result};

/// The filters of a listing, all of which a name must pass.
pub(super) struct Filter {
    contains: Option<String>,
    glob: Option<GlobMatcher>,
    literal_prefix: String,
}

impl Filter {
    pub(super) fn new(contains: Option<String>, glob: Option<&str>) -> Result<Filter> {
        Ok(Filter {
            contains,
            glob: glob.map(compile).transpose()?,
            literal_prefix: glob.map(literal_prefix).unwrap_or_default().to_owned(),
        })
    }

    pub(super) fn passes(&self, name: &str) -> bool {
        let contains = self.contains.as_deref();
        contains.is_none_or(|text| name.contains(text))
            && self.glob.as_ref().is_none_or(|glob| glob.is_match(name))
    }

    /// What every name that passes begins with.
    pub(super) fn literal_prefix(&self) -> &str {
        &self.literal_prefix
    }
}

fn compile(pattern: &str) -> Result<GlobMatcher> {
    let glob = GlobBuilder::new(pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .build();
    glob.map(|glob| glob.compile_matcher())
        .map_err(|error| Error::InvalidArgument {
            what: "glob",
            reason: error.to_string(),
        })
}

/// The text before the first character that means something.
fn literal_prefix(pattern: &str) -> &str {
    let end = pattern
        .find(['*', '?', '[', ']', '{', '}', ',', '\\', '!'])
        .unwrap_or(pattern.len());
    pattern.split_at(end).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_within_and_across_segments() {
        let cases = [
            ("*.txt", "a.txt", true),
            ("*.txt", "a/b.txt", false),
            ("**/*.txt", "a.txt", true),
            ("**/*.txt", "a/b/c.txt", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a/**/b", "a/b", true),
            ("a/?", "a/b", true),
            ("[ab]{1,2}", "a2", true),
            ("[ab]{1,2}", "c2", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("A", "a", false),
        ];
        for (glob, name, expected) in cases {
            let filter = Filter::new(None, Some(glob)).unwrap();
            assert_eq!(filter.passes(name), expected, "{glob} {name}");
            assert!(!expected || name.starts_with(filter.literal_prefix()));
        }
        assert!(Filter::new(None, Some("[")).is_err());
    }

    #[test]
    fn the_literal_prefix_ends_where_a_pattern_begins() {
        assert_eq!(literal_prefix("ab/c*d"), "ab/c");
        assert_eq!(literal_prefix("a/**"), "a/");
        assert_eq!(literal_prefix("abc"), "abc");
        assert_eq!(literal_prefix("{a,b}"), "");
        assert_eq!(literal_prefix("a\\*b"), "a");
    }
}
