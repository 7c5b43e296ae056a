//! The short way tells what the long one does, or nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use proptest::prelude::*;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_bytes::ByteBuf;
use serde_json::{Number, Value, json};

use super::super::{encode, from_value, typed};
use super::{any_json, identical, nested};
use crate::options::MAX_DOCUMENT_DEPTH;

fn bytes_of(value: &Value) -> Vec<u8> {
    encode(value).unwrap()
}

/// Whether there was an answer.
fn agree<T: DeserializeOwned + PartialEq + Debug>(value: &Value) -> bool {
    let long = from_value::<T>(value.clone()).ok();
    let short = typed::read::<T>(&bytes_of(value));
    assert!(
        short.is_none() || short == long,
        "{value}: {short:?}, {long:?}"
    );
    short.is_some()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Outside {
    Unit,
    New(u8),
    Pair(u8, String),
    Struct { a: Option<i8> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Inside {
    Unit,
    Struct { a: f32 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "of")]
enum Beside {
    Unit,
    New(Vec<u64>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(i64),
    Text(String),
    Struct { a: bool },
    Rest(Value),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped(Option<u32>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Narrow {
    a: u8,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Default)]
#[serde(default)]
struct Wide {
    a: Option<Value>,
    b: Option<Wrapped>,
    c: Option<(i16, f64)>,
    d: Option<char>,
    e: Option<HashMap<String, Outside>>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Swallows what does not fit, wherever in it that shows.
#[derive(Debug, PartialEq, Default, Deserialize)]
#[serde(default)]
struct Lenient {
    #[serde(deserialize_with = "or_default")]
    a: Vec<u8>,
    #[serde(deserialize_with = "or_default")]
    b: (u8, BTreeMap<String, u8>),
    c: Option<Value>,
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(T::deserialize(deserializer).unwrap_or_default())
}

fn all_agree(value: &Value) {
    agree::<Lenient>(value);
    agree::<Vec<((u8,), u8)>>(value);
    assert!(agree::<Value>(value));
    let taken = typed::read::<Value>(&bytes_of(value)).unwrap();
    assert!(identical(&taken, value));
    agree::<Option<Option<i32>>>(value);
    agree::<(u64, i128, u128)>(value);
    agree::<Vec<f32>>(value);
    agree::<Vec<Option<bool>>>(value);
    agree::<String>(value);
    agree::<char>(value);
    agree::<ByteBuf>(value);
    agree::<Number>(value);
    agree::<()>(value);
    agree::<Unit>(value);
    agree::<Wrapped>(value);
    agree::<Outside>(value);
    agree::<Inside>(value);
    agree::<Beside>(value);
    agree::<Untagged>(value);
    agree::<Narrow>(value);
    agree::<Wide>(value);
    agree::<Vec<Outside>>(value);
    agree::<HashMap<String, Wide>>(value);
    agree::<BTreeMap<u32, Value>>(value);
    agree::<BTreeMap<i64, Value>>(value);
    agree::<BTreeMap<bool, Value>>(value);
    agree::<BTreeMap<char, Value>>(value);
    assert!(typed::read::<IgnoredAny>(&bytes_of(value)).is_some());
}

proptest! {
    #[test]
    fn on_any_document(value in any_json()) {
        all_agree(&value);
    }

    #[test]
    fn on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let short = typed::read::<Value>(&bytes);
        let long = super::super::decode(&bytes).ok();
        // A member that occurs twice, the long way refuses.
        prop_assert!(short.is_none() || long.is_none() || short == long);
        let _ = typed::read::<IgnoredAny>(&bytes);
    }
}

#[test]
fn on_what_types_are_made_of() {
    let documents = [
        json!("Unit"),
        json!({"New": 7}),
        json!({"New": 700}),
        json!({"Pair": [1, "x"]}),
        json!({"Pair": []}),
        json!({"Struct": {"a": null}}),
        json!({"Struct": {"a": -3}, "New": 1}),
        json!({"kind": "Unit"}),
        json!({"kind": "Struct", "a": 1.5}),
        json!({"kind": "New", "of": [1, 2]}),
        json!({"a": true}),
        json!({"a": 3}),
        json!({"a": 3, "b": 4}),
        json!({"a": [1], "b": 9, "c": [1, 2.5], "d": "x", "e": {"y": "Unit"}, "f": {"g": 1}}),
        json!({"a": [1, "b", 2], "b": [1, {}], "c": 3}),
        json!({"a": ["b"], "b": [1, {"c": "x"}], "c": 3}),
        json!({"a": "x", "b": [1, {"y": 300, "c": 5}], "c": [3]}),
        json!({"b": [1, {}, 2], "a": [], "c": 3}),
        json!([[[1, 2], 3], 4]),
        json!([[[1, 2]], 3]),
        json!({"1": 1, "-2": 2}),
        json!({"true": 1}),
        json!({"x": 1}),
        json!([1, 2, 3]),
        json!([1, 2]),
        json!([u64::MAX, i64::MIN, 1e300]),
        json!("x".repeat(300)),
        json!(vec![1; 300]),
        json!(
            (0..300)
                .map(|n| (n.to_string(), n))
                .collect::<BTreeMap<_, _>>()
        ),
        nested(MAX_DOCUMENT_DEPTH),
    ];
    documents.iter().for_each(all_agree);
    // What is common goes the short way.
    assert!(agree::<Wide>(
        &json!({"a": [1], "b": 9, "c": [1, 2.5], "d": "x", "f": {"g": 1}})
    ));
    assert!(agree::<Outside>(&json!("Unit")));
    assert!(agree::<Inside>(&json!({"kind": "Struct", "a": 1.5})));
    assert!(agree::<HashMap<String, Vec<u8>>>(
        &json!({"x": [1, 2], "y": []})
    ));
}

#[test]
fn on_what_nobody_wrote() {
    let whole = bytes_of(&json!({"a": [1, "two", 3.5, null, {"b": -1000}]}));
    for length in 0..whole.len() {
        assert!(typed::read::<Value>(&whole[..length]).is_none(), "{length}");
    }
    assert!(typed::read::<Value>(&[&whole[..], &[0xc0]].concat()).is_none());
    // One level more than there may be; a length without bytes; an infinity; bytes that are no text.
    let deep = [vec![0x91; MAX_DOCUMENT_DEPTH + 1], vec![0xc0]].concat();
    let infinite = [&[0xcb][..], &f64::INFINITY.to_be_bytes()].concat();
    for bytes in [
        &deep[..],
        &[0xdc, 0xff, 0xff],
        &infinite,
        &[0xa1, 0xff],
        &[0xc4, 0],
    ] {
        assert!(typed::read::<Value>(bytes).is_none(), "{bytes:?}");
        assert!(typed::read::<IgnoredAny>(bytes).is_none(), "{bytes:?}");
    }
}

/// Neither what is missing at its end nor, in its place, what stands behind it.
#[test]
fn an_array_that_claims_more_than_is_taken_is_not_read() {
    assert!(typed::read::<(u8,)>(&[0x91, 1]).is_some());
    assert!(typed::read::<(u8,)>(&[0x92, 1]).is_none());
    assert!(typed::read::<((u8,), u8)>(&[0x92, 0x92, 1, 7]).is_none());
}
