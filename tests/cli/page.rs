//! What is written about the command: its own manual, and the page with a first hour.

use std::path::Path;
use std::process::Command;

use crate::testenv::Env;

const PAGE: &str = include_str!("../../docs/cli.md");

#[test]
fn completions_and_manual_pages_are_made() {
    let env = Env::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = env.ok(&["completions", shell]);
        assert!(
            text.contains("komatik") && text.contains("password-file"),
            "{shell}"
        );
    }
    assert_eq!(env.run(&["completions", "none"]).code, Some(2));
    let page = env.ok(&["man"]);
    for part in [".TH komatik 1", "Exit codes", "not_found", "KOMATIK_STORE"] {
        assert!(page.contains(part), "{part}");
    }
    env.ok(&["man", "pages/man1"]);
    let page = std::fs::read_to_string(env.path("pages/man1/komatik-watch.1")).unwrap();
    assert!(page.contains("KOMATIK_CHANGE"));
    assert!(!env.path("pages/man1/komatik-crash-writer.1").exists());
    // One for the command itself, and one for each of what it does.
    let services = if cfg!(feature = "http") { 2 } else { 0 };
    assert_eq!(
        std::fs::read_dir(env.path("pages/man1")).unwrap().count(),
        35 + services
    );
}

#[test]
fn every_command_explains_itself() {
    let env = Env::new();
    let help = env.ok(&["help"]);
    let commands = help.split("Commands:").nth(1).unwrap().lines();
    let commands = commands.filter_map(|line| {
        line.strip_prefix("  ")?
            .split(' ')
            .next()
            .filter(|name| !name.is_empty())
    });
    let mut count = 0;
    for command in commands.take_while(|name| !name.starts_with('-')) {
        let help = env.ok(&["help", command]);
        assert!(help.contains("Usage: komatik"), "{command}");
        count += 1;
    }
    assert!(count >= 34, "{count} in {help}");
    assert_eq!(env.run(&["unknown"]).code, Some(2));
}

/// A line of the page, in which `…` stands for anything.
fn matches(line: &str, expected: &str) -> bool {
    let mut parts = expected.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    for (index, part) in parts.iter().enumerate() {
        if index + 1 == parts.len() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

/// The commands of the page, each with the lines that follow it.
fn transcript() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut steps: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut is_inside = false;
    for line in PAGE.lines() {
        match line.strip_prefix("$ ") {
            _ if line.starts_with("```") => is_inside = line == "```console",
            Some(command) if is_inside => steps.push((command, Vec::new())),
            None if is_inside => steps.last_mut().unwrap().1.push(line),
            _ => {}
        }
    }
    steps
}

#[test]
fn the_first_hour_goes_as_the_page_says() {
    let env = Env::new();
    let directory = Path::new(env!("CARGO_BIN_EXE_komatik")).parent().unwrap();
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let steps = transcript();
    assert!(steps.len() > 30, "{}", steps.len());
    let mut script = String::from("exec 2>&1\n");
    for (index, (command, _)) in steps.iter().enumerate() {
        script.push_str(&format!("echo '#{index}'\n{command}\n"));
    }
    let said = Command::new("sh")
        .args(["-c", &script])
        .current_dir(env.directory())
        .env("PATH", path)
        .env("TZ", "UTC")
        .env_remove("KOMATIK_STORE")
        .env_remove("KOMATIK_PASSWORD")
        .output()
        .unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    for (index, (command, expected)) in steps.iter().enumerate() {
        let from = said.split(&format!("#{index}\n")).nth(1).unwrap();
        let to = from
            .find(&format!("#{}\n", index + 1))
            .unwrap_or(from.len());
        let lines: Vec<&str> = from[..to].lines().collect();
        let is_same = lines.len() == expected.len()
            && lines
                .iter()
                .zip(expected)
                .all(|(line, expected)| matches(line, expected));
        assert!(
            is_same,
            "`{command}` said\n{}\nnot\n{}",
            lines.join("\n"),
            expected.join("\n")
        );
    }
}
