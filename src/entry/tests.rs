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

/// Writes, moves and locks once the clock was set back.
#[test]
fn an_entry_is_not_updated_before_it_was() {
    let store = Store::in_memory().unwrap();
    let at = |name: &str| store.metadata(name).unwrap().unwrap();
    let first = store.save("a", &1).unwrap();
    let a_day_before = crate::format::to_micros(first.created) - 86_400_000_000;
    let (a, b) = (store.key("a").unwrap(), store.key("b").unwrap());
    let new = store.new_document(&a, &2, PutOptions::new()).unwrap();
    let write = |change: &dyn Fn(&mut crate::draft::Draft<'_>) -> crate::error::Result<()>| {
        store
            .write(|draft| {
                draft.now = a_day_before;
                change(draft)
            })
            .unwrap();
    };
    write(&|draft| draft.put(&a, &new).map(drop));
    let written = at("a");
    assert!(written.updated > first.created && written.updated >= first.updated);
    write(&|draft| draft.rename(&a, &b, PutMode::Create).map(drop));
    assert_eq!(at("b").updated, written.updated);
    write(&|draft| {
        draft.put(&b, &new)?;
        draft.put(&b, &new).map(drop)
    });
    assert!(at("b").updated >= written.updated);
    let e = store.key("e").unwrap();
    write(&|draft| {
        draft.put(&e, &new)?;
        draft.put(&e, &new).map(drop)
    });
    assert_eq!(at("e").updated, at("e").created);
    store.save("c", &1).unwrap();
    let later = at("c").updated;
    write(&|draft| {
        draft.copy(&b, &store.key("c").unwrap(), PutMode::Overwrite)?;
        Ok(())
    });
    assert!(at("c").updated >= later);
    store.save("d", &1).unwrap();
    let later = at("d").updated;
    write(&|draft| {
        let (c, d) = (store.key("c").unwrap(), store.key("d").unwrap());
        draft.rename(&c, &d, PutMode::Overwrite).map(drop)
    });
    assert!(at("d").updated >= later);
}
