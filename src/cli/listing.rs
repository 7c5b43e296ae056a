//! What is there: listings, and what is known of one name.

use komatik::{Kind, ListItem, ListOptions, Metadata};
use serde_json::json;

use super::failure::{Failure, Outcome};
use super::naming::bare;
use super::output::{BLUE, Lines, painted};
use super::passing::Passed;
use super::session::Session;
use super::{interrupt, show};

/// List a folder
#[derive(clap::Args)]
pub(crate) struct Ls {
    /// The folder [default: the root]
    #[arg(default_value = "", hide_default_value = true)]
    folder: String,
    /// Revision, size, time and content type as well
    #[arg(short, long)]
    long: bool,
    /// Entries at any depth
    #[arg(short, long)]
    recursive: bool,
    /// Only what follows this name; that of a folder has a / at its end
    #[arg(long, value_name = "NAME")]
    after: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Only names that match: * and ? within a segment, ** across, [a-z], {a,b}
    #[arg(long, value_name = "PATTERN")]
    glob: Option<String>,
    /// Only names that hold this text
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
}

/// Tell what is known of an entry or folder
#[derive(clap::Args)]
pub(crate) struct Stat {
    key: String,
}

impl Ls {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        let mut options = ListOptions::new();
        options.recursive = self.recursive;
        options.after.clone_from(&self.after);
        options.limit = self.limit;
        options.glob.clone_from(&self.glob);
        options.contains.clone_from(&self.contains);
        let mut lines = Lines::new();
        let mut is_empty = true;
        let mut passed = Passed::default();
        for item in session.store.list_with(&self.folder, options)? {
            interrupt::check()?;
            is_empty = false;
            let Some(item) = passed.over(item)? else {
                continue;
            };
            lines.line(&match (session.manner.json, self.long) {
                (true, _) => json!(item).to_string(),
                (false, true) => long(&item),
                (false, false) => name(&item),
            })?;
        }
        lines.finish()?;
        if is_empty {
            require_folder(session, &self.folder)?;
        }
        passed.check()
    }
}

/// A folder of which nothing is listed may still be there.
pub(crate) fn require_folder(session: &Session, folder: &str) -> Outcome<()> {
    if session.store.is_folder(folder)? {
        return Ok(());
    }
    let missing = Failure::not_found(folder);
    Err(match session.store.exists(folder)? {
        true => missing.advise("it is an entry and no folder; stat tells of it"),
        false => missing,
    })
}

/// The name of an item; that of a folder has a `/` at its end.
pub(crate) fn name(item: &ListItem) -> String {
    let name = item.cursor();
    let name = show::name(&name);
    match item.is_folder {
        true => painted(&name, BLUE),
        false => name.into_owned(),
    }
}

fn long(item: &ListItem) -> String {
    let name = name(item);
    let Some(known) = &item.metadata else {
        let kind = if item.is_folder { "folder" } else { "locked" };
        return format!(
            "{kind:<8} {:>8} {:>12} {:<20} {:<24} {name}",
            "-", "-", "-", "-"
        );
    };
    format!(
        "{:<8} {:>8} {:>12} {} {:<24} {name}",
        known.kind.as_str(),
        known.revision,
        show::bytes(known.size),
        show::moment(known.updated),
        known.content_type,
    )
}

impl Stat {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        match session.unlocked(|store| store.metadata(&self.key))? {
            Some(metadata) => session
                .manner
                .answer(|| json!(metadata), || about(&metadata)),
            None if session.store.exists(&self.key)? => session.manner.answer(
                || json!({"key": bare(&self.key), "kind": "folder"}),
                || {
                    format!(
                        "{:<13} {}\n{:<13} folder",
                        "key",
                        show::name(&self.key),
                        "kind"
                    )
                },
            ),
            None => Err(Failure::not_found(&self.key)),
        }
    }
}

fn about(metadata: &Metadata) -> String {
    let size = match metadata.kind {
        Kind::Document => format!("{} as MessagePack", size(metadata.size)),
        _ => size(metadata.size),
    };
    let lock = match (metadata.view_locked, metadata.edit_locked) {
        (false, false) => "none",
        (true, false) => "view",
        (false, true) => "edit",
        (true, true) => "view and edit",
    };
    let mut lines = vec![
        ("key", show::name(&metadata.key).into_owned()),
        ("kind", metadata.kind.to_string()),
        ("revision", metadata.revision.to_string()),
        ("size", size),
        ("content type", metadata.content_type.clone()),
        ("created", show::moment(metadata.created)),
        ("updated", show::moment(metadata.updated)),
        ("digest", metadata.digest.to_string()),
        ("lock", lock.to_owned()),
    ];
    for (name, value) in &metadata.attributes {
        lines.push((
            "attribute",
            show::safe(&format!("{name}={value}")).into_owned(),
        ));
    }
    table(&lines)
}

/// `1.5 KiB (1,536 bytes)`.
fn size(bytes: u64) -> String {
    match bytes < 1024 {
        true => show::bytes(bytes),
        false => format!("{} ({} bytes)", show::bytes(bytes), show::count(bytes)),
    }
}

/// Lines of a name and what it has.
pub(crate) fn table(lines: &[(&str, String)]) -> String {
    let lines: Vec<String> = lines
        .iter()
        .map(|(name, value)| format!("{name:<13} {value}"))
        .collect();
    lines.join("\n")
}
