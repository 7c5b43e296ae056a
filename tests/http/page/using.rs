//! Logging in, looking around and the care of the store, in a browser.

use komatik::{PutOptions, Store};
use serde_json::json;

use super::browser::{Browser, ENTER, ESCAPE, TAB};
use crate::server::Server;

/// An hour of silence is not needed: two minutes of it, 8,000 samples of a byte a second.
const SILENCE_SECONDS: u32 = 120;

pub(crate) fn log_in(browser: &Browser, server: &Server) {
    browser.open(&format!("http://{}/", server.address));
    browser.fill("#login [name=name]", "admin");
    browser.fill("#login [name=password]", &server.password);
    browser.press(ENTER);
    browser.until("!document.getElementById('files').hidden");
}

/// An expression that is true where a row of this name is shown.
pub(crate) fn row(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('#rows .label')].some((label) => label.textContent === {})",
        json!(name)
    )
}

/// Presses the button of a row: `open` or `more`.
#[track_caller]
pub(crate) fn press_row(browser: &Browser, name: &str, part: &str) {
    browser.until(&row(name));
    browser.run(&format!(
        "const row = [...document.querySelectorAll('#rows tr')]
           .find((row) => row.querySelector('.label').textContent === {});
         row.querySelector('[data-part={part}]').click();",
        json!(name)
    ));
}

/// Does what the sheet of actions of a row offers.
#[track_caller]
pub(crate) fn act(browser: &Browser, name: &str, action: &str) {
    press_row(browser, name, "more");
    browser.click(&format!("#actions [value={action}]"));
}

/// A sound file of silence.
fn silence() -> Vec<u8> {
    let length = SILENCE_SECONDS * 8000;
    let mut wav = Vec::new();
    wav.extend(b"RIFF");
    wav.extend((36 + length).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    wav.extend([1, 0, 1, 0]);
    wav.extend(8000_u32.to_le_bytes());
    wav.extend(8000_u32.to_le_bytes());
    wav.extend([1, 0, 8, 0]);
    wav.extend(b"data");
    wav.extend(length.to_le_bytes());
    wav.resize(wav.len() + length as usize, 0x80);
    wav
}

const PICTURE: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" width="640" height="360" viewBox="0 0 640 360"><rect width="640" height="360" fill="#9cc3dd"/><path d="M0 300 180 120l90 90 110-140 260 230z" fill="#47647d"/><path d="M0 360v-40l640-30v70z" fill="#f4f7fa"/></svg>"##;

/// A name that would be a script, were it taken for HTML.
const HOSTILE: &str = "<img src=x onerror=\"document.title='taken'\">.txt";

pub(crate) fn furnish(store: &Store) {
    let typed = |content_type| PutOptions::new().content_type(content_type);
    store.put("photos/2026/mountain.svg", PICTURE).unwrap();
    store
        .put("notes/today.txt", "First line\nand <b>the second</b>\n")
        .unwrap();
    store
        .put(
            &format!("notes/{HOSTILE}"),
            "<script>document.title = 'taken'</script>",
        )
        .unwrap();
    store
        .put_with("sounds/silence.wav", silence(), typed("audio/wav"))
        .unwrap();
    store.put("archive.bin", vec![7; 300_000]).unwrap();
    let settings = json!({"theme": "light", "tabs": ["inbox", "notes"], "window": {"width": 800, "height": 600}});
    store.save("settings", &settings).unwrap();
    store
        .save("numbers", &json!([u64::MAX, i64::MIN, 0.1]))
        .unwrap();
    store.create_folder("empty").unwrap();
}

#[test]
fn a_person_logs_in_and_looks_around_by_keyboard() {
    let Some(browser) = Browser::start("a_person_logs_in_and_looks_around_by_keyboard") else {
        return;
    };
    let server = Server::start();
    furnish(&server.store);
    browser.open(&format!("http://{}/", server.address));
    browser.until("document.activeElement?.name === 'name'");
    browser.picture("login");
    browser.press("admin");
    browser.press(TAB);
    browser.press("wrong password");
    browser.press(ENTER);
    browser.until("document.getElementById('notice').textContent.includes('not right')");
    assert_eq!(
        browser.run("return document.getElementById('files').hidden"),
        true
    );
    log_in(&browser, &server);
    browser.until(&row("settings"));
    // Folders, then by name; the focus goes through the rows in the order they are seen.
    let names = browser.run(
        "return [...document.querySelectorAll('#rows .label')].map((label) => label.textContent)",
    );
    assert_eq!(
        names,
        json!([
            "archive.bin",
            "empty",
            "notes",
            "numbers",
            "photos",
            "settings",
            "sounds"
        ])
    );
    browser.run("document.querySelector('#crumbs a').focus()");
    let mut passed = Vec::new();
    for _ in 0..5 {
        browser.press(TAB);
        passed.push(browser.run("const it = document.activeElement; return it.id || it.getAttribute('aria-label') || it.textContent"));
    }
    assert_eq!(
        json!(passed),
        json!([
            "upload",
            "new-folder",
            "new-document",
            "archive.bin",
            "Actions for archive.bin"
        ])
    );
    let ring = browser.run("return getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(ring, "solid", "the focus is seen");
    // A dialog opens, Escape closes it, and the focus is where it was.
    browser.press(ENTER);
    browser.until("document.getElementById('actions').open");
    browser.picture("actions");
    browser.press(ESCAPE);
    browser.until("!document.getElementById('actions').open");
    let focused = browser.run("return document.activeElement.getAttribute('aria-label')");
    assert_eq!(focused, "Actions for archive.bin");
    // Into folders, and back.
    press_row(&browser, "photos", "open");
    press_row(&browser, "2026", "open");
    browser.until(&row("mountain.svg"));
    let crumbs = browser.run(
        "return [...document.querySelectorAll('#crumbs a')].map((crumb) => crumb.textContent)",
    );
    assert_eq!(crumbs, json!(["All", "photos", "2026"]));
    browser.run("history.back()");
    browser.until(&row("2026"));
    browser.click("#crumbs li:first-child a");
    browser.until(&row("settings"));
    browser.click("#log-out");
    browser.until("!document.getElementById('login').hidden");
    assert_eq!(
        browser.run("return document.querySelectorAll('#rows tr').length"),
        0
    );
    browser.open(&format!("http://{}/", server.address));
    browser.until("!document.getElementById('login').hidden");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_name_is_taken_as_it_is_also_with_spaces_around_it() {
    let Some(browser) = Browser::start("a_name_is_taken_as_it_is_also_with_spaces_around_it")
    else {
        return;
    };
    let server = Server::start();
    let store = &server.store;
    store.put("Notes /inside", "x").unwrap();
    store.put("Notes/beside", "x").unwrap();
    store.put(" a", "x").unwrap();
    log_in(&browser, &server);
    press_row(&browser, "Notes ", "open");
    browser.until(&row("inside"));
    // Its path as it is offered: nothing is moved.
    browser.run("history.back()");
    let revision = store.history().newest;
    act(&browser, " a", "move");
    browser.until("document.getElementById('ask').open");
    browser.press(ENTER);
    browser.until("!document.getElementById('ask').open");
    // The next one is moved after it.
    act(&browser, " a", "move");
    browser.fill("#ask-input", "/Notes / b");
    browser.press(ENTER);
    browser.until(&format!("!({})", row(" a")));
    assert!(store.exists("Notes / b").unwrap());
    assert_eq!(store.history().newest, revision + 1);
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[test]
fn contents_are_shown_as_what_they_are_and_never_run() {
    let Some(browser) = Browser::start("contents_are_shown_as_what_they_are_and_never_run") else {
        return;
    };
    let server = Server::start();
    furnish(&server.store);
    log_in(&browser, &server);
    let open = |path: &str, name: &str| {
        browser.run(&format!("location.hash = '#/{path}'"));
        press_row(&browser, name, "open");
        browser.until("document.getElementById('preview').open");
    };
    let close = || {
        browser.press(ESCAPE);
        browser.until("!document.getElementById('preview').open");
    };
    open("photos/2026", "mountain.svg");
    browser.until("document.querySelector('#preview-body img')?.naturalWidth === 640");
    browser.picture("image");
    close();
    open("notes", "today.txt");
    let text = browser.run("return document.querySelector('#preview-body pre').textContent");
    assert_eq!(text, "First line\nand <b>the second</b>\n");
    close();
    open("notes", HOSTILE);
    let text = browser.run("return document.querySelector('#preview-body pre').textContent");
    assert_eq!(text, "<script>document.title = 'taken'</script>");
    assert_eq!(
        browser.run("return document.querySelectorAll('#files img, #preview img').length"),
        0
    );
    assert_eq!(browser.run("return document.title"), "notes · Komatik");
    close();
    open("", "archive.bin");
    browser.until("document.getElementById('preview-body').textContent.includes('no preview')");
    close();
    open("sounds", "silence.wav");
    browser.until("document.querySelector('#preview-body audio').readyState >= 1");
    seek(&browser, "audio", 100);
    let text = server.admin().get("/metrics").text();
    let partial = "http_requests_total{method=\"GET\",route=\"/v1/blobs/{*key}\",status=\"206\"}";
    assert!(text.contains(partial), "{text}");
    close();
    // The policy holds against what a page is made to do.
    let refused = browser.run("try { document.body.innerHTML = '<b>x</b>'; return 'done' } catch (error) { return error.name }");
    assert_eq!(refused, "TypeError");
}

/// Moves in a film or a sound, and waits until it can go on from there.
#[track_caller]
fn seek(browser: &Browser, kind: &str, to: u32) {
    let sought = browser.run(&format!(
        "const media = document.querySelector('#preview-body {kind}');
         return new Promise((done) => {{
           media.addEventListener('seeked', () => done(media.currentTime), {{once: true}});
           media.addEventListener('error', () => done(media.error.message), {{once: true}});
           media.currentTime = {to};
         }});"
    ));
    assert_eq!(sought, to, "seeking");
}

#[test]
fn a_film_is_shown_also_one_that_is_locked() {
    let Some(browser) = Browser::start("a_film_is_shown_also_one_that_is_locked") else {
        return;
    };
    let server = Server::start();
    log_in(&browser, &server);
    // The browser makes the film itself: a second of a canvas that changes its colour.
    let film = browser.run(
        "const canvas = document.createElement('canvas');
         canvas.width = 320; canvas.height = 180;
         const pen = canvas.getContext('2d');
         let step = 0;
         const paint = setInterval(() => { pen.fillStyle = `hsl(${step += 9} 60% 50%)`; pen.fillRect(0, 0, 320, 180); }, 30);
         const recorder = new MediaRecorder(canvas.captureStream(30), {mimeType: 'video/webm'});
         const pieces = [];
         recorder.ondataavailable = (event) => pieces.push(event.data);
         return new Promise((done) => {
           recorder.onstop = async () => {
             clearInterval(paint);
             const bytes = new Uint8Array(await new Blob(pieces).arrayBuffer());
             done([...bytes]);
           };
           recorder.start();
           setTimeout(() => recorder.stop(), 1500);
         });",
    );
    let film: Vec<u8> = serde_json::from_value(film).unwrap();
    let typed = PutOptions::new().content_type("video/webm");
    server.store.put_with("film.webm", film, typed).unwrap();
    for password in [None, Some("sesame")] {
        if let Some(password) = password {
            let lock = komatik::Lock::new().view(password);
            server.store.lock("film.webm", lock).unwrap();
            // The row says so once the change has come.
            browser.until("document.querySelector('#rows .icon.lock')");
        }
        press_row(&browser, "film.webm", "open");
        if let Some(password) = password {
            browser.until("document.getElementById('ask').open");
            browser.fill("#ask-input", "wrong");
            browser.press(ENTER);
            browser.until(
                "document.getElementById('ask-title').textContent.includes('does not open')",
            );
            browser.fill("#ask-input", password);
            browser.press(ENTER);
        }
        browser.until("document.querySelector('#preview-body video')?.videoWidth === 320");
        seek(&browser, "video", 1);
        if password.is_none() {
            browser.picture("film");
        }
        browser.press(ESCAPE);
        browser.until("!document.getElementById('preview').open");
    }
}

#[test]
fn an_admin_sees_the_figures_and_verifies_and_compacts() {
    let Some(browser) = Browser::start("an_admin_sees_the_figures_and_verifies_and_compacts")
    else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    furnish(&store);
    let server = Server::with(&store, komatik::http::Limits::default());
    log_in(&browser, &server);
    browser.click("#care-open");
    browser.until("document.querySelectorAll('#stats dd').length === 9");
    let entries = browser.run("return document.querySelector('#stats dd').textContent");
    assert_eq!(entries, store.stats().unwrap().entries.to_string());
    browser.click("#verify");
    browser.until("document.getElementById('care-result').textContent.startsWith('Sound: ')");
    browser.picture("care");
    browser.click("#compact");
    browser.until("document.getElementById('care-result').textContent.startsWith('Packs of ')");
    browser.press(ESCAPE);
    // Who only reads is offered nothing else.
    server.user("ann", "reader", "notes");
    browser.click("#log-out");
    browser.fill("#login [name=name]", "ann");
    browser.fill("#login [name=password]", "a long one");
    browser.press(ENTER);
    browser.until(&row("today.txt"));
    for hidden in ["upload", "new-folder", "new-document", "care-open"] {
        let seen = browser.run(&format!(
            "return document.getElementById('{hidden}').checkVisibility()"
        ));
        assert_eq!(seen, false, "{hidden}");
    }
}

/// Pictures of every view, in light and dark and on a phone, for those who want to look: `KOMATIK_SCREENSHOTS` names
/// the directory. That nothing is wider than the screen is tested in any case.
#[test]
fn it_fits_every_screen_in_light_and_dark() {
    let Some(browser) = Browser::start("it_fits_every_screen_in_light_and_dark") else {
        return;
    };
    let server = Server::start();
    furnish(&server.store);
    let lock = komatik::Lock::new().edit("sesame");
    server.store.lock("archive.bin", lock).unwrap();
    log_in(&browser, &server);
    browser.until(&row("settings"));
    let mut backgrounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        for (screen, width, height) in [("desk", 1280, 900), ("phone", 360, 740)] {
            browser.resize(width, height, screen == "phone");
            let look = |view: &str| {
                browser.picture(&format!("{view}-{scheme}-{screen}"));
                let excess = browser.run("const page = document.documentElement; return page.scrollWidth - page.clientWidth");
                assert_eq!(excess, 0, "{view} on a {screen} of {width} pixels");
            };
            look("folder");
            press_row(&browser, "settings", "open");
            browser.until("document.getElementById('preview').open");
            browser.click("[value=merge]");
            browser.fill(
                "#text",
                "{\"theme\": \"dark\", \"tabs\": [\"archive\"], \"new\": true}",
            );
            browser.click("#compare");
            browser.until("!document.getElementById('result').hidden");
            look("merge");
            browser.press(ESCAPE);
            browser.until("!document.getElementById('preview').open");
            act(&browser, "archive.bin", "lock");
            browser.until("document.getElementById('lock').open");
            look("lock");
            browser.press(ESCAPE);
            browser.until("!document.getElementById('lock').open");
        }
        backgrounds.push(browser.run("return getComputedStyle(document.body).backgroundColor"));
    }
    assert_ne!(backgrounds[0], backgrounds[1]);
}
