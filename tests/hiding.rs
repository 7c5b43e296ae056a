//! Views without one of their folders: nothing tells of it, and nothing reaches it.
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

use std::io;
use std::ops::ControlFlow;

use komatik::{Error, Events, Grant, ListOptions, PutMode, Since, Store};

/// A store with a hidden folder in it, and the view without it.
fn stores() -> (Store, Store) {
    let store = Store::in_memory().unwrap();
    for key in ["a/1", "own", "own/x", "own/y/z", "own2", "owl/1"] {
        store.put(key, "x").unwrap();
    }
    let view = store.without("own").unwrap();
    (store, view)
}

fn names(view: &Store, options: ListOptions) -> Vec<String> {
    let listing = view.list_with("", options).unwrap();
    listing.map(|item| item.unwrap().cursor()).collect()
}

#[test]
fn no_call_reaches_what_is_hidden() {
    let (store, view) = stores();
    let is_refused = |result: komatik::Result<()>, what: &str| {
        assert!(matches!(result, Err(Error::InvalidKey { .. })), "{what}");
    };
    for key in ["own", "own/x", "own/", "/own/x", "own/new"] {
        is_refused(view.get(key).map(drop), key);
        is_refused(view.put(key, "y").map(drop), key);
        is_refused(view.exists(key).map(drop), key);
        is_refused(view.metadata(key).map(drop), key);
        is_refused(view.delete(key).map(drop), key);
        is_refused(view.list(key).map(drop), key);
        is_refused(view.scoped(key).map(drop), key);
        is_refused(view.watch(key, Since::Start).map(drop), key);
        is_refused(view.delete_folder(key).map(drop), key);
        is_refused(view.create_folder(key), key);
        is_refused(view.rename_folder(key, "b").map(drop), key);
        is_refused(view.rename_folder("a", key).map(drop), key);
        is_refused(view.copy(key, "b", PutMode::Create).map(drop), key);
        is_refused(view.rename("a/1", key, PutMode::Create).map(drop), key);
        is_refused(view.grant(key, Grant::new()).map(drop), key);
        is_refused(view.revoke(key).map(drop), key);
        is_refused(view.transaction(|tx| tx.put(key, "y")), key);
        is_refused(view.transaction(|tx| tx.get(key)).map(drop), key);
    }
    assert_eq!(
        store
            .list_with("own", ListOptions::new().recursive())
            .unwrap()
            .count(),
        2
    );
    assert_eq!(
        view.scoped("a").unwrap().put("own", "y").unwrap().key,
        "own",
        "only that one"
    );
}

#[test]
fn no_listing_tells_of_it() {
    let (store, view) = stores();
    assert_eq!(names(&view, ListOptions::new()), ["a/", "owl/", "own2"]);
    assert_eq!(
        names(&view, ListOptions::new().recursive()),
        ["a/1", "owl/1", "own2"]
    );
    assert_eq!(
        names(&view, ListOptions::new().after("own").recursive()),
        ["own2"]
    );
    assert_eq!(
        names(&view, ListOptions::new().glob("ow*")),
        ["owl/", "own2"]
    );
    assert_eq!(
        names(&view, ListOptions::new().recursive().limit(2)),
        ["a/1", "owl/1"]
    );
    assert_eq!(names(&store, ListOptions::new()).len(), 5);
}

#[test]
fn no_change_token_or_export_tells_of_it() {
    let (store, view) = stores();
    let (tell, told) = std::sync::mpsc::channel();
    let heard = view.on(Events::ALL, move |change| {
        tell.send(change.key.clone()).unwrap()
    });
    store.rename("own/x", "b", PutMode::Create).unwrap();
    store.put("own/x", "new").unwrap();
    heard.off();
    assert_eq!(told.iter().collect::<Vec<_>>(), ["b"]);
    let mut watcher = view.watch("", Since::Start).unwrap();
    while let Some(change) = watcher.try_recv().unwrap() {
        assert!(
            !change.key.starts_with("own/") && change.key != "own",
            "{change:?}"
        );
    }
    let token = store.grant("own/x", Grant::new()).unwrap();
    assert!(matches!(
        view.read_with(&token, "own/x"),
        Err(Error::InvalidKey { .. } | Error::TokenRefused)
    ));
    assert_eq!(
        (view.tokens().unwrap().len(), view.revoke_all().unwrap()),
        (0, 0)
    );
    assert!(!view.revoke_token(&token).unwrap());
    assert_eq!(store.tokens().unwrap().len(), 1);
    let go_on = |_| ControlFlow::Continue(());
    assert_eq!(view.export(io::sink(), go_on).unwrap(), 4);
    assert_eq!(store.export(io::sink(), go_on).unwrap(), 7);
}

#[test]
fn one_direct_child_is_hidden() {
    let (store, view) = stores();
    for (store, folder) in [(&store, "own/y"), (&view, "a")] {
        let refused = store.without(folder);
        assert!(
            matches!(refused, Err(Error::InvalidArgument { .. })),
            "{folder}"
        );
    }
    assert!(matches!(store.without(""), Err(Error::InvalidKey { .. })));
    let below = store.scoped("own").unwrap().without("y").unwrap();
    assert_eq!(names(&below, ListOptions::new().recursive()), ["x"]);
    assert!(below.get("y/z").is_err());
}
