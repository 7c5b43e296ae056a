//! What was put and never adopted, and what an earlier opening did not come to give back.

use bytes::Bytes;

use super::ROWS_A_STEP;
use crate::backend::local::Core;
use crate::backend::local::keys;
use crate::backend::local::view::LATEST;
use crate::backend::{BlobId, Tree};
use crate::error::{Error, Result};

impl Core {
    /// Finds what an earlier opening left: uploads that were never adopted, and blobs it had no time to give back.
    pub(in crate::backend::local) fn find_left_over(&self) -> Result<()> {
        let doomed = self.pending_blobs(keys::DOOMED)?;
        self.space.state.lock().doomed.extend(doomed);
        let uploads = self.pending_blobs(keys::UPLOADS)?;
        let uploads = uploads.into_iter().map(|(_, blob)| blob);
        self.space.state.lock().abandoned.extend(uploads);
        self.doom_abandoned()
    }

    /// The blobs of this kind of pending rows, and the commits that wrote those. Of shared blobs, which lie between the others,
    /// there may be very many. A damaged row has its key, and who gives back the blob finds out.
    fn pending_blobs(&self, kind: u8) -> Result<Vec<(u64, BlobId)>> {
        let (mut start, end) = (vec![kind], [kind + 1]);
        let mut blobs = Vec::new();
        loop {
            let (rows, more) = self.rows(Tree::Pending, &start, Some(&end), LATEST, ROWS_A_STEP)?;
            for (key, row) in rows {
                let revision = row.map_or(0, |row| row.revision);
                blobs.extend(keys::parse_blob(kind, &key).map(|blob| (revision, blob)));
            }
            match more {
                Some(last) => start = [&last[..], &[0]].concat(),
                None => return Ok(blobs),
            }
        }
    }

    /// Dooms what is in commits of an upload that comes to nothing.
    pub(in crate::backend::local) fn doom_upload(&self, blob: BlobId) -> Result<()> {
        self.commit_own(|stage| {
            stage.write(Tree::Pending, keys::upload(blob), None);
            stage.write(Tree::Pending, keys::doomed(blob), Some(Bytes::new()));
            stage.doomed.push(blob);
            Ok(())
        })
    }

    /// And of those for which there was no room when they were dropped. Each by itself: one that is damaged must not keep the others.
    pub(super) fn doom_abandoned(&self) -> Result<()> {
        let next = || self.space.state.lock().abandoned.pop();
        while let Some(blob) = next() {
            match self.doom_upload(blob) {
                Err(Error::Damaged { what, location }) => {
                    tracing::error!(%blob, what, location, "an upload cannot be given back");
                    self.space.state.lock().damaged.insert(blob);
                }
                Err(error) => {
                    self.space.abandon(blob);
                    return Err(error);
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }
}
