use super::*;
use crate::Store;
use crate::http::accounts::{Account, FOLDER, Role, User};
use crate::http::sessions::now;

/// Rows that cannot be read, before and behind all others.
fn damage(store: &Store, folder: &str) {
    for name in ["!", "~"] {
        store.damage(&format!("{FOLDER}/{folder}/{name}"));
    }
    store
        .save(&format!("{FOLDER}/{folder}/none"), &"of these")
        .unwrap();
}

/// Accounts with `ann`, her key of the project `proj`, and the key itself.
fn accounts(store: &Store) -> (Accounts, String) {
    let (accounts, _) = Accounts::open(store).unwrap();
    let user = User::new("a long one", Role::Writer, "home/ann").unwrap();
    accounts.add_user("ann", &user).unwrap();
    let key = accounts.add_key("ann", "", "proj").unwrap();
    (accounts, key)
}

#[test]
fn who_is_removed_is_gone_whatever_else_is_damaged() {
    let store = Store::in_memory().unwrap();
    let (accounts, key) = accounts(&store);
    for folder in ["users", "keys", "media-of/ann"] {
        damage(&store, folder);
    }
    let reader = Some(Role::Reader);
    accounts.change_user("ann", None, reader, None).unwrap();
    assert!(accounts.remove_user("ann").unwrap());
    assert!(accounts.account_of_key(&key).unwrap().is_none());
    assert!(accounts.remove_user("admin").is_err(), "the only one");
    assert!(accounts.keys().is_err(), "not all are told");
}

/// The path of media would be open again to a later account of the name.
#[test]
fn media_go_with_their_account_whatever_is_damaged() {
    let store = Store::in_memory().unwrap();
    let (accounts, _) = accounts(&store);
    let ann = Account::of("ann", &accounts.user("ann").unwrap().unwrap());
    let folder = accounts.media_folder(&ann, "a.png").unwrap();
    let known = format!("{FOLDER}/media-of/ann/a.png");
    store.save(&known, &1).unwrap();
    damage(&store, "media");
    assert!(accounts.remove_user("ann").unwrap());
    let media = format!("{FOLDER}/media/{folder}");
    assert!(!store.exists(&media).unwrap() && !store.exists(&known).unwrap());
}

/// Rows that could not be read as their account was removed, and then can again; and media of who was removed meanwhile.
#[test]
fn what_one_account_had_is_not_a_later_ones() {
    let store = Store::in_memory().unwrap();
    let (accounts, key) = accounts(&store);
    let ann = Account::of("ann", &accounts.user("ann").unwrap().unwrap());
    let (id, _) = accounts.keys().unwrap().remove(0);
    let row = format!("{FOLDER}/keys/{id}");
    let kept: serde_json::Value = store.load(&row).unwrap().unwrap();
    assert!(accounts.remove_user("ann").unwrap());
    store.save(&row, &kept).unwrap();
    let old = accounts.media_folder(&ann, "a.png").unwrap();

    let user = User::new("a long one", Role::Admin, "home/ann").unwrap();
    accounts.add_user("ann", &user).unwrap();
    assert!(accounts.account_of_key(&key).unwrap().is_none());
    assert!(accounts.key(&id).unwrap().is_none());
    let later = Account::of("ann", &user);
    let folder = accounts.media_folder(&later, "a.png").unwrap();
    assert_ne!(folder, old);
    assert_eq!(accounts.media_folder(&later, "a.png").unwrap(), folder);
    let account_of = |folder: &str| accounts.account_of_media(folder, "a.png").unwrap();
    assert_eq!(account_of(&old), None);
    assert_eq!(account_of(&folder), Some(later));
}

#[test]
fn media_of_which_a_row_is_damaged_can_be_stored_again() {
    let store = Store::in_memory().unwrap();
    let (accounts, _) = accounts(&store);
    let ann = Account::of("ann", &accounts.user("ann").unwrap().unwrap());
    let folder = accounts.media_folder(&ann, "a.png").unwrap();
    store.damage(&format!("{FOLDER}/media/{folder}"));
    let other = accounts.media_folder(&ann, "a.png").unwrap();
    assert_ne!(other, folder);
    assert_eq!(
        accounts.account_of_media(&other, "a.png").unwrap(),
        Some(ann)
    );
}

#[test]
fn sessions_that_have_ended_are_swept_whatever_is_damaged() {
    let store = Store::in_memory().unwrap();
    let (accounts, _) = accounts(&store);
    damage(&store, "sessions");
    let ended = serde_json::json!({"user": "ann", "generation": "", "expires": now()});
    store
        .save(&format!("{FOLDER}/sessions/ended"), &ended)
        .unwrap();
    assert_eq!(accounts.sweep_sessions(&|| true).unwrap(), 1);
}
