//! Messages: a header of JSON, and bytes behind it. Packed: the length of the header (8 bytes, big-endian), the header, the
//! bytes, which are its trailer.

use serde_json::{Map, Value, json};

use super::packet;
use crate::http::key::check_count;

/// Largest header, in bytes.
const MAX_HEADER_BYTES: usize = 256 * 1024;
/// Most values and names of members in one. Each takes some hundred bytes of memory.
const MAX_HEADER_VALUES: usize = 1000;
/// The kind of every answer.
pub(super) const RESPONSE: &str = "__response__";

/// The members of a header.
pub(super) type Header = Map<String, Value>;

/// Takes a packed message apart as it comes: the header is collected, the trailer is passed on.
#[derive(Debug, Default)]
pub(super) struct Unpacker {
    collected: Vec<u8>,
    is_collected: bool,
}

/// Why what came is no packed message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

impl Unpacker {
    /// The header, where it is now complete, and the bytes of the trailer.
    pub(super) fn take<'a>(
        &mut self,
        mut bytes: &'a [u8],
    ) -> Result<(Option<Header>, &'a [u8]), Malformed> {
        if self.is_collected {
            return Ok((None, bytes));
        }
        while self.collected.len() < self.wanted()? {
            let missing = self.wanted()? - self.collected.len();
            if bytes.is_empty() {
                return Ok((None, bytes));
            }
            let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
            self.collected.extend_from_slice(taken);
            bytes = rest;
        }
        self.is_collected = true;
        let collected = std::mem::take(&mut self.collected);
        let header = collected.get(8..).unwrap_or_default();
        if check_count(header, MAX_HEADER_VALUES).is_err() {
            return Err(Malformed(
                "the header of a message has more than 1000 values",
            ));
        }
        match crate::parse_json(header) {
            Ok(Value::Object(header)) => Ok((Some(header), bytes)),
            Ok(_) | Err(_) => Err(Malformed("the header of a message is no JSON object")),
        }
    }

    /// How many bytes the header has with the length before it, as far as is known.
    fn wanted(&self) -> Result<usize, Malformed> {
        let Some(length) = self.collected.first_chunk() else {
            return Ok(8);
        };
        let length = usize::try_from(u64::from_be_bytes(*length));
        match length {
            Ok(length) if length <= MAX_HEADER_BYTES => Ok(8 + length),
            Ok(_) | Err(_) => Err(Malformed("the header of a message has more than 256 KiB")),
        }
    }
}

/// A header as it stands before the trailer.
pub(super) fn pack(header: &Value) -> Vec<u8> {
    let header = header.to_string();
    let mut packed = Vec::with_capacity(8 + header.len());
    let length = u64::try_from(header.len()).unwrap_or(u64::MAX);
    packed.extend(length.to_be_bytes());
    packed.extend(header.as_bytes());
    packed
}

/// A whole message as packets. Not for contents, which are read as they are sent.
pub(super) fn packets(id: u64, kind: &str, body: &[u8]) -> Vec<Vec<u8>> {
    let total = u64::try_from(body.len()).ok().and_then(packet::count);
    let total = total.unwrap_or(u32::MAX);
    let mut packets = vec![packet::first(id, kind, total)];
    let pieces = body.chunks(packet::PAYLOAD_BYTES);
    packets.extend(
        (1..)
            .zip(pieces)
            .map(|(number, piece)| packet::later(id, number, piece)),
    );
    packets
}

/// What a request is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Json(Value),
    Empty,
    /// A stream of chunks has begun.
    Open,
    Fault(Fault),
}

impl Reply {
    pub(super) fn header(&self) -> Value {
        match self {
            Reply::Json(json) => json!({"type": "json", "json": json}),
            Reply::Empty => json!({"type": "empty"}),
            Reply::Open => json!({"type": "control", "method": "open"}),
            Reply::Fault(fault) => fault.content(),
        }
    }
}

/// Numbers that clients know failures by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    PermissionDenied = 1001,
    InvalidRequest = 1002,
    OperationFailed = 1008,
    NotFound = 3001,
    RecursiveRequired = 3002,
    InvalidHandle = 3003,
    InvalidPath = 3004,
    AlreadyExists = 3005,
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) text: String,
}

impl Fault {
    pub(super) fn new(code: Code, text: impl Into<String>) -> Fault {
        Fault {
            code,
            text: text.into(),
        }
    }

    pub(super) fn invalid(text: impl Into<String>) -> Fault {
        Fault::new(Code::InvalidRequest, text)
    }

    pub(super) fn content(&self) -> Value {
        json!({"type": "error", "text": self.text, "code": self.code as u16})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header and the trailer of a message that comes in pieces of so many bytes.
    fn unpacked(message: &[u8], piece: usize) -> Result<(Option<Header>, Vec<u8>), Malformed> {
        let mut unpacker = Unpacker::default();
        let (mut header, mut trailer) = (None, Vec::new());
        for piece in message.chunks(piece) {
            let (found, rest) = unpacker.take(piece)?;
            assert!(found.is_none() || header.is_none(), "one header");
            header = found.or(header);
            trailer.extend_from_slice(rest);
        }
        Ok((header, trailer))
    }

    #[test]
    fn a_message_is_the_same_however_it_is_cut() {
        let header = json!({"path": "\u{e4}/b", "n": 1});
        let mut message = pack(&header);
        message.extend(b"trailer");
        for piece in [1, 3, 8, 9, 1000] {
            let (found, trailer) = unpacked(&message, piece).unwrap();
            assert_eq!(found.map(Value::Object), Some(header.clone()));
            assert_eq!(trailer, b"trailer");
        }
        assert_eq!(unpacked(&message[..20], 5).unwrap(), (None, Vec::new()));
    }

    #[test]
    fn what_is_no_message_is_refused_before_it_is_collected() {
        for (length, bytes) in [
            (u64::MAX, "{}"),
            (256 * 1024 + 1, "{}"),
            (2, "[]"),
            (2, "{\""),
            (39, r#"{"$serde_json::private::RawValue":"{}"}"#),
            (0, ""),
        ] {
            let mut message = length.to_be_bytes().to_vec();
            message.extend(bytes.as_bytes());
            let mut unpacker = Unpacker::default();
            assert!(unpacker.take(&message).is_err(), "{length} {bytes}");
        }
    }
}
