//! Whether everything is as it was written.

use std::collections::HashSet;
use std::ops::ControlFlow;

use crate::backend::{Position, Row, Scan, Tree};
use crate::blob::Source;
use crate::error::{Error, Result};
use crate::format::{ChangeRecord, EntryRecord, GrantRecord};
use crate::key::Key;
use crate::metadata::{Digest, Kind};
use crate::report::{Finding, Progress, Report, Step};
use crate::store::Store;

/// Changes of the history read at a time.
const BATCH: usize = 1024;

impl Store {
    /// Reads everything and tells what is not as it was written: what the backend keeps, every entry and its content
    /// against its digest, every token, every change of the history. Of the whole store, whatever the scope.
    ///
    /// It asks for no password, since it tells of no content. Rows that sled has in memory (of up to 16,000 of its leaves) are
    /// looked at there, not on the disk: to see all that is on the disk, verify a store that was just opened. It reads
    /// everything about twice, and again what is
    /// overwritten in between, in constant memory but for what it finds. Readers and writers may go on meanwhile: what they write in that time is not looked at, and the space of
    /// what they replace is given back afterwards. Where they overwrite more than 64 MiB of rows, what they replace may
    /// be passed over; that no row is missing can then not be told, and [`Report::unchecked`] says so.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// let store = komatik::Store::in_memory()?;
    /// store.put("a", "1")?;
    /// let report = store.verify(|_step| ControlFlow::Continue(()))?;
    /// assert!(report.is_sound());
    /// assert_eq!((report.entries, report.bytes), (1, 1));
    /// # Ok::<(), komatik::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Cancelled`] where `progress` answers `Break`; the operating system. Damage is a finding, not an error.
    pub fn verify(&self, mut progress: impl FnMut(Step) -> ControlFlow<()>) -> Result<Report> {
        let mut progress = Progress::new(&mut progress);
        let report = self.shared.backend.verify(&mut progress)?;
        let known = report.findings.iter().map(place).collect();
        let mut verification = Verification {
            store: self,
            progress,
            report,
            known,
        };
        verification.entries()?;
        verification.tokens()?;
        verification.history()?;
        Ok(verification.report)
    }
}

struct Verification<'a> {
    store: &'a Store,
    progress: Progress<'a>,
    report: Report,
    /// What the findings are of: some are met twice.
    known: HashSet<(&'static str, String)>,
}

fn place(finding: &Finding) -> (&'static str, String) {
    (finding.what, finding.location.clone())
}

impl Verification<'_> {
    fn entries(&mut self) -> Result<()> {
        let backend = &self.store.shared.backend;
        let total = backend.stats()?.entries;
        let mut scan = backend.scan(Tree::Entries, b"", None)?;
        let mut done = 0;
        while let Some((key, row)) = self.next(&mut *scan)? {
            let entry = match std::str::from_utf8(&key) {
                Ok(row_key) => self.entry(row_key, &row),
                Err(_) => Err(Error::damaged("key", String::from_utf8_lossy(&key))),
            };
            match entry {
                Err(Error::Damaged { .. }) if self.store.is_replaced(&key, row.revision) => {}
                entry => self.note(entry)?,
            }
            done += 1;
            self.progress.step("entries", done, Some(total))?;
        }
        Ok(())
    }

    /// The next row that can be read.
    fn next(&mut self, scan: &mut dyn Scan) -> Result<Option<(bytes::Bytes, Row)>> {
        loop {
            match scan.next() {
                Ok(row) => return Ok(row),
                // The scan stands behind what is damaged.
                Err(error) => self.note(Err(error))?,
            }
            let found = u64::try_from(self.report.findings.len()).unwrap_or(u64::MAX);
            self.progress.step("findings", found, None)?;
        }
    }

    /// Notes damage as a finding; any other error ends the verification.
    fn note(&mut self, result: Result<()>) -> Result<()> {
        match result {
            Err(Error::Damaged { what, location }) => {
                let problem = "it is not what was written";
                let finding = Finding::new(what, location, problem);
                // The backend may have met the same before.
                if self.known.insert(place(&finding)) {
                    self.report.findings.push(finding);
                }
                Ok(())
            }
            other => other,
        }
    }

    fn entry(&mut self, row_key: &str, row: &Row) -> Result<()> {
        let record = EntryRecord::decode(row_key, &row.value)?;
        let key = row_key.strip_suffix('/');
        let is_folder = record.kind == Kind::Folder;
        let is_legal =
            Key::parse(row_key).is_ok_and(|legal| legal.as_str() == key.unwrap_or(row_key));
        if !is_legal || is_folder != key.is_some() {
            return Err(Error::damaged("key", row_key));
        }
        let shared = &self.store.shared;
        // The open scan keeps the chunks of what is replaced meanwhile as long as it can, so nothing need be held.
        let content = match Source::open(shared, &record.body, |_| true)? {
            Some(source) => self.content(row_key, &record, &source),
            None => Err(Error::damaged("content", row_key)),
        };
        let is_gone = content.is_err() && self.store.is_replaced(row_key.as_bytes(), row.revision);
        self.report.entries += u64::from(!is_folder && !is_gone);
        match content {
            // A chunk tells neither whose it is, nor of how many entries.
            Err(Error::Damaged { ref location, .. }) if location != row_key && !is_gone => {
                self.note(content)?;
                Err(Error::damaged("content", row_key))
            }
            content => content,
        }
    }

    fn content(&mut self, row_key: &str, record: &EntryRecord, source: &Source) -> Result<()> {
        let mut hasher = blake3::Hasher::new();
        let (progress, report) = (&mut self.progress, &mut self.report);
        source.read_from(0, |piece| {
            hasher.update(piece);
            report.bytes += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            progress.step("content", report.bytes, None)
        })?;
        if Digest::from(*hasher.finalize().as_bytes()) == record.digest {
            Ok(())
        } else {
            Err(Error::damaged("content", row_key))
        }
    }

    fn tokens(&mut self) -> Result<()> {
        let backend = &self.store.shared.backend;
        let mut scan = backend.scan(Tree::Tokens, b"", None)?;
        let mut done = 0;
        while let Some((key, row)) = self.next(&mut *scan)? {
            let decoded = GrantRecord::decode(&row.value).map(drop);
            self.note(match key.len() {
                32 => decoded,
                _ => Err(Error::damaged("token", "the tokens")),
            })?;
            done += 1;
            self.progress.step("tokens", done, None)?;
        }
        Ok(())
    }

    /// The history as it is at the start; what is dropped from it meanwhile is passed over.
    fn history(&mut self) -> Result<()> {
        let backend = &self.store.shared.backend;
        let range = backend.history();
        let mut read = Position::after(range.oldest.saturating_sub(1));
        let mut done = 0;
        while read < Position::after(range.newest) {
            let batch = match backend.changes(read, BATCH) {
                Ok(batch) => batch,
                Err(Error::Compacted { oldest }) => {
                    read = read.max(Position::after(oldest.saturating_sub(1)));
                    continue;
                }
                // Nothing behind a damaged place can be reached.
                Err(error) => return self.note(Err(error)),
            };
            let Some(last) = batch.last() else { break };
            read = last.position;
            for stored in &batch {
                let revision = stored.position.revision;
                self.note(ChangeRecord::decode(revision, &stored.bytes).map(drop))?;
                done += 1;
            }
            self.progress.step("history", done, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{BlobId, Commit, Write};
    use crate::format::{Body, Part};

    fn write(store: &Store, tree: Tree, key: &[u8], value: impl Into<bytes::Bytes>) {
        let commit = Commit {
            writes: vec![Write {
                tree,
                key: bytes::Bytes::copy_from_slice(key),
                value: Some(value.into()),
            }],
            ..Commit::default()
        };
        store.shared.backend.commit(commit, &mut |_| {}).unwrap();
    }

    /// Every kind of damage that checksums below do not see, side by side with sound entries.
    #[test]
    fn what_is_not_as_it_was_written_is_found() {
        let store = Store::in_memory().unwrap();
        store.put("sound", vec![1; 100_000]).unwrap();
        store.put("b", "content").unwrap();
        let key = store.key("b").unwrap();
        let row = store.row(crate::backend::View::Settled, &key).unwrap();
        let sound = row.unwrap().record;
        let other_content = EntryRecord {
            body: Body::Inline("another".into()),
            ..sound.clone()
        };
        let no_chunks = EntryRecord {
            body: Body::Parts(vec![Part {
                blob: BlobId([9; 16]),
                size: sound.size,
                chunk_bytes: 512,
            }]),
            ..sound.clone()
        };
        let no_folder = sound.encode();
        write(&store, Tree::Entries, b"b", other_content.encode());
        write(&store, Tree::Entries, b"c", no_chunks.encode());
        write(&store, Tree::Entries, b"d", "no record");
        write(&store, Tree::Entries, b"e/", no_folder.clone());
        write(&store, Tree::Entries, b"f//g", no_folder.clone());
        write(&store, Tree::Entries, &[0xff], no_folder);
        write(&store, Tree::Tokens, &[1; 32], "no grant");
        let untold = Commit {
            changes: vec!["no change".into()],
            ..Commit::default()
        };
        store.shared.backend.commit(untold, &mut |_| {}).unwrap();
        store.put("z", "behind it all").unwrap();
        let report = store.verify(|_| ControlFlow::Continue(())).unwrap();
        let found: Vec<_> = report
            .findings
            .iter()
            .map(|finding| (finding.what, finding.location.as_str()))
            .collect();
        let chunk = format!("chunk 0 of blob {}", BlobId([9; 16]));
        assert_eq!(
            found,
            [
                ("content", "b"),
                ("chunk", chunk.as_str()),
                ("content", "c"),
                ("entry", "d"),
                ("key", "e/"),
                ("key", "f//g"),
                ("key", "\u{fffd}"),
                ("token", "the tokens"),
                ("change", "revision 10"),
            ]
        );
        assert_eq!(
            report.entries, 4,
            "sound ones, and those whose content is not"
        );
    }
}
