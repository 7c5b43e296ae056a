//! Addresses under which a server offers what the store holds.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Token;
use crate::error::Result;
use crate::store::Store;

/// All but the unreserved characters of RFC 3986 and the `/` between segments.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

impl Store {
    /// The address of a key below `base`: the key as a whole, scope included, percent-encoded. `base` is taken as it is,
    /// with or without a `/` at its end. Nothing is looked up.
    ///
    /// ```
    /// let store = komatik::Store::in_memory()?.scoped("rooms/42")?;
    /// let url = store.download_url("https://example.org/files/", "plan 100%.pdf")?;
    /// assert_eq!(url, "https://example.org/files/rooms/42/plan%20100%25.pdf");
    /// # Ok::<(), komatik::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidKey`](crate::Error::InvalidKey).
    pub fn download_url(&self, base: &str, key: &str) -> Result<String> {
        let key = self.key(key)?;
        let base = base.strip_suffix('/').unwrap_or(base);
        let path = utf8_percent_encode(key.as_str(), ESCAPED);
        Ok(format!("{base}/{path}"))
    }

    /// The address of a key with a token that opens it, for a server of one's own that calls [`Store::read_with`]. Whoever has the
    /// address has the token. The service of this crate has another form of it: `/v1/shared/TOKEN/KEY`.
    ///
    /// # Errors
    /// [`InvalidKey`](crate::Error::InvalidKey).
    pub fn download_url_with(&self, base: &str, key: &str, token: &Token) -> Result<String> {
        let url = self.download_url(base, key)?;
        let token = utf8_percent_encode(token.as_str(), ESCAPED);
        Ok(format!("{url}?token={token}"))
    }
}
