//! Operations on a store.

use komatik::{Arrays, Attributes, Nulls};
use serde_json::Value;

/// Where a scoped caller is.
pub const SCOPE: &str = "a";
pub const PASSWORDS: [&str; 2] = ["p", "q"];

pub type Key = &'static str;

/// Who calls: the passwords offered, bit by bit, the participant, and whether from inside of [`SCOPE`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caller {
    pub passwords: u8,
    pub is_named: bool,
    pub is_scoped: bool,
}

impl Caller {
    pub fn offers(self, password: &str) -> bool {
        PASSWORDS
            .iter()
            .enumerate()
            .any(|(bit, offered)| *offered == password && self.passwords & (1 << bit) != 0)
    }

    pub fn participant(self) -> Option<&'static str> {
        self.is_named.then_some("ann")
    }

    /// How this caller names a whole key.
    pub fn relative(self, key: &str) -> &str {
        let inside = key
            .strip_prefix(SCOPE)
            .and_then(|rest| rest.strip_prefix('/'));
        inside.filter(|_| self.is_scoped).unwrap_or(key)
    }

    pub fn whole(self, key: &str) -> String {
        if self.is_scoped && key.is_empty() {
            SCOPE.to_owned()
        } else if self.is_scoped {
            format!("{SCOPE}/{key}")
        } else {
            key.to_owned()
        }
    }
}

/// A put mode, of which only the run knows the revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Overwrite,
    Create,
    /// At the revision the entry has, 0 where there is none.
    Present,
    /// At another one.
    Other,
}

/// Bytes of a length around a boundary, told by a seed.
#[derive(Debug, Clone, Copy)]
pub struct Bytes {
    pub length: u8,
    pub seed: u8,
}

impl Bytes {
    pub fn make(self, chunk: usize) -> Vec<u8> {
        let lengths = [
            0,
            1,
            100,
            4095,
            4096,
            4097,
            chunk - 1,
            chunk,
            chunk + 1,
            3 * chunk + 7,
        ];
        let length = match self.length {
            // More than an upload keeps in memory.
            250.. => 300_000,
            length => lengths[usize::from(length) % lengths.len()],
        };
        let mut bytes = Vec::with_capacity(length + 4);
        // No two words are the same, so that no two chunks are.
        for word in 0..u32::try_from(length.div_ceil(4)).unwrap() {
            let word = word << 8 | u32::from(self.seed);
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    Add,
    Remove,
    Replace,
    Test,
}

#[derive(Debug, Clone)]
pub struct PatchStep {
    pub kind: PatchKind,
    pub path: &'static str,
    pub value: Value,
}

/// What changes entries and folders, in a transaction or by itself.
#[derive(Debug, Clone)]
pub enum Write {
    Save {
        key: Key,
        value: Value,
        mode: Mode,
        attributes: Option<Attributes>,
    },
    Put {
        key: Key,
        bytes: Bytes,
        mode: Mode,
        attributes: Option<Attributes>,
        is_typed: bool,
    },
    Merge {
        key: Key,
        value: Value,
        arrays: Arrays,
        nulls: Nulls,
        mode: Mode,
    },
    Patch {
        key: Key,
        steps: Vec<PatchStep>,
    },
    Delete {
        key: Key,
    },
    Rename {
        from: Key,
        to: Key,
        mode: Mode,
    },
    Copy {
        from: Key,
        to: Key,
        mode: Mode,
    },
    CreateFolder {
        folder: Key,
    },
    DeleteFolder {
        folder: Key,
    },
    RenameFolder {
        from: Key,
        to: Key,
    },
}

impl Write {
    /// The key that a mode is about, and the mode.
    pub fn mode(&self) -> (Key, Mode) {
        match self {
            Write::Save { key, mode, .. }
            | Write::Put { key, mode, .. }
            | Write::Merge { key, mode, .. }
            | Write::Rename { to: key, mode, .. }
            | Write::Copy { to: key, mode, .. } => (key, *mode),
            Write::Patch { key, .. }
            | Write::Delete { key }
            | Write::CreateFolder { folder: key }
            | Write::DeleteFolder { folder: key }
            | Write::RenameFolder { to: key, .. } => (key, Mode::Overwrite),
        }
    }
}

/// What looks at one entry, in a transaction or by itself.
#[derive(Debug, Clone, Copy)]
pub enum Read {
    Get,
    Load,
    Metadata,
    Exists,
}

#[derive(Debug, Clone)]
pub enum Step {
    Write(Write),
    Read(Read, Key),
    /// Commits the held writer that was begun first.
    CommitHeld,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamMode {
    Mode(Mode),
    Append,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Commit,
    Drop,
    Hold,
}

#[derive(Debug, Clone)]
pub struct ListCall {
    pub folder: Key,
    pub is_recursive: bool,
    pub after: Option<String>,
    pub limit: Option<usize>,
    pub contains: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub enum Operation {
    Write(Caller, Write),
    Read(Caller, Read, Key),
    ReadAt {
        caller: Caller,
        key: Key,
        offset: Bytes,
        length: Bytes,
    },
    List(Caller, ListCall),
    /// Page by page, each of so many.
    Pages(Caller, ListCall, usize),
    Transaction {
        caller: Caller,
        steps: Vec<Step>,
        is_committed: bool,
    },
    Stream {
        caller: Caller,
        key: Key,
        mode: StreamMode,
        pieces: Vec<Bytes>,
        attributes: Option<Attributes>,
        is_typed: bool,
        end: End,
    },
    CommitHeld,
    Lock {
        caller: Caller,
        key: Key,
        view: Option<usize>,
        edit: Option<usize>,
    },
    Unlock(Caller, Key),
    Grant {
        caller: Caller,
        key: Key,
        is_folder: bool,
        is_expired: bool,
    },
    /// Uses the token of this number, for its own key or another.
    Redeem {
        token: usize,
        other: Option<Key>,
    },
    Revoke(Key),
    RevokeToken(usize),
    RevokeAll,
    Tokens,
    HoldReader(Caller, Key),
    HoldListing(Caller, ListCall),
    /// Reads what is held longest to its end.
    CheckHeld,
    /// Reads on with the watcher that is read now and then.
    Drain,
    Flush,
    Compact,
    Verify,
    Reopen {
        closes: bool,
    },
}
