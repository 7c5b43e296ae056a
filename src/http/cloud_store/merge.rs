//! How a client of CloudStore expects values to merge: as `_.merge` of lodash does.
//!
//! Unlike the store's own merge, an object with the names of indices merges into an array, what is no object or array
//! takes nothing in where it is the whole value, and an array is as good as an object there. `length` and `__proto__` are
//! names like any other.

use serde_json::{Map, Value};

/// Elements that nobody sent as such but one merge may make: those before an index beyond the end of an array, as `null`,
/// and the characters of a text.
const MOST_MADE: usize = 100_000;

/// The merged value would have too many elements that nobody sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// Merges `source` into `target`. After an error the target is not to be used.
pub(super) fn merge(target: &mut Value, source: Value) -> Result<(), TooMany> {
    if target.is_null() {
        *target = Value::Object(Map::new());
    }
    merge_members(target, source, &mut MOST_MADE.clone())
}

/// Merges each member of the source into an object or array; anything else takes none.
fn merge_members(target: &mut Value, source: Value, left: &mut usize) -> Result<(), TooMany> {
    if !target.is_object() && !target.is_array() {
        return Ok(());
    }
    if let Value::String(text) = &source {
        take(left, text.chars().count())?;
    }
    for (name, value) in members(source) {
        match target {
            Value::Object(members) => match members.get_mut(&name) {
                Some(present) => merge_value(present, value, left)?,
                None => {
                    members.insert(name, value);
                }
            },
            Value::Array(elements) => {
                // Other names stand beside the elements, and are lost in JSON.
                if let Some(index) = index(&name) {
                    merge_value(element(elements, index, left)?, value, left)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn merge_value(target: &mut Value, source: Value, left: &mut usize) -> Result<(), TooMany> {
    match (&*target, &source) {
        (Value::Object(_) | Value::Array(_), Value::Object(_))
        | (Value::Array(_), Value::Array(_)) => merge_members(target, source, left),
        _ => {
            *target = source;
            Ok(())
        }
    }
}

fn take(left: &mut usize, count: usize) -> Result<(), TooMany> {
    *left = left.checked_sub(count).ok_or(TooMany)?;
    Ok(())
}

/// What a value has below a name. A text has its characters.
fn members(source: Value) -> Vec<(String, Value)> {
    let numbered = |values: Vec<Value>| {
        let names = (0_usize..).map(|index| index.to_string());
        names.zip(values).collect()
    };
    match source {
        Value::Object(members) => members.into_iter().collect(),
        Value::Array(elements) => numbered(elements),
        Value::String(text) => numbered(text.chars().map(|char| char.to_string().into()).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// The index that a name is: written as a number would be.
fn index(name: &str) -> Option<u32> {
    let index: u32 = name.parse().ok()?;
    (index != u32::MAX && index.to_string() == name).then_some(index)
}

/// The element at an index, behind as many holes as it takes.
fn element<'a>(
    elements: &'a mut Vec<Value>,
    index: u32,
    left: &mut usize,
) -> Result<&'a mut Value, TooMany> {
    let index = usize::try_from(index).map_err(|_| TooMany)?;
    if index >= elements.len() {
        take(left, index - elements.len())?;
        elements.resize(index + 1, Value::Null);
    }
    elements.get_mut(index).ok_or(TooMany)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(cases: &[(Value, Value, Value)]) {
        for (target, source, expected) in cases {
            let mut merged = target.clone();
            merge(&mut merged, source.clone()).unwrap();
            assert_eq!(&merged, expected, "{target} + {source}");
        }
    }

    #[test]
    fn members_and_elements_merge_at_every_depth() {
        check(&[
            (
                json!({"a": [1, 2, 3]}),
                json!({"a": [9]}),
                json!({"a": [9, 2, 3]}),
            ),
            (
                json!({"a": [{"x": 1}, {"y": 2}]}),
                json!({"a": [{"z": 3}, {"y": 4}]}),
                json!({"a": [{"x": 1, "z": 3}, {"y": 4}]}),
            ),
            (json!({"a": 1}), json!({"a": null}), json!({"a": null})),
            (
                json!({"a": {"b": 1}}),
                json!({"a": null}),
                json!({"a": null}),
            ),
            (json!({"a": [1, 2]}), json!({"a": []}), json!({"a": [1, 2]})),
            (
                json!({"a": [1, 2]}),
                json!({"a": [null]}),
                json!({"a": [null, 2]}),
            ),
            (
                json!({"a": {"b": 1}}),
                json!({"a": {}}),
                json!({"a": {"b": 1}}),
            ),
            (json!({"a": null}), json!({"a": {}}), json!({"a": {}})),
            (json!({"a": {"k": 1}}), json!({"a": [5]}), json!({"a": [5]})),
            (json!({"a": {"k": 1}}), json!({"a": []}), json!({"a": []})),
            (
                json!({"a": "s"}),
                json!({"a": {"b": 1}}),
                json!({"a": {"b": 1}}),
            ),
            (json!({"a": "s"}), json!({"a": "t"}), json!({"a": "t"})),
            (json!({"a": [1]}), json!({"a": "t"}), json!({"a": "t"})),
            (
                json!({"a": {"b": {"c": 1}}}),
                json!({"a": {"b": {"d": 2}}}),
                json!({"a": {"b": {"c": 1, "d": 2}}}),
            ),
            (
                json!({"z": 1}),
                json!({"y": {"b": [null, {"c": 1}]}}),
                json!({"z": 1, "y": {"b": [null, {"c": 1}]}}),
            ),
        ]);
    }

    #[test]
    fn an_object_with_indices_merges_into_an_array() {
        check(&[
            (
                json!({"a": [1, 2]}),
                json!({"a": {"0": 7, "k": 1}}),
                json!({"a": [7, 2]}),
            ),
            (
                json!({"a": [1]}),
                json!({"a": {"3": 7}}),
                json!({"a": [1, null, null, 7]}),
            ),
            (
                json!({"a": [1]}),
                json!({"a": {"01": 7, "-1": 7, "1.0": 7, "4294967295": 7}}),
                json!({"a": [1]}),
            ),
            (
                json!({"a": [{"b": 1}]}),
                json!({"a": {"0": {"c": 2}}}),
                json!({"a": [{"b": 1, "c": 2}]}),
            ),
            (json!([1, 2]), json!({"0": 7, "k": 1}), json!([7, 2])),
        ]);
    }

    #[test]
    fn a_whole_value_takes_what_it_can_hold() {
        check(&[
            (json!([1, 2, 3]), json!([9]), json!([9, 2, 3])),
            (json!([1]), json!([7, 8]), json!([7, 8])),
            (json!({"k": 1}), json!([5]), json!({"k": 1, "0": 5})),
            (json!("str"), json!({"a": 1}), json!("str")),
            (json!("str"), json!("other"), json!("str")),
            (json!(5), json!([1]), json!(5)),
            (json!(true), json!({"a": 1}), json!(true)),
            (json!(null), json!({"a": 1}), json!({"a": 1})),
            (json!(null), json!([5]), json!({"0": 5})),
            (json!({"a": 1}), json!(null), json!({"a": 1})),
            (json!({"a": 1}), json!(7), json!({"a": 1})),
            (
                json!({"a": 1}),
                json!("hi"),
                json!({"a": 1, "0": "h", "1": "i"}),
            ),
            (json!([1, 2, 3]), json!("hi"), json!(["h", "i", 3])),
        ]);
    }

    #[test]
    fn a_long_text_is_not_taken_to_pieces() {
        let long = Value::from("x".repeat(MOST_MADE + 1));
        for target in [json!({}), json!([]), json!(null)] {
            assert_eq!(merge(&mut target.clone(), long.clone()), Err(TooMany));
        }
        let mut scalar = json!("str");
        assert_eq!(merge(&mut scalar, long), Ok(()));
        assert_eq!(scalar, "str", "it takes none of it");
    }

    #[test]
    fn a_few_bytes_cannot_make_a_huge_array() {
        let mut target = json!({"a": [], "b": []});
        let source = json!({"a": {"4294967294": 1}});
        assert_eq!(merge(&mut target.clone(), source), Err(TooMany));
        let many = json!({"a": {"60000": 1}, "b": {"60000": 1}});
        assert_eq!(merge(&mut target, many), Err(TooMany), "of the whole value");
    }
}
