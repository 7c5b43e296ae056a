mod decode;
mod encode;
mod patch;
mod text;
mod typed;
mod unruly;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

use super::*;

/// Any JSON value: every kind of number, any text, names that repeat and names that do not.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-200..70_000i64).prop_map(Value::from),
        any_finite().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        let name = prop_oneof!["[a-e~/0-9]{0,2}", any::<String>()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_finite() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    prop_oneof![
        NORMAL | SUBNORMAL | ZERO | POSITIVE | NEGATIVE,
        (-9..9i32).prop_map(f64::from)
    ]
}

/// A value of exactly this depth, of arrays and objects in turn.
pub(crate) fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, level| match level % 2 {
        0 => json!([inner]),
        _ => json!({ "a": inner }),
    })
}

/// Equal to the last bit, and with members in the same order.
fn identical(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            let floats = left.is_f64() && right.is_f64();
            let bits = |number: &serde_json::Number| number.as_f64().unwrap().to_bits();
            left == right && (!floats || bits(left) == bits(right))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| identical(l, r))
        }
        (Value::Object(left), Value::Object(right)) => {
            let same = |((ln, lv), (rn, rv))| ln == rn && identical(lv, rv);
            left.len() == right.len() && left.iter().zip(right).all(same)
        }
        _ => left == right,
    }
}

#[track_caller]
fn reason<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::InvalidDocument { reason }) => reason,
        other => panic!("{other:?} is not an invalid document"),
    }
}

fn finite_f32() -> impl Strategy<Value = f32> {
    any::<f32>().prop_filter("finite", |float| float.is_finite())
}

#[test]
fn depth_is_counted_the_same_everywhere() {
    assert!(check_depth(&json!(1)).is_ok());
    for depth in [0, 1, 2, 127, 128] {
        let document = nested(depth);
        check_depth(&document).unwrap();
        assert_eq!(to_value(&document).unwrap(), document);
        assert_eq!(decode(&encode(&document).unwrap()).unwrap(), document);
    }
    for document in [
        nested(129),
        (0..128).fold(json!([]), |inner, _| json!([inner])),
    ] {
        assert!(reason(check_depth(&document)).contains("deeper than 128"));
        assert!(reason(to_value(&document)).contains("deeper than 128"));
        assert!(reason(encode(&document)).contains("deeper than 128"));
        let foreign = rmp_serde::to_vec(&document).unwrap();
        assert!(decode(&foreign).unwrap_err().contains("deeper than 128"));
    }
}

#[test]
fn a_type_that_does_not_fit_is_told_with_what_it_met() {
    #[derive(Debug, Deserialize)]
    struct Settings {
        #[expect(dead_code, reason = "only asked for")]
        size: u8,
    }
    let said = |document| reason(from_value::<Settings>(document));
    assert_eq!(
        said(json!({"size": "big"})),
        "invalid type: string \"big\", expected u8"
    );
    assert_eq!(said(json!({})), "missing field `size`");
    assert!(said(json!({"size": "x".repeat(100_000)})).len() < 1000);
}

#[test]
fn text_is_compact_and_in_order() {
    let document = json!({"z": 1.0, "a": [null, "\u{1}é\""]});
    assert_eq!(
        to_text(&document),
        r#"{"z":1.0,"a":[null,"\u0001é\""]}"#.as_bytes()
    );
}

/// The examples of RFC 6901, section 5, and what is not a pointer.
#[test]
fn pointers_are_those_of_the_rfc() {
    let document = json!({"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8});
    for (text, expected) in [
        ("", Some(document.clone())),
        ("/foo", Some(json!(["bar", "baz"]))),
        ("/foo/0", Some(json!("bar"))),
        ("/", Some(json!(0))),
        ("/a~1b", Some(json!(1))),
        ("/c%d", Some(json!(2))),
        ("/i\\j", Some(json!(5))),
        ("/k\"l", Some(json!(6))),
        ("/ ", Some(json!(7))),
        ("/m~0n", Some(json!(8))),
        ("/foo/2", None),
        ("/foo/-", None),
        ("/foo/00", None),
        ("/foo/+1", None),
        ("/foo/99999999999999999999999", None),
        ("/foo/0/x", None),
        ("/bar", None),
    ] {
        assert_eq!(
            take_at(&mut document.clone(), text).unwrap(),
            expected,
            "{text}"
        );
    }
    for text in ["foo", "foo/0", "/m~n", "/m~", "/~2", "/~~0"] {
        assert!(
            reason(take_at(&mut document.clone(), text)).contains("not a JSON pointer"),
            "{text}"
        );
    }
}
