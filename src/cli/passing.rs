//! Listings that pass over what is damaged: one bad row must not hide all that is behind it.

use komatik::Error;

use super::exit::Exit;
use super::failure::{Failure, Outcome, with_causes};
use super::{output, show};

/// What of a listing was damaged. It is told as it comes, and the command fails for it in the end.
#[derive(Default)]
pub(crate) struct Passed(u64);

impl Passed {
    /// The item; `None` where damage stands in its place.
    pub(crate) fn over<T>(&mut self, item: komatik::Result<T>) -> Outcome<Option<T>> {
        match item {
            Err(error @ Error::Damaged { .. }) => {
                self.0 += 1;
                output::warn(&show::safe(&with_causes(&error)));
                Ok(None)
            }
            item => Ok(Some(item?)),
        }
    }

    /// Fails where something was damaged.
    pub(crate) fn check(&self) -> Outcome<()> {
        match self.0 {
            0 => Ok(()),
            places => {
                let places = show::number_of(places, "place is", "places are");
                Err(Failure::of(
                    Exit::Damaged,
                    format!("{places} damaged: not all is listed"),
                )
                .advise(
                    "`verify` tells all that is damaged; `repair INTO` saves what can be saved",
                ))
            }
        }
    }
}
