//! JSON Patch, RFC 6902.
//!
//! The operations are `json_patch`'s, their application is not: its own moves members about when it removes one, leaves
//! half of a failed `move` behind, sets no limit to depth, memory and time, and tests `1` and `1.0` for different.

use json_patch::jsonptr::Pointer;
use json_patch::{Patch, PatchOperation};
use serde_json::{Number, Value};

use super::{invalid, shown};
use crate::error::Result;
use crate::options::MAX_DOCUMENT_DEPTH;

/// Most memory, in bytes, that the copies of a patch may take together. A small patch can copy what it has copied, and so
/// double the document time after time.
const MAX_COPIED: usize = 256 * 1024 * 1024;
/// Most values that a patch may walk over or shift to other places, together: about a second of work, for which all other
/// writers may have to wait. Without it tens of thousands of operations, each at the front of a long array, take minutes.
const MAX_STEPS: usize = 100_000_000;

/// As [`patch_within`], all operations or none, where the patch may cost all that one may.
#[cfg(any(test, fuzzing))]
pub(crate) fn patch(value: &mut Value, patch: &Patch) -> Result<()> {
    let mut document = value.clone();
    patch_within(&mut document, patch, &mut PatchBudget::default())?;
    *value = document;
    Ok(())
}

/// Applies all operations in order. Members keep their places, a new one comes last.
///
/// # Errors
/// The value is nothing to be kept then. `InvalidDocument` naming the first operation that fails: its place is not there, its `test` does not hold, what it
/// makes is nested too deeply, or it costs more than is left.
pub(crate) fn patch_within(
    value: &mut Value,
    patch: &Patch,
    budget: &mut PatchBudget,
) -> Result<()> {
    for (number, operation) in patch.0.iter().enumerate() {
        apply(value, operation, budget).map_err(|reason| {
            let (name, path) = (name(operation), shown(operation.path().as_str()));
            invalid(format!(
                "operation {number} of the patch, {name} `{path}`: {reason}"
            ))
        })?;
    }
    Ok(())
}

fn name(operation: &PatchOperation) -> &'static str {
    match operation {
        PatchOperation::Add(_) => "add",
        PatchOperation::Remove(_) => "remove",
        PatchOperation::Replace(_) => "replace",
        PatchOperation::Move(_) => "move",
        PatchOperation::Copy(_) => "copy",
        PatchOperation::Test(_) => "test",
    }
}

/// Why an operation cannot be done.
type Refusal = &'static str;

const NOTHING_THERE: Refusal = "nothing is there";
const NO_SUCH_PLACE: Refusal = "there is no such place";
const TOO_DEEP: Refusal = "the result is nested too deeply";

/// What the operations to come may cost: those of one patch, or of several that all other writers wait for.
pub(crate) struct PatchBudget {
    bytes: usize,
    steps: usize,
}

impl Default for PatchBudget {
    fn default() -> Self {
        PatchBudget {
            bytes: MAX_COPIED,
            steps: MAX_STEPS,
        }
    }
}

impl PatchBudget {
    fn copy(&mut self, bytes: usize) -> Result<(), Refusal> {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.ok_or("the copies so far together take too much memory")?;
        Ok(())
    }

    fn step(&mut self, values: usize) -> Result<(), Refusal> {
        let left = self.steps.checked_sub(values);
        self.steps = left.ok_or("too many values were moved to other places so far")?;
        Ok(())
    }
}

fn apply(
    document: &mut Value,
    operation: &PatchOperation,
    left: &mut PatchBudget,
) -> Result<(), Refusal> {
    match operation {
        PatchOperation::Add(add_to) => {
            check_depth_at(&add_to.path, &add_to.value, left)?;
            add(document, &add_to.path, add_to.value.clone(), left)
        }
        PatchOperation::Remove(remove_from) => remove(document, &remove_from.path, left).map(drop),
        PatchOperation::Replace(replace) => {
            check_depth_at(&replace.path, &replace.value, left)?;
            let present = document
                .pointer_mut(replace.path.as_str())
                .ok_or(NOTHING_THERE)?;
            *present = replace.value.clone();
            Ok(())
        }
        PatchOperation::Move(from_to) => relocate(document, &from_to.from, &from_to.path, left),
        PatchOperation::Copy(from_to) => {
            let source = document
                .pointer(from_to.from.as_str())
                .ok_or("nothing is at `from`")?;
            check_depth_at(&from_to.path, source, left)?;
            left.copy(memory_of(source))?;
            let copy = source.clone();
            add(document, &from_to.path, copy, left)
        }
        PatchOperation::Test(test) => {
            let present = document.pointer(test.path.as_str()).ok_or(NOTHING_THERE)?;
            match is_same(present, &test.value) {
                true => Ok(()),
                false => Err("the value there is another one"),
            }
        }
    }
}

fn add(
    document: &mut Value,
    path: &Pointer,
    value: Value,
    left: &mut PatchBudget,
) -> Result<(), Refusal> {
    let Some((parent, last)) = path.split_back() else {
        *document = value;
        return Ok(());
    };
    match document.pointer_mut(parent.as_str()) {
        Some(Value::Object(members)) => {
            members.insert(last.decoded().into_owned(), value);
        }
        Some(Value::Array(elements)) => {
            let index = last.to_index().map_err(|_| NO_SUCH_PLACE)?;
            let index = index
                .for_len_incl(elements.len())
                .map_err(|_| NO_SUCH_PLACE)?;
            left.step(elements.len() - index)?;
            elements.insert(index, value);
        }
        _ => return Err(NO_SUCH_PLACE),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &Pointer, left: &mut PatchBudget) -> Result<Value, Refusal> {
    let (parent, last) = path.split_back().ok_or("a document cannot lose its root")?;
    match document.pointer_mut(parent.as_str()) {
        Some(Value::Object(members)) => {
            let name = last.decoded();
            let behind = members.keys().rev().position(|other| *other == name);
            left.step(behind.ok_or(NOTHING_THERE)?)?;
            members.shift_remove(name.as_ref()).ok_or(NOTHING_THERE)
        }
        Some(Value::Array(elements)) => {
            let index = last.to_index().map_err(|_| NOTHING_THERE)?;
            let index = index.for_len(elements.len()).map_err(|_| NOTHING_THERE)?;
            left.step(elements.len() - index)?;
            Ok(elements.remove(index))
        }
        _ => Err(NOTHING_THERE),
    }
}

fn relocate(
    document: &mut Value,
    from: &Pointer,
    path: &Pointer,
    left: &mut PatchBudget,
) -> Result<(), Refusal> {
    if path == from {
        return document
            .pointer(from.as_str())
            .map(drop)
            .ok_or("nothing is at `from`");
    }
    if path.starts_with(from) {
        return Err("a value cannot be moved into itself");
    }
    let value = remove(document, from, left).map_err(|refusal| match refusal {
        NOTHING_THERE => "nothing is at `from`",
        other => other,
    })?;
    if path.count() > from.count() {
        check_depth_at(path, &value, left)?;
    }
    add(document, path, value, left)
}

/// Refuses a value that at this place would leave the document deeper than [`MAX_DOCUMENT_DEPTH`].
fn check_depth_at(path: &Pointer, value: &Value, left: &mut PatchBudget) -> Result<(), Refusal> {
    let levels = MAX_DOCUMENT_DEPTH.checked_sub(path.count());
    check_levels(value, levels.ok_or(TOO_DEEP)?, left)
}

/// Refuses a value that has more levels than these. Each value in it is a step.
fn check_levels(value: &Value, levels: usize, left: &mut PatchBudget) -> Result<(), Refusal> {
    left.step(1)?;
    let inside = || levels.checked_sub(1).ok_or(TOO_DEEP);
    match value {
        Value::Array(elements) => {
            let levels = inside()?;
            let mut elements = elements.iter();
            elements.try_for_each(|value| check_levels(value, levels, left))
        }
        Value::Object(members) => {
            let levels = inside()?;
            let mut values = members.values();
            values.try_for_each(|value| check_levels(value, levels, left))
        }
        _ => Ok(()),
    }
}

/// About how much memory a copy of the value takes: each value in it has its place, and its text, if any.
fn memory_of(value: &Value) -> usize {
    let inside: usize = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(elements) => elements.iter().map(memory_of).sum(),
        Value::Object(members) => {
            let members = members.iter();
            members
                .map(|(name, value)| size_of::<String>() + name.len() + memory_of(value))
                .sum()
        }
    };
    size_of::<Value>() + inside
}

/// Equality as section 4.6 of the RFC has it: numbers by what they are worth.
fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => is_same_number(left, right),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| is_same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let has_same =
                |(name, value)| right.get(name).is_some_and(|other| is_same(value, other));
            left.len() == right.len() && left.iter().all(has_same)
        }
        _ => left == right,
    }
}

fn is_same_number(left: &Number, right: &Number) -> bool {
    left == right || whole(left).is_some_and(|left| whole(right) == Some(left))
}

/// The number without loss, where it is whole and not far beyond 64 bits.
fn whole(number: &Number) -> Option<i128> {
    /// 2^64: every whole float below it is an `i128`.
    const BOUND: f64 = 18_446_744_073_709_551_616.0;
    let integer = number
        .as_u64()
        .map(i128::from)
        .or_else(|| number.as_i64().map(i128::from));
    let float = || {
        number
            .as_f64()
            .filter(|float| float.fract() == 0.0 && float.abs() <= BOUND)
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the float is whole and within the bound"
    )]
    integer.or_else(|| float().map(|float| float as i128))
}
