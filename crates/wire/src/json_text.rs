//! Pieces of JSON written straight into a text, for answers that are too large to be built as a
//! tree first.

use std::fmt::Write;

use model::Labels;

/// Appends a JSON string with its quotes.
pub(crate) fn put_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = special.chars();
        match chars.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\t') => out.push_str("\\t"),
            Some('\r') => out.push_str("\\r"),
            Some(control) => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// Appends a list; `put` writes one item.
pub(crate) fn put_list<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    put: impl Fn(&mut String, T),
) {
    out.push('[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        put(out, item);
    }
    out.push(']');
}

/// Appends a label set as an object.
pub(crate) fn put_labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (at, (name, value)) in labels.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        put_string(out, name);
        out.push(':');
        put_string(out, value);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_label_set_is_an_object() {
        let mut out = String::new();
        put_labels(&mut out, &Labels::from_pairs([("b", "1\"\u{1}"), ("a", "路径\\")]));
        assert_eq!(out, r#"{"a":"路径\\","b":"1\"\u0001"}"#);
    }

    proptest! {
        #[test]
        fn every_text_reads_back(text in any::<String>()) {
            let mut out = String::new();
            put_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&out).ok(), Some(text));
        }
    }
}
