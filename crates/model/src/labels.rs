//! Label sets.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_64;

/// The label that holds the name of the metric.
pub const METRIC_NAME: &str = "__name__";
/// The label that holds the host.
pub const ENDPOINT: &str = "endpoint";
/// The label that holds the name of an alert.
pub const ALERT_NAME: &str = "alertname";

/// An immutable label set: sorted by name, every name once, no empty value.
///
/// One shared allocation holds the whole set as `length name length value …`, so that a clone is a counter, and
/// equality and hashing run over one slice instead of chasing strings. Lengths are written as one `char` each, which
/// keeps the buffer valid UTF-8 and the type free of unsafe code.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<str>);

impl Labels {
    /// The set without labels.
    pub fn empty() -> Self {
        Self(Arc::default())
    }

    /// From pairs in any order. A later pair replaces an earlier one of the same name; an empty value means that the
    /// label is absent.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let pairs: Vec<(N, V)> = pairs.into_iter().collect();
        let mut pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        // Keeps the order of equal names, so that the last of them is known.
        pairs.sort_by_key(|(name, _)| *name);
        let bytes = pairs.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        let mut buffer = String::with_capacity(bytes);
        for (at, (name, value)) in pairs.iter().enumerate() {
            let is_replaced = pairs.get(at + 1).is_some_and(|(next, _)| next == name);
            if !is_replaced && !value.is_empty() {
                push(&mut buffer, name);
                push(&mut buffer, value);
            }
        }
        Self(buffer.into())
    }

    /// From pairs that are already sorted by name, distinct and not empty: the common case when decoding what another
    /// Prometheus wrote. `None` when they are not, so the caller can fall back to [`Labels::from_pairs`] or refuse.
    pub fn from_sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let mut buffer = String::new();
        let mut last: Option<&str> = None;
        for (name, value) in pairs {
            if value.is_empty() || last.is_some_and(|last| last >= name) {
                return None;
            }
            last = Some(name);
            push(&mut buffer, name);
            push(&mut buffer, value);
        }
        Some(Self(buffer.into()))
    }

    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The name of the metric, or the empty string.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// Names and values in order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        Iter { rest: &self.0 }
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A 64-bit hash of the set (xxh3) that is the same in every process and on every machine of one version.
    pub fn hash(&self) -> u64 {
        xxh3_64(self.0.as_bytes())
    }

    /// The set without the given names.
    pub fn without(&self, names: &[&str]) -> Self {
        self.filtered(|name| !names.contains(&name))
    }

    /// The set with only the given names.
    pub fn only(&self, names: &[&str]) -> Self {
        self.filtered(|name| names.contains(&name))
    }

    /// The set without the metric name.
    pub fn without_metric_name(&self) -> Self {
        self.without(&[METRIC_NAME])
    }

    /// The same set with one label set to a value; an empty value removes it.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut builder = self.edit();
        builder.set(name, value);
        builder.build()
    }

    /// A builder that starts from this set.
    pub fn edit(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }

    /// Bytes the set takes in memory, its shared header left out.
    pub fn byte_len(&self) -> usize {
        self.0.len()
    }

    fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        let text = &*self.0;
        let mut rest = Iter { rest: text };
        let mut buffer = String::new();
        // Pairs that stay and lie side by side are copied as one piece: mostly the whole result is one.
        let mut piece = 0..0;
        loop {
            let start = text.len() - rest.rest.len();
            let Some((name, _)) = rest.next() else { break };
            if !keep(name) {
                continue;
            }
            if piece.end != start {
                buffer.push_str(&text[piece]);
                piece = start..start;
            }
            piece.end = text.len() - rest.rest.len();
        }
        if piece == (0..text.len()) {
            return self.clone();
        }
        if buffer.is_empty() {
            return Self(Arc::from(&text[piece]));
        }
        buffer.push_str(&text[piece]);
        Self(buffer.into())
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

/// By names and values in order, as Prometheus sorts the series of a result.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As PromQL writes a series: `up{job="node"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.metric_name();
        let bare_name = is_metric_name(name);
        if bare_name {
            f.write_str(name)?;
        }
        let others = self.iter().filter(|(label, _)| !(bare_name && *label == METRIC_NAME));
        let mut separator = "{";
        for (label, value) in others {
            write!(f, "{separator}{label}={value:?}")?;
            separator = ", ";
        }
        match separator {
            ", " => f.write_str("}"),
            _ if bare_name => Ok(()),
            _ => f.write_str("{}"),
        }
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FromMap;
        impl<'de> Visitor<'de> for FromMap {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of label names and text values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut pairs: Vec<(Text<'de>, Text<'de>)> = Vec::with_capacity(8);
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Labels::from_pairs(pairs))
            }
        }
        deserializer.deserialize_map(FromMap)
    }
}

/// A text that is copied only when what it is read from has it in another form.
struct Text<'a>(Cow<'a, str>);

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsIs;
        impl<'de> Visitor<'de> for AsIs {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }
        deserializer.deserialize_str(AsIs)
    }
}

/// Collects labels in any order and builds the set.
#[derive(Debug, Clone, Default)]
pub struct LabelsBuilder {
    pairs: BTreeMap<String, String>,
}

impl LabelsBuilder {
    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        if value.is_empty() {
            self.pairs.remove(name);
        } else {
            self.pairs.insert(name.to_owned(), value.to_owned());
        }
        self
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.pairs.remove(name);
        self
    }

    /// The value of a label as it stands.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.get(name).map(String::as_str)
    }

    /// The finished set.
    pub fn build(&self) -> Labels {
        let mut buffer = String::new();
        for (name, value) in &self.pairs {
            push(&mut buffer, name);
            push(&mut buffer, value);
        }
        Labels(buffer.into())
    }
}

/// Whether PromQL accepts the text as a metric name without quotes.
pub fn is_metric_name(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':');
    starts && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

/// Whether PromQL accepts the text as a label name without quotes.
pub fn is_label_name(text: &str) -> bool {
    is_metric_name(text) && !text.contains(':')
}

struct Iter<'a> {
    rest: &'a str,
}

impl Clone for Iter<'_> {
    fn clone(&self) -> Self {
        Iter { rest: self.rest }
    }
}

impl<'a> Iter<'a> {
    #[inline]
    fn pop(&mut self) -> Option<&'a str> {
        // Nearly all texts are shorter than 128 bytes, and so their length is one byte.
        if let Some(length) = self.rest.bytes().next().filter(u8::is_ascii) {
            let (text, rest) = self.rest.get(1..)?.split_at_checked(usize::from(length))?;
            self.rest = rest;
            return Some(text);
        }
        let mut chars = self.rest.chars();
        let length = length_of(chars.next()?);
        let (text, rest) = chars.as_str().split_at(length);
        self.rest = rest;
        Some(text)
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.pop()?, self.pop()?))
    }
}

// Surrogates (0xD800..0xE000) are no chars, so lengths from there on are shifted over the gap.
const GAP_START: usize = 0xD800;
const GAP_LEN: usize = 0x800;
const LENGTH_MAX: usize = 0x10_FFFF - GAP_LEN;

fn push(buffer: &mut String, text: &str) {
    // A megabyte is far beyond every limit at the doors of Saker; what is longer is cut rather than trusted.
    let text =
        if text.len() <= LENGTH_MAX { text } else { &text[..text.floor_char_boundary(LENGTH_MAX)] };
    let length = text.len();
    let shifted = if length < GAP_START { length } else { length + GAP_LEN };
    let header = u32::try_from(shifted).ok().and_then(char::from_u32).unwrap_or('\0');
    buffer.push(header);
    buffer.push_str(text);
}

fn length_of(header: char) -> usize {
    let shifted = header as usize;
    if shifted < GAP_START { shifted } else { shifted - GAP_LEN }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_are_sorted_and_the_last_of_a_name_wins() {
        let labels = Labels::from_pairs([("b", "2"), ("a", "0"), ("a", "1"), ("c", "")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!((labels.get("b"), labels.get("c"), labels.len()), (Some("2"), None, 2));
    }

    #[test]
    fn a_series_is_written_as_promql_writes_it() {
        assert_eq!(
            Labels::from_pairs([("__name__", "up"), ("job", "a\"b")]).to_string(),
            r#"up{job="a\"b"}"#
        );
        assert_eq!(Labels::from_pairs([("__name__", "up")]).to_string(), "up");
        assert_eq!(Labels::empty().to_string(), "{}");
        assert_eq!(Labels::from_pairs([("__name__", "a.b")]).to_string(), r#"{__name__="a.b"}"#);
    }

    #[test]
    fn sorted_pairs_are_taken_only_when_they_are_sorted() {
        assert_eq!(
            Labels::from_sorted([("a", "1"), ("b", "2")]),
            Some(Labels::from_pairs([("b", "2"), ("a", "1")]))
        );
        assert_eq!(Labels::from_sorted([("b", "1"), ("a", "2")]), None);
        assert_eq!(Labels::from_sorted([("a", "1"), ("a", "2")]), None);
        assert_eq!(Labels::from_sorted([("a", "")]), None);
    }

    #[test]
    fn values_around_the_surrogate_gap_keep_their_length() {
        for length in [1, 0x7F, 0x80, 0xD7FF, 0xD800, 0xDFFF, 0xE000, 0x1_0000] {
            let value = "x".repeat(length);
            assert_eq!(
                Labels::from_pairs([("a", value.as_str())]).get("a").map(str::len),
                Some(length)
            );
        }
    }

    proptest! {
        #[test]
        fn a_set_holds_what_was_put_in(pairs in proptest::collection::btree_map(".{0,12}", ".{1,12}", 0..8)) {
            let labels = Labels::from_pairs(pairs.iter());
            let read: BTreeMap<String, String> = labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(&read, &pairs);
            let json = serde_json::to_string(&labels).expect("labels are plain text");
            prop_assert_eq!(serde_json::from_str::<Labels>(&json).expect("just written"), labels);
        }

        #[test]
        fn names_are_left_out_or_kept(pairs in proptest::collection::btree_map("[a-f]", "[xy]{1,130}", 0..6),
                                      names in proptest::collection::vec("[a-f]", 0..4)) {
            let labels = Labels::from_pairs(&pairs);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let (kept, others): (Vec<_>, Vec<_>) = pairs.iter().partition(|(name, _)| names.contains(&name.as_str()));
            prop_assert_eq!(labels.only(&names), Labels::from_pairs(kept));
            prop_assert_eq!(labels.without(&names), Labels::from_pairs(others));
        }

        #[test]
        fn order_is_that_of_the_pairs(a in proptest::collection::btree_map("[a-c]", "[a-c]{1,2}", 0..3),
                                      b in proptest::collection::btree_map("[a-c]", "[a-c]{1,2}", 0..3)) {
            prop_assert_eq!(Labels::from_pairs(&a).cmp(&Labels::from_pairs(&b)), a.iter().cmp(b.iter()));
        }
    }
}
