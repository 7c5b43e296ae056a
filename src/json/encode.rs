//! From any Rust value to the stored form of a document, or to an error where JSON cannot hold it.
//!
//! What is written is what `serde_json::to_value` makes of the value, without making it. Refused is what `serde_json` would
//! lose without a word: NaN and the infinities (it makes them `null`), byte strings (it makes them arrays of numbers) and
//! nesting without end (it overflows the stack). A value is serialized once: there are types that can be no second time.

mod compound;
mod name;
mod output;

use serde::de::value::Error as Failure;
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::{Number, Value};

use self::compound::{Compound, Fields};
use self::output::{Output, Shape};
use super::{NUMBER, RAW_VALUE, decode, invalid, is_reserved, reserved, shown, too_deep, typed};
use crate::error::{Error, Result};
use crate::options::{MAX_DOCUMENT_BYTES, MAX_DOCUMENT_DEPTH};

/// Most `Some` and newtype structs on the way to a value: two for each level. They leave no trace in JSON, but each is
/// a step of the recursion, and the stack of a thread may be small.
const MAX_WRAPPERS: usize = 2 * MAX_DOCUMENT_DEPTH;

/// The stored form of what `serde_json::to_value` gives.
///
/// # Errors
/// `InvalidDocument` telling what JSON cannot hold, and where: NaN, an infinity, an integer beyond 64 bits, a byte
/// string, a key that is neither a string nor written as one, or more than [`MAX_DOCUMENT_DEPTH`] levels, so that whatever
/// is stored can be read again; `TooLarge` above [`MAX_DOCUMENT_BYTES`].
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    let mut output = Output::new();
    let encoder = Encoder {
        output: &mut output,
        place: Place::default(),
    };
    let written = value.serialize(encoder);
    let checked = output.check_size(0);
    // A type may make up for a failure, but not for this one.
    if let Some(found) = output.too_large {
        return Err(Error::TooLarge {
            what: "bytes of a document",
            limit: u64::try_from(MAX_DOCUMENT_BYTES).unwrap_or(u64::MAX),
            found: u64::try_from(found).unwrap_or(u64::MAX),
        });
    }
    match written.and(checked) {
        Ok(()) => Ok(output.bytes),
        Err(error) => Err(invalid(located(&error, &output.trail))),
    }
}

fn located(error: &Failure, trail: &[String]) -> String {
    let reason = shown(&error.to_string());
    if trail.is_empty() {
        return reason;
    }
    let segments = trail.iter().rev();
    let pointer: String = segments
        .map(|segment| format!("/{}", segment.replace('~', "~0").replace('/', "~1")))
        .collect();
    format!("{reason}, at `{}`", shown(&pointer))
}

/// What `serde_json::to_value` gives, and nothing that cannot be stored.
///
/// # Errors
/// As [`encode`].
pub(crate) fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value> {
    let bytes = encode(value)?;
    match typed::read(&bytes) {
        Some(value) => Ok(value),
        None => decode(&bytes).map_err(invalid),
    }
}

/// How deep in the document a value stands.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Arrays and objects around the value.
    levels: usize,
    /// What [`MAX_WRAPPERS`] limits.
    wrappers: usize,
}

impl Place {
    fn inside(self, levels: usize) -> Result<Place, Failure> {
        let levels = self.levels + levels;
        match levels <= MAX_DOCUMENT_DEPTH {
            true => Ok(Place { levels, ..self }),
            false => Err(Failure::custom(too_deep())),
        }
    }

    fn wrapped(self) -> Result<Place, Failure> {
        let wrappers = self.wrappers + 1;
        match wrappers <= MAX_WRAPPERS {
            true => Ok(Place { wrappers, ..self }),
            false => Err(Failure::custom(format!(
                "it is wrapped more than {MAX_WRAPPERS} times"
            ))),
        }
    }
}

/// Refuses the name of a member that would be taken for something else where the document is read.
fn check_name(name: &str) -> Result<(), Failure> {
    match is_reserved(name) {
        true => Err(Failure::custom(reserved())),
        false => Ok(()),
    }
}

/// Takes one value.
struct Encoder<'a> {
    output: &'a mut Output,
    place: Place,
}

impl<'a> Encoder<'a> {
    fn float(self, number: f64) -> Result<(), Failure> {
        match number.is_finite() {
            true => self.output.float(number),
            false => return Err(Failure::custom(format!("{number} is not a JSON number"))),
        }
        Ok(())
    }

    fn wrapped<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failure> {
        let place = self.place.wrapped()?;
        value.serialize(Encoder { place, ..self })
    }

    /// The array or object to come, inside the only member of an object where it is the content of a variant.
    fn open(
        self,
        shape: Shape,
        length: Option<usize>,
        variant: Option<&'static str>,
    ) -> Result<Compound<'a>, Failure> {
        let place = self.place.inside(1 + usize::from(variant.is_some()))?;
        if let Some(variant) = variant {
            check_name(variant)?;
            self.output.variant(variant);
        }
        let encoder = Encoder { place, ..self };
        Ok(Compound::open(encoder, shape, length, variant))
    }

    fn number(self, number: &Number) -> Result<(), Failure> {
        if let Some(integer) = number.as_u64() {
            self.serialize_u64(integer)
        } else if let Some(integer) = number.as_i64() {
            self.serialize_i64(integer)
        } else if let Some(float) = number.as_f64().filter(|_| number.is_f64()) {
            self.serialize_f64(float)
        } else {
            // Only where arbitrary precision is on. Rounding it would lose what the caller wrote.
            Err(Failure::custom(
                "an integer is beyond 64 bits, or a float beyond any",
            ))
        }
    }
}

fn beyond<T>(_: T) -> Failure {
    Failure::custom("the integer is beyond 64 bits")
}

macro_rules! written {
    ($($method:ident: $type:ty => $write:ident,)*) => {
        $(fn $method(self, value: $type) -> Result<(), Failure> {
            self.output.$write(value.into());
            Ok(())
        })*
    };
}

impl<'a> Serializer for Encoder<'a> {
    type Ok = ();
    type Error = Failure;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Compound<'a>;

    written! {
        serialize_bool: bool => bool,
        serialize_i8: i8 => signed,
        serialize_i16: i16 => signed,
        serialize_i32: i32 => signed,
        serialize_i64: i64 => signed,
        serialize_u8: u8 => unsigned,
        serialize_u16: u16 => unsigned,
        serialize_u32: u32 => unsigned,
        serialize_u64: u64 => unsigned,
    }

    fn serialize_str(self, value: &str) -> Result<(), Failure> {
        self.output.check_size(value.len())?;
        self.output.text(value);
        Ok(())
    }

    fn serialize_i128(self, value: i128) -> Result<(), Failure> {
        match i64::try_from(value) {
            Ok(value) => self.serialize_i64(value),
            Err(_) => self.serialize_u64(u64::try_from(value).map_err(beyond)?),
        }
    }

    fn serialize_u128(self, value: u128) -> Result<(), Failure> {
        self.serialize_u64(u64::try_from(value).map_err(beyond)?)
    }

    fn serialize_f32(self, value: f32) -> Result<(), Failure> {
        self.float(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Failure> {
        self.float(value)
    }

    fn serialize_char(self, value: char) -> Result<(), Failure> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Failure> {
        Err(Failure::custom("JSON has no byte strings"))
    }

    fn serialize_unit(self) -> Result<(), Failure> {
        self.output.null();
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Failure> {
        self.serialize_unit()
    }

    fn serialize_none(self) -> Result<(), Failure> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Failure> {
        self.serialize_str(variant)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failure> {
        self.wrapped(value)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Failure> {
        self.wrapped(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Failure> {
        let place = self.place.inside(1)?;
        check_name(variant)?;
        self.output.variant(variant);
        let result = value.serialize(Encoder {
            output: &mut *self.output,
            place,
        });
        result.inspect_err(|_| self.output.trail.push(variant.to_owned()))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Compound<'a>, Failure> {
        self.open(Shape::Array, length, None)
    }

    fn serialize_tuple(self, length: usize) -> Result<Compound<'a>, Failure> {
        self.open(Shape::Array, Some(length), None)
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        length: usize,
    ) -> Result<Compound<'a>, Failure> {
        self.open(Shape::Array, Some(length), None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Compound<'a>, Failure> {
        self.open(Shape::Array, Some(length), Some(variant))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Compound<'a>, Failure> {
        self.open(Shape::Object, length, None)
    }

    fn serialize_struct(self, name: &'static str, length: usize) -> Result<Fields<'a>, Failure> {
        // They are no level.
        if [RAW_VALUE, NUMBER].contains(&name) {
            return Ok(Fields::Private {
                name,
                text: None,
                encoder: self,
            });
        }
        self.open(Shape::Object, Some(length), None)
            .map(Fields::Own)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Compound<'a>, Failure> {
        self.open(Shape::Object, Some(length), Some(variant))
    }
}
