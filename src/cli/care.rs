//! The care of a store: how large it is, whether it is sound, and giving space back.

use komatik::Finding;
use serde_json::json;

use super::exit::Exit;
use super::failure::{Failure, Outcome};
use super::listing::table;
use super::output::{self, Lines, RED, painted};
use super::session::Session;
use super::show;

/// Tell how large the store is
#[derive(clap::Args)]
pub(crate) struct Stats {}

/// Read everything and tell what is not as it was written
#[derive(clap::Args)]
pub(crate) struct Verify {}

/// Give back the space of what was deleted, now
#[derive(clap::Args)]
pub(crate) struct Compact {}

impl Stats {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        let stats = session.store.stats()?;
        let (oldest, newest) = (stats.history.oldest, stats.history.newest);
        session.manner.answer(
            || json!(stats),
            || {
                table(&[
                    ("entries", show::count(stats.entries)),
                    ("tokens", show::count(stats.tokens)),
                    ("content", {
                        let (rows, chunks) = (stats.row_bytes, stats.chunk_bytes);
                        format!(
                            "{} in rows, {} in chunks",
                            show::bytes(rows),
                            show::bytes(chunks)
                        )
                    }),
                    ("journal", show::bytes(stats.journal_bytes)),
                    ("trees", show::bytes(stats.tree_bytes)),
                    ("packs", {
                        let (packs, dead) = (stats.pack_bytes, stats.dead_bytes);
                        format!("{}, {} of it dead", show::bytes(packs), show::bytes(dead))
                    }),
                    (
                        "history",
                        match oldest > newest {
                            true => "empty".to_owned(),
                            false => format!("revisions {oldest} to {newest}"),
                        },
                    ),
                ])
            },
        )
    }
}

impl Verify {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        let bar = session.manner.bar();
        let report = session.store.verify(|step| bar.follow(step))?;
        drop(bar);
        let findings = report.findings.len();
        if session.manner.json {
            output::line(&json!(report).to_string())?;
        } else {
            tell(&report.findings)?;
            tell(&report.unchecked)?;
        }
        if !report.is_sound() {
            let number = show::number_of(findings, "thing is", "things are");
            return Err(
                Failure::of(Exit::Damaged, format!("{number} not as written"))
                    .advise("`repair INTO` saves what can be saved; a backup has the rest"),
            );
        }
        session.manner.note(&format!(
            "sound: {}, {} of content",
            show::number_of(report.entries, "entry", "entries"),
            show::bytes(report.bytes),
        ));
        Ok(())
    }
}

/// A line for each finding.
pub(crate) fn tell(findings: &[Finding]) -> Outcome<()> {
    let mut lines = Lines::new();
    for finding in findings {
        let what = painted(finding.what, RED);
        let location = show::name(&finding.location);
        lines.line(&format!(
            "{what} {location}: {}",
            show::name(&finding.problem)
        ))?;
    }
    lines.finish()
}

impl Compact {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        let before = session.store.stats()?.pack_bytes;
        let bar = session.manner.bar();
        session.store.compact(|step| bar.follow(step))?;
        drop(bar);
        let stats = session.store.stats()?;
        session.manner.done(
            || {
                json!({
                    "pack_bytes_before": before,
                    "pack_bytes": stats.pack_bytes,
                    "dead_bytes": stats.dead_bytes,
                })
            },
            || {
                format!(
                    "packs of {} are {} now, {} of it dead",
                    show::bytes(before),
                    show::bytes(stats.pack_bytes),
                    show::bytes(stats.dead_bytes),
                )
            },
        )
    }
}
