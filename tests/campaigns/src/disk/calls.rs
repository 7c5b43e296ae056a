//! The symbols of the C library by which files are changed and read.
#![allow(
    unsafe_code,
    reason = "symbols of the C library are defined here, and the kernel is called"
)]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use libc::{iovec, mode_t, off_t, size_t, ssize_t};

use super::{ACTIVE, Call, Event, Handle, Lie, State, state};

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

/// The state, where the path lies below the root. One that does not begin at `/` begins at an open directory.
///
/// # Safety
/// The path must be a string of C.
unsafe fn of_path(
    directory: c_int,
    path: *const c_char,
) -> Option<(MutexGuard<'static, Option<State>>, PathBuf)> {
    if !ACTIVE.load(Ordering::Relaxed) {
        return None;
    }
    // SAFETY: the caller's.
    let path = Path::new(OsStr::from_bytes(
        unsafe { CStr::from_ptr(path) }.to_bytes(),
    ));
    let guard = state();
    let watched = guard.as_ref()?;
    let path = match watched.handles.get(&directory) {
        Some(Handle::Directory(base)) if path.is_relative() => base.join(path),
        _ => watched.below(path)?,
    };
    Some((guard, path))
}

fn inside<'a>(guard: &'a mut MutexGuard<'static, Option<State>>) -> &'a mut State {
    guard.as_mut().expect("it is watched")
}

// SAFETY, for all below: the signatures are those of the C library on 64-bit Linux, arguments are handed on to the kernel as
// they came, and what is read of them are strings and buffers that the caller has promised to the C library as well.

#[unsafe(no_mangle)]
pub unsafe extern "C" fn openat64(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    let real = || unsafe { libc::syscall(libc::SYS_openat, directory, path, flags, mode) as c_int };
    let Some((mut guard, name)) = (unsafe { of_path(directory, path) }) else {
        let fd = real();
        forget(fd);
        return fd;
    };
    let state = inside(&mut guard);
    let writes = flags & (libc::O_CREAT | libc::O_TRUNC) != 0;
    if writes && state.frozen {
        return refuse(libc::EIO);
    }
    if let Some(errno) = state.strike(Call::Open, &name) {
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

/// A handle that the C library closed by itself, as that of a directory it listed, names another file now.
fn forget(fd: c_int) {
    if ACTIVE.load(Ordering::Relaxed)
        && let Some(state) = &mut *state()
    {
        state.handles.remove(&fd);
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn openat(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    unsafe { openat64(directory, path, flags, mode) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    unsafe { openat64(libc::AT_FDCWD, path, flags, mode) }
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
    bytes: impl FnOnce(usize) -> Bytes,
) -> ssize_t {
    let Some((mut guard, Handle::File(id, name))) = of_file(fd) else {
        return real();
    };
    if let Some(errno) = inside(&mut guard).strike(Call::Write, &name) {
        return refuse(errno) as ssize_t;
    }
    drop(guard);
    let offset = offset.unwrap_or_else(|| place(fd));
    let count = real();
    if let Ok(count) = usize::try_from(count)
        && let Some(state) = &mut *state()
    {
        state.cache(id, offset, count);
        if state.log.is_some() {
            state.push(Event::Write(id, offset, bytes(count)));
        }
    }
    count
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
    let real = || unsafe { libc::syscall(libc::SYS_write, fd, bytes, count) as ssize_t };
    written(fd, None, real, |count| {
        Bytes::copy_from_slice(unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), count) })
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
        Bytes::copy_from_slice(unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), count) })
    })
}

unsafe fn gathered(parts: *const iovec, count: c_int, bytes: usize) -> Bytes {
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

/// A read: refused where that is its turn, and the system does not have the bytes in memory.
fn given(fd: c_int, offset: Option<u64>, count: size_t, real: impl FnOnce() -> ssize_t) -> ssize_t {
    let Some((mut guard, Handle::File(id, name))) = of_file(fd) else {
        return real();
    };
    let offset = offset.unwrap_or_else(|| place(fd));
    let state = inside(&mut guard);
    // Behind the end of a file there is nothing that a disk could fail to give.
    let there = count.min(length(fd).saturating_sub(offset) as usize);
    if !state.is_cached(id, offset, there)
        && let Some(errno) = state.strike(Call::Read, &name)
    {
        return refuse(errno) as ssize_t;
    }
    let answer = real();
    if let Ok(count) = usize::try_from(answer) {
        state.cache(id, offset, count);
    }
    answer
}

fn length(fd: c_int) -> u64 {
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    unsafe { libc::fstat(fd, &raw mut found) };
    found.st_size as u64
}

/// Where the next bytes of a file are read or written.
fn place(fd: c_int) -> u64 {
    let at = unsafe { libc::syscall(libc::SYS_lseek, fd, 0, libc::SEEK_CUR) };
    u64::try_from(at).expect("a place in a file")
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(fd: c_int, bytes: *mut c_void, count: size_t) -> ssize_t {
    given(fd, None, count, || unsafe {
        libc::syscall(libc::SYS_read, fd, bytes, count) as ssize_t
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pread64(
    fd: c_int,
    bytes: *mut c_void,
    count: size_t,
    offset: off_t,
) -> ssize_t {
    given(fd, Some(offset as u64), count, || unsafe {
        libc::syscall(libc::SYS_pread64, fd, bytes, count, offset) as ssize_t
    })
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

#[unsafe(no_mangle)]
pub unsafe extern "C" fn preadv64(
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    offset: off_t,
) -> ssize_t {
    let lengths = unsafe { std::slice::from_raw_parts(parts, count as usize) };
    let bytes = lengths.iter().map(|part| part.iov_len).sum();
    given(fd, Some(offset as u64), bytes, || unsafe {
        libc::syscall(libc::SYS_preadv, fd, parts, count, offset, 0) as ssize_t
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn preadv(
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    offset: off_t,
) -> ssize_t {
    unsafe { preadv64(fd, parts, count, offset) }
}

fn synced(fd: c_int, real: impl Fn() -> c_int) -> c_int {
    let Some((mut guard, handle)) = of_file(fd) else {
        return real();
    };
    let state = inside(&mut guard);
    let (Handle::File(_, name) | Handle::Directory(name)) = &handle;
    if let Some(errno) = state.strike(Call::Sync, name) {
        return refuse(errno);
    }
    let (covers, lie) = (state.now(), state.lie);
    drop(guard);
    let is_of_sled = name.iter().any(|part| part == "trees");
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
    let Some((mut guard, Handle::File(id, name))) = of_file(fd) else {
        return real();
    };
    let state = inside(&mut guard);
    if let Some(errno) = state.strike(Call::Truncate, &name) {
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
    let Some((guard, target)) = (unsafe { of_path(libc::AT_FDCWD, to) }) else {
        return real();
    };
    drop(guard);
    let Some((mut guard, source)) = (unsafe { of_path(libc::AT_FDCWD, from) }) else {
        return real();
    };
    let state = inside(&mut guard);
    if let Some(errno) = state.strike(Call::Rename, &source) {
        return refuse(errno);
    }
    let answer = real();
    if answer == 0 {
        state.rename(&source, &target);
        state.push(Event::Rename(source, target));
    }
    answer
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlinkat(directory: c_int, path: *const c_char, flags: c_int) -> c_int {
    let real = || unsafe { libc::syscall(libc::SYS_unlinkat, directory, path, flags) as c_int };
    let names = unsafe { of_path(directory, path) };
    named(names, Call::Unlink, real, |state, name| {
        if flags & libc::AT_REMOVEDIR != 0 {
            return Event::RemoveDirectory(name);
        }
        state.names.remove(&name);
        Event::Unlink(name)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    unsafe { unlinkat(libc::AT_FDCWD, path, 0) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    unsafe { unlinkat(libc::AT_FDCWD, path, libc::AT_REMOVEDIR) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    let real = || unsafe { libc::syscall(libc::SYS_mkdir, path, mode) as c_int };
    let names = unsafe { of_path(libc::AT_FDCWD, path) };
    named(names, Call::MakeDirectory, real, |_, name| {
        Event::MakeDirectory(name)
    })
}

/// A change of a name: refused where that is its turn, else made and written down.
fn named(
    names: Option<(MutexGuard<'static, Option<State>>, PathBuf)>,
    call: Call,
    real: impl Fn() -> c_int,
    event: impl FnOnce(&mut State, PathBuf) -> Event,
) -> c_int {
    let Some((mut guard, name)) = names else {
        return real();
    };
    let state = inside(&mut guard);
    if let Some(errno) = state.strike(call, &name) {
        return refuse(errno);
    }
    let answer = real();
    if answer == 0 {
        let event = event(state, name);
        state.push(event);
    }
    answer
}
