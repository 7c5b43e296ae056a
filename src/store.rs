//! The handle: opening a store, and the views of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::backend::{SharedBackend, local, memory};
use crate::delivery::Delivery;
use crate::error::{Error, Result};
use crate::key::{Folder, Key};
use crate::lock::{LONGEST_WAIT, Passwords, Tries, check_cost};
use crate::options::{
    DEFAULT_CHUNK_BYTES, Durability, History, MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, PasswordCost,
};
use crate::scope::Scope;
use crate::upload::Ids;

/// A store of documents and blobs.
///
/// Cloning is shallow: all clones are one store, and every method takes `&self`. A clone may carry another
/// context: a [scope](Store::scoped), [passwords](Store::unlocked_with), a [participant](Store::acting_as), a
/// [durability](Store::with_durability). Such views combine and cost next to nothing, but for one with passwords, which copies what
/// the other has learnt of them. The store closes when the last clone
/// is dropped, or by [`Store::close`]: from then on any call may answer [`Error::Misuse`].
///
/// A store in a directory belongs to the process that opened it: open stores after forking. In a process that was forked
/// off its calls answer [`Error::Misuse`], and to drop it there does nothing; but as long as that process runs, the store
/// cannot be opened once more.
///
/// ```
/// let store = komatik::Store::in_memory()?;
/// store.save("settings/window", &serde_json::json!({"width": 800}))?;
/// let rooms = store.scoped("rooms/42")?.acting_as("ann");
/// rooms.put("plan.txt", "north")?;
/// assert_eq!(store.get("rooms/42/plan.txt")?.as_deref(), Some(&b"north"[..]));
/// # Ok::<(), komatik::Error>(())
/// ```
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    pub(crate) scope: Scope,
    pub(crate) participant: Option<Arc<str>>,
    pub(crate) passwords: Passwords,
    /// How long a call waits at most for its turn to try a password.
    pub(crate) patience: Duration,
    pub(crate) durability: Durability,
    /// Asked before each commit through the view, where there is one.
    pub(crate) permit: Option<Permit>,
    /// How many values and names of members a document may have that is merged or patched through the view.
    pub(crate) most_values: usize,
}

/// Fails where a view may not commit any more. It may read the store, and may be called while other writers wait.
pub(crate) type Permit = Arc<dyn Fn() -> Result<()> + Send + Sync>;

/// What all clones of a store have in common.
pub(crate) struct Shared {
    pub(crate) backend: SharedBackend,
    pub(crate) chunk_bytes: usize,
    pub(crate) password_cost: PasswordCost,
    pub(crate) tries: Tries,
    pub(crate) gate: crate::draft::Gate,
    pub(crate) ids: Ids,
    pub(crate) delivery: Delivery,
}

impl Drop for Shared {
    fn drop(&mut self) {
        match self.backend.close() {
            // Closed already.
            Ok(()) | Err(Error::Misuse { .. }) => {}
            // Nobody is left to be told; what was acknowledged is in the journal all the same.
            Err(error) => tracing::warn!(%error, "closing the store"),
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("scope", &self.scope.as_str())
            .field("participant", &self.participant)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in `directory`, or creates it: [`Store::builder`] with every setting at its default.
    ///
    /// # Errors
    /// As [`StoreBuilder::open`].
    pub fn open(directory: impl AsRef<Path>) -> Result<Store> {
        Store::builder(directory).open()
    }

    /// Settings for opening the store in `directory`.
    pub fn builder(directory: impl AsRef<Path>) -> StoreBuilder {
        StoreBuilder {
            place: Place::Directory(directory.as_ref().to_owned()),
            settings: Settings::default(),
            local: local::Options::default(),
        }
    }

    /// Settings for a new store in memory. What is about disks has no effect there.
    pub fn builder_in_memory() -> StoreBuilder {
        StoreBuilder {
            place: Place::Memory,
            settings: Settings::default(),
            local: local::Options::default(),
        }
    }

    /// A new store that keeps everything in memory and nothing on disk. It behaves the same otherwise.
    ///
    /// # Errors
    /// None at present.
    pub fn in_memory() -> Result<Store> {
        Store::builder_in_memory().open()
    }

    /// A store on a backend of another kind, which passes the conformance suite. Chunks and the cost of passwords are those that
    /// [`StoreBuilder`] has where nothing is set; all else is the backend's.
    ///
    /// # Errors
    /// None at present.
    pub fn on_backend(backend: SharedBackend) -> Result<Store> {
        Ok(Settings::default().store(backend))
    }

    /// The same store seen from `folder`: every key, listing, change and token is below it and named relative to it.
    ///
    /// # Errors
    /// [`Error::InvalidKey`].
    pub fn scoped(&self, folder: &str) -> Result<Store> {
        Ok(Store {
            scope: self.scope.narrowed(folder)?,
            ..self.clone()
        })
    }

    /// The same store without `folder`, a direct child of this view: neither the folder nor an entry of its name is there
    /// for the view, or for one [`scoped`](Store::scoped) from it. No listing, change, token or export tells of them, and to
    /// name them is an error. A program keeps there what those it hands the view to are not to reach.
    ///
    /// ```
    /// let store = komatik::Store::in_memory()?;
    /// store.save(".accounts/ann", &1)?;
    /// let rest = store.without(".accounts")?;
    /// assert!(rest.get(".accounts/ann").is_err());
    /// assert_eq!(rest.list("")?.count(), 0);
    /// # Ok::<(), komatik::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidKey`]; [`Error::InvalidArgument`] for what is no direct child, and where the view hides a folder
    /// already.
    pub fn without(&self, folder: &str) -> Result<Store> {
        Ok(Store {
            scope: self.scope.without(folder)?,
            ..self.clone()
        })
    }

    /// The same store, offering `password` wherever a lock asks for one, besides those offered already.
    ///
    /// The view verifies it once for each lock it meets, the newest of its passwords first, and remembers: what it found
    /// out of 100,000 passwords of locks, in some 15 MiB. Passwords of other locks slow nobody, as long as the view has no
    /// more than 32 and one of them opens the lock. Wrong ones are slowed, see [`Store::lock`]: any call that may answer
    /// [`Error::WrongPassword`] may answer [`Error::TooManyTries`] as well.
    #[must_use]
    pub fn unlocked_with(&self, password: &str) -> Store {
        Store {
            passwords: self.passwords.with(password),
            ..self.clone()
        }
    }

    /// The same store, with `participant` named in every change made through it.
    ///
    /// A name of more than 255 bytes, or with a control character in it, makes every write through the view answer
    /// [`Error::InvalidArgument`].
    #[must_use]
    pub fn acting_as(&self, participant: &str) -> Store {
        Store {
            participant: Some(Arc::from(participant)),
            ..self.clone()
        }
    }

    /// The same store, with another durability for what is written through it.
    #[must_use]
    pub fn with_durability(&self, durability: Durability) -> Store {
        Store {
            durability,
            ..self.clone()
        }
    }

    /// The same store, offering no password and naming nobody: for those who offer their own.
    #[cfg(feature = "http")]
    pub(crate) fn of_nobody(&self) -> Store {
        Store {
            passwords: Passwords::default(),
            participant: None,
            ..self.clone()
        }
    }

    /// The same store, whose calls wait no longer than so for their turn to try a password: for who has others waiting
    /// behind.
    #[cfg(feature = "http")]
    pub(crate) fn with_patience(&self, patience: Duration) -> Store {
        Store {
            patience,
            ..self.clone()
        }
    }

    /// The same store, where each commit asks first: what it was begun with may not be so any more.
    #[cfg(feature = "http")]
    pub(crate) fn permitted_by(&self, permit: Permit) -> Store {
        Store {
            permit: Some(permit),
            ..self.clone()
        }
    }

    /// The same store, where what is merged or patched may come to no more values and names of members: each takes some hundred
    /// bytes of memory, and one as it is stored.
    #[cfg(feature = "http")]
    pub(crate) fn with_most_values(&self, most_values: usize) -> Store {
        Store {
            most_values,
            ..self.clone()
        }
    }

    /// Makes every write acknowledged so far survive a power cut, also those of [`Durability::Eventual`].
    ///
    /// # Errors
    /// [`Error::Poisoned`]; [`Error::Misuse`] after [`Store::close`].
    pub fn flush(&self) -> Result<()> {
        self.shared.backend.flush()
    }

    /// Flushes, lets go of the files and of the lock on the directory. On any clone, every later call that reads or writes
    /// answers [`Error::Misuse`], and so does a second `close`; a watcher does at the next change it is asked for.
    /// Dropping the last clone does the same, but cannot report.
    /// What was deleted or replaced and not yet given back is given back first, for about a second at most.
    ///
    /// # Errors
    /// [`Error::Poisoned`]: what was not durable yet may be gone. [`Error::NoSpace`], [`Error::Io`]: what was acknowledged is safe, and
    /// the next opening has more to do. The store is closed all the same.
    pub fn close(&self) -> Result<()> {
        let closed = self.shared.backend.close();
        if !matches!(closed, Err(Error::Misuse { .. })) {
            self.shared.gate.close();
        }
        // So that watchers that wait find out.
        self.shared.delivery.wake();
        closed
    }

    pub(crate) fn key(&self, name: &str) -> Result<Key> {
        self.scope.key(name)
    }

    pub(crate) fn folder(&self, name: &str) -> Result<Folder> {
        self.scope.folder(name)
    }

    /// A whole key as this view names it.
    pub(crate) fn relative<'a>(&self, key: &'a str) -> &'a str {
        self.scope.strip(key).unwrap_or(key)
    }
}

#[cfg(test)]
mod damage;

/// Settings for opening a store; made by [`Store::builder`] or [`Store::builder_in_memory`].
#[derive(Debug, Clone)]
#[must_use]
pub struct StoreBuilder {
    place: Place,
    settings: Settings,
    local: local::Options,
}

#[derive(Debug, Clone)]
enum Place {
    Directory(PathBuf),
    Memory,
}

#[derive(Debug, Clone)]
struct Settings {
    chunk_bytes: usize,
    password_cost: PasswordCost,
    durability: Durability,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            chunk_bytes: DEFAULT_CHUNK_BYTES,
            password_cost: PasswordCost::default(),
            durability: Durability::default(),
        }
    }
}

impl Settings {
    fn store(&self, backend: SharedBackend) -> Store {
        Store {
            shared: Arc::new(Shared {
                backend,
                chunk_bytes: self.chunk_bytes,
                password_cost: self.password_cost,
                tries: Tries::default(),
                gate: crate::draft::Gate::default(),
                ids: Ids::default(),
                delivery: Delivery::default(),
            }),
            scope: Scope::root(),
            participant: None,
            passwords: Passwords::default(),
            patience: LONGEST_WAIT,
            durability: self.durability,
            permit: None,
            most_values: usize::MAX,
        }
    }
}

impl StoreBuilder {
    /// What an acknowledged write survives. Default: [`Durability::Immediate`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.settings.durability = durability;
        self
    }

    /// Size of the chunks of new blobs in bytes, 512 to 1,048,576. Default: 65,536. At 4,096 or less the chunks lie
    /// in the sled trees, above in packs. Blobs written before keep the size they have.
    pub fn chunk_bytes(mut self, bytes: usize) -> Self {
        self.settings.chunk_bytes = bytes;
        self
    }

    /// Memory for blocks of rows and, a quarter of it, for the page cache of sled, in bytes. Default: 64 MiB. sled may hold some
    /// 16,000 pages, of up to 16 blocks of 1 KiB, before it begins to count, so that a small cache does not mean small memory.
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.local.cache_bytes = bytes;
        self
    }

    /// Memory for commits that are in the journal but not yet in the trees, in bytes; writers wait beyond. Default: 16 MiB.
    /// More lets longer bursts of small writes through at the speed of the journal, and lengthens opening after a crash; while
    /// they wait, four times as much is kept free on the disk for them.
    pub fn overlay_bytes(mut self, bytes: usize) -> Self {
        self.local.overlay_bytes = bytes;
        self
    }

    /// How much of the history is kept for watchers, from now on: later openings need not say it again, and those of the
    /// `komatik` command keep as much. Default: as before; of a new store and of a backup, about 64 MiB of journal.
    ///
    /// ```
    /// use komatik::{History, Store};
    /// let directory = tempfile::tempdir()?;
    /// let builder = || Store::builder(directory.path());
    /// builder().history(History::unlimited()).open()?.close()?;
    /// let keeps_everything = builder().open()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn history(mut self, history: History) -> Self {
        self.local.history = Some(history);
        self
    }

    /// The longest time after which a write of [`Durability::Eventual`] survives a power cut. Default: 500 ms.
    pub fn eventual_interval(mut self, interval: Duration) -> Self {
        self.local.eventual_interval = interval;
        self
    }

    /// What a password check costs. Default: 19 MiB of memory and 2 passes.
    pub fn password_cost(mut self, cost: PasswordCost) -> Self {
        self.settings.password_cost = cost;
        self
    }

    /// Whether a store is made where the directory is missing or empty. Default: yes.
    ///
    /// ```
    /// use komatik::{Error, Store};
    /// let directory = tempfile::tempdir()?;
    /// let none = Store::builder(directory.path()).create(false).open();
    /// assert!(matches!(none, Err(Error::NoStore { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(mut self, create: bool) -> Self {
        self.local.create = create;
        self
    }

    /// Opens the store, or creates it where the directory is missing or empty. A directory that is made here only its owner
    /// may look into (mode 0700); one that was there stays as it is. A relative path is resolved once: the process may work elsewhere later.
    ///
    /// What a crash left is repaired by replaying the journal, and what was begun and not committed is swept. After a crash,
    /// or as long as a pack is missing, every row is read once, to be sure that none is missing. After an orderly end no row is: sled reads the table of its pages
    /// and what was written to its file since it was last opened, and the newest segment of the journal is read (up to 8 MiB,
    /// with a long history up to 1 GiB). Trees that cannot be used are made anew where the journal reaches back to the first commit.
    ///
    /// A store of format 2 is brought to format 3, once, by reading all rows and writing those with long keys; older builds
    /// then refuse it.
    ///
    /// # Errors
    /// * [`Error::InUse`]: another process, or another handle of this one, has it open.
    /// * [`Error::NoStore`]: there is none, and none [is to be made](StoreBuilder::create).
    /// * [`Error::Unsupported`]: the directory holds something else or another format, or the platform cannot make
    ///   sled durable.
    /// * [`Error::Damaged`]: what is stored is not what was acknowledged, and the journal does not reach back far
    ///   enough to mend it.
    /// * [`Error::InvalidArgument`]: a setting outside of its range. [`Error::NoSpace`], [`Error::Io`].
    /// * [`Error::Misuse`]: this process was forked off one in which a store was open.
    pub fn open(self) -> Result<Store> {
        let chunk_bytes = self.settings.chunk_bytes;
        if !(MIN_CHUNK_BYTES..=MAX_CHUNK_BYTES).contains(&chunk_bytes) {
            return Err(Error::InvalidArgument {
                what: "chunk_bytes",
                reason: format!(
                    "{chunk_bytes} is not within {MIN_CHUNK_BYTES} to {MAX_CHUNK_BYTES}"
                ),
            });
        }
        check_cost(self.settings.password_cost)?;
        let backend: SharedBackend = match self.place {
            Place::Directory(directory) => Arc::new(local::Local::open(&directory, self.local)?),
            Place::Memory => Arc::new(memory::Memory::new(self.local.history.unwrap_or_default())),
        };
        Ok(self.settings.store(backend))
    }
}
