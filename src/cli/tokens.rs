//! Tokens: granted, listed and revoked.

use std::time::{Duration, SystemTime};

use komatik::{Grant, TokenInfo};
use serde_json::json;

use super::exit::Exit;
use super::failure::{Doing, Failure, Outcome};
use super::output::Lines;
use super::session::{Globals, Session};
use super::{input, output, show};

/// Print a token that lets its holder read one entry, or list one folder
#[derive(clap::Args)]
pub(crate) struct Token {
    key: String,
    /// It lists the folder of this name
    #[arg(long)]
    folder: bool,
    /// It stops working after this time, such as 24h or 7days [default: never]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    expires: Option<Duration>,
    /// Print an address below this one that carries the token
    ///
    /// It is for a server of one's own that calls `read_with`. `komatik serve` opens the token at
    /// `/v1/shared/<token>/<whole key>`, that of a folder with `/` at the end.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// List the tokens that work; not the tokens themselves, which the store does not know
#[derive(clap::Args)]
pub(crate) struct Tokens {}

/// Revoke every token for a key or folder, or one token, or all
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["key", "token", "all"])))]
pub(crate) struct Revoke {
    key: Option<String>,
    /// This token, read from standard input: arguments can be seen by others. Where there is no such token, that is a failure
    #[arg(long)]
    token: bool,
    /// All there are
    #[arg(long)]
    all: bool,
}

impl Token {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        let mut grant = Grant::new();
        grant.folder = self.folder;
        if let Some(time) = self.expires {
            let expires = SystemTime::now().checked_add(time);
            let expires = expires.ok_or_else(|| Failure::usage("it would expire too late"))?;
            grant = grant.expires(expires);
        }
        // Of an address that cannot be, no token is left.
        if let Some(base) = &self.url {
            session.store.download_url(base, &self.key)?;
        }
        let token = session.unlocked(|store| store.grant(&self.key, grant.clone()))?;
        let url = match &self.url {
            Some(base) => Some(session.store.download_url_with(base, &self.key, &token)?),
            None => None,
        };
        session.manner.answer(
            || {
                json!({
                    "key": self.key,
                    "folder": self.folder,
                    "token": token.as_str(),
                    "url": url,
                    "expires": grant.expires.map(micros),
                })
            },
            || url.clone().unwrap_or_else(|| token.to_string()),
        )
    }
}

impl Tokens {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        let mut tokens = session.store.tokens()?;
        tokens.sort_by(|a, b| (&a.key, a.created).cmp(&(&b.key, b.created)));
        let mut lines = Lines::new();
        for token in &tokens {
            lines.line(&match session.manner.json {
                true => json!(token).to_string(),
                false => text(token),
            })?;
        }
        lines.finish()
    }
}

fn micros(time: SystemTime) -> String {
    humantime::format_rfc3339_micros(time).to_string()
}

fn text(token: &TokenInfo) -> String {
    let until = token.expires.map_or("for ever".to_owned(), |time| {
        format!("until {}", show::moment(time))
    });
    let slash = if token.folder { "/" } else { "" };
    let created = show::moment(token.created);
    format!("{created}  {until:<26}  {}{slash}", show::name(&token.key))
}

impl Revoke {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome<()> {
        // Before the store is opened, which the command that it comes from may have.
        let token = self.token.then(read_token).transpose()?;
        globals.with_store(|session| self.revoke(session, token.as_ref()))
    }

    fn revoke(&self, session: &Session, token: Option<&komatik::Token>) -> Outcome<()> {
        let store = &session.store;
        let revoked = match (token, &self.key) {
            // Who thinks that it is revoked would be wrong where it is another.
            (Some(token), _) if !store.revoke_token(token)? => {
                return Err(Failure::of(Exit::NotFound, "there is no such token"));
            }
            (Some(_), _) => 1,
            (None, Some(key)) => store.revoke(key)?,
            (None, None) => store.revoke_all()?,
        };
        output::line(&match session.manner.json {
            true => json!({"revoked": revoked}).to_string(),
            false => format!("{} revoked", show::number_of(revoked, "token", "tokens")),
        })
    }
}

fn read_token() -> Outcome<komatik::Token> {
    /// What is read at most: a token is much shorter.
    const MOST: u64 = 4096;
    let mut text = String::new();
    let mut source = std::io::Read::take(input::standard()?, MOST);
    let read = std::io::Read::read_to_string(&mut source, &mut text);
    read.doing(|| "reading the token".to_owned())?;
    if text.trim().is_empty() {
        return Err(Failure::usage("which token? None came by standard input"));
    }
    Ok(komatik::Token::from(text.trim()))
}
