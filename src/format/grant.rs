//! The record of a token, the value of a row of [`Tree::Tokens`](crate::backend::Tree::Tokens). The row's key is the
//! BLAKE3 hash of the token; the token itself is stored nowhere.
//!
//! | name | holds |
//! |---|---|
//! | `n` | the key, whole, or the folder without its closing `/` |
//! | `f` | whether it is a folder |
//! | `x` | when it expires: microseconds since 1970; absent for never |
//! | `c` | when it was granted: microseconds since 1970 |
//! | `l` | id of the lock the granting call passed; a token does not pass any other |

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use super::{decode, encode};
use crate::error::Result;

/// What a token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GrantRecord {
    pub(crate) name: String,
    pub(crate) folder: bool,
    /// Microseconds since 1970.
    pub(crate) expires: Option<u64>,
    /// Microseconds since 1970.
    pub(crate) created: u64,
    pub(crate) lock: Option<[u8; 16]>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    n: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    f: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x: Option<u64>,
    c: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    l: Option<ByteArray<16>>,
}

/// What most records take.
const RECORD_BYTES: usize = 64;

impl GrantRecord {
    /// The bytes of the record.
    pub(crate) fn encode(&self) -> Bytes {
        let stored = Stored {
            n: self.name.clone(),
            f: self.folder,
            x: self.expires,
            c: self.created,
            l: self.lock.map(ByteArray::new),
        };
        Bytes::from(encode(&stored, RECORD_BYTES))
    }

    /// Reads the bytes of a record.
    pub(crate) fn decode(bytes: &[u8]) -> Result<GrantRecord> {
        let stored: Stored = decode("token", "the tokens", bytes)?;
        Ok(GrantRecord {
            name: stored.n,
            folder: stored.f,
            expires: stored.x,
            created: stored.c,
            lock: stored.l.map(ByteArray::into_array),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes on disk: a change here is a change of the format.
    #[test]
    fn golden_bytes() {
        let grant = GrantRecord {
            name: "a/b".into(),
            folder: true,
            expires: Some(1),
            created: 2,
            lock: Some([4; 16]),
        };
        let hex: String = grant.encode().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            format!(
                "85a16ea3612f62a166c3a17801a16302a16cc410{}",
                "04".repeat(16)
            )
        );
        assert_eq!(GrantRecord::decode(&grant.encode()).unwrap(), grant);
        let least = GrantRecord {
            folder: false,
            expires: None,
            lock: None,
            ..grant
        };
        assert_eq!(GrantRecord::decode(&least.encode()).unwrap(), least);
    }
}
