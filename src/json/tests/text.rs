use serde_json::json;
use serde_json::value::RawValue;

use super::*;
use crate::json::text::parse_within;

const MOST: usize = crate::options::MAX_DOCUMENT_DEPTH;

fn brackets(levels: usize) -> String {
    "[".repeat(levels) + &"]".repeat(levels)
}

/// A text within a text within a text: `serde_json` parses each of them anew, where its feature `raw_value` is on, as it
/// is here.
fn texts_within_texts(times: usize) -> String {
    let levels = MOST - 2;
    (0..times).fold("1".to_owned(), |inner, _| {
        let inner = inner.replace('\\', r"\u005c").replace('"', r"\u0022");
        let (opened, closed) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"{opened}{{"{RAW_VALUE}":"{inner}"}}{closed}"#)
    })
}

#[test]
fn levels_are_counted_and_brackets_in_strings_are_none() {
    for text in [
        brackets(MOST),
        format!(r#"["{}\"["]"#, "[{".repeat(MOST)),
        format!(r#"["\\", {}]"#, brackets(MOST - 1)),
        r#"{"a":"#.repeat(MOST) + "1.5" + &"}".repeat(MOST),
        format!("[{}]", vec![brackets(MOST - 1); 3].join(",")),
    ] {
        assert!(parse_json(text).is_ok());
    }
    for text in [
        brackets(MOST + 1),
        r#"{"a":"#.repeat(MOST + 1) + "1" + &"}".repeat(MOST + 1),
        format!("[[], {}]", brackets(MOST)),
        "[".repeat(1_000_000),
        r#"{"":"#.repeat(1_000_000),
    ] {
        assert!(reason(parse_json(text)).contains("deeper than 128"));
    }
}

#[test]
fn more_values_than_a_document_may_have_are_not_made() {
    for (text, values) in [("[0,0,0]", 4), (r#"{"a": {"b": [null]}}"#, 4), ("1", 1)] {
        assert!(parse_within(text.as_bytes(), values).is_ok());
        let refused = parse_within(text.as_bytes(), values - 1).unwrap_err();
        assert!(refused.to_string().contains("more values"), "{refused}");
    }
}

#[test]
fn a_text_is_read_to_its_end_and_told_where_it_is_wrong() {
    for text in ["", "[1] 2", "[1,]", "{\"a\":}", "nul", "\"\u{1}\""] {
        assert!(
            reason(parse_json(text)).contains("at line 1 column"),
            "{text}"
        );
    }
    assert!(parse_json(b"\"\xff\"").is_err());
}

/// JavaScript writes what is below 10^21 in full, with as many digits as the number has.
#[test]
fn an_integer_that_would_be_rounded_is_refused() {
    for exact in [
        "18446744073709551615",
        "-9223372036854775808",
        "18446744073709551616",
        "18446744073709552000",
        "-18446744073709552000",
        "100000000000000000000",
        "123456789012345680000",
        "-9223372036854776000",
        "18446744073709551617.0",
        "18446744073709551617e0",
        "1e300",
        "-1.8446744073709552E+19",
        "0.12345678901234567890123",
    ] {
        let text = format!(r#"{{"18446744073709551617": ["\"18446744073709551617", {exact}]}}"#);
        let value = parse_json(&text).unwrap();
        let number = value["18446744073709551617"][1].as_f64().unwrap();
        assert_eq!(number, exact.parse::<f64>().unwrap(), "{exact}");
    }
    for rounded in [
        "18446744073709551617",
        "-9223372036854775809",
        "100000000000000000001",
        "12345678901234567890123456789",
    ] {
        for (text, place) in [
            (rounded.to_owned(), "line 1 column 1"),
            (
                format!("{{\"\\\\\":\n [1e300, {rounded}]}}"),
                "line 2 column 10",
            ),
        ] {
            let reason = reason(parse_json(&text));
            assert!(
                reason.contains(rounded) && reason.ends_with(place),
                "{reason}"
            );
        }
    }
    let long = format!("[{}]", "7".repeat(300));
    assert!(reason(parse_json(long)).ends_with("line 1 column 2"));
}

#[test]
fn of_a_name_given_twice_the_last_value_takes_the_first_place() {
    let value = parse_json(r#" {"b": 1, "a": [2.5, -0.0], "b": {"\u0062": null}} "#).unwrap();
    let expected = json!({"b": {"b": null}, "a": [2.5, -0.0]});
    assert!(identical(&value, &expected), "{value}");
}

proptest! {
    #[test]
    fn what_is_told_as_text_is_read_as_it_was(value in any_json()) {
        let read = parse_json(to_text(&value)).unwrap();
        prop_assert!(identical(&read, &value), "{read} is not {value}");
    }
}

#[test]
fn names_that_serde_json_keeps_for_itself_are_refused() {
    for text in [
        format!(r#"{{"{RAW_VALUE}": "[1]"}}"#),
        format!(r#"{{"{RAW_VALUE}": 1}}"#),
        format!(r#"{{"a": 1, "{RAW_VALUE}": "1"}}"#),
        format!(r#"[[{{"{RESERVED_PREFIX}": []}}]]"#),
        format!(r#"{{"\u0024{}": "1"}}"#, &RAW_VALUE[1..]),
    ] {
        assert!(
            reason(parse_json(&text)).contains("kept for serde_json"),
            "{text}"
        );
    }
    let text = format!(r#"["{RAW_VALUE}", {{"${RAW_VALUE}": "serde_json::private::"}}]"#);
    assert!(parse_json(text).is_ok());
}

#[test]
fn texts_within_texts_do_not_overflow_the_stack() {
    let text = texts_within_texts(45);
    assert!(text.len() < 40 * 1024);
    assert!(reason(parse_json(&text)).contains("kept for serde_json"));
    let raw = RawValue::from_string(text).unwrap();
    assert!(reason(encode(&raw)).contains("kept for serde_json"));
}

#[test]
fn no_document_holds_a_name_that_serde_json_keeps_for_itself() {
    #[derive(serde::Serialize)]
    enum Choice {
        #[serde(rename = "$serde_json::private::A")]
        A(u8),
        #[serde(rename = "$serde_json::private::B")]
        B { b: u8 },
        #[serde(rename = "$serde_json::private::C")]
        C,
    }
    #[derive(serde::Serialize)]
    struct Field {
        #[serde(rename = "$serde_json::private::Number")]
        field: &'static str,
    }
    let refused = |result: Result<Vec<u8>>| {
        let reason = reason(result);
        assert!(reason.contains("kept for serde_json"), "{reason}");
    };
    refused(encode(&json!({ RAW_VALUE: "[1]" })));
    refused(encode(&json!([{"a": 1, RESERVED_PREFIX: null}])));
    refused(encode(&Choice::A(1)));
    refused(encode(&Choice::B { b: 1 }));
    refused(encode(&Field { field: "1" }));
    assert_eq!(
        to_value(&Choice::C).unwrap(),
        json!("$serde_json::private::C")
    );
}

#[test]
fn stored_bytes_that_hold_such_a_name_are_damaged_and_not_followed() {
    let text = texts_within_texts(45);
    let inner: Value = (0..2).fold(json!({ RAW_VALUE: text }), |inner, _| json!([inner]));
    let stored = rmp_serde::to_vec(&inner).unwrap();
    assert!(decode(&stored).unwrap_err().contains("kept for serde_json"));
    assert!(crate::json::typed::read::<Value>(&stored).is_none());
    assert!(crate::json::typed::read::<Vec<Vec<Box<RawValue>>>>(&stored).is_none());
    assert!(matches!(
        load::<Value>("key", &stored),
        Err(Error::Damaged { .. })
    ));
}
