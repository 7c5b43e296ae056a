//! What a participant may do with which paths, as the grants of its token say.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// What is done to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    List,
    Read,
    Write,
    Delete,
    /// To make an address that opens it.
    Presign,
}

impl Action {
    fn changes(self) -> bool {
        matches!(self, Action::Write | Action::Delete)
    }
}

/// The paths that a participant may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Access {
    paths: Paths,
    /// Of the account that the API key is of.
    may_write: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Paths {
    All,
    None,
    /// By how a path begins; the first that fits decides.
    Prefixes(Vec<Prefix>),
    /// Any that fits allows.
    Rules(Vec<Rule>),
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Prefix {
    path: Beginning,
    #[serde(default)]
    read_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Rule {
    path: Path,
    recursive: bool,
    actions: Vec<Action>,
    #[serde(default)]
    excluded_paths: Vec<Path>,
}

/// A path of a rule, as keys are written. One that could be none cannot be read: nothing would ever match it, and what it
/// excludes would be open.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Path(String);

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Path, D::Error> {
        let given = String::deserialize(deserializer)?;
        let path = plain(&given);
        crate::Folder::parse(path).map_err(D::Error::custom)?;
        Ok(Path(path.to_owned()))
    }
}

/// How the paths of a prefix begin, as keys are written: maybe in the middle of a segment, and behind a `/` it is about what
/// is in the folder. As with [`Path`], one that no key begins with cannot be read: what it restricts would be open.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Beginning(String);

impl<'de> Deserialize<'de> for Beginning {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Beginning, D::Error> {
        let given = String::deserialize(deserializer)?;
        let start = without_here(&given).trim_start_matches('/');
        match is_beginning_of_keys(start) {
            true => Ok(Beginning(start.to_owned())),
            false => Err(D::Error::custom("no path begins so")),
        }
    }
}

fn is_beginning_of_keys(start: &str) -> bool {
    let key = match start.rsplit('/').next() {
        _ if start.is_empty() => return true,
        // It may be meant as the root, or as how hidden files begin.
        Some(".") if start == "." => return false,
        Some("." | "..") => format!("{start}x"),
        Some("") => start[..start.len() - 1].to_owned(),
        _ => start.to_owned(),
    };
    crate::Key::parse(&key).is_ok_and(|parsed| parsed.as_str() == key)
}

/// A path without `./` before it.
fn without_here(mut path: &str) -> &str {
    while let Some(rest) = path.strip_prefix("./") {
        path = rest;
    }
    path
}

/// A path as the clients write it, as a key: without `./` before it and `/` around it.
pub(super) fn plain(path: &str) -> &str {
    match without_here(path).trim_matches('/') {
        "." => "",
        path => path,
    }
}

/// The `storage` of an `api` grant.
#[derive(Deserialize)]
struct StorageGrant {
    paths: Option<Vec<Prefix>>,
    files: Option<Files>,
}

#[derive(Deserialize)]
struct Files {
    #[serde(default)]
    paths: Vec<Rule>,
}

impl Access {
    /// All of the room.
    pub(super) fn all(may_write: bool) -> Access {
        Access {
            paths: Paths::All,
            may_write,
        }
    }

    /// Nothing.
    pub(super) fn none() -> Access {
        Access {
            paths: Paths::None,
            may_write: false,
        }
    }

    /// What the scope of an `api` grant allows. One that cannot be read allows nothing.
    pub(super) fn of_scope(scope: &Value, may_write: bool) -> Access {
        let storage = match scope.get("storage") {
            None | Some(Value::Null) => return Access::none(),
            Some(storage) => StorageGrant::deserialize(storage),
        };
        let paths = match storage {
            Err(_) => Paths::None,
            Ok(StorageGrant {
                files: Some(files), ..
            }) => Paths::Rules(files.paths),
            Ok(StorageGrant {
                paths: Some(paths), ..
            }) => Paths::Prefixes(paths),
            Ok(StorageGrant { .. }) => Paths::All,
        };
        Access { paths, may_write }
    }

    /// Whether this may be done to a path, and with `subtree` to all that lies below it. A folder on the way to what may
    /// be listed may be listed itself: see [`Access::lists`].
    pub(super) fn allows(&self, action: Action, path: &str, subtree: bool) -> bool {
        self.grants(action, path, subtree)
            || (action == Action::List && self.leads_through(path, &[Action::List]))
    }

    /// Whether it may be known that there is such a path, as a folder at least.
    pub(super) fn shows(&self, path: &str) -> bool {
        self.allows(Action::Read, path, false) || self.allows(Action::List, path, false)
    }

    /// Whether it may be known what is at the path.
    pub(super) fn shows_file(&self, path: &str) -> bool {
        self.grants(Action::Read, path, false) || self.grants(Action::List, path, false)
    }

    /// Whether a listing of a folder tells of this item in it.
    pub(super) fn lists(&self, folder: &str, path: &str, is_folder: bool) -> bool {
        let by_rule = match &self.paths {
            Paths::Rules(rules) => rules.iter().any(|rule| rule.lists(folder, path)),
            Paths::All | Paths::None | Paths::Prefixes(_) => false,
        };
        let shown = [Action::List, Action::Read];
        by_rule || self.shows_file(path) || (is_folder && self.leads_through(path, &shown))
    }

    fn grants(&self, action: Action, path: &str, subtree: bool) -> bool {
        if action.changes() && !self.may_write {
            return false;
        }
        match &self.paths {
            Paths::All => true,
            Paths::None => false,
            Paths::Prefixes(prefixes) => by_prefix(prefixes, action, path, subtree),
            Paths::Rules(rules) => rules.iter().any(|rule| rule.allows(action, path, subtree)),
        }
    }

    /// Whether the path is a folder on the way to where one of the actions is allowed.
    fn leads_through(&self, path: &str, to: &[Action]) -> bool {
        match &self.paths {
            Paths::All | Paths::None => false,
            // A prefix that ends with a `/` says which folder it is about.
            Paths::Prefixes(prefixes) => prefixes
                .iter()
                .any(|prefix| path == prefix.path.0.trim_end_matches('/')),
            Paths::Rules(rules) => rules.iter().any(|rule| {
                is_below(path, &rule.path.0) && to.iter().any(|to| rule.actions.contains(to))
            }),
        }
    }
}

fn by_prefix(prefixes: &[Prefix], action: Action, path: &str, subtree: bool) -> bool {
    for prefix in prefixes {
        let start = prefix.path.0.as_str();
        if path.starts_with(start) {
            return !(prefix.read_only && action.changes());
        }
        // What lies below the path may be decided by another prefix than the path itself.
        if subtree && is_below(path, start) {
            return false;
        }
    }
    false
}

fn is_below(folder: &str, path: &str) -> bool {
    let below = path.strip_prefix(folder);
    folder.is_empty() || below.is_some_and(|below| below.starts_with('/'))
}

impl Rule {
    fn allows(&self, action: Action, path: &str, subtree: bool) -> bool {
        let fits = path == self.path.0 || (self.recursive && is_below(&self.path.0, path));
        let is_within = |excluded: &Path| subtree && is_below(path, &excluded.0);
        self.actions.contains(&action)
            && fits
            && (self.recursive || !subtree)
            && !self.excludes(path)
            && !self.excluded_paths.iter().any(is_within)
    }

    /// Whether the folder may be listed, and nothing keeps this item of it back.
    fn lists(&self, folder: &str, path: &str) -> bool {
        self.allows(Action::List, folder, false) && !self.excludes(path)
    }

    fn excludes(&self, path: &str) -> bool {
        let mut excluded = self.excluded_paths.iter();
        excluded.any(|excluded| path == excluded.0 || is_below(&excluded.0, path))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn access(storage: Value) -> Access {
        Access::of_scope(&json!({"storage": storage}), true)
    }

    #[test]
    fn the_first_prefix_that_fits_decides() {
        let access = access(json!({"paths": [
            {"path": "docs/public", "read_only": true},
            {"path": "/docs"},
        ]}));
        for (action, path, expected) in [
            (Action::Read, "docs/public/a", true),
            (Action::Write, "docs/public/a", false),
            (Action::Delete, "docs/public", false),
            (Action::Presign, "docs/public/a", true),
            (Action::Write, "docs/a", true),
            (Action::Write, "docs-and-more", true),
            (Action::List, "docs", true),
            (Action::Read, "other", false),
            (Action::List, "", false),
        ] {
            assert_eq!(
                access.allows(action, path, false),
                expected,
                "{action:?} {path}"
            );
        }
        assert!(
            !access.allows(Action::Delete, "docs", true),
            "part of it is read-only"
        );
        assert!(access.allows(Action::Delete, "docs/a", true));
    }

    #[test]
    fn a_prefix_restricts_however_it_is_written_or_opens_nothing() {
        let begun_by = |path: &str| {
            access(json!({"paths": [{"path": path, "read_only": true}, {"path": ""}]}))
        };
        for path in [
            "docs/a", "/docs/", "./docs", "././docs", ".//docs", "./docs/", "do", "docs/.",
        ] {
            let access = begun_by(path);
            let within = if path == "docs/." {
                "docs/.a"
            } else {
                "docs/a"
            };
            assert!(!access.allows(Action::Write, within, false), "{path}");
            assert!(access.allows(Action::Write, "other", false), "{path}");
        }
        for path in ["", "/", "./"] {
            assert!(!begun_by(path).allows(Action::Write, "a", false), "{path}");
        }
        for path in [
            "docs//x", "docs//", "docs/./x", "/./docs", "../docs", "a/../b", ".", "a\u{1}",
        ] {
            let access = begun_by(path);
            assert!(!access.allows(Action::Write, "other", false), "{path}");
            assert!(!access.shows("docs/x"), "{path}");
        }
        assert!(begun_by(&format!("{}/", "a".repeat(255))).shows("other"));
        assert!(
            !begun_by(&"a".repeat(256)).shows("other"),
            "no segment is as long"
        );
    }

    #[test]
    fn rules_are_bounded_by_segments() {
        let access = access(json!({"files": {"paths": [
            {"path": "a", "recursive": true, "actions": ["list", "read", "delete"], "excluded_paths": ["a/x"]},
            {"path": "b/c", "recursive": false, "actions": ["list", "write"]},
        ]}}));
        for (action, path, expected) in [
            (Action::Read, "a/y", true),
            (Action::Read, "ab", false),
            (Action::Read, "a/x/1", false),
            (Action::Write, "a/y", false),
            (Action::Presign, "a/y", false),
            (Action::Write, "b/c", true),
            (Action::Write, "b/c/d", false),
            (Action::List, "", true),
            (Action::List, "b", true),
            (Action::List, "c", false),
        ] {
            assert_eq!(
                access.allows(action, path, false),
                expected,
                "{action:?} {path}"
            );
        }
        assert!(!access.allows(Action::Delete, "a", true));
        assert!(access.allows(Action::Delete, "a/y", true));
    }

    #[test]
    fn without_storage_nothing_is_allowed_and_without_paths_all_is() {
        for scope in [json!({}), json!({"storage": null}), json!({"storage": 1})] {
            assert!(!Access::of_scope(&scope, true).shows("a"), "{scope}");
        }
        assert!(access(json!({})).allows(Action::Delete, "", true));
        assert!(access(json!({"paths": null})).allows(Action::Write, "a", false));
        let reader = Access::of_scope(&json!({"storage": {}}), false);
        assert!(reader.shows("a") && !reader.allows(Action::Write, "a", false));
    }
}
