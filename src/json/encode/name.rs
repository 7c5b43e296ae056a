//! The names of members: texts, and what `serde_json` writes as texts.

use serde::de::value::Error as Failure;
use serde::ser::{Error as _, Impossible, Serialize, Serializer};

use super::output::Output;
use super::{Place, check_name};

/// Writes a key of a map, or tells why it is none.
pub(super) fn write_name<T: Serialize + ?Sized>(
    key: &T,
    output: &mut Output,
    place: Place,
) -> Result<(), Failure> {
    key.serialize(Name { output, place })
}

struct Name<'a> {
    output: &'a mut Output,
    /// For the newtype structs around it.
    place: Place,
}

impl Name<'_> {
    fn float<T: Serialize>(self, number: T, is_finite: bool) -> Result<(), Failure> {
        match is_finite {
            true => self.serialize_str(&serde_json::to_string(&number).map_err(Failure::custom)?),
            false => Err(Failure::custom("float key must be finite")),
        }
    }
}

fn no_string<T>() -> Result<T, Failure> {
    Err(Failure::custom("key must be a string"))
}

macro_rules! written {
    ($($method:ident: $type:ty,)*) => {
        $(fn $method(self, key: $type) -> Result<(), Failure> {
            self.serialize_str(&key.to_string())
        })*
    };
}

macro_rules! refused {
    ($($method:ident($($argument:ty),*) -> $answer:ty,)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$answer, Failure> {
            no_string()
        })*
    };
}

type Never = Impossible<(), Failure>;

impl Serializer for Name<'_> {
    type Ok = ();
    type Error = Failure;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    fn serialize_str(self, key: &str) -> Result<(), Failure> {
        check_name(key)?;
        self.output.text(key);
        Ok(())
    }

    written! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_char: char,
    }

    fn serialize_f32(self, key: f32) -> Result<(), Failure> {
        self.float(key, key.is_finite())
    }

    fn serialize_f64(self, key: f64) -> Result<(), Failure> {
        self.float(key, key.is_finite())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Failure> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        key: &T,
    ) -> Result<(), Failure> {
        let place = self.place.wrapped()?;
        write_name(key, self.output, place)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), Failure> {
        no_string()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Failure> {
        no_string()
    }

    refused! {
        serialize_bytes(&[u8]) -> (),
        serialize_unit() -> (),
        serialize_none() -> (),
        serialize_unit_struct(&'static str) -> (),
        serialize_seq(Option<usize>) -> Never,
        serialize_tuple(usize) -> Never,
        serialize_tuple_struct(&'static str, usize) -> Never,
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never,
        serialize_map(Option<usize>) -> Never,
        serialize_struct(&'static str, usize) -> Never,
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never,
    }
}
