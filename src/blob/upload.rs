//! Uploads: a blob from anything that can be read.

use std::fmt;
use std::io::Read;
use std::ops::ControlFlow;

use crate::error::{Error, Result};
use crate::metadata::Metadata;
use crate::options::WriteOptions;
use crate::store::Store;

/// How to upload. [`UploadOptions::default`] overwrites and reports to nobody; mode, attributes and content type come
/// by `UploadOptions::from(`[`WriteOptions`]`)`.
#[derive(Default)]
#[non_exhaustive]
pub struct UploadOptions<'a> {
    /// What happens to the entry that is there, attributes and content type.
    pub write: WriteOptions,
    /// Called with the bytes uploaded so far, after every piece of at most 256 KiB; may ask to stop.
    pub progress: Option<Box<dyn FnMut(u64) -> ControlFlow<()> + 'a>>,
}

impl<'a> UploadOptions<'a> {
    /// Overwrites.
    #[must_use]
    pub fn new() -> UploadOptions<'a> {
        UploadOptions::default()
    }

    /// Reports to `progress`: the bytes uploaded so far, after every piece of at most 256 KiB.
    #[must_use]
    pub fn progress(self, progress: impl FnMut(u64) -> ControlFlow<()> + 'a) -> UploadOptions<'a> {
        UploadOptions {
            progress: Some(Box::new(progress)),
            ..self
        }
    }
}

impl From<WriteOptions> for UploadOptions<'_> {
    fn from(write: WriteOptions) -> Self {
        UploadOptions {
            write,
            progress: None,
        }
    }
}

impl fmt::Debug for UploadOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadOptions")
            .field("write", &self.write)
            .field("progress", &self.progress.is_some())
            .finish()
    }
}

impl Store {
    /// Puts everything that `source` gives as a blob, in about 1 MiB of memory whatever its size. The last byte makes it
    /// visible, in one step; until then, and after any error but [`Error::Poisoned`], nothing has happened.
    ///
    /// ```
    /// use komatik::{Store, UploadOptions, WriteOptions};
    /// use std::ops::ControlFlow;
    /// let store = Store::in_memory()?;
    /// let mut seen = 0;
    /// let options = UploadOptions::from(WriteOptions::create()).progress(|bytes| {
    ///     seen = bytes;
    ///     ControlFlow::Continue(())
    /// });
    /// store.upload("movie.mp4", &mut std::io::repeat(7).take(1_000_000), options)?;
    /// assert_eq!(seen, 1_000_000);
    /// # use std::io::Read;
    /// # Ok::<(), komatik::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Cancelled`] where the progress function asked to stop; [`Error::Io`] where `source` failed; as
    /// [`Store::writer`] and [`BlobWriter::commit`](crate::BlobWriter::commit).
    pub fn upload(
        &self,
        key: &str,
        mut source: impl Read,
        mut options: UploadOptions<'_>,
    ) -> Result<Metadata> {
        let mut writer = self.writer(key, options.write)?;
        loop {
            let before = writer.written();
            let is_end = writer.append_from(&mut source)?;
            if let Some(progress) = &mut options.progress
                && writer.written() > before
                && progress(writer.written()).is_break()
            {
                return Err(Error::Cancelled);
            }
            // Asked once more, a terminal would wait for more, and a file that grows would give it.
            if is_end {
                return writer.commit();
            }
        }
    }
}
