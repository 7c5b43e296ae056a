//! What is different where a person sits at a terminal.

use std::io::{Read, Write};
use std::process::{Output, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::testenv::{Env, PATIENCE, Said};

/// Runs the command at a terminal of its own, where this is typed.
fn at_terminal(env: &Env, arguments: &str, typed: &str, no_color: bool) -> Said {
    let command = format!("'{}' {arguments}", env!("CARGO_BIN_EXE_komatik"));
    run_at_terminal(env, &command, typed, no_color)
}

fn run_at_terminal(env: &Env, command: &str, typed: &str, no_color: bool) -> Said {
    let mut script = std::process::Command::new("script");
    script
        .args(["--quiet", "--return", "--flush", "--command"])
        .arg(command)
        .arg("/dev/null")
        .current_dir(env.directory())
        .env("KOMATIK_STORE", "store")
        .env("TERM", "xterm")
        .env_remove("KOMATIK_PASSWORD")
        .env_remove("NO_COLOR")
        .stdin(Stdio::piped());
    if no_color {
        script.env("NO_COLOR", "1");
    }
    let mut child = env.start(&mut script);
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    let (show, shown) = channel();
    let reading = std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(bytes @ 1..) = output.read(&mut piece) {
            show.send(piece[..bytes].to_vec()).unwrap();
        }
    });
    let mut output = Vec::new();
    for (number, line) in typed.lines().enumerate() {
        // A prompt throws away what was typed before it.
        while prompts(&output) <= number {
            match shown.recv_timeout(PATIENCE) {
                Ok(piece) => output.extend(piece),
                Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&output)),
            }
        }
        // Behind it the terminal is told not to show what is typed.
        std::thread::sleep(Duration::from_millis(200));
        writeln!(input, "{line}").unwrap();
    }
    output.extend(shown.iter().flatten());
    reading.join().unwrap();
    let said = child.wait_with_output().unwrap();
    drop(input);
    Said::of(Output {
        stdout: output,
        ..said
    })
}

/// How many prompts there are in this, each of which ends with the only `: ` it has.
fn prompts(output: &[u8]) -> usize {
    output.windows(2).filter(|pair| pair == b": ").count()
}

fn filled() -> Env {
    Env::with(|store| {
        store.put("folder/turned\u{202e}txt.exe", "x").unwrap();
        store.put("binary", [0, 1, 2, 0x1b]).unwrap();
        store.put("text", "plain\n").unwrap();
        store.put("large", vec![1; 60_000_000]).unwrap();
        store.save("d", &"\u{9b}31m\u{202e}\u{e0041}").unwrap();
        let lock = komatik::Lock::new().view("sesame");
        store.put("diary", "dear diary").unwrap();
        store.lock("diary", lock).unwrap();
    })
}

#[test]
fn an_interrupt_at_a_prompt_ends_it_and_tries_nothing() {
    let env = filled();
    let said = at_terminal(&env, "get diary", "\u{3}", true);
    assert_eq!(said.code, Some(130), "{}", said.text());
    assert!(said.text().contains("password of diary"), "{}", said.text());
    assert!(!said.text().contains("does not open"), "{}", said.text());
}

#[test]
fn a_signal_at_a_prompt_ends_it_and_what_is_typed_shows_again() {
    let env = filled();
    let komatik = env!("CARGO_BIN_EXE_komatik");
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let ends = format!(
            "timeout --preserve-status --foreground -k 10 -s {signal} 1 '{komatik}' get diary; echo it ended with $?; stty -a"
        );
        let said = run_at_terminal(&env, &ends, "", true);
        let text = said.text();
        assert!(text.contains(&format!("it ended with {code}")), "{text}");
        assert!(
            text.contains(" echo ") && !text.contains(" -echo "),
            "{text}"
        );
    }
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let env = filled();
    let coloured = at_terminal(&env, "ls", "", false);
    assert!(coloured.text().contains("\u{1b}["), "{}", coloured.text());
    assert!(!at_terminal(&env, "ls", "", true).text().contains("\u{1b}["));
    assert!(!env.ok(&["ls"]).contains('\u{1b}'));
    let failed = at_terminal(&env, "get nothing", "", false);
    assert_eq!(failed.code, Some(3));
    assert!(failed.text().contains("\u{1b}["), "{}", failed.text());
}

#[test]
fn nothing_a_terminal_would_obey_comes_out() {
    let env = filled();
    let listed = at_terminal(&env, "ls folder", "", true);
    assert_eq!(listed.text(), "turned\\u{202e}txt.exe\r\n");
    assert_eq!(env.ok(&["ls", "folder"]), "turned\u{202e}txt.exe\n");
    assert_eq!(
        at_terminal(&env, "load d", "", true).text(),
        "\"\\u009b31m\\u202e\\udb40\\udc41\"\r\n"
    );
    let refused = at_terminal(&env, "get binary", "", true);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.text().contains("binary is not text"),
        "{}",
        refused.text()
    );
    assert_eq!(at_terminal(&env, "get binary -", "", true).code, Some(0));
    assert_eq!(at_terminal(&env, "get text", "", true).text(), "plain\r\n");
    assert_eq!(at_terminal(&env, "export", "", true).code, Some(2));
}

#[test]
fn progress_is_for_terminals() {
    let env = filled();
    let shown = at_terminal(&env, "get large out", "", true);
    assert_eq!(shown.code, Some(0));
    assert!(shown.text().contains("57.22 MiB, "), "{}", shown.text());
    assert!(shown.text().contains("left"), "{}", shown.text());
    let quiet = at_terminal(&env, "get large out --quiet", "", true);
    assert_eq!(quiet.text(), "");
    let piped = env.run(&["get", "large", "out"]);
    assert_eq!(piped.complaint, "wrote 57.22 MiB of large to out\n");
}

#[test]
fn a_password_is_asked_for_and_not_shown() {
    let env = filled();
    let said = at_terminal(&env, "get diary", "sesame\n", true);
    assert_eq!(said.code, Some(0), "{}", said.text());
    assert!(
        said.text().contains("The view password of diary: "),
        "{}",
        said.text()
    );
    assert!(said.text().ends_with("dear diary"), "{}", said.text());
    assert!(!said.text().contains("sesame"));
    let again = at_terminal(&env, "get diary", "wrong\nsesame\n", true);
    assert!(
        again.text().contains("It does not open it."),
        "{}",
        again.text()
    );
    assert!(again.text().ends_with("dear diary"), "{}", again.text());
    let never = at_terminal(&env, "get diary", "wrong\nworse\nworst\n", true);
    assert_eq!(never.code, Some(6), "{}", never.text());

    let set = at_terminal(&env, "lock text --edit", "new\nnew\n", true);
    assert_eq!(set.code, Some(0), "{}", set.text());
    assert_eq!(env.run(&["rm", "text"]).code, Some(6));
    let differ = at_terminal(&env, "lock binary --edit", "new\nold\n", true);
    assert_eq!(differ.code, Some(2), "{}", differ.text());
    assert!(
        differ.text().contains("are not the same"),
        "{}",
        differ.text()
    );
}
