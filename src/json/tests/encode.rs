use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::ser::{SerializeMap, SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::json;

use super::*;
use crate::options::MAX_DOCUMENT_BYTES;

#[derive(Debug, Clone, Serialize)]
struct Unit;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Newtype(u16);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
enum Name {
    First,
    #[serde(rename = "2nd")]
    Second,
}

#[derive(Debug, Clone, Serialize)]
enum External {
    Unit,
    Newtype(f32),
    Tuple(i8, Option<char>),
    Struct { a: u8, b: Box<External> },
}

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type")]
enum Internal {
    Unit,
    Newtype(BTreeMap<String, f64>),
    Struct { deep: External },
}

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", content = "content")]
enum Adjacent {
    Unit,
    Newtype(Newtype),
    Tuple(f32, u64),
}

#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
enum Untagged {
    Number(i128),
    Text(String),
    Json(Value),
}

#[derive(Debug, Clone, Serialize)]
struct Flat {
    x: f64,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Zoo {
    unit: (),
    unit_struct: Unit,
    bool_keys: BTreeMap<bool, f32>,
    integer_keys: BTreeMap<i64, Newtype>,
    wide_keys: BTreeMap<u128, ()>,
    char_keys: BTreeMap<char, Option<Option<u8>>>,
    name_keys: BTreeMap<Name, i32>,
    newtype_keys: BTreeMap<Newtype, Name>,
    address: std::net::IpAddr,
    time: std::time::Duration,
    tuple: (i8, i16, u32, u64),
    wide: (u128, i128),
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<f64>,
    external: Vec<External>,
    internal: Vec<Internal>,
    adjacent: Vec<Adjacent>,
    untagged: Vec<Untagged>,
    flat: Flat,
    json: Value,
}

fn external() -> impl Strategy<Value = External> {
    let leaf = prop_oneof![
        Just(External::Unit),
        finite_f32().prop_map(External::Newtype),
        any::<(i8, Option<char>)>().prop_map(|(a, b)| External::Tuple(a, b)),
    ];
    leaf.prop_recursive(3, 8, 1, |inner| {
        (any::<u8>(), inner).prop_map(|(a, b)| External::Struct { a, b: Box::new(b) })
    })
}

fn variants() -> impl Strategy<Value = (Vec<External>, Vec<Internal>, Vec<Adjacent>, Vec<Untagged>)>
{
    let map = prop::collection::btree_map(any::<String>(), any_finite(), 0..3);
    let internal = prop_oneof![
        Just(Internal::Unit),
        map.prop_map(Internal::Newtype),
        external().prop_map(|deep| Internal::Struct { deep }),
    ];
    let adjacent = prop_oneof![
        Just(Adjacent::Unit),
        any::<u16>().prop_map(|number| Adjacent::Newtype(Newtype(number))),
        (finite_f32(), any::<u64>()).prop_map(|(a, b)| Adjacent::Tuple(a, b)),
    ];
    let untagged = prop_oneof![
        any::<i64>().prop_map(|number| Untagged::Number(number.into())),
        any::<u64>().prop_map(|number| Untagged::Number(number.into())),
        any::<String>().prop_map(Untagged::Text),
        any_json().prop_map(Untagged::Json),
    ];
    use proptest::collection::vec;
    (
        vec(external(), 0..3),
        vec(internal, 0..3),
        vec(adjacent, 0..3),
        vec(untagged, 0..3),
    )
}

fn maps() -> impl Strategy<Value = Zoo> {
    use proptest::collection::btree_map as map;
    (
        map(any::<bool>(), finite_f32(), 0..3),
        map(any::<i64>(), any::<u16>().prop_map(Newtype), 0..3),
        map(any::<u128>(), Just(()), 0..3),
        map(any::<char>(), any::<Option<Option<u8>>>(), 0..3),
        map(
            prop_oneof![Just(Name::First), Just(Name::Second)],
            any::<i32>(),
            0..3,
        ),
        map(
            any::<u16>().prop_map(Newtype),
            prop_oneof![Just(Name::First), Just(Name::Second)],
            0..3,
        ),
        any::<[u8; 4]>(),
        any::<(i8, i16, u32, u64)>(),
        any::<(u64, i64)>(),
        prop::option::of(any_finite()),
        map(any::<String>(), any_json(), 0..3),
    )
        .prop_map(|values| Zoo {
            unit: (),
            unit_struct: Unit,
            bool_keys: values.0,
            integer_keys: values.1,
            wide_keys: values.2,
            char_keys: values.3,
            name_keys: values.4,
            newtype_keys: values.5,
            address: values.6.into(),
            time: std::time::Duration::from_micros(values.8.0),
            tuple: values.7,
            wide: (values.8.0.into(), values.8.1.into()),
            skipped: values.9,
            external: vec![],
            internal: vec![],
            adjacent: vec![],
            untagged: vec![],
            flat: Flat {
                x: 0.5,
                rest: values.10,
            },
            json: json!(null),
        })
}

fn zoo() -> impl Strategy<Value = Zoo> {
    (maps(), variants(), any_json()).prop_map(
        |(zoo, (external, internal, adjacent, untagged), json)| Zoo {
            external,
            internal,
            adjacent,
            untagged,
            json,
            ..zoo
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_type_converts_as_serde_json_converts_it(zoo in zoo()) {
        let expected = serde_json::to_value(&zoo).unwrap();
        let value = to_value(&zoo).unwrap();
        prop_assert!(identical(&value, &expected), "{value} is not {expected}");
    }
}

#[test]
fn what_json_cannot_hold_is_an_error_that_says_where() {
    #[derive(Serialize)]
    struct Outer<T> {
        list: Vec<BTreeMap<&'static str, T>>,
    }
    fn inside<T: Serialize + Clone>(bad: &T) -> String {
        let list = vec![BTreeMap::new(), BTreeMap::from([("a/b~", bad.clone())])];
        let direct = reason(to_value(bad));
        let located = reason(to_value(&Outer { list }));
        assert_eq!(located, format!("{direct}, at `/list/1/a~1b~0`"));
        direct
    }
    assert_eq!(inside(&f64::NAN), "NaN is not a JSON number");
    assert_eq!(inside(&f32::NAN), "NaN is not a JSON number");
    assert_eq!(inside(&f64::INFINITY), "inf is not a JSON number");
    assert_eq!(inside(&f32::NEG_INFINITY), "-inf is not a JSON number");
    assert_eq!(
        inside(&serde_bytes::ByteBuf::from(vec![1])),
        "JSON has no byte strings"
    );
    assert_eq!(
        inside(&BTreeMap::from([((1, 2), 3)])),
        "key must be a string"
    );
    assert_eq!(
        inside(&BTreeMap::from([(None::<u8>, 3)])),
        "key must be a string"
    );
    assert_eq!(inside(&u128::MAX), "the integer is beyond 64 bits");
    assert_eq!(inside(&i128::MIN), "the integer is beyond 64 bits");
}

#[test]
fn the_place_goes_through_variants_wrappers_and_keys_of_every_kind() {
    #[derive(Serialize)]
    enum Shape {
        Newtype(f64),
        Tuple(u8, f64),
        Struct { x: Option<f64> },
    }
    #[derive(Serialize)]
    struct Pair((), Shape);
    let place = |shape| reason(to_value(&BTreeMap::from([(7u8, Pair((), shape))])));
    assert!(place(Shape::Newtype(f64::NAN)).ends_with("at `/7/1/Newtype`"));
    assert!(place(Shape::Tuple(1, f64::NAN)).ends_with("at `/7/1/Tuple/1`"));
    assert!(place(Shape::Struct { x: Some(f64::NAN) }).ends_with("at `/7/1/Struct/x`"));

    /// Gives the key apart from the value.
    struct Apart;
    impl Serialize for Apart {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_key(&true)?;
            map.serialize_value(&1)?;
            map.serialize_key("k")?;
            map.serialize_value(&f64::NAN)?;
            map.end()
        }
    }
    assert!(reason(to_value(&[Apart])).ends_with("at `/0/k`"));
}

#[test]
fn human_readable_forms_are_used() {
    let address: std::net::IpAddr = "127.0.0.1".parse().unwrap();
    assert_eq!(to_value(&address).unwrap(), json!("127.0.0.1"));
}

/// The ways in which a type can nest, without a value that must be built and dropped.
#[derive(Clone, Copy)]
enum Way {
    Seq,
    Tuple,
    Map,
    Struct,
    NewtypeVariant,
    TupleVariant,
    StructVariant,
    Some,
    NewtypeStruct,
}

struct Nesting(Way, usize);

impl Serialize for Nesting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{SerializeStructVariant, SerializeTuple, SerializeTupleVariant};
        let Nesting(way, depth) = *self;
        let Some(inner) = depth.checked_sub(1).map(|depth| Nesting(way, depth)) else {
            return serializer.serialize_u8(1);
        };
        match way {
            Way::Seq => {
                let mut seq = serializer.serialize_seq(Some(1))?;
                seq.serialize_element(&inner)?;
                seq.end()
            }
            Way::Tuple => {
                let mut tuple = serializer.serialize_tuple(1)?;
                tuple.serialize_element(&inner)?;
                tuple.end()
            }
            Way::Map => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("a", &inner)?;
                map.end()
            }
            Way::Struct => {
                let mut fields = serializer.serialize_struct("N", 1)?;
                fields.serialize_field("a", &inner)?;
                fields.end()
            }
            Way::NewtypeVariant => serializer.serialize_newtype_variant("N", 0, "v", &inner),
            Way::TupleVariant => {
                let mut tuple = serializer.serialize_tuple_variant("N", 0, "v", 1)?;
                tuple.serialize_field(&inner)?;
                tuple.end()
            }
            Way::StructVariant => {
                let mut fields = serializer.serialize_struct_variant("N", 0, "v", 1)?;
                fields.serialize_field("a", &inner)?;
                fields.end()
            }
            Way::Some => serializer.serialize_some(&inner),
            Way::NewtypeStruct => serializer.serialize_newtype_struct("N", &inner),
        }
    }
}

#[test]
fn nesting_ends_at_the_limit_and_never_at_the_end_of_the_stack() {
    use Way::*;
    for (way, deepest) in [
        (Seq, 128),
        (Tuple, 128),
        (Map, 128),
        (Struct, 128),
        (NewtypeVariant, 128),
        (TupleVariant, 64),
        (StructVariant, 64),
        (Some, 256),
        (NewtypeStruct, 256),
    ] {
        let nesting = Nesting(way, deepest);
        assert_eq!(
            to_value(&nesting).unwrap(),
            serde_json::to_value(&nesting).unwrap()
        );
        for depth in [deepest + 1, 100_000] {
            let reason = reason(encode(&Nesting(way, depth)));
            assert!(reason.contains("nested deeper than 128") || reason.contains("wrapped more"));
            assert!(reason.len() < 1000);
        }
    }
    /// A map whose only key is wrapped so often.
    struct Key(usize);
    impl Serialize for Key {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map([(Nesting(Way::NewtypeStruct, self.0), ())])
        }
    }
    assert_eq!(to_value(&Key(256)).unwrap(), json!({"1": null}));
    assert!(reason(encode(&Key(100_000))).contains("wrapped more"));
}

proptest! {
    #[test]
    fn what_is_written_is_what_a_value_of_it_writes(zoo in zoo()) {
        prop_assert_eq!(encode(&zoo).unwrap(), encode(&serde_json::to_value(&zoo).unwrap()).unwrap());
    }
}

/// A stream that is too large is not written to its end first.
#[test]
fn what_grows_too_large_is_stopped_there() {
    const COUNT: u32 = 400_000;
    struct Stream<'a> {
        given: &'a Cell<u32>,
        makes_up: bool,
    }
    impl Serialize for Stream<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let text = "x".repeat(1024);
            let mut sequence = serializer.serialize_seq(None)?;
            for number in 0..COUNT {
                self.given.set(number);
                match sequence.serialize_element(&text) {
                    Err(_) if self.makes_up => {}
                    given => given?,
                }
            }
            sequence.end()
        }
    }
    let given = Cell::new(0);
    let stream = |makes_up| Stream {
        given: &given,
        makes_up,
    };
    let is_too_large = |found: Result<Vec<u8>, Error>| matches!(found, Err(Error::TooLarge { limit, found, .. }) if found > limit);
    assert!(is_too_large(encode(&[("a", stream(false))])));
    assert!((65_000..66_000).contains(&given.get()), "{}", given.get());
    // Nor is it stored without what was left out.
    assert!(is_too_large(encode(&stream(true))));
    assert!(is_too_large(encode(&["x".repeat(MAX_DOCUMENT_BYTES + 1)])));
    let names = BTreeMap::from([("x".repeat(MAX_DOCUMENT_BYTES), 1)]);
    assert!(is_too_large(encode(&names)));
}
