use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::options::MAX_DOCUMENT_BYTES;

proptest! {
    #[test]
    fn any_value_survives_conversion_storage_and_text(document in any_json()) {
        prop_assert!(identical(&to_value(&document).unwrap(), &document));
        let bytes = encode(&document).unwrap();
        prop_assert!(identical(&decode(&bytes).unwrap(), &document));
        let text: Value = serde_json::from_slice(&to_text(&document)).unwrap();
        prop_assert!(identical(&text, &document));
        prop_assert!(identical(&from_value::<Value>(document.clone()).unwrap(), &document));
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(document) = decode(&bytes) {
            let again = decode(&encode(&document).unwrap()).unwrap();
            prop_assert!(identical(&again, &document));
        }
    }

    #[test]
    fn every_finite_float_survives_bit_for_bit(float in any_finite(), single in finite_f32()) {
        let stored = decode(&encode(&to_value(&float).unwrap()).unwrap()).unwrap();
        prop_assert_eq!(stored.as_f64().unwrap().to_bits(), float.to_bits());
        prop_assert_eq!(to_value(&single).unwrap(), serde_json::to_value(single).unwrap());
        prop_assert_eq!(from_value::<f32>(to_value(&single).unwrap()).unwrap().to_bits(), single.to_bits());
    }
}

#[test]
fn numbers_keep_their_kind_and_take_their_shortest_form() {
    for (document, length) in [
        (json!(0), 1),
        (json!(127), 1),
        (json!(-32), 1),
        (json!(255), 2),
        (json!(-128), 2),
        (json!(65_535), 3),
        (json!(u64::from(u32::MAX)), 5),
        (json!(u64::MAX), 9),
        (json!(i64::MIN), 9),
        (json!(1.0), 9),
        (json!(-0.0), 9),
        (json!(f64::MIN_POSITIVE / 4.0), 9),
        (json!(f64::MAX), 9),
        (json!(null), 1),
        (json!({"z": 1, "a": {"y": true}, "": []}), 12),
    ] {
        let bytes = encode(&document).unwrap();
        assert_eq!(bytes.len(), length, "{document}");
        assert!(identical(&decode(&bytes).unwrap(), &document), "{document}");
    }
}

#[test]
fn bytes_that_are_no_document_are_refused() {
    let cases: [(&str, Vec<u8>); 15] = [
        ("nothing", vec![]),
        ("a second value", vec![0x01, 0x02]),
        ("an opened array behind the value", vec![0x01, 0x91]),
        ("an array without elements", vec![0x92, 0x01]),
        ("a map without values", vec![0x81, 0xa1, b'a']),
        (
            "a map that names a member twice",
            vec![0x82, 0xa1, b'a', 1, 0xa1, b'a', 2],
        ),
        ("a map with a number for a name", vec![0x81, 1, 2]),
        ("a map with bytes for a name", vec![0x81, 0xc4, 1, b'a', 2]),
        ("bytes", vec![0xc4, 1, b'a']),
        ("an extension", vec![0xd4, 1, 1]),
        ("a timestamp", vec![0xd6, 0xff, 0, 0, 0, 0]),
        ("text that is not UTF-8", vec![0xa1, 0xff]),
        ("the reserved marker", vec![0xc1]),
        ("NaN", [&[0xcb][..], &f64::NAN.to_be_bytes()].concat()),
        (
            "an infinity of 32 bits",
            [&[0xca][..], &f32::INFINITY.to_be_bytes()].concat(),
        ),
    ];
    for (what, bytes) in cases {
        assert!(decode(&bytes).is_err(), "{what} gave {:?}", decode(&bytes));
    }
}

#[test]
fn claimed_lengths_and_endless_nesting_cost_nothing() {
    for marker in [0xdd, 0xdf, 0xdb, 0xc6, 0xc9] {
        assert!(decode(&[marker, 0xff, 0xff, 0xff, 0xff, 0x01]).is_err());
    }
    for repeated in [&[0x91][..], &[0x81, 0xa0], &[0xdd, 0xff, 0xff, 0xff, 0xff]] {
        assert!(decode(&repeated.repeat(200_000)).is_err());
    }
}

#[test]
fn a_document_cut_anywhere_is_refused() {
    let document = json!({"name": "value", "list": [1, -70_000, 2.5, null, {"deep": [[]]}]});
    let bytes = encode(&document).unwrap();
    for length in 0..bytes.len() {
        assert!(
            decode(&bytes[..length]).is_err(),
            "the first {length} bytes"
        );
    }
}

#[test]
fn size_is_limited_to_the_byte() {
    // Five bytes tell the length of so long a text.
    let largest = Value::from("x".repeat(MAX_DOCUMENT_BYTES - 5));
    assert_eq!(encode(&largest).unwrap().len(), MAX_DOCUMENT_BYTES);
    let larger = Value::from("x".repeat(MAX_DOCUMENT_BYTES - 4));
    match encode(&larger) {
        Err(Error::TooLarge { limit, found, .. }) => assert_eq!(found, limit + 1),
        other => panic!("{:?}", other.map(|bytes| bytes.len())),
    }
}

#[test]
fn empty_objects_and_members_keep_their_names() {
    let document = Value::Object(Map::from_iter([
        (String::new(), json!({})),
        ("\0".into(), json!([])),
    ]));
    assert!(identical(
        &decode(&encode(&document).unwrap()).unwrap(),
        &document
    ));
}
