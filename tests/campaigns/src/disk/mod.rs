//! The system calls by which a store changes files, in our hands: recorded, counted, refused or frozen.
//!
//! The program defines the C library's symbols itself and makes the calls of the kernel. The linker takes these
//! definitions for the standard library, for sled and for the store, which is why this package has rustix use the C
//! library. Only files below the root that is watched are looked at; while none is, a call costs one load more.
//!
//! `calls` has the symbols; here is what is done about them.

mod calls;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::c_int;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Call {
    Open,
    Read,
    Write,
    Sync,
    Truncate,
    Rename,
    Unlink,
    MakeDirectory,
}

/// Which calls fail, and how.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Calls of this kind count, `None` for every kind that writes.
    pub kind: Option<Call>,
    /// So many of them succeed.
    pub after: u64,
    /// Whether all later ones fail as well.
    pub sticky: bool,
    pub errno: c_int,
}

/// How the disk fails to be a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Lie {
    /// A sync of anything does nothing.
    Sync,
    /// A sync of sled's files does nothing.
    TreesSync,
}

/// A file, whatever its name: the number of its creation.
pub type FileId = usize;

/// One thing that happened to the files below the root. Paths are relative to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Event {
    MakeDirectory(PathBuf),
    RemoveDirectory(PathBuf),
    Create(PathBuf, FileId),
    Write(FileId, u64, Bytes),
    Truncate(FileId, u64),
    /// Made durable what happened to the file up to this event, not included.
    Sync(FileId, usize),
    /// As [`Event::Sync`], of the names in a directory.
    SyncDirectory(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
    /// Said by [`note`].
    Note(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Handle {
    File(FileId, PathBuf),
    Directory(PathBuf),
}

#[derive(Default)]
struct State {
    root: PathBuf,
    handles: HashMap<c_int, Handle>,
    names: BTreeMap<PathBuf, FileId>,
    files: usize,
    log: Option<Vec<Event>>,
    fault: Option<Fault>,
    lie: Option<Lie>,
    frozen: bool,
    calls: BTreeMap<Call, u64>,
    struck: Option<PathBuf>,
    /// Pages read or written since [`fail`]: the system has them in memory, and no disk can fail to give them.
    cached: HashSet<(FileId, u64)>,
}

static ACTIVE: AtomicBool = AtomicBool::new(false);
static STATE: Mutex<Option<State>> = Mutex::new(None);

fn state() -> MutexGuard<'static, Option<State>> {
    STATE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Watches the files below `root`. Nothing is wrong with them yet.
pub fn watch(root: &Path) {
    *state() = Some(State {
        root: root.to_owned(),
        ..State::default()
    });
    ACTIVE.store(true, Ordering::SeqCst);
}

/// Lets everything pass again. Files that are open stay usable.
pub fn release() {
    ACTIVE.store(false, Ordering::SeqCst);
    *state() = None;
}

fn with<R>(change: impl FnOnce(&mut State) -> R) -> R {
    change(state().as_mut().expect("nothing is watched"))
}

/// Writes down what happens from now on. There must be nothing below the root.
pub fn record() {
    with(|state| state.log = Some(Vec::new()));
}

/// As [`record`], where files are there that are on the disk.
pub fn record_existing() -> io::Result<()> {
    let root = with(|state| state.root.clone());
    let (mut directories, mut files) = (vec![root.clone()], Vec::new());
    let mut next = 0;
    while let Some(directory) = directories.get(next) {
        next += 1;
        let entries: Vec<_> = std::fs::read_dir(directory)?.collect::<io::Result<_>>()?;
        for entry in entries {
            match entry.file_type()?.is_dir() {
                true => directories.push(entry.path()),
                false => files.push((entry.path(), std::fs::read(entry.path())?)),
            }
        }
    }
    with(|state| {
        state.log = Some(Vec::new());
        let names: Vec<_> = directories
            .iter()
            .filter_map(|name| state.below(name))
            .collect();
        for name in names.iter().skip(1) {
            state.push(Event::MakeDirectory(name.clone()));
        }
        for (path, bytes) in files {
            let Some(name) = state.below(&path) else {
                continue;
            };
            state.files += 1;
            let id = state.files;
            state.names.insert(name.clone(), id);
            state.push(Event::Create(name, id));
            state.push(Event::Write(id, 0, bytes.into()));
            state.push(Event::Sync(id, state.now()));
        }
        for name in names {
            state.push(Event::SyncDirectory(name, state.now()));
        }
    });
    Ok(())
}

/// As [`record`], where these events have left what is there.
pub fn record_behind(events: &[Event]) {
    with(|state| {
        for event in events {
            match event {
                Event::Create(name, id) => {
                    state.files = state.files.max(*id);
                    state.names.insert(name.clone(), *id);
                }
                Event::Unlink(name) => drop(state.names.remove(name)),
                Event::Rename(from, to) => state.rename(from, to),
                _ => {}
            }
        }
        state.log = Some(events.to_vec());
    });
}

/// What was written down so far.
pub fn recorded_so_far() -> usize {
    with(|state| state.now())
}

/// What was written down.
pub fn recorded() -> Vec<Event> {
    with(|state| state.log.take().unwrap_or_default())
}

/// Puts a word into the record.
pub fn note(word: u64) {
    if let Some(state) = &mut *state() {
        state.push(Event::Note(word));
    }
}

/// Makes calls fail, counted from now. What is read again after that comes from memory and does not count.
pub fn fail(fault: Fault) {
    with(|state| {
        state.fault = Some(fault);
        state.calls.clear();
        state.struck = None;
        state.cached.clear();
    });
}

/// No call fails any more.
pub fn heal() {
    with(|state| {
        state.fault = None;
        state.frozen = false;
    });
}

/// From now on the disk lies.
pub fn lie(lie: Lie) {
    with(|state| state.lie = Some(lie));
}

/// Until [`heal`] nothing is written any more, as if the process had been killed; every such call fails.
pub fn freeze() {
    with(|state| state.frozen = true);
}

/// The file whose call was the last to fail since [`fail`], `None` where all succeeded.
pub fn struck() -> Option<PathBuf> {
    with(|state| state.struck.clone())
}

/// How many calls of each kind there were since [`fail`] or [`watch`].
pub fn calls() -> BTreeMap<Call, u64> {
    with(|state| state.calls.clone())
}

impl State {
    fn below(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.root).ok().map(Path::to_owned)
    }

    fn push(&mut self, event: Event) {
        if let Some(log) = &mut self.log {
            log.push(event);
        }
    }

    fn now(&self) -> usize {
        self.log.as_ref().map_or(0, Vec::len)
    }

    /// The name of a file or directory is another one now, and so are those below it.
    fn rename(&mut self, from: &Path, to: &Path) {
        let moved: Vec<_> = self
            .names
            .extract_if(.., |name, _| name.starts_with(from))
            .collect();
        for (name, id) in moved {
            self.names.insert(moved_name(&name, from, to), id);
        }
        for handle in self.handles.values_mut() {
            let (Handle::File(_, name) | Handle::Directory(name)) = handle;
            if name.starts_with(from) {
                *name = moved_name(name, from, to);
            }
        }
    }

    fn cache(&mut self, id: FileId, offset: u64, count: usize) {
        if self.fault.is_some() {
            let pages = pages(offset, count);
            self.cached.extend(pages.map(|page| (id, page)));
        }
    }

    fn is_cached(&self, id: FileId, offset: u64, count: usize) -> bool {
        pages(offset, count).all(|page| self.cached.contains(&(id, page)))
    }

    /// Counts a call; answers with what it is to fail.
    fn strike(&mut self, call: Call, name: &Path) -> Option<c_int> {
        if self.frozen && call != Call::Read && call != Call::Open {
            return Some(libc::EIO);
        }
        *self.calls.entry(call).or_default() += 1;
        let fault = self.fault?;
        let counts = |call: Call| match fault.kind {
            Some(kind) => kind == call,
            None => call != Call::Read,
        };
        if !counts(call) {
            return None;
        }
        let count: u64 = self
            .calls
            .iter()
            .filter(|(call, _)| counts(**call))
            .map(|(_, count)| count)
            .sum();
        let strikes = count == fault.after + 1 || (fault.sticky && count > fault.after);
        if !strikes {
            return None;
        }
        self.struck = Some(name.to_owned());
        Some(fault.errno)
    }
}

fn pages(offset: u64, count: usize) -> std::ops::Range<u64> {
    const PAGE: u64 = 4096;
    offset / PAGE..(offset + count as u64).div_ceil(PAGE)
}

/// What a name is called once `from`, which it begins with, is `to`.
pub fn moved_name(name: &Path, from: &Path, to: &Path) -> PathBuf {
    match name.strip_prefix(from) {
        // A path with nothing behind it ends with a slash.
        Ok(rest) if rest.as_os_str().is_empty() => to.to_owned(),
        Ok(rest) => to.join(rest),
        Err(_) => name.to_owned(),
    }
}

/// Whether the calls come here: without that no campaign that needs it says anything.
pub fn check() -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let root = directory.path().join("store");
    watch(&root);
    let opened = komatik::Store::open(&root).and_then(|store| {
        store.put("blob", vec![7; 100_000])?;
        store.close()
    });
    let calls = calls();
    release();
    opened.map_err(io::Error::other)?;
    for call in [
        Call::Open,
        Call::Read,
        Call::Write,
        Call::Sync,
        Call::Truncate,
        Call::Rename,
        Call::MakeDirectory,
    ] {
        if !calls.contains_key(&call) {
            return Err(io::Error::other(format!(
                "no {call:?} of the store was seen: {calls:?}"
            )));
        }
    }
    Ok(())
}
