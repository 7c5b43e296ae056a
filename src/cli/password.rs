//! Passwords: from a file, from the environment, or asked for at the terminal. Never from an argument, which everybody
//! on the machine can read.

use std::env;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;

use super::failure::{Doing, Failure, Outcome};
use super::interrupt;

/// Holds passwords as a password file does.
const VARIABLE: &str = "KOMATIK_PASSWORD";

/// The passwords to offer: each line of the file, else of the variable.
pub(crate) fn offered(file: Option<&Path>) -> Outcome<Vec<String>> {
    let text = match file {
        Some(path) => fs::read_to_string(path).doing(|| format!("reading {}", path.display()))?,
        None => match env::var(VARIABLE) {
            Ok(text) => text,
            Err(env::VarError::NotPresent) => String::new(),
            Err(env::VarError::NotUnicode(_)) => {
                return Err(Failure::usage(format!("{VARIABLE} is not UTF-8")));
            }
        },
    };
    let lines = text.lines().filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}

/// The one password a file holds.
pub(crate) fn only(path: &Path) -> Outcome<String> {
    let mut offered = offered(Some(path))?;
    match (offered.pop(), offered.is_empty()) {
        (Some(password), true) => Ok(password),
        _ => Err(Failure::usage(format!(
            "{} must hold one line, the password",
            path.display()
        ))),
    }
}

/// Whether there is a person to ask.
pub(crate) fn can_ask() -> bool {
    io::stderr().is_terminal()
}

/// Asks at the terminal, without an echo.
pub(crate) fn ask(prompt: &str) -> Outcome<String> {
    let answer = rpassword::prompt_password(prompt);
    // A signal that came meanwhile ends it, whatever was typed.
    interrupt::check()?;
    answer.doing(|| "asking for a password".to_owned())
}

/// Asks for a new password, twice.
pub(crate) fn ask_new(what: &str) -> Outcome<String> {
    if !can_ask() {
        return Err(Failure::usage(format!(
            "there is no terminal to ask for the new {what} password"
        ))
        .advise(format!("give it by `--{what}-file FILE`")));
    }
    let password = ask(&format!("New {what} password: "))?;
    if ask("The same again: ")? == password {
        Ok(password)
    } else {
        Err(Failure::usage("the two are not the same"))
    }
}
