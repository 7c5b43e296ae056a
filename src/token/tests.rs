use std::time::Duration;

use super::*;

/// A store with tokens for `a`, `b` and one that has expired, and a row of tokens that cannot be read.
fn damaged() -> (Store, Token, Token) {
    let store = Store::in_memory().unwrap();
    store.put("a", "x").unwrap();
    store.put("b", "x").unwrap();
    let [a, b] = ["a", "b"].map(|key| store.grant(key, Grant::new()).unwrap());
    let expired = Grant::new().expires_in(Duration::ZERO);
    store.grant("a", expired).unwrap();
    for key in [&[0; 32][..], b"no hash"] {
        store.put_row(Tree::Tokens, key, b"no grant");
    }
    (store, a, b)
}

fn count(store: &Store) -> usize {
    let mut scan = store.shared.backend.scan(Tree::Tokens, b"", None).unwrap();
    std::iter::from_fn(|| scan.next().unwrap()).count()
}

#[test]
fn a_damaged_row_keeps_no_other_token_from_being_revoked() {
    let (store, a, b) = damaged();
    assert!(matches!(store.tokens(), Err(Error::Damaged { .. })));
    assert!(matches!(store.revoke("a"), Err(Error::Damaged { .. })));
    assert!(matches!(store.read_with(&a, "a"), Err(Error::TokenRefused)));
    assert!(store.read_with(&b, "b").unwrap().is_some());
    assert!(matches!(store.revoke_all(), Err(Error::Damaged { .. })));
    assert!(matches!(store.read_with(&b, "b"), Err(Error::TokenRefused)));
    assert_eq!(count(&store), 2, "the damaged rows alone");
}

#[cfg(feature = "http")]
#[test]
fn a_damaged_row_keeps_no_expired_token_from_being_swept() {
    let (store, _, _) = damaged();
    assert_eq!(store.sweep_tokens().unwrap(), 1);
    assert_eq!(count(&store), 4);
}
