//! What was put and never adopted, and what an earlier opening did not come to give back.

use bytes::Bytes;

use super::ROWS_A_STEP;
use crate::backend::local::Core;
use crate::backend::local::keys;
use crate::backend::local::view::LATEST;
use crate::backend::{BlobId, Tree};
use crate::error::Result;

impl Core {
    /// Finds what an earlier opening left: uploads that were never adopted, and blobs it had no time to give back.
    pub(in crate::backend::local) fn find_left_over(&self) -> Result<()> {
        let doomed = self.pending_blobs(keys::DOOMED)?;
        self.space.state.lock().doomed.extend(doomed);
        let uploads = self.pending_blobs(keys::UPLOADS)?;
        let uploads: Vec<_> = uploads.into_iter().map(|(_, blob)| blob).collect();
        self.doom_uploads(&uploads)
    }

    /// The blobs of this kind of pending rows, and the commits that wrote those. Of shared blobs, which lie between the others,
    /// there may be very many.
    fn pending_blobs(&self, kind: u8) -> Result<Vec<(u64, BlobId)>> {
        let (mut start, end) = (vec![kind], [kind + 1]);
        let mut blobs = Vec::new();
        loop {
            let (rows, more) = self.rows(Tree::Pending, &start, Some(&end), LATEST, ROWS_A_STEP)?;
            for (key, row) in rows {
                let revision = row?.revision;
                blobs.extend(keys::parse_blob(kind, &key).map(|blob| (revision, blob)));
            }
            match more {
                Some(last) => start = [&last[..], &[0]].concat(),
                None => return Ok(blobs),
            }
        }
    }

    /// Dooms what is in commits of uploads that come to nothing.
    pub(in crate::backend::local) fn doom_uploads(&self, uploads: &[BlobId]) -> Result<()> {
        if uploads.is_empty() {
            return Ok(());
        }
        self.commit_own(|stage| {
            for blob in uploads {
                stage.write(Tree::Pending, keys::upload(*blob), None);
                stage.write(Tree::Pending, keys::doomed(*blob), Some(Bytes::new()));
                stage.doomed.push(*blob);
            }
            Ok(())
        })
    }

    /// And of those for which there was no room when they were dropped.
    pub(super) fn doom_abandoned(&self) -> Result<()> {
        let abandoned = std::mem::take(&mut self.space.state.lock().abandoned);
        let doomed = self.doom_uploads(&abandoned);
        if doomed.is_err() {
            self.space.state.lock().abandoned.extend(abandoned);
        }
        doomed
    }
}
