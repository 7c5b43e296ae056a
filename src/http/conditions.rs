//! Entity tags and dates, and the requests that name them: `If-Match`, `If-None-Match`, `If-Modified-Since`,
//! `If-Unmodified-Since`, RFC 9110.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use headers::{ETag, HeaderMapExt, IfMatch, IfModifiedSince, IfNoneMatch, IfUnmodifiedSince};

use super::Service;
use super::asking::ask_for_all;
use super::problem::{Answer, Problem};
use super::sessions::now;
use crate::{BlobWriter, Error, Metadata, PutMode, Result, Store, WriteMode, WriteOptions};

/// How often a write is tried where others write the same entry.
pub(super) const TRIES: usize = 16;
/// Seconds that a write is given until it is seen: it has the time of its beginning. One that takes longer, as a transaction or
/// a sync may, can have the date of what was told before; tags tell them apart.
const UNSEEN: u64 = 1;

/// The tag of an entry: another one whenever it is written.
pub(super) fn etag(metadata: &Metadata) -> ETag {
    let digest = metadata.digest.to_string();
    let tag = format!("\"{}-{}\"", metadata.revision, &digest[..16]);
    tag.parse()
        .unwrap_or_else(|_| unreachable!("{tag} is a tag"))
}

/// When an entry was last written, to the second, as HTTP tells times. `None` while another write may yet be of the same one:
/// until that is over, also where it lies ahead of the clock, which was set back then.
pub(super) fn date(metadata: &Metadata) -> Option<SystemTime> {
    date_at(now(), metadata.updated)
}

fn date_at(now: u64, updated: SystemTime) -> Option<SystemTime> {
    let second = updated.duration_since(UNIX_EPOCH).ok()?.as_secs();
    (second.saturating_add(UNSEEN) < now).then_some(updated)
}

/// Only the very date is that of what somebody has: an older version may be back, from a backup.
fn is_modified(metadata: &Metadata, since: IfModifiedSince) -> bool {
    date(metadata).is_none_or(|date| since != IfModifiedSince::from(date))
}

/// Any later date will do, RFC 9110, section 13.1.4: who asks may have it from a clock.
fn is_unmodified(metadata: &Metadata, since: IfUnmodifiedSince) -> bool {
    SystemTime::from(since) > metadata.updated
        || date(metadata).is_some_and(|date| since.precondition_passes(date))
}

/// Whether these lines together are `*` or a list of entity tags, RFC 9110, sections 5.3, 8.8.3 and 13.1: the library takes a
/// text that is none for a tag that nothing has. Tags of other than ASCII it does not read, nor the list they are in.
fn is_tags<'a>(lines: impl Iterator<Item = &'a HeaderValue>) -> bool {
    let lines: Vec<&[u8]> = lines.map(HeaderValue::as_bytes).collect();
    let list = lines.join(&b", "[..]);
    let mut rest = list.trim_ascii();
    if rest == b"*" {
        return true;
    }
    loop {
        let tag = rest.strip_prefix(b"W/").unwrap_or(rest);
        let Some(opaque) = tag.strip_prefix(b"\"") else {
            return false;
        };
        let Some(length) = opaque.iter().position(|byte| *byte == b'"') else {
            return false;
        };
        if !opaque[..length].iter().all(u8::is_ascii_graphic) {
            return false;
        }
        rest = opaque[length + 1..].trim_ascii_start();
        if rest.is_empty() {
            return true;
        }
        let Some(next) = rest.strip_prefix(b",") else {
            return false;
        };
        rest = next.trim_ascii_start();
    }
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
        // An unreadable `If-Match` is matched by nothing, and so refused; an unreadable `If-None-Match` would be met by everything.
        let lines = headers.get_all(header::IF_NONE_MATCH);
        if lines.iter().next().is_some() && !is_tags(lines.iter()) {
            return Err(Problem::bad_request(
                "`if-none-match` is no list of entity tags",
            ));
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
        match (&self.if_match, self.if_unmodified_since) {
            (Some(condition), _) if !condition.precondition_passes(&tag) => return Err(unmatched()),
            (None, Some(since)) if !is_unmodified(metadata, since) => return Err(unmatched()),
            _ => {}
        }
        let is_news = match (&self.if_none_match, self.if_modified_since) {
            (Some(condition), _) => condition.precondition_passes(&tag),
            (None, Some(since)) => is_modified(metadata, since),
            (None, None) => true,
        };
        Ok(match is_news {
            true => Verdict::Send,
            false => Verdict::NotModified,
        })
    }

    /// Does a write in the mode that the conditions ask for. What is there is looked at first, and the mode sees to it that
    /// it is still so at the write. Where it is not, the conditions may hold for what is there now.
    pub(super) fn write<T>(
        &self,
        store: &Store,
        key: &str,
        write: impl Fn(PutMode) -> Result<T>,
    ) -> Answer<T> {
        if self.is_for_creating() {
            return write(PutMode::Create).map_err(refused);
        }
        if !self.is_any() {
            return Ok(write(PutMode::Overwrite)?);
        }
        for _ in 0..TRIES {
            let present = store.metadata(key)?;
            self.check(present.as_ref())?;
            let mode = present.map_or(PutMode::Create, |present| PutMode::Update(present.revision));
            match write(mode) {
                Err(Error::RevisionMismatch { .. } | Error::AlreadyExists { .. }) => {}
                written => return Ok(written?),
            }
        }
        let detail = "others write the entry again and again; try again later";
        Err(Problem::precondition_failed(detail))
    }

    /// A writer for [`Conditions::commit`]. It fails where the conditions do not hold already: the content may be large.
    pub(super) fn writer(
        &self,
        store: &Store,
        key: &str,
        mut options: WriteOptions,
    ) -> Answer<BlobWriter> {
        if self.is_for_creating() {
            options.mode = WriteMode::Create;
        } else if self.is_any() {
            self.check(store.metadata(key)?.as_ref())?;
        }
        store.writer(key, options).map_err(refused)
    }

    /// Commits a writer of the key where the conditions hold, in one step with the look at what is there.
    pub(super) fn commit(
        &self,
        store: &Store,
        key: &str,
        mut writer: BlobWriter,
    ) -> Answer<Metadata> {
        if self.is_for_creating() || !self.is_any() {
            return writer.commit().map_err(refused);
        }
        // Before the transaction, so that no password is verified, and no content brought to the disk, while others wait.
        ask_for_all(store, key)?;
        writer.prepare()?;
        let (stored, revision) = store.transaction_with_revision(|tx| {
            if let Err(problem) = self.check(tx.metadata(key)?.as_ref()) {
                return Ok(Err(problem));
            }
            tx.commit_blob(writer)?;
            tx.metadata(key).map(Ok)
        })?;
        stored?
            .zip(revision)
            .map(|(stored, revision)| Metadata { revision, ..stored })
            .ok_or_else(|| Problem::internal("a blob that was not stored"))
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
        let unmodified = match (&self.if_match, self.if_unmodified_since, present) {
            (None, Some(since), Some(present)) => is_unmodified(present, since),
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

    /// Whether it is asked for that nothing is there.
    pub(super) fn is_for_creating(&self) -> bool {
        self.if_match.is_none() && self.if_none_match == Some(IfNoneMatch::any())
    }
}

/// A write that heeds no conditions, and came with none: to leave one out would do what was not asked for.
pub(super) struct Unconditional;

impl FromRequestParts<Service> for Unconditional {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Service) -> Answer<Unconditional> {
        match Conditions::of(&parts.headers)?.is_any() {
            false => Ok(Unconditional),
            true => Err(Problem::bad_request(
                "this takes no conditions; in a transaction, `check` and `mode` are some",
            )),
        }
    }
}

/// Why a write was not done. Only one that is to create an entry minds that there is one.
fn refused(error: Error) -> Problem {
    match error {
        Error::AlreadyExists { .. } => unmatched(),
        error => error.into(),
    }
}

fn unmatched() -> Problem {
    Problem::precondition_failed("the entry is not, or no longer, as the request asks")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use std::time::Duration;

    use axum::http::header::{ETAG, LAST_MODIFIED};
    use headers::LastModified;

    use super::*;
    use crate::{Events, PutOptions};

    fn conditions(name: &'static str, value: &str) -> Conditions {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        Conditions::of(&headers).unwrap()
    }

    fn tag(metadata: &Metadata) -> String {
        let mut headers = HeaderMap::new();
        headers.typed_insert(etag(metadata));
        headers[ETAG].to_str().unwrap().to_owned()
    }

    /// Writes where another writes so many times between the look at the entry and the write. Answers the status of a refusal.
    fn write_beside(
        store: &Store,
        conditions: &Conditions,
        others: usize,
    ) -> std::result::Result<(), u16> {
        let left = Cell::new(others);
        let written = conditions.write(store, "d", |mode| {
            if left.get() > 0 {
                left.set(left.get() - 1);
                store.save("d", "another's")?;
            }
            store.save_with("d", "own", PutOptions::new().mode(mode))
        });
        written
            .map(drop)
            .map_err(|problem| problem.status().as_u16())
    }

    /// Another write may yet be of the same second, and be seen later still.
    #[test]
    fn a_second_that_is_not_over_is_no_date() {
        let at = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        for updated in [at(5_000), at(5_001), at(5_999)] {
            for now in 0..=6 {
                assert_eq!(date_at(now, updated), None, "{now}");
            }
            assert_eq!(date_at(7, updated), Some(updated));
        }
    }

    /// What is told of an entry that was written so many seconds from now to who has one of so many seconds from now.
    fn answers(written: i64, had: i64) -> (Answered<Verdict>, Answered<Verdict>, Answered<()>) {
        let now = now();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(now.saturating_add_signed(seconds));
        let store = Store::in_memory().unwrap();
        store.save("d", &1).unwrap();
        let metadata = Metadata {
            updated: at(written),
            ..store.metadata("d").unwrap().unwrap()
        };
        let mut headers = HeaderMap::new();
        headers.typed_insert(LastModified::from(at(had)));
        let date = headers[LAST_MODIFIED].to_str().unwrap();
        let status = |problem: Problem| problem.status().as_u16();
        let unmodified = conditions("if-unmodified-since", date);
        let modified = conditions("if-modified-since", date);
        (
            modified.for_reading(&metadata).map_err(status),
            unmodified.for_reading(&metadata).map_err(status),
            unmodified.check(Some(&metadata)).map_err(status),
        )
    }

    type Answered<T> = std::result::Result<T, u16>;

    /// A day ahead of the clock is as a clock that was set back leaves it; every write until it has come there again is of the
    /// same second.
    #[test]
    fn a_date_is_that_of_one_version() {
        let same = (Ok(Verdict::NotModified), Ok(Verdict::Send), Ok(()));
        let other = (Ok(Verdict::Send), Err(412), Err(412));
        let day = 86_400;
        for (written, had, expected) in [
            (-day, -day, same),
            (0, 0, other),
            (day, day, other),
            (-day, -2 * day, other),
            // An older version is back, or the date is from a clock.
            (-day, -10, (Ok(Verdict::Send), Ok(Verdict::Send), Ok(()))),
            (day, 2 * day, (Ok(Verdict::Send), Ok(Verdict::Send), Ok(()))),
        ] {
            assert_eq!(answers(written, had), expected, "{written} {had}");
        }
    }

    #[test]
    fn a_write_is_tried_again_while_its_conditions_hold() {
        let store = Store::in_memory().unwrap();
        let first = tag(&store.save("d", "first").unwrap());
        let any = conditions("if-match", "*");
        let other = conditions("if-none-match", &first);
        store.save("d", "second").unwrap();
        for conditions in [&any, &other] {
            assert_eq!(write_beside(&store, conditions, 3), Ok(()));
            assert_eq!(store.load::<String>("d").unwrap().unwrap(), "own");
            assert_eq!(write_beside(&store, conditions, usize::MAX), Err(412));
            assert_eq!(store.load::<String>("d").unwrap().unwrap(), "another's");
        }
        let present = tag(&store.metadata("d").unwrap().unwrap());
        let tagged = conditions("if-match", &present);
        assert_eq!(write_beside(&store, &tagged, 1), Err(412));
        assert_eq!(store.load::<String>("d").unwrap().unwrap(), "another's");
        store.delete("d").unwrap();
        let free = conditions("if-none-match", "*");
        assert_eq!(write_beside(&store, &free, 1), Err(412));
    }

    /// Its tag would let the one who wrote first replace what it has never seen.
    #[test]
    fn nobody_is_told_the_tag_of_what_another_wrote() {
        let store = Store::in_memory().unwrap();
        store.put("b", "first").unwrap();
        let another = store.clone();
        let (tell, told) = std::sync::mpsc::channel();
        let _subscription = store.on(Events::UPDATED, move |change| {
            if change.participant.as_deref() == Some("own") {
                let written = another.put("b", "another's");
                tell.send((change.revision, written.unwrap().revision))
                    .unwrap();
            }
        });
        let own = store.acting_as("own");
        let any = conditions("if-match", "*");
        let writer = any.writer(&own, "b", WriteOptions::new()).unwrap();
        let stored = any.commit(&own, "b", writer).unwrap();
        let (revision, later) = told.recv().unwrap();
        assert_eq!(stored.revision, revision);
        assert_eq!(store.metadata("b").unwrap().unwrap().revision, later);
        assert!(later > revision);
    }
}
