//! Types that serialize in ways nobody would choose.

use std::collections::BTreeMap;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::json;
use serde_json::value::RawValue;

use super::*;

/// Gives its members as they are listed, and of their number what it is told.
struct Listed(Option<usize>, &'static [(&'static str, i64)]);

impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(self.0)?;
        for (name, value) in self.1 {
            map.serialize_entry(name, &[value])?;
        }
        map.end()
    }
}

#[test]
fn of_a_name_given_twice_the_last_value_takes_the_first_place() {
    let listed = Listed(
        None,
        &[
            ("b", 1),
            ("aa", 2),
            ("b", 3),
            ("", 4),
            ("a", 5),
            ("", 300),
            ("b", 6),
        ],
    );
    let expected = json!({"b": [6], "aa": [2], "": [300], "a": [5]});
    assert_eq!(encode(&listed).unwrap(), encode(&expected).unwrap());
    let around = to_value(&[(1, &listed, "after")]).unwrap();
    assert!(
        identical(&around, &json!([[1, expected, "after"]])),
        "{around}"
    );
    assert!(identical(
        &around[0][1],
        &serde_json::to_value(&listed).unwrap()
    ));
}

#[test]
fn a_length_is_counted_whatever_was_claimed() {
    struct Counted(Option<usize>, u32);
    impl Serialize for Counted {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut seq = serializer.serialize_seq(self.0)?;
            for number in 0..self.1 {
                seq.serialize_element(&number)?;
            }
            seq.end()
        }
    }
    for claimed in [
        None,
        Some(0),
        Some(15),
        Some(16),
        Some(65_536),
        Some(usize::MAX),
    ] {
        for count in [0, 1, 15, 16, 65_535, 65_536] {
            let list: Vec<_> = (0..count).collect();
            let bytes = encode(&("before", Counted(claimed, count))).unwrap();
            assert_eq!(bytes, encode(&json!(["before", list])).unwrap());
            assert_eq!(decode(&bytes).unwrap(), json!(["before", list]));
        }
        let members = [("a", 1), ("b", 2)];
        let bytes = encode(&Listed(claimed, const { &[("a", 1), ("b", 2)] })).unwrap();
        assert_eq!(
            decode(&bytes).unwrap(),
            json!({members[0].0: [1], members[1].0: [2]})
        );
    }
    let many: serde_json::Map<_, _> = (0..70_000).map(|n| (n.to_string(), json!(n))).collect();
    let many = Value::Object(many);
    assert!(identical(&decode(&encode(&many).unwrap()).unwrap(), &many));
}

#[test]
fn a_value_is_serialized_once() {
    struct Once(std::cell::RefCell<Option<Vec<f64>>>);
    impl Serialize for Once {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(self.0.take().expect("only once").iter().filter(|_| true))
        }
    }
    let once = |list: &[f64]| Once(Some(list.to_vec()).into());
    assert_eq!(to_value(&once(&[1.5])).unwrap(), json!([1.5]));
    assert!(reason(to_value(&once(&[1.5, f64::NAN]))).ends_with("at `/1`"));
}

#[test]
fn of_what_a_type_gives_up_itself_nothing_is_left() {
    /// Leaves out what cannot be written.
    struct Forgiving;
    impl Serialize for Forgiving {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let bad = (
                1,
                json!({"b": "c"}),
                BTreeMap::from([("d", 1.5), ("e", f64::NAN)]),
            );
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("kept", &1)?;
            map.serialize_entry("bad", &bad).unwrap_err();
            map.serialize_key("without a value")?;
            map.serialize_key(&bad).unwrap_err();
            map.serialize_key(&Regretted).unwrap_err();
            map.serialize_value(&1).unwrap_err();
            let told = map.serialize_entry("last", &[f64::NAN]).unwrap_err();
            assert_eq!(told.to_string(), "NaN is not a JSON number");
            map.serialize_entry(&7, &List)?;
            map.serialize_key("at the end")?;
            map.end()
        }
    }
    /// Thinks better of it once it is written.
    struct Regretted;
    impl Serialize for Regretted {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str("regretted")?;
            Err(serde::ser::Error::custom("no"))
        }
    }
    struct List;
    impl Serialize for List {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut seq = serializer.serialize_seq(None)?;
            seq.serialize_element(&("x", f64::NAN)).unwrap_err();
            seq.serialize_element(&2)?;
            seq.end()
        }
    }
    let expected = json!([{"kept": 1, "7": [2]}, {"after": [2]}]);
    let value = to_value(&(Forgiving, BTreeMap::from([("after", List)]))).unwrap();
    assert_eq!(value, expected);
    assert!(reason(to_value(&(Forgiving, f64::NAN))).ends_with("at `/1`"));
}

#[test]
fn an_error_is_not_told_where_one_was_that_a_type_has_made_up_for() {
    /// Makes up for a bad value, and fails with what comes for a key.
    struct Keys;
    impl Serialize for Keys {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("bad", &[(1, f64::NAN)]).unwrap_err();
            map.serialize_entry(&[1], &1)?;
            map.end()
        }
    }
    assert_eq!(reason(encode(&[Keys])), "key must be a string, at `/0`");
    /// As before, and what fails is a value without a key.
    struct Values;
    impl Serialize for Values {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("bad", &[(1, f64::NAN)]).unwrap_err();
            map.serialize_value(&1)?;
            map.end()
        }
    }
    assert_eq!(
        reason(encode(&[Values])),
        "a value comes without a key, at `/0`"
    );
}

#[test]
fn names_are_written_as_serde_json_writes_them() {
    #[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
    struct Wrapped(u16);
    #[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
    enum Choice {
        #[serde(rename = "2nd")]
        Second,
    }
    fn same<K: Serialize + Ord>(key: K) {
        let map = BTreeMap::from([(key, [1])]);
        assert_eq!(to_value(&map).unwrap(), serde_json::to_value(&map).unwrap());
    }
    same(i8::MIN);
    same(u8::MAX);
    same(i128::MIN);
    same(u128::MAX);
    same('\u{10ffff}');
    same(false);
    same(std::num::Wrapping(7));
    same(Wrapped(7));
    same(Choice::Second);
    struct Float<F>(F);
    impl<F: Serialize + Copy> Serialize for Float<F> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map([(self.0, 1)])
        }
    }
    fn same_float<F: Serialize + Copy>(float: F) {
        let map = Float(float);
        assert_eq!(to_value(&map).unwrap(), serde_json::to_value(&map).unwrap());
    }
    for float in [0.1, -0.0, 1e300, 1e-7, 100.0, f64::MIN_POSITIVE] {
        same_float(float);
    }
    for float in [0.1_f32, 1e30, 1e-7, 16_777_216.0] {
        same_float(float);
    }
    assert_eq!(
        reason(to_value(&Float(f32::INFINITY))),
        "float key must be finite"
    );
    assert_eq!(
        reason(to_value(&Float(f64::NAN))),
        "float key must be finite"
    );
}

/// As with a flattened map that has a field's name, in each element of a list. A copy of what comes before, for each of
/// them, would take half an hour.
#[test]
fn names_given_twice_in_many_objects_take_linear_time() {
    let before = "x".repeat(32 * 1024 * 1024);
    let list: Vec<_> = (0..100_000)
        .map(|_| Listed(Some(2), const { &[("a", 1), ("a", 2)] }))
        .collect();
    let value = to_value(&(before, &list)).unwrap();
    assert_eq!(value[1].as_array().unwrap().len(), list.len());
    assert_eq!(value[1][99_999], json!({"a": [2]}));
}

#[test]
fn raw_json_is_taken_for_what_it_says_and_counted() {
    let raw = |text: String| RawValue::from_string(text).unwrap();
    let text = r#"{"x": [1, 2.5, {"y": "z"}], "x": null}"#;
    let document = to_value(&(1, raw(text.to_owned()))).unwrap();
    assert!(identical(&document, &json!([1, {"x": null}])), "{document}");
    let deep = |levels: usize| raw("[".repeat(levels) + &"]".repeat(levels));
    encode(&[deep(127)]).unwrap();
    assert!(reason(encode(&[[deep(127)]])).contains("deeper than 128"));
}

/// Has the name by which `serde_json` knows its own, and is not one of them.
#[test]
fn who_takes_the_name_of_another_is_refused() {
    #[derive(Serialize)]
    #[serde(rename = "$serde_json::private::RawValue")]
    struct Fake<T> {
        #[serde(rename = "$serde_json::private::RawValue")]
        field: T,
    }
    /// Is within itself without end.
    struct Endless;
    impl Serialize for Endless {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            Fake { field: [Endless] }.serialize(serializer)
        }
    }
    #[derive(Serialize)]
    #[serde(rename = "$serde_json::private::RawValue")]
    struct Empty {}
    #[derive(Serialize)]
    #[serde(rename = "$serde_json::private::RawValue")]
    struct Twice {
        #[serde(rename = "$serde_json::private::RawValue")]
        field: &'static str,
        #[serde(rename = "$serde_json::private::RawValue")]
        other: &'static str,
    }
    #[derive(Serialize)]
    #[serde(rename = "$serde_json::private::RawValue")]
    struct Misnamed {
        field: &'static str,
    }
    reason(encode(&Fake { field: 1.5..2.5 }));
    reason(encode(&Fake { field: "no JSON" }));
    reason(encode(&Endless));
    assert!(reason(encode(&[Empty {}])).contains("is none of them"));
    let twice = Twice {
        field: "1",
        other: "2",
    };
    assert!(reason(encode(&twice)).contains("is none of them"));
    let misnamed = Misnamed { field: "1" };
    assert!(reason(encode(&misnamed)).contains("is none of them"));
}
