//! Forms that bring files, `multipart/form-data`, part by part and in bounded memory.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header;
use futures_util::{Stream, StreamExt, stream};

use super::Service;
use super::file_name::file_name;
use super::key::check_coding;
use super::passwords::random_secret;
use super::problem::{Answer, Problem};
use crate::{BlobWriter, MAX_SEGMENT_BYTES, Store, WriteOptions};

/// Bytes that are read of a body in one go, before what they say is looked at.
const AT_ONCE: usize = 64 * 1024;
/// Bytes that may come without any content in them: heads of parts, and what is between them.
const MOST_WITHOUT_CONTENT: usize = 256 * 1024;
/// Parts of a form: what is kept of each, and answered, is not to grow with the body.
const MOST_PARTS: usize = 10_000;

/// A form as it comes in. The route has no limit of its own on the body.
pub(super) struct Form {
    parts: Multipart,
    count: usize,
    without_content: Arc<AtomicUsize>,
}

/// A part of a form. What is not read of it has to be [skipped](Part::skip).
pub(super) struct Part<'a> {
    field: Field<'a>,
    given_name: Option<String>,
    without_content: Arc<AtomicUsize>,
}

impl Form {
    pub(super) async fn of(request: Request, service: &Service) -> Answer<Form> {
        let without_content = Arc::new(AtomicUsize::new(0));
        check_coding(request.headers())?;
        let (head, body) = request.into_parts();
        let body = metered(body.into_data_stream(), Arc::clone(&without_content));
        let request = Request::from_parts(head, Body::from_stream(body));
        let parts = Multipart::from_request(request, service)
            .await
            .map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
        Ok(Form {
            parts,
            count: 0,
            without_content,
        })
    }

    /// The next part, `None` behind the last one.
    pub(super) async fn next(&mut self) -> Answer<Option<Part<'_>>> {
        let field = self.parts.next_field().await.map_err(broken)?;
        self.without_content.store(0, Ordering::Relaxed);
        self.count += 1;
        if self.count > MOST_PARTS && field.is_some() {
            return Err(Problem::bad_request("the form has more than 10,000 parts"));
        }
        let Some(field) = field else {
            return Ok(None);
        };
        let disposition = field.headers().get(header::CONTENT_DISPOSITION);
        let disposition = disposition.map_or(&b""[..], |given| given.as_bytes());
        Ok(Some(Part {
            given_name: file_name(disposition)?,
            field,
            without_content: Arc::clone(&self.without_content),
        }))
    }
}

impl<'a> Part<'a> {
    pub(super) fn name(&self) -> &str {
        self.field.name().unwrap_or("")
    }

    /// The name of the file in the part as it was given, `None` for a field without a file.
    pub(super) fn given_name(&self) -> Option<&str> {
        self.given_name.as_deref()
    }

    /// The name of the file in the part, harmless as the last segment of a key. `None` where there is none, or nothing is
    /// left of it.
    pub(super) fn file_name(&self) -> Option<String> {
        self.given_name()
            .map(harmless)
            .filter(|name| !name.is_empty())
    }

    pub(super) fn content_type(&self) -> Option<&str> {
        self.field.content_type()
    }

    /// The part as a text of at most so many bytes.
    pub(super) async fn text(self, limit: usize) -> Answer<String> {
        let mut text = Vec::new();
        let mut content = pin!(self.content());
        while let Some(piece) = content.next().await {
            text.extend_from_slice(&piece.map_err(broken)?);
            if text.len() > limit {
                return Err(Problem::bad_request(format!(
                    "a field of the form has more than {limit} bytes"
                )));
            }
        }
        String::from_utf8(text)
            .map_err(|_| Problem::bad_request("a field of the form is not UTF-8"))
    }

    /// Reads the part to its end and keeps nothing of it.
    pub(super) async fn skip(self) -> Answer<()> {
        let mut content = pin!(self.content());
        while let Some(piece) = content.next().await {
            piece.map_err(broken)?;
        }
        Ok(())
    }

    pub(super) fn content(self) -> impl Stream<Item = Result<Bytes, MultipartError>> + 'a {
        let without_content = self.without_content;
        self.field
            .inspect(move |_| without_content.store(0, Ordering::Relaxed))
    }
}

/// A form that is none, or has no end.
fn broken(error: MultipartError) -> Problem {
    match error.status().is_client_error() {
        true => Problem::bad_request(error.body_text()),
        // A body that broke off reaches here as a failure of its own stream.
        false => super::blocking::cut_short(&error),
    }
}

/// A writer for content whose key is not settled before all of it is there: for
/// [`Transaction::commit_blob_as`](crate::Transaction::commit_blob_as). `name` tells the content type where none is given.
pub(super) fn unplaced(store: &Store, name: &str, options: WriteOptions) -> Answer<BlobWriter> {
    // Nobody else has this key, and nothing is ever committed there.
    let unused = format!("{}/{name}", random_secret()?);
    Ok(store.writer(&unused, options)?)
}

/// The name without what a file system or a key does not take: separators, control characters, names of devices.
fn harmless(name: &str) -> String {
    let options = sanitize_filename::Options {
        windows: false,
        truncate: true,
        replacement: "",
    };
    let name = sanitize_filename::sanitize_with_options(name, options);
    let mut name: String = name.chars().filter(|char| !char.is_control()).collect();
    name.truncate(name.floor_char_boundary(MAX_SEGMENT_BYTES));
    match name.as_str() {
        "." | ".." => String::new(),
        _ => name,
    }
}

/// The body in steps. The reader of forms takes all that is ready, and keeps what it cannot make sense of: it is made to
/// look at each step, and given up where it goes on without finding content.
fn metered(
    mut body: BodyDataStream,
    without_content: Arc<AtomicUsize>,
) -> impl Stream<Item = Result<Bytes, axum::Error>> {
    let mut step = 0;
    stream::poll_fn(move |context: &mut Context<'_>| {
        if without_content.load(Ordering::Relaxed) > MOST_WITHOUT_CONTENT {
            let error = axum::Error::new("the head of a part is too large");
            return Poll::Ready(Some(Err(error)));
        }
        if step >= AT_ONCE {
            step = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = std::task::ready!(body.poll_next_unpin(context));
        if let Some(Ok(bytes)) = &next {
            step += bytes.len();
            without_content.fetch_add(bytes.len(), Ordering::Relaxed);
        }
        Poll::Ready(next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_become_harmless() {
        for (name, expected) in [
            ("plan.txt", "plan.txt"),
            ("../../etc/passwd", "....etcpasswd"),
            ("a/b\\c:d*e?f\"g<h>i|j", "abcdefghij"),
            ("..", ""),
            (".", ""),
            ("/", ""),
            ("a\u{0}\n\u{7f}\u{85}b", "ab"),
            (".hidden", ".hidden"),
            ("pl\u{e4}n \u{1f600}.txt", "pl\u{e4}n \u{1f600}.txt"),
        ] {
            assert_eq!(harmless(name), expected, "{name:?}");
        }
        let long = harmless(&"\u{e4}".repeat(300));
        assert_eq!(long.len(), 254, "cut between two characters");
        assert!(crate::Key::parse(&long).is_ok());
    }
}
