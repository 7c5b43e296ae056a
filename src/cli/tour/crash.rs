//! A process that writes, is killed, and must have lost nothing it told of.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use komatik::{ChangeKind, Since, Store};
use serde_json::{Value, json};

use super::{Said, Tour, changes};
use crate::cli::failure::{Doing, Failure, Outcome, ensure};
use crate::cli::show;

/// The folder the process writes into.
const FOLDER: &str = "crash";
/// Documents it may write: it ends even if nobody kills it.
const MOST: u64 = 1_000_000;
/// It is killed once it has told of so many.
const ENOUGH: usize = 500;

fn document(number: u64) -> Value {
    json!({"number": number, "text": "snow ".repeat(usize::try_from(number % 200).unwrap_or(0))})
}

/// Saves one document after the other, and says the number and revision of each once it is acknowledged.
pub(crate) fn write_until_killed(directory: &Path) -> Outcome<()> {
    let store = Store::open(directory)?.scoped(FOLDER)?;
    for number in 0..MOST {
        let saved = store.save(&number.to_string(), &document(number))?;
        let told = writeln!(io::stdout(), "{number} {}", saved.revision);
        told.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::told(error.to_string()),
        })?;
    }
    Ok(())
}

/// A process that does not outlive this value.
struct Writer(Child);

impl Writer {
    fn start(directory: &Path) -> Outcome<(Writer, BufReader<ChildStdout>)> {
        let program = std::env::current_exe().doing(|| "finding this program".to_owned())?;
        let mut child = Command::new(program)
            .arg("crash-writer")
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .doing(|| "starting a process that writes".to_owned())?;
        let output = child.stdout.take();
        let writer = Writer(child);
        let output =
            output.ok_or_else(|| Failure::told("the process that writes has no output"))?;
        Ok((writer, BufReader::new(output)))
    }

    fn kill(&mut self) -> Outcome<()> {
        self.0
            .kill()
            .doing(|| "killing the process that writes".to_owned())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is waited for, so that the store is free again.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a process that writes, kills it, and answers the revisions of what it told of: of document 0, 1, 2…
fn acknowledged_until_killed(directory: &Path) -> Outcome<Vec<u64>> {
    let (mut writer, mut output) = Writer::start(directory)?;
    let mut revisions = Vec::new();
    let mut line = String::new();
    // What it told before it died is in the pipe, and counts. The last line may be half of one.
    while output
        .read_line(&mut line)
        .doing(|| "reading from the process".to_owned())?
        > 0
        && line.ends_with('\n')
    {
        let (number, revision) =
            parse(&line).ok_or_else(|| Failure::told(format!("the process said {line:?}")))?;
        ensure(number == revisions.len(), || {
            format!("document {number} came out of order")
        })?;
        revisions.push(revision);
        line.clear();
        if revisions.len() == ENOUGH {
            writer.kill()?;
        }
    }
    ensure(revisions.len() >= ENOUGH, || {
        format!(
            "the process ended by itself after {} documents",
            revisions.len()
        )
    })?;
    Ok(revisions)
}

fn parse(line: &str) -> Option<(usize, u64)> {
    let (number, revision) = line.trim_end().split_once(' ')?;
    Some((number.parse().ok()?, revision.parse().ok()?))
}

/// Lets another process write to the store and kills it; opens the store again, where everything it was told is
/// stored must be, and where a watcher goes on from where it was before.
pub(super) fn kill_and_reopen(tour: &mut Tour) -> Outcome<Said> {
    let mut watcher = tour.store.watch(FOLDER, Since::Now)?;
    changes::rest(&mut watcher)?;
    let position = watcher.revision();
    drop(watcher);
    tour.store.close()?;

    let writing = Instant::now();
    let revisions = acknowledged_until_killed(&tour.directory)?;
    let writing = writing.elapsed();
    let opening = Instant::now();
    tour.store = Store::open(&tour.directory)?;
    let opening = opening.elapsed();

    let store = tour.store.scoped(FOLDER)?;
    for (number, revision) in (0..).zip(&revisions) {
        let key = u64::to_string(&number);
        let saved = store.metadata(&key)?.map(|metadata| metadata.revision);
        ensure(
            saved == Some(*revision) && store.load(&key)? == Some(document(number)),
            || format!("document {number} was acknowledged and is not there after the kill"),
        )?;
    }
    let more = check_history(&tour.store, position, &revisions)?;
    Ok(Said::from(format!(
        "{} acknowledged ({}), killed, reopened in {}: all there, {more} more; the watcher went on and missed none",
        show::number_of(revisions.len(), "durable document", "durable documents"),
        show::rate(revisions.len(), writing),
        show::time(opening),
    )))
}

/// Goes on watching from `position`. Answers how many documents were written that nobody was told of.
fn check_history(store: &Store, position: u64, revisions: &[u64]) -> Outcome<usize> {
    let mut watcher = store.watch(FOLDER, Since::After(position))?;
    let seen = changes::rest(&mut watcher)?;
    ensure(watcher.caught_up(), || {
        "the watcher has not caught up".to_owned()
    })?;
    for (number, change) in seen.iter().enumerate() {
        let is_next = change.key == format!("{FOLDER}/{number}")
            && change.kind == ChangeKind::Put
            && revisions
                .get(number)
                .is_none_or(|revision| *revision == change.revision);
        ensure(is_next, || {
            format!("{change:?} was told in the place of document {number}")
        })?;
    }
    let more = seen.len().checked_sub(revisions.len());
    more.ok_or_else(|| {
        Failure::told(format!(
            "the watcher was told of {} changes of {}",
            seen.len(),
            revisions.len()
        ))
    })
}
