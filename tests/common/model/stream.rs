//! Writers that are open.

use std::io::Write;

use komatik::{Attributes, BlobWriter, Store, WriteMode, WriteOptions};

use super::compare::check_refusal;
use super::operation::{Bytes, Caller, Key, StreamMode};
use super::state::{Answer, Content, Expect, Need, New, Refusal, State, type_of_blob, whole_key};

/// A writer, and what it is to commit.
#[derive(Debug)]
pub struct Stream {
    pub writer: BlobWriter,
    pub caller: Caller,
    draft: StreamDraft,
}

/// What the model knows of a writer.
#[derive(Debug)]
pub struct StreamDraft {
    key: String,
    expect: Expect,
    need: Need,
    content: Vec<u8>,
    content_type: String,
    attributes: Option<Attributes>,
}

impl StreamDraft {
    /// What opening a writer answers.
    fn begin(
        state: &State,
        caller: Caller,
        (key, mode): (Key, StreamMode),
        attributes: Option<Attributes>,
        is_typed: bool,
    ) -> Result<StreamDraft, Refusal> {
        let key = whole_key(caller, key)?;
        let (expect, need) = match mode {
            StreamMode::Mode(mode) => (Expect::Mode(state.resolve(mode, &key)), Need::Write),
            StreamMode::Append => (Expect::Unchanged(state.revision(&key)), Need::ReadAndWrite),
        };
        state.check_replaceable(caller, &key, expect, need)?;
        let present = state
            .entries
            .get(&key)
            .filter(|_| mode == StreamMode::Append);
        let (content, kept_type) = match present.map(|entry| (&entry.content, &entry.content_type))
        {
            None => (Vec::new(), None),
            Some((Content::Blob(bytes, _), kept)) => (bytes.to_vec(), Some(kept.clone())),
            Some(_) => return Err(Refusal::WrongKind(key)),
        };
        let content_type = kept_type.filter(|_| !is_typed);
        Ok(StreamDraft {
            content_type: content_type.unwrap_or_else(|| type_of_blob(&key, is_typed)),
            key,
            expect,
            need,
            content,
            attributes,
        })
    }

    /// What its commit does.
    pub fn commit(self, state: &mut State, caller: Caller) -> Result<Answer, Refusal> {
        state.check_replaceable(caller, &self.key, self.expect, self.need)?;
        let new = New {
            content: Content::blob(self.content),
            content_type: self.content_type,
            attributes: self.attributes,
        };
        Ok(state.replace(caller, &self.key, new))
    }
}

impl Stream {
    /// Opens a writer where the model lets it be opened.
    pub fn open(
        view: &Store,
        state: &State,
        caller: Caller,
        (key, mode): (Key, StreamMode),
        attributes: Option<Attributes>,
        is_typed: bool,
    ) -> Option<Stream> {
        let mut options = WriteOptions::new();
        options.mode = match mode {
            StreamMode::Append => WriteMode::Append,
            StreamMode::Mode(mode) => {
                let put = komatik::PutOptions::new().mode(state.resolve(mode, &caller.whole(key)));
                WriteOptions::from(put).mode
            }
        };
        options.attributes.clone_from(&attributes);
        options.content_type = is_typed.then(|| "text/x-model".to_owned());
        let expected = StreamDraft::begin(state, caller, (key, mode), attributes, is_typed);
        let found = view.writer(key, options);
        let writer = check_refusal(&expected, found, caller)?;
        Some(Stream {
            writer,
            caller,
            draft: expected.unwrap(),
        })
    }

    pub fn write(&mut self, pieces: &[Bytes], chunk: usize) {
        let mut written = 0;
        for piece in pieces {
            let bytes = piece.make(chunk);
            self.writer.write_all(&bytes).unwrap();
            self.draft.content.extend_from_slice(&bytes);
            written += u64::try_from(bytes.len()).unwrap();
        }
        self.writer.flush().unwrap();
        assert_eq!(self.writer.written(), written);
    }

    pub fn into_parts(self) -> (BlobWriter, StreamDraft) {
        (self.writer, self.draft)
    }
}
