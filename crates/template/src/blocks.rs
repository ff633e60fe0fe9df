//! Whether every block has its end. The parser behind this crate takes the end of the text for the end of all blocks.

/// A word that opens, parts or closes a block, with its place in bytes.
struct Word<'a> {
    at: usize,
    text: &'a str,
}

/// What is wrong with the blocks of a text that has passed the parser, with the place in bytes.
pub(crate) fn fault(text: &str) -> Option<(usize, String)> {
    let mut open: Vec<Word<'_>> = Vec::new();
    for word in words(text) {
        match word.text {
            "if" | "range" | "with" | "define" | "block" => open.push(word),
            "end" if open.pop().is_none() => {
                return Some((word.at, "this end belongs to nothing".to_owned()));
            }
            "else" if !matches!(open.last(), Some(Word { text: "if" | "range" | "with", .. })) => {
                return Some((word.at, "this else belongs to nothing".to_owned()));
            }
            "break" | "continue" => {
                let inner = open.iter().rev().take_while(|word| word.text != "define");
                if !inner.into_iter().any(|word| word.text == "range") {
                    return Some((word.at, format!("{} outside of a range", word.text)));
                }
            }
            _ => {}
        }
    }
    open.pop().map(|word| (word.at, format!("this {} has no end", word.text)))
}

/// The first word of every action.
fn words(text: &str) -> Vec<Word<'_>> {
    let (mut words, mut from) = (Vec::new(), 0);
    while let Some(start) = text[from..].find("{{").map(|at| from + at + 2) {
        let trimmed = text[start..].strip_prefix("- ").unwrap_or(&text[start..]);
        let at = text.len() - trimmed.trim_start().len();
        if text[at..].starts_with("/*") {
            let Some(end) = text[at..].find("*/") else { return words };
            from = at + end + 2;
            continue;
        }
        let end = text[at..].find(|c: char| !c.is_ascii_alphabetic());
        let end = end.map_or(text.len(), |end| at + end);
        // A field, a variable or a function of that name is no such word.
        if !text[end..].starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            words.push(Word { at, text: &text[at..end] });
        }
        from = action_end(text, end);
    }
    words
}

/// Behind the `}}` that closes an action; texts in it may hold one too.
fn action_end(text: &str, from: usize) -> usize {
    let (mut quote, mut is_escaped) = (None, false);
    for (at, letter) in text[from..].char_indices().map(|(at, letter)| (from + at, letter)) {
        match quote {
            Some('`') if letter == '`' => quote = None,
            Some('`') => {}
            Some(_) if is_escaped => is_escaped = false,
            Some(_) if letter == '\\' => is_escaped = true,
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if matches!(letter, '"' | '\'' | '`') => quote = Some(letter),
            None if text[at..].starts_with("}}") => return at + 2,
            None => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks_that_do_not_end_or_begin_are_found() {
        for (text, at) in [
            ("{{ if true }}x", Some(3)),
            ("a{{- range .X }}{{ end }}{{ end }}", Some(28)),
            ("{{ else }}", Some(3)),
            ("{{ define \"x\" }}{{ break }}{{ end }}", Some(19)),
            ("{{ range . }}{{ define \"x\" }}{{ break }}{{ end }}{{ end }}", Some(32)),
            ("{{ with \"}} {{ if\" }}{{ else }}{{ end }}", None),
            ("{{/* if */}}{{ `{{ end }}` }}{{ \"\\\"}}\" }}", None),
            ("{{ range . }}{{ if . }}{{ continue }}{{ end }}{{ end }}", None),
            ("{{ .end }}{{ $end }}{{ iffy }}", None),
            ("{{if . -}} x {{- end}}", None),
        ] {
            assert_eq!(fault(text).map(|(at, _)| at), at, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[{}a-z/*\"'`\\\\ é-]{0,40}") {
            let _ = fault(&text);
        }
    }
}
