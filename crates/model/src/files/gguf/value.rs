//! The values of metadata: numbers, texts, and arrays of one type.

use super::ARRAY_LIMIT;
use super::cursor::Cursor;
use sprat_task::Result;

/// The number that says that a value is an array (`GGUF_METADATA_VALUE_TYPE_ARRAY`).
const ARRAY: u32 = 9;

/// How one element stands in a file.
trait Element: Sized {
    /// The fewest bytes that one takes.
    const LEAST: usize;

    fn read(cursor: &mut Cursor<'_>) -> Result<Self>;

    fn write(&self, out: &mut Vec<u8>);
}

macro_rules! numbers {
    ($($ty:ty)*) => {$(
        impl Element for $ty {
            const LEAST: usize = size_of::<$ty>();

            fn read(cursor: &mut Cursor<'_>) -> Result<Self> {
                Ok(<$ty>::from_le_bytes(cursor.array("a number")?))
            }

            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

numbers!(u8 i8 u16 i16 u32 i32 u64 i64 f32 f64);

impl Element for bool {
    const LEAST: usize = 1;

    fn read(cursor: &mut Cursor<'_>) -> Result<Self> {
        match cursor.array::<1>("a flag")? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(cursor.damaged(format!("a flag is {other}; it may be 0 or 1"))),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl Element for String {
    const LEAST: usize = 8;

    fn read(cursor: &mut Cursor<'_>) -> Result<Self> {
        Ok(cursor.text(usize::MAX, "a text")?.to_owned())
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_text(self, out);
    }
}

/// Writes a text with its length before it.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Reads an array's elements.
fn read_list<T: Element>(cursor: &mut Cursor<'_>) -> Result<Vec<T>> {
    let count = cursor.count(T::LEAST, ARRAY_LIMIT, "the number of elements of an array")?;
    let mut list = Vec::with_capacity(count);
    for _ in 0..count {
        list.push(T::read(cursor)?);
    }
    Ok(list)
}

/// Writes an array's type, number of elements, and elements.
fn write_list<T: Element>(id: u32, list: &[T], out: &mut Vec<u8>) {
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&(list.len() as u64).to_le_bytes());
    list.iter().for_each(|element| element.write(out));
}

/// Defines the types of values with their numbers in a file and how messages call them.
macro_rules! values {
    ($($variant:ident($ty:ty) = $id:literal, $one:literal, $many:literal;)*) => {
        /// A value of the metadata.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Value {
            $(#[doc = concat!("A value: ", $one, ".")] $variant($ty),)*
            /// Several values of one type.
            Array(Array),
        }

        /// An array of the metadata. Arrays of arrays are not read: no known key has one.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Array {
            $(#[doc = concat!("Values: ", $many, ".")] $variant(Vec<$ty>),)*
        }

        $(
            impl From<$ty> for Value {
                fn from(value: $ty) -> Self {
                    Value::$variant(value)
                }
            }

            impl From<Vec<$ty>> for Value {
                fn from(values: Vec<$ty>) -> Self {
                    Value::Array(Array::$variant(values))
                }
            }
        )*

        impl Value {
            /// What it is, for messages.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Value::$variant(_) => $one,)*
                    $(Value::Array(Array::$variant(_)) => concat!("an array of ", $many),)*
                }
            }

            /// Reads type and value.
            pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self> {
                match cursor.u32("the type of a value")? {
                    $($id => Ok(Value::$variant(Element::read(cursor)?)),)*
                    ARRAY => Array::read(cursor).map(Value::Array),
                    id => Err(cursor.damaged(format!("no value has type {id}"))),
                }
            }

            /// Writes type and value.
            pub(super) fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Value::$variant(value) => {
                        out.extend_from_slice(&u32::to_le_bytes($id));
                        value.write(out);
                    })*
                    Value::Array(array) => {
                        out.extend_from_slice(&ARRAY.to_le_bytes());
                        array.write(out);
                    }
                }
            }
        }

        impl Array {
            /// Number of elements.
            pub fn len(&self) -> usize {
                match self {
                    $(Array::$variant(list) => list.len(),)*
                }
            }

            /// Whether there are no elements.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            fn read(cursor: &mut Cursor<'_>) -> Result<Self> {
                match cursor.u32("the type of an array")? {
                    $($id => Ok(Array::$variant(read_list(cursor)?)),)*
                    ARRAY => Err(cursor.damaged("arrays of arrays are not supported")),
                    id => Err(cursor.damaged(format!("no array has type {id}"))),
                }
            }

            fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Array::$variant(list) => write_list($id, list, out),)*
                }
            }
        }
    };
}

values! {
    U8(u8) = 0, "an unsigned 8-bit integer", "unsigned 8-bit integers";
    I8(i8) = 1, "an 8-bit integer", "8-bit integers";
    U16(u16) = 2, "an unsigned 16-bit integer", "unsigned 16-bit integers";
    I16(i16) = 3, "a 16-bit integer", "16-bit integers";
    U32(u32) = 4, "an unsigned 32-bit integer", "unsigned 32-bit integers";
    I32(i32) = 5, "a 32-bit integer", "32-bit integers";
    F32(f32) = 6, "a 32-bit float", "32-bit floats";
    Bool(bool) = 7, "a flag", "flags";
    Text(String) = 8, "a text", "texts";
    U64(u64) = 10, "an unsigned 64-bit integer", "unsigned 64-bit integers";
    I64(i64) = 11, "a 64-bit integer", "64-bit integers";
    F64(f64) = 12, "a 64-bit float", "64-bit floats";
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<Array> for Value {
    fn from(array: Array) -> Self {
        Value::Array(array)
    }
}
