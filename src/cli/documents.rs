//! Documents: saved, loaded, merged, patched and compared. JSON is read before the store is opened, which others may
//! need until then.

use clap::ValueEnum;
use komatik::{
    Arrays, Error, MergeOptions, Metadata, Nulls, Patch, PutOptions, Store, Transaction,
};
use serde_json::Value;

use super::attribute::Attribute;
use super::condition::Condition;
use super::difference::Difference;
use super::failure::{Failure, Outcome};
use super::session::{Globals, Session};
use super::{input, output, show};

/// Save a document, in place of what is at KEY
#[derive(clap::Args)]
pub(crate) struct Save {
    key: String,
    /// The JSON text, @FILE, or - for standard input
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    text: Option<String>,
    #[command(flatten)]
    condition: Condition,
    #[command(flatten)]
    attribute: Attribute,
}

/// Print a document, or a part of it
#[derive(clap::Args)]
pub(crate) struct Load {
    key: String,
    /// Only what this JSON pointer names, such as /size/width
    #[arg(long, short, value_name = "POINTER")]
    pointer: Option<String>,
    /// Text without its quotes
    #[arg(long)]
    raw: bool,
}

/// Merge JSON into a document, or create one
#[derive(clap::Args)]
pub(crate) struct Merge {
    key: String,
    /// The JSON text, @FILE, or - for standard input
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    text: Option<String>,
    /// What becomes of two arrays
    #[arg(long, value_enum, default_value = "by-index")]
    arrays: ArraysChoice,
    /// What null does
    #[arg(long, value_enum, default_value = "store")]
    nulls: NullsChoice,
    /// Merge as RFC 7396 says: arrays are replaced, null removes
    #[arg(long, conflicts_with_all = ["arrays", "nulls"])]
    rfc7396: bool,
    #[command(flatten)]
    condition: Condition,
    /// Only tell what would change
    #[arg(long)]
    dry_run: bool,
}

/// Apply a JSON Patch (RFC 6902) to a document, all of it or nothing
#[derive(clap::Args)]
pub(crate) struct ApplyPatch {
    key: String,
    /// The JSON text of the patch, @FILE, or - for standard input
    patch: Option<String>,
    /// Only where the entry is at this revision
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
    /// Only tell what would change
    #[arg(long)]
    dry_run: bool,
}

/// Tell what of a document differs from JSON; with --json, as a patch that makes it equal
#[derive(clap::Args)]
pub(crate) struct Diff {
    key: String,
    /// The JSON text, @FILE, or - for standard input
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    text: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ArraysChoice {
    /// Merge element by element; the longer tail stays
    ByIndex,
    /// The given one replaces the stored one
    Replace,
    /// The given elements follow the stored ones
    Append,
    /// Of the given elements, new ones follow the stored ones
    Union,
}

#[derive(Clone, Copy, ValueEnum)]
enum NullsChoice {
    /// It is stored like any value
    Store,
    /// It removes the member
    Remove,
}

impl Save {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome<()> {
        let value = input::json(self.text.as_deref())?;
        globals.with_new_store(|session| self.save(session, &value))
    }

    fn save(&self, session: &mut Session, value: &Value) -> Outcome<()> {
        let mut options = PutOptions::new().mode(self.condition.mode());
        options.attributes = self.attribute.attributes();
        let saved = session.unlocked(|store| store.save_with(&self.key, value, options.clone()))?;
        done(session, "saved", &saved)
    }
}

impl Load {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        let found = session.unlocked(|store| match &self.pointer {
            Some(pointer) => store.load_at::<Value>(&self.key, pointer),
            None => store.load(&self.key),
        })?;
        let value = match found {
            Some(value) => value,
            None => return Err(self.missing(session)?),
        };
        let text = match &value {
            Value::String(text) if self.raw => return output::line(&show::text(text)),
            value if session.manner.json => value.to_string(),
            value => format!("{value:#}"),
        };
        output::line(&match output::is_terminal() {
            true => safe_json(&text),
            false => text,
        })
    }

    /// Whether it is the document that is missing, or the place in it.
    fn missing(&self, session: &mut Session) -> Outcome<Failure> {
        let is_there = session
            .unlocked(|store| store.metadata(&self.key))?
            .is_some();
        Ok(match (&self.pointer, is_there) {
            (Some(pointer), true) => Failure::of(
                super::exit::Exit::NotFound,
                format!("`{}` has nothing at `{pointer}`", self.key),
            ),
            _ => Failure::not_found(&self.key),
        })
    }
}

impl Merge {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome<()> {
        let value = input::json(self.text.as_deref())?;
        match self.dry_run {
            true => globals.with_store(|session| self.merge(session, &value)),
            false => globals.with_new_store(|session| self.merge(session, &value)),
        }
    }

    fn merge(&self, session: &mut Session, value: &Value) -> Outcome<()> {
        let options = self.options();
        if self.dry_run {
            return rehearse(session, &self.key, |transaction| {
                transaction.merge_with(&self.key, value, options.clone())
            });
        }
        let merged =
            session.unlocked(|store| store.merge_with(&self.key, value, options.clone()))?;
        done(session, "merged", &merged)
    }

    fn options(&self) -> MergeOptions {
        let options = if self.rfc7396 {
            MergeOptions::rfc7396()
        } else {
            let arrays = match self.arrays {
                ArraysChoice::ByIndex => Arrays::ByIndex,
                ArraysChoice::Replace => Arrays::Replace,
                ArraysChoice::Append => Arrays::Append,
                ArraysChoice::Union => Arrays::Union,
            };
            let nulls = match self.nulls {
                NullsChoice::Store => Nulls::Store,
                NullsChoice::Remove => Nulls::Remove,
            };
            MergeOptions::new().arrays(arrays).nulls(nulls)
        };
        options.mode(self.condition.mode())
    }
}

impl ApplyPatch {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome<()> {
        let value = input::json(self.patch.as_deref())?;
        let patch: Patch = serde_json::from_value(value)
            .map_err(|error| Failure::usage(format!("this is no JSON Patch: {error}")))?;
        globals.with_store(|session| self.patch(session, &patch))
    }

    fn patch(&self, session: &mut Session, patch: &Patch) -> Outcome<()> {
        let mode = (self.if_revision).map_or(komatik::PutMode::Overwrite, komatik::PutMode::Update);
        if self.dry_run {
            return rehearse(session, &self.key, |transaction| {
                transaction.patch_with(&self.key, patch, mode)
            });
        }
        let patched = session.unlocked(|store| store.patch_with(&self.key, patch, mode))?;
        done(session, "patched", &patched)
    }
}

impl Diff {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome<()> {
        let value = input::json(self.text.as_deref())?;
        globals.with_store(|session| self.diff(session, &value))
    }

    fn diff(&self, session: &mut Session, value: &Value) -> Outcome<()> {
        let stored = session.unlocked(|store| store.load::<Value>(&self.key))?;
        let stored = stored.ok_or_else(|| Failure::not_found(&self.key))?;
        Difference::between(stored, value).show(session.manner)
    }
}

/// Does the work in a transaction that is then given up, and tells what it would have changed.
fn rehearse(
    session: &mut Session,
    key: &str,
    work: impl Fn(&mut Transaction<'_>) -> komatik::Result<()>,
) -> Outcome<()> {
    let (before, after) = session.unlocked(|store: &Store| {
        let mut seen = None;
        let ended = store.transaction(|transaction| {
            let before = transaction.load::<Value>(key)?;
            work(transaction)?;
            seen = Some((before, transaction.load::<Value>(key)?));
            Err::<(), _>(Error::Cancelled)
        });
        match seen {
            Some(seen) => Ok(seen),
            None => ended.map(|()| (None, None)),
        }
    })?;
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    Difference::between(before, &after).show(session.manner)
}

fn done(session: &Session, what: &str, metadata: &Metadata) -> Outcome<()> {
    session.manner.done(
        || serde_json::json!(metadata),
        || format!("{what} {}, revision {}", metadata.key, metadata.revision),
    )
}

/// JSON text with the characters escaped that are not [`safe`](show::safe) on a terminal; inside of strings is the only place they
/// can be.
fn safe_json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char != '\n' && show::is_unsafe(char) {
            true => safe.extend(
                (char.encode_utf16(&mut [0; 2]).iter()).map(|unit| format!("\\u{unit:04x}")),
            ),
            false => safe.push(char),
        }
    }
    safe
}
