//! Uploading, editing, moving, locking and sharing, in a browser.

use komatik::Lock;
use serde_json::{Value, json};

use super::browser::{Browser, ENTER, ESCAPE};
use super::using::{act, furnish, log_in, press_row, row};
use crate::server::Server;

fn fill_and_enter(browser: &Browser, text: &str) {
    browser.until("document.getElementById('ask').open");
    browser.fill("#ask-input", text);
    browser.press(ENTER);
    browser.until("!document.getElementById('ask').open");
}

#[test]
fn files_come_in_by_a_button_and_by_dropping_and_changes_are_seen_live() {
    let Some(browser) =
        Browser::start("files_come_in_by_a_button_and_by_dropping_and_changes_are_seen_live")
    else {
        return;
    };
    let server = Server::start();
    log_in(&browser, &server);
    browser.until("!document.getElementById('empty').hidden");
    browser.click("#new-folder");
    fill_and_enter(&browser, "inbox");
    press_row(&browser, "inbox", "open");
    browser.until("document.title === 'inbox · Komatik'");

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a b #1.bin");
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(&path, &content).unwrap();
    // How far it is, is told: what it says is kept each time it changes.
    browser.run(
        "window.told = [];
         new MutationObserver(() => {
           const line = document.querySelector('#uploads li .quiet');
           if (line) window.told.push(line.textContent);
         }).observe(document.getElementById('uploads'), {childList: true, subtree: true, characterData: true});",
    );
    browser.choose_file("#chosen", &path);
    browser.until(&row("a b #1.bin"));
    assert_eq!(
        server.store.get("inbox/a b #1.bin").unwrap().unwrap(),
        content
    );
    browser.until("!document.querySelector('#uploads li')");
    let told = browser.run("return window.told").to_string();
    assert!(told.contains("of 2.9 MiB"), "{told}");

    // The same name again: it is asked first, and Escape replaces nothing.
    std::fs::write(&path, b"another").unwrap();
    for (key, stored) in [(ESCAPE, content.as_slice()), (ENTER, b"another".as_slice())] {
        browser.choose_file("#chosen", &path);
        browser.until("document.getElementById('ask').open");
        browser.press(key);
        browser.until(
            "!document.getElementById('ask').open && !document.querySelector('#uploads li')",
        );
        assert_eq!(
            server.store.get("inbox/a b #1.bin").unwrap().unwrap(),
            stored
        );
    }

    browser.run(
        "const transfer = new DataTransfer();
         transfer.items.add(new File(['dropped'], 'dropped.txt', {type: 'text/plain'}));
         transfer.items.add(new File(['too'], 'too.txt', {type: 'text/plain'}));
         document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}));",
    );
    browser.until(&row("too.txt"));
    assert_eq!(
        server.store.get("inbox/dropped.txt").unwrap().unwrap(),
        "dropped"
    );

    // What others do is seen, and the focus stays.
    browser.run("document.querySelector('[aria-label=\"Actions for too.txt\"]').focus()");
    server.store.put("inbox/of-another.txt", "x").unwrap();
    browser.until(&row("of-another.txt"));
    server.store.delete("inbox/dropped.txt").unwrap();
    browser.until(&format!("!({})", row("dropped.txt")));
    let focused = browser.run("return document.activeElement.getAttribute('aria-label')");
    assert_eq!(focused, "Actions for too.txt");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn entries_and_folders_are_renamed_moved_and_deleted() {
    let Some(browser) = Browser::start("entries_and_folders_are_renamed_moved_and_deleted") else {
        return;
    };
    let server = Server::start();
    let store = &server.store;
    furnish(store);
    log_in(&browser, &server);
    act(&browser, "archive.bin", "move");
    fill_and_enter(&browser, "photos/archive 2.bin");
    browser.until(&format!("!({})", row("archive.bin")));
    assert!(store.exists("photos/archive 2.bin").unwrap());
    act(&browser, "photos", "move");
    fill_and_enter(&browser, "pictures");
    browser.until(&row("pictures"));
    assert!(store.exists("pictures/2026/mountain.svg").unwrap());
    // A name that is taken: it is said, and nothing is lost.
    act(&browser, "settings", "move");
    fill_and_enter(&browser, "numbers");
    browser.until("document.getElementById('notice').textContent.includes('already exists')");
    assert!(store.exists("settings").unwrap());
    for (key, is_left) in [(ESCAPE, true), (ENTER, false)] {
        act(&browser, "pictures", "remove");
        browser.until("document.getElementById('ask').open");
        browser.press(key);
        browser.until("!document.getElementById('ask').open");
        if !is_left {
            browser.until(&format!("!({})", row("pictures")));
        }
        assert_eq!(store.exists("pictures").unwrap(), is_left);
    }
    act(&browser, "numbers", "remove");
    browser.click("#ask-ok");
    browser.until(&format!("!({})", row("numbers")));
    assert!(!store.exists("numbers").unwrap());
}

#[test]
fn a_document_is_edited_and_a_merge_seen_before_it_is_saved() {
    let Some(browser) = Browser::start("a_document_is_edited_and_a_merge_seen_before_it_is_saved")
    else {
        return;
    };
    let server = Server::start();
    let store = &server.store;
    furnish(store);
    log_in(&browser, &server);
    let load = |key: &str| store.load::<Value>(key).unwrap().unwrap();
    // Numbers that a script cannot hold come back as they were.
    press_row(&browser, "numbers", "open");
    browser.until("document.getElementById('text').value.includes('18446744073709551615')");
    browser.click("#editor .main");
    browser.until("document.getElementById('status').textContent === 'Saved.'");
    assert_eq!(load("numbers"), json!([u64::MAX, i64::MIN, 0.1]));
    browser.press(ESCAPE);

    let before = load("settings");
    press_row(&browser, "settings", "open");
    browser.until("document.getElementById('preview-title').textContent === 'settings'");
    browser.click("[value=merge]");
    browser.fill("#text", "{\"theme\": \"dark\", \"tabs\": [\"archive\"]}");
    browser.run(
        "const arrays = document.querySelector('[name=arrays]');
         arrays.value = 'append'; arrays.dispatchEvent(new Event('input'));",
    );
    browser.click("#compare");
    browser.until("!document.getElementById('result').hidden");
    let lines = |class: &str| {
        browser.run(&format!("return [...document.querySelectorAll('#difference .{class}')].map((line) => line.textContent.trim())"))
    };
    assert_eq!(
        lines("added"),
        json!(["\"theme\": \"dark\",", "\"notes\",", "\"archive\""])
    );
    assert_eq!(
        lines("removed"),
        json!(["\"theme\": \"light\",", "\"notes\""])
    );
    assert_eq!(load("settings"), before, "it is only looked at");
    browser.click("#editor .main");
    browser.until("document.getElementById('text').value.includes('archive') && document.getElementById('text').value.includes('window')");
    assert_eq!(
        load("settings")["tabs"],
        json!(["inbox", "notes", "archive"])
    );
    assert_eq!(load("settings")["theme"], "dark");

    // Another was faster: it is said, and what they wrote stays.
    store.save("settings", &json!({"by": "another"})).unwrap();
    browser.until("document.getElementById('preview-notice').textContent.includes('has changed')");
    browser.fill("#text", "{}");
    browser.click("#editor .main");
    browser.until(
        "document.getElementById('preview-notice').textContent.includes('nothing was saved')",
    );
    assert_eq!(load("settings"), json!({"by": "another"}));
    browser.press(ESCAPE);

    // What is no JSON is not saved.
    browser.click("#new-document");
    fill_and_enter(&browser, "fresh");
    browser.until("document.getElementById('preview-title').textContent === 'fresh'");
    browser.fill("#text", "{\"a\": }");
    browser.click("#editor .main");
    browser.until("document.getElementById('preview-notice').textContent.includes('no JSON')");
    assert_eq!(load("fresh"), json!({}));
}

#[test]
fn passwords_are_set_asked_for_and_cleared() {
    let Some(browser) = Browser::start("passwords_are_set_asked_for_and_cleared") else {
        return;
    };
    let server = Server::start();
    let store = &server.store;
    furnish(store);
    log_in(&browser, &server);
    browser.run("location.hash = '#/notes'");
    act(&browser, "today.txt", "lock");
    browser.fill("#lock [name=view]", "sésame");
    browser.fill("#lock [name=edit]", "open it");
    browser.click("#lock [value=set]");
    browser.until("document.getElementById('status').textContent === 'The passwords are set.'");
    assert!(store.get("notes/today.txt").is_err());
    assert!(
        store
            .unlocked_with("sésame")
            .get("notes/today.txt")
            .unwrap()
            .is_some()
    );
    // A page that is opened anew knows no password: it asks, also in letters that are not ASCII.
    browser.run("location.reload()");
    browser.until(&row("today.txt"));
    press_row(&browser, "today.txt", "open");
    fill_and_enter(&browser, "sésame");
    browser
        .until("document.querySelector('#preview-body pre')?.textContent.startsWith('First line')");
    browser.press(ESCAPE);
    browser.until("!document.getElementById('preview').open");
    // To delete it the other one is needed.
    act(&browser, "today.txt", "remove");
    browser.click("#ask-ok");
    browser.until("document.getElementById('ask-label').textContent === 'Password to edit'");
    browser.press(ESCAPE);
    assert!(store.exists("notes/today.txt").unwrap());
    act(&browser, "today.txt", "lock");
    browser.click("#lock-clear");
    fill_and_enter(&browser, "open it");
    browser.until("document.getElementById('status').textContent === 'The passwords are cleared.'");
    assert!(store.get("notes/today.txt").unwrap().is_some());
    let kept = browser.run(
        "return JSON.stringify([localStorage.length, sessionStorage.length, document.cookie])",
    );
    assert_eq!(
        kept, "[0,0,\"\"]",
        "a password or session that a script can read"
    );
}

#[test]
fn a_link_works_until_it_is_revoked() {
    let Some(browser) = Browser::start("a_link_works_until_it_is_revoked") else {
        return;
    };
    let server = Server::start();
    furnish(&server.store);
    server.store.put("notes/secret.txt", "s").unwrap();
    server
        .store
        .lock("notes/secret.txt", Lock::new().view("sesame"))
        .unwrap();
    log_in(&browser, &server);
    browser.run("location.hash = '#/notes'");
    let path_of_link = || {
        browser.click("#link .main");
        browser.until("!document.getElementById('link-made').hidden");
        let address = browser.run("return document.getElementById('link-address').value");
        let address = address.as_str().unwrap().to_owned();
        let origin = format!("http://{}", server.address);
        address.strip_prefix(&origin).unwrap().to_owned()
    };
    act(&browser, "today.txt", "link");
    let path = path_of_link();
    browser.picture("link");
    assert!(server.nobody().get(&path).text().starts_with("First line"));
    browser.until("document.getElementById('link-count').textContent === '1 link works.'");
    browser.click("#link-revoke");
    browser.until("document.getElementById('link-count').textContent === 'No links work.'");
    server.nobody().get(&path).problem(403);
    browser.press(ESCAPE);
    browser.until("!document.getElementById('link').open");
    browser.run("location.hash = ''");
    act(&browser, "photos", "link");
    let path = path_of_link();
    assert_eq!(
        server.nobody().get(&path).value()["entries"][0]["name"],
        "2026"
    );
}
