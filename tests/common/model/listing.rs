//! What a listing must tell.

use std::collections::BTreeMap;

use komatik::{ListItem, ListOptions, Store};

use super::compare::check_metadata;
use super::operation::{Caller, ListCall};
use super::state::{Attribution, Entry, Need, State, check_lock};

/// An item: its cursor, and of an entry the whole key and what may be told of it.
#[derive(Debug, Clone)]
pub struct Item {
    cursor: String,
    entry: Option<(String, Option<Entry>)>,
}

impl ListCall {
    pub fn options(&self) -> ListOptions {
        let mut options = ListOptions::new();
        options.recursive = self.is_recursive;
        options.after.clone_from(&self.after);
        options.limit = self.limit;
        options.contains = self.contains.map(str::to_owned);
        options
    }

    /// Whether an item comes behind the cursor asked for. A folder among children is one item with all below it.
    fn is_behind(&self, cursor: &str) -> bool {
        match &self.after {
            None => true,
            Some(after) => match after.split_once('/') {
                Some((folder, _)) if !self.is_recursive => *cursor > *format!("{folder}/"),
                _ => *cursor > **after,
            },
        }
    }
}

impl State {
    pub fn list(&self, caller: Caller, call: &ListCall) -> Vec<Item> {
        self.list_in(caller.whole(call.folder), caller, call)
    }

    /// What is told of the direct children to somebody without a password.
    pub fn list_of(&self, folder: &str) -> Vec<Item> {
        let call = ListCall {
            folder: "",
            is_recursive: false,
            after: None,
            limit: None,
            contains: None,
        };
        self.list_in(folder.to_owned(), Caller::default(), &call)
    }

    fn list_in(&self, folder: String, caller: Caller, call: &ListCall) -> Vec<Item> {
        let prefix = if folder.is_empty() {
            folder
        } else {
            format!("{folder}/")
        };
        let mut items = BTreeMap::new();
        for (key, entry) in &self.entries {
            let Some(name) = key.strip_prefix(&prefix) else {
                continue;
            };
            match name.split_once('/') {
                Some((folder, _)) if !call.is_recursive => {
                    items.insert(format!("{folder}/"), None);
                }
                _ => {
                    let opens = check_lock(key, entry.lock, Need::Read, caller).is_ok();
                    let told = opens.then(|| entry.clone());
                    items.insert(name.to_owned(), Some((key.clone(), told)));
                }
            }
        }
        for folder in &self.folders {
            let is_empty = self.rows_below(folder).len() == 1;
            let Some(name) = folder.strip_prefix(&prefix) else {
                continue;
            };
            match name.split_once('/') {
                _ if call.is_recursive && !is_empty => {}
                Some((first, _)) if !call.is_recursive => {
                    items.insert(format!("{first}/"), None);
                }
                _ => {
                    items.insert(format!("{name}/"), None);
                }
            }
        }
        let name = |cursor: &str| cursor.strip_suffix('/').unwrap_or(cursor).to_owned();
        items
            .into_iter()
            .filter(|(cursor, _)| call.is_behind(cursor))
            .filter(|(cursor, _)| call.contains.is_none_or(|text| name(cursor).contains(text)))
            .take(call.limit.unwrap_or(usize::MAX))
            .map(|(cursor, entry)| Item { cursor, entry })
            .collect()
    }
}

pub fn check_items(found: &[ListItem], expected: &[Item], caller: Caller) {
    let cursors: Vec<_> = found.iter().map(ListItem::cursor).collect();
    let wanted: Vec<_> = expected.iter().map(|item| item.cursor.clone()).collect();
    assert_eq!(cursors, wanted, "the items of a listing");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.is_folder, expected.entry.is_none());
        match (&found.metadata, &expected.entry) {
            (None, None | Some((_, None))) => {}
            (Some(found), Some((key, Some(entry)))) => {
                check_metadata(found, key, entry, caller, Attribution::Told);
            }
            (found, expected) => panic!("listed {found:?}, expected {expected:?}"),
        }
    }
}

/// A listing cut into pages is the listing.
pub fn check_pages(view: &Store, call: &ListCall, size: usize, expected: &[Item], caller: Caller) {
    let mut found: Vec<ListItem> = Vec::new();
    loop {
        let mut options = call.options();
        options.limit = Some(size);
        if let Some(last) = found.last() {
            options.after = Some(last.cursor());
        }
        let page = view.list_with(call.folder, options).unwrap();
        let page: Vec<_> = page.map(Result::unwrap).collect();
        assert!(page.len() <= size);
        found.extend(page.iter().cloned());
        if page.len() < size {
            break;
        }
    }
    check_items(&found, expected, caller);
}
