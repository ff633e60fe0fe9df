//! Just enough of the protobuf encoding to walk a message in place and to write one, without a copy
//! per string.

use thiserror::Error;

/// Why bytes are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The message ends inside a field.
    #[error("the message ends inside a field")]
    CutOff,
    /// A variable-length integer is longer than ten bytes or does not fit its type.
    #[error("an integer is too long")]
    LongInteger,
    /// A field has number zero.
    #[error("a field has number 0")]
    FieldZero,
    /// A group or an unassigned wire type.
    #[error("a field has wire type {0}, which this format does not use")]
    WireType(u8),
    /// A known field holds another kind of value than it should.
    #[error("field {0} holds another kind of value than expected")]
    Kind(u32),
    /// A reference to a symbol that is not in the table.
    #[error("there is no symbol {0}")]
    NoSymbol(u64),
}

/// The value of a field, still in the bytes of the message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

/// Yields the fields of a message one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// What has not been looked at yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next field number and its value; `None` at the end of the message.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed::LongInteger)?;
        let number = key >> 3;
        if number == 0 {
            return Err(Malformed::FieldZero);
        }
        let value = match (key & 7) as u8 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed::CutOff)?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                self.array::<4>()?;
                Value::Fixed32
            }
            other => return Err(Malformed::WireType(other)),
        };
        Ok(Some((number, value)))
    }

    /// The next number of a packed list; `None` at its end.
    pub(crate) fn next_varint(&mut self) -> Result<Option<u64>, Malformed> {
        if self.rest.is_empty() { Ok(None) } else { self.varint().map(Some) }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        // Nearly all of them: keys, and lengths of labels and samples.
        if let [byte @ ..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0u64;
        for (at, byte) in self.rest.iter().enumerate() {
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit only.
            if at == 9 && *byte > 1 {
                return Err(Malformed::LongInteger);
            }
            number |= bits << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok(number);
            }
        }
        Err(Malformed::CutOff)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed::CutOff)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::CutOff)?;
        self.rest = rest;
        Ok(*taken)
    }
}

impl<'a> Value<'a> {
    pub(crate) fn bytes(self, number: u32) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed::Kind(number)),
        }
    }

    pub(crate) fn varint(self, number: u32) -> Result<u64, Malformed> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(Malformed::Kind(number)),
        }
    }

    pub(crate) fn double(self, number: u32) -> Result<f64, Malformed> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(Malformed::Kind(number)),
        }
    }
}

/// Bytes that a variable-length integer takes.
pub(crate) fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Bytes that a text field takes with its key and length; field numbers below 16 only.
pub(crate) fn text_len(text: &str) -> usize {
    1 + varint_len(text.len() as u64) + text.len()
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes the key and the length of a field of wire type 2; field numbers below 16 only.
pub(crate) fn put_length(out: &mut Vec<u8>, number: u8, length: usize) {
    out.push(number << 3 | 2);
    put_varint(out, length as u64);
}

pub(crate) fn put_text(out: &mut Vec<u8>, number: u8, text: &str) {
    put_length(out, number, text.len());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn first(message: &[u8]) -> Result<Option<(u32, Value<'_>)>, Malformed> {
        Fields::of(message).next()
    }

    #[test]
    fn each_wire_type_is_read() {
        assert_eq!(first(&[0x08, 0x96, 0x01]), Ok(Some((1, Value::Varint(150)))));
        assert_eq!(first(&[0x12, 0x02, b'h', b'i']), Ok(Some((2, Value::Bytes(b"hi")))));
        assert_eq!(first(&[0x09, 1, 0, 0, 0, 0, 0, 0, 0]), Ok(Some((1, Value::Fixed64(1)))));
        assert_eq!(first(&[0x0d, 1, 0, 0, 0]), Ok(Some((1, Value::Fixed32))));
        assert_eq!(first(&[]), Ok(None));
    }

    #[test]
    fn broken_messages_are_named() {
        assert_eq!(first(&[0x12, 0x05, b'h']), Err(Malformed::CutOff));
        assert_eq!(first(&[0x08, 0x80]), Err(Malformed::CutOff));
        assert_eq!(first(&[0x0b]), Err(Malformed::WireType(3)));
        assert_eq!(first(&[0x02, 0x00]), Err(Malformed::FieldZero));
        let eleven_bytes = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(first(&eleven_bytes), Err(Malformed::LongInteger));
        assert_eq!(Value::Varint(1).bytes(4), Err(Malformed::Kind(4)));
    }

    proptest! {
        #[test]
        fn integers_are_read_as_written(value: u64) {
            let mut bytes = vec![0x08];
            put_varint(&mut bytes, value);
            prop_assert_eq!(bytes.len() - 1, varint_len(value));
            prop_assert_eq!(first(&bytes), Ok(Some((1, Value::Varint(value)))));
        }
    }
}
