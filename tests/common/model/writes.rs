//! What each write makes of the state.

use komatik::{MAX_KEY_BYTES, PutMode};
use serde_json::Value;

use super::json;
use super::operation::{Caller, Write};
use super::state::{
    Answer, Attribution, Content, Entry, Expect, Lock, Need, New, Refusal, Result, State, ToldKind,
    check_lock, type_of_blob, whole_key,
};

impl State {
    /// What a write does; `mode` is what its own comes to.
    pub fn write(
        &mut self,
        caller: Caller,
        write: &Write,
        mode: PutMode,
        chunk: usize,
    ) -> Result<Answer> {
        let expect = Expect::Mode(mode);
        match write {
            Write::Save {
                key,
                value,
                attributes,
                ..
            } => {
                let key = whole_key(caller, key)?;
                self.check_replaceable(caller, &key, expect, Need::Write)?;
                let new = New {
                    content: Content::document(value.clone()),
                    content_type: "application/json".to_owned(),
                    attributes: attributes.clone(),
                };
                Ok(self.replace(caller, &key, new))
            }
            Write::Put {
                key,
                bytes,
                attributes,
                is_typed,
                ..
            } => {
                let key = whole_key(caller, key)?;
                self.check_replaceable(caller, &key, expect, Need::Write)?;
                let new = New {
                    content: Content::blob(bytes.make(chunk)),
                    content_type: type_of_blob(&key, *is_typed),
                    attributes: attributes.clone(),
                };
                Ok(self.replace(caller, &key, new))
            }
            Write::Merge {
                key,
                value,
                arrays,
                nulls,
                ..
            } => {
                let key = whole_key(caller, key)?;
                self.check_replaceable(caller, &key, expect, Need::ReadAndWrite)?;
                self.edit(caller, &key, |present| {
                    Some(json::merge(present, value.clone(), *arrays, *nulls))
                })
            }
            Write::Patch { key, steps } => {
                let key = whole_key(caller, key)?;
                self.present(&key)?;
                self.check_replaceable(caller, &key, expect, Need::ReadAndWrite)?;
                self.edit(caller, &key, |present| json::patch(present, steps))
            }
            Write::Delete { key } => {
                let key = whole_key(caller, key)?;
                let Some(entry) = self.entries.get(&key).cloned() else {
                    return Ok(Answer::Flag(false));
                };
                check_lock(&key, entry.lock, Need::Write, caller)?;
                self.delete_row(caller, &key)?;
                Ok(Answer::Flag(true))
            }
            Write::Rename { from, to, .. } => self.rename(caller, from, to, expect),
            Write::Copy { from, to, .. } => self.copy(caller, from, to, expect),
            Write::CreateFolder { folder } => {
                let folder = whole_key(caller, folder)?;
                if self.folders.insert(folder.clone()) {
                    self.touched.insert(format!("{folder}/"));
                    self.tell(caller, ToldKind::Put, &folder, (Content::Folder, None));
                }
                Ok(Answer::Done)
            }
            Write::DeleteFolder { folder } => {
                let folder = whole_key(caller, folder)?;
                self.visit_below(&folder, |state, row| state.delete_row(caller, row))
            }
            Write::RenameFolder { from, to } => self.rename_folder(caller, from, to),
        }
    }

    /// Changes a document, or one made of `null`.
    fn edit(
        &mut self,
        caller: Caller,
        key: &str,
        change: impl FnOnce(Value) -> Option<Value>,
    ) -> Result<Answer> {
        let present = match self.entries.get(key).map(|entry| &entry.content) {
            Some(Content::Document { value, .. }) => Some(value.clone()),
            Some(_) => return Err(Refusal::WrongKind(key.to_owned())),
            None => None,
        };
        let value = change(present.clone().unwrap_or_default()).ok_or(Refusal::InvalidDocument)?;
        let text = |value: &Value| value.to_string();
        if present.is_some_and(|present| text(&present) == text(&value)) {
            return Ok(Answer::Metadata(Some(key.to_owned()), Attribution::Told));
        }
        let new = New {
            content: Content::document(value),
            content_type: "application/json".to_owned(),
            attributes: None,
        };
        Ok(self.replace(caller, key, new))
    }

    fn rename(&mut self, caller: Caller, from: &str, to: &str, expect: Expect) -> Result<Answer> {
        let (from, to) = (whole_key(caller, from)?, whole_key(caller, to)?);
        let entry = self.present(&from)?.clone();
        if from != to {
            self.check_replaceable(caller, &to, expect, Need::Write)?;
        }
        check_lock(&from, entry.lock, Need::Write, caller)?;
        if from != to {
            self.move_entry(caller, &from, &to);
        }
        Ok(Answer::Revision(to))
    }

    fn move_entry(&mut self, caller: Caller, from: &str, to: &str) {
        if let Some(entry) = self.remove(from) {
            let kind = ToldKind::Move(from.to_owned());
            self.tell(caller, kind, to, (entry.content.clone(), entry.lock));
            self.insert(to, entry);
        }
    }

    fn copy(&mut self, caller: Caller, from: &str, to: &str, expect: Expect) -> Result<Answer> {
        let (from, to) = (whole_key(caller, from)?, whole_key(caller, to)?);
        let source = self.present(&from)?.clone();
        check_lock(&from, source.lock, Need::Read, caller)?;
        if from != to {
            self.check_replaceable(caller, &to, expect, Need::Write)?;
            let old = self.entries.get(&to);
            let copy = Entry {
                lock: old.and_then(|old| old.lock),
                created: old.and_then(|old| old.created),
                ..source
            };
            self.tell(
                caller,
                ToldKind::Put,
                &to,
                (copy.content.clone(), copy.lock),
            );
            self.insert(&to, copy);
        }
        Ok(Answer::Metadata(Some(to), Attribution::Told))
    }

    /// Rows that were written since the draft was begun come last.
    fn visit_below(
        &mut self,
        folder: &str,
        mut visit: impl FnMut(&mut State, &str) -> Result<()>,
    ) -> Result<Answer> {
        let (own, others): (Vec<_>, Vec<_>) = self
            .rows_below(folder)
            .into_iter()
            .partition(|row| self.touched.contains(row));
        let mut count = 0;
        for row in others.iter().chain(&own) {
            count += u64::from(!row.ends_with('/'));
            let visited = visit(self, row);
            self.is_doomed |= visited.is_err();
            visited?;
        }
        Ok(Answer::Count(count))
    }

    fn delete_row(&mut self, caller: Caller, row: &str) -> Result<()> {
        if let Some(folder) = row.strip_suffix('/') {
            self.folders.remove(folder);
            self.touched.insert(row.to_owned());
            self.tell(caller, ToldKind::Delete, folder, (Content::Folder, None));
            return Ok(());
        }
        check_lock(row, self.present(row)?.lock, Need::Write, caller)?;
        if let Some(entry) = self.remove(row) {
            self.tell(caller, ToldKind::Delete, row, (entry.content, entry.lock));
        }
        Ok(())
    }

    fn rename_folder(&mut self, caller: Caller, from: &str, to: &str) -> Result<Answer> {
        let (from, to) = (whole_key(caller, from)?, whole_key(caller, to)?);
        if !self.folder_exists(&from) {
            return Err(Refusal::NotFound(from));
        }
        if from == to {
            return Ok(Answer::Count(0));
        }
        if to.starts_with(&format!("{from}/")) {
            return Err(Refusal::InvalidArgument);
        }
        if self.folder_exists(&to) {
            return Err(Refusal::AlreadyExists(to));
        }
        self.visit_below(&from, |state, row| {
            let new = format!("{to}{}", &row[from.len()..]);
            if new.len() > MAX_KEY_BYTES {
                return Err(Refusal::InvalidKey);
            }
            if let (Some(old), Some(new)) = (row.strip_suffix('/'), new.strip_suffix('/')) {
                state.folders.remove(old);
                state.folders.insert(new.to_owned());
                state.touched.extend([row.to_owned(), format!("{new}/")]);
                let kind = ToldKind::Move(old.to_owned());
                state.tell(caller, kind, new, (Content::Folder, None));
            } else {
                check_lock(row, state.present(row)?.lock, Need::Write, caller)?;
                state.move_entry(caller, row, &new);
            }
            Ok(())
        })
    }

    pub fn lock(
        &mut self,
        caller: Caller,
        key: &str,
        passwords: [Option<&'static str>; 2],
    ) -> Result<Answer> {
        let key = whole_key(caller, key)?;
        let [view, edit] = passwords;
        if view.is_none() && edit.is_none() {
            return Err(Refusal::InvalidArgument);
        }
        self.locks += 1;
        let id = self.locks;
        self.relock(caller, &key, Some(Lock { id, view, edit }))?;
        Ok(Answer::Done)
    }

    pub fn unlock(&mut self, caller: Caller, key: &str) -> Result<Answer> {
        let key = whole_key(caller, key)?;
        self.relock(caller, &key, None).map(Answer::Flag)
    }

    fn relock(&mut self, caller: Caller, key: &str, lock: Option<Lock>) -> Result<bool> {
        let entry = self.present(key)?.clone();
        check_lock(key, entry.lock, Need::Relock, caller)?;
        let was_locked = entry.lock.is_some();
        if was_locked || lock.is_some() {
            self.tell(caller, ToldKind::Put, key, (entry.content.clone(), lock));
            self.insert(key, Entry { lock, ..entry });
        }
        Ok(was_locked)
    }
}
