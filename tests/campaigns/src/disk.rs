//! The system calls by which a store changes files, in our hands: recorded, counted, refused or frozen.
//!
//! The program defines the C library's symbols itself and makes the calls of the kernel. The linker takes these
//! definitions for the standard library, for sled and for the store, which is why this package has rustix use the C
//! library. Only files below the root that is watched are looked at; while none is, a call costs one load more.
#![allow(
    unsafe_code,
    reason = "symbols of the C library are defined here, and the kernel is called"
)]

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use libc::{iovec, mode_t, off_t, size_t, ssize_t};

/// The kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
#[derive(Debug, Clone)]
pub enum Event {
    MakeDirectory(PathBuf),
    RemoveDirectory(PathBuf),
    Create(PathBuf, FileId),
    Write(FileId, u64, Arc<[u8]>),
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
    struck: bool,
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

/// Makes calls fail, counted from now.
pub fn fail(fault: Fault) {
    with(|state| {
        state.fault = Some(fault);
        state.calls.clear();
        state.struck = false;
    });
}

/// From now on the disk lies.
pub fn lie(lie: Lie) {
    with(|state| state.lie = Some(lie));
}

/// From now on nothing is written any more, as if the process had been killed; every such call fails.
pub fn freeze() {
    with(|state| state.frozen = true);
}

/// Whether a call has failed since [`fail`].
pub fn has_struck() -> bool {
    with(|state| state.struck)
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

    /// Counts a call; answers with what it is to fail.
    fn strike(&mut self, call: Call) -> Option<c_int> {
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
        self.struck |= strikes;
        strikes.then_some(fault.errno)
    }
}

fn refuse(errno: c_int) -> c_int {
    // SAFETY: the C library answers a valid pointer to this thread's errno, for as long as the thread lives.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// The state, where the store's files are watched and this is one of them.
fn of_file(fd: c_int) -> Option<(MutexGuard<'static, Option<State>>, Handle)> {
    if !ACTIVE.load(Ordering::Relaxed) {
        return None;
    }
    let guard = state();
    let handle = guard.as_ref()?.handles.get(&fd)?.clone();
    Some((guard, handle))
}

/// The state, where the path lies below the root.
///
/// # Safety
/// The path must be a string of C.
unsafe fn of_path(path: *const c_char) -> Option<(MutexGuard<'static, Option<State>>, PathBuf)> {
    if !ACTIVE.load(Ordering::Relaxed) {
        return None;
    }
    // SAFETY: the caller's.
    let path = Path::new(OsStr::from_bytes(
        unsafe { CStr::from_ptr(path) }.to_bytes(),
    ));
    let guard = state();
    let path = guard.as_ref()?.below(path)?;
    Some((guard, path))
}

fn inside<'a>(guard: &'a mut MutexGuard<'static, Option<State>>) -> &'a mut State {
    guard.as_mut().expect("it is watched")
}

// SAFETY, for all below: the signatures are those of the C library on 64-bit Linux, arguments are handed on to the kernel as
// they came, and what is read of them are strings and buffers that the caller has promised to the C library as well.

#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let real =
        || unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) } as c_int;
    let Some((mut guard, name)) = (unsafe { of_path(path) }) else {
        return real();
    };
    let state = inside(&mut guard);
    let writes = flags & (libc::O_CREAT | libc::O_TRUNC) != 0;
    if writes && state.frozen {
        return refuse(libc::EIO);
    }
    if let Some(errno) = state.strike(Call::Open) {
        return refuse(errno);
    }
    let fd = real();
    if fd < 0 {
        return fd;
    }
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    unsafe { libc::fstat(fd, &mut found) };
    let handle = if found.st_mode & libc::S_IFMT == libc::S_IFDIR {
        Handle::Directory(name)
    } else {
        let known = state.names.get(&name).copied();
        let id = known.unwrap_or_else(|| {
            state.files += 1;
            state.names.insert(name.clone(), state.files);
            state.push(Event::Create(name.clone(), state.files));
            state.files
        });
        if known.is_some() && flags & libc::O_TRUNC != 0 {
            state.push(Event::Truncate(id, 0));
        }
        Handle::File(id, name)
    };
    state.handles.insert(fd, handle);
    fd
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    unsafe { open64(path, flags, mode) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    if let Some((mut guard, _)) = of_file(fd) {
        inside(&mut guard).handles.remove(&fd);
    }
    unsafe { libc::syscall(libc::SYS_close, fd) as c_int }
}

/// A write: refused where that is its turn, else made and written down.
fn written(
    fd: c_int,
    offset: Option<u64>,
    real: impl FnOnce() -> ssize_t,
    bytes: impl FnOnce(usize) -> Arc<[u8]>,
) -> ssize_t {
    let Some((mut guard, Handle::File(id, _))) = of_file(fd) else {
        return real();
    };
    if let Some(errno) = inside(&mut guard).strike(Call::Write) {
        return refuse(errno) as ssize_t;
    }
    drop(guard);
    let offset = offset.unwrap_or_else(|| {
        let at = unsafe { libc::syscall(libc::SYS_lseek, fd, 0, libc::SEEK_CUR) };
        u64::try_from(at).expect("a place in a file")
    });
    let count = real();
    if let Ok(count) = usize::try_from(count)
        && let Some(state) = &mut *state()
        && state.log.is_some()
    {
        state.push(Event::Write(id, offset, bytes(count)));
    }
    count
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
    let real = || unsafe { libc::syscall(libc::SYS_write, fd, bytes, count) as ssize_t };
    written(fd, None, real, |count| {
        unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), count) }.into()
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(
    fd: c_int,
    bytes: *const c_void,
    count: size_t,
    offset: off_t,
) -> ssize_t {
    let real = || unsafe { libc::syscall(libc::SYS_pwrite64, fd, bytes, count, offset) as ssize_t };
    written(fd, Some(offset as u64), real, |count| {
        unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), count) }.into()
    })
}

unsafe fn gathered(parts: *const iovec, count: c_int, bytes: usize) -> Arc<[u8]> {
    let parts = unsafe { std::slice::from_raw_parts(parts, count as usize) };
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(unsafe {
            std::slice::from_raw_parts(part.iov_base.cast::<u8>(), part.iov_len)
        });
    }
    all.truncate(bytes);
    all.into()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    let real = || unsafe { libc::syscall(libc::SYS_writev, fd, parts, count) as ssize_t };
    written(fd, None, real, |bytes| unsafe {
        gathered(parts, count, bytes)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwritev64(
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    offset: off_t,
) -> ssize_t {
    let real =
        || unsafe { libc::syscall(libc::SYS_pwritev, fd, parts, count, offset, 0) as ssize_t };
    written(fd, Some(offset as u64), real, |bytes| unsafe {
        gathered(parts, count, bytes)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwritev(
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    offset: off_t,
) -> ssize_t {
    unsafe { pwritev64(fd, parts, count, offset) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(fd: c_int, bytes: *mut c_void, count: size_t) -> ssize_t {
    if let Some((mut guard, Handle::File(..))) = of_file(fd)
        && let Some(errno) = inside(&mut guard).strike(Call::Read)
    {
        return refuse(errno) as ssize_t;
    }
    unsafe { libc::syscall(libc::SYS_read, fd, bytes, count) as ssize_t }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pread64(
    fd: c_int,
    bytes: *mut c_void,
    count: size_t,
    offset: off_t,
) -> ssize_t {
    if let Some((mut guard, Handle::File(..))) = of_file(fd)
        && let Some(errno) = inside(&mut guard).strike(Call::Read)
    {
        return refuse(errno) as ssize_t;
    }
    unsafe { libc::syscall(libc::SYS_pread64, fd, bytes, count, offset) as ssize_t }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pread(
    fd: c_int,
    bytes: *mut c_void,
    count: size_t,
    offset: off_t,
) -> ssize_t {
    unsafe { pread64(fd, bytes, count, offset) }
}

fn synced(fd: c_int, real: impl Fn() -> c_int) -> c_int {
    let Some((mut guard, handle)) = of_file(fd) else {
        return real();
    };
    let state = inside(&mut guard);
    if let Some(errno) = state.strike(Call::Sync) {
        return refuse(errno);
    }
    let (covers, lie) = (state.now(), state.lie);
    drop(guard);
    let is_of_sled = match &handle {
        Handle::File(_, name) => name.starts_with("trees"),
        Handle::Directory(_) => false,
    };
    let is_a_lie = match lie {
        Some(Lie::Sync) => true,
        Some(Lie::TreesSync) => is_of_sled,
        None => false,
    };
    if is_a_lie {
        return 0;
    }
    let answer = real();
    if answer == 0
        && let Some(state) = &mut *self::state()
    {
        state.push(match handle {
            Handle::File(id, _) => Event::Sync(id, covers),
            Handle::Directory(name) => Event::SyncDirectory(name, covers),
        });
    }
    answer
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    synced(fd, || unsafe {
        libc::syscall(libc::SYS_fsync, fd) as c_int
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    synced(fd, || unsafe {
        libc::syscall(libc::SYS_fdatasync, fd) as c_int
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    let real = || unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) as c_int };
    let Some((mut guard, Handle::File(id, _))) = of_file(fd) else {
        return real();
    };
    let state = inside(&mut guard);
    if let Some(errno) = state.strike(Call::Truncate) {
        return refuse(errno);
    }
    let answer = real();
    if answer == 0 {
        state.push(Event::Truncate(id, length as u64));
    }
    answer
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let real = || unsafe { libc::syscall(libc::SYS_rename, from, to) as c_int };
    let Some((guard, target)) = (unsafe { of_path(to) }) else {
        return real();
    };
    drop(guard);
    let Some((mut guard, source)) = (unsafe { of_path(from) }) else {
        return real();
    };
    let state = inside(&mut guard);
    if let Some(errno) = state.strike(Call::Rename) {
        return refuse(errno);
    }
    let answer = real();
    if answer == 0 {
        if let Some(id) = state.names.remove(&source) {
            state.names.insert(target.clone(), id);
        }
        state.push(Event::Rename(source, target));
    }
    answer
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    let real = || unsafe { libc::syscall(libc::SYS_unlink, path) as c_int };
    named(path, Call::Unlink, real, |state, name| {
        state.names.remove(&name);
        Event::Unlink(name)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    let real = || unsafe { libc::syscall(libc::SYS_rmdir, path) as c_int };
    named(path, Call::Unlink, real, |_, name| {
        Event::RemoveDirectory(name)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    let real = || unsafe { libc::syscall(libc::SYS_mkdir, path, mode) as c_int };
    named(path, Call::MakeDirectory, real, |_, name| {
        Event::MakeDirectory(name)
    })
}

fn named(
    path: *const c_char,
    call: Call,
    real: impl Fn() -> c_int,
    event: impl FnOnce(&mut State, PathBuf) -> Event,
) -> c_int {
    let Some((mut guard, name)) = (unsafe { of_path(path) }) else {
        return real();
    };
    let state = inside(&mut guard);
    if let Some(errno) = state.strike(call) {
        return refuse(errno);
    }
    let answer = real();
    if answer == 0 {
        let event = event(state, name);
        state.push(event);
    }
    answer
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
