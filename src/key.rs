//! Keys and folders: what may be a name, and how names lie under one another.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, Result};

/// The longest key, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 1024;
/// The longest segment of a key, in bytes of UTF-8.
pub const MAX_SEGMENT_BYTES: usize = 255;

/// The name of an entry: UTF-8 segments joined by `/`.
///
/// A `Key` is legal by construction:
/// * 1 to 1,024 bytes, each segment 1 to 255;
/// * no segment is `.` or `..`, none is empty, none holds a control character (`char::is_control`);
/// * it neither begins nor ends with `/`: one `/` at either end of what is parsed is dropped, a second is an error.
///
/// Keys are compared byte by byte, case-sensitively. Nothing is normalised or percent-decoded.
///
/// The methods of [`Store`](crate::Store) take text and check it themselves. A `Key` is for programs that check names before they
/// use them, keep them, or take them apart.
///
/// ```
/// use komatik::Key;
/// assert_eq!(Key::parse("/rooms/42/plan.pdf")?.as_str(), "rooms/42/plan.pdf");
/// assert!(Key::parse("rooms//plan.pdf").is_err());
/// assert!(Key::parse("../secrets").is_err());
/// # Ok::<(), komatik::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Checks `text` against the rules above.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] with the rule that is broken.
    pub fn parse(text: &str) -> Result<Key> {
        let trimmed = trim_one_slash(text);
        check(trimmed).map_err(|rule| invalid(text, rule))?;
        Ok(Key(Arc::from(trimmed)))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, name)| name)
    }

    /// The folder the key lies in, the root for a key of one segment.
    #[must_use]
    pub fn folder(&self) -> Folder {
        match self.0.rsplit_once('/') {
            Some((folder, _)) => Folder(Arc::from(format!("{folder}/"))),
            None => Folder::root(),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// As [`Key::parse`].
impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Key> {
        Key::parse(text)
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", &*self.0)
    }
}

/// A place that holds keys: the root, or a legal key taken as a prefix.
///
/// ```
/// use komatik::Folder;
/// assert_eq!(Folder::parse("")?, Folder::root());
/// assert_eq!(Folder::parse("/rooms/42/")?.as_prefix(), "rooms/42/");
/// # Ok::<(), komatik::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Folder(Arc<str>);

impl Folder {
    /// The folder that holds everything.
    #[must_use]
    pub fn root() -> Folder {
        Folder(Arc::from(""))
    }

    /// Checks `text` as a key; the empty text and `/` are the root.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] with the rule that is broken.
    pub fn parse(text: &str) -> Result<Folder> {
        if text.is_empty() || text == "/" {
            return Ok(Folder::root());
        }
        let trimmed = trim_one_slash(text);
        check(trimmed).map_err(|rule| invalid(text, rule))?;
        Ok(Folder(Arc::from(format!("{trimmed}/"))))
    }

    /// What every key in the folder begins with: empty for the root, else ending in `/`.
    #[must_use]
    pub fn as_prefix(&self) -> &str {
        &self.0
    }

    /// The folder without its closing `/`; empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.strip_suffix('/').unwrap_or(&self.0)
    }

    /// Whether this is the folder that holds everything.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `key` lies in the folder, at any depth.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        key.0.starts_with(&*self.0)
    }

    /// The key of `name` in this folder.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] where the name breaks a rule or the whole becomes too long.
    pub fn key(&self, name: &str) -> Result<Key> {
        let trimmed = trim_one_slash(name);
        check(trimmed).map_err(|rule| invalid(name, rule))?;
        let whole = [&self.0, trimmed].concat();
        check_length(&whole).map_err(|rule| invalid(name, rule))?;
        Ok(Key(Arc::from(whole)))
    }

    /// The folder of `name` in this folder; the empty name and `/` are this folder itself.
    ///
    /// # Errors
    /// As [`Folder::key`].
    pub fn folder(&self, name: &str) -> Result<Folder> {
        if name.is_empty() || name == "/" {
            return Ok(self.clone());
        }
        self.key(name).map(|key| Folder::from(&key))
    }

    /// What is left of `key` below this folder, `None` where it lies elsewhere.
    #[must_use]
    pub fn strip<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(&*self.0)
    }
}

/// The folder that has the name of a key.
impl From<&Key> for Folder {
    fn from(key: &Key) -> Folder {
        Folder(Arc::from(format!("{key}/")))
    }
}

/// As [`Folder::parse`].
impl FromStr for Folder {
    type Err = Error;

    fn from_str(text: &str) -> Result<Folder> {
        Folder::parse(text)
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Folder({:?})", &*self.0)
    }
}

fn trim_one_slash(text: &str) -> &str {
    let text = text.strip_prefix('/').unwrap_or(text);
    text.strip_suffix('/').unwrap_or(text)
}

fn check(text: &str) -> Result<(), &'static str> {
    check_length(text)?;
    for segment in text.split('/') {
        match segment {
            "" => return Err("a segment is empty"),
            "." | ".." => return Err("a segment is `.` or `..`"),
            _ if segment.len() > MAX_SEGMENT_BYTES => {
                return Err("a segment is longer than 255 bytes");
            }
            _ if has_control(segment) => {
                return Err("it holds a control character");
            }
            _ => {}
        }
    }
    Ok(())
}

fn has_control(text: &str) -> bool {
    match text.is_ascii() {
        true => text.bytes().any(|byte| byte.is_ascii_control()),
        false => text.chars().any(char::is_control),
    }
}

fn check_length(text: &str) -> Result<(), &'static str> {
    match text.len() {
        0 => Err("it is empty"),
        1..=MAX_KEY_BYTES => Ok(()),
        _ => Err("it is longer than 1,024 bytes"),
    }
}

/// A key in an error is cut to what a person can read.
const SHOWN_CHARS: usize = 120;

fn invalid(text: &str, rule: &'static str) -> Error {
    let mut key: String = text.chars().take(SHOWN_CHARS).collect();
    if key.len() < text.len() {
        key.push('…');
    }
    Error::InvalidKey { key, rule }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> &'static str {
        match Key::parse(text) {
            Err(Error::InvalidKey { rule, .. }) => rule,
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    #[test]
    fn text_is_parsed_as_what_it_names() {
        assert_eq!("/a/b".parse::<Key>().unwrap().as_str(), "a/b");
        assert_eq!("a/b".parse::<Folder>().unwrap().as_prefix(), "a/b/");
        assert!("a//b".parse::<Key>().is_err() && "a//b".parse::<Folder>().is_err());
    }

    #[test]
    fn every_rule_is_told_by_its_name() {
        assert_eq!(rule(""), "it is empty");
        assert_eq!(rule("/"), "it is empty");
        assert_eq!(rule("a//b"), "a segment is empty");
        assert_eq!(rule("//a"), "a segment is empty");
        assert_eq!(rule("a//"), "a segment is empty");
        assert_eq!(rule("a/./b"), "a segment is `.` or `..`");
        assert_eq!(rule(".."), "a segment is `.` or `..`");
        assert_eq!(rule("a\0b"), "it holds a control character");
        assert_eq!(rule("a\u{7f}"), "it holds a control character");
        assert_eq!(rule("a\u{85}"), "it holds a control character");
        assert_eq!(rule(&"x".repeat(256)), "a segment is longer than 255 bytes");
        assert_eq!(
            rule(&["x".repeat(250).as_str(); 5].join("/")),
            "it is longer than 1,024 bytes"
        );
    }

    #[test]
    fn both_sides_of_every_limit() {
        assert!(Key::parse(&"x".repeat(255)).is_ok());
        assert!(Key::parse(&"x".repeat(256)).is_err());
        let beginning = ["x".repeat(254).as_str(); 4].join("/");
        let longest = format!("{beginning}/yyyy");
        assert_eq!(longest.len(), MAX_KEY_BYTES);
        for in_bytes in [longest.clone(), longest.replace("yyyy", "yyä")] {
            assert_eq!(Key::parse(&in_bytes).unwrap().as_str(), in_bytes);
            assert!(Key::parse(&format!("{in_bytes}y")).is_err());
        }
        let folder = Folder::parse("xx").unwrap();
        let below = |name: &str| folder.key(name).map(|key| key.as_str().len());
        assert_eq!(below(&longest[3..]).unwrap(), MAX_KEY_BYTES);
        assert!(below(&longest[2..].replace('/', "x")).is_err());
        assert!(below(&longest).is_err());
        for legal in [
            "...", ".a", "a..", "ä/ß", "a b", "%2e%2e", "a\\b", "CON", "🛷",
        ] {
            assert_eq!(Key::parse(legal).unwrap().as_str(), legal);
        }
    }

    #[test]
    fn one_slash_at_either_end_is_dropped() {
        assert_eq!(Key::parse("/a/b/").unwrap(), Key::parse("a/b").unwrap());
        assert_eq!(Folder::parse("/a/").unwrap().as_prefix(), "a/");
        assert!(Folder::parse("//").is_err());
    }

    #[test]
    fn folders_hold_keys_by_whole_segments() {
        let folder = Folder::parse("a/b").unwrap();
        assert!(folder.contains(&Key::parse("a/b/c").unwrap()));
        assert!(!folder.contains(&Key::parse("a/bc").unwrap()));
        assert!(!folder.contains(&Key::parse("a/b").unwrap()));
        assert_eq!(folder.key("c/d").unwrap().as_str(), "a/b/c/d");
        assert_eq!(
            folder.key("c/d").unwrap().folder(),
            folder.folder("c").unwrap()
        );
        assert!(folder.key("../c").is_err());
    }
}
