//! Classes of characters and escapes.

use std::fmt::Write;

use regex::Regex;

use super::PatternError;

/// A class without characters.
pub(super) const NOTHING: &str = r"[^\x{0}-\x{10FFFF}]";

const SURROGATES: std::ops::RangeInclusive<u32> = 0xD800..=0xDFFF;

/// The classes that `[:name:]` stands for, as the inside of brackets.
const POSIX: [(&str, &str); 14] = [
    ("alnum", "0-9A-Za-z"),
    ("alpha", "A-Za-z"),
    ("ascii", r"\x00-\x7F"),
    ("blank", r"\t\x20"),
    ("cntrl", r"\x00-\x1F\x7F"),
    ("digit", "0-9"),
    ("graph", r"\x21-\x7E"),
    ("lower", "a-z"),
    ("print", r"\x20-\x7E"),
    ("punct", r"\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E"),
    ("space", r"\t-\r\x20"),
    ("upper", "A-Z"),
    ("word", "0-9A-Za-z_"),
    ("xdigit", "0-9A-Fa-f"),
];

/// Scripts whose name has four letters. All other words of four letters are codes of scripts, which
/// Go does not know.
const SCRIPTS_OF_FOUR: [&str; 8] = ["ahom", "cham", "kawi", "lisu", "modi", "newa", "thai", "toto"];

type Rest<'p, T> = Result<(T, &'p str), PatternError>;

fn fault<T>(kind: &'static str, text: &str) -> Result<T, PatternError> {
    Err(PatternError::new(kind, text))
}

/// Reads a class in brackets.
pub(super) fn bracketed(whole: &str) -> Rest<'_, String> {
    let mut rest = &whole[1..];
    let mut class = String::from("[");
    if let Some(after) = rest.strip_prefix('^') {
        class.push('^');
        rest = after;
    }
    let mut first = true;
    // A bracket that closes is a character when it comes first.
    while first || !rest.starts_with(']') {
        first = false;
        if let Some((named, after)) = named(rest)? {
            class.push_str(&named);
            rest = after;
            continue;
        }
        if let Some((escaped, after)) = escaped(rest)? {
            class.push_str(&escaped);
            rest = after;
            continue;
        }
        let from = rest;
        let low;
        (low, rest) = in_class(rest, whole)?;
        let mut high = low;
        if rest.len() >= 2 && rest.starts_with('-') && !rest.starts_with("-]") {
            (high, rest) = in_class(&rest[1..], whole)?;
            if high < low {
                return fault("invalid character class range", &from[..from.len() - rest.len()]);
            }
        }
        push_range(&mut class, low, high);
    }
    class.push(']');
    Ok((class, &rest[1..]))
}

fn in_class<'p>(rest: &'p str, whole: &str) -> Rest<'p, u32> {
    match rest.chars().next() {
        None => fault("missing closing ]", whole),
        Some('\\') => character(rest),
        Some(c) => Ok((u32::from(c), &rest[c.len_utf8()..])),
    }
}

/// Adds the characters from `low` to `high`; no text has surrogates.
fn push_range(class: &mut String, low: u32, high: u32) {
    let low = if SURROGATES.contains(&low) { SURROGATES.end() + 1 } else { low };
    let high = if SURROGATES.contains(&high) { SURROGATES.start() - 1 } else { high };
    let written = if low > high {
        class.push_str(NOTHING);
        Ok(())
    } else if low == high {
        write!(class, r"\x{{{low:X}}}")
    } else {
        write!(class, r"\x{{{low:X}}}-\x{{{high:X}}}")
    };
    written.expect("a text takes whatever is written to it");
}

/// Reads `[:name:]` or `[:^name:]`.
fn named(rest: &str) -> Result<Option<(String, &str)>, PatternError> {
    let Some((name, after)) = rest.strip_prefix("[:").and_then(|inner| inner.split_once(":]"))
    else {
        return Ok(None);
    };
    let (negated, word) = name.strip_prefix('^').map_or((false, name), |word| (true, word));
    match POSIX.iter().find(|(known, _)| *known == word) {
        Some((_, inside)) => Ok(Some((set(negated, inside), after))),
        None => fault("invalid character class range", &rest[..rest.len() - after.len()]),
    }
}

fn set(negated: bool, inside: &str) -> String {
    format!("[{}{inside}]", if negated { "^" } else { "" })
}

/// Reads an escape that stands for a class, such as `\d` and `\p{Greek}`.
pub(super) fn escaped(rest: &str) -> Result<Option<(String, &str)>, PatternError> {
    let mut chars = rest.chars();
    let (Some('\\'), Some(letter)) = (chars.next(), chars.next()) else { return Ok(None) };
    let inside = match letter {
        'd' | 'D' => "0-9",
        's' | 'S' => r"\t\n\f\r\x20",
        'w' | 'W' => "0-9A-Za-z_",
        'p' | 'P' => return unicode(rest).map(Some),
        _ => return Ok(None),
    };
    Ok(Some((set(letter.is_ascii_uppercase(), inside), chars.as_str())))
}

/// Reads `\pL`, `\p{Greek}`, `\p{^Greek}` and their opposites with a `P`.
fn unicode(rest: &str) -> Rest<'_, String> {
    let mut negated = rest.starts_with(r"\P");
    let inner = &rest[2..];
    let (name, after) = match inner.strip_prefix('{') {
        Some(inner) => match inner.split_once('}') {
            Some(parts) => parts,
            None => return fault("invalid character class range", rest),
        },
        None => inner.split_at(inner.chars().next().map_or(0, char::len_utf8)),
    };
    let word = name.strip_prefix('^').unwrap_or(name);
    negated ^= word != name;
    match property(word) {
        Some(class) => Ok((set(negated, &class), after)),
        None => fault("invalid character class range", &rest[..rest.len() - after.len()]),
    }
}

/// The characters of a category or script, as the inside of brackets.
fn property(name: &str) -> Option<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' ');
    if name.is_empty() || !name.chars().all(is_part) {
        return None;
    }
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    match plain.as_str() {
        "any" | "ascii" | "assigned" => return Some(format!(r"\p{{{plain}}}")),
        "cs" | "surrogate" => return Some(NOTHING.to_owned()),
        _ => {}
    }
    let known = |class: String| Regex::new(&class).is_ok().then_some(class);
    known(format!(r"\p{{gc={plain}}}")).or_else(|| {
        let is_code = plain.len() == 4 && !SCRIPTS_OF_FOUR.contains(&plain.as_str());
        if is_code { None } else { known(format!(r"\p{{sc={plain}}}")) }
    })
}

/// Reads an escape that stands for one character.
pub(super) fn character(rest: &str) -> Rest<'_, u32> {
    let mut chars = rest[1..].chars();
    let Some(c) = chars.next() else {
        return fault("trailing backslash at end of expression", "");
    };
    let after = chars.as_str();
    let code = match c {
        '1'..='7' if !after.starts_with(|c| matches!(c, '0'..='7')) => None,
        '0'..='7' => return Ok(octal(&rest[1..])),
        'x' => return hexadecimal(rest),
        'a' => Some(7),
        'f' => Some(12),
        'n' => Some(10),
        'r' => Some(13),
        't' => Some(9),
        'v' => Some(11),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
        _ => None,
    };
    match code {
        Some(code) => Ok((code, after)),
        None => fault("invalid escape sequence", &rest[..rest.len() - after.len()]),
    }
}

/// Up to three octal digits.
fn octal(digits: &str) -> (u32, &str) {
    let end = digits.bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
    let code = digits[..end].bytes().fold(0, |code, digit| code * 8 + u32::from(digit - b'0'));
    (code, &digits[end..])
}

/// `\xHH` or `\x{H...}`.
fn hexadecimal(rest: &str) -> Rest<'_, u32> {
    let mut chars = rest[2..].chars();
    let mut digit = || {
        let c = chars.next();
        (c, c.and_then(|c| c.to_digit(16)))
    };
    let mut found = None;
    match digit() {
        (Some('{'), _) => {
            let (mut code, mut any) = (0, false);
            loop {
                match digit() {
                    (Some('}'), _) => {
                        found = Some(code).filter(|_| any);
                        break;
                    }
                    (_, Some(value)) if code * 16 + value <= u32::from(char::MAX) => {
                        (code, any) = (code * 16 + value, true);
                    }
                    _ => break,
                }
            }
        }
        (None, _) => {}
        (_, high) => {
            let (_, low) = digit();
            found = high.zip(low).map(|(high, low)| high * 16 + low);
        }
    }
    let after = chars.as_str();
    match found {
        Some(code) => Ok((code, after)),
        None => fault("invalid escape sequence", &rest[..rest.len() - after.len()]),
    }
}
