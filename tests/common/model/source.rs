//! Operations, read from bytes.

use std::sync::LazyLock;

use komatik::{Arrays, Attributes, Nulls};
use serde_json::{Map, Value, json};

use super::operation::{
    Bytes, Caller, End, Key, ListCall, Mode, Operation, PatchKind, PatchStep, Read, Step,
    StreamMode, Write,
};

/// Entries lie here and nowhere else, so that operations meet.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let long = ["k".repeat(255), "k".repeat(255), "k".repeat(255)].join("/");
    let mut keys = [
        "a", "a/b", "a/b/c", "a/c", "a!", "a0", "b", "b/a", "b/a/c", "c.txt",
    ]
    .map(str::to_owned)
    .to_vec();
    // As long as a key may be: it does not survive a longer folder.
    keys.push(format!("a/{long}/{}", "k".repeat(254)));
    keys
});
const FOLDERS: [&str; 6] = ["a", "a/b", "b", "b/a", "c", "a/b/c"];

/// The operations that `bytes` tell, to the last byte.
pub fn operations(bytes: &[u8]) -> impl Iterator<Item = Operation> + '_ {
    let mut source = Source(bytes);
    std::iter::from_fn(move || (!source.0.is_empty()).then(|| source.operation()))
}

/// Bytes, and zeros behind their end.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            None => 0,
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn key(&mut self) -> Key {
        let keys = &*KEYS;
        // The first ones are drawn more often, so that operations meet.
        let index = self.below(2 * keys.len()).checked_sub(keys.len());
        &keys[index.unwrap_or_else(|| self.below(4))]
    }

    fn folder(&mut self) -> Key {
        self.pick(&FOLDERS)
    }

    fn caller(&mut self) -> Caller {
        let bits = self.byte();
        Caller {
            // Half of the callers offer both passwords, or locks would end everything.
            passwords: [0, 0, 1, 2, 3, 3, 3, 3][usize::from(bits & 7)],
            is_named: bits & 8 != 0,
            is_scoped: bits & 0x70 == 0x70,
        }
    }

    fn mode(&mut self) -> Mode {
        let overwrite = Mode::Overwrite;
        self.pick(&[
            overwrite,
            overwrite,
            overwrite,
            Mode::Create,
            Mode::Present,
            Mode::Other,
        ])
    }

    fn content(&mut self) -> Bytes {
        Bytes {
            length: self.byte(),
            seed: self.byte(),
        }
    }

    fn attributes(&mut self) -> Option<Attributes> {
        let attribute = |name: &str, value: String| (name.to_owned(), value);
        Some(match self.below(6) {
            0 => Attributes::new(),
            1 => Attributes::from([attribute("n", self.byte().to_string())]),
            // As many as there may be.
            2 => Attributes::from([attribute("long", "v".repeat(500))]),
            _ => return None,
        })
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 8 } else { 16 }) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(self.byte()),
            3 => json!(1.0),
            4 => json!(u64::MAX),
            5 => json!("s"),
            6 => json!("ä\u{0}\""),
            7 if self.one_in(4) => json!("x".repeat(4096 + 64 * self.below(256))),
            7 => json!(-0.0),
            8..=10 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let members = (0..self.below(4)).map(|_| {
                    let name = self.pick(&["a", "b", "c", "d"]);
                    (name.to_owned(), self.value(depth - 1))
                });
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }

    fn patch_step(&mut self) -> PatchStep {
        use PatchKind::{Add, Remove, Replace, Test};
        PatchStep {
            kind: self.pick(&[Add, Add, Remove, Replace, Test]),
            path: self.pick(&["", "/a", "/b", "/c", "/a/b", "/a/0", "/b/-", "/0", "/-"]),
            value: self.value(1),
        }
    }

    fn write(&mut self) -> Write {
        match self.below(14) {
            0 | 1 => Write::Save {
                key: self.key(),
                value: self.value(3),
                mode: self.mode(),
                attributes: self.attributes(),
            },
            2..=4 => Write::Put {
                key: self.key(),
                bytes: self.content(),
                mode: self.mode(),
                attributes: self.attributes(),
                is_typed: self.one_in(3),
            },
            5 | 6 => Write::Merge {
                key: self.key(),
                value: self.value(3),
                arrays: self.pick(&[
                    Arrays::ByIndex,
                    Arrays::Replace,
                    Arrays::Append,
                    Arrays::Union,
                ]),
                nulls: self.pick(&[Nulls::Store, Nulls::Remove]),
                mode: self.mode(),
            },
            7 => Write::Patch {
                key: self.key(),
                steps: (0..=self.below(2)).map(|_| self.patch_step()).collect(),
            },
            8 => Write::Delete { key: self.key() },
            9 => Write::Rename {
                from: self.key(),
                to: self.key(),
                mode: self.mode(),
            },
            10 => Write::Copy {
                from: self.key(),
                to: self.key(),
                mode: self.mode(),
            },
            11 => Write::CreateFolder {
                folder: self.folder(),
            },
            12 => Write::DeleteFolder {
                folder: self.folder(),
            },
            _ => Write::RenameFolder {
                from: self.folder(),
                to: self.folder(),
            },
        }
    }

    fn read(&mut self) -> Read {
        self.pick(&[Read::Get, Read::Load, Read::Metadata, Read::Exists])
    }

    fn step(&mut self) -> Step {
        match self.below(8) {
            0 => Step::CommitHeld,
            1 | 2 => Step::Read(self.read(), self.key()),
            _ => Step::Write(self.write()),
        }
    }

    fn list_call(&mut self) -> ListCall {
        ListCall {
            folder: self.pick(&["", "", "a", "b", "a/b", "c"]),
            is_recursive: self.one_in(2),
            after: match self.below(6) {
                0 => Some(self.key().to_owned()),
                1 => Some(format!("{}/", self.key())),
                _ => None,
            },
            limit: self.one_in(3).then(|| self.below(5)),
            contains: self.one_in(4).then(|| self.pick(&["b", "c", "a/"])),
        }
    }

    fn stream(&mut self) -> Operation {
        Operation::Stream {
            caller: self.caller(),
            key: self.key(),
            mode: match self.below(3) {
                0 => StreamMode::Mode(self.mode()),
                _ => StreamMode::Append,
            },
            pieces: (0..self.below(4)).map(|_| self.content()).collect(),
            attributes: self.attributes(),
            is_typed: self.one_in(4),
            end: self.pick(&[End::Commit, End::Commit, End::Commit, End::Drop, End::Hold]),
        }
    }

    fn operation(&mut self) -> Operation {
        match self.below(64) {
            0..=23 => Operation::Write(self.caller(), self.write()),
            24..=29 => self.stream(),
            30 | 31 => Operation::CommitHeld,
            32..=35 => Operation::Transaction {
                caller: self.caller(),
                steps: (0..=self.below(5)).map(|_| self.step()).collect(),
                is_committed: !self.one_in(4),
            },
            36..=39 => Operation::Read(self.caller(), self.read(), self.key()),
            40 | 41 => Operation::ReadAt {
                caller: self.caller(),
                key: self.key(),
                offset: self.content(),
                length: self.content(),
            },
            42 | 43 => Operation::List(self.caller(), self.list_call()),
            44 => Operation::Pages(self.caller(), self.list_call(), 1 + self.below(3)),
            45 | 46 => Operation::Lock {
                caller: self.caller(),
                key: self.key(),
                view: self.one_in(2).then(|| self.below(2)),
                edit: self.one_in(2).then(|| self.below(2)),
            },
            47 | 48 => Operation::Unlock(self.caller(), self.key()),
            49 | 50 => Operation::Grant {
                caller: self.caller(),
                key: self.key(),
                is_folder: self.one_in(4),
                is_expired: self.one_in(8),
            },
            51 => Operation::Redeem {
                token: self.below(8),
                other: self.one_in(4).then(|| self.key()),
            },
            52 => match self.below(6) {
                0 | 1 => Operation::Revoke(self.key()),
                2 => Operation::RevokeToken(self.below(8)),
                3 => Operation::RevokeAll,
                _ => Operation::Tokens,
            },
            53 | 54 => Operation::HoldReader(self.caller(), self.key()),
            55 => Operation::HoldListing(self.caller(), self.list_call()),
            56 | 57 => Operation::CheckHeld,
            58 => Operation::Drain,
            59 => Operation::Flush,
            60 => Operation::Compact,
            61 => Operation::Verify,
            _ => match self.below(4) {
                0 => Operation::Reopen { closes: true },
                1 => Operation::Reopen { closes: false },
                _ => Operation::Drain,
            },
        }
    }
}
