//! Merging one document into another.
//!
//! | target and source | result |
//! |---|---|
//! | two objects | the target's members in their places, each merged with the source's of the same name; then the source's others, in its order |
//! | two arrays | as [`Arrays`] says |
//! | anything else | the source |
//!
//! With [`Nulls::Remove`], `null` as the value of a source member removes the target's member and is never
//! stored, at whatever depth the new object comes in. A `null` in an array, or as the whole source, is a value.
//! Elements that an array gains whole, from [`Arrays::Replace`], [`Arrays::Append`] or [`Arrays::Union`], are
//! stored as they are, as RFC 7396 has it; with [`Arrays::ByIndex`] each is merged, onto nothing where the
//! target's array is shorter.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::error::Result;
use crate::json::check_depth;
use crate::options::{Arrays, MergeOptions, Nulls};

/// Merges `source` into `target`. The result is never deeper than the deeper of the two.
///
/// # Errors
/// `InvalidDocument` where either is nested too deeply; `target` is then as it was.
pub(crate) fn merge(target: &mut Value, source: Value, options: &MergeOptions) -> Result<()> {
    check_depth(target)?;
    check_depth(&source)?;
    merge_values(target, source, options);
    Ok(())
}

fn merge_values(target: &mut Value, source: Value, options: &MergeOptions) {
    match (target, source) {
        (Value::Object(target), Value::Object(source)) => merge_members(target, source, options),
        (Value::Array(target), Value::Array(source)) => merge_arrays(target, source, options),
        (target, source) => *target = onto_nothing(source, options),
    }
}

fn merge_members(
    target: &mut Map<String, Value>,
    source: Map<String, Value>,
    options: &MergeOptions,
) {
    let mut removed = HashSet::new();
    for (name, value) in source {
        if value.is_null() && options.nulls == Nulls::Remove {
            removed.insert(name);
        } else if let Some(present) = target.get_mut(&name) {
            merge_values(present, value, options);
        } else {
            target.insert(name, onto_nothing(value, options));
        }
    }
    // One pass for all: removing a member in order moves all that follow it.
    if !removed.is_empty() {
        target.retain(|name, _| !removed.contains(name));
    }
}

fn merge_arrays(target: &mut Vec<Value>, source: Vec<Value>, options: &MergeOptions) {
    match options.arrays {
        Arrays::ByIndex => merge_elements(target, source, options),
        Arrays::Replace => *target = source,
        Arrays::Append => target.extend(source),
        Arrays::Union => unite(target, source),
    }
}

fn merge_elements(target: &mut Vec<Value>, source: Vec<Value>, options: &MergeOptions) {
    let mut source = source.into_iter();
    for (present, value) in target.iter_mut().zip(source.by_ref()) {
        merge_values(present, value, options);
    }
    target.extend(source.map(|value| onto_nothing(value, options)));
}

/// Appends what `target` does not hold yet, each value once. Objects are equal whatever the order of their members.
fn unite(target: &mut Vec<Value>, source: Vec<Value>) {
    let mut held: HashSet<&Value> = target.iter().collect();
    let is_new: Vec<bool> = source.iter().map(|value| held.insert(value)).collect();
    let new = source.into_iter().zip(is_new);
    target.extend(new.filter_map(|(value, is_new)| is_new.then_some(value)));
}

/// What is stored of `source` where the target has nothing to merge it with.
fn onto_nothing(mut source: Value, options: &MergeOptions) -> Value {
    if options.nulls == Nulls::Remove {
        strip_nulls(&mut source, options.arrays);
    }
    source
}

fn strip_nulls(value: &mut Value, arrays: Arrays) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members
                .values_mut()
                .for_each(|value| strip_nulls(value, arrays));
        }
        Value::Array(elements) if arrays == Arrays::ByIndex => {
            elements
                .iter_mut()
                .for_each(|value| strip_nulls(value, arrays));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::error::Error;
    use crate::json::{any_json, nested};

    fn merged(target: &Value, source: &Value, options: &MergeOptions) -> Value {
        let mut result = target.clone();
        merge(&mut result, source.clone(), options).unwrap();
        result
    }

    /// Compares the texts too, so that the order of members counts.
    #[track_caller]
    fn check(options: &MergeOptions, cases: &[(Value, Value, Value)]) {
        for (target, source, expected) in cases {
            let result = merged(target, source, options);
            assert_eq!(&result, expected, "{target} + {source}");
            assert_eq!(
                result.to_string(),
                expected.to_string(),
                "{target} + {source}"
            );
        }
    }

    #[test]
    fn by_default_objects_merge_by_member_and_arrays_by_index() {
        check(
            &MergeOptions::new(),
            &[
                (
                    json!({"a": [1, 2, 3]}),
                    json!({"a": [9]}),
                    json!({"a": [9, 2, 3]}),
                ),
                (json!([1]), json!([7, 8]), json!([7, 8])),
                (
                    json!({"a": [{"x": 1}, {"y": 2}]}),
                    json!({"a": [{"z": 3}, {"y": 4}]}),
                    json!({"a": [{"x": 1, "z": 3}, {"y": 4}]}),
                ),
                (json!({"a": 1}), json!({"a": null}), json!({"a": null})),
                (
                    json!({"a": [1, 2]}),
                    json!({"a": [null]}),
                    json!({"a": [null, 2]}),
                ),
                (
                    json!({}),
                    json!({"a": {"b": null}}),
                    json!({"a": {"b": null}}),
                ),
                (json!({"a": [1, 2]}), json!({"a": []}), json!({"a": [1, 2]})),
                (
                    json!({"a": {"b": 1}}),
                    json!({"a": {}}),
                    json!({"a": {"b": 1}}),
                ),
                (json!({"a": 1}), json!({}), json!({"a": 1})),
                (
                    json!({"a": [1, 2]}),
                    json!({"a": {"0": 7}}),
                    json!({"a": {"0": 7}}),
                ),
                (json!({"a": {"k": 1}}), json!({"a": [5]}), json!({"a": [5]})),
                (json!({"a": {"k": 1}}), json!({"a": []}), json!({"a": []})),
                (
                    json!({"a": "s"}),
                    json!({"a": {"b": 1}}),
                    json!({"a": {"b": 1}}),
                ),
                (json!("s"), json!({"a": 1}), json!({"a": 1})),
                (json!({"a": 1}), json!(null), json!(null)),
                (json!(1), json!(1.5), json!(1.5)),
            ],
        );
    }

    #[test]
    fn members_keep_their_places_and_new_ones_follow_in_the_order_of_the_source() {
        check(
            &MergeOptions::new(),
            &[(
                json!({"z": 1, "m": 2, "a": 3}),
                json!({"y": 4, "a": 5, "b": 6, "z": 7}),
                json!({"z": 7, "m": 2, "a": 5, "y": 4, "b": 6}),
            )],
        );
        check(
            &MergeOptions::rfc7396(),
            &[(
                json!({"z": 1, "m": 2, "a": 3, "k": 4}),
                json!({"n": 5, "z": null, "a": null, "c": 6}),
                json!({"m": 2, "k": 4, "n": 5, "c": 6}),
            )],
        );
    }

    /// Appendix A of the RFC, all of it, and its example of section 3.
    #[test]
    fn rfc7396_is_the_rfc() {
        check(
            &MergeOptions::rfc7396(),
            &[
                (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
                (
                    json!({"a": "b"}),
                    json!({"b": "c"}),
                    json!({"a": "b", "b": "c"}),
                ),
                (json!({"a": "b"}), json!({"a": null}), json!({})),
                (
                    json!({"a": "b", "b": "c"}),
                    json!({"a": null}),
                    json!({"b": "c"}),
                ),
                (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
                (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
                (
                    json!({"a": {"b": "c"}}),
                    json!({"a": {"b": "d", "c": null}}),
                    json!({"a": {"b": "d"}}),
                ),
                (
                    json!({"a": [{"b": "c"}]}),
                    json!({"a": [1]}),
                    json!({"a": [1]}),
                ),
                (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
                (json!({"a": "b"}), json!(["c"]), json!(["c"])),
                (json!({"a": "foo"}), json!(null), json!(null)),
                (json!({"a": "foo"}), json!("bar"), json!("bar")),
                (
                    json!({"e": null}),
                    json!({"a": 1}),
                    json!({"e": null, "a": 1}),
                ),
                (
                    json!([1, 2]),
                    json!({"a": "b", "c": null}),
                    json!({"a": "b"}),
                ),
                (
                    json!({}),
                    json!({"a": {"bb": {"ccc": null}}}),
                    json!({"a": {"bb": {}}}),
                ),
                (
                    json!({"title": "Goodbye!", "author": {"givenName": "John", "familyName": "Doe"}, "tags": ["example", "sample"], "content": "This will be unchanged"}),
                    json!({"title": "Hello!", "phoneNumber": "+01-123-456-7890", "author": {"familyName": null}, "tags": ["example"]}),
                    json!({"title": "Hello!", "author": {"givenName": "John"}, "tags": ["example"], "content": "This will be unchanged", "phoneNumber": "+01-123-456-7890"}),
                ),
                (
                    json!({}),
                    json!({"a": [{"b": null}, null]}),
                    json!({"a": [{"b": null}, null]}),
                ),
            ],
        );
    }

    #[test]
    fn null_removes_members_only_and_stays_a_value_in_arrays() {
        let remove = MergeOptions::new().nulls(Nulls::Remove);
        check(
            &remove,
            &[
                (
                    json!([{"a": 1, "b": 2}, 3]),
                    json!([{"a": null}, null]),
                    json!([{"b": 2}, null]),
                ),
                (json!([]), json!([{"a": null}, null]), json!([{}, null])),
                (json!({}), json!({"l": [{"a": null}]}), json!({"l": [{}]})),
                (
                    json!({"a": null}),
                    json!({"b": 1}),
                    json!({"a": null, "b": 1}),
                ),
                (json!({"a": 1}), json!({"missing": null}), json!({"a": 1})),
            ],
        );
        for arrays in [Arrays::Append, Arrays::Union] {
            check(
                &remove.clone().arrays(arrays),
                &[
                    (
                        json!([1]),
                        json!([null, {"a": null}]),
                        json!([1, null, {"a": null}]),
                    ),
                    (
                        json!({}),
                        json!({"l": [{"a": null}]}),
                        json!({"l": [{"a": null}]}),
                    ),
                    (
                        json!({"a": 1}),
                        json!({"a": null, "b": {"c": null}}),
                        json!({"b": {}}),
                    ),
                ],
            );
        }
    }

    #[test]
    fn append_adds_all_and_union_what_is_new() {
        check(
            &MergeOptions::new().arrays(Arrays::Append),
            &[
                (
                    json!({"a": [1, 2]}),
                    json!({"a": [2, 3]}),
                    json!({"a": [1, 2, 2, 3]}),
                ),
                (json!([1]), json!([]), json!([1])),
            ],
        );
        check(
            &MergeOptions::new().arrays(Arrays::Union),
            &[
                (
                    json!({"a": [1, 2, 1]}),
                    json!({"a": [2, 3, 3]}),
                    json!({"a": [1, 2, 1, 3]}),
                ),
                (
                    json!([{"x": 1, "y": [2]}]),
                    json!([{"y": [2], "x": 1}, {"x": 1}]),
                    json!([{"x": 1, "y": [2]}, {"x": 1}]),
                ),
                (
                    json!([1, 0.0]),
                    json!([1.0, "1", -0.0]),
                    json!([1, 0.0, 1.0, "1"]),
                ),
                (json!({}), json!({"a": [1, 1]}), json!({"a": [1, 1]})),
            ],
        );
        check(
            &MergeOptions::new().arrays(Arrays::Replace),
            &[(json!({"a": [1, 2]}), json!({"a": []}), json!({"a": []}))],
        );
    }

    /// Quadratic work would take minutes here.
    #[test]
    fn large_merges_take_linear_time() {
        let numbers = |range: std::ops::Range<u32>| Value::from(range.collect::<Vec<_>>());
        let union = MergeOptions::new().arrays(Arrays::Union);
        assert_eq!(
            merged(&numbers(0..100_000), &numbers(50_000..150_000), &union),
            numbers(0..150_000)
        );
        let members = |value: &Value| {
            let members = (0..100_000).map(|number| (format!("{number}"), value.clone()));
            Value::Object(members.collect())
        };
        let emptied = merged(
            &members(&json!(1)),
            &members(&json!(null)),
            &MergeOptions::rfc7396(),
        );
        assert_eq!(emptied, json!({}));
    }

    #[test]
    fn depth_is_limited_on_both_sides_and_nothing_is_half_done() {
        let too_deep = |result| matches!(result, Err(Error::InvalidDocument { .. }));
        let mut target = nested(128);
        merge(&mut target, nested(128), &MergeOptions::new()).unwrap();
        assert_eq!(target, nested(128));
        assert!(too_deep(merge(
            &mut target,
            nested(129),
            &MergeOptions::new()
        )));
        assert_eq!(target, nested(128));
        assert!(too_deep(merge(
            &mut nested(129),
            json!(1),
            &MergeOptions::new()
        )));
    }

    /// The pseudocode of RFC 7396, section 2.
    fn reference(target: Option<Value>, patch: Value) -> Value {
        let Value::Object(patch) = patch else {
            return patch;
        };
        let mut target = match target {
            Some(Value::Object(target)) => target,
            _ => Map::new(),
        };
        for (name, value) in patch {
            let present = target.get(&name).cloned();
            if value.is_null() {
                target.shift_remove(&name);
            } else {
                target.insert(name, reference(present, value));
            }
        }
        Value::Object(target)
    }

    /// Few names, so that members meet.
    fn meeting() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(json!(null)), Just(json!(1)), Just(json!("s"))];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-d]", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_document_merged_into_itself_is_itself(document in any_json()) {
            for arrays in [Arrays::ByIndex, Arrays::Replace, Arrays::Union] {
                let options = MergeOptions::new().arrays(arrays);
                prop_assert_eq!(merged(&document, &document, &options), document.clone());
            }
        }

        #[test]
        fn merging_twice_is_merging_once(target in meeting(), source in meeting()) {
            for arrays in [Arrays::ByIndex, Arrays::Replace, Arrays::Union] {
                for nulls in [Nulls::Store, Nulls::Remove] {
                    let options = MergeOptions::new().arrays(arrays).nulls(nulls);
                    let once = merged(&target, &source, &options);
                    prop_assert_eq!(merged(&once, &source, &options), once);
                }
            }
        }

        #[test]
        fn an_empty_source_of_the_same_type_changes_nothing(document in any_json()) {
            let empty = match document {
                Value::Object(_) => json!({}),
                _ => json!([]),
            };
            if document.is_object() || document.is_array() {
                prop_assert_eq!(merged(&document, &empty, &MergeOptions::new()), document);
            }
        }

        #[test]
        fn rfc7396_does_what_the_pseudocode_does(target in meeting(), patch in meeting()) {
            let result = merged(&target, &patch, &MergeOptions::rfc7396());
            let expected = reference(Some(target), patch);
            prop_assert_eq!(result.to_string(), expected.to_string());
        }
    }
}
