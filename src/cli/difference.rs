//! What differs between two JSON values, for people and as a patch.

use clap::builder::styling::Style;
use json_patch::PatchOperation;
use komatik::Patch;
use serde_json::{Value, json};

use super::failure::Outcome;
use super::interrupt;
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
        let mut operations = &self.patch.0[..];
        while let Some(operation) = operations.first() {
            interrupt::check()?;
            let removed = removed_in_a_row(operations, &present);
            if removed > 1 {
                let path = operation.path().to_string();
                for old in take_out(&mut present, &path, removed) {
                    lines.line(&told("-", RED, &path, &old.to_string()))?;
                }
                operations = &operations[removed..];
                continue;
            }
            lines.line(&line(operation, &present))?;
            // A place in an array is meant as the operations before have left it.
            let (one, rest) = operations.split_at(1);
            if json_patch::patch(&mut present, one).is_err() {
                break;
            }
            operations = rest;
        }
        lines.finish()
    }
}

/// How many of the operations remove what comes to the same place of an array one after the other: one by one each would move all that
/// is behind it.
fn removed_in_a_row(operations: &[PatchOperation], present: &Value) -> usize {
    let Some(PatchOperation::Remove(first)) = operations.first() else {
        return 0;
    };
    let path = first.path.to_string();
    let Some((array, at)) = array_at(present, &path) else {
        return 0;
    };
    let same = operations.iter().take_while(
        |operation| matches!(operation, PatchOperation::Remove(remove) if remove.path == first.path),
    );
    same.count().min(array.len().saturating_sub(at))
}

/// The array in which a path lies, and its place there.
fn array_at<'a>(present: &'a Value, path: &str) -> Option<(&'a Vec<Value>, usize)> {
    let (parent, at) = path.rsplit_once('/')?;
    Some((present.pointer(parent)?.as_array()?, at.parse().ok()?))
}

fn take_out(present: &mut Value, path: &str, count: usize) -> Vec<Value> {
    let place = path.rsplit_once('/');
    let array = place.and_then(|(parent, at)| {
        let array = present.pointer_mut(parent)?.as_array_mut()?;
        Some((array, at.parse::<usize>().ok()?))
    });
    array.map_or_else(Vec::new, |(array, at)| {
        array.drain(at..at + count).collect()
    })
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
    told(sign, style, &path, &text)
}

fn told(sign: &str, style: Style, path: &str, text: &str) -> String {
    let path = if path.is_empty() { "(all)" } else { path };
    output::painted(&show::name(&format!("{sign} {path}  {text}")), style)
}
