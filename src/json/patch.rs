//! JSON Patch, RFC 6902.
//!
//! The operations are `json_patch`'s, their application is not: its own moves members about when it removes one, leaves
//! half of a failed `move` behind, sets no limit to depth and size, and tests `1` and `1.0` for different.

use json_patch::jsonptr::Pointer;
use json_patch::{Patch, PatchOperation};
use serde_json::{Number, Value};

use super::{fits_depth, invalid, shown};
use crate::error::Result;
use crate::options::{MAX_DOCUMENT_BYTES, MAX_DOCUMENT_DEPTH};

/// Applies all operations in order, or none. Members keep their places, a new one comes last.
///
/// # Errors
/// `InvalidDocument` naming the first operation that fails: its place is not there, its `test` does not hold, what it
/// makes is nested too deeply, or all that was copied so far is more than a document may hold.
pub(crate) fn patch(value: &mut Value, patch: &Patch) -> Result<()> {
    let mut document = value.clone();
    let mut copied_bytes = 0;
    for (number, operation) in patch.0.iter().enumerate() {
        apply(&mut document, operation, &mut copied_bytes).map_err(|reason| {
            let (name, path) = (name(operation), shown(operation.path().as_str()));
            invalid(format!(
                "operation {number} of the patch, {name} `{path}`: {reason}"
            ))
        })?;
    }
    *value = document;
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

fn apply(
    document: &mut Value,
    operation: &PatchOperation,
    copied_bytes: &mut usize,
) -> Result<(), Refusal> {
    match operation {
        PatchOperation::Add(add_to) => {
            check_depth_at(&add_to.path, &add_to.value)?;
            add(document, &add_to.path, add_to.value.clone())
        }
        PatchOperation::Remove(remove_from) => remove(document, &remove_from.path).map(drop),
        PatchOperation::Replace(replace) => {
            check_depth_at(&replace.path, &replace.value)?;
            let present = document
                .pointer_mut(replace.path.as_str())
                .ok_or(NOTHING_THERE)?;
            *present = replace.value.clone();
            Ok(())
        }
        PatchOperation::Move(from_to) => relocate(document, &from_to.from, &from_to.path),
        PatchOperation::Copy(from_to) => {
            let source = document
                .pointer(from_to.from.as_str())
                .ok_or("nothing is at `from`")?;
            check_depth_at(&from_to.path, source)?;
            // Copies of copies grow without end, so their sum is limited before it is made.
            *copied_bytes = copied_bytes.saturating_add(least_bytes(source));
            if *copied_bytes > MAX_DOCUMENT_BYTES {
                return Err("its copies together are larger than a document may be");
            }
            let copy = source.clone();
            add(document, &from_to.path, copy)
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

fn add(document: &mut Value, path: &Pointer, value: Value) -> Result<(), Refusal> {
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
            elements.insert(index, value);
        }
        _ => return Err(NO_SUCH_PLACE),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &Pointer) -> Result<Value, Refusal> {
    let (parent, last) = path.split_back().ok_or("a document cannot lose its root")?;
    match document.pointer_mut(parent.as_str()) {
        Some(Value::Object(members)) => members
            .shift_remove(last.decoded().as_ref())
            .ok_or(NOTHING_THERE),
        Some(Value::Array(elements)) => {
            let index = last.to_index().map_err(|_| NOTHING_THERE)?;
            let index = index.for_len(elements.len()).map_err(|_| NOTHING_THERE)?;
            Ok(elements.remove(index))
        }
        _ => Err(NOTHING_THERE),
    }
}

fn relocate(document: &mut Value, from: &Pointer, path: &Pointer) -> Result<(), Refusal> {
    if path == from {
        return document
            .pointer(from.as_str())
            .map(drop)
            .ok_or("nothing is at `from`");
    }
    if path.starts_with(from) {
        return Err("a value cannot be moved into itself");
    }
    let value = remove(document, from).map_err(|_| "nothing is at `from`")?;
    check_depth_at(path, &value)?;
    add(document, path, value)
}

/// Whether a value at this place would leave the document within [`MAX_DOCUMENT_DEPTH`].
fn check_depth_at(path: &Pointer, value: &Value) -> Result<(), Refusal> {
    let levels = MAX_DOCUMENT_DEPTH.checked_sub(path.count());
    match levels.is_some_and(|levels| fits_depth(value, levels)) {
        true => Ok(()),
        false => Err("the result is nested too deeply"),
    }
}

/// A lower bound of the bytes of the value's stored form.
fn least_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(text) => 1 + text.len(),
        Value::Array(elements) => 1 + elements.iter().map(least_bytes).sum::<usize>(),
        Value::Object(members) => {
            let members = members.iter();
            1 + members
                .map(|(name, value)| 1 + name.len() + least_bytes(value))
                .sum::<usize>()
        }
    }
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
