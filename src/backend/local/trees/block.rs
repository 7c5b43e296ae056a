//! The bytes of a block: some rows of a tree in order, under the key from which on they lie there.
//!
//! A block is one row behind the other, each with a header of three big-endian numbers of 16 bits:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 2 | how many bytes the key begins with that the block's key begins with, too |
//! | 2 | 2 | bytes of the rest of the key |
//! | 4 | 2 | bytes of the value |
//! | 6 | | the rest of the key, the value |
//!
//! Keys ascend; none is below the block's. There is no checksum: each row has its own, over its key as well.

use bytes::Bytes;

use super::blocks::MAX_BLOCK_BYTES;

/// What a row takes besides its key and value.
const HEADER_BYTES: usize = 6;

/// A row, not checked.
pub(super) type Row = (Bytes, Bytes);

/// The most bytes that a row takes of a block.
pub(super) fn bytes_of(key: &[u8], value: &[u8]) -> usize {
    HEADER_BYTES + key.len() + value.len()
}

/// The bytes of a block. `None` where a key or a value is too long for it.
pub(super) fn encode(block_key: &[u8], rows: &[Row]) -> Option<Vec<u8>> {
    let bytes = rows.iter().map(|(key, value)| bytes_of(key, value)).sum();
    let mut block = Vec::with_capacity(bytes);
    for (key, value) in rows {
        let shared = shared_bytes(block_key, key);
        let rest = &key[shared..];
        for length in [shared, rest.len(), value.len()] {
            block.extend_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
        }
        block.extend_from_slice(rest);
        block.extend_from_slice(value);
    }
    Some(block)
}

/// All rows of a block; `None` where the bytes are none. Their keys share one allocation, and their values the block's.
pub(super) fn decode(block_key: &[u8], block: &Bytes) -> Option<Vec<Row>> {
    let (mut count, mut key_bytes) = (0, 0);
    let mut places = Places::of(block_key, block)?;
    while let Some(place) = places.next()? {
        count += 1;
        key_bytes += place.key_bytes();
    }
    let mut keys = Vec::with_capacity(key_bytes);
    let mut before = None;
    places.at = 0;
    while let Some(place) = places.next()? {
        let start = keys.len();
        keys.extend_from_slice(block_key.get(..place.shared)?);
        keys.extend_from_slice(&block[place.rest..place.value]);
        let is_in_order = match before.replace(start) {
            Some(before) => keys[before..start] < keys[start..],
            None => block_key <= &keys[..],
        };
        if !is_in_order {
            return None;
        }
    }
    let keys = Bytes::from(keys);
    let mut rows = Vec::with_capacity(count);
    let mut start = 0;
    places.at = 0;
    while let Some(place) = places.next()? {
        let end = start + place.key_bytes();
        rows.push((keys.slice(start..end), block.slice(place.value..place.end)));
        start = end;
    }
    Some(rows)
}

/// The value of one row, `Some(None)` where the block does not have it; `None` where the bytes are no block. A copy: who
/// keeps a row does not keep its neighbours.
pub(super) fn find(block_key: &[u8], block: &[u8], key: &[u8]) -> Option<Option<Bytes>> {
    let common = shared_bytes(block_key, key);
    let mut places = Places::of(block_key, block)?;
    while let Some(place) = places.next()? {
        let rest = &block[place.rest..place.value];
        if place.shared <= common && key[place.shared..] == *rest {
            return Some(Some(Bytes::copy_from_slice(&block[place.value..place.end])));
        }
    }
    Some(None)
}

/// The last key of a block, `None` where it has none, or the bytes are no block.
pub(super) fn last_key(block_key: &[u8], block: &[u8]) -> Option<Bytes> {
    let mut places = Places::of(block_key, block)?;
    let mut last = None;
    while let Some(place) = places.next()? {
        last = Some(place);
    }
    let place = last?;
    let prefix = block_key.get(..place.shared)?;
    Some(Bytes::from(
        [prefix, &block[place.rest..place.value]].concat(),
    ))
}

fn shared_bytes(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

/// Where the parts of a row lie in a block.
struct Place {
    shared: usize,
    rest: usize,
    value: usize,
    end: usize,
}

impl Place {
    fn key_bytes(&self) -> usize {
        self.shared + self.value - self.rest
    }
}

struct Places<'a> {
    block_key_bytes: usize,
    block: &'a [u8],
    at: usize,
}

impl<'a> Places<'a> {
    /// `None` for a block larger than any, whose keys might take a thousand times as much: here the bounds are that make no key
    /// longer than a row may be, before there is room made for any.
    fn of(block_key: &[u8], block: &'a [u8]) -> Option<Places<'a>> {
        (block_key.len() + block.len() <= MAX_BLOCK_BYTES).then_some(Places {
            block_key_bytes: block_key.len(),
            block,
            at: 0,
        })
    }

    /// The next row, `Some(None)` at the end; `None` where the bytes are none.
    fn next(&mut self) -> Option<Option<Place>> {
        if self.at == self.block.len() {
            return Some(None);
        }
        let header = self.block[self.at..].first_chunk::<HEADER_BYTES>()?;
        let number = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
        let rest = self.at + HEADER_BYTES;
        let value = rest + number(2);
        let end = value + number(4);
        if end > self.block.len() || number(0) > self.block_key_bytes {
            return None;
        }
        self.at = end;
        Some(Some(Place {
            shared: number(0),
            rest,
            value,
            end,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(keys: &[&'static str]) -> Vec<Row> {
        let row = |key: &&'static str| {
            let value = Bytes::from(format!("<{key}>"));
            (Bytes::from_static(key.as_bytes()), value)
        };
        keys.iter().map(row).collect()
    }

    fn block(block_key: &str, keys: &[&'static str]) -> Bytes {
        encode(block_key.as_bytes(), &rows(keys)).unwrap().into()
    }

    /// The bytes on disk: a change here is a change of the format.
    #[test]
    fn golden_bytes() {
        assert_eq!(
            block("folder/b", &["folder/b", "folder/ca", "g"]).as_ref(),
            b"\0\x08\0\0\0\x0a<folder/b>\0\x07\0\x02\0\x0bca<folder/ca>\0\0\0\x01\0\x03g<g>"
        );
    }

    #[test]
    fn rows_come_back_and_each_is_found() {
        let sets: [(&str, &[&str]); 5] = [
            ("", &["", "a", "ab", "b"]),
            ("a", &["a", "aa", "ab", "b"]),
            ("folder/m", &["folder/ma", "folder/mb", "folder/n", "z"]),
            ("long key", &["m"]),
            ("", &[]),
        ];
        for (block_key, keys) in sets {
            let (key, block) = (
                Bytes::from_static(block_key.as_bytes()),
                block(block_key, keys),
            );
            assert_eq!(decode(&key, &block).unwrap(), rows(keys));
            let last = rows(keys).pop().map(|(key, _)| key);
            assert_eq!(last_key(&key, &block), last);
            for (wanted, value) in rows(keys) {
                assert_eq!(find(&key, &block, &wanted), Some(Some(value)));
            }
            for other in ["folder/", "folder/m", "aaa", "y", "\u{fe}"] {
                let is_there = keys.contains(&other);
                assert_eq!(
                    find(&key, &block, other.as_bytes()).unwrap().is_some(),
                    is_there
                );
            }
        }
    }

    #[test]
    fn bytes_that_are_no_block_are_refused() {
        let key = Bytes::from_static(b"b");
        let whole = block("b", &["b", "ba", "c"]);
        for at in 1..whole.len() {
            let cut = whole.slice(..at);
            // Between two rows a shorter block is one, too.
            let is_block = [9, 20].contains(&at);
            assert_eq!(decode(&key, &cut).is_some(), is_block, "cut at {at}");
            if !is_block {
                assert_eq!(find(&key, &cut, b"zz"), None, "cut at {at}");
            }
        }
        assert_eq!(decode(&key, &block("b", &["c", "ba"])), None, "order");
        assert_eq!(decode(&key, &block("b", &["c", "c"])), None, "twice");
        assert_eq!(decode(&key, &block("b", &["a"])), None, "below the block");
        let longer = block("bbb", &["bbb"]);
        assert_eq!(
            decode(&key, &longer),
            None,
            "more shared than the block's key has"
        );
        let long = Bytes::from(vec![0; 70_000]);
        assert_eq!(encode(b"", &[(Bytes::new(), long)]), None);
    }

    /// Each row may claim 64 KiB of the block's key, in six bytes of the block.
    #[test]
    fn what_no_block_can_hold_is_not_made_room_for() {
        let long = Bytes::from(vec![b'k'; 3000]);
        let of = |count: u8| -> Vec<Row> {
            let key = |rest| Bytes::from([&long[..], &[rest]].concat());
            (0..count)
                .map(|rest| (key(rest), Bytes::from(vec![0; 20])))
                .collect()
        };
        let largest = Bytes::from(encode(&long, &of(116)).unwrap());
        assert_eq!(decode(&long, &largest).map(|rows| rows.len()), Some(116));
        let larger = Bytes::from(encode(&long, &of(117)).unwrap());
        assert!(long.len() + larger.len() > 6150);
        assert!(decode(&long, &larger).is_none());
        assert_eq!(find(&long, &larger, &of(1)[0].0), None);
        assert_eq!(last_key(&long, &larger), None);
        let forged = Bytes::from_static(b"\xff\xff\0\0\0\0");
        assert_eq!(decode(&long, &forged), None);
        assert_eq!(find(&long, &forged, b"other"), None);
    }
}
