//! The MessagePack form of documents, as it is written.
//!
//! Integers take their shortest form, every other number is a float of 64 bits, objects keep the order of their members and
//! have each name once: the last value, where the first one stood.

use std::collections::BTreeMap;

use rmp::{Marker, encode};
use serde::de::value::Error as Failure;
use serde::ser::Error as _;

use crate::options::MAX_DOCUMENT_BYTES;

/// Bytes that most documents fit in.
const BYTES: usize = 512;
/// Members of the objects of most documents that are open at a time.
const MEMBERS: usize = 16;

/// What is written of a document, and where it failed.
pub(super) struct Output {
    pub(super) bytes: Vec<u8>,
    /// The members so far of each object that is open, from the outermost to the innermost.
    members: Vec<Member>,
    /// The names on the way to what failed, innermost first; filled only on the way back from it.
    pub(super) trail: Vec<String>,
    /// How long it was, or was to be, where that is too long.
    pub(super) too_large: Option<usize>,
}

/// Where the name of a member begins, and its value.
#[derive(Clone, Copy)]
struct Member {
    name: usize,
    value: usize,
}

/// How much was written once.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    bytes: usize,
    members: usize,
}

/// A member of which the name is written.
pub(super) struct Named {
    pub(super) before: Mark,
    value: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Array,
    Object,
}

/// An array or object whose end has not come.
pub(super) struct Open {
    shape: Shape,
    before: Mark,
    /// Bytes left free for what it begins with.
    free: usize,
}

macro_rules! written {
    ($($method:ident: $type:ty => $write:ident,)*) => {
        $(pub(super) fn $method(&mut self, value: $type) {
            // A vector takes every byte.
            let _ = encode::$write(&mut self.bytes, value);
        })*
    };
}

impl Output {
    pub(super) fn new() -> Output {
        Output {
            bytes: Vec::with_capacity(BYTES),
            members: Vec::with_capacity(MEMBERS),
            trail: Vec::new(),
            too_large: None,
        }
    }

    written! {
        bool: bool => write_bool,
        signed: i64 => write_sint,
        unsigned: u64 => write_uint,
        float: f64 => write_f64,
        text: &str => write_str,
    }

    /// Fails where it is longer than a document may be, or would be by so many bytes more.
    pub(super) fn check_size(&mut self, more: usize) -> Result<(), Failure> {
        let length = self.bytes.len().saturating_add(more);
        if length > MAX_DOCUMENT_BYTES {
            self.too_large.get_or_insert(length);
        }
        match self.too_large {
            Some(_) => Err(Failure::custom("the document is too large")),
            None => Ok(()),
        }
    }

    pub(super) fn null(&mut self) {
        self.bytes.push(Marker::Null.to_u8());
    }

    /// An object of one member, up to its value.
    pub(super) fn variant(&mut self, name: &str) {
        self.bytes.push(Marker::FixMap(1).to_u8());
        self.text(name);
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            bytes: self.bytes.len(),
            members: self.members.len(),
        }
    }

    /// Forgets what was written since.
    pub(super) fn back_to(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.members.truncate(mark.members);
    }

    /// What was written since is the name of a member.
    pub(super) fn named_since(&self, before: Mark) -> Named {
        Named {
            before,
            value: self.bytes.len(),
        }
    }

    /// What was written since its name is its value.
    pub(super) fn end_member(&mut self, named: &Named) {
        self.members.push(Member {
            name: named.before.bytes,
            value: named.value,
        });
    }

    pub(super) fn name_of(&self, named: &Named) -> String {
        let name = self.bytes.get(named.before.bytes..named.value);
        match rmp::decode::read_str_from_slice(name.unwrap_or_default()) {
            Ok((name, _)) => name.to_owned(),
            Err(_) => String::new(),
        }
    }

    /// Begins an array or object, of that length where it is known.
    pub(super) fn open(&mut self, shape: Shape, length: Option<usize>) -> Open {
        let before = self.mark();
        let length = u32::try_from(length.unwrap_or_default()).unwrap_or(u32::MAX);
        let (_, free) = header(shape, length);
        self.bytes.resize(before.bytes + free, 0);
        Open {
            shape,
            before,
            free,
        }
    }

    /// Ends an array of so many elements, or an object.
    pub(super) fn close(&mut self, open: &Open, elements: usize) -> Result<(), Failure> {
        let length = match open.shape {
            Shape::Array => elements,
            Shape::Object => self.end_members(open.before.members),
        };
        let length =
            u32::try_from(length).map_err(|_| Failure::custom("an array or object is too long"))?;
        let (bytes, taken) = header(open.shape, length);
        let free = open.before.bytes..open.before.bytes + open.free;
        self.bytes.splice(free, bytes.into_iter().take(taken));
        Ok(())
    }

    /// Ends the innermost object, whose members begin there; answers how many it has.
    fn end_members(&mut self, first: usize) -> usize {
        let bytes = &self.bytes;
        let name = |member: &Member| bytes.get(member.name..member.value);
        let members = self.members.get_mut(first..).unwrap_or_default();
        members.sort_unstable_by(|left, right| name(left).cmp(&name(right)));
        if members.is_sorted_by(|left, right| name(left) != name(right)) {
            let length = members.len();
            self.members.truncate(first);
            return length;
        }
        let mut members = self.members.split_off(first);
        members.sort_unstable_by_key(|member| member.name);
        self.keep_last(&members)
    }

    /// Gives the last member of each name the place of the first one. Answers how many are left.
    fn keep_last(&mut self, members: &[Member]) -> usize {
        let Some(start) = members.first().map(|first| first.name) else {
            return 0;
        };
        // Only the object itself: there may be as many of them as elements in an array.
        let object = self.bytes.split_off(start);
        let at = |place: usize| place - start;
        let ends = members.iter().skip(1).map(|member| at(member.name));
        let mut places = BTreeMap::new();
        let mut kept: Vec<[&[u8]; 2]> = Vec::new();
        for (member, end) in members.iter().zip(ends.chain([object.len()])) {
            let name = &object[at(member.name)..at(member.value)];
            let value = &object[at(member.value)..end];
            let place = *places.entry(name).or_insert(kept.len());
            match kept.get_mut(place) {
                Some(kept) => kept[1] = value,
                None => kept.push([name, value]),
            }
        }
        for part in kept.as_flattened() {
            self.bytes.extend_from_slice(part);
        }
        kept.len()
    }
}

/// What an array or object of that length begins with, and how many of these bytes it takes.
fn header(shape: Shape, length: u32) -> ([u8; 5], usize) {
    let [b0, b1, b2, b3] = length.to_be_bytes();
    let is_array = shape == Shape::Array;
    match length {
        0..16 => ([if is_array { 0x90 } else { 0x80 } | b3, 0, 0, 0, 0], 1),
        16..0x1_0000 => ([if is_array { 0xdc } else { 0xde }, b2, b3, 0, 0], 3),
        _ => ([if is_array { 0xdd } else { 0xdf }, b0, b1, b2, b3], 5),
    }
}
