//! Passwords: from a file, from the environment, or asked for at the terminal. Never from an argument, which everybody
//! on the machine can read.

use std::env;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::failure::{Doing, Failure, Outcome};
use super::interrupt;

/// Holds passwords as a password file does.
const VARIABLE: &str = "KOMATIK_PASSWORD";

/// How long a prompt waits before it looks for a signal.
const LOOK: Duration = Duration::from_millis(50);

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

/// Asks at the terminal, without an echo. A signal that comes meanwhile ends it, whatever was typed.
pub(crate) fn ask(prompt: &str) -> Outcome<String> {
    let echo = Echo::note();
    let (answered, answer) = crossbeam_channel::bounded(1);
    let prompt = prompt.to_owned();
    // It is left behind where nobody answers: nothing ends a read of the terminal.
    let asking =
        thread::Builder::new().spawn(move || answered.send(rpassword::prompt_password(prompt)));
    asking.doing(|| "starting a thread".to_owned())?;
    let answer = loop {
        match answer.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => {
                interrupt::check().inspect_err(|_| echo.bring_back())?;
            }
            answer => break answer,
        }
    };
    interrupt::check()?;
    let answer = answer.unwrap_or_else(|error| Err(io::Error::other(error)));
    answer.doing(|| "asking for a password".to_owned())
}

/// How the terminal was before it was asked not to show what is typed.
struct Echo(Option<(File, Termios)>);

impl Echo {
    fn note() -> Echo {
        let terminal = File::open("/dev/tty").ok();
        Echo(terminal.and_then(|terminal| {
            let before = tcgetattr(&terminal).ok()?;
            Some((terminal, before))
        }))
    }

    fn bring_back(&self) {
        if let Some((terminal, before)) = &self.0 {
            // It is about to end: there is nothing else to try.
            let _ = tcsetattr(terminal, OptionalActions::Flush, before);
            let _ = writeln!(io::stderr());
        }
    }
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
