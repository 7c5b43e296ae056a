//! Arrays and objects as they are written, element by element and member by member.

use serde::de::value::Error as Failure;
use serde::ser::{self, Error as _, Serialize};
use serde_json::Value;

use super::super::text::parse;
use super::name::write_name;
use super::output::{Named, Open, Output, Shape};
use super::{Encoder, Place};

/// An array or object under way. A value that fails leaves nothing in it.
pub(super) struct Compound<'a> {
    output: &'a mut Output,
    open: Open,
    /// That of the values in it.
    place: Place,
    /// The variant of an enum that it is the content of: the member that holds it.
    variant: Option<&'static str>,
    /// The member whose value is to come.
    named: Option<Named>,
    /// Elements, where it is an array.
    count: usize,
}

impl<'a> Compound<'a> {
    /// Begins it where the encoder stands, which is inside it; of that length where it is known.
    pub(super) fn open(
        encoder: Encoder<'a>,
        shape: Shape,
        length: Option<usize>,
        variant: Option<&'static str>,
    ) -> Compound<'a> {
        Compound {
            open: encoder.output.open(shape, length),
            output: encoder.output,
            place: encoder.place,
            variant,
            named: None,
            count: 0,
        }
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        // Of a failure that the type around it has made up for.
        self.output.trail.clear();
        value.serialize(Encoder {
            output: self.output,
            place: self.place,
        })?;
        self.output.check_size(0)
    }

    /// Tells where it failed.
    fn note(&mut self, name: String) {
        self.output.trail.push(name);
        self.output.trail.extend(self.variant.map(str::to_owned));
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        let before = self.output.mark();
        let result = self.value(value);
        match result {
            Ok(()) => self.count += 1,
            Err(_) => {
                self.output.back_to(before);
                self.note(self.count.to_string());
            }
        }
        result
    }

    fn name<T: Serialize + ?Sized>(&mut self, name: &T) -> Result<(), Failure> {
        // As above.
        self.output.trail.clear();
        self.forget_name();
        let before = self.output.mark();
        let result = write_name(name, self.output, self.place);
        match result {
            Ok(()) => self.named = Some(self.output.named_since(before)),
            Err(_) => self.output.back_to(before),
        }
        result
    }

    fn member<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        let Some(named) = self.named.take() else {
            self.output.trail.clear();
            return Err(Failure::custom("a value comes without a key"));
        };
        let result = self.value(value);
        match result {
            Ok(()) => self.output.end_member(&named),
            Err(_) => {
                let name = self.output.name_of(&named);
                self.output.back_to(named.before);
                self.note(name);
            }
        }
        result
    }

    /// A name without a value is no member.
    fn forget_name(&mut self) {
        if let Some(named) = self.named.take() {
            self.output.back_to(named.before);
        }
    }

    fn close(mut self) -> Result<(), Failure> {
        self.forget_name();
        self.output.close(&self.open, self.count)
    }
}

macro_rules! elements {
    ($($trait:ident $method:ident,)*) => {
        $(impl ser::$trait for Compound<'_> {
            type Ok = ();
            type Error = Failure;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
                self.element(value)
            }

            fn end(self) -> Result<(), Failure> {
                self.close()
            }
        })*
    };
}

elements! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = Failure;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Failure> {
        self.name(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        self.member(value)
    }

    fn end(self) -> Result<(), Failure> {
        self.close()
    }
}

impl ser::SerializeStructVariant for Compound<'_> {
    type Ok = ();
    type Error = Failure;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Failure> {
        self.name(name)?;
        self.member(value)
    }

    fn end(self) -> Result<(), Failure> {
        self.close()
    }
}

/// A struct under way: one of the application, or what `serde_json` passes a value of its own in.
pub(super) enum Fields<'a> {
    Own(Compound<'a>),
    Private {
        /// Of the struct, and of its one field.
        name: &'static str,
        /// JSON, once the field has come.
        text: Option<String>,
        encoder: Encoder<'a>,
    },
}

fn not_private<T>() -> Result<T, Failure> {
    Err(Failure::custom(
        "a struct has the name of one of serde_json's, and is none of them",
    ))
}

impl ser::SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = Failure;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        field: &T,
    ) -> Result<(), Failure> {
        match self {
            Fields::Own(own) => ser::SerializeStructVariant::serialize_field(own, name, field),
            Fields::Private {
                name: own,
                text: text @ None,
                encoder,
            } if name == *own => {
                // A text, and whoever else takes such a name must not nest without end.
                let mut output = Output::new();
                let before = output.mark();
                write_name(field, &mut output, encoder.place)?;
                *text = Some(output.name_of(&output.named_since(before)));
                Ok(())
            }
            Fields::Private { .. } => not_private(),
        }
    }

    fn end(self) -> Result<(), Failure> {
        match self {
            Fields::Own(own) => own.close(),
            Fields::Private { text: None, .. } => not_private(),
            Fields::Private {
                text: Some(text),
                encoder,
                ..
            } => match parse(text.as_bytes()).map_err(Failure::custom)? {
                // By itself it comes back here.
                Value::Number(number) => encoder.number(&number),
                value => value.serialize(encoder),
            },
        }
    }
}
