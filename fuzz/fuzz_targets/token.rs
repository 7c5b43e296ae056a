#![no_main]
//! Texts that claim to be tokens: only the one that was granted opens, for its own key, and nothing panics.

use std::sync::LazyLock;

use komatik::{Error, Grant, ListOptions, Result, Store, Token};

struct Fixture {
    store: Store,
    /// For the key `a`, and for the folder `a`.
    granted: [Token; 2],
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let store = Store::in_memory().unwrap();
    for key in ["a", "a/b", "c"] {
        store.put(key, "content").unwrap();
    }
    let granted =
        [Grant::new(), Grant::new().folder()].map(|grant| store.grant("a", grant).unwrap());
    Fixture { store, granted }
});

/// Whether it was let in; any other error is one that a token must not cause.
fn opens<T>(found: Result<T>) -> bool {
    match found {
        Ok(_) => true,
        Err(Error::TokenRefused) => false,
        Err(error) => panic!("{error:?}"),
    }
}

fn check(token: &Token) {
    let Fixture { store, granted } = &*FIXTURE;
    let reads = token == &granted[0];
    assert_eq!(opens(store.read_with(token, "a")), reads);
    let lists = token == &granted[1];
    let list = |folder| store.list_with_token(token, folder, ListOptions::new());
    assert_eq!(opens(list("a")), lists);
    for other in ["a/b", "c", "d"] {
        assert!(!opens(store.read_with(token, other)));
        assert!(!opens(list(other)));
    }
    assert!(!opens(list("")));
    let url = store.download_url_with("http://host", "a", token);
    assert!(url.unwrap().is_ascii());
    if !reads && !lists {
        assert!(!store.revoke_token(token).unwrap());
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    check(&Token::from(&*text));
    // The granted ones with what the bytes do to them: characters replaced, cut or added.
    for granted in &FIXTURE.granted {
        let mut changed = granted.as_str().as_bytes().to_vec();
        for change in bytes.chunks(2) {
            let place = usize::from(change[0]) % (changed.len() + 1);
            match change.get(1) {
                Some(byte) if place < changed.len() => changed[place] = byte & 0x7f,
                Some(byte) => changed.push(byte & 0x7f),
                None => changed.truncate(place),
            }
        }
        check(&Token::from(String::from_utf8(changed).unwrap()));
        check(granted);
    }
});
