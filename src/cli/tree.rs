//! A folder as a tree.

use super::failure::Outcome;
use super::listing::{name, require_folder};
use super::naming::bare;
use super::output::{BLUE, Lines, painted};
use super::passing::Passed;
use super::session::Session;
use super::{interrupt, show};

/// Show a folder as a tree
#[derive(clap::Args)]
pub(crate) struct Tree {
    /// The folder [default: the root]
    #[arg(default_value = "", hide_default_value = true)]
    folder: String,
    /// At most so many levels; 0 is the folder alone
    #[arg(long, value_name = "N")]
    depth: Option<usize>,
}

/// A folder on the way down: what is still to be told in it, and what stands before its lines.
struct Level {
    items: std::iter::Peekable<komatik::Listing>,
    folder: String,
    before: String,
}

impl Tree {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        require_folder(session, &self.folder)?;
        let root = bare(&self.folder);
        let mut lines = Lines::new();
        if !session.manner.json {
            let name = if root.is_empty() { "(all)" } else { root };
            lines.line(&painted(&show::name(name), BLUE))?;
        }
        let open = |folder: String, before: String| -> Outcome<Level> {
            let items = session.store.list(&folder)?.peekable();
            Ok(Level {
                items,
                folder,
                before,
            })
        };
        let mut passed = Passed::default();
        let mut levels = Vec::new();
        if self.depth != Some(0) {
            levels.push(open(root.to_owned(), String::new())?);
        }
        while let Some(level) = levels.last_mut() {
            interrupt::check()?;
            let Some(item) = level.items.next() else {
                levels.pop();
                continue;
            };
            let Some(item) = passed.over(item)? else {
                continue;
            };
            let is_last = level.items.peek().is_none();
            let key = match level.folder.is_empty() {
                true => item.name.clone(),
                false => format!("{}/{}", level.folder, item.name),
            };
            let (arm, below) = if is_last {
                ("└── ", "    ")
            } else {
                ("├── ", "│   ")
            };
            let before = format!("{}{below}", level.before);
            lines.line(&match session.manner.json {
                true => {
                    let mut object = serde_json::json!(item);
                    object["key"] = key.as_str().into();
                    object["depth"] = levels.len().into();
                    object.to_string()
                }
                false => format!("{}{arm}{}", level.before, name(&item)),
            })?;
            if item.is_folder && self.depth.is_none_or(|depth| levels.len() < depth) {
                levels.push(open(key, before)?);
            }
        }
        lines.finish()?;
        passed.check()
    }
}
