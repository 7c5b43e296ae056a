use crate::options::{PutMode, PutOptions};
use crate::store::Store;

/// Writes and copies in the microsecond in which the entries were made.
#[test]
fn what_is_written_again_is_updated_later_than_it_was_made() {
    let store = Store::in_memory().unwrap();
    for name in ["a", "b"] {
        store.save(name, &1).unwrap();
    }
    let (a, b) = (store.key("a").unwrap(), store.key("b").unwrap());
    let new = store.new_document(&a, &2, PutOptions::new()).unwrap();
    let at = |name: &str| store.metadata(name).unwrap().unwrap();
    let made = crate::format::to_micros(at("a").created.min(at("b").created));
    let (told, _) = store
        .write(|draft| {
            draft.now = made;
            let told = draft.put(&a, &new)?;
            draft.copy(&a, &b, PutMode::Overwrite)?;
            Ok(told)
        })
        .unwrap();
    assert!(told.updated > told.created);
    assert!(at("a").updated > at("a").created);
    assert!(at("b").updated > at("b").created);
}
