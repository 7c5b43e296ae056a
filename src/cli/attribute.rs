//! Metadata of the user's own, as arguments.

use komatik::Attributes;

/// On every command that puts or saves.
#[derive(clap::Args)]
pub(crate) struct Attribute {
    /// Keep this with the entry, in place of its attributes; may be given several times
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = parse)]
    given: Vec<(String, String)>,
}

impl Attribute {
    /// `None` leaves those of the entry that is replaced.
    pub(crate) fn attributes(&self) -> Option<Attributes> {
        (!self.given.is_empty()).then(|| self.given.iter().cloned().collect())
    }
}

fn parse(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("it is not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
