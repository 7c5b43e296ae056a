//! Random bytes from the operating system.

use crate::error::{Error, Result};

pub(crate) fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|error| {
        let error = std::io::Error::other(error.to_string());
        Error::io("asking the system for random bytes", error)
    })
}
