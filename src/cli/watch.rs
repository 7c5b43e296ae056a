//! Changes, as they come.
//!
//! One process has a store at a time, and the changes are those of others. So the store is open only while its history
//! is read, in between it is free: when its superblock tells that another has opened it, or it was in use, it is read on from
//! where it was. The history keeps what happened meanwhile, so that no change is left out.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;
use std::time::{Duration, Instant};

use komatik::{Change, ChangeKind, Since, Trace};

use super::exit::Exit;
use super::failure::{Doing, Failure, Outcome};
use super::output::Manner;
use super::session::{Globals, TRY};
use super::{interrupt, show};

/// How often the superblock is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// About how many changes are read before they are told and the store is free again.
const BATCH: usize = 10_000;

/// Print the changes below a folder as they come, until Ctrl-C
///
/// The store stays free for others: it is open only for the moments in which the history is read. Ctrl-C is its good
/// end, with exit code 0.
#[derive(clap::Args)]
pub(crate) struct Watch {
    /// The folder [default: the root]
    #[arg(default_value = "", hide_default_value = true)]
    folder: String,
    /// Begin with the oldest change kept, the next one, or the first after revision N
    #[arg(long, value_name = "start|now|N", default_value = "now")]
    since: Begin,
    /// End when all changes there are have been told
    #[arg(long)]
    once: bool,
    /// Run this by the shell for each change, one after the other, and end where it fails
    ///
    /// It finds the change in KOMATIK_CHANGE (put, delete or move), KOMATIK_KEY, KOMATIK_FROM (of a move),
    /// KOMATIK_KIND, KOMATIK_SIZE, KOMATIK_REVISION and KOMATIK_PARTICIPANT, and may use the store.
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Begin(Since);

impl FromStr for Begin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Begin, &'static str> {
        Ok(Begin(match text {
            "start" => Since::Start,
            "now" => Since::Now,
            revision => Since::After(
                revision
                    .parse()
                    .map_err(|_| "it is neither start nor now nor a revision")?,
            ),
        }))
    }
}

/// What was read while the store was open.
struct Batch {
    changes: Vec<Change>,
    /// Where to go on.
    position: u64,
    /// The last revision there was.
    newest: u64,
    is_last: bool,
}

impl Watch {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome<()> {
        match self.follow(globals) {
            // Nothing else ends it in good order.
            Err(Failure::Interrupted) if !self.once => Ok(()),
            other => other,
        }
    }

    fn follow(&self, globals: &Globals) -> Outcome<()> {
        let directory = globals.directory()?.to_owned();
        let manner = globals.manner();
        let mut since = self.since.0;
        // What there was when the last change had been read; `None` where there are more to read.
        let mut read: Option<(Option<Trace>, u64)> = None;
        let mut in_use_since = None;
        let mut is_told = false;
        loop {
            while read.is_some_and(|(seen, newest)| is_quiet(&directory, seen, newest)) {
                (in_use_since, is_told) = (None, false);
                interrupt::sleep(LOOK)?;
            }
            // Whoever has it may close it without a change. Two that follow it would wait for each other for ever.
            let opened = match self.once {
                true => globals.open(),
                false => globals.open_at_once(),
            };
            let (batch, seen) = match opened {
                Ok(session) => {
                    (in_use_since, is_told) = (None, false);
                    let batch = self.read(&session.store, since);
                    // While nobody else can open it: the next who does may add more.
                    let seen = Trace::of(&directory);
                    session.store.close()?;
                    (batch?, seen)
                }
                Err(Failure::Told(told)) if told.exit == Exit::InUse && !self.once => {
                    let waited = in_use_since.get_or_insert_with(Instant::now).elapsed();
                    if !is_told && waited >= globals.wait() {
                        let missed = match since {
                            Since::Now => "; changes until then are not told",
                            _ => "",
                        };
                        manner.note(&format!("waiting: {}{missed}", told.text));
                        is_told = true;
                    }
                    interrupt::sleep(if is_told { LOOK } else { TRY })?;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            for change in &batch.changes {
                interrupt::check()?;
                self.tell(change, manner, &directory)?;
            }
            since = Since::After(batch.position);
            read = batch.is_last.then_some((seen, batch.newest));
            if batch.is_last {
                if self.once {
                    return Ok(());
                }
                interrupt::sleep(LOOK)?;
            }
        }
    }

    /// The next changes, to the end of a commit.
    fn read(&self, store: &komatik::Store, since: Since) -> komatik::Result<Batch> {
        let mut watcher = store.watch(&self.folder, since)?;
        let mut changes = Vec::new();
        let is_last = loop {
            match watcher.try_recv() {
                Err(error) => {
                    // What was read before it is told first; read on from there, it comes again.
                    changes.retain(|change: &Change| change.revision <= watcher.revision());
                    if changes.is_empty() {
                        return Err(error);
                    }
                    break false;
                }
                Ok(None) => break true,
                Ok(Some(change)) => {
                    let is_end = change.last && changes.len() >= BATCH;
                    changes.push(change);
                    if is_end {
                        break false;
                    }
                }
            }
        };
        Ok(Batch {
            changes,
            position: watcher.revision(),
            newest: store.history().newest,
            is_last,
        })
    }

    fn tell(&self, change: &Change, manner: Manner, directory: &Path) -> Outcome<()> {
        manner.answer(|| serde_json::json!(change), || line(change))?;
        let Some(command) = &self.exec else {
            return Ok(());
        };
        let status = Command::new("sh")
            .args(["-c", command])
            .env("KOMATIK_STORE", directory)
            .envs(variables(change))
            .status()
            .doing(|| "running the command".to_owned())?;
        interrupt::check()?;
        if status.success() {
            return Ok(());
        }
        Err(
            Failure::told(format!("the command failed at {}: {status}", change.key)).advise(
                format!(
                    "`--since {}` begins with it again",
                    change.revision.saturating_sub(1)
                ),
            ),
        )
    }
}

fn line(change: &Change) -> String {
    let mut text = format!(
        "{} {:>6} {:<6} ",
        show::moment(change.time),
        change.revision,
        change.kind.as_str(),
    );
    if let ChangeKind::Move { from } = &change.kind {
        text.push_str(&format!("{} → ", show::name(from)));
    }
    text.push_str(&show::name(&change.key));
    text.push_str(&format!("  {}", change.entry));
    // What lies behind a view password tells no size.
    if let Some(size) = change.size {
        text.push_str(&format!(", {}", show::bytes(size)));
    }
    if let Some(participant) = &change.participant {
        text.push_str(&format!(", by {}", show::name(participant)));
    }
    text
}

/// What the command finds in its environment.
fn variables(change: &Change) -> BTreeMap<&'static str, String> {
    let from = match &change.kind {
        ChangeKind::Move { from } => from.clone(),
        _ => String::new(),
    };
    BTreeMap::from([
        ("KOMATIK_CHANGE", change.kind.as_str().to_owned()),
        ("KOMATIK_KEY", change.key.clone()),
        ("KOMATIK_FROM", from),
        ("KOMATIK_KIND", change.entry.to_string()),
        (
            "KOMATIK_SIZE",
            change.size.map(|size| size.to_string()).unwrap_or_default(),
        ),
        ("KOMATIK_REVISION", change.revision.to_string()),
        (
            "KOMATIK_PARTICIPANT",
            change.participant.clone().unwrap_or_default(),
        ),
    ])
}

/// Whether there is nothing more to read than there was. Where that cannot be told, to open the store tells why.
fn is_quiet(directory: &Path, seen: Option<Trace>, newest: u64) -> bool {
    let now = Trace::of(directory);
    now.zip(seen)
        .is_some_and(|(now, seen)| now.is_quiet_since(&seen, newest))
}
