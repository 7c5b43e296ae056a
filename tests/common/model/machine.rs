//! Runs operations on a store and on the model, and compares all there is to see.

use std::collections::VecDeque;

use komatik::{Attributes, Change, Error, MergeOptions, PutMode, PutOptions, Store};

use super::compare::{Found, check_answer, check_change, check_refusal};
use super::json::patch_text;
use super::listing::{check_items, check_pages};
use super::live::{Live, MAX_HELD, Setting};
use super::operation::{Caller, End, Operation, PASSWORDS, Read, Step, Write};
use super::state::{Answer, Refusal, State};
use super::stream::Stream;
use super::tokens::Tokens;

/// Operations shown when one fails.
const TAIL: usize = 16;
/// A store and its model.
pub struct Machine {
    pub setting: Setting,
    /// `None` while it is closed.
    pub live: Option<Live>,
    pub state: State,
    /// Every change that was told.
    pub history: Vec<Change>,
    tokens: Tokens,
    last_revision: u64,
    tail: VecDeque<String>,
}

/// Tells what was done last where a comparison failed.
impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?}, the last operations:", self.setting);
            for operation in &self.tail {
                eprintln!("  {operation}");
            }
        }
    }
}

fn put_options(mode: PutMode, attributes: &Option<Attributes>, is_typed: bool) -> PutOptions {
    let mut options = PutOptions::new().mode(mode);
    options.attributes.clone_from(attributes);
    options.content_type = is_typed.then(|| "text/x-model".to_owned());
    options
}

/// A write, by the methods that [`Store`] and [`komatik::Transaction`] both have.
macro_rules! perform {
    ($target:expr, $write:expr, $mode:expr, $chunk:expr) => {
        match $write {
            Write::Save {
                key,
                value,
                attributes,
                ..
            } => $target
                .save_with(key, value, put_options($mode, attributes, false))
                .map(Found::from),
            Write::Put {
                key,
                bytes,
                attributes,
                is_typed,
                ..
            } => $target
                .put_with(
                    key,
                    bytes.make($chunk),
                    put_options($mode, attributes, *is_typed),
                )
                .map(Found::from),
            Write::Merge {
                key,
                value,
                arrays,
                nulls,
                ..
            } => {
                let options = MergeOptions::new()
                    .arrays(*arrays)
                    .nulls(*nulls)
                    .mode($mode);
                $target.merge_with(key, value, options).map(Found::from)
            }
            Write::Patch { key, steps } => {
                let patch = serde_json::from_value(patch_text(steps)).unwrap();
                $target.patch(key, &patch).map(Found::from)
            }
            Write::Delete { key } => $target.delete(key).map(Found::from),
            Write::Rename { from, to, .. } => $target.rename(from, to, $mode).map(Found::from),
            Write::Copy { from, to, .. } => $target.copy(from, to, $mode).map(Found::from),
            Write::CreateFolder { folder } => $target.create_folder(folder).map(Found::from),
            Write::DeleteFolder { folder } => $target.delete_folder(folder).map(Found::from),
            Write::RenameFolder { from, to } => $target.rename_folder(from, to).map(Found::from),
        }
    };
}

macro_rules! look {
    ($target:expr, $read:expr, $key:expr) => {
        match $read {
            Read::Get => $target
                .get($key)
                .map(|bytes| Found::Bytes(bytes.map(|bytes| bytes.to_vec()))),
            Read::Load => $target.load($key).map(Found::Value),
            Read::Metadata => $target.metadata($key).map(Found::from),
            Read::Exists => $target.exists($key).map(Found::from),
        }
    };
}

impl Machine {
    pub fn open(setting: Setting) -> Machine {
        Machine {
            live: Some(Live::open(&setting, &[], 0)),
            setting,
            state: State::default(),
            history: Vec::new(),
            tokens: Tokens::default(),
            last_revision: 0,
            tail: VecDeque::new(),
        }
    }

    /// Runs all, and looks at everything in the end, also after it was opened once more.
    pub fn run(mut self, operations: impl Iterator<Item = Operation>) {
        for operation in operations {
            self.step(&operation);
        }
        for last in [
            Operation::Drain,
            Operation::Verify,
            Operation::Reopen { closes: true },
            Operation::Compact,
            Operation::Verify,
            Operation::Drain,
        ] {
            self.step(&last);
        }
    }

    fn step(&mut self, operation: &Operation) {
        self.tail.push_back(format!("{operation:?}"));
        if self.tail.len() > TAIL {
            self.tail.pop_front();
        }
        self.apply(operation);
        let caught_up = self.take_changes();
        assert!(caught_up.is_empty(), "untold of: {caught_up:?}");
    }

    pub fn live(&mut self) -> &mut Live {
        self.live.as_mut().unwrap()
    }

    pub fn view(&self, caller: Caller) -> Store {
        self.live.as_ref().unwrap().view(caller)
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Write(caller, write) => self.write(*caller, write),
            Operation::Read(caller, read, key) => {
                let expected = self.state.read(*caller, *read, key);
                let found = look!(self.view(*caller), *read, key);
                self.check(*caller, &expected, found);
            }
            Operation::ReadAt {
                caller,
                key,
                offset,
                length,
            } => {
                self.read_at(*caller, key, *offset, *length);
            }
            Operation::List(caller, call) => {
                let expected = self.state.list(*caller, call);
                let found = self.view(*caller).list_with(call.folder, call.options());
                let found: Vec<_> = found.unwrap().map(Result::unwrap).collect();
                check_items(&found, &expected, *caller);
            }
            Operation::Pages(caller, call, size) => {
                let mut whole = call.clone();
                whole.limit = None;
                let expected = self.state.list(*caller, &whole);
                check_pages(&self.view(*caller), call, *size, &expected, *caller);
            }
            Operation::Transaction {
                caller,
                steps,
                is_committed,
            } => {
                self.transaction(*caller, steps, *is_committed);
            }
            Operation::Stream {
                caller,
                key,
                mode,
                pieces,
                attributes,
                is_typed,
                end,
            } => {
                let (view, place) = (self.view(*caller), (*key, *mode));
                let attributes = attributes.clone();
                let stream =
                    Stream::open(&view, &self.state, *caller, place, attributes, *is_typed);
                if let Some(mut stream) = stream {
                    stream.write(pieces, self.setting.chunk_bytes);
                    self.end_stream(stream, *end);
                }
            }
            Operation::CommitHeld => {
                if let Some(stream) = self.live().streams.pop_front() {
                    self.end_stream(stream, End::Commit);
                }
            }
            Operation::Lock {
                caller,
                key,
                view,
                edit,
            } => {
                let [view, edit] =
                    [view, edit].map(|number| number.map(|number| PASSWORDS[number]));
                let mut lock = komatik::Lock::new();
                lock.view = view.map(str::to_owned);
                lock.edit = edit.map(str::to_owned);
                let mut draft = self.state.draft();
                let expected = draft.lock(*caller, key, [view, edit]);
                let found = self.view(*caller).lock(key, lock).map(Found::from);
                self.settle(*caller, draft, &expected, found);
            }
            Operation::Unlock(caller, key) => {
                let mut draft = self.state.draft();
                let expected = draft.unlock(*caller, key);
                let found = self.view(*caller).unlock(key).map(Found::from);
                self.settle(*caller, draft, &expected, found);
            }
            Operation::HoldReader(..) | Operation::HoldListing(..) | Operation::CheckHeld => {
                self.hold(operation)
            }
            Operation::Drain => self.drain(),
            Operation::Flush => self.live().store().flush().unwrap(),
            Operation::Compact => self.compact(),
            Operation::Verify => self.verify(),
            Operation::Reopen { closes } => self.reopen(*closes),
            Operation::Grant { .. }
            | Operation::Redeem { .. }
            | Operation::Revoke(_)
            | Operation::RevokeToken(_)
            | Operation::RevokeAll
            | Operation::Tokens => self.token(operation),
        }
    }

    fn write(&mut self, caller: Caller, write: &Write) {
        let mode = resolve(&self.state, caller, write);
        let chunk = self.setting.chunk_bytes;
        let mut draft = self.state.draft();
        let expected = draft.write(caller, write, mode, chunk);
        let found = perform!(self.view(caller), write, mode, chunk);
        self.settle(caller, draft, &expected, found);
    }

    fn token(&mut self, operation: &Operation) {
        let live = self.live.as_ref().unwrap();
        let (tokens, state, store) = (&mut self.tokens, &self.state, live.store());
        match operation {
            Operation::Grant {
                caller,
                key,
                is_folder,
                is_expired,
            } => {
                let asked = (*key, *is_folder, *is_expired);
                tokens.grant(&live.view(*caller), state, *caller, asked);
            }
            Operation::Redeem { token, other } => tokens.redeem(store, state, *token, *other),
            Operation::Revoke(key) => tokens.revoke(store, key),
            Operation::RevokeToken(token) => tokens.revoke_one(store, *token),
            Operation::RevokeAll => tokens.revoke_all(store),
            _ => tokens.check_all(store),
        }
    }

    fn transaction(&mut self, caller: Caller, steps: &[Step], is_committed: bool) {
        let chunk = self.setting.chunk_bytes;
        let view = self.view(caller);
        let mut draft = self.state.draft();
        let streams = &mut self.live.as_mut().unwrap().streams;
        let found = view.transaction(|tx| {
            for step in steps {
                let mut next = draft.clone();
                let (expected, found) = match step {
                    Step::Read(read, key) => (next.read(caller, *read, key), look!(tx, *read, key)),
                    Step::Write(write) => {
                        let mode = resolve(&draft, caller, write);
                        let expected = next.write(caller, write, mode, chunk);
                        (expected, perform!(tx, write, mode, chunk))
                    }
                    Step::CommitHeld => {
                        let Some(stream) = streams.pop_front() else {
                            continue;
                        };
                        let (writer, stream) = stream.into_parts();
                        let expected = stream.commit(&mut next, caller);
                        (expected, tx.commit_blob(writer).map(Found::from))
                    }
                };
                let found = check_refusal(&expected, found, caller);
                if let (Ok(expected), Some(found)) = (&expected, found) {
                    check_answer(expected, &found, &next, caller);
                    draft = next;
                } else if next.is_doomed {
                    draft.is_doomed = true;
                    break;
                }
            }
            if is_committed {
                Ok(())
            } else {
                Err(Error::Cancelled)
            }
        });
        let expected = match is_committed {
            false => Err(Refusal::Cancelled),
            true if draft.is_doomed => Err(Refusal::Misuse),
            true => Ok(Answer::Done),
        };
        self.settle(caller, draft, &expected, found.map(Found::from));
    }

    fn end_stream(&mut self, stream: Stream, end: End) {
        match end {
            End::Drop => drop(stream),
            End::Hold => {
                let streams = &mut self.live().streams;
                streams.push_back(stream);
                if streams.len() > MAX_HELD {
                    streams.pop_front();
                }
            }
            End::Commit => {
                let caller = stream.caller;
                let (writer, stream) = stream.into_parts();
                let mut draft = self.state.draft();
                let expected = stream.commit(&mut draft, caller);
                self.settle(caller, draft, &expected, writer.commit().map(Found::from));
            }
        }
    }

    /// Compares what a write answered and what the history tells of it; from then on `draft` is the state.
    fn settle(
        &mut self,
        caller: Caller,
        mut draft: State,
        expected: &Result<Answer, Refusal>,
        found: Result<Found, Error>,
    ) {
        let found = check_refusal(expected, found, caller);
        if let (Ok(expected), Some(found)) = (expected, found) {
            let changes = self.take_changes();
            assert_eq!(changes.len(), draft.told.len(), "told: {changes:?}");
            for (change, told) in changes.iter().zip(&draft.told) {
                check_change(change, told);
            }
            if let Some(last) = changes.last() {
                assert!(last.revision > self.last_revision, "revisions grow");
                self.last_revision = last.revision;
                for (number, change) in changes.iter().enumerate() {
                    assert_eq!(change.revision, last.revision);
                    assert_eq!(change.last, number + 1 == changes.len());
                }
                draft.stamp(last.revision, last.time);
            }
            self.history.extend(changes);
            check_answer(expected, &found, &draft, caller);
            self.state = draft;
        }
    }

    /// Compares what a call answered that changes nothing.
    fn check(
        &self,
        caller: Caller,
        expected: &Result<Answer, Refusal>,
        found: Result<Found, Error>,
    ) {
        let found = check_refusal(expected, found, caller);
        if let (Ok(expected), Some(found)) = (expected, found) {
            check_answer(expected, &found, &self.state, caller);
        }
    }

    /// The changes that were not looked at yet.
    fn take_changes(&mut self) -> Vec<Change> {
        let live = self.live();
        let changes: Vec<Change> =
            std::iter::from_fn(|| live.watcher.try_recv().unwrap()).collect();
        assert!(live.watcher.caught_up());
        let last = changes.last().map_or(0, |last| last.revision);
        assert!(live.watcher.revision() >= last);
        changes
    }

    fn reopen(&mut self, closes: bool) {
        let Some(directory) = self.setting.directory.clone() else {
            return;
        };
        let Some(live) = self.live.take() else {
            return;
        };
        if closes {
            live.store().close().unwrap();
            assert!(live.store().put("a", "").is_err(), "closed");
            assert!(live.store().get("a").is_err(), "closed");
        }
        let position = live.slow.revision();
        let crash = self.setting.crash.filter(|_| !closes);
        let mut live = Some(live);
        match crash {
            Some(crash) => crash(&directory, &mut || drop(live.take())),
            None => drop(live.take()),
        }
        self.live = Some(Live::open(&self.setting, &self.history, position));
        if crash.is_some() {
            // All that was acknowledged, whether it waited for the disk or not.
            self.drain();
            self.verify();
        }
    }
}

fn resolve(state: &State, caller: Caller, write: &Write) -> PutMode {
    let (key, mode) = write.mode();
    state.resolve(mode, &caller.whole(key))
}
