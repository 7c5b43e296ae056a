//! What a listing tells, in which order, and page by page.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics fails"
)]

mod common;

use std::collections::BTreeSet;

use common::{Case, stores_with};
use komatik::{Error, ListOptions, Lock, PasswordCost, Store};

/// A store of each kind, with these entries.
fn stores(keys: &[&str]) -> Vec<Case> {
    let filled = |case: Case| {
        for key in keys {
            case.store.put(key, "x").unwrap();
        }
        case
    };
    stores_with(|builder| builder.password_cost(PasswordCost::new(8, 1)))
        .into_iter()
        .map(filled)
        .collect()
}

fn cursors(store: &Store, folder: &str, options: ListOptions) -> Vec<String> {
    let items = store.list_with(folder, options).unwrap();
    items.map(|item| item.unwrap().cursor()).collect()
}

fn children(store: &Store, folder: &str) -> Vec<String> {
    cursors(store, folder, ListOptions::new())
}

const TREE: [&str; 9] = [
    "a",
    "a b",
    "a-b",
    "a/x",
    "a/y/z",
    "a0",
    "ä/ö",
    "b/deep/er/still",
    "zz",
];

#[test]
fn children_come_in_the_order_of_their_cursors() {
    for case in stores(&TREE) {
        let store = case.store.clone();
        let expected = ["a", "a b", "a-b", "a/", "a0", "b/", "zz", "ä/"];
        assert_eq!(children(&store, ""), expected);
        assert!(expected.is_sorted());
        assert_eq!(children(&store, "a"), ["x", "y/"]);
        assert_eq!(children(&store, "/a/"), ["x", "y/"]);
        assert_eq!(children(&store, "b/deep"), ["er/"]);
        assert_eq!(children(&store, "missing"), [""; 0]);
        assert_eq!(children(&store, "zz"), [""; 0], "an entry is no folder");
        assert_eq!(children(&store.scoped("a").unwrap(), "y"), ["z"]);
    }
}

#[test]
fn items_tell_names_and_metadata_relative_to_what_was_asked() {
    for case in stores(&TREE) {
        let store = case.store.clone();
        let store = store.scoped("b").unwrap();
        let items: Vec<_> = store
            .list_with("deep", ListOptions::new().recursive())
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(items.len(), 1);
        assert_eq!(items[0].name, "er/still");
        let metadata = items[0].metadata.as_ref().unwrap();
        assert_eq!((metadata.key.as_str(), metadata.size), ("deep/er/still", 1));
        let folder = store.list("").unwrap().next().unwrap().unwrap();
        assert!(folder.is_folder && folder.metadata.is_none());
        assert_eq!(folder.name, "deep");
    }
}

#[test]
fn recursion_tells_every_entry_and_the_empty_folders() {
    for case in stores(&TREE) {
        let store = case.store.clone();
        for folder in ["empty", "a/empty", "b", "full"] {
            store.create_folder(folder).unwrap();
        }
        store.put("full/entry", "x").unwrap();
        let all = cursors(&store, "", ListOptions::new().recursive());
        let mut expected: BTreeSet<&str> = TREE.into();
        expected.extend(["empty/", "a/empty/", "full/entry"]);
        assert_eq!(all, expected.into_iter().collect::<Vec<_>>());
        assert_eq!(children(&store, "a"), ["empty/", "x", "y/"]);
        assert_eq!(children(&store, "empty"), [""; 0]);
        assert!(children(&store, "").contains(&"empty/".to_owned()));
    }
}

/// Every way to cut a listing into pages gives the same items.
#[test]
fn pages_go_on_behind_their_last_item() {
    for case in stores(&TREE) {
        let store = case.store.clone();
        store.create_folder("a/empty").unwrap();
        store.create_folder("a/y/none").unwrap();
        for base in [ListOptions::new(), ListOptions::new().recursive()] {
            for folder in ["", "a"] {
                let whole = cursors(&store, folder, base.clone());
                for size in 1..=whole.len() {
                    let mut pages = Vec::new();
                    loop {
                        let mut options = base.clone().limit(size);
                        options.after = pages.last().cloned();
                        let page = cursors(&store, folder, options);
                        assert!(page.len() <= size);
                        if page.is_empty() {
                            break;
                        }
                        pages.extend(page);
                    }
                    assert_eq!(pages, whole, "pages of {size}");
                }
            }
        }
        assert_eq!(cursors(&store, "", ListOptions::new().limit(0)), [""; 0]);
    }
}

#[test]
fn a_cursor_need_not_be_there() {
    for case in stores(&TREE) {
        let store = case.store.clone();
        let after = |text: &str| cursors(&store, "", ListOptions::new().after(text));
        assert_eq!(after("a/anything"), ["a0", "b/", "zz", "ä/"]);
        assert_eq!(after("a/")[0], "a0");
        assert_eq!(after("a-b")[0], "a/");
        assert_eq!(after("b"), ["b/", "zz", "ä/"]);
        assert_eq!(after(""), children(&store, ""));
        assert_eq!(after("\u{10ffff}"), [""; 0]);
        let deep = |text: &str| cursors(&store, "", ListOptions::new().recursive().after(text));
        assert_eq!(deep("a/y")[0], "a/y/z");
        assert_eq!(deep("a/y/z")[0], "a0");
    }
}

#[test]
fn filters_apply_to_the_name_told() {
    for case in stores(&[
        "a.txt",
        "b.png",
        "sub/c.txt",
        "sub/d.txt",
        "sub.txt/e",
        "text/f",
    ]) {
        let store = case.store.clone();
        let list = |options| cursors(&store, "", options);
        assert_eq!(
            list(ListOptions::new().glob("*.txt")),
            ["a.txt", "sub.txt/"]
        );
        assert_eq!(
            list(ListOptions::new().contains("t")),
            ["a.txt", "sub.txt/", "text/"]
        );
        let deep = || ListOptions::new().recursive();
        assert_eq!(list(deep().glob("*.txt")), ["a.txt"]);
        assert_eq!(
            list(deep().glob("**/*.txt")),
            ["a.txt", "sub/c.txt", "sub/d.txt"]
        );
        assert_eq!(list(deep().glob("sub/*").contains("d")), ["sub/d.txt"]);
        assert_eq!(list(deep().glob("{a,b}.*").limit(1)), ["a.txt"]);
        let begun = |text: &str| ListOptions::new().prefix(text);
        assert_eq!(list(begun("sub")), ["sub.txt/", "sub/"]);
        assert_eq!(list(begun("sub/")), [""; 0], "a child has no `/`");
        assert_eq!(list(begun("")).len(), 5);
        let begun = |text: &str| begun(text).recursive();
        assert_eq!(list(begun("sub")), ["sub.txt/e", "sub/c.txt", "sub/d.txt"]);
        assert_eq!(list(begun("sub/c")), ["sub/c.txt"]);
        assert_eq!(list(begun("sub/").after("sub/c.txt")), ["sub/d.txt"]);
        assert_eq!(list(begun("sub").glob("**/*.txt").limit(1)), ["sub/c.txt"]);
        assert_eq!(list(begun("sub").glob("sub/c*")), ["sub/c.txt"]);
        assert_eq!(list(begun("sub").glob("text/*")), [""; 0]);
        let first = deep().glob("**/*.txt").limit(1).after("a.txt");
        assert_eq!(list(first), ["sub/c.txt"]);
        assert!(matches!(
            store.list_with("", ListOptions::new().glob("a[")),
            Err(Error::InvalidArgument { what: "glob", .. })
        ));
        assert!(matches!(store.list("../x"), Err(Error::InvalidKey { .. })));
    }
}

#[test]
fn a_listing_sees_one_moment() {
    for case in stores(&["a", "b", "c"]) {
        let store = case.store.clone();
        let mut listing = store.list("").unwrap();
        assert_eq!(listing.next().unwrap().unwrap().name, "a");
        store.put("aa", "x").unwrap();
        store.delete("b").unwrap();
        let rest: Vec<_> = listing.map(|item| item.unwrap().name).collect();
        assert_eq!(rest, ["b", "c"]);
    }
}

#[test]
fn names_are_told_to_everybody_metadata_to_those_who_may_read() {
    for case in stores(&["edit", "open", "view"]) {
        let store = case.store.clone();
        store.lock("view", Lock::new().view("v")).unwrap();
        store.lock("edit", Lock::new().edit("e")).unwrap();
        let told = |store: &Store| -> Vec<bool> {
            let items = store.list("").unwrap();
            items.map(|item| item.unwrap().metadata.is_some()).collect()
        };
        assert_eq!(told(&store), [true, true, false]);
        assert_eq!(told(&store.unlocked_with("wrong")), [true, true, false]);
        assert_eq!(
            told(&store.unlocked_with("wrong").unlocked_with("v")),
            [true; 3]
        );
        let locked = store
            .unlocked_with("v")
            .list("")
            .unwrap()
            .last()
            .unwrap()
            .unwrap();
        assert!(locked.metadata.unwrap().view_locked);
    }
}
