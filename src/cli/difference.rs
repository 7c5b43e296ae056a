//! What differs between two JSON values, for people and as a patch.

use komatik::Patch;
use serde_json::{Value, json};

use super::failure::Outcome;
use super::output::{self, GREEN, Lines, Manner, RED, YELLOW};
use super::show;

/// The way from one value to another.
pub(crate) struct Difference {
    before: Value,
    patch: Patch,
}

impl Difference {
    pub(crate) fn between(before: Value, after: &Value) -> Difference {
        let patch = json_patch::diff(&before, after);
        Difference { before, patch }
    }

    /// One line for each place that differs; in JSON the patch, on one line. Nothing where nothing differs.
    pub(crate) fn show(self, manner: Manner) -> Outcome<()> {
        if manner.json {
            return output::line(&json!(self.patch).to_string());
        }
        let mut lines = Lines::new();
        let mut present = self.before;
        for operation in self.patch.0 {
            lines.line(&line(&operation, &present))?;
            // A place in an array is meant as the operations before have left it.
            let one = std::slice::from_ref(&operation);
            if json_patch::patch(&mut present, one).is_err() {
                break;
            }
        }
        lines.finish()
    }
}

fn line(operation: &json_patch::PatchOperation, present: &Value) -> String {
    use json_patch::PatchOperation::{Add, Remove, Replace};
    let old = |path: &str| {
        let value = present.pointer(path);
        value.map_or_else(String::new, Value::to_string)
    };
    let (sign, style, path, text) = match operation {
        Add(add) => ("+", GREEN, add.path.to_string(), add.value.to_string()),
        Remove(remove) => {
            let path = remove.path.to_string();
            let old = old(&path);
            ("-", RED, path, old)
        }
        Replace(replace) => {
            let path = replace.path.to_string();
            let text = format!("{} → {}", old(&path), replace.value);
            ("~", YELLOW, path, text)
        }
        other => ("?", YELLOW, String::new(), other.to_string()),
    };
    let path = if path.is_empty() { "(all)" } else { &path };
    output::painted(&show::name(&format!("{sign} {path}  {text}")), style)
}
