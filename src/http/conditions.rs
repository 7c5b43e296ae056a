//! Entity tags and the requests that name them: `If-Match`, `If-None-Match`, `If-Modified-Since`, RFC 9110.

use axum::http::HeaderMap;
use headers::{ETag, HeaderMapExt, IfMatch, IfModifiedSince, IfNoneMatch, IfUnmodifiedSince};

use super::problem::{Answer, Problem};
use crate::{Metadata, PutMode, Store};

/// The tag of an entry: another one whenever it is written.
pub(super) fn etag(metadata: &Metadata) -> ETag {
    let digest = metadata.digest.to_string();
    let tag = format!("\"{}-{}\"", metadata.revision, &digest[..16]);
    tag.parse()
        .unwrap_or_else(|_| unreachable!("{tag} is a tag"))
}

/// What must be true of an entry for a request to be done.
#[derive(Debug, Clone, Default)]
pub(super) struct Conditions {
    if_match: Option<IfMatch>,
    if_none_match: Option<IfNoneMatch>,
    if_modified_since: Option<IfModifiedSince>,
    if_unmodified_since: Option<IfUnmodifiedSince>,
}

/// Whether content is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Send,
    NotModified,
}

impl Conditions {
    /// # Errors
    /// 400 for one that cannot be read: to leave it out would do what was not asked for. `If-Modified-Since` alone asks for
    /// less, and is left out: RFC 9110, section 13.1.3.
    pub(super) fn of(headers: &HeaderMap) -> Answer<Conditions> {
        fn typed<H: headers::Header>(headers: &HeaderMap) -> Answer<Option<H>> {
            let unreadable = |_| Problem::bad_request(format!("`{}` cannot be read", H::name()));
            headers.typed_try_get().map_err(unreadable)
        }
        let if_match = typed(headers)?;
        Ok(Conditions {
            if_none_match: typed(headers)?,
            if_modified_since: headers.typed_get(),
            // Beside `If-Match` it has nothing to say, whatever it is.
            if_unmodified_since: match if_match.is_some() {
                true => None,
                false => typed(headers)?,
            },
            if_match,
        })
    }

    /// Whether content may not have to be sent.
    pub(super) fn may_be_unchanged(&self) -> bool {
        self.if_none_match.is_some() || self.if_modified_since.is_some()
    }

    /// For a request that reads what is there.
    pub(super) fn for_reading(&self, metadata: &Metadata) -> Answer<Verdict> {
        let tag = etag(metadata);
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) if !condition.precondition_passes(&tag) => return Err(unmatched()),
            (None, Some(condition)) if !condition.precondition_passes(metadata.updated) => {
                return Err(unmatched());
            }
            _ => {}
        }
        let is_news = match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) => condition.precondition_passes(&tag),
            (None, Some(condition)) => condition.is_modified(metadata.updated),
            (None, None) => true,
        };
        Ok(match is_news {
            true => Verdict::Send,
            false => Verdict::NotModified,
        })
    }

    /// Does a write in the mode that the conditions ask for. What is there is looked at first, and the mode sees to it that
    /// it is still so at the write.
    pub(super) fn write<T>(
        &self,
        store: &Store,
        key: &str,
        write: impl FnOnce(PutMode) -> Answer<T>,
    ) -> Answer<T> {
        if self.is_for_creating() {
            return write(PutMode::Create).map_err(|problem| match problem.is_taken() {
                true => unmatched(),
                false => problem,
            });
        }
        if !self.is_any() {
            return write(PutMode::Overwrite);
        }
        let present = store.metadata(key)?;
        self.check(present.as_ref())?;
        let mode = present.map_or(PutMode::Create, |present| PutMode::Update(present.revision));
        write(mode).map_err(|problem| match problem.is_taken() {
            true => unmatched(),
            false => problem,
        })
    }

    /// Whether a write may be done to what is there.
    ///
    /// # Errors
    /// 412 where it may not.
    pub(super) fn check(&self, present: Option<&Metadata>) -> Answer<()> {
        let tag = present.map(etag);
        let if_match = self.if_match.as_ref().is_none_or(|condition| {
            tag.as_ref()
                .is_some_and(|tag| condition.precondition_passes(tag))
        });
        let if_none_match = self.if_none_match.as_ref().is_none_or(|condition| {
            tag.as_ref()
                .is_none_or(|tag| condition.precondition_passes(tag))
        });
        let unmodified = match (&self.if_match, &self.if_unmodified_since, present) {
            (None, Some(condition), Some(present)) => {
                condition.precondition_passes(present.updated)
            }
            _ => true,
        };
        match if_match && if_none_match && unmodified {
            true => Ok(()),
            false => Err(unmatched()),
        }
    }

    /// Whether any was given that a write heeds.
    pub(super) fn is_any(&self) -> bool {
        self.if_match.is_some()
            || self.if_none_match.is_some()
            || self.if_unmodified_since.is_some()
    }

    fn is_for_creating(&self) -> bool {
        self.if_match.is_none() && self.if_none_match == Some(IfNoneMatch::any())
    }
}

fn unmatched() -> Problem {
    Problem::precondition_failed("the entry is not, or no longer, as the request asks")
}
