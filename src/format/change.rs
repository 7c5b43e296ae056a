//! The record of a change, as the history holds it.
//!
//! | name | holds |
//! |---|---|
//! | `o` | 0 put, 1 delete, 2 move |
//! | `n` | the key, whole; for a move the new one |
//! | `f` | for a move, the key it had |
//! | `k` | kind of the entry, as in its record |
//! | `s` `d` | size in bytes and BLAKE3 of the content; neither where the entry had a view password |
//! | `p` | participant |
//! | `t` | time: microseconds since 1970 |

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use super::entry::{kind_from_number, kind_to_number};
use super::{decode, encode};
use crate::error::{Error, Result};
use crate::metadata::{Digest, Kind};

/// One change, keys whole (not relative to any scope).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChangeRecord {
    pub(crate) action: ChangeAction,
    pub(crate) key: String,
    pub(crate) entry: Kind,
    /// Size and digest; `None` where the entry had a view password at that time. A digest lets whoever reads the history
    /// find a short content by trying.
    pub(crate) content: Option<(u64, Digest)>,
    pub(crate) participant: Option<String>,
    /// Microseconds since 1970.
    pub(crate) time: u64,
}

/// What happened to the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChangeAction {
    Put,
    Delete,
    Move { from: String },
}

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    o: u8,
    n: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    f: Option<Cow<'a, str>>,
    k: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d: Option<ByteArray<32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<Cow<'a, str>>,
    t: u64,
}

/// What most records take besides their key.
const RECORD_BYTES: usize = 80;

impl ChangeRecord {
    /// The bytes of the record.
    pub(crate) fn encode(&self) -> Bytes {
        let (number, from) = match &self.action {
            ChangeAction::Put => (0, None),
            ChangeAction::Delete => (1, None),
            ChangeAction::Move { from } => (2, Some(from.into())),
        };
        let stored = Stored {
            o: number,
            n: Cow::Borrowed(&self.key),
            f: from,
            k: kind_to_number(self.entry),
            s: self.content.map(|(size, _)| size),
            d: (self.content).map(|(_, digest)| ByteArray::new(*digest.as_bytes())),
            p: self.participant.as_deref().map(Cow::Borrowed),
            t: self.time,
        };
        Bytes::from(encode(&stored, RECORD_BYTES + self.key.len()))
    }

    /// Reads the bytes of a record of the commit `revision`, which names it in the error.
    pub(crate) fn decode(revision: u64, bytes: &[u8]) -> Result<ChangeRecord> {
        let location = format!("revision {revision}");
        let damaged = || Error::damaged("change", location.clone());
        let stored: Stored = decode("change", &location, bytes)?;
        Ok(ChangeRecord {
            action: match (stored.o, stored.f) {
                (0, None) => ChangeAction::Put,
                (1, None) => ChangeAction::Delete,
                (2, Some(from)) => ChangeAction::Move {
                    from: from.into_owned(),
                },
                _ => return Err(damaged()),
            },
            key: stored.n.into_owned(),
            entry: kind_from_number(stored.k).ok_or_else(damaged)?,
            content: match (stored.s, stored.d) {
                (Some(size), Some(digest)) => Some((size, Digest::from(digest.into_array()))),
                (None, None) => None,
                _ => return Err(damaged()),
            },
            participant: stored.p.map(Cow::into_owned),
            time: stored.t,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes in the journal: a change here is a change of the format.
    #[test]
    fn golden_bytes() {
        let change = ChangeRecord {
            action: ChangeAction::Move { from: "a".into() },
            key: "b/c".into(),
            entry: Kind::Document,
            content: Some((300, Digest::from([3; 32]))),
            participant: Some("ann".into()),
            time: 5,
        };
        let hex: String = change.encode().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            format!(
                "88a16f02a16ea3622f63a166a161a16b00a173cd012ca164c420{}a170a3616e6ea17405",
                "03".repeat(32)
            )
        );
        let hidden = ChangeRecord {
            content: None,
            participant: None,
            ..change.clone()
        };
        let bytes = hidden.encode();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "85a16f02a16ea3622f63a166a161a16b00a17405");
        for change in [change, hidden] {
            assert_eq!(ChangeRecord::decode(1, &change.encode()).unwrap(), change);
        }
        assert!(ChangeRecord::decode(1, b"").is_err());
    }
}
