//! A list of samples read loosely: a value of the wrong type is a finding about its own sample, not
//! the end of the list.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::SampleFault;

/// The items of a list, or `None` when there are more than `max`: a list of `{}` would else take
/// eighty times its bytes in memory.
pub(crate) fn list<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    max: usize,
) -> Result<Option<Vec<T>>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let items = deserializer.deserialize_any(BoundedList { max, item: PhantomData })?;
    deserializer.end()?;
    Ok(items)
}

struct BoundedList<T> {
    max: usize,
    item: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for BoundedList<T> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of samples")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Some(Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < self.max {
            match seq.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(Some(items)),
            }
        }
        let mut more = 0;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            more += 1;
        }
        Ok((more == 0).then_some(items))
    }
}

/// One item of a list, every field whatever it may be.
pub(super) enum Item<'a> {
    Object(Box<Fields<'a>>),
    Other,
}

#[derive(Default)]
pub(super) struct Fields<'a> {
    pub(super) endpoint: Loose<'a>,
    pub(super) metric: Loose<'a>,
    pub(super) value: Option<&'a RawValue>,
    pub(super) step: Loose<'a>,
    pub(super) counter_type: Loose<'a>,
    pub(super) tags: Loose<'a>,
    pub(super) timestamp: Loose<'a>,
}

#[derive(Default)]
pub(super) enum Loose<'a> {
    /// Missing or null, which the original does not tell apart.
    #[default]
    Absent,
    Integer(i64),
    Text(Cow<'a, str>),
    Other,
}

impl<'a> Loose<'a> {
    pub(super) fn text(self) -> Result<Cow<'a, str>, SampleFault> {
        match self {
            Self::Absent => Ok(Cow::Borrowed("")),
            Self::Text(text) => Ok(text),
            _ => Err(SampleFault::WrongType),
        }
    }

    pub(super) fn integer(&self) -> Result<i64, SampleFault> {
        match self {
            Self::Absent => Ok(0),
            Self::Integer(number) => Ok(*number),
            _ => Err(SampleFault::WrongType),
        }
    }
}

/// A value from its JSON text. The standard library reads every digit; serde_json may be off in the
/// last one.
pub(super) fn read_value(json: &RawValue) -> Option<f64> {
    match json.get().as_bytes().first()? {
        b'"' => serde_json::from_str::<Cow<'_, str>>(json.get()).ok()?.parse().ok(),
        b'-' | b'0'..=b'9' => json.get().parse().ok().filter(|value: &f64| value.is_finite()),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Item<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(Anything { fields: true })? {
            Seen::Fields(fields) => Ok(Self::Object(fields)),
            Seen::Value(_) => Ok(Self::Other),
        }
    }
}

impl<'de> Deserialize<'de> for Loose<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(Anything { fields: false })? {
            Seen::Value(value) => Ok(value),
            Seen::Fields(_) => Ok(Self::Other),
        }
    }
}

/// Accepts every JSON value, so that a value of the wrong type is a finding and not the end of the
/// list. Only the items of the list are read as samples; an object further in is skipped.
struct Anything {
    fields: bool,
}

enum Seen<'a> {
    Fields(Box<Fields<'a>>),
    Value(Loose<'a>),
}

impl<'de> Visitor<'de> for Anything {
    type Value = Seen<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sample")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Seen::Value(Loose::Absent))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Seen::Value(Loose::Other))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Seen::Value(Loose::Integer(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Seen::Value(match i64::try_from(number) {
            Ok(number) => Loose::Integer(number),
            Err(_) => Loose::Other,
        }))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Seen::Value(Loose::Other))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Seen::Value(Loose::Text(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Seen::Value(Loose::Text(Cow::Owned(text.to_owned()))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Seen::Value(Loose::Other))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        if !self.fields {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Seen::Value(Loose::Other));
        }
        let mut fields = Box::<Fields<'de>>::default();
        while let Some(Key(key)) = map.next_key()? {
            let is = |name: &str| key.eq_ignore_ascii_case(name);
            if is("value") {
                fields.value = map.next_value()?;
                continue;
            }
            let field = if is("endpoint") {
                &mut fields.endpoint
            } else if is("metric") {
                &mut fields.metric
            } else if is("step") {
                &mut fields.step
            } else if is("counterType") {
                &mut fields.counter_type
            } else if is("tags") {
                &mut fields.tags
            } else if is("timestamp") {
                &mut fields.timestamp
            } else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            *field = map.next_value()?;
        }
        Ok(Seen::Fields(fields))
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn integers(body: &str, max: usize) -> Option<Vec<i64>> {
        list(body.as_bytes(), max).expect("it is a list")
    }

    #[test]
    fn a_list_is_read_up_to_its_bound() {
        assert_eq!(integers("[1,2]", 2), Some(vec![1, 2]));
        assert_eq!(integers("[1,2,{\"x\":[3]}]", 2), None);
        assert_eq!(integers("null", 2), Some(vec![]));
    }

    #[test]
    fn text_after_the_list_is_an_error() {
        assert!(list::<i64>(b"[1] [2]", 9).is_err());
        assert!(list::<i64>(b"{}", 9).is_err());
    }

    #[test]
    fn every_digit_of_a_value_counts() {
        let value = |text: &str| read_value(serde_json::from_str(text).expect("it is JSON"));
        assert_eq!(value("6.619213036423093e299"), Some(6.619213036423093e299));
        assert_eq!(value(r#""1\u0030""#), Some(10.0));
        assert_eq!(value("1e400"), None);
        assert_eq!(value("[1]"), None);
    }
}
