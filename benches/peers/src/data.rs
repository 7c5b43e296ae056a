//! What is stored: the same bytes for every engine.

use std::io::Read;

use serde_json::{Value, json};

pub use crate::common::Random;

/// Bytes that do not compress.
pub fn content(seed: u64, bytes: usize) -> Vec<u8> {
    Random::new(seed).bytes(bytes)
}

/// A document of about 300 bytes.
pub fn document(number: usize) -> Value {
    let mut random = Random::new(number as u64);
    let text: String = (0..160)
        .map(|_| char::from(b'a' + (random.below(26)) as u8))
        .collect();
    json!({
        "name": format!("Ittoqqortoormiit {number}"),
        "size": number,
        "position": {"latitude": 70.485_278, "longitude": -21.966_667},
        "tags": ["settlement", "harbour", "remote"],
        "text": text,
    })
}

/// Keys in order that look like those of an application.
pub fn key(folder: &str, number: usize) -> String {
    format!("{folder}/{number:08}")
}

/// A stream of bytes that costs next to nothing to make.
pub struct Stream {
    block: Vec<u8>,
    position: u64,
    bytes: u64,
}

const BLOCK_BYTES: usize = 4 * 1024 * 1024;

impl Stream {
    pub fn new(bytes: u64) -> Stream {
        Stream {
            block: content(1, BLOCK_BYTES),
            position: 0,
            bytes,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let offset = (self.position % BLOCK_BYTES as u64) as usize;
        let left = usize::try_from(self.bytes - self.position).unwrap_or(usize::MAX);
        let count = buffer.len().min(left).min(BLOCK_BYTES - offset);
        buffer[..count].copy_from_slice(&self.block[offset..offset + count]);
        self.position += count as u64;
        Ok(count)
    }
}
