//! What a thread of the load has stored, as numbers from which it can be made.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::common::Random;

/// Bytes that follow from a number, and how many.
pub type Piece = (u64, usize);

/// The content of an entry.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    Document {
        value: Value,
        is_locked: bool,
    },
    /// Pieces one behind the other.
    Blob(Vec<Piece>),
}

/// The entries of a thread, and the folders it made.
pub type Model = BTreeMap<String, Content>;

/// The document of this number, which is as large as the number says.
pub fn document(number: u64) -> Value {
    let filling = match number % 50 {
        0 => number % 100_000,
        _ => number % 2_000,
    };
    json!({"number": number, "filling": "x".repeat(usize::try_from(filling).unwrap())})
}

/// What a merge puts into a document.
pub fn addition(number: u64) -> Value {
    json!({"merged": {format!("m{}", number % 5): number}})
}

/// The bytes of these pieces.
pub fn bytes(pieces: &[Piece]) -> Vec<u8> {
    let piece = |(seed, size): &Piece| Random::new(*seed).bytes(*size);
    pieces.iter().flat_map(piece).collect()
}
