//! What merge and patch make of a value: the rules once more, in as few lines as they take.

use komatik::{Arrays, Nulls};
use serde_json::Value;

use super::operation::{PatchKind, PatchStep};

pub fn merge(target: Value, source: Value, arrays: Arrays, nulls: Nulls) -> Value {
    let removes = nulls == Nulls::Remove;
    match (target, source) {
        (Value::Object(mut target), Value::Object(source)) => {
            for (name, value) in source {
                if removes && value.is_null() {
                    target.shift_remove(&name);
                } else {
                    let present = target.get(&name).cloned().unwrap_or_default();
                    target.insert(name, merge(present, value, arrays, nulls));
                }
            }
            Value::Object(target)
        }
        (_, source @ Value::Object(_)) if removes => {
            merge(Value::Object(Default::default()), source, arrays, nulls)
        }
        (Value::Array(mut target), Value::Array(source)) => {
            match arrays {
                Arrays::ByIndex => {
                    for (index, value) in source.into_iter().enumerate() {
                        let present = target.get(index).cloned().unwrap_or_default();
                        let merged = merge(present, value, arrays, nulls);
                        target.splice(index..(index + 1).min(target.len()), [merged]);
                    }
                }
                Arrays::Replace => target = source,
                Arrays::Append => target.extend(source),
                _ => {
                    for value in source {
                        if !target.contains(&value) {
                            target.push(value);
                        }
                    }
                }
            }
            Value::Array(target)
        }
        (_, source @ Value::Array(_)) if removes && arrays == Arrays::ByIndex => {
            merge(Value::Array(Vec::new()), source, arrays, nulls)
        }
        (_, source) => source,
    }
}

/// `None` where a step does not fit.
pub fn patch(mut value: Value, steps: &[PatchStep]) -> Option<Value> {
    for step in steps {
        let new = step.value.clone();
        let present = value.pointer(step.path);
        match step.kind {
            PatchKind::Test if present.is_some_and(|present| is_same(present, &new)) => {}
            PatchKind::Test => return None,
            PatchKind::Replace => *value.pointer_mut(step.path)? = new,
            PatchKind::Add | PatchKind::Remove if step.path.is_empty() => {
                value = Some(new).filter(|_| step.kind == PatchKind::Add)?;
            }
            PatchKind::Add | PatchKind::Remove => {
                let (parent, name) = step.path.rsplit_once('/')?;
                let index = name.parse().ok();
                match (value.pointer_mut(parent)?, step.kind) {
                    (Value::Object(members), PatchKind::Add) => {
                        drop(members.insert(name.to_owned(), new))
                    }
                    (Value::Object(members), _) => drop(members.shift_remove(name)?),
                    (Value::Array(elements), PatchKind::Add) => {
                        let end = (name == "-").then_some(elements.len());
                        let index = index.or(end).filter(|index| *index <= elements.len())?;
                        elements.insert(index, new);
                    }
                    (Value::Array(elements), _) => {
                        let index = index.filter(|index| *index < elements.len())?;
                        elements.remove(index);
                    }
                    _ => return None,
                }
            }
        }
    }
    Some(value)
}

/// Equal, where `1` and `1.0` are the same.
fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| is_same(l, r))
        }
        (Value::Object(left), Value::Object(right)) => {
            let has_same = |(name, value)| right.get(name).is_some_and(|r| is_same(value, r));
            left.len() == right.len() && left.iter().all(has_same)
        }
        _ => left == right,
    }
}

/// How a patch is written.
pub fn patch_text(steps: &[PatchStep]) -> Value {
    let steps = steps.iter().map(|step| {
        let name = format!("{:?}", step.kind).to_lowercase();
        serde_json::json!({"op": name, "path": step.path, "value": step.value})
    });
    steps.collect()
}
