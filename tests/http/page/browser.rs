//! A browser without a window, driven as the WebDriver standard says.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;

/// What the standard names the reference to an element by.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// How long a page may take to become as it is expected.
const PATIENCE: Duration = Duration::from_secs(20);

/// The keys a page is used with.
pub(crate) const TAB: &str = "\u{e004}";
pub(crate) const ENTER: &str = "\u{e007}";
pub(crate) const ESCAPE: &str = "\u{e00c}";

/// How often the driver is started, where it ends at once.
const MOST_STARTS: usize = 5;

pub(crate) struct Browser {
    driver: Child,
    agent: Agent,
    session: String,
    /// Where the two keep their temporary files, which they leave behind.
    _scratch: TempDir,
}

/// A driver and its port, `None` where it ended before it had one.
fn driver(scratch: &Path) -> Option<(Child, u16)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .env("TMPDIR", scratch)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = BufReader::new(driver.stdout.take().unwrap());
    let port = said.lines().find_map(|line| {
        let line = line.unwrap();
        let port = line.split("started successfully on port ").nth(1)?;
        Some(port.trim_end_matches('.').parse::<u16>().unwrap())
    });
    if port.is_none() {
        driver.wait().unwrap();
    }
    Some((driver, port?))
}

impl Browser {
    /// `None`, and a word about it, on a machine that has no browser.
    pub(crate) fn start(test: &str) -> Option<Browser> {
        let is_there = |name| {
            let asked = Command::new(name)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            asked.is_ok_and(|status| status.success())
        };
        if !is_there("chromedriver") || !is_there("chromium") {
            // Past the capture of the test harness, which hides what a passing test says.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: {test}, there is no chromium with chromedriver"
            );
            return None;
        }
        let scratch = tempfile::tempdir().unwrap();
        // The port it finds free may be another's by the time it takes it; then it ends.
        let (driver, port) = (0..MOST_STARTS)
            .find_map(|_| driver(scratch.path()))
            .unwrap_or_else(|| panic!("chromedriver does not start"));
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        let mut browser = Browser {
            driver,
            agent,
            session: format!("http://127.0.0.1:{}/session", port),
            _scratch: scratch,
        };
        let options = json!({
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--window-size=1280,900", "--autoplay-policy=no-user-gesture-required"],
            "prefs": {"credentials_enable_service": false},
        });
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let begun = browser.ask("POST", "", &wanted);
        let id = begun["sessionId"].as_str().unwrap();
        browser.session = format!("{}/{id}", browser.session);
        Some(browser)
    }

    /// What the driver answers, or why it did not do it.
    fn try_ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
        let url = format!("{}{path}", self.session);
        let answer = match method {
            "POST" => self.agent.post(&url).send(body.to_string()),
            "DELETE" => self.agent.delete(&url).call(),
            _ => self.agent.get(&url).call(),
        };
        let mut answer = answer.unwrap();
        let body = answer.body_mut().with_config().limit(1 << 28).read_to_vec();
        let mut object: Value = serde_json::from_slice(&body.unwrap()).unwrap();
        match answer.status().is_success() {
            true => Ok(object["value"].take()),
            false => Err(object["value"].take()),
        }
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_ask(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    #[track_caller]
    pub(crate) fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({"url": url}));
    }

    /// Runs the body of a function in the page, and answers what it returns, also where that is a promise.
    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> Value {
        let asked = json!({"script": script, "args": []});
        self.ask("POST", "/execute/sync", &asked)
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub(crate) fn until(&self, expression: &str) {
        let began = Instant::now();
        loop {
            if self.run(&format!("return Boolean({expression})")) == true {
                return;
            }
            if began.elapsed() > PATIENCE {
                let shown = self.run("return document.body.innerText");
                panic!("never was `{expression}`; the page shows {shown}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The element of a selector, waited for.
    #[track_caller]
    fn element(&self, selector: &str) -> String {
        self.until(&format!("document.querySelector({})", json!(selector)));
        let wanted = json!({"using": "css selector", "value": selector});
        let found = self.ask("POST", "/element", &wanted);
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Clicks as a person does, once it can be clicked.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        let began = Instant::now();
        loop {
            let path = format!("/element/{}/click", self.element(selector));
            match self.try_ask("POST", &path, &json!({})) {
                Ok(_) => return,
                Err(error) if began.elapsed() > PATIENCE => panic!("click {selector}: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Types into an element, in place of what it held.
    #[track_caller]
    pub(crate) fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.until(&format!(
            "document.querySelector({}).checkVisibility()",
            json!(selector)
        ));
        self.ask("POST", &format!("/element/{element}/clear"), &json!({}));
        let keys = json!({"text": text});
        self.ask("POST", &format!("/element/{element}/value"), &keys);
    }

    /// Chooses a file, as the dialog of the system would.
    #[track_caller]
    pub(crate) fn choose_file(&self, selector: &str, path: &Path) {
        let element = self.element(selector);
        let keys = json!({"text": path.to_str().unwrap()});
        self.ask("POST", &format!("/element/{element}/value"), &keys);
    }

    /// Presses keys, wherever the focus is.
    #[track_caller]
    pub(crate) fn press(&self, keys: &str) {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key})))
            .collect();
        let source = json!({"type": "key", "id": "keyboard", "actions": strokes});
        self.ask("POST", "/actions", &json!({"actions": [source]}));
    }

    /// A command of the developer tools.
    #[track_caller]
    fn tools(&self, command: &str, parameters: &Value) {
        let asked = json!({"cmd": command, "params": parameters});
        self.ask("POST", "/goog/cdp/execute", &asked);
    }

    #[track_caller]
    pub(crate) fn prefer(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.tools("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    #[track_caller]
    pub(crate) fn resize(&self, width: u32, height: u32, mobile: bool) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile});
        self.tools("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Keeps a picture of what is shown in the directory of `KOMATIK_SCREENSHOTS`, where that is set.
    #[track_caller]
    pub(crate) fn picture(&self, name: &str) {
        let Some(directory) = std::env::var_os("KOMATIK_SCREENSHOTS") else {
            return;
        };
        let picture = self.ask("GET", "/screenshot", &json!({}));
        let bytes = STANDARD.decode(picture.as_str().unwrap()).unwrap();
        std::fs::write(Path::new(&directory).join(format!("{name}.png")), bytes).unwrap();
    }

    /// What the page complained of, advice and answers of the service that are no success left out: a page may ask in vain.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", &json!({"type": "browser"}));
        let entries = log.as_array().unwrap().iter();
        let entries =
            entries.filter(|entry| entry["source"] != "network" && entry["level"] != "DEBUG");
        entries.map(|entry| entry["message"].to_string()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.try_ask("DELETE", "", &json!({}));
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
