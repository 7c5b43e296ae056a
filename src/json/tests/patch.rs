use serde_json::json;

use super::*;

fn operations(operations: Value) -> json_patch::Patch {
    serde_json::from_value(operations).unwrap()
}

#[track_caller]
fn patched(document: Value, patch: Value) -> String {
    let mut document = document;
    crate::json::patch(&mut document, &operations(patch)).unwrap();
    document.to_string()
}

/// Appendix A of RFC 6902, as far as it is about documents and not about the texts of patches.
#[test]
fn patches_do_what_the_rfc_shows() {
    for (document, patch, expected) in [
        (
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/baz", "value": "qux"}]),
            json!({"foo": "bar", "baz": "qux"}),
        ),
        (
            json!({"foo": ["bar", "baz"]}),
            json!([{"op": "add", "path": "/foo/1", "value": "qux"}]),
            json!({"foo": ["bar", "qux", "baz"]}),
        ),
        (
            json!({"baz": "qux", "foo": "bar"}),
            json!([{"op": "remove", "path": "/baz"}]),
            json!({"foo": "bar"}),
        ),
        (
            json!({"foo": ["bar", "qux", "baz"]}),
            json!([{"op": "remove", "path": "/foo/1"}]),
            json!({"foo": ["bar", "baz"]}),
        ),
        (
            json!({"baz": "qux", "foo": "bar"}),
            json!([{"op": "replace", "path": "/baz", "value": "boo"}]),
            json!({"baz": "boo", "foo": "bar"}),
        ),
        (
            json!({"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}),
            json!([{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}]),
            json!({"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}}),
        ),
        (
            json!({"foo": ["all", "grass", "cows", "eat"]}),
            json!([{"op": "move", "from": "/foo/1", "path": "/foo/3"}]),
            json!({"foo": ["all", "cows", "eat", "grass"]}),
        ),
        (
            json!({"baz": "qux", "foo": ["a", 2, "c"]}),
            json!([{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}]),
            json!({"baz": "qux", "foo": ["a", 2, "c"]}),
        ),
        (
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/child", "value": {"grandchild": {}}}]),
            json!({"foo": "bar", "child": {"grandchild": {}}}),
        ),
        (
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}]),
            json!({"foo": "bar", "baz": "qux"}),
        ),
        (
            json!({"/": 9, "~1": 10}),
            json!([{"op": "test", "path": "/~01", "value": 10}]),
            json!({"/": 9, "~1": 10}),
        ),
        (
            json!({"foo": ["bar"]}),
            json!([{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}]),
            json!({"foo": ["bar", ["abc", "def"]]}),
        ),
        (
            json!({"a": 1}),
            json!([{"op": "add", "path": "", "value": [2]}]),
            json!([2]),
        ),
        (
            json!({"a": {"b": 1}}),
            json!([{"op": "copy", "from": "/a", "path": "/c"}, {"op": "replace", "path": "/a/b", "value": 2}]),
            json!({"a": {"b": 2}, "c": {"b": 1}}),
        ),
        (
            json!({"a": {"b": 1}}),
            json!([{"op": "copy", "from": "", "path": "/a/b"}]),
            json!({"a": {"b": {"a": {"b": 1}}}}),
        ),
        (
            json!({"a": {"b": 1}}),
            json!([{"op": "move", "from": "/a/b", "path": ""}]),
            json!(1),
        ),
    ] {
        assert_eq!(
            patched(document, patch.clone()),
            expected.to_string(),
            "{patch}"
        );
    }
}

#[test]
fn a_patch_keeps_the_members_that_it_does_not_name_in_their_places() {
    let document = json!({"a": 1, "b": 2, "c": 3, "d": 4});
    let patch = json!([{"op": "remove", "path": "/a"}, {"op": "add", "path": "/c", "value": 5}, {"op": "move", "from": "/b", "path": "/b"}]);
    assert_eq!(patched(document, patch), r#"{"b":2,"c":5,"d":4}"#);
}

#[test]
fn a_failing_operation_is_named_and_leaves_the_document_as_it_was() {
    let document = json!({"a": {"b": [1]}, "c": "s", "d": 2});
    for (operation, problem) in [
        (
            json!({"op": "test", "path": "/d", "value": 3}),
            "test `/d`: the value there is another one",
        ),
        (
            json!({"op": "test", "path": "/e", "value": null}),
            "test `/e`: nothing is there",
        ),
        (
            json!({"op": "remove", "path": "/e"}),
            "remove `/e`: nothing is there",
        ),
        (
            json!({"op": "remove", "path": "/a/b/1"}),
            "remove `/a/b/1`: nothing is there",
        ),
        (
            json!({"op": "remove", "path": "/a/b/-"}),
            "remove `/a/b/-`: nothing is there",
        ),
        (
            json!({"op": "remove", "path": ""}),
            "remove ``: a document cannot lose its root",
        ),
        (
            json!({"op": "replace", "path": "/e", "value": 1}),
            "replace `/e`: nothing is there",
        ),
        (
            json!({"op": "add", "path": "/e/f", "value": 1}),
            "add `/e/f`: there is no such place",
        ),
        (
            json!({"op": "add", "path": "/c/f", "value": 1}),
            "add `/c/f`: there is no such place",
        ),
        (
            json!({"op": "add", "path": "/a/b/3", "value": 1}),
            "add `/a/b/3`: there is no such place",
        ),
        (
            json!({"op": "add", "path": "/a/b/01", "value": 1}),
            "add `/a/b/01`: there is no such place",
        ),
        (
            json!({"op": "move", "from": "/a", "path": "/a/b/0"}),
            "move `/a/b/0`: a value cannot be moved into itself",
        ),
        (
            json!({"op": "move", "from": "/e", "path": "/e"}),
            "move `/e`: nothing is at `from`",
        ),
        (
            json!({"op": "move", "from": "/d", "path": "/e/f"}),
            "move `/e/f`: there is no such place",
        ),
        (
            json!({"op": "copy", "from": "/e", "path": "/f"}),
            "copy `/f`: nothing is at `from`",
        ),
    ] {
        let before = json!({"op": "remove", "path": "/a/b/0"});
        let mut value = document.clone();
        let patch = match problem.starts_with("remove `/a/b/") {
            true => json!([{"op": "test", "path": "/d", "value": 2}, operation]),
            false => json!([before, operation]),
        };
        let said = reason(crate::json::patch(&mut value, &operations(patch)));
        assert_eq!(said, format!("operation 1 of the patch, {problem}"));
        assert!(identical(&value, &document));
    }
}

#[test]
fn a_test_compares_numbers_by_what_they_are_worth() {
    let holds = |document: Value, value: Value| {
        let patch = operations(json!([{"op": "test", "path": "", "value": value}]));
        crate::json::patch(&mut document.clone(), &patch).is_ok()
    };
    assert!(holds(json!(1), json!(1.0)));
    assert!(holds(
        json!({"b": [0], "a": -2.0}),
        json!({"a": -2, "b": [-0.0]})
    ));
    assert!(holds(json!(1.5), json!(1.5)));
    assert!(!holds(json!(1), json!(1.5)));
    assert!(!holds(json!(1), json!("1")));
    assert!(!holds(json!([1]), json!([1, 1])));
    assert!(!holds(json!({"a": 1}), json!({"b": 1})));
    assert!(!holds(json!({"a": 1}), json!({"a": 1, "b": 1})));
    // The float nearest to the integer is another number.
    assert!(!holds(json!(u64::MAX), json!(18_446_744_073_709_551_615.0)));
    assert!(!holds(
        json!(9_007_199_254_740_993u64),
        json!(9_007_199_254_740_992.0)
    ));
    assert!(holds(
        json!(9_007_199_254_740_992u64),
        json!(9_007_199_254_740_992.0)
    ));
    assert!(!holds(json!(1e300), json!(1e301)));
}

#[test]
fn a_patch_cannot_make_a_document_too_deep_or_too_large() {
    let at = |depth: usize| "/a/0".repeat(depth / 2) + if depth % 2 == 1 { "/a" } else { "" };
    let deep = (0..127)
        .rev()
        .fold(json!(1), |inner, level| match level % 2 {
            0 => json!({ "a": inner }),
            _ => json!([inner]),
        });
    let add = |value: Value| json!([{"op": "add", "path": at(127), "value": value}]);
    patched(deep.clone(), add(json!([])));
    let mut value = deep.clone();
    let refused =
        |value: &mut Value, patch: Value| reason(crate::json::patch(value, &operations(patch)));
    assert!(refused(&mut value, add(json!([[]]))).contains("too deeply"));
    let replace = json!([{"op": "add", "path": at(127), "value": 1}, {"op": "replace", "path": at(127), "value": [[]]}]);
    assert!(refused(&mut value, replace).contains("too deeply"));
    let into_itself = json!([{"op": "copy", "from": "", "path": "/a/-"}]);
    assert!(refused(&mut value, into_itself).contains("too deeply"));
    let moved = json!([{"op": "add", "path": "/m", "value": [[]]}, {"op": "move", "from": "/m", "path": at(127)}]);
    assert!(refused(&mut value, moved).contains("too deeply"));
    assert_eq!(value, deep);
}

#[test]
fn copies_are_counted_by_the_memory_they_take() {
    let said = |document: Value, times: usize| {
        let copy = json!({"op": "copy", "from": "", "path": "/-"});
        let copies = operations(vec![copy; times].into());
        let mut value = document.clone();
        let said = reason(crate::json::patch(&mut value, &copies));
        assert_eq!(value, document);
        said
    };
    let text = "x".repeat(1024 * 1024);
    let of_text = said(json!([text]), 40);
    assert!(
        of_text.contains("operation 8") && of_text.contains("too much memory"),
        "{of_text}"
    );
    // 12 bytes, of which 25 such copies would take gigabytes.
    let of_places = said(json!([0, 1, 2, 3, {"a": 4}]), 25);
    assert!(of_places.contains("too much memory"), "{of_places}");
    let of_empty = said(json!([[]]), 25);
    assert!(of_empty.contains("too much memory"), "{of_empty}");
}

#[test]
fn a_patch_ends_where_it_shifts_too_much() {
    let long: Vec<Value> = (0..200_000).map(Value::from).collect();
    let members = long.iter().map(|value| (value.to_string(), value.clone()));
    let members: Value = Value::Object(members.collect());
    let long = Value::from(long);
    let run = |document: &Value, patch: Vec<Value>| {
        let mut value = document.clone();
        crate::json::patch(&mut value, &operations(patch.into())).map(|()| value)
    };
    let add = |path: &str| json!({"op": "add", "path": path, "value": 1});
    let too_much = [
        (&long, vec![add("/0"); 501]),
        (&long, vec![json!({"op": "remove", "path": "/0"}); 502]),
        (
            &long,
            vec![json!({"op": "move", "from": "/0", "path": "/100000"}); 400],
        ),
        (
            &members,
            (0..502)
                .map(|name| json!({"op": "remove", "path": format!("/{name}")}))
                .collect(),
        ),
    ];
    for (document, patch) in too_much {
        let operation = patch[0].to_string();
        let said = reason(run(document, patch));
        assert!(said.contains("too many values"), "{operation}: {said}");
    }
    // What is at the end shifts little, however often it comes and goes.
    let mut at_the_end = vec![add("/-"); 5_000];
    at_the_end.extend(vec![json!({"op": "remove", "path": "/200001"}); 4_999]);
    let value = run(&long, at_the_end).unwrap();
    assert_eq!(value.as_array().unwrap().len(), 200_001);
    let both = [add("/new"), json!({"op": "remove", "path": "/new"})];
    let value = run(&members, vec![both; 5_000].into_flattened()).unwrap();
    assert_eq!(value, members);
}

#[test]
fn what_is_moved_deeper_is_walked_over_and_counted() {
    let large: Vec<Value> = (0..100_000).map(Value::from).collect();
    let document = json!({"a": {"b": {}}, "large": large, "other": {}});
    let run = |there: &str, back: &str| {
        let to_and_fro = [
            json!({"op": "move", "from": back, "path": there}),
            json!({"op": "move", "from": there, "path": back}),
        ];
        let mut value = document.clone();
        let patch = operations(vec![to_and_fro; 1_100].into_flattened().into());
        crate::json::patch(&mut value, &patch)
    };
    run("/other", "/large").unwrap();
    assert!(reason(run("/a/b/c", "/large")).contains("too many values"));
}
